"""What a job is, and how one is entered in the transaction that causes it. job_queue.py has those who do them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import Insert

from pacs_server.index.engine import Index
from pacs_server.index.site_tables import jobs


class JobKind(StrEnum):
    """What is to be done. With a series: for its objects; else for the site, or the volume or peer in `target`."""

    COPY = "copy"  # give every object of a series as many copies as it wants
    VERIFY = "verify"  # read every copy of a series, and replace what is damaged
    SURVEY = "survey"  # look for series that lack copies, after volumes or the policy changed
    RELEASE = "release"  # remove the files that are copies no more from the volume in `target`
    DESCRIBE = "describe"  # have a study say what its objects that are found say of its patient and of itself
    OPERATIONS = "operations"  # make the operations on the volume in `target` and those of the index the same
    COMMIT = "commit"  # report to the peer in `target` what it asked storage commitment for
    ROUTE = "route"  # look which objects of a series the route in `target` forwards
    SEND = "send"  # send what waits of a series for the destination in `target`
    REPLICATE = "replicate"  # give the partner in `target` what it lacks of a series
    DEPOSIT = "deposit"  # have the archive server in `target` keep a series, then give up its copies here
    AUDIT = "audit"  # send what is owed of the audit trail to its receiver


# What is worked on apart, so that no destination, dead or slow, ever holds up what keeps data safe.
FORWARDING: Final = frozenset({JobKind.ROUTE, JobKind.SEND, JobKind.REPLICATE, JobKind.DEPOSIT})


class JobState(StrEnum):
    """How far a job is; one that is done is no more."""

    WAITING = "waiting"
    RUNNING = "running"
    PAUSED = "paused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One job as it was claimed or is listed. `error` is that of the last attempt."""

    id: int
    kind: JobKind
    study_uid: str
    series_uid: str
    target: str
    state: JobState
    generation: int
    attempts: int
    due_at: datetime
    created_at: datetime
    worker: str
    error: str


def entry(kind: JobKind, study_uid: str, series_uid: str, target: str, now: datetime) -> dict[str, Any]:
    """The row of a job that is new."""
    return {
        "kind": kind.value,
        "study_uid": study_uid,
        "series_uid": series_uid,
        "target": target,
        "state": JobState.WAITING.value,
        "generation": 0,
        "attempts": 0,
        "due_at": now.isoformat(),
        "created_at": now.isoformat(),
        "worker": "",
        "lease_until": "",
        "error": "",
    }


def owing(index: Index) -> Insert:
    """The statement that enters such rows; one that is there is owed once more."""
    statement = index.insert(jobs)
    return statement.on_conflict_do_update(
        index_elements=[jobs.c.kind, jobs.c.study_uid, jobs.c.series_uid, jobs.c.target],
        set_={"generation": jobs.c.generation + 1},
    )


JOB_COLUMNS: Final = [column.name for column in jobs.c if column.name != "id"]
