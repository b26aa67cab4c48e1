"""What is to be sent to which destination, object by object, and what became of it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Insert,
    TextClause,
    bindparam,
    delete,
    exists,
    func,
    or_,
    select,
    text,
    tuple_,
    update,
)

from pacs_server.dicom.audit import Event, EventKind, EventOutcome, digest_over
from pacs_server.index.audit import with_patients
from pacs_server.index.engine import Index
from pacs_server.index.jobs import JobKind, entry, owing
from pacs_server.index.sending.selection import Selection, meant_objects
from pacs_server.index.site.routes import keeps
from pacs_server.index.site_tables import sendings
from pacs_server.index.tables import instances, is_current, series, studies

_ROWS_AT_ONCE: Final = 500  # so that recording waits only a moment for a large study to be entered
_MAX_REASON_CHARACTERS: Final = 300
# To the letter of the partial index, so that SQLite does not read what was sent, which is most.
IS_OPEN: Final = text("sendings.state <> 'sent'")


class SendState(StrEnum):
    """How far a sending is. A dead one was refused for good, and waits for a person; the object of a gone one was not
    found any more when its turn came, and may come back.
    """

    WAITING = "waiting"
    SENT = "sent"
    DEAD = "dead"
    GONE = "gone"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sending:
    """One object on its way to one destination. `at` is when its state was written last."""

    id: int
    destination: str
    study_uid: str
    series_uid: str
    sop_uid: str
    digest: str
    route: str
    state: SendState
    reason: str
    attempts: int
    owed_at: datetime
    at: datetime


class Urgency(StrEnum):
    """What a wish to send means for an object that has been sent, or waits, already."""

    ONCE = "once"  # nothing
    SOONER = "sooner"  # one that waits for the window of another route waits no longer
    AGAIN = "again"  # it is sent once more


class Sendings:
    """May be used from any thread and by several processes."""

    def __init__(self, index: Index) -> None:
        self._index = index

    def owe(
        self,
        selection: Selection,
        destination: str,
        now: datetime,
        *,
        route: str = "",
        urgency: Urgency = Urgency.ONCE,
        after: timedelta = timedelta(),
    ) -> list[tuple[str, str]]:
        """Have the objects sent that are meant, not before `after`; answers those entered, each by its SOP Instance UID
        and digest.

        For a route, what came from the destination itself is left out, and all once the route was removed. What was
        deleted before the route looked is gone: it is sent once it is found again.
        Raises: IndexUnavailable.
        """
        conditions = [] if urgency is Urgency.AGAIN else [~_entered(destination, route, urgency)]
        if route:
            conditions.append(instances.c.sender != destination)
        meant = meant_objects(selection).where(*conditions).order_by(
            studies.c.id, series.c.series_number, series.c.id, instances.c.instance_number, instances.c.id
        )  # fmt: skip
        with self._index.read() as connection:
            found = connection.execute(meant).all()
            gone = []
            if route and urgency is not Urgency.AGAIN:
                gone = list(connection.execute(meant_objects(selection, in_trash=True).where(*conditions)))
        fixed = {"destination": destination, "route": route, "state": SendState.WAITING.value, "reason": ""}
        fixed |= {"owed_at": now.isoformat(), "at": now.isoformat()}
        entering, entered = self._entering(urgency), list[tuple[str, str]]()
        for start in range(0, len(found), _ROWS_AT_ONCE):
            rows = found[start : start + _ROWS_AT_ONCE]
            parts = sorted({(row.study_uid, row.series_uid) for row in rows})
            owed = [entry(JobKind.SEND, *part, destination, now + after) for part in parts]
            with self._index.write() as connection:
                if route and not keeps(connection, route):
                    break
                connection.execute(entering, [{**row._mapping, **fixed, "attempts": 0} for row in rows])
                connection.execute(owing(self._index), owed)
            entered += ((row.sop_uid, row.digest) for row in rows)
        self._enter_gone([{**row._mapping, **fixed, "attempts": 0} for row in gone], route)
        return entered

    def _enter_gone(self, rows: Sequence[dict[str, Any]], route: str) -> None:
        told = {"state": SendState.GONE.value, "reason": "it was deleted before the route looked at it"}
        entering = self._index.insert(sendings).on_conflict_do_nothing()
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            with self._index.write() as connection:
                if not keeps(connection, route):
                    return
                connection.execute(entering, [row | told for row in rows[start : start + _ROWS_AT_ONCE]])

    def _entering(self, urgency: Urgency) -> Insert:
        new = self._index.insert(sendings)
        if urgency is Urgency.ONCE:
            return new.on_conflict_do_nothing()
        key = [sendings.c.destination, sendings.c.sop_uid, sendings.c.digest]
        if urgency is Urgency.SOONER:
            waits = sendings.c.state == SendState.WAITING
            return new.on_conflict_do_update(index_elements=key, set_={"route": new.excluded.route}, where=waits)
        changed = {name: new.excluded[name] for name in ("route", "state", "reason", "owed_at", "at", "attempts")}
        return new.on_conflict_do_update(index_elements=key, set_=changed)

    def count(self, selection: Selection, *, not_from: str = "", not_sent: bool = False) -> int:
        """How many objects are meant; without those that came from `not_from`, and with `not_sent` also without those
        that were entered for it. Raises: IndexUnavailable.
        """
        meant = meant_objects(selection).with_only_columns(func.count())
        meant = meant.where(instances.c.sender != not_from) if not_from else meant
        meant = meant.where(~_entered(not_from, "", Urgency.ONCE)) if not_sent else meant
        with self._index.read() as connection:
            return connection.execute(meant).scalar_one()

    def is_new(self, study_uid: str, destination: str) -> bool:
        """Whether nothing of a study was ever owed to a destination. Raises: IndexUnavailable."""
        known = select(sendings.c.id).where(sendings.c.destination == destination, sendings.c.study_uid == study_uid)
        with self._index.read() as connection:
            return connection.execute(known.limit(1)).first() is None

    def waiting(
        self, destination: str, study_uid: str, series_uid: str, *, without: Collection[str] = (), limit: int
    ) -> list[Sending]:
        """What of a series waits for a destination, what failed least first; nothing of the routes in `without`.

        Raises: IndexUnavailable.
        """
        wanted = select(*sendings.c).where(
            *_waiting(destination, series_uid),
            sendings.c.study_uid == study_uid,
            sendings.c.route.not_in(list(without)),
        )
        with self._index.read() as connection:
            rows = connection.execute(wanted.order_by(sendings.c.attempts, sendings.c.id).limit(limit))
            return [_sending(row) for row in rows]

    def has_another_version(self, one: Sending) -> bool:
        """Whether the destination of a sending has taken another content under its SOP Instance UID from us.

        Raises: IndexUnavailable.
        """
        same = sendings.c.destination == one.destination, sendings.c.sop_uid == one.sop_uid
        other = select(sendings.c.id).where(*same, sendings.c.digest != one.digest)
        with self._index.read() as connection:
            return connection.execute(other.where(sendings.c.state == SendState.SENT).limit(1)).first() is not None

    def routes_of(self, destination: str, study_uid: str, series_uid: str) -> set[str]:
        """The routes for which something of a series waits. Raises: IndexUnavailable."""
        named = select(sendings.c.route).distinct().where(*_waiting(destination, series_uid))
        with self._index.read() as connection:
            return set(connection.execute(named.where(sendings.c.study_uid == study_uid)).scalars())

    def note(self, results: Sequence[tuple[Sending, SendState, str]], now: datetime) -> None:
        """Write down what became of sendings, each with the reason if it was not sent. Raises: IndexUnavailable."""
        if not results:
            return
        noting = (
            update(sendings)
            .where(sendings.c.id == bindparam("row"))
            .values(state=bindparam("now_state"), reason=bindparam("now_reason"), at=now.isoformat(),
                    attempts=sendings.c.attempts + 1)
        )  # fmt: skip
        rows = [
            {"row": one.id, "now_state": state.value, "now_reason": reason[:_MAX_REASON_CHARACTERS]}
            for one, state, reason in results
        ]
        told: list[Event] = []
        with self._index.write(told) as connection:
            connection.execute(noting, rows)
            told += with_patients(connection, _events(results, now))

    def dead(self, *, limit: int) -> list[Sending]:
        """What was refused for good, latest first. Raises: IndexUnavailable."""
        wanted = select(*sendings.c).where(*_open(SendState.DEAD, ""))
        with self._index.read() as connection:
            rows = connection.execute(wanted.order_by(sendings.c.at.desc(), sendings.c.id).limit(limit))
            return [_sending(row) for row in rows]

    def revive(self, destination: str, now: datetime) -> int:
        """Have everything tried once more that a destination refused for good, or all did; answers how many.

        Raises: IndexUnavailable.
        """
        return self._send_again(_open(SendState.DEAD, destination), now)

    def take_up(self, destinations: Collection[str], now: datetime) -> int:
        """Have what was gone sent to these destinations once it is found again; answers how many objects.

        Raises: IndexUnavailable.
        """
        same = instances.c.sop_uid == sendings.c.sop_uid, instances.c.digest == sendings.c.digest
        is_back = exists(select(instances.c.id).where(*same, is_current(instances)).correlate(sendings))
        gone = _open(SendState.GONE, "")
        return self._send_again((*gone, sendings.c.destination.in_(list(destinations)), is_back), now)

    def _send_again(self, conditions: Sequence[ColumnElement[bool] | TextClause], now: datetime) -> int:
        some = select(*sendings.c["id", "study_uid", "series_uid", "destination"]).where(*conditions)
        some = some.limit(_ROWS_AT_ONCE)
        with self._index.read() as connection:  # most looks find nothing, and nobody has to wait for them
            if connection.execute(some.limit(1)).first() is None:
                return 0
        again = update(sendings).values(state=SendState.WAITING.value, reason="", attempts=0)
        revived, are_left = 0, True
        while are_left:
            with self._index.write() as connection:
                rows = connection.execute(some).all()
                parts = sorted({(row.study_uid, row.series_uid, row.destination) for row in rows})
                if owed := [entry(JobKind.SEND, *part, now) for part in parts]:
                    connection.execute(owing(self._index), owed)
                here = sendings.c.id.in_([row.id for row in rows])
                revived += connection.execute(again.where(here, *conditions)).rowcount
            are_left = len(rows) == _ROWS_AT_ONCE
        return revived

    def forget(self, *, destination: str = "", route: str = "") -> int:
        """Forget what waits for a destination or by a route, and what it refused for good; answers how many.

        Raises: IndexUnavailable.
        """
        named: list[ColumnElement[bool] | TextClause] = [IS_OPEN]
        named += [sendings.c.destination == destination] if destination else []
        named += [sendings.c.route == route] if route else []
        some = select(sendings.c.id).where(*named).limit(_ROWS_AT_ONCE)
        forgotten, are_left = 0, True
        while are_left:
            with self._index.write() as connection:
                gone = connection.execute(delete(sendings).where(sendings.c.id.in_(some))).rowcount
            forgotten, are_left = forgotten + gone, gone == _ROWS_AT_ONCE
        return forgotten

    def open_counts(self) -> dict[str, int]:
        """How many wait and how many are dead. Raises: IndexUnavailable."""
        counted = select(sendings.c.state, func.count()).where(IS_OPEN).group_by(sendings.c.state)
        with self._index.read() as connection:
            found = {state: number for state, number in connection.execute(counted)}
        return {state.value: found.get(state.value, 0) for state in (SendState.WAITING, SendState.DEAD)}

    def progress(self, destination: str, names: Sequence[tuple[str, str]]) -> dict[SendState, int]:
        """How many of these objects, by SOP Instance UID and digest, are in each state. Raises: IndexUnavailable."""
        found = dict.fromkeys(SendState, 0)
        with self._index.read() as connection:
            for start in range(0, len(names), _ROWS_AT_ONCE):
                part = names[start : start + _ROWS_AT_ONCE]
                mine = sendings.c.destination == destination, tuple_(sendings.c.sop_uid, sendings.c.digest).in_(part)
                counted = select(sendings.c.state, func.count()).where(*mine).group_by(sendings.c.state)
                for state, number in connection.execute(counted):
                    found[SendState(state)] += number
        return found


def _events(results: Iterable[tuple[Sending, SendState, str]], now: datetime) -> list[Event]:
    """What the audit trail tells of objects that were forwarded, or refused for good: one event for each study."""
    parts: dict[tuple[str, str, str, SendState], list[str]] = {}
    for one, state, _ in results:
        if state in (SendState.SENT, SendState.DEAD):
            parts.setdefault((one.destination, one.study_uid, one.route, state), []).append(one.sop_uid)
    return [
        Event(
            kind=EventKind.SEND,
            at=now,
            outcome=EventOutcome.DONE if state is SendState.SENT else EventOutcome.REFUSED,
            who="server",
            study_uid=study_uid,
            count=len(uids),
            uid_digest=digest_over(uids),
            target=destination,
            detail=f"route {route}" if route else "asked for with pacs send",
        )
        for (destination, study_uid, route, state), uids in parts.items()
    ]


def _entered(destination: str, route: str, urgency: Urgency) -> ColumnElement[bool]:
    """Whether an object needs no entering any more; one that is to go sooner does while it waits for another route."""
    same = [
        sendings.c.destination == destination,
        sendings.c.sop_uid == instances.c.sop_uid,
        sendings.c.digest == instances.c.digest,
    ]
    if urgency is Urgency.SOONER:
        same.append(or_(sendings.c.state != SendState.WAITING.value, sendings.c.route.in_(["", route])))
    return exists(select(sendings.c.id).where(*same).correlate(instances))


def _waiting(destination: str, series_uid: str) -> tuple[ColumnElement[bool] | TextClause, ...]:
    return (*_open(SendState.WAITING, destination), sendings.c.series_uid == series_uid)


def _open(state: SendState, destination: str) -> tuple[ColumnElement[bool] | TextClause, ...]:
    mine = sendings.c.destination == destination if destination else sendings.c.destination != ""
    return (mine, sendings.c.state == state.value, IS_OPEN)


def _sending(row: Any) -> Sending:
    values = dict(row._mapping)
    values["state"] = SendState(row.state)
    values["owed_at"], values["at"] = datetime.fromisoformat(row.owed_at), datetime.fromisoformat(row.at)
    return Sending(**values)
