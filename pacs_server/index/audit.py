"""The audit trail as a person or a job reads it, and the writing down of what has no transaction of its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, and_, bindparam, delete, func, or_, select, tuple_

from pacs_server.dicom.audit import COLUMNS, Event, EventKind, EventOutcome, Values, as_kept
from pacs_server.errors import IndexUnavailable
from pacs_server.index.engine import Index
from pacs_server.index.site_tables import audit, audit_owed, checkpoints
from pacs_server.index.tables import patients, studies

_BATCH: Final = 1_000
_PLACE: Final = (audit.c.at, audit.c.chain, audit.c.number)
_ROWS: Final = select(audit.c.chain, audit.c.number, audit.c.hash, *(audit.c[name] for name in COLUMNS))


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row as it lies in the database."""

    chain: str
    number: int
    values: Values
    hash: str

    @property
    def event(self) -> Event:
        """What it tells."""
        told: dict[str, Any] = dict(zip(COLUMNS, self.values, strict=True))
        return Event(
            kind=EventKind(told.pop("event")),
            at=datetime.fromisoformat(told.pop("at")),
            outcome=EventOutcome(told.pop("outcome")),
            count=told.pop("object_count"),
            **told,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which rows a person asks for: of a patient ID, a peer (who or to whom), whoever has a text in the name, the
    person who was logged in, moments from `since` up to before `until`, kinds of event. What is empty does not matter.
    """

    patient_id: str = ""
    peer: str = ""
    who: str = ""
    person: str = ""
    since: datetime | None = None
    until: datetime | None = None
    kinds: tuple[str, ...] = ()


class Audit:
    """May be used from any thread."""

    def __init__(self, index: Index) -> None:
        self._index = index

    def write_down(self) -> bool:
        """Write down the events of this process that wait for it; whether there were some. What a process does not come
        to when it is killed is lost: that is at most what happened in the second before.

        Raises: IndexUnavailable; they wait again then.
        """
        if not (waiting := self._index.trail.take()):
            return False
        told: list[Event] = []
        try:
            with self._index.write(told) as connection:
                told += with_patients(connection, waiting)
        except BaseException:
            self._index.trail.give_back(waiting)
            raise
        return True

    def record(self, event: Event) -> None:
        """Write down one event at once. Raises: IndexUnavailable."""
        with self._index.write([event]):
            pass

    def tell_command(self) -> None:
        """Write down the command that this process does, which changes nothing here. Raises: IndexUnavailable."""
        self._tell_command(EventKind.COMMAND)

    def tell_reading(self) -> None:
        """Write down that the command that this process does reads the trail. Raises: IndexUnavailable."""
        self._tell_command(EventKind.AUDIT)

    def _tell_command(self, kind: EventKind) -> None:
        trail = self._index.trail
        if trail.command is not None:
            command, trail.command = replace(trail.command, kind=kind), None
            self.record(command)

    def refused(self, command: Event, why: str) -> None:
        """Write down that a command was refused. Raises: IndexUnavailable."""
        self._index.trail.command = None
        self.record(replace(command, outcome=EventOutcome.REFUSED, detail=f"{command.detail}: {why}"))

    def broken_off(self, command: Event, why: str) -> None:
        """Write down that a command failed, if it had changed something: that is told as done."""
        if self._index.trail.command is None:
            with suppress(IndexUnavailable):  # which is perhaps why it failed
                self.record(replace(command, outcome=EventOutcome.FAILED, detail=f"{command.detail}: {why}"))

    def rows(self, wanted: Wanted) -> Iterator[Row]:
        """The rows that a person asks for, oldest first. Raises: IndexUnavailable."""
        conditions = list(_conditions(wanted))
        after: list[ColumnElement[bool]] = []
        # Some rows at a time, so that years of them hold up nobody.
        while True:
            asked = _ROWS.where(*conditions, *after).order_by(*_PLACE).limit(_BATCH)
            with self._index.read_at_one_moment() as connection:
                found = connection.execute(asked).all()
            for row in found:
                yield _row(row)
            if len(found) < _BATCH:
                return
            after = [tuple_(*_PLACE) > (found[-1].at, found[-1].chain, found[-1].number)]

    def hours_of_storing(self, since: datetime) -> dict[str, set[str]]:
        """In which hours of UTC, like 2026-11-27T01, who stored something, by what the trail calls them.

        Raises: IndexUnavailable.
        """
        hour = func.substr(audit.c.at, 1, len("2026-11-27T01"))
        stored = audit.c.event == EventKind.STORE.value, audit.c.outcome == EventOutcome.DONE.value
        asked = select(audit.c.who, hour).where(audit.c.at >= since.isoformat(), *stored).group_by(audit.c.who, hour)
        found: dict[str, set[str]] = {}
        with self._index.read() as connection:
            for who, when in connection.execute(asked):
                found.setdefault(who, set()).add(when)
        return found

    def heads(self, since: datetime | None) -> dict[str, tuple[int, str]]:
        """The number and hash of the last row of every chain that has one of that moment or later, by chain.

        Raises: IndexUnavailable.
        """
        late = [audit.c.at >= since.isoformat(timespec="microseconds")] if since else []
        last = select(audit.c.chain, func.max(audit.c.number).label("number")).where(*late).group_by(audit.c.chain)
        found = last.subquery()
        here = and_(audit.c.chain == found.c.chain, audit.c.number == found.c.number)
        with self._index.read_at_one_moment() as connection:
            heads = select(audit.c.chain, audit.c.number, audit.c.hash).join(found, here).where(*late)
            return {chain: (number, row_hash) for chain, number, row_hash in connection.execute(heads)}

    # --- checkpoints ---

    def checkpoints(self, series: str = "") -> list[str]:
        """The checkpoints that were taken, by series and in their order. Raises: IndexUnavailable."""
        wanted = select(checkpoints.c.content).order_by(checkpoints.c.series, checkpoints.c.number)
        if series:
            wanted = wanted.where(checkpoints.c.series == series)
        with self._index.read() as connection:
            return list(connection.execute(wanted).scalars())

    def add_checkpoint(self, series: str, number: int, at: datetime, content: str) -> None:
        """Keep a checkpoint. Raises: IndexUnavailable, also when there is one of that number."""
        values = {"series": series, "number": number, "at": at.isoformat(), "content": content}
        with self._index.write() as connection:
            connection.execute(checkpoints.insert().values(values))

    # --- rows that are owed to a receiver ---

    def owed(self, limit: int) -> list[Row]:
        """Rows that are still to be sent, those of a chain in their order. Raises: IndexUnavailable."""
        here = and_(*(column == audit_owed.c[column.name] for column in _PLACE))
        wanted = _ROWS.join_from(audit_owed, audit, here)
        with self._index.read() as connection:
            return [_row(row) for row in connection.execute(wanted.order_by(*_PLACE).limit(limit))]

    def sent(self, rows: Iterable[Row]) -> None:
        """These were taken by the receiver. Raises: IndexUnavailable."""
        taken = delete(audit_owed).where(*(audit_owed.c[one.name] == bindparam(f"its_{one.name}") for one in _PLACE))
        gone = [{"its_at": row.values[0], "its_chain": row.chain, "its_number": row.number} for row in rows]
        with self._index.write() as connection:
            connection.execute(taken, gone)

    def is_owed(self) -> bool:
        """Whether rows are still to be sent. Raises: IndexUnavailable."""
        with self._index.read() as connection:
            return connection.execute(select(audit_owed.c.number).limit(1)).first() is not None


def with_patients(connection: Connection, events: Iterable[Event]) -> list[Event]:
    """The events, with the patient of those whose study is held."""
    told = list(events)
    uids = sorted({one.study_uid for one in told if one.study_uid and not one.patient_id})
    found: dict[str, tuple[str, str]] = {}
    for start in range(0, len(uids), _BATCH):
        named = select(studies.c.study_uid, patients.c.patient_id, patients.c.issuer).join_from(studies, patients)
        for uid, patient_id, issuer in connection.execute(
            named.where(studies.c.study_uid.in_(uids[start : start + _BATCH]))
        ):
            found[uid] = patient_id or "", issuer or ""
    return [
        replace(one, patient_id=found[one.study_uid][0], issuer=found[one.study_uid][1])
        if one.study_uid in found and not one.patient_id
        else one
        for one in told
    ]


def _row(row: Any) -> Row:
    values = tuple(getattr(row, name) for name in COLUMNS)
    return Row(chain=row.chain, number=row.number, values=values, hash=row.hash)


def _conditions(wanted: Wanted) -> Iterator[ColumnElement[bool]]:
    if wanted.patient_id:
        yield audit.c.patient_id == as_kept(wanted.patient_id)
        yield audit.c.patient_id != ""  # so that the partial index serves
    if wanted.peer:
        yield (audit.c.who == wanted.peer) | (audit.c.target == wanted.peer)
    if wanted.who:
        named = (
            func.lower(column).contains(wanted.who.lower(), autoescape=True) for column in (audit.c.who, audit.c.person)
        )
        yield or_(*named)
    if wanted.person:
        yield audit.c.person == wanted.person
    if wanted.since:
        yield audit.c.at >= wanted.since.isoformat(timespec="microseconds")
    if wanted.until:
        yield audit.c.at < wanted.until.isoformat(timespec="microseconds")
    if wanted.kinds:
        yield audit.c.event.in_(wanted.kinds)
