"""Texts by name, for what the site decides or remembers that needs no table of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Table, delete, select
from sqlalchemy.dialects import postgresql, sqlite

from pacs_server.index.engine import KEEP_OTHERS_OUT, Index
from pacs_server.index.site_tables import site


@contextmanager
def writing_in_turn(index: Index, what: str) -> Iterator[Connection]:
    """A transaction that waits for every other one of the same `what`, on any node: what it reads of that stays so to
    its end. Raises: IndexUnavailable.
    """
    with index.write() as connection:
        if index.database_path is None:  # SQLite lets one write at a time
            connection.execute(KEEP_OTHERS_OUT, {"names": [what]})
        yield connection


def value_of(connection: Connection, name: str) -> str | None:
    """The text of that name; None when there is none."""
    return connection.execute(select(site.c.value).where(site.c.name == name)).scalar()


def values_below(connection: Connection, prefix: str) -> Mapping[str, str]:
    """The texts whose names begin so, by the rest of their names and in that order."""
    named = select(site.c.name, site.c.value).where(site.c.name.startswith(prefix, autoescape=True))
    rows = connection.execute(named.order_by(site.c.name))
    return {name.removeprefix(prefix): value for name, value in rows}


def value_to_change(connection: Connection, name: str) -> str:
    """The text of that name, empty when there is none; nobody else changes or enters it before the transaction ends. It
    has to be put or forgotten in that, or nothing of it to remain.
    """
    entry = _insert(connection, site).values(name=name, value="")
    connection.execute(entry.on_conflict_do_update(index_elements=[site.c.name], set_={"value": site.c.value}))
    return value_of(connection, name) or ""


def put(connection: Connection, name: str, value: str) -> None:
    """Keep a text, in the place of the one of that name."""
    put_row(connection, site, {"name": name, "value": value})


def put_row(connection: Connection, table: Table, row: Mapping[str, Any]) -> None:
    """Enter a row, or change the one of its key: one that were deleted and entered again would be none in between to
    whoever waits to change it.
    """
    keys = [column.name for column in table.primary_key]
    rest = {name: value for name, value in row.items() if name not in keys}
    entered = _insert(connection, table).values(row)
    connection.execute(entered.on_conflict_do_update(index_elements=keys, set_=rest))


def forget(connection: Connection, name: str) -> bool:
    """Keep no text of that name any more; whether there was one."""
    return connection.execute(delete(site).where(site.c.name == name)).rowcount > 0


def _insert(connection: Connection, table: Table) -> sqlite.Insert | postgresql.Insert:
    return postgresql.insert(table) if connection.dialect.name == "postgresql" else sqlite.insert(table)
