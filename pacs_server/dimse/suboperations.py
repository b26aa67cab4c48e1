"""The C-STORE sub-operations of a retrieve: on the association that asks, or on one or several to a destination.

Source: PS3.4 sections C.4.2.2 and C.4.3.2.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from queue import Empty, SimpleQueue
from typing import Final

from pacs_server import log, metrics
from pacs_server.dimse.deliveries import Courier, Deliveries, Outcome
from pacs_server.dimse.move_destination import answered, batches, proposals
from pacs_server.dimse.progress import Progress, Watch
from pacs_server.dimse.session import Session
from pacs_server.dimse.status import Status
from pacs_server.errors import AssociationBroken, IndexUnavailable, PeerFailed
from pacs_server.index.queries.search import Deliverable
from pacs_server.net.association import Association
from pacs_server.net.client import Destination, connect
from pacs_server.net.message import Command

_IN_VAIN: Final = 3  # so many associations in a row over which a destination took nothing: it does not go on
_PAUSE_S: Final = 2.0
_TURN_S: Final = 0.1


class SubOperations:
    """Those of one retrieve. Belongs to the thread of its requester, who is told how far they have come."""

    def __init__(
        self,
        session: Session,
        command: Command,
        progress: Progress,
        *,
        preferred: str,
        originator: tuple[str, int] | None = None,
    ) -> None:
        """`preferred` is the transfer syntax that the receiver wants uncompressed objects in; `originator` the AE title
        and message ID of the C-MOVE that asks.
        """
        self._requester = session.caller.aet
        self._archive, self._tally, self._progress = session.archive, session.tally, progress
        self._watch = Watch(session, command, progress)
        self._preferred = preferred
        self._originator = originator
        self._deliveries = Deliveries(
            session.archive, requester=self._requester, preferred=preferred, originator=originator
        )
        self._own = Courier(
            settle=self._count, is_stopped=self._watch.cancelled, meanwhile=self._watch.meanwhile, is_only=True
        )

    def send(self, items: Sequence[Deliverable], target: Association) -> bool:
        """Send the objects over the association that asked for them; whether it cancelled that.

        Raises: RequesterGone; AssociationBroken.
        """
        waiting = deque(items)
        self._deliveries.send_waiting(waiting, target, self._own)
        return bool(waiting)

    def move(self, items: Sequence[Deliverable], destination: Destination, *, associations: int) -> bool:
        """Send the objects to a destination, over so many associations at once, as soon as not too many others send to
        it; whether that was cancelled.

        Raises: RequesterGone.
        """
        with self._archive.turns.turn(destination.aet, self._waits_on) as has_turn:
            if not has_turn:
                return True
            for batch in batches(items, self._preferred):
                if self._move_batch(batch, destination, min(associations, len(batch))):
                    return True
        return False

    def fetchable(self, items: Sequence[Deliverable]) -> list[Deliverable]:
        """What is only with archive servers, each with those that may be asked for it: not the requester, who would ask
        here again, and so on. What only the requester keeps is counted as failed.
        """
        found = []
        for item in items:
            if others := tuple(aet for aet in item.archives if aet != self._requester):
                found.append(replace(item, archives=others))
            else:
                self._count_failed(item, f"only {self._requester} keeps it, who asks for it")
        return found

    def given_up(self) -> list[Deliverable]:
        """What `fetchable` leaves of the objects whose copies were given up for archive servers after they were looked
        up; each is told of once.
        """
        given_up, self._deliveries.given_up = self._deliveries.given_up, []
        return self.fetchable(given_up)

    def _waits_on(self) -> bool:
        """While the turn of others is waited for: whether the requester still wants it. Raises: RequesterGone."""
        self._watch.meanwhile()
        return not self._watch.cancelled()

    def fetch(self, items: Sequence[Deliverable], send: Callable[[Sequence[Deliverable]], bool]) -> bool:
        """Have objects come from the archive servers that keep them, while the requester is told that it goes on; then
        send them. Those that did not come are counted as failed. Whether it was cancelled.

        Raises: RequesterGone; what `send` raises.
        """
        stop = threading.Event()
        came = self._begin_fetching(items, stop)
        left = {(item.sop_uid, item.digest): item for item in items}
        here: list[Deliverable] = []
        self._watch.tell()
        try:
            while not self._watch.cancelled():
                try:
                    outcome = came.get(timeout=_TURN_S)
                except Empty:
                    self._watch.meanwhile()
                    continue
                if outcome is None:
                    for item in left.values():
                        self._count_failed(item, "it could not be fetched")
                    return bool(here) and send(here)
                item, problem = outcome
                del left[item.sop_uid, item.digest]
                if problem:
                    self._count_failed(item, problem)
                else:
                    here.append(item)
            return True
        finally:
            stop.set()

    def _begin_fetching(
        self, items: Sequence[Deliverable], stop: threading.Event
    ) -> SimpleQueue[tuple[Deliverable, str] | None]:
        """Fetch in a thread of its own, until it is stopped. The queue gets what became of each object, and None at the
        end.
        """
        came: SimpleQueue[tuple[Deliverable, str] | None] = SimpleQueue()

        def fetch() -> None:
            try:
                for outcome in self._archive.fetch(items, stop.is_set):
                    came.put(outcome)
            except IndexUnavailable as error:
                log.warning("not fetched", why=error)
            finally:
                came.put(None)

        threading.Thread(target=fetch, name="fetching", daemon=True).start()
        return came

    def _count_failed(self, item: Deliverable, reason: str) -> None:
        self._count(Outcome(item=item, status=Status.CANNOT_PERFORM_SUB_OPERATIONS, reason=reason))

    def _move_batch(self, batch: list[Deliverable], destination: Destination, associations: int) -> bool:
        """Send one part, and count what could not be sent; whether it was cancelled."""
        waiting = deque(batch)
        if associations > 1:
            cancelled = self._move_side_by_side(waiting, batch, destination, associations)
        else:
            cancelled = self._move_waiting(waiting, batch, destination, self._own)
        if not cancelled:
            for item in waiting:
                self._count(Outcome(item=item, status=Status.CANNOT_PERFORM_SUB_OPERATIONS))
        return cancelled

    def _move_side_by_side(
        self, waiting: deque[Deliverable], batch: list[Deliverable], destination: Destination, associations: int
    ) -> bool:
        """Each association takes the next object that waits. The requester is told by its own thread, this one."""
        settled: SimpleQueue[Outcome | None] = SimpleQueue()
        stop = threading.Event()
        courier = Courier(settle=settled.put, is_stopped=stop.is_set, meanwhile=lambda: None, is_only=False)
        with ThreadPoolExecutor(associations, "sub-operations") as threads:
            moves = [
                threads.submit(self._move_waiting, waiting, batch, destination, courier) for _ in range(associations)
            ]
            for move in moves:
                move.add_done_callback(lambda _: settled.put(None))
            try:
                cancelled = self._settle_all(settled, stop, associations)
            finally:
                stop.set()
        for move in moves:
            move.result()  # an error that nobody foresaw
        return cancelled

    def _settle_all(self, settled: SimpleQueue[Outcome | None], stop: threading.Event, running: int) -> bool:
        """Count what the associations settle until each has ended with None; whether the requester cancelled."""
        cancelled = False
        while running:
            cancelled = cancelled or self._watch.cancelled()
            if cancelled:
                stop.set()
            try:
                outcome = settled.get(timeout=_TURN_S)
            except Empty:
                self._watch.meanwhile()
                continue
            if outcome is None:
                running -= 1
            else:
                self._count(outcome)
        return cancelled

    def _move_waiting(
        self, waiting: deque[Deliverable], batch: list[Deliverable], destination: Destination, courier: Courier
    ) -> bool:
        """Send what waits over an association of its own; whether that was stopped. When the destination ends the
        association, the object that was on its way and the rest are sent over another one; the rest alone when that
        object is dropped twice. One that took something, and cannot be called now, is called again in a moment: it may
        be busy with the end of the last association, or start anew.
        """
        in_vain = 0
        while waiting and in_vain < _IN_VAIN:
            target = self._connect(batch, destination, courier)
            if target is None:
                if not self._deliveries.settled or not _paused(waiting, courier):
                    return courier.is_stopped()
                in_vain += 1
                continue
            settled = self._deliveries.settled
            try:
                self._deliveries.send_waiting(waiting, target, courier)
                _release(target, destination.aet)
            except AssociationBroken as error:
                self._progress.comment = f"the association broke: {error}"
                log.warning("move destination failed", aet=destination.aet, left=len(waiting), why=error)
                in_vain = in_vain + 1 if self._deliveries.settled == settled else 0
            else:
                if courier.is_stopped():
                    return bool(waiting)
                in_vain = 0
            finally:
                target.close()
        return False

    def _connect(self, batch: Sequence[Deliverable], destination: Destination, courier: Courier) -> Association | None:
        """An association with the destination; None when there is none, or it is stopped. Raises: RequesterGone."""
        settings = self._archive.settings
        request = partial(
            connect,
            destination,
            calling_aet=settings.aet,
            contexts=proposals(batch, self._preferred),
            limits=settings.network,
        )

        def goes_on() -> bool:
            courier.meanwhile()
            return not courier.is_stopped()

        try:
            return answered(request, goes_on)
        except PeerFailed as error:
            log.warning("move destination failed", aet=destination.aet, why=error)
            self._progress.comment = str(error).removeprefix(f"{destination} ")  # 64 characters go out
            return None

    def _count(self, outcome: Outcome) -> None:
        """Note what became of an object, and tell the requester now and then. Raises: RequesterGone."""
        self._progress.comment = outcome.reason or self._progress.comment
        is_sent = self._progress.note(outcome.item, outcome.status)
        if is_sent:
            self._archive.on_read(outcome.item)
        self._tally.sent += is_sent
        self._tally.not_sent += not is_sent
        metrics.add(metrics.SENT, "move" if self._originator else "get", "sent" if is_sent else "failed")
        self._watch.tell()


def _paused(waiting: Sequence[Deliverable], courier: Courier) -> bool:
    """Wait a moment, as long as something waits to be sent and it is not stopped; whether it is not."""
    until = time.monotonic() + _PAUSE_S
    while not (is_stopped := courier.is_stopped()) and waiting and (left_s := until - time.monotonic()) > 0:
        courier.meanwhile()
        time.sleep(min(left_s, _TURN_S))
    return not is_stopped


def _release(target: Association, aet: str) -> None:
    try:
        target.release()
    except AssociationBroken as error:
        log.warning("move destination did not release", aet=aet, why=error)
