"""Enters a group of objects into the tables, in one transaction: patient, study, series, instance, copies, flags, and
the counts that queries need.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from pacs_server.dicom.attributes import SEQUENCES, Level
from pacs_server.dicom.describe import Description, Flag, shared_identity
from pacs_server.dicom.operations import Fate
from pacs_server.dicom.tiny_object import TRIAL_STUDY_UID
from pacs_server.errors import IndexOvertaken, IndexUnavailable
from pacs_server.index.contents import MASK, bucket_of, number_of
from pacs_server.index.fates import fate_row
from pacs_server.index.jobs import JobKind, entry
from pacs_server.index.objects import Arrival, Outcome, Recorded
from pacs_server.index.operations import operation_row
from pacs_server.index.recording.rollups import Part, Row, Study, rows_found
from pacs_server.index.recording.rows import Patients, Rows, contradiction
from pacs_server.index.recording.statements import Held, RecordingStatements
from pacs_server.index.retiring import TRASH
from pacs_server.index.statements import clean
from pacs_server.index.tables import BESIDE, MOST_NAMED_ELSEWHERE, UID_OF_ANOTHER, series, studies

_AFTER: Final = timedelta(microseconds=1)
# What a study has from so far in the future came while a clock ran ahead, and moves nothing that comes later.
_CLOCKS_DIFFER: Final = timedelta(days=1)
_DELETED_NOW: Final = "the object was deleted at this moment; it is taken when it is sent again"
_OUTCOMES: Final = {
    "current": Outcome.NEW,
    "version": Outcome.VERSION,
    "encoding": Outcome.ENCODING,
    TRASH: Outcome.TRASHED,
}


@dataclass(slots=True)
class _Entry:
    """An object that is entered: where it belongs, and what is to be noted of it."""

    arrival: Arrival
    study: Study
    part: Part
    role: str
    received_at: str
    contradictions: list[Flag]


def record(do: RecordingStatements, cursor: Any, arrivals: Sequence[Arrival]) -> list[Recorded]:
    """Enter the arrivals, in their order, in the transaction of this cursor of the driver.

    Raises: IndexUnavailable when one was deleted meanwhile, or its volume was removed; IndexOvertaken when one is held
    again as what it is not any more; what the driver raises.
    """
    if do.meets_others:
        described = [arrival.description for arrival in arrivals]
        names = {f"study {one.study_uid}" for one in described}
        names |= {f"patient {shared_identity(str(one.patient['identity']))}" for one in described}
        do.keep_others_out.later(cursor, {"names": [clean(name) for name in names]})
    group = _Group(do, cursor, arrivals)
    recorded = [group.add(arrival) for arrival in arrivals]
    group.finish()
    return recorded


class _Group:
    """One group on its way into the tables; rows that several objects share are looked up once."""

    def __init__(self, statements: RecordingStatements, cursor: Any, arrivals: Sequence[Arrival]) -> None:
        self._do = statements
        self._cursor = cursor
        self._studies: dict[str, Study] = {}
        self._rows = Rows(statements, cursor)
        self._patients = Patients(self._rows)
        self._series: dict[tuple[int, str], Part] = {}
        self._owed: set[tuple[JobKind, str, str, str]] = set()
        self._without_row: dict[str, _Entry] = {}
        uids = [arrival.description.sop_uid for arrival in arrivals]
        self._held, self._fates, self._removed = statements.held(cursor, uids)

    def add(self, arrival: Arrival) -> Recorded:
        """Enter one object. Its row, and what refers to it, may wait for those of others: `finish` comes at the end."""
        sop_uid = arrival.description.sop_uid
        if sop_uid in self._without_row:
            self._insert_instances()
        held = self._held.get(sop_uid, [])
        fate = self._fate(arrival, self._fates.get((sop_uid, arrival.digest)))
        if arrival.lacks_copies:
            self._owe(JobKind.COPY, "", arrival)
        twin, role = next(((one.row, one.role) for one in held if one.digest == arrival.digest), (0, ""))
        if twin and arrival.may_be_deleted:
            self._do.note_again.later(self._cursor, {"row": twin, "at": arrival.received_at.isoformat()})
        if twin and (role != TRASH or fate == Fate.TRASHED):
            self._add_copies(twin, arrival)
            return Recorded(outcome=Outcome.DUPLICATE)
        if arrival.is_held:
            raise IndexUnavailable(_DELETED_NOW)
        if fate == Fate.TRASHED:
            return self._enter(arrival, twin, TRASH)
        found_in = {one.study_uid for one in held if one.role == "current"}
        is_beside = arrival.description.study_uid in found_in
        if (again := arrival.readmission) is not None and (again.objects[0].role in BESIDE) is not is_beside:
            raise IndexOvertaken(_DELETED_NOW)
        if is_beside:
            return self._enter(arrival, twin, arrival.role_beside_current)
        return self._enter(arrival, twin, "current", elsewhere=sorted(found_in)[:MOST_NAMED_ELSEWHERE])

    def _fate(self, arrival: Arrival, fate: str | None) -> str | None:
        """What holds of this object about which `fate` was decided: another one when it was readmitted.

        Raises: IndexUnavailable when it was deleted after the sender was asked to send it.
        """
        description = arrival.description
        if (again := arrival.readmission) is not None:
            self._do.insert_operation.later(self._cursor, operation_row(again))
            role = again.objects[0].role
            row = fate_row(description.study_uid, description.sop_uid, arrival.digest, Fate.KEPT, role, again)
            self._do.set_fate.later(self._cursor, row)
            self._fates[description.sop_uid, arrival.digest] = Fate.KEPT
            return Fate.KEPT
        if fate == Fate.PURGED or (fate == Fate.TRASHED and not arrival.may_be_in_trash):
            raise IndexUnavailable(_DELETED_NOW)
        return fate

    def _enter(self, arrival: Arrival, twin: int, role: str, *, elsewhere: Sequence[str] = ()) -> Recorded:
        """Enter an object that is not found yet: it is new, or its row comes out of the trash. What is found under its
        UID in a study `elsewhere` is another object, and a person should look why.
        """
        description = arrival.description
        contradictions = [Flag(kind=UID_OF_ANOTHER, detail=study_uid) for study_uid in elsewhere]
        # What is not found says nothing of more than itself (archive/describing.py), but of what nothing else does.
        study = self._study(arrival, contradictions, is_found=role == "current")
        part = self._part(study, description, is_found=role == "current")
        study.last_received_at = _received_at(arrival, study)
        for partner in arrival.partners:
            self._owe(JobKind.REPLICATE, partner, arrival)
        if role == "current":
            if study.is_emptied or part.is_emptied:
                # They say what objects say that are not found.
                self._do.owe.later(
                    self._cursor, entry(JobKind.DESCRIBE, description.study_uid, "", "", arrival.received_at)
                )
            study.count_in(part, description)
            for route in arrival.routes:
                self._owe(JobKind.ROUTE, route, arrival)
        new = _Entry(arrival, study, part, role, study.last_received_at, contradictions)
        if twin:
            self._do.set_role.later(self._cursor, {"row": twin, "now_role": role})
            self._give_row(new, twin)
        else:
            if description.study_uid != TRIAL_STUDY_UID:  # it is nothing that two sites compare
                study.new_content += number_of(arrival.digest)
            self._without_row[description.sop_uid] = new
        return Recorded(outcome=_OUTCOMES[role], flags=(*description.flags, *contradictions))

    def _insert_instances(self) -> None:
        """Give every object that waits for it its row, all at once."""
        waiting = list(self._without_row.values())
        rows = self._do.insert_instances(self._cursor, [_instance_row(one) for one in waiting])
        for one, row in zip(waiting, rows, strict=True):
            self._give_row(one, row)
        self._without_row.clear()

    def _give_row(self, one: _Entry, row: int) -> None:
        """Enter what refers to the row of an object."""
        arrival, study = one.arrival, one.study
        description = arrival.description
        kept = [held for held in self._held.get(description.sop_uid, []) if held.row != row]
        self._held[description.sop_uid] = [*kept, Held(row, arrival.digest, one.role, description.study_uid)]
        self._add_copies(row, arrival)
        if one.role == "current":
            self._add_items(study, one.part, description)
        owners = {
            Level.PATIENT: study.patient["id"],
            Level.STUDY: study.row["id"],
            Level.SERIES: one.part.row["id"],
            Level.IMAGE: row,
        }
        for field, values in description.fields.items():
            if one.role == "current" or field.level is Level.IMAGE:
                self._do.add_values(self._cursor, field, owners[field.level], values)
        if one.role == "version":
            self._note(study, row, Flag(kind="conflict-version"), arrival)
        if arrival.readmission is not None:
            self._note(study, row, Flag(kind="readmitted", detail=arrival.readmission.reason), arrival)
        for flag in (*description.flags, *one.contradictions):
            self._note(study, 0, flag, arrival)

    def _study(self, arrival: Arrival, contradictions: list[Flag], *, is_found: bool) -> Study:
        description = arrival.description
        study = self._studies.get(description.study_uid)
        if study is None:
            names = {"study_uid": description.study_uid, "series_uid": description.series_uid}
            found = self._do.find_study.on(self._cursor, names).fetchone()
            study, part = rows_found(found) if found else (self._new_study(arrival, contradictions), None)
            study.patient = self._patients.shared(study.patient)
            self._studies[description.study_uid] = study
            if part is not None:
                self._series[study.row["id"], description.series_uid] = part
        contradictions += self._patients.compare(study, description, is_found=is_found)
        return study

    def _new_study(self, arrival: Arrival, contradictions: list[Flag]) -> Study:
        description = arrival.description
        patient, differing = self._patients.found_or_made(description.patient)
        contradictions += contradiction("conflict-demographics", differing)
        values = dict(description.study) | {
            "patient_row": patient["id"],
            "day": arrival.day.isoformat(),
            "last_received_at": arrival.received_at.isoformat(),
            "bucket": bucket_of(description.study_uid),
            "content_sum": 0,
        }
        row = self._rows.insert(self._do.insert_study, studies, values)
        return Study(row=row, patient=patient, modalities=set(), sop_classes=set(), is_made=True)

    def _part(self, study: Study, description: Description, *, is_found: bool) -> Part:
        key = (study.row["id"], description.series_uid)
        part = self._series.get(key)
        if part is None:
            part = self._rows.part(*key) or self._new_part(study, description)
            self._series[key] = part
        if is_found:
            self._rows.fill(series, part.row, description.series)
        return part

    def _new_part(self, study: Study, description: Description) -> Part:
        values = dict(description.series) | {"study_row": study.row["id"]}
        return Part(row=self._rows.insert(self._do.insert_series, series, values), is_made=True)

    def _add_copies(self, instance_row: int, arrival: Arrival) -> None:
        for copy in arrival.copies:
            if copy.volume_id in self._removed:
                raise IndexUnavailable(
                    "its volume was removed at this moment; the object is taken when it is sent again"
                )
            values = {"instance_row": instance_row, "volume_id": copy.volume_id, "path": copy.path}
            self._do.insert_copy.later(self._cursor, values)

    def _owe(self, kind: JobKind, target: str, arrival: Arrival) -> None:
        """Enter what this object causes to be done for its series, once for each series of the group."""
        described = arrival.description
        key = kind, target, described.study_uid, described.series_uid
        if key not in self._owed:
            self._owed.add(key)
            owed = entry(kind, described.study_uid, described.series_uid, target, arrival.received_at)
            self._do.owe.later(self._cursor, owed)

    def _add_items(self, study: Study, part: Part, description: Description) -> None:
        for sequence in SEQUENCES if description.items else ():
            owner = study.row["id"] if sequence.level is Level.STUDY else part.row["id"]
            columns = [field.column for field in sequence.fields]
            for item in description.items.get(sequence.table, ()):
                values = {"owner_row": owner, **dict(zip(columns, item, strict=True))}
                self._do.insert_item[sequence.tag].later(self._cursor, values)

    def _note(self, study: Study, instance_row: int, flag: Flag, arrival: Arrival) -> None:
        values = {
            "study_row": study.row["id"],
            "instance_row": instance_row,
            "kind": flag.kind,
            "detail": flag.detail,
            "noted_at": arrival.received_at.isoformat(),
        }
        self._do.insert_flag.later(self._cursor, values)

    def finish(self) -> None:
        """Insert what waits, and bring the counts up to date: patients, studies, series, each in order of their rows,
        so that two processes never wait for each other in a circle.
        """
        self._insert_instances()
        touched = sorted(self._studies.values(), key=lambda study: (study.patient["id"], study.row["id"]))
        for study in touched:
            added = {"more_series_count": study.new_series, "more_instance_count": study.new_instances}
            if any(added.values()):
                was_empty = study.row["instance_count"] == 0
                row = {"row": study.patient["id"], "more_study_count": int(was_empty)}
                self._do.count_patient.later(self._cursor, added | row)
        for study in touched:
            if study.last_received_at:
                self._count_study(study)
        for part in sorted(self._series.values(), key=lambda part: part.row["id"]):
            if part.new_instances:
                added = {"row": part.row["id"], "more_instance_count": part.new_instances}
                self._do.count_series.later(self._cursor, added)

    def _count_study(self, study: Study) -> None:
        values = {
            "row": study.row["id"],
            "more_series_count": study.new_series,
            "more_instance_count": study.new_instances,
            "now_modalities": "\\".join(sorted(study.modalities)) or None,
            "now_sop_classes": "\\".join(sorted(study.sop_classes)) or None,
            "now_received_at": study.last_received_at,
            "more_content": study.new_content & MASK,
        }
        self._do.count_study.later(self._cursor, values)


def _received_at(arrival: Arrival, study: Study) -> str:
    """When an object counts as received: after all that its study has, though it began to come earlier, or its file was
    found later. An index that is made anew enters a study in this order, and has the same object come first.
    """
    last = study.last_received_at or ("" if study.is_made else study.row["last_received_at"])
    after = datetime.fromisoformat(last) + _AFTER if last else arrival.received_at
    if after <= arrival.received_at or after - datetime.now(UTC) >= _CLOCKS_DIFFER:
        return arrival.received_at.isoformat()
    return after.isoformat()


def _instance_row(one: _Entry) -> Row:
    arrival = one.arrival
    return dict(arrival.description.instance) | {
        "series_row": one.part.row["id"],
        "digest": arrival.digest,
        "role": one.role,
        "transfer_syntax": arrival.transfer_syntax,
        "size_bytes": arrival.size_bytes,
        "received_at": one.received_at,
        "sender": arrival.sender,
    }
