"""The audit trail under kill -9: whole, and every object that was acknowledged is accounted for."""

import random
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest
from support.senders import Sender, objects
from support.server import Archive

from pacs_server.dicom.audit import digest_over, sum_of
from pacs_server.errors import PacsError, PeerUnreachable

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(1_200)]

SENDERS, EACH, KILLS = 4, 150, 4


class OnceOnly(Sender):
    """Sends each object once: what was on its way when the archive was killed is not sent again."""

    def run(self) -> None:
        deadline = time.monotonic() + 600
        while self.waiting and time.monotonic() < deadline:
            try:
                self.send_some()
            except PeerUnreachable:
                time.sleep(0.05)
            except PacsError:
                del self.waiting[0]


def test_kills_under_load_leave_a_trail_that_is_whole_and_covers_what_was_acknowledged(
    new_archive: Callable[..., Archive], tmp_path: Path, evidence: Callable[..., None]
) -> None:
    archive = new_archive()
    archive.start()
    folder = tmp_path / "objects"
    folder.mkdir()
    senders = [OnceOnly(archive, objects(folder, number, EACH)) for number in range(SENDERS)]
    for sender in senders:
        sender.start()
    chance = random.Random()
    for _ in range(KILLS):
        time.sleep(chance.uniform(0.1, 0.6))
        archive.kill()
        archive.start()
    for sender in senders:
        sender.join(600)
    acknowledged = {sample.sop_uid for sender in senders for sample in sender.acknowledged}
    assert len(acknowledged) > EACH
    assert archive.report("audit", "verify") == []

    held: dict[str, list[str]] = defaultdict(list)
    for row in archive.report("find", "instances", "StudyInstanceUID="):
        held[row["StudyInstanceUID"]].append(row["uid"])
    assert acknowledged <= {uid for uids in held.values() for uid in uids}
    rows = archive.report("audit", "report", "--event", "store")
    for study_uid, uids in held.items():
        told = [row for row in rows if row["study_uid"] == study_uid]
        assert sum(row["count"] for row in told) == len(uids)
        assert sum_of(row["uid_digest"] for row in told) == digest_over(uids)
    starts = archive.report("audit", "report", "--event", "start")
    assert len(starts) > len(archive.report("audit", "report", "--event", "stop")) + KILLS
    assert archive.stop() == 0
    assert archive.report("audit", "verify") == []
    evidence(kills=KILLS, acknowledged=len(acknowledged), rows=len(rows))
