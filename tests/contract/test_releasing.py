"""Files that are copies no more leave their volume, and nothing that is stored again meanwhile leaves with them."""

import itertools
import os
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path, PurePosixPath

import pytest
from sqlalchemy import delete
from support.samples import tiny
from support.site import LATER, NOW, Site

from pacs_server.archive import releasing
from pacs_server.archive.importing import ImportOutcome, import_paths
from pacs_server.archive.reception import Declared, Origin, Reception
from pacs_server.archive.releasing import release, release_due
from pacs_server.archive.scrub import verify_series
from pacs_server.dicom.vocabulary import STANDARD
from pacs_server.errors import NotEnoughCopies, PacsError, VolumeSilent, VolumeUnavailable
from pacs_server.index.copies import Copy
from pacs_server.index.engine import Index
from pacs_server.index.jobs import JobKind
from pacs_server.index.maintenance.holdings import Holdings
from pacs_server.index.objects import Arrival, CopyRow, Recorded
from pacs_server.index.recording.instances import Instances
from pacs_server.index.releases import Releases, enter
from pacs_server.index.site.registry import Registry
from pacs_server.index.tables import copies
from pacs_server.storage.atomic import NewFile
from pacs_server.storage.descriptors import Descriptor
from pacs_server.storage.leaving import set_leaving
from pacs_server.storage.placement import Placement
from pacs_server.storage.tree import OPEN_DIRECTORY, Tree
from pacs_server.storage.volume import Volume

STEPS_OF_A_RELEASE = 5
PAUSES_OF_A_STORE = 3


class Releasing(Site):
    """A site from whose volume `a` files are released."""

    def __init__(self, index: Index, folder: Path) -> None:
        super().__init__(index, folder)
        self.releases, self.holdings = Releases(index), Holdings(index)
        self.a = self.volumes["a"]

    def drop(self, number: int, *, due_at: object = NOW) -> str:
        """Have a copy on `a` be one no more, as a move to another tier does it; its path."""
        path = str(self.file(number, "a").relative_to(self.a.spec.path))
        with self.index.write() as connection:
            enter(connection, self.index, [(self.a.spec.id, path)], reason="moved", due_at=due_at)
            connection.execute(delete(copies).where(copies.c.volume_id == self.a.spec.id, copies.c.path == path))
        return path

    def release(self, *, now: object = NOW) -> list[str]:
        return list(release_due(self.a, self.releases, self.holdings, self.copies, self.placement(), now=now))

    def left(self) -> list[str]:
        """Everything on `a` but its sentinel."""
        found = (path.relative_to(self.a.spec.path) for path in self.a.spec.path.rglob("*"))
        return sorted(str(path) for path in found if path.name != ".pacs-volume.json")


@pytest.fixture
def site(index: Index, tmp_path: Path) -> Releasing:
    return Releasing(index, tmp_path)


def test_a_file_that_is_a_copy_no_more_is_removed_with_the_directories_that_held_only_it(site: Releasing) -> None:
    site.take_in(2)
    first, second = (site.drop(number) for number in range(2))
    assert site.release() == [first, second]
    assert site.left() == ["v1"]
    assert site.releases.waiting() == []
    assert site.file(0, "b").exists()


def test_directories_in_which_something_is_left_stay(site: Releasing) -> None:
    site.take_in(2)
    site.drop(0)
    site.release()
    assert site.file(1, "a").exists()
    assert not (site.a.spec.path / "leaving").exists()


def test_a_file_that_cannot_be_moved_keeps_no_other_from_going(site: Releasing) -> None:
    site.take_in(2)
    busy, other = (site.drop(number) for number in range(2))
    (site.a.spec.path / "leaving" / busy).mkdir(parents=True)
    with pytest.raises(VolumeUnavailable, match="could not be removed: 1, "):
        site.release()
    assert (site.a.spec.path / busy).exists()
    assert not (site.a.spec.path / other).exists()
    (site.a.spec.path / "leaving" / busy).rmdir()
    assert site.release() == [busy]


@pytest.mark.parametrize("is_silent", [False, True])
def test_a_volume_that_goes_away_is_not_asked_for_each_of_its_files(
    site: Releasing, monkeypatch: pytest.MonkeyPatch, *, is_silent: bool
) -> None:
    site.take_in(3)
    due = [site.drop(number) for number in range(3)]
    tried: list[PurePosixPath] = []

    def away(_: Volume, path: PurePosixPath) -> None:
        tried.append(path)
        raise VolumeSilent("nothing answers") if is_silent else VolumeUnavailable("it is gone")

    monkeypatch.setattr(releasing, "set_leaving", away)
    if not is_silent:
        (site.a.spec.path / ".pacs-volume.json").unlink()
    with pytest.raises(VolumeUnavailable, match="could not be removed: 1, "):
        site.release()
    assert tried == [PurePosixPath(due[0])]


def test_nothing_is_removed_before_it_is_due_and_the_job_comes_back_when_it_is(site: Releasing) -> None:
    site.take_in(2)
    site.drop(0, due_at=NOW)
    later = site.drop(1, due_at=LATER)
    (job,) = site.jobs.listed()
    assert (job.kind, job.target, job.due_at) == (JobKind.RELEASE, site.a.spec.id, NOW)
    claimed = site.jobs.claim("one", NOW, lease=timedelta(minutes=5), per_target=1)
    assert claimed
    site.release()
    assert (site.a.spec.path / later).exists()
    site.jobs.done(claimed, NOW, again_at=site.releases.next_due_at(site.a.spec.id))
    (waiting,) = site.jobs.listed()
    assert (waiting.state, waiting.due_at) == ("waiting", LATER)
    site.release(now=LATER)
    assert site.releases.next_due_at(site.a.spec.id) is None


def test_what_is_owed_earlier_brings_the_job_and_the_file_forward(site: Releasing) -> None:
    site.take_in(1)
    path = site.drop(0, due_at=LATER)
    (waiting,) = site.releases.waiting()
    assert (waiting.files, waiting.size_bytes) == (1, len(site.samples[0].data_set))
    with site.index.write() as connection:
        enter(connection, site.index, [(site.a.spec.id, path)], reason="purged", due_at=NOW)
    (job,) = site.jobs.listed()
    assert job.due_at == NOW
    assert site.release() == [path]


def test_a_job_that_is_owed_more_while_it_is_done_is_done_at_once_again(site: Releasing) -> None:
    site.take_in(2)
    site.drop(0)
    claimed = site.jobs.claim("one", NOW, lease=timedelta(minutes=5), per_target=1)
    assert claimed
    site.drop(1)
    site.jobs.done(claimed, NOW, again_at=LATER)
    (job,) = site.jobs.listed()
    assert (job.state, job.due_at) == ("waiting", NOW)


def test_the_last_file_of_an_object_stays_and_is_a_copy_again(site: Releasing) -> None:
    """The volume that it moved to was lost, or its copy found damaged, before the old file was due."""
    site.take_in(3)
    paths = [site.drop(number) for number in range(3)]
    site.file(0, "b").unlink()
    damaged = site.file(1, "b")
    damaged.write_bytes(damaged.read_bytes()[:-1])
    assert len([one for one in site.verify("b") if one]) == 2
    assert sorted(site.release()) == sorted(paths)
    assert [site.file(number, "a").exists() for number in (0, 1)] == [True, True]
    assert not (site.a.spec.path / paths[2]).exists()
    assert site.complete()[1] == ()
    assert site.verify("b") == [""] * 3


def test_a_file_that_is_gone_elsewhere_and_nobody_has_noticed_that_stays(site: Releasing) -> None:
    site.take_in(1)
    site.drop(0)
    site.file(0, "b").unlink()
    site.release()
    assert site.file(0, "a").exists()
    assert site.copies.count_damaged() == 1


def test_a_file_waits_while_no_other_copy_can_be_read(site: Releasing) -> None:
    site.take_in(2)
    paths = [site.drop(number) for number in range(2)]
    b = site.volumes["b"]
    away = b.spec.path.rename(site.folder / "away")
    b.check()
    with pytest.raises(VolumeUnavailable, match="until another copy of its object can be read"):
        site.release()
    assert [(site.a.spec.path / path).exists() for path in paths] == [True, True]
    away.rename(b.spec.path)
    b.check()
    assert sorted(site.release()) == sorted(paths)
    assert site.left() == ["v1"]


def test_a_copy_that_is_one_again_stays_wherever_its_file_was(site: Releasing) -> None:
    site.take_in(2)
    for number in range(2):
        path = site.drop(number)
        if number:
            set_leaving(site.a, PurePosixPath(path))
        site.complete()
        assert site.release() == [path]
        assert site.file(number, "a").read_bytes() == site.file(number, "b").read_bytes()
    assert not (site.a.spec.path / "leaving").exists()


def test_a_copy_that_is_one_again_is_not_called_lost_while_its_file_is_leaving(site: Releasing, index: Index) -> None:
    site.take_in(1)
    path = site.drop(0)
    (held,) = site.objects()
    set_leaving(site.a, PurePosixPath(path))
    site.copies.add(held, Copy(volume_id=site.a.spec.id, path=path), NOW)
    assert site.release() == [path]
    assert site.file(0, "a").exists()
    assert [row.damaged_count for row in Registry(index).volumes()] == [0, 0]


def test_what_was_written_again_stays_where_one_of_before_is_leaving_yet(site: Releasing) -> None:
    site.take_in(1)
    path = site.drop(0)
    set_leaving(site.a, PurePosixPath(path))
    (site.a.spec.path / "leaving" / path).write_bytes(b"damaged, perhaps")
    site.complete()
    assert site.release() == [path]
    assert site.file(0, "a").read_bytes() == site.file(0, "b").read_bytes()
    assert not (site.a.spec.path / "leaving").exists()


def test_what_is_owed_later_once_more_puts_off_nothing(site: Releasing) -> None:
    site.take_in(1)
    path = site.drop(0)
    with site.index.write() as connection:
        enter(connection, site.index, [(site.a.spec.id, path)], reason="moved", due_at=LATER)
    assert site.releases.next_due_at(site.a.spec.id) == NOW
    assert site.release() == [path]


@pytest.mark.parametrize("steps", range(STEPS_OF_A_RELEASE + 1))
def test_a_release_that_is_broken_off_at_any_step_is_ended_by_the_next(site: Releasing, steps: int) -> None:
    site.take_in(1)
    path = site.drop(0)
    for _ in itertools.islice(release(site.a, path, site.releases, site.holdings), steps):
        pass
    site.release()
    assert (site.left(), site.releases.waiting()) == (["v1"], [])


@pytest.mark.parametrize("steps", range(STEPS_OF_A_RELEASE + 1))
def test_a_copy_that_is_one_again_and_is_given_up_once_more_at_any_step_of_its_release_leaves_all_the_same(
    site: Releasing, steps: int
) -> None:
    site.take_in(1)
    (held,) = site.objects()
    (copy,) = [copy for copy in held.copies if copy.volume_id == site.a.spec.id]
    path = site.drop(0)
    site.copies.add(held, copy, NOW)
    leaving = release(site.a, path, site.releases, site.holdings)
    for _ in itertools.islice(leaving, steps):
        pass
    site.drop(0)
    for _ in leaving:
        pass
    site.release()
    assert site.left() == ["v1"]
    assert site.releases.waiting() == []


def test_what_is_leaving_and_nobody_knows_why_is_put_back(site: Releasing) -> None:
    site.take_in(1)
    path = site.file(0, "a")
    place = path.relative_to(site.a.spec.path)
    set_leaving(site.a, PurePosixPath(place))
    assert not path.exists()
    assert site.release() == []
    assert path.exists()
    assert not (site.a.spec.path / "leaving").exists()


class Pausing(Instances):
    """Does something after the file is written, and after the row is."""

    def __init__(self, index: Index, pause: Callable[[int], None]) -> None:
        super().__init__(index)
        self.pause = pause

    def record(self, arrival: Arrival) -> Recorded:
        self.pause(1)
        recorded = super().record(arrival)
        self.pause(2)
        return recorded


def crossings() -> Iterator[tuple[int, ...]]:
    """How many steps a release makes before the file, before the row and before the look of a store."""
    for steps in itertools.product(range(STEPS_OF_A_RELEASE + 1), repeat=PAUSES_OF_A_STORE):
        if sum(steps) <= STEPS_OF_A_RELEASE:
            yield steps


@pytest.mark.parametrize("memory_bytes", [1 << 20, 0], ids=["in memory", "streamed"])
def test_an_object_that_is_acknowledged_while_its_file_leaves_has_its_file_at_whatever_steps_the_two_meet(
    site: Releasing, memory_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each crossing is of an object of its own, and only `a` takes it. What is still in memory is kept once more."""
    refused = acknowledged = 0
    missing: list[str] = []
    mark_missing = Instances.mark_missing

    def noted(instances: Instances, arrival: Arrival, copy: CopyRow, reason: str) -> None:
        missing.append(copy.path)
        mark_missing(instances, arrival, copy, reason)

    monkeypatch.setattr(Instances, "mark_missing", noted)
    for number, steps in enumerate(crossings()):
        site.samples = site.store(tiny(number, study=number), need=1, only="a")
        path = site.drop(0)
        leaving = release(site.a, path, site.releases, site.holdings)

        def pause(at: int, leaving: Iterator[None] = leaving, steps: tuple[int, ...] = steps) -> None:
            for _ in itertools.islice(leaving, steps[at]):
                pass

        pause(0)
        is_acknowledged = is_stored_again(site, pause, memory_bytes)
        for _ in leaving:
            pass
        if is_acknowledged:
            acknowledged += 1
        else:
            refused += 1
            assert [bool(copy.damage) for held in site.objects() for copy in held.copies] == [True], steps
            assert is_stored_again(site, lambda _: None, memory_bytes), steps
            assert (JobKind.VERIFY, "waiting") in site.jobs.counts(), "the row was doubted"
            verify_series(site.samples[0].study_uid, site.samples[0].series_uid, site.copies, site.placement, now=NOW)
        site.release()
        assert site.file(0, "a").read_bytes().endswith(site.samples[0].data_set), steps
        (held,) = site.objects()
        assert [copy.damage for copy in held.copies if copy.damage] == [], steps
    assert missing, "the two never met"
    assert bool(refused) == (memory_bytes == 0)
    assert acknowledged > refused


def is_stored_again(site: Releasing, pause: Callable[[int], None], memory_bytes: int) -> bool:
    """Whether sending the object again is acknowledged."""

    def receive(declared: Declared) -> Reception:
        return Reception(
            declared, Origin(aet="CT1"), instances=Pausing(site.index, pause), vocabulary=STANDARD,
            placement=Placement([site.a], want=1, need=1, degraded=1), memory_bytes=memory_bytes, now=NOW,
        )  # fmt: skip

    try:
        (result,) = import_paths([site.samples[0].path], receive)
    except NotEnoughCopies:
        return False
    return result.outcome is ImportOutcome.DUPLICATE


class Vanishing(Tree):
    """A tree whose new directories are removed, empty, at a given moment of their making."""

    def __init__(self, root: Path, moment: int) -> None:
        super().__init__(Descriptor(os.open(root, OPEN_DIRECTORY)))
        self.moments = itertools.count()
        self.moment = moment

    def flush(self, directory: Descriptor) -> None:
        super().flush(directory)
        if next(self.moments) == self.moment:
            for path in (PurePosixPath("v1/2026/01"), PurePosixPath("v1/2026")):
                self.remove_empty(path, below=PurePosixPath("v1"))


@pytest.mark.parametrize("moment", range(4))
def test_a_writer_enters_a_directory_anew_that_is_removed_at_that_moment(tmp_path: Path, moment: int) -> None:
    tree = Vanishing(tmp_path, moment)
    directory = PurePosixPath("v1/2026/01")
    with NewFile(tree, directory) as file:
        file.write([b"content"])
        file.finish("object")
    assert (tmp_path / directory / "object").read_bytes() == b"content"
    tree.remove(directory / "object")
    tree.remove_empty(directory, below=PurePosixPath("v1"))
    with NewFile(tree, directory) as file:  # what it remembers of the directories is void now
        file.write([b"again"])
        file.finish("object")
    assert (tmp_path / directory / "object").read_bytes() == b"again"


def test_writers_and_releases_that_share_directories_do_not_fail_each_other(site: Releasing) -> None:
    placement = Placement([site.a], want=1, need=1, degraded=1)
    paths = [PurePosixPath(f"v1/2026/01/02/1.2/1.{n % 3}/1.2.3.{n}-0123456789abcdef.dcm") for n in range(60)]
    problems: list[Exception] = []

    def write_and_release(mine: list[PurePosixPath]) -> None:
        try:
            for path in mine:
                placement.store(path, [b"content"])
                assert (site.a.spec.path / path).exists()
                for _ in release(site.a, str(path), site.releases, site.holdings):
                    pass
        except (PacsError, AssertionError) as error:
            problems.append(error)

    threads = [threading.Thread(target=write_and_release, args=(paths[start::4],)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert site.left() == ["v1"]
