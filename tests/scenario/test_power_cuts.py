"""Cuts of power: of what was acknowledged, a volume that forgets whatever was not flushed forgets nothing."""

import os
import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.faulty_volume import FaultyVolume
from support.samples import Sample
from support.senders import Sender, objects
from support.server import LONG, Archive

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(3_000)]

CUTS = 20
SENDERS, EACH = 4, 1_000 if LONG else 200


@pytest.fixture(scope="module")
def hangs() -> bool:
    return False


def archive_on(volume: FaultyVolume, archive: Archive) -> Archive:
    """The archive with this volume as its only one."""
    archive.pacs("storage", "add", "forgetful", str(volume.path))
    archive.pacs("storage", "remove", "first", "--yes")
    return archive


def cut(volume: FaultyVolume, archive: Archive) -> None:
    """Power is lost in the middle of whatever goes on: the process dies, and the volume forgets."""
    archive.kill()
    volume.tell("cut")


def contents(folder: Path) -> dict[str, bytes]:
    """The files of objects below a folder, by SOP Instance UID. By its path, each name on the way to a file would be
    asked for anew, each time.
    """
    read: dict[str, bytes] = {}
    for _, _, names, opened in os.fwalk(folder):
        for name in (name for name in names if name.endswith(".dcm")):
            with os.fdopen(os.open(name, os.O_RDONLY, dir_fd=opened), "rb") as file:
                read[name.rpartition("-")[0]] = file.read()
    return read


def missing(volume: FaultyVolume, archive: Archive, acknowledged: list[Sample]) -> list[str]:
    """What was acknowledged and is not in the index, or not what was sent."""
    found, files = archive.instance_uids(), contents(volume.path / "v1")

    def is_kept(sample: Sample) -> bool:
        return sample.sop_uid in found and files.get(sample.sop_uid, b"").endswith(sample.data_set)

    return [sample.sop_uid for sample in acknowledged if not is_kept(sample)]


def test_twenty_cuts_under_load_lose_nothing_that_was_acknowledged(
    forgetful: FaultyVolume, new_archive: Callable[..., Archive], tmp_path: Path, evidence: Callable[..., None]
) -> None:
    archive = archive_on(forgetful, new_archive())
    archive.start()
    folder = tmp_path / "objects"
    folder.mkdir()
    senders = [Sender(archive, objects(folder, number, EACH)) for number in range(SENDERS)]
    for sender in senders:
        sender.start()
    chance = random.Random()
    cuts = 0
    while cuts < CUTS:
        time.sleep(chance.uniform(0.05, 0.5))
        cut(forgetful, archive)
        cuts += 1
        archive.start()
        so_far = [sample for sender in senders for sample in list(sender.acknowledged)]
        assert missing(forgetful, archive, so_far) == []
    for sender in senders:
        sender.join(2_000)
    acknowledged = [sample for sender in senders for sample in sender.acknowledged]
    assert len(acknowledged) == SENDERS * EACH
    cut(forgetful, archive)
    archive.start()
    assert missing(forgetful, archive, acknowledged) == []
    evidence(cuts=cuts + 1, acknowledged=len(acknowledged), lost=0)


@pytest.mark.parametrize("left_out", ["unflushed-file", "unflushed-directory"])
def test_with_one_flush_left_out_the_same_cut_loses_objects(
    forgetful: FaultyVolume, new_archive: Callable[..., Archive], tmp_path: Path, left_out: str
) -> None:
    archive = archive_on(forgetful, new_archive())
    archive.start(dies_at=(left_out, 0))
    folder = tmp_path / "objects"
    folder.mkdir()
    sender = Sender(archive, objects(folder, 1, 20))
    sender.send_some()
    assert missing(forgetful, archive, sender.acknowledged) == []
    cut(forgetful, archive)
    archive.start()
    assert len(sender.acknowledged) == 20
    assert missing(forgetful, archive, sender.acknowledged) != []
