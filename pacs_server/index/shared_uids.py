"""Flags studies with an object under one SOP Instance UID that whoever recorded the later object could not: both were
recorded at the very same moment, or one came back from the trash.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Container, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import groupby, islice
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, func, insert, select, true, tuple_

from pacs_server.index.engine import KEEP_OTHERS_OUT, Index
from pacs_server.index.tables import MOST_NAMED_ELSEWHERE, UID_OF_ANOTHER, flags, instances, is_current, series, studies

_PORTION: Final = 200
# What is recorded has a row before it is committed, and is seen only then: it is looked for so many times.
_LOOKS: Final = 3
_DAY: Final = timedelta(days=1)


class SharedUids:
    """Belongs to one thread.

    Two processes that record such objects for two studies, or bring them back from the trash, each look for what the
    other has not committed yet. To keep each other out by the UID, as they do by study and patient, would cost every
    object a lock.
    """

    def __init__(self, index: Index) -> None:
        self._index = index
        self._newest: deque[int] = deque(maxlen=_LOOKS)
        self._all_at: datetime | None = None

    def look(self, now: datetime) -> int:
        """Note what is flagged nowhere, as who recorded the later object would have; how many flags that took. At first
        and once a day all that is held is looked at, which takes a second or two for a million objects, else what was
        recorded in the time of the last looks.

        Raises: IndexUnavailable.
        """
        if self._index.database_path is not None:
            return 0  # one writes at a time, and sees all that came before
        with self._index.read() as connection:
            newest = connection.execute(select(func.coalesce(func.max(instances.c.id), 0))).scalar_one()
        is_known = bool(self._newest) and self._newest[0] <= newest  # or the index was made anew
        looks_at_all = not is_known or self._all_at is None or not timedelta() <= now - self._all_at < _DAY
        shared = self._shared() if looks_at_all else self._shared_after(self._newest[0])
        noted = sum(self._note(sop_uids, now) for sop_uids in shared)
        if looks_at_all:
            self._newest.clear()
            self._all_at = now
        self._newest.append(newest)
        return noted

    def _shared(self) -> Iterator[Sequence[str]]:
        """The UIDs that several studies show, in portions: whoever copies studies has very many. Read from the index of
        what is current alone, from its beginning to its end.
        """
        several = select(instances.c.sop_uid).where(is_current(instances)).group_by(instances.c.sop_uid)
        several = several.having(func.count() > 1).order_by(instances.c.sop_uid).limit(_PORTION)
        portion: Sequence[str] = [""]
        while portion:
            with self._index.read_at_one_moment() as connection:  # of very many that takes longer than others may
                portion = connection.execute(several.where(instances.c.sop_uid > portion[-1])).scalars().all()
            yield portion

    def _shared_after(self, row: int) -> Iterator[Sequence[str]]:
        """The UIDs of objects behind that row that an object before it is shown under, too, in portions."""
        first = instances.alias()
        before = select(first.c.id).where(first.c.sop_uid == instances.c.sop_uid, first.c.id < instances.c.id)
        shown = is_current(instances), before.where(is_current(first)).exists()
        with self._index.read() as connection:
            found = select(instances.c.sop_uid).distinct().where(instances.c.id > row, *shown)
            shared = connection.execute(found).scalars().all()
        return (shared[start : start + _PORTION] for start in range(0, len(shared), _PORTION))

    def _note(self, sop_uids: Sequence[str], now: datetime) -> int:
        with self._index.read() as connection:
            found = _unflagged(connection, sop_uids) if sop_uids else ()
        if not found:
            return 0
        noted = self._index.insert(flags).on_conflict_do_nothing()
        with self._index.write() as connection:
            # Neither is removed meanwhile, nor flagged by who brings back what was deleted.
            names = sorted({f"study {uid}" for one in found for uid in (one.study_uid, one.other_uid)})
            connection.execute(KEEP_OTHERS_OUT, {"names": names})
            told = [
                {"study_row": study_row, "instance_row": 0, "kind": UID_OF_ANOTHER, "detail": one.other_uid}
                for study_row, others in groupby(_unflagged(connection, sop_uids), key=lambda one: one.study_row)
                for one in islice(others, MOST_NAMED_ELSEWHERE)
            ]
            if told:
                connection.execute(noted, [row | {"noted_at": now.isoformat()} for row in told])
        return len(told)


def flag_shown_again(connection: Connection, shown: Iterable[Any], again: Container[int], now: datetime) -> None:
    """Flag the studies that show an object `again`, by its row, under the UID of one that another study shows, unless
    that is flagged: it came while they did not. What is `shown` are objects with their studies.
    """
    of_uid: dict[str, list[Any]] = {}
    for row in shown:
        of_uid.setdefault(row.sop_uid, []).append(row)
    both = {
        (row.study_row, row.study_uid, other.study_row, other.study_uid)
        for same in of_uid.values()
        for row in same
        if row.id in again
        for other in same
        if other.study_row != row.study_row
    }
    for study_row, pairs in groupby(sorted(both), key=lambda pair: pair[0]):
        of_it = flags.c.kind == UID_OF_ANOTHER, flags.c.study_row == study_row
        named = connection.execute(select(func.count()).where(*of_it)).scalar_one()
        for _, study_uid, other_row, other_uid in pairs:
            if named >= MOST_NAMED_ELSEWHERE:
                break
            is_between = tuple_(flags.c.study_row, flags.c.detail).in_([(study_row, other_uid), (other_row, study_uid)])
            if connection.execute(select(flags.c.id).where(flags.c.kind == UID_OF_ANOTHER, is_between)).first() is None:
                told = {"study_row": study_row, "instance_row": 0, "kind": UID_OF_ANOTHER, "detail": other_uid}
                connection.execute(insert(flags).values(told | {"noted_at": now.isoformat()}))
                named += 1


def _unflagged(connection: Connection, sop_uids: Sequence[str]) -> Sequence[Any]:
    """The studies that show an object under one of these UIDs that another one showed before them, with those, where
    neither is flagged with the other; but not those that name as many as they may.

    Of thousands that have one UID all pairs would be millions: few are looked up for each that may name more.
    """
    noted = select(func.count()).where(flags.c.study_row == studies.c.id, flags.c.kind == UID_OF_ANOTHER)
    shown = (
        select(instances.c.id, instances.c.sop_uid, studies.c.id.label("study_row"), studies.c.study_uid)
        .join_from(instances, series)
        .join(studies)
        .where(instances.c.sop_uid.in_(sop_uids), is_current(instances))
        .where(noted.scalar_subquery() < MOST_NAMED_ELSEWHERE)
        .subquery()
    )
    first, its_series, other = instances.alias(), series.alias(), studies.alias()
    before = (
        select(other.c.study_uid.label("other_uid"))
        .join_from(first, its_series, first.c.series_row == its_series.c.id)
        .join(other, its_series.c.study_row == other.c.id)
        .where(first.c.sop_uid == shown.c.sop_uid, first.c.id < shown.c.id, is_current(first))
        .where(other.c.id != shown.c.study_row)
        .where(~_names(shown.c.study_row, other.c.study_uid), ~_names(other.c.id, shown.c.study_uid))
        .limit(MOST_NAMED_ELSEWHERE)
        .lateral()
    )
    found = select(shown.c.study_row, shown.c.study_uid, before.c.other_uid).distinct()
    return connection.execute(found.join_from(shown, before, true()).order_by("study_row", "other_uid")).all()


def _names(study_row: ColumnElement[int], other_uid: ColumnElement[str]) -> ColumnElement[bool]:
    """Whether a study is flagged with another one."""
    of_it = flags.c.study_row == study_row, flags.c.kind == UID_OF_ANOTHER, flags.c.detail == other_uid
    return select(flags.c.id).where(*of_it).correlate_except(flags).exists()
