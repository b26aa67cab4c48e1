"""What a study says of its patient and of itself, made anew from the objects of it that are found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Final

from sqlalchemy import Connection, and_, delete, func, select, tuple_

from pacs_server.dicom.attributes import SEQUENCES, Level
from pacs_server.dicom.describe import Description, Flag, shared_identity
from pacs_server.index.engine import KEEP_OTHERS_OUT, Index
from pacs_server.index.objects import CopyRow
from pacs_server.index.recording.rollups import Study, rows_found
from pacs_server.index.recording.rows import Patients, Rows, contradiction, contradicts
from pacs_server.index.recording.statements import RecordingStatements
from pacs_server.index.retiring import settle_patients
from pacs_server.index.site_tables import extra_fields
from pacs_server.index.statements import clean
from pacs_server.index.tables import ITEM_TABLES, copies, extra_values, flags, instances, is_current, series, studies

# They say that objects of a study contradict it, not which ones.
_OF_STUDY: Final = and_(
    flags.c.instance_row == 0, flags.c.kind.in_(("conflict-patient", "conflict-demographics", "conflict-study"))
)
_SEQUENCES_OF_STUDY: Final = [sequence for sequence in SEQUENCES if sequence.level is Level.STUDY]


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundObject:
    """An object of a study that is found, and where it can be read."""

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
            select(*instances.c["id", "transfer_syntax", "sender"], series.c.series_uid, *copies.c["volume_id", "path"])
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
                copies=tuple(CopyRow(volume_id=one.volume_id, path=one.path) for one in rows if one.volume_id),
            )
            for row_id, rows in found.items()
        ]

    def describe(self, study_uid: str, told: Sequence[Description], *, last_row: int, are_all: bool) -> bool:
        """Have a study say what these objects of it say, in their order: the first counts, the others complete it. What
        contradicts it is noted, and nothing else any more if they `are_all`. Answers False, and does nothing, when
        `last_row` is not the last object of it that is found.

        Raises: IndexUnavailable.
        """
        with self._index.write() as connection:
            cursor: Any = connection.connection.cursor()
            self._keep_others_out(connection, study_uid, told)
            found = self._do.find_study.on(cursor, {"study_uid": study_uid, "series_uid": ""}).fetchone()
            if found is None:
                return True
            study, _ = rows_found(found)
            if _last_row(connection, study) != last_row:
                return False
            former = study.patient["id"]
            patients = Patients(Rows(self._do, cursor))
            contradictions: list[Flag] = []
            if are_all or contradicts(study, told[0]):
                _forget_values(connection, study)
                contradictions += self._begin_anew(cursor, study, patients, told[0])
            for one in told:
                contradictions += self._add(cursor, study, patients, one)
            if self._index.database_path is None:
                cursor.flush()
            self._note(connection, study, contradictions, are_all=are_all)
            if study.patient["id"] != former:
                settle_patients(connection, {former, study.patient["id"]})
        return True

    def _keep_others_out(self, connection: Connection, study_uid: str, told: Sequence[Description]) -> None:
        if self._index.database_path is None:
            of_patients = {f"patient {shared_identity(str(one.patient['identity']))}" for one in told}
            names = [clean(name) for name in sorted({f"study {study_uid}", *of_patients})]
            connection.execute(KEEP_OTHERS_OUT, {"names": names})

    def _begin_anew(self, cursor: Any, study: Study, patients: Patients, first: Description) -> list[Flag]:
        study.patient, differing = patients.found_or_made(first.patient)
        Rows(self._do, cursor).change(studies, study.row, {**first.study, "patient_row": study.patient["id"]})
        return contradiction("conflict-demographics", differing)

    def _add(self, cursor: Any, study: Study, patients: Patients, one: Description) -> list[Flag]:
        owners = {Level.PATIENT: study.patient["id"], Level.STUDY: study.row["id"]}
        for field, values in one.fields.items():
            if field.level in owners:
                self._do.add_values(cursor, field, owners[field.level], values)
        for sequence in _SEQUENCES_OF_STUDY:
            columns = [field.column for field in sequence.fields]
            for item in one.items.get(sequence.table, ()):
                row = {"owner_row": study.row["id"], **dict(zip(columns, item, strict=True))}
                self._do.insert_item[sequence.tag].later(cursor, row)
        return patients.compare(study, one)

    def _note(self, connection: Connection, study: Study, contradictions: Sequence[Flag], *, are_all: bool) -> None:
        now = datetime.now(UTC).isoformat()
        if are_all:
            kept = tuple_(flags.c.kind, flags.c.detail).in_([(one.kind, one.detail) for one in contradictions])
            connection.execute(delete(flags).where(_OF_STUDY, flags.c.study_row == study.row["id"], ~kept))
        for one in contradictions:
            row = {"study_row": study.row["id"], "instance_row": 0, "kind": one.kind, "detail": one.detail}
            noted = self._index.insert(flags).on_conflict_do_nothing()
            connection.execute(noted.values(row | {"noted_at": now}))


def _last_row(connection: Connection, study: Study) -> int:
    last = select(func.max(instances.c.id)).join_from(instances, series)
    last = last.where(series.c.study_row == study.row["id"], is_current(instances))
    return connection.execute(last).scalar() or 0


def _forget_values(connection: Connection, study: Study) -> None:
    """Forget what the study has of sequences and of fields that were added: only what is missing is ever entered."""
    of_level = select(extra_fields.c.id).where(extra_fields.c.level == Level.STUDY.name)
    of_study = extra_values.c.owner_row == study.row["id"], extra_values.c.field_id.in_(of_level)
    connection.execute(delete(extra_values).where(*of_study))
    for sequence in _SEQUENCES_OF_STUDY:
        items = ITEM_TABLES[sequence.tag]
        connection.execute(delete(items).where(items.c.owner_row == study.row["id"]))
