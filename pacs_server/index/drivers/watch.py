"""Ends every wait for a PostgreSQL that does not answer, however it fails to: stopped, or cut off without a word.

The server keeps its own time-outs, so one that is stopped keeps none; and to the kernel its connections are well.
"""

from __future__ import annotations

import math
import os
import re
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache, wraps
from typing import Any, Final

import psycopg2
from psycopg2.extensions import TRANSACTION_STATUS_IDLE, AsIs
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import cursor as Cursor

from pacs_server.index.drivers.planned import Planned, Plans

# Longer than the time-outs that the server keeps (postgresql.py).
ANSWER_S = 25.0
# Before a connection is given out, for which the server has nothing to do. A firewall may have forgotten it.
PING_S = 5.0
ANSWERED_LATELY_S = 1.0
_LOOK_EVERY_S: Final = 0.5
# What is said in the languages of PostgreSQL of a commit that waited for a synchronous standby until somebody cancelled
# that wait: it is done, and no standby may have it. To the server that is no error.
_SAID_OF_STANDBY: Final = re.compile("synchron|synkron|sincr|синхрон|同期|同步|동기")


class NotOnStandby(psycopg2.OperationalError):  # type: ignore[misc]
    """A commit is done, and no standby may have it."""

    is_in_doubt = True


class _Watch:
    """The questions that are open, each with its deadline, and a thread that looks at them."""

    def __init__(self) -> None:
        self._asked: dict[WatchedConnection, float] = {}
        threading.Thread(target=self._run, name="database-watch", daemon=True).start()

    def begin(self, connection: WatchedConnection, within_s: float) -> None:
        self._asked[connection] = time.monotonic() + within_s

    def end(self, connection: WatchedConnection) -> None:
        self._asked.pop(connection, None)

    def _run(self) -> None:
        while True:
            time.sleep(_LOOK_EVERY_S)
            now = time.monotonic()
            for connection, deadline in self._asked.copy().items():
                if now >= deadline:
                    connection.cut()


@cache
def _watch() -> _Watch:
    return _Watch()


os.register_at_fork(after_in_child=_watch.cache_clear)  # threads stay with the process that has started them


def _watched(method: Callable[..., Any]) -> Callable[..., Any]:
    """A method of a connection or cursor that asks the server, as one that waits no longer than `ANSWER_S`."""

    @wraps(method)
    def asking(self: Any, *arguments: Any, **named: Any) -> Any:
        connection = self if isinstance(self, WatchedConnection) else self.connection
        with connection.asking():
            return method(self, *arguments, **named)

    return asking


class WatchedConnection(Connection):  # type: ignore[misc]
    """A connection of psycopg2 whose statements are watched."""

    entrance: Any = None  # through which it was made
    generation = 0
    _was_cut = False
    _within_s = 0.0
    _is_in_haste = True
    _answered_at = -math.inf

    def __init__(self, dsn: str, **arguments: Any) -> None:
        super().__init__(dsn, **arguments)
        self.plans = Plans()
        # A descriptor of our own: libpq closes its one when the server has gone, and its number may be another's then.
        self._socket = socket.socket(fileno=os.dup(self.fileno()))

    @contextmanager
    def asking(self, within_s: float | None = None) -> Iterator[None]:
        """Wait for the server's answer. Raises: psycopg2.OperationalError when there is none; NotOnStandby."""
        if not self._is_in_haste:
            yield
            return
        watch, within_s, asked_at = _watch(), within_s or ANSWER_S, time.monotonic()
        self._within_s = within_s
        watch.begin(self, within_s)
        try:
            yield
            self._answered_at = time.monotonic()
            if self.notices:
                self._heed_notices()
        except psycopg2.OperationalError as error:
            if self._was_cut:
                raise psycopg2.OperationalError(f"the server did not answer within {within_s:g} s") from error
            if self.closed and self.entrance is not None:
                self.entrance.leave(self)
                if (silent_s := time.monotonic() - asked_at) > PING_S:
                    self.entrance.was_silent(silent_s)  # its machine is lost, perhaps: the kernel gave it up
            raise
        finally:
            watch.end(self)

    def _heed_notices(self) -> None:
        """Raises: NotOnStandby."""
        told = " ".join(self.notices)
        del self.notices[:]
        if _SAID_OF_STANDBY.search(told):
            raise NotOnStandby("somebody cancelled the wait of a commit for a synchronous standby, which may lack it")

    @contextmanager
    def without_begin(self) -> Iterator[None]:
        """A statement is a transaction of its own, unless a BEGIN among them says otherwise: the driver's own BEGIN and
        COMMIT take a round trip each. What is not committed at the end is undone.
        """
        self.autocommit = True
        try:
            yield
        finally:
            with suppress(psycopg2.Error):
                if self.info.transaction_status != TRANSACTION_STATUS_IDLE:
                    with self.asking(), self.cursor() as cursor:
                        Cursor.execute(cursor, "ROLLBACK")
                self.autocommit = False

    def why_lost(self) -> str:
        """Why the server is not there; empty when it is. One that answered a moment ago, and has said nothing since, is
        not asked.
        """
        saying = select.poll()  # which takes descriptors of any number
        saying.register(self._socket, select.POLLIN)
        if not saying.poll(0) and time.monotonic() - self._answered_at < ANSWERED_LATELY_S:
            return ""
        try:
            with self.without_begin(), self.cursor() as cursor, self.asking(PING_S):
                Cursor.execute(cursor, "SELECT 1")
        except psycopg2.Error as error:
            return str(error)
        return ""

    @contextmanager
    def without_haste(self) -> Iterator[None]:
        """Wait as long as it takes."""
        self._is_in_haste = False
        try:
            yield
        finally:
            self._is_in_haste = True

    def cut(self) -> None:
        """End the wait of whoever uses it, from another thread."""
        self._was_cut = True
        if self.entrance is not None:
            self.entrance.was_silent(self._within_s)
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    commit = _watched(Connection.commit)

    def rollback(self) -> None:
        """Undo what was not committed. A server that has gone has undone it; the next to use the connection is told."""
        with suppress(psycopg2.Error), self.asking():
            super().rollback()

    def close(self) -> None:
        """Close it."""
        self._socket.close()
        super().close()


class WatchedCursor(Cursor):  # type: ignore[misc]
    """A cursor on such a connection. What is not asked at once goes with the next question: each costs a round trip."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._waiting: list[bytes] = []
        self._planning: dict[Planned, str] = {}

    def later(self, query: str | Planned, values: Any = None) -> None:
        """Execute before the next statement, or by `flush`; its answer is not to be had."""
        words = self._by_name(query) if isinstance(query, Planned) else query
        self._waiting.append(self.mogrify(words, values))

    def execute(self, query: Any, vars: Any = None) -> None:
        """Execute what waits, and this. Raises: psycopg2.Error."""
        words = self._by_name(query) if isinstance(query, Planned) else query
        if self._waiting:
            self.later(words, vars)
            self.flush()
            return
        with self.connection.asking():
            super().execute(words, vars)

    def flush(self) -> None:
        """Execute what waits. Raises: psycopg2.Error."""
        together, self._waiting = b";".join(self._waiting), []
        planning, self._planning = self._planning, {}
        if together:
            with self.connection.asking():
                super().execute(together)
            self.connection.plans.learn(planning)

    def _by_name(self, statement: Planned) -> str:
        """How a statement is executed by its plan. One that the server has not planned yet is sent to be planned
        first.
        """
        plans = self.connection.plans
        name = self._planning.get(statement) or plans.name_of(statement)
        if not name:
            if former := plans.forget(statement):
                self._waiting.append(f"DEALLOCATE {former}".encode())
            self._planning[statement] = name = plans.new_name()
            places = {parameter: AsIs(f"${number}") for number, parameter in enumerate(statement.names, start=1)}
            told = self.mogrify(statement.sql, {**statement.fixed, **places})
            self._waiting.append(f"PREPARE {name} AS ".encode() + told)
        return f"EXECUTE {name}{statement.values}"

    executemany = _watched(Cursor.executemany)
    # Only those of a cursor that the server keeps ask it anything.
    fetchone = _watched(Cursor.fetchone)
    fetchmany = _watched(Cursor.fetchmany)
    fetchall = _watched(Cursor.fetchall)
