"""What this archive knows of a peer without calling it: what it did here, what was refused, what waits for it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from pacs_server.dimse.access import NOT_ITS_CERTIFICATE
from pacs_server.dimse.identity import PROOFS
from pacs_server.dimse.services import SERVICES
from pacs_server.index.sending.backlogs import Backlog, backlogs
from pacs_server.index.site.dealings import Dealings, Sent, SentStudy
from pacs_server.index.site.peers import Identity, Peer, Right
from pacs_server.index.site.turned_away import TurnedAway
from pacs_server.net.associate import MAX_CREDENTIAL_BYTES
from pacs_server.net.negotiate import IDENTITY_NOT_SOUND, is_storage_class, name_of
from pacs_server.service.assemble import Node
from pacs_server.settings import Settings

_LOOKED_BACK: Final = timedelta(days=30)
_LATELY: Final = timedelta(days=7)
# Consoles begin a study before they send it; a study from the future is one of a clock, or of a time zone.
_AHEAD: Final = timedelta(minutes=5)
_ZONES: Final = timedelta(hours=26)  # between the first and the last time zone of the earth
_SHOWN: Final = 3
_TEXT_FLAGS: Final = {
    "charset-assumed": "declare no character set for what is not ASCII",
    "charset-wrong": "are not written in the character set that they declare",
    "charset-unknown": "declare a character set that nobody knows",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one check told of a peer, and what to do; an empty `remedy` is nothing. `is_cut_off`: it is not reached."""

    check: str
    told: str
    remedy: str = ""
    is_cut_off: bool = False


def acquaintance(node: Node, peer: Peer, now: datetime) -> Iterator[Finding]:
    """What is known of a peer. Raises: IndexUnavailable."""
    dealings = Dealings(node.index)
    sent = dealings.sent(peer.aet)
    yield from _calls(node, peer, dealings, now)
    yield from _login(peer, node.settings)
    yield from _rights(peer, dealings.refused_services(peer.aet, now - _LATELY))
    if sent.studies:
        yield _clock(sent)
        yield from _texts(peer, sent)
    yield from _destinations(node, peer)
    yield from _queue(node, peer)


def _calls(node: Node, peer: Peer, dealings: Dealings, now: datetime) -> Iterator[Finding]:
    last = dealings.last_deed(peer.aet, now - _LOOKED_BACK)
    if last is not None:
        yield Finding(check="its calls", told=f"it did something here last at {_at(last)}")
    turned_away = [one for one in node.turned_away.all(peer.aet) if one.last_at > now - _LATELY]
    for one in turned_away:
        told = f"from {one.address} it was turned away {one.count} times, last at {_at(one.last_at)}: {one.why}"
        is_over = last is not None and last > one.last_at
        yield Finding(check="its calls", told=told, remedy="" if is_over else _way_in(peer, one))
    if last is None and not turned_away:
        port = node.settings.port if node.settings.port is not None else node.settings.tls.port
        remedy = f"have it call {node.settings.aet} at port {port}, from {', '.join(peer.sources)}"
        is_sent_to = peer.host is not None  # it may be here for that alone
        told = f"nothing came from it in {_LOOKED_BACK.days} days"
        yield Finding(check="its calls", told=told, remedy="" if is_sent_to else remedy)


def _way_in(peer: Peer, one: TurnedAway) -> str:
    """What would let it in. Whoever says in a way that nobody reads who logs in is rejected before it is known, so that
    no approval helps.
    """
    if one.why == IDENTITY_NOT_SOUND.why:
        if peer.identity is Identity.NONE:
            return "in its own settings, turn off user identity negotiation: here nobody has to log in at it"
        return (
            f"in its own settings, have user identity negotiation send {PROOFS[peer.identity]} of at most "
            f"{MAX_CREDENTIAL_BYTES} bytes"
        )
    remedy = f"pacs ae approve {peer.aet} --from {one.address}"
    if one.why.startswith(NOT_ITS_CERTIFICATE):
        if one.fingerprint:
            return f"if the certificate that it showed is its new one: {remedy}"
        return f"have it call over TLS with its certificate; to ask for none: pacs ae set {peer.aet} --certificate -"
    if peer.identity is not Identity.NONE:
        return f"pacs user list, where its user could not log in; else {remedy}"
    return remedy


def login_problems(peer: Peer, settings: Settings) -> Iterator[tuple[str, str]]:
    """Why nobody would be let in at a peer whose user has to log in, and what to do."""
    if peer.identity is Identity.NONE:
        return
    if settings.tls.port is None:
        yield "its user logs in over TLS alone, which is off", "set tls.port in pacs.yaml"
    if peer.identity is Identity.JWT and not (settings.identity.jwt.issuer and settings.identity.jwt.key_files):
        yield "no token is believed", "identity.jwt in pacs.yaml needs an issuer and key_files"


def _login(peer: Peer, settings: Settings) -> Iterator[Finding]:
    for problem, remedy in login_problems(peer, settings):
        yield Finding(check="login", told=problem, remedy=remedy)


def _rights(peer: Peer, refused: list[str]) -> Iterator[Finding]:
    lacking = {_right_of(uid) for uid in refused} - {None} - peer.rights
    if lacking:
        asked = sorted((uid for uid in refused if _right_of(uid) in lacking), key=lambda uid: uid not in SERVICES)
        names = ", ".join(map(name_of, asked[:_SHOWN]))
        wanted = ",".join(right for right in Right if right in peer.rights or right in lacking)
        yield Finding(
            check="rights",
            told=f"it asked for what it may not do: {names}",
            remedy=f"if it should: pacs ae set {peer.aet} --allow {wanted}",
        )
    else:
        yield Finding(check="rights", told=", ".join(right for right in Right if right in peer.rights))


def _right_of(uid: str) -> Right | None:
    if service := SERVICES.get(uid):
        return service.right
    return Right.STORE if is_storage_class(uid) else None


def _clock(sent: Sent) -> Finding:
    ahead = [(one, by) for one in sent.studies if (by := _ahead(one)) is not None and by > _AHEAD]
    if not ahead:
        return Finding(check="clock", told=f"none of its {len(sent.studies)} newest studies is from the future")
    most = max(by for _, by in ahead)
    told = f"{len(ahead)} of its {len(sent.studies)} newest studies are from the future, by up to {_span(most)}"
    remedy = "set its clock, and that of this server, by NTP"
    if most <= _ZONES:
        remedy = "set its clock and its time zone, and those of this server, by NTP"
    return Finding(check="clock", told=told, remedy=remedy)


def _ahead(one: SentStudy) -> timedelta | None:
    """How far after its arrival a study was made, by its date and time, which are those of the place (PS3.3 C.7.2.1);
    without a time, of its day.
    """
    digits = one.study_time.replace(":", "").partition(".")[0]
    try:
        made = datetime.strptime(one.study_date + digits.ljust(6, "0")[:6], "%Y%m%d%H%M%S")  # noqa: DTZ007 - of the place
    except ValueError:
        return None
    return made - one.received_at.astimezone().replace(tzinfo=None)


def _span(by: timedelta) -> str:
    return f"{by.days} days" if by.days else f"{by.seconds // 60} minutes"


def _texts(peer: Peer, sent: Sent) -> Iterator[Finding]:
    bad = {kind: number for kind in _TEXT_FLAGS if (number := sent.flagged.get(kind, 0))}
    for kind, number in bad.items():
        told = f"{number} of its {len(sent.studies)} newest studies {_TEXT_FLAGS[kind]}"
        remedy = f"let it declare ISO_IR 192, or say what it means: pacs ae set {peer.aet} --charset"
        if peer.charset:  # somebody has said what it means
            told = f"what {number} of its {len(sent.studies)} newest studies declare wrongly is read by {peer.charset}"
            remedy = ""
        yield Finding(check="character set", told=told, remedy=remedy)
    if not bad:
        yield Finding(check="character set", told=f"its {len(sent.studies)} newest studies are written as they declare")


def _destinations(node: Node, peer: Peer) -> Iterator[Finding]:
    if Right.MOVE not in peer.rights:
        return
    reachable = {str(one.aet) for one in node.registry.peers() if one.host is not None}
    for aet in peer.destinations:
        if aet not in reachable:
            told = f"it may have objects moved to {aet}, which has no address"
            yield Finding(check="destinations", told=told, remedy=f"pacs ae add or set {aet}, with its host and port")
    if peer.host is None and not peer.destinations:
        told = "it may have objects moved, but not to itself: it has no address here"
        yield Finding(check="destinations", told=told, remedy=f"if it should: pacs ae set {peer.aet} --host H --port P")


def _queue(node: Node, peer: Peer) -> Iterator[Finding]:
    for backlog in backlogs(node.index, peer.aet):
        yield from _queued(peer, backlog)


def _queued(peer: Peer, backlog: Backlog) -> Iterator[Finding]:
    if backlog.is_failing and backlog.waiting_since is not None:
        told = f"{backlog.waiting} objects wait for it since {_at(backlog.waiting_since)}: {backlog.error}"
        yield Finding(check="queue", told=told, remedy=f"when that is mended: pacs send retry --to {peer.aet}")
    elif not backlog.dead:
        yield Finding(check="queue", told=f"{backlog.waiting} objects wait for it, {backlog.sent} were sent")
    if backlog.dead:
        told = f"it refused {backlog.dead} objects for good: {backlog.error}"
        yield Finding(
            check="queue", told=told, remedy=f"pacs send list, then pacs send retry --to {peer.aet} or pacs send drop"
        )


def _at(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
