"""Whether index and volumes take what is sent: of one that answers only what becomes of objects tells whether it has
room.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Final

from pacs_server import metrics
from pacs_server.errors import IndexUnavailable
from pacs_server.metrics import Family, Totals
from pacs_server.storage.volume import Volume

# A node that is not ready gets nothing from a load balancer, so that nothing shows that it could take objects again.
_HELD_S: Final = 15.0
_LATELY: Final = timedelta(minutes=15)
_MOMENTS: Final = 1_000  # of which it is remembered what failed: as many as there are looks in that time
_FEW: Final = 3  # an object that was deleted while it was sent is not recorded either


class Intake:
    """Belongs to one thread. `totals` is what all processes have counted."""

    def __init__(self, totals: Callable[[], Totals]) -> None:
        self._totals = totals
        self._stored, self._unrecorded = self._counts()
        self._problem, self._until = "", 0.0

    def check(self) -> None:
        """Compare with the last look.

        Raises: IndexUnavailable when the index did not take more than a few objects since, and more than were stored;
        and for 15 s after that.
        """
        before, (self._stored, self._unrecorded) = (self._stored, self._unrecorded), self._counts()
        stored, unrecorded = self._stored - before[0], self._unrecorded - before[1]
        if unrecorded > max(stored, _FEW):
            self._problem = (
                f"it did not take {unrecorded:.0f} of the last {stored + unrecorded:.0f} objects: look into the log for"
                " the reason, mostly a full disk"
            )
            self._until = time.monotonic() + _HELD_S
        elif stored:
            self._until = 0.0
        if time.monotonic() < self._until:
            raise IndexUnavailable(self._problem)

    def _counts(self) -> tuple[float, float]:
        """How many objects were stored, and how many the index did not take."""
        totals = self._totals()
        return _sum(totals, metrics.STORED), _sum(totals, metrics.UNRECORDED)


class Writes:
    """Belongs to one thread. `totals` is what all processes have counted."""

    def __init__(self, totals: Callable[[], Totals]) -> None:
        self._totals = totals
        self._failed = self._counts()
        self._lately: dict[str, deque[tuple[datetime, float]]] = {}

    def doubt(self, volumes: Iterable[Volume]) -> None:
        """Have those looked at by writing that did not take a copy since the last look, in whichever process."""
        before, self._failed = self._failed, self._counts()
        for volume in volumes:
            name = volume.spec.name
            if (failed := self._failed.get(name, 0) - before.get(name, 0)) > 0:
                volume.doubt()
                self._lately.setdefault(name, deque(maxlen=_MOMENTS)).append((datetime.now(UTC), failed))

    def untaken(self, volume: Volume) -> int:
        """How many copies it did not take in the last quarter of an hour, while it was found to be as it is: one that
        is well may fail in a folder.
        """
        since = max(volume.state.since, datetime.now(UTC) - _LATELY)
        return round(sum(failed for at, failed in self._lately.get(volume.spec.name, ()) if at > since))

    def _counts(self) -> dict[str, float]:
        counted = self._totals().get(metrics.UNWRITTEN.name, {})
        return {name: numbers[0] for (name,), numbers in counted.items()}


def _sum(totals: Totals, family: Family) -> float:
    return sum(numbers[0] for numbers in totals.get(family.name, {}).values())
