"""C-GET and C-MOVE as the provider: sub-operations one after the other, Pending with counts, the failed ones by name.

Source: PS3.4 sections C.4.2 and C.4.3, PS3.7 sections 9.1.3 and 9.1.4.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias, TypedDict

from pacs_server import log
from pacs_server.archive.deliver import NotAcceptable, contexts_for, deliver
from pacs_server.archive.lookup import deliverables, moved_copies
from pacs_server.dicom.elements import encoding_of
from pacs_server.dicom.identity import AeTitle
from pacs_server.dicom.matching import Model
from pacs_server.dicom.retrieval import parse_retrieve
from pacs_server.dimse.session import Session
from pacs_server.dimse.status import Status, status_for
from pacs_server.errors import (
    BadQuery,
    CopyUnreadable,
    IndexUnavailable,
    PeerAborted,
    PeerRejected,
    PeerTimedOut,
    PeerUnreachable,
    ProtocolViolation,
    Undecodable,
)
from pacs_server.index.search import Deliverable
from pacs_server.net.association import Association
from pacs_server.net.client import MAX_CONTEXTS, Destination, connect
from pacs_server.net.message import Command, response
from pacs_server.storage.placement import Placement

_PENDING_EVERY_S: Final = 0.1
_WARNINGS: Final = frozenset({0x0001, 0x0107, 0x0116, 0xB000, 0xB006, 0xB007})  # PS3.4 B.2.3, PS3.7 annex C.4
_FAILED_UID_LIST: Final = 0x00080058
_MAX_UI_BYTES: Final = 65534
_MAX_COUNT: Final = 65535  # the counts of PS3.7 table 9.1-3 are US

Send: TypeAlias = Callable[[Deliverable], int]


class Counts(TypedDict, total=False):
    """The numbers of sub-operations that a response tells; a final one leaves out those that remain."""

    remaining: int
    completed: int
    failed: int
    warning: int


@dataclass(slots=True)
class Progress:
    """How far one retrieve has come."""

    remaining: int
    completed: int = 0
    warning: int = 0
    failed_uids: list[str] = field(default_factory=list)
    comment: str = ""

    def note(self, item: Deliverable, status: int) -> None:
        """Count one sub-operation by the status of its C-STORE response."""
        self.remaining -= 1
        if status == Status.SUCCESS:
            self.completed += 1
        elif status in _WARNINGS:
            self.warning += 1
        else:
            self.failed_uids.append(item.sop_uid)

    def counts(self) -> Counts:
        """The four counts of a response."""
        return {
            "remaining": min(self.remaining, _MAX_COUNT),
            "completed": min(self.completed, _MAX_COUNT),
            "failed": min(len(self.failed_uids), _MAX_COUNT),
            "warning": min(self.warning, _MAX_COUNT),
        }

    def final_status(self) -> Status:
        """The status that ends the retrieve when it was not cancelled."""
        if not self.failed_uids:
            return Status.SUB_OPERATIONS_WITH_FAILURES if self.warning else Status.SUCCESS
        nothing_arrived = not self.completed and not self.warning
        return Status.CANNOT_PERFORM_SUB_OPERATIONS if nothing_arrived else Status.SUB_OPERATIONS_WITH_FAILURES


def handle_get(session: Session, command: Command, model: Model) -> None:
    """Send what was asked for on this association.

    Raises: PeerAborted, PeerTimedOut or ProtocolViolation when the association broke.
    """
    items = _find_items(session, command, model)
    if items is not None:
        progress = Progress(remaining=len(items))
        cancelled = _send_all(session, command, items, progress, session.association, originator=None)
        _finish(session, command, progress, cancelled=cancelled)


def handle_move(session: Session, command: Command, model: Model) -> None:
    """Send what was asked for to the destination that the request names, on associations of our own.

    Raises: PeerAborted, PeerTimedOut or ProtocolViolation when the requester's association broke.
    """
    items = _find_items(session, command, model)
    if items is None:
        return
    destination = _destination(session, command.move_destination)
    if destination is None:
        title = command.move_destination
        comment = f"Move destination {title} unknown: pacs ae add {title} HOST PORT"
        _end(session, command, Status.MOVE_DESTINATION_UNKNOWN, comment)
        return
    progress = Progress(remaining=len(items))
    cancelled = False
    for batch in _batches(items):
        if not cancelled:
            cancelled = _move_batch(session, command, batch, progress, destination)
    _finish(session, command, progress, cancelled=cancelled)


def _find_items(session: Session, command: Command, model: Model) -> list[Deliverable] | None:
    """The objects asked for; None when the request was answered with a refusal."""
    association = session.association
    if not command.has_data_set:
        _end(session, command, Status.DATA_SET_MISMATCH, "the retrieve has no identifier")
        return None
    try:
        syntax = association.contexts[command.context_id].transfer_syntax
        identifier = association.read_identifier()
        request = parse_retrieve(identifier, syntax, model, assumed_charset=session.caller.origin.charset)
        return deliverables(session.archive.search, request)
    except (BadQuery, IndexUnavailable) as refusal:
        _end(session, command, status_for(refusal), str(refusal))
        return None


def _destination(session: Session, title: str) -> Destination | None:
    try:
        peer = session.archive.registry.peer(AeTitle(title))
    except ValueError:
        return None
    if peer is None or peer.host is None or peer.port is None:
        return None
    return Destination(aet=peer.aet, host=peer.host, port=peer.port)


def _batches(items: Sequence[Deliverable]) -> Iterator[list[Deliverable]]:
    """Cut the objects so that the contexts of each part fit in one association (at most 128, PS3.8 section 9.3.2.2)."""
    batch: list[Deliverable] = []
    kinds: set[tuple[str, str]] = set()
    for item in items:
        kind = (item.sop_class, item.transfer_syntax)
        if kind not in kinds and len(contexts_for([*_one_of_each(batch), item])) > MAX_CONTEXTS:
            yield batch
            batch, kinds = [], set()
        kinds.add(kind)
        batch.append(item)
    if batch:
        yield batch


def _one_of_each(items: Sequence[Deliverable]) -> list[Deliverable]:
    return list({(item.sop_class, item.transfer_syntax): item for item in items}.values())


def _move_batch(
    session: Session, command: Command, batch: list[Deliverable], progress: Progress, destination: Destination
) -> bool:
    """Send one part over one association to the destination; answers whether the requester cancelled."""
    settings = session.archive.settings
    proposals = [(kind[0], syntaxes, False) for kind, syntaxes in contexts_for(_one_of_each(batch)).items()]
    try:
        target = connect(destination, calling_aet=settings.aet, contexts=proposals, limits=settings.network)
    except (PeerUnreachable, PeerRejected, PeerTimedOut, PeerAborted, ProtocolViolation) as error:
        log.warning("move destination failed", aet=destination.aet, why=error)
        progress.comment = f"{destination.aet} cannot be reached: {error}"
        for item in batch:
            progress.note(item, Status.CANNOT_PERFORM_SUB_OPERATIONS)
        return False
    try:
        originator = (session.caller.aet, command.message_id)
        cancelled = _send_all(session, command, batch, progress, target, originator=originator)
        _release(target, destination.aet)
        return cancelled
    finally:
        target.close()


def _release(target: Association, aet: str) -> None:
    try:
        target.release()
    except (PeerAborted, PeerTimedOut, ProtocolViolation) as error:
        log.warning("move destination did not release", aet=aet, why=error)


def _send_all(
    session: Session,
    command: Command,
    items: Sequence[Deliverable],
    progress: Progress,
    target: Association,
    *,
    originator: tuple[str, int] | None,
) -> bool:
    """Send each object to `target`, with Pending to the requester meanwhile; answers whether that one cancelled."""
    requester, tally = session.association, session.tally
    placement = session.archive.placement()
    last_pending = 0.0
    broken = False
    for item in items:
        if requester.cancelled(command.message_id):
            return True
        status: int = Status.CANNOT_PERFORM_SUB_OPERATIONS
        try:
            if not broken:
                status = _deliver(session, item, target, placement, originator)
        except (NotAcceptable, CopyUnreadable, IndexUnavailable, Undecodable) as error:
            status = status_for(error)
            progress.comment = str(error)
            log.warning("not sent", sop=item.sop_uid, to=target.called_aet, why=error)
        except (PeerAborted, PeerTimedOut, ProtocolViolation) as error:
            if target is requester:
                raise
            broken = True
            progress.comment = f"association with {target.called_aet} broke: {error}"
            log.warning("move destination failed", aet=target.called_aet, why=error)
        progress.note(item, status)
        if status == Status.SUCCESS:
            session.archive.on_read(item)
        tally.sent += status == Status.SUCCESS
        tally.not_sent += status != Status.SUCCESS
        now = time.monotonic()
        if progress.remaining and now - last_pending >= _PENDING_EVERY_S:
            last_pending = now
            requester.respond(response(command, Status.PENDING, **progress.counts()), command.context_id)
    return False


def _deliver(
    session: Session,
    item: Deliverable,
    target: Association,
    placement: Placement,
    originator: tuple[str, int] | None,
) -> int:
    try:
        return deliver(item, target, placement, session.archive.on_damage, originator=originator)
    except CopyUnreadable:
        if (moved := moved_copies(session.archive.search, item)) is None:
            raise
        return deliver(moved, target, session.archive.placement(), session.archive.on_damage, originator=originator)


def _finish(session: Session, command: Command, progress: Progress, *, cancelled: bool) -> None:
    status = Status.CANCEL if cancelled else progress.final_status()
    counts = progress.counts()
    if not cancelled:
        del counts["remaining"]  # PS3.4 C.4.2.1.6: only in Pending and Cancel responses
    _end(session, command, status, progress.comment, failed_uids=progress.failed_uids, counts=counts)


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
    identifier = failed_list(failed_uids, syntax) if failed_uids else None
    final = response(command, status, comment=comment, has_data_set=identifier is not None, **(counts or {}))
    association.respond(final, command.context_id, identifier)
    log.info(
        "retrieve",
        calling=session.caller.aet,
        to=command.move_destination or session.caller.aet,
        status=hex(status),
        **(counts or {}),
        why=comment or None,
    )


def failed_list(uids: Sequence[str], transfer_syntax: str) -> bytes:
    """The identifier that names the objects that failed, as many as one element can hold.

    Source: PS3.4 section C.4.2.1.4.2 (Failed SOP Instance UID List).
    """
    value = "\\".join(uids).encode("latin-1")
    if len(value) > _MAX_UI_BYTES:
        value = value[: value.rindex(b"\\", 0, _MAX_UI_BYTES)]
    value += b"\0" * (len(value) % 2)
    return encoding_of(transfer_syntax).write_header(_FAILED_UID_LIST, b"UI", len(value)) + value
