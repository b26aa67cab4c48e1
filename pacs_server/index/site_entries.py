"""Texts by name, for what the site decides or remembers that needs no table of its own."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Connection, delete, select
from sqlalchemy.dialects import postgresql, sqlite

from pacs_server.index.site_tables import site


def value_of(connection: Connection, name: str) -> str | None:
    """The text of that name; None when there is none."""
    return connection.execute(select(site.c.value).where(site.c.name == name)).scalar()


def values_below(connection: Connection, prefix: str) -> Mapping[str, str]:
    """The texts whose names begin so, by the rest of their names and in that order."""
    named = select(site.c.name, site.c.value).where(site.c.name.startswith(prefix, autoescape=True))
    rows = connection.execute(named.order_by(site.c.name))
    return {name.removeprefix(prefix): value for name, value in rows}


def put(connection: Connection, name: str, value: str) -> None:
    """Keep a text, in the place of the one of that name."""
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    entry = insert(site).values(name=name, value=value)
    connection.execute(entry.on_conflict_do_update(index_elements=[site.c.name], set_={"value": value}))


def forget(connection: Connection, name: str) -> bool:
    """Keep no text of that name any more; whether there was one."""
    return connection.execute(delete(site).where(site.c.name == name)).rowcount > 0
