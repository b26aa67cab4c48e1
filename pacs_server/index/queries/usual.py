"""Which transfer syntaxes the objects of each class have: a C-GET has to agree on one before it tells what it wants."""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Final

from sqlalchemy import func, select

from pacs_server.dicom.elements import EXPLICIT_LE
from pacs_server.dicom.pixels.transcoding import widest_syntax
from pacs_server.index.engine import Index
from pacs_server.index.tables import instances, is_current

_PORTION: Final = 50_000
# Of the newest rows, which are read again: others are entered before them, or in the place of what was removed.
_UNSETTLED: Final = 200
_LOOK_EVERY_S: Final = 1.0


class UsualSyntaxes:
    """Counts the objects of each SOP class by their transfer syntax. May be used from any thread.

    Each object is read once, but for the newest: those that arrive, and what was there before in portions, because an
    association waits for it (ten million rows take 10 s and more).
    """

    def __init__(
        self,
        index: Index,
        *,
        portion: int = _PORTION,
        unsettled: int = _UNSETTLED,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._index = index
        self._portion = portion
        self._unsettled = unsettled
        self._monotonic = monotonic
        self._usual: dict[str, str] = {}
        self._counted: Counter[tuple[str, str]] = Counter()
        self._first: int | None = None  # the first row that was counted; those from there to `_next` were
        self._next = 0
        self._look_at = float("-inf")
        self._lock = threading.Lock()

    def of(self, sop_class: str) -> str | None:
        """The transfer syntax in which most objects of a class can be sent, by what was read until a second ago; None
        when there are none. As long as some were not read, one is taken for an uncompressed one.

        Raises: IndexUnavailable.
        """
        if self._monotonic() >= self._look_at:
            with self._lock:
                if self._monotonic() >= self._look_at:
                    self._look()
                    self._look_at = self._monotonic() + _LOOK_EVERY_S
        return self._usual.get(sop_class)

    def _look(self) -> None:
        with self._index.read() as connection:
            newest: int = connection.execute(select(func.coalesce(func.max(instances.c.id), 0))).scalar_one()
        if self._first is None:
            self._first = self._next = max(0, newest + 1 - self._unsettled)
        if self._first:
            first = max(0, self._first - self._portion)
            self._counted += self._read(first, self._first)
            self._first = first
        if (settled := min(newest + 1 - self._unsettled, self._next + self._portion)) > self._next:
            self._counted += self._read(self._next, settled)
            self._next = settled
        end = min(newest + 1, self._next + self._unsettled)
        are_unread = bool(self._first) or end <= newest
        numbers: dict[str, Counter[str]] = defaultdict(lambda: Counter({EXPLICIT_LE: int(are_unread)}))
        for (sop_class, syntax), number in (self._counted + self._read(self._next, end)).items():
            numbers[sop_class][syntax] += number
        # Once for each look: an association asks for a hundred classes.
        self._usual = {sop_class: widest_syntax(kinds) for sop_class, kinds in numbers.items()}

    def _read(self, first: int, end: int) -> Counter[tuple[str, str]]:
        kinds = select(instances.c.sop_class, instances.c.transfer_syntax, func.count())
        kinds = kinds.where(instances.c.id >= first, instances.c.id < end, is_current(instances))
        with self._index.read() as connection:
            read = connection.execute(kinds.group_by(instances.c.sop_class, instances.c.transfer_syntax)).all()
        return Counter({(sop_class, syntax): number for sop_class, syntax, number in read})
