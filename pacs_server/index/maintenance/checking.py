"""Whether a database is as this release needs it: its tables those of the code, its contents whole, and writable."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from sqlalchemy import Connection, false, text, update
from sqlalchemy import Index as TableIndex

from pacs_server.errors import IndexUnreachable
from pacs_server.index.drivers.postgresql import refuse_waiting_commits
from pacs_server.index.engine import Index
from pacs_server.index.maintenance.locks import RECORDED
from pacs_server.index.site_entries import forget
from pacs_server.index.site_tables import site
from pacs_server.index.tables import instances

# Of a file that is broken throughout, SQLite would tell thousands.
_MOST_TOLD: Final = 10
# A row of 96 KB that PostgreSQL cannot compress needs pages of its own, unless some are free from the time before; an
# update fits into a page that is there, also when the disk is full.
_TRIED: Final = "writing tried"
_TAKE_ROOM: Final = text(
    f"INSERT INTO site (name, value) SELECT '{_TRIED}', string_agg(md5(random()::text), '')"
    " FROM generate_series(1, 3000)"
)
# The sessions of the archive flush each commit; the server as a whole may have been told not to.
_NOT_FLUSHING: Final = text(
    "SELECT name, setting FROM pg_settings WHERE name IN ('fsync', 'full_page_writes') AND setting = 'off'"
)
_FLUSHING: Final = {"journal_mode": "wal", "synchronous": 2}  # of SQLite; 2 is FULL
# A server that takes no changes grants the locks, and refuses a change of nothing.
_CHANGE_NOTHING: Final = update(instances).values(role=instances.c.role).where(false())


def write_nothing(index: Index) -> None:
    """Wait for the turn and take the locks of an object that is recorded, and record none.

    Raises: IndexUnavailable when another program keeps the index or a table locked, its rights are not enough, the
    server takes no changes, or commits wait for a standby; IndexDamaged.
    """
    with index.write() as connection:
        index.refuse_damaged()
        _lock_as_recording_does(connection)


def write_once(index: Index) -> None:
    """Write what is there already, and what is removed again, so that the disk and the rights to it are tried, and
    nothing is changed.

    Raises: IndexUnavailable.
    """
    try:
        with index.write() as connection:
            index.refuse_damaged()
            _lock_as_recording_does(connection)
            connection.execute(text("UPDATE alembic_version SET version_num = version_num"))
            if connection.dialect.name == "postgresql":
                connection.execute(_TAKE_ROOM)
                forget(connection, _TRIED)
    except IndexUnreachable:
        if index.database_path is None:  # its own commit may be the first that waits
            with index.read() as connection:
                _refuse_waiting_commits(connection)
        raise


def _lock_as_recording_does(connection: Connection) -> None:
    """With SQLite a turn to write is all that it takes."""
    if connection.dialect.name == "postgresql":
        _refuse_waiting_commits(connection)
        connection.execute(text(f"LOCK TABLE {', '.join(map(str, RECORDED))} IN ROW EXCLUSIVE MODE"))
        connection.execute(_CHANGE_NOTHING)


def _refuse_waiting_commits(connection: Connection) -> None:
    refuse_waiting_commits(lambda sql: connection.exec_driver_sql(sql).scalar())


def differences(index: Index) -> Iterator[str]:
    """In what the tables are not those of this release, whose schema the database has. Tables and indexes that somebody
    added, for reports perhaps, do no harm.

    Raises: IndexUnavailable.
    """
    # Here because loading it takes a third of a second.
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    with index.read() as connection:
        # Of SQLite, Alembic takes an empty text as a default for none.
        compared = {
            "compare_type": True,
            "compare_server_default": connection.dialect.name == "postgresql",
            "include_object": lambda one, _, kind, *__: kind != "index" or _is_for(connection, one),
        }
        found = compare_metadata(MigrationContext.configure(connection, opts=compared), site.metadata)
        for one in found:
            # What differs in one column comes as a list.
            for what, *named in one if isinstance(one, list) else [one]:
                if told := _difference(what, named):
                    yield told


def _difference(what: str, named: list[Any]) -> str:
    if what == "add_table":
        return f"the table {named[0].name} is missing"
    if what == "add_column":
        return f"the column {named[1]}.{named[2].name} is missing"
    if what == "remove_column":
        return f"the column {named[1]}.{named[2].name} is none of this release"
    if what.startswith("modify_"):
        return f"the column {named[1]}.{named[2]} has another {what.removeprefix('modify_')}"
    if what == "add_index":
        return f"the index {named[0].name} of {named[0].table.name} is missing, or is another one"
    if what in ("add_constraint", "add_fk"):
        return f"the constraint {named[0].name} of {named[0].table.name} is missing, or is another one"
    if what in ("remove_constraint", "remove_fk"):
        return f"the constraint {named[0].name} of {named[0].table.name} is none of this release"
    return ""


def _is_for(connection: Connection, index: TableIndex) -> bool:
    """Whether an index is made in this kind of database; some are of PostgreSQL alone, and say how it makes them."""
    kinds = {name.partition("_")[0] for name in index.dialect_kwargs}
    return not kinds or connection.dialect.name in kinds


def damage(index: Index) -> Iterator[str]:
    """What is broken in a SQLite file: its pages, and rows that belong to others that are not there. Of PostgreSQL
    nothing is told.

    Raises: IndexUnavailable.
    """
    if index.database_path is None:
        return
    with index.read() as connection:
        for (told,) in connection.exec_driver_sql(f"PRAGMA quick_check({_MOST_TOLD})"):
            if told != "ok":
                yield " ".join(str(told).split())
        for table, row, parent, _ in connection.exec_driver_sql("PRAGMA foreign_key_check").fetchmany(_MOST_TOLD):
            yield f"row {row} of the table {table} belongs to a row of {parent} that is not there"


def unsafe_settings(index: Index) -> dict[str, object]:
    """The settings under which a power cut may take or break what the database has committed, as they are.

    Raises: IndexUnavailable.
    """
    with index.read() as connection:
        if index.database_path is None:
            return {name: value for name, value in connection.execute(_NOT_FLUSHING)}
        found = {name: connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in _FLUSHING}
        return {name: value for name, value in found.items() if value != _FLUSHING[name]}


def left_behind(index: Index) -> tuple[str, ...]:
    """The servers of the URL that can be written to although another one was promoted in their place, or they are mere
    copies of it, each in words.

    Raises: IndexUnavailable.
    """
    if index.database_path is not None:
        return ()
    with index.read() as connection:
        told: tuple[str, ...] = connection.connection.dbapi_connection.entrance.passed_over  # type: ignore[union-attr]
        return told


def hindrances(index: Index) -> dict[str, str | None]:
    """Why each host of a PostgreSQL URL could not take over as the database: an empty text where it could, or is used;
    None where it can be written to beside that. Nothing for SQLite, and where the URL does not tell its hosts apart.

    Raises: IndexUnavailable.
    """
    if index.database_path is not None:
        return {}
    with index.read() as connection:
        used: Any = connection.connection.dbapi_connection
        return dict(zip(index.hosts, used.entrance.hindrances(used), strict=False))
