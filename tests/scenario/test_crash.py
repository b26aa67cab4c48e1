"""The promise under kill -9: whatever was acknowledged is found again, byte for byte, and no row lies."""

import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.kept import assert_kept, assert_no_row_lies
from support.senders import Sender, objects
from support.server import LONG, Archive

from pacs_server.errors import PacsError

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(3_000 if LONG else 1_200)]

SENDERS, EACH = 4, 2_500 if LONG else 250
MOST_KILLS = 60 if LONG else 6


def test_a_thousand_objects_from_four_senders_survive_kills_at_random_moments(
    new_archive: Callable[..., Archive], tmp_path: Path, evidence: Callable[..., None]
) -> None:
    archive = new_archive()
    archive.start()
    folder = tmp_path / "objects"
    folder.mkdir()
    senders = [Sender(archive, objects(folder, number, EACH)) for number in range(SENDERS)]
    for sender in senders:
        sender.start()
    chance = random.Random()
    kills = 0
    while any(sender.is_alive() for sender in senders) and kills < MOST_KILLS:
        time.sleep(chance.uniform(0.05, 0.6))
        archive.kill()
        kills += 1
        archive.start()
    for sender in senders:
        sender.join(2_000)
    acknowledged = [sample for sender in senders for sample in sender.acknowledged]
    assert len(acknowledged) == SENDERS * EACH
    assert kills >= 1
    archive.kill()
    archive.start()
    assert_kept(archive, acknowledged)
    assert_no_row_lies(archive)
    assert archive.stop() == 0
    evidence(kills=kills + 1, acknowledged=len(acknowledged), lost=0)


@pytest.mark.parametrize("step", ["received", "written", "recorded"])
def test_a_kill_at_each_step_of_the_journey_loses_nothing_that_was_acknowledged(
    new_archive: Callable[..., Archive], tmp_path: Path, step: str
) -> None:
    archive = new_archive()
    folder = tmp_path / "objects"
    folder.mkdir()
    samples = objects(folder, 1, 12)
    archive.start(dies_at=(step, 8))
    sender = Sender(archive, samples)
    with pytest.raises(PacsError):
        sender.send_some()
    assert archive.wait_for_death() < 0
    assert len(sender.acknowledged) == 7
    archive.start()
    assert_kept(archive, sender.acknowledged)
    eighth = samples[7].sop_uid
    assert (eighth in archive.instance_uids()) == (step == "recorded")
    assert any(path.name.startswith(eighth) for path in archive.files()) == (step != "received")
    assert_no_row_lies(archive)
    if step == "written":
        (adopted,) = archive.report("reconcile", "--repair")
        assert adopted["kind"] == "adopted"
        assert eighth in archive.instance_uids()
    sender.send_some()
    assert_kept(archive, samples)
    assert archive.report("reconcile") == []
