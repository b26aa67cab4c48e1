"""An object that is too large for memory, on its way to its volumes, and their replacement while it goes on."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import PurePosixPath
from typing import Final, TypeAlias

from pacs_server import log
from pacs_server.dicom.elements import Buffer
from pacs_server.dicom.stored import FileHasher
from pacs_server.errors import NotEnoughCopies, Undecodable, VolumeUnavailable
from pacs_server.storage.layout import file_name_end
from pacs_server.storage.writing import CopyInProgress, CopyPlace, patience_s, succeeds, too_few

_PIECE_BYTES: Final = 1 << 20
# A late copy takes so much for each piece that arrives: it has caught up when a third more than it missed has come.
_CATCH_UP_BYTES: Final = 4 << 20

# Another copy, not yet begun: best beside those that are alive, on none of the volumes that were tried.
Another: TypeAlias = Callable[[Sequence[CopyInProgress], Collection[str]], CopyInProgress | None]


class LateCopy:
    """A copy that was begun when another one failed: what it missed is read back, from memory or from other copies.

    It is hashed, because what a failing disk gives back is not always what was written.
    """

    def __init__(self, copy: CopyInProgress) -> None:
        self.copy = copy
        self.size_bytes = 0
        self.sources: list[CopyInProgress] = []
        self._hasher = FileHasher()

    def add(self, chunks: Sequence[Buffer], source: CopyInProgress | None = None) -> None:
        """Note what it was given, and by which copy."""
        piece = b"".join(chunks)
        with suppress(Undecodable):  # its digest is another one then
            self._hasher.update(piece)
        self.size_bytes += len(piece)
        if source is not None and source not in self.sources:
            self.sources.append(source)

    def is_whole(self, path: PurePosixPath) -> bool:
        """Whether it was given the object that this path names."""
        return path.name.endswith(file_name_end(self._hasher.digest())) and self._hasher.has_our_meta


class ObjectStream:
    """A large object on its way to its volumes. Belongs to one thread; ends in `finish` or `abandon`.

    Pieces of 1 MiB: one is filled while another is written on all volumes. When a volume fails, a copy is begun on
    another one. It takes what it missed, piece by piece, from a copy that lives, while the sender goes on, and at the
    end that is waited for. Memory is a constant.

    A volume that hangs costs its sender one deadline, or some seconds where another one can take its place. The
    replacement costs at most a second more, once there are as many copies as the policy's floor. Below the floor it has
    all the time its own calls may take: the sender would have to send everything again.

    A copy that can be read only once it is finished, in a bucket, gives a replacement what it missed at the end.
    """

    def __init__(
        self, directory: PurePosixPath, copies: list[CopyInProgress], *, need: int, degraded: int, another: Another
    ) -> None:
        self._directory = directory
        self._copies = copies  # each has, or is being given, everything that was sent
        self._late: list[LateCopy] = []
        self._caught_up: list[LateCopy] = []
        self._need, self._degraded = need, degraded
        self._another = another
        self._tried = {copy.volume.spec.id for copy in copies}
        self._patience_s = patience_s(copies)
        self._finish_by: float | None = None
        self._piece: list[bytes] = []
        self._piece_bytes = 0
        self._sent_bytes = 0
        self._held: dict[int, list[bytes]] = {}  # pieces that are in memory anyway, by their offset
        self._is_beginning = False
        self._problems: list[str] = []

    def begin(self, chunks: Sequence[bytes]) -> None:
        """Append what the caller has in memory, and return when it is written: until then, even the failure of every
        volume that has it is made good by others.

        Raises: NotEnoughCopies when too few volumes are left.
        """
        self._is_beginning = True
        for chunk in chunks:
            self.write(chunk)
        self._send_piece()
        self._settle()
        self._bring_up_all()
        self._is_beginning = False
        self._held.clear()

    def write(self, chunk: Buffer) -> None:
        """Append a chunk; the caller may use its buffer again.

        Raises: NotEnoughCopies when too few volumes are left.
        """
        self._piece.append(bytes(chunk))
        self._piece_bytes += len(chunk)
        if self._piece_bytes >= _PIECE_BYTES:
            self._send_piece()

    def finish(self, path: PurePosixPath) -> tuple[CopyPlace, ...]:
        """Flush every copy and give it the name of `path`, in the directory in which it was begun.

        Raises: NotEnoughCopies.
        """
        try:
            self._send_piece()
            self._settle()
            self._finish_by = time.monotonic() + self._patience_s
            self._bring_up_all()
            while unfinished := [copy for copy in self._copies if not copy.is_finished]:
                self._leave_out_what_differs(path)
                self._start([copy for copy in unfinished if copy in self._copies], lambda c: c.start_finish(path.name))
                self._settle()
                self._bring_up_all()
        except NotEnoughCopies:
            self.abandon()
            raise
        copies, self._copies = self._copies, []
        if self._problems:
            log.warning("volumes failed", copies=len(copies), need=self._need, why="; ".join(self._problems))
        place = str(self._directory / path.name)
        return tuple(CopyPlace(volume_id=copy.volume.spec.id, path=place) for copy in copies)

    def abandon(self) -> None:
        """Leave nothing behind, as far as the volumes let us. Does nothing after `finish`."""
        copies = [*self._copies, *(late.copy for late in self._late)]
        self._copies, self._late = [], []
        for copy in copies:
            copy.abandon()

    def _send_piece(self) -> None:
        piece, self._piece, self._piece_bytes = self._piece, [], 0
        self._settle()
        self._begin_late_copies()
        for late in list(self._late):
            self._bring_up(late, _CATCH_UP_BYTES)
        if self._is_beginning:
            self._held[self._sent_bytes] = piece
        self._start(list(self._copies), lambda copy: copy.start_write(piece))
        for late in self._caught_up:
            late.add(piece)
        self._sent_bytes += sum(len(chunk) for chunk in piece)

    def _start(self, copies: Sequence[CopyInProgress], step: Callable[[CopyInProgress], None]) -> None:
        for copy in copies:
            if not succeeds(partial(step, copy), self._problems):
                self._drop(copy)

    def _settle(self) -> None:
        """Wait for what each copy has under way; those that failed are no copies any more."""
        for copy in list(self._copies):
            began = time.monotonic()
            if not succeeds(partial(copy.settle, is_replaceable=self._is_replaceable(copy)), self._problems):
                self._copies.remove(copy)
                self._patience_s -= time.monotonic() - began

    def _is_replaceable(self, copy: CopyInProgress) -> bool:
        """Whether another volume can take the place of this copy, what was sent be had without it, and enough copies
        be made.
        """
        if not self._is_beginning and not any(one.can_be_read for one in self._copies if one is not copy):
            return False
        alive = [one for one in (*self._copies, *(late.copy for late in self._late)) if one is not copy]
        spares = self._spares(alive)
        return next(spares, None) is not None and all(next(spares, None) for _ in range(len(alive) + 1, self._degraded))

    def _spares(self, alive: Sequence[CopyInProgress]) -> Iterator[CopyInProgress]:
        """Copies on volumes that were not tried, which could be begun beside those that are alive."""
        tried = set(self._tried)
        while copy := self._another(alive, tried):
            tried.add(copy.volume.spec.id)
            yield copy

    def _drop(self, copy: CopyInProgress) -> None:
        self._copies.remove(copy)
        copy.discard()

    def _limit_s(self) -> float:
        """How long a late copy may take for its next step."""
        if len(self._copies) < self._degraded:
            return float("inf")
        return self._patience_s if self._finish_by is None else self._finish_by - time.monotonic()

    def _begin_late_copies(self) -> None:
        """Begin as many as are needed, as far as there are volumes for them.

        Raises: NotEnoughCopies when too few will have the whole object.
        """
        alive = [*self._copies, *(late.copy for late in self._late)]
        has_source = self._is_beginning or any(copy.can_be_read for copy in self._copies)
        while (
            has_source
            and len(alive) < self._need
            and self._limit_s() > 0
            and (copy := self._another(alive, self._tried))
        ):
            self._tried.add(copy.volume.spec.id)
            if succeeds(partial(copy.start_open, self._directory), self._problems):
                self._late.append(LateCopy(copy))
                alive.append(copy)
        if len(alive) < self._degraded:
            raise NotEnoughCopies(too_few(len(self._copies), self._degraded, self._problems))

    def _bring_up_all(self) -> None:
        """Wait until there are no late copies: each has everything, or was given up and could not be replaced."""
        self._begin_late_copies()
        while self._late:
            self._bring_up(self._late[0], float("inf"))
            self._begin_late_copies()

    def _bring_up(self, late: LateCopy, most_bytes: float) -> None:
        """Give a late copy some of what it missed. Once it has everything that was sent it is one of the copies."""
        until = min(self._sent_bytes, late.size_bytes + most_bytes)
        while late.size_bytes < until:
            chunks, source = self._read_back(late.size_bytes)
            if not self._settles(late):
                self._late.remove(late)
                return
            if not succeeds(partial(late.copy.start_write, chunks), self._problems):
                self._late.remove(late)
                late.copy.discard()
                return
            late.add(chunks, source)
        if late.size_bytes == self._sent_bytes:
            is_there = self._settles(late)
            self._late.remove(late)
            if is_there:
                self._copies.append(late.copy)
                self._caught_up.append(late)

    def _settles(self, late: LateCopy) -> bool:
        is_replaceable = self._is_replaceable(late.copy)
        return succeeds(partial(late.copy.settle, self._limit_s(), is_replaceable=is_replaceable), self._problems)

    def _read_back(self, offset: int) -> tuple[Sequence[Buffer], CopyInProgress | None]:
        """What was sent at an offset, and the copy it was read from, unless it is in memory.

        Raises: NotEnoughCopies when nobody has it any more.
        """
        if held := self._held.get(offset):
            return held, None
        length = min(_PIECE_BYTES, self._sent_bytes - offset)
        while source := next((copy for copy in self._copies if copy.can_be_read), None):
            try:
                return (source.read(offset, length),), source
            except VolumeUnavailable as error:
                self._problems.append(str(error))
                self._copies.remove(source)
        raise NotEnoughCopies(too_few(0, self._degraded, self._problems))

    def _leave_out_what_differs(self, path: PurePosixPath) -> None:
        """Give up a copy that was read back and is not what was received, and those from which it was read.

        Raises: NotEnoughCopies when too few are left.
        """
        for late in self._caught_up:
            if late.is_whole(path):
                continue
            names = ", ".join(copy.volume.spec.name for copy in late.sources)
            self._problems.append(f"what was read back from {names} is not what was written; pacs verify it")
            for copy in (late.copy, *late.sources):
                if copy in self._copies:
                    self._drop(copy)
        self._caught_up.clear()
        if len(self._copies) < self._degraded:
            raise NotEnoughCopies(too_few(len(self._copies), self._degraded, self._problems))
