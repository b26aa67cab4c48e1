"""Whose turn it is to send to a destination: of many retrieves that go to one slow peer, some wait for the others."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

# Of one process to one destination. More do not bring it more, but each holds what it has read ahead, up to 4 MiB.
AT_ONCE: Final = 8
_TURN_S: Final = 0.1


class Turns:
    """Those of one process. May be used from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # By AE title: destinations are peers that are registered, so there are only so many.
        self._free: dict[str, threading.Semaphore] = defaultdict(lambda: threading.Semaphore(AT_ONCE))

    @contextmanager
    def turn(self, aet: str, meanwhile: Callable[[], bool]) -> Iterator[bool]:
        """Wait for a turn and hold it for the block. `meanwhile` is called while it is waited for and says whether to
        go on; the block is told whether it has the turn. Raises: what `meanwhile` raises.
        """
        with self._lock:
            free = self._free[aet]
        while not (has_it := free.acquire(timeout=_TURN_S)) and meanwhile():
            pass
        try:
            yield has_it
        finally:
            if has_it:
                free.release()
