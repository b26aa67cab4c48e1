"""Another program keeps the SQLite file of the index locked: what senders and admins are told, and how soon."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from support.senders import Sender, objects
from support.server import Archive, wait_for

OUT_OF_RESOURCES = 0xA700
# Senders give up at 30 s.
ANSWERED_S = 20.0


def test_senders_are_answered_in_time_and_a_person_is_told_what_to_do(
    new_archive: Callable[..., Archive], tmp_path: Path
) -> None:
    archive = new_archive(workers=2)
    archive.start()
    path = archive.data / "index.db"
    senders = [Sender(archive, objects(tmp_path, number, 2)) for number in range(6)]
    with closing(sqlite3.connect(path, isolation_level=None, timeout=60)) as other:
        other.execute("BEGIN IMMEDIATE")
        for sender in senders:
            sender.start()
        wait_for(lambda: all(sender.statuses for sender in senders), "an answer to each", timeout_s=60)
        told = archive.pacs("ae", "add", "NEW", "-", "-", "--from", "127.0.0.1", expect=13).stderr
        other.execute("ROLLBACK")
    for sender in senders:
        sender.join(60)
    assert [sender.waiting for sender in senders] == [[]] * len(senders)
    assert {status for sender in senders for status in sender.statuses} == {0x0000, OUT_OF_RESOURCES}
    assert max(sender.longest_s for sender in senders) < ANSWERED_S
    assert f"another program keeps the index {path} locked" in told
    assert "fuser" in told
    assert archive.stop() == 0
