"""One TCP connection as a stream of PDU events and a way to send: blocking, with a deadline for everything.

The kernel holds the time-outs (SO_RCVTIMEO, SO_SNDTIMEO), so that a receive is one system call, not poll and recv.
"""

from __future__ import annotations

import contextlib
import select
import socket
import time
from collections.abc import Callable, Sequence
from struct import Struct
from typing import Final

from pacs_server.dicom.elements import Buffer
from pacs_server.errors import PeerAborted, PeerTimedOut
from pacs_server.net.seats import NOBODY, Claim
from pacs_server.net.wire import Event, PduReader, abort_pdu
from pacs_server.settings import NetworkLimits

# How long, and how much, is read after our last PDU. Unread bytes would make the kernel send RST, which destroys
# that PDU at the peer before it is read. Source: PS3.8 section 9.1.5 (ARTIM timer).
LINGER_S: Final = 1.0
LINGER_BYTES: Final = 1 << 20

# What a peer has to take within `send_timeout_s`, or send of a PDU within `pdu_timeout_s`, where that is not all. A
# mebibyte of an object is sent at once: over a line of 256 kbit/s that two share, it takes more than a minute. A PDU of
# 128 KiB takes half a minute where thirty stations of a clinic share 2 Mbit/s and some packets are lost.
_LEAST_MOVED_BYTES: Final = 65_536
# The kernel lets a send that took some bytes wait for its whole time-out, and does not tell when it took them: with one
# of `send_timeout_s` a peer that reads nothing was waited for three times as long.
_SENDS_PER_TIMEOUT: Final = 10

# The source in an A-ABORT (PS3.8 section 9.3.8).
BY_USER: Final = 0
BY_PROVIDER: Final = 2

_BUFFERS_PER_CALL: Final = 512  # below IOV_MAX, 1024
_TURN_S: Final = 0.5  # how often `meanwhile` has a turn
_TIMEVAL: Final = Struct("@ll")
_QUICKACK: Final[int | None] = getattr(socket, "TCP_QUICKACK", None)
_USER_TIMEOUT: Final[int | None] = getattr(socket, "TCP_USER_TIMEOUT", None)


def always_seated(_: Claim) -> bool:
    """The answer of a connection that no listener counts."""
    return True


def never_seated() -> None:
    """A connection that no listener counts has no place to give back."""


class IncomingSocket(socket.socket):
    """A connection that a listener let in.

    `seat` takes one of the places for associations, once the peer's request is here; False when all are taken. `rise`
    gives it back, before the peer can see the end of its association: it may come again at once.
    `idle` is True while nothing would be lost by closing it; `dismissed` is why the listener has asked it to end.
    """

    seat: Callable[[Claim], bool] = staticmethod(always_seated)
    rise: Callable[[], None] = staticmethod(never_seated)
    idle: bool = False
    dismissed: str = ""

    def dismiss(self, why: str) -> None:
        """Let whoever waits for the peer on this connection wake up and end it; from any thread."""
        self.dismissed = why
        with contextlib.suppress(OSError):  # it has ended already
            self.shutdown(socket.SHUT_RD)


class Connection:
    """The PDUs of one socket. Belongs to one thread."""

    def __init__(self, sock: socket.socket, limits: NetworkLimits) -> None:
        self.claim = NOBODY
        self.confirms_identity = False  # whether the peer may be told that its user was believed
        self._socket = sock
        self._limits = limits
        self._reader = PduReader(limits.max_pdu_bytes)
        self._poll = select.poll()
        self._poll.register(sock, select.POLLIN)
        self._receive_timeout_s = 0.0
        self._received_at = time.monotonic()
        self._began_at = self._received_at  # when the first byte of the unfinished PDU came, or enough of it
        self._began = -1  # the number of that PDU
        self._came_bytes = 0  # since then
        sock.setblocking(True)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._set_timeout(socket.SO_SNDTIMEO, limits.send_timeout_s / _SENDS_PER_TIMEOUT)
        if _USER_TIMEOUT is not None:
            # Pending responses to a requester that is cut off fit into the buffers of the kernel, which goes on trying
            # for a quarter of an hour, and its retrieve with it.
            cut_off_s = max(limits.idle_timeout_s, limits.send_timeout_s)
            sock.setsockopt(socket.IPPROTO_TCP, _USER_TIMEOUT, int(cut_off_s * 1_000))

    def _set_timeout(self, option: int, seconds: float) -> None:
        whole = int(seconds)
        self._socket.setsockopt(socket.SOL_SOCKET, option, _TIMEVAL.pack(whole, int((seconds - whole) * 1e6) or 1))

    def mark_idle(self, idle: bool) -> None:
        """Tell the listener whether the connection may be closed without loss."""
        if isinstance(self._socket, IncomingSocket):
            self._socket.idle = idle

    @property
    def is_between_requests(self) -> bool:
        """Whether the peer is between two requests, and no PDU of the next has begun."""
        return isinstance(self._socket, IncomingSocket) and self._socket.idle and not self._reader.mid_pdu

    def seat(self) -> bool:
        """Take a place for an association with the `claim` of its caller; False when the listener has none for it."""
        return self._socket.seat(self.claim) if isinstance(self._socket, IncomingSocket) else True

    # --- receiving ---

    def next_event(self, wait_s: float, *, whole: bool = False, meanwhile: Callable[[], None] | None = None) -> Event:
        """The next event. Its first byte may take `wait_s`, the rest of its PDU `pdu_timeout_s` from there, and again
        from each 64 KiB of it.

        With `whole`, all of it must be here within `wait_s`. `meanwhile` is called twice a second until then.
        Raises: BadPdu; PeerAborted when the connection ended; PeerTimedOut.
        """
        event = self._reader.next()
        if event is not None:
            return event
        last = time.monotonic() + wait_s
        while True:
            begun = self._pdu_deadline()
            deadline = last if begun is None else min(begun, last) if whole else begun
            self._wait_until(deadline, _TURN_S if meanwhile else self._limits.pdu_timeout_s)
            self._receive()
            event = self._reader.next()
            if event is not None:
                return event
            if meanwhile:
                meanwhile()

    def _pdu_deadline(self) -> float | None:
        """When the PDU that has begun must be whole, or enough of it more be here; None when none has begun."""
        if not self._reader.mid_pdu:
            return None
        if self._began != self._reader.finished or self._came_bytes >= _LEAST_MOVED_BYTES:
            self._began, self._began_at, self._came_bytes = self._reader.finished, self._received_at, 0
        return self._began_at + self._limits.pdu_timeout_s

    def waiting_event(self) -> Event | None:
        """The next event if it is here already.

        Raises: BadPdu; PeerAborted when the connection ended.
        """
        event = self._reader.next()
        while event is None and self._is_waiting(0):
            self._receive()
            event = self._reader.next()
        return event

    def is_quiet(self, wait_s: float) -> bool:
        """Wait until something comes, at most `wait_s`; whether nothing did."""
        return not self._reader.mid_pdu and not self._is_waiting(wait_s)

    def _is_waiting(self, wait_s: float) -> bool:
        """Wait until something may be taken, at most `wait_s`; whether there is."""
        return bool(self._poll.poll(wait_s * 1_000))

    def _wait_until(self, deadline: float, step_s: float) -> None:
        """Set how long the next receive may block, at most a step.

        Raises: PeerTimedOut once the deadline is over, unless something has come: we may be who was slow.
        """
        left = deadline - time.monotonic()
        if left <= 0 and not self._is_waiting(0):
            raise PeerTimedOut(
                "the peer took too long to send " + ("a whole PDU" if self._reader.mid_pdu else "anything")
            )
        # Waiting in steps of one length saves setting the option for each change of phase.
        left = max(min(left, step_s), 0.001)
        if not 0.5 * left <= self._receive_timeout_s <= 1.05 * left:
            self._set_timeout(socket.SO_RCVTIMEO, left)
            self._receive_timeout_s = left

    def _receive(self) -> None:
        """Receive once; nothing when the time-out of the socket passed."""
        try:
            count = self._take(self._reader.writable())
        except BlockingIOError:
            return
        except OSError as error:
            raise PeerAborted(f"the connection broke: {error.strerror or error}") from error
        if count == 0:
            if isinstance(self._socket, IncomingSocket) and self._socket.dismissed:
                raise PeerTimedOut(self._socket.dismissed)
            raise PeerAborted("the peer closed the connection")
        self._received_at = time.monotonic()
        self._came_bytes += count
        self._reader.received(count)

    def _take(self, into: memoryview) -> int:
        """What came from the peer, some bytes of it; 0 when it has ended.

        Raises: BlockingIOError when the time-out passed; OSError.
        """
        count = self._socket.recv_into(into)
        if count and _QUICKACK is not None:
            # A sender with Nagle's algorithm waits 40 ms for our delayed ACK else; the kernel forgets it each time.
            self._socket.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)
        return count

    # --- sending ---

    def send(self, buffers: Sequence[Buffer]) -> None:
        """Send all of the buffers, as few system calls as possible; they must not change meanwhile.

        Raises: PeerAborted when the connection ended; PeerTimedOut when the peer takes less than 64 KiB, or the rest,
        within `send_timeout_s`.
        """
        for first in range(0, len(buffers), _BUFFERS_PER_CALL):
            self._put(list(buffers[first : first + _BUFFERS_PER_CALL]))

    def _put(self, buffers: list[Buffer]) -> None:
        """Send all of them. Raises: PeerAborted; PeerTimedOut."""
        left = sum(map(len, buffers))
        deadline, renewed_at = time.monotonic() + self._limits.send_timeout_s, left - _LEAST_MOVED_BYTES
        while True:
            try:
                sent = self._socket.sendmsg(buffers)
            except BlockingIOError:
                sent = 0
            except OSError as error:
                raise PeerAborted(f"the connection broke: {error.strerror or error}") from error
            left -= sent
            if left == 0:
                return
            if left <= renewed_at:
                deadline, renewed_at = time.monotonic() + self._limits.send_timeout_s, left - _LEAST_MOVED_BYTES
            elif time.monotonic() >= deadline:
                raise PeerTimedOut("the peer took too long to take what was sent")
            buffers = _without(buffers, sent)

    # --- the end ---

    def abort(self, source: int, reason: int) -> None:
        """Send an A-ABORT if the peer takes it, and close."""
        self._say_last(abort_pdu(source, reason))

    def finish(self, last_pdu: bytes) -> None:
        """Send our last PDU, let the peer read it, and close. Never raises."""
        self._say_last(last_pdu)

    def _say_last(self, pdu: bytes) -> None:
        if isinstance(self._socket, IncomingSocket):
            self._socket.rise()
        with contextlib.suppress(OSError):  # the peer is gone, or its window is full: there is nobody to say it to
            self._socket.send(self._sealed(pdu), socket.MSG_DONTWAIT)
            self._socket.shutdown(socket.SHUT_WR)
            self._read_out()
        self.close()

    def _sealed(self, pdu: bytes) -> bytes:
        """What goes over the wire for the last PDU."""
        return pdu

    def _read_out(self) -> None:
        """Read what still comes until the peer closes. Raises: OSError."""
        scrap = bytearray(65_536)
        deadline, total = time.monotonic() + LINGER_S, 0
        while total < LINGER_BYTES and (left := deadline - time.monotonic()) > 0:
            if not self._poll.poll(left * 1_000):
                return
            count = self._socket.recv_into(scrap)
            if count == 0:
                return
            total += count

    def close(self) -> None:
        """Close the socket; nothing more is sent."""
        self._socket.close()


def _without(buffers: list[Buffer], sent: int) -> list[Buffer]:
    """What is left of the buffers after their first `sent` bytes."""
    for index, buffer in enumerate(buffers):
        if sent < len(buffer):
            return [memoryview(buffer)[sent:], *buffers[index + 1 :]]
        sent -= len(buffer)
    return []
