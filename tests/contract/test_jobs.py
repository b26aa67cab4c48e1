"""What is owed: entered once for each series, claimed by one at a time, never forgotten."""

import re
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from threading import Thread

import pytest
from sqlalchemy import event, text

from pacs_server.cli.jobs import KINDS
from pacs_server.errors import IndexUnavailable, UnknownName
from pacs_server.index.engine import Index
from pacs_server.index.job_queue import JobQueue
from pacs_server.index.jobs import Job, JobKind, JobState

NOW = datetime(2026, 1, 2, tzinfo=UTC)
LEASE = timedelta(minutes=5)
COPY, VERIFY = JobKind.COPY, JobKind.VERIFY


@pytest.fixture
def jobs(index: Index) -> JobQueue:
    return JobQueue(index)


def claim(jobs: JobQueue, *, worker: str = "one", now: datetime = NOW, per_target: int = 10) -> Job | None:
    return jobs.claim(worker, now, lease=LEASE, per_target=per_target)


def series_of(job: Job | None) -> str | None:
    return job.series_uid if job else None


def test_a_series_is_owed_once_for_each_kind(jobs: JobQueue) -> None:
    jobs.owe(COPY, NOW, series=[("1", "1.1"), ("1", "1.2")])
    jobs.owe(COPY, NOW, series=[("1", "1.1")])
    jobs.owe(VERIFY, NOW, series=[("1", "1.1")])
    assert jobs.counts() == {("copy", "waiting"): 2, ("verify", "waiting"): 1}


def test_each_job_goes_to_one_worker_and_is_gone_when_done(jobs: JobQueue) -> None:
    jobs.owe(COPY, NOW, series=[("1", "1.1"), ("1", "1.2")])
    first, second = claim(jobs), claim(jobs, worker="two")
    assert {series_of(first), series_of(second)} == {"1.1", "1.2"}
    assert claim(jobs) is None
    for job in (first, second):
        assert job
        jobs.done(job, NOW)
    assert jobs.listed() == []


def test_to_take_a_job_of_many_that_are_due_since_one_moment_sorts_none_of_them(jobs: JobQueue, index: Index) -> None:
    """As after an outage of their destination: of 8,000 each took 6 to 40 ms on PostgreSQL to be chosen."""
    jobs.owe(JobKind.SEND, NOW, series=[(str(n // 10), f"1.{n}") for n in range(2_000)], target="FAR")
    if index.database_path is None:  # SQLite is never told how many rows there are
        with index.write() as connection:
            connection.execute(text("ANALYZE jobs"))
    asked: list[tuple[str, object]] = []

    def note(_: object, __: object, sql: str, values: object, *___: object) -> None:
        if "ORDER BY jobs.due_at" in sql:
            asked.append((sql, values))

    with index.write() as connection:
        event.listen(connection.engine, "before_cursor_execute", note)
    assert jobs.claim("one", NOW, lease=LEASE, per_target=10, kinds=[JobKind.SEND], target="FAR")
    sql, values = asked[-1]
    explain = "EXPLAIN" if index.database_path is None else "EXPLAIN QUERY PLAN"
    with index.write() as connection:
        plan = "\n".join(str(row) for row in connection.exec_driver_sql(f"{explain} {sql}", values))
    assert "INDEX" in plan.upper()
    assert not re.search("Sort|Seq Scan|TEMP B-TREE", plan), plan


def test_what_is_owed_again_while_it_is_done_is_done_again(jobs: JobQueue) -> None:
    jobs.owe(COPY, NOW, series=[("1", "1.1")])
    job = claim(jobs)
    assert job
    jobs.owe(COPY, NOW, series=[("1", "1.1")])
    assert claim(jobs) is None
    jobs.done(job, NOW)
    assert series_of(claim(jobs)) == "1.1"


def test_a_failed_job_waits_longer_each_time_and_is_never_given_up(jobs: JobQueue) -> None:
    jobs.owe(COPY, NOW, series=[("1", "1.1")])
    now, pauses = NOW, []
    for _ in range(12):
        job = claim(jobs, now=now)
        assert job
        jobs.failed(job, "the NAS is away", now)
        (waiting,) = jobs.listed()
        assert (waiting.error, claim(jobs, now=now)) == ("the NAS is away", None)
        pauses.append((waiting.due_at - now).total_seconds())
        now = waiting.due_at
    assert pauses[:4] == [5, 10, 20, 40]
    assert pauses[-1] == max(pauses) == 600
    jobs.wake([COPY], NOW)
    assert claim(jobs, now=NOW)


def test_a_job_that_is_under_way_when_what_it_needs_comes_back_is_due_at_once_if_it_fails(jobs: JobQueue) -> None:
    jobs.owe(COPY, NOW, series=[("1", "1.1")])
    job = claim(jobs)
    assert job
    back = NOW + timedelta(seconds=1)
    jobs.wake([COPY], back)
    jobs.failed(job, "no volume", back, not_before=NOW + timedelta(hours=6))
    assert claim(jobs, now=back)


def test_a_job_that_is_under_way_when_it_is_asked_for_is_due_at_once_if_it_fails(jobs: JobQueue) -> None:
    jobs.owe(COPY, NOW, series=[("1", "1.1")])
    for failure in range(3):  # so that its next pause is a long one
        now = NOW + timedelta(hours=failure)
        job = claim(jobs, now=now)
        assert job
        jobs.failed(job, "no volume", now)
    job = claim(jobs, now=(began := NOW + timedelta(hours=4)))
    assert job
    asked = began + timedelta(seconds=1)
    assert jobs.set_state([job.id], JobState.WAITING, asked) == 1
    assert (jobs.one(job.id).state, claim(jobs, now=asked)) == (JobState.RUNNING, None)
    failed = began + timedelta(seconds=2)
    jobs.failed(job, "no volume", failed, not_before=failed + timedelta(days=1))
    again = claim(jobs, now=failed)
    assert again
    jobs.failed(again, "no volume", failed)
    assert claim(jobs, now=failed) is None, "it was asked for once"


def test_jobs_of_a_target_that_were_asked_for_are_not_put_off_by_an_attempt_from_before(jobs: JobQueue) -> None:
    jobs.owe(JobKind.SEND, NOW, series=[("1", "1.1"), ("1", "1.2")], target="CT")
    job = claim(jobs)
    assert job
    asked = NOW + timedelta(seconds=1)
    assert jobs.set_state([one.id for one in jobs.listed()], JobState.WAITING, asked) == 2
    jobs.failed_for_target(job, "nothing listens", asked)
    again = [claim(jobs, now=asked) for _ in range(2)]
    assert {series_of(one) for one in again} == {"1.1", "1.2"}
    assert again[0]
    jobs.failed_for_target(again[0], "nothing listens", asked)
    assert claim(jobs, now=asked) is None


@pytest.mark.parametrize("for_all", [False, True])
def test_the_pause_of_a_job_that_got_on_before_it_failed_begins_anew(jobs: JobQueue, *, for_all: bool) -> None:
    jobs.owe(JobKind.SEND, NOW, series=[("1", "1.1")], target="CT")
    fails, now = jobs.failed_for_target if for_all else jobs.failed, NOW
    pauses = []
    for got_on in (False, False, False, True, True, False):
        job = claim(jobs, now=now)
        assert job
        fails(job, "it is off", now, got_on=got_on)
        (waiting,) = jobs.listed()
        pauses.append((waiting.due_at - now).total_seconds())
        now = waiting.due_at
    assert pauses == [5, 10, 20, 5, 5, 10]


def test_a_job_of_a_worker_that_died_is_claimed_when_its_lease_is_over(jobs: JobQueue) -> None:
    jobs.owe(COPY, NOW, series=[("1", "1.1")])
    job = claim(jobs)
    assert job
    jobs.renew(job, NOW + timedelta(minutes=4), LEASE)
    assert claim(jobs, worker="two", now=NOW + timedelta(minutes=8)) is None
    assert claim(jobs, worker="two", now=NOW + timedelta(minutes=9)) is not None
    jobs.release("two")
    assert claim(jobs, worker="three", now=NOW + timedelta(minutes=9)) is not None


@pytest.mark.parametrize("ends", ["done", "failed", "failed for its target", "not at all"])
def test_what_a_worker_could_not_note_while_the_database_was_away_waits_for_no_lease(
    index: Index, jobs: JobQueue, ends: str
) -> None:
    jobs.owe(COPY, NOW, series=[("1", "1.1"), ("1", "1.2")])
    under_way = claim(jobs)

    def work() -> None:
        job = claim(jobs)
        assert job
        rename(index, "jobs", "away")
        with suppress(IndexUnavailable):
            match ends:
                case "done":
                    jobs.done(job, NOW)
                case "failed":
                    jobs.failed(job, "the database is away", NOW)
                case "failed for its target":
                    jobs.failed_for_target(job, "the database is away", NOW)

    working = Thread(target=work)
    working.start()
    working.join()
    with pytest.raises(IndexUnavailable):
        claim(jobs)
    rename(index, "away", "jobs")
    assert jobs.due_targets(COPY, NOW) == {"": 1}
    assert under_way
    assert (series_of(under_way), series_of(claim(jobs)), claim(jobs)) == ("1.1", "1.2", None)


def rename(index: Index, before: str, after: str) -> None:
    with index.write() as connection:
        connection.execute(text(f"ALTER TABLE {before} RENAME TO {after}"))


def test_only_so_many_are_under_way_for_one_target(jobs: JobQueue) -> None:
    jobs.owe(COPY, NOW, series=[("1", f"1.{n}") for n in range(5)], target="nas1")
    jobs.owe(COPY, NOW, series=[("1", "1.9")], target="nas2")
    claimed = [claim(jobs, per_target=2) for _ in range(5)]
    assert sorted(job.target for job in claimed if job) == ["nas1", "nas1", "nas2"]


def test_paused_jobs_and_kinds_wait_until_they_are_resumed(jobs: JobQueue) -> None:
    jobs.owe(COPY, NOW, series=[("1", "1.1")])
    jobs.owe(VERIFY, NOW, series=[("1", "1.2")])
    jobs.pause_kinds(["verify"])
    (copy,) = [job for job in jobs.listed() if job.kind is COPY]
    assert jobs.set_state([copy.id], JobState.PAUSED, NOW) == 1
    assert claim(jobs) is None
    jobs.resume_kinds(["verify"])
    assert series_of(claim(jobs)) == "1.2"
    jobs.set_state([copy.id], JobState.WAITING, NOW)
    assert series_of(claim(jobs)) == "1.1"


def test_more_jobs_than_a_statement_takes_values_are_tried_at_once(jobs: JobQueue) -> None:
    jobs.owe(COPY, NOW, series=[("1", "1.1"), ("1", "1.2")])
    numbers = [job.id for job in jobs.listed()]
    unknown = range(1_000, 301_000)
    assert jobs.set_state([numbers[0], *unknown, numbers[1]], JobState.WAITING, NOW) == 2


def test_a_job_that_is_dropped_is_gone_unless_somebody_works_on_it(jobs: JobQueue) -> None:
    jobs.owe(COPY, NOW, series=[("1", "1.1"), ("1", "1.2")])
    claimed = claim(jobs)
    assert claimed
    assert jobs.drop([job.id for job in jobs.listed()]) == 1
    assert [job.id for job in jobs.listed()] == [claimed.id]
    with pytest.raises(UnknownName, match="no job 99"):
        jobs.one(99)


def test_every_kind_of_job_can_be_paused_on_the_command_line() -> None:
    assert set(KINDS) == set(JobKind)


def test_what_is_owed_to_partners_is_not_begun_while_that_kind_is_paused(jobs: JobQueue) -> None:
    jobs.owe(JobKind.REPLICATE, NOW, target="osaka")
    assert jobs.due_targets(JobKind.REPLICATE, NOW) == {"osaka": 1}
    jobs.pause_kinds(["replicate"])
    assert jobs.due_targets(JobKind.REPLICATE, NOW) == {}
    assert jobs.claim("one", NOW, lease=LEASE, per_target=1, kinds=[JobKind.REPLICATE]) is None
