"""The processes of a server: begun by the supervisor, replaced when they die or are stuck, ended together."""

from __future__ import annotations

import gc
import mmap
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Final, TypeAlias

from pacs_server import log, metrics
from pacs_server.errors import ConfigError, IndexUnreachable, PacsError
from pacs_server.net.seats import Seats
from pacs_server.service.board import Board
from pacs_server.service.processes.service_manager import ServiceManager
from pacs_server.service.processes.worker import DRAIN_S

# A process that does not come round for so long is stuck: an index that does not answer holds it up, with deadlines.
_SILENT_S: Final = 120.0
# One in which no thread moves for so long is frozen. What it holds, with SQLite the lock for writing, nobody else gets
# before it is killed, and senders often wait 30 s for an answer.
_FROZEN_S: Final = 20.0
_PULSE_EVERY_S: Final = 1.0
# When the supervisor did not get to look for so long, nor did the others: the machine was held up.
_HELD_UP_S: Final = 5.0
# When no port has answered for so long, the service manager is told no more that all is well, and starts it anew.
_UNANSWERED_S: Final = 120.0
# After so many times _SILENT_S, killing the process and beginning it anew did not help either.
_UNWELL_AFTER: Final = 1.5
_LOOK_S: Final = 1.0
_BEGIN_LOOK_S: Final = 0.02
# One that ends at once is not started again in the same moment.
_BEGIN_AGAIN_S: Final = 1.0
_INDEX_AWAY: Final = 2  # what a process ends with for which the database was not there
_END_S: Final = DRAIN_S + 5.0
_ENDING: Final = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGQUIT})
SIGNALS: Final = (*_ENDING, signal.SIGHUP, signal.SIGCHLD)
# They say nothing to a server, and end a process that is not ready for them: a script that has other servers open their
# log anew sends one, or who hits the wrong key.
_MEANINGLESS: Final = (
    *(signal.SIGUSR1, signal.SIGUSR2, signal.SIGPWR, signal.SIGIO),
    *(signal.SIGALRM, signal.SIGVTALRM, signal.SIGPROF),
)

Work: TypeAlias = Callable[[Callable[[float], bool]], bool]


class Crew:
    """The processes of a server. All of it belongs to the one thread of the supervisor."""

    def __init__(
        self,
        reload: Callable[[], None],
        ports: list[socket.socket],
        seats: Seats,
        board: Board,
        works: list[tuple[str, Work]],
    ) -> None:
        self._reload = reload
        self._ports = ports
        self._seats = seats
        self._board = board
        self._works = works
        self._signs = memoryview(mmap.mmap(-1, 8 * len(works))).cast("d")  # when each came round last
        self._pulses = memoryview(mmap.mmap(-1, 8 * len(works))).cast("d")  # when a thread of each moved last
        self._signed_at = [0.0] * len(works)  # the same, also of those that were replaced
        self._begun_at = [float("-inf")] * len(works)
        self._looked_at = self._awake_since = time.monotonic()
        self._pids: dict[int, int] = {}  # number by process
        self._killed: set[int] = set()  # those of them that were stuck, and whose end is not seen yet
        self._not_begun = log.Recurring(
            "process cannot be begun: look whether this machine has memory and processes left (ulimit -u, TasksMax)",
            "process begun again",
        )
        self._is_to_end = False
        # Its other end is closed by the kernel when the supervisor is killed.
        self._alive, self._held = os.pipe()

    def begin(self) -> None:
        """Start every process, and wait until each has begun.

        Raises: ConfigError when one ends instead, IndexUnreachable where that is because the database went away; its
        log line says why.
        """
        gc.collect()
        gc.freeze()  # what all share is not copied for its reference counts
        for number in range(len(self._works)):
            self._fork(number)
        while not all(self._signs) and not self._is_to_end:
            self._wait(_BEGIN_LOOK_S)
            self._board.turn()
            if codes := self._reap():
                problem = "a process of the server ended while it started"
                if _INDEX_AWAY in codes:
                    raise IndexUnreachable(problem, "the database went away, the log says how; start it again")
                raise ConfigError(f"{problem}; the log says why")

    def watch(self, manager: ServiceManager) -> None:
        """Replace what dies or is stuck, until SIGTERM, SIGINT or SIGQUIT."""
        while not self._is_to_end:
            self._wait(_LOOK_S)
            self._reap()
            self._kill_stuck()
            self._replace()
            self._board.turn()
            self._signed_at = list(map(max, self._signed_at, self._signs))
            if self._is_well():
                manager.tell("WATCHDOG=1")

    def _replace(self) -> None:
        """Begin those that are not there. Where the machine has no room for one, the others go on without it."""
        for number in set(range(len(self._works))) - set(self._pids.values()):
            if time.monotonic() - self._begun_at[number] < _BEGIN_AGAIN_S:
                continue
            try:
                self._fork(number)
            except OSError as error:
                self._not_begun.failed(error)
            else:
                self._not_begun.done()

    def _is_well(self) -> bool:
        """Whether every process gives signs, or the one in its place, and a port answers. A service manager that is not
        told so for long begins the whole server anew.
        """
        gives_signs = time.monotonic() - min(self._signed_at) < _UNWELL_AFTER * _SILENT_S
        return gives_signs and self._board.unanswered_s() < _UNANSWERED_S

    def _wait(self, seconds: float) -> None:
        """Wait for a signal, at most so long, and do what it says."""
        told = signal.sigtimedwait(SIGNALS, seconds)
        if told is not None and told.si_signo in _ENDING:
            self._is_to_end = True
        elif told is not None and told.si_signo == signal.SIGHUP:
            self._reload()
            self._signal_all(signal.SIGHUP)

    def end(self) -> bool:
        """Let every process end what it does; whether all did in time, and what they did too."""
        for listening in self._ports:
            with suppress(OSError):
                listening.shutdown(socket.SHUT_RDWR)
        self._signal_all(signal.SIGTERM)
        ends_at = time.monotonic() + _END_S
        drained = True
        while self._pids and time.monotonic() < ends_at:
            signal.sigtimedwait(SIGNALS, _LOOK_S)
            drained = not self._reap() and drained
        return drained and not self._pids

    def kill(self) -> None:
        """End what is left at once."""
        self._signal_all(signal.SIGKILL)
        while self._pids:
            self._forget(os.wait()[0])

    def _signal_all(self, number: int) -> None:
        for pid in self._pids:
            os.kill(pid, number)

    def _reap(self) -> list[int]:
        """Forget the processes that have ended; the exit codes of those that did not end well."""
        failed = []
        while self._pids:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            code = os.waitstatus_to_exitcode(status)
            if (name := self._forget(pid)) and code:
                failed.append(code)
                metrics.add(metrics.REPLACED, name)
                self._board.post_past()
                log.error("process ended", process=name, pid=pid, code=code)
        return failed

    def _forget(self, pid: int) -> str:
        """The name of a process that has ended; empty for one that was not begun here. The first process of a container
        is given the orphans there, and a script that became the server leaves it what it had begun.
        """
        if (number := self._pids.pop(pid, None)) is None:
            return ""
        self._killed.discard(pid)
        self._signs[number] = self._pulses[number] = 0.0
        name, _ = self._works[number]
        self._board.keep(number, pid)
        if number < self._seats.processes:
            self._seats.give_back(number)
        return name

    def _kill_stuck(self) -> None:
        now = time.monotonic()
        if now - self._looked_at > _HELD_UP_S:
            self._awake_since = now
        self._looked_at = now
        for pid, number in self._pids.items():
            since = max(self._begun_at[number], self._awake_since)
            is_frozen = now - max(self._pulses[number], since) > _FROZEN_S
            is_silent = now - max(self._signs[number], since) > _SILENT_S
            # One that waits for a dead disk ends later, however often it is killed.
            if (is_frozen or is_silent) and pid not in self._killed:
                self._killed.add(pid)
                log.error("process is stuck", process=self._works[number][0], pid=pid)
                os.kill(pid, signal.SIGKILL)

    def _fork(self, number: int) -> None:
        self._begun_at[number] = time.monotonic()
        pid = os.fork()
        if pid:
            self._pids[pid] = number
            return
        code = 1
        try:
            code = self._be(number)
        except PacsError as error:
            log.error("process cannot work", process=self._works[number][0], why=error)
            code = _INDEX_AWAY if isinstance(error, IndexUnreachable) else 1
        except Exception as error:  # noqa: BLE001 - the top of a process
            log.unexpected("process failed", error, process=self._works[number][0])
        finally:
            # Threads that hang on a dead volume or a silent peer must not keep the process. What they had not
            # acknowledged, their peers will send again.
            os._exit(code)

    def _be(self, number: int) -> int:
        """In the new process: work, and answer with the exit code."""
        os.close(self._held)
        threading.Thread(target=_end_with, args=(self._alive,), name="supervisor", daemon=True).start()
        threading.Thread(target=self._beat, args=(number,), name="pulse", daemon=True).start()
        told: SimpleQueue[int] = SimpleQueue()  # an event that a handler sets may wait for who looks at it, for ever
        for said in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(said, lambda got, _: told.put(got))
        for of_terminal in (signal.SIGINT, signal.SIGQUIT):  # the supervisor gets them too, and says what to do
            signal.signal(of_terminal, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        metrics.forget()
        if number < self._seats.processes:
            self._seats.take_part(number)

        def is_stopped(wait_s: float) -> bool:
            self._signs[number] = time.monotonic()
            self._board.post(number)
            try:
                if told.get(timeout=wait_s) == signal.SIGTERM:
                    return True
            except Empty:
                return False
            self._reload()
            return False

        _, work = self._works[number]
        is_well = work(is_stopped)
        self._board.post(number)
        return 0 if is_well else 1

    def _beat(self, number: int) -> None:
        while True:
            self._pulses[number] = time.monotonic()
            time.sleep(_PULSE_EVERY_S)


def disregard_meaningless() -> None:
    """Let no signal end this process, or those that it forks, that has no meaning for a server; nor let a terminal that
    forbids output from the background stop it.
    """
    for number in _MEANINGLESS:
        signal.signal(number, lambda *_: None)  # programs that are started here find them as usual
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)  # with a handler the write would be tried again for ever


def _end_with(alive: int) -> None:
    """End at once when the supervisor is gone: another may be started, and must find the socket free."""
    os.read(alive, 1)
    os._exit(1)
