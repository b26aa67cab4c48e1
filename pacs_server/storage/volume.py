"""One root of files: whose it is, how it is, and its own few threads, so that a hung NAS delays nobody else."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, Final, TypeVar

from pacs_server import log
from pacs_server.errors import VolumeFull, VolumeSilent, VolumeUnavailable
from pacs_server.settings import StorageLimits
from pacs_server.storage.atomic import NO_ROOM, Translated
from pacs_server.storage.condition import EMPTIED, Seen, Status, VolumeSpec, VolumeState, judged, reserve_of
from pacs_server.storage.layout import QUARANTINE, ROOT, Entry, FoundFile, checkpoint_files, operation_files, walk
from pacs_server.storage.medium import Advice, Medium, all_of
from pacs_server.storage.opening import open_medium
from pacs_server.storage.sentinel import hold, read_sentinel
from pacs_server.storage.threads import Attempt, Overdue, Task, Threads, Work

Answer = TypeVar("Answer")

_TOP: Final = PurePosixPath()
_PROBE_TIMEOUT_S: Final = 5.0
_SILENT_S: Final = 5.0
_HOLD_S: Final = 1.0
# Unfinished files that a failing volume kept; what is not remembered any more counts as litter an hour later.
_MAX_LEFTOVERS: Final = 10_000
_REMEDIES: Final = {
    Status.FULL: "make room, raise the quota, or add a volume",
    Status.SUSPECT: "look into the kernel log, and who may write there",
}


class Volume:
    """One volume, which may be down. May be used from any thread; what touches its files happens in its own threads."""

    def __init__(self, spec: VolumeSpec, limits: StorageLimits, remembered: VolumeState | None = None) -> None:
        """`remembered` is how it was when this node last looked at it, perhaps in an earlier process."""
        self.spec = spec
        self.timeout_s = limits.write_timeout_s
        self._reserve_bytes = limits.reserve_bytes
        self._threads = Threads(spec.name)
        self._locking = Threads(spec.name)  # apart: a lock may hang for good where everything else is well
        self._state = VolumeState(
            status=Status.OFFLINE, is_readable=False, reason="not looked at yet", since=datetime.now(UTC)
        )
        self._remembered = remembered
        self._told: Status | None = None
        self._is_doubted = remembered is not None and remembered.status in (Status.FULL, Status.SUSPECT)
        self._medium: Medium | None = None
        self._has_left = False
        self._mounted = 0
        self._leftovers: deque[PurePosixPath] = deque(maxlen=_MAX_LEFTOVERS)
        self._checking = threading.Lock()
        self._changing = threading.Lock()
        self._probe: Task[Seen] | None = None

    @property
    def state(self) -> VolumeState:
        """How the volume was when it was last looked at or used."""
        return self._state

    @property
    def silence_s(self) -> float:
        """How long it may answer nothing at all before it counts as hanging, where another one can take its place. A
        bucket at the end of a long line may, for one object.
        """
        return _SILENT_S if isinstance(self.spec.path, Path) else float("inf")

    def change(self, spec: VolumeSpec) -> None:
        """Take over what the site has decided anew about this volume, whose id and path stay."""
        self.spec = spec

    def doubt(self) -> None:
        """Have the next look try whether something can be written, and every look until that succeeds: a quota, or the
        rights on a NAS, show in no other way.
        """
        self._is_doubted = True

    def let_go(self) -> None:
        """Hold it no more: it left the site, and may be added to it again, or to another one. Whoever still looks at it
        does not hold it anew.
        """
        self._has_left = True
        self._medium = None

    def medium(self) -> Medium:
        """The files of the volume, for use in its threads. Raises: VolumeSilent when it is offline."""
        if (medium := self._medium) is None:
            raise VolumeSilent(f"volume {self.spec.name} is {self._state.status}: {self._state.reason}")
        return medium

    def start(self, work: Work[Answer], *, on_abandoned: Callable[[], None] | None = None) -> Task[Answer]:
        """Begin a piece of work in a thread of this volume; `wait` for it. It has `timeout_s` from now.

        Raises: VolumeUnavailable when too many calls to this volume hang, or too many wait.
        """
        return self._threads.start(work, self.timeout_s, on_abandoned=on_abandoned)

    def wait(self, task: Task[Answer], at_most_s: float = float("inf"), *, silence_s: float = float("inf")) -> Answer:
        """The answer of a task, which is abandoned when it is overdue, after `at_most_s`, or when the volume answered
        nothing at all for `silence_s`. The first and the last make it suspect until `check` finds that it answers.

        Raises: VolumeUnavailable when it failed, or was not done in time and is abandoned.
        """
        try:
            return self._threads.wait(task, at_most_s, silence_s=silence_s)
        except Overdue as overdue:
            self._take(Seen(status=Status.SUSPECT, is_readable=False, reason=str(overdue)))
            raise

    def give_up(self, task: Task[Any]) -> bool:
        """Have nobody wait for a task any more, which is no fault of the volume; whether it is under way, and its
        `on_abandoned` runs when it ends.
        """
        return self._threads.give_up(task)

    def run(self, work: Work[Answer]) -> Answer:
        """Do a piece of work in a thread of this volume and answer its result.

        Raises: VolumeUnavailable.
        """
        return self.wait(self.start(work))

    def later(self, work: Callable[[], object]) -> None:
        """Have something done in a thread of this volume that nobody waits for."""
        self._threads.later(work)

    def check(self) -> VolumeState:
        """Look at the volume: is it there, is it the same, can it be written, has it room? Takes at most 5 s, and no
        time at all while an earlier look hangs.
        """
        with self._checking:
            self._take(self._look_within_deadline())
        if self._leftovers and self._medium is not None:
            self.later(partial(self._sweep, self._medium))
        return self._state

    def _sweep(self, medium: Medium) -> None:
        """Remove what could not be removed while the volume failed, up to the first that fails again."""
        while True:
            try:
                path = self._leftovers.popleft()
            except IndexError:  # none is left; asked first, it might be taken by another look before it is taken here
                return
            try:
                medium.remove_litter(path)
            except (OSError, VolumeUnavailable):
                self._leftovers.append(path)
                raise

    def _look_within_deadline(self) -> Seen:
        if self._probe is not None and not self._probe.is_over:
            reason = "it does not answer; is its server or disk alive?"
            return Seen(status=Status.SUSPECT, is_readable=False, reason=reason)
        thorough = self._is_doubted or self._threads.stuck > 0
        try:
            self._probe = self._threads.start(partial(self._look, thorough), _PROBE_TIMEOUT_S, is_probe=True)
            seen = self._threads.wait(self._probe)
        except VolumeUnavailable as error:
            return Seen(status=Status.SUSPECT, is_readable=False, reason=str(error))
        if thorough and seen.is_readable:
            self._threads.excuse_stuck()
        return seen

    def _take(self, seen: Seen) -> None:
        with self._changing:
            before, self._remembered = self._remembered or self._state, None
            reason = seen.reason
            if self.spec.is_draining and seen.status is not Status.DRAINING:
                reason = f"{EMPTIED}; {reason}" if reason else EMPTIED
            is_same = (before.status, before.is_readable) == (seen.status, seen.is_readable)
            self._state = VolumeState(
                status=seen.status,
                is_readable=seen.is_readable,
                reason=reason,
                since=before.since if is_same else datetime.now(UTC),
                free_bytes=seen.free_bytes,
                total_bytes=seen.total_bytes,
                mounted=self._mounted,
            )
            changed, self._told = self._told is not seen.status, seen.status
        if changed:
            tell = log.info if seen.status is Status.ONLINE else log.warning
            tell("volume", name=self.spec.name, status=seen.status, reason=seen.reason or None)

    def _look(self, thorough: bool, _: Attempt) -> Seen:
        try:
            medium = self._current_medium()
            self._identify(medium)
            if medium is not self._medium and self.spec.id:
                self._hold(medium)
            seen = judged(self.spec, medium.room(), self._reserve_bytes)
            if thorough and seen.status is Status.ONLINE:
                seen = self._tried(medium, seen)
        except (OSError, VolumeUnavailable) as error:
            self._medium = None
            reason = error.strerror if isinstance(error, OSError) else str(error)
            return Seen(status=Status.OFFLINE, is_readable=False, reason=f"{self.spec.path}: {reason}")
        if medium is not self._medium:
            self._medium = medium
            self._mounted += 1
            if self._has_left:  # meanwhile
                self._medium = None
        return seen

    def _hold(self, medium: Medium) -> None:
        """Let others see that it is used, as far as that can be done at once: NFS 3 whose service for locks is shut off
        never answers, and is a volume all the same.
        """
        with suppress(VolumeUnavailable):
            self._locking.wait(self._locking.start(lambda _: hold(medium), _HOLD_S))

    def _tried(self, medium: Medium, seen: Seen) -> Seen:
        try:
            medium.check_writable(datetime.now(UTC).date())
        except OSError as error:
            status = Status.FULL if error.errno in NO_ROOM else Status.SUSPECT
            return replace(seen, status=status, reason=f"nothing can be written: {error.strerror}; {_REMEDIES[status]}")
        except VolumeUnavailable as error:  # its message ends with what to do
            status = Status.FULL if isinstance(error, VolumeFull) else Status.SUSPECT
            return replace(seen, status=status, reason=f"nothing can be written: {error}")
        self._is_doubted = False
        return seen

    def _current_medium(self) -> Medium:
        """The open root, or a new one when something else is mounted at the path by now.

        Raises: VolumeUnavailable when it left the site; OSError.
        """
        if self._has_left:
            raise VolumeUnavailable("it is no volume of this site any more")
        if self._medium is not None and self._medium.is_current():
            return self._medium
        return open_medium(self.spec.path, timeout_s=self.timeout_s, on_leftover=self._leftovers.append)

    def _identify(self, medium: Medium) -> None:
        if self.spec.id and (found := read_sentinel(medium)) != self.spec.id:
            raise VolumeUnavailable(f"another volume is mounted there (id {found[:64]}); mount the right one")

    def takes(self, size_bytes: int) -> bool:
        """Whether that much more fits, as far as was seen last, without filling the volume. One that tells no room
        takes it.
        """
        free, total = self._state.free_bytes, self._state.total_bytes
        if free is None or total is None:
            return True
        free -= size_bytes
        return free >= reserve_of(total, self._reserve_bytes) and 100 * (total - free) <= self.spec.high_water * total

    def full_below(self) -> int | None:
        """With less free room than so many bytes it counts as full; None where it tells no room."""
        total = self._state.total_bytes
        if total is None:
            return None
        return max(reserve_of(total, self._reserve_bytes), total - self.spec.high_water * total // 100)

    def walk(self, since: date | None = None, *, below: PurePosixPath = _TOP) -> Iterator[FoundFile]:
        """Every object's file of the volume by day, of `since` and later, or of those that lie `below` a directory.

        Raises: VolumeUnavailable, also when only one directory cannot be read.
        """
        return walk(lambda directory: self.entries(below / directory), since)

    def its_time(self, now: datetime) -> datetime:
        """What time it is by the clock that dates its files, which may be that of a NAS. Raises: VolumeUnavailable."""
        return now + self._call(self.medium().clock_ahead)

    def litter(self, now: datetime) -> Iterator[PurePosixPath]:
        """Unfinished files that nobody has written to for an hour before `now`, by the clock that dates its files.

        Raises: VolumeUnavailable.
        """
        return self.medium().litter(now, self._call)

    def operation_files(self) -> Iterator[tuple[tuple[int, str], PurePosixPath]]:
        """The files of operations, each with the counter and the site in its name. Raises: VolumeUnavailable."""
        return operation_files(self.entries)

    def checkpoint_files(self) -> Iterator[tuple[tuple[int, str], PurePosixPath]]:
        """The files of checkpoints of the audit trail, each with the number and the series in its name.

        Raises: VolumeUnavailable.
        """
        return checkpoint_files(self.entries)

    def entries(self, directory: PurePosixPath) -> list[Entry]:
        """What is in a directory; one that does not exist has nothing in it. Raises: VolumeUnavailable."""
        return all_of(self.medium().entries(directory), self._call)

    def has_file(self, path: PurePosixPath, at_least_bytes: int = 0) -> bool:
        """Whether a regular file of at least this size is there. Raises: VolumeUnavailable when that is not known."""
        size_bytes = self._call(partial(self.medium().size_of, path))
        return size_bytes is not None and size_bytes >= at_least_bytes

    def stamp_of(self, path: PurePosixPath) -> tuple[int | str, ...] | None:
        """By what it can be seen that another file has taken the place of one; None when there is none.

        Raises: VolumeUnavailable.
        """
        return self._call(partial(self.medium().stamp_of, path))

    def put_aside(self, path: PurePosixPath) -> None:
        """Move a damaged file out of the way, to `quarantine/`, if it is there. Raises: VolumeUnavailable."""
        self.move(path, QUARANTINE / path.relative_to(ROOT))

    def move(self, path: PurePosixPath, target: PurePosixPath) -> None:
        """Give a file another place, if it is there. Raises: VolumeUnavailable."""
        self.medium().move(path, target, self._call)

    def remove_litter(self, path: PurePosixPath) -> None:
        """Remove an unfinished file, if it is there. Raises: VolumeUnavailable."""
        self.change_files(lambda medium: medium.remove_litter(path))

    def advice(self) -> list[Advice]:
        """What of its medium is dangerous. Raises: VolumeUnavailable."""
        return self._call(self.medium().advice)

    def change_files(self, change: Callable[[Medium], Answer]) -> Answer:
        """Do something with the files in a thread of this volume. Raises: VolumeUnavailable."""
        return self._call(partial(change, self.medium()))

    def _call(self, call: Callable[[], Answer]) -> Answer:
        """Make one call in a thread of this volume. Raises: VolumeUnavailable."""

        def work(_: Attempt) -> Answer:
            with Translated(f"volume {self.spec.name}"):
                return call()

        return self.run(work)


def check_all(volumes: Sequence[Volume]) -> None:
    """Look at these volumes at once, so that those that hang cost no more than one of them: at most 5 s together."""
    looks: list[threading.Thread] = []
    for volume in volumes:
        look = threading.Thread(target=volume.check, name="look", daemon=True)
        try:
            look.start()
        except RuntimeError:  # the system's limit of threads
            volume.check()
        else:
            looks.append(look)
    for look in looks:
        look.join()
