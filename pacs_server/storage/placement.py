"""Which volumes take an object, and from which copy it is read.

`need` copies are awaited, in distinct fault domains as far as there are any; when volumes fail, `degraded` is the floor
below which an object is refused. A volume that fails is replaced by the next within the same object.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import partial
from pathlib import PurePosixPath
from typing import Final, Protocol, TypeVar

from pacs_server import log
from pacs_server.dicom.elements import Buffer
from pacs_server.errors import CopyUnknown, CopyUnreadable, NotEnoughCopies, VolumeSilent, VolumeUnavailable
from pacs_server.storage.condition import Status
from pacs_server.storage.reading import PATIENCE_S, WHOLE_BYTES, OpenCopy, looked_twice
from pacs_server.storage.streaming import ObjectStream
from pacs_server.storage.volume import Volume
from pacs_server.storage.writing import CopyInProgress, CopyPlace, patience_s, succeeds, too_few

_TIERS: Final = {"hot": 0, "warm": 1, "cold": 2}


class NamesCopy(Protocol):
    """Anything that names one copy: a volume and a path relative to its root."""

    @property
    def volume_id(self) -> str:
        """The id of the volume."""

    @property
    def path(self) -> str:
        """The path relative to the root of the volume."""


Named = TypeVar("Named", bound=NamesCopy)


class Placement:
    """The volumes of the site and the policy at one moment. May be used from any thread."""

    def __init__(self, volumes: Sequence[Volume], *, need: int, degraded: int, want: int = 1) -> None:
        self.want = max(want, need)
        self.need = need
        self.degraded = degraded
        self._volumes = {volume.spec.id: volume for volume in volumes}
        self._shortage = ""

    def store(self, path: PurePosixPath, chunks: Sequence[Buffer]) -> tuple[CopyPlace, ...]:
        """Write an object held in memory under its final name on enough volumes, flushed.

        The chunks must never change afterwards: an abandoned thread may still be reading them.

        Raises: NotEnoughCopies when fewer volumes took it than the policy's floor; the message says which and why.
        """
        copies = [CopyInProgress(volume) for volume in self._candidates()]
        written = self._on_enough(copies, lambda copy: copy.start_whole(path, chunks))
        return tuple(CopyPlace(volume_id=copy.volume.spec.id, path=str(path)) for copy in written)

    def stream(self, directory: PurePosixPath) -> ObjectStream:
        """Begin an object that is too large for memory, in the directory that it will stay in.

        Raises: NotEnoughCopies.
        """
        waiting = [CopyInProgress(volume) for volume in self._candidates()]
        copies = self._on_enough(waiting, lambda copy: copy.start_open(directory))
        return ObjectStream(directory, copies, need=self.need, degraded=self.degraded, another=self._another)

    def _another(self, alive: Sequence[CopyInProgress], tried: Collection[str]) -> CopyInProgress | None:
        """A copy beside those that are alive, on the best volume that was not tried."""
        untried = [CopyInProgress(volume) for volume in self._candidates() if volume.spec.id not in tried]
        return next(iter(_apart(untried, 1, {copy.volume.spec.domain for copy in alive})), None)

    def _candidates(self) -> list[Volume]:
        """The volumes that can take an object: hot before cold, then those with most room.

        Room is compared in powers of two, so that the choice stays with one volume, and a study in one place, until
        another has clearly more. One that tells no room comes last in its tier.
        """
        online = [volume for volume in self._volumes.values() if volume.state.status is Status.ONLINE]
        return sorted(online, key=lambda volume: (_tier(volume), -(volume.state.free_bytes or 0).bit_length()))

    def _on_enough(
        self, waiting: list[CopyInProgress], start: Callable[[CopyInProgress], None]
    ) -> list[CopyInProgress]:
        """Begin something on `need` volumes at the same time, replacing those that fail; those that did it.

        A volume that hangs is waited for until its deadline only when no other can take its place, or too few are left
        without it: a sender may have given up by then. Once there are as many as the floor, replacements get what is
        left of one deadline and a second.
        """
        until = time.monotonic() + patience_s(waiting)
        problems = [_absence(volume) for volume in self._volumes.values() if volume.state.status is not Status.ONLINE]
        done: list[CopyInProgress] = []
        while waiting and len(done) < self.need:
            limit_s = until - time.monotonic() if len(done) >= self.degraded else float("inf")
            if limit_s <= 0:
                break
            chosen = _apart(waiting, self.need - len(done), {copy.volume.spec.domain for copy in done})
            waiting = [copy for copy in waiting if copy not in chosen]
            started = [copy for copy in chosen if succeeds(partial(start, copy), problems)]
            for behind, copy in zip(reversed(range(len(started))), started, strict=True):
                is_replaceable = bool(waiting) and len(done) + behind + len(waiting) >= self.degraded
                if succeeds(partial(copy.settle, limit_s, is_replaceable=is_replaceable), problems):
                    done.append(copy)
        if len(done) < self.degraded:
            for copy in done:
                copy.discard()
            raise NotEnoughCopies(too_few(len(done), self.degraded, problems))
        self._tell(len(done), problems)
        return done

    def _tell(self, copies: int, problems: Sequence[str]) -> None:
        """Log when objects begin to get fewer copies than needed, and when they get enough again; not every object."""
        shortage = "" if copies >= self.need else "; ".join(problems) or "there are too few volumes"
        if shortage and not self._shortage:
            log.warning("fewer copies than needed", copies=copies, need=self.need, why=shortage)
        elif self._shortage and not shortage:
            log.info("enough copies again", need=self.need)
        self._shortage = shortage

    def open(self, copies: Iterable[NamesCopy], *, at_once_bytes: int = WHOLE_BYTES) -> OpenCopy:
        """Open the best copy that can be opened; one that is not longer than `at_once_bytes` is read whole.

        Raises: CopyUnreadable when there is none; the message says why, copy by copy. CopyUnknown when a volume gave no
        answer about one.
        """
        problems: list[str] = []
        kind = CopyUnreadable
        for copy, _ in self._in_turn(copies):
            try:
                return OpenCopy(self._volumes[copy.volume_id], PurePosixPath(copy.path), at_once_bytes=at_once_bytes)
            except VolumeUnavailable as error:
                problems.append(str(error))
                kind = CopyUnknown if isinstance(error, VolumeSilent) else kind
        raise kind("; ".join(problems) or "no copy of it is on a volume of this site")

    def open_whole(
        self,
        copies: Iterable[NamesCopy],
        is_whole: Callable[[Iterator[memoryview]], bool],
        on_damage: Callable[[NamesCopy, str], None],
    ) -> OpenCopy:
        """Open the best copy that `is_whole`, after it was read to its end. When reading fails later nevertheless, the
        pieces go on from the next copy. `on_damage` is told of each copy that is bad, and why. A volume that does not
        answer is not waited for as long as there is another one; when no other has it whole, it gets its time.

        Raises: CopyUnreadable when there is none; the message says why, copy by copy.
        """
        problems: list[str] = []
        hurried: list[NamesCopy] = []
        for copy, others in self._in_turn(copies):
            volume = self._volumes[copy.volume_id]
            is_known = True
            patience_s = PATIENCE_S if self.can_read(others) else float("inf")
            try:
                if opened := looked_twice(volume, partial(_whole, volume, copy.path, is_whole, patience_s)):
                    if rest := [*others, *hurried]:
                        opened.go_on_with(partial(self.open_whole, rest, is_whole, on_damage))
                    return opened
                problem = f"{copy.path} on volume {volume.spec.name} is not what was received"
            except (VolumeUnavailable, CopyUnreadable) as error:
                problem = str(error)
                is_known = not isinstance(error, VolumeSilent | CopyUnknown)
            if not is_known and patience_s == PATIENCE_S:
                hurried.append(copy)
            else:
                problems.append(problem)
            # Whether it is this copy, or the whole volume that went away a moment ago.
            if is_known and volume.check().is_readable:
                on_damage(copy, problem)
        if hurried:  # fewer than there were: the last one was not
            try:
                return self.open_whole(hurried, is_whole, on_damage)
            except CopyUnreadable as error:
                problems.append(str(error))
        raise CopyUnreadable("; ".join(problems) or "no copy of it is on a volume of this site")

    def read_order(self, copies: Iterable[Named]) -> list[Named]:
        """The copies on volumes of this site, best first: those that can be read, not suspect, hot before cold."""
        known = [copy for copy in copies if copy.volume_id in self._volumes]

        def rank(copy: Named) -> tuple[bool, bool, int]:
            volume = self._volumes[copy.volume_id]
            return not volume.state.is_readable, volume.state.status is Status.SUSPECT, _tier(volume)

        return sorted(known, key=rank)

    def _in_turn(self, copies: Iterable[Named]) -> Iterator[tuple[Named, list[Named]]]:
        """Each copy, the best of those that are left by how the volumes are by then, and those behind it: while one is
        waited for, others are seen to hang.
        """
        ordered = self.read_order(copies)
        while ordered:
            yield ordered[0], ordered[1:]
            ordered = self.read_order(ordered[1:])

    def lacks(self, copies: Iterable[NamesCopy]) -> int:
        """How many copies are still wanted beside these, in fault domains that have none. A volume that is draining, or
        that the site does not know any more, counts as absent.
        """
        return max(0, self.want - len(self.domains(copies)))

    def domains(self, copies: Iterable[NamesCopy]) -> set[str]:
        """The fault domains of copies on volumes that are there to stay."""
        known = (self._volumes.get(copy.volume_id) for copy in copies)
        return {volume.spec.domain for volume in known if volume is not None and not volume.spec.is_draining}

    def homes(self, used_domains: set[str]) -> list[Volume]:
        """The volumes that could take one more copy now, best first, all in domains that have none."""
        return [volume for volume in self._candidates() if volume.spec.domain not in used_domains]

    def shortage(self, found: int) -> str:
        """Why there are only so many copies, for a person."""
        away = [_absence(volume) for volume in self._volumes.values() if volume.state.status is not Status.ONLINE]
        return f"{found} of {self.want} copies: {'; '.join(away) or 'there is no volume in another fault domain'}"

    @property
    def volumes(self) -> tuple[Volume, ...]:
        """Every volume of the site."""
        return tuple(self._volumes.values())

    def volume(self, volume_id: str) -> Volume | None:
        """A volume of the site."""
        return self._volumes.get(volume_id)

    def can_read(self, copies: Iterable[NamesCopy]) -> bool:
        """Whether one of the copies is on a volume that can be read now."""
        known = (self._volumes.get(copy.volume_id) for copy in copies)
        return any(volume is not None and volume.state.is_readable for volume in known)

    def may_come_back(self, copies: Iterable[NamesCopy]) -> bool:
        """Whether one of the copies is on a volume that cannot be read now, looked at anew: it may be whole there."""
        known = (self._volumes.get(copy.volume_id) for copy in copies)
        return any(volume is not None and not volume.check().is_readable for volume in known)

    def intact(self, copies: Iterable[NamesCopy], is_intact: Callable[[Iterator[memoryview]], bool]) -> int:
        """How many of the copies are whole and on a volume that can be read now, by reading each to its end."""
        return sum(self._is_whole(copy, is_intact) for copy, _ in self._in_turn(copies) if self.can_read((copy,)))

    def _is_whole(self, copy: NamesCopy, is_intact: Callable[[Iterator[memoryview]], bool]) -> bool:
        found, reason = "copy damaged", "its content is not what was stored"
        try:
            with self.open((copy,)) as opened:
                if is_intact(opened.pieces()):
                    return True
        except CopyUnreadable as error:
            found, reason = "copy not read", str(error)
        log.warning(found, volume=self._volumes[copy.volume_id].spec.name, path=copy.path, why=reason)
        return False


def _whole(
    volume: Volume, path: str, is_whole: Callable[[Iterator[memoryview]], bool], patience_s: float
) -> OpenCopy | None:
    """A copy that was read to its end, None when it is not whole. Raises: VolumeUnavailable; CopyUnreadable."""
    opened = OpenCopy(volume, PurePosixPath(path), patience_s=patience_s)
    is_right = False
    try:
        is_right = is_whole(opened.pieces())
    finally:
        if not is_right:
            opened.close()
    return opened if is_right else None


def _tier(volume: Volume) -> int:
    return _TIERS.get(volume.spec.tier, len(_TIERS))


def _absence(volume: Volume) -> str:
    state = volume.state
    return f"volume {volume.spec.name} is {state.status}: {state.reason}"


def _apart(copies: Sequence[CopyInProgress], count: int, used_domains: set[str]) -> list[CopyInProgress]:
    """The first `count` of them, those in domains of their own before the rest."""
    used = set(used_domains)
    first: list[CopyInProgress] = []
    rest: list[CopyInProgress] = []
    for copy in copies:
        (rest if copy.volume.spec.domain in used else first).append(copy)
        used.add(copy.volume.spec.domain)
    return (first + rest)[:count]
