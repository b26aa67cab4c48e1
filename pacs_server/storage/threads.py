"""A volume's own threads. A call into a dead NAS never comes back: it is abandoned at its deadline, in a thread that
holds nothing that others need, and after a few such nothing more is sent into the hole.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, Final, Generic, TypeAlias, TypeVar, cast

from pacs_server.errors import PacsError, VolumeAway, VolumeSilent, VolumeUnavailable
from pacs_server.storage.atomic import Translated
from pacs_server.storage.standstill import Standstills

Answer = TypeVar("Answer")

_MAX_THREADS: Final = 32
_MAX_WAITING: Final = 1024
# So many calls may hang before no more are made. A probe that succeeds excuses them, but never more than the second.
_MAX_STUCK: Final = 4
_MAX_STUCK_EXCUSED: Final = 32
# A disk that has to spin up takes 15 s.
_ANSWER_S: Final = 30.0
_STANDSTILLS: Final = Standstills()
# Whoever comes to wait when all of the time is gone may have stood still since he asked, and nobody have noticed.
_BELATED_S: Final = 1.0


class Overdue(VolumeSilent):
    """A call was not done at its deadline and is abandoned."""


class Attempt:
    """What the work in a thread sees of its own fate."""

    __slots__ = ("cancelled",)

    def __init__(self) -> None:
        self.cancelled = False


Work: TypeAlias = Callable[[Attempt], Answer]


class Task(Attempt, Generic[Answer]):
    """Work under way in a thread of a volume."""

    __slots__ = (
        "answer", "asked_at", "began", "done", "error", "finished", "is_over", "is_probe", "on_abandoned", "stuck",
        "timeout_s", "work",
    )  # fmt: skip

    def __init__(
        self, work: Work[Answer], timeout_s: float, on_abandoned: Callable[[], None] | None, *, is_probe: bool = False
    ) -> None:
        super().__init__()
        self.work = work
        self.is_probe = is_probe
        self.asked_at = time.monotonic()
        self.timeout_s = timeout_s
        self.on_abandoned = on_abandoned
        self.answer: Answer | None = None
        self.error: OSError | PacsError | None = None
        self.began = False
        self.done = False
        self.is_over = False
        self.stuck = False
        # A bare lock costs a third of what an Event does.
        self.finished = threading.Lock()
        self.finished.acquire()


class Threads:
    """The threads of one volume: daemons, started as they are needed, 32 besides those that hang.

    May be used from any thread. Handing over and waiting cost 30 us together.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._queue: SimpleQueue[Task[Any]] = SimpleQueue()
        self._threads = 0
        self._under_way = 0
        self._stuck = 0
        self._excused = 0
        self._answered_at = time.monotonic()

    @property
    def stuck(self) -> int:
        """How many calls were abandoned and have not come back."""
        return self._stuck

    def excuse_stuck(self) -> None:
        """Call this when the volume is seen to work although some calls hang: they do not count any more."""
        with self._lock:
            self._excused = self._stuck

    def start(
        self,
        work: Work[Answer],
        timeout_s: float,
        *,
        on_abandoned: Callable[[], None] | None = None,
        is_probe: bool = False,
    ) -> Task[Answer]:
        """Begin a piece of work; `wait` for it. `on_abandoned` runs in its thread if it ends after its deadline.

        Raises: VolumeSilent when too many calls hang or wait; never for a probe.
        """
        task = Task(work, timeout_s, on_abandoned, is_probe=is_probe)
        with self._lock:
            if not is_probe:
                self._refuse_when_broken()
            self._enqueue(task)
        return task

    def later(self, work: Callable[[], object]) -> None:
        """Have something done that nobody waits for, when a thread is free; a failure is of no interest."""

        def quietly(_: Attempt) -> None:
            with suppress(OSError, PacsError):
                work()

        with self._lock:
            self._enqueue(Task(quietly, float("inf"), None))

    def _refuse_when_broken(self) -> None:
        if self._stuck - self._excused >= _MAX_STUCK or self._stuck >= _MAX_STUCK_EXCUSED:
            raise VolumeSilent(f"volume {self._name} does not answer: {self._stuck} calls hang")
        if self._under_way >= _MAX_WAITING:
            raise VolumeSilent(f"volume {self._name} is too slow: {self._under_way} calls wait")

    def _enqueue(self, task: Task[Any]) -> None:
        if self._under_way >= self._threads and self._threads < _MAX_THREADS + self._stuck:
            try:
                self._begin_thread()
            except RuntimeError as error:  # the system's limit of threads; those that are there can do it
                if not self._threads:
                    raise VolumeSilent(f"volume {self._name}: {error}") from error
        self._under_way += 1
        self._queue.put(task)

    def _begin_thread(self) -> None:
        threading.Thread(target=self._serve, name=f"volume-{self._name}", daemon=True).start()
        self._threads += 1

    def wait(self, task: Task[Answer], at_most_s: float = float("inf"), *, silence_s: float = float("inf")) -> Answer:
        """The answer of a task, which is abandoned at its deadline, sooner after `at_most_s`, or when the volume has
        answered nothing at all for `silence_s`: one that is only slow answers others. In none of these counts the time
        in which this process stood still.

        Raises: Overdue at the deadline or after the silence; VolumeSilent after `at_most_s`; VolumeFull or
        VolumeUnavailable when the work failed; what of ours the work raises.
        """
        left_s = _left_s(task.asked_at, task.timeout_s)
        if not self._is_done(task, at_most_s, silence_s):
            with self._lock:
                if not task.is_over:
                    _abandon(task)
                    if at_most_s < left_s and _left_s(self._quiet_since(task), silence_s) > 0:
                        raise VolumeSilent(f"volume {self._name} was not waited for any longer")
                    if task.began:  # one that only waited in the queue hangs nowhere
                        task.stuck = True
                        self._stuck += 1
                    raise Overdue(f"volume {self._name} did not answer in time; the attempt was abandoned")
        if task.error is not None:
            # The frames that it goes through hold the task: in that circle what they have open would stay so, for hours
            # in a process that has little to do.
            error, task.error = [task.error], None
            with Translated(f"volume {self._name}"):
                raise error.pop()
        if not task.done:
            raise VolumeUnavailable(f"volume {self._name}: the attempt failed in a way nobody foresaw; see the log")
        return cast(Answer, task.answer)

    def _is_done(self, task: Task[Any], at_most_s: float, silence_s: float) -> bool:
        """Wait for a task; whether it was over before its deadline, within the time, and before the volume was silent
        for so long.
        """

        def is_given_s() -> float:
            return min(_left_s(task.asked_at, task.timeout_s), _left_s(self._quiet_since(task), silence_s))

        began = time.monotonic()
        at_least_s = 0.0 if is_given_s() > 0 else _BELATED_S

        def left_s() -> float:
            return min(_left_s(began, at_most_s), max(is_given_s(), _left_s(began, at_least_s)))

        while not _STANDSTILLS.acquire(task.finished, left_s()):
            if left_s() <= 0:
                return False
        return True

    def _quiet_since(self, task: Task[Any]) -> float:
        """The moment since which the volume answers nothing, as far as one knows who waits for this task. A probe says
        nothing: a disk that flushes no more still tells its room, out of the kernel's memory.
        """
        return max(task.asked_at, self._answered_at)

    def give_up(self, task: Task[Any]) -> bool:
        """Have nobody wait for a task any more; whether it is under way, and its `on_abandoned` runs when it ends."""
        with self._lock:
            if not task.is_over:
                _abandon(task)
            return task.cancelled

    def _serve(self) -> None:
        try:
            while True:
                self._perform(self._queue.get())
        finally:  # an exception that nobody foresaw, which threading.excepthook prints
            with self._lock:
                self._threads -= 1
                if not self._queue.empty():  # by who took this thread for one that goes on
                    with suppress(RuntimeError):  # whoever asks next begins one
                        self._begin_thread()

    def _perform(self, task: Task[Any]) -> None:
        try:
            task.began = True
            if not task.cancelled:
                task.answer = task.work(task)
                task.done = True
        except (OSError, PacsError) as error:
            task.error = error
        finally:
            with self._lock:
                task.is_over = True
                if task.cancelled:  # nobody asks for it
                    task.error = None
                if not task.is_probe:
                    self._answered_at = time.monotonic()
                self._under_way -= 1
                if task.stuck:
                    self._stuck -= 1
                    self._excused = min(self._excused, self._stuck)
            if task.cancelled and task.on_abandoned is not None:
                task.on_abandoned()
            task.finished.release()


def _left_s(begin: float, seconds: float) -> float:
    """How much is left of so many seconds since then, of which those count in which this process ran."""
    return begin + seconds + _STANDSTILLS.since(begin) - time.monotonic()


def _abandon(task: Task[Any]) -> None:
    """Have it not begin. What it was to write is not kept in the queue until a thread is free, in hours perhaps."""
    task.cancelled = True
    if not task.began:
        task.work = _do_nothing


def _do_nothing(_: Attempt) -> None:
    """In the place of work that nobody waits for."""


def answer_of(place: object, work: Callable[[], Answer]) -> Answer:
    """What a piece of work at a place that is no volume yet answers, which a dead NAS never does.

    Raises: VolumeAway when it was not done in time; what the work raises, an OSError as VolumeUnavailable.
    """
    threads = Threads(str(place))
    try:
        return threads.wait(threads.start(lambda _: work(), _ANSWER_S))
    except Overdue as error:
        raise VolumeAway("it does not answer; is its server or disk alive?") from error
