"""A NAS that several nodes share: each remembers for a while what it saw there, and is told errors in its own way."""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path, PurePosixPath

import pytest
from support.arrivals import digest_of
from support.faulty_volume import FaultyVolume
from support.house import House
from support.nas import seen
from support.samples import encoded, tiny
from support.server import files_below

from pacs_server.archive.adopting import FindingKind
from pacs_server.archive.copies import damage_of
from pacs_server.archive.reconcile import SETTLED_AFTER, reconcile
from pacs_server.dicom.elements import EXPLICIT_LE
from pacs_server.dicom.identity import Uid
from pacs_server.dicom.part10 import file_meta
from pacs_server.dicom.stored import digest_of_file
from pacs_server.errors import NotEnoughCopies, Refused, VolumeSilent, VolumeUnavailable
from pacs_server.service.upkeep.reconciling import ledger_of
from pacs_server.settings import StorageLimits
from pacs_server.storage import sentinel
from pacs_server.storage.condition import Status, VolumeSpec
from pacs_server.storage.descriptors import Descriptor
from pacs_server.storage.layout import object_path
from pacs_server.storage.leaving import remove_left, set_leaving
from pacs_server.storage.placement import Placement
from pacs_server.storage.reading import OpenCopy
from pacs_server.storage.sentinel import adopt
from pacs_server.storage.volume import Volume

CONTENT = b"received"


def path_of(number: int) -> PurePosixPath:
    return object_path(date(2026, 1, 2), "1.2", f"1.3.{number}", Uid(f"1.2.3.{number}"), digest_of(str(number)))


def store(volume: Volume, path: PurePosixPath) -> None:
    Placement((volume,), need=1, degraded=1).store(path, [CONTENT])


class Shared:
    """One NAS, and nodes that have it as a volume."""

    def __init__(self, folder: Path, mounts: ExitStack) -> None:
        self.files = folder / "nas"
        self.files.mkdir()
        self.clients: dict[str, FaultyVolume] = {}
        self._folder, self._mounts, self._id = folder, mounts, ""

    def volume(self, node: str) -> Volume:
        """The volume as one more node sees it."""
        try:
            client = self._mounts.enter_context(seen(self.files, self._folder / node))
        except OSError as error:
            pytest.skip(str(error))
        self.clients[node] = client
        self._id = self._id or adopt(client.path.resolve(), name="nas")
        spec = VolumeSpec(id=self._id, name="nas", path=client.path.resolve(), tier="hot", domain="nas")
        volume = Volume(spec, StorageLimits())
        assert volume.check().status is Status.ONLINE, volume.state
        return volume


@pytest.fixture
def nas(tmp_path: Path) -> Iterator[Shared]:
    with ExitStack() as mounts:
        yield Shared(tmp_path, mounts)


def test_what_another_node_stored_is_seen_at_once_also_where_nothing_was_a_moment_ago(nas: Shared) -> None:
    one, other = nas.volume("one"), nas.volume("other")
    path = path_of(1)
    assert not other.has_file(path)
    assert [*other.walk(), *other.operation_files()] == []
    store(one, path)
    assert other.has_file(path, len(CONTENT))
    assert [file.path for file in other.walk()] == [path]
    with OpenCopy(other, path) as opened:
        assert bytes(opened.buffer) == CONTENT
    set_leaving(one, path)
    remove_left(one, path)
    assert not other.has_file(path)
    assert list(other.walk()) == []
    store(other, path)  # into directories that it knows and that are gone
    assert one.has_file(path)


def test_what_another_node_removes_at_that_moment_is_not_there(nas: Shared, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = nas.volume("one"), nas.volume("other")
    path = path_of(1)
    tree = other.medium().tree
    opened = tree._opened

    def removed_once_opened(directory: PurePosixPath) -> Descriptor:
        found = opened(directory)
        if directory == path.parent:
            set_leaving(one, path)
            remove_left(one, path)
        return found

    monkeypatch.setattr(tree, "_opened", removed_once_opened)
    store(one, path)
    assert not other.has_file(path)
    store(one, path)
    assert other.entries(path.parent) == []
    store(one, path)
    with pytest.raises(VolumeUnavailable) as raised:
        OpenCopy(other, path)
    assert not isinstance(raised.value, VolumeSilent)


@pytest.mark.parametrize("error", ["EINVAL", "EOPNOTSUPP", "EBADF"])
def test_a_nas_that_cannot_flush_a_directory_takes_objects(nas: Shared, error: str) -> None:
    volume = nas.volume("one")
    nas.clients["one"].tell(f"fail {error} fsyncdir")
    store(volume, path_of(1))
    assert volume.has_file(path_of(1))


@pytest.mark.parametrize("error", ["EBUSY", "EACCES", "EPERM"])
def test_a_file_is_removed_though_its_folder_cannot_go(nas: Shared, error: str) -> None:
    volume = nas.volume("one")
    store(volume, path_of(1))
    set_leaving(volume, path_of(1))
    nas.clients["one"].tell(f"fail {error} rmdir")
    remove_left(volume, path_of(1))
    assert files_below(nas.files, "*.dcm") == []


@pytest.mark.parametrize(("error", "status"), [("EDQUOT", Status.FULL), ("EIO", Status.SUSPECT)])
def test_a_volume_that_tells_only_when_a_file_is_closed_that_it_was_not_written_says_so(
    nas: Shared, error: str, status: Status
) -> None:
    volume = nas.volume("one")
    nas.clients["one"].tell(f"fail {error} flush")
    with pytest.raises(NotEnoughCopies):
        store(volume, path_of(1))
    assert volume.check().status is status
    nas.clients["one"].tell("ok")
    assert volume.check().status is Status.ONLINE
    assert [path.name for path in files_below(nas.files) if path.name != sentinel.SENTINEL_NAME] == []


def test_what_is_being_stored_is_left_alone_though_the_clock_of_the_nas_is_behind(
    nas: Shared, tmp_path: Path, new_url: Callable[[], str]
) -> None:
    one, other = nas.volume("one"), nas.volume("other")
    for client in nas.clients.values():
        client.tell("ahead -7200")
    arriving = Placement((one,), need=1, degraded=1).stream(path_of(1).parent)
    arriving.begin([CONTENT])
    store(one, path_of(2))
    placement = Placement((other,), need=1, degraded=1)
    with House(tmp_path / "data", new_url()).node() as node:
        compared = partial(reconcile, other, ledger_of(node, node.index), placement, since=None, repair=True)
        assert list(compared(now=datetime.now(UTC))) == []
        arriving.finish(path_of(1))
        told = [finding.kind for finding in compared(now=datetime.now(UTC) + SETTLED_AFTER)]
    assert told == [FindingKind.UNREADABLE] * 2  # they are no objects, but are looked at
    assert [one.problem for one in other.advice() if "clock" in one.problem] == ["its clock is -7200 s from ours"]


@pytest.mark.parametrize("call", ["open", "read"])
def test_an_error_of_a_moment_is_not_taken_for_damage(nas: Shared, call: str) -> None:
    volume = nas.volume("one")
    data_set = tiny(1)
    whole = file_meta(
        sop_class=data_set.SOPClassUID, sop_instance=Uid(data_set.SOPInstanceUID), transfer_syntax=EXPLICIT_LE
    ) + encoded(data_set)
    placement = Placement((volume,), need=1, degraded=1)
    (copy,) = placement.store(path_of(1), [whole])
    told: list[str] = []
    nas.clients["one"].tell(f"once EIO {call} .dcm")
    with placement.open_whole([copy], lambda pieces: b"".join(pieces) == whole, lambda _, why: told.append(why)):
        pass
    assert told == []
    nas.clients["one"].tell(f"once EIO {call} .dcm")
    _, digest = digest_of_file((memoryview(whole),))
    assert damage_of(volume, copy.path, digest) == ""
    nas.clients["one"].tell(f"fail EIO {call} .dcm")
    assert "Input/output error" in damage_of(volume, copy.path, digest)


def test_a_volume_of_a_server_that_runs_is_refused_where_locks_are_those_of_smb(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "share"
    folder.mkdir()
    adopt(folder, name="share")

    def lock(number: int, how: int) -> None:
        if how & fcntl.LOCK_EX:
            raise PermissionError(13, os.strerror(13))

    monkeypatch.setattr(fcntl, "flock", lock)
    monkeypatch.setattr(sentinel, "_LET_GO_S", 0.1)
    with pytest.raises(Refused, match=r"server that runs: that of another archive, .* or a node of this one"):
        adopt(folder, name="share")
