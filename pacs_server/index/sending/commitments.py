"""Transactions of Storage Commitment as rows: what was asked, by whom, and what became of each object."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import Connection, Row, Select, delete, insert, select, update

from pacs_server.dicom.audit import Event, EventKind, digest_over
from pacs_server.dicom.commitment import Failure, Reference, Report, Request
from pacs_server.errors import UnknownName
from pacs_server.index.engine import Index
from pacs_server.index.jobs import JobKind, JobState, entry, owing
from pacs_server.index.looking import looking
from pacs_server.index.site_tables import commitment_items, commitments, jobs
from pacs_server.index.tables import instances, is_current, series, studies

_COMMITTED: Final = 0


class Direction(StrEnum):
    """Who asks whom."""

    IN = "in"  # a peer asks us
    OUT = "out"  # we ask a peer


class State(StrEnum):
    """How far a transaction is."""

    RECEIVED = "received"  # a peer has asked; the objects are being read back
    DECIDED = "decided"  # what becomes of each object is known; the peer is still to be told
    REPORTED = "reported"  # the peer has acknowledged the report
    ASKED = "asked"  # we have asked
    ANSWERED = "answered"  # the peer has reported


_DUE: Final = (State.RECEIVED, State.DECIDED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Commitment:
    """One transaction. `asked` counts how often it was asked, the last time at `asked_at`; `failed` counts objects."""

    id: int
    direction: Direction
    aet: str
    transaction_uid: str
    state: State
    asked_at: datetime
    asked: int
    objects: int
    failed: int
    settled_at: datetime | None


class Commitments:
    """May be used from any thread."""

    def __init__(self, index: Index) -> None:
        self._index = index

    # --- a peer asks us ---

    @looking
    def take_in(self, aet: str, request: Request, now: datetime) -> bool:
        """Record what a peer asks, and owe it the report. Asked again it is owed again; False when its transaction UID
        stands for other objects already.

        Raises: IndexUnavailable.
        """
        told: list[Event] = []
        with self._index.write(told) as connection:
            if not _enter(connection, Direction.IN, aet, request, State.RECEIVED, now):
                return False
            told.append(_event(aet, request.transaction_uid, request.references, now, "asked"))
            connection.execute(owing(self._index), [entry(JobKind.COMMIT, "", "", aet, now)])
            # Who has just called can be reached again, whatever was waited for.
            waits = jobs.c.kind == JobKind.COMMIT, jobs.c.target == aet, jobs.c.state == JobState.WAITING
            connection.execute(update(jobs).where(*waits).values(due_at=now.isoformat()))
        return True

    def due(self, aet: str) -> list[Commitment]:
        """The transactions of a peer that it was not told the outcome of, oldest first. Raises: IndexUnavailable."""
        mine = commitments.c.direction == Direction.IN, commitments.c.aet == aet, commitments.c.state.in_(_DUE)
        with self._index.read() as connection:
            rows = connection.execute(_all().where(*mine).order_by(commitments.c.asked_at, commitments.c.id))
            return [_commitment(row) for row in rows]

    def asked_by(self, one: Commitment, now: datetime) -> Commitment:
        """A transaction, as asked `now` if it was at a time to come: the clock was put back since.

        Raises: IndexUnavailable.
        """
        if one.asked_at <= now:
            return one
        with self._index.write() as connection:
            connection.execute(_same(one).values(asked_at=now.isoformat()))
        return replace(one, asked_at=now)

    def references(self, commitment: Commitment) -> list[Reference]:
        """The objects that are asked for. Raises: IndexUnavailable."""
        return [reference for reference, _ in self._items(commitment)]

    def report(self, commitment: Commitment) -> Report:
        """What was decided. An object of which nothing is known is not committed to. Raises: IndexUnavailable."""
        items = self._items(commitment)
        return Report(
            transaction_uid=commitment.transaction_uid,
            committed=tuple(reference for reference, reason in items if reason == _COMMITTED),
            failed=tuple(Failure(reference, reason or 0) for reference, reason in items if reason != _COMMITTED),
        )

    def decide(self, commitment: Commitment, outcomes: Mapping[Reference, int], now: datetime) -> bool:
        """Record what becomes of every object, 0 or the reason of its failure; False when it was asked again meanwhile.

        Raises: IndexUnavailable.
        """
        told: list[Event] = []
        with self._index.write(told) as connection:
            failed = sum(reason != _COMMITTED for reason in outcomes.values())
            values = {"state": State.DECIDED, "failed": failed}
            if not connection.execute(_same(commitment).values(values)).rowcount:
                return False
            taken = [reference for reference, reason in outcomes.items() if reason == _COMMITTED]
            told.append(_event(commitment.aet, commitment.transaction_uid, taken, now, f"committed, {failed} not"))
            _forget_items(connection, commitment.id)
            _enter_items(connection, commitment.id, outcomes.items())
        return True

    def reported(self, commitment: Commitment, now: datetime) -> None:
        """The peer has acknowledged the report; what was committed to is no longer listed. Unless it asked again.

        Raises: IndexUnavailable.
        """
        with self._index.write() as connection:
            values = {"state": State.REPORTED, "settled_at": now.isoformat()}
            if connection.execute(_same(commitment).values(values)).rowcount:
                _forget_items(connection, commitment.id, only_committed=True)

    # --- we ask a peer ---

    def ask(self, aet: str, request: Request, now: datetime) -> None:
        """Record what we are about to ask a peer. Raises: IndexUnavailable."""
        with self._index.write() as connection:
            _enter(connection, Direction.OUT, aet, request, State.ASKED, now)

    @looking
    def answer(self, aet: str, report: Report, now: datetime) -> bool:
        """Record what a peer reports; the same once more changes nothing. Objects that it does not name count as
        failed. False when we asked it for no such transaction.

        Raises: IndexUnavailable.
        """
        known = _all().where(*_key(Direction.OUT, aet, report.transaction_uid))
        told_of: list[Event] = []
        with self._index.write(told_of) as connection:
            row = connection.execute(known).first()
            if row is None:
                return False
            if row.state != State.ASKED:
                return True
            told = {one.reference: one.reason for one in report.failed}
            told |= {one: _COMMITTED for one in report.committed if one not in told}
            asked = [reference for reference, _ in _read_items(connection, row.id)]
            left = [(one, told.get(one)) for one in asked if told.get(one) != _COMMITTED]
            taken = [one for one in asked if told.get(one) == _COMMITTED]
            told_of.append(_event(aet, report.transaction_uid, taken, now, f"committed to us, {len(left)} not"))
            values = {"state": State.ANSWERED, "failed": len(left), "settled_at": now.isoformat()}
            connection.execute(update(commitments).where(commitments.c.id == row.id).values(values))
            _forget_items(connection, row.id)
            _enter_items(connection, row.id, left)
        return True

    def take_back(self, aet: str, transaction_uid: str) -> None:
        """Forget what a peer did not take. Raises: IndexUnavailable."""
        with self._index.write() as connection:
            mine = select(commitments.c.id).where(*_key(Direction.OUT, aet, transaction_uid))
            connection.execute(delete(commitment_items).where(commitment_items.c.commitment_id.in_(mine)))
            connection.execute(delete(commitments).where(*_key(Direction.OUT, aet, transaction_uid)))

    def of_study(self, study_uid: str) -> list[Reference]:
        """The objects that we hold of a study, as a request names them. Raises: IndexUnavailable."""
        held = (
            select(instances.c.sop_class, instances.c.sop_uid)
            .join_from(instances, series)
            .join(studies)
            .where(studies.c.study_uid == study_uid, is_current(instances))
            .order_by(instances.c.id)
        )
        with self._index.read() as connection:
            return [Reference(row.sop_class or "", row.sop_uid) for row in connection.execute(held)]

    # --- for a person ---

    def listed(self, *, limit: int) -> list[Commitment]:
        """The transactions of both directions, the latest first. Raises: IndexUnavailable."""
        with self._index.read() as connection:
            latest = _all().order_by(commitments.c.asked_at.desc(), commitments.c.id.desc()).limit(limit)
            return [_commitment(row) for row in connection.execute(latest)]

    def named(self, transaction_uid: str) -> list[Commitment]:
        """The transactions of that UID; several peers may have chosen the same.

        Raises: UnknownName when there is none; IndexUnavailable.
        """
        with self._index.read() as connection:
            rows = connection.execute(_all().where(commitments.c.transaction_uid == transaction_uid)).all()
        if not rows:
            raise UnknownName(f"there is no transaction {transaction_uid}; pacs commit list shows those there are")
        return [_commitment(row) for row in rows]

    def failures(self, commitment: Commitment) -> list[tuple[Reference, int | None]]:
        """The objects that are not committed to, each with the reason if one is known. Raises: IndexUnavailable."""
        return [(reference, reason) for reference, reason in self._items(commitment) if reason != _COMMITTED]

    def _items(self, commitment: Commitment) -> list[tuple[Reference, int | None]]:
        with self._index.read() as connection:
            return _read_items(connection, commitment.id)


def _all() -> Select[Any]:
    return select(*commitments.c)


def _key(direction: Direction, aet: str, transaction_uid: str) -> tuple[Any, ...]:
    return (
        commitments.c.direction == direction,
        commitments.c.aet == aet,
        commitments.c.transaction_uid == transaction_uid,
    )


def _same(commitment: Commitment) -> Any:
    """An update of a transaction, unless it was asked again."""
    return update(commitments).where(
        commitments.c.id == commitment.id, commitments.c.asked == commitment.asked, commitments.c.state.in_(_DUE)
    )


def _event(aet: str, transaction_uid: str, objects: Collection[Reference], now: datetime, what: str) -> Event:
    return Event(
        kind=EventKind.COMMITMENT,
        at=now,
        who=aet,
        count=len(objects),
        uid_digest=digest_over(one.sop_uid for one in objects),
        detail=f"{what}; transaction {transaction_uid}",
    )


def _enter(
    connection: Connection, direction: Direction, aet: str, request: Request, state: State, now: datetime
) -> bool:
    content = request.digest()
    known = connection.execute(_all().where(*_key(direction, aet, request.transaction_uid)).with_for_update()).first()
    if known is not None and known.content != content:
        return False
    fresh = {"state": state, "asked_at": now.isoformat(), "failed": 0, "settled_at": ""}
    if known is None:
        row = {
            "direction": direction,
            "aet": aet,
            "transaction_uid": request.transaction_uid,
            "content": content,
            "asked": 1,
            "objects": len(request.references),
        }
        row_id = connection.execute(insert(commitments).values(row | fresh)).inserted_primary_key[0]  # type: ignore[index]
    else:
        row_id = known.id
        again = update(commitments).where(commitments.c.id == row_id)
        connection.execute(again.values(fresh | {"asked": commitments.c.asked + 1}))
        _forget_items(connection, row_id)
    _enter_items(connection, row_id, ((one, None) for one in request.references))
    return True


def _enter_items(connection: Connection, row_id: int, items: Iterable[tuple[Reference, int | None]]) -> None:
    rows = [
        {"commitment_id": row_id, "sop_class": one.sop_class, "sop_uid": one.sop_uid, "reason": reason}
        for one, reason in items
    ]
    if rows:
        connection.execute(insert(commitment_items), rows)


def _read_items(connection: Connection, row_id: int) -> list[tuple[Reference, int | None]]:
    mine = commitment_items.c.commitment_id == row_id
    rows = connection.execute(select(*commitment_items.c).where(mine).order_by(commitment_items.c.sop_uid))
    return [(Reference(row.sop_class, row.sop_uid), row.reason) for row in rows]


def _forget_items(connection: Connection, row_id: int, *, only_committed: bool = False) -> None:
    forgotten = delete(commitment_items).where(commitment_items.c.commitment_id == row_id)
    if only_committed:
        forgotten = forgotten.where(commitment_items.c.reason == _COMMITTED)
    connection.execute(forgotten)


def _commitment(row: Row[Any]) -> Commitment:
    return Commitment(
        id=row.id,
        direction=Direction(row.direction),
        aet=row.aet,
        transaction_uid=row.transaction_uid,
        state=State(row.state),
        asked_at=datetime.fromisoformat(row.asked_at),
        asked=row.asked,
        objects=row.objects,
        failed=row.failed,
        settled_at=datetime.fromisoformat(row.settled_at) if row.settled_at else None,
    )
