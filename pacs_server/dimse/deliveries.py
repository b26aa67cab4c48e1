"""The objects of a retrieve, one C-STORE after another over an association that stands, and what became of each.

Source: PS3.4 sections C.4.2.2 and C.4.3.2.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from pacs_server import log
from pacs_server.archive.deliver import NotAcceptable, Sender, deliver, refusal
from pacs_server.archive.lookup import moved_copies
from pacs_server.archive.read_ahead import ReadAhead
from pacs_server.dimse.session import Archive
from pacs_server.dimse.status import Status, status_for
from pacs_server.errors import (
    AssociationBroken,
    CopyUnreadable,
    DecoderUnavailable,
    IndexUnavailable,
    PeerAborted,
    Undecodable,
)
from pacs_server.index.queries.search import Deliverable
from pacs_server.net.association import Association
from pacs_server.net.client import is_stored


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one object: the status of its C-STORE, or why there is none."""

    item: Deliverable
    status: int
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Courier:
    """Who sends what waits over one association: to whom it tells what became of each object, when it stops, what it
    does meanwhile, and whether it is the only one.
    """

    settle: Callable[[Outcome], None]
    is_stopped: Callable[[], bool]
    meanwhile: Callable[[], None]
    is_only: bool


class Deliveries:
    """Those of one retrieve; several threads may send what waits, each over an association of its own."""

    def __init__(self, archive: Archive, *, requester: str, preferred: str, originator: tuple[str, int] | None) -> None:
        """`originator` is of a C-MOVE, `preferred` the transfer syntax that uncompressed objects are wanted in."""
        self._archive = archive
        self._requester = requester
        self._preferred = preferred
        self._originator = originator
        self._broke: set[tuple[str, str]] = set()
        self._given_up: set[tuple[str, str]] = set()
        # To archive servers, so that they have to be fetched before they are sent.
        self.given_up: list[Deliverable] = []
        self.settled = 0  # with the receiver, whatever it answered

    def send_waiting(self, waiting: deque[Deliverable], target: Association, courier: Courier) -> None:
        """Send what waits until nothing does, it is stopped, or another association is needed: a destination may have
        released this one, and an object with which one broke is to be the first over the next, so that it fails for no
        fault of the association. An object that was not settled waits again.

        Raises: AssociationBroken when that with `target` did, or was ended before it took anything.
        """
        # Of several associations each takes some of what waits, and nobody knows which.
        ahead = ReadAhead(self._archive.placement, waiting) if courier.is_only else None
        sender = Sender(
            placement=self._archive.placement,
            transcoder=self._archive.transcoder,
            on_damage=self._archive.on_damage,
            meanwhile=courier.meanwhile,
            ahead=ahead,
        )
        has_taken = False
        try:
            while waiting and not courier.is_stopped():
                # Who asks by C-GET is the peer of its own association, and ends its own retrieve.
                if self._originator and target.is_spent():
                    if has_taken:
                        return
                    raise PeerAborted("the destination ended it before it took anything")
                try:
                    item = waiting.popleft()
                except IndexError:  # another association took the last one
                    return
                if has_taken and (item.sop_uid, item.digest) in self._broke:
                    waiting.appendleft(item)
                    return
                try:
                    outcome = self._attempt(item, target, sender)
                except AssociationBroken as error:
                    self._again(item, waiting, courier, error)
                    raise
                if outcome is None:
                    continue
                self.settled += 1
                has_taken = True
                courier.settle(outcome)
        finally:
            if ahead is not None:
                ahead.close()

    def _again(self, item: Deliverable, waiting: deque[Deliverable], courier: Courier, error: Exception) -> None:
        """Have an object wait again with which the association broke, behind those that may break none; it failed when
        it did so before.
        """
        name = item.sop_uid, item.digest
        if name not in self._broke:
            self._broke.add(name)
            waiting.append(item)
            return
        status, reason = Status.CANNOT_PERFORM_SUB_OPERATIONS, f"the association broke twice when it was sent: {error}"
        log.warning("not sent", sop=item.sop_uid, why=reason)
        courier.settle(Outcome(item=item, status=status, reason=reason))

    def _attempt(self, item: Deliverable, target: Association, sender: Sender) -> Outcome | None:
        """Send an object and tell what became of it; None of one that has to be fetched first."""
        try:
            status = self._deliver(item, target, sender)
            if status is None:
                return None
            reason = "" if is_stored(status) else refusal(status)
        except (NotAcceptable, CopyUnreadable, DecoderUnavailable, IndexUnavailable, Undecodable) as error:
            status, reason = status_for(error), str(error)
        if reason:
            # A C-GET is answered on the association that asks for it, so there we are the ones who were called.
            to = target.called_aet if self._originator else self._requester
            log.warning("not sent", sop=item.sop_uid, to=to, why=reason)
        return Outcome(item=item, status=status, reason=reason)

    def _deliver(self, item: Deliverable, target: Association, sender: Sender) -> int | None:
        give = partial(
            deliver, association=target, sender=sender, originator=self._originator, preferred=self._preferred
        )
        try:
            return give(item)
        except CopyUnreadable:
            moved = moved_copies(self._archive.search, item)
            if moved is None or (item.sop_uid, item.digest) in self._given_up:
                raise
            if not moved.archives:
                return give(moved)
            self._given_up.add((item.sop_uid, item.digest))
            self.given_up.append(moved)
            return None
