"""Rows of patients, studies and series while a group is entered: made, filled with what they lack, and compared."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Table, bindparam, delete, func, or_, select, update

from pacs_server.dicom.attributes import BY_KEYWORD, Level
from pacs_server.dicom.describe import Description, Flag, folded_columns, identity_of_name, shared_identity
from pacs_server.dicom.names import completed, grams_of_name, may_be_same
from pacs_server.dicom.values import Value
from pacs_server.dicom.vocabulary import PARTED_ROWS
from pacs_server.index.recording.rollups import Part, Row, Study
from pacs_server.index.recording.statements import RecordingStatements
from pacs_server.index.site_tables import extra_fields
from pacs_server.index.statements import Statement
from pacs_server.index.tables import extra_values, flags, name_grams, patients, series, studies

# Where later objects of a patient or study contradict the first in one of these, a person should look.
_TELLING_OF_PATIENT: Final = ("PatientName", "PatientBirthDate", "PatientSex")
_TELLING_OF_STUDY: Final = ("StudyDate", "AccessionNumber", "StudyID", "StudyDescription", "ReferringPhysicianName")
_NAME: Final = BY_KEYWORD["PatientName"]


class Rows:
    """What is done to one row, on the cursor of a transaction."""

    def __init__(self, do: RecordingStatements, cursor: Any) -> None:
        self.do = do
        self.cursor = cursor

    def insert(self, statement: Statement, table: Table, values: Row) -> Row:
        """Insert a row whose counts are nought; answers it with its id."""
        row = {column.name: 0 if column.name.endswith("_count") else values.get(column.name) for column in table.c}
        row["id"] = statement.on(self.cursor, row).fetchone()[0]
        return row

    def fill(self, table: Table, row: Row, arriving: Mapping[str, Value]) -> None:
        """Fill what the row does not have yet."""
        missing = {column: value for column, value in arriving.items() if value is not None and row.get(column) is None}
        if missing:
            self.change(table, row, missing)

    def say(self, table: Table, row: Row, told: Mapping[str, Value]) -> bool:
        """Have the row say this, and nothing else of what it said; whether it said something else."""
        another = {column: value for column, value in told.items() if row[column] != value}
        if another:
            self.change(table, row, another)
        return bool(another)

    def part(self, study_row: int, series_uid: str) -> Part | None:
        """A series that is there already."""
        found = self.do.find_series.on(self.cursor, {"study_row": study_row, "series_uid": series_uid}).fetchone()
        return Part(row=dict(zip(series.c.keys(), found, strict=True))) if found else None

    def change(self, table: Table, row: Row, values: Mapping[str, Value]) -> None:
        """Have columns of the row say something else."""
        changing = update(table).where(table.c.id == bindparam("row"))
        changing = changing.values({column: bindparam(f"now_{column}") for column in values})
        given = {"row": row["id"]} | {f"now_{column}": value for column, value in values.items()}
        self.do.once(changing).later(self.cursor, given)
        row.update(values)


class Patients:
    """The patients of a group. Several may have come under one issuer and ID, each with a name of his own: none is made
    of two persons, and each is found by his name.
    """

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._known: dict[int, Row] = {}

    def shared(self, row: Row) -> Row:
        """The one row that all studies of a patient have in this group."""
        return self._known.setdefault(row["id"], row)

    def found_or_made(self, arriving: Mapping[str, Value]) -> tuple[Row, list[str]]:
        """The patient of a new study, and the telling keywords in which others of the same ID who are found contradict
        him, unless he is the first of it.
        """
        first = self._of_key(arriving["identity"])
        if first is not None and _may_be(first, arriving):
            return first, []
        # The first of this ID may be no more, or not be found any more, while one of another name is.
        of_id = self._of_id(arriving)
        patient = next((row for row in of_id if _may_be(row, arriving)), None)
        if patient is None:
            own = arriving["identity"] if first is None else self._own(arriving)
            patient = self._made({**arriving, "identity": own})
        # Those of this group are not counted yet.
        others = (row for row in of_id if row["instance_count"] or row["id"] in self._known)
        return patient, _another_name(others, arriving)

    def instead(self, former: Row, study: Row, arriving: Mapping[str, Value]) -> tuple[Row, list[str]]:
        """The patient of a study that is told of anew, and the telling keywords in which others of the same ID who are
        found contradict him. Of whom nothing else is found is told of anew, too: a name, a birth date or a sex may be
        what was wrong.
        """
        is_of_id = shared_identity(str(former["identity"])) == arriving["identity"]
        is_left = is_of_id and not self._has_others(former, study)
        of_id = self._of_id(arriving)
        named = next((row for row in of_id if _may_be(row, arriving)), None)
        is_former = is_left and (named is None or named["id"] == former["id"])
        patient = former if is_former else self.found_or_made(arriving)[0]
        others = (row for row in of_id if row["id"] != patient["id"] and self._has_others(row, study))
        differing = _another_name(others, arriving)
        if not self._has_others(patient, study):
            self._tell_anew(patient, arriving)
        return patient, differing

    def correct(self, study: Study, told: Sequence[Mapping[str, Value]]) -> None:
        """Have a patient be born, or of the sex, as one study says in all that is found of it, where none of his others
        says what is told of him: the study from which that came is no more. Where a study contradicts itself it tells
        nothing here, so that two never take turns.
        """
        for keyword in ("PatientBirthDate", "PatientSex"):
            column = BY_KEYWORD[keyword].column
            values = {one[column] for one in told} - {None}
            if (
                len(values) == 1
                and study.patient[column] not in (None, *values)
                and not self._has_others(study.patient, study.row, but_not_those_that_contradict=keyword)
            ):
                self._rows.change(patients, study.patient, {column: values.pop()})

    def complete(self, row: Row, arriving: Mapping[str, Value], *, is_found: bool) -> list[str]:
        """Fill what the row does not have yet, unless the name is another one, or what says it is not found. Answers
        the telling keywords in which the two contradict.
        """
        differing = differing_in(row, arriving, _TELLING_OF_PATIENT)
        is_named_otherwise = "PatientName" in differing
        if is_named_otherwise and _may_be(row, arriving):
            differing.remove("PatientName")
        if not is_found or "PatientName" in differing:
            return differing
        if is_named_otherwise:
            name = completed(row["patient_name"], str(arriving["patient_name"]))
            if name != row["patient_name"]:
                self._rows.change(patients, row, {"patient_name": name, **folded_columns(_NAME, name)})
                self._add_grams(row)
        had_name = row["patient_name"] is not None
        self._rows.fill(patients, row, arriving)
        if not had_name:
            self._add_grams(row)
        return differing

    def compare(self, study: Study, description: Description, *, is_found: bool = True) -> list[Flag]:
        """Fill what a study and its patient do not have yet from one of its objects that is found, and answer what of
        it contradicts them.
        """
        contradictions: list[Flag] = []
        identities = [str(one["identity"]) for one in (study.patient, description.patient)]
        if identities[0] == identities[1] or shared_identity(identities[0]) == shared_identity(identities[1]):
            differing = self.complete(study.patient, description.patient, is_found=is_found)
            contradictions += contradiction("conflict-demographics", differing)
        else:
            contradictions.append(Flag(kind="conflict-patient", detail="PatientID"))
        if is_found:
            self._rows.fill(studies, study.row, description.study)
        differing = differing_in(study.row, description.study, _TELLING_OF_STUDY)
        return contradictions + contradiction("conflict-study", differing)

    def _has_others(self, patient: Row, study: Row, *, but_not_those_that_contradict: str = "") -> bool:
        """Whether something is found of a patient in another study than this one."""
        others = select(func.count()).where(
            studies.c.patient_row == bindparam("patient"),
            studies.c.id != bindparam("study"),
            studies.c.instance_count > 0,
        )
        if keyword := but_not_those_that_contradict:
            noted = flags.c.kind == "conflict-demographics", flags.c.detail.contains(keyword)
            others = others.where(~select(flags.c.id).where(flags.c.study_row == studies.c.id, *noted).exists())
        given = {"patient": patient["id"], "study": study["id"]}
        return bool(self._rows.do.once(others).on(self._rows.cursor, given).fetchone()[0])

    def _tell_anew(self, patient: Row, arriving: Mapping[str, Value]) -> None:
        of_patients = select(extra_fields.c.id).where(extra_fields.c.level == Level.PATIENT.name)
        field = extra_values.c.field_id
        is_of_patients = or_(field.in_(of_patients), *(field == row for row in PARTED_ROWS[Level.PATIENT]))
        values = extra_values.c.owner_row == bindparam("row"), is_of_patients
        self._rows.do.once(delete(extra_values).where(*values)).later(self._rows.cursor, {"row": patient["id"]})
        if self._rows.say(patients, patient, {**arriving, "identity": patient["identity"]}):
            removing = delete(name_grams).where(name_grams.c.patient_row == bindparam("row"))
            self._rows.do.once(removing).later(self._rows.cursor, {"row": patient["id"]})
            self._add_grams(patient)

    def _of_id(self, arriving: Mapping[str, Value]) -> list[Row]:
        """All of this issuer and ID, each of a name of his own."""
        if not arriving["patient_id"]:
            return []
        same = {"patient_id": arriving["patient_id"], "issuer": arriving["issuer"] or ""}
        return list(map(self._row, self._rows.do.find_patients.on(self._rows.cursor, same).fetchall()))

    def _own(self, arriving: Mapping[str, Value]) -> str:
        """A key for a patient of this name that nobody has. Whoever came with the name may be told of by another one
        since, and has the key that he got.
        """
        identity = str(arriving["identity"])
        own = identity_of_name(identity, str(arriving["patient_name"]))
        while self._of_key(own) is not None:
            own = identity_of_name(identity, own)
        return own

    def _of_key(self, identity: Value) -> Row | None:
        found = self._rows.do.find_patient.on(self._rows.cursor, {"identity": identity}).fetchone()
        return None if found is None else self._row(found)

    def _made(self, values: Row) -> Row:
        row = self._rows.insert(self._rows.do.insert_patient, patients, values)
        self._add_grams(row)
        return row

    def _row(self, found: Iterable[Any]) -> Row:
        return dict(zip(patients.c.keys(), found, strict=True))

    def _add_grams(self, patient: Row) -> None:
        for gram in sorted(grams_of_name(patient["patient_name_folded"] or "")):
            self._rows.do.insert_gram.later(self._rows.cursor, {"gram": gram, "patient_row": patient["id"]})


def contradicts(study: Study, description: Description) -> bool:
    """Whether an object says something else of its patient or study than these do."""
    identities = [shared_identity(str(one["identity"])) for one in (study.patient, description.patient)]
    return (
        identities[0] != identities[1]
        or not _may_be(study.patient, description.patient)
        or bool(differing_in(study.patient, description.patient, ("PatientBirthDate", "PatientSex")))
        or bool(differing_in(study.row, description.study, _TELLING_OF_STUDY))
    )


def contradiction(kind: str, keywords: Sequence[str]) -> list[Flag]:
    """The flag that says in which keywords something contradicts; none where there are none."""
    return [Flag(kind=kind, detail=", ".join(keywords))] if keywords else []


def differing_in(row: Row, arriving: Mapping[str, Value], telling: Iterable[str]) -> list[str]:
    """The telling keywords of which a row says something else."""
    columns = ((keyword, BY_KEYWORD[keyword].column) for keyword in telling)
    return [
        keyword
        for keyword, column in columns
        if row[column] is not None and arriving.get(column) not in (None, row[column])
    ]


def _may_be(patient: Row, arriving: Mapping[str, Value]) -> bool:
    """Whether two names that came under one issuer and ID are the same, as far as is told."""
    held, told = (str(one["patient_name"] or "") for one in (patient, arriving))
    return may_be_same(held, told)


def _another_name(of_id: Iterable[Row], arriving: Mapping[str, Value]) -> list[str]:
    return [] if all(_may_be(row, arriving) for row in of_id) else ["PatientName"]
