"""Predicates as SQL expressions. Values are always bound parameters."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from sqlalchemy import (
    Column,
    ColumnClause,
    ColumnElement,
    Select,
    and_,
    exists,
    false,
    literal,
    or_,
    select,
    true,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import NullType

from pacs_server.dicom.attributes import BY_KEYWORD, UNIQUE_KEY, Attribute, Level
from pacs_server.dicom.names import NamePattern
from pacs_server.dicom.queries.predicates import (
    Between,
    BetweenMoments,
    HasItem,
    Like,
    NameLike,
    NumberIn,
    OneOf,
    Predicate,
    ValuePredicate,
)
from pacs_server.dicom.vocabulary import Field
from pacs_server.dicom.wildcards import one_of_list
from pacs_server.index.tables import (
    ITEM_TABLES,
    TABLES,
    extra_values,
    instances,
    is_found,
    name_grams,
    patients,
    series,
    studies,
)

_PARENTS: Final = {studies: studies.c.patient_row, series: series.c.study_row, instances: instances.c.series_row}
_WILDCARD: Final = re.compile(r"[*?]")
_GREATEST: Final = "\U0010ffff"
# What a study has by what is below it, and where that is.
_OF_STUDY: Final = {
    BY_KEYWORD["ModalitiesInStudy"]: (Level.SERIES, series.c.modality),
    BY_KEYWORD["SOPClassesInStudy"]: (Level.IMAGE, instances.c.sop_class),
}
# What a study tells of all that is below it, in no column less than that has.
_TOLD_BY_STUDY: Final[dict[ColumnElement[Any] | None, Column[Any]]] = {
    series.c.modality: studies.c.modalities,
    instances.c.sop_class: studies.c.sop_classes,
}
_FEW: Final = 32
_UNIQUE_KEYS: Final = frozenset(UNIQUE_KEY.values())
_PATIENT_NAME: Final = BY_KEYWORD["PatientName"]
_GROUP_COLUMNS: Final = tuple(patients.c[f"patient_name_{kind}"] for kind in ("alphabetic", "ideographic", "phonetic"))


class Fits(FunctionElement[bool]):
    """Whether a text fits a pattern of `*` and `?`, case-sensitive."""

    inherit_cache = True
    # With a Boolean type SQLite would be asked for `(...) = 1`, which no index answers.
    type = NullType()  # type: ignore[assignment]
    name = "fits"

    def __init__(self, column: ColumnElement[Any], pattern: str) -> None:
        glob = pattern.replace("[", "[[]")
        like = pattern.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_").replace("*", "%").replace("?", "_")
        start = _WILDCARD.split(pattern, maxsplit=1)[0]
        super().__init__(column, literal(glob), literal(like), literal(start), literal(start + _GREATEST))


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


def criterion(predicate: Predicate, level: Level, *, in_trash: bool = False) -> ColumnElement[bool]:
    """The condition that a predicate puts on the rows of a query at this level; also by what is `in_trash` of a study,
    where that is looked for.
    """
    if isinstance(predicate, HasItem):
        return _having_item(predicate, level)
    attribute = predicate.attribute
    if isinstance(attribute, Field):
        return _having_value(predicate, attribute, level)
    if attribute in _OF_STUDY:
        lower, column = _OF_STUDY[attribute]
        is_one = _condition(predicate, column)
        upper = min(level, Level.STUDY)
        if in_trash:
            return _below(lower, upper, is_one)
        return and_(_may_be_below(predicate, column, upper), _below(lower, upper, and_(is_found(lower), is_one)))
    table = TABLES[attribute.level]
    condition = _condition(predicate, table.c.get(attribute.column))
    if attribute.level <= level:
        return condition
    if isinstance(predicate, NameLike) or attribute in _UNIQUE_KEYS:  # few have it, and an index tells which
        return _owning(select(table.c.id).where(condition), attribute.level, level)
    is_below = _below(attribute.level, level, and_(is_found(attribute.level), condition))
    return and_(_may_be_below(predicate, table.c.get(attribute.column), level), is_below)


def _having_item(predicate: HasItem, level: Level) -> ColumnElement[bool]:
    sequence = predicate.sequence
    items = ITEM_TABLES[sequence.tag]
    fitting = (_condition(one, items.c[one.attribute.column]) for one in predicate.fields)
    return _owning(select(items.c.owner_row).where(*fitting), sequence.level, level)


def _having_value(predicate: ValuePredicate, field: Field, level: Level) -> ColumnElement[bool]:
    fitting = extra_values.c.field_id == field.row, _value_condition(predicate, extra_values.c.sought)
    return _owning(select(extra_values.c.owner_row).where(*fitting), field.level, level)


def _owning(owners: Select[Any], owner_level: Level, level: Level) -> ColumnElement[bool]:
    """That the row at the owners' level, or one below the row of the query, is one of them."""
    found, at = owners, owner_level
    while at > level:
        found, at = select(_PARENTS[TABLES[at]]).where(TABLES[at].c.id.in_(found), is_found(at)), Level(at - 1)
    return TABLES[at].c.id.in_(found)


def _below(lower: Level, upper: Level, condition: ColumnElement[bool]) -> ColumnElement[bool]:
    """That some row of a lower level, below that of an upper one, fulfils the condition."""
    return exists(chain(select(literal(1)), lower, upper).where(condition)).correlate(TABLES[upper])


def _may_be_below(predicate: ValuePredicate, column: ColumnElement[Any] | None, upper: Level) -> ColumnElement[bool]:
    """That a study tells of one of the values somewhere below it; true where it does not tell of them. It spares most
    studies the look below them: with a million of them on SQLite a class that none has took 15 s of processor time.
    """
    told = _TOLD_BY_STUDY.get(column) if upper is Level.STUDY else None
    if told is None or not isinstance(predicate, OneOf) or len(predicate.values) > _FEW:
        return true()
    return or_(*(Holds(told, value) for value in predicate.values))


def chain(statement: Select[Any], lower: Level, upper: Level) -> Select[Any]:
    """Tie the rows of a lower level to the row of an upper one, through the levels between them."""
    tables = [TABLES[Level(number)] for number in range(upper + 1, lower + 1)]
    statement = statement.select_from(*tables)
    for parent, table in zip([TABLES[upper], *tables], tables, strict=False):
        statement = statement.where(_PARENTS[table] == parent.c.id)
    return statement


def _condition(predicate: ValuePredicate, column: ColumnElement[Any] | None) -> ColumnElement[bool]:
    """What a predicate demands of a column of the tables."""
    if column is None:
        return false()
    match predicate:
        case OneOf(attribute=attribute, values=texts) | Like(attribute=attribute, patterns=texts) if attribute.is_list:
            return or_(*(Contains(column, partial(_one_of_list, text)) for text in texts))
        case NumberIn(values=numbers):
            return column.in_(numbers)
        case BetweenMoments():
            return _between_moments(predicate)
        case NameLike(attribute=attribute, patterns=patterns):
            return or_(*(_name_condition(attribute, pattern) for pattern in patterns))
        case _:
            return _value_condition(predicate, column)


def _value_condition(predicate: ValuePredicate, column: ColumnElement[Any]) -> ColumnElement[bool]:
    """What a predicate demands of one value, as a text."""
    match predicate:
        case OneOf(values=values):
            return column.in_(values)
        case NumberIn(values=numbers):
            return column.in_([str(number) for number in numbers])
        case Like(patterns=patterns):
            return or_(*(_matches(column, pattern) for pattern in patterns))
        case Between(bounds=bounds):
            return or_(*(_within(column, low, high) for low, high in bounds))
        case NameLike(patterns=patterns):
            return or_(*(_contains_name(column, pattern) for pattern in patterns))
        case _:
            return false()


def _one_of_list(text: str, atomic: bool) -> str:
    return one_of_list(text, atomic=atomic)


def _contains_name(column: ColumnElement[Any], pattern: NamePattern) -> ColumnElement[bool]:
    return Contains(column, lambda atomic: pattern.regex(atomic=atomic))


def _matches(column: ColumnElement[Any], pattern: str) -> ColumnElement[bool]:
    found = _WILDCARD.search(pattern)
    if found is None:
        return column == pattern
    return Begins(column, pattern) if found.start() else Fits(column, pattern)


def _within(column: ColumnElement[Any], low: str | None, high: str | None) -> ColumnElement[bool]:
    return and_(
        AtLeast(column, low) if low is not None else true(), AtMost(column, high) if high is not None else true()
    )


def _between_moments(predicate: BetweenMoments) -> ColumnElement[bool]:
    columns = TABLES[predicate.attribute.level].c
    day, clock = columns[predicate.attribute.column], columns[predicate.time.column]
    (first_day, last_day), (first_time, last_time) = predicate.dates, predicate.times
    conditions = []
    if first_day is not None:
        conditions += [AtLeast(day, first_day), or_(day > first_day, clock >= first_time) if first_time else true()]
    if last_day is not None:
        conditions += [AtMost(day, last_day), or_(day < last_day, clock <= last_time) if last_time else true()]
    return and_(*conditions)


def _name_condition(attribute: Attribute, pattern: NamePattern) -> ColumnElement[bool]:
    if attribute is _PATIENT_NAME:
        return _patient_name(pattern)
    return _name_of_few(TABLES[attribute.level].c[f"{attribute.column}_folded"], pattern)


def _name_of_few(column: Column[Any], pattern: NamePattern) -> ColumnElement[bool]:
    """By the different names in a column, each found in its index behind the one before: a hospital has few physicians
    and many studies. Looking at the name of each of a million studies took 3 s.
    """

    def first(condition: ColumnElement[bool]) -> Select[Any]:
        return select(column).where(condition).order_by(ByBytes(column)).limit(1)

    least = select(first(AtLeast(column, "")).scalar_subquery().label("name")).cte(recursive=True)
    next_one = first(Behind(column, least.c.name)).correlate(least).scalar_subquery()
    names = least.union_all(select(next_one).where(least.c.name.is_not(None)))
    return column.in_(select(names.c.name).where(_contains_name(names.c.name, pattern)))


def _patient_name(pattern: NamePattern) -> ColumnElement[bool]:
    """By the indexes of the three groups where the pattern tells how a group begins, else by the grams of the name."""
    if pattern.any_group and not _WILDCARD.match(pattern.any_group):
        return or_(*(_matches(column, pattern.any_group) for column in _GROUP_COLUMNS))
    if any(group and not _WILDCARD.match(group) for group in pattern.by_group):
        given = zip(_GROUP_COLUMNS, pattern.by_group, strict=True)
        return and_(*(_matches(column, group) for column, group in given if group))
    having_gram = [patients.c.id.in_(_having(gram)) for gram in pattern.grams[:1]]
    return and_(*having_gram, _contains_name(patients.c.patient_name_folded, pattern))


def _having(gram: str) -> Select[Any]:
    """The patients in whose name a gram stands; one of a single character is the beginning of one."""
    if len(gram) > 1:
        return select(name_grams.c.patient_row).where(name_grams.c.gram == gram)
    begins = and_(name_grams.c.gram >= gram, name_grams.c.gram < gram + _GREATEST)
    return select(name_grams.c.patient_row).where(begins)
