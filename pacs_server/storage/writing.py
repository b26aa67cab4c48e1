"""Copies while they are written, each on one volume, in its threads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final, TypeVar

from pacs_server import metrics
from pacs_server.dicom.elements import Buffer
from pacs_server.errors import VolumeSilent, VolumeUnavailable
from pacs_server.storage.medium import UnfinishedFile
from pacs_server.storage.threads import Attempt, Task
from pacs_server.storage.volume import Volume

Answer = TypeVar("Answer")

_REPLACEMENT_S: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyPlace:
    """Where a copy was written."""

    volume_id: str
    path: str


def too_few(written: int, floor: int, problems: Sequence[str]) -> str:
    """Why an object is refused, for the log and the sender."""
    why = "; ".join(problems) or "there are no more volumes; pacs storage add adds one"
    return f"{written} of at least {floor} copies could be written: {why}"


def patience_s(copies: Iterable[CopyInProgress]) -> float:
    """How long a sender is kept waiting by a volume that hangs and by its replacement together."""
    return max((copy.volume.timeout_s for copy in copies), default=0.0) + _REPLACEMENT_S


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
        self.is_finished = False
        self._directory = PurePosixPath()
        self._file: UnfinishedFile | None = None
        self._task: Task[None] | None = None

    def start_whole(self, path: PurePosixPath, chunks: Sequence[Buffer]) -> None:
        """Write the file from beginning to end."""
        self._directory = path.parent
        medium = self.volume.medium()

        def work(attempt: Attempt) -> None:
            with medium.new_file(path.parent) as file:
                file.write(chunks)
                _unless_abandoned(attempt)
                while not file.finish(path.name):
                    _unless_abandoned(attempt)

        self._task = self.volume.start(work)

    def start_open(self, directory: PurePosixPath) -> None:
        """Make the unfinished file."""
        self._directory = directory
        medium = self.volume.medium()

        def work(_: Attempt) -> None:
            self._file = medium.new_file(directory)

        self._start(work)

    def start_write(self, chunks: Sequence[Buffer]) -> None:
        """Append to the unfinished file."""

        def work(_: Attempt) -> None:
            if self._file is not None:
                self._file.write(chunks)
                self._file.write_back()

        self._start(work)

    def start_finish(self, name: str) -> None:
        """Give the file its final name, flushed; to be called again until it `is_finished`."""

        def work(_: Attempt) -> None:
            if self._file is not None:
                self.is_finished = self._file.finish(name)

        self._start(work)

    def _start(self, work: Callable[[Attempt], None]) -> None:
        self._task = self.volume.start(work, on_abandoned=self._discard_now)

    def settle(self, at_most_s: float = float("inf"), *, is_replaceable: bool = False) -> None:
        """Wait for what is under way, until its deadline or for `at_most_s`; where another volume can take the place of
        this one, until it counts as hanging. After a failure the copy is given up.

        Raises: VolumeUnavailable.
        """
        task, self._task = self._task, None
        if task is not None:
            self._wait(task, at_most_s, self.volume.silence_s if is_replaceable else float("inf"))

    @property
    def can_be_read(self) -> bool:
        """Whether what was written can be read back now, while nothing is under way."""
        return self._file is not None and self._file.can_be_read

    def read(self, offset: int, length: int) -> bytes:
        """`length` bytes of what was written, at `offset`, while nothing is under way; also after it was finished.

        Raises: VolumeUnavailable; the copy is given up then, unless it was finished.
        """

        def work(_: Attempt) -> bytes:
            if self._file is None:
                raise VolumeUnavailable(f"volume {self.volume.spec.name} has no part of the object")
            return self._file.read(offset, length)

        return self._wait(self.volume.start(work, on_abandoned=self._discard_now))

    def _wait(self, task: Task[Answer], at_most_s: float = float("inf"), silence_s: float = float("inf")) -> Answer:
        try:
            return self.volume.wait(task, at_most_s, silence_s=silence_s)
        except VolumeUnavailable as error:
            self.volume.doubt()
            metrics.add(metrics.UNWRITTEN, self.volume.spec.name)
            if not task.cancelled:
                self.discard()
            if isinstance(error, VolumeSilent):
                raise
            raise type(error)(f"{error} ({self._directory})") from error  # it may be this folder alone

    def abandon(self) -> None:
        """Leave nothing behind, whatever is under way: nobody wants the object any more, which is no failure of the
        volume.
        """
        if self._task is not None and self.volume.give_up(self._task):
            self._task = None
            self.volume.doubt()  # it may hang, and the sender have waited no longer
        elif succeeds(self.settle, []):
            self.discard()

    def discard(self) -> None:
        """Leave nothing behind, as far as the volume lets us; does not wait for it."""
        self.volume.later(self._discard_now)

    def _discard_now(self) -> None:
        if self._file is not None:
            self._file.discard()


def _unless_abandoned(attempt: Attempt) -> None:
    if attempt.cancelled:
        raise VolumeUnavailable("the attempt was abandoned")
