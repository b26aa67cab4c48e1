"""What the operations on a study made of it, as rows: the fates of its objects, holds, choices, deposits."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, delete, insert, select

from pacs_server.dicom.operations import Fate, Operation, StudyFate
from pacs_server.index.site_tables import choices, depositing, deposits, fates, holds


def note_fate(connection: Connection, study_uid: str, fate: StudyFate) -> None:
    """Put what holds of a study in the place of what was noted of it."""
    for table in (fates, holds, choices):
        connection.execute(delete(table).where(table.c.study_uid == study_uid))
    if fate.hold is not None:
        hold = fate.hold
        told = {"study_uid": study_uid, "at": hold.at.isoformat(), "who": hold.who, "reason": hold.reason}
        connection.execute(insert(holds).values(told | stamp_of(hold)))
    decided = fate.objects.items()
    if rows := [fate_row(study_uid, *name, one, role, by) for name, (one, role, by) in decided]:
        connection.execute(insert(fates), rows)
    chosen = fate.choices.items()
    if rows := [
        {"study_uid": study_uid, "sop_uid": sop_uid, "digest": digest, **stamp_of(by)}
        for sop_uid, (digest, by) in chosen
    ]:
        connection.execute(insert(choices), rows)
    _note_deposits(connection, study_uid, fate)


def _note_deposits(connection: Connection, study_uid: str, fate: StudyFate) -> None:
    """What an archive server did not give back stays noted until it has kept that anew."""
    of_study = deposits.c.study_uid == study_uid
    known = connection.execute(select(*deposits.c).where(of_study)).all()
    damage = {(row.sop_uid, row.digest, row.aet, row.counter, row.site_id): row.damage for row in known}
    connection.execute(delete(deposits).where(of_study))
    rows = [
        {"sop_uid": sop_uid, "digest": digest, "aet": aet, "study_uid": study_uid, "at": by.at.isoformat()}
        | {"transaction_uid": by.deposit.transaction_uid if by.deposit else ""}
        | {"damage": damage.get((sop_uid, digest, aet, *by.stamp)), **stamp_of(by)}
        for (sop_uid, digest), kept in fate.deposits.items()
        for aet, by in kept.items()
    ]
    for row in rows:
        here = [depositing.c[name] == row[name] for name in ("aet", "sop_uid", "digest")]
        connection.execute(delete(depositing).where(*here))
    if rows:
        connection.execute(insert(deposits), rows)


def fate_row(study_uid: str, sop_uid: str, digest: str, fate: Fate, role: str, by: Operation) -> dict[str, Any]:
    """The row that says what an operation made of an object."""
    told = {"sop_uid": sop_uid, "digest": digest, "study_uid": study_uid, "fate": fate.value, "role": role}
    return told | {"at": by.at.isoformat(), **stamp_of(by)}


def stamp_of(operation: Operation) -> dict[str, Any]:
    """The columns that name an operation."""
    return {"counter": operation.counter, "site_id": operation.site_id}
