"""What every object and every question needs of the driver itself: connections of it, and who writes to SQLite."""

from __future__ import annotations

import fcntl
import threading
from pathlib import Path
from types import TracebackType
from typing import Final

from sqlalchemy import Engine
from sqlalchemy.pool import PoolProxiedConnection

_MOST_KEPT: Final = 16


class DriverConnections:
    """Connections out of the pool of an engine, one for each unit of work. May be used from any thread.

    Those of SQLite are kept: to take one out of the pool and to give it back took 45 us, as long as a look-up.
    """

    def __init__(self, engine: Engine, *, keeps_them: bool) -> None:
        self._engine = engine
        self._most_kept = _MOST_KEPT if keeps_them else 0
        self._kept: list[PoolProxiedConnection] = []

    def one(self) -> Borrowed:
        """One of them for a `with` block; what the block did not commit is rolled back when it raises."""
        return Borrowed(self)

    def take(self) -> PoolProxiedConnection:
        """One that nobody uses. Raises: what the driver and the pool raise."""
        try:
            return self._kept.pop()
        except IndexError:
            return self._engine.raw_connection()

    def give_back(self, connection: PoolProxiedConnection) -> None:
        """Nobody uses it any more, and nothing is left to be committed."""
        if len(self._kept) < self._most_kept:
            self._kept.append(connection)
        else:
            connection.close()

    def give_up(self, connection: PoolProxiedConnection, error: BaseException) -> None:
        """The work on it failed: roll back, and trust it no more when its server is gone."""
        dialect = self._engine.dialect
        if isinstance(error, dialect.loaded_dbapi.Error) and dialect.is_disconnect(
            error, connection.dbapi_connection, None
        ):
            connection.invalidate(error)
        connection.close()

    def close(self) -> None:
        """Give those that are kept back to the pool, and keep none any more."""
        self._most_kept = 0
        while self._kept:
            self._kept.pop().close()


class Borrowed:
    """A connection of the driver for the length of a `with` block."""

    __slots__ = ("_connection", "_connections")

    def __init__(self, connections: DriverConnections) -> None:
        self._connections = connections

    def __enter__(self) -> PoolProxiedConnection:
        self._connection = self._connections.take()
        return self._connection

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._connections.give_back(self._connection)
        else:
            self._connections.give_up(self._connection, error)


class WritingAlone:
    """Keeps every other writer of a SQLite file waiting for the length of a `with` block, those of other processes too.

    Several processes queue on a kernel lock, because SQLite's own busy handler sleeps and polls.
    """

    def __init__(self, database_path: Path) -> None:
        self._writing = threading.Lock()
        self._file = database_path.with_name(database_path.name + ".lock").open("a")

    def __enter__(self) -> None:
        self._writing.acquire()
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX)
        except BaseException:
            self._writing.release()
            raise

    def __exit__(self, *_: object) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_UN)
        finally:
            self._writing.release()

    def close(self) -> None:
        """Close the file of the lock."""
        self._file.close()
