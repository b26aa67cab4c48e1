"""`pacs ae seen` and `pacs ae approve`: who was turned away, and one step to let it in."""

from __future__ import annotations

import ipaddress
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import click

from pacs_server.cli.exits import ExitCode
from pacs_server.cli.invocation import Command, Invocation, aet_value, pass_invocation, replacing
from pacs_server.cli.output import print_rows, talk
from pacs_server.errors import Refused, UnknownName

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pacs_server.dicom.identity import AeTitle
    from pacs_server.index.site.peers import Peer, Right
    from pacs_server.index.site.turned_away import TurnedAway

_HEADINGS: Final = {
    "aet": "AET",
    "address": "ADDRESS",
    "called": "CALLED",
    "asked": "ASKED FOR",
    "count": "TIMES",
    "last_at": "LAST",
    "certificate": "CERTIFICATE",
    "why": "WHY",
}


@click.command(cls=Command, reports=True, example="pacs ae seen --json")
@pass_invocation
def seen(invocation: Invocation) -> ExitCode:
    """List who was turned away lately, from where, and what it asked for.

    The latest 200. Let one in with: pacs ae approve.
    """
    with invocation.node() as node:
        callers = node.turned_away.all()
    rows = [_facts(one) for one in callers]
    if not print_rows(rows, _HEADINGS, as_json=invocation.as_json, said=("why",)):
        talk("nobody was turned away")
    return ExitCode.DONE


def _facts(one: TurnedAway) -> dict[str, object]:
    return {
        "aet": one.aet,
        "address": one.address,
        "called": one.called,
        "asked": sorted(right.value for right in one.asked),
        "count": one.count,
        "first_at": one.first_at.isoformat(timespec="seconds"),
        "last_at": one.last_at.isoformat(timespec="seconds"),
        "certificate": one.fingerprint,
        "why": one.why,
    }


@click.command(cls=Command, example="pacs ae approve CT1")
@click.argument("aet", callback=aet_value)
@click.option("--from", "addresses", multiple=True, metavar="ADDRESS",
              help="Of those from which it called; repeat it. Else: the only one.")  # fmt: skip
@click.option("--allow", metavar="RIGHTS",
              help="Of echo,store,find,get,move,commit; a comma list. Else: echo, and what it asked for.")  # fmt: skip
@replacing
@pass_invocation
def approve(
    invocation: Invocation, aet: AeTitle, addresses: tuple[str, ...], allow: str | None, *, yes: bool
) -> ExitCode:
    """Let in a device that was turned away.

    From where it called, with the certificate that it showed. What is registered of it already changes only with --yes.
    """
    from pacs_server.cli.peer_text import differences, rights_of

    try:
        allowed = rights_of(allow) if allow is not None else None
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    with invocation.node() as node:
        callers = _chosen(node.turned_away.all(aet), aet, addresses)
        known = node.registry.peer(aet)
        own_title = str(node.settings.aet)
        peer = _admitted(known, aet, callers, allowed, own_title)
        moved = _moved(peer, callers)
        if known is not None and not yes:
            talk(f"{aet} is registered; would change {differences(known, peer) or 'nothing'}; do it with --yes")
            if moved:
                talk(moved)
            return ExitCode.DONE
        if known is None:
            node.registry.add_peer(peer)
        else:
            peer = node.registry.change_peer(aet, lambda now: _admitted(now, aet, callers, allowed, own_title))
        node.turned_away.forget(aet, {one.address for one in callers})
    talk(f"{'registered' if known is None else 'changed'} {_told(peer)}")
    if peer.host is None:
        talk(f"to send to it, give it an address: pacs ae set {aet} --host H --port P")
    if moved:
        talk(moved)
    return ExitCode.DONE


def _moved(peer: Peer, callers: Sequence[TurnedAway]) -> str:
    """What else is to be done if the device got another address; nothing where it called from that at which it is sent
    to, or from a place that may have been meant from the first, because its host is a name.
    """
    called_from = [one.address for one in callers]
    if peer.host is None or peer.host in called_from or not _is_address(peer.host):
        return ""
    now = called_from[-1]
    return (
        f"what is sent to {peer.aet} still goes to {peer.host}; if the device has moved: "
        f"pacs ae set {peer.aet} --host {now} --from {now}"
    )


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def _told(peer: Peer) -> str:
    allowed = ",".join(sorted(peer.rights))
    pinned = f", only with the certificate {peer.certificate}" if peer.certificate else ""
    return f"{peer.aet}: it may {allowed} from {', '.join(peer.sources)}{pinned}"


def _chosen(callers: Sequence[TurnedAway], aet: AeTitle, addresses: tuple[str, ...]) -> Sequence[TurnedAway]:
    """Those calls that are meant. Raises: UnknownName; Refused when they are from several places."""
    if not callers:
        raise UnknownName(f"no {aet} was turned away; pacs ae seen lists who was")
    called_from = {one.address: one for one in callers}
    if unknown := [one for one in addresses if one not in called_from]:
        raise UnknownName(f"{aet} did not call from {unknown[0]}; it did from {', '.join(called_from)}")
    if not addresses and len(called_from) > 1:
        raise Refused(f"{aet} called from {', '.join(called_from)}: say which is the device, with --from")
    return [called_from[one] for one in dict.fromkeys(addresses)] if addresses else callers


def _admitted(
    known: Peer | None, aet: AeTitle, callers: Sequence[TurnedAway], allowed: frozenset[Right] | None, own_title: str
) -> Peer:
    """The peer as it has to be for these calls to be let in.

    Raises: Refused when they showed different certificates.
    """
    from pacs_server.index.site.peers import Peer, Right

    shown = {one.fingerprint for one in callers if one.fingerprint}
    if len(shown) > 1:
        raise Refused(f"{aet} showed several certificates: choose its address with --from")
    asked = frozenset[Right]().union(*(one.asked for one in callers), {Right.ECHO})
    before = known or Peer(aet=aet, host=None, port=None, rights=asked, sources=())
    called = [one.called for one in callers if one.called not in (own_title, *before.called)]
    return replace(
        before,
        rights=before.rights if allowed is None else allowed,
        sources=(*before.sources, *(one.address for one in callers if one.address not in before.sources)),
        certificate=next(iter(shown)) if shown and (known is None or known.certificate) else before.certificate,
        called=(*before.called, *dict.fromkeys(called)),
    )
