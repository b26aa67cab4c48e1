"""`pacs doctor AET`: one peer, from the way to it to what waits for it, in the language of the person."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from pacs_server.cli.exits import ExitCode
from pacs_server.cli.output import in_their_language, print_rows, talk
from pacs_server.errors import Refused, UnknownName

if TYPE_CHECKING:
    from pacs_server.cli.invocation import Invocation
    from pacs_server.dicom.identity import AeTitle

_HEADINGS: Final = {"check": "CHECK", "result": "RESULT", "remedy": "REMEDY"}


def examine_peer(invocation: Invocation, aet: AeTitle, *, stores: bool, sends_back: bool) -> ExitCode:
    """Print what every check tells of a peer. JSON stays in English, for programs.

    Raises: UnknownName when it is not registered; Refused; IndexUnavailable.
    """
    from pacs_server.service.examining import examine

    if sends_back and not stores:
        raise Refused("it cannot send back what it is not sent: leave out --no-store, or --send-back")
    with invocation.node() as node:
        peer = node.registry.peer(aet)
        if peer is None:
            seen = f"; it was turned away: pacs ae approve {aet}" if node.turned_away.all(aet) else ""
            raise UnknownName(f"no peer {aet} is registered{seen}; pacs ae list shows them")
        found = list(examine(node, peer, stores=stores, sends_back=sends_back, now=datetime.now(UTC)))
    said = str if invocation.as_json else in_their_language
    rows = [{"check": said(one.check), "result": said(one.told), "remedy": said(one.remedy)} for one in found]
    print_rows(rows, _HEADINGS, as_json=invocation.as_json)
    if any(one.is_cut_off for one in found):
        return ExitCode.UNREACHABLE
    if any(one.remedy for one in found):
        return ExitCode.DAMAGE
    talk("nothing to change")
    return ExitCode.DONE
