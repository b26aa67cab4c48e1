"""Writes one file so that it is there completely and durably, or not at all.

Temporary name in the target directory, write, count, flush, rename, flush the directory. Everything goes through
descriptors below the volume's root, so that a root that becomes another mount or a link is never followed.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Final, Self, TypeVar

from pacs_server.dicom.elements import Buffer
from pacs_server.errors import VolumeFull, VolumeSilent, VolumeUnavailable
from pacs_server.storage.descriptors import REMOVED, Descriptor, OpenDirectories
from pacs_server.storage.layout import TEMPORARY_SUFFIX

Answer = TypeVar("Answer")

OPEN_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NONBLOCK: opening a planted FIFO must not wait for its writer.
_OPEN_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
# Readable too: a copy that is begun late takes from it what it missed.
_NEW_FILE: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
# What is wrong then is the way to the file, or this process: an SMB mount that connects again answers so for a moment.
_SILENT: Final = frozenset(
    {errno.EAGAIN, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENETDOWN, errno.ENETUNREACH}
    | {errno.ECONNREFUSED, errno.ECONNRESET, errno.ECONNABORTED, errno.ENOTCONN, errno.EMFILE, errno.ENFILE}
    | {errno.ENOMEM}
)
_IOV_MAX: Final = 1024
_KEPT_TO_WRITE: Final = 128
_KEPT_TO_READ: Final = 16
_TRUSTED_S: Final = 0.1  # what is read is compared with a digest, wherever it was found
_ENTERING_TRIES: Final = 10
_NOT_EMPTY: Final = frozenset({errno.ENOTEMPTY, errno.EEXIST})
# These cannot flush a directory and answer EINVAL; their servers make a name durable when they create it.
_WITHOUT_DIRECTORY_FLUSH: Final = ("cifs", "smb", "fuse")
_WRITEBACK_BYTES: Final = 8 << 20
_FLUSH_BYTES: Final = 64 << 20


class Translated:
    """Turns an operating system error of a `with` block about `what` into ours."""

    __slots__ = ("_what",)

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        """Nothing to do."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Raises: VolumeFull; VolumeSilent when the error says nothing of what was asked; VolumeUnavailable for every
        other OSError.
        """
        if isinstance(error, OSError):
            silent_or_not = VolumeSilent if error.errno in _SILENT else VolumeUnavailable
            ours = VolumeFull if error.errno in NO_ROOM else silent_or_not
            raise ours(f"{self._what}: {error.strerror or error}") from error


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
        for is_last in (*[False] * (_ENTERING_TRIES - 1), True):
            try:
                directory = self.durable_directory(path)
                return directory, work(directory)
            except OSError as error:
                if error.errno not in REMOVED or is_last:
                    raise
                self._durable.clear()
        raise OSError(errno.ENOENT, f"{path} is removed again and again")

    def move(self, path: PurePosixPath, target: PurePosixPath) -> None:
        """Give a file another place, flushed in both directories, if it is there."""
        try:
            source = self.open_directory(path.parent)
            os.stat(path.name, dir_fd=source.number, follow_symlinks=False)
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
        with suppress(FileNotFoundError, NotADirectoryError):
            directory = self.open_directory(path.parent)
            os.unlink(path.name, dir_fd=directory.number)
            self.flush(directory)

    def remove_empty(self, path: PurePosixPath, *, below: PurePosixPath) -> None:
        """Remove a directory and those above it, as far as they are empty; `below` stays."""
        while path != below:
            try:
                parent = self.open_directory(path.parent)
                os.rmdir(path.name, dir_fd=parent.number)
                self.flush(parent)
            except OSError as error:
                if error.errno in _NOT_EMPTY:
                    return
                if error.errno not in REMOVED:
                    raise
            path = path.parent

    def flush(self, directory: Descriptor) -> None:
        """Make the names in a directory durable."""
        try:
            os.fsync(directory.number)
        except OSError as error:
            if not self._lax or error.errno != errno.EINVAL:
                raise

    def open_directory(self, path: PurePosixPath) -> Descriptor:
        """A directory that exists. No link on the way is followed."""
        opened = self.root
        for name in path.parts:
            opened = Descriptor(os.open(name, OPEN_DIRECTORY, dir_fd=opened.number))
        return opened

    def open_file(self, path: PurePosixPath) -> tuple[Descriptor, int]:
        """A regular file that exists, for reading, and its size in bytes. No link on the way is followed."""
        opened = self._open_beside_others(path)
        if opened is None:
            directory = self.open_directory(path.parent)
            opened = Descriptor(os.open(path.name, _OPEN_FILE, dir_fd=directory.number))
            self._found.keep(path.parent, directory)
        seen = os.fstat(opened.number)
        if not stat.S_ISREG(seen.st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        return opened, seen.st_size

    def _open_beside_others(self, path: PurePosixPath) -> Descriptor | None:
        """A file in a directory from which one was opened before; None when there is none, or the file is not in it."""
        directory = self._found.get(path.parent)
        if directory is None:
            return None
        try:
            return Descriptor(os.open(path.name, _OPEN_FILE, dir_fd=directory.number))
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
    _give_to_owner(opened.number, parent.number)
    return opened


def _give_to_owner(made: int, directory: int) -> None:
    """Let what root makes belong to whom the directory belongs: a server that is another user, beside which root runs
    `pacs`, has to read it and to write into it.
    """
    if os.geteuid() != 0:
        return
    owner = os.fstat(directory)
    if (owner.st_uid, owner.st_gid) != (0, 0):
        with suppress(OSError):  # on NFS root may be nobody
            os.fchown(made, owner.st_uid, owner.st_gid)


class NewFile:
    """One file on its way to its final name; as a context it is discarded unless it was finished.

    Belongs to one thread at a time. Raises `OSError` as it comes; `Translated` is around it. A failed step is final: a
    second flush of a descriptor proves nothing, because the kernel tells of a lost page once.
    """

    def __init__(self, tree: Tree, directory: PurePosixPath) -> None:
        self._tree = tree
        self._path = directory
        self._name = f".{secrets.token_hex(8)}{TEMPORARY_SUFFIX}"
        self._file: int | None
        self._directory, self._file = tree.within(directory, self._made_in)
        self._final_name = ""
        self._discarded = False
        self._size_bytes = 0
        self._written_back = 0
        self._flushed = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.discard()

    @property
    def can_be_read(self) -> bool:
        """Always: what was written lies in the file."""
        return True

    def write(self, chunks: Sequence[Buffer]) -> None:
        """Append the chunks, all of them."""
        for start in range(0, len(chunks), _IOV_MAX):
            self._size_bytes += _write_fully(self._descriptor(), list(chunks[start : start + _IOV_MAX]))

    def flush(self) -> None:
        """Make what was written so far durable."""
        os.fdatasync(self._descriptor())
        self._flushed = self._size_bytes

    def read(self, offset: int, length: int) -> bytes:
        """`length` bytes of what was written, at `offset`; also after it was finished."""
        if not self._final_name:
            return read_fully(self._descriptor(), offset, length)
        finished = Descriptor(os.open(self._final_name, _OPEN_FILE, dir_fd=self._directory.number))
        return read_fully(finished.number, offset, length)

    def write_back(self) -> None:
        """Keep what is not yet on the disk small, for a file that grows large; to be called now and then.

        DONTNEED starts the writing of 8 MiB and drops what is written from the page cache; the flush of 64 MiB makes
        a slow disk slow down the sender. On a local SSD 1 GiB so took 3.4 GB/s and 9 ms for the last flush, without
        it 2.5 GB/s and 240 ms; a NAS would need longer than its deadline for a last flush of 5 GB.
        """
        descriptor, size = self._descriptor(), self._size_bytes
        if size - self._written_back >= _WRITEBACK_BYTES:
            os.posix_fadvise(descriptor, self._written_back, size - self._written_back, os.POSIX_FADV_DONTNEED)
            self._written_back = size
        if size - self._flushed >= _FLUSH_BYTES:
            self.flush()

    def finish(self, name: str) -> bool:
        """Flush, close, give the file its final name, and flush the directory, all at once.

        A regular file of that name is replaced: the name holds the digest, so it is the same object, or a damaged copy
        of it. Anything else of that name was planted and is refused.
        """
        descriptor, directory = self._descriptor(), self._directory.number
        _refuse_planted(name, directory)
        self._file = None
        try:
            # Flushes the size too. fsync took as long: 370-435/s against 350-394/s, at 20 KB 765-1088/s and 781-1153/s.
            os.fdatasync(descriptor)
            inode = os.fstat(descriptor).st_ino
        finally:
            os.close(descriptor)
        try:
            os.rename(self._name, name, src_dir_fd=directory, dst_dir_fd=directory)
        except FileNotFoundError:
            # An NFS server whose answer was lost is asked again, and has already renamed it.
            if os.stat(name, dir_fd=directory, follow_symlinks=False).st_ino != inode:
                raise
        self._final_name = name
        self._tree.flush(self._directory)
        return True

    def discard(self) -> None:
        """Remove an unfinished file, and directories that were made for it alone; a finished one stays. One that cannot
        be removed now is left over for later.
        """
        if self._file is not None:
            with suppress(OSError):
                os.close(self._file)
            self._file = None
        if self._final_name or self._discarded:
            return
        self._discarded = True
        try:
            os.unlink(self._name, dir_fd=self._directory.number)
            self._tree.remove_empty(self._path, below=PurePosixPath(*self._path.parts[:1]))
        except FileNotFoundError:
            pass
        except OSError:
            self._tree.on_leftover(self._path / self._name)

    def _made_in(self, directory: Descriptor) -> int:
        made = os.open(self._name, _NEW_FILE, 0o640, dir_fd=directory.number)
        _give_to_owner(made, directory.number)
        return made

    def _descriptor(self) -> int:
        if self._file is None:
            raise OSError(errno.EBADF, "the file is finished")
        return self._file


def read_fully(descriptor: int, offset: int, length: int) -> bytes:
    """Exactly `length` bytes at `offset`. Raises: OSError, also when the file ends before."""
    pieces = []
    while length:
        piece = os.pread(descriptor, length, offset)
        if not piece:
            raise OSError(errno.EIO, "the file is shorter than it was")
        pieces.append(piece)
        offset += len(piece)
        length -= len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _write_fully(descriptor: int, chunks: list[Buffer]) -> int:
    size_bytes = remaining = sum(len(chunk) for chunk in chunks)
    while remaining:
        written = os.writev(descriptor, chunks)
        remaining -= written
        if not written:
            raise OSError(errno.EIO, "nothing could be written")
        while remaining and written >= len(chunks[0]):
            written -= len(chunks.pop(0))
        if remaining and written:
            chunks[0] = memoryview(chunks[0])[written:]
    return size_bytes


def _refuse_planted(name: str, directory: int) -> None:
    with suppress(FileNotFoundError):
        if not stat.S_ISREG(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
            raise OSError(errno.EEXIST, f"{name} is there and is no regular file; look who put it there")
