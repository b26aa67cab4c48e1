"""Objects on volumes: complete and flushed under their final name, or not there; a bare mount point stays empty."""

import errno
import fcntl
import gc
import logging
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import TypeVar

import pytest
from support.arrivals import digest_of
from support.buckets import Files, bucket_volume
from support.faulty_volume import FaultyVolume, mounted
from support.server import files_below, wait_for

from pacs_server import metrics
from pacs_server.archive.copies import damage_of
from pacs_server.dicom.identity import Uid
from pacs_server.errors import CopyUnreadable, NotEnoughCopies, Refused, VolumeAway, VolumeSilent, VolumeUnavailable
from pacs_server.index.site.registry import VolumeRow
from pacs_server.service.volume_rows import lenders
from pacs_server.service.volume_states import note, remembered
from pacs_server.settings import Settings, StorageLimits
from pacs_server.storage import threads
from pacs_server.storage.condition import Status, VolumeSpec, VolumeState
from pacs_server.storage.directory import Directory
from pacs_server.storage.layout import is_temporary, object_path
from pacs_server.storage.leaving import bring_back, leaving, remove_left, set_leaving
from pacs_server.storage.medium import all_of
from pacs_server.storage.placement import Placement
from pacs_server.storage.reading import OpenCopy
from pacs_server.storage.sentinel import SENTINEL_NAME, Place, adopt, place_at, sentinel_at
from pacs_server.storage.volume import Volume, check_all
from pacs_server.storage.writing import CopyInProgress, CopyPlace

Answer = TypeVar("Answer")

LIMITS = StorageLimits()
DAY = date(2026, 1, 2)
BUCKET_SERVERS = ("s3_server", "seaweedfs")


def path_of(number: int) -> PurePosixPath:
    return object_path(DAY, "1.2", "1.3", Uid(f"1.2.3.{number}"), digest_of(str(number)))


def volume_at(path: Path, name: str = "one", *, tier: str = "hot", domain: str = "one") -> Volume:
    volume_id = adopt(path.resolve(), name=name)
    volume = Volume(VolumeSpec(id=volume_id, name=name, path=path.resolve(), tier=tier, domain=domain), LIMITS)
    assert volume.check().status is Status.ONLINE, volume.state
    return volume


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Mounts small tmpfs file systems; they are unmounted at the end."""
    mounted: list[Path] = []

    def make(name: str, size: str = "64m") -> Path:
        path = tmp_path / name
        path.mkdir(exist_ok=True)
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", path], capture_output=True)
        if done.returncode:
            pytest.skip("file systems cannot be mounted here; it takes root")
        mounted.append(path)
        return path

    yield make
    for path in mounted:
        subprocess.run(["umount", "-l", path], capture_output=True)


def volume_on(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Volume:
    if kind in BUCKET_SERVERS:
        return bucket_volume(request.getfixturevalue(kind).new_address(tmp_path), limits=LIMITS)
    if kind == "tmpfs":
        return volume_at(request.getfixturevalue("mount")("mounted"))
    (tmp_path / "plain").mkdir()
    return volume_at(tmp_path / "plain")


@pytest.fixture(params=["directory", "tmpfs", *BUCKET_SERVERS])
def volume(request: pytest.FixtureRequest, tmp_path: Path) -> Volume:
    return volume_on(request.param, request, tmp_path)


@pytest.fixture(params=["directory", "tmpfs"])
def directory(request: pytest.FixtureRequest, tmp_path: Path) -> Volume:
    return volume_on(request.param, request, tmp_path)


@pytest.fixture
def files(volume: Volume, request: pytest.FixtureRequest) -> Files:
    kind = request.node.callspec.params["volume"]
    return Files(volume, request.getfixturevalue(kind) if kind in BUCKET_SERVERS else None)


@pytest.fixture
def placement(volume: Volume) -> Placement:
    return Placement((volume,), need=1, degraded=1)


def test_root_that_may_not_write_on_a_nas_is_told_to_be_the_user_of_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def squashed(*_: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr("pacs_server.storage.sentinel.open_medium", squashed)
    for user, remedy in ((0, "run pacs as the user of the server"), (4711, "check its owner and mount options")):
        monkeypatch.setattr("os.geteuid", lambda user=user: user)
        with pytest.raises(Refused, match=f"cannot be used: Permission denied; .*{remedy}"):
            adopt(tmp_path, name="nas")


def test_an_object_is_stored_under_its_final_name_and_read_back(
    placement: Placement, volume: Volume, files: Files
) -> None:
    copies = placement.store(path_of(1), [b"head", b"", b"body"])
    assert [(copy.volume_id, copy.path) for copy in copies] == [(volume.spec.id, str(path_of(1)))]
    assert files.content(path_of(1)) == b"headbody"
    with placement.open(copies) as copy:
        assert bytes(copy.buffer) == b"".join(copy.pieces()) == b"headbody"
    assert placement.intact(copies, lambda pieces: b"".join(pieces) == b"headbody") == 1
    assert placement.intact(copies, lambda pieces: False) == 0


def test_a_copy_that_cannot_be_read_now_is_not_told_to_be_damaged(
    placement: Placement, files: Files, caplog: pytest.LogCaptureFixture
) -> None:
    copies = placement.store(path_of(1), [b"content"])
    with caplog.at_level(logging.WARNING):
        assert placement.intact(copies, lambda pieces: False) == 0
        files.remove(path_of(1))
        assert placement.intact(copies, lambda pieces: True) == 0
    assert [record.message.partition(" volume=")[0] for record in caplog.records] == ["copy damaged", "copy not read"]


@pytest.mark.parametrize("damaged", [b"dam", b"cOntent", b"content and more"])
def test_the_same_object_again_replaces_a_damaged_file(placement: Placement, files: Files, damaged: bytes) -> None:
    placement.store(path_of(1), [b"content"])
    files.overwrite(path_of(1), damaged)
    placement.store(path_of(1), [b"content"])
    assert files.content(path_of(1)) == b"content"


def test_the_same_large_object_again_replaces_a_damaged_file(placement: Placement, files: Files) -> None:
    pieces = [os.urandom(1_000_000) for _ in range(20)]
    for _ in range(2):
        stream = placement.stream(path_of(1).parent)
        for piece in pieces:
            stream.write(piece)
        stream.finish(path_of(1))
        assert files.content(path_of(1)) == b"".join(pieces)
        files.overwrite(path_of(1), b"damaged")
    assert files.names() == [".pacs-volume.json", str(path_of(1))]


def test_a_large_object_streams_and_an_abandoned_one_leaves_nothing(placement: Placement, files: Files) -> None:
    pieces = [os.urandom(700_000) for _ in range(25)]
    stream = placement.stream(path_of(2).parent)
    for piece in pieces:
        stream.write(memoryview(piece))
    copies = stream.finish(path_of(2))
    with placement.open(copies) as copy:
        assert b"".join(copy.pieces()) == b"".join(pieces)
    abandoned = placement.stream(path_of(3).parent)
    for piece in pieces:
        abandoned.write(piece)
    abandoned.abandon()
    wait_for(lambda: files.names() == [".pacs-volume.json", str(path_of(2))], "nothing to be left of the other")


def test_a_sender_that_hangs_up_while_its_object_is_written_is_no_failure_of_the_volume(
    placement: Placement, volume: Volume, files: Files
) -> None:
    failed_before = metrics.totals().get(metrics.UNWRITTEN.name)
    stream = placement.stream(path_of(1).parent)
    stream.begin([b"head"])
    free = threading.Event()
    for _ in range(threads._MAX_THREADS):
        volume.later(lambda: free.wait(30))
    try:
        stream.write(os.urandom(2_000_000))
        stream.abandon()
    finally:
        free.set()
    wait_for(lambda: files.names() == [".pacs-volume.json"], "nothing to be left of it")
    assert metrics.totals().get(metrics.UNWRITTEN.name) == failed_before


def test_objects_are_walked_by_day(placement: Placement, volume: Volume) -> None:
    placement.store(path_of(1), [b"x"])
    later = object_path(DAY + timedelta(days=40), "1.2", "1.3", Uid("1.2.3.9"), digest_of("9"))
    placement.store(later, [b"yy"])
    assert [(file.path, file.day, file.size_bytes) for file in volume.walk()] == [
        (path_of(1), DAY, 1),
        (later, DAY + timedelta(days=40), 2),
    ]
    assert [file.path for file in volume.walk(DAY + timedelta(days=1))] == [later]
    assert all(datetime.now(UTC) - file.modified < timedelta(minutes=5) for file in volume.walk())


def test_a_large_directory_is_listed_in_portions_because_each_call_has_a_deadline(directory: Volume) -> None:
    assert isinstance(directory.spec.path, Path)
    series = path_of(1).parent
    (directory.spec.path / series).mkdir(parents=True)
    for number in range(250):
        (directory.spec.path / path_of(number)).touch()
    calls: list[object] = []

    def one_call(call: Callable[[], Answer]) -> Answer:
        calls.append(call)
        return call()

    found = all_of(directory.medium().entries(series), one_call)
    assert (len(found), len(calls)) == (250, 4)
    assert [file.path for file in directory.walk()] == sorted(path_of(number) for number in range(250))


def test_many_threads_store_into_the_same_new_directories(placement: Placement, volume: Volume) -> None:
    threads = [threading.Thread(target=placement.store, args=(path_of(n), [b"x" * n])) for n in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(list(volume.walk())) == 40


def test_a_file_that_is_put_aside_moved_or_removed_is_there_no_more_and_only_there(
    placement: Placement, volume: Volume, files: Files
) -> None:
    placement.store(path_of(1), [b"content"])
    assert (volume.has_file(path_of(1), 7), volume.has_file(path_of(1), 8)) == (True, False)
    volume.put_aside(path_of(1))
    aside = PurePosixPath("quarantine", *path_of(1).parts[1:])
    assert (volume.has_file(path_of(1)), files.content(aside)) == (False, b"content")
    volume.move(aside, path_of(2))
    set_leaving(volume, path_of(2))
    assert (volume.has_file(path_of(2)), list(leaving(volume))) == (False, [path_of(2)])
    bring_back(volume, path_of(2))
    assert (files.content(path_of(2)), list(leaving(volume))) == (b"content", [])
    set_leaving(volume, path_of(2))
    remove_left(volume, path_of(2))
    volume.move(path_of(7), path_of(8))  # which is not there
    assert files.names() == [".pacs-volume.json"]


def test_another_file_in_the_place_of_one_is_told_apart(placement: Placement, volume: Volume) -> None:
    assert volume.stamp_of(path_of(1)) is None
    placement.store(path_of(1), [b"content"])
    seen = volume.stamp_of(path_of(1))
    assert seen is not None
    assert volume.stamp_of(path_of(1)) == seen
    placement.store(path_of(1), [b"other content"])
    assert volume.stamp_of(path_of(1)) not in (None, seen)


def test_what_is_unfinished_for_an_hour_is_litter_and_can_be_removed(
    placement: Placement, volume: Volume, files: Files
) -> None:
    placement.store(path_of(1), [b"content"])
    stream = placement.stream(path_of(2).parent)
    stream.begin([os.urandom(9_000_000)])
    assert list(volume.litter(datetime.now(UTC))) == []
    later = datetime.now(UTC) + timedelta(hours=2)
    (path,) = volume.litter(later)
    assert (path.parent, is_temporary(path.name)) == (path_of(2).parent, True)
    volume.remove_litter(path)
    assert (list(volume.litter(later)), files.names()) == ([], [".pacs-volume.json", str(path_of(1))])
    stream.abandon()


def test_what_is_left_of_a_trial_is_litter_too(placement: Placement, volume: Volume, files: Files) -> None:
    placement.store(path_of(1), [b"content"])
    left = PurePosixPath(*path_of(1).parts[:4], ".0123456789abcdef.tmp")
    files.overwrite(left, b"content")
    assert list(volume.litter(datetime.now(UTC) + timedelta(hours=2))) == [left]


@pytest.mark.parametrize("plant", ["symlink", "directory", "fifo"])
def test_what_was_planted_at_the_target_is_not_followed(directory: Volume, tmp_path: Path, plant: str) -> None:
    placement = Placement((directory,), need=1, degraded=1)
    target = directory.spec.path / path_of(1)
    target.parent.mkdir(parents=True)
    victim = tmp_path / "victim"
    victim.write_bytes(b"untouched")
    {"symlink": lambda: target.symlink_to(victim), "directory": target.mkdir, "fifo": lambda: os.mkfifo(target)}[
        plant
    ]()
    assert not directory.has_file(path_of(1))
    try:
        copies = placement.store(path_of(1), [b"content"])
    except NotEnoughCopies:
        copies = ()
    assert victim.read_bytes() == b"untouched"
    if copies:
        assert target.is_file()
        assert not target.is_symlink()


def test_a_symlinked_directory_inside_a_volume_is_not_followed(directory: Volume, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (directory.spec.path / "v1").symlink_to(outside)
    with pytest.raises(NotEnoughCopies):
        Placement((directory,), need=1, degraded=1).store(path_of(1), [b"content"])
    assert list(outside.iterdir()) == []


def test_an_unmounted_volume_goes_offline_nothing_is_written_below_it_and_it_comes_back_by_itself(
    mount: Callable[..., Path],
) -> None:
    path = mount("nas")
    volume = volume_at(path)
    placement = Placement((volume,), need=1, degraded=1)
    placement.store(path_of(0), [b"content"])
    device, elsewhere = path.stat().st_dev, mount("elsewhere")
    subprocess.run(["cp", "-a", f"{path}/.", elsewhere], check=True)
    subprocess.run(["umount", "-l", path], check=True)
    assert volume.check().status is Status.OFFLINE
    with pytest.raises(NotEnoughCopies, match="offline"):
        placement.store(path_of(1), [b"content"])
    with pytest.raises(VolumeSilent, match="offline"):
        volume.move(path_of(0), path_of(2))  # in what was mounted there
    assert list(path.iterdir()) == []
    subprocess.run(["mount", "--bind", elsewhere, path], check=True)
    assert path.stat().st_dev != device, "mounted again, a NAS has another device number"
    assert volume.check().status is Status.ONLINE
    placement.store(path_of(1), [b"content"])
    assert len(list(volume.walk())) == 2
    subprocess.run(["umount", "-l", path], check=True)


def test_another_export_mounted_there_is_recognised(mount: Callable[..., Path]) -> None:
    path = mount("nas")
    volume = volume_at(path)
    mount("nas")  # a second, empty file system over the first
    adopt(path.resolve(), name="other")
    state = volume.check()
    assert (state.status, "another volume" in state.reason) == (Status.OFFLINE, True)
    subprocess.run(["umount", "-l", path], check=True)


def test_a_read_only_volume_takes_nothing_and_is_still_read(mount: Callable[..., Path]) -> None:
    path = mount("nas")
    volume = volume_at(path)
    placement = Placement((volume,), need=1, degraded=1)
    copies = placement.store(path_of(1), [b"content"])
    subprocess.run(["mount", "-o", "remount,ro", path], check=True)
    assert volume.check().status is Status.READ_ONLY
    with pytest.raises(NotEnoughCopies):
        placement.store(path_of(2), [b"content"])
    with placement.open(copies) as copy:
        assert bytes(copy.buffer) == b"content"


@pytest.mark.parametrize(
    ("fault", "status", "reason"),
    [
        ("EDQUOT write", Status.FULL, "Disk quota exceeded; make room"),
        ("EROFS create", Status.SUSPECT, "Read-only file system; look into"),
        ("EACCES create v1", Status.SUSPECT, "Permission denied; look into"),
        ("EIO fsync", Status.SUSPECT, "Input/output error; look into"),
        ("EIO fsyncdir", Status.SUSPECT, "Input/output error; look into"),
    ],
)
def test_a_volume_that_takes_nothing_though_it_has_room_says_so_is_read_and_is_taken_up_again(
    forgetful: FaultyVolume, fault: str, status: Status, reason: str
) -> None:
    volume = volume_at(forgetful.path)
    alone = Placement((volume,), need=1, degraded=1)
    copies = alone.store(path_of(1), [b"content"])
    forgetful.tell(f"fail {fault}")
    with pytest.raises(NotEnoughCopies):
        alone.store(path_of(2), [b"content"])
    for state in (volume.check(), volume.check()):
        assert (state.status, state.is_readable, reason in state.reason) == (status, True, True), state
    with alone.open(copies) as copy:
        assert bytes(copy.buffer) == b"content"
    by_another_process = Volume(volume.spec, LIMITS, volume.state)
    assert by_another_process.check().status is status
    forgetful.tell("ok")
    assert (volume.check().status, by_another_process.check().status) == (Status.ONLINE, Status.ONLINE)
    wait_for(lambda: files_below(forgetful.path, "*.tmp") == [], "nothing to be left of what was tried")
    alone.store(path_of(2), [b"content"])


def test_a_folder_that_takes_nothing_is_named(forgetful: FaultyVolume) -> None:
    volume = volume_at(forgetful.path)
    alone = Placement((volume,), need=1, degraded=1)
    path = path_of(1)
    forgetful.tell(f"fail EIO create {path.parent.name}")
    with pytest.raises(NotEnoughCopies, match=rf"Input/output error \({path.parent}\)"):
        alone.store(path, [b"content"])
    with pytest.raises(NotEnoughCopies, match=rf"Input/output error \({path.parent}\)"):
        alone.stream(path.parent)
    assert volume.check().status is Status.ONLINE, "it takes others"


def test_a_folder_that_cannot_be_listed_is_not_taken_for_an_empty_one(forgetful: FaultyVolume) -> None:
    volume = volume_at(forgetful.path)
    Placement((volume,), need=1, degraded=1).store(path_of(1), [b"content"])
    forgetful.tell(f"fail EIO readdir {path_of(1).parent.name}")
    with pytest.raises(VolumeUnavailable, match="Input/output error"):
        list(volume.walk())


def test_a_full_volume_refuses_leaves_no_part_and_the_next_one_takes_over(mount: Callable[..., Path]) -> None:
    small, large = (
        volume_at(mount("small", "8m"), "small"),
        volume_at(mount("large"), "large", tier="cold", domain="two"),
    )
    alone, both = Placement((small,), need=1, degraded=1), Placement((small, large), need=1, degraded=1)
    with pytest.raises(NotEnoughCopies, match="small"):
        alone.store(path_of(1), [bytes(10_000_000)])
    assert [file for file in files_below(small.spec.path, "*.*") if is_temporary(file.name)] == []
    (copy,) = both.store(path_of(1), [bytes(10_000_000)])
    assert copy.volume_id == large.spec.id


def test_an_object_goes_to_the_volume_with_most_room_of_the_hottest_tier(mount: Callable[..., Path]) -> None:
    small, large = (volume_at(mount(name, size), name) for name, size in (("small", "16m"), ("large", "64m")))
    cold = volume_at(mount("cold", "256m"), "cold", tier="cold")
    for order in ((small, large, cold), (cold, large, small)):
        (copy,) = Placement(order, need=1, degraded=1).store(path_of(1), [b"content"])
        assert copy.volume_id == large.spec.id
    (copy,) = Placement((cold, small), need=1, degraded=1).store(path_of(1), [b"content"])
    assert copy.volume_id == small.spec.id


def test_a_large_object_that_too_few_volumes_begin_leaves_nothing_on_the_others(
    tmp_path: Path, forgetful: FaultyVolume
) -> None:
    (tmp_path / "good").mkdir()
    good, failing = volume_at(tmp_path / "good", "good"), volume_at(forgetful.path, "failing", domain="two")
    forgetful.tell("fail EIO create")
    with pytest.raises(NotEnoughCopies, match="1 of at least 2 copies"):
        Placement((good, failing), need=2, degraded=2).stream(path_of(1).parent)
    wait_for(lambda: [file.name for file in files_below(tmp_path / "good")] == [SENTINEL_NAME], "nothing to be left")


def test_what_could_not_be_removed_while_a_volume_failed_goes_once_it_is_well(forgetful: FaultyVolume) -> None:
    volume = volume_at(forgetful.path)
    unfinished = [Placement((volume,), need=1, degraded=1).stream(path_of(number).parent) for number in range(2)]
    for stream in unfinished:
        stream.begin([b"head"])
    forgetful.tell("eio")
    for stream in unfinished:
        stream.abandon()
    wait_for(lambda: len(volume._leftovers) == 2, "both to be left over")
    assert not volume.check().is_readable
    forgetful.tell("ok")
    assert len(files_below(forgetful.path, "*.tmp")) == 2
    volume.check()
    wait_for(lambda: files_below(forgetful.path, "*.tmp") == [], "nothing to be left over")
    assert volume.check().status is Status.ONLINE


def test_two_copies_go_to_different_fault_domains(tmp_path: Path) -> None:
    volumes = []
    for name, domain in (("a1", "a"), ("a2", "a"), ("b1", "b")):
        (tmp_path / name).mkdir()
        volumes.append(volume_at(tmp_path / name, name, domain=domain))
    copies = Placement(volumes, need=2, degraded=1).store(path_of(1), [b"x"])
    domains = {volume.spec.domain for volume in volumes if volume.spec.id in {copy.volume_id for copy in copies}}
    assert domains == {"a", "b"}


def test_a_volume_that_does_not_take_an_object_is_replaced_by_one_of_a_fault_domain_that_has_none(
    tmp_path: Path,
) -> None:
    volumes = []
    for name, domain in (("a1", "a"), ("b1", "b"), ("a2", "a"), ("c1", "c")):
        (tmp_path / name).mkdir()
        volumes.append(volume_at(tmp_path / name, name, domain=domain))
    (tmp_path / "b1" / path_of(1)).mkdir(parents=True)  # in the place of the file
    copies = Placement(volumes, need=2, degraded=1).store(path_of(1), [b"x"])
    assert [copy.volume_id for copy in copies] == [volumes[0].spec.id, volumes[3].spec.id]


def test_a_missing_copy_is_unreadable_and_the_other_one_is_read(tmp_path: Path) -> None:
    volumes = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        volumes.append(volume_at(tmp_path / name, name, domain=name))
    placement = Placement(volumes, need=2, degraded=2)
    copies = placement.store(path_of(1), [b"content"])
    (volumes[0].spec.path / path_of(1)).unlink()
    with placement.open(copies) as copy:
        assert bytes(copy.buffer) == b"content"
    (volumes[1].spec.path / path_of(1)).unlink()
    with pytest.raises(CopyUnreadable):
        placement.open(copies).__enter__()


def test_a_large_object_of_which_one_copy_ends_in_the_middle_goes_on_from_the_next(tmp_path: Path) -> None:
    volumes = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        volumes.append(volume_at(tmp_path / name, name, domain=name))
    placement, content = Placement(volumes, need=2, degraded=2), os.urandom(6_000_000)
    copies = placement.store(path_of(1), [content])
    first, second = (tmp_path / name / path_of(1) for name in ("a", "b"))
    told: list[str] = []

    def opened() -> OpenCopy:
        return placement.open_whole(copies, lambda pieces: b"".join(pieces) == content, lambda *_: told.append("bad"))

    with opened() as copy:
        pieces = copy.pieces()
        begin = bytes(next(pieces))
        os.truncate(first, 1_000_000)
        assert begin + b"".join(pieces) == content
    with opened() as copy:
        assert (copy.volume_id, told) == (volumes[1].spec.id, ["bad"])
        os.truncate(second, 1_000_000)
        with pytest.raises(CopyUnreadable, match="shorter than it was"):
            b"".join(copy.pieces())


@pytest.mark.parametrize(
    ("fault", "remedy"), [("ENOSPC write", "make room there"), ("EROFS create", "check its owner and mount options")]
)
def test_a_place_where_nothing_can_be_written_is_refused_with_what_to_do(
    forgetful: FaultyVolume, fault: str, remedy: str
) -> None:
    forgetful.tell(f"fail {fault}")
    with pytest.raises(Refused, match=remedy):
        adopt(forgetful.path, name="nas")
    forgetful.tell("ok")
    adopt(forgetful.path, name="nas")
    forgetful.tell(f"fail {fault}")
    with pytest.raises(Refused, match=remedy):  # as when it is mounted again, with other options
        adopt(forgetful.path, name="nas")
    forgetful.tell("ok")
    volume_at(forgetful.path)


@pytest.mark.parametrize("error", ["EHOSTDOWN", "EAGAIN", "ETIMEDOUT", "ESTALE"])
def test_an_error_on_the_way_to_a_file_says_nothing_of_the_copy(forgetful: FaultyVolume, error: str) -> None:
    volume = volume_at(forgetful.path)
    (copy,) = Placement((volume,), need=1, degraded=1).store(path_of(1), [b"content"])
    forgetful.tell(f"fail {error} open {PurePosixPath(copy.path).name}")
    with pytest.raises(VolumeUnavailable, match=os.strerror(getattr(errno, error))):
        damage_of(volume, copy.path, digest_of("1"))
    forgetful.tell(f"fail EIO open {PurePosixPath(copy.path).name}")
    assert "Input/output error" in damage_of(volume, copy.path, digest_of("1"))


def test_a_copy_is_verified_by_what_lies_on_the_disk_and_not_by_what_the_kernel_remembers(
    directory: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    forgotten: list[tuple[int, ...]] = []
    monkeypatch.setattr(os, "posix_fadvise", lambda _, *told: forgotten.append(told))
    (copy,) = Placement((directory,), need=1, degraded=1).store(path_of(1), [b"content"])
    assert "is not what was received" in damage_of(directory, copy.path, digest_of("1"))
    assert forgotten == [(0, 0, os.POSIX_FADV_DONTNEED)]


def test_a_copy_that_was_not_read_in_time_is_not_taken_for_a_damaged_one(forgetful: FaultyVolume) -> None:
    """A NAS that starts again hangs for a while, and answers by the time it is asked whether it is well."""
    volume = Volume(volume_at(forgetful.path).spec, StorageLimits(write_timeout_s=1.0))
    volume.check()
    place = CopyPlace(volume_id=volume.spec.id, path=str(path_of(1)))
    Placement((volume,), need=1, degraded=1).store(path_of(1), [b"content"])
    told: list[str] = []
    forgetful.tell("hang 1.3 read")
    with pytest.raises(VolumeUnavailable, match="did not answer in time"):
        damage_of(volume, place.path, digest_of("1"))
    assert volume.check().is_readable
    with pytest.raises(CopyUnreadable, match="did not answer in time"):
        Placement((volume,), need=1, degraded=1).open_whole([place], lambda _: True, lambda *_: told.append("damaged"))
    assert told == []


def test_a_distrusted_volume_is_suspect_takes_nothing_and_is_read_after_others(tmp_path: Path) -> None:
    volumes = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        volumes.append(volume_at(tmp_path / name, name, domain=name))
    placement = Placement(volumes, need=2, degraded=1)
    copies = placement.store(path_of(1), [b"content"])
    volumes[0].change(replace(volumes[0].spec, is_distrusted=True))
    state = volumes[0].check()
    assert (state.status, state.is_readable) == (Status.SUSPECT, True)
    assert [copy.volume_id for copy in placement.store(path_of(2), [b"x"])] == [volumes[1].spec.id]
    assert [copy.volume_id for copy in placement.read_order(copies)] == [volumes[1].spec.id, volumes[0].spec.id]
    (volumes[1].spec.path / path_of(1)).unlink()
    with placement.open(copies) as copy:
        assert bytes(copy.buffer) == b"content"


def test_since_when_a_volume_is_as_it_is_outlives_the_process(tmp_path: Path) -> None:
    (tmp_path / "nas").mkdir()
    first = volume_at(tmp_path / "nas")
    note(tmp_path, {first.spec.id: first.state})
    again = Volume(first.spec, LIMITS, remembered(tmp_path)[first.spec.id])
    assert again.check().since == first.state.since
    for path, target in (("nas", "away"), ("away", "nas")):
        (tmp_path / path).rename(tmp_path / target)
        again.check()
    assert (again.state.status, again.state.since > first.state.since) == (Status.ONLINE, True)
    changed = Volume(replace(first.spec, is_draining=True), LIMITS, remembered(tmp_path)[first.spec.id])
    assert changed.check().since > first.state.since
    (tmp_path / "volumes.json").write_text('{"half": ')
    assert remembered(tmp_path) == {}


def test_a_volume_that_is_emptied_says_so_while_it_is_offline_too(tmp_path: Path) -> None:
    (tmp_path / "nas").mkdir()
    volume = volume_at(tmp_path / "nas")
    volume.change(replace(volume.spec, is_draining=True))
    assert (volume.check().status, volume.state.reason) == (Status.DRAINING, "an admin has it emptied")
    (tmp_path / "nas").rename(tmp_path / "gone")
    assert volume.check().status is Status.OFFLINE
    assert volume.state.reason.startswith(f"an admin has it emptied; {tmp_path / 'nas'}: ")


def test_a_call_that_hangs_is_given_up_and_the_volume_left_alone_until_it_answers(tmp_path: Path) -> None:
    (tmp_path / "nas").mkdir()
    quick = StorageLimits(write_timeout_s=1.0)
    adopted = adopt((tmp_path / "nas").resolve(), name="nas")
    spec = VolumeSpec(id=adopted, name="nas", path=(tmp_path / "nas").resolve(), tier="hot", domain="nas")
    volume = Volume(spec, quick)
    volume.check()
    release = threading.Event()
    for _ in range(4):
        with pytest.raises(VolumeUnavailable, match="the attempt was abandoned"):
            volume.run(lambda _: release.wait(60))
    assert (volume.state.status, volume.state.is_readable) == (Status.SUSPECT, False)
    begun: list[bool] = []
    with pytest.raises(VolumeUnavailable, match="4 calls hang"):  # and not that it took too long
        volume.run(lambda _: begun.append(True))
    assert begun == []
    release.set()
    wait_for(lambda: volume.check().status is Status.ONLINE, "the volume to answer")
    assert volume.run(lambda _: 7) == 7


def test_a_volume_that_works_although_some_calls_hang_is_used_again_until_very_many_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "_MAX_STUCK_EXCUSED", 6)
    monkeypatch.setattr(threads, "_MAX_THREADS", 1)  # besides those that hang
    volume, begun, free = volume_at(tmp_path), threading.Semaphore(0), threading.Event()

    def hang() -> None:
        task = volume.start(lambda _: (begun.release(), free.wait(60)))
        begun.acquire()
        with pytest.raises(VolumeUnavailable, match="the attempt was abandoned"):
            volume.wait(task, silence_s=0.0)

    with ExitStack() as at_end:
        at_end.callback(free.set)
        for number in range(4):
            assert volume.run(lambda _, number=number: number) == number
            hang()
        with pytest.raises(VolumeSilent, match="4 calls hang"):
            volume.run(lambda _: 7)
        assert volume.check().status is Status.ONLINE
        for _ in range(2):
            assert volume.run(lambda _: 7) == 7
            hang()
        assert volume.check().status is Status.ONLINE
        with pytest.raises(VolumeSilent, match="6 calls hang"):
            volume.run(lambda _: 7)
    wait_for(lambda: volume._threads.stuck == 0, "all of them to come back")
    assert volume.run(lambda _: 7) == 7
    with ExitStack() as at_end:
        at_end.callback(free.set)
        free.clear()
        for _ in range(4):
            hang()
        with pytest.raises(VolumeSilent, match="4 calls hang"):
            volume.run(lambda _: 7)


def test_a_volume_for_which_very_many_wait_already_takes_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "_MAX_WAITING", 3)
    volume, free = volume_at(tmp_path), threading.Event()
    with ExitStack() as at_end:
        at_end.callback(free.set)
        waiting = [volume.start(lambda _: free.wait(60)) for _ in range(3)]
        with pytest.raises(VolumeSilent, match="is too slow: 3 calls wait"):
            volume.start(lambda _: None)
    assert all(volume.wait(task) for task in waiting)
    assert volume.run(lambda _: 7) == 7


def test_where_the_system_gives_no_more_threads_those_that_are_there_do_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    has_one, has_none = threads.Threads("one"), threads.Threads("none")
    assert has_one.wait(has_one.start(lambda _: 7, 60.0)) == 7
    free = threading.Event()
    first = has_one.start(lambda _: free.wait(60), 60.0)
    monkeypatch.setattr(threading.Thread, "start", refused)
    second = has_one.start(lambda _: 8, 60.0)
    free.set()
    assert (has_one.wait(first), has_one.wait(second)) == (True, 8)
    with pytest.raises(VolumeSilent, match="volume none: can't start new thread"):
        has_none.start(lambda _: 7, 60.0)


def test_a_call_that_is_done_at_the_moment_of_its_deadline_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    of_volume, free = threads.Threads("one"), threading.Event()
    task = of_volume.start(lambda _: free.wait(60), 60.0)

    def too_late(*_: object) -> bool:
        free.set()
        task.finished.acquire()
        return False

    monkeypatch.setattr(of_volume, "_is_done", too_late)
    assert of_volume.wait(task) is True
    assert of_volume.stuck == 0


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_call_that_fails_in_a_way_nobody_foresaw_has_not_succeeded(tmp_path: Path) -> None:
    volume, ended = volume_at(tmp_path), list[threading.Thread]()

    def fail(_: object) -> None:
        ended.append(threading.current_thread())
        raise IndexError

    with pytest.raises(VolumeUnavailable, match="in a way nobody foresaw"):
        volume.run(fail)
    ended[0].join()  # pytest hears of it in this test


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_another_thread_takes_the_place_of_one_that_ended_in_a_way_nobody_foresaw(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(threads, "_MAX_THREADS", 1)
    apart = threads.Threads("apart")
    for _ in range(2):
        with pytest.raises(VolumeUnavailable, match="in a way nobody foresaw"):
            apart.wait(apart.start(lambda _: [][0], 60.0))
        wait_for(lambda: "volume-apart" not in {one.name for one in threading.enumerate()}, "its thread to end")
    assert apart.wait(apart.start(lambda _: 7, 60.0)) == 7


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_what_is_asked_for_while_a_thread_ends_in_such_a_way_is_done_by_another() -> None:
    apart, free, asked = threads.Threads("apart"), threading.Event(), list[threads.Task[int]]()
    ended: list[threading.Thread] = []

    def fail(_: object) -> None:
        ended.append(threading.current_thread())
        free.wait(60)
        raise IndexError

    ending = apart.start(fail, 60.0)
    # At that moment nothing is under way, and the thread is there yet.
    ending.finished = SimpleNamespace(release=lambda: asked.append(apart.start(lambda _: 7, 10.0)))
    free.set()
    wait_for(lambda: asked, "its end")
    assert apart.wait(asked[0]) == 7
    ended[0].join()


def test_a_call_that_only_waited_for_others_hangs_nowhere_and_is_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "_MAX_THREADS", 1)
    of_volume, free, made = threads.Threads("one"), threading.Event(), list[int]()
    first = of_volume.start(lambda _: free.wait(60), 60.0)
    with pytest.raises(VolumeSilent, match="the attempt was abandoned"):
        of_volume.wait(of_volume.start(lambda _: made.append(2), 60.0), silence_s=0.0)
    assert of_volume.stuck == 0
    third = of_volume.start(lambda _: made.append(3), 60.0)
    free.set()
    assert of_volume.wait(first)
    of_volume.wait(third)
    assert made == [3]


def test_an_unfinished_file_that_is_given_up_when_it_was_just_made_is_removed(tmp_path: Path) -> None:
    volume = volume_at(tmp_path)
    copy = CopyInProgress(volume)
    copy.start_open(path_of(1).parent)
    wait_for(lambda: copy._task is not None and copy._task.is_over, "it to be made")
    assert files_below(tmp_path, "*.tmp")
    copy.abandon()
    wait_for(lambda: files_below(tmp_path, "*.tmp") == [], "it to be removed")


def test_a_call_that_somebody_waits_for_no_longer_is_not_held_against_its_volume(tmp_path: Path) -> None:
    volume, free = volume_at(tmp_path), threading.Event()
    task = volume.start(lambda _: free.wait(30))
    with pytest.raises(VolumeSilent, match="was not waited for any longer"):
        volume.wait(task, 0.05)
    assert (volume.state.status, volume._threads.stuck, task.cancelled) == (Status.ONLINE, 0, True)
    free.set()


def test_what_was_given_up_while_it_was_written_gets_no_name_afterwards(forgetful: FaultyVolume) -> None:
    volume = Volume(volume_at(forgetful.path).spec, StorageLimits(write_timeout_s=0.5))
    volume.check()
    forgetful.tell("hang 2 write")
    with pytest.raises(NotEnoughCopies, match="did not answer in time"):
        Placement((volume,), need=1, degraded=1).store(path_of(1), [b"content"])
    assert volume._threads.stuck == 1
    forgetful.tell("ok")
    wait_for(lambda: volume._threads.stuck == 0, "the call to come back")
    assert [path.name for path in files_below(forgetful.path) if path.name != ".control"] == [SENTINEL_NAME]


def test_several_volumes_are_looked_at_at_once_so_that_those_that_hang_cost_no_more_than_one(tmp_path: Path) -> None:
    looked_at_together = threading.Barrier(3, timeout=30)

    class Slow(Volume):
        def check(self) -> VolumeState:
            looked_at_together.wait()
            return super().check()

    for name in "abc":
        (tmp_path / name).mkdir()
    specs = [volume_at(tmp_path / name, name).spec for name in "abc"]
    volumes = [Slow(spec, LIMITS) for spec in specs]
    check_all(volumes)
    assert not looked_at_together.broken
    assert [volume.state.status for volume in volumes] == [Status.ONLINE] * 3


def test_a_place_that_does_not_answer_is_not_waited_for_for_ever(
    forgetful: FaultyVolume, monkeypatch: pytest.MonkeyPatch
) -> None:
    forgetful.tell("ok")
    adopted = adopt(forgetful.path, name="nas")
    monkeypatch.setattr(threads, "_ANSWER_S", 0.2)
    forgetful.tell("hang 3")
    with pytest.raises(VolumeAway, match=f"^{forgetful.path}: it does not answer"):
        adopt(forgetful.path, name="nas")
    with pytest.raises(VolumeAway, match="it does not answer"):
        sentinel_at(forgetful.path)
    assert place_at(forgetful.path) == Place()
    forgetful.tell("ok")
    wait_for(lambda: place_at(forgetful.path).volume_id == adopted, "it to answer")


def test_a_nas_that_hangs_is_not_asked_whose_data_directory_it_is(tmp_path: Path) -> None:
    def lent(root: Path) -> dict[Path, str]:
        row = VolumeRow(id="1", name="nas", path=str(root / "volumes" / "first"), tier="hot", domain="nas")
        return lenders([row], Settings(data_dir=tmp_path / "data", database="sqlite:////index.db"))

    (tmp_path / "copied").mkdir()
    (tmp_path / "copied" / "serve.lock").touch()
    assert lent(tmp_path / "copied") == {tmp_path.resolve() / "copied": "nas"}
    try:
        with mounted(tmp_path / "nas", "sshfs") as nas:
            (nas.path / "serve.lock").touch()
            nas.tell("hang 2")
            assert lent(nas.path) == {}
    except OSError as error:
        pytest.skip(str(error))


def test_a_volume_that_a_server_is_about_to_let_go_can_be_added_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "nas").mkdir()
    volume = volume_at(tmp_path / "nas")
    waits: list[float] = []

    def let_go(wait_s: float) -> None:
        waits.append(wait_s)
        volume.let_go()

    # Not the sleep of all: the threads that tests before this one left would have no rest.
    monkeypatch.setattr("pacs_server.storage.sentinel.time", SimpleNamespace(monotonic=time.monotonic, sleep=let_go))
    assert adopt(tmp_path / "nas", name="nas") == volume.spec.id
    assert len(waits) == 1


def test_of_two_nodes_that_make_a_volume_at_one_instant_both_have_the_id_of_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Directory, "size_of", lambda *_: None)  # as the other one sees it a moment before
    monkeypatch.setattr("pacs_server.storage.sentinel._has_sentinel", lambda *_: False)
    first = adopt(tmp_path, name="nas")
    assert adopt(tmp_path, name="nas") == first
    assert [path.name for path in files_below(tmp_path)] == [SENTINEL_NAME]


def test_a_volume_can_be_where_files_have_one_name_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refuse)
    assert adopt(tmp_path, name="nas") == sentinel_at(tmp_path)
    assert [path.name for path in files_below(tmp_path)] == [SENTINEL_NAME]


def test_a_volume_whose_locks_hang_is_used_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nas").mkdir()
    ends = threading.Event()
    monkeypatch.setattr(fcntl, "flock", lambda *_: ends.wait())
    monkeypatch.setattr("pacs_server.storage.volume._HOLD_S", 0.1)
    monkeypatch.setattr("pacs_server.storage.sentinel._LOCK_S", 0.1)
    volume = volume_at(tmp_path / "nas")  # online
    Placement((volume,), need=1, degraded=1).store(path_of(1), [b"received"])
    assert adopt(tmp_path / "nas", name="nas") == volume.spec.id  # as after the loss of its server

    for _ in range(40):
        volume._medium = None  # as what is mounted anew
        assert volume.check().status is Status.ONLINE
    at_once = threading.Barrier(8)
    for task in [volume.start(lambda _: at_once.wait(10)) for _ in range(8)]:
        volume.wait(task)  # locks that hang take no thread from what is stored and read
    ends.set()


def test_a_volume_that_hung_is_held_again_when_it_is_mounted_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "nas").mkdir()
    volume, release = volume_at(tmp_path / "nas"), threading.Event()
    volume.timeout_s = 0.2
    for _ in range(4):
        with pytest.raises(VolumeUnavailable, match="the attempt was abandoned"):
            volume.run(lambda _: release.wait(60))
    volume._medium = None
    assert volume.check().status is Status.ONLINE
    monkeypatch.setattr("pacs_server.storage.sentinel._LET_GO_S", 0.0)
    with pytest.raises(Refused, match=r"server that runs: that of another archive, .* or a node of this one"):
        adopt(tmp_path / "nas", name="nas")
    release.set()


def test_a_volume_that_tells_no_size_is_taken_for_one_with_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "nas").mkdir()
    untold = SimpleNamespace(f_blocks=0, f_bavail=0, f_frsize=4096, f_flag=0, f_files=0, f_favail=0)
    monkeypatch.setattr(os, "fstatvfs", lambda _: untold)
    volume = volume_at(tmp_path / "nas")
    assert (volume.takes(1 << 30), volume.full_below(), volume.state.total_bytes) == (True, None, None)


def test_a_volume_that_was_let_go_is_not_held_anew_by_who_still_looks_at_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "nas").mkdir()
    volume = volume_at(tmp_path / "nas")
    volume.let_go()
    assert volume.check().reason.endswith("it is no volume of this site any more")
    monkeypatch.setattr("pacs_server.storage.sentinel._LET_GO_S", 0.0)
    assert adopt(tmp_path / "nas", name="nas") == volume.spec.id

    second = volume_at(tmp_path / "nas")
    monkeypatch.setattr(second, "_identify", lambda _: second.let_go())  # in the middle of a look that opens it anew
    second._medium = None
    second.check()
    assert adopt(tmp_path / "nas", name="nas") == second.spec.id


def fails(*_: object, **__: object) -> None:
    raise OSError(errno.EIO, "Input/output error")


def stores(volume: Volume) -> None:
    Placement((volume,), need=1, degraded=1).store(path_of(1), [b"received"])


def opens(volume: Volume) -> None:
    OpenCopy(volume, path_of(1))


def writes_too_late(volume: Volume) -> None:
    volume.timeout_s = 0.05
    goes_on, work = threading.Event(), volume.medium().new_file

    def write(_: object) -> None:
        goes_on.wait(60)
        work(path_of(1).parent)

    try:
        volume.run(write)
    finally:
        goes_on.set()
        wait_for(lambda: not volume._threads.stuck, "it to come back")


def removes_later(volume: Volume) -> None:
    medium = volume.medium()
    volume.later(lambda: medium.new_file(path_of(1).parent))
    with suppress(VolumeUnavailable):
        opens(volume)  # behind it


@pytest.mark.parametrize("deed", [stores, opens, writes_too_late, removes_later])
def test_what_failed_on_a_volume_that_is_let_go_holds_it_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deed: Callable[[Volume], None]
) -> None:
    (tmp_path / "nas").mkdir()
    volume = volume_at(tmp_path / "nas")
    monkeypatch.setattr("pacs_server.storage.sentinel._LET_GO_S", 0.5)
    gc.disable()  # as good as that in a process that has little to do
    try:
        with monkeypatch.context() as failing:
            for call in ("open", "mkdir"):
                failing.setattr(os, call, fails)
            with suppress(VolumeUnavailable, NotEnoughCopies):
                deed(volume)
        volume.let_go()
        assert adopt(tmp_path / "nas", name="nas") == volume.spec.id
    finally:
        gc.enable()


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b"{}", b'{"id":7}'])
def test_a_sentinel_that_is_damaged_is_told_as_such(tmp_path: Path, content: bytes) -> None:
    adopt(tmp_path, name="nas")
    (tmp_path / SENTINEL_NAME).write_bytes(content)
    for look in (lambda: sentinel_at(tmp_path), lambda: adopt(tmp_path, name="nas")):
        with pytest.raises((VolumeUnavailable, Refused), match=r"is damaged \(.*\); restore it from a backup"):
            look()
    assert (tmp_path / SENTINEL_NAME).read_bytes() == content
    assert not place_at(tmp_path).is_empty, "it could not become one"


@pytest.mark.parametrize("name", ["", "n" * 65, "..\\..", "nas 1", "a/b", "病院", "nas\n"])
def test_a_name_that_a_volume_cannot_have_is_refused_before_anything_is_made(tmp_path: Path, name: str) -> None:
    with pytest.raises(Refused, match="is no volume name: letters, digits"):
        adopt(tmp_path, name=name)
    assert list(tmp_path.iterdir()) == []
    assert adopt(tmp_path, name="n" * 64)


def test_what_file_systems_put_into_a_directory_by_themselves_keeps_it_from_nothing(tmp_path: Path) -> None:
    for name in ("lost+found", "@eaDir", "#recycle", "#snapshot", ".snapshot"):
        (tmp_path / name).mkdir()
    assert place_at(tmp_path).is_empty
    volume_id = adopt(tmp_path, name="nas")
    assert place_at(tmp_path) == Place(volume_id=volume_id)


@pytest.mark.parametrize("wrong", ["/", "link", "missing", "file", "inside", "not-empty"])
def test_a_place_that_cannot_be_a_volume_is_refused(tmp_path: Path, wrong: str) -> None:
    base = tmp_path.resolve()
    (base / "volume").mkdir()
    (base / "volume" / "inside").mkdir()
    (base / "file").touch()
    (base / "link").symlink_to(base / "volume")
    (base / "not-empty").mkdir()
    (base / "not-empty" / "something").touch()
    place = {"/": Path("/"), "inside": base / "volume" / "inside"}.get(wrong, base / wrong)
    with pytest.raises(Refused):
        adopt(place, name="new", others=[base / "volume"])
