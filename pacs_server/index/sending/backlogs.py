"""What every destination got and waits for, counted."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select

from pacs_server.index.engine import Index
from pacs_server.index.jobs import JobKind, JobState
from pacs_server.index.sending.sendings import IS_OPEN, SendState
from pacs_server.index.site_tables import jobs, sendings


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


def backlogs(index: Index) -> list[Backlog]:
    """What every destination got and waits for, by title. Raises: IndexUnavailable."""
    counted = select(sendings.c.destination, sendings.c.state, func.count(), func.min(sendings.c.owed_at))
    counted = counted.group_by(sendings.c.destination, sendings.c.state)
    failed = jobs.c.kind == JobKind.SEND, jobs.c.state == JobState.WAITING, jobs.c.error != ""
    failures = select(jobs.c.target, jobs.c.error).where(*failed)
    refusals = select(sendings.c.destination, sendings.c.reason).where(IS_OPEN, sendings.c.reason != "")
    with index.read() as connection:
        errors = {name: why for name, why in connection.execute(refusals.order_by(sendings.c.at))}
        failing = {name: why for name, why in connection.execute(failures.order_by(jobs.c.due_at))}
        errors |= failing
        found: dict[str, dict[str, tuple[int, str]]] = {}
        for destination, state, number, since in connection.execute(counted):
            found.setdefault(destination, {})[state] = (number, since)
    return [
        _backlog(name, states, errors.get(name, ""), is_failing=name in failing)
        for name, states in sorted(found.items())
    ]


def _backlog(destination: str, states: dict[str, tuple[int, str]], error: str, *, is_failing: bool) -> Backlog:
    waiting, since = states.get(SendState.WAITING, (0, ""))
    return Backlog(
        destination=destination,
        waiting=waiting,
        sent=states.get(SendState.SENT, (0, ""))[0],
        dead=states.get(SendState.DEAD, (0, ""))[0],
        gone=states.get(SendState.GONE, (0, ""))[0],
        waiting_since=datetime.fromisoformat(since) if since else None,
        error=error,
        is_failing=is_failing,
    )
