"""Enters a group of objects into the tables, in one transaction: patient, study, series, instance, copies, flags, and
the counts that queries need.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Table, Update, bindparam, insert, null, select, update
from sqlalchemy.dialects import postgresql, sqlite

from pacs_server.dicom.attributes import BY_KEYWORD, SEQUENCES, Level
from pacs_server.dicom.describe import Description, FieldValue, Flag, Value
from pacs_server.dicom.names import grams_of_name
from pacs_server.dicom.operations import Fate
from pacs_server.dicom.vocabulary import Field
from pacs_server.errors import IndexUnavailable
from pacs_server.index.engine import KEEP_OTHERS_OUT, Index
from pacs_server.index.jobs import JOB_COLUMNS, JobKind, entry, owing
from pacs_server.index.objects import Arrival, Outcome, Recorded
from pacs_server.index.operations import fate_row, operation_row
from pacs_server.index.retiring import TRASH
from pacs_server.index.statements import Statement, clean
from pacs_server.index.tables import (
    ITEM_TABLES,
    copies,
    extra_values,
    fates,
    flags,
    instances,
    name_grams,
    operations,
    patients,
    series,
    studies,
)

# Where later objects of a patient or study contradict the first in one of these, a person should look.
_TELLING_OF_PATIENT: Final = ("PatientName", "PatientBirthDate", "PatientSex")
_TELLING_OF_STUDY: Final = ("StudyDate", "AccessionNumber", "StudyID", "StudyDescription", "ReferringPhysicianName")

_OUTCOMES: Final = {
    "current": Outcome.NEW,
    "version": Outcome.VERSION,
    "encoding": Outcome.ENCODING,
    TRASH: Outcome.TRASHED,
}

Row = dict[str, Any]


@dataclass(slots=True)
class _Study:
    """A study that this group adds to: its row and its patient's as they were, and what is to be added."""

    row: Row
    patient: Row
    modalities: set[str]
    sop_classes: set[str]
    new_series: int = 0
    new_instances: int = 0
    last_received_at: str = ""


@dataclass(slots=True)
class _Series:
    row: Row
    new_instances: int = 0


class Recorder:
    """The statements of recording, compiled once for the database."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._meets_others = index.database_path is None
        or_nothing = postgresql.insert if self._meets_others else sqlite.insert
        self.keep_others_out = Statement(index, KEEP_OTHERS_OUT)
        self.find_instances = Statement(
            index,
            select(instances.c.id, instances.c.digest, instances.c.role).where(
                instances.c.sop_uid == bindparam("sop_uid")
            ),
        )
        self.find_fate = Statement(
            index,
            select(fates.c.fate).where(fates.c.sop_uid == bindparam("sop_uid"), fates.c.digest == bindparam("digest")),
        )
        self.insert_operation = Statement(index, or_nothing(operations).on_conflict_do_nothing(), operations.c.keys())
        made = or_nothing(fates)
        self.set_fate = Statement(
            index,
            made.on_conflict_do_update(
                index_elements=[fates.c.sop_uid, fates.c.digest],
                set_={name: made.excluded[name] for name in ("fate", "role", "at", "counter", "site_id")},
            ),
            fates.c.keys(),
        )
        self.set_role = Statement(
            index,
            update(instances).where(instances.c.id == bindparam("row")).values(role=bindparam("now_role")),
        )
        self.find_study = Statement(
            index,
            select(*studies.c, *patients.c)
            .join_from(studies, patients)
            .where(studies.c.study_uid == bindparam("study_uid")),
        )
        self.find_patient = Statement(index, select(*patients.c).where(patients.c.identity == bindparam("identity")))
        self.find_series = Statement(
            index,
            select(*series.c).where(
                series.c.study_row == bindparam("study_row"), series.c.series_uid == bindparam("series_uid")
            ),
        )
        self.insert_patient, self.insert_study, self.insert_series, self.insert_instance = (
            Statement(index, insert(table).returning(table.c.id), _filled(table))
            for table in (patients, studies, series, instances)
        )
        self.insert_flag, self.insert_gram = (
            Statement(index, or_nothing(table).on_conflict_do_nothing(), _filled(table))
            for table in (flags, name_grams)
        )
        # A copy that was damaged and is written again is good again.
        mended = or_nothing(copies).on_conflict_do_update(
            index_elements=[copies.c.volume_id, copies.c.path], set_={"damage": null(), "verified_at": null()}
        )
        self.insert_copy = Statement(index, mended, ["instance_row", "volume_id", "path"])
        self.insert_item = {
            tag: Statement(index, or_nothing(table).on_conflict_do_nothing(), _filled(table))
            for tag, table in ITEM_TABLES.items()
        }
        self.insert_value = Statement(index, or_nothing(extra_values).on_conflict_do_nothing(), extra_values.c.keys())
        self.owe = Statement(index, owing(index), JOB_COLUMNS)
        self.count_patient = Statement(index, _counting(patients, "study_count", "series_count", "instance_count"))
        self.count_series = Statement(index, _counting(series, "instance_count"))
        self.count_study = Statement(
            index,
            _counting(studies, "series_count", "instance_count").values(
                modalities=bindparam("now_modalities"),
                sop_classes=bindparam("now_sop_classes"),
                last_received_at=bindparam("now_received_at"),
            ),
        )

    def add_values(self, cursor: Any, field: Field, owner_row: int, values: Sequence[FieldValue]) -> None:
        """Enter the values of a field, unless an earlier object of the same patient, study or series had some."""
        for place, one in enumerate(values):
            row = {"field_id": field.row, "owner_row": owner_row, "place": place, "value": one.value}
            if self.insert_value.on(cursor, row | {"sought": one.sought}).rowcount != 1:
                return

    def prepared(self, statement: Update) -> Statement:
        """A statement that is not among those of every object."""
        return Statement(self._index, statement)

    def record(self, cursor: Any, arrivals: Sequence[Arrival]) -> list[Recorded]:
        """Enter the arrivals, in their order, in the transaction of this cursor of the driver."""
        if self._meets_others:
            described = [arrival.description for arrival in arrivals]
            names = {f"study {one.study_uid}" for one in described}
            names |= {f"patient {one.patient['identity']}" for one in described}
            self.keep_others_out.on(cursor, {"names": [clean(name) for name in names]})
        group = _Group(self, cursor)
        recorded = [group.add(arrival) for arrival in arrivals]
        group.count()
        return recorded


def _filled(table: Table) -> list[str]:
    return [column.name for column in table.c if column.name != "id"]


def _counting(table: Table, *columns: str) -> Update:
    added = {name: table.c[name] + bindparam(f"more_{name}") for name in columns}
    return update(table).where(table.c.id == bindparam("row")).values(added)


class _Group:
    """One group on its way into the tables; rows that several objects share are looked up once."""

    def __init__(self, statements: Recorder, cursor: Any) -> None:
        self._do = statements
        self._cursor = cursor
        self._studies: dict[str, _Study] = {}
        self._series: dict[tuple[int, str], _Series] = {}

    def add(self, arrival: Arrival) -> Recorded:
        """Enter one object."""
        held = self._do.find_instances.on(self._cursor, {"sop_uid": arrival.description.sop_uid}).fetchall()
        fate = self._fate(arrival)
        if arrival.lacks_copies:
            self._owe_copies(arrival)
        twin, role = next(((row_id, role) for row_id, digest, role in held if digest == arrival.digest), (None, ""))
        if twin is not None and (role != TRASH or fate == Fate.TRASHED):
            self._add_copies(twin, arrival)
            return Recorded(outcome=Outcome.DUPLICATE)
        is_current = all(role != "current" for _, _, role in held)
        role = "current" if is_current else arrival.role_beside_current
        return self._enter(arrival, twin, TRASH if fate == Fate.TRASHED else role)

    def _fate(self, arrival: Arrival) -> str | None:
        """What was decided about this object, after it was readmitted if it was.

        Raises: IndexUnavailable when it was deleted after the sender was asked to send it.
        """
        description = arrival.description
        name = {"sop_uid": description.sop_uid, "digest": arrival.digest}
        (fate,) = self._do.find_fate.on(self._cursor, name).fetchone() or (None,)
        if (again := arrival.readmission) is not None:
            self._do.insert_operation.on(self._cursor, operation_row(again))
            role = again.objects[0].role
            row = fate_row(description.study_uid, description.sop_uid, arrival.digest, Fate.KEPT, role, again)
            self._do.set_fate.on(self._cursor, row)
            return Fate.KEPT
        if fate == Fate.PURGED or (fate == Fate.TRASHED and not arrival.is_found):
            raise IndexUnavailable("the object was deleted at this moment; it is taken when it is sent again")
        return fate

    def _enter(self, arrival: Arrival, twin: int | None, role: str) -> Recorded:
        """Enter an object that is not found yet: it is new, or its row comes out of the trash."""
        description = arrival.description
        contradictions: list[Flag] = []
        study = self._study(arrival, contradictions)
        part = self._part(study, description)
        if twin is None:
            instance_row = self._insert_instance(part.row["id"], role, arrival)
        else:
            instance_row = twin
            self._do.set_role.on(self._cursor, {"row": twin, "now_role": role})
        self._add_copies(instance_row, arrival)
        self._add_items(study, part, description)
        owners = {
            Level.PATIENT: study.patient["id"],
            Level.STUDY: study.row["id"],
            Level.SERIES: part.row["id"],
            Level.IMAGE: instance_row,
        }
        for field, values in description.fields.items():
            self._do.add_values(self._cursor, field, owners[field.level], values)
        study.last_received_at = arrival.received_at.isoformat()
        if role == "current":
            _count_in(study, part, description)
        if role == "version":
            self._note(study, instance_row, Flag(kind="conflict-version"), arrival)
        if arrival.readmission is not None:
            self._note(study, instance_row, Flag(kind="readmitted", detail=arrival.readmission.reason), arrival)
        for flag in (*description.flags, *contradictions):
            self._note(study, 0, flag, arrival)
        return Recorded(outcome=_OUTCOMES[role], flags=(*description.flags, *contradictions))

    def _study(self, arrival: Arrival, contradictions: list[Flag]) -> _Study:
        description = arrival.description
        study = self._studies.get(description.study_uid)
        if study is None:
            found = self._do.find_study.on(self._cursor, {"study_uid": description.study_uid}).fetchone()
            study = _study_of(found) if found else self._new_study(arrival)
            self._studies[description.study_uid] = study
        if study.patient["identity"] == description.patient["identity"]:
            differing = self._complete(patients, study.patient, description.patient, _TELLING_OF_PATIENT)
            contradictions += _contradiction("conflict-demographics", differing)
        else:
            contradictions.append(Flag(kind="conflict-patient", detail="PatientID"))
        differing = self._complete(studies, study.row, description.study, _TELLING_OF_STUDY)
        contradictions += _contradiction("conflict-study", differing)
        return study

    def _new_study(self, arrival: Arrival) -> _Study:
        description = arrival.description
        found = self._do.find_patient.on(self._cursor, {"identity": description.patient["identity"]}).fetchone()
        if found:
            patient = dict(zip(patients.c.keys(), found, strict=True))
        else:
            patient = self._insert(self._do.insert_patient, patients, dict(description.patient))
            self._add_grams(patient)
        values = dict(description.study) | {
            "patient_row": patient["id"],
            "day": arrival.day.isoformat(),
            "last_received_at": arrival.received_at.isoformat(),
        }
        row = self._insert(self._do.insert_study, studies, values)
        return _Study(row=row, patient=patient, modalities=set(), sop_classes=set())

    def _add_grams(self, patient: Row) -> None:
        for gram in sorted(grams_of_name(patient["patient_name_folded"] or "")):
            self._do.insert_gram.on(self._cursor, {"gram": gram, "patient_row": patient["id"]})

    def _part(self, study: _Study, description: Description) -> _Series:
        key = (study.row["id"], description.series_uid)
        part = self._series.get(key)
        if part is None:
            parameters = {"study_row": key[0], "series_uid": key[1]}
            found = self._do.find_series.on(self._cursor, parameters).fetchone()
            if found:
                row = dict(zip(series.c.keys(), found, strict=True))
            else:
                row = self._insert(self._do.insert_series, series, dict(description.series) | {"study_row": key[0]})
            self._series[key] = part = _Series(row=row)
        self._complete(series, part.row, description.series, ())
        return part

    def _insert(self, statement: Statement, table: Table, values: Row) -> Row:
        """Insert a row whose counts are nought; answers it with its id."""
        row = {column.name: 0 if column.name.endswith("_count") else values.get(column.name) for column in table.c}
        row["id"] = statement.on(self._cursor, row).fetchone()[0]
        return row

    def _insert_instance(self, series_row: int, role: str, arrival: Arrival) -> int:
        values = dict(arrival.description.instance) | {
            "series_row": series_row,
            "digest": arrival.digest,
            "role": role,
            "transfer_syntax": arrival.transfer_syntax,
            "size_bytes": arrival.size_bytes,
            "received_at": arrival.received_at.isoformat(),
            "sender": arrival.sender,
        }
        row_id: int = self._do.insert_instance.on(self._cursor, values).fetchone()[0]
        return row_id

    def _add_copies(self, instance_row: int, arrival: Arrival) -> None:
        for copy in arrival.copies:
            values = {"instance_row": instance_row, "volume_id": copy.volume_id, "path": copy.path}
            self._do.insert_copy.on(self._cursor, values)

    def _owe_copies(self, arrival: Arrival) -> None:
        described = arrival.description
        owed = entry(JobKind.COPY, described.study_uid, described.series_uid, "", arrival.received_at)
        self._do.owe.on(self._cursor, owed)

    def _add_items(self, study: _Study, part: _Series, description: Description) -> None:
        for sequence in SEQUENCES if description.items else ():
            owner = study.row["id"] if sequence.level is Level.STUDY else part.row["id"]
            columns = [field.column for field in sequence.fields]
            for item in description.items.get(sequence.table, ()):
                values = {"owner_row": owner, **dict(zip(columns, item, strict=True))}
                self._do.insert_item[sequence.tag].on(self._cursor, values)

    def _complete(self, table: Table, row: Row, arriving: Mapping[str, Value], telling: Iterable[str]) -> list[str]:
        """Fill what the row does not have yet; answers the telling keywords in which the two contradict."""
        missing = {column: value for column, value in arriving.items() if value is not None and row.get(column) is None}
        if missing:
            filling = (
                update(table).where(table.c.id == bindparam("row")).values({c: bindparam(f"now_{c}") for c in missing})
            )
            values = {"row": row["id"]} | {f"now_{column}": value for column, value in missing.items()}
            self._do.prepared(filling).on(self._cursor, values)
            row.update(missing)
            if "patient_name_folded" in missing:
                self._add_grams(row)
        columns = ((keyword, BY_KEYWORD[keyword].column) for keyword in telling)
        return [keyword for keyword, column in columns if arriving.get(column) not in (None, row[column])]

    def _note(self, study: _Study, instance_row: int, flag: Flag, arrival: Arrival) -> None:
        values = {
            "study_row": study.row["id"],
            "instance_row": instance_row,
            "kind": flag.kind,
            "detail": flag.detail,
            "noted_at": arrival.received_at.isoformat(),
        }
        self._do.insert_flag.on(self._cursor, values)

    def count(self) -> None:
        """Bring the counts up to date: patients, studies, series, each in order of their rows, so that two processes
        never wait for each other in a circle.
        """
        touched = sorted(self._studies.values(), key=lambda study: (study.patient["id"], study.row["id"]))
        for study in touched:
            added = {"more_series_count": study.new_series, "more_instance_count": study.new_instances}
            if any(added.values()):
                was_empty = study.row["instance_count"] == 0
                row = {"row": study.patient["id"], "more_study_count": int(was_empty)}
                self._do.count_patient.on(self._cursor, added | row)
        for study in touched:
            if study.last_received_at:
                self._count_study(study)
        for part in sorted(self._series.values(), key=lambda part: part.row["id"]):
            if part.new_instances:
                added = {"row": part.row["id"], "more_instance_count": part.new_instances}
                self._do.count_series.on(self._cursor, added)

    def _count_study(self, study: _Study) -> None:
        values = {
            "row": study.row["id"],
            "more_series_count": study.new_series,
            "more_instance_count": study.new_instances,
            "now_modalities": "\\".join(sorted(study.modalities)) or None,
            "now_sop_classes": "\\".join(sorted(study.sop_classes)) or None,
            "now_received_at": study.last_received_at,
        }
        self._do.count_study.on(self._cursor, values)


def _study_of(found: Sequence[Any]) -> _Study:
    columns = len(studies.c)
    row = dict(zip(studies.c.keys(), found[:columns], strict=True))
    patient = dict(zip(patients.c.keys(), found[columns:], strict=True))
    modalities, sop_classes = (
        set(row[name].split("\\")) if row[name] else set() for name in ("modalities", "sop_classes")
    )
    return _Study(row=row, patient=patient, modalities=modalities, sop_classes=sop_classes)


def _count_in(study: _Study, part: _Series, description: Description) -> None:
    study.new_series += part.row["instance_count"] + part.new_instances == 0
    study.new_instances += 1
    part.new_instances += 1
    study.sop_classes.add(description.sop_class)
    if modality := part.row["modality"]:
        study.modalities.add(modality)


def _contradiction(kind: str, keywords: Sequence[str]) -> list[Flag]:
    return [Flag(kind=kind, detail=", ".join(keywords))] if keywords else []
