"""What a study and its series say of their patient and themselves, made anew from the objects that are found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Final

from sqlalchemy import Connection, and_, delete, func, select, tuple_

from pacs_server.dicom.attributes import SEQUENCES, Level
from pacs_server.dicom.describe import Description, Flag
from pacs_server.index.engine import Index
from pacs_server.index.objects import CopyRow
from pacs_server.index.recording.rollups import Part, Study, rows_found
from pacs_server.index.recording.rows import Patients, Rows, contradiction, contradicts
from pacs_server.index.recording.statements import RecordingStatements
from pacs_server.index.retiring import (
    contradicting,
    forget_values,
    keep_others_out,
    owe_describing,
    recount,
    settle_patients,
)
from pacs_server.index.statements import clean
from pacs_server.index.tables import (
    copies,
    flags,
    instances,
    is_current,
    series,
    studies,
)

# They say that objects of a study contradict it, not which ones.
_OF_STUDY: Final = and_(
    flags.c.instance_row == 0, flags.c.kind.in_(("conflict-patient", "conflict-demographics", "conflict-study"))
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundObject:
    """An object of a study that is found, and where it can be read: from a damaged copy only where no good one is."""

    row: int
    series_uid: str
    transfer_syntax: str
    sender: str
    copies: tuple[CopyRow, ...]


class Anew:
    """Describes studies anew. May be used from any thread."""

    def __init__(self, index: Index) -> None:
        self._index = index

    @cached_property
    def _do(self) -> RecordingStatements:
        return RecordingStatements(self._index)

    def objects(self, study_uid: str) -> list[FoundObject]:
        """The objects of a study that are found, in the order in which they came. Raises: IndexUnavailable."""
        placed = (
            select(
                *instances.c["id", "transfer_syntax", "sender"],
                series.c.series_uid,
                *copies.c["volume_id", "path", "damage"],
            )
            .join_from(instances, series)
            .join(studies)
            .outerjoin(copies, copies.c.instance_row == instances.c.id)
            .where(studies.c.study_uid == clean(study_uid), is_current(instances))
            .order_by(instances.c.id, copies.c.id)
        )
        found: dict[int, list[Any]] = {}
        with self._index.read() as connection:
            for row in connection.execute(placed):
                found.setdefault(row.id, []).append(row)
        return [
            FoundObject(
                row=row_id,
                series_uid=rows[0].series_uid,
                transfer_syntax=rows[0].transfer_syntax,
                sender=rows[0].sender,
                copies=_best_copies(rows),
            )
            for row_id, rows in found.items()
        ]

    def describe(self, study_uid: str, told: Sequence[Description | None], *, last_row: int) -> bool:
        """Have a study and its series say what these objects of it say, in their order: the first counts, the others
        complete it. What contradicts it is noted, and nothing else any more if these are all. None stands for those
        that cannot be read: where the first is one, what is told of the study may be what it says, and stays. Answers
        False when `last_row` is not the last object of it that is found: then they are not all.

        Raises: IndexUnavailable.
        """
        readable = [one for one in told if one is not None]
        with self._index.write() as connection:
            cursor: Any = connection.connection.cursor()
            identities = {str(one.patient["identity"]) for one in readable}
            keep_others_out(connection, self._index, study_uid, identities=identities)
            found = self._do.find_study.on(cursor, {"study_uid": study_uid, "series_uid": ""}).fetchone()
            if found is None:
                return True
            study, _ = rows_found(found)
            is_last = _last_row(connection, study) == last_row
            are_all = is_last and len(readable) == len(told)
            former = dict(study.patient)
            retold = _Retold(self._do, cursor, study)
            if are_all or (told[0] is not None and contradicts(study, told[0])):
                forget_values(connection, Level.STUDY, [study.row["id"]])
                retold.begin(readable[0])
            if are_all:
                retold.correct(readable)
                forget_values(connection, Level.SERIES, retold.begin_series(readable))
            for one in readable:
                retold.add(one)
            if self._index.database_path is None:
                cursor.flush()
            self._note(connection, study, retold.contradictions, are_all=are_all)
            recount(connection, study.row["id"])
            settle_patients(connection, {former["id"], study.patient["id"]})
            if study.patient != former:
                ids = {one["id"]: one["patient_id"] for one in (former, study.patient)}
                others = contradicting(connection, ids) & (studies.c.id != study.row["id"])
                owe_describing(connection, self._index, others, datetime.now(UTC))
        return is_last

    def _note(self, connection: Connection, study: Study, contradictions: Sequence[Flag], *, are_all: bool) -> None:
        now = datetime.now(UTC).isoformat()
        if are_all:
            kept = tuple_(flags.c.kind, flags.c.detail).in_([(one.kind, one.detail) for one in contradictions])
            connection.execute(delete(flags).where(_OF_STUDY, flags.c.study_row == study.row["id"], ~kept))
        for one in contradictions:
            row = {"study_row": study.row["id"], "instance_row": 0, "kind": one.kind, "detail": one.detail}
            noted = self._index.insert(flags).on_conflict_do_nothing()
            connection.execute(noted.values(row | {"noted_at": now}))


class _Retold:
    """One study while it is told of anew, on the cursor of a transaction."""

    def __init__(self, do: RecordingStatements, cursor: Any, study: Study) -> None:
        self.contradictions: list[Flag] = []
        self._do = do
        self._cursor = cursor
        self._study = study
        self._rows = Rows(do, cursor)
        self._patients = Patients(self._rows)
        self._parts: dict[str, Part] = {}

    def begin(self, first: Description) -> None:
        """Have patient and study say what this object says alone."""
        study = self._study
        study.patient, differing = self._patients.instead(study.patient, study.row, first.patient)
        self._rows.say(studies, study.row, {**first.study, "patient_row": study.patient["id"]})
        self.contradictions += contradiction("conflict-demographics", differing)

    def correct(self, told: Sequence[Description]) -> None:
        """Have the patient say what all objects of this study say, and no other study denies."""
        self._patients.correct(self._study, [one.patient for one in told])

    def begin_series(self, told: Sequence[Description]) -> list[int]:
        """Have each series say what the first of its objects says alone; the rows of those series."""
        for one in told:
            if one.series_uid not in self._parts and (part := self._rows.part(self._study.row["id"], one.series_uid)):
                self._parts[one.series_uid] = part
                self._rows.say(series, part.row, one.series)
        return [part.row["id"] for part in self._parts.values()]

    def add(self, one: Description) -> None:
        """Complete what is said by what this object says, too, and note what of it contradicts that."""
        owners = {Level.PATIENT: self._study.patient["id"], Level.STUDY: self._study.row["id"]}
        if part := self._parts.get(one.series_uid):
            owners[Level.SERIES] = part.row["id"]
            self._rows.fill(series, part.row, one.series)
        for field, values in one.fields.items():
            if field.level in owners:
                self._do.add_values(self._cursor, field, owners[field.level], values)
        for sequence in SEQUENCES:
            columns = [field.column for field in sequence.fields]
            for item in one.items.get(sequence.table, ()) if sequence.level in owners else ():
                row = {"owner_row": owners[sequence.level], **dict(zip(columns, item, strict=True))}
                self._do.insert_item[sequence.tag].later(self._cursor, row)
        self.contradictions += self._patients.compare(self._study, one)


def _best_copies(rows: Sequence[Any]) -> tuple[CopyRow, ...]:
    placed = [one for one in rows if one.volume_id]
    good = [one for one in placed if one.damage is None]
    return tuple(CopyRow(volume_id=one.volume_id, path=one.path) for one in good or placed)


def _last_row(connection: Connection, study: Study) -> int:
    last = select(func.max(instances.c.id)).join_from(instances, series)
    last = last.where(series.c.study_row == study.row["id"], is_current(instances))
    return connection.execute(last).scalar() or 0
