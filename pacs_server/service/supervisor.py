"""Runs the archive in the foreground: one instance per data directory, drained on SIGTERM, reloaded on SIGHUP.

The supervisor binds the sockets and keeps the processes alive that accept from them, the one that keeps house and the
one that watches. It has one thread of its own, reads nothing that comes from outside, and leaves index and volumes
alone once it has seen that the schema is right, so that it outlives all of them.
"""

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
from datetime import UTC, datetime
from functools import partial
from typing import Final, TypeAlias

from pacs_server import log, metrics
from pacs_server.errors import ConfigError, PacsError
from pacs_server.index.schema import open_current
from pacs_server.net.listener import listen
from pacs_server.net.seats import Seats
from pacs_server.net.secure import incoming_context
from pacs_server.net.tls import own_fingerprint
from pacs_server.service.board import Board
from pacs_server.service.exposure import addresses_of_machine, refuse_public, refuse_public_monitoring
from pacs_server.service.housekeeping import keep_house
from pacs_server.service.locks import instance_lock
from pacs_server.service.manager import Manager
from pacs_server.service.reloading import Reloading
from pacs_server.service.resources import keep_freed_memory, open_more_files
from pacs_server.service.telling import forget_workers, server_teller
from pacs_server.service.watching import watch
from pacs_server.service.worker import DRAIN_S, Doors, serve_associations
from pacs_server.settings import ClientCertificates, Settings

# A process that gives no sign for so long is stuck: it looks at its volumes, with deadlines, between two of them.
_SILENT_S: Final = 120.0
# When no port has answered for so long, the service manager is told no more that all is well, and starts it anew.
_UNANSWERED_S: Final = 120.0
# After so many times that, killing it and beginning it anew did not help either.
_UNWELL_AFTER: Final = 1.5
_LOOK_S: Final = 1.0
_BEGIN_LOOK_S: Final = 0.02
# One that ends at once is not started again in the same moment.
_BEGIN_AGAIN_S: Final = 1.0
_END_S: Final = DRAIN_S + 5.0
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)

Work: TypeAlias = Callable[[Callable[[float], bool]], bool]
Address: TypeAlias = tuple[str | None, int | None]


def serve(
    load: Callable[[], Settings],
    *,
    announce: Callable[[str], None],
    begun: Callable[[Settings, Address, Address], None],
) -> None:
    """Serve until SIGTERM or SIGINT, then let running operations end, at most 30 s.

    `load` reads the settings; it is called again on SIGHUP, when the log settings take effect. `announce` is told what
    this site is to its partners, and one line once associations are accepted. `begun` is called before that line, with
    the addresses that peers call: without TLS, and over TLS.

    Raises: Busy when another server runs on this data directory; ConfigError, IndexUnavailable or SchemaMismatch.
    """
    settings = load()
    log.configure(settings.log.level, settings.log.file)
    open_more_files(settings.network.max_associations)
    keep_freed_memory()
    with instance_lock(settings.data_dir):
        open_current(settings.database).close()
        manager = Manager()
        doors = _doors(settings, manager)
        partner_port = _listen_for_partners(settings)
        http = _listen_for_monitoring(settings)
        seats = Seats(settings.network, processes=settings.workers_here, listeners=len(doors.open()))
        board = Board(settings.workers_here + 2)
        works: list[tuple[str, Work]] = [
            (f"worker {number}", partial(serve_associations, settings, doors, seats, board, number))
            for number in range(settings.workers_here)
        ]
        works += [
            ("housekeeping", partial(keep_house, settings, partner_port, announce)),
            ("watching", partial(watch, settings, doors, http, board)),
        ]
        forget_workers(settings.data_dir)
        teller = server_teller(settings.data_dir)
        ports = [*doors.open(), *([http] if http else [])]
        crew = Crew(Reloading(load, settings).reload, ports, seats, board, works)
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            crew.begin()
            addresses = _addresses(settings, doors)
            log.info("listening", **addresses, processes=settings.workers_here)
            teller.tell(
                addresses
                | {
                    "pid": os.getpid(),
                    "partner_port": partner_port.getsockname()[1] if partner_port else None,
                    "http_port": http.getsockname()[1] if http else None,
                    "started_at": datetime.now(UTC).isoformat(timespec="seconds"),
                }
            )
            manager.tell("READY=1")
            begun(settings, doors.plain_address, doors.secured_address)
            for address, how in ((doors.plain_address, ""), (doors.secured_address, " for TLS")):
                if address[1] is not None:
                    announce(f"{settings.aet} listens{how} on {address[0]}:{address[1]}")
            crew.watch(manager)
            manager.tell("STOPPING=1")
            drained = crew.end()
        finally:
            crew.kill()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            teller.forget()
            forget_workers(settings.data_dir)
        log.info("stopped", drained=drained)


def _addresses(settings: Settings, doors: Doors) -> dict[str, object]:
    (host, port), (tls_host, tls_port) = doors.plain_address, doors.secured_address
    return {"aet": settings.aet, "host": host, "port": port, "tls_host": tls_host, "tls_port": tls_port}


def _doors(settings: Settings, manager: Manager) -> Doors:
    """The sockets that peers connect to. Raises: ConfigError."""
    plain, secured = manager.socket(), None
    if plain is None and settings.port is not None:
        plain = listen(settings.host, settings.port)
    if plain is not None and not settings.public_without_tls:
        refuse_public(str(plain.getsockname()[0]), addresses_of_machine())
    if settings.tls.port is not None:
        incoming_context(settings.tls_files, ClientCertificates(settings.tls.client_certificates))
        secured = listen(settings.tls_host, settings.tls.port)
    return Doors(plain=plain, secured=secured)


def _listen_for_partners(settings: Settings) -> socket.socket | None:
    """It stays open while the process that answers is replaced: partners wait a moment longer then.

    Raises: ConfigError.
    """
    if settings.partner.port is None:
        return None
    own_fingerprint(settings.tls_files)
    listening = listen(settings.partner.host, settings.partner.port)
    host, port = listening.getsockname()[:2]
    log.info("listening for partners", host=host, port=port)
    return listening


def _listen_for_monitoring(settings: Settings) -> socket.socket | None:
    """Where the port is taken, or the address is public, the archive serves without it: monitoring notices that it has
    no answer.
    """
    if settings.http.port is None:
        return None
    try:
        refuse_public_monitoring(settings.http.host, addresses_of_machine())
        listening = listen(settings.http.host, settings.http.port)
    except ConfigError as error:
        log.warning("monitoring is not answered", why=error)
        return None
    host, port = listening.getsockname()[:2]
    log.info("listening for monitoring", host=host, port=port)
    return listening


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
        self._signs = memoryview(mmap.mmap(-1, 8 * len(works))).cast("d")  # when each gave a sign last
        self._signed_at = [0.0] * len(works)  # the same, also of those that were replaced
        self._begun_at = [float("-inf")] * len(works)
        self._pids: dict[int, int] = {}  # number by process
        self._killed: set[int] = set()  # those of them that were stuck, and whose end is not seen yet
        self._is_to_end = False
        # Its other end is closed by the kernel when the supervisor is killed.
        self._alive, self._held = os.pipe()

    def begin(self) -> None:
        """Start every process, and wait until each has begun.

        Raises: ConfigError when one ends instead; its log line says why.
        """
        gc.collect()
        gc.freeze()  # what all share is not copied for its reference counts
        for number in range(len(self._works)):
            self._fork(number)
        while not all(self._signs) and not self._is_to_end:
            self._wait(_BEGIN_LOOK_S)
            self._board.turn()
            if self._reap():
                raise ConfigError("a process of the server ended while it started; the log says why")

    def watch(self, manager: Manager) -> None:
        """Replace what dies or is stuck, until SIGTERM or SIGINT."""
        while not self._is_to_end:
            self._wait(_LOOK_S)
            self._reap()
            self._kill_stuck()
            for number in set(range(len(self._works))) - set(self._pids.values()):
                if time.monotonic() - self._begun_at[number] >= _BEGIN_AGAIN_S:
                    self._fork(number)
            self._board.turn()
            self._signed_at = list(map(max, self._signed_at, self._signs))
            if self._is_well():
                manager.tell("WATCHDOG=1")

    def _is_well(self) -> bool:
        """Whether every process gives signs, or the one in its place, and a port answers. A service manager that is not
        told so for long begins the whole server anew.
        """
        gives_signs = time.monotonic() - min(self._signed_at) < _UNWELL_AFTER * _SILENT_S
        return gives_signs and self._board.unanswered_s() < _UNANSWERED_S

    def _wait(self, seconds: float) -> None:
        """Wait for a signal, at most so long, and do what it says."""
        told = signal.sigtimedwait(_SIGNALS, seconds)
        if told is not None and told.si_signo in (signal.SIGTERM, signal.SIGINT):
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
            signal.sigtimedwait(_SIGNALS, _LOOK_S)
            drained = self._reap() == 0 and drained
        return drained and not self._pids

    def kill(self) -> None:
        """End what is left at once."""
        self._signal_all(signal.SIGKILL)
        while self._pids:
            self._forget(os.wait()[0])

    def _signal_all(self, number: int) -> None:
        for pid in self._pids:
            os.kill(pid, number)

    def _reap(self) -> int:
        """Forget the processes that have ended; how many of them did not end well."""
        failed = 0
        while self._pids:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            code = os.waitstatus_to_exitcode(status)
            name = self._forget(pid)
            if code:
                failed += 1
                metrics.add(metrics.REPLACED, name)
                self._board.post_past()
                log.error("process ended", process=name, pid=pid, code=code)
        return failed

    def _forget(self, pid: int) -> str:
        number = self._pids.pop(pid)
        self._killed.discard(pid)
        self._signs[number] = 0.0
        name, _ = self._works[number]
        self._board.keep(number, pid)
        if number < self._seats.processes:
            self._seats.give_back(number)
        return name

    def _kill_stuck(self) -> None:
        for pid, number in self._pids.items():
            # One that waits for a dead disk ends later, however often it is killed.
            if (
                pid not in self._killed
                and time.monotonic() - max(self._signs[number], self._begun_at[number]) > _SILENT_S
            ):
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
        stop, reload = threading.Event(), threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: stop.set())
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # of the terminal; the supervisor gets it too, and says what to do
        signal.signal(signal.SIGHUP, lambda *_: reload.set())
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        metrics.forget()
        if number < self._seats.processes:
            self._seats.take_part(number)

        def is_stopped(wait_s: float) -> bool:
            self._signs[number] = time.monotonic()
            self._board.post(number)
            if reload.is_set():
                reload.clear()
                self._reload()
            return stop.wait(wait_s)

        _, work = self._works[number]
        is_well = work(is_stopped)
        self._board.post(number)
        return 0 if is_well else 1


def _end_with(alive: int) -> None:
    """End at once when the supervisor is gone: another may be started, and must find the socket free."""
    os.read(alive, 1)
    os._exit(1)
