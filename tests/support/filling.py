"""Rows for every table of whatever schema, as a release of that schema could have written them."""

from typing import Any

from sqlalchemy import Connection, MetaData, Table, insert, select

ROWS = 3


def reflected(connection: Connection) -> list[Table]:
    """The tables that are there, those that others refer to first."""
    found = MetaData()
    found.reflect(connection)
    return [table for table in found.sorted_tables if table.name != "alembic_version"]


def fill(connection: Connection, tables: list[Table], first: int = 1) -> None:
    """Rows as a release of that schema could have written them: it knows of these columns and of no others."""
    for table in tables:
        rows = [{column.name: _value(column, n) for column in table.c} for n in range(first, first + ROWS)]
        connection.execute(insert(table), rows)


def _value(column: Any, n: int) -> Any:
    if column.foreign_keys or column.type.python_type is int:
        return n
    if column.name == "role":
        return "current"
    if column.name == "modalities":
        return f"modality {n} 山田"  # a study tells of those of its series
    return f"{column.name} {n} 山田"


def held(connection: Connection, tables: list[Table]) -> dict[str, list[tuple[Any, ...]]]:
    return {
        table.name: [tuple(row) for row in connection.execute(select(*table.c).order_by(*table.primary_key))]
        for table in tables
    }
