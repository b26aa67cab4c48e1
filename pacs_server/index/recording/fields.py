"""Fields that an admin added: what they are, and how far the objects that were here before are read for them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cached_property
from typing import Any, Final

from sqlalchemy import Row, delete, exists, func, insert, select, update

from pacs_server.dicom.attributes import Level
from pacs_server.dicom.describe import FieldValue
from pacs_server.dicom.vocabulary import Field, Vocabulary, field_of
from pacs_server.errors import Refused, UnknownName
from pacs_server.index.engine import Index
from pacs_server.index.objects import CopyRow
from pacs_server.index.recording.statements import RecordingStatements
from pacs_server.index.site.registry import note_change
from pacs_server.index.site_tables import extra_fields
from pacs_server.index.tables import CONTENT, copies, extra_values, instances, series, studies

# An object that was on its way when a field was added was described without it, and is read once more after this.
_SETTLED_AFTER: Final = timedelta(hours=1)
_REMOVED_AT_ONCE: Final = 10_000

_OWNER: Final = {
    Level.PATIENT: studies.c.patient_row,
    Level.STUDY: series.c.study_row,
    Level.SERIES: instances.c.series_row,
    Level.IMAGE: instances.c.id,
}


class Stage(StrEnum):
    """How far a field is. A key on it is matched from `READY` on."""

    READING = "reading"
    READY = "ready"
    READING_REST = "ready, reading what came meanwhile"
    DONE = "done"


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldProgress:
    """A field, when it was added, and how many objects are still to be read for it."""

    field: Field
    added_at: datetime
    stage: Stage
    unread: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Unread:
    """An object that has to be read for a field, which has no value yet for `owner_row`."""

    instance_row: int
    owner_row: int
    transfer_syntax: str
    sender: str
    copies: tuple[CopyRow, ...]


class Fields:
    """The fields of the site. May be used from any thread."""

    def __init__(self, index: Index) -> None:
        self._index = index

    @cached_property
    def _statements(self) -> RecordingStatements:
        return RecordingStatements(self._index)

    def vocabulary(self) -> Vocabulary:
        """What is read from objects and can be asked for at this moment. Raises: IndexUnavailable."""
        with self._index.read() as connection:
            rows = connection.execute(select(*extra_fields.c).order_by(extra_fields.c.id)).all()
        return Vocabulary(map(_field, rows))

    def progress(self) -> list[FieldProgress]:
        """Every field and how far it is. Raises: IndexUnavailable."""
        with self._index.read() as connection:
            rows = connection.execute(select(*extra_fields.c).order_by(extra_fields.c.id)).all()
            return [
                FieldProgress(
                    field=_field(row),
                    added_at=datetime.fromisoformat(row.added_at),
                    stage=Stage(row.stage),
                    unread=connection.execute(_count_above(row.read_to)).scalar_one() if _is_reading(row) else 0,
                )
                for row in rows
            ]

    def add(self, field: Field, now: datetime) -> None:
        """Add a field. Objects that arrive from now on have it at once, the others when they were read.

        Raises: Refused when it is there already; IndexUnavailable.
        """
        with self._index.write() as connection:
            greatest = connection.execute(select(func.coalesce(func.max(instances.c.id), 0))).scalar_one()
            values = {
                "keyword": field.keyword,
                "tag": field.tag,
                "creator": field.creator,
                "vr": field.vr,
                "level": field.level.name,
                "added_at": now.isoformat(),
                "stage": Stage.READING,
                "read_to": 0,
                "present_to": greatest,
            }
            added = self._index.insert(extra_fields).values(values).on_conflict_do_nothing()
            if not connection.execute(added).rowcount:
                taken = select(extra_fields.c.level).where(extra_fields.c.keyword == field.keyword)
                level = str(connection.execute(taken).scalar_one()).lower()
                raise Refused(f"{field.keyword} was added already, at level {level}; nothing was changed")
            note_change(connection)

    def remove(self, keyword: str) -> None:
        """Remove a field with its values; what is stored stays as it is.

        Raises: UnknownName; IndexUnavailable.
        """
        with self._index.write() as connection:
            found = connection.execute(select(extra_fields.c.id).where(extra_fields.c.keyword == keyword)).scalar()
            if found is None:
                raise UnknownName(f"no field {keyword} was added; pacs index fields list shows those there are")
            connection.execute(delete(extra_fields).where(extra_fields.c.id == found))
            note_change(connection)
        self._remove_values(found)

    def _remove_values(self, field_id: int) -> None:
        """In portions, so that nobody who stores has to wait for all of them."""
        some = select(extra_values.c.owner_row).where(extra_values.c.field_id == field_id).limit(_REMOVED_AT_ONCE)
        removed = _REMOVED_AT_ONCE
        while removed:
            with self._index.write() as connection:
                portion = delete(extra_values).where(
                    extra_values.c.field_id == field_id, extra_values.c.owner_row.in_(some.scalar_subquery())
                )
                removed = connection.execute(portion).rowcount

    def next_to_read(self, now: datetime) -> Field | None:
        """The field for which files are to be read next; None when all are done. Raises: IndexUnavailable."""
        with self._index.read() as connection:
            rows = connection.execute(select(*extra_fields.c).order_by(extra_fields.c.id)).all()
        for row in rows:
            if row.stage == Stage.READY and now - datetime.fromisoformat(row.added_at) >= _SETTLED_AFTER:
                with self._index.write() as connection:
                    changed = update(extra_fields).where(extra_fields.c.id == row.id)
                    connection.execute(changed.values(stage=Stage.READING_REST, read_to=row.present_to))
                return _field(row)
            if _is_reading(row):
                return _field(row)
        return None

    def unread(self, field: Field, limit: int) -> list[Unread]:
        """The next objects, in the order in which they were recorded, whose patient, study, series or own row has no
        value of the field yet. Raises: IndexUnavailable.
        """
        owner = _OWNER[field.level]
        has_value = exists().where(extra_values.c.field_id == field.row, extra_values.c.owner_row == owner)
        read_to = select(extra_fields.c.read_to).where(extra_fields.c.id == field.row).scalar_subquery()
        portion = (
            select(instances.c.id, instances.c.transfer_syntax, instances.c.sender, owner.label("owner_row"))
            .join_from(instances, series)
            .join(studies)
            .where(instances.c.id > read_to, ~has_value)
            .order_by(instances.c.id)
            .limit(limit)
        )
        with self._index.read() as connection:
            rows = connection.execute(portion).all()
            places: dict[int, list[CopyRow]] = {row.id: [] for row in rows}
            for place in connection.execute(select(*copies.c).where(copies.c.instance_row.in_(places))):
                places[place.instance_row].append(CopyRow(volume_id=place.volume_id, path=place.path))
        return [
            Unread(
                instance_row=row.id,
                owner_row=row.owner_row,
                transfer_syntax=row.transfer_syntax,
                sender=row.sender,
                copies=tuple(places[row.id]),
            )
            for row in rows
        ]

    def enter(self, field: Field, found: Mapping[int, Sequence[FieldValue]], read: Iterable[Unread]) -> None:
        """Enter what was found, by owner row, and that these objects were read; none means that all were.

        Raises: IndexUnavailable.
        """
        last = max((one.instance_row for one in read), default=0)
        with self._index.write_cursor() as cursor:
            for owner_row, values in sorted(found.items()):
                self._statements.add_values(cursor, field, owner_row, values)
        with self._index.write() as connection:
            row = connection.execute(select(*extra_fields.c).where(extra_fields.c.id == field.row)).one_or_none()
            if row is None:
                return  # it was removed meanwhile
            changed = update(extra_fields).where(extra_fields.c.id == field.row)
            if last:
                connection.execute(changed.values(read_to=max(last, row.read_to)))
            else:
                ended = Stage.READY if row.stage == Stage.READING else Stage.DONE
                connection.execute(changed.values(stage=ended))
                note_change(connection)


def copy_fields(index: Index, beside: Index) -> None:
    """Give another index the same fields; if it was begun with others, its content is begun anew.

    Raises: IndexUnavailable.
    """
    wanted = select(*extra_fields.c).order_by(extra_fields.c.id)
    with index.read() as connection:
        rows = [dict(row) for row in connection.execute(wanted).mappings()]
    with beside.write() as connection:
        had = {row["id"] for row in connection.execute(wanted).mappings()}
        if had == {row["id"] for row in rows}:
            return
        for table in (*reversed(CONTENT), extra_fields):
            connection.execute(delete(table))
        if rows:
            connection.execute(insert(extra_fields), rows)


def _field(row: Row[Any]) -> Field:
    return field_of(
        row=row.id,
        keyword=row.keyword,
        tag=row.tag,
        creator=row.creator,
        vr=row.vr,
        level=Level[row.level],
        is_ready=row.stage != Stage.READING,
    )


def _is_reading(row: Row[Any]) -> bool:
    return row.stage in (Stage.READING, Stage.READING_REST)


def _count_above(instance_row: int) -> Any:
    return select(func.count()).where(instances.c.id > instance_row)
