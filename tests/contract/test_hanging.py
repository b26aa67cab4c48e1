"""Volumes that hang while another one can do the same: neither viewers nor modalities wait for them."""

import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent import futures
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from support.house import House as Archive
from support.server import wait_for

from pacs_server.dicom.identity import Uid
from pacs_server.errors import CopyUnreadable, VolumeSilent, VolumeUnavailable
from pacs_server.index.site.registry import VolumeRow
from pacs_server.service import assemble
from pacs_server.settings import StorageLimits
from pacs_server.storage import placement as placing
from pacs_server.storage import threads as storage_threads
from pacs_server.storage import volume as storage_volume
from pacs_server.storage.condition import Status, VolumeSpec
from pacs_server.storage.layout import object_path, operation_path
from pacs_server.storage.medium import Medium, OpenFile, UnfinishedFile
from pacs_server.storage.placement import Placement
from pacs_server.storage.records import keep_record
from pacs_server.storage.sentinel import adopt
from pacs_server.storage.threads import Overdue, Threads
from pacs_server.storage.volume import Volume
from pacs_server.storage.writing import CopyPlace

PATH = object_path(date(2026, 1, 2), "1.2", "1.3", Uid("1.2.3"), "0" * 64)
DECISION = operation_path("tokyo", 1, datetime(2026, 1, 2, tzinfo=UTC))
NEVER_S = 3_600.0


class Hanging:
    """The files of a volume, none of which is opened while it hangs; `meanwhile` is called when one is asked for."""

    def __init__(self, medium: Medium, meanwhile: Callable[[], object]) -> None:
        self._medium = medium
        self._meanwhile = meanwhile
        self.ends = threading.Event()
        self.asked = 0

    def new_file(self, directory: PurePosixPath) -> UnfinishedFile:
        self.asked += 1
        self._meanwhile()
        self.ends.wait()
        return self._medium.new_file(directory)

    def open_file(self, path: PurePosixPath, **how: Any) -> OpenFile:
        self.asked += 1
        self._meanwhile()
        self.ends.wait()
        return self._medium.open_file(path, **how)


class House:
    """Three volumes, each with a copy of one object, and those of them that hang."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self._patch = patch
        self.volumes = [self._volume(folder / name) for name in ("a", "b", "c")]
        self.placement = Placement(self.volumes, need=3, degraded=3)
        self.copies = self.placement.store(PATH, [b"content"])
        self.damaged: list[str] = []
        self.hanging: list[Hanging] = []

    def _volume(self, path: Path) -> Volume:
        path.mkdir()
        spec = VolumeSpec(id=adopt(path, name=path.name), name=path.name, path=path, tier="hot", domain=path.name)
        volume = Volume(spec, StorageLimits(write_timeout_s=NEVER_S))
        assert volume.check().status is Status.ONLINE
        return volume

    def let_hang(self, volume: Volume, meanwhile: Callable[[], object] = lambda: None) -> Hanging:
        self.hanging.append(hanging := Hanging(volume.medium(), meanwhile))
        self._patch.setattr(volume, "medium", lambda: hanging)
        return hanging

    def see_hang(self, volume: Volume) -> None:
        """What the look at a volume finds that does not answer."""
        self._patch.setattr(volume, "_state", replace(volume.state, status=Status.SUSPECT, is_readable=False))

    def read_from(self) -> str:
        """The name of the volume from which the object is read, whole."""

        def note(copy: CopyPlace, _: str) -> None:
            self.damaged.append(self.placement.volume(copy.volume_id).spec.name)  # type: ignore[union-attr]

        with self.placement.open_whole(self.copies, lambda pieces: b"".join(pieces) == b"content", note) as opened:
            return self.placement.volume(opened.volume_id).spec.name  # type: ignore[union-attr]


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    monkeypatch.setattr(placing, "PATIENCE_S", 0.2)
    monkeypatch.setattr(storage_volume, "_SILENT_S", 0.2)
    made = House(tmp_path, monkeypatch)
    yield made
    for one in made.hanging:
        one.ends.set()


def test_volumes_that_hang_are_not_waited_for_while_another_one_has_the_object(house: House) -> None:
    """Each was waited for until its deadline: a minute and a half with three, and the viewer had given up."""
    for volume in house.volumes[:2]:
        house.let_hang(volume)
    assert house.read_from() == "c"
    assert house.damaged == []


def test_a_volume_that_is_seen_to_hang_while_another_is_waited_for_is_not_asked(house: House) -> None:
    first, second, _ = house.volumes
    also = house.let_hang(second)
    house.let_hang(first, meanwhile=lambda: house.see_hang(second))
    assert house.read_from() == "c"
    assert also.asked == 0


def test_a_volume_that_is_slow_gets_its_time_when_no_other_one_has_the_object_whole(house: House) -> None:
    first, *others = house.volumes
    for volume in others:
        (volume.spec.path / PATH).write_bytes(b"changed")  # type: ignore[operator]
    slow = house.let_hang(first, meanwhile=lambda: slow.asked > 1 and slow.ends.set())
    assert house.read_from() == "a"
    assert house.damaged == ["b", "c"]


def test_when_no_copy_is_left_it_is_said_of_each_why(house: House) -> None:
    first, *others = house.volumes
    for volume in others:
        (volume.spec.path / PATH).write_bytes(b"changed")  # type: ignore[operator]
    slow = house.let_hang(first, meanwhile=lambda: slow.asked > 1 and slow.ends.set())
    (first.spec.path / PATH).unlink()  # type: ignore[operator]
    with pytest.raises(CopyUnreadable) as caught:
        house.read_from()
    told = str(caught.value)
    assert told.count("is not what was received") == 2
    assert "on volume a" in told
    assert house.damaged == ["b", "c", "a"]


def test_what_comes_again_is_not_looked_for_on_a_volume_that_is_seen_to_hang_meanwhile(house: House) -> None:
    first, second, _ = house.volumes
    also = house.let_hang(second)
    house.let_hang(first, meanwhile=lambda: (house.see_hang(second), house.hanging[-1].ends.set()))
    assert house.placement.intact(house.copies, lambda pieces: b"".join(pieces) == b"content") == 2
    assert also.asked == 0


def stored_on(house: House, *, need: int, number: int = 4) -> list[str]:
    """The names of the volumes that took another object."""
    path = object_path(date(2026, 1, 2), "1.2", "1.3", Uid(f"1.2.{number}"), "1" * 64)
    placement = Placement(house.volumes, need=need, degraded=need)
    taken = placement.store(path, [b"content"])
    return sorted(placement.volume(copy.volume_id).spec.name for copy in taken)  # type: ignore[union-attr]


def test_an_object_goes_to_another_volume_when_those_that_should_take_it_hang(house: House) -> None:
    """It was waited for until its deadline, half a minute, and modalities give up sooner."""
    first, *_ = house.volumes
    house.let_hang(first)
    assert stored_on(house, need=2) == ["b", "c"]
    assert (first.state.status, first.state.is_readable) == (Status.SUSPECT, False)
    assert stored_on(house, need=2, number=5) == ["b", "c"]
    assert house.hanging[0].asked == 1, "it is asked no more until it answers"


def test_a_volume_that_is_slow_and_answers_others_is_waited_for(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage_volume, "_SILENT_S", 1.0)  # no busy machine is late by so much between two answers
    first, *_ = house.volumes
    slow = house.let_hang(first)
    with ThreadPoolExecutor(1) as sender, ExitStack() as at_end:
        at_end.callback(slow.ends.set)
        stored = sender.submit(stored_on, house, need=1)
        for _ in range(60):
            first.run(lambda _: slow.ends.wait(0.05))  # three times what a silent one is given
        assert not stored.done()
        slow.ends.set()
        assert stored.result() == ["a"]


def test_a_disk_that_takes_nothing_any_more_hangs_although_each_look_finds_it_well(house: House) -> None:
    """The looks counted as answers, so that what a disk that flushes no more should take waited for its deadline."""
    first, *_ = house.volumes
    house.let_hang(first)
    with ThreadPoolExecutor(1) as sender, ExitStack() as at_end:
        at_end.callback(house.hanging[0].ends.set)
        stored = sender.submit(stored_on, house, need=1)
        wait_for(lambda: first.check() and stored.done(), "it to go elsewhere", every_s=0.05)
        assert stored.result() == ["b"]


def test_a_volume_that_hangs_gets_its_time_when_no_other_can_take_its_place(house: House) -> None:
    first, *_ = house.volumes
    slow = house.let_hang(first)
    with ThreadPoolExecutor(1) as sender, ExitStack() as at_end:
        at_end.callback(slow.ends.set)
        stored = sender.submit(stored_on, house, need=3)
        wait_for(lambda: slow.asked == 1, "it to be asked")
        assert not futures.wait([stored], timeout=1.0).done, "five times what one is given beside another"
        slow.ends.set()
        assert stored.result() == ["a", "b", "c"]


def test_of_two_volumes_that_hang_one_gets_its_time_when_another_can_take_the_place_of_one_alone(house: House) -> None:
    """Both were given up after some seconds, and the object was refused: disks that sleep take longer to wake."""
    slow = [house.let_hang(volume) for volume in house.volumes[:2]]
    with ThreadPoolExecutor(1) as sender, ExitStack() as at_end:
        at_end.callback(lambda: [one.ends.set() for one in slow])
        stored = sender.submit(stored_on, house, need=2)
        wait_for(lambda: house.volumes[0].state.status is Status.SUSPECT, "one to be given up")
        assert not futures.wait([stored], timeout=1.0).done, "five times what one is given beside another"
        slow[1].ends.set()
        assert stored.result() == ["b", "c"]


def test_a_decision_does_not_wait_for_a_volume_that_is_seen_to_hang(house: House) -> None:
    first, *_ = house.volumes
    house.let_hang(first)
    house.see_hang(first)
    first.timeout_s = 0.2
    with pytest.raises(VolumeUnavailable, match="volume a is suspect"):
        keep_record(first, DECISION, "{}")
    assert house.hanging[0].asked == 0


def test_a_decision_that_a_volume_took_too_long_for_is_not_kept_by_it_afterwards(house: House) -> None:
    first, *_ = house.volumes
    house.let_hang(first)
    first.timeout_s = 0.2
    with pytest.raises(VolumeSilent, match="did not answer in time"):
        keep_record(first, DECISION, "{}")
    house.hanging[0].ends.set()
    wait_for(lambda: first._threads.stuck == 0, "the call to come back")
    assert not first.spec.path.joinpath(DECISION).exists()


def test_what_was_never_begun_is_not_kept_in_memory_until_the_volume_is_back() -> None:
    threads, back, begun, senders = Threads("nas"), threading.Event(), 32, 50
    kept: list[weakref.ref[Chunks]] = []

    def store() -> None:
        chunks = Chunks([b"an object"])
        kept.append(weakref.ref(chunks))
        with pytest.raises(VolumeSilent):  # at once, where so many hang already that none is begun
            threads.wait(threads.start(lambda _, chunks=chunks: back.wait(), 0.5))

    with ThreadPoolExecutor(senders) as pool:
        list(pool.map(lambda _: store(), range(senders)))
    wait_for(lambda: gc.collect() < 0 or sum(one() is not None for one in kept) <= begun, "the others to be let go")
    back.set()


def test_a_volume_that_was_asked_nothing_for_hours_is_not_taken_for_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage_threads, "_BELATED_S", 0.0)
    threads, back = Threads("nas"), threading.Event()
    monkeypatch.setattr(threads, "_answered_at", threads._answered_at - 3_600.0)
    task = threads.start(lambda _: back.wait(60), 60.0)
    threading.Timer(0.1, back.set).start()
    assert threads.wait(task, silence_s=30.0)


def test_a_look_at_a_volume_is_no_answer_to_who_waits_for_another_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage_threads, "_BELATED_S", 0.0)
    threads, back = Threads("nas"), threading.Event()
    task = threads.start(lambda _: back.wait(60), 7_200.0)
    for waiting, since in ((threads, "_answered_at"), (task, "asked_at")):
        monkeypatch.setattr(waiting, since, getattr(waiting, since) - 3_600.0)
    threads.wait(threads.start(lambda _: None, 60.0, is_probe=True))
    threading.Timer(0.3, back.set).start()
    with pytest.raises(Overdue):
        threads.wait(task, silence_s=30.0)


def test_a_call_in_a_silent_volume_hangs_also_for_who_would_not_have_waited_for_its_deadline() -> None:
    threads, back = Threads("nas"), threading.Event()
    task = threads.start(lambda _: back.wait(60), 7_200.0)
    wait_for(lambda: task.began, "it to begin")
    with pytest.raises(Overdue):
        threads.wait(task, 60.0, silence_s=0.05)
    assert threads.stuck == 1
    back.set()


class Chunks(list[bytes]):
    """What an object consists of."""


def test_nobody_waits_while_somebody_takes_over_a_volume_that_hangs_at_its_first_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = Archive(tmp_path / "data", f"sqlite:///{tmp_path}/index.db")
    looks, ends = threading.Event(), threading.Event()
    with archive.node() as node, ThreadPoolExecutor() as pool:
        (volume,) = node.volumes()
        node.registry.add_volume(VolumeRow(id="new", name="new", path=str(tmp_path), tier="hot", domain="new"))

        def hang(volumes: object) -> None:
            looks.set()
            ends.wait(60)

        monkeypatch.setattr(assemble, "check_all", hang)
        monkeypatch.setattr(node, "_looked_at", float("-inf"))
        taking_over = pool.submit(node.volumes)
        assert looks.wait(60)
        known = pool.submit(node.volumes)
        try:
            assert known.result(30) == [volume]
        finally:
            ends.set()
        assert len(taking_over.result(60)) == 2
        assert len(node.volumes()) == 2
