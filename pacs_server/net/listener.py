"""The accept path: it reads no byte, each connection has its own thread, and no crowd keeps a good peer out.

Places for associations are taken when a peer's request is here, not when it connects; beyond them it is told so.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from typing import Final, TypeAlias

from pacs_server import log
from pacs_server.errors import ConfigError
from pacs_server.net.connection import IncomingSocket
from pacs_server.net.seats import NEGOTIATING, Claim, Seats
from pacs_server.net.spare_threads import SpareThreads
from pacs_server.settings import NetworkLimits

BACKLOG: Final = 1024

# What a socket for both, bound to `::`, puts before the address of a peer that calls by IPv4. Source: RFC 4291 2.5.5.2.
_MAPPED: Final = "::ffff:"
_MORE_FILES: Final = ": raise the limit of open files (ulimit -n, LimitNOFILE)"
_RESERVED: Final = "choose a port from 1024 on, or have systemd bind it (docs/operate/running.md, pacs.socket)"
_SHORTAGE_PAUSE_S: Final = 0.1
_DRAIN_LOOK_S: Final = 0.05
_COMPLAIN_EVERY_S: Final = 1.0

# As which the server's own calls are counted where their address has all the connections that it may have.
_OWN_CALLS: Final = "own calls"

Serve: TypeAlias = Callable[[IncomingSocket, str, int], None]


class Listener:
    """Accepts connections and has each served in a thread of its own.

    `serve` gets the connection, the peer's address and a number for the log; it must not raise. `is_own_call` says of a
    port of this machine whether the server calls itself from there, to see whether it answers: no crowd keeps that out.
    """

    def __init__(
        self,
        listening: socket.socket,
        limits: NetworkLimits,
        serve: Serve,
        *,
        seats: Seats,
        numbers: Iterator[int],
        is_own_call: Callable[[int], bool] = lambda _: False,
    ) -> None:
        self._socket = listening
        self._limits = limits
        self._serve = serve
        self._seats = seats
        self._numbers = numbers
        self._is_own_call = is_own_call
        self._threads = SpareThreads("association")
        self._changed = threading.Condition()
        self._visitors: dict[int, tuple[IncomingSocket, str]] = {}  # oldest first
        self._seated: dict[int, Claim] = {}
        self._stopping = threading.Event()
        self._wake = os.eventfd(0)
        self._complained_at = float("-inf")
        self._accepting = threading.Thread(target=self._accept_all, name="accept", daemon=True)

    def start(self) -> None:
        """Begin to accept."""
        self._accepting.start()

    def stop(self) -> None:
        """Accept no more connections."""
        self._stopping.set()
        os.eventfd_write(self._wake, 1)
        self._accepting.join()  # while it polls, the kernel keeps the socket open
        os.close(self._wake)
        self._socket.close()  # other processes may go on to accept from it

    def drain(self, timeout_s: float) -> bool:
        """Wait until every connection has ended; one that waits for its peer's next request is ended now.

        False when some are still open after `timeout_s`.
        """
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while self._visitors:
                for visitor, _ in self._visitors.values():
                    if visitor.idle:
                        visitor.dismiss("this server stopped between two requests of the peer")
                left = deadline - time.monotonic()
                if left <= 0:
                    return False
                self._changed.wait(min(left, _DRAIN_LOOK_S))
        return True

    # --- the accept thread ---

    def _accept_all(self) -> None:
        # For those that wait in accept the kernel wakes one process for a connection, and that may be frozen; so all
        # are woken, and the first that runs takes it.
        self._socket.setblocking(False)
        comes = select.poll()
        comes.register(self._socket, select.POLLIN)
        comes.register(self._wake, select.POLLIN)
        while not self._stopping.is_set():
            comes.poll()
            try:
                accepted, peer = self._socket.accept()
            except BlockingIOError:
                continue  # another process was faster
            except OSError as error:
                if self._stopping.is_set() or error.errno == errno.EINVAL:  # the supervisor has shut it down
                    return
                # A peer that has already gone is no matter; without free descriptors waiting is all one can do.
                if error.errno != errno.ECONNABORTED:
                    remedy = _MORE_FILES if error.errno in (errno.EMFILE, errno.ENFILE) else ""
                    self._complain(f"cannot accept connections{remedy}", why=error.strerror)
                    self._stopping.wait(_SHORTAGE_PAUSE_S)
                continue
            self._admit(IncomingSocket(fileno=accepted.detach()), peer)

    def _admit(self, visitor: IncomingSocket, peer: tuple[str, int]) -> None:
        number, address = next(self._numbers), _without_mapping(peer[0])
        with self._changed:
            if len(self._visitors) >= self._limits.max_associations + NEGOTIATING and not self._make_room():
                visitor.close()
                self._complain("too many connections", address=address)
                return
            counted_as = self._counted_as(visitor, address, peer[1])
            if counted_as is None:
                visitor.close()
                self._complain(
                    "too many connections from one address: raise network.max_connections_per_address "
                    "where they are of several peers",
                    address=address,
                )
                return
            visitor.seat = lambda claim: self._seat(number, claim)
            visitor.rise = lambda: self._rise(number)
            visitor.idle = True
            self._visitors[number] = (visitor, counted_as)
        self._start_thread(visitor, address, number)

    def _counted_as(self, visitor: IncomingSocket, address: str, port: int) -> str | None:
        """Under which name a connection was counted; None where its address has as many as it may have."""
        if self._seats.arrive(address):
            return address
        with suppress(OSError):  # it has gone already
            is_of_here = _without_mapping(visitor.getsockname()[0]) == address
            if is_of_here and self._is_own_call(port) and self._seats.arrive(_OWN_CALLS):
                return _OWN_CALLS
        return None

    def _make_room(self) -> bool:
        """End the oldest connection that has not sent its request; its thread then leaves by itself."""
        for number, (visitor, address) in self._visitors.items():
            if number not in self._seated and visitor.idle and not visitor.dismissed:
                visitor.dismiss("the peer said nothing while its place was needed")
                self._complain("too many connections: the oldest silent one is closed", address=address)
                return True
        return False

    def _complain(self, what: str, **facts: object) -> None:
        """Log a warning, but not one for each connection of a flood."""
        now = time.monotonic()
        if now - self._complained_at >= _COMPLAIN_EVERY_S:
            self._complained_at = now
            log.warning(what, **facts)

    def _start_thread(self, visitor: IncomingSocket, address: str, number: int) -> None:
        try:
            self._threads.run(lambda: self._run(visitor, address, number))
        except RuntimeError as error:
            self._complain("cannot serve: raise the limit of threads", why=error)
            self._forget(visitor, number)

    # --- the threads of the connections ---

    def _run(self, visitor: IncomingSocket, address: str, number: int) -> None:
        try:
            self._serve(visitor, address, number)
        finally:
            self._forget(visitor, number)

    def _seat(self, number: int, claim: Claim) -> bool:
        if not claim.takes_place:
            return True
        with self._changed:
            if not self._seats.sit(claim):
                return False
            self._seated[number] = claim
            return True

    def _rise(self, number: int) -> None:
        with self._changed:
            if (claim := self._seated.pop(number, None)) is not None:
                self._seats.rise(claim)

    def _forget(self, visitor: IncomingSocket, number: int) -> None:
        visitor.close()
        with self._changed:
            _, counted_as = self._visitors.pop(number)
            self._seats.leave(counted_as, seated=self._seated.pop(number, None))
            self._changed.notify_all()


def _without_mapping(address: str) -> str:
    return address.removeprefix(_MAPPED)


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0 asks the system for one.

    Raises: ConfigError when the address cannot be listened on.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        with ExitStack() as unless_listening:
            listening = unless_listening.enter_context(socket.socket(family, socket.SOCK_STREAM))
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
            listening.listen(BACKLOG)
            unless_listening.pop_all()
    except OSError as error:
        remedy = _RESERVED if error.errno == errno.EACCES else "choose another host or port, or stop what uses it"
        if isinstance(error, socket.gaierror):
            remedy = "name an address, or put the name into /etc/hosts, for which no name server has to be up"
        raise ConfigError(f"cannot listen on {host}:{port}: {error.strerror}; {remedy}") from error
    return listening
