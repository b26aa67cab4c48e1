"""C-GET and C-MOVE as the provider: sub-operations one after the other, Pending with counts, the failed ones by name.

Source: PS3.4 sections C.4.2 and C.4.3, PS3.7 sections 9.1.3 and 9.1.4.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Final

from pacs_server import log
from pacs_server.archive.deliver import NotAcceptable, Sender, contexts_for, deliver
from pacs_server.archive.lookup import deliverables, moved_copies
from pacs_server.dicom.identity import AeTitle
from pacs_server.dicom.matching import Model
from pacs_server.dicom.retrieval import parse_retrieve
from pacs_server.dimse.progress import Counts, Progress, RequesterGone, Watch, failed_list
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
from pacs_server.index.registry import Peer
from pacs_server.index.search import Deliverable
from pacs_server.net.association import Association
from pacs_server.net.client import MAX_CONTEXTS, Destination, connect
from pacs_server.net.message import Command, response

_CONNECTIONS: Final = 2  # to one destination for one part: it may drop the first
_BROKEN: Final = (PeerAborted, PeerTimedOut, ProtocolViolation)


def handle_get(session: Session, command: Command, model: Model) -> None:
    """Send what was asked for on this association.

    Raises: PeerAborted, PeerTimedOut or ProtocolViolation when the association broke.
    """
    items = _find_items(session, command, model)
    if items is None:
        return
    progress = Progress(remaining=len(items))
    try:
        work = _Work(session, command, progress, session.caller.syntax, None)
        cancelled = _send_all(work, deque(items), session.association)
    except RequesterGone as gone:
        raise gone.error from gone
    _finish(session, command, progress, cancelled=cancelled)


def handle_move(session: Session, command: Command, model: Model) -> None:
    """Send what was asked for to the destination that the request names, on associations of our own.

    Raises: PeerAborted, PeerTimedOut or ProtocolViolation when the requester's association broke.
    """
    items = _find_items(session, command, model)
    if items is None:
        return
    peer = _destination(session, command.move_destination)
    if peer is None or peer.host is None or peer.port is None:
        title = command.move_destination
        comment = f"Move destination {title} unknown: pacs ae add {title} HOST PORT"
        _end(session, command, Status.MOVE_DESTINATION_UNKNOWN, comment)
        return
    destination = Destination(aet=peer.aet, host=peer.host, port=peer.port)
    progress = Progress(remaining=len(items))
    work = _Work(session, command, progress, peer.syntax, (session.caller.aet, command.message_id))
    cancelled = False
    try:
        for batch in _batches(items, peer.syntax):
            if not cancelled:
                cancelled = _move_batch(work, batch, destination)
    except RequesterGone as gone:
        raise gone.error from gone
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


def _destination(session: Session, title: str) -> Peer | None:
    try:
        return session.archive.registry.peer(AeTitle(title))
    except ValueError:
        return None


def _batches(items: Sequence[Deliverable], preferred: str) -> Iterator[list[Deliverable]]:
    """Cut the objects so that the contexts of each part fit in one association (at most 128, PS3.8 section 9.3.2.2)."""
    batch: list[Deliverable] = []
    kinds: set[tuple[str, str]] = set()
    for item in items:
        kind = (item.sop_class, item.transfer_syntax)
        if kind not in kinds and len(contexts_for([*_one_of_each(batch), item], preferred)) > MAX_CONTEXTS:
            yield batch
            batch, kinds = [], set()
        kinds.add(kind)
        batch.append(item)
    if batch:
        yield batch


def _one_of_each(items: Sequence[Deliverable]) -> list[Deliverable]:
    return list({(item.sop_class, item.transfer_syntax): item for item in items}.values())


class _Work:
    """One retrieve on its way: what sending takes, and who is told of it."""

    def __init__(
        self,
        session: Session,
        command: Command,
        progress: Progress,
        preferred: str,
        originator: tuple[str, int] | None,
    ) -> None:
        self.archive, self.tally, self.progress = session.archive, session.tally, progress
        self.watch = Watch(session, command, progress)
        self._sender = Sender(
            placement=self.archive.placement,
            transcoder=self.archive.transcoder,
            on_damage=self.archive.on_damage,
            meanwhile=self.watch.meanwhile,
        )
        self.preferred = preferred
        self._originator = originator

    def send(self, item: Deliverable, target: Association) -> None:
        """Send one object, count what became of it, and tell the requester now and then.

        Raises: PeerAborted, PeerTimedOut or ProtocolViolation when the association with `target` broke.
        """
        try:
            status = self._deliver(item, target)
        except (NotAcceptable, CopyUnreadable, IndexUnavailable, Undecodable) as error:
            status = status_for(error)
            self.progress.comment = str(error)
            log.warning("not sent", sop=item.sop_uid, to=target.called_aet, why=error)
        self.count(item, status)

    def _deliver(self, item: Deliverable, target: Association) -> int:
        give = partial(
            deliver, association=target, sender=self._sender, originator=self._originator, preferred=self.preferred
        )
        try:
            return give(item)
        except CopyUnreadable:
            if (moved := moved_copies(self.archive.search, item)) is None:
                raise
            return give(moved)

    def count(self, item: Deliverable, status: int) -> None:
        """Note what became of an object."""
        self.progress.note(item, status)
        if status == Status.SUCCESS:
            self.archive.on_read(item)
        self.tally.sent += status == Status.SUCCESS
        self.tally.not_sent += status != Status.SUCCESS
        self.watch.tell()


def _move_batch(work: _Work, batch: list[Deliverable], destination: Destination) -> bool:
    """Send one part to the destination; answers whether the requester cancelled. When the destination drops the
    association, the object that was on its way and the rest are sent over another one, once.
    """
    waiting = deque(batch)
    for _ in range(_CONNECTIONS):
        target = _connect(work, batch, destination)
        if target is None:
            break
        try:
            cancelled = _send_all(work, waiting, target)
            _release(target, destination.aet)
        except _BROKEN as error:
            work.progress.comment = f"association with {destination.aet} broke: {error}"
            log.warning("move destination failed", aet=destination.aet, left=len(waiting), why=error)
        else:
            return cancelled
        finally:
            target.close()
    for item in waiting:
        work.count(item, Status.CANNOT_PERFORM_SUB_OPERATIONS)
    return False


def _connect(work: _Work, batch: list[Deliverable], destination: Destination) -> Association | None:
    settings = work.archive.settings
    proposed = contexts_for(_one_of_each(batch), work.preferred)
    proposals = [(kind[0], syntaxes, False) for kind, syntaxes in proposed.items()]
    try:
        return connect(destination, calling_aet=settings.aet, contexts=proposals, limits=settings.network)
    except (PeerUnreachable, PeerRejected, *_BROKEN) as error:
        log.warning("move destination failed", aet=destination.aet, why=error)
        work.progress.comment = f"{destination.aet} cannot be reached: {error}"
        return None


def _release(target: Association, aet: str) -> None:
    try:
        target.release()
    except _BROKEN as error:
        log.warning("move destination did not release", aet=aet, why=error)


def _send_all(work: _Work, waiting: deque[Deliverable], target: Association) -> bool:
    """Send each object to `target` and take it from `waiting`; answers whether the requester cancelled.

    Raises: PeerAborted, PeerTimedOut or ProtocolViolation when the association with `target` broke.
    """
    while waiting:
        if work.watch.cancelled():
            return True
        work.send(waiting[0], target)
        waiting.popleft()
    return False


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
