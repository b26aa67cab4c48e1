"""An index that answers but takes nothing is told by what becomes of the objects that are sent."""

import os
from datetime import timedelta
from pathlib import Path

import pytest

from pacs_server import metrics
from pacs_server.errors import IndexUnavailable
from pacs_server.metrics import Totals
from pacs_server.service.monitoring.intake import Intake, Writes
from pacs_server.settings import StorageLimits
from pacs_server.storage.condition import VolumeSpec
from pacs_server.storage.volume import Volume


class Counted:
    """What the processes have counted."""

    def __init__(self) -> None:
        self.stored = {"CT1": 100.0, "unregistered": 5.0}
        self.unrecorded = 7.0

    def totals(self) -> Totals:
        return {
            metrics.STORED.name: {(peer,): [number] for peer, number in self.stored.items()},
            metrics.UNRECORDED.name: {(): [self.unrecorded]},
        }


def test_what_was_refused_before_the_first_look_is_no_matter() -> None:
    intake = Intake(Counted().totals)
    intake.check()
    intake.check()


def test_an_index_that_takes_less_than_it_refuses_is_told_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = Counted()
    intake = Intake(counted.totals)
    counted.stored["CT1"] += 2
    counted.unrecorded += 8
    with pytest.raises(IndexUnavailable, match="did not take 8 of the last 10 objects"):
        intake.check()
    with pytest.raises(IndexUnavailable, match="8 of the last 10"):
        intake.check()
    monkeypatch.setattr("pacs_server.service.monitoring.intake._HELD_S", 0.0)
    counted.unrecorded += 8
    intake.check()


def test_an_index_is_good_again_once_it_takes_more() -> None:
    counted = Counted()
    intake = Intake(counted.totals)
    counted.unrecorded += 8
    with pytest.raises(IndexUnavailable):
        intake.check()
    counted.stored["NEW"] = 1.0
    intake.check()


def test_a_few_that_were_deleted_meanwhile_are_no_alarm() -> None:
    counted = Counted()
    intake = Intake(counted.totals)
    counted.unrecorded += 3
    intake.check()


def test_a_volume_that_did_not_take_a_copy_in_some_process_is_tried_by_writing(tmp_path: Path) -> None:
    failed = {"nas1": 2.0}
    volume = Volume(VolumeSpec(id="", name="nas1", path=tmp_path, tier="hot", domain="nas1"), StorageLimits())
    writes = Writes(lambda: {metrics.UNWRITTEN.name: {(name,): [number] for name, number in failed.items()}})

    def was_tried() -> bool:
        os.utime(tmp_path, (0, 0))
        writes.doubt([volume])
        volume.check()
        return tmp_path.stat().st_mtime > 0

    assert not was_tried()
    failed["nas2"] = 1.0
    assert not was_tried()
    failed["nas1"] += 1
    assert was_tried()
    assert not was_tried(), "it could be written to"


def test_a_volume_that_was_well_while_it_did_not_take_copies_is_told_of_for_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = {"nas1": 2.0}
    volume = Volume(VolumeSpec(id="", name="nas1", path=tmp_path, tier="hot", domain="nas1"), StorageLimits())
    writes = Writes(lambda: {metrics.UNWRITTEN.name: {(name,): [number] for name, number in failed.items()}})
    volume.check()
    assert writes.untaken(volume) == 0
    for _ in range(2):
        failed["nas1"] += 1
        writes.doubt([volume])
        volume.check()
    assert writes.untaken(volume) == 2
    away = tmp_path.rename(tmp_path.with_name("away"))
    volume.check()
    away.rename(tmp_path)
    volume.check()
    assert writes.untaken(volume) == 0, "it was away, which says why"
    failed["nas1"] += 1
    writes.doubt([volume])
    assert writes.untaken(volume) == 1
    monkeypatch.setattr("pacs_server.service.monitoring.intake._LATELY", timedelta(0))
    assert writes.untaken(volume) == 0
