"""A few warm processes that recode frames. One that crashes, hangs or answers nonsense is ended and replaced."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from pacs_server.codecs.protocol import ANSWER, Outcome, encode_request
from pacs_server.dicom.elements import Buffer
from pacs_server.dicom.pixels.recoding import Recoding
from pacs_server.errors import DecoderUnavailable, Unconvertible, Undecodable
from pacs_server.settings import TranscodingLimits

Meanwhile = Callable[[], None]

_STEP_S: Final = 0.5  # how often somebody who waits for a frame is given a turn
_READ_BYTES: Final = 1 << 20
_START_S: Final = 60.0
# Of what a codec makes of a frame and what it needs beside it: never a reason to believe a child that tells of more.
_OVERHEAD_BYTES: Final = 1 << 20
_REMEDY: Final = "look whether this machine has memory, processes and open files left"


class Pool:
    """At most as many children as the settings say, started when they are first needed. May be used from any thread."""

    def __init__(self, limits: TranscodingLimits) -> None:
        self._limits = limits
        self._seats = threading.Semaphore(limits.processes)
        self._lock = threading.Lock()
        self._idle: list[_Child] = []
        self._all: set[_Child] = set()
        self._closed = False

    @contextmanager
    def child(self, meanwhile: Meanwhile) -> Iterator[_Child]:
        """A child of one's own, warm if there is one. `meanwhile` is called while it is waited for.

        Raises: DecoderUnavailable when none can be started, or the pool was closed; whatever `meanwhile` raises.
        """
        with self._seat(meanwhile):
            child = self._take()
            try:
                yield child
            finally:
                self._give_back(child)

    @contextmanager
    def _seat(self, meanwhile: Meanwhile) -> Iterator[None]:
        while not self._seats.acquire(timeout=_STEP_S):
            meanwhile()
        try:
            yield
        finally:
            self._seats.release()

    def _take(self) -> _Child:
        with self._lock:
            if self._closed:
                raise DecoderUnavailable("no decoder is started any more because the server ends")
            while self._idle:
                if (child := self._idle.pop()).is_alive:
                    return child
                self._all.discard(child)
            try:
                child = _Child(self._limits)
            except OSError as error:
                raise DecoderUnavailable(f"no decoder can be started: {error}; {_REMEDY}") from error
            self._all.add(child)
            return child

    def _give_back(self, child: _Child) -> None:
        with self._lock:
            if child.is_usable and not self._closed:
                self._idle.append(child)
            else:
                child.end()
                self._all.discard(child)

    def close(self) -> None:
        """End every child, also one that works."""
        with self._lock:
            self._closed = True
            while self._idle:
                self._idle.pop().end()
            for child in self._all:
                child.dismiss()


class _Child:
    """One process and its two pipes; belongs to whoever borrowed it."""

    def __init__(self, limits: TranscodingLimits) -> None:
        self._limits = limits
        cpu_s = str(max(1, int(limits.frame_timeout_s)))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "pacs_server.codecs.child", str(limits.memory_bytes), cpu_s],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            # One processor each: several frames at once come from several children.
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
        )
        pipes = self._process.stdin, self._process.stdout
        self._to, self._from = (pipe.fileno() for pipe in pipes if pipe is not None)
        os.set_blocking(self._to, False)
        os.set_blocking(self._from, False)
        self.is_usable = True
        self._has_started = False
        self._is_dismissed = False

    @property
    def is_alive(self) -> bool:
        """Whether the process lives."""
        return self._process.poll() is None

    def recode(self, recoding: Recoding, frame: Buffer, meanwhile: Meanwhile) -> bytes:
        """The frame in its new coding. `meanwhile` is called twice a second while it is waited for.

        Raises: Undecodable when the frame is damaged, took more time or memory than it may, or ended the process;
        DecoderUnavailable when that did not start, or was ended with its pool; Unconvertible when the frame cannot be
        coded so without loss; whatever `meanwhile` raises.
        """
        self.is_usable = False
        if not self._has_started:  # loading numpy takes 0.4 s, on a busy machine far longer: no frame pays for it
            self._exchange([], _START_S, 0, meanwhile)
            self._has_started = True
        request = [memoryview(piece).cast("B") for piece in encode_request(recoding, frame)]
        most_bytes = 2 * recoding.native_bytes + _OVERHEAD_BYTES
        answer = self._exchange(request, self._limits.frame_timeout_s, most_bytes, meanwhile)
        self.is_usable = True
        return _content(answer)

    def _exchange(
        self, waiting: list[memoryview], timeout_s: float, most_bytes: int, meanwhile: Meanwhile
    ) -> bytearray:
        """Write a request and read the answer to it, of at most so many bytes. Raises: what `_error` makes."""
        deadline = time.monotonic() + timeout_s
        answer = bytearray()
        wanted = ANSWER.size
        poll = select.poll()
        poll.register(self._from, select.POLLIN)
        if waiting:
            poll.register(self._to, select.POLLOUT)
        while len(answer) < wanted:
            left = deadline - time.monotonic()
            if left <= 0:
                self.end()
                raise self._error(f"the decoder took longer than {timeout_s:g} s")
            ready = dict(poll.poll(1_000 * min(left, _STEP_S)))
            if not ready:
                meanwhile()
            if self._to in ready and self._written(waiting):
                poll.unregister(self._to)
            if self._from in ready:
                answer += self._received()
                if len(answer) >= ANSWER.size:
                    wanted = ANSWER.size + self._told_bytes(answer, most_bytes)
        return answer

    def _written(self, waiting: list[memoryview]) -> bool:
        """Write what the pipe takes; whether that was all. A child that reads no more is noticed when it is read."""
        with contextlib.suppress(BlockingIOError, BrokenPipeError):
            while waiting:
                sent = os.write(self._to, waiting[0])
                waiting[0] = waiting[0][sent:]
                if not waiting[0]:
                    waiting.pop(0)
        return not waiting

    def _received(self) -> bytes:
        if some := os.read(self._from, _READ_BYTES):
            return some
        self.end()
        raise self._error(f"the decoder {_ending(self._process.returncode)}")

    def _told_bytes(self, answer: bytearray, most_bytes: int) -> int:
        _, size = ANSWER.unpack_from(answer)
        if size > most_bytes:
            self.end()
            raise self._error(f"the decoder tells of {size} bytes where {most_bytes} are the most that can be")
        return int(size)

    def _error(self, why: str) -> DecoderUnavailable | Undecodable:
        """Whatever happens while a frame is decoded is taken for its doing: else, an object that ends each
        decoder would be tried for ever.
        """
        if self._is_dismissed:
            return DecoderUnavailable(f"{why} because the server ends")
        if not self._has_started:
            return DecoderUnavailable(f"no decoder can be started: {why}; {_REMEDY}")
        return Undecodable(f"a frame cannot be decoded: {why}")

    def dismiss(self) -> None:
        """End the process; whoever borrowed it sees that, and closes the pipes. From any thread."""
        self._is_dismissed = True
        self._process.kill()

    def end(self) -> None:
        """End the process, whatever it does, and close the pipes."""
        self.is_usable = False
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._process.wait()


def _content(answer: bytearray) -> bytes:
    outcome, _ = ANSWER.unpack_from(answer)
    content = bytes(memoryview(answer)[ANSWER.size :])
    if outcome == Outcome.UNSUITABLE:
        raise Unconvertible(content.decode(errors="replace"))
    if outcome != Outcome.DONE:
        raise Undecodable(f"a frame cannot be decoded: {content.decode(errors='replace')}")
    return content


def _ending(code: int) -> str:
    """How a process ended, in words."""
    if code == -signal.SIGXCPU:
        return "took too much processor time and was ended"
    if code < 0 and -code in set(signal.Signals):
        return f"was ended ({signal.Signals(-code).name})"
    return f"ended with {code}"
