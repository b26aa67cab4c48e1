"""One file that is written completely or not at all, where the system does only part of what it is asked."""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from pacs_server.errors import VolumeFull, VolumeSilent, VolumeUnavailable
from pacs_server.storage import atomic
from pacs_server.storage.atomic import NO_ROOM, NewFile, Translated
from pacs_server.storage.descriptors import Descriptor
from pacs_server.storage.tree import OPEN_DIRECTORY, Tree

FOLDER = PurePosixPath("v1/one")
CHUNKS = (b"first ", b"", b"second ", b"third")


@pytest.fixture
def file(tmp_path: Path) -> Iterator[NewFile]:
    """An unfinished file on a volume in `tmp_path`, with what is in the chunks."""
    with NewFile(Tree(Descriptor(os.open(tmp_path, OPEN_DIRECTORY))), FOLDER) as new:
        yield new


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / FOLDER).iterdir()}


def test_a_rename_whose_answer_an_nfs_server_lost_has_been_done(
    file: NewFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename: Callable[..., None] = os.rename

    def asked_twice(*names: str, **directories: int) -> None:
        rename(*names, **directories)
        rename(*names, **directories)

    monkeypatch.setattr(os, "rename", asked_twice)
    file.write(CHUNKS)
    assert file.finish("name")
    assert files(tmp_path) == {"name": b"".join(CHUNKS)}


def test_a_file_that_somebody_removed_before_it_got_its_name_is_not_taken_for_the_one_of_that_name(
    file: NewFile, tmp_path: Path
) -> None:
    file.write(CHUNKS)
    for unfinished in (tmp_path / FOLDER).iterdir():
        unfinished.unlink()
    (tmp_path / FOLDER / "name").write_bytes(b"damaged")
    with pytest.raises(FileNotFoundError):
        file.finish("name")
    assert files(tmp_path) == {"name": b"damaged"}


def test_what_the_system_writes_in_part_is_written_to_its_end(
    file: NewFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writev: Callable[..., int] = os.writev

    def in_part(descriptor: int, chunks: list[Any]) -> int:
        return writev(descriptor, [b"".join(chunks)[:5]])

    monkeypatch.setattr(os, "writev", in_part)
    file.write(CHUNKS)
    assert file.read(0, len(b"".join(CHUNKS))) == b"".join(CHUNKS)
    assert file.finish("name")
    assert files(tmp_path) == {"name": b"".join(CHUNKS)}


def test_where_the_system_writes_nothing_and_says_nothing_nobody_waits_for_ever(
    file: NewFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "writev", lambda *_: 0)
    with pytest.raises(OSError, match="nothing could be written"):
        file.write(CHUNKS)


def test_more_chunks_than_the_system_takes_at_once_are_written(file: NewFile, tmp_path: Path) -> None:
    chunks = [bytes([number % 256]) for number in range(3 * os.sysconf("SC_IOV_MAX") + 1)]
    file.write(chunks)
    assert file.finish("name")
    assert files(tmp_path) == {"name": b"".join(chunks)}


def test_a_file_that_could_not_be_flushed_gets_no_name_and_leaves_nothing(
    file: NewFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: int) -> None:
        raise OSError(errno.EIO, "lost")

    file.write(CHUNKS)
    with monkeypatch.context() as failing:
        failing.setattr(os, "fdatasync", fails)
        with pytest.raises(OSError, match="lost"):
            file.finish("name")
    with pytest.raises(OSError, match="the file is finished"):
        file.finish("name")  # a second flush proves nothing
    file.discard()
    assert not (tmp_path / FOLDER).exists()


@pytest.fixture
def done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is asked of the system that changes or flushes something on the volume, in its order."""
    calls: list[str] = []

    def noted(call: str) -> None:
        made: Callable[..., None] = getattr(os, call)

        def note(what: int | str, *more: str, **directories: int) -> None:
            made(what, *more, **directories)
            place = Path(f"/proc/self/fd/{what}").readlink() if isinstance(what, int) else tmp_path
            calls.append(f"{call} {place.relative_to(tmp_path)}" if call in ("mkdir", "fsync") else call)

        monkeypatch.setattr(os, call, note)

    for call in ("mkdir", "fdatasync", "link", "rename", "unlink", "rmdir", "fsync"):
        noted(call)
    return calls


def test_a_file_is_flushed_before_it_gets_its_name_and_every_name_on_the_way_to_it_is_flushed_too(
    tmp_path: Path, done: list[str]
) -> None:
    tree = Tree(Descriptor(os.open(tmp_path, OPEN_DIRECTORY)))
    its_own = ["fdatasync", "rename", "fsync v1/one"]
    for expected in (["mkdir .", "fsync .", "mkdir .", "fsync v1", *its_own], its_own):
        with NewFile(tree, FOLDER) as file:
            file.write(CHUNKS)
            file.finish("name")
        assert done == expected
        done.clear()


def test_a_file_that_is_moved_or_removed_is_so_after_a_power_cut_too_and_never_without_a_name(
    tmp_path: Path, done: list[str]
) -> None:
    tree, place = Tree(Descriptor(os.open(tmp_path, OPEN_DIRECTORY))), PurePosixPath("leaving/name")
    for folder in (FOLDER, place.parent):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / FOLDER / "name").touch()
    done.clear()
    tree.move(FOLDER / "name", place)
    assert done == ["fsync .", "rename", "fsync leaving", "fsync v1/one"]
    done.clear()
    tree.remove(place)
    assert done == ["unlink", "fsync leaving"]
    done.clear()
    tree.remove_empty(FOLDER, below=PurePosixPath("v1"))
    assert done == ["rmdir", "fsync v1"]


def test_what_grows_large_is_flushed_on_its_way_so_that_little_is_left_for_the_end(
    file: NewFile, done: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    dropped: list[tuple[int, int]] = []
    monkeypatch.setattr(atomic, "_WRITEBACK_BYTES", 20)
    monkeypatch.setattr(atomic, "_FLUSH_BYTES", 50)
    monkeypatch.setattr(os, "posix_fadvise", lambda _, start, length, __: dropped.append((start, length)))
    flushed = []
    for _ in range(13):
        file.write([bytes(10)])
        file.write_back()
        flushed.append(done.count("fdatasync"))
    assert flushed == [0] * 4 + [1] * 5 + [2] * 4
    assert dropped == [(start, 20) for start in range(0, 120, 20)]


def test_a_file_that_is_put_where_none_is_is_flushed_before_it_gets_its_name_and_so_is_that(
    file: NewFile, done: list[str]
) -> None:
    file.write(CHUNKS)
    file.finish_first("name")
    file.discard()
    assert done == ["fdatasync", "link", "fsync v1/one", "unlink"]


@pytest.mark.parametrize(
    ("file_system", "error", "is_refused"),
    [
        ("ext4", errno.EINVAL, True),
        ("nfs4", errno.EINVAL, True),
        ("cifs", errno.EIO, True),
        *((file_system, errno.EINVAL, False) for file_system in ("cifs", "smb3", "fuse.sshfs")),
    ],
)
def test_only_where_directories_cannot_be_flushed_it_is_no_failure_that_one_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file_system: str, error: int, *, is_refused: bool
) -> None:
    def fails(_: int) -> None:
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr("pacs_server.storage.tree.file_system_type", lambda _: file_system)
    tree = Tree(Descriptor(os.open(tmp_path, OPEN_DIRECTORY)))
    with NewFile(tree, FOLDER) as file:
        monkeypatch.setattr(os, "fsync", fails)
        with pytest.raises(OSError, match=os.strerror(error)) if is_refused else nullcontext():
            file.finish("name")
    assert (tmp_path / FOLDER / "name").exists(), "an equal one may be on its way to the same name"


@pytest.mark.parametrize(
    ("error", "ours"),
    [
        *((error, VolumeFull) for error in sorted(NO_ROOM)),
        *((error, VolumeSilent) for error in (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE)),
        *((error, VolumeSilent) for error in (errno.EHOSTUNREACH, errno.ENETDOWN, errno.ENETUNREACH)),
        *((error, VolumeSilent) for error in (errno.ECONNREFUSED, errno.ECONNRESET, errno.ECONNABORTED)),
        *((error, VolumeSilent) for error in (errno.EAGAIN, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.ENOTCONN)),
        *((error, VolumeUnavailable) for error in (errno.EIO, errno.EROFS, errno.EACCES, errno.ENOENT)),
    ],
)
def test_an_error_of_the_way_or_of_this_process_says_nothing_of_a_copy(
    error: int, ours: type[VolumeUnavailable]
) -> None:
    with pytest.raises(VolumeUnavailable) as told, Translated("volume a"):
        raise OSError(error, os.strerror(error))
    assert type(told.value) is ours
