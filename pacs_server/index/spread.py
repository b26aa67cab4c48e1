"""How the copies of objects are spread over volumes and fault domains, and which objects lack some."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, and_, case, func, literal, or_, select, union_all

from pacs_server.index.copies import GOOD
from pacs_server.index.deposits import SOUND, is_deposited
from pacs_server.index.engine import Index
from pacs_server.index.jobs import JobKind
from pacs_server.index.site.registry import Policies
from pacs_server.index.site_tables import deposits, jobs, volumes
from pacs_server.index.tables import copies, instances, series, studies
from pacs_server.index.totals import portions

_BATCH: Final = 1000


class CopySpread:
    """Where copies are. May be used from any thread."""

    def __init__(self, index: Index) -> None:
        self._index = index

    def lacking(self, *, want: int, after: int, absent: Sequence[str]) -> tuple[list[tuple[str, str]], int]:
        """Of the next 1000 series after row `after`: the UIDs of those in which an object has good copies in fewer than
        `want` fault domains, where the volumes `absent` do not count; and the row to go on from, 0 at the end.

        Raises: IndexUnavailable.
        """
        with self._index.read() as connection:
            portion = select(series.c.id).where(series.c.id > after).order_by(series.c.id).limit(_BATCH)
            rows = [row.id for row in connection.execute(portion)]
            if not rows:
                return [], 0
            few = _lacking(want, absent).where(series.c.id.between(rows[0], rows[-1])).subquery()
            named = select(studies.c.study_uid, series.c.series_uid).join_from(series, studies)
            named = named.where(series.c.id.in_(select(few.c.series_row)))
            found = [(row.study_uid, row.series_uid) for row in connection.execute(named)]
        return found, rows[-1] if len(rows) == _BATCH else 0

    def count_lacking(
        self, policies: Policies, *, absent: Sequence[str], received_before: datetime | None = None
    ) -> int:
        """How many objects, of the series for which copies are owed, have too few by the policy for their sender;
        `received_before`: only of those that came before then.

        Raises: IndexUnavailable.
        """
        # From the jobs to the objects: asked of each object of ten million, it took 5 s to find none.
        owed = (
            select(series.c.id)
            .select_from(jobs)
            .join(studies, studies.c.study_uid == jobs.c.study_uid)
            .join(series, and_(series.c.study_row == studies.c.id, series.c.series_uid == jobs.c.series_uid))
            .where(jobs.c.kind == JobKind.COPY)
        )
        want = _wanted(policies)
        lacking = _lacking(want, absent).where(instances.c.series_row.in_(owed))
        if received_before is not None:
            lacking = lacking.where(instances.c.received_at < received_before.isoformat())
        few = lacking.subquery()
        with self._index.read() as connection:
            return connection.execute(select(func.count()).select_from(few)).scalar_one()

    def by_places(self, volume_ids: Sequence[str], archives: Sequence[str] = ()) -> dict[frozenset[str], int]:
        """How many objects, versions and what is in the trash too, have good copies on exactly which of these volumes,
        or are kept by which of these archive servers, by their AE titles; those that have none, on the empty set. They
        are counted in portions, each as it is at one moment.

        Raises: IndexUnavailable.
        """
        found: Counter[frozenset[str]] = Counter()
        for first, last in portions(self._index):
            found += self._of_rows(first, last, volume_ids, archives)
        return dict(found)

    def _of_rows(
        self, first: int, last: int, volume_ids: Sequence[str], archives: Sequence[str]
    ) -> Counter[frozenset[str]]:
        """The same of the objects of these rows."""
        ids = list(dict.fromkeys((*volume_ids, *archives)))
        # Of other volumes too: named here, SQLite would look for all of their copies, and not for those of these rows.
        places = select(copies.c.instance_row, copies.c.volume_id.label("place")).where(
            GOOD, copies.c.instance_row.between(first, last)
        )
        if archives:
            same = and_(deposits.c.sop_uid == instances.c.sop_uid, deposits.c.digest == instances.c.digest)
            kept = select(instances.c.id, deposits.c.aet).join_from(deposits, instances, same)
            kept = kept.where(SOUND, deposits.c.aet.in_(list(archives)), instances.c.id.between(first, last))
            held = union_all(places, kept).subquery()
        else:
            held = places.subquery()
        has = [func.max(case((held.c.place == one, 1), else_=0)).label(f"on_{n}") for n, one in enumerate(ids)]
        of_each = select(held.c.instance_row, *has).group_by(held.c.instance_row).subquery()
        kinds = [of_each.c[f"on_{place}"] for place in range(len(ids))]
        counted = select(func.count(), *kinds).select_from(of_each).group_by(*kinds)
        here = select(func.count()).where(instances.c.id.between(first, last))
        found: Counter[frozenset[str]] = Counter()
        with self._index.read_at_one_moment() as connection:
            total = connection.execute(here).scalar_one()
            for objects, *on in connection.execute(counted):
                found[frozenset(one for one, is_on in zip(ids, on, strict=True) if is_on)] += objects
        found[frozenset()] += total - found.total()
        return found

    def only_on(self, volume_id: str, *, others: Sequence[str]) -> int:
        """How many objects of this volume have no good copy on one of the others. Raises: IndexUnavailable."""
        here = copies.alias()
        elsewhere = select(copies.c.id).where(
            copies.c.instance_row == here.c.instance_row, copies.c.volume_id.in_(list(others)), GOOD
        )
        counted = select(func.count(here.c.instance_row.distinct())).where(
            here.c.volume_id == volume_id, ~elsewhere.exists()
        )
        with self._index.read() as connection:
            return connection.execute(counted).scalar_one()


def _wanted(policies: Policies) -> ColumnElement[int]:
    """How many copies an instance has to have."""
    usual = literal(policies.usual.want)
    if not policies.of_peers:
        return usual
    return case({aet: one.want for aet, one in policies.of_peers.items()}, value=instances.c.sender, else_=usual)


def _lacking(want: int | ColumnElement[int], absent: Sequence[str]) -> Select[Any]:
    """The instances, with the row of their series, whose good copies are in too few fault domains. An archive server
    that keeps one counts as a domain beside those that are here; where nothing is here, nothing can be made of it.
    """
    counts: ColumnElement[int] = func.count(volumes.c.domain.distinct())
    here: ColumnElement[int] = func.count(copies.c.id)
    elsewhere = is_deposited()
    on_volume = (volumes.c.id == copies.c.volume_id) & volumes.c.id.not_in(list(absent))
    return (
        select(instances.c.id, instances.c.series_row)
        .select_from(instances)
        .join(series)
        .outerjoin(copies, (copies.c.instance_row == instances.c.id) & GOOD)
        .outerjoin(volumes, on_volume)
        .group_by(instances.c.id, instances.c.series_row, instances.c.sender)
        .having(
            and_(
                counts < want,
                or_(
                    and_(here == 0, elsewhere == 0),
                    and_(here > 0, or_(counts == 0, counts + elsewhere < want)),
                ),
            )
        )
    )
