"""Predicates as SQL expressions. Values are always bound parameters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, Final, TypeVar

from sqlalchemy import (
    Column,
    ColumnElement,
    Select,
    Text,
    and_,
    exists,
    false,
    literal,
    literal_column,
    or_,
    select,
    true,
)

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
from pacs_server.dicom.vocabulary import PARTED, Field
from pacs_server.dicom.wildcards import one_of_list
from pacs_server.index.queries.text_conditions import (
    GREATEST,
    WILDCARD,
    AtLeast,
    AtMost,
    Begins,
    Behind,
    ByBytes,
    Contains,
    Fits,
    Holds,
    OneOfSeveral,
    any_of,
)
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

_T = TypeVar("_T")

# Of a subselect that is no Select: as a column it would be one more table of the whole.
_SOUGHT: Final = literal_column("extra_values.sought", Text)

_PARENTS: Final = {studies: studies.c.patient_row, series: series.c.study_row, instances: instances.c.series_row}
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
_PATTERNS_IN_ONE: Final = 64
_UNIQUE_KEYS: Final = frozenset(UNIQUE_KEY.values())
_PATIENT_NAME: Final = BY_KEYWORD["PatientName"]
_GROUP_COLUMNS: Final = tuple(patients.c[f"patient_name_{kind}"] for kind in ("alphabetic", "ideographic", "phonetic"))


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
        is_one = _condition(predicate, column, TABLES[lower].c.id)
        upper = min(level, Level.STUDY)
        if in_trash:
            return _below(lower, upper, is_one)
        return and_(_may_be_below(predicate, column, upper), _below(lower, upper, and_(is_found(lower), is_one)))
    table = TABLES[attribute.level]
    condition = _condition(predicate, table.c.get(attribute.column), table.c.id)
    if attribute.level <= level:
        return condition
    if isinstance(predicate, NameLike) or attribute in _UNIQUE_KEYS:  # few have it, and an index tells which
        return _owning(select(table.c.id).where(condition), attribute.level, level)
    is_below = _below(attribute.level, level, and_(is_found(attribute.level), condition))
    return and_(_may_be_below(predicate, table.c.get(attribute.column), level), is_below)


def _having_item(predicate: HasItem, level: Level) -> ColumnElement[bool]:
    sequence = predicate.sequence
    items = ITEM_TABLES[sequence.tag]
    fitting = (_condition(one, items.c[one.attribute.column], items.c.owner_row) for one in predicate.fields)
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


def _condition(
    predicate: ValuePredicate, column: ColumnElement[Any] | None, row: ColumnElement[Any]
) -> ColumnElement[bool]:
    """What a predicate demands of a column of the tables; `row` is what several values of it belong to."""
    if column is None:
        return false()
    match predicate:
        case OneOf(attribute=attribute, values=texts) | Like(attribute=attribute, patterns=texts) if attribute.is_list:
            return any_of(Contains(column, partial(_one_of_list, some)) for some in _parts(texts))
        case NumberIn(values=numbers):
            return column.in_(numbers)
        case BetweenMoments():
            return _between_moments(predicate)
        case NameLike(attribute=attribute, patterns=patterns):
            return _name_condition(attribute, patterns)
        case OneOf(attribute=attribute, values=texts) if attribute in PARTED:
            several = OneOfSeveral(row, column, PARTED[attribute].row, _SOUGHT.in_(texts))
            return or_(column.in_(texts), several)
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
            return any_of(_matches(column, pattern) for pattern in patterns)
        case Between(bounds=bounds):
            return any_of(_within(column, low, high) for low, high in bounds)
        case NameLike(patterns=patterns):
            return _contains_name(column, patterns)
        case _:
            return false()


def _parts(patterns: Sequence[_T]) -> Iterator[Sequence[_T]]:
    """The patterns by as many as one regular expression takes: Python keeps 512 that it compiled and PostgreSQL 32.
    With one for each of 900 values all were compiled anew for each row, which took half a second of it.
    """
    return (patterns[first : first + _PATTERNS_IN_ONE] for first in range(0, len(patterns), _PATTERNS_IN_ONE))


def _one_of_list(texts: Sequence[str], atomic: bool) -> str:
    return one_of_list(*texts, atomic=atomic)


def _contains_name(column: ColumnElement[Any], patterns: Sequence[NamePattern]) -> ColumnElement[bool]:
    return any_of(Contains(column, partial(_one_of_names, some)) for some in _parts(patterns))


def _one_of_names(patterns: Sequence[NamePattern], atomic: bool) -> str:
    return "|".join(pattern.regex(atomic=atomic) for pattern in patterns)


def _matches(column: ColumnElement[Any], pattern: str) -> ColumnElement[bool]:
    found = WILDCARD.search(pattern)
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


def _name_condition(attribute: Attribute, patterns: Sequence[NamePattern]) -> ColumnElement[bool]:
    if attribute is _PATIENT_NAME:
        return any_of(map(_patient_name, patterns))
    return _name_of_few(TABLES[attribute.level].c[f"{attribute.column}_folded"], patterns)


def _name_of_few(column: Column[Any], patterns: Sequence[NamePattern]) -> ColumnElement[bool]:
    """By the different names in a column, each found in its index behind the one before: a hospital has few physicians
    and many studies. Looking at the name of each of a million studies took 3 s.
    """

    def first(condition: ColumnElement[bool]) -> Select[Any]:
        return select(column).where(condition).order_by(ByBytes(column)).limit(1)

    least = select(first(AtLeast(column, "")).scalar_subquery().label("name")).cte(recursive=True)
    next_one = first(Behind(column, least.c.name)).correlate(least).scalar_subquery()
    names = least.union_all(select(next_one).where(least.c.name.is_not(None)))
    return column.in_(select(names.c.name).where(_contains_name(names.c.name, patterns)))


def _patient_name(pattern: NamePattern) -> ColumnElement[bool]:
    """By the indexes of the three groups where the pattern tells how a group begins, else by the grams of the name."""
    if pattern.any_group and not WILDCARD.match(pattern.any_group):
        return or_(*(_matches(column, pattern.any_group) for column in _GROUP_COLUMNS))
    if any(group and not WILDCARD.match(group) for group in pattern.by_group):
        given = zip(_GROUP_COLUMNS, pattern.by_group, strict=True)
        return and_(*(_matches(column, group) for column, group in given if group))
    having_gram = [patients.c.id.in_(_having(gram)) for gram in pattern.grams[:1]]
    return and_(*having_gram, _contains_name(patients.c.patient_name_folded, (pattern,)))


def _having(gram: str) -> Select[Any]:
    """The patients in whose name a gram stands; one of a single character is the beginning of one."""
    if len(gram) > 1:
        return select(name_grams.c.patient_row).where(name_grams.c.gram == gram)
    begins = and_(name_grams.c.gram >= gram, name_grams.c.gram < gram + GREATEST)
    return select(name_grams.c.patient_row).where(begins)
