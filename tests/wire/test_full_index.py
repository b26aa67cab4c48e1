"""The disk of the index is full, and the volume is not: who asks is answered, who stores is refused."""

import os
import signal
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from support import rude
from support.monitoring import metrics, reasons
from support.mounts import on_tmpfs
from support.samples import Sample, tiny, write
from support.second_client import associate, identifier, send
from support.server import Archive, children, wait_for

from pacs_server.dicom.elements import IMPLICIT_LE

pytestmark = pytest.mark.timeout(600)

OUT_OF_RESOURCES = 0xA700
SOON_S = 120.0


def test_a_full_disk_ends_no_process_and_is_told(new_archive: Callable[..., Archive], tmp_path: Path) -> None:
    with ExitStack() as mounts:
        folder = tmp_path / "archive-0"
        folder.mkdir()
        on_tmpfs(folder, "data", "24m", mounts)
        archive = new_archive(workers=2, http={"port": 0})
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        archive.pacs("storage", "add", "elsewhere", str(elsewhere))
        archive.pacs("storage", "set", "first", "--read-only")
        archive.start()
        (sample,) = [write(tiny("before", study="full"), tmp_path / "before.dcm")]
        assert send(archive, [sample]) == {sample.sop_uid: 0x0000}
        wait_for(lambda: not reasons(archive), "the server to be ready", timeout_s=SOON_S)
        family = children(archive.pid)
        ballast = archive.data / "ballast"
        _fill(ballast)

        refused = _refused(archive, tmp_path)
        assert set(refused.values()) == {OUT_OF_RESOURCES}
        counted = lambda: metrics(archive).get("pacs_unrecorded_objects_total")  # noqa: E731
        wait_for(counted, "them to be counted", timeout_s=SOON_S)
        told = lambda: any("takes nothing new" in one for one in reasons(archive))  # noqa: E731
        while not told():
            refused |= _refused(archive, tmp_path)
        _asks_in_peace(archive, sample)
        assert children(archive.pid) == family
        for pid in family[:-1]:  # the last one watches
            os.kill(pid, signal.SIGKILL)
        wait_for(lambda: len(set(children(archive.pid)) - set(family)) == len(family) - 1, "others in their place",
                 timeout_s=SOON_S)  # fmt: skip
        _asks_in_peace(archive, sample)

        ballast.unlink()
        wait_for(lambda: not reasons(archive), "the server to be ready again", timeout_s=SOON_S)
        after = write(tiny("after", study="full"), tmp_path / "after.dcm")
        assert send(archive, [after]) == {after.sop_uid: 0x0000}
        assert not refused.keys() & archive.instance_uids()
        assert archive.stop() == 0
    assert "Traceback" not in archive.log_text()


def test_a_full_disk_is_told_for_as_long_as_it_is_full_though_nobody_sends(
    new_archive: Callable[..., Archive], tmp_path: Path
) -> None:
    with ExitStack() as mounts:
        folder = tmp_path / "archive-0"
        folder.mkdir()
        on_tmpfs(folder, "data", "24m", mounts)
        archive = new_archive(workers=1, http={"port": 0}, alert={"hold_s": 0})
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        archive.pacs("storage", "add", "elsewhere", str(elsewhere))
        archive.pacs("storage", "set", "first", "--read-only")
        archive.start()
        wait_for(lambda: not reasons(archive), "the server to be ready", timeout_s=SOON_S)
        wait_for((archive.data / "alarms.json").is_file, "the first look at what is wrong", timeout_s=SOON_S)
        _fill(archive.data / "ballast")
        _refused(archive, tmp_path)

        seen_full = lambda: "is full: make room" in "".join(reasons(archive))  # noqa: E731
        wait_for(seen_full, "the reason to be told, which no refusal tells", timeout_s=SOON_S)
        wait_for(lambda: _alarms(archive) >= {"database", "disk"}, "the alarms to be listed", timeout_s=SOON_S)

        (archive.data / "ballast").unlink()
        wait_for(lambda: not reasons(archive), "the server to be ready again", timeout_s=SOON_S)
    assert "Traceback" not in archive.log_text()


def _alarms(archive: Archive) -> set[str]:
    return {one["about"] for one in archive.report("alert", "list", expect=(0, 12))}


def _asks_in_peace(archive: Archive, sample: Sample) -> None:
    contexts = [(rude.VERIFICATION, [IMPLICIT_LE]), (rude.STUDY_FIND, [IMPLICIT_LE])]
    for _ in range(6):  # of each of the processes
        with associate(archive, contexts) as association:
            assert association.send_c_echo().Status == 0x0000
            asked = identifier("STUDY", StudyInstanceUID=sample.study_uid)
            told = [status.Status for status, _ in association.send_c_find(asked, rude.STUDY_FIND)]
            assert told == [0xFF00, 0x0000]


def _fill(ballast: Path) -> None:
    with suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(1 << 12))


def _refused(archive: Archive, folder: Path) -> dict[str, int]:
    """Store until many are refused: the log of SQLite has room for some that came before."""
    refused: dict[str, int] = {}
    for _ in range(40):
        number = len(list(folder.glob("*.dcm")))
        samples = [write(tiny(n, study="full"), folder / f"{n}.dcm") for n in range(number, number + 20)]
        refused |= {uid: status for uid, status in send(archive, samples).items() if status}
        if len(refused) > 10:
            return refused
    raise AssertionError("everything was stored on a full disk")
