"""What the operations on a study made of it, as rows: the fates of its objects, holds, choices, deposits."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from sqlalchemy import Connection, Table, bindparam, delete, insert, select

from pacs_server.dicom.audit import Event, EventOutcome, digest_over
from pacs_server.dicom.operations import Content, Fate, Operation, OperationKind, StudyFate
from pacs_server.index.engine import Index
from pacs_server.index.site_tables import choices, depositing, deposits, fates, holds
from pacs_server.index.tables import BESIDE, instances, is_current, series, studies

_BATCH: Final = 500
# What an operation asks for each of its objects, and a hold or a later decision may keep it from.
_WANTED: Final = {
    OperationKind.DELETE: (Fate.TRASHED, Fate.PURGED),
    OperationKind.RESTORE: (Fate.KEPT,),
    OperationKind.PURGE: (Fate.PURGED,),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """A study that must not be deleted, and who says so since when."""

    study_uid: str
    at: str
    who: str
    reason: str


def note_fate(connection: Connection, study_uid: str, fate: StudyFate) -> set[str]:
    """Put what holds of a study in the place of what was noted of it; answers the SOP Instance UIDs of which something
    else was noted. The rest is left as it is: of a large study that is deleted in portions it is most.
    """
    connection.execute(delete(holds).where(holds.c.study_uid == study_uid))
    if fate.hold is not None:
        hold = fate.hold
        told = {"study_uid": study_uid, "at": hold.at.isoformat(), "who": hold.who, "reason": hold.reason}
        connection.execute(insert(holds).values(told | stamp_of(hold)))
    decided = [fate_row(study_uid, *name, one, role, by) for name, (one, role, by) in fate.objects.items()]
    chosen = [
        {"study_uid": study_uid, "sop_uid": sop_uid, "digest": digest, **stamp_of(by)}
        for sop_uid, (digest, by) in fate.choices.items()
    ]
    changed = _replace(connection, fates, study_uid, decided) | _replace(connection, choices, study_uid, chosen)
    _note_deposits(connection, study_uid, fate)
    return changed


def _replace(connection: Connection, table: Table, study_uid: str, wanted: Sequence[dict[str, Any]]) -> set[str]:
    """Make these the rows of a study; the SOP Instance UIDs of those that were others before, or are now."""
    key = [column.name for column in table.primary_key]

    def by_key(rows: Iterable[Mapping[Any, Any]]) -> dict[tuple[Any, ...], dict[str, Any]]:
        return {tuple(row[name] for name in key): dict(row) for row in rows}

    known = by_key(connection.execute(select(*table.c).where(table.c.study_uid == study_uid)).mappings())
    now = by_key(wanted)
    gone = [row for place, row in known.items() if now.get(place) != row]
    come = [row for place, row in now.items() if known.get(place) != row]
    if gone:
        here = [table.c[name] == bindparam(f"known_{name}") for name in key]
        connection.execute(delete(table).where(*here), [{f"known_{name}": row[name] for name in key} for row in gone])
    if come:
        connection.execute(insert(table), come)
    return {row["sop_uid"] for row in (*gone, *come)}


def holds_of(index: Index) -> list[Hold]:
    """The studies that must not be deleted. Raises: IndexUnavailable."""
    columns = holds.c.study_uid, holds.c.at, holds.c.who, holds.c.reason
    with index.read() as connection:
        return [Hold(**row) for row in connection.execute(select(*columns).order_by(holds.c.at)).mappings()]


def in_effect(operation: Operation, fate: StudyFate) -> Operation:
    """An operation with those of its objects alone that are what it wants them to be, after all that was decided."""
    if (wanted := _WANTED.get(operation.kind)) is None:
        return operation
    became = {one: fate.objects.get((one.sop_uid, one.digest), (Fate.KEPT,))[0] for one in operation.objects}
    return replace(operation, objects=tuple(one for one in operation.objects if became[one] in wanted))


def as_it_ended(event: Event, asked: Operation, done: Operation) -> Event:
    """The event of an operation of whose objects only some are what it wants them to be."""
    if not (spared := len(asked.objects) - len(done.objects)):
        return event
    return replace(
        event,
        outcome=EventOutcome.PARTLY if done.objects else EventOutcome.REFUSED,
        count=len(done.objects),
        uid_digest=digest_over(content.sop_uid for content in done.objects),
        detail=f"{event.detail}; {spared} objects stay as they are: on hold, or decided otherwise",
    )


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


def as_brought_back(connection: Connection, study_uid: str, contents: Sequence[Content]) -> list[Content]:
    """These contents of the trash with what they will be when they come back, so that an index that is made anew has
    the same one current. Beside one that is current each is a version, also where it came first; of those that were
    current the one that was deleted last is so again, as it had taken the place of the others; of none that was, the
    first.
    """
    held = select(*instances.c["sop_uid", "digest"], is_current(instances).label("is_shown"))
    held = held.join_from(instances, series).join(studies).where(studies.c.study_uid == study_uid)
    in_order = connection.execute(held.order_by(instances.c.id)).all()
    shown = {one.sop_uid for one in in_order if one.is_shown}
    roles = _roles_in_trash(connection, study_uid, shown)

    wanted = {(one.sop_uid, one.digest) for one in contents}
    names = [(one.sop_uid, one.digest) for one in in_order if one.sop_uid not in shown]
    back = [name for name in names if name in wanted and name in roles]
    led = {sop_uid for sop_uid, digest in back if roles[sop_uid, digest] not in BESIDE}
    for sop_uid, digest in back:
        if sop_uid not in led:
            roles[sop_uid, digest] = "current"
            led.add(sop_uid)
    return [replace(one, role=roles.get((one.sop_uid, one.digest), one.role)) for one in contents]


def _roles_in_trash(connection: Connection, study_uid: str, shown: Collection[str]) -> dict[tuple[str, str], str]:
    """The role of each content in the trash, by its UID and digest, if all of them came back beside those shown."""
    deleted = select(*fates.c["sop_uid", "digest", "role"]).order_by(fates.c.counter, fates.c.site_id)
    deleted = deleted.where(fates.c.study_uid == study_uid, fates.c.fate == Fate.TRASHED.value)
    roles: dict[tuple[str, str], str] = {}
    last: dict[str, str] = {}
    for sop_uid, digest, role in connection.execute(deleted):
        roles[sop_uid, digest] = role
        if role not in BESIDE:
            if sop_uid in shown:
                roles[sop_uid, digest] = "version"
            elif sop_uid in last:
                roles[sop_uid, last[sop_uid]] = "version"
            last[sop_uid] = digest
    return roles


def purged_among(index: Index, digests: Iterable[str]) -> set[str]:
    """Those of these contents that were purged and did not come again. Raises: IndexUnavailable."""
    asked, purged = sorted(digests), set[str]()
    with index.read() as connection:
        for start in range(0, len(asked), _BATCH):
            gone = fates.c.fate == Fate.PURGED.value, fates.c.digest.in_(asked[start : start + _BATCH])
            purged |= set(connection.execute(select(fates.c.digest).where(*gone)).scalars())
    return purged


def purged_studies(index: Index) -> set[str]:
    """The studies of which something was purged and did not come again. Raises: IndexUnavailable."""
    purged = select(fates.c.study_uid).distinct().where(fates.c.fate == Fate.PURGED.value)
    with index.read() as connection:
        return set(connection.execute(purged).scalars())
