"""Finds something out again and again, in a thread of its own. What hangs holds up nothing else; what was found last
stays known, with its age.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final, Generic, TypeVar

from pacs_server import log
from pacs_server.errors import PacsError

Told = TypeVar("Told")

# A twentieth of one processor, or of the database's time, is enough for counting.
_REST: Final = 19.0
# What took an hour because the database hung is not looked at anew tomorrow.
_MOST_REST_S: Final = 300.0


class Gatherer(Generic[Told]):
    """May be read from any thread."""

    def __init__(
        self, name: str, find: Callable[[], Told], *, every_s: float, late_after_s: float, is_costly: bool = False
    ) -> None:
        """What `is_costly` is done less often when it takes long."""
        self.name = name
        self._find = find
        self._every_s = every_s
        self._rest = _REST if is_costly else 0.0
        self._late_after_s = late_after_s
        self._found_at = float("-inf")
        self._began_at = time.monotonic()
        self._is_busy = True
        self._problem = ""
        self.latest: Told | None = None

    def start(self) -> None:
        """Begin, in a thread that ends with the process."""
        threading.Thread(target=self._run, name=self.name, daemon=True).start()

    @property
    def age_s(self) -> float:
        """How old the latest is; infinite when there is none."""
        return time.monotonic() - self._found_at

    @property
    def problem(self) -> str:
        """Why nothing newer was found; empty when all is well."""
        busy_s = time.monotonic() - self._began_at
        if self._is_busy and busy_s > self._late_after_s:
            return f"no answer for {busy_s:.0f} s"
        return self._problem

    def look(self) -> float:
        """Find it out once; how long to rest then, in seconds."""
        self._began_at, self._is_busy = time.monotonic(), True
        try:
            self.latest = self._find()
            self._found_at, problem = time.monotonic(), ""
        except PacsError as error:
            problem = str(error)
        except Exception as error:  # noqa: BLE001 - the loop of a thread that has to go on
            log.unexpected(f"{self.name} not looked at", error)
            problem = f"{type(error).__name__}: the log says more"
        if problem and not self._problem:
            log.warning(f"{self.name} not looked at", why=problem)
        self._problem, self._is_busy = problem, False
        took_s = 0.0 if problem else time.monotonic() - self._began_at
        return max(self._every_s, min(took_s * self._rest, _MOST_REST_S))

    def _run(self) -> None:
        while True:
            time.sleep(self.look())
