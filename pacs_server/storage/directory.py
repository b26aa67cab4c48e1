"""A volume's files in a directory: a local disk or a mounted NAS."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, date, datetime, timedelta
from functools import partial
from itertools import chain, islice
from pathlib import Path, PurePosixPath
from typing import Final

from pacs_server.storage.atomic import NewFile, read_fully
from pacs_server.storage.descriptors import Descriptor
from pacs_server.storage.layout import ROOT, Entry, day_directory, litter, temporary_name
from pacs_server.storage.medium import Advice, OneCall, Room, all_of
from pacs_server.storage.mounts import advice, mount_of, mount_table
from pacs_server.storage.tree import OPEN_DIRECTORY, Tree

_PORTION: Final = 100
# What is less may be how long it takes to write, and matters to nobody.
_CLOCKS_DIFFER: Final = timedelta(minutes=1)
_TRIAL: Final = bytes(64 << 10)  # a quota that is used up may have room for a byte


class Directory:
    """The directory at a path, which is opened once: what is mounted there later is another one.

    `on_leftover` is told of unfinished files that could not be removed. Raises: OSError.
    """

    def __init__(self, path: Path, on_leftover: Callable[[PurePosixPath], None]) -> None:
        self.path = path
        if path.is_symlink():
            raise OSError(errno.ELOOP, "a symbolic link stands there, which is not followed; look who put it there")
        self.tree = Tree(Descriptor(os.open(path, OPEN_DIRECTORY)), on_leftover)
        self._held_by: Descriptor | None = None

    def is_current(self) -> bool:
        """Whether the path still leads to this directory."""
        here, opened = self.path.lstat(), os.fstat(self.tree.root.number)
        return (opened.st_dev, opened.st_ino) == (here.st_dev, here.st_ino)

    def room(self) -> Room:
        """What its file system tells; some that lie elsewhere tell no size at all."""
        told = os.fstatvfs(self.tree.root.number)
        return Room(
            free_bytes=told.f_bavail * told.f_frsize if told.f_blocks else None,
            total_bytes=told.f_blocks * told.f_frsize or None,
            is_read_only=bool(told.f_flag & os.ST_RDONLY),
            has_inodes=not told.f_files or told.f_favail > 0,
        )

    def hold(self, path: PurePosixPath) -> None:
        """Hold it by a kernel lock on this file, which ends with the process; NFS from version 4 on has them too."""
        self._held_by, _ = self.tree.open_file(path)
        with suppress(OSError):
            fcntl.flock(self._held_by.number, fcntl.LOCK_SH | fcntl.LOCK_NB)

    def is_held(self, path: PurePosixPath) -> bool:
        """Whether a process holds it by this file."""
        directory = self.tree.open_directory(path.parent)
        # NFS wants a file that is open for writing.
        opened = Descriptor(os.open(path.name, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory.number))
        with suppress(OSError):
            try:
                fcntl.flock(opened.number, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except (BlockingIOError, PermissionError):  # on SMB it is EACCES. Source: flock(2)
                return True
        return False

    def check_writable(self, day: date) -> None:
        """Write a file that goes again as objects are written, as near as there are directories to where those of a day
        go: rights and quotas may be others there than at the root. A quota may be told only when a file is closed, and
        what cannot be flushed only when it has its name.
        """
        path = day_directory(day)
        nearest = next(one for one in (path, *path.parents) if self._is_directory(one))
        with self._trial_in(nearest):
            pass

    @contextmanager
    def _trial_in(self, directory: PurePosixPath) -> Iterator[str]:
        name = temporary_name()
        with NewFile(self.tree, directory) as file:
            file.write((_TRIAL,))
            try:
                file.finish(name)  # where the directory cannot be flushed, it fails after it has the name
                yield name
            finally:
                try:
                    self.tree.remove(directory / name)
                except OSError:
                    self.tree.on_leftover(directory / name)

    def clock_ahead(self) -> timedelta:
        """How far the clock that dates its files is ahead of ours, by a file that is written now; none where nothing
        can be written.
        """
        with suppress(OSError), self._trial_in(PurePosixPath()) as name:
            now = datetime.now(UTC)
            listed = chain.from_iterable(self.entries(PurePosixPath()))
            dated = next((entry.modified for entry in listed if entry.name == name), now)
            return dated - now if abs(dated - now) >= _CLOCKS_DIFFER else timedelta()
        return timedelta()

    def advice(self) -> list[Advice]:
        """What is dangerous about how it is mounted, and whether its clock is another one."""
        mount = mount_of(self.path, mount_table())
        found = list(advice(mount)) if mount else []
        if ahead_s := self.clock_ahead().total_seconds():
            found.append(Advice(problem=f"its clock is {ahead_s:+.0f} s from ours", remedy="set both by NTP"))
        return found

    def has_objects(self) -> bool:
        """Whether there is the directory in which they lie."""
        return self._is_directory(ROOT)

    def _is_directory(self, path: PurePosixPath) -> bool:
        with suppress(FileNotFoundError, NotADirectoryError):
            self.tree.open_directory(path)
            return True
        return False

    def entries(self, directory: PurePosixPath) -> Iterator[list[Entry]]:
        """What is in a directory, some of it at each step; one that does not exist has nothing in it, and one that is
        removed meanwhile nothing more.
        """
        try:
            opened = self.tree.open_directory(directory)
            with os.scandir(opened.number) as names:
                found = (entry for name in names if (entry := _entry(name)) is not None)
                while portion := list(islice(found, _PORTION)):
                    yield portion
        except OSError as error:
            if not self.tree.is_removed(directory, error):
                raise

    def size_of(self, path: PurePosixPath) -> int | None:
        """The size of a regular file in bytes, None when there is none."""
        seen = self._seen(path)
        return None if seen is None else seen.st_size

    def stamp_of(self, path: PurePosixPath) -> tuple[int, int] | None:
        """When it was written, and its size. Not its inode: FUSE may give one file another number at each look."""
        seen = self._seen(path)
        return None if seen is None else (seen.st_mtime_ns, seen.st_size)

    def _seen(self, path: PurePosixPath) -> os.stat_result | None:
        try:
            seen = self.tree.seen(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        return seen if stat.S_ISREG(seen.st_mode) else None

    def open_file(self, path: PurePosixPath, *, at_once_bytes: int, from_disk: bool = False) -> FileOnDisk:
        """Open a file, and read it when it is not longer than `at_once_bytes`; once more where another node puts one in
        its place at that moment, of which NFS tells ESTALE.
        """
        try:
            return self._opened(path, at_once_bytes, from_disk=from_disk)
        except OSError as error:
            if error.errno != errno.ESTALE:
                raise
        return self._opened(path, at_once_bytes, from_disk=from_disk)

    def _opened(self, path: PurePosixPath, at_once_bytes: int, *, from_disk: bool) -> FileOnDisk:
        file, size_bytes = self.tree.open_file(path)
        if from_disk:
            os.posix_fadvise(file.number, 0, 0, os.POSIX_FADV_DONTNEED)
        return FileOnDisk(file, size_bytes, is_whole=size_bytes <= at_once_bytes)

    def new_file(self, directory: PurePosixPath) -> NewFile:
        """Begin a file in the directory that it will stay in."""
        return NewFile(self.tree, directory)

    def put_first(self, path: PurePosixPath, content: bytes) -> None:
        """Write a small file unless there is one already."""
        if self.size_of(path) is None:
            with NewFile(self.tree, path.parent) as file:
                file.write((content,))
                file.finish_first(path.name)

    def move(self, path: PurePosixPath, target: PurePosixPath, one_call: OneCall) -> None:
        """Rename a file, flushed in both directories, if it is there."""
        one_call(partial(self.tree.move, path, target))

    def remove(self, path: PurePosixPath) -> None:
        """Remove a file, flushed, if it is there."""
        self.tree.remove(path)

    def remove_empty(self, path: PurePosixPath, *, below: PurePosixPath) -> None:
        """Remove a directory and those above it, as far as they are empty; `below` stays."""
        self.tree.remove_empty(path, below=below)

    def litter(self, now: datetime, one_call: OneCall) -> Iterator[PurePosixPath]:
        """Files with names of unfinished ones that nobody has written to for an hour."""
        return litter(lambda directory: all_of(self.entries(directory), one_call), now)

    def remove_litter(self, path: PurePosixPath) -> None:
        """Remove an unfinished file, whose name no finished one ever has."""
        self.tree.remove(path)


class FileOnDisk:
    """A file that is open for reading; it is closed when the last user drops it."""

    __slots__ = ("_file", "size_bytes", "whole")

    def __init__(self, file: Descriptor, size_bytes: int, *, is_whole: bool) -> None:
        self._file = file
        self.size_bytes = size_bytes
        self.whole = read_fully(file.number, 0, size_bytes) if is_whole else None

    @property
    def is_open_to_all(self) -> bool:
        """Whether every user of this machine may write it."""
        return bool(os.fstat(self._file.number).st_mode & stat.S_IWOTH)

    def read(self, offset: int, length: int) -> bytes:
        """Exactly `length` bytes at `offset`."""
        return read_fully(self._file.number, offset, length)


def _entry(found: os.DirEntry[str]) -> Entry | None:
    try:
        seen = found.stat(follow_symlinks=False)
    except FileNotFoundError:
        return None  # it was removed, or got its final name, a moment ago
    return Entry(
        name=found.name,
        is_directory=stat.S_ISDIR(seen.st_mode),
        is_file=stat.S_ISREG(seen.st_mode),
        size_bytes=seen.st_size,
        modified=datetime.fromtimestamp(seen.st_mtime, UTC),
    )
