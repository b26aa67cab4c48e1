"""What waits is tried when its reason is gone: a clock that ran days ahead, a volume that took nothing."""

import shutil
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from support.house import House
from support.samples import tiny
from support.server import wait_for

from pacs_server.index.jobs import JobKind
from pacs_server.index.site.registry import VolumeMode
from pacs_server.service.processes.housekeeping import keep_house
from pacs_server.service.volume_states import remembered
from pacs_server.storage.condition import Status


def test_what_was_owed_while_the_clock_ran_ahead_is_done_once_it_was_put_back(
    new_upgraded_url: Callable[[], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    house, looks, ahead = House(tmp_path / "data", new_upgraded_url()), 0, timedelta(days=3)
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


def test_what_waits_is_tried_as_soon_as_a_volume_takes_something_again(
    new_upgraded_url: Callable[[], str], tmp_path: Path
) -> None:
    house, deadline, owed = House(tmp_path / "data", new_upgraded_url()), time.monotonic() + 60, False
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    with house.node() as node:
        (row,) = node.registry.volumes()
        node.registry.change_volume(row.id, {"mode": VolumeMode.READ_ONLY})

        def is_stopped(pause_s: float) -> bool:
            nonlocal owed
            assert time.monotonic() < deadline
            time.sleep(pause_s / 20)
            state = remembered(house.settings.data_dir).get(row.id)
            if not owed and state is not None and state.status is Status.READ_ONLY:
                node.jobs.owe(JobKind.SEND, tomorrow, series=[("1.2", "1.2.3")], target="NOBODY")
                node.registry.change_volume(row.id, {"mode": row.mode})
                owed = True
            return owed and all(job.due_at < tomorrow for job in node.jobs.listed() if job.kind is JobKind.SEND)

        assert keep_house(house.settings, None, lambda _: None, dict, is_stopped)


def test_a_volume_set_back_between_two_looks_is_found_to_have_lost_what_came_last(
    new_upgraded_url: Callable[[], str], tmp_path: Path
) -> None:
    house, deadline, is_set_back = House(tmp_path / "data", new_upgraded_url()), time.monotonic() + 60, False
    house.take_in(tiny(1))
    last_week = shutil.copytree(house.volume, tmp_path / "last-week")
    house.take_in(tiny(2))
    with house.node() as node:

        def jobs(kind: JobKind) -> int:
            return sum(job.kind is kind for job in node.jobs.listed())

        def is_stopped(pause_s: float) -> bool:
            nonlocal is_set_back
            assert time.monotonic() < deadline
            time.sleep(pause_s / 20)
            if not is_set_back and remembered(house.settings.data_dir) and not jobs(JobKind.OPERATIONS):
                house.volume.rename(tmp_path / "gone")
                last_week.rename(house.volume)
                is_set_back = True
            return is_set_back and jobs(JobKind.COPY) == 1

        assert keep_house(house.settings, None, lambda _: None, dict, is_stopped)
