"""Threads that do what there is to do, look again every second or less often, and go on after whatever failed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable
from typing import Final, TypeVar

from pacs_server import log
from pacs_server.errors import IndexUnavailable, PacsError

Thing = TypeVar("Thing")

_LOOK_EVERY_S: Final = 1.0
_SELDOM_S: Final = 5.0  # a look is a question to the database, half a millisecond of the processor
_AFTER_FAILURE_S: Final = 10.0


class Duties:
    """A thread for each duty: a function that does one thing, and answers whether there may be more."""

    def __init__(
        self, what: str, duties: Iterable[tuple[str, Callable[[], bool]]], *, seldom: Collection[str] = ()
    ) -> None:
        """`seldom` are the names of those that nobody waits for; they look every 5 s."""
        self._what = what
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(
                target=self._run,
                args=(duty, _SELDOM_S if name in seldom else _LOOK_EVERY_S),
                name=f"{name}-{number}",
                daemon=True,
            )
            for number, (name, duty) in enumerate(duties)
        ]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Begin nothing new."""
        self._stop.set()

    def is_stopped(self) -> bool:
        """Whether nothing new may begin; a duty that takes long looks now and then."""
        return self._stop.is_set()

    def pause(self, seconds: float) -> bool:
        """Wait so long, less when it is stopped; whether it is."""
        return self._stop.wait(seconds)

    def ended(self, deadline: float) -> bool:
        """Wait for what is under way until a moment of the monotonic clock; whether it ended."""
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _run(self, duty: Callable[[], bool], every_s: float) -> None:
        pause, trouble = 0.0, log.Recurring(f"{self._what} failed", f"{self._what} goes on")
        while not self._stop.wait(pause):
            try:
                pause = 0.0 if duty() else every_s
                trouble.done()
            except PacsError as error:
                trouble.failed(error)
                pause = _AFTER_FAILURE_S
            except Exception as error:  # noqa: BLE001 - the job loop
                log.unexpected(f"{self._what} failed", error)
                pause = _AFTER_FAILURE_S


def each_in_turn(work: Callable[[Thing], None], things: Iterable[Thing]) -> None:
    """Do something for several, of which one that fails keeps none of the others waiting.

    Raises: the last error of those that failed, once all had their turn; IndexUnavailable at once.
    """
    # Empty when it is raised: a frame and the error that came through it hold each other, and all they have open.
    failed: list[PacsError] = []
    for one in things:
        try:
            work(one)
        except IndexUnavailable:
            raise
        except PacsError as error:
            failed = [error]
    if failed:
        raise failed.pop()
