"""A volume that fails in the middle of a large object is replaced within it, and nothing of the first attempt stays."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import date
from pathlib import Path
from threading import Timer

import pytest
from support.faulty_volume import FaultyVolume, mounted
from support.mounts import on_tmpfs
from support.server import LONG, files_below, wait_for

from pacs_server.dicom.elements import EXPLICIT_LE
from pacs_server.dicom.identity import ObjectHasher, Uid
from pacs_server.dicom.part10 import file_meta
from pacs_server.dicom.stored import is_intact
from pacs_server.errors import NotEnoughCopies, VolumeUnavailable
from pacs_server.settings import StorageLimits
from pacs_server.storage import volume as storage_volume
from pacs_server.storage.condition import Status, VolumeSpec
from pacs_server.storage.layout import is_temporary, object_path
from pacs_server.storage.placement import Placement
from pacs_server.storage.sentinel import adopt
from pacs_server.storage.streaming import ObjectStream
from pacs_server.storage.volume import Volume
from pacs_server.storage.writing import CopyInProgress

TIMEOUT_S, HANG_S = (10.0, 20.0) if LONG else (2.0, 4.0)
DAY = date(2026, 1, 2)
SIZE_MIB = 2_048 if LONG else 50
CHUNK = os.urandom(100_000)
META = file_meta(sop_class="1.2.840.10008.5.1.4.1.1.2", sop_instance="1.2.3.1", transfer_syntax=EXPLICIT_LE)

pytestmark = pytest.mark.timeout(600)


class LargeObject:
    """A file of ours of that many MiB, with something to be done when half of it was sent, or all."""

    def __init__(self, size_mib: int = SIZE_MIB) -> None:
        self.count = (size_mib << 20) // len(CHUNK)
        hasher = ObjectHasher(EXPLICIT_LE)
        for number in range(self.count):
            hasher.update(self.chunk(number))
        self.digest = hasher.digest()
        self.path = object_path(DAY, "1.2", "1.3", Uid("1.2.3.1"), self.digest)

    def chunk(self, number: int) -> bytes:
        return number.to_bytes(4, "big") + CHUNK[4:]

    def send(self, stream: ObjectStream, fault: Callable[[], object], *, at: str = "middle") -> None:
        stream.begin([META])
        for number in range(self.count):
            if at == "middle" and number == self.count // 2:
                fault()
            stream.write(self.chunk(number))
        if at == "end":
            fault()


def volume_at(path: Path, *, tier: str = "hot", timeout_s: float = 60.0, domain: str = "") -> Volume:
    path.mkdir(exist_ok=True)
    id_, place = adopt(path.resolve(), name=path.name), path.resolve()
    spec = VolumeSpec(id=id_, name=path.name, path=place, tier=tier, domain=domain or path.name)
    volume = Volume(spec, StorageLimits(write_timeout_s=timeout_s))
    assert volume.check().status is Status.ONLINE, volume.state
    return volume


def temporary_files(volume: Volume) -> list[Path]:
    return [file for file in files_below(volume.spec.path, ".*") if is_temporary(file.name)]


def wait_until_clean(*volumes: Volume) -> None:
    """Nothing unfinished is on these volumes once they answer."""

    def is_clean() -> bool:
        looked_at = [volume.check().status is not Status.OFFLINE for volume in volumes]
        return all(looked_at) and not any(temporary_files(volume) for volume in volumes)

    wait_for(is_clean, "the unfinished files to be gone", timeout_s=90, every_s=0.1)


def assert_whole(placement: Placement, large: LargeObject, *, copies: int) -> None:
    held = [volume for volume in placement.volumes if (volume.spec.path / large.path).exists()]
    assert len(held) >= copies
    for volume in held:
        with (volume.spec.path / large.path).open("rb") as file:
            assert is_intact(iter(lambda: memoryview(file.read(1 << 20)), b""), large.digest)


@pytest.fixture
def mounts() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def faulty(tmp_path: Path, mounts: ExitStack) -> FaultyVolume:
    try:
        return mounts.enter_context(mounted(tmp_path / "faulty"))
    except OSError as error:
        pytest.skip(str(error))


@pytest.fixture
def flushes_once(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fails when a descriptor is flushed after its flush failed."""
    flush, failed, again = os.fdatasync, set[int](), list[int]()

    def watched(descriptor: int) -> None:
        inode = os.fstat(descriptor).st_ino
        if inode in failed:
            again.append(descriptor)
        try:
            flush(descriptor)
        except OSError:
            failed.add(inode)
            raise

    monkeypatch.setattr(os, "fdatasync", watched)
    yield
    assert again == []


@pytest.mark.usefixtures("flushes_once")
@pytest.mark.parametrize("at", ["middle", "end"])
@pytest.mark.parametrize("fault", ["eio", f"hang {HANG_S}"])
def test_a_volume_that_fails_within_a_large_object_is_replaced_by_another(
    faulty: FaultyVolume, tmp_path: Path, fault: str, at: str
) -> None:
    hanging = volume_at(faulty.path, timeout_s=TIMEOUT_S)
    volumes = [hanging, volume_at(tmp_path / "good"), volume_at(tmp_path / "spare", tier="cold")]
    placement = Placement(volumes, need=2, degraded=2)
    large = LargeObject()
    stream = placement.stream(large.path.parent)
    large.send(stream, lambda: faulty.tell(fault), at=at)
    copies = stream.finish(large.path)
    assert {copy.volume_id for copy in copies} == {volume.spec.id for volume in volumes[1:]}
    faulty.tell("ok")
    wait_until_clean(*volumes)
    assert_whole(placement, large, copies=2)


@pytest.mark.usefixtures("flushes_once")
@pytest.mark.parametrize("at", ["middle", "end"])
def test_a_volume_that_hangs_within_a_large_object_is_replaced_long_before_its_deadline(
    faulty: FaultyVolume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    monkeypatch.setattr(storage_volume, "_SILENT_S", 0.3)
    volumes = [volume_at(faulty.path), volume_at(tmp_path / "good"), volume_at(tmp_path / "spare", tier="cold")]
    placement = Placement(volumes, need=2, degraded=2)
    large = LargeObject(20)
    stream = placement.stream(large.path.parent)
    large.send(stream, lambda: faulty.tell(f"hang {HANG_S}"), at=at)
    copies = stream.finish(large.path)
    assert {copy.volume_id for copy in copies} == {volume.spec.id for volume in volumes[1:]}
    faulty.tell("ok")
    wait_until_clean(*volumes)
    assert_whole(placement, large, copies=2)


def test_a_replacement_that_hangs_as_well_is_replaced_long_before_its_deadline(
    faulty: FaultyVolume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two exports of one NAS: the second was waited for until its deadline, although a third place was there."""
    monkeypatch.setattr(storage_volume, "_SILENT_S", 0.3)
    exports = [volume_at(faulty.path / "export1"), volume_at(faulty.path / "export2", tier="warm")]
    good, spare = volume_at(tmp_path / "good"), volume_at(tmp_path / "spare", tier="cold")
    placement = Placement([*exports, good, spare], need=2, degraded=2)
    large = LargeObject(20)
    stream = placement.stream(large.path.parent)
    began = time.monotonic()
    large.send(stream, lambda: faulty.tell(f"hang {HANG_S}"))
    copies = stream.finish(large.path)
    assert time.monotonic() - began < exports[1].timeout_s / 2
    assert {copy.volume_id for copy in copies} == {good.spec.id, spare.spec.id}
    faulty.tell("ok")
    wait_until_clean(*placement.volumes)
    assert_whole(placement, large, copies=2)


@pytest.mark.parametrize("need", [1, 2], ids=["the only one that has it", "no other can take its place"])
def test_a_volume_that_nothing_can_replace_within_a_large_object_is_waited_for_although_it_hangs(
    faulty: FaultyVolume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, need: int
) -> None:
    monkeypatch.setattr(storage_volume, "_SILENT_S", 0.3)
    volumes = [volume_at(faulty.path), volume_at(tmp_path / "spare", tier="cold")]
    placement = Placement(volumes, need=need, degraded=1)
    large = LargeObject(8)
    stream = placement.stream(large.path.parent)

    def hang_for_a_while() -> None:
        faulty.tell("hang 2")
        Timer(1.0, faulty.tell, ["ok"]).start()

    large.send(stream, hang_for_a_while)
    assert [copy.volume_id for copy in stream.finish(large.path)] == [one.spec.id for one in volumes[:need]]
    assert_whole(placement, large, copies=need)


@pytest.mark.usefixtures("flushes_once")
def test_a_volume_that_fills_within_a_large_object_is_replaced_by_another(tmp_path: Path, mounts: ExitStack) -> None:
    small = on_tmpfs(tmp_path, "small", f"{SIZE_MIB // 2}m", mounts)
    volumes = [volume_at(small), volume_at(tmp_path / "good"), volume_at(tmp_path / "spare", tier="cold")]
    placement = Placement(volumes, need=2, degraded=2)
    large = LargeObject()
    stream = placement.stream(large.path.parent)
    large.send(stream, lambda: None)
    copies = stream.finish(large.path)
    assert {copy.volume_id for copy in copies} == {volume.spec.id for volume in volumes[1:]}
    wait_until_clean(*volumes)
    assert_whole(placement, large, copies=2)


def test_a_replacement_is_in_a_fault_domain_that_has_no_copy(tmp_path: Path, mounts: ExitStack) -> None:
    small = volume_at(on_tmpfs(tmp_path, "small", "2m", mounts))
    same_nas = [volume_at(tmp_path / name, domain="nas") for name in ("one", "two")]
    spare = volume_at(tmp_path / "spare", tier="cold")
    placement = Placement([small, *same_nas, spare], need=2, degraded=2)
    large = LargeObject(8)
    stream = placement.stream(large.path.parent)
    large.send(stream, lambda: None)
    first, second = stream.finish(large.path)
    assert first.volume_id in {volume.spec.id for volume in same_nas}
    assert second.volume_id == spare.spec.id
    assert_whole(placement, large, copies=2)


def test_without_another_volume_it_goes_on_with_fewer_copies(faulty: FaultyVolume, tmp_path: Path) -> None:
    volumes = [volume_at(faulty.path), volume_at(tmp_path / "good")]
    placement = Placement(volumes, need=2, degraded=1)
    large = LargeObject(20)
    stream = placement.stream(large.path.parent)
    large.send(stream, lambda: faulty.tell("eio"))
    assert [copy.volume_id for copy in stream.finish(large.path)] == [volumes[1].spec.id]
    faulty.tell("ok")
    wait_until_clean(*volumes)
    assert_whole(placement, large, copies=1)


def test_without_another_volume_it_is_refused_below_the_floor(faulty: FaultyVolume, tmp_path: Path) -> None:
    volumes = [volume_at(faulty.path), volume_at(tmp_path / "good")]
    large = LargeObject(20)
    stream = Placement(volumes, need=2, degraded=2).stream(large.path.parent)
    with pytest.raises(NotEnoughCopies, match="1 of at least 2 copies"):
        large.send(stream, lambda: faulty.tell("eio"))
    stream.abandon()
    faulty.tell("ok")
    wait_until_clean(*volumes)


def test_what_too_few_volumes_finish_leaves_nothing(faulty: FaultyVolume, tmp_path: Path) -> None:
    volumes = [volume_at(faulty.path), volume_at(tmp_path / "good")]
    large = LargeObject(8)
    stream = Placement(volumes, need=2, degraded=2).stream(large.path.parent)
    large.send(stream, lambda: faulty.tell("eio"), at="end")
    with pytest.raises(NotEnoughCopies, match="1 of at least 2 copies"):
        stream.finish(large.path)
    faulty.tell("ok")
    wait_until_clean(*volumes)


@pytest.mark.parametrize("held", [42, 21], ids=["on the way", "at the last of it"])
def test_what_is_still_in_memory_survives_the_only_volume(tmp_path: Path, mounts: ExitStack, held: int) -> None:
    small = on_tmpfs(tmp_path, "small", "2m", mounts)
    volumes = [volume_at(small), volume_at(tmp_path / "spare", tier="cold")]
    placement = Placement(volumes, need=1, degraded=1)
    large = LargeObject(8)
    stream = placement.stream(large.path.parent)
    stream.begin([META, *(large.chunk(number) for number in range(held))])
    for number in range(held, large.count):
        stream.write(large.chunk(number))
    assert [copy.volume_id for copy in stream.finish(large.path)] == [volumes[1].spec.id]
    wait_until_clean(*volumes)
    assert_whole(placement, large, copies=1)


def test_when_nobody_has_it_any_more_it_is_refused(faulty: FaultyVolume, tmp_path: Path) -> None:
    volumes = [volume_at(faulty.path), volume_at(tmp_path / "spare", tier="cold")]
    large = LargeObject(20)
    stream = Placement(volumes, need=1, degraded=1).stream(large.path.parent)
    with pytest.raises(NotEnoughCopies):
        large.send(stream, lambda: faulty.tell("eio"))
    stream.abandon()
    faulty.tell("ok")
    wait_until_clean(*volumes)
    assert list(volumes[1].walk()) == []


@pytest.mark.parametrize("others", [0, 1])
def test_a_copy_that_was_read_back_damaged_is_no_copy_nor_is_its_source(
    faulty: FaultyVolume, tmp_path: Path, others: int
) -> None:
    """Where another one is left, which is too few, nothing is left of that one either."""
    volumes = [volume_at(faulty.path), volume_at(tmp_path / "good"), volume_at(tmp_path / "spare", tier="cold")]
    volumes += [volume_at(tmp_path / "other", tier="warm")] * others
    placement = Placement(volumes, need=2 + others, degraded=1 + others)
    large = LargeObject(20)

    def fail_and_forget() -> None:
        (unfinished,) = temporary_files(volumes[1])
        with unfinished.open("r+b") as file:
            file.seek(1 << 20)
            file.write(b"rot")
        faulty.tell("eio")

    stream = placement.stream(large.path.parent)
    large.send(stream, fail_and_forget)
    with pytest.raises(NotEnoughCopies, match="read back from good is not what was written"):
        stream.finish(large.path)
    faulty.tell("ok")
    wait_until_clean(*volumes)
    assert not any(list(volume.walk()) for volume in volumes)


def test_what_cannot_be_read_back_from_one_copy_is_read_from_the_next(
    faulty: FaultyVolume, tmp_path: Path, mounts: ExitStack
) -> None:
    unreadable = mounts.enter_context(mounted(tmp_path / "unreadable"))
    volumes = [
        volume_at(faulty.path),
        volume_at(unreadable.path),
        volume_at(tmp_path / "good", tier="warm"),
        volume_at(tmp_path / "spare", tier="cold"),
    ]
    placement = Placement(volumes, need=3, degraded=2)
    large = LargeObject(20)

    def fail() -> None:
        unreadable.tell("fail EIO read")
        faulty.tell("eio")

    stream = placement.stream(large.path.parent)
    large.send(stream, fail)
    assert {copy.volume_id for copy in stream.finish(large.path)} == {one.spec.id for one in volumes[2:]}
    for one in (faulty, unreadable):
        one.tell("ok")
    wait_until_clean(*volumes)
    assert_whole(placement, large, copies=2)


def test_a_copy_that_is_being_finished_is_waited_for_and_not_finished_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    placement, large = Placement([volume_at(tmp_path / "nas")], need=1, degraded=1), LargeObject(4)
    finished: list[str] = []
    finish = CopyInProgress.start_finish

    def start_finish(copy: CopyInProgress, name: str) -> None:
        finished.append(name)
        finish(copy, name)

    monkeypatch.setattr(CopyInProgress, "start_finish", start_finish)
    stream = placement.stream(large.path.parent)
    large.send(stream, lambda: None)
    stream.finish(large.path)
    assert finished == [large.path.name]


@pytest.mark.parametrize("at", ["middle", "end"])
def test_a_copy_of_which_its_volume_did_not_take_one_piece_is_no_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    busy, good = volume_at(tmp_path / "busy"), volume_at(tmp_path / "good")
    placement, large = Placement([busy, good], need=2, degraded=1), LargeObject(4)

    def take_none_once(*_: object, **__: object) -> None:
        monkeypatch.undo()
        raise VolumeUnavailable("very many calls wait for it")

    stream = placement.stream(large.path.parent)
    large.send(stream, lambda: monkeypatch.setattr(busy, "start", take_none_once), at=at)
    assert [copy.volume_id for copy in stream.finish(large.path)] == [good.spec.id]
    wait_until_clean(busy)
    assert not (tmp_path / "busy" / large.path).exists()
    assert_whole(placement, large, copies=1)


def test_a_replacement_whose_volume_does_not_take_what_it_missed_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy, good, spare = volume_at(tmp_path / "busy"), volume_at(tmp_path / "good"), volume_at(tmp_path / "spare")
    spare.change(replace(spare.spec, tier="cold"))
    placement, large = Placement([busy, good, spare], need=2, degraded=1), LargeObject(4)
    start, began = spare.start, []

    def take_none(*_: object, **__: object) -> None:
        raise VolumeUnavailable("very many calls wait for it")

    def open_only(*arguments: object, **options: object) -> object:
        began.append(arguments)
        return start(*arguments, **options) if len(began) == 1 else take_none()

    def fail() -> None:
        monkeypatch.setattr(busy, "start", take_none)
        monkeypatch.setattr(spare, "start", open_only)

    stream = placement.stream(large.path.parent)
    large.send(stream, fail)
    assert [copy.volume_id for copy in stream.finish(large.path)] == [good.spec.id]
    assert len(began) == 2
    monkeypatch.undo()
    wait_until_clean(busy, spare)
    assert_whole(placement, large, copies=1)


@pytest.mark.parametrize("way", ["streamed", "at once"])
def test_a_replacement_that_hangs_too_is_given_up_after_a_second(
    faulty: FaultyVolume, tmp_path: Path, mounts: ExitStack, way: str
) -> None:
    also_faulty = mounts.enter_context(mounted(tmp_path / "also"))
    timeout_s = 12.0
    first, good = volume_at(faulty.path, timeout_s=timeout_s), volume_at(tmp_path / "good", timeout_s=timeout_s)
    second = volume_at(also_faulty.path, tier="cold", timeout_s=timeout_s)
    placement = Placement([first, good, second], need=2, degraded=1)
    large = LargeObject(20)

    def hang() -> None:
        faulty.tell("hang 60")
        also_faulty.tell("hang 60")

    began = time.monotonic()
    if way == "streamed":
        stream = placement.stream(large.path.parent)
        large.send(stream, hang)
        copies = stream.finish(large.path)
    else:
        hang()
        copies = placement.store(large.path, [META])
    assert [copy.volume_id for copy in copies] == [good.spec.id]
    assert time.monotonic() - began < 2 * timeout_s  # of which one is for the first volume
