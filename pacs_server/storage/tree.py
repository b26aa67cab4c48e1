"""The directories below a volume's root: found, made and flushed.

Everything goes through descriptors below that root, so that a root that becomes another mount or a link is never
followed.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Final, TypeVar

from pacs_server.ownership import give_to_owner
from pacs_server.storage.descriptors import REMOVED, Descriptor, OpenDirectories

Answer = TypeVar("Answer")

OPEN_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NONBLOCK: opening a planted FIFO must not wait for its writer.
OPEN_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_KEPT_TO_WRITE: Final = 128
_KEPT_TO_READ: Final = 16
_TRUSTED_S: Final = 0.1  # what is read is compared with a digest, wherever it was found
_ENTERING_TRIES: Final = 10
# Why a directory stays, which harms nobody: it is not empty, or open elsewhere, or not ours to remove.
_STAYS: Final = frozenset({errno.ENOTEMPTY, errno.EEXIST, errno.EBUSY, errno.EACCES, errno.EPERM})
# These cannot flush a directory and say so; their servers make a name durable when they create it.
_WITHOUT_DIRECTORY_FLUSH: Final = ("cifs", "smb", "fuse")
_CANNOT_FLUSH: Final = frozenset({errno.EINVAL, errno.EOPNOTSUPP, errno.EBADF})


def file_system_type(directory: Descriptor) -> str:
    """The type of the file system as the kernel names it, like "ext4", "nfs4" or "fuse.sshfs"; empty if it does not."""
    with suppress(OSError):
        told = re.search(r"mnt_id:\s*(\d+)", Path(f"/proc/self/fdinfo/{directory.number}").read_text(encoding="ascii"))
        for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            fields, _, rest = line.partition(" - ")
            if told is not None and fields.split(" ", 1)[0] == told[1]:
                return rest.split(" ", 1)[0]
    return ""


class Tree:
    """The directories below one volume root, opened and made durable on demand. May be used from any thread.

    `on_leftover` is told of unfinished files that could not be removed.
    """

    def __init__(self, root: Descriptor, on_leftover: Callable[[PurePosixPath], None] = lambda _: None) -> None:
        self.root = root
        self.on_leftover = on_leftover
        self.file_system = file_system_type(root)
        self._lax = self.file_system.startswith(_WITHOUT_DIRECTORY_FLUSH)
        self._durable = OpenDirectories(root, _KEPT_TO_WRITE)  # whose names are flushed, up to the root
        self._found = OpenDirectories(root, _KEPT_TO_READ, trusted_s=_TRUSTED_S)

    def durable_directory(self, path: PurePosixPath) -> Descriptor:
        """The directory at `path`, made if it is missing; every name on the way to it is flushed.

        All of them are flushed once by this process, also those that were there: another thread or process may have
        made one a moment ago and died before it flushed.
        """
        if not path.parts:
            return self.root
        if (known := self._durable.get(path)) is not None:
            return known
        parent = self.durable_directory(path.parent)
        opened = _enter(parent, path.name)
        self.flush(parent)
        self._durable.keep(path, opened)
        return opened

    def within(self, path: PurePosixPath, work: Callable[[Descriptor], Answer]) -> tuple[Descriptor, Answer]:
        """Make something in the durable directory at `path`: that directory and the answer. Once more, from the
        beginning, when somebody removes it at that moment, because it is empty.
        """

        def make() -> tuple[Descriptor, Answer]:
            directory = self.durable_directory(path)
            return directory, work(directory)

        for _ in range(_ENTERING_TRIES - 1):
            try:
                return make()
            except OSError as error:
                if error.errno not in REMOVED:
                    raise
                self._durable.clear()
        return make()

    def move(self, path: PurePosixPath, target: PurePosixPath) -> None:
        """Give a file another place, flushed in both directories, if it is there."""
        try:
            self.seen(path)
            source = self.open_directory(path.parent)
            directory, _ = self.within(
                target.parent,
                lambda goal: os.rename(path.name, target.name, src_dir_fd=source.number, dst_dir_fd=goal.number),
            )
        except (FileNotFoundError, NotADirectoryError):
            return
        self.flush(directory)
        self.flush(source)

    def remove(self, path: PurePosixPath) -> None:
        """Remove a file, flushed, if it is there."""

        def remove(directory: Descriptor) -> None:
            os.unlink(path.name, dir_fd=directory.number)
            self.flush(directory)

        with suppress(FileNotFoundError, NotADirectoryError):
            self.inside(path.parent, remove)

    def remove_empty(self, path: PurePosixPath, *, below: PurePosixPath) -> None:
        """Remove a directory and those above it, as far as they are empty and can go; `below` stays."""
        while path != below:
            try:
                parent = self.open_directory(path.parent)
                os.rmdir(path.name, dir_fd=parent.number)
                self.flush(parent)
            except OSError as error:
                if error.errno in _STAYS:
                    return
                if error.errno not in REMOVED:
                    raise
            path = path.parent

    def flush(self, directory: Descriptor) -> None:
        """Make the names in a directory durable."""
        try:
            os.fsync(directory.number)
        except OSError as error:
            if not self._lax or error.errno not in _CANNOT_FLUSH:
                raise

    def open_directory(self, path: PurePosixPath) -> Descriptor:
        """A directory that exists. No link on the way is followed."""
        return self.inside(path, lambda opened: opened)

    def inside(self, path: PurePosixPath, work: Callable[[Descriptor], Answer]) -> Answer:
        """Do something in a directory that exists. Once more, from the root on, when another node removes it, or one on
        the way to it, at that moment: NFS tells ESTALE of what is open, and who looks again that there is none.
        """
        for _ in range(_ENTERING_TRIES - 1):
            try:
                return work(self._opened(path))
            except OSError as error:
                if error.errno != errno.ESTALE:
                    raise
        return work(self._opened(path))

    def _opened(self, path: PurePosixPath) -> Descriptor:
        """Each on the way is opened, the root anew: then NFS asks the server whether it changed, and believes no more
        what it knew of the names in it, above all that one is not there that another node has made since.
        """
        opened = self.root
        for name in (".", *path.parts):
            opened = Descriptor(os.open(name, OPEN_DIRECTORY, dir_fd=opened.number))
        return opened

    def is_removed(self, path: PurePosixPath, error: OSError) -> bool:
        """Whether an error that was met in a directory came of its removal; ESTALE may be that of all files of a NAS.

        Raises: OSError.
        """
        if error.errno == errno.ESTALE:
            try:
                self.open_directory(path)
            except FileNotFoundError:
                return True
        return error.errno == errno.ENOENT

    def seen(self, path: PurePosixPath) -> os.stat_result:
        """What is told of a name. No link is followed. Raises: OSError."""
        look = partial(os.stat, path.name, follow_symlinks=False)
        return self.inside(path.parent, lambda directory: look(dir_fd=directory.number))

    def open_file(self, path: PurePosixPath) -> tuple[Descriptor, int]:
        """A regular file that exists, for reading, and its size in bytes. No link on the way is followed."""
        opened = self._open_beside_others(path) or self.inside(path.parent, partial(self._open_in, path))
        seen = os.fstat(opened.number)
        if not stat.S_ISREG(seen.st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        return opened, seen.st_size

    def _open_in(self, path: PurePosixPath, directory: Descriptor) -> Descriptor:
        opened = Descriptor(os.open(path.name, OPEN_FILE, dir_fd=directory.number))
        self._found.keep(path.parent, directory)
        return opened

    def _open_beside_others(self, path: PurePosixPath) -> Descriptor | None:
        """A file in a directory from which one was opened before; None when there is none, or the file is not in it."""
        directory = self._found.get(path.parent)
        if directory is None:
            return None
        try:
            return Descriptor(os.open(path.name, OPEN_FILE, dir_fd=directory.number))
        except OSError as error:
            if error.errno not in REMOVED:
                raise
            return None


def _enter(parent: Descriptor, name: str) -> Descriptor:
    with suppress(FileNotFoundError):
        return Descriptor(os.open(name, OPEN_DIRECTORY, dir_fd=parent.number))
    with suppress(FileExistsError):
        os.mkdir(name, 0o750, dir_fd=parent.number)
    opened = Descriptor(os.open(name, OPEN_DIRECTORY, dir_fd=parent.number))
    give_to_owner(opened.number, parent.number)
    return opened
