"""Copies through the command line and the network: policy, damaged copies that a viewer does not notice, draining."""

from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path

import pytest
from support.dcmtk import STUDY_ROOT, Station, require
from support.samples import Sample, data_set_of, tiny, write
from support.server import Archive, files_below, wait_for

pytestmark = pytest.mark.timeout(600)

SUCCESS = 0x0000
LONG_S = 120.0


@pytest.fixture
def doubled(new_archive: Callable[..., Archive], tmp_path: Path) -> Archive:
    """A running archive that keeps two copies, on `first` and `second`."""
    require()
    archive = new_archive()
    (tmp_path / "second").mkdir()
    told = archive.pacs("storage", "add", "second", str(tmp_path / "second"), "--domain", "second").stderr
    assert "pacs policy set --want 2 --need 2 --degraded 1" in told
    archive.pacs("policy", "set", "--want", "2", "--need", "2")
    archive.start()
    return archive


@pytest.fixture
def station(doubled: Archive, tmp_path: Path) -> Station:
    return Station(archive=doubled, folder=tmp_path)


def stored(station: Station, folder: Path, count: int = 3, **values: object) -> list[Sample]:
    into = folder / str(values.get("study", "study"))
    into.mkdir()
    samples = [write(tiny(n, ImageComments="x" * 5000, **values), into / f"{n}.dcm") for n in range(count)]
    assert set(station.store(*(sample.path for sample in samples)).statuses) == {SUCCESS}
    return samples


def copy_of(archive: Archive, sample: Sample, volume: str) -> Path:
    """The file of a copy, by what `pacs show` and `pacs storage list` tell."""
    roots = {row["name"]: Path(row["path"]) for row in archive.report("storage", "list")}
    (part,) = archive.report("show", "study", sample.study_uid)["series"]
    (held,) = [one for one in part["objects"] if one["uid"] == sample.sop_uid]
    (path,) = [copy["path"] for copy in held["copies"] if copy["volume"] == volume]
    return roots[volume] / path


def backlog(archive: Archive) -> dict[str, object]:
    told: dict[str, object] = archive.report("status")["backlog"]
    return told


def is_whole(archive: Archive, volume: str) -> bool:
    """Whether all copies on it are good; while the running server replaces one, it may be found damaged still."""
    return archive.report("verify", "--volume", volume, expect=(0, 12)) == []


@pytest.mark.parametrize("harm", ["flipped", "truncated", "deleted"])
def test_a_viewer_does_not_notice_a_damaged_copy_and_it_is_replaced(
    doubled: Archive, station: Station, tmp_path: Path, harm: str
) -> None:
    samples = stored(station, tmp_path)
    for volume in ("first", "second"):
        path = copy_of(doubled, samples[1], volume)
        whole = path.read_bytes()
        if harm == "flipped":
            path.write_bytes(whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:])
        elif harm == "truncated":
            path.write_bytes(whole[:-100])
        else:
            path.unlink()
        into = tmp_path / f"got-{volume}"
        assert station.get(STUDY_ROOT, "STUDY", {"StudyInstanceUID": samples[0].study_uid}, into).code == 0
        got = {data_set_of(file) for file in into.iterdir()}
        assert got == {sample.data_set for sample in samples}
        # Two that replace one copy at the same time may put the file of each other aside for a moment.
        wait_for(lambda: backlog(doubled)["jobs"] == {}, "the jobs to be done", timeout_s=LONG_S)
        wait_for(partial(is_whole, doubled, volume), "the copy to be replaced", timeout_s=LONG_S)
        assert path.read_bytes() == whole
    wait_for(lambda: backlog(doubled)["jobs"] == {}, "nothing to be owed any more", timeout_s=LONG_S)
    assert doubled.report("reconcile") == []


def test_verify_repairs_what_it_can_and_tells_of_the_rest(doubled: Archive, station: Station, tmp_path: Path) -> None:
    samples = stored(station, tmp_path)
    assert doubled.report("verify") == []
    doubled.stop()  # it might find it first, when it looks for what its volumes had last
    damaged = copy_of(doubled, samples[0], "second")
    damaged.write_bytes(b"rotten")
    (found,) = doubled.report("verify")
    assert (found["result"], found["volume"]) == ("repaired", "second")
    doubled.start()
    # At once: between the two the server may look for what its volumes had last, and repair the one.
    for path in [copy_of(doubled, samples[2], volume) for volume in ("first", "second")]:
        path.write_bytes(b"rotten")
    told = doubled.report("verify", expect=12)
    assert {row["result"] for row in told} == {"damaged"}
    assert copy_of(doubled, samples[2], "first").read_bytes() == b"rotten", "nothing is made of what is damaged"
    assert doubled.report("verify", expect=12) != [], "it is told again"
    assert station.store(samples[2].path).status == SUCCESS
    wait_for(
        lambda: backlog(doubled)["damaged_copies"] == 0, "the object that was sent again to be whole", timeout_s=LONG_S
    )
    assert doubled.report("verify") == []


def test_a_volume_that_is_not_empty_yet_is_not_removed_and_says_what_to_do(
    new_archive: Callable[..., Archive], tmp_path: Path
) -> None:
    archive = new_archive()
    write(tiny(1), tmp_path / "one.dcm")
    archive.pacs("import", str(tmp_path / "one.dcm"))
    (tmp_path / "second").mkdir()
    archive.pacs("storage", "add", "second", str(tmp_path / "second"), "--domain", "second")
    remove = "storage", "remove", "first", "--yes"
    assert "but on first: first pacs storage drain first --yes" in archive.pacs(*remove, expect=2).stderr
    archive.pacs("storage", "drain", "first", "--yes")
    assert "which the running server empties: wait; pacs storage show first" in archive.pacs(*remove, expect=2).stderr


def test_a_volume_is_emptied_and_removed_without_losing_anything(
    doubled: Archive, station: Station, tmp_path: Path
) -> None:
    samples = stored(station, tmp_path)
    doubled.pacs("policy", "set", "--want", "1", "--need", "1")
    doubled.stop()
    doubled.start()
    more = stored(station, tmp_path, study="single")
    doubled.pacs("storage", "remove", "nothing", "--yes", expect=2)
    only_there = {name: doubled.report("storage", "show", name)["only_copies"] for name in ("first", "second")}
    assert sum(only_there.values()) == len(more)
    drained = max(only_there, key=lambda name: only_there[name])
    path = doubled.report("storage", "show", drained)["path"]
    doubled.pacs("storage", "remove", drained, "--yes", expect=2)
    doubled.pacs("storage", "drain", drained)
    assert doubled.report("storage", "show", drained)["state"] == "online", "nothing is done without --yes"
    doubled.pacs("storage", "drain", drained, "--yes")
    wait_for(
        lambda: doubled.report("storage", "show", drained)["only_copies"] == 0, "it to be emptied", timeout_s=LONG_S
    )
    doubled.pacs("storage", "remove", drained, "--yes")
    assert [row["name"] for row in doubled.report("storage", "list")] != [drained]
    for sample in (*samples, *more):
        into = tmp_path / f"got-{sample.sop_uid[-6:]}"
        keys = {"StudyInstanceUID": sample.study_uid, "SeriesInstanceUID": sample.series_uid}
        assert station.get(STUDY_ROOT, "IMAGE", keys | {"SOPInstanceUID": sample.sop_uid}, into).code == 0
        (file,) = into.iterdir()
        assert data_set_of(file) == sample.data_set
    add = "storage", "add", drained, str(path)
    wait_for(  # whoever watches the server rests the longer the busier the machine is
        lambda: doubled.pacs(*add, expect=(0, 2)).returncode == 0,
        "the server to let go of it",
        timeout_s=LONG_S,
        every_s=0.5,
    )


def test_a_volume_that_is_lost_with_the_only_copies_is_given_up_and_an_empty_one_takes_its_place(
    doubled: Archive, station: Station, tmp_path: Path
) -> None:
    doubled.pacs("policy", "set", "--want", "1", "--need", "1")
    doubled.stop()
    doubled.start()
    samples = stored(station, tmp_path)
    told = [doubled.report("storage", "show", row["name"]) for row in doubled.report("storage", "list")]
    lost = next(row for row in told if row["only_copies"])
    remove, path = ("storage", "remove", lost["name"]), Path(lost["path"])
    path.rename(tmp_path / "gone")
    path.mkdir()
    doubled.pacs("storage", "drain", lost["name"], "--yes")
    refused = doubled.pacs(*remove, "--yes", expect=2)
    assert f"3 objects have no good copy but on {lost['name']}, which cannot be read" in refused.stderr
    assert "or give them up with --lost" in refused.stderr
    for word in ((), ("--yes",)):
        assert "3 objects have no good copy without" in doubled.pacs(*remove, "--lost", *word).stderr
    doubled.pacs("storage", "add", lost["name"], str(path))
    assert doubled.instance_uids() == {sample.sop_uid for sample in samples}, "it tells what was lost"
    for sample in samples:
        assert station.store(sample.path).status == SUCCESS
    assert doubled.report("verify") == []
    doubled.pacs("export", "StudyInstanceUID=*", "--to", str(tmp_path / "out"))
    assert len(files_below(tmp_path / "out", "*.dcm")) == 3
    doubled.pacs("storage", "drain", lost["name"], "--yes")
    refused = doubled.pacs(*remove, "--lost", "--yes", expect=2)
    assert f"{lost['name']} is not lost, it can be read" in refused.stderr


def test_a_raised_policy_makes_the_copies_that_are_missing(new_archive: Callable[..., Archive], tmp_path: Path) -> None:
    require()
    archive = new_archive()
    archive.start()
    samples = stored(Station(archive=archive, folder=tmp_path), tmp_path)
    (tmp_path / "second").mkdir()
    archive.pacs("storage", "add", "second", str(tmp_path / "second"), "--domain", "second")
    archive.pacs("policy", "set", "--want", "2")
    wait_for(
        lambda: (tmp_path / "second" / "v1").exists() and backlog(archive)["jobs"] == {}, "copies", timeout_s=LONG_S
    )
    for sample in samples:
        assert data_set_of(copy_of(archive, sample, "second")) == sample.data_set
    archive.pacs("policy", "set", "--want", "3", "--peer", "STATION")
    assert [row["want"] for row in archive.report("policy", "show")] == [2, 3]
    wait_for(lambda: archive.report("jobs", "list"), "a third copy to be owed", timeout_s=LONG_S)
    (job,) = wait_for(
        lambda: [one for one in archive.report("jobs", "list") if one["error"]], "a failure", timeout_s=LONG_S
    )
    assert (job["kind"], "no volume in another fault domain" in job["error"]) == ("copy", True)
    archive.pacs("jobs", "pause", str(job["id"]))
    assert archive.report("jobs", "show", str(job["id"]))["state"] == "paused"
    archive.pacs("policy", "set", "--peer", "STATION", "--as-site")
    archive.pacs("jobs", "resume", str(job["id"]))
    wait_for(lambda: archive.report("jobs", "list") == [], "nothing to be owed any more", timeout_s=LONG_S)
    archive.pacs("policy", "set", "--want", "1", "--need", "2", expect=2)


def test_a_policy_for_a_title_that_nobody_has_says_so(new_archive: Callable[..., Archive]) -> None:
    archive = new_archive()
    archive.add_peer("CT1", 104)
    for peer, told in (("CT1", False), ("IMPORT", False), ("CT11", True)):
        said = archive.pacs("policy", "set", "--want", "2", "--peer", peer).stderr
        assert (f"no peer {peer} is registered" in said) is told
    assert [row["aet"] for row in archive.report("policy", "show")] == ["", "CT1", "CT11", "IMPORT"]


def test_below_the_floor_nothing_is_taken(doubled: Archive, station: Station, tmp_path: Path) -> None:
    doubled.pacs("policy", "set", "--degraded", "2")
    doubled.pacs("storage", "set", "second", "--read-only")
    wait_for(
        lambda: doubled.report("storage", "show", "second")["state"] == "read-only",
        "the volume to be closed",
        timeout_s=LONG_S,
    )
    others = (write(tiny(n, study="before"), tmp_path / f"before-{n}.dcm") for n in count())
    wait_for(
        lambda: station.store(next(others).path).status == 0xA700, "the running server to follow", timeout_s=LONG_S
    )
    sample = write(tiny(7, study="floor"), tmp_path / "floor.dcm")
    assert station.store(sample.path).status == 0xA700
    assert sample.sop_uid not in doubled.instance_uids()
    doubled.pacs("policy", "set", "--degraded", "1")
    wait_for(lambda: station.store(sample.path).status == SUCCESS, "the lower floor to be taken", timeout_s=LONG_S)
    assert backlog(doubled)["lacking_copies"] == 1
    doubled.pacs("storage", "set", "second", "--writable")
    wait_for(lambda: backlog(doubled)["lacking_copies"] == 0, "the second copy", timeout_s=LONG_S)


def test_a_volume_with_many_damaged_copies_is_suspect_and_still_read_until_a_person_trusts_it(
    doubled: Archive, station: Station, tmp_path: Path
) -> None:
    samples = stored(station, tmp_path, count=12)
    for path in files_below(tmp_path / "second" / "v1", "*.dcm"):
        if not path.name.startswith(samples[0].sop_uid):
            path.write_bytes(path.read_bytes()[:-1] + b"!")
    files_below(doubled.volume, f"{samples[0].sop_uid}-*")[0].unlink()
    # What is found once it counts as suspect is not written anew on it.
    doubled.pacs("verify", "--volume", "second", expect=(0, 12))

    def told() -> dict[str, str]:
        facts: dict[str, str] = doubled.report("storage", "show", "second")
        return facts

    wait_for(lambda: told()["state"] == "suspect", "the volume to be distrusted", timeout_s=LONG_S)
    assert "pacs storage set second --trust" in told()["reason"]
    assert station.get(STUDY_ROOT, "STUDY", {"StudyInstanceUID": samples[0].study_uid}, tmp_path / "got").code == 0
    assert {data_set_of(file) for file in (tmp_path / "got").iterdir()} == {sample.data_set for sample in samples}
    noted = doubled.data / "volumes.json"
    wait_for(lambda: noted.exists() and "suspect" in noted.read_text(), "the server to note it", timeout_s=LONG_S)
    since = told()["since"]
    doubled.kill()
    doubled.start()
    assert told()["since"] == since
    doubled.pacs("storage", "set", "second", "--trust")
    assert told()["state"] == "online"
    wait_for(lambda: backlog(doubled)["damaged_copies"] == 0, "the damaged copies to be replaced", timeout_s=LONG_S)


def test_a_new_server_takes_over_the_volumes_of_one_that_is_dead(
    doubled: Archive, station: Station, new_archive: Callable[..., Archive], tmp_path: Path
) -> None:
    stored(station, tmp_path, PatientName="山田^太郎", SpecificCharacterSet="ISO_IR 192")
    before = doubled.report("find", "studies", "PatientName=*田*"), doubled.report("find", "instances")
    roots = {row["name"]: row["path"] for row in doubled.report("storage", "list")}
    doubled.kill()
    (doubled.data / "index.db").unlink()
    fresh = new_archive()
    for name, path in roots.items():
        fresh.pacs("storage", "add", f"old-{name}", path, "--domain", name)
    fresh.pacs("storage", "remove", "first", "--yes")
    fresh.pacs("policy", "set", "--want", "2", "--need", "2")
    fresh.pacs("index", "rebuild")
    fresh.start()
    assert (fresh.report("find", "studies", "PatientName=*田*"), fresh.report("find", "instances")) == before
    wait_for(lambda: backlog(fresh)["jobs"] == {}, "the survey to find nothing that lacks", timeout_s=LONG_S)
    assert fresh.report("verify") == []
    assert fresh.report("reconcile") == []
