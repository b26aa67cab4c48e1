"""What every object and every question needs of the driver itself: connections of it, and who writes to SQLite."""

from __future__ import annotations

import fcntl
import os
import struct
import threading
import time
from contextlib import suppress
from functools import cached_property
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Final

from sqlalchemy import Engine
from sqlalchemy.pool import PoolProxiedConnection

from pacs_server.errors import IndexDamaged, IndexUnavailable
from pacs_server.index.drivers.sqlite import is_locked, kept_locked
from pacs_server.ownership import make_file

_MOST_KEPT: Final = 16
# Where somebody has waited in vain for another program, nobody else does for so long, of whatever process.
_SHUT_S: Final = 2.0
_MOMENT: Final = struct.Struct("d")
# Behind that moment: which file was found damaged, so that every process knows what one of them has met.
_DAMAGED: Final = struct.Struct("QQ")


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

    Several processes queue on a kernel lock, because SQLite's own busy handler sleeps and polls. In the file of that
    lock stands when one of them last waited in vain for another program: a queue does not do so one after the other.
    And whether one of them has found the file damaged: an object that is entered into it may not be found again.
    """

    def __init__(self, database_path: Path) -> None:
        self._writing = threading.Lock()
        self._path = database_path
        self._opened = _inode_of(database_path)

    @cached_property
    def _file(self) -> FileIO:
        """The file of the lock, made when somebody writes first: who only reads may do so on a disk that is read-only.

        Raises: IndexUnavailable.
        """
        path = self._path.with_name(self._path.name + ".lock")
        try:
            make_file(path)
            return FileIO(path, "r+")
        except OSError as error:
            raise IndexUnavailable(
                f"the index {self._path} cannot be written to: {path.name}: {error.strerror}",
                "let its user write to its folder, and see whether that is mounted read-only or has no room",
            ) from error

    def __enter__(self) -> None:
        """Raises: IndexUnreachable when another program has just been waited for in vain; IndexUnavailable when nobody
        can write, or the file is another than before.
        """
        self._writing.acquire()
        try:
            # Opened by one thread: since Python 3.12 two may, and one would lock what nobody keeps open.
            fcntl.flock(self._file, fcntl.LOCK_EX)
            self._refuse_while_shut()
            self._refuse_another()
        except BaseException:
            self._release()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if is_locked(error):
                os.pwrite(self._file.fileno(), _MOMENT.pack(time.monotonic()), 0)
        finally:
            self._release()

    def _refuse_while_shut(self) -> None:
        """Linux counts from the start of the machine, so the moment says the same in every process.

        Raises: IndexUnreachable.
        """
        told = os.pread(self._file.fileno(), _MOMENT.size, 0)
        if len(told) == _MOMENT.size and 0 <= time.monotonic() - _MOMENT.unpack(told)[0] < _SHUT_S:
            raise kept_locked(self._path)

    def _refuse_another(self) -> None:
        """Connections go on with a file that lost its name; what they write to it is gone when the last of them
        is closed.

        Raises: IndexUnavailable.
        """
        found = _inode_of(self._path)
        self._opened = self._opened or found  # it was made meanwhile
        if found != self._opened:
            raise IndexUnavailable(
                f"the file of the index {self._path} was removed or replaced while it was in use",
                f"end the server, move {self._path.name}-wal and {self._path.name}-shm away, put the right file there, "
                "start it again, then: pacs reconcile --repair",
            )

    def refuse_damaged(self) -> None:
        """For whoever is about to enter an object, in the `with` block. Raises: IndexDamaged."""
        told = os.pread(self._file.fileno(), _DAMAGED.size, _MOMENT.size)
        if len(told) == _DAMAGED.size and _DAMAGED.unpack(told) == self._opened:
            raise IndexDamaged(
                f"the file of the index {self._path} was found damaged, and takes no objects any more",
                "pacs restore-backup; or put the database aside, pacs db upgrade --new, pacs storage add for each "
                "volume, and pacs index rebuild; where a whole file was copied over it, start the server: it tries it "
                "again",
            )

    def note_damage(self) -> None:
        """What was read of the file makes no sense: nobody is to enter an object until another file is there, or
        `forget_damage`.
        """
        self._note(self._opened or (0, 0))

    def forget_damage(self) -> None:
        """The file is about to be used as if it were whole, or to be put aside."""
        self._note((0, 0))

    def _note(self, damaged: tuple[int, int]) -> None:
        with suppress(OSError, IndexUnavailable):  # whoever may not write there only reads
            os.pwrite(self._file.fileno(), _DAMAGED.pack(*damaged), _MOMENT.size)

    def _release(self) -> None:
        try:
            if "_file" in self.__dict__:
                fcntl.flock(self._file, fcntl.LOCK_UN)
        finally:
            self._writing.release()

    def close(self) -> None:
        """Close the file of the lock."""
        if "_file" in self.__dict__:
            self._file.close()


def _inode_of(path: Path) -> tuple[int, int] | None:
    """By what a file is told from another under the same name; None where none can be seen: SQLite says why."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
