"""Threads that serve one connection after the other: starting one takes 100 us, handing over to one that waits 8."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Final, TypeAlias

# Python 3.13 counts to 10,000 before it refuses what a peer nests too deep, for which json takes 1.3 MB of stack.
_STACK_BYTES: Final = 2 << 20
_MAX_SPARE: Final = 8
_SPARE_S: Final = 10.0

Work: TypeAlias = Callable[[], None]


class SpareThreads:
    """As many daemon threads as there is work at once, of which a few wait a moment for more. May be used from any
    thread.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._queue: SimpleQueue[Work] = SimpleQueue()
        self._spare = 0  # that wait for work, without those for whom some is in the queue already

    def run(self, work: Work) -> None:
        """Have it done at once in a thread of its own; it must not raise.

        Raises: RuntimeError when the system has no more threads.
        """
        with self._lock:
            if self._spare:
                self._spare -= 1
                self._queue.put(work)
                return
            before = threading.stack_size(_STACK_BYTES)
            try:
                threading.Thread(target=self._serve, args=(work,), name=self._name, daemon=True).start()
            finally:
                threading.stack_size(before)

    def _serve(self, work: Work | None) -> None:
        while work is not None:
            work()
            work = self._next()

    def _next(self) -> Work | None:
        """The next work; None when this thread is not needed any more."""
        with self._lock:
            if self._spare >= _MAX_SPARE:
                return None
            self._spare += 1
        try:
            return self._queue.get(timeout=_SPARE_S)
        except Empty:
            pass
        with self._lock:
            if self._spare:
                self._spare -= 1
                return None
        return self._queue.get()  # it was counted on at that moment, so its work is here
