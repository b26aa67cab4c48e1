"""What operations make of rows: which content is current, what is in the trash, what is no more."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Select, Table, delete, func, insert, or_, select, update

from pacs_server.dicom.attributes import SEQUENCES, Level
from pacs_server.dicom.describe import shared_identity
from pacs_server.dicom.operations import Fate, OperationKind
from pacs_server.dicom.vocabulary import PARTED_ROWS
from pacs_server.index.contents import subtract
from pacs_server.index.engine import KEEP_OTHERS_OUT, Index
from pacs_server.index.jobs import JobKind, entry, owing
from pacs_server.index.releases import enter
from pacs_server.index.shared_uids import flag_shown_again
from pacs_server.index.site_tables import choices, extra_fields, fates, jobs, operations, sendings
from pacs_server.index.statements import clean
from pacs_server.index.tables import (
    BESIDE,
    ITEM_TABLES,
    TABLES,
    copies,
    extra_values,
    flags,
    instances,
    is_current,
    name_grams,
    patients,
    series,
    studies,
)

TRASH: Final = "trash"
_BATCH: Final = 500
# What is noted of an object only while it is held: an index that is made anew has no more of what is in the trash.
_OF_VERSION: Final = ("conflict-version",)
_OF_HELD: Final = (*_OF_VERSION, "readmitted")


@dataclass(frozen=True, slots=True)
class _Row:
    """One content under a SOP Instance UID, with what was decided about it."""

    id: int
    sop_uid: str
    digest: str
    role: str
    series_row: int
    series_uid: str
    study_row: int
    study_uid: str
    identity: str
    fate: str | None
    fate_role: str | None
    chosen: str | None
    readmitted_at: str | None
    readmitted_because: str | None


def keep_others_out(connection: Connection, index: Index, study_uid: str, *, identities: Iterable[str] = ()) -> None:
    """Let nobody else record or decide about this study, nor count its patient or those of these identities, until the
    transaction ends; SQLite has one writer anyway. Called before anything else is locked.
    """
    if index.database_path is not None:
        return
    of_study = select(patients.c.identity).join_from(patients, studies).where(studies.c.study_uid == study_uid)

    def names() -> list[str]:
        whose = {*connection.execute(of_study).scalars(), *identities}
        return sorted(
            clean(name) for name in {f"study {study_uid}", *(f"patient {shared_identity(one)}" for one in whose)}
        )

    # It may become that of another patient while it is waited for; whoever waited for him as well, behind this, would
    # wait in a circle with who keeps others out of him and waits for the study.
    while True:
        wanted, attempt = names(), connection.begin_nested()
        connection.execute(KEEP_OTHERS_OUT, {"names": wanted})
        if names() == wanted:
            attempt.commit()
            return
        attempt.rollback()


def enforce(
    connection: Connection, index: Index, sop_uids: Iterable[str], now: datetime, *, study_uid: str = ""
) -> set[tuple[str, str]]:
    """Make the rows of these SOP Instance UIDs what the operations say: current, beside it, in the trash, or gone. Of
    all studies, or of the one that others are kept out of already: who waited for another's then would wait in a
    circle with who keeps them out of that.

    The files of what was purged are owed their removal in the same transaction. Answers the series, by the UIDs of
    study and series, of which an object is current only because it came first here of those that are left.
    """
    by_order: set[tuple[str, str]] = set()
    touched: set[int] = set()
    wanted = list(dict.fromkeys(sop_uids))
    for start in range(0, len(wanted), _BATCH):
        rows = _rows(connection, wanted[start : start + _BATCH])
        if index.database_path is None and not study_uid:
            names = {f"study {row.study_uid}" for row in rows} | {
                f"patient {shared_identity(row.identity)}" for row in rows
            }
            connection.execute(KEEP_OTHERS_OUT, {"names": sorted(names)})
            rows = _rows(connection, wanted[start : start + _BATCH])
        meant = [row for row in rows if study_uid in ("", row.study_uid)]
        gone = [row for row in meant if row.fate == Fate.PURGED]
        if gone:  # before another one is shown in the place of one of them
            _remove(connection, index, gone, now)
        changed = _changed_roles(row for row in meant if row.fate != Fate.PURGED)
        _set_roles(connection, changed, now)
        now_role = {row.id: role for row, role in changed}
        shown = [row for row in rows if row.fate != Fate.PURGED and now_role.get(row.id, row.role) == "current"]
        flag_shown_again(connection, shown, now_role, now)
        for row in meant:
            if row.readmitted_at is not None:
                _note(connection, row, "readmitted", row.readmitted_because or "", row.readmitted_at)
        touched |= {row.study_row for row in gone} | {row.study_row for row, _ in changed}
        by_order |= {(row.study_uid, row.series_uid) for row, role in changed if _is_by_order(row, role)}
    in_order = sorted(touched)
    for study_row in in_order:  # each once: a count reads all of a study
        recount(connection, study_row)
    for start in range(0, len(in_order), _BATCH):
        _owe_describing_of(connection, index, in_order[start : start + _BATCH], now)
    return by_order


def _owe_describing_of(connection: Connection, index: Index, study_rows: Sequence[int], now: datetime) -> None:
    """Have studies described anew of which something came or went, and those that may contradict a patient no more."""
    owe_describing(connection, index, studies.c.id.in_(study_rows), now)
    emptied = select(patients.c.id, patients.c.patient_id).join_from(studies, patients).distinct()
    emptied = emptied.where(studies.c.id.in_(study_rows), studies.c.instance_count == 0)
    if found := [tuple(row) for row in connection.execute(emptied)]:
        owe_describing(connection, index, contradicting(connection, dict(found)), now)


def owe_describing(connection: Connection, index: Index, which: ColumnElement[bool], now: datetime) -> None:
    """Have these studies described anew, as far as something of them is found: what they say of their patient may be
    that of objects that are not.
    """
    found = select(studies.c.study_uid).where(which, studies.c.instance_count > 0)
    uids = connection.execute(found.order_by(studies.c.id)).scalars()
    if owed := [entry(JobKind.DESCRIBE, uid, "", "", now) for uid in uids]:
        connection.execute(owing(index), owed)


def contradicting(connection: Connection, patient_ids: Mapping[int, str | None]) -> ColumnElement[bool]:
    """The studies that contradict what is told of these patients, by their rows, who may be no more; and those that
    came beside another name under one of their IDs, where one name is left. They may contradict nothing any more.
    """
    of_id = select(func.min(patients.c.id)).where(patients.c.instance_count > 0)
    of_id = of_id.where(patients.c.patient_id.in_({one for one in patient_ids.values() if one}))
    of_id = of_id.group_by(patients.c.patient_id, func.coalesce(patients.c.issuer, "")).having(func.count() == 1)
    # By numbers: as one condition with others, or with a query in it, PostgreSQL would read all studies.
    rows = {*patient_ids, *connection.execute(of_id).scalars()}
    noted = select(flags.c.id).where(flags.c.kind == "conflict-demographics", flags.c.study_row == studies.c.id)
    return studies.c.patient_row.in_(rows) & noted.exists()


def _is_by_order(row: _Row, role: str) -> bool:
    before = row.fate_role if row.role == TRASH else row.role
    return role == "current" and before in BESIDE and row.digest != row.chosen


def forget_study(index: Index, study_uid: str, now: datetime) -> int:
    """Remove a study as if it had never been: no operation says so, and no tombstone stays. Its files are owed their
    removal, what it caused to be done is owed no more. Answers how many objects it had.

    Raises: IndexUnavailable.
    """
    of_study = select(instances.c.sop_uid).join_from(instances, series).join(studies)
    with index.write() as connection:
        keep_others_out(connection, index, study_uid)
        sop_uids = connection.execute(of_study.where(studies.c.study_uid == study_uid)).scalars().all()
        gone = [row for row in _rows(connection, sop_uids) if row.study_uid == study_uid]
        if gone:
            _remove(connection, index, gone, now)
        for caused in (jobs, sendings):
            connection.execute(delete(caused).where(caused.c.study_uid == study_uid))
    return len(gone)


def _rows(connection: Connection, sop_uids: Sequence[str]) -> list[_Row]:
    decided_by = (operations.c.counter == fates.c.counter) & (operations.c.site_id == fates.c.site_id)
    readmission = decided_by & (operations.c.kind == OperationKind.READMIT.value)
    found: Select[Any] = (
        select(
            *instances.c["id", "sop_uid", "digest", "role", "series_row"],
            *series.c["series_uid", "study_row"],
            studies.c.study_uid,
            patients.c.identity,
            fates.c.fate,
            fates.c.role.label("fate_role"),
            choices.c.digest.label("chosen"),
            operations.c.at.label("readmitted_at"),
            operations.c.reason.label("readmitted_because"),
        )
        .select_from(instances)
        .join(series)
        .join(studies)
        .join(patients)
        .outerjoin(fates, (fates.c.sop_uid == instances.c.sop_uid) & (fates.c.digest == instances.c.digest))
        .outerjoin(choices, (choices.c.study_uid == studies.c.study_uid) & (choices.c.sop_uid == instances.c.sop_uid))
        .outerjoin(operations, readmission)
        .where(instances.c.sop_uid.in_(sop_uids))
        .order_by(studies.c.id, instances.c.sop_uid, instances.c.id)
    )
    return [_Row(*row) for row in connection.execute(found)]


def _changed_roles(rows: Iterable[_Row]) -> list[tuple[_Row, str]]:
    changed: list[tuple[_Row, str]] = []
    for _, group in groupby(rows, key=lambda row: (row.study_row, row.sop_uid)):
        contents = list(group)
        roles = roles_of(contents)
        changed += [(row, role) for row, role in zip(contents, roles, strict=True) if row.role != role]
    return changed


def roles_of(contents: Sequence[Any]) -> list[str]:
    """The roles of what a study has under one SOP Instance UID, oldest first: the one that a person chose is current,
    else the one that is, else the oldest that did not come back beside another.
    """
    alive = [one for one in contents if one.fate != Fate.TRASHED]
    chosen = next((one for one in alive if one.digest == one.chosen), None)
    usual = min(alive, key=lambda one: (one.fate_role in BESIDE, one.role != "current"), default=None)
    current = chosen or usual

    def role(one: Any) -> str:
        if one.fate == Fate.TRASHED:
            return TRASH
        if one is current:
            return "current"
        return "encoding" if "encoding" in (one.fate_role, one.role) else "version"

    return [role(one) for one in contents]


def _set_roles(connection: Connection, changed: Sequence[tuple[_Row, str]], now: datetime) -> None:
    """Those that stop being current first: there is never more than one."""
    for role in sorted({role for _, role in changed}, key=lambda role: role == "current"):
        ids = [row.id for row, now_role in changed if now_role == role]
        connection.execute(update(instances).where(instances.c.id.in_(ids)).values(role=role))
        if role == "version":
            for row in (row for row, now_role in changed if now_role == role):
                _note(connection, row, "conflict-version", "", now.isoformat())
            continue
        # In one statement: one for each object of a large study kept whoever stored waiting for seconds.
        of_them = flags.c.instance_row.in_(ids), flags.c.kind.in_(_OF_HELD if role == TRASH else _OF_VERSION)
        connection.execute(delete(flags).where(*of_them))


def _note(connection: Connection, row: _Row, kind: str, detail: str, noted_at: str) -> None:
    told = {"study_row": row.study_row, "instance_row": row.id, "kind": kind, "detail": detail}
    known = [flags.c[name] == value for name, value in told.items()]
    if connection.execute(select(flags.c.id).where(*known)).first() is None:
        connection.execute(insert(flags).values(told | {"noted_at": noted_at}))


def _remove(connection: Connection, index: Index, gone: Sequence[_Row], now: datetime) -> None:
    """Remove objects, and the series, studies and patients of which nothing is left, with all that hangs on them."""
    ids = [row.id for row in gone]
    # Who has written a copy of one of them waits, and finds that it is none; who was first is seen.
    here = select(instances.c.id).where(instances.c.id.in_(ids)).order_by(instances.c.id)
    connection.execute(here.with_for_update())
    of_them = copies.c.instance_row.in_(ids)
    places = connection.execute(select(copies.c.volume_id, copies.c.path).where(of_them)).all()
    enter(connection, index, [(row.volume_id, row.path) for row in places], reason="purged", due_at=now)
    connection.execute(delete(copies).where(of_them))
    connection.execute(delete(flags).where(flags.c.instance_row.in_(ids)))
    _forget(connection, Level.IMAGE, ids)
    subtract(connection, [(row.study_row, row.digest) for row in gone])
    empty_series = _without(connection, series, {row.series_row for row in gone}, instances.c.series_row)
    _forget(connection, Level.SERIES, empty_series)
    rows = {row.study_row for row in gone}
    patient_rows = connection.execute(select(studies.c.patient_row).where(studies.c.id.in_(rows))).scalars().all()
    empty_studies = _without(connection, studies, rows, series.c.study_row)
    connection.execute(delete(flags).where(flags.c.study_row.in_(empty_studies)))
    _forget(connection, Level.STUDY, empty_studies)
    settle_patients(connection, set(patient_rows))


def settle_patients(connection: Connection, rows: set[int]) -> None:
    """Remove those of these patients who have no study any more, and count again what the others have."""
    empty = _without(connection, patients, rows, studies.c.patient_row)
    connection.execute(delete(name_grams).where(name_grams.c.patient_row.in_(empty)))
    _forget(connection, Level.PATIENT, empty)
    for patient_row in sorted(rows - set(empty)):
        _recount_patient(connection, patient_row)


def _without(connection: Connection, table: Table, rows: set[int], child: Any) -> list[int]:
    """Those of the rows of a table that no row of the level below refers to."""
    wanted = select(table.c.id).where(table.c.id.in_(rows), ~select(child).where(child == table.c.id).exists())
    return list(connection.execute(wanted).scalars())


def _forget(connection: Connection, level: Level, rows: Sequence[int]) -> None:
    """Remove rows with their values of fields and sequences: their ids may come again."""
    if rows:
        forget_values(connection, level, rows)
        table = TABLES[level]
        connection.execute(delete(table).where(table.c.id.in_(rows)))


def forget_values(connection: Connection, level: Level, rows: Sequence[int]) -> None:
    """Remove what rows have of fields that were added and of sequences."""
    of_level = select(extra_fields.c.id).where(extra_fields.c.level == level.name)
    is_of_level = or_(extra_values.c.field_id.in_(of_level), extra_values.c.field_id.in_(PARTED_ROWS[level]))
    connection.execute(delete(extra_values).where(extra_values.c.owner_row.in_(rows), is_of_level))
    for items in (ITEM_TABLES[sequence.tag] for sequence in SEQUENCES if sequence.level is level):
        connection.execute(delete(items).where(items.c.owner_row.in_(rows)))


def recount(connection: Connection, study_row: int) -> None:
    """Make the counts of a study, its series and its patient those of what is found."""
    current = is_current(instances)
    found = select(func.count()).where(instances.c.series_row == series.c.id, current).scalar_subquery()
    connection.execute(update(series).where(series.c.study_row == study_row).values(instance_count=found))
    parts = connection.execute(
        select(series.c.instance_count, series.c.modality).where(
            series.c.study_row == study_row, series.c.instance_count > 0
        )
    ).all()
    joined = select(instances.c.sop_class).distinct().join_from(instances, series)
    classes = connection.execute(joined.where(series.c.study_row == study_row, current)).scalars()
    values = {
        "series_count": len(parts),
        "instance_count": sum(part.instance_count for part in parts),
        "modalities": "\\".join(sorted({part.modality for part in parts if part.modality})) or None,
        "sop_classes": "\\".join(sorted(classes)) or None,
    }
    connection.execute(update(studies).where(studies.c.id == study_row).values(values))
    patient = connection.execute(select(studies.c.patient_row).where(studies.c.id == study_row)).scalar()
    if patient is not None:
        _recount_patient(connection, patient)


def _recount_patient(connection: Connection, patient_row: int) -> None:
    # Who records an object of another patient ID in one of his studies adds to them, and keeps out only whom it names.
    here = select(patients.c.id).where(patients.c.id == patient_row)
    connection.execute(here.with_for_update(key_share=True))
    sums = select(
        func.count().label("study_count"),
        func.coalesce(func.sum(studies.c.series_count), 0).label("series_count"),
        func.coalesce(func.sum(studies.c.instance_count), 0).label("instance_count"),
    ).where(studies.c.patient_row == patient_row, studies.c.instance_count > 0)
    counted = dict(connection.execute(sums).mappings().one())
    connection.execute(update(patients).where(patients.c.id == patient_row).values(counted))
