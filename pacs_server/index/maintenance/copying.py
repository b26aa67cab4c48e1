"""The whole content of a database copied into an empty one of the other kind, and compared before it counts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

from sqlalchemy import Connection, Table, inspect, select

from pacs_server.errors import CopyDiffers, Refused
from pacs_server.index.database_url import parse_url
from pacs_server.index.engine import Index
from pacs_server.index.maintenance.schema import begin_file, current, head, migrate
from pacs_server.index.maintenance.snapshot import continue_numbering, copy_rows, rows_of
from pacs_server.index.tables import metadata

_DIGEST_BYTES: Final = 16
_MOST_NAMED: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What a table holds: how many rows, and a digest over all their values in the order of their keys."""

    table: str
    rows: int
    digest: str


def prepare(source_url: str, target_url: str) -> Index:
    """Open the database that is to be filled, which has the schema of this release or none.

    Raises: Refused when it is of the same kind, or has another schema; ConfigError; IndexUnavailable.
    """
    kinds = [parse_url(url).get_backend_name() for url in (source_url, target_url)]
    if kinds[0] == kinds[1]:
        raise Refused(
            f"both databases are {kinds[0]}; this copies between SQLite and PostgreSQL. "
            "Use pg_dump and pg_restore for PostgreSQL, pacs backup run for either"
        )
    found = current(target_url)
    if found not in (None, head()):
        raise Refused(f"the database to copy to has schema {found}: make an empty one (createdb), and copy into that")
    index = Index.open(target_url)
    begin_file(index)
    return index


def copy_content(source: Index, target: Index) -> Iterator[Content]:
    """Copy every table, each compared when it is copied, in one transaction in which nobody writes in either database.

    Broken off anywhere, nothing of it remains, not even its tables. A target that holds the same already is compared,
    and stays as it is.

    Raises: Refused when the target holds anything else; CopyDiffers; IndexUnavailable.
    """
    tables = metadata.sorted_tables
    with source.write_alone() as rows, target.write_alone() as filled:
        if not inspect(filled).has_table("alembic_version"):
            _refuse_foreign(inspect(filled).get_table_names())
            migrate(filled, head())
        is_empty = not any(filled.execute(select(1).select_from(table).limit(1)).first() for table in tables)
        for table in tables:
            if is_empty:
                copy_rows(rows, filled, table)
            wanted, found = _content(rows, table), _content(filled, table)
            if wanted != found:
                raise _refusal(wanted, found, is_empty=is_empty)
            yield found
        if is_empty:
            continue_numbering(filled, tables, _last_ids(rows))


def _refuse_foreign(names: Sequence[str]) -> None:
    """Raises: Refused."""
    if names:
        raise Refused(
            f"the database to copy to holds tables of something else ({', '.join(sorted(names)[:_MOST_NAMED])}): "
            "make an empty one (createdb), and copy into that"
        )


def _refusal(wanted: Content, found: Content, *, is_empty: bool) -> Refused | CopyDiffers:
    counts = f"table {wanted.table} has {found.rows} rows there and {wanted.rows} here"
    if is_empty:
        return CopyDiffers(f"the copy is not what it was copied from: {counts}, and they differ; nothing was copied")
    if found.rows == wanted.rows:
        counts = f"table {wanted.table} has {wanted.rows} rows in both, and their values differ"
    return Refused(
        f"the database to copy to holds something else than this index: {counts}; "
        "make an empty one (createdb), and copy into that"
    )


def _content(connection: Connection, table: Table) -> Content:
    digest = blake2b(digest_size=_DIGEST_BYTES)
    count = 0
    for rows in rows_of(connection, table):
        for row in rows:
            digest.update(repr(tuple(row.values())).encode())
            count += 1
    return Content(table=table.name, rows=count, digest=digest.hexdigest())


def _last_ids(connection: Connection) -> dict[str, int]:
    """The greatest ids that SQLite ever gave, where they must not come again; what had them may be gone."""
    if connection.dialect.name != "sqlite" or not inspect(connection).has_table("sqlite_sequence"):
        return {}
    return {name: last for name, last in connection.exec_driver_sql("SELECT name, seq FROM sqlite_sequence")}
