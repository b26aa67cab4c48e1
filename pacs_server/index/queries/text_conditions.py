"""Conditions on texts of which each database has a form of its own: patterns, bounds, regular expressions."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, Final

from sqlalchemy import ColumnClause, ColumnElement, false, literal, or_
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import NullType

from pacs_server.index.tables import studies

WILDCARD: Final = re.compile(r"[*?]")
# No letter comes behind it.
GREATEST: Final = "\U0010ffff"
_ALTERNATIVES_IN_ONE: Final = 30
_OWNERS: Final = "SELECT extra_values.owner_row FROM extra_values WHERE extra_values.field_id ="


class Fits(FunctionElement[bool]):
    """Whether a text fits a pattern of `*` and `?`, case-sensitive."""

    inherit_cache = True
    # With a Boolean type SQLite would be asked for `(...) = 1`, which no index answers.
    type = NullType()  # type: ignore[assignment]
    name = "fits"

    def __init__(self, column: ColumnElement[Any], pattern: str) -> None:
        glob = pattern.replace("[", "[[]")
        like = pattern.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_").replace("*", "%").replace("?", "_")
        start = WILDCARD.split(pattern, maxsplit=1)[0]
        super().__init__(column, literal(glob), literal(like), literal(start), literal(start + GREATEST))


class Begins(Fits):
    """The same by an index: the pattern has a fixed start. A class of its own, because SQLAlchemy keeps the SQL of
    each; while it was compiled for each query, that took 2 ms.
    """

    inherit_cache = True
    name = "begins"


@compiles(Fits, "sqlite")
def _fits_sqlite(element: Fits, compiler: Any, **kw: Any) -> str:
    column, glob, *_ = element.clauses
    return f"({compiler.process(column, **kw)} GLOB {compiler.process(glob, **kw)})"


@compiles(Begins, "sqlite")
def _begins_sqlite(element: Begins, compiler: Any, **kw: Any) -> str:
    # SQLite takes an index for a GLOB only if its start is known when the statement is prepared; the range always is.
    column, glob, _, start, end = (compiler.process(clause, **kw) for clause in element.clauses)
    return f"({column} >= {start} AND {column} < {end} AND {column} GLOB {glob})"


@compiles(Fits, "postgresql")
@compiles(Begins, "postgresql")
def _fits_postgresql(element: Fits, compiler: Any, **kw: Any) -> str:
    column, _, like, _, _ = element.clauses
    return f"({compiler.process(column, **kw)} LIKE {compiler.process(like, **kw)})"


class AtLeast(FunctionElement[bool]):
    """Whether a text is this one or one behind it, in the order of their bytes."""

    inherit_cache = True
    type = NullType()  # type: ignore[assignment]
    name = "at_least"
    operator = ">="

    def __init__(self, column: ColumnElement[Any], text: str | ColumnElement[Any]) -> None:
        super().__init__(column, literal(text) if isinstance(text, str) else text)


class AtMost(AtLeast):
    """Whether a text is this one or one before it."""

    inherit_cache = True
    name = "at_most"
    operator = "<="


class Behind(AtLeast):
    """Whether a text is one behind this one."""

    inherit_cache = True
    name = "behind"
    operator = ">"


class Holds(FunctionElement[bool]):
    """Whether a text is somewhere in another one, read row by row."""

    inherit_cache = True
    type = NullType()  # type: ignore[assignment]
    name = "holds"

    def __init__(self, column: ColumnElement[Any], text: str) -> None:
        super().__init__(column, literal(text))


@compiles(Holds, "sqlite")
def _holds_sqlite(element: Holds, compiler: Any, **kw: Any) -> str:
    return f"(instr({compiler.process(element.clauses, **kw)}) > 0)"


@compiles(Holds, "postgresql")
def _holds_postgresql(element: Holds, compiler: Any, **kw: Any) -> str:
    return f"(strpos({compiler.process(element.clauses, **kw)}) > 0)"


class OneOfSeveral(FunctionElement[bool]):
    """Whether a row has several values in a column, of which one is a value of a field that fulfils a condition. Beside
    another condition with OR each has an index of its own.
    """

    inherit_cache = True
    type = NullType()  # type: ignore[assignment]
    name = "one_of_several"

    def __init__(
        self, row: ColumnElement[Any], column: ColumnElement[Any], field: int, condition: ColumnElement[bool]
    ) -> None:
        super().__init__(row, column, literal(field), condition, literal("\\"), literal("%\\\\%"))


@compiles(OneOfSeveral, "sqlite")
def _one_of_several_sqlite(element: OneOfSeveral, compiler: Any, **kw: Any) -> str:
    row, column, field, condition, backslash, _ = (compiler.process(clause, **kw) for clause in element.clauses)
    return f"({row} IN ({_OWNERS} {field} AND {condition}) AND instr({column}, {backslash}) > 0)"


@compiles(OneOfSeveral, "postgresql")
def _one_of_several_postgresql(element: OneOfSeveral, compiler: Any, **kw: Any) -> str:
    # An array is made once; a subselect beside an OR would be compared with every row there is. Of it alone PostgreSQL
    # expects ten rows, of LIKE it knows that hardly any text has a backslash.
    row, column, field, condition, _, like = (compiler.process(clause, **kw) for clause in element.clauses)
    return f"({row} = ANY(ARRAY({_OWNERS} {field} AND {condition})) AND {column} LIKE {like})"


class ByBytes(FunctionElement[str]):
    """A text to be ordered by, in the order of its bytes."""

    inherit_cache = True
    name = "by_bytes"


@compiles(AtLeast, "sqlite")
@compiles(AtMost, "sqlite")
@compiles(Behind, "sqlite")
def _bound_sqlite(element: AtLeast, compiler: Any, **kw: Any) -> str:
    column, text = (compiler.process(clause, **kw) for clause in element.clauses)
    return f"({column} {element.operator} {text})"


@compiles(ByBytes, "sqlite")
def _by_bytes_sqlite(element: ByBytes, compiler: Any, **kw: Any) -> str:
    return str(compiler.process(element.clauses, **kw))


@compiles(ByBytes, "postgresql")
def _by_bytes_postgresql(element: ByBytes, compiler: Any, **kw: Any) -> str:
    return f"{compiler.process(element.clauses, **kw)} USING ~<~"


@compiles(AtLeast, "postgresql")
@compiles(AtMost, "postgresql")
@compiles(Behind, "postgresql")
def _bound_postgresql(element: AtLeast, compiler: Any, **kw: Any) -> str:
    # An index that answers what begins with some letters (text_pattern_ops) answers these operators, and no others.
    # That of studies in the order of their dates answers the usual ones.
    column, text = element.clauses
    has_order = isinstance(column, ColumnClause) and column.name == studies.c.study_date.name
    operator = element.operator if has_order else f"~{element.operator}~"
    return f"({compiler.process(column, **kw)} {operator} {compiler.process(text, **kw)})"


class AnyOf(FunctionElement[bool]):
    """Whether one of these conditions holds, in brackets of its own."""

    inherit_cache = True
    type = NullType()  # type: ignore[assignment]
    name = "any_of"


@compiles(AnyOf)
def _any_of(element: AnyOf, compiler: Any, **kw: Any) -> str:
    return f"({' OR '.join(compiler.process(clause, **kw) for clause in element.clauses)})"


def any_of(conditions: Iterable[ColumnElement[bool]]) -> ColumnElement[bool]:
    """Whether one of these conditions holds, however many they are. SQLite takes `a OR b OR c` for an expression as
    deep as it is long, counts it once more for each subselect around it, and allows 1,000.
    """
    found = list(conditions)
    if len(found) <= _ALTERNATIVES_IN_ONE:
        return or_(false(), *found)
    parts = range(0, len(found), _ALTERNATIVES_IN_ONE)
    return or_(*(AnyOf(*found[first : first + _ALTERNATIVES_IN_ONE]) for first in parts))


class Contains(FunctionElement[bool]):
    """Whether a regular expression is found in a text, read row by row. Each database has its own form of it."""

    inherit_cache = True
    type = NullType()  # type: ignore[assignment]
    name = "contains"

    def __init__(self, column: ColumnElement[Any], regex: Callable[[bool], str]) -> None:
        super().__init__(column, literal(regex(True)), literal(regex(False)))


@compiles(Contains, "sqlite")
def _contains_sqlite(element: Contains, compiler: Any, **kw: Any) -> str:
    column, atomic, _ = (compiler.process(clause, **kw) for clause in element.clauses)
    return f"({column} REGEXP {atomic})"  # the function of sqlite.py


@compiles(Contains, "postgresql")
def _contains_postgresql(element: Contains, compiler: Any, **kw: Any) -> str:
    column, _, plain = element.clauses
    return f"({compiler.process(column, **kw)} ~ {compiler.process(plain, **kw)})"
