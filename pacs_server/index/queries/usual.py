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
_LOOK_EVERY_S: Final = 1.0


class UsualSyntaxes:
    """Counts the objects of each SOP class by their transfer syntax. May be used from any thread.

    Each object is read once: what has arrived at each look, what was there before in portions, the newest first,
    because an association waits for it (ten million rows take 10 s and more).
    """

    def __init__(
        self, index: Index, *, portion: int = _PORTION, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._index = index
        self._portion = portion
        self._monotonic = monotonic
        self._numbers: dict[str, Counter[str]] = defaultdict(Counter)
        self._first: int | None = None  # the first row that was read, and all behind it to the last one
        self._last = 0
        self._look_at = float("-inf")
        self._lock = threading.Lock()

    def of(self, sop_class: str) -> str | None:
        """The transfer syntax in which most objects of a class can be sent, by what was read until a second ago; None
        when there are none. As long as some were not read, they are taken for uncompressed ones, which fit most.

        Raises: IndexUnavailable.
        """
        with self._lock:
            if self._monotonic() >= self._look_at:
                self._look()
                self._look_at = self._monotonic() + _LOOK_EVERY_S
            numbers = self._numbers.get(sop_class)
            unread = Counter({EXPLICIT_LE: 1}) if self._first else Counter[str]()
            return widest_syntax(numbers + unread) if numbers else None

    def _look(self) -> None:
        with self._index.read() as connection:
            newest: int = connection.execute(select(func.coalesce(func.max(instances.c.id), 0))).scalar_one()
        if self._first is None:
            self._first, self._last = newest + 1, newest
        if newest > self._last:
            self._read(self._last + 1, newest)
            self._last = newest
        if self._first:
            first = max(0, self._first - self._portion)
            self._read(first, self._first - 1)
            self._first = first

    def _read(self, first: int, last: int) -> None:
        kinds = select(instances.c.sop_class, instances.c.transfer_syntax, func.count())
        kinds = kinds.where(instances.c.id.between(first, last), is_current(instances))
        with self._index.read() as connection:
            read = connection.execute(kinds.group_by(instances.c.sop_class, instances.c.transfer_syntax)).all()
        for sop_class, syntax, number in read:
            self._numbers[sop_class][syntax] += number
