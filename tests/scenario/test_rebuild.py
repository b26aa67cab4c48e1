"""The index made anew from the files is what it was, however often the making is killed."""

import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.samples import tiny, uid, write
from support.server import LONG, Archive

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(7_200)]

OBJECTS = 100_000 if LONG else 400
PER_STUDY = 20
KILLS = 4


def filled(archive: Archive, folder: Path) -> None:
    """Studies of two series each, with names in kanji, an object in two versions, and one that has no patient ID."""
    folder.mkdir()
    for number in range(OBJECTS):
        study = number // PER_STUDY
        values = {"PatientID": f"R-{study // 2}" if study % 7 else None, "InstanceNumber": number % PER_STUDY}
        names = {"PatientName": f"Yamada^Taro{study // 2}=山田^太郎", "SpecificCharacterSet": ["", "ISO 2022 IR 87"]}
        write(tiny(number, study=study, series=number % 2, **values, **names), folder / f"{number:06}.dcm")
    write(tiny(0, study=0, series=0, PatientID=None, ImageComments="other content"), folder / "other.dcm")
    archive.pacs("import", str(folder), timeout_s=3_000)


def logical_dump(archive: Archive) -> list[object]:
    """What the index says, without the numbers of its rows and the senders, which no file tells."""
    levels = ("patients", "studies", "series", "instances")
    rows = [sorted(map(str, archive.report("find", level))) for level in levels]
    shown = [archive.report("show", "study", uid("study", study)) for study in range(3)]
    for view in shown:
        for part in view["series"]:
            part["objects"] = sorted(
                (one["uid"], one["role"], one["digest"], tuple(copy["path"] for copy in one["copies"]))
                for one in part["objects"]
            )
        view["flags"] = sorted((flag["kind"], flag["detail"]) for flag in view["flags"])
        del view["last_received_at"]
    return [*rows, shown]


def test_a_rebuild_that_is_killed_again_and_again_ends_with_the_same_index(
    new_archive: Callable[..., Archive], tmp_path: Path, evidence: Callable[..., None]
) -> None:
    archive = new_archive()
    filled(archive, tmp_path / "in")
    before = logical_dump(archive)
    chance = random.Random()
    killed, latest_s = 0, OBJECTS / 400
    while killed < KILLS:
        running = archive.begin("index", "rebuild")
        time.sleep(chance.uniform(0.0, latest_s))
        running.send_signal(signal.SIGKILL)
        is_killed = running.wait() == -signal.SIGKILL
        killed += is_killed
        latest_s *= 1.0 if is_killed else 0.7  # it was complete before
        assert logical_dump(archive) == before, "the present index stays as it is until the new one is complete"
    began = time.monotonic()
    archive.pacs("index", "rebuild", timeout_s=3_000)
    assert logical_dump(archive) == before
    evidence(objects=OBJECTS + 1, kills=killed, last_part_s=round(time.monotonic() - began))
