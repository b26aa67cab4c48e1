"""C-GET and C-MOVE as the provider: what is asked for and where it goes, and at the end the failed ones by name.

Source: PS3.4 sections C.4.2 and C.4.3, PS3.7 sections 9.1.3 and 9.1.4.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from pacs_server import log, metrics
from pacs_server.archive.calling import way_to
from pacs_server.dicom.audit import EventKind, EventOutcome
from pacs_server.dicom.identity import AeTitle
from pacs_server.dicom.queries.matching import Model
from pacs_server.dicom.queries.retrieval import named_in, parse_retrieve
from pacs_server.dimse.progress import Counts, Progress, RequesterGone, failed_list
from pacs_server.dimse.session import Session
from pacs_server.dimse.status import Status, comment_for, status_for
from pacs_server.dimse.suboperations import SubOperations
from pacs_server.errors import BadQuery, IndexUnavailable
from pacs_server.index.queries.search import Deliverable
from pacs_server.index.site.peers import Peer
from pacs_server.net.message import Command, response


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a requester asks for: its identifier, and the objects that are held of it."""

    identifier: bytes
    items: Sequence[Deliverable]


def handle_get(session: Session, command: Command, model: Model) -> None:
    """Send what was asked for on this association.

    Raises: AssociationBroken.
    """
    asked = _find_items(session, command, model)
    if asked is None:
        return
    items = asked.items
    progress = Progress(remaining=len(items))
    with _audited(session, items, progress, session.caller.aet, "C-GET"):
        try:
            work = SubOperations(session, command, progress, preferred=session.caller.syntax)
            cancelled = _send_all(work, items, lambda some: work.send(some, session.association))
        except RequesterGone as gone:
            raise gone.error from gone
    _finish(session, command, progress, cancelled=cancelled)


def handle_move(session: Session, command: Command, model: Model) -> None:
    """Send what was asked for to the destination that the request names, on associations of our own.

    Raises: AssociationBroken when that of the requester did.
    """
    asked = _find_items(session, command, model)
    if asked is None:
        return
    try:
        peer = _destination(session, command.move_destination)
    except IndexUnavailable as error:
        _refuse(session, command, status_for(error), str(error), asked)
        return
    if isinstance(peer, str):
        _refuse(session, command, Status.MOVE_DESTINATION_UNKNOWN, peer, asked)
        return
    items = asked.items
    destination = way_to(peer, session.archive.settings.tls_files)
    progress = Progress(remaining=len(items))
    asked_by = session.caller.aet, command.message_id
    work = SubOperations(session, command, progress, preferred=peer.syntax, originator=asked_by)
    with _audited(session, items, progress, peer.aet, "C-MOVE"):
        try:
            at_once = peer.associations
            cancelled = _send_all(work, items, lambda some: work.move(some, destination, associations=at_once))
        except RequesterGone as gone:
            raise gone.error from gone
    _finish(session, command, progress, cancelled=cancelled)


def _send_all(work: SubOperations, items: Sequence[Deliverable], send: Callable[[Sequence[Deliverable]], bool]) -> bool:
    """Send what is here, then what had to be fetched from an archive server; whether that was cancelled.

    Raises: RequesterGone; what `send` raises.
    """
    here, away = ([item for item in items if bool(item.archives) is is_away] for is_away in (False, True))
    away = work.fetchable(away)
    if here and send(here):
        return True
    away += work.given_up()
    return bool(away) and work.fetch(away, send)


def _find_items(session: Session, command: Command, model: Model) -> _Asked | None:
    """The objects asked for; None when the request was answered with a refusal."""
    association = session.association
    syntax = association.contexts[command.context_id].transfer_syntax
    identifier = b""
    try:
        identifier = association.read_identifier()
        request = parse_retrieve(identifier, syntax, model, assumed_charset=session.caller.origin.charset)
        return _Asked(identifier, session.archive.search.deliverables(request))
    except (BadQuery, IndexUnavailable) as refusal:
        _refuse(session, command, status_for(refusal), str(refusal), _Asked(identifier, ()))
        return None


def _refuse(session: Session, command: Command, status: Status, why: str, asked: _Asked) -> None:
    """Answer a refusal. The audit trail is told of each study of which objects were asked for, as when they are sent,
    or where none is held of whom the identifier names.
    """
    target, refused = command.move_destination, EventOutcome.REFUSED
    for study_uid, count in Counter(item.study_uid for item in asked.items).items():
        session.audit(EventKind.SEND, refused, target=target, study_uid=study_uid, count=count, detail=why)
    if not asked.items:
        syntax = session.association.contexts[command.context_id].transfer_syntax
        named = named_in(asked.identifier, syntax, assumed_charset=session.caller.origin.charset)
        session.audit(
            EventKind.SEND,
            refused,
            target=target,
            patient_id=named.patient_id,
            issuer=named.issuer,
            study_uid=named.study_uid,
            detail=why,
        )
    _end(session, command, status, why)


@contextmanager
def _audited(
    session: Session, items: Sequence[Deliverable], progress: Progress, target: str, what: str
) -> Iterator[None]:
    """Have the audit trail tell that each study is about to be sent, and what of it was when the retrieve is over,
    however it ends. Source: PS3.15 sections A.5.3.3 and A.5.3.7, one patient for each message.
    """
    studies: dict[str, list[str]] = {}
    for item in items:
        studies.setdefault(item.study_uid, []).append(item.sop_uid)
    for study_uid, sop_uids in studies.items():
        session.audit(EventKind.BEGIN, target=target, study_uid=study_uid, sop_uids=sop_uids, detail=what)
    try:
        yield
    finally:
        for study_uid, sop_uids in studies.items():
            arrived = progress.arrived.get(study_uid, [])
            outcome = EventOutcome.DONE if len(arrived) == len(sop_uids) else EventOutcome.PARTLY
            session.audit(
                EventKind.SEND,
                outcome if arrived else EventOutcome.FAILED,
                target=target,
                study_uid=study_uid,
                sop_uids=arrived,
                detail=f"{what}; {progress.comment}" if progress.comment else what,
            )


def _destination(session: Session, title: str) -> Peer | str:
    """The peer to which a requester wants something moved, or why that is not done. Raises: IndexUnavailable."""
    aet, allowed = session.caller.aet, session.caller.destinations
    if not title:
        return "the C-MOVE has no Move Destination: give the AE title of a peer"
    if title == session.archive.settings.aet:
        return f"Move destination {title} is this archive, which holds the objects"
    if allowed and title not in allowed:
        return f"{aet} may not move to {title}: pacs ae set {aet} --destinations ..."
    try:
        peer = session.archive.registry.peer(AeTitle(title))
    except ValueError:
        peer = None
    if peer is None or peer.host is None or peer.port is None:
        return f"Move destination {title} unknown: pacs ae add {title} HOST PORT"
    return peer


def _finish(session: Session, command: Command, progress: Progress, *, cancelled: bool) -> None:
    status = Status.CANCEL if cancelled else progress.final_status()
    counts = progress.counts()
    if not cancelled:
        del counts["remaining"]  # PS3.4 C.4.2.1.6: only in Pending and Cancel responses
    comment = "" if status == Status.SUCCESS else progress.comment  # what was mended by another attempt is no matter
    _end(session, command, status, comment, failed_uids=progress.failed_uids, counts=counts)


def _reads_identifier(session: Session, command: Command) -> bool:
    """Whether a requester reads the identifier of a final response. DCMTK's DcmSCU (3.6.7), and CTK's copy of it in 3D
    Slicer, leave that of a C-GET where it is, and take it for the answer to their next request.
    """
    return bool(command.move_destination) or not session.association.implementation.startswith("OFFIS_DCMTK")


def _end(
    session: Session,
    command: Command,
    status: Status,
    comment: str,
    *,
    failed_uids: Sequence[str] = (),
    counts: Counts | None = None,
) -> None:
    """Answer the final response and log the deed."""
    association = session.association
    syntax = association.contexts[command.context_id].transfer_syntax
    identifier = failed_list(failed_uids, syntax) if failed_uids and _reads_identifier(session, command) else None
    told = comment_for(comment)
    final = response(command, status, comment=told, has_data_set=identifier is not None, **(counts or {}))
    if status != Status.SUCCESS:
        metrics.add(metrics.FAILURES, "move" if command.move_destination else "get", hex(status))
    association.respond(final, command.context_id, identifier)
    log.info(
        "retrieve",
        calling=session.caller.aet,
        to=command.move_destination or session.caller.aet,
        status=hex(status),
        **(counts or {}),
        why=comment or None,
    )
