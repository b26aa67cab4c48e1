"""One line for each finished deed: a word, then `name=value` pairs with everything a peer controls escaped and cut."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

_LOGGER = logging.getLogger("pacs")

MAX_VALUE_CHARACTERS = 200
MAX_REASON_CHARACTERS = 600  # ours: what it is about, the words of a database, and what to do
_AGAIN_S = 60.0


def escaped(value: object, most: int = MAX_VALUE_CHARACTERS) -> str:
    """The value as one word: control characters and quotes escaped, cut at `most`, quoted if it has spaces."""
    text = str(value)
    shown = "".join(map(_visible, text[:most]))
    if len(text) > most:
        shown += "..."
    return f'"{shown}"' if not shown or " " in shown else shown


def _visible(character: str) -> str:
    if character.isprintable() and character not in '"\\':
        return character
    return character.encode("unicode_escape").decode("ascii") if character != '"' else '\\"'


def _line(deed: str, facts: dict[str, object]) -> str:
    told = (
        f"{name}={escaped(value, MAX_REASON_CHARACTERS if name == 'why' else MAX_VALUE_CHARACTERS)}"
        for name, value in facts.items()
        if value is not None
    )
    return " ".join([deed, *told])


def debug(deed: str, **facts: object) -> None:
    """Record a detail; the only level at which a patient's data may appear."""
    if _LOGGER.isEnabledFor(logging.DEBUG):
        _LOGGER.debug(_line(deed, facts))


def info(deed: str, **facts: object) -> None:
    """Record a finished deed."""
    if _LOGGER.isEnabledFor(logging.INFO):
        _LOGGER.info(_line(deed, facts))


def warning(deed: str, **facts: object) -> None:
    """Record something that was survived and that a person may want to look at."""
    _LOGGER.warning(_line(deed, facts))


def error(deed: str, **facts: object) -> None:
    """Record something that a person must act on."""
    _LOGGER.error(_line(deed, facts))


def unexpected(deed: str, error: Exception, **facts: object) -> None:
    """Record an exception that nobody foresaw, with its traceback."""
    _LOGGER.error(_line(deed, facts), exc_info=error)


class Recurring:
    """A deed that is tried again and again, and may fail each time for the same reason, as while the database is away.
    Each reason is recorded at once, then once a minute with the number of failures since; and the end of them all.
    Belongs to one thread.
    """

    def __init__(self, failing: str, over: str, elapsed_s: Callable[[], float] = time.monotonic) -> None:
        """`failing` and `over` are the words of the lines: that the deed fails, and that it does no more."""
        self._failing, self._over = failing, over
        self._elapsed_s = elapsed_s
        self._recorded: dict[str, float] = {}  # when each reason was recorded last
        self._began: float | None = None
        self._unrecorded = 0

    def failed(self, why: Exception) -> None:
        """It failed again."""
        now, reason = self._elapsed_s(), str(why)
        self._began = now if self._began is None else self._began
        self._unrecorded += 1
        self._recorded = {known: at for known, at in self._recorded.items() if now - at < _AGAIN_S}
        if reason not in self._recorded:
            error(self._failing, why=why, times=self._unrecorded if self._unrecorded > 1 else None)
            self._recorded[reason] = now
            self._unrecorded = 0

    def done(self) -> None:
        """It did not fail this time."""
        if self._began is not None:
            info(self._over, after_s=round(self._elapsed_s() - self._began))
            self._recorded, self._began, self._unrecorded = {}, None, 0


class _File(logging.FileHandler):
    """What it does not take, because its disk is full, goes to standard error."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Called in the place of raising, with the line that could not be written."""
        with suppress(OSError, ValueError):  # nobody may read there either
            print(self.format(record), file=sys.stderr)


def configure(level: str, file: Path | None) -> None:
    """Send log lines of at least `level` to `file`, or to standard error.

    Raises: OSError when the file cannot be opened; they go where they went before.
    """
    handler: logging.Handler = _File(file, encoding="utf-8") if file else logging.StreamHandler()
    formatter = logging.Formatter("%(asctime)s.%(msecs)03dZ %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    _LOGGER.handlers[:] = [handler]
    _LOGGER.setLevel(level)
    _LOGGER.propagate = False
