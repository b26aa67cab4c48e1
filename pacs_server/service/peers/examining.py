"""Walks a peer through for `pacs doctor AET`: the way to it leg by leg, what it offers, and what is known of it here.

Nothing is left there but the tiny object of `pacs ae test`; of its holdings one study is asked for, which is that of
the tiny object.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import islice
from typing import Final

from pacs_server.archive.calling import way_to
from pacs_server.archive.deliver import NotAcceptable, contexts_for, usable_contexts
from pacs_server.cluster.certificates import end_of
from pacs_server.dicom.attributes import Level
from pacs_server.dicom.elements import EXPLICIT_LE, IMPLICIT_LE
from pacs_server.dicom.identity import new_uid
from pacs_server.dicom.queries.asking import identifier
from pacs_server.dicom.reencode import can_reencode
from pacs_server.dicom.tiny_object import TEST_PATIENT_ID, TEST_STUDY_UID
from pacs_server.errors import AssociationBroken, PacsError, PeerFailed, PeerRejected
from pacs_server.index.queries.search import Deliverable
from pacs_server.index.site.dealings import Dealings
from pacs_server.index.site.peers import Peer
from pacs_server.net import client
from pacs_server.net.asking import STUDY_ROOT_FIND, STUDY_ROOT_MOVE, find, move
from pacs_server.net.association import Association
from pacs_server.net.negotiate import VERIFICATION, name_of
from pacs_server.net.secure import SecureConnection, Security
from pacs_server.service.assemble import Node
from pacs_server.service.peers.acquaintance import Finding, acquaintance
from pacs_server.service.peers.legs import Leg, try_peer

_SYNTAXES: Final = (EXPLICIT_LE, IMPLICIT_LE)
_MOST_ANSWERS: Final = 100
_SHOWN: Final = 3
_COMES_WITHIN_S: Final = 3.0
_LOOKS_EVERY_S: Final = 0.1
_CLOCKS_DIFFER: Final = timedelta(minutes=10)  # those of two nodes of one archive
_SOON: Final = timedelta(days=30)
_WITHOUT: Final = frozenset({"TCP", "TLS", "association"})  # legs without which nothing else can be tried
_DESTINATION_UNKNOWN: Final = 0xA801  # PS3.4 section C.4.2.1.5


def examine(node: Node, peer: Peer, *, stores: bool, sends_back: bool, now: datetime) -> Iterator[Finding]:
    """What every check tells of a peer. With `stores` it is sent the tiny object; with `sends_back` it is asked to
    send that back, so that it is held here too.

    Raises: IndexUnavailable.
    """
    if peer.host is None or peer.port is None:
        yield Finding(check="way", told="it only calls us: it has no address here")
    else:
        yield from _way(node, peer, peer.host, peer.port, stores=stores, sends_back=sends_back, now=now)
    yield from acquaintance(node, peer, now)


def _way(
    node: Node, peer: Peer, host: str, port: int, *, stores: bool, sends_back: bool, now: datetime
) -> Iterator[Finding]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        told = f"{host} has no address: {error.strerror}"
        remedy = f"correct that name in DNS, or name the address: pacs ae set {peer.aet} --host ADDRESS"
        yield Finding(check="name", told=told, remedy=remedy, is_cut_off=True)
        return
    yield Finding(check="name", told=", ".join(sorted({str(one[4][0]) for one in found})))
    destination = way_to(peer, node.settings.tls_files)
    legs = try_peer(destination, node.settings, stores=stores)
    for leg in legs:
        cut_off = not leg.ok and leg.name in _WITHOUT
        yield Finding(check=leg.name, told=leg.result, remedy=leg.remedy, is_cut_off=cut_off)
    if not legs[-1].ok and legs[-1].name in _WITHOUT:
        yield from _misunderstanding(node, destination, legs[-1])
        return
    if destination.security is not None:
        yield from _certificate(node, destination, now)
    yield from _offered(node, peer, destination, sends_back=sends_back)


def _misunderstanding(node: Node, destination: client.Destination, failed: Leg) -> Iterator[Finding]:
    """Whether one side speaks TLS and the other does not."""
    aet, limits = destination.aet, node.settings.network
    if failed.name == "association" and destination.security is None and not isinstance(failed.cause, PeerRejected):
        # No certificate has that fingerprint: whoever gets as far as showing one speaks TLS.
        anyone = Security(files=node.settings.tls_files, fingerprint="none")
        try:
            client.open_connection(replace(destination, security=anyone), limits).close()
        except PeerRejected:
            yield Finding(check="TLS", told="it speaks TLS on that port", remedy=f"pacs ae set {aet} --tls")
        except PacsError:
            return
    if failed.name == "TLS" and isinstance(failed.cause, AssociationBroken):
        plain = replace(destination, security=None)
        try:
            contexts = [(VERIFICATION, _SYNTAXES, False)]
            client.connect(plain, calling_aet=node.settings.aet, contexts=contexts, limits=limits).close()
        except PeerRejected:
            pass
        except PacsError:
            return
        told = "it speaks DICOM without TLS on that port"
        yield Finding(
            check="TLS", told=told, remedy=f"name its port for TLS: pacs ae set {aet} --port P; or call it --no-tls"
        )


def _certificate(node: Node, destination: client.Destination, now: datetime) -> Iterator[Finding]:
    with suppress(PacsError):  # that leg was tried a moment ago
        connection = client.open_connection(destination, node.settings.network)
        connection.close()
        if isinstance(connection, SecureConnection):
            left = end_of(connection.certificate) - now
            told = f"its certificate expires in {left.days} days"
            if left.days < 0:  # one that is pinned is taken all the same
                told = "its certificate has expired"
            remedy = f"have a new one made there; if it is pinned: pacs ae set {destination.aet} --certificate"
            yield Finding(check="certificate", told=told, remedy=remedy if left < _SOON else "")


# --- what it offers ---


def _offered(node: Node, peer: Peer, destination: client.Destination, *, sends_back: bool) -> Iterator[Finding]:
    kinds = Dealings(node.index).kinds()
    proposed = contexts_for([_object_of(kind, syntax) for kind, syntax, _ in kinds], peer.syntax)
    contexts: list[tuple[str, Sequence[str], bool]] = [
        (STUDY_ROOT_FIND, _SYNTAXES, False),
        (STUDY_ROOT_MOVE, _SYNTAXES, False),
        *((kind[0], syntaxes, False) for kind, syntaxes in proposed.items()),
    ]
    connect = partial(
        client.connect,
        destination,
        calling_aet=node.settings.aet,
        contexts=contexts[: client.MAX_CONTEXTS],
        limits=node.settings.network,
    )
    try:
        with ExitStack() as calls:
            association = calls.enter_context(closing(connect()))
            yield _objects(association, peer, kinds)
            yield _retrieve(association, node, sends_back=sends_back)
            if not association.is_open:  # broken off at the C-MOVE, which says nothing of its queries
                association = calls.enter_context(closing(connect()))
            yield _query(association, node)
            with suppress(PacsError):
                association.release()
    except PeerFailed as error:
        yield Finding(check="what it offers", told="failed", remedy=f"{error}: look into its log")


def _object_of(sop_class: str, syntax: str) -> Deliverable:
    """An object of that kind, for asking how it could be sent."""
    return Deliverable(
        sop_class=sop_class, sop_uid="", transfer_syntax=syntax, size_bytes=0, digest="", study_uid="", series_uid="",
        copies=(),
    )  # fmt: skip


def _objects(association: Association, peer: Peer, kinds: list[tuple[str, str, int]]) -> Finding:
    """Which of the newest objects could be sent there, and how."""
    as_they_are, transcoded, refused = 0, 0, list[tuple[str, str, int]]()
    for kind, syntax, number in kinds:
        try:
            target = usable_contexts(_object_of(kind, syntax), association, peer.syntax)[0].transfer_syntax
        except NotAcceptable:
            refused.append((kind, syntax, number))
            continue
        if target == syntax or can_reencode(syntax, target):
            as_they_are += number
        else:
            transcoded += number
    if not kinds:
        return Finding(check="transfer syntaxes", told="nothing is held yet that could be sent to it")
    if not as_they_are + transcoded:
        return Finding(check="transfer syntaxes", told="it takes none of the kinds of objects that are held here")
    told = f"of the newest objects, {as_they_are} can be sent to it as they are, {transcoded} transcoded"
    if not refused:
        return Finding(check="transfer syntaxes", told=told)
    names = ", ".join(f"{name_of(kind)} in {name_of(syntax)}" for kind, syntax, _ in refused[:_SHOWN])
    count = sum(number for _, _, number in refused)
    return Finding(
        check="transfer syntaxes",
        told=f"{told}, {count} not at all: {names}",
        remedy="if it should get them: allow these SOP classes and transfer syntaxes there",
    )


def _query(association: Association, node: Node) -> Finding:
    context = association.context_of(STUDY_ROOT_FIND)
    if context is None:
        return Finding(check="C-FIND", told="it answers no queries of ours")
    asked = identifier(Level.STUDY, {"StudyInstanceUID": TEST_STUDY_UID}, context.transfer_syntax)
    try:
        answers = sum(1 for _ in islice(find(association, context, asked), _MOST_ANSWERS))
    except PacsError as error:
        return Finding(check="C-FIND", told="failed", remedy=f"{error}: allow {node.settings.aet} to query there")
    if answers == _MOST_ANSWERS:
        association.abort()
        remedy = "its answers cannot be relied on: it does not match StudyInstanceUID"
        return Finding(check="C-FIND", told="it answers with studies that were not asked for", remedy=remedy)
    return Finding(check="C-FIND", told="ok")


def _retrieve(association: Association, node: Node, *, sends_back: bool) -> Finding:
    """Whether it knows where to send what we ask for."""
    context = association.context_of(STUDY_ROOT_MOVE)
    if context is None:
        return Finding(check="C-MOVE", told="it sends nothing that we ask for")
    settings = node.settings
    port = settings.port if settings.port is not None else settings.tls.port
    register = f"register {settings.aet} there, with the address of this server and port {port}"
    study, lately = TEST_STUDY_UID if sends_back else new_uid(), datetime.now(UTC) - _CLOCKS_DIFFER
    before = Dealings(node.index).times_stored(study, lately)
    asked = identifier(Level.STUDY, {"StudyInstanceUID": study}, context.transfer_syntax)
    try:
        final, _ = move(association, context, asked, settings.aet, meanwhile=lambda: None)
    except PacsError as error:
        return Finding(check="C-MOVE", told="failed", remedy=f"{error}: look into its log")
    if final.status == _DESTINATION_UNKNOWN:
        return Finding(check="C-MOVE", told="it does not know this archive as a destination", remedy=register)
    if not sends_back:
        told = f"it answers status 0x{final.status:04X} when nothing is asked for; --send-back tries the way here"
        return Finding(check="C-MOVE", told=told)
    if final.status == 0 and final.completed:
        if not _comes_again(node, study, lately, before):
            return Finding(
                check="C-MOVE", told="it says that it sent the tiny object, which did not come", remedy=register
            )
        told = f"it sent the tiny object back, which is held here now: patient {TEST_PATIENT_ID}"
        return Finding(check="C-MOVE", told=told)
    told = f"it could not send the tiny object here: status 0x{final.status:04X}"
    remedy = f"{register}; here: pacs status, and pacs ae seen"
    return Finding(check="C-MOVE", told=told, remedy=remedy)


def _comes_again(node: Node, study_uid: str, since: datetime, before: int) -> bool:
    """Whether something of a study came here once more: the peer may know another server under our title. It is counted
    because the node that takes it may have another clock.
    """
    deadline = time.monotonic() + _COMES_WITHIN_S
    while Dealings(node.index).times_stored(study_uid, since) <= before:
        if time.monotonic() > deadline:
            return False
        time.sleep(_LOOKS_EVERY_S)
    return True
