"""A clock that ran days ahead and is put right while the archive serves."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from support.house import House
from support.server import wait_for

from pacs_server.index.jobs import JobKind
from pacs_server.service.housekeeping import keep_house


def test_what_was_owed_while_the_clock_ran_ahead_is_done_once_it_was_put_back(
    new_url: Callable[[], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    house, looks, ahead = House(tmp_path / "data", new_url()), 0, timedelta(days=3)
    with house.node() as node:

        def due_at() -> datetime:
            return next(job.due_at for job in node.jobs.listed() if job.kind is JobKind.SEND)

        def is_stopped(_: float) -> bool:
            nonlocal looks
            looks += 1
            if looks == 3:  # the volumes were seen to be there, which has everything tried as well
                node.jobs.owe(JobKind.SEND, datetime.now(UTC) + ahead, series=[("1.2", "1.2.3")], target="NOBODY")
            if looks == 5:
                assert due_at() > datetime.now(UTC) + timedelta(days=2)
                put_back = time.time
                monkeypatch.setattr(time, "time", lambda: put_back() - ahead.total_seconds())
            if looks == 7:
                wait_for(lambda: due_at() < datetime.now(UTC) + timedelta(days=1), "the job to be due")
            return looks == 8

        assert keep_house(house.settings, None, lambda _: None, dict, is_stopped)
