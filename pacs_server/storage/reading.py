"""One copy opened for reading. A small file is read whole under its volume's deadline, a large one in pieces."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import PurePosixPath
from types import TracebackType
from typing import Final, Self, TypeVar

from pacs_server.errors import CopyUnknown, CopyUnreadable, VolumeSilent, VolumeUnavailable
from pacs_server.storage.atomic import Translated
from pacs_server.storage.medium import OpenFile
from pacs_server.storage.threads import Attempt, Work
from pacs_server.storage.volume import Volume

Answer = TypeVar("Answer")

WHOLE_BYTES: Final = 4 << 20
# How long a volume is waited for that is not the only one: a viewer gives up after half a minute or a whole one.
PATIENCE_S: Final = 5.0
_PIECE_BYTES: Final = 1 << 20
_FIRST_PIECE_BYTES: Final = 64 << 10  # most heads end in it


class OpenCopy:
    """A copy that can be read, until its context ends."""

    def __init__(
        self,
        volume: Volume,
        path: PurePosixPath,
        *,
        at_once_bytes: int = WHOLE_BYTES,
        from_disk: bool = False,
        patience_s: float = float("inf"),
    ) -> None:
        """Open a file of a volume and read it, when it is not longer than `at_once_bytes`. `from_disk`: not from what
        the kernel still remembers of it. `patience_s`: how long each call may take, if that is less than the volume's
        deadline.

        Raises: VolumeUnavailable when that fails.
        """
        self.volume_id = volume.spec.id
        self.path = str(path)
        self._volume = volume
        self._medium = volume.medium()
        self._what = f"{path} on volume {volume.spec.name}"
        self._file: OpenFile | None = None
        self._from_disk = from_disk
        self._patience_s = patience_s
        self._another: Callable[[], OpenCopy] | None = None
        self.size_bytes, self._whole = self._run(partial(self._open, path, at_once_bytes))

    def _run(self, work: Work[Answer]) -> Answer:
        return self._volume.wait(self._volume.start(work), self._patience_s)

    def _open(self, path: PurePosixPath, at_once_bytes: int, attempt: Attempt) -> tuple[int, bytes | None]:
        with Translated(self._what):
            file = self._medium.open_file(path, at_once_bytes=at_once_bytes, from_disk=self._from_disk)
        if file.whole is None and not attempt.cancelled:
            self._file = file
        return file.size_bytes, file.whole

    @property
    def buffer(self) -> memoryview:
        """The whole of a file that was read at once; it stays usable after the context ends. Of a larger one there are
        `pieces`.

        Raises: CopyUnreadable when it is larger.
        """
        if self._whole is None:
            raise CopyUnreadable(f"{self._what} is too large to be read at once: {self.size_bytes} bytes")
        return memoryview(self._whole)

    def go_on_with(self, another: Callable[[], OpenCopy]) -> None:
        """Have the rest read from another copy of the same bytes when reading this one fails."""
        self._another = another

    def pieces(self, start: int = 0) -> Iterator[memoryview]:
        """The bytes from `start` to the end of the file in pieces, each read under the volume's deadline.

        Raises: CopyUnreadable, also when another copy that was to go on cannot be read either.
        """
        if self._whole is not None:
            yield memoryview(self._whole)[start:]
            return
        offset, wanted = start, _FIRST_PIECE_BYTES
        while offset < self.size_bytes:
            length = min(wanted, self.size_bytes - offset)
            try:
                piece = self._run(partial(self._read_piece, self._opened(), offset, length))
            except VolumeUnavailable as error:
                if self._another is None:
                    kind = CopyUnknown if isinstance(error, VolumeSilent) else CopyUnreadable
                    raise kind(f"{self._what}: {error}") from error
                with self._another() as other:
                    yield from other.pieces(offset)
                return
            yield memoryview(piece)
            offset, wanted = offset + length, _PIECE_BYTES

    def _read_piece(self, file: OpenFile, offset: int, length: int, _: Attempt) -> bytes:
        with Translated(self._what):
            return file.read(offset, length)

    def _opened(self) -> OpenFile:
        if self._file is None:
            raise CopyUnreadable(f"{self._what} is closed")
        return self._file

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the reading, without waiting for the volume."""
        if self._file is not None:
            self._volume.later(partial(_drop, [self._file]))
            self._file = None


def looked_twice(volume: Volume, look: Callable[[], Answer]) -> Answer:
    """What a look at a copy answers; that of a second one where it fails although the volume answers. A mount that is
    about to connect to its NAS again tells an error of whatever is asked then: an SMB server that was restarted knows
    no session, which is EIO.

    Raises: as `look`.
    """
    try:
        return look()
    except (VolumeUnavailable, CopyUnreadable) as error:
        if isinstance(error, VolumeSilent | CopyUnknown) or not volume.check().is_readable:
            raise
    return look()


def _drop(last_reference: list[OpenFile]) -> None:
    """Close a file in a thread of its volume: on some network file systems that waits for the server."""
    last_reference.clear()
