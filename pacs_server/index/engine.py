"""The database: one engine, short reads, and one way to write.

SQLite is the embedded default; PostgreSQL is for more than one machine. Nothing outside this room sees a driver.
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from sqlalchemy import Connection, Engine, Table, event, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection

from pacs_server.dicom.audit import Event
from pacs_server.errors import ConfigError, IndexDamaged, IndexUnavailable
from pacs_server.index.changing import Changes
from pacs_server.index.database_url import parse_url
from pacs_server.index.drivers.driver import DriverConnections, WritingAlone
from pacs_server.index.drivers.planned import Planned
from pacs_server.index.drivers.postgresql import (
    WITHOUT_HASTE,
    await_changes,
    kind_of,
    outlast,
    postgresql_engine,
    refuse_waiting_commits,
    wait_little,
)
from pacs_server.index.drivers.remedies import keep_to_one_sentence, unavailable
from pacs_server.index.drivers.sqlite import is_locked, kept_locked, refuse_network_file_system, sqlite_engine
from pacs_server.index.looking import looking
from pacs_server.index.trail import Trail
from pacs_server.settings import shown_url

# Of SQLite's pages a look-up by key needs ten to twenty. With 16 MiB, eight senders that sent 40,000 objects once more
# took 133 MB that nothing needed.
_KEY_KIB: Final = 512
_FIRST_ROWS: Final = 5
MOST_ROWS: Final = 200
# On PostgreSQL several processes write at once, and what one adds to a study depends on what the study has: its
# modalities, whether a series is its first. In the order of the keys, so that no two wait for each other in a circle.
KEEP_OTHERS_OUT: Final = text(
    "SELECT pg_advisory_xact_lock(keys.key) FROM (SELECT DISTINCT hashtextextended(name, 0) AS key"
    " FROM unnest(CAST(:names AS text[])) AS name ORDER BY key) AS keys"
)


# All who write hold it shared, who must be the only one holds it alone: the bulk of the index is about to be replaced.
_WRITING: Final = 7250113
_WRITE_BESIDE_OTHERS: Final = f"SELECT pg_advisory_xact_lock_shared({_WRITING})"
_WRITE_ALONE: Final = f"SELECT pg_advisory_xact_lock({_WRITING})"


class Index:
    """The open database. May be used from any thread; a connection belongs to one thread and one unit of work."""

    def __init__(self, engine: Engine, database_path: Path | None, shown_url: str) -> None:
        self.engine = engine
        self.database_path = database_path
        self.shown_url = shown_url  # as it was written, without its password
        # SQLite's page cache belongs to a connection and is void once another one has written. When writing went
        # around in the pool, each commit of one object read 14 pages back from the log.
        self._writer = engine if database_path is None else sqlite_engine(engine.url, connections=1, is_mapped=False)
        looking_up = engine if database_path is None else sqlite_engine(engine.url, cache_kib=_KEY_KIB, is_mapped=False)
        self._engines = {engine, self._writer, looking_up}
        self._streaming, self._looking_up, self._recording = (
            DriverConnections(one, keeps_them=database_path is not None) for one in (engine, looking_up, self._writer)
        )
        self._alone = WritingAlone(database_path) if database_path is not None else None
        self._translated = _Translated(self)
        self._is_closed = False
        self._waits_little = wait_little(engine.url)
        self._looks_for_others = True  # before its first commit: a command is one process of many
        for one in self._engines:
            event.listen(one, "checkin", self._close_late)
        self.trail = Trail("%s" if database_path is None else "?")

    @classmethod
    def open(cls, url: str) -> Index:
        """Open the database at `url`, whatever its schema; `schema.open_current` is for those who want to use it.

        Raises: ConfigError when the URL is not usable, or SQLite would lie on a network file system; IndexUnavailable
        when it cannot be reached.
        """
        parsed = parse_url(url)
        path = Path(parsed.database or "") if parsed.get_backend_name() == "sqlite" else None
        if path is not None:
            if not _is_folder(path.parent):
                raise ConfigError(f"the folder of the SQLite file {path} is not there: make it, or mount it")
            refuse_network_file_system(path)
        return cls(postgresql_engine(parsed) if path is None else sqlite_engine(parsed), path, shown_url(url))

    @property
    def hosts(self) -> tuple[str, ...]:
        """The machines that have a PostgreSQL database, as the URL names them; a path for a socket of this machine.
        Nothing for SQLite.
        """
        if self.database_path is not None:
            return ()
        named = self.engine.url.query.get("host", self.engine.url.host or "localhost")
        return tuple(",".join([named] if isinstance(named, str) else named).split(","))

    def outlast(self, *, waits: bool = True) -> None:
        """Wait for a PostgreSQL that is away for a moment, from now on and in all threads but this one; or no more."""
        if self.database_path is None:
            outlast(self.engine, waits=waits)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection that sees one state of the database.

        Raises: IndexUnavailable.
        """
        with self._translated, self.engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def read_at_one_moment(self) -> Iterator[Connection]:
        """A connection whose statements all see the state of the first one, however long it takes and whoever writes.

        Raises: IndexUnavailable.
        """
        with self._translated, self.engine.connect() as connection:
            if self.database_path is None:
                connection = connection.execution_options(isolation_level="REPEATABLE READ")
            with connection.begin(), self._without_haste(connection):
                yield connection

    @contextmanager
    def write(self, told: Sequence[Event] = ()) -> Iterator[Connection]:
        """A transaction, committed at the end; when the block raises, nothing of it remains. `told` goes into the audit
        trail with it; the block may still add to it. So does the command that this process does, if it changed a row.

        Raises: IndexUnavailable, also when the outcome of the commit is not known.
        """
        with self._translated, self._writing_connection(told) as connection:
            if self.database_path is None:
                self._wait_behind_no_other(lambda sql: connection.exec_driver_sql(sql).scalar())
                connection.exec_driver_sql(_WRITE_BESIDE_OTHERS)
            yield connection

    @contextmanager
    def write_alone(self) -> Iterator[Connection]:
        """Like `write`, while nobody else writes, on whatever machine; takes as long as it takes.

        Raises: IndexUnavailable, also when the outcome of the commit is not known.
        """
        with self._translated, self._writing_connection() as connection, self._without_haste(connection):
            if self.database_path is None:
                connection.exec_driver_sql(_WRITE_ALONE)
            yield connection

    @contextmanager
    def _writing_connection(self, told: Sequence[Event] = ()) -> Iterator[Connection]:
        with (
            self._turn_to_write(),
            self._writer.connect().execution_options(begin="BEGIN IMMEDIATE") as connection,
            connection.begin() as transaction,
        ):
            changes = Changes(connection) if self.trail.command is not None else None
            yield connection
            has_changed = changes is not None and changes.are_there
            self._commit(connection.exec_driver_sql, transaction.commit, told, has_changed=has_changed)

    def _commit(
        self,
        execute: Callable[[str, Any], object],
        commit: Callable[[], object],
        told: Sequence[Event],
        *,
        has_changed: bool = True,
    ) -> None:
        """Enter what is told into the audit trail, last of all, and commit."""
        with self.trail.continued(told, has_changed=has_changed) as inserts:
            for one in inserts:
                execute(one.sql, one.values)
            try:
                commit()
            except Exception:
                self._looks_for_others = True
                raise

    def _wait_behind_no_other(self, value_of: Callable[[str], Any]) -> None:
        """A commit that was given up waits on in PostgreSQL while a synchronous standby is away, and keeps its
        connection. Others behind it would leave none, and then nothing could be read either; and who begins would be
        told half a minute later that the server does not answer.

        Raises: IndexUnreachable.
        """
        if self._looks_for_others:
            refuse_waiting_commits(value_of)
            self._looks_for_others = False

    @contextmanager
    def _without_haste(self, connection: Connection) -> Iterator[None]:
        """Let the statements of a transaction take as long as they take."""
        if self.database_path is not None:
            yield
            return
        connection.exec_driver_sql(WITHOUT_HASTE)
        with connection.connection.dbapi_connection.without_haste():  # type: ignore[union-attr]
            yield

    @contextmanager
    def write_cursor(self, told: Sequence[Event] = (), *, is_waited_for: bool = False) -> Iterator[Any]:
        """Like `write`, but the driver's own cursor: the hot path of recording. One that `is_waited_for` by others
        waits itself for a lock no longer than a moment.

        Raises: IndexUnavailable, also when the outcome of the commit is not known.
        """
        with (
            self._translated,
            self._turn_to_write(),
            self._recording.one() as connection,
            self._without_begin(connection),
        ):
            cursor: Any = connection.cursor()
            if self.database_path is not None:
                self.refuse_damaged()
                cursor.execute("BEGIN IMMEDIATE")
                yield cursor
                self._commit(cursor.execute, connection.commit, told)
            else:
                self._wait_behind_no_other(lambda sql: cursor.execute(sql) or cursor.fetchone()[0])
                cursor.later("BEGIN")
                if is_waited_for and self._waits_little:
                    cursor.later(self._waits_little)
                cursor.later(_WRITE_BESIDE_OTHERS)
                yield cursor
                if told and not is_waited_for:
                    cursor.flush()  # before it holds the audit trail, for which others would wait as long as it does

                def commit() -> None:
                    cursor.later("COMMIT")
                    cursor.flush()

                self._commit(cursor.later, commit, told)

    def insert(self, table: Table) -> sqlite.Insert | postgresql.Insert:
        """An insert that may tell what becomes of a row that is there already, in the words of this database."""
        return sqlite.insert(table) if self.database_path is not None else postgresql.insert(table)

    def alone(self) -> AbstractContextManager[None]:
        """Keep every other writer of a SQLite file waiting, those of other processes too.

        Raises, on entering: IndexUnavailable.
        """
        return self._alone or nullcontext()

    def _turn_to_write(self) -> AbstractContextManager[None]:
        """That of a SQLite file is one's own; PostgreSQL has many, once it takes changes."""
        if self._alone is None:
            await_changes(self.engine)
        return self.alone()

    def refuse_damaged(self) -> None:
        """For whoever is about to enter an object, while nobody else writes. Raises: IndexDamaged when any process has
        found the SQLite file damaged.
        """
        if self._alone is not None:
            self._alone.refuse_damaged()

    def note_damage(self) -> None:
        """What a SQLite file keeps makes no sense: no process enters objects any more."""
        if self._alone is not None:
            self._alone.note_damage()

    def forget_damage(self) -> None:
        """A SQLite file that was found damaged is about to be tried again, or to be put aside."""
        if self._alone is not None:
            self._alone.forget_damage()

    @looking
    def rows(self, sql: str | Planned, parameters: Any) -> list[tuple[Any, ...]]:
        """The rows of one statement in the driver's own words, on a connection of the moment: the hot path of looking
        something up by its key.

        Raises: IndexUnavailable.
        """
        with self._translated, self._looking_up.one() as connection, self._without_begin(connection):
            cursor = connection.cursor()
            cursor.execute(sql, parameters)
            return list(cursor.fetchall())

    def _without_begin(self, connection: PoolProxiedConnection) -> AbstractContextManager[None]:
        """Have PostgreSQL told of a transaction by our own words alone; to SQLite nothing else is ever told."""
        if self.database_path is not None:
            return nullcontext()
        watched: Any = connection.dbapi_connection
        return watched.without_begin()  # type: ignore[no-any-return]

    def stream(self, sql: str, parameters: Any) -> Iterator[Sequence[tuple[Any, ...]]]:
        """The same for rows that may be many, in parts: memory does not grow with their number.

        Raises: IndexUnavailable.
        """
        with self._translated, self._streaming.one() as connection:
            if self.database_path is None:
                cursor = connection.cursor("rows")  # the rows stay with the server; it ends with the transaction
                cursor.execute(sql, parameters)
                yield from in_growing_parts(cursor.fetchmany)
                return
            with closing(connection.cursor()) as cursor:
                cursor.execute(sql, parameters)
                yield from in_growing_parts(cursor.fetchmany)

    def close(self) -> None:
        """Close every connection, and those in use as soon as they are given back."""
        self._is_closed = True
        for connections in (self._streaming, self._looking_up, self._recording):
            connections.close()
        for engine in self._engines:
            engine.dispose()
        if self._alone is not None:
            self._alone.close()

    def _close_late(self, _: object, connection: ConnectionPoolEntry) -> None:
        """The pool that a connection comes back to is gone by now, and would not close it."""
        if self._is_closed:
            connection.close()


def in_growing_parts(fetch: Callable[[int], Sequence[Any]]) -> Iterator[Sequence[Any]]:
    """Rows as they are fetched: few at first, so that the first of them does not wait for many; never none."""
    size = _FIRST_ROWS
    while rows := fetch(size):
        yield rows
        size = min(2 * size, MOST_ROWS)


class _Translated:
    """Turns the errors of SQLAlchemy and of the driver into ours."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._foreign = (SQLAlchemyError, index.engine.dialect.loaded_dbapi.Error)

    def __enter__(self) -> None:
        """Nothing to do."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Raises: IndexUnavailable in the place of an error that is not ours."""
        if not isinstance(error, self._foreign):
            return
        index, reason = self._index, error.orig if isinstance(error, DBAPIError) else error
        keep_to_one_sentence(error, reason)
        if index.database_path is not None and is_locked(reason):
            raise kept_locked(index.database_path) from error
        kind = IndexUnavailable if index.database_path is not None else kind_of(reason, index.engine)
        ours = unavailable(index.shown_url, index.engine.url, kind, reason or error)
        if isinstance(ours, IndexDamaged):
            index.note_damage()
        raise ours from error


def _is_folder(path: Path) -> bool:
    try:
        return stat.S_ISDIR(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:  # what hinders is said by SQLite, with what to do about it, when it opens the file
        return True
