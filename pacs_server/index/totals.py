"""How many objects are held and how large they are, counted without reading all of their rows each time."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass
from typing import Final

from sqlalchemy import func, select

from pacs_server.index.engine import Index
from pacs_server.index.tables import instances

_PORTION: Final = 50_000
_IN_TURN: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Objects by their role, and the size of all of them in bytes."""

    by_role: Counter[str]
    size_bytes: int


class Counting:
    """Counts the objects in portions of their rows, each in a read of its own. May be used from any thread.

    One read of ten million rows takes a minute, and while it lasts SQLite cannot empty its log: it grew to 350 MB, and
    objects were stored at half the rate. So the sum of each portion is kept. Where objects arrive it is taken anew each
    time, elsewhere in turn, because objects change their role or go.
    """

    def __init__(self, index: Index, *, portion: int = _PORTION, in_turn: int = _IN_TURN) -> None:
        self._index = index
        self._portion = portion
        self._in_turn = in_turn
        self._sums: dict[int, Totals] = {}
        self._newest = 0
        self._turn = 0
        self._lock = threading.Lock()

    def totals(self) -> Totals:
        """All that is held: with everything that has arrived; what was deleted, of a large index, a little later.

        Raises: IndexUnavailable.
        """
        with self._lock:
            with self._index.read() as connection:
                last: int = connection.execute(select(func.coalesce(func.max(instances.c.id), 0))).scalar_one()
            portions = last // self._portion + 1
            self._sums = {number: found for number, found in self._sums.items() if number < portions}
            for number in range(portions):
                if number >= self._newest or number not in self._sums or self._has_its_turn(number, portions):
                    self._sums[number] = self._sum(number)
            self._newest = portions - 1
            self._turn = (self._turn + self._in_turn) % portions
            found = self._sums.values()
            by_role = sum((one.by_role for one in found), Counter[str]())
            return Totals(by_role=by_role, size_bytes=sum(one.size_bytes for one in found))

    def _has_its_turn(self, number: int, portions: int) -> bool:
        return (number - self._turn) % portions < self._in_turn

    def _sum(self, number: int) -> Totals:
        low = number * self._portion
        counted = select(instances.c.role, func.count(), func.coalesce(func.sum(instances.c.size_bytes), 0))
        counted = counted.where(instances.c.id.between(low, low + self._portion - 1)).group_by(instances.c.role)
        with self._index.read() as connection:
            rows = connection.execute(counted).all()
        return Totals(
            by_role=Counter({role: number for role, number, _ in rows}), size_bytes=sum(int(size) for *_, size in rows)
        )
