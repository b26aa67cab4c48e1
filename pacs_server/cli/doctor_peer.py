"""`pacs doctor AET`: one peer, from the way to it to what waits for it, in the language of the person."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pacs_server.cli.exits import ExitCode
from pacs_server.cli.output import print_checks, talk
from pacs_server.errors import Refused, UnknownName

if TYPE_CHECKING:
    from pacs_server.cli.invocation import Invocation
    from pacs_server.dicom.identity import AeTitle
    from pacs_server.service.assemble import Node


def examine_peer(invocation: Invocation, aet: AeTitle, *, stores: bool, sends_back: bool) -> ExitCode:
    """Print what every check tells of a peer. JSON stays in English, for programs.

    Raises: UnknownName when it is not registered; Refused; IndexUnavailable.
    """
    from pacs_server.service.peers.examining import examine

    if sends_back and not stores:
        raise Refused("it cannot send back what it is not sent: leave out --no-store, or --send-back")
    with invocation.node() as node:
        peer = node.registry.peer(aet)
        if peer is None:
            raise UnknownName(f"no peer {aet} is registered{_seen(node, aet)}; pacs ae list shows them")
        found = list(examine(node, peer, stores=stores, sends_back=sends_back, now=datetime.now(UTC)))
    rows = [{"check": one.check, "result": one.told, "remedy": one.remedy} for one in found]
    print_checks(rows, as_json=invocation.as_json)
    if any(one.is_cut_off for one in found):
        return ExitCode.UNREACHABLE
    if any(one.remedy for one in found):
        return ExitCode.DAMAGE
    talk("nothing to change")
    return ExitCode.DONE


def _seen(node: Node, aet: AeTitle) -> str:
    """What an admin has to do for one that called, but is not registered."""
    from pacs_server.net.negotiate import IDENTITY_NOT_SOUND

    reasons = {one.why for one in node.turned_away.all(aet)}
    if not reasons:
        return ""
    if reasons == {IDENTITY_NOT_SOUND.why}:  # it is rejected so whether it is registered or not
        return f"; it was turned away: turn off user identity negotiation in its settings, then pacs ae approve {aet}"
    return f"; it was turned away: pacs ae approve {aet}"
