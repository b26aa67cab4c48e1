"""Writes one file so that it is there completely and durably, or not at all.

Temporary name in the target directory, write, count, flush, rename, flush the directory.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from pathlib import PurePosixPath
from types import TracebackType
from typing import Final, Self

from pacs_server.dicom.elements import Buffer
from pacs_server.errors import VolumeFull, VolumeSilent, VolumeUnavailable
from pacs_server.ownership import give_to_owner
from pacs_server.storage.descriptors import Descriptor
from pacs_server.storage.layout import temporary_name
from pacs_server.storage.tree import OPEN_FILE, Tree

# Readable too: what a copy that is begun late has missed is read back from here.
_NEW_FILE: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
# What is wrong then is the way to the file, or this process: an SMB mount that connects again answers so for a moment.
_SILENT: Final = frozenset(
    {errno.EAGAIN, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENETDOWN, errno.ENETUNREACH}
    | {errno.ECONNREFUSED, errno.ECONNRESET, errno.ECONNABORTED, errno.ENOTCONN, errno.EMFILE, errno.ENFILE}
    | {errno.ENOMEM, errno.ESTALE}
)
# EPERM also from a kernel that gives no second name to a file of somebody else, as on a NAS that takes all for nobody.
_ONE_NAME_ONLY: Final = frozenset({errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.EMLINK})
_IOV_MAX: Final = 1024
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


class NewFile:
    """One file on its way to its final name; as a context it is discarded unless it was finished.

    Belongs to one thread at a time. Raises `OSError` as it comes; `Translated` is around it. A failed step is final: a
    second flush of a descriptor proves nothing, because the kernel tells of a lost page once.
    """

    def __init__(self, tree: Tree, directory: PurePosixPath) -> None:
        self._tree = tree
        self._path = directory
        self._name = temporary_name()
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
        finished = Descriptor(os.open(self._final_name, OPEN_FILE, dir_fd=self._directory.number))
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

    def finish_first(self, name: str) -> None:
        """Like `finish`, unless something has that name already: then it stays, and this file is discarded.

        A second name is given, which only one of several nodes can do at one instant. Where files have one name only,
        as on FAT, a file that came a moment ago is replaced.
        """
        self.flush()
        directory = self._directory.number
        try:
            os.link(self._name, name, src_dir_fd=directory, dst_dir_fd=directory, follow_symlinks=False)
        except FileExistsError:
            return
        except OSError as error:
            if error.errno not in _ONE_NAME_ONLY:
                raise
            self.finish(name)
            return
        self._tree.flush(self._directory)

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
        give_to_owner(made, directory.number)
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
