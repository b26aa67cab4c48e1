"""Copies while they are written: each on one volume, in its threads, replaced or dropped when that volume fails."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath
from typing import Final

from pacs_server import log
from pacs_server.dicom.elements import Buffer
from pacs_server.errors import NotEnoughCopies, VolumeUnavailable
from pacs_server.storage.atomic import NewFile
from pacs_server.storage.threads import Attempt, Task
from pacs_server.storage.volume import Volume

_PIECE_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyPlace:
    """Where a copy was written."""

    volume_id: str
    path: str


def too_few(written: int, floor: int, problems: Sequence[str]) -> str:
    """Why an object is refused, for the log and the sender."""
    why = "; ".join(problems) or "there are no more volumes; pacs storage add adds one"
    return f"{written} of at least {floor} copies could be written: {why}"


def succeeds(step: Callable[[], None], problems: list[str]) -> bool:
    """Whether a step on a volume did it; why not is added to the problems."""
    try:
        step()
    except VolumeUnavailable as error:
        problems.append(str(error))
        return False
    return True


class CopyInProgress:
    """One copy on its way to one volume: at most one piece of work is under way at a time.

    The unfinished file belongs to whoever works on it. It is discarded in a thread of the volume, after the work that
    may hang: were it closed meanwhile, that work would go on in whatever file gets its descriptor next.
    """

    def __init__(self, volume: Volume) -> None:
        self.volume = volume
        self._file: NewFile | None = None
        self._task: Task[None] | None = None

    def start_whole(self, path: PurePosixPath, chunks: Sequence[Buffer]) -> None:
        """Write the file from beginning to end."""
        tree = self.volume.tree()

        def work(attempt: Attempt) -> None:
            with NewFile(tree, path.parent) as file:
                file.write(chunks)
                _unless_abandoned(attempt)
                file.finish(path.name)

        self._task = self.volume.start(work)

    def start_open(self, directory: PurePosixPath) -> None:
        """Make the unfinished file."""
        tree = self.volume.tree()

        def work(_: Attempt) -> None:
            self._file = NewFile(tree, directory)

        self._start(work)

    def start_write(self, chunks: Sequence[Buffer]) -> None:
        """Append to the unfinished file."""

        def work(_: Attempt) -> None:
            if self._file is not None:
                self._file.write(chunks)
                self._file.write_back()

        self._start(work)

    def start_finish(self, name: str) -> None:
        """Give the file its final name, flushed."""

        def work(attempt: Attempt) -> None:
            _unless_abandoned(attempt)
            if self._file is not None:
                self._file.finish(name)

        self._start(work)

    def _start(self, work: Callable[[Attempt], None]) -> None:
        self._task = self.volume.start(work, on_abandoned=self._discard_now)

    def settle(self) -> None:
        """Wait for what is under way. After a failure the copy is given up.

        Raises: VolumeUnavailable.
        """
        task, self._task = self._task, None
        if task is None:
            return
        try:
            self.volume.wait(task)
        except VolumeUnavailable:
            if not task.cancelled:
                self.discard()
            raise

    def discard(self) -> None:
        """Leave nothing behind, as far as the volume lets us; does not wait for it."""
        self.volume.later(self._discard_now)

    def _discard_now(self) -> None:
        if self._file is not None:
            self._file.discard()


def _unless_abandoned(attempt: Attempt) -> None:
    if attempt.cancelled:
        raise VolumeUnavailable("the attempt was abandoned")


class ObjectStream:
    """A large object on its way to its volumes. Belongs to one thread; ends in `finish` or `abandon`.

    Pieces of 1 MiB: one is filled while another is written on all volumes. A volume that fails is dropped; it is not
    replaced, because what it had would have to be read back from another.
    """

    def __init__(self, directory: PurePosixPath, copies: list[CopyInProgress], degraded: int) -> None:
        self._directory = directory
        self._copies = copies
        self._degraded = degraded
        self._piece: list[bytes] = []
        self._piece_bytes = 0
        self._problems: list[str] = []

    def write(self, chunk: Buffer) -> None:
        """Append a chunk; the caller may use its buffer again.

        Raises: NotEnoughCopies when too few volumes are left.
        """
        self._piece.append(bytes(chunk))
        self._piece_bytes += len(chunk)
        if self._piece_bytes >= _PIECE_BYTES:
            self._send_piece()

    def _send_piece(self) -> None:
        piece, self._piece, self._piece_bytes = self._piece, [], 0
        self._each(lambda copy: copy.start_write(piece))

    def _each(self, next_step: Callable[[CopyInProgress], None]) -> None:
        """Wait for what each copy has under way, drop those that failed, and give the rest their next work."""
        settled = [copy for copy in self._copies if succeeds(copy.settle, self._problems)]
        self._copies = []
        for copy in settled:
            if succeeds(partial(next_step, copy), self._problems):
                self._copies.append(copy)
            else:
                copy.discard()
        if len(self._copies) < self._degraded:
            raise NotEnoughCopies(too_few(len(self._copies), self._degraded, self._problems))

    def finish(self, path: PurePosixPath) -> tuple[CopyPlace, ...]:
        """Flush every copy and give it the name of `path`, in the directory in which it was begun.

        Raises: NotEnoughCopies.
        """
        try:
            self._send_piece()
            self._each(lambda copy: copy.start_finish(path.name))
            self._each(lambda _: None)
        except NotEnoughCopies:
            self.abandon()
            raise
        copies, self._copies = self._copies, []
        if self._problems:
            log.warning("fewer copies than begun", copies=len(copies), why="; ".join(self._problems))
        place = str(self._directory / path.name)
        return tuple(CopyPlace(volume_id=copy.volume.spec.id, path=place) for copy in copies)

    def abandon(self) -> None:
        """Leave nothing behind, as far as the volumes let us. Does nothing after `finish`."""
        copies, self._copies = self._copies, []
        for copy in copies:
            if succeeds(copy.settle, self._problems):
                copy.discard()
