"""Operations as rows, and what follows from them. An operation and its effect are one transaction."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, bindparam, delete, func, insert, select

from pacs_server.dicom.audit import Event, EventKind, digest_over
from pacs_server.dicom.deposits import Deposit
from pacs_server.dicom.operations import (
    Content,
    Fate,
    Operation,
    OperationKind,
    StudyFate,
    fate_after,
    from_text,
    to_text,
)
from pacs_server.index.audit import with_patients
from pacs_server.index.engine import Index
from pacs_server.index.fates import as_brought_back, as_it_ended, in_effect, note_fate, stamp_of
from pacs_server.index.jobs import JobKind, entry, owing
from pacs_server.index.overtaken import overtaken, together
from pacs_server.index.retiring import enforce, keep_others_out
from pacs_server.index.site_entries import forget, put, value_of, writing_in_turn
from pacs_server.index.site_tables import choices, deposits, fates, holds, operations, partners, site
from pacs_server.index.stamped import StampedLog
from pacs_server.index.statements import HotStatement, clean
from pacs_server.index.tables import instances, series, studies

SITE_ID: Final = "site id"
_COUNTER: Final = "operation counter"
# What is kept of a deletion from its draft until it takes effect: its file may be on a volume already.
_BEGUN: Final = "deletion begun "
_BATCH: Final = 1000
_NUMBERS: Final = "operations"
_RECEIVED: Final = "received here after it was deleted, before that was known here"
_BROUGHT_BACK: Final = "put on hold or restored while it was purged"


class Operations:
    """The operations of the site. May be used from any thread.

    The first that is decided leaves out `leap` numbers, other ones in each process: so a site that was set back to an
    older state, by a snapshot of its machine perhaps, gives no number again that its partners know already.
    """

    def __init__(self, index: Index) -> None:
        self._index = index
        self.leap = 0
        self.log = StampedLog(index, operations)
        self._insert = index.insert(operations).on_conflict_do_nothing()
        self._fates = HotStatement(
            index, select(*fates.c["digest", "fate", "study_uid"]).where(fates.c.sop_uid == bindparam("sop_uid"))
        )
        is_begun = func.substr(site.c.name, 1, len(_BEGUN)) == _BEGUN, site.c.value == bindparam("study_uid")
        self._begun = HotStatement(index, select(site.c.name).where(*is_begun))

    def draft(
        self,
        kind: OperationKind,
        study_uid: str,
        objects: Iterable[Content] = (),
        *,
        now: datetime,
        who: str,
        reason: str,
        deposit: Deposit | None = None,
        after: int = 0,
    ) -> Operation:
        """An operation that comes after all that are known, and after the counter `after`; it has no effect until it
        was recorded.

        Raises: IndexUnavailable.
        """
        with writing_in_turn(self._index, _NUMBERS) as connection:  # each is given once
            site_id = site_id_of(connection)
            greatest = connection.execute(select(func.max(operations.c.counter))).scalar() or 0
            leap, self.leap = self.leap, 0
            counter = max(greatest, int(value_of(connection, _COUNTER) or 0), after) + 1 + leap
            put(connection, _COUNTER, str(counter))
            if kind is OperationKind.DELETE:
                put(connection, _begun(counter, site_id), clean(study_uid))
        return Operation(
            counter=counter,
            site_id=site_id,
            kind=kind,
            study_uid=clean(study_uid),
            objects=tuple(objects),
            at=now,
            who=clean(who),
            reason=clean(reason),
            deposit=deposit,
        )

    def site_id(self) -> str:
        """The id of this site, which is given once. Raises: IndexUnavailable."""
        with self._index.read() as connection:
            known = value_of(connection, SITE_ID)
        if known is not None:
            return known
        with writing_in_turn(self._index, _NUMBERS) as connection:
            return site_id_of(connection)

    def record(self, operation: Operation, *, missed: Sequence[str], now: datetime) -> Operation:
        """Let an operation take effect whose file is flushed; it is answered with those objects alone that are deleted,
        restored or purged then. The volumes that have no file of it are owed one.

        Nothing happens when it was recorded before. Raises: IndexUnavailable.
        """
        _, (done,) = self._recorded([operation], missed, now)
        return done

    def take_over(
        self, told: Iterable[Operation], keep: Callable[[Operation], Sequence[str]], *, now: datetime
    ) -> list[Operation]:
        """The same for operations that take effect later than others that were decided after them, perhaps: another
        site tells them, a volume has their files, or they destroy something. What one deletes, and was acknowledged
        here to who sent it after that, is held again, and never out of sight; and so is what one purges, and was
        brought back from the trash at the same time. `keep` writes the file of an operation, and answers the ids of the
        volumes that do not have it.

        Raises: IndexUnavailable; what `keep` raises.
        """
        return [done for part in together(told) for done in self._take_over(part, keep, now)]

    def _take_over(
        self, part: Sequence[Operation], keep: Callable[[Operation], Sequence[str]], now: datetime
    ) -> list[Operation]:
        missed = sorted({volume_id for one in part for volume_id in keep(one)})
        while True:
            stays, done = self._recorded(part, missed, now, unless_overtaken=True)
            if not stays:
                return done
            is_deleted = part[-1].kind is OperationKind.DELETE
            again = self.draft(
                OperationKind.READMIT,
                part[-1].study_uid,
                stays,
                now=now,
                who="server",
                reason=_RECEIVED if is_deleted else _BROUGHT_BACK,
                after=part[-1].counter,
            )
            self.record(again, missed=keep(again), now=now)

    def _recorded(
        self, part: Sequence[Operation], missed: Sequence[str], now: datetime, *, unless_overtaken: bool = False
    ) -> tuple[list[Content], list[Operation]]:
        """What each of these operations on one study did; nothing where some objects stay first, which are answered."""
        told: list[Event] = []
        study_uid = part[-1].study_uid
        before = self.of_study(study_uid)
        with self._index.write(told) as connection:
            keep_others_out(connection, self._index, study_uid)
            fate = _fate_with(connection, part, before)
            if unless_overtaken and (stays := overtaken(connection, part, fate)):
                return stays, []
            events, done = self._take_effect(connection, part, fate, now)
            told += events
            self._owe(connection, missed, now)
        return [], done

    def _owe(self, connection: Connection, missed: Sequence[str], now: datetime) -> None:
        owed = [entry(JobKind.OPERATIONS, "", "", volume_id, now) for volume_id in missed]
        if owed:
            connection.execute(owing(self._index), owed)

    def _take_effect(
        self, connection: Connection, part: Sequence[Operation], fate: StudyFate, now: datetime
    ) -> tuple[list[Event], list[Operation]]:
        """What is told of operations on one study, of which `fate` holds then, and what each did."""
        done = [in_effect(one, fate) for one in part]
        new = [one for one in part if connection.execute(self._insert.values(operation_row(one))).rowcount]
        if not new:
            return [], done
        for one in new:
            forget(connection, _begun(*one.stamp))
        told = with_patients(connection, [_event(one, now) for one in new])  # after a purge the study may be gone
        # Also what was decided before and is not any more: a hold became known that came before a deletion.
        touched = note_fate(connection, new[0].study_uid, fate)
        touched = touched.union(content.sop_uid for one in new for content in one.objects)
        # Partners may have got them in another order, and show another one now.
        looked_at = enforce(connection, self._index, sorted(touched), now, study_uid=new[0].study_uid)
        for one in new:
            if one.kind is OperationKind.PURGE:
                looked_at |= self._spared(connection, one, fate)
        self._owe_partners(connection, looked_at, now)
        return [as_it_ended(event, one, in_effect(one, fate)) for event, one in zip(told, new, strict=True)], done

    def _spared(self, connection: Connection, operation: Operation, fate: StudyFate) -> set[tuple[str, str]]:
        """The series of what is held here although it was purged: partners may have destroyed it before they knew
        better.
        """
        named = {(one.sop_uid, one.digest) for one in operation.objects}
        spared = {name for name in named if fate.objects.get(name, (Fate.KEPT,))[0] is not Fate.PURGED}
        if not spared:
            return set()
        of_study = select(series.c.series_uid, instances.c.sop_uid, instances.c.digest).join_from(series, instances)
        rows = connection.execute(of_study.join(studies).where(studies.c.study_uid == operation.study_uid))
        return {(operation.study_uid, series_uid) for series_uid, *name in rows if tuple(name) in spared}

    def _owe_partners(self, connection: Connection, of_series: set[tuple[str, str]], now: datetime) -> None:
        if not of_series:
            return
        names = connection.execute(select(partners.c.name).where(partners.c.aet != "")).scalars().all()
        owed = [entry(JobKind.REPLICATE, *one, name, now) for one in sorted(of_series) for name in names]
        if owed:
            connection.execute(owing(self._index), owed)

    def apply_choices(self, sop_uids: Sequence[str], now: datetime) -> None:
        """Let what was chosen under these SOP Instance UIDs be current, which came here only now.

        Raises: IndexUnavailable.
        """
        with self._index.read() as connection:
            chosen = select(choices.c.sop_uid).where(choices.c.sop_uid.in_(sop_uids))
            decided = connection.execute(chosen).scalars().all()
        if decided:
            with self._index.write() as connection:
                enforce(connection, self._index, decided, now)

    def show(self, sop_uids: Sequence[str], now: datetime) -> None:
        """Let every study show a content under these SOP Instance UIDs. Raises: IndexUnavailable."""
        with self._index.write() as connection:
            self._owe_partners(connection, enforce(connection, self._index, sop_uids, now), now)

    def fates(self, sop_uid: str, *, study_uid: str = "") -> dict[str, Fate]:
        """What was decided about the contents under a SOP Instance UID, those of one study or all, by digest.

        Raises: IndexUnavailable.
        """
        decided = self._fates.rows(sop_uid=str(sop_uid))
        return {digest: Fate(fate) for digest, fate, of_study in decided if study_uid in ("", of_study)}

    def is_being_deleted(self, study_uid: str) -> bool:
        """Whether something of a study is about to be deleted, or would have been by who was killed meanwhile: then the
        volumes may know of a deletion that takes effect with the next command. Raises: IndexUnavailable.
        """
        return bool(self._begun.rows(study_uid=clean(study_uid)))

    def trashed(self, study_uid: str) -> list[Content]:
        """The objects of a study that are in the trash, or would be if they were here. Raises: IndexUnavailable."""
        columns = fates.c.sop_uid, fates.c.digest, fates.c.role
        of_it = fates.c.study_uid == clean(study_uid), fates.c.fate == Fate.TRASHED.value
        with self._index.read() as connection:
            rows = connection.execute(select(*columns).where(*of_it).order_by(fates.c.sop_uid, fates.c.digest))
            return [Content(**row) for row in rows.mappings()]

    def as_brought_back(self, study_uid: str, contents: Iterable[Content]) -> list[Content]:
        """These contents of the trash with what they will be when they come back (index/fates.py).

        Raises: IndexUnavailable.
        """
        with self._index.read() as connection:
            return as_brought_back(connection, clean(study_uid), list(contents))

    def is_purged(self, sop_uid: str, digest_begins: str) -> bool:
        """Whether an object was purged and did not come again. Raises: IndexUnavailable."""
        decided = self.fates(sop_uid).items()
        return any(fate is Fate.PURGED and digest.startswith(digest_begins) for digest, fate in decided)

    def stamps(self) -> set[tuple[int, str]]:
        """The counter and site of every operation that is known. Raises: IndexUnavailable."""
        with self._index.read() as connection:
            rows = connection.execute(select(operations.c.counter, operations.c.site_id))
            return {(counter, site_id) for counter, site_id in rows}

    def one(self, stamp: tuple[int, str]) -> Operation:
        """A known operation. Raises: IndexUnavailable."""
        with self._index.read() as connection:
            return _read(connection, stamp)

    def of_study(self, study_uid: str) -> list[Operation]:
        """What was decided about a study, first to last. Raises: IndexUnavailable."""
        with self._index.read() as connection:
            known = select(operations.c.content).where(operations.c.study_uid == clean(study_uid))
            found = [from_text(text) for text in connection.execute(known).scalars()]
        return sorted(found, key=lambda operation: operation.stamp)


def copy_decisions(index: Index, beside: Index) -> None:
    """Make what was decided about objects known to an index that is made beside. Raises: IndexUnavailable."""
    with index.read() as source, beside.write() as target:
        for table in (operations, fates, holds, choices, deposits):
            target.execute(delete(table))
            found = source.execution_options(yield_per=_BATCH).execute(select(*table.c))
            for rows in found.mappings().partitions():
                target.execute(insert(table), [dict(row) for row in rows])


def enforce_all(connection: Connection, index: Index, now: datetime) -> None:
    """Make all rows what the operations say, in the transaction in which the rows became others."""
    decided = connection.execute(select(fates.c.sop_uid).union(select(choices.c.sop_uid))).scalars().all()
    enforce(connection, index, decided, now)


def _fate_with(connection: Connection, part: Iterable[Operation], before: Iterable[Operation]) -> StudyFate:
    """What holds of a study with operations that are about to take effect. `before` are those that are known of it,
    read before others had to wait: to read one of many objects takes long.
    """
    known = {one.stamp: one for one in (*before, *part)}
    (study_uid,) = {one.study_uid for one in part}
    stamps = select(operations.c.counter, operations.c.site_id).where(operations.c.study_uid == study_uid)
    decided = {*(one.stamp for one in part), *(tuple(row) for row in connection.execute(stamps))}
    return fate_after(known.get(stamp) or _read(connection, stamp) for stamp in decided)


def _read(connection: Connection, stamp: tuple[int, str]) -> Operation:
    here = operations.c.counter == stamp[0], operations.c.site_id == stamp[1]
    return from_text(connection.execute(select(operations.c.content).where(*here)).scalar_one())


def _begun(counter: int, site_id: str) -> str:
    return f"{_BEGUN}{counter} {site_id}"


def _event(operation: Operation, now: datetime) -> Event:
    return Event(
        kind=EventKind(operation.kind.value),
        at=now,
        who=operation.who,
        study_uid=operation.study_uid,
        count=len(operation.objects),
        uid_digest=digest_over(content.sop_uid for content in operation.objects),
        detail=operation.reason,
    )


def operation_row(operation: Operation) -> dict[str, Any]:
    """The row of an operation."""
    told = {"kind": operation.kind.value, "study_uid": operation.study_uid, "at": operation.at.isoformat()}
    return told | {
        "who": operation.who,
        "reason": operation.reason,
        "content": to_text(operation),
        **stamp_of(operation),
    }


def site_id_of(connection: Connection) -> str:
    """The id of this site, which it gets now if it has none, in the transaction of this connection."""
    if (known := value_of(connection, SITE_ID)) is None:
        put(connection, SITE_ID, known := uuid.uuid4().hex)
    return known
