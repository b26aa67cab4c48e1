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
from pacs_server.dicom.recoding import Recoding
from pacs_server.errors import Unconvertible, Undecodable
from pacs_server.settings import TranscodingLimits

Meanwhile = Callable[[], None]

_STEP_S: Final = 0.5  # how often somebody who waits for a frame is given a turn
_READ_BYTES: Final = 1 << 20
# Of what a codec makes of a frame and what it needs beside it: never a reason to believe a child that tells of more.
_OVERHEAD_BYTES: Final = 1 << 20


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
        """A child of one's own, warm if there is one. `meanwhile` is called while it is waited for."""
        while not self._seats.acquire(timeout=_STEP_S):
            meanwhile()
        child = self._take()
        try:
            yield child
        finally:
            self._give_back(child)
            self._seats.release()

    def _take(self) -> _Child:
        with self._lock:
            while self._idle:
                if (child := self._idle.pop()).is_alive:
                    return child
                self._all.discard(child)
            child = _Child(self._limits)
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
            while self._all:
                self._all.pop().end()


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
        assert_pipes = self._process.stdin, self._process.stdout
        self._to, self._from = (pipe.fileno() for pipe in assert_pipes if pipe is not None)
        os.set_blocking(self._to, False)
        os.set_blocking(self._from, False)
        self.is_usable = True

    @property
    def is_alive(self) -> bool:
        """Whether the process lives."""
        return self._process.poll() is None

    def recode(self, recoding: Recoding, frame: Buffer, meanwhile: Meanwhile) -> bytes:
        """The frame in its new coding. `meanwhile` is called twice a second while it is waited for.

        Raises: Undecodable when the frame is damaged, or took more time or memory than it may; Unconvertible when it
        cannot be coded so without loss; whatever `meanwhile` raises.
        """
        self.is_usable = False
        deadline = time.monotonic() + self._limits.frame_timeout_s
        waiting = [memoryview(piece).cast("B") for piece in encode_request(recoding, frame)]
        answer = bytearray()
        wanted = ANSWER.size
        poll = select.poll()
        poll.register(self._from, select.POLLIN)
        poll.register(self._to, select.POLLOUT)
        while len(answer) < wanted:
            left = deadline - time.monotonic()
            if left <= 0:
                self.end()
                raise Undecodable(f"a frame took longer than {self._limits.frame_timeout_s:g} s to be decoded")
            ready = dict(poll.poll(1_000 * min(left, _STEP_S)))
            if not ready:
                meanwhile()
            if self._to in ready and self._written(waiting):
                poll.unregister(self._to)
            if self._from in ready:
                answer += self._received()
                if len(answer) >= ANSWER.size:
                    wanted = ANSWER.size + self._told_bytes(answer, recoding)
        self.is_usable = True
        return _content(answer)

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
        raise Undecodable(f"the decoder {_ending(self._process.returncode)} by a frame")

    def _told_bytes(self, answer: bytearray, recoding: Recoding) -> int:
        _, size = ANSWER.unpack_from(answer)
        if size > 2 * recoding.native_bytes + _OVERHEAD_BYTES:
            self.end()
            raise Undecodable(f"the decoder made {size} bytes of a frame of {recoding.native_bytes}")
        return int(size)

    def end(self) -> None:
        """End the process, whatever it does."""
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
