"""Which jobs this process works on, so that none waits for its lease because the database was away for a moment."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import update

from pacs_server.errors import IndexUnavailable
from pacs_server.index.engine import Index
from pacs_server.index.jobs import Job, JobState
from pacs_server.index.site_tables import jobs


class JobClaims:
    """May be used from any thread. A worker is of one process, and the thread that takes a job for it does it."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._under_way: dict[int, tuple[str, threading.Thread]] = {}
        self._unsure: set[str] = set()

    @contextmanager
    def noting(self, worker: str) -> Iterator[None]:
        """Note what a worker takes, or what became of it: where that fails, the rows may say that it is still at it."""
        try:
            yield
        except IndexUnavailable:
            self._unsure.add(worker)
            raise

    def taken(self, worker: str, job_id: int) -> None:
        """This thread does a job for a worker."""
        self._under_way[job_id] = worker, threading.current_thread()

    @contextmanager
    def ending(self, job: Job) -> Iterator[None]:
        """Note what became of a job, on which nobody works any more, whether that succeeds or not."""
        self._under_way.pop(job.id, None)
        with self.noting(job.worker):
            yield

    def give_back(self) -> None:
        """Let others take what workers of this process are not at any more. Raises: IndexUnavailable."""
        for job_id, (worker, thread) in list(self._under_way.items()):
            if not thread.is_alive():
                self._under_way.pop(job_id, None)
                self._unsure.add(worker)
        for worker in list(self._unsure):
            self._unsure.discard(worker)
            its = jobs.c.worker == worker, jobs.c.state == JobState.RUNNING.value
            free = {"state": JobState.WAITING.value, "lease_until": ""}
            with self.noting(worker), self._index.write() as connection:
                connection.execute(update(jobs).where(*its, jobs.c.id.not_in(list(self._under_way))).values(free))
