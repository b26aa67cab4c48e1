"""The whole index as it is at one moment, in a SQLite file of its own: what a backup keeps, and what is made of one."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, RowMapping, Table, delete, func, insert, select

from pacs_server.errors import IndexUnavailable
from pacs_server.index.deposits import is_deposited
from pacs_server.index.drivers.sqlite import copy_sqlite
from pacs_server.index.engine import Index
from pacs_server.index.maintenance.schema import upgrade
from pacs_server.index.objects import CopyRow
from pacs_server.index.site_tables import operations
from pacs_server.index.tables import copies, instances, metadata, patients, series, studies

_BATCH: Final = 1000
_COUNTED: Final = (patients, studies, series, instances, operations)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldObject:
    """One content that is held, whatever its role, with its copies; `size_bytes` is that of its data set. What is not
    here, and kept by an archive server, `is_elsewhere`.
    """

    sop_uid: str
    sop_class: str
    digest: str
    transfer_syntax: str
    size_bytes: int
    study_uid: str
    series_uid: str
    day: date
    copies: tuple[CopyRow, ...]
    is_elsewhere: bool


def take_snapshot(index: Index, path: Path) -> None:
    """Write everything that an index holds at this moment to a SQLite file, while others go on reading and writing.

    The file has the schema of this release and nothing beside it: no write-ahead log. One that is there is replaced.

    Raises: IndexUnavailable.
    """
    discard(path)
    if index.database_path is not None:
        copy_sqlite(index.database_path, path)
    else:
        upgrade(sqlite_url(path))
        with closing(Index.open(sqlite_url(path))) as copy:
            replace_all(copy, index)
    make_whole(path)


def sqlite_url(path: Path) -> str:
    """The URL of a SQLite file."""
    return f"sqlite:///{path}"


def make_whole(path: Path) -> None:
    """Bring what a closed SQLite file has in its write-ahead log into the file itself, so that it can be carried away.

    Raises: IndexUnavailable.
    """
    try:
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA journal_mode=DELETE")
    except sqlite3.Error as error:
        raise IndexUnavailable(f"{path}: {error}") from error
    path.with_name(f"{path.name}.lock").unlink(missing_ok=True)


def discard(path: Path) -> None:
    """Remove a SQLite file that is ours alone, with what lies beside it under its name."""
    for leftover in path.parent.glob(f"{path.name}*"):
        leftover.unlink()


def replace_all(index: Index, source: Index) -> None:
    """Make everything in `index` what is in `source`, in one transaction. Both have the schema of this release.

    Raises: IndexUnavailable; nothing is changed then.
    """
    tables = metadata.sorted_tables
    with index.write_alone() as connection, source.read_at_one_moment() as rows:
        for table in reversed(tables):
            connection.execute(delete(table))
        for table in tables:
            copy_rows(rows, connection, table)
        continue_numbering(connection, tables)


def rows_of(connection: Connection, table: Table) -> Iterator[Sequence[RowMapping]]:
    """Every row of a table in the order of their keys, some at a time."""
    wanted = select(*table.c).order_by(*table.primary_key)
    yield from connection.execute(wanted, execution_options={"yield_per": _BATCH}).mappings().partitions()


def copy_rows(source: Connection, target: Connection, table: Table) -> None:
    """Copy every row of a table."""
    for rows in rows_of(source, table):
        target.execute(insert(table), [dict(row) for row in rows])


def continue_numbering(connection: Connection, tables: Iterable[Table], given: Mapping[str, int] | None = None) -> None:
    """PostgreSQL's sequences do not notice ids that were given; SQLite counts on from the greatest by itself. `given`
    are the greatest that any row ever had, by the names of tables.
    """
    if connection.dialect.name == "postgresql":
        for table in (table for table in tables if "id" in table.c and table.c.id.type.python_type is int):
            least = (given or {}).get(table.name, 1)
            greatest = select(func.greatest(func.max(table.c.id), least)).scalar_subquery()
            connection.execute(select(func.setval(func.pg_get_serial_sequence(table.name, "id"), greatest)))


def row_counts(index: Index) -> dict[str, int]:
    """How many rows the tables have that a person asks about, by their names. Raises: IndexUnavailable."""
    with index.read_at_one_moment() as connection:
        return {
            table.name: connection.execute(select(func.count()).select_from(table)).scalar_one() for table in _COUNTED
        }


def held_objects(index: Index) -> Iterator[HeldObject]:
    """Every object that is held, what is in the trash too, in the order in which they were recorded.

    Raises: IndexUnavailable.
    """
    wanted = (
        select(
            instances.c.id, instances.c.sop_uid, instances.c.sop_class, instances.c.digest,
            instances.c.transfer_syntax, instances.c.size_bytes,
            studies.c.study_uid, series.c.series_uid, studies.c.day, is_deposited().label("deposits"),
        )
        .join_from(instances, series)
        .join(studies)
        .order_by(instances.c.id)
        .limit(_BATCH)
    )  # fmt: skip
    last = 0
    while True:
        with index.read() as connection:
            rows = connection.execute(wanted.where(instances.c.id > last)).all()
            places = _places(connection, rows)
        for row in rows:
            yield _held(row, places.get(row.id, ()))
        if len(rows) < _BATCH:
            return
        last = rows[-1].id


def _places(connection: Connection, rows: Sequence[Any]) -> dict[int, tuple[CopyRow, ...]]:
    if not rows:
        return {}
    located = select(copies.c.instance_row, copies.c.volume_id, copies.c.path).order_by(copies.c.id)
    found: dict[int, tuple[CopyRow, ...]] = {}
    for row in connection.execute(located.where(copies.c.instance_row.between(rows[0].id, rows[-1].id))):
        found[row.instance_row] = (
            *found.get(row.instance_row, ()),
            CopyRow(volume_id=row.volume_id, path=row.path),
        )
    return found


def _held(row: Any, places: tuple[CopyRow, ...]) -> HeldObject:
    return HeldObject(
        sop_uid=row.sop_uid,
        sop_class=row.sop_class,
        digest=row.digest,
        transfer_syntax=row.transfer_syntax,
        size_bytes=row.size_bytes,
        study_uid=row.study_uid,
        series_uid=row.series_uid,
        day=date.fromisoformat(row.day),
        copies=places,
        is_elsewhere=not places and row.deposits > 0,
    )


def problem_of(path: Path, schema: str) -> str:
    """What is wrong with a SQLite file that should have this schema and be whole; empty when nothing is.

    It is only read, also from a place where nothing can be written or locked.
    """
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro&immutable=1", uri=True)) as connection:
            (told,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
            if told != "ok":
                return f"it is damaged: {told}"
            (found,) = connection.execute("SELECT version_num FROM alembic_version").fetchone() or ("none",)
    except sqlite3.Error as error:
        return f"it cannot be read: {error}"
    return "" if found == schema else f"its schema is {found}, not {schema}"
