"""A statement that SQLAlchemy compiles once and the driver executes many times.

Measured with SQLite: 45 microseconds for a look-up by key through a connection of SQLAlchemy, 7 on the driver's cursor.
Compiling takes a millisecond or more, so it is done when a statement is first executed: most processes, each command
that a person gives among them, need few of the sixty that there are.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Final, NamedTuple

from sqlalchemy import CompoundSelect, Delete, Insert, Select, TextClause, Update

from pacs_server.index.drivers.planned import Planned
from pacs_server.index.drivers.postgresql import insert_together
from pacs_server.index.engine import Index

_UNSTORABLE: Final = re.compile("[\0\ud800-\udfff]")


def clean(value: Any) -> Any:
    """A text without NULs and lone surrogates, which no database takes; any other value as it is."""
    if isinstance(value, str) and (not value.isascii() or "\0" in value):
        return _UNSTORABLE.sub("", value)
    return value


def mark(place: int) -> str:
    """What stands in a `Form` for the value of that place. No value is like it, because none has a NUL."""
    return f"\0{place}"


class _Compiled(NamedTuple):
    """SQL as the driver takes it; the names of its places where they are counted; values that stand in it; the names
    of its parameters.
    """

    sql: str
    order: list[str] | None
    fixed: dict[str, Any]
    names: list[str]


class Statement:
    """One statement, compiled once; its parameters are named. Values are texts, whole numbers or None."""

    def __init__(
        self,
        index: Index,
        statement: Select[Any] | CompoundSelect[Any] | Insert | Update | Delete | TextClause,
        columns: Sequence[str] | None = None,
    ) -> None:
        """`columns` are those that an insert fills, each from the parameter of its name."""
        self._index = index
        self._statement = statement
        self._columns = columns

    @cached_property
    def _compiled(self) -> _Compiled:
        made = self._statement.compile(
            dialect=self._index.engine.dialect,
            column_keys=self._columns,
            compile_kwargs={"render_postcompile": True},
        )
        names = [name for name, bind in made.binds.items() if bind.required]
        fixed = {name: value for name, value in made.params.items() if name not in names}
        return _Compiled(str(made), made.positiontup, fixed, names)

    @property
    def _told(self) -> str | Planned:
        """What the driver is told to execute."""
        return self._compiled.sql

    def _parameters(self, values: dict[str, Any]) -> Any:
        order, fixed = self._compiled.order, self._compiled.fixed
        given = fixed | values if fixed else values
        # One look at all of them: one by one, with a call for each, took 0.1 ms of each object.
        told = "".join([value for value in given.values() if isinstance(value, str)])
        if not told.isascii() or "\0" in told:
            given = {name: clean(value) for name, value in given.items()}
        return given if order is None else [given[name] for name in order]

    def rows(self, **values: Any) -> list[tuple[Any, ...]]:
        """Execute on a connection of the moment. Raises: IndexUnavailable."""
        return self._index.rows(self._told, self._parameters(values))

    def on(self, cursor: Any, values: dict[str, Any]) -> Any:
        """Execute on the cursor of a transaction; the driver's errors come through."""
        cursor.execute(self._told, self._parameters(values))
        return cursor

    def later(self, cursor: Any, values: dict[str, Any]) -> None:
        """The same where its answer is not wanted: PostgreSQL is sent it with the next one, a round trip less."""
        if self._index.database_path is None:
            cursor.later(self._told, self._parameters(values))
        else:
            self.on(cursor, values)

    def together(self, cursor: Any, rows: Sequence[dict[str, Any]]) -> list[tuple[Any, ...]]:
        """An insert of several rows as one, on the cursor of a PostgreSQL transaction; answers what it returns."""
        return insert_together(cursor, self._compiled.sql, [self._parameters(row) for row in rows])


class HotStatement(Statement):
    """One that each object needs: a look-up by key, or an insert. PostgreSQL plans it once for a connection."""

    @cached_property
    def _told(self) -> str | Planned:
        made = self._compiled
        return made.sql if self._index.database_path is not None else Planned(made.sql, made.names, made.fixed)


class Form(Statement):
    """A select in which marks stand for values, for all that differ in their values alone."""

    @cached_property
    def _places(self) -> dict[str, int]:
        """The places of the marks, by the names of their parameters."""
        fixed = self._compiled.fixed
        marks = {name: text for name, text in fixed.items() if isinstance(text, str) and text.startswith("\0")}
        return {name: int(text[1:]) for name, text in marks.items()}

    def filled(self, values: Sequence[str]) -> tuple[str, Any]:
        """The SQL, and its parameters with these values in the places of the marks."""
        return self._compiled.sql, self._parameters({name: values[place] for name, place in self._places.items()})
