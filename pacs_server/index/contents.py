"""What the site holds, in a form that two sites compare without telling each other everything.

Every object, in whichever role, is a number that follows from its digest. A study's `content_sum` is the sum of those
of its objects, kept in the transaction in which they come and go; the sums of all studies of a bucket are that of the
bucket. Sums do not depend on an order, and equal digest means equal object, so equal sums mean equal contents.

An object of which no copy is good any more counts as not held: the other site may have one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import blake3
from sqlalchemy import ColumnElement, Connection, Select, bindparam, func, select, update

from pacs_server.dicom.operations import Fate
from pacs_server.dicom.tiny_object import TRIAL_STUDY_UID
from pacs_server.index.engine import Index
from pacs_server.index.site_tables import fates
from pacs_server.index.tables import copies, flags, instances, is_current, series, studies

BUCKETS: Final = 4096
# 60 bits: two of them add up in the 64 signed bits of every database.
_DIGITS: Final = 15
MASK: Final = (1 << 4 * _DIGITS) - 1
_HALF: Final = 30
_PORTION: Final = 500
_DIGITS_OF_ROW: Final = 18


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """One content that is held, in whichever role, even in the trash."""

    series_uid: str
    sop_uid: str
    digest: str
    role: str
    received_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyContent:
    """What is held of a study, or of one of its series, and which (SOP Instance UID, digest) of it were destroyed."""

    held: tuple[Held, ...]
    purged: frozenset[tuple[str, str]]


def number_of(digest: str) -> int:
    """The number that an object adds to sums."""
    return int(digest[:_DIGITS], 16)


def bucket_of(study_uid: str) -> int:
    """The bucket of a study: each has about as many."""
    return int(blake3.blake3(study_uid.encode()).hexdigest()[:3], 16)


def added_sum(more: ColumnElement[int] | int) -> ColumnElement[int]:
    """The sum of a study to which that much comes."""
    return (studies.c.content_sum + more).op("&")(MASK)


def sum_of_study(connection: Connection, study_row: int) -> int:
    """The sum of a study, from the rows of its objects."""
    held = select(instances.c.digest).join_from(instances, series).where(series.c.study_row == study_row)
    return sum(map(number_of, connection.execute(held).scalars())) & MASK


def subtract(connection: Connection, gone: Iterable[tuple[int, str]]) -> None:
    """Take objects that are removed, by the row of their study and their digest, from the sums of those. Nothing
    else of a study is read: each portion of a large one that is purged would read all that is left.
    """
    less: dict[int, int] = {}
    for study_row, digest in gone:
        less[study_row] = less.get(study_row, 0) + number_of(digest)
    for study_row, number in sorted(less.items()):
        here = update(studies).where(studies.c.id == study_row)
        connection.execute(here.values(content_sum=added_sum(-(number & MASK))))


class Contents:
    """Answers what is held. May be used from any thread."""

    def __init__(self, index: Index) -> None:
        self._index = index

    def newest(self) -> str:
        """The object that was recorded last, as `has` takes it, or nothing. Raises: IndexUnavailable."""
        last = select(instances.c.id, instances.c.digest).order_by(instances.c.id.desc()).limit(1)
        with self._index.read() as connection:
            row = connection.execute(last).first()
        return f"{row.id} {row.digest}" if row else ""

    def has(self, newest: str) -> bool:
        """Whether an object that was the newest once is still recorded as it was. It is not where the index was set
        back to an older state, nor where the object was purged or the index made anew. Raises: IndexUnavailable.
        """
        row_id, _, digest = newest.partition(" ")
        if not row_id.isdecimal() or len(row_id) > _DIGITS_OF_ROW:
            return False
        with self._index.read() as connection:
            known = select(instances.c.id).where(instances.c.id == int(row_id), instances.c.digest == digest)
            return connection.execute(known).first() is not None

    def buckets(self) -> list[int]:
        """The sum of each bucket. Raises: IndexUnavailable."""
        low = func.sum(studies.c.content_sum.op("&")((1 << _HALF) - 1))
        high = func.sum(studies.c.content_sum.op(">>")(_HALF))
        sums = [0] * BUCKETS
        with self._index.read_at_one_moment() as connection:
            for bucket, lower, upper in connection.execute(
                select(studies.c.bucket, low, high).group_by(studies.c.bucket)
            ):
                sums[bucket] = (int(lower) + (int(upper) << _HALF)) & MASK
            for study_uid, less in _lacking(connection).items():
                bucket = bucket_of(study_uid)
                sums[bucket] = (sums[bucket] - less) & MASK
        return sums

    def studies(self, buckets: Collection[int], *, after: str = "", limit: int) -> list[tuple[str, int]]:
        """The studies of these buckets behind a Study Instance UID, and the sum of each. Raises: IndexUnavailable."""
        found = select(studies.c.study_uid, studies.c.content_sum)
        found = found.where(studies.c.bucket.in_(list(buckets)), studies.c.study_uid > after)
        with self._index.read_at_one_moment() as connection:
            less = _lacking(connection)
            rows = connection.execute(found.order_by(studies.c.study_uid).limit(limit)).all()
        return [(study_uid, (held - less.get(study_uid, 0)) & MASK) for study_uid, held in rows]

    def of(self, study_uid: str, series_uid: str = "") -> StudyContent:
        """What is held of a study, or of one series of it, by UIDs. Raises: IndexUnavailable."""
        held = (
            select(
                series.c.series_uid,
                *(instances.c[name] for name in ("sop_uid", "digest", "role", "received_at")),
            )
            .join_from(instances, series)
            .join(studies)
            .where(studies.c.study_uid == study_uid, ~_is_lacking())
            .order_by(instances.c.sop_uid, instances.c.digest)
        )
        if series_uid:
            held = held.where(series.c.series_uid == series_uid)
        gone = select(fates.c.sop_uid, fates.c.digest)
        gone = gone.where(fates.c.study_uid == study_uid, fates.c.fate == Fate.PURGED.value)
        with self._index.read_at_one_moment() as connection:
            return StudyContent(
                held=tuple(Held(**row) for row in connection.execute(held).mappings()),
                purged=frozenset((sop_uid, digest) for sop_uid, digest in connection.execute(gone)),
            )

    def series_with_versions(self) -> list[tuple[str, str]]:
        """The series, by the UIDs of study and series, that have a content beside another that is current.

        Raises: IndexUnavailable.
        """
        found = select(studies.c.study_uid, series.c.series_uid).join_from(series, studies).join(instances).distinct()
        with self._index.read() as connection:
            rows = connection.execute(found.where(instances.c.role == "version"))
            return [(study_uid, series_uid) for study_uid, series_uid in rows]

    def hidden(self) -> list[str]:
        """The SOP Instance UIDs of versions whose study shows no content under them. Only a node of a release that
        shows one content for each UID, whatever studies have it, leaves any. Raises: IndexUnavailable.
        """
        other, its_series = instances.alias(), series.alias()
        shown = select(other.c.id).join(its_series, its_series.c.id == other.c.series_row)
        shown = shown.where(other.c.sop_uid == instances.c.sop_uid, its_series.c.study_row == series.c.study_row)
        found = (
            select(instances.c.sop_uid)
            .distinct()
            .join_from(flags, instances, flags.c.instance_row == instances.c.id)
            .join(series)
            .where(flags.c.kind == "conflict-version", instances.c.role == "version")
            .where(~shown.where(is_current(other)).exists())
        )
        with self._index.read() as connection:
            return list(connection.execute(found).scalars())

    def recount(self) -> list[str]:
        """Count the sum of every study from the rows of its objects; the studies whose sum was another.

        Who stores meanwhile is not kept waiting: a study whose sum differs is counted again in a transaction.
        Raises: IndexUnavailable.
        """
        corrected: list[str] = []
        after = 0
        while rows := self._portion(after):
            after = rows[-1].id
            wrong = [row for row, counted in zip(rows, self._sums(rows), strict=True) if _told(row) != counted]
            if wrong:
                corrected += self._correct(wrong)
        return corrected

    def _portion(self, after: int) -> Sequence[Any]:
        columns = studies.c.id, studies.c.study_uid, studies.c.bucket, studies.c.content_sum
        with self._index.read() as connection:
            found = select(*columns).where(studies.c.id > after, studies.c.study_uid != TRIAL_STUDY_UID)
            return connection.execute(found.order_by(studies.c.id).limit(_PORTION)).all()

    def _sums(self, rows: Sequence[Any]) -> list[tuple[int, int]]:
        sums = {row.id: 0 for row in rows}
        held = select(series.c.study_row, instances.c.digest).join_from(series, instances)
        with self._index.read() as connection:
            for study_row, digest in connection.execute(held.where(series.c.study_row.in_(list(sums)))):
                sums[study_row] += number_of(digest)
        return [(bucket_of(row.study_uid), sums[row.id] & MASK) for row in rows]

    def _correct(self, rows: Iterable[Any]) -> list[str]:
        corrected: list[str] = []
        here = studies.c.id == bindparam("row")
        with self._index.write() as connection:
            for row in rows:
                now = connection.execute(
                    select(studies.c.bucket, studies.c.content_sum).where(studies.c.id == row.id).with_for_update()
                ).first()
                counted = bucket_of(row.study_uid), sum_of_study(connection, row.id)
                if now is not None and _told(now) != counted:
                    corrected.append(row.study_uid)
                    values = {"bucket": counted[0], "content_sum": counted[1]}
                    connection.execute(update(studies).where(here).values(values), {"row": row.id})
        return corrected


def _told(row: Any) -> tuple[int, int]:
    return row.bucket, row.content_sum


def _is_lacking() -> ColumnElement[bool]:
    """Whether there are copies of an object, and none of them is good."""
    of_it = select(copies.c.id).where(copies.c.instance_row == instances.c.id).correlate(instances)
    good, bad = of_it.where(copies.c.damage.is_(None)), of_it.where(copies.c.damage.is_not(None))
    return bad.exists() & ~good.exists()


def _lacking(connection: Connection) -> dict[str, int]:
    """What objects without a good copy add to the sums of their studies. They are few: found by their damage."""
    damaged = select(copies.c.instance_row).where(copies.c.damage.is_not(None))
    found: Select[Any] = (
        select(studies.c.study_uid, instances.c.digest)
        .join_from(instances, series)
        .join(studies)
        .where(instances.c.id.in_(damaged), _is_lacking())
    )
    less: dict[str, int] = {}
    for study_uid, digest in connection.execute(found):
        less[study_uid] = less.get(study_uid, 0) + number_of(digest)
    return less
