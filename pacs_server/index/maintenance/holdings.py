"""What the index says about copies, for those who compare it with the files, and the exchange of its whole content."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

from sqlalchemy import Connection, bindparam, delete, func, select, update

from pacs_server.dicom.operations import Fate
from pacs_server.index.copies import GOOD
from pacs_server.index.deposits import is_deposited
from pacs_server.index.engine import Index
from pacs_server.index.maintenance.snapshot import continue_numbering, copy_rows
from pacs_server.index.operations import copy_decisions, enforce_all
from pacs_server.index.overtaken import SENT_AGAIN, noting_again
from pacs_server.index.releases import enter
from pacs_server.index.retiring import TRASH, owe_describing
from pacs_server.index.site_tables import choices, extra_fields, fates, operations, releases, volumes
from pacs_server.index.statements import Statement
from pacs_server.index.tables import BESIDE, CONTENT, copies, flags, instances, is_current, series, studies

_BATCH: Final = 1000
_NEWEST: Final = 2000
_damaged: Final = select(
    copies.c.volume_id.label("volume"), copies.c.path.label("place"), copies.c.damage.label("reason")
).where(~GOOD)
_mark_damaged: Final = (
    update(copies)
    .where(copies.c.volume_id == bindparam("volume"), copies.c.path == bindparam("place"))
    .values(damage=bindparam("reason"), verified_at=None)
)
_sent_again: Final = (
    select(*instances.c["sop_uid", "digest"], flags.c.noted_at.label("at"))
    .join_from(flags, instances, flags.c.instance_row == instances.c.id)
    .where(flags.c.kind == SENT_AGAIN)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedCopy:
    """A good copy on a volume, and the series that it belongs to."""

    path: str
    size_bytes: int
    study_uid: str
    series_uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldCopy:
    """A copy that the index says is there; `size_bytes` is that of the data set, less than that of the file."""

    instance_id: int
    path: str
    size_bytes: int


class Holdings:
    """The copies of all volumes, as rows. May be used from any thread."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._find, self._leaving = (
            Statement(
                index,
                select(table.c.id).where(table.c.volume_id == bindparam("volume"), table.c.path == bindparam("place")),
            )
            for table in (copies, releases)
        )

    def holds(self, volume_id: str, path: str) -> bool:
        """Whether a row says that this file is a copy. Raises: IndexUnavailable."""
        return bool(self._find.rows(volume=volume_id, place=path))

    def is_leaving(self, volume_id: str, path: str) -> bool:
        """Whether this file is a copy no more and is about to be removed. Raises: IndexUnavailable."""
        return bool(self._leaving.rows(volume=volume_id, place=path))

    def has_come_again(self, sop_uid: str, digest_begins: str) -> bool:
        """Whether an object that is not held here was received again after it was purged, as the volumes tell, and is
        perhaps in the trash by now: this index was set back to a state before that. Raises: IndexUnavailable.
        """
        known, held = (
            (table.c.sop_uid == sop_uid) & table.c.digest.startswith(digest_begins, autoescape=True)
            for table in (fates, instances)
        )
        again = select(fates.c.sop_uid).where(known, fates.c.fate != Fate.PURGED.value)
        with self._index.read() as connection:
            found = connection.execute(again.where(~select(instances.c.id).where(held).exists()).limit(1))
            return found.first() is not None

    def copies_on(self, volume_id: str, *, since: date | None) -> Iterator[HeldCopy]:
        """The copies of a volume, of studies that began on `since` or later, in the order in which they were recorded.

        Raises: IndexUnavailable.
        """
        wanted = (
            select(copies.c.id, copies.c.instance_row, copies.c.path, instances.c.size_bytes)
            .join_from(copies, instances)
            .join(series)
            .join(studies)
            .where(copies.c.volume_id == volume_id, studies.c.day >= (since or date.min).isoformat())
            .order_by(copies.c.id)
            .limit(_BATCH)
        )
        last = 0
        while True:
            with self._index.read() as connection:
                rows = connection.execute(wanted.where(copies.c.id > last)).all()
            for row in rows:
                yield HeldCopy(instance_id=row.instance_row, path=row.path, size_bytes=row.size_bytes)
            if len(rows) < _BATCH:
                return
            last = rows[-1].id

    def newest_day(self) -> date | None:
        """The day on which the newest study began to arrive. Raises: IndexUnavailable."""
        with self._index.read() as connection:
            day = connection.execute(select(func.max(studies.c.day))).scalar()
        return date.fromisoformat(day) if day else None

    def received_below(self, volume_id: str, folder: str) -> dict[str, datetime]:
        """When the objects in a folder of a volume were received, by the paths of their copies there.

        Raises: IndexUnavailable.
        """
        wanted = (
            select(copies.c.path, instances.c.received_at)
            .join_from(copies, instances)
            .where(copies.c.volume_id == volume_id, copies.c.path > f"{folder}/", copies.c.path < f"{folder}0")
        )
        with self._index.read() as connection:
            return {row.path: datetime.fromisoformat(row.received_at) for row in connection.execute(wanted)}

    def shown_when(self, study_uid: str, sop_uid: str, at: datetime) -> int | None:
        """The row of what a study showed at that moment of what it has under a SOP Instance UID. In an index that is
        made anew what came back from the trash beside another is there before that one, and what a person chose is
        current before it was chosen. Raises: IndexUnavailable.
        """
        choice = (operations.c.counter == choices.c.counter) & (operations.c.site_id == choices.c.site_id)
        of_it = studies.c.study_uid == study_uid, instances.c.sop_uid == sop_uid, instances.c.role != TRASH
        held = (
            select(*instances.c["id", "digest", "role"], fates.c.role.label("fate_role"))
            .add_columns(choices.c.digest.label("chosen"), operations.c.at.label("chosen_at"))
            .join_from(instances, series)
            .join(studies)
            .outerjoin(fates, (fates.c.sop_uid == instances.c.sop_uid) & (fates.c.digest == instances.c.digest))
            .outerjoin(
                choices, (choices.c.study_uid == studies.c.study_uid) & (choices.c.sop_uid == instances.c.sop_uid)
            )
            .outerjoin(operations, choice)
            .where(*of_it)
            .order_by(instances.c.id)
        )
        with self._index.read() as connection:
            rows = connection.execute(held).all()
        chosen = (one for one in rows if one.digest == one.chosen and datetime.fromisoformat(one.chosen_at) <= at)
        shown = next(chosen, None) or min(rows, key=_shown_last, default=None)
        return None if shown is None else int(shown.id)

    def newest_first(self, volume_id: str) -> Iterator[list[RecordedCopy]]:
        """The good copies of a volume in portions, those first that were recorded last. Raises: IndexUnavailable."""
        # By the rows of all volumes: named as it is, SQLite would look for all copies of this one, and sort them.
        here = copies.c.volume_id.concat("") == volume_id
        wanted = (
            select(copies.c.path, instances.c.size_bytes, studies.c.study_uid, series.c.series_uid)
            .join_from(copies, instances)
            .join(series)
            .join(studies)
            .where(here, GOOD)
            .order_by(copies.c.id.desc())
        )
        with self._index.read() as connection:
            last: int = connection.execute(select(func.coalesce(func.max(copies.c.id), 0))).scalar_one()
        for row in range(last, 0, -_NEWEST):
            with self._index.read() as connection:
                found = connection.execute(wanted.where(copies.c.id.between(row - _NEWEST + 1, row))).mappings()
                portion = [RecordedCopy(**one) for one in found]
            if portion:
                yield portion

    def forget_spare(self, held: HeldCopy, volume_id: str) -> bool:
        """Remove the row of one copy, if another one of its object is not known to be damaged or an archive server
        keeps it; whether it was. Of several who remove rows of an object at the same moment, one leaves the last.

        Raises: IndexUnavailable.
        """
        every = (
            select(copies.c.id, copies.c.volume_id, copies.c.path, copies.c.damage)
            .where(copies.c.instance_row == held.instance_id)
            .order_by(copies.c.id)
            .with_for_update()
        )
        kept_elsewhere = select(is_deposited()).where(instances.c.id == held.instance_id)
        with self._index.write() as connection:
            rows = connection.execute(every).all()
            ours = [row.id for row in rows if (row.volume_id, row.path) == (volume_id, held.path)]
            is_beside = any(row.damage is None for row in rows if row.id not in ours)
            if not ours or not (is_beside or connection.execute(kept_elsewhere).scalar()):
                return False
            connection.execute(delete(copies).where(copies.c.id.in_(ours)))
            return True

    def release(self, volume_id: str, path: str, now: datetime) -> None:
        """Owe the removal of a file that is no copy. Raises: IndexUnavailable."""
        with self._index.write() as connection:
            enter(connection, self._index, [(volume_id, path)], reason="of a purged object", due_at=now)


def copies_unknown_to(beside: Index, index: Index) -> Iterator[tuple[str, str]]:
    """The copies, by volume and path, that `index` has and `beside` has not, while others write. Raises:
    IndexUnavailable.
    """
    last = 0
    while True:
        with index.read() as connection:
            rows = _next_places(connection, last)
        if not rows:
            return
        yield from _unknown(rows, beside)
        last = rows[-1].id


def _next_places(connection: Connection, last: int) -> Sequence[Any]:
    """The next thousand of all copies, in order of their rows, so that nobody has ten million in memory."""
    places = select(copies.c.id, copies.c.volume_id, copies.c.path).where(copies.c.id > last)
    return connection.execute(places.order_by(copies.c.id).limit(_BATCH)).all()


def _unknown(rows: Sequence[Any], beside: Index) -> Iterator[tuple[str, str]]:
    known = Holdings(beside)
    return ((row.volume_id, row.path) for row in rows if not known.holds(row.volume_id, row.path))


def replace_content(index: Index, beside: Index, catch_up: Callable[[str, str], None], now: datetime) -> None:
    """Make the content of `index` that of `beside`, in one transaction. What the site decided stays, and what was
    decided about objects takes effect on the new content; `beside` knows of it by then.

    `catch_up` is told the volume and path of each copy that `index` has and `beside` has not, while nobody can write,
    so that nothing that arrived meanwhile is left out.

    Raises: IndexUnavailable; nothing is changed then.
    """
    with index.write_alone() as connection:
        copy_decisions(index, beside)  # what was purged and came again since has to be let in
        last = 0
        while rows := _next_places(connection, last):
            for volume_id, path in _unknown(rows, beside):
                catch_up(volume_id, path)
            last = rows[-1].id
        damaged = connection.execute(_damaged).all()
        sent_again = connection.execute(_sent_again).all()
        for table in reversed(CONTENT):
            connection.execute(delete(table))
        with beside.read() as source:
            for table in CONTENT:
                copy_rows(source, connection, table)
            # What has left the site since its files were read, perhaps by an earlier attempt, has no copies any more.
            connection.execute(delete(copies).where(copies.c.volume_id.not_in(select(volumes.c.id))))
            read = [row.id for row in source.execute(select(extra_fields.c.id))]
        # A file may have been read before it was found to be damaged; one that is whole by now is found to be so.
        if damaged:
            connection.execute(_mark_damaged, [one._asdict() for one in damaged])
        # No file tells it, and a partner may be about to tell that it was deleted before.
        if sent_again:
            same = instances.c.sop_uid == bindparam("sop_uid"), instances.c.digest == bindparam("digest")
            connection.execute(noting_again(index, *same), [one._asdict() for one in sent_again])
        # A field that was added meanwhile has its values still to come.
        connection.execute(
            update(extra_fields).where(extra_fields.c.id.not_in(read)).values(stage="reading", read_to=0)
        )
        continue_numbering(connection, CONTENT)
        enforce_all(connection, index, now)
        # The first of a study to be entered may be one that is not found.
        others = select(instances.c.id).join_from(instances, series).where(~is_current(instances))
        owe_describing(connection, index, others.where(series.c.study_row == studies.c.id).exists(), now)


def _shown_last(one: Any) -> tuple[bool, bool]:
    """Greater for what is shown only where there is nothing else: what came back beside another, then what is not
    current. Where somebody chose later, the oldest is shown: what was chosen may be current here already.
    """
    return one.fate_role in BESIDE, one.chosen is None and one.role != "current"
