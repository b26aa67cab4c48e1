"""What every destination got and waits for, counted."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import func, select

from pacs_server.index.engine import Index
from pacs_server.index.jobs import JobKind, JobState
from pacs_server.index.sending.sendings import IS_OPEN, SendState
from pacs_server.index.site_tables import jobs, sendings

_FAILED: Final = (jobs.c.kind == JobKind.SEND, jobs.c.state == JobState.WAITING, jobs.c.error != "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """What waits for a destination. `waiting_since` is that of the oldest; `error` the last there was, and `is_failing`
    says that what waits does so because of it. What is `gone` was deleted first.
    """

    destination: str
    waiting: int
    sent: int
    dead: int
    gone: int
    waiting_since: datetime | None
    error: str
    is_failing: bool


def backlogs(index: Index, destination: str = "") -> list[Backlog]:
    """What one destination, or every one, got and waits for, by title. Raises: IndexUnavailable."""
    named = (sendings.c.destination == destination,) if destination else ()
    # What was sent is most, and is counted by an index alone: as what is left of all.
    every = select(sendings.c.destination, func.count()).where(*named).group_by(sendings.c.destination)
    counted = select(sendings.c.destination, sendings.c.state, func.count(), func.min(sendings.c.owed_at))
    counted = counted.where(IS_OPEN, *named).group_by(sendings.c.destination, sendings.c.state)
    failures = select(jobs.c.target, jobs.c.error).where(*_FAILED)
    refusals = select(sendings.c.destination, sendings.c.reason).where(IS_OPEN, sendings.c.reason != "", *named)
    with index.read_at_one_moment() as connection:
        errors = {name: why for name, why in connection.execute(refusals.order_by(sendings.c.at))}
        failing = {name: why for name, why in connection.execute(failures.order_by(jobs.c.due_at))}
        errors |= failing
        found: dict[str, dict[str, tuple[int, str]]] = {}
        sent = {name: number for name, number in connection.execute(every)}
        for name, state, number, since in connection.execute(counted):
            found.setdefault(name, {})[state] = (number, since)
            sent[name] -= number
    return [
        _backlog(name, number, found.get(name, {}), errors.get(name, ""), is_failing=name in failing)
        for name, number in sorted(sent.items())
    ]


def failure(index: Index, destination: str) -> str:
    """The error for which something waits for a destination; empty when none does. Raises: IndexUnavailable."""
    waits = select(sendings.c.id).where(IS_OPEN, sendings.c.destination == destination).exists()
    last = select(jobs.c.error).where(*_FAILED, jobs.c.target == destination, waits)
    with index.read() as connection:
        return connection.execute(last.order_by(jobs.c.due_at.desc()).limit(1)).scalar() or ""


def _backlog(
    destination: str, sent: int, states: dict[str, tuple[int, str]], error: str, *, is_failing: bool
) -> Backlog:
    waiting, since = states.get(SendState.WAITING, (0, ""))
    return Backlog(
        destination=destination,
        waiting=waiting,
        sent=sent,
        dead=states.get(SendState.DEAD, (0, ""))[0],
        gone=states.get(SendState.GONE, (0, ""))[0],
        waiting_since=datetime.fromisoformat(since) if since else None,
        error=error,
        is_failing=is_failing,
    )
