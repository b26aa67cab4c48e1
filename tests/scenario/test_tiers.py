"""Moves between tiers as whole processes: killed at each step, while somebody retrieves, without a volume, at night."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.sop_class import CTImageStorage, StudyRootQueryRetrieveInformationModelMove
from support.mounts import on_tmpfs, unmount
from support.samples import Sample, data_set_of, tiny, write
from support.server import Archive, files_below, wait_for

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(300)]

COUNT = 6
DEADLINE_S = 100


def image(number: int, study: str, size_bytes: int) -> Dataset:
    dataset = tiny(number, study=study, PixelData=bytes(size_bytes), BitsAllocated=8)
    dataset["PixelData"].VR = "OB"
    return dataset


class Site:
    """An archive whose first volume is hot, with the cold volume `cold`."""

    def __init__(self, archive: Archive, folder: Path) -> None:
        self.archive, self.folder = archive, folder
        self.samples: list[Sample] = []
        (folder / "cold").mkdir(exist_ok=True)
        archive.pacs("storage", "add", "cold", str(folder / "cold"), "--tier", "cold", "--domain", "cold")

    def take_in(self, study: str, count: int = COUNT, *, size_bytes: int = 100) -> list[Sample]:
        into = self.folder / study
        into.mkdir()
        taken = [write(image(n, study, size_bytes), into / f"{n}.dcm") for n in range(count)]
        self.archive.pacs("import", str(into))
        self.samples += taken
        return taken

    def add_rule(self, *asked: str) -> None:
        asked = asked or ("--older-than", "30")
        self.archive.pacs("tier", "rule", "add", "old", "--from", "hot", "--to", "cold", *asked)

    def files(self, root: Path) -> dict[str, Path]:
        """The files of objects below a directory, wherever they are. The server may remove directories meanwhile."""
        paths = (Path(folder) / name for folder, _, names in os.walk(root) for name in names)
        return {path.name.rpartition("-")[0]: path for path in paths if path.suffix == ".dcm"}

    def assert_everything_is_cold(self) -> None:
        """Every object is on the cold volume as it was sent, and verified; nothing else is anywhere."""
        # What remembers a file that left is removed a moment after the file.
        backlog = lambda: self.archive.report("status", expect=(0, 13))["backlog"]  # noqa: E731
        wait_for(lambda: backlog()["leaving_files"] == 0, "nothing to be about to leave", timeout_s=DEADLINE_S)
        sent = {sample.sop_uid: sample.data_set for sample in self.samples}
        cold = self.files(self.folder / "cold")
        assert {uid: data_set_of(path) for uid, path in cold.items()} == sent
        assert self.files(self.archive.volume) == {}
        for root in (self.archive.volume, self.folder / "cold"):
            wait_for(lambda root=root: not (root / "leaving").exists(), "the directory to go")  # type: ignore[misc]
            assert files_below(root, ".*.tmp") == []
        assert self.archive.instance_uids() == sent.keys()
        assert self.archive.report("tier", "plan")["studies"] == []
        shown = {name: self.archive.report("storage", "show", name) for name in ("first", "cold")}
        assert [shown[name]["copies"] for name in shown] == [0, len(sent)]
        assert self.archive.report("reconcile") == []
        assert all(row["result"] == "good" for row in self.archive.report("verify"))


@pytest.fixture
def site(new_archive: Callable[..., Archive], tmp_path: Path) -> Iterator[Site]:
    archive = new_archive(storage={"release_delay_s": 0.0})
    yield Site(archive, tmp_path)
    archive.kill()


STEPS = ["chosen", "copied", "switching", "switched", "leaving", "set aside", "removed", "released"]


@pytest.mark.parametrize("step", STEPS)
def test_a_move_that_is_killed_at_any_step_ends_the_same_when_it_is_run_again(site: Site, step: str) -> None:
    site.take_in("one")
    site.take_in("two")
    site.add_rule()
    count = 2 if step in ("switching", "switched") else 8  # of those there is one for each series
    site.archive.pacs_dying(step, count, "tier", "run", "--yes")
    site.archive.pacs("tier", "run", "--yes")
    site.assert_everything_is_cold()


def test_a_dry_run_and_a_plan_change_nothing_and_a_limit_leaves_the_rest(site: Site) -> None:
    site.take_in("one")
    site.take_in("two")
    site.add_rule()
    before = site.files(site.archive.volume).keys()
    assert site.archive.report("tier", "run") == []
    plan = site.archive.report("tier", "plan")
    assert site.files(site.archive.volume).keys() == before
    assert [(one["objects"], one["from_volumes"], one["to_volumes"]) for one in plan["studies"]] == [
        (COUNT, ["first"], ["cold"])
    ] * 2
    gained = {one["name"]: one["free_bytes_after"] - one["free_bytes"] for one in plan["volumes"]}
    assert gained == {"first": plan["size_bytes"], "cold": -plan["written_bytes"]}
    assert plan["written_bytes"] == plan["size_bytes"] > 0
    assert plan["duration_s"] is None, "no move was measured yet"
    limit = str(plan["studies"][0]["size_bytes"])
    (moved,) = site.archive.report("tier", "run", "--limit-bytes", limit, "--yes", expect=3)
    assert moved["objects"] == COUNT
    left = site.archive.report("tier", "plan")
    assert len(left["studies"]) == 1
    assert left["duration_s"] is not None
    site.archive.pacs("tier", "run", "--rule", "old", "--yes")
    site.assert_everything_is_cold()


def test_making_room_brings_a_volume_down_to_its_low_water_mark_and_no_further(
    new_archive: Callable[..., Archive], tmp_path: Path
) -> None:
    with ExitStack() as mounts:
        archive = new_archive(storage={"release_delay_s": 0.0})
        site = Site(archive, tmp_path)
        hot = on_tmpfs(tmp_path, "hot", "16m", mounts)
        archive.pacs("storage", "add", "hot", str(hot), "--domain", "hot")
        archive.pacs("storage", "remove", "first", "--yes")
        archive.pacs("storage", "set", "hot", "--high-water", "90", "--low-water", "50")
        site.add_rule("--make-room")
        studies = [site.take_in(f"study-{n}", 4, size_bytes=250_000) for n in range(13)]
        assert used_percent(hot) > 75
        assert archive.report("tier", "plan")["volumes"][1]["name"] == "hot"
        archive.pacs("tier", "run", "--yes")
        assert 42 < used_percent(hot) <= 50, "a study is 6 %"
        gone = site.files(tmp_path / "cold").keys()
        assert gone == {sample.sop_uid for study in studies[: len(gone) // 4] for sample in study}
        assert archive.report("tier", "plan")["studies"] == []
        assert archive.report("reconcile") == []


def used_percent(root: Path) -> float:
    told = os.statvfs(root)
    return 100 * (1 - told.f_bavail / told.f_blocks)


@contextmanager
def destination(on_object: Callable[[str], None]) -> Iterator[int]:
    """A storage provider that does something with each object before it takes it; its port."""

    def handle(event: evt.Event) -> int:
        on_object(str(event.request.AffectedSOPInstanceUID))
        return 0x0000

    provider = AE("SLOW")
    provider.add_supported_context(CTImageStorage)
    server = provider.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, handle)])
    try:
        yield server.socket.getsockname()[1]
    finally:
        server.shutdown()


def test_a_retrieve_that_runs_while_its_study_moves_away_gets_everything(site: Site) -> None:
    """With no delay at all: the files at which it was told to look are gone before it comes to them."""
    site.take_in("one")
    site.add_rule()
    received: list[str] = []
    began, moved = threading.Event(), threading.Event()

    def take(uid: str) -> None:
        received.append(uid)
        began.set()
        moved.wait(DEADLINE_S)

    with destination(take) as port:
        site.archive.start()
        site.archive.add_peer("SLOW", port)
        statuses: list[int] = []
        mover = threading.Thread(target=lambda: statuses.append(c_move(site.archive, site.samples[0].study_uid)))
        mover.start()
        assert began.wait(DEADLINE_S)
        site.archive.pacs("tier", "run", "--yes")
        wait_for(lambda: not site.files(site.archive.volume), "the hot files to go", timeout_s=DEADLINE_S)
        moved.set()
        mover.join(DEADLINE_S)
    assert statuses == [0x0000]
    assert sorted(received) == sorted(sample.sop_uid for sample in site.samples)


def c_move(archive: Archive, study_uid: str) -> int:
    identifier = Dataset()
    identifier.QueryRetrieveLevel = "STUDY"
    identifier.StudyInstanceUID = study_uid
    client = AE("CALLER")
    client.dimse_timeout = client.acse_timeout = DEADLINE_S
    client.add_requested_context(StudyRootQueryRetrieveInformationModelMove)
    association = client.associate("127.0.0.1", archive.port, ae_title=archive.aet)
    try:
        answers = association.send_c_move(identifier, "SLOW", StudyRootQueryRetrieveInformationModelMove)
        return [status.Status for status, _ in answers][-1]
    finally:
        association.release()


def test_the_server_moves_in_its_window_goes_on_without_a_volume_that_is_away_and_finishes_when_it_is_back(
    site: Site,
) -> None:
    with ExitStack() as mounts:
        nas = on_tmpfs(site.folder, "nas", "64m", mounts)
        here = site.take_in("here")
        site.archive.pacs("storage", "add", "nas", str(nas), "--domain", "nas")
        site.archive.pacs("storage", "set", "first", "--read-only")
        there = site.take_in("there")
        back = unmount(nas)
        site.add_rule()
        site.archive.start()
        now = datetime.now().astimezone()
        begin, end = (now - timedelta(hours=1)).strftime("%H:%M"), (now + timedelta(hours=2)).strftime("%H:%M")
        site.archive.pacs("tier", "window", f"{begin}-{end}")
        cold = site.folder / "cold"
        wait_for(lambda: len(site.files(cold)) == len(here), "what can be read to move", timeout_s=DEADLINE_S)
        wait_for(lambda: not site.files(site.archive.volume), "its files to be removed", timeout_s=DEADLINE_S)
        back()
        wait_for(
            lambda: len(site.files(cold)) == len(here) + len(there) and not site.files(nas),
            "what was away to move, and its files to be removed", timeout_s=DEADLINE_S,
        )  # fmt: skip
        site.assert_everything_is_cold()
        assert site.archive.stop() == 0


def test_a_study_that_was_retrieved_was_read(site: Site) -> None:
    read, other = site.take_in("one"), site.take_in("two")
    site.add_rule("--not-read-for", "0")
    with destination(lambda _: None) as port:
        site.archive.start()
        site.archive.add_peer("SLOW", port)
        order = [one["uid"] for one in site.archive.report("tier", "plan")["studies"]]
        assert order == [read[0].study_uid, other[0].study_uid]
        assert c_move(site.archive, read[0].study_uid) == 0x0000

    def order_now() -> list[str]:
        return [one["uid"] for one in site.archive.report("tier", "plan")["studies"]]

    wait_for(lambda: order_now() == order[::-1], "the reading to be written down", timeout_s=DEADLINE_S)


def test_a_low_water_mark_above_the_high_one_is_refused_and_follows_it_otherwise(site: Site) -> None:
    site.archive.pacs("storage", "set", "first", "--high-water", "80")
    assert site.archive.report("storage", "show", "first")["low_water"] == 80
    refused = site.archive.pacs("storage", "set", "first", "--low-water", "85", expect=2)
    assert "--low-water" in refused.stderr
    site.archive.pacs("storage", "set", "first", "--low-water", "60")
    assert site.archive.report("storage", "show", "first")["low_water"] == 60


def test_a_rule_that_cannot_move_anything_says_why(site: Site) -> None:
    site.take_in("one")
    site.archive.pacs("policy", "set", "--want", "3")
    site.add_rule()
    site.archive.pacs("tier", "rule", "add", "warm", "--from", "hot", "--to", "warm", "--older-than", "30")
    said = site.archive.pacs("tier", "plan").stderr
    assert f"rule old cannot move {COUNT} objects: too few copies would remain" in said
    assert "rule warm moves nothing: there is no volume of tier warm; pacs storage add" in said
    site.archive.pacs("storage", "set", "cold", "--read-only")
    said = site.archive.pacs("tier", "run", "--rule", "old").stderr
    assert "no volume of tier cold takes anything now: cold is read-only" in said
    site.archive.pacs("tier", "run", "--rule", "none", expect=2)
    for given, left in ((), ["old", "warm"]), (("--yes",), ["warm"]):
        site.archive.pacs("tier", "rule", "remove", "old", *given)
        assert [one["name"] for one in site.archive.report("tier", "rule", "list")] == left
    site.archive.pacs("tier", "rule", "remove", "old", expect=2)
