"""Reads the objects that are sent next while others are on their way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from itertools import islice
from pathlib import PurePosixPath
from typing import Final

from pacs_server.dicom.elements import Buffer
from pacs_server.dicom.stored import digest_of_file
from pacs_server.errors import Undecodable, VolumeUnavailable
from pacs_server.index.queries.search import Deliverable
from pacs_server.storage.medium import Medium
from pacs_server.storage.placement import Placement
from pacs_server.storage.reading import PATIENCE_S, WHOLE_BYTES
from pacs_server.storage.threads import Attempt, Task
from pacs_server.storage.volume import Volume

_MAX_AHEAD: Final = 16


class ReadAhead:
    """Reads the next of the waiting objects, some small ones at a time, and compares them with their digests while
    others are sent and their receiver thinks.

    One call to a volume reads several: a CT of 527 KB took 0.6 ms to be handed to a thread of its volume, read, handed
    back and compared, before anything of it was sent. Belongs to one thread.
    """

    def __init__(self, placement: Callable[[], Placement], waiting: Sequence[Deliverable]) -> None:
        """`waiting` are the objects behind the one that is asked for, at any moment."""
        self._placement = placement
        self._waiting = waiting
        self._next: list[tuple[Deliverable, Volume, PurePosixPath]] = []
        self._task: Task[list[Buffer | None]] | None = None
        self._read: dict[int, Buffer] = {}

    def take(self, item: Deliverable) -> Buffer | None:
        """The data set of this object, which was compared with its digest; None when it was not read."""
        if id(item) not in self._read:
            self._collect()
        found = self._read.pop(id(item), None)
        if self._task is None:
            self._begin()
        return found

    def close(self) -> None:
        """Read no more."""
        if self._task is not None:
            self._task.cancelled = True

    def _begin(self) -> None:
        """Read what comes behind those that were read already, as long as it lies on one volume. What was read and does
        not wait any more, because it was sent from elsewhere, is let go.
        """
        near = {id(one) for one in islice(self._waiting, len(self._read) + _MAX_AHEAD)}
        self._read = {one: data_set for one, data_set in self._read.items() if one in near}
        placement, left_bytes = self._placement(), WHOLE_BYTES
        self._next = []
        for item in (one for one in self._waiting if id(one) not in self._read):
            best = next(iter(placement.read_order(item.copies)), None)
            volume = placement.volume(best.volume_id) if best is not None else None
            left_bytes -= item.size_bytes
            is_apart = bool(self._next) and volume is not self._next[0][1]
            if best is None or volume is None or left_bytes < 0 or is_apart or len(self._next) == _MAX_AHEAD:
                break
            self._next.append((item, volume, PurePosixPath(best.path)))
        if self._next:
            with suppress(VolumeUnavailable):  # whoever sends it finds out what is wrong with it
                self._task = self._next[0][1].start(partial(_read_small, self._next[0][1].medium(), self._next))

    def _patience_s(self, item: Deliverable, volume: Volume) -> float:
        """How long a volume is waited for that may hang: not at all once that is seen, where another one has it too."""
        if not self._placement().can_read(copy for copy in item.copies if copy.volume_id != volume.spec.id):
            return float("inf")
        return PATIENCE_S if volume.state.is_readable else 0.0

    def _collect(self) -> None:
        task, self._task = self._task, None
        if task is None:
            return
        item, volume, _ = self._next[0]
        with suppress(VolumeUnavailable):
            read = volume.wait(task, self._patience_s(item, volume))
            for (item, _, _), data_set in zip(self._next, read, strict=False):
                if data_set is not None:
                    self._read[id(item)] = data_set


def _read_small(
    medium: Medium, wanted: Sequence[tuple[Deliverable, Volume, PurePosixPath]], attempt: Attempt
) -> list[Buffer | None]:
    """The data set in each file, None where it is not what was received or cannot be read."""
    found: list[Buffer | None] = []
    for item, _, path in wanted:
        if attempt.cancelled:
            break
        data_set = None
        with suppress(OSError, VolumeUnavailable, Undecodable):
            whole = medium.open_file(path, at_once_bytes=WHOLE_BYTES).whole
            if whole is not None:
                meta, digest = digest_of_file((memoryview(whole),))
                if digest == item.digest:
                    data_set = memoryview(whole)[meta.data_set_offset :]
        found.append(data_set)
    return found
