"""Two volumes, want 2, need 2, degraded 1, four senders; one volume fails under load, in each way in which one can."""

import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from pynetdicom import AE
from pynetdicom.sop_class import Verification
from support.faulty_volume import FaultyVolume, mounted
from support.mounts import mount, on_tmpfs, unmount
from support.samples import Sample, data_set_of, tiny, write
from support.senders import Sender, objects
from support.server import COMMAND_S, LONG, Archive, files_below, wait_for

from pacs_server.storage.sentinel import adopt

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(3_000 if LONG else 600)]

SENDERS, EACH = 4, 1_250 if LONG else 60
# What a machine that does other things meanwhile may add. At full length nothing else runs, and nothing is added.
WRITE_TIMEOUT_S, NOISE_S = (3, 0.0) if LONG else (8, 10.0)
HANG_S = 60 if LONG else 25  # longer than all of that


class Site:
    """An archive with the volumes `a`, which fails, and `b`; each on a mount of its own."""

    def __init__(self, archive: Archive, folder: Path, mounts: ExitStack) -> None:
        self.archive, self.folder, self.mounts = archive, folder, mounts
        self.a, self.b = folder / "a", folder / "b"
        self.faulty: FaultyVolume | None = None

    def on_tmpfs(self, name: str, size: str) -> Path:
        """A tmpfs at the path of the volume, which outlives its unmounting."""
        return on_tmpfs(self.folder, name, size, self.mounts)

    def begin(self) -> None:
        """Both volumes instead of the first one, two copies wanted and needed, and the server running."""
        for name in ("a", "b"):
            self.archive.pacs("storage", "add", name, str(self.folder / name), "--domain", name)
        self.archive.pacs("storage", "remove", "first", "--yes")
        self.archive.pacs("policy", "set", "--want", "2", "--need", "2", "--degraded", "1")
        self.archive.start()

    def files(self, name: str) -> dict[str, Path]:
        """The files of the objects on a volume, by SOP Instance UID."""
        return {path.name.rpartition("-")[0]: path for path in files_below(self.folder / name / "v1", "*.dcm")}

    def state(self, name: str) -> str:
        """The state of a volume, as the command line tells it. The kernel ends no process before a call into FUSE is
        over that has reached its program, so a command that looked at a hanging volume stays as long as that hangs.
        """
        listed = self.archive.report("storage", "list", timeout_s=HANG_S + COMMAND_S)
        return next(row["state"] for row in listed if row["name"] == name)


@pytest.fixture
def site(new_archive: Callable[..., Archive], tmp_path: Path) -> Iterator[Site]:
    archive = new_archive(storage={"write_timeout_s": WRITE_TIMEOUT_S})
    with ExitStack() as mounts:
        yield Site(archive, tmp_path, mounts)
        archive.kill()


@contextmanager
def echoing(archive: Archive) -> Iterator[list[float]]:
    """Sends C-ECHO all the time; how long each took, with its association."""
    took: list[float] = []
    over = threading.Event()

    def echo() -> None:
        while not over.wait(0.2):
            client = AE("ECHOING")
            client.add_requested_context(Verification)
            began = time.monotonic()
            association = client.associate("127.0.0.1", archive.port, ae_title=archive.aet)
            assert association.is_established
            assert association.send_c_echo().Status == 0
            association.release()
            took.append(time.monotonic() - began)

    thread = threading.Thread(target=echo, daemon=True)
    thread.start()
    yield took
    over.set()
    thread.join(30)


def unmounted(site: Site) -> Callable[[], None]:
    return unmount(site.a)


def fill(site: Site) -> Callable[[], None]:
    hog = site.a / "hog"
    subprocess.run(["dd", "if=/dev/zero", f"of={hog}", "bs=1M"], capture_output=True)
    return hog.unlink


def mount_another(site: Site) -> Callable[[], None]:
    other = site.folder / "other"
    other.mkdir()
    adopt(other, name="other")
    mount("--bind", other, site.a)

    def back() -> None:
        subprocess.run(["umount", "-l", str(site.a)], check=True)
        assert not (other / "v1").exists(), "another export was written to"

    return back


def return_eio(site: Site) -> Callable[[], None]:
    assert site.faulty
    site.faulty.tell("eio")
    return lambda: site.faulty.tell("ok") if site.faulty else None


def hang(site: Site) -> Callable[[], None]:
    assert site.faulty
    site.faulty.tell(f"hang {HANG_S}")
    over_at = time.monotonic() + HANG_S

    def back() -> None:
        assert site.faulty
        time.sleep(max(0.0, over_at - time.monotonic()))
        site.faulty.tell("ok")

    return back


FAULTS: dict[str, tuple[Callable[[Site], Callable[[], None]], str]] = {
    "unmounted": (unmounted, "tmpfs"),
    "filled": (fill, "tmpfs"),
    "replaced by another export": (mount_another, "tmpfs"),
    "returning EIO": (return_eio, "fuse"),
    "hanging": (hang, "fuse"),
}


@pytest.mark.parametrize("fault", sorted(FAULTS))
def test_a_volume_that_fails_under_load_loses_nothing_and_heals(
    site: Site, tmp_path: Path, fault: str, evidence: Callable[..., None]
) -> None:
    fail, kind = FAULTS[fault]
    if kind == "tmpfs":
        site.on_tmpfs("a", "4g" if LONG else "64m")
    else:
        try:
            site.faulty = site.mounts.enter_context(mounted(site.a))
        except OSError as error:
            pytest.skip(str(error))
    site.on_tmpfs("b", "4g" if LONG else "256m")
    site.begin()
    folder = tmp_path / "objects"
    folder.mkdir()
    senders = [Sender(site.archive, objects(folder, number, EACH)) for number in range(SENDERS)]
    with echoing(site.archive) as echoes:
        for sender in senders:
            sender.start()
        wait_for(lambda: sum(len(s.acknowledged) for s in senders) > SENDERS * EACH // 4, "a quarter", timeout_s=120)
        back = fail(site)
        failed_at = sum(len(sender.acknowledged) for sender in senders)
        wait_for(
            lambda: sum(len(s.acknowledged) for s in senders) >= min(failed_at + EACH, SENDERS * EACH),
            "objects that are stored while the volume is away",
            timeout_s=120,
        )
        wait_for(lambda: site.state("a") != "online", "the volume to be found wanting", timeout_s=120)
        back()
        for sender in senders:
            sender.join(2_000)
    acknowledged = [sample for sender in senders for sample in sender.acknowledged]
    assert len(acknowledged) == SENDERS * EACH
    assert set().union(*(sender.statuses for sender in senders)) == {0}
    assert max(sender.longest_s for sender in senders) < WRITE_TIMEOUT_S + 1 + NOISE_S
    assert max(echoes) < 1 + NOISE_S
    back_at = time.monotonic()
    heals(site, acknowledged)
    evidence(
        objects=len(acknowledged),
        longest_wait_s=round(max(sender.longest_s for sender in senders), 2),
        longest_echo_s=round(max(echoes), 2),
        echoes=len(echoes),
        healed_after_s=round(time.monotonic() - back_at),
    )


def heals(site: Site, acknowledged: list[Sample]) -> None:
    """Every object gets two copies without anyone typing a command, and each is what was sent."""
    wait_for(lambda: site.state("a") == "online", "the volume to come back", timeout_s=120)

    def backlog() -> dict[str, object]:
        told: dict[str, object] = site.archive.report("status")["backlog"]
        return told

    healed = {"want": 2, "lacking_copies": 0, "damaged_copies": 0, "jobs": {}}
    try:
        wait_for(
            lambda: backlog().items() >= healed.items(),
            "every object to have two copies",
            timeout_s=1_200 if LONG else 240,
            every_s=0.5,
        )
    except AssertionError as error:
        raise AssertionError(f"{error}: {backlog()}, {site.archive.report('jobs', 'list')[:3]}") from error
    for name in ("a", "b"):
        files = site.files(name)
        wrong = [s.sop_uid for s in acknowledged if data_set_of(files[s.sop_uid]) != s.data_set]
        assert wrong == []
    assert site.archive.pacs("verify", timeout_s=600).returncode == 0
    assert site.archive.stop() == 0
    assert "Traceback" not in site.archive.log_text(), site.archive.log_text()[-4_000:]


def test_a_volume_that_comes_back_with_the_content_of_last_week_gets_what_it_lost_before_the_other_one_may_go(
    site: Site, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    site.begin()
    for part in (range(5), range(5, 9)):
        folder = tmp_path / f"in-{part.start}"
        folder.mkdir()
        if part.start:
            shutil.copytree(site.b, tmp_path / "last-week")
        for number in part:
            write(tiny(number), folder / f"{number}.dcm")
        site.archive.pacs("import", str(folder))
    before = {uid: path.read_bytes() for uid, path in site.files("b").items()}
    site.b.rename(tmp_path / "gone")
    wait_for(lambda: site.state("b") == "offline", "the volume is away")
    (tmp_path / "last-week").rename(site.b)
    wait_for(lambda: len(site.files("b")) == len(before), "the copies that were lost are made again")
    assert {uid: path.read_bytes() for uid, path in site.files("b").items()} == before
    site.archive.pacs("storage", "drain", "a", "--yes")
    wait_for(
        lambda: site.archive.report("storage", "show", "a")["only_copies"] == 0, "all have a copy on b that counts"
    )
    site.archive.pacs("storage", "remove", "a", "--yes")
    site.archive.pacs("export", "StudyInstanceUID=*", "--to", str(tmp_path / "out"))
    assert len(files_below(tmp_path / "out", "*.dcm")) == len(before)


def test_a_volume_is_not_removed_for_copies_that_the_other_one_has_lost_while_no_server_looked(
    site: Site, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    site.begin()
    site.archive.stop()
    write(tiny(1), tmp_path / "one.dcm")
    site.archive.pacs("import", str(tmp_path / "one.dcm"))
    (lost,) = site.files("b").values()
    lost.unlink()
    refused = site.archive.pacs("storage", "remove", "a", "--yes", expect=2)
    assert "1 objects have no good copy but on a" in refused.stderr
