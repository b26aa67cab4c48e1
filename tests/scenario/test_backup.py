"""The two drills: the index is destroyed, and everything is; and what a kill in the middle of either leaves."""

import json
import os
import shlex
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from support.samples import tiny, write
from support.senders import Sender, objects
from support.server import Archive, files_below, wait_for

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(3_600)]

LONG = bool(os.environ.get("PACS_TEST_LONG"))
SENDERS, EACH = 3, 8_000 if LONG else 120
KILLS = 5 if LONG else 3
COMMAND_S = 3_000.0


def told(archive: Archive) -> list[object]:
    """Everything that queries and lists answer, with the places of the first studies' files."""
    levels = ("patients", "studies", "series", "instances")
    rows = [sorted(map(str, archive.report("find", level))) for level in levels]
    shown = [archive.report("show", "study", row["uid"]) for row in archive.report("find", "studies")[:3]]
    return [*rows, shown, archive.report("ae", "list"), archive.report("policy", "show")]


def objects_below(folder: Path) -> int:
    return sum(1 for _ in files_below(folder / "v1", "*.dcm"))


def kill_when(archive: Archive, words: list[str], folder: Path, more: int) -> None:
    """Run a command and kill it once it has put so many more objects into a folder, unless it is through before."""
    wanted = objects_below(folder) + more
    running = archive.begin(*words)
    wait_for(
        lambda: running.poll() is not None or objects_below(folder) >= wanted, "objects to appear", timeout_s=COMMAND_S
    )
    running.send_signal(signal.SIGKILL)
    running.wait()


def runs(target: Path) -> list[Path]:
    return sorted(path for path in (target / "runs").iterdir() if (path / "backup.json").exists())


def test_both_drills_after_backups_that_were_taken_and_killed_while_senders_stored(
    new_archive: Callable[..., Archive], tmp_path: Path
) -> None:
    archive, target, folder = new_archive(), tmp_path / "backups", tmp_path / "objects"
    folder.mkdir()
    archive.pacs("ae", "add", "CT1", "192.0.2.1", "104", "--issuer", "病院")
    archive.pacs("import", str(write(tiny(1, PatientName="Yamada^Taro"), tmp_path / "one.dcm").path))
    archive.start()
    senders = [Sender(archive, objects(folder, number, EACH)) for number in range(SENDERS)]
    for sender in senders:
        sender.start()
    backing_up = ["backup", "run", "--to", str(target), "--objects"]
    wait_for(
        lambda: all(len(sender.acknowledged) > EACH // 4 for sender in senders), "some objects", timeout_s=COMMAND_S
    )
    archive.pacs_dying("soon after backed up", 20, *backing_up)
    for _ in range(KILLS - 1):
        kill_when(archive, backing_up, target, 20)
    acknowledged = {sample.sop_uid for sender in senders for sample in list(sender.acknowledged)}
    archive.pacs(*backing_up, timeout_s=COMMAND_S)
    listed = [json.loads(line) for line in (runs(target)[-1] / "manifest.jsonl").read_text().splitlines()]
    assert acknowledged <= {one["sop_uid"] for one in listed}
    archive.pacs("backup", "verify", str(target), timeout_s=COMMAND_S)
    for sender in senders:
        sender.join(COMMAND_S)
    archive.pacs(*backing_up, timeout_s=COMMAND_S)
    archive.pacs("restore-backup", str(target), "--yes", expect=14)
    assert archive.stop() == 0
    before = told(archive)
    assert len(archive.instance_uids()) == SENDERS * EACH + 1

    drill_a(archive, target, before)
    drill_b(archive, target, before)
    archive.start()
    assert archive.stop() == 0


def drill_a(archive: Archive, target: Path, before: list[object]) -> None:
    """The index is destroyed, the volumes are kept."""
    for path in archive.data.glob("index.db*"):
        path.write_bytes(b"destroyed")
    archive.pacs("restore-backup", str(target), timeout_s=COMMAND_S)
    done = archive.pacs("restore-backup", str(target), "--yes", timeout_s=COMMAND_S)
    assert "was never verified" in done.stderr
    assert told(archive) == before
    archive.pacs("verify", timeout_s=COMMAND_S)
    assert archive.report("reconcile") == []


def drill_b(archive: Archive, target: Path, before: list[object]) -> None:
    """Everything is destroyed; the way back is killed again and again."""
    archive.pacs("backup", "verify", str(target), timeout_s=COMMAND_S)
    shutil.rmtree(archive.data)
    archive.pacs("init", "--data", str(archive.data), "--port", "0")
    restoring = ["restore-backup", str(target), "--yes"]
    for _ in range(KILLS):
        archive.pacs_dying("soon after brought back", 30, *restoring)
    done = archive.pacs(*restoring, timeout_s=COMMAND_S)
    assert "was never verified" not in done.stderr
    assert "it goes on" in done.stderr
    assert told(archive) == before
    archive.pacs("verify", timeout_s=COMMAND_S)
    assert archive.report("reconcile") == []


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)


def test_a_damaged_backup_is_told_by_its_exit_code_file_by_file(
    new_archive: Callable[..., Archive], tmp_path: Path
) -> None:
    archive, target = new_archive(), tmp_path / "控え 1"
    samples = [write(tiny(number), tmp_path / "in" / f"{number}.dcm") for number in range(4)]
    archive.pacs("import", str(tmp_path / "in"))
    told, _ = archive.pacs("backup", "run", "--to", str(target), "--objects").stderr.splitlines()
    _, *verify = shlex.split(told.partition("not verified: ")[2])
    assert verify == ["backup", "verify", str(target)]
    (run,) = archive.report("backup", "list", str(target))
    assert (run["verified_at"], run["objects"], run["with_objects"]) == ("never", 4, True)
    assert archive.report(*verify) == []
    files = {path.name.rpartition("-")[0]: path for path in files_below(target / "v1", "*.dcm")}
    flip(files[samples[0].sop_uid])
    files[samples[1].sop_uid].unlink()
    flip(target / "runs" / run["run"] / "index.db")
    damaged = archive.report("backup", "verify", str(target), expect=12)
    harmed = [target / "runs" / run["run"] / "index.db", *(files[sample.sop_uid] for sample in samples[:2])]
    assert {one["path"] for one in damaged} == {str(path.relative_to(target)) for path in harmed}
    (run,) = archive.report("backup", "list", str(target))
    assert (run["verified_at"], run["state"]) == (None, "3 files damaged")
    archive.pacs("restore-backup", str(target), "--yes", expect=12)
    archive.pacs("backup", "run", "--to", str(target), "--objects")
    assert archive.report("backup", "verify", str(target)) == []
    shutil.rmtree(archive.volume / "v1")
    files[samples[2].sop_uid].unlink()
    (lost,) = archive.report("restore-backup", str(target), "--yes", expect=12)
    assert (lost["uid"], lost["result"]) == (samples[2].sop_uid, "missing")
    archive.pacs("restore-backup", str(tmp_path), expect=2)
