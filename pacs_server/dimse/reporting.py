"""Reports of Storage Commitment on the association of the request: handed from the thread that decides to the thread
that the association belongs to.
"""

from __future__ import annotations

import threading
from collections import deque
from enum import Enum, auto
from typing import Final

from pacs_server.dicom.commitment import Report

# A requester that is in the middle of something else for longer is called on an association of its own.
_TAKEN_WITHIN_S: Final = 5.0


class _State(Enum):
    OFFERED = auto()
    TAKEN = auto()
    WITHDRAWN = auto()
    SETTLED = auto()


class Offer:
    """One report for the thread of an association to send. May be used from any thread."""

    def __init__(self, report: Report) -> None:
        self.report = report
        self._state = _State.OFFERED
        self._status: int | None = None
        self._changed = threading.Condition()

    def take(self) -> bool:
        """Begin to send it; False when it was withdrawn."""
        with self._changed:
            if self._state is not _State.OFFERED:
                return False
            self._state = _State.TAKEN
            self._changed.notify_all()
        return True

    def settle(self, status: int | None) -> None:
        """Tell the status that the requester answered, None when it answers no more."""
        with self._changed:
            self._state, self._status = _State.SETTLED, status
            self._changed.notify_all()

    def outcome(self, answered_within_s: float) -> int | None:
        """Wait for the status; None when it was not sent in time, and then never is, or was not answered."""
        with self._changed:
            self._changed.wait_for(lambda: self._state is not _State.OFFERED, _TAKEN_WITHIN_S)
            if self._state is _State.OFFERED:
                self._state = _State.WITHDRAWN
                return None
            self._changed.wait_for(lambda: self._state is _State.SETTLED, answered_within_s)
            return self._status


class Requester:
    """What one association waits for: the context of each transaction, reports that are to be sent, and were sent.

    `awaits` and `sent` belong to the thread of the association.
    """

    def __init__(self) -> None:
        self.awaits: dict[str, int] = {}
        self.sent: dict[int, Offer] = {}
        self.offers: deque[Offer] = deque()


class OpenRequests:
    """Which associations still wait for a report. May be used from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requesters: dict[tuple[str, str], Requester] = {}

    def wait(self, aet: str, transaction_uid: str, requester: Requester, context_id: int) -> None:
        """This association waits for a report, on that presentation context."""
        requester.awaits[transaction_uid] = context_id
        with self._lock:
            self._requesters[aet, transaction_uid] = requester

    def leave(self, aet: str, transaction_uid: str, requester: Requester) -> None:
        """This association does not wait for that report any more."""
        requester.awaits.pop(transaction_uid, None)
        with self._lock:
            if self._requesters.get((aet, transaction_uid)) is requester:
                del self._requesters[aet, transaction_uid]

    def awaited(self) -> dict[str, set[str]]:
        """The transactions that are waited for, by AE title."""
        found: dict[str, set[str]] = {}
        with self._lock:
            for aet, transaction_uid in self._requesters:
                found.setdefault(aet, set()).add(transaction_uid)
        return found

    def close(self, aet: str, requester: Requester) -> None:
        """This association has ended."""
        for transaction_uid in list(requester.awaits):
            self.leave(aet, transaction_uid, requester)
        with self._lock:  # so that nothing is offered after the last look
            left = [*requester.offers, *requester.sent.values()]
        for offer in left:
            offer.settle(None)

    def report(self, aet: str, report: Report, *, answered_within_s: float) -> int | None:
        """Report on the association of the request, if it is open, and wait for the status that is answered.

        None when it is not open, or does not answer.
        """
        offer = Offer(report)
        with self._lock:
            requester = self._requesters.get((aet, report.transaction_uid))
            if requester is None:
                return None
            requester.offers.append(offer)
        return offer.outcome(answered_within_s)
