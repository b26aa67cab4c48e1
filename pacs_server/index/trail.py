"""What one process adds to the audit trail: a chain of its own, whose rows go into the transactions of what they tell.

Processes and threads never wait for each other to know the hash before: a chain is held from the moment its rows are
made, the last thing of a transaction, to the end of the commit.
"""

from __future__ import annotations

import threading
import uuid
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, Final

from pacs_server import log
from pacs_server.dicom.audit import COLUMNS, Event, EventKind, EventOutcome, hash_of, sum_of

_PLACE: Final = ("at", "chain", "number")
_ROW: Final = (*_PLACE, *COLUMNS[1:], "hash")
# SQLite takes 32,766 values in one statement.
_ROWS_AT_ONCE: Final = 500
# Of events that wait to be written down; as many come in a second when somebody floods the port.
_MOST_WAITING: Final = 10_000
_LONGEST_WAIT: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Insert:
    """A statement that adds rows, and its values."""

    sql: str
    values: tuple[Any, ...]


class Trail:
    """May be used from any thread. `command` is told by the first transaction of this process that changes anything, so
    that no change by a person goes untold. With `is_exported` rows are owed to the receiver of audit messages.
    """

    def __init__(self, placeholder: str) -> None:
        """`placeholder` is what stands for a value in the SQL of the driver."""
        self._placeholder = placeholder
        self._chaining = threading.Lock()
        self._begin_chain()
        self.command: Event | None = None
        self.is_exported = False
        self._noting = threading.Lock()
        self._waiting: deque[Event] = deque()
        self._alike: dict[tuple[Any, ...], Event] = {}
        self._lost = 0

    def _begin_chain(self) -> None:
        self._chain, self._number, self._hash, self._at = uuid.uuid4().hex, 0, "", ""

    @contextmanager
    def preparing(self, what: str) -> Iterator[None]:
        """What the block changes is not yet what the command is there for: a row says `what`, and that it did so much;
        the command has one of its own, for what comes behind the block.
        """
        command = self.command
        if command is not None:
            self.tell_partly(what)
        try:
            yield
        finally:
            self.command = command

    def tell_partly(self, what: str) -> None:
        """Let the row of the command say that it does only `what`, where it is not written yet."""
        if self.command is not None:
            detail = f"{self.command.detail}: {what}"
            self.command = replace(self.command, outcome=EventOutcome.PARTLY, detail=detail)

    @contextmanager
    def continued(self, events: Sequence[Event], *, has_changed: bool = True) -> Iterator[list[Insert]]:
        """The statements that add rows for these events, and for the command if the transaction `has_changed` anything.
        The block executes them, and commits.

        When it raises, nobody may know whether the rows are there; so nothing follows them, and a new chain begins.
        """
        if not events and (self.command is None or not has_changed):
            yield []
            return
        with self._chaining:
            told = [*([self.command] if self.command else []), *events]
            try:
                yield self._inserts(self._rows(told))
            except BaseException:
                self._begin_chain()
                raise
            self.command = None

    def _rows(self, events: Iterable[Event]) -> list[tuple[Any, ...]]:
        rows = []
        for event in events:
            first, *others = event.values()
            if (at := str(first)) < self._at and _is_set_back(self._at, event.at):
                self._begin_chain()
            # What happened a moment before the row before it was only written down later: a chain is in order of time.
            self._at = max(at, self._at)
            self._number += 1
            values = self._at, *others
            self._hash = hash_of(self._hash, self._chain, self._number, values)
            rows.append((self._at, self._chain, self._number, *others, self._hash))
        return rows

    def _inserts(self, rows: list[tuple[Any, ...]]) -> list[Insert]:
        inserts = []
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            part = rows[start : start + _ROWS_AT_ONCE]
            inserts.append(self._insert("audit", _ROW, part))
            if self.is_exported:
                inserts.append(self._insert("audit_owed", _PLACE, [row[:3] for row in part]))
        return inserts

    def _insert(self, table: str, columns: tuple[str, ...], rows: Sequence[tuple[Any, ...]]) -> Insert:
        sql = _insertion(table, columns, len(rows), self._placeholder)
        return Insert(sql, tuple(value for row in rows for value in row))

    # --- events of which nothing else is recorded ---

    def note(self, event: Event) -> None:
        """Have an event written down with the next ones (index/audit.py): what has no transaction of its own does not
        wait for one. Alike ones, except queries, become one row that says how many.
        """
        with self._noting:
            if len(self._waiting) + len(self._alike) >= _MOST_WAITING:
                self._lost += 1
            elif event.kind is EventKind.QUERY:
                self._waiting.append(event)
            else:
                alike = (
                    event.kind, event.outcome, event.who, event.person, event.address, event.target, event.patient_id,
                    event.issuer, event.study_uid, event.detail,
                )  # fmt: skip
                before = self._alike.get(alike)
                self._alike[alike] = event if before is None else _both(before, event)

    def take(self) -> list[Event]:
        """Take the events that wait."""
        with self._noting:
            taken = sorted([*self._waiting, *self._alike.values()], key=lambda event: event.at)
            self._waiting.clear()
            self._alike.clear()
            if self._lost:
                log.error("audit events lost", events=self._lost, why="more than 10000 in a moment")
                lost = f"{self._lost} events came faster than they could be written down"
                failed, at = EventOutcome.FAILED, taken[-1].at
                taken.append(
                    Event(kind=EventKind.ALERT, at=at, outcome=failed, who="server", count=self._lost, detail=lost)
                )
                self._lost = 0
        return taken

    def give_back(self, events: Iterable[Event]) -> None:
        """These could not be written down and wait again."""
        with self._noting:
            self._waiting.extendleft(reversed(list(events)))


@lru_cache(maxsize=64)
def _insertion(table: str, columns: tuple[str, ...], rows: int, placeholder: str) -> str:
    one = f"({', '.join([placeholder] * len(columns))})"
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES {', '.join([one] * rows)}"


def _is_set_back(last: str, at: datetime) -> bool:
    """Whether the clock was set back: what waits to be written down does so for less."""
    return at < datetime.fromisoformat(last) - _LONGEST_WAIT


def _both(first: Event, second: Event) -> Event:
    digests = (first.uid_digest, second.uid_digest)
    return replace(second, count=first.count + second.count, uid_digest=sum_of(digests) if any(digests) else "")
