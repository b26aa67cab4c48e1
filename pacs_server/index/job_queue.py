"""The jobs of the site: done by whoever claims them, listed and put off by persons, never forgotten."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Select, and_, bindparam, delete, func, or_, select, update

from pacs_server.errors import UnknownName
from pacs_server.index.engine import Index
from pacs_server.index.job_claims import JobClaims
from pacs_server.index.jobs import Job, JobKind, JobState, entry, owing
from pacs_server.index.site_entries import put, value_of, value_to_change
from pacs_server.index.site_tables import jobs
from pacs_server.index.statements import Statement

# Every job here keeps data safe or was promised to a destination, so it is tried for ever: after 5 s, then after ever
# longer, at most 10 minutes.
_FIRST_PAUSE: Final = timedelta(seconds=5)
_LONGEST_PAUSE: Final = timedelta(minutes=10)
_PAUSED_KINDS: Final = "paused jobs"
_MAX_ERROR_CHARACTERS: Final = 500
_IDS_AT_ONCE: Final = 1_000


class JobQueue:
    """May be used from any thread and by several processes."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._claims = JobClaims(index)
        self._any: dict[frozenset[JobKind], Statement] = {}
        # After an outage thousands are due since the same moment. PostgreSQL, whose indexes do not have the number of a
        # job, would sort them all by it for each that is taken: 8,000 in 6 to 40 ms.
        self._oldest_first = (jobs.c.due_at,) if index.database_path is None else (jobs.c.due_at, jobs.c.id)

    def owe(
        self, kind: JobKind, now: datetime, *, series: Iterable[tuple[str, str]] = (("", ""),), target: str = ""
    ) -> None:
        """Enter a job for each series, named by the UIDs of study and series, unless it is there already.

        Raises: IndexUnavailable.
        """
        rows = [entry(kind, study, part, target, now) for study, part in series]
        if rows:
            with self._index.write() as connection:
                connection.execute(owing(self._index), rows)

    def has(self, kind: JobKind) -> bool:
        """Whether there is a job of this kind, in whatever state. Raises: IndexUnavailable."""
        with self._index.read() as connection:
            return connection.execute(select(jobs.c.id).where(jobs.c.kind == kind.value).limit(1)).first() is not None

    def claim(
        self,
        worker: str,
        now: datetime,
        *,
        lease: timedelta,
        per_target: int,
        kinds: Iterable[JobKind] = JobKind,
        target: str | None = None,
        without: Collection[str] = (),
    ) -> Job | None:
        """Take the job of these kinds that waits longest; ours until `lease` is over, or it is `done` or `failed`.

        At most `per_target` are under way for one kind and target; with a `target`, only jobs of that one are taken,
        and none for the targets `without`.
        Raises: IndexUnavailable.
        """
        self._claims.give_back()
        kinds = frozenset(kinds)
        if not self._due(kinds).rows(moment=now.isoformat()):
            return None  # the usual answer, every second; it takes no lock
        with self._claims.noting(worker), self._index.write() as connection:
            named = () if target is None else (jobs.c.target == target,)
            free = _free(connection, now, per_target=per_target, kinds=kinds).where(*named)
            first = free.where(jobs.c.target.not_in(without)).order_by(*self._oldest_first).limit(1)
            row = connection.execute(first.with_for_update(skip_locked=True)).first()
            if row is None:
                return None
            taken = {"state": JobState.RUNNING, "worker": worker, "lease_until": (now + lease).isoformat()}
            connection.execute(update(jobs).where(jobs.c.id == row.id).values(taken))
        self._claims.taken(worker, row.id)
        return replace(_job(row), worker=worker)

    def _due(self, kinds: frozenset[JobKind]) -> Statement:
        """Whether there is a job to take; jobs of other kinds, however many are due, are not looked at."""
        if kinds not in self._any:
            is_one = or_(*(jobs.c.kind == kind.value for kind in sorted(kinds)))
            free = or_(jobs.c.state == JobState.WAITING.value, _lease_is_over(bindparam("moment")))
            due = select(jobs.c.id).where(is_one, jobs.c.due_at <= bindparam("moment"), free).limit(1)
            self._any[kinds] = Statement(self._index, due)
        return self._any[kinds]

    def due_targets(self, kind: JobKind, now: datetime) -> dict[str, int]:
        """How many jobs of a kind can be taken now, for each target that has some. Raises: IndexUnavailable."""
        self._claims.give_back()
        free = or_(jobs.c.state == JobState.WAITING, _lease_is_over(now.isoformat()))
        due = select(jobs.c.target, func.count()).where(jobs.c.kind == kind, jobs.c.due_at <= now.isoformat(), free)
        if not self._due(frozenset({kind})).rows(moment=now.isoformat()):
            return {}
        with self._index.read() as connection:
            if kind in _paused(connection):
                return {}
            return {target: number for target, number in connection.execute(due.group_by(jobs.c.target))}

    def renew(self, job: Job, now: datetime, lease: timedelta) -> None:
        """Keep a job that takes longer. Raises: IndexUnavailable."""
        with self._index.write() as connection:
            connection.execute(update(jobs).where(jobs.c.id == job.id).values(lease_until=(now + lease).isoformat()))

    def done(
        self, job: Job, now: datetime, *, again_at: datetime | None = None, settle: timedelta = timedelta()
    ) -> None:
        """Forget a job, or have it done again at `again_at`; after `settle` if it was owed again while it was done.

        Raises: IndexUnavailable.
        """
        with self._claims.ending(job), self._index.write() as connection:
            mine = jobs.c.id == job.id
            unchanged = mine, jobs.c.generation == job.generation
            again = {"state": JobState.WAITING, "attempts": 0, "error": ""}
            if again_at is None:
                settled = connection.execute(delete(jobs).where(*unchanged)).rowcount
            else:
                later = update(jobs).where(*unchanged).values(again | {"due_at": again_at.isoformat()})
                settled = connection.execute(later).rowcount
            if not settled:
                connection.execute(
                    update(jobs).where(_is_under_way(job)).values(again | {"due_at": (now + settle).isoformat()})
                )

    def failed(
        self, job: Job, error: str, now: datetime, *, not_before: datetime | None = None, got_on: bool = False
    ) -> None:
        """Have a job tried again later, or at once if it was made due meanwhile; after the shortest pause where it
        `got_on` before it failed. Raises: IndexUnavailable.
        """
        attempts = 0 if got_on else job.attempts
        with self._claims.ending(job), self._index.write() as connection:
            values = _after_failure(connection, job, error, now, attempts=attempts, not_before=not_before)
            connection.execute(update(jobs).where(_is_under_way(job)).values(values))

    def failed_for_target(self, job: Job, error: str, now: datetime, *, got_on: bool = False) -> None:
        """The same, and for all of its kind and target that are due before: not one of them would fare better. The
        pause follows from the one of them that failed most often, unless the job `got_on`. Raises: IndexUnavailable.
        """
        alike = jobs.c.kind == job.kind, jobs.c.target == job.target
        with self._claims.ending(job), self._index.write() as connection:
            waiting = jobs.c.state == JobState.WAITING
            most = connection.execute(select(func.max(jobs.c.attempts)).where(*alike, waiting)).scalar() or 0
            attempts = 0 if got_on else max(most, job.attempts)
            values = _after_failure(connection, job, error, now, attempts=attempts)
            connection.execute(update(jobs).where(*alike, waiting, jobs.c.due_at < values["due_at"]).values(values))
            connection.execute(update(jobs).where(_is_under_way(job)).values(values))

    def release(self, worker: str) -> None:
        """Let the jobs of a worker that is gone be claimed at once. Raises: IndexUnavailable."""
        with self._index.write() as connection:
            left = update(jobs).where(jobs.c.worker == worker, jobs.c.state == JobState.RUNNING)
            connection.execute(left.values(state=JobState.WAITING, lease_until=""))

    def release_node(self, name: str) -> int:
        """Let the jobs of a node that is gone, whose workers' names begin with its own, be claimed at once; answers how
        many there are. Raises: IndexUnavailable.
        """
        its = (jobs.c.worker == name) | jobs.c.worker.startswith(f"{name}:", autoescape=True)
        with self._index.write() as connection:
            left = update(jobs).where(its, jobs.c.state == JobState.RUNNING)
            return connection.execute(left.values(state=JobState.WAITING, lease_until="")).rowcount

    def wake(self, kinds: Iterable[JobKind], now: datetime) -> None:
        """Try jobs at once that wait after a failure, and those that are under way again if they fail: what they need
        has come back. Raises: IndexUnavailable.
        """
        later = (jobs.c.state == JobState.WAITING) & (jobs.c.due_at > now.isoformat())
        woken = jobs.c.kind.in_(list(kinds)), later | (jobs.c.state == JobState.RUNNING)
        with self._index.read() as connection:
            if not connection.execute(select(jobs.c.id).where(*woken).limit(1)).first():
                return
        with self._index.write() as connection:
            connection.execute(update(jobs).where(*woken).values(due_at=now.isoformat()))

    def wake_target(self, kind: JobKind, target: str, now: datetime, *, only_failed: bool = False) -> None:
        """Try the jobs of a kind and target at once, or those of them that failed. Raises: IndexUnavailable."""
        waiting = [jobs.c.kind == kind, jobs.c.target == target, jobs.c.state == JobState.WAITING]
        later = [*waiting, jobs.c.due_at > now.isoformat(), *([jobs.c.attempts > 0] if only_failed else [])]
        with self._index.read() as connection:
            if not connection.execute(select(jobs.c.id).where(*later).limit(1)).first():
                return
        with self._index.write() as connection:
            connection.execute(update(jobs).where(*later).values(due_at=now.isoformat(), error=""))

    def drop_target(self, kind: JobKind, target: str) -> None:
        """Forget the jobs of a kind and target that nobody works on. Raises: IndexUnavailable."""
        with self._index.write() as connection:
            alike = jobs.c.kind == kind, jobs.c.target == target, jobs.c.state != JobState.RUNNING
            connection.execute(delete(jobs).where(*alike))

    def listed(self, *, limit: int = 1000) -> list[Job]:
        """The jobs, those that are due first. Raises: IndexUnavailable."""
        with self._index.read() as connection:
            rows = connection.execute(select(*jobs.c).order_by(jobs.c.due_at, jobs.c.id).limit(limit))
            return [_job(row) for row in rows]

    def one(self, job_id: int) -> Job:
        """A job by its number. Raises: UnknownName; IndexUnavailable."""
        with self._index.read() as connection:
            row = connection.execute(select(*jobs.c).where(jobs.c.id == job_id)).first()
        if row is None:
            raise UnknownName(f"there is no job {job_id}; pacs jobs list shows those there are")
        return _job(row)

    def counts(self) -> dict[tuple[str, str], int]:
        """How many jobs there are of each kind and state. Raises: IndexUnavailable."""
        counted = select(jobs.c.kind, jobs.c.state, func.count()).group_by(jobs.c.kind, jobs.c.state)
        with self._index.read() as connection:
            return {(kind, state): number for kind, state, number in connection.execute(counted)}

    def overdue(self, now: datetime) -> dict[str, datetime]:
        """Of each kind that has jobs which wait for no later time and are not paused: since when the oldest is owed.

        Raises: IndexUnavailable.
        """
        late = jobs.c.state != JobState.PAUSED, (jobs.c.attempts > 0) | (jobs.c.due_at <= now.isoformat())
        oldest = select(jobs.c.kind, func.min(jobs.c.created_at)).where(*late).group_by(jobs.c.kind)
        with self._index.read() as connection:
            paused = _paused(connection)
            return {kind: datetime.fromisoformat(at) for kind, at in connection.execute(oldest) if kind not in paused}

    def set_state(self, ids: Sequence[int], state: JobState, now: datetime) -> int:
        """Pause jobs, or let them wait for their turn, due at once, as one that is under way is then if it fails;
        answers how many. Raises: IndexUnavailable.
        """
        due, running = {"due_at": now.isoformat()}, jobs.c.state == JobState.RUNNING
        changed = 0
        with self._index.write() as connection:
            for start in range(0, len(ids), _IDS_AT_ONCE):
                chosen = jobs.c.id.in_(ids[start : start + _IDS_AT_ONCE])
                resting = update(jobs).where(chosen, ~running).values(due | {"state": state, "attempts": 0})
                changed += connection.execute(resting).rowcount
                if state is JobState.WAITING:
                    changed += connection.execute(update(jobs).where(chosen, running).values(due)).rowcount
            self._tell_if_partly(changed, ids)
        return changed

    def drop(self, ids: Sequence[int]) -> int:
        """Forget jobs that nobody works on; answers how many. Raises: IndexUnavailable."""
        with self._index.write() as connection:
            chosen = jobs.c.id.in_(list(ids)), jobs.c.state != JobState.RUNNING
            dropped = connection.execute(delete(jobs).where(*chosen)).rowcount
            self._tell_if_partly(dropped, ids)
        return dropped

    def _tell_if_partly(self, changed: int, ids: Sequence[int]) -> None:
        if changed < len(ids):
            self._index.trail.tell_partly(f"{changed} of {len(ids)} jobs")

    def paused_kinds(self) -> set[str]:
        """The kinds of which nothing is begun. Raises: IndexUnavailable."""
        with self._index.read() as connection:
            return _paused(connection)

    def pause_kinds(self, kinds: Iterable[str]) -> None:
        """Begin nothing of these kinds. Raises: IndexUnavailable."""
        self._set_paused(lambda paused: paused.union(kinds))

    def resume_kinds(self, kinds: Iterable[str]) -> None:
        """Go on with these kinds. Raises: IndexUnavailable."""
        self._set_paused(lambda paused: paused.difference(kinds))

    def _set_paused(self, change: Callable[[set[str]], set[str]]) -> None:
        with self._index.write() as connection:
            paused = set(json.loads(value_to_change(connection, _PAUSED_KINDS) or "[]"))
            put(connection, _PAUSED_KINDS, json.dumps(sorted(change(paused))))


def _free(connection: Connection, now: datetime, *, per_target: int, kinds: frozenset[JobKind]) -> Select[Any]:
    """The jobs of these kinds that may be taken now: due, not paused, with fewer than `per_target` alike under way."""
    moment = now.isoformat()
    busy = (
        select(jobs.c.kind, jobs.c.target)
        .where(jobs.c.state == JobState.RUNNING, jobs.c.lease_until > moment)
        .group_by(jobs.c.kind, jobs.c.target)
        .having(func.count() >= per_target)
    )
    full = connection.execute(busy).all()
    return select(*jobs.c).where(
        or_((jobs.c.state == JobState.WAITING) & (jobs.c.due_at <= moment), _lease_is_over(moment)),
        jobs.c.kind.in_(kinds - _paused(connection)),
        *(or_(jobs.c.kind != kind, jobs.c.target != target) for kind, target in full),
    )


def _after_failure(
    connection: Connection, job: Job, error: str, now: datetime, *, attempts: int, not_before: datetime | None = None
) -> dict[str, Any]:
    """How a job goes on that failed after so many attempts; it begins anew where it was made due meanwhile."""
    due_at = connection.execute(select(jobs.c.due_at).where(jobs.c.id == job.id).with_for_update()).scalar()
    is_asked_for = due_at != job.due_at.isoformat()
    pause = timedelta() if is_asked_for else min(_FIRST_PAUSE * 2 ** min(attempts, 16), _LONGEST_PAUSE)
    again_at = now + pause if is_asked_for or not_before is None else max(now + pause, not_before)
    return {
        "state": JobState.WAITING,
        "attempts": 1 if is_asked_for else attempts + 1,
        "due_at": again_at.isoformat(),
        "error": error[:_MAX_ERROR_CHARACTERS],
    }


def _is_under_way(job: Job) -> ColumnElement[bool]:
    return and_(jobs.c.id == job.id, jobs.c.state == JobState.RUNNING.value)


def _lease_is_over(moment: Any) -> ColumnElement[bool]:
    return and_(jobs.c.state == JobState.RUNNING.value, jobs.c.lease_until <= moment)


def _paused(connection: Connection) -> set[str]:
    found = value_of(connection, _PAUSED_KINDS)
    return set(json.loads(found)) if found else set()


def _job(row: Any) -> Job:
    return Job(
        id=row.id,
        kind=JobKind(row.kind),
        study_uid=row.study_uid,
        series_uid=row.series_uid,
        target=row.target,
        state=JobState(row.state),
        generation=row.generation,
        attempts=row.attempts,
        due_at=datetime.fromisoformat(row.due_at),
        created_at=datetime.fromisoformat(row.created_at),
        worker=row.worker,
        error=row.error,
    )
