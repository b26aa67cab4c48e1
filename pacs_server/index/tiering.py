"""What moves between tiers as rows: which series a rule means, when studies were read, and the switch of copies."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar

from sqlalchemy import ColumnElement, Connection, case, delete, or_, select, update

from pacs_server.index.engine import Index
from pacs_server.index.releases import enter
from pacs_server.index.site.registry import VolumeMode
from pacs_server.index.site.tier_rules import TierRule
from pacs_server.index.site_tables import volumes
from pacs_server.index.tables import copies, instances, series, studies

Place = TypeVar("Place")

# Reading is noted once a day: rules count in days, and a study that is looked at every minute costs one write.
_NOTED_EVERY: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaving:
    """The copies of one object that are to be copies no more, and in how many fault domains others have to be."""

    instance_row: int
    places: tuple[tuple[str, str], ...]
    want: int


def dispensable(held: Sequence[tuple[Place, str | None]], others: Iterable[str], want: int) -> list[Place]:
    """Of these copies, each with its fault domain or None when it does not count, those that can go, so that the rest
    and copies in the domains `others` lie in at least `want` domains.
    """
    kept, beside = list(held), set(others)
    gone: list[Place] = []
    for one in held:
        rest = beside | {domain for place, domain in kept if domain is not None and place is not one[0]}
        if len(rest) >= want:
            kept.remove(one)
            gone.append(one[0])
    return gone


class Tiering:
    """May be used from any thread, and by several processes."""

    def __init__(self, index: Index) -> None:
        self._index = index

    def candidates(self, rule: TierRule, source_ids: Collection[str], now: datetime) -> list[tuple[str, str]]:
        """The series that a rule means and of which something lies on these volumes, by the UIDs of study and series;
        those of the study that was longest not read first. The age of a study is counted from its date, else from the
        day on which it came; what was never read counts as read when it came.

        Raises: IndexUnavailable.
        """
        accessed = case(
            (studies.c.last_read_at > studies.c.last_received_at, studies.c.last_read_at),
            else_=studies.c.last_received_at,
        )
        here = select(copies.c.id).join_from(copies, instances)
        here = here.where(instances.c.series_row == series.c.id, copies.c.volume_id.in_(source_ids))
        wanted = (
            select(studies.c.study_uid, series.c.series_uid)
            .join_from(series, studies)
            .where(here.exists(), *_conditions(rule, accessed, now))
            .order_by(accessed, studies.c.id, series.c.id)
        )
        with self._index.read() as connection:
            return [(row.study_uid, row.series_uid) for row in connection.execute(wanted)]

    def switch(
        self, objects: Sequence[Leaving], *, standing: Collection[str], verified_since: datetime, due_at: datetime
    ) -> list[tuple[str, str]]:
        """Let copies be copies no more, in one transaction, and owe the removal of their files at `due_at`; the places,
        by volume and path, of those that went.

        Only as far as each object keeps good copies in as many fault domains as it wants that were verified since, on
        the volumes `standing`. Whoever switches the same objects at the same time waits for this, and then sees it.

        Raises: IndexUnavailable.
        """
        wanted = {one.instance_row: one for one in objects}
        gone: list[Any] = []
        with self._index.write() as connection:
            rows = _locked(connection, sorted(wanted))
            for instance_row, one in sorted(wanted.items()):
                held = [row for row in rows if row.instance_row == instance_row and row.damage is None]
                domains = [_counted_domain(row, standing, verified_since) for row in held]
                pairs = list(zip(held, domains, strict=True))
                leaving = [(row, domain) for row, domain in pairs if (row.volume_id, row.path) in one.places]
                others = [domain for row, domain in pairs if domain and (row.volume_id, row.path) not in one.places]
                gone += dispensable(leaving, others, one.want)
            places = [(row.volume_id, row.path) for row in gone]
            enter(connection, self._index, places, reason="moved to another tier", due_at=due_at)
            connection.execute(delete(copies).where(copies.c.id.in_([row.id for row in gone])))
        return places

    def note_read(self, study_uids: Iterable[str], now: datetime) -> None:
        """Studies were sent to somebody who asked for them. Raises: IndexUnavailable."""
        stale = or_(studies.c.last_read_at.is_(None), studies.c.last_read_at < (now - _NOTED_EVERY).isoformat())
        for study_uid in study_uids:
            here = studies.c.study_uid == study_uid, stale
            with self._index.read() as connection:
                if connection.execute(select(studies.c.id).where(*here)).first() is None:
                    continue
            with self._index.write() as connection:
                connection.execute(update(studies).where(*here).values(last_read_at=now.isoformat()))


def _conditions(rule: TierRule, accessed: ColumnElement[Any], now: datetime) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if rule.older_than_days is not None:
        before = now.date() - timedelta(days=rule.older_than_days)
        by_date = studies.c.study_date < before.strftime("%Y%m%d")
        conditions.append(or_(by_date, studies.c.study_date.is_(None) & (studies.c.day < before.isoformat())))
    if rule.not_read_for_days is not None:
        conditions.append(accessed < (now - timedelta(days=rule.not_read_for_days)).isoformat())
    if rule.modalities:
        conditions.append(series.c.modality.in_(rule.modalities))
    if rule.archive:
        before_that = (now - timedelta(days=rule.idle_days)).isoformat()
        conditions.append(or_(studies.c.last_read_at.is_(None), studies.c.last_read_at < before_that))
    return conditions


def _locked(connection: Connection, instance_rows: Sequence[int]) -> Sequence[Any]:
    """The copies of objects with their volumes, in the order of their rows, kept from change until the commit."""
    held = (
        select(*copies.c, volumes.c.domain, volumes.c.mode)
        .join_from(copies, volumes, volumes.c.id == copies.c.volume_id)
        .where(copies.c.instance_row.in_(instance_rows))
        .order_by(copies.c.id)
        .with_for_update(of=copies)
    )
    return connection.execute(held).all()


def _counted_domain(row: Any, standing: Collection[str], verified_since: datetime) -> str | None:
    """The fault domain of a copy that can be relied on; None when it cannot."""
    is_known_good = row.verified_at is not None and row.verified_at >= verified_since.isoformat()
    stays = row.volume_id in standing and row.mode != VolumeMode.DRAINING
    return str(row.domain) if is_known_good and stays else None
