"""What a query is answered with, as SQL expressions: columns of the rows, and what is made of the rows below."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import ColumnElement, Select, Table, and_, case, func, null, select, true

from pacs_server.dicom.attributes import BY_KEYWORD, UNIQUE_KEY, Attribute, ItemSequence, Level, Matching
from pacs_server.dicom.items import FIELD_END, ROW_END
from pacs_server.dicom.vocabulary import Field
from pacs_server.index.deposits import SOUND
from pacs_server.index.queries.criteria import chain
from pacs_server.index.site_tables import deposits
from pacs_server.index.tables import ITEM_TABLES, TABLES, copies, extra_values, instances, is_current, is_found, studies

_AVAILABILITY: Final = BY_KEYWORD["InstanceAvailability"]


def answer_column(attribute: Attribute | ItemSequence, level: Level) -> ColumnElement[Any]:
    """The value of an attribute in an answer at this level; the items of a sequence as `dicom.items.pack` writes them.

    Of a lower level the value of its first row is answered, where that says something; unique keys and counts of lower
    levels are empty, because one of many would be misleading.
    """
    if isinstance(attribute, ItemSequence):
        return _packed(attribute, level)
    if attribute is _AVAILABILITY:
        return _availability(level)
    if isinstance(attribute, Field):
        return _field_values(attribute, level)
    table = TABLES[attribute.level]
    if attribute.level <= level:
        return table.c[attribute.column]
    if attribute in UNIQUE_KEY.values() or attribute.matching is Matching.ROLLUP:
        return null()
    return _of_first(table.c[attribute.column], attribute.level, level)


def _availability(level: Level) -> ColumnElement[Any]:
    """NEARLINE where an object is only with an archive server. The deposits of the study come first, because there are
    none in most; and before them whether there are any at all, which is asked once for all rows: to look for those of
    each study took a quarter of the time of a list. Source: PS3.3 section C.4.23.1.1.
    """
    held, own = instances.alias(), TABLES[level]
    good = select(copies.c.id).where(copies.c.instance_row == held.c.id, copies.c.damage.is_(None))
    same = and_(held.c.sop_uid == deposits.c.sop_uid, held.c.digest == deposits.c.digest, is_current(held))
    away = select(deposits.c.aet).join(held, same).where(SOUND, ~good.exists())
    if level is Level.PATIENT:
        others = studies.alias()
        away = away.join(others, others.c.study_uid == deposits.c.study_uid).where(others.c.patient_row == own.c.id)
    else:
        below = {Level.SERIES: held.c.series_row == own.c.id, Level.IMAGE: held.c.id == own.c.id}
        away = away.where(deposits.c.study_uid == studies.c.study_uid, below.get(level, true()))
    any_away = select(deposits.c.aet).correlate(None).exists()
    return case((any_away & away.correlate(own, studies).exists(), "NEARLINE"), else_="ONLINE")


def _of_first(column: ColumnElement[Any], lower: Level, level: Level) -> ColumnElement[Any]:
    """A column of the first row at a lower level below the row of the query."""
    first = chain(select(column), lower, level).where(is_found(lower)).order_by(TABLES[lower].c.id).limit(1)
    return first.correlate(TABLES[level]).scalar_subquery()


def _field_values(field: Field, level: Level) -> ColumnElement[Any]:
    own = TABLES[field.level].c.id
    owner = own if field.level <= level else _of_first(own, field.level, level)
    at = TABLES[min(field.level, level)]
    values = select(extra_values.c.value.label("text")).where(
        extra_values.c.field_id == field.row, extra_values.c.owner_row == owner
    )
    return _joined_in_order(values.order_by(extra_values.c.place), "\\", at)


def _packed(sequence: ItemSequence, level: Level) -> ColumnElement[Any]:
    if sequence.level > level:
        return null()
    items = ITEM_TABLES[sequence.tag]
    first, *others = (items.c[field.column] for field in sequence.fields)
    item: ColumnElement[Any] = first
    for column in others:
        item = item + FIELD_END + column
    return _joined_in_order(
        select(item.label("text")).where(items.c.owner_row == TABLES[sequence.level].c.id).order_by(items.c.id),
        ROW_END,
        TABLES[sequence.level],
    )


def _joined_in_order(texts: Select[Any], delimiter: str, at: Table) -> ColumnElement[Any]:
    """The texts of a row of `at` as one, in their order: the database joins them as it meets them."""
    ordered = texts.correlate(at).subquery()
    return select(func.aggregate_strings(ordered.c.text, delimiter)).correlate(at).scalar_subquery()
