"""Deletion on a running site: what was purged stays so, whatever was away or killed meanwhile; all else stays too."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from support.mounts import on_tmpfs, unmount
from support.samples import Sample, data_set_of, tiny, write
from support.server import Archive, files_below, wait_for

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(1_200)]

GONE, KEPT = 6, 3
SOON_S = 240.0


class Site:
    """An archive with two copies of everything, on the mounts `a` and `b`, that allows purging."""

    def __init__(self, archive: Archive, folder: Path, mounts: ExitStack) -> None:
        self.archive, self.folder, self.mounts = archive, folder, mounts
        self.roots = {name: on_tmpfs(folder, name, "64m", mounts) for name in ("a", "b")}
        for name, root in self.roots.items():
            archive.pacs("storage", "add", name, str(root), "--domain", name)
        archive.pacs("storage", "remove", "first", "--yes")
        archive.pacs("policy", "set", "--want", "2", "--need", "2", "--degraded", "1")
        archive.pacs("retention", "set", "--purge", "by-hand", "--grace-days", "0")
        self.gone = self.take_in("gone", GONE)
        self.kept = self.take_in("kept", KEPT)

    def take_in(self, study: str, count: int) -> list[Sample]:
        into = self.folder / study
        into.mkdir(exist_ok=True)
        samples = [write(tiny(n, study=study, PatientID=study), into / f"{n}.dcm") for n in range(count)]
        # What meets its own file on the way out is refused, and taken when it is sent again.
        taken = lambda: self.archive.pacs("import", str(into), expect=(0, 13)).returncode == 0  # noqa: E731
        wait_for(taken, "the objects to be taken in", timeout_s=SOON_S)
        return samples

    def files(self, name: str) -> dict[str, Path]:
        """The files of objects on a volume, by SOP Instance UID, wherever on it they are."""
        return {path.name.rpartition("-")[0]: path for path in files_below(self.roots[name], "*.dcm")}

    def purge(self) -> None:
        self.archive.pacs("delete", "PatientID=gone", "--reason", "wrong patient", "--yes")
        self.archive.pacs("purge", "--yes")

    def assert_only_the_rest_is_left(self, *names: str) -> None:
        kept = {sample.sop_uid: sample.data_set for sample in self.kept}
        assert self.archive.instance_uids() == kept.keys()
        # A file on its way out is in neither place for whoever lists both meanwhile.
        left = lambda: self.archive.report("status")["backlog"]["leaving_files"]  # noqa: E731
        wait_for(lambda: left() == 0, "nothing to be on its way out", timeout_s=SOON_S)
        for name in names or self.roots:
            wait_for(lambda: self.files(name).keys() == kept.keys(), f"nothing else on {name}", timeout_s=SOON_S)  # noqa: B023
            assert {uid: data_set_of(path) for uid, path in self.files(name).items()} == kept
        assert self.archive.pacs("reconcile").returncode == 0


@pytest.fixture
def site(new_archive: Callable[..., Archive], tmp_path: Path) -> Iterator[Site]:
    archive = new_archive(storage={"write_timeout_s": 3})
    with ExitStack() as mounts:
        yield Site(archive, tmp_path, mounts)
        archive.kill()


def test_a_study_purged_while_a_volume_was_away_does_not_come_back_with_it(site: Site) -> None:
    site.archive.start()
    back = unmount(site.roots["b"])
    wait_for(lambda: state(site, "b") == "offline", "the volume to be away", timeout_s=SOON_S)
    site.purge()
    wait_for(lambda: len(site.files("a")) == KEPT, "the files on the other volume to go", timeout_s=SOON_S)
    back()
    site.assert_only_the_rest_is_left()
    assert len(operations(site, "a")) == 2
    wait_for(lambda: operations(site, "b") == operations(site, "a"), "the same operations on both", timeout_s=SOON_S)
    assert site.archive.stop() == 0


def test_a_new_server_that_takes_over_the_volumes_does_not_bring_back_what_was_purged(
    site: Site, new_archive: Callable[..., Archive]
) -> None:
    """Drill A with a volume that has missed the purge: its files are there, its operations are not."""
    back = unmount(site.roots["b"])
    site.purge()
    back()
    heir = new_archive()
    for name, root in site.roots.items():
        heir.pacs("storage", "add", name, str(root), "--domain", name)
    heir.pacs("storage", "remove", "first", "--yes")
    heir.pacs("index", "rebuild")
    site.archive = heir
    heir.start()
    site.assert_only_the_rest_is_left()
    heir.pacs("index", "rebuild")
    site.assert_only_the_rest_is_left()
    assert heir.report("show", "study", site.gone[0].study_uid)["history"][-1]["kind"] == "purge"


@pytest.mark.parametrize("step", ["decided", "effective"])
@pytest.mark.parametrize("command", ["delete", "purge"])
def test_a_deletion_that_is_killed_ends_the_same_when_it_is_run_again(site: Site, command: str, step: str) -> None:
    if command == "purge":
        site.archive.pacs("delete", "PatientID=gone", "--reason", "wrong patient", "--yes")
    site.archive.pacs_dying(step, 1, command, "PatientID=gone", "--reason", "wrong patient", "--yes")
    site.archive.start()
    site.purge()
    site.assert_only_the_rest_is_left()


def test_a_server_killed_again_and_again_while_it_removes_files_removes_them_and_no_others(site: Site) -> None:
    site.purge()
    least = len(site.kept) * len(site.roots)

    def there() -> int:
        return sum(len(site.files(name)) for name in site.roots)

    for _ in range(3):
        before = there()
        site.archive.start()
        wait_for(lambda before=before: there() < max(before, least + 1), "a file to be removed", timeout_s=SOON_S)
        site.archive.kill()
    site.archive.start()
    site.assert_only_the_rest_is_left()


def test_what_was_purged_is_sent_again_and_is_there_again(site: Site) -> None:
    site.archive.start()
    site.purge()
    again = site.take_in("gone", GONE)
    wait_for(lambda: not site.archive.report("jobs", "list"), "nothing to be owed any more", timeout_s=SOON_S)
    assert site.archive.instance_uids() == {sample.sop_uid for sample in [*again, *site.kept]}
    for name in site.roots:
        files = site.files(name)
        assert all(data_set_of(files[sample.sop_uid]) == sample.data_set for sample in again)
    site.archive.pacs("index", "rebuild")
    assert site.archive.instance_uids() == {sample.sop_uid for sample in [*again, *site.kept]}


def state(site: Site, name: str) -> str:
    return next(row["state"] for row in site.archive.report("storage", "list") if row["name"] == name)


def operations(site: Site, name: str) -> list[str]:
    """The files of the operations on a volume."""
    return [path.name for path in files_below(site.roots[name] / "v1" / "ops", "*.json")]
