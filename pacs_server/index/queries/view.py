"""Everything that is held of one study, for a person to read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, distinct, func, select

from pacs_server.index.engine import Index
from pacs_server.index.site_tables import deposits, volumes
from pacs_server.index.tables import UID_OF_ANOTHER, copies, flags, instances, is_current, patients, series, studies


def study_view(index: Index, study_uid: str) -> dict[str, Any] | None:
    """The study with its patient's values, its flags, and its series with their objects and copies; None if not held.

    Raises: IndexUnavailable.
    """
    with index.read() as connection:
        found = connection.execute(select(*studies.c).where(studies.c.study_uid == study_uid)).mappings().first()
        if found is None:
            return None
        patient = connection.execute(select(*patients.c).where(patients.c.id == found["patient_row"])).mappings().one()
        noted = select(flags.c.kind, flags.c.detail, flags.c.noted_at, instances.c.sop_uid)
        noted = noted.outerjoin_from(flags, instances, flags.c.instance_row == instances.c.id)
        told = connection.execute(noted.where(flags.c.study_row == found["id"]).order_by(flags.c.id))
        parts = connection.execute(
            select(*series.c).where(series.c.study_row == found["id"]).order_by(series.c.series_number, series.c.id)
        )
        return {
            "uid": study_uid,
            "patient": _shown(patient, patients),
            **_shown(found, studies),
            "series": [_series_view(connection, part) for part in parts.mappings().all()],
            "flags": [dict(row) for row in told.mappings()],
        }


def conflicts_view(index: Index, study_uid: str = "") -> list[dict[str, Any]]:
    """Every contradiction that was noted, or those of a study, the latest first. Raises: IndexUnavailable."""
    noted = (
        select(
            studies.c.study_uid.label("uid"), patients.c.patient_id, flags.c.kind, flags.c.detail, flags.c.noted_at,
            instances.c.sop_uid,
        )
        .join_from(flags, studies)
        .join(patients)
        .outerjoin(instances, flags.c.instance_row == instances.c.id)
        .where(is_conflict())
        .order_by(flags.c.noted_at.desc(), flags.c.id)
    )  # fmt: skip
    if study_uid:
        noted = noted.where(studies.c.study_uid == study_uid)
    with index.read() as connection:
        return [dict(row) for row in connection.execute(noted).mappings()]


def contents_view(index: Index, uid: str) -> list[dict[str, Any]]:
    """The contents of a study that have another one beside them, or those under one SOP Instance UID, of whichever
    studies, of which there are several. Raises: IndexUnavailable.
    """
    others, their_series = instances.alias(), series.alias()
    another = select(others.c.id).join_from(others, their_series)
    another = another.where(others.c.sop_uid == instances.c.sop_uid, others.c.id != instances.c.id)
    beside = another.where(their_series.c.study_row == series.c.study_row)
    told = (
        select(
            instances.c.sop_uid, instances.c.digest, instances.c.role, instances.c.sender, instances.c.received_at,
            instances.c.size_bytes, studies.c.study_uid,
        )
        .join_from(instances, series)
        .join(studies)
        .where(
            ((studies.c.study_uid == uid) & beside.correlate(instances, series).exists())
            | ((instances.c.sop_uid == uid) & another.correlate(instances).exists())
        )
        .order_by(instances.c.sop_uid, instances.c.id)
    )  # fmt: skip
    with index.read() as connection:
        return [dict(row) for row in connection.execute(told).mappings()]


def studies_with_uids_of_others(index: Index) -> int:
    """How many studies have objects under the UIDs of objects that are found in another study.

    Raises: IndexUnavailable.
    """
    noted = select(func.count(distinct(flags.c.study_row)))
    noted = noted.where(flags.c.kind == UID_OF_ANOTHER, _have_a_uid_in_common())
    with index.read() as connection:
        return int(connection.execute(noted).scalar_one())


def is_conflict() -> ColumnElement[bool]:
    """Whether a flag tells of a contradiction that is not settled: of a study that is in the trash as a whole nobody
    has to choose.
    """
    study = studies.alias()
    is_found = select(study.c.id).where(study.c.id == flags.c.study_row, study.c.instance_count > 0)
    told = flags.c.kind.startswith("conflict-") & is_found.correlate(flags).exists()
    return told & ((flags.c.kind != UID_OF_ANOTHER) | _have_a_uid_in_common())


def _have_a_uid_in_common() -> ColumnElement[bool]:
    """Whether the study of a flag and the one that it names are both still found with an object under one UID: what was
    sent under new UIDs, and deleted here, is settled.
    """
    ours, theirs, our_series, their_series = instances.alias(), instances.alias(), series.alias(), series.alias()
    another = studies.alias()
    same = (
        select(ours.c.id)
        .join_from(ours, our_series, ours.c.series_row == our_series.c.id)
        .join(theirs, theirs.c.sop_uid == ours.c.sop_uid)
        .join(their_series, theirs.c.series_row == their_series.c.id)
        .join(another, their_series.c.study_row == another.c.id)
        .where(our_series.c.study_row == flags.c.study_row, another.c.study_uid == flags.c.detail)
        .where(is_current(ours), is_current(theirs))
    )
    return same.correlate(flags).exists()


def _series_view(connection: Connection, part: Mapping[Any, Any]) -> dict[str, Any]:
    held = connection.execute(
        select(*instances.c)
        .where(instances.c.series_row == part["id"])
        .order_by(instances.c.instance_number, instances.c.id)
    )
    places: dict[int, list[dict[str, str]]] = {}
    located = (
        select(copies.c.instance_row, volumes.c.name, copies.c.path)
        .join_from(copies, instances, copies.c.instance_row == instances.c.id)
        .outerjoin(volumes, volumes.c.id == copies.c.volume_id)
        .where(instances.c.series_row == part["id"])
        .order_by(copies.c.id)
    )
    for row in connection.execute(located):
        places.setdefault(row.instance_row, []).append({"volume": row.name or "", "path": row.path})
    same = (deposits.c.sop_uid == instances.c.sop_uid) & (deposits.c.digest == instances.c.digest)
    kept = select(instances.c.id, deposits.c.aet, deposits.c.at, deposits.c.damage).join_from(deposits, instances, same)
    archives: dict[int, list[dict[str, str]]] = {}
    for one in connection.execute(kept.where(instances.c.series_row == part["id"]).order_by(deposits.c.at)):
        archives.setdefault(one.id, []).append({"aet": one.aet, "since": one.at, "damage": one.damage or ""})
    objects = [
        {
            "uid": row["sop_uid"],
            **_shown(row, instances),
            "copies": places.get(row["id"], []),
            "archives": archives.get(row["id"], []),
        }
        for row in held.mappings()
    ]
    return {"uid": part["series_uid"], **_shown(part, series), "objects": objects}


def _shown(row: Mapping[Any, Any], table: Table) -> dict[str, Any]:
    """The columns that mean something to a person and have a value."""
    hidden = ("_folded", "_alphabetic", "_ideographic", "_phonetic", "_row")
    names = (column.name for column in table.c if not column.name.endswith(hidden) and column.name not in _INNER)
    return {name: row[name] for name in names if row[name] is not None}


_INNER = frozenset({"id", "identity", "bucket", "content_sum"})
