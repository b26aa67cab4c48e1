"""What was transcoded, kept on the local disk for the next time. It may vanish at any moment and nothing is lost.

Each file is a data set with its own digest behind it, and named by the digest of the object that it was made of and by
its transfer syntax. It is there completely or not at all; those that were used longest ago make room.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Final

from pacs_server import log
from pacs_server.dicom.elements import Buffer
from pacs_server.dicom.identity import ObjectHasher
from pacs_server.errors import CopyUnknown
from pacs_server.ownership import make_folder

_PIECE_BYTES: Final = 1 << 20
_DIGEST_BYTES: Final = 64
_UNFINISHED: Final = ".part"
_LOOK_EVERY_BYTES: Final = 16 << 20
_KEPT_SHARE: Final = 0.9  # making room for many at once saves looking at every file for each
_LOOK_EVERY_SHARE: Final = 1 / 64  # of what it may hold; other processes add to it as well


class NoRoom(Exception):
    """The cache cannot take this now. Nobody outside of transcoding ever sees it."""


class Cache:
    """A directory of at most `max_bytes`, on a disk of which `reserve_bytes` stay free. May be used from any thread."""

    def __init__(self, directory: Path, *, max_bytes: int, reserve_bytes: int) -> None:
        self._directory = directory
        self._max_bytes = max_bytes
        self._reserve_bytes = reserve_bytes
        self._lock = threading.Lock()
        self._unseen_bytes = max_bytes  # what may have been added since this process looked; at first it has to look

    def find(self, digest: str, transfer_syntax: str) -> Iterator[bytes] | None:
        """The data set that was made of an object, compared with its own digest a moment ago; None when it is not here.

        What is damaged is removed. Raises: CopyUnknown from its pieces when the disk fails.
        """
        path = self._path(digest, transfer_syntax)
        try:
            file = path.open("rb")
        except OSError:
            return None
        # Others may make room at this moment; what is open can be read nevertheless.
        size = os.fstat(file.fileno()).st_size - _DIGEST_BYTES if self._is_whole(file, transfer_syntax) else -1
        if size < 0:
            log.warning("damaged file in the transcoding cache removed", path=path)
            file.close()
            with contextlib.suppress(OSError):
                path.unlink()
            return None
        with contextlib.suppress(OSError):
            os.utime(path)
        return _pieces(file, size)

    def keep(self, digest: str, transfer_syntax: str, pieces: Iterable[Buffer]) -> Iterator[bytes]:
        """Write a data set that was made of an object, and answer its pieces again, once all of it is there.

        Raises: NoRoom when it cannot be kept, at whichever piece that shows; whatever `pieces` raises; CopyUnknown from
        the pieces that are answered when the disk fails.
        """
        path = self._path(digest, transfer_syntax)
        # Named so that what a killed process has left is forgotten with the object.
        unfinished = self._directory / f"{digest}-{secrets.token_hex(8)}{_UNFINISHED}"
        try:
            make_folder(self._directory)
            self._refuse_beyond(0)
            file = unfinished.open("w+b")
        except OSError as error:
            raise NoRoom(str(error)) from error
        try:
            size = self._write(file, transfer_syntax, pieces)
            with _as_no_room():
                unfinished.replace(path)
        except BaseException:
            file.close()
            with contextlib.suppress(OSError):
                unfinished.unlink()
            raise
        self._make_room(size + _DIGEST_BYTES)
        return _pieces(file, size)

    def digests(self) -> set[str]:
        """Those of the objects of which something is here."""
        return {path.name.partition("-")[0] for _, _, path in self._found()}

    def forget(self, digest: str) -> None:
        """Remove whatever was made of an object."""
        with contextlib.suppress(OSError):
            for path in list(self._directory.glob(f"{digest}-*")):
                path.unlink(missing_ok=True)

    def _write(self, file: BinaryIO, transfer_syntax: str, pieces: Iterable[Buffer]) -> int:
        hasher = ObjectHasher(transfer_syntax)
        size, look_at = 0, 0
        for piece in pieces:
            size += len(piece)
            if size >= look_at:
                self._refuse_beyond(size)
                look_at = size + _LOOK_EVERY_BYTES
            hasher.update(piece)
            with _as_no_room():
                file.write(piece)
        self._refuse_beyond(size)
        with _as_no_room():
            file.write(hasher.digest().encode("ascii"))
            file.flush()
        return size

    def _refuse_beyond(self, size: int) -> None:
        if size + _DIGEST_BYTES > self._max_bytes:
            raise NoRoom("it is larger than the whole cache may be")
        with _as_no_room():
            disk = os.statvfs(self._directory)
        if disk.f_bavail * disk.f_frsize < self._reserve_bytes + _LOOK_EVERY_BYTES:
            raise NoRoom("the disk is nearly full")

    def _is_whole(self, file: BinaryIO, transfer_syntax: str) -> bool:
        hasher = ObjectHasher(transfer_syntax)
        try:
            size = os.fstat(file.fileno()).st_size - _DIGEST_BYTES
            for piece in _read(file, max(size, 0)):
                hasher.update(piece)
            return size >= 0 and file.read() == hasher.digest().encode("ascii")
        except OSError:
            return False

    def _make_room(self, added_bytes: int) -> None:
        """Forget what was used longest ago, and what an earlier process left unfinished, when it is too much."""
        with self._lock:
            self._unseen_bytes += added_bytes
            if self._unseen_bytes < self._max_bytes * _LOOK_EVERY_SHARE:
                return
            found = sorted(self._found(), reverse=True)
            size_bytes = sum(size for _, size, _ in found)
            goal = self._max_bytes * _KEPT_SHARE if size_bytes > self._max_bytes else self._max_bytes
            while found and size_bytes > goal:
                _, size, path = found.pop()
                with contextlib.suppress(OSError):
                    path.unlink()
                size_bytes -= size
            self._unseen_bytes = 0

    def _found(self) -> Iterator[tuple[float, int, Path]]:
        """When each file was used last, its size and its path."""
        with contextlib.suppress(OSError):
            for path in self._directory.iterdir():
                with contextlib.suppress(OSError):
                    seen = path.stat()
                    yield seen.st_mtime, seen.st_size, path

    def _path(self, digest: str, transfer_syntax: str) -> Path:
        return self._directory / f"{digest}-{transfer_syntax}"


@contextlib.contextmanager
def _as_no_room() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise NoRoom(str(error)) from error


def _pieces(file: BinaryIO, size: int) -> Iterator[bytes]:
    """The data set in a file, which is closed after the last of it, or when nobody holds it any more.

    Raises: CopyUnknown.
    """
    try:
        with file:
            yield from _read(file, size)
    except OSError as error:
        raise CopyUnknown(f"what was transcoded cannot be read from the cache: {error}") from error


def _read(file: BinaryIO, size: int) -> Iterator[bytes]:
    file.seek(0)
    while size and (piece := file.read(min(size, _PIECE_BYTES))):
        size -= len(piece)
        yield piece
