"""A server that is killed again and again while it makes copies: in the end each object has those that it should."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.samples import Sample, data_set_of, tiny, write
from support.server import LONG, Archive, files_below, wait_for

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(3_000)]

OBJECTS, PER_SERIES = (3_600 if LONG else 360), 40
LONGER_AGO_S = 7_200
# Where it dies by itself: between the file and the row of a copy, right after the row, or at any moment. A kill from
# here would come when all copies are made, where this process is held up.
DEATHS = [
    *(("read back", 5), ("soon after counted", 20), ("read back", 30), ("counted", 20)),
    *(("soon after counted", 10), ("read back", 1), ("soon after read back", 25)),
]


def filled(archive: Archive, folder: Path) -> list[Sample]:
    """Objects of several series, each with one copy so far."""
    folder.mkdir()
    samples = [
        write(tiny(number, series=number // PER_SERIES, ImageComments="x" * 3_000), folder / f"{number:04}.dcm")
        for number in range(OBJECTS)
    ]
    archive.pacs("import", str(folder), timeout_s=300)
    return samples


def copies_in(volume: Path) -> list[Path]:
    return [path for path in files_below(volume, "*.dcm") if not path.name.startswith(".")]


def grow_old(*volumes: Path) -> None:
    """What the crashes left may be looked at now, not in an hour."""
    then = time.time() - LONGER_AGO_S
    for volume in volumes:
        for path in volume.rglob("*"):
            os.utime(path, (then, then))


def test_copies_that_are_owed_are_made_in_spite_of_kills_at_any_step(
    new_archive: Callable[..., Archive], tmp_path: Path, evidence: Callable[..., None]
) -> None:
    archive = new_archive()
    samples = filled(archive, tmp_path / "in")
    second = tmp_path / "second"
    second.mkdir()
    archive.pacs("storage", "add", "second", str(second), "--domain", "second")
    archive.pacs("policy", "set", "--want", "2")
    for death in DEATHS:
        archive.start(dies_at=death)
        assert archive.wait_for_death(300) < 0
        assert len(copies_in(second)) < OBJECTS, "it was killed in the middle, or this shows nothing"
    archive.start()
    healed = {"lacking_copies": 0, "damaged_copies": 0, "jobs": {}}
    wait_for(
        lambda: archive.report("status")["backlog"].items() >= healed.items(), "two copies of each", timeout_s=1_200
    )
    assert archive.stop() == 0
    for volume in (archive.volume, second):
        files = {path.name.rpartition("-")[0]: path for path in copies_in(volume)}
        assert len(copies_in(volume)) == OBJECTS
        assert [one.sop_uid for one in samples if data_set_of(files[one.sop_uid]) != one.data_set] == []
    assert f"{2 * OBJECTS} good" in archive.pacs("verify", timeout_s=300).stderr
    grow_old(archive.volume, second)
    found = {finding["kind"] for finding in archive.report("reconcile", expect=(0, 12))}
    assert found <= {"unfinished file that nobody writes to"}
    archive.pacs("reconcile", "--repair")
    assert archive.report("reconcile") == []
    left = [path for volume in (archive.volume, second) for path in files_below(volume, ".*.tmp")]
    assert left == []
    evidence(objects=OBJECTS, kills=len(DEATHS), litter=len(found))
