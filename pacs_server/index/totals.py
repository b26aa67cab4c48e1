"""How many objects are held and how large they are, counted without reading all of their rows each time."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from sqlalchemy import func, select

from pacs_server.index.engine import Index
from pacs_server.index.tables import instances

_PORTION: Final = 50_000
_IN_TURN: Final = 4


def portions(index: Index, size: int = _PORTION) -> Iterator[tuple[int, int]]:
    """The first and the last row of each portion of the objects, so that nobody reads all of them at once.

    Raises: IndexUnavailable.
    """
    with index.read() as connection:
        last: int = connection.execute(select(func.coalesce(func.max(instances.c.id), 0))).scalar_one()
    return ((first, first + size - 1) for first in range(0, last + 1, size))


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Objects by their role, and the size of all of them in bytes."""

    by_role: Counter[str]
    size_bytes: int


class Counting:
    """Counts the objects in portions of their rows, each in a read of its own. May be used from any thread.

    To read ten million rows takes 10 s, or a minute beside other work, and while one read lasts SQLite cannot empty its
    log: it grew to 500 MB, and objects were stored at two thirds of the rate. So the sum of each portion is kept. Where
    objects arrive it is taken anew each time, elsewhere in turn, because objects change their role or go.
    """

    def __init__(self, index: Index, *, portion: int = _PORTION, in_turn: int = _IN_TURN) -> None:
        self._index = index
        self._portion = portion
        self._in_turn = in_turn
        self._sums: list[Totals] = []
        self._turn = 0
        self._lock = threading.Lock()

    def totals(self) -> Totals:
        """All that is held: with everything that has arrived; what was deleted, of a large index, a little later.

        Raises: IndexUnavailable.
        """
        with self._lock:
            all_of_them = list(portions(self._index, self._portion))
            del self._sums[len(all_of_them) :]
            for number, (first, last) in enumerate(all_of_them):
                has_its_turn = (number - self._turn) % len(all_of_them) < self._in_turn
                if has_its_turn or number >= len(self._sums) - 1:
                    self._sums[number : number + 1] = [self._sum(first, last)]
            self._turn = (self._turn + self._in_turn) % len(all_of_them)
            by_role = sum((one.by_role for one in self._sums), Counter[str]())
            return Totals(by_role=by_role, size_bytes=sum(one.size_bytes for one in self._sums))

    def _sum(self, first: int, last: int) -> Totals:
        counted = select(instances.c.role, func.count(), func.coalesce(func.sum(instances.c.size_bytes), 0))
        counted = counted.where(instances.c.id.between(first, last)).group_by(instances.c.role)
        with self._index.read() as connection:
            rows = connection.execute(counted).all()
        return Totals(
            by_role=Counter({role: number for role, number, _ in rows}), size_bytes=sum(int(size) for *_, size in rows)
        )
