"""What was transcoded is kept, found again, made anew when it is damaged, and never in the way."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pytest

from pacs_server.codecs.cache import Cache, NoRoom
from pacs_server.errors import CopyUnknown, Undecodable

SYNTAX = "1.2.840.10008.1.2"
A, B, C = "a" * 64, "b" * 64, "c" * 64
DATA = [b"12345", b"67890" * 1_000]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "transcoded"


def cache(folder: Path, *, max_bytes: int = 1 << 20, reserve_bytes: int = 0) -> Cache:
    return Cache(folder, max_bytes=max_bytes, reserve_bytes=reserve_bytes)


def keep(where: Cache, digest: str) -> bytes:
    return b"".join(where.keep(digest, SYNTAX, DATA))


def found(where: Cache, digest: str) -> bytes | None:
    pieces = where.find(digest, SYNTAX)
    return None if pieces is None else b"".join(pieces)


def test_what_is_kept_is_given_back_at_once_and_found_again_by_the_next_process(folder: Path) -> None:
    assert keep(cache(folder), A) == b"".join(DATA)
    assert found(cache(folder), A) == b"".join(DATA)
    assert found(cache(folder), B) is None
    assert cache(folder).find(A, "1.2.3") is None


def test_nothing_is_left_of_an_object_that_is_to_be_forgotten(folder: Path) -> None:
    for digest in (A, B):
        keep(cache(folder), digest)
    cache(folder).forget(A)
    assert (found(cache(folder), A), found(cache(folder), B)) == (None, b"".join(DATA))
    cache(folder / "not there").forget(A)


def test_nothing_is_left_of_an_object_that_a_killed_process_was_writing(folder: Path) -> None:
    def killed() -> Iterator[bytes]:
        yield DATA[0]
        os._exit(0)

    if not (pid := os.fork()):
        cache(folder).keep(A, SYNTAX, killed())
    os.waitpid(pid, 0)
    assert len(list(folder.iterdir())) == 1
    assert cache(folder).digests() == {A}
    cache(folder).forget(A)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "cut to the digest"])
def test_a_damaged_file_is_not_found_and_is_removed(folder: Path, damage: str) -> None:
    keep(cache(folder), A)
    (file,) = folder.iterdir()
    content = bytearray(file.read_bytes())
    content[3] ^= 1
    damaged = {"flip": content, "cut": content[:-1], "empty": b"", "cut to the digest": content[-64:]}
    file.write_bytes(damaged[damage])
    assert found(cache(folder), A) is None
    assert list(folder.iterdir()) == []


def test_what_was_used_longest_ago_makes_room(folder: Path) -> None:
    small = cache(folder, max_bytes=12_000)
    for age, digest in ((30, A), (20, B)):
        keep(small, digest)
        os.utime(folder / f"{digest}-{SYNTAX}", (age, age))
    assert found(small, A) is not None  # used now, so B is the one to go
    keep(small, C)
    assert [found(small, digest) is not None for digest in (A, B, C)] == [True, False, True]
    assert sum(file.stat().st_size for file in folder.iterdir()) <= 12_000


class Crowded(Cache):
    """One for which another process makes room as soon as a file was looked through."""

    def _is_whole(self, file: BinaryIO, transfer_syntax: str) -> bool:
        is_whole = super()._is_whole(file, transfer_syntax)
        self.forget(A)
        return is_whole


def test_what_makes_room_while_it_is_looked_at_is_found_nevertheless(folder: Path) -> None:
    keep(cache(folder), A)
    assert found(Crowded(folder, max_bytes=1 << 20, reserve_bytes=0), A) == b"".join(DATA)
    assert list(folder.iterdir()) == []


def test_a_disk_that_fails_while_a_file_is_read_is_told_as_a_copy_that_cannot_be_read(folder: Path) -> None:
    b"".join(cache(folder, max_bytes=1 << 24).keep(A, SYNTAX, [bytes(3 << 20)]))
    pieces = cache(folder).find(A, SYNTAX)
    assert pieces is not None
    next(pieces)
    (file,) = folder.iterdir()
    numbers = Path("/proc/self/fd").iterdir()
    (number,) = [int(one.name) for one in numbers if os.path.realpath(one) == str(file)]
    with Path("/proc/self/mem").open("rb") as unreadable:  # its first pages are nobody's
        os.dup2(unreadable.fileno(), number)
    with pytest.raises(CopyUnknown, match="Input/output error"):
        list(pieces)


@pytest.mark.parametrize(
    "limits", [{"max_bytes": 100}, {"max_bytes": 0}, {"reserve_bytes": 1 << 60}], ids=["small", "none", "full disk"]
)
def test_what_has_no_room_is_not_kept_and_leaves_nothing(folder: Path, limits: dict[str, int]) -> None:
    with pytest.raises(NoRoom):
        keep(cache(folder, **limits), A)
    assert list(folder.iterdir()) == []


def test_a_directory_that_cannot_be_made_is_no_room(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("in the way")
    with pytest.raises(NoRoom):
        keep(cache(tmp_path / "cache" / "transcoded"), A)


def test_what_cannot_be_made_leaves_nothing(folder: Path) -> None:
    def broken() -> Iterator[bytes]:
        yield b"begun"
        raise Undecodable("broken")

    with pytest.raises(Undecodable):
        cache(folder).keep(A, SYNTAX, broken())
    assert list(folder.iterdir()) == []
