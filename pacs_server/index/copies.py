"""The copies of objects as rows: when each was verified, and what is damaged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    bindparam,
    case,
    delete,
    func,
    null,
    select,
    update,
)

from pacs_server.dicom.audit import Event, EventKind, EventOutcome
from pacs_server.dicom.operations import Fate
from pacs_server.index.deposits import is_deposited
from pacs_server.index.engine import Index
from pacs_server.index.releases import enter
from pacs_server.index.site.registry import MANY_DAMAGED, REMOVED_VOLUME, note_change
from pacs_server.index.site_entries import forget, put, value_of
from pacs_server.index.site_tables import fates, releases, volumes
from pacs_server.index.statements import Statement
from pacs_server.index.tables import copies, instances, series, studies

_BATCH: Final = 1000
_CLOCKS_DIFFER: Final = timedelta(days=1)
ROUND: Final = "verification:"
# Nothing is known against it.
GOOD: Final = copies.c.damage.is_(None)
# Whoever purges it at this moment is waited for.
_row: Final = (
    select(instances.c.id)
    .where(instances.c.sop_uid == bindparam("sop_uid"), instances.c.digest == bindparam("digest"))
    .with_for_update(read=True, key_share=True)
)
_fate: Final = select(fates.c.fate).where(
    fates.c.sop_uid == bindparam("sop_uid"), fates.c.digest == bindparam("digest")
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """One copy: the volume, the path below its root, when it was last found to be whole, what was wrong with it."""

    volume_id: str
    path: str
    verified_at: datetime | None = None
    damage: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptObject:
    """One content that is held, with its copies. `sender` decides how many are wanted; `deposits` says how many archive
    servers keep it, of which each counts as a copy.
    """

    row: int
    sop_class: str
    sop_uid: str
    digest: str
    role: str
    sender: str
    size_bytes: int
    copies: tuple[Copy, ...]
    deposits: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyToVerify:
    """A copy that is to be read, and the series that it belongs to."""

    path: str
    digest: str
    size_bytes: int
    study_uid: str
    series_uid: str


class Copies:
    """May be used from any thread."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._insert = index.insert(copies)
        here = copies.c.volume_id == bindparam("volume"), copies.c.path == bindparam("place")
        whole = update(copies).values(verified_at=bindparam("moment"), damage=null())
        self._verified = Statement(index, whole.where(*here, GOOD))
        self._exonerated = Statement(index, whole.where(*here, copies.c.damage.is_not(None)))
        self._damaged = Statement(
            index, update(copies).where(*here, GOOD).values(verified_at=null(), damage=bindparam("reason"))
        )

    def of_series(self, study_uid: str, series_uid: str) -> list[KeptObject]:
        """Every object of a series, versions too, with its copies. Raises: IndexUnavailable."""
        return self._kept((studies.c.study_uid == study_uid) & (series.c.series_uid == series_uid))

    def of_objects(self, sop_uids: Sequence[str]) -> list[KeptObject]:
        """Every content under a few hundred SOP Instance UIDs, versions and what is in the trash too, with its copies.

        Raises: IndexUnavailable.
        """
        return self._kept(instances.c.sop_uid.in_(sop_uids))

    def at(self, volume_id: str, path: str) -> list[KeptObject]:
        """The object that has a copy on a volume under a path, with all its copies; none when that is no copy.

        Raises: IndexUnavailable.
        """
        here = copies.c.volume_id == volume_id, copies.c.path == path
        return self._kept(instances.c.id.in_(select(copies.c.instance_row).where(*here)))

    def _kept(self, condition: ColumnElement[bool]) -> list[KeptObject]:
        wanted = (
            select(
                instances.c.id, instances.c.sop_class, instances.c.sop_uid, instances.c.digest, instances.c.role,
                instances.c.sender, instances.c.size_bytes,
                copies.c.volume_id, copies.c.path, copies.c.verified_at, copies.c.damage,
                is_deposited().label("deposits"),
            )
            .select_from(instances)
            .join(series)
            .join(studies)
            .outerjoin(copies, copies.c.instance_row == instances.c.id)
            .where(condition)
            .order_by(instances.c.id, copies.c.id)
        )  # fmt: skip
        found: dict[int, KeptObject] = {}
        with self._index.read() as connection:
            for row in connection.execute(wanted):
                known = found.get(row.id)
                places = known.copies if known else ()
                if row.volume_id is not None:
                    places += (_copy(row),)
                found[row.id] = KeptObject(
                    row=row.id,
                    sop_class=row.sop_class or "",
                    sop_uid=row.sop_uid,
                    digest=row.digest,
                    role=row.role,
                    sender=row.sender,
                    size_bytes=row.size_bytes,
                    copies=places,
                    deposits=row.deposits,
                )
        return list(found.values())

    def add(self, one: KeptObject, copy: Copy, now: datetime) -> None:
        """Record a copy that was written and read back; one of that place is good again. Raises: IndexUnavailable."""
        self.add_all([(one, copy)], now)

    def add_all(self, made: Iterable[tuple[KeptObject, Copy]], now: datetime) -> None:
        """Record such copies, each with its object, in one transaction; none on a volume that was removed meanwhile. Of
        an object that was purged meanwhile it is no copy, and its file is owed its removal.

        Raises: IndexUnavailable.
        """
        with self._index.write() as connection:
            for one, copy in made:
                if value_of(connection, f"{REMOVED_VOLUME}{copy.volume_id}") is not None:
                    continue
                # Not by the row that it had: that number may be another object's by now.
                named = {"sop_uid": one.sop_uid, "digest": one.digest}
                row = connection.execute(_row, named).scalar()
                if row is None:
                    self._refuse(connection, named, copy, now)
                    continue
                values: dict[str, Any] = {
                    "verified_at": copy.verified_at.isoformat() if copy.verified_at else None,
                    "damage": None,
                }
                place = {"instance_row": row, "volume_id": copy.volume_id, "path": copy.path}
                statement = self._insert.values(place | values)
                connection.execute(
                    statement.on_conflict_do_update(index_elements=[copies.c.volume_id, copies.c.path], set_=values)
                )

    def _refuse(self, connection: Connection, named: dict[str, str], copy: Copy, now: datetime) -> None:
        if connection.execute(_fate, named).scalar() == Fate.PURGED:
            place = copy.volume_id, copy.path
            enter(connection, self._index, [place], reason="of a purged object", due_at=now)

    def mark_verified(self, places: Iterable[tuple[str, str]], now: datetime) -> None:
        """Copies, by volume and path, were read to their end and are what was received. Those that were taken for
        damaged, and are whole as they lie there, count against their volume no more.

        Raises: IndexUnavailable.
        """
        exonerated: Counter[str] = Counter()
        with self._index.write_cursor() as cursor:
            for volume_id, path in places:
                values = {"volume": volume_id, "place": path, "moment": now.isoformat()}
                if self._exonerated.on(cursor, values).rowcount:
                    exonerated[volume_id] += 1
                else:
                    self._verified.later(cursor, values)
        for volume_id, count in exonerated.items():
            self._count(volume_id, -count, now)

    def mark_damaged(self, volume_id: str, path: str, reason: str, now: datetime) -> None:
        """A copy is missing, short or has other bytes. Those that are found on one day count against their volume.

        Raises: IndexUnavailable.
        """
        self._mark_damaged(volume_id, [path], reason, now, f"a copy is damaged: volume {volume_id}, {path}: {reason}")

    def mark_lost(self, volume_id: str, paths: Sequence[str], reason: str, now: datetime) -> None:
        """The same of several copies whose files are not there any more, told as one. Raises: IndexUnavailable."""
        self._mark_damaged(volume_id, paths, reason, now, f"copies are lost: volume {volume_id}: {reason}")

    def _mark_damaged(self, volume_id: str, paths: Sequence[str], reason: str, now: datetime, detail: str) -> None:
        told: list[Event] = []
        with self._index.write_cursor(told) as cursor:
            values = {"volume": volume_id, "reason": reason[:500]}
            changed = sum(self._damaged.on(cursor, values | {"place": path}).rowcount for path in paths)
            if changed:
                failed = EventOutcome.FAILED
                told.append(
                    Event(kind=EventKind.ALERT, at=now, outcome=failed, who="server", count=changed, detail=detail)
                )
        if changed:
            self._count(volume_id, changed, now)

    def _count(self, volume_id: str, more: int, now: datetime) -> None:
        """Count damaged copies of a day against a volume; all nodes are told when they are many, or not any more."""
        today, known = now.date().isoformat(), volumes.c.damaged_count
        goes_on = (volumes.c.damaged_on == today) | (known >= MANY_DAMAGED)
        here = volumes.c.id == volume_id
        with self._index.write() as connection:
            before = connection.execute(select(case((goes_on, known), else_=0)).where(here).with_for_update()).scalar()
            if before is None:
                return
            count = before + more
            if more < 0:  # what is found whole may have been counted on another day: it clears none that is damaged
                count = max(count, _damaged_on(connection, volume_id, most=min(before, _BATCH)))
            connection.execute(update(volumes).where(here).values(damaged_count=count, damaged_on=today))
            if (before >= MANY_DAMAGED) != (count >= MANY_DAMAGED):
                note_change(connection)

    def least_verified(
        self, volume_id: str, *, before: datetime, now: datetime, limit: int, without: Collection[str] = ()
    ) -> list[CopyToVerify]:
        """Good copies of a volume that came before `before` and were not verified since, those first that never were;
        last those that came, or were verified, in the future, by a clock that was wrong then. Not those at the paths
        `without`.

        Raises: IndexUnavailable.
        """
        ahead = (now + _CLOCKS_DIFFER).isoformat()
        common = (
            select(
                copies.c.path,
                instances.c.digest,
                instances.c.size_bytes,
                instances.c.received_at,
                studies.c.study_uid,
                series.c.series_uid,
            )
            .join_from(copies, instances)
            .join(series)
            .join(studies)
            .where(copies.c.volume_id == volume_id, copies.c.path.not_in(without), GOOD)
            .limit(limit)
        )
        # Those that were never verified lie in the order in which they came: the first tells whether any is old enough.
        never = common.where(copies.c.verified_at.is_(None)).order_by(copies.c.id)
        long_ago = common.where(copies.c.verified_at < before.isoformat()).order_by(copies.c.verified_at)
        in_future = common.where(copies.c.verified_at > ahead).order_by(copies.c.verified_at)
        with self._index.read() as connection:
            rows = [row for row in connection.execute(never) if not before.isoformat() <= row.received_at <= ahead]
            rows = rows or list(connection.execute(long_ago)) or list(connection.execute(in_future))
        return [
            CopyToVerify(
                path=row.path,
                digest=row.digest,
                size_bytes=row.size_bytes,
                study_uid=row.study_uid,
                series_uid=row.series_uid,
            )
            for row in rows
        ]

    def with_damage(self) -> list[tuple[str, str]]:
        """The series with a copy that is known to be damaged, by the UIDs of study and series.

        Raises: IndexUnavailable.
        """
        named = (
            select(studies.c.study_uid, series.c.series_uid)
            .join_from(copies, instances)
            .join(series)
            .join(studies)
            .where(copies.c.damage.is_not(None))
            .distinct()
        )
        with self._index.read() as connection:
            return [(row.study_uid, row.series_uid) for row in connection.execute(named)]

    def verification_began(self, volume_id: str, now: datetime) -> datetime:
        """When the present round over a volume began: now, unless an earlier one was not ended.

        Raises: IndexUnavailable.
        """
        name = f"{ROUND}{volume_id}"
        with self._index.write() as connection:
            began = value_of(connection, name)
            if began is None:
                put(connection, name, now.isoformat())
        return datetime.fromisoformat(began) if began else now

    def verification_ended(self, volume_id: str) -> None:
        """The round over a volume is complete. Raises: IndexUnavailable."""
        with self._index.write() as connection:
            forget(connection, f"{ROUND}{volume_id}")

    def count_damaged(self) -> int:
        """How many copies are known to be damaged. Raises: IndexUnavailable."""
        with self._index.read() as connection:
            return connection.execute(select(func.count()).where(copies.c.damage.is_not(None))).scalar_one()

    def count_on(self, volume_id: str) -> int:
        """How many copies are on a volume. Raises: IndexUnavailable."""
        with self._index.read() as connection:
            return connection.execute(select(func.count()).where(copies.c.volume_id == volume_id)).scalar_one()

    def forget_volume(self, volume_id: str) -> None:
        """Remove the rows of the copies of a volume, in portions, and what was to be removed from it.

        Raises: IndexUnavailable.
        """
        some = select(copies.c.id).where(copies.c.volume_id == volume_id).limit(_BATCH)
        removed = _BATCH
        while removed:
            with self._index.write() as connection:
                removed = connection.execute(delete(copies).where(copies.c.id.in_(some))).rowcount
        with self._index.write() as connection:
            connection.execute(delete(releases).where(releases.c.volume_id == volume_id))


def _damaged_on(connection: Connection, volume_id: str, *, most: int) -> int:
    """How many copies of a volume are known to be damaged; of more than `most` it is no matter how many. Looked for
    among those that are damaged: by the volume as it is named, SQLite would read each of its copies.
    """
    here = copies.c.volume_id.concat("") == volume_id
    some = select(copies.c.id).where(copies.c.damage.is_not(None), here).limit(most).subquery()
    return connection.execute(select(func.count()).select_from(some)).scalar_one()


def _copy(row: Any) -> Copy:
    return Copy(
        volume_id=row.volume_id,
        path=row.path,
        verified_at=datetime.fromisoformat(row.verified_at) if row.verified_at else None,
        damage=row.damage or "",
    )
