"""When this process was not let run. A virtual machine stands still while its snapshot is taken or it is moved to
another host, for half a minute at times: no volume answers meanwhile, and none is to blame.
"""

from __future__ import annotations

import threading
import time
from typing import Final

# Who waits looks up so often: a standstill is known as exactly.
_LOOK_S: Final = 1.0
# Who is woken later than this was not let run. On a busy machine it is a third of it.
_HELD_UP_S: Final = 1.0
# As many are remembered; who waits for longer than these took waits for the rest.
_REMEMBERED: Final = 8


class Standstills:
    """The latest standstills of this process, as those notice who wait. May be used from any thread."""

    def __init__(self) -> None:
        self._noting = threading.Lock()
        self._spans: tuple[tuple[float, float], ...] = ()

    def since(self, moment: float) -> float:
        """How many seconds were lost after a moment of `time.monotonic`."""
        return sum(max(0.0, end - max(begin, moment)) for begin, end in self._spans)

    def acquire(self, lock: threading.Lock, within_s: float) -> bool:
        """Acquire a lock within so many seconds, or look up sooner, without it: whoever waits reckons anew then."""
        began, asked_s = time.monotonic(), min(max(0.0, within_s), _LOOK_S)
        if lock.acquire(timeout=asked_s):
            return True
        if time.monotonic() > began + asked_s + _HELD_UP_S:
            self._note(began)
        return False

    def _note(self, began: float) -> None:
        with self._noting:
            latest = self._spans[-1][1] if self._spans else began  # which another one who waits may have noted
            self._spans = (*self._spans[1 - _REMEMBERED :], (max(began, latest), time.monotonic()))
