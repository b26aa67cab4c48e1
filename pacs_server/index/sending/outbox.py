"""What is owed to partners: a job for each series and partner, entered in the transaction that records an object."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import func, select, tuple_

from pacs_server.index.engine import Index
from pacs_server.index.jobs import JobKind, entry, owing
from pacs_server.index.objects import CopyRow
from pacs_server.index.queries.search import Deliverable
from pacs_server.index.site_tables import jobs
from pacs_server.index.tables import copies, instances, series, studies

_MAX_COUNTED: Final = 100_000
_BATCH: Final = 300
_TOLD_AGAIN: Final = 10
_LONG_S: Final = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Behind:
    """What a partner is not known to have: so many series, with so many objects, and since when the oldest is owed.
    Objects are counted up to a hundred thousand.
    """

    objects: int
    series: int
    oldest_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """An object as a partner gets it, in whichever role, with the AE title of whoever sent it here."""

    item: Deliverable
    sender: str


class Outbox:
    """What partners are owed. May be used from any thread."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._counted: dict[str, tuple[float, Behind]] = {}

    def behind(self, partner: str) -> Behind:
        """How far a partner is behind this site. To count a large backlog takes time, so that it is told again for ten
        times as long as it took. Raises: IndexUnavailable.
        """
        began = time.monotonic()
        good_until, behind = self._counted.get(partner, (0.0, None))
        if behind is None or began >= good_until:
            behind = self._count(partner)
            ended = time.monotonic()
            took_s = ended - began
            self._counted[partner] = ended + (_TOLD_AGAIN * took_s if took_s > _LONG_S else 0.0), behind
        return behind

    def _count(self, partner: str) -> Behind:
        owed = jobs.c.kind == JobKind.REPLICATE.value, jobs.c.target == partner
        new = (
            select(instances.c.id)
            .select_from(jobs)
            .join(studies, studies.c.study_uid == jobs.c.study_uid)
            .join(series, (series.c.study_row == studies.c.id) & (series.c.series_uid == jobs.c.series_uid))
            .join(instances, instances.c.series_row == series.c.id)
            .where(*owed, instances.c.received_at >= jobs.c.created_at)
            .limit(_MAX_COUNTED)
        )
        with self._index.read_at_one_moment() as connection:
            number, oldest = connection.execute(select(func.count(), func.min(jobs.c.created_at)).where(*owed)).one()
            objects = connection.execute(select(func.count()).select_from(new.subquery())).scalar_one()
        return Behind(objects=objects, series=number, oldest_at=datetime.fromisoformat(oldest) if oldest else None)

    def owes(self, partner: str) -> bool:
        """Whether a partner is owed anything. Raises: IndexUnavailable."""
        owed = select(jobs.c.id).where(jobs.c.kind == JobKind.REPLICATE.value, jobs.c.target == partner).limit(1)
        with self._index.read() as connection:
            return connection.execute(owed).first() is not None

    def failing(self) -> dict[str, str]:
        """Of each partner that did not get what it is owed, more than once, why. Raises: IndexUnavailable."""
        again = jobs.c.kind == JobKind.REPLICATE.value, jobs.c.attempts > 1, jobs.c.error != ""
        why = select(jobs.c.target, func.max(jobs.c.error)).where(*again).group_by(jobs.c.target)
        with self._index.read() as connection:
            return {name: error for name, error in connection.execute(why)}

    def series_owed(self, partner: str, *, limit: int) -> list[tuple[str, str]]:
        """The series that a partner is owed, by the UIDs of study and series. Raises: IndexUnavailable."""
        owed = jobs.c.kind == JobKind.REPLICATE.value, jobs.c.target == partner
        found = select(jobs.c.study_uid, jobs.c.series_uid).where(*owed).order_by(jobs.c.created_at).limit(limit)
        with self._index.read() as connection:
            return [(study_uid, series_uid) for study_uid, series_uid in connection.execute(found)]

    def owed_of(self, partner: str, wanted: Iterable[tuple[str, str]]) -> set[tuple[str, str]]:
        """Those of these series that a partner is owed. Raises: IndexUnavailable."""
        asked = sorted(wanted)
        owed: set[tuple[str, str]] = set()
        here = tuple_(jobs.c.study_uid, jobs.c.series_uid)
        with self._index.read() as connection:
            for start in range(0, len(asked), _BATCH):
                found = select(jobs.c.study_uid, jobs.c.series_uid).where(
                    jobs.c.kind == JobKind.REPLICATE.value,
                    jobs.c.target == partner,
                    here.in_(asked[start : start + _BATCH]),
                )
                owed |= {(study_uid, series_uid) for study_uid, series_uid in connection.execute(found)}
        return owed

    def owe(self, partner: str, since: Mapping[tuple[str, str], datetime], now: datetime) -> None:
        """Owe series to a partner, each since the oldest object of it that it lacks was received.

        Raises: IndexUnavailable.
        """
        rows = [
            entry(JobKind.REPLICATE, study_uid, series_uid, partner, now)
            | {"created_at": min(received_at, now).isoformat()}
            for (study_uid, series_uid), received_at in since.items()
        ]
        if rows:
            with self._index.write() as connection:
                connection.execute(owing(self._index), rows)

    def replicas(self, study_uid: str, series_uid: str, digests: Iterable[str]) -> list[Replica]:
        """The objects of a series that have these digests and a good copy, in the order in which they came: the first
        says what the study and the series are, where others contradict it, and so it does at the partner then.

        Raises: IndexUnavailable.
        """
        wanted = set(digests)
        columns = [instances.c[name] for name in ("id", "sop_class", "sop_uid", "transfer_syntax", "size_bytes")]
        found = (
            select(*columns, instances.c.digest, instances.c.sender, copies.c.volume_id, copies.c.path)
            .join_from(instances, series)
            .join(studies)
            .join(copies, copies.c.instance_row == instances.c.id)
            .where(studies.c.study_uid == study_uid, series.c.series_uid == series_uid, copies.c.damage.is_(None))
            .order_by(instances.c.id, copies.c.id)
        )
        rows: dict[int, Replica] = {}
        with self._index.read() as connection:
            for row in connection.execute(found):
                if row.digest not in wanted:
                    continue
                place = CopyRow(volume_id=row.volume_id, path=row.path)
                before = rows[row.id].item.copies if row.id in rows else ()
                item = Deliverable(
                    sop_class=row.sop_class,
                    sop_uid=row.sop_uid,
                    transfer_syntax=row.transfer_syntax,
                    size_bytes=row.size_bytes,
                    digest=row.digest,
                    study_uid=study_uid,
                    series_uid=series_uid,
                    copies=(*before, place),
                )
                rows[row.id] = Replica(item=item, sender=row.sender)
        return list(rows.values())
