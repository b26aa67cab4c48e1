"""Objects as rows: what is known of one before it is written, and its recording in groups."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from functools import cached_property
from typing import Any, Final

from sqlalchemy import CompoundSelect, Text, bindparam, cast, literal_column, null, select, union_all, update

from pacs_server.dicom.audit import Actor
from pacs_server.dicom.describe import Description
from pacs_server.dicom.operations import Fate
from pacs_server.errors import IndexConflict, IndexCutOff, IndexLocked, IndexUnavailable, IndexUnreachable
from pacs_server.index.engine import Index
from pacs_server.index.jobs import JobKind, entry, owing
from pacs_server.index.objects import Arrival, CopyRow, Known, Outcome, Recorded, StoredObject, held_before, received
from pacs_server.index.operations import Operations
from pacs_server.index.recording.group import record
from pacs_server.index.recording.statements import RecordingStatements
from pacs_server.index.site_tables import fates
from pacs_server.index.statements import HotStatement
from pacs_server.index.tables import copies, instances, series, studies

_MAX_GROUP: Final = 256
_ATTEMPTS: Final = 8
# Of one process at once, each with a connection: others are needed for what does not wait.
_MOST_APART: Final = 8
_APART_S: Final = 10.0
# In the place of an object's row, what else a row of `_known` tells.
_DAY: Final = -1
_FATE: Final = -2


class Instances:
    """Objects in the index. May be used from any thread."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._waiting: deque[_Slot] = deque()
        self._committing = threading.Lock()
        self._apart = threading.BoundedSemaphore(_MOST_APART)
        self.operations = Operations(index)
        self._find_known = HotStatement(index, _known())

    @cached_property
    def _statements(self) -> RecordingStatements:
        return RecordingStatements(self._index)  # in most processes nothing is recorded

    def known(self, sop_uid: str, study_uid: str) -> Known:
        """What a study holds under a SOP Instance UID, and on which day the study began.

        Raises: IndexUnavailable.
        """
        found: dict[int, StoredObject] = {}
        days: list[date] = []
        decided: dict[str, Fate] = {}
        for row_id, first, second, syntax, volume_id, path in self._find_known.rows(
            sop_uid=str(sop_uid), study_uid=study_uid
        ):
            if row_id == _DAY:
                days.append(date.fromisoformat(first))
            elif row_id == _FATE:
                decided[first] = Fate(second)
            else:
                held = found.get(row_id)
                places = held.copies if held else ()
                if volume_id is not None:
                    places += (CopyRow(volume_id=volume_id, path=path),)
                found[row_id] = StoredObject(
                    id=row_id, digest=first, role=second, transfer_syntax=syntax, copies=places
                )
        return Known(
            study_day=days[0] if days else None,
            objects=tuple(found[row_id] for row_id in sorted(found)),
            fates=decided,
        )

    def study_of(self, instance_id: int) -> str:
        """The Study Instance UID of an object. Raises: IndexUnavailable."""
        with self._index.read() as connection:
            named = select(studies.c.study_uid).join_from(instances, series).join(studies)
            return str(connection.execute(named.where(instances.c.id == instance_id)).scalar_one())

    def sender_of(self, sop_uid: str, digest_begin: str) -> str:
        """Who sent the object of this UID whose digest begins so; empty where it is not held.

        Raises: IndexUnavailable.
        """
        one = instances.c.sop_uid == sop_uid, instances.c.digest.startswith(digest_begin, autoescape=True)
        with self._index.read() as connection:
            return connection.execute(select(instances.c.sender).where(*one)).scalar() or ""

    def mark_missing(self, arrival: Arrival, copy: CopyRow, reason: str) -> None:
        """The file of a copy that was just recorded is not there. The series is owed a look: it may be back by then.

        Raises: IndexUnavailable.
        """
        described = arrival.description
        here = copies.c.volume_id == copy.volume_id, copies.c.path == copy.path
        owed = entry(JobKind.VERIFY, described.study_uid, described.series_uid, "", arrival.received_at)
        with self._index.write() as connection:
            connection.execute(update(copies).where(*here).values(damage=reason, verified_at=null()))
            connection.execute(owing(self._index), [owed])

    def note_held(self, actor: Actor, description: Description, now: datetime) -> None:
        """Have the audit trail tell of an object that was received although it is held already."""
        self._index.trail.note(held_before(actor, description, now))

    def record(self, arrival: Arrival) -> Recorded:
        """Record an object and its copies; returns when that is committed.

        Commits are grouped: the thread that comes to the lock first commits for all that wait behind it. Where somebody
        keeps rows of one of them locked, each goes on by itself, and the groups behind them do.

        Raises: IndexUnavailable when it could not be recorded, or it is not known whether it was.
        """
        slot = _Slot(arrival)
        self._waiting.append(slot)
        with self._committing:
            while not slot.done:
                self._commit([self._waiting.popleft() for _ in range(min(len(self._waiting), _MAX_GROUP))])
        self._commit_apart(slot)
        return slot.outcome()

    def record_in_order(self, arrivals: Sequence[Arrival]) -> list[Recorded]:
        """Record objects, the first of them first; returns when that is committed, for all of them at once.

        Raises: IndexUnavailable, like `record`; some of them may be recorded then.
        """
        slots = [_Slot(arrival) for arrival in arrivals]
        with self._committing:
            self._commit(slots)
        for place, slot in enumerate(slots):
            self._commit_apart(slot)
            if isinstance(slot.error, IndexLocked):  # the others would wait as long, one after the other
                _fail(slots[place:], slot.error)
                break
        return [slot.outcome() for slot in slots]

    def _commit(self, group: list[_Slot]) -> None:
        """Commit a group; if that fails, one by one, so that one object never fails another."""
        try:
            try:
                self._try_commit(group, is_waited_for=True)
            except IndexLocked as error:
                for slot in group:
                    slot.locked = error
            except IndexUnreachable:
                raise
            except IndexUnavailable:
                for slot in group:
                    self._commit_alone(slot, is_waited_for=True)
        except IndexUnreachable as error:
            _fail(group, error)
        finally:
            for slot in group:
                slot.done = True

    def _commit_apart(self, slot: _Slot) -> None:
        """Commit one whose group found something locked, while others go on; it may be another's rows that are."""
        if slot.locked is None:
            return
        if not self._apart.acquire(timeout=_APART_S):
            _fail([slot], slot.locked)
            return
        try:
            self._commit_alone(slot)
        except IndexUnreachable as error:
            _fail([slot], error)
        finally:
            self._apart.release()

    def _commit_alone(self, slot: _Slot, *, is_waited_for: bool = False) -> None:
        """Two processes may meet at a new object; the second finds the first's row when it tries again.

        Raises: IndexUnreachable: then the others would only wait in vain, too.
        """
        for _ in range(_ATTEMPTS):
            try:
                self._try_commit([slot], is_waited_for=is_waited_for)
            except IndexLocked as error:
                if not is_waited_for:
                    raise
                slot.error, slot.locked = None, error
                return
            except IndexUnreachable:
                raise
            except IndexUnavailable as error:
                slot.error = error
                if not isinstance(error, IndexConflict):
                    return
            else:
                slot.error = None
                return

    def _try_commit(self, group: list[_Slot], *, is_waited_for: bool) -> None:
        arrivals = [slot.arrival for slot in group]
        is_again = False
        try:
            recorded = self._recorded(arrivals, is_waited_for=is_waited_for)
        except IndexCutOff:
            is_again = True
            recorded = self._recorded(arrivals, is_waited_for=is_waited_for, is_again=True)
        beside = [
            one.description.sop_uid
            for one, outcome in zip(arrivals, recorded, strict=True)
            if is_again or outcome.outcome in (Outcome.VERSION, Outcome.ENCODING)
        ]
        if beside:  # which is rare
            self.operations.apply_choices(beside, arrivals[0].received_at)
        for slot, outcome in zip(group, recorded, strict=True):
            slot.recorded = outcome

    def _recorded(self, arrivals: Sequence[Arrival], *, is_waited_for: bool, is_again: bool = False) -> list[Recorded]:
        """Record in one transaction, perhaps once more: the connection of a former one had ended. Where all are held by
        then, that one was committed perhaps, though no standby may have it. This one's commit comes after it, so that
        where it is on a standby, that is; what it adds is as if they had been sent again.

        Raises: what is raised by `write_cursor` and `record`.
        """
        now = datetime.now(UTC)
        told = received(arrivals, now)
        with self._index.write_cursor(told, is_waited_for=is_waited_for) as cursor:
            recorded = record(self._statements, cursor, arrivals)
            if is_again and all(one.outcome is Outcome.DUPLICATE for one in recorded):
                told[:] = received([replace(one, is_held=True, readmission=None) for one in arrivals], now)
        return recorded


def _known() -> CompoundSelect[Any]:
    """One question for what three would answer: the objects of a study under a SOP Instance UID with their copies, the
    day of the study, and what was decided about them.
    """
    nothing = [cast(null(), Text)] * 4
    objects = (
        select(
            instances.c.id, instances.c.digest, instances.c.role, instances.c.transfer_syntax,
            copies.c.volume_id, copies.c.path,
        )
        .join_from(instances, series)
        .join(studies)
        .outerjoin(copies, copies.c.instance_row == instances.c.id)
        .where(instances.c.sop_uid == bindparam("sop_uid"), studies.c.study_uid == bindparam("study_uid"))
    )  # fmt: skip
    day = select(literal_column(str(_DAY)), studies.c.day, *nothing).where(
        studies.c.study_uid == bindparam("study_uid")
    )
    decided = select(literal_column(str(_FATE)), fates.c.digest, fates.c.fate, *nothing[1:])
    of_it = fates.c.sop_uid == bindparam("sop_uid"), fates.c.study_uid == bindparam("study_uid")
    return union_all(objects, day, decided.where(*of_it))


def _fail(group: Iterable[_Slot], error: IndexUnavailable) -> None:
    """Have those fail of which nothing is known yet, each with an error of its own thread."""
    for slot in group:
        if slot.recorded is None and slot.error is None:
            slot.error = type(error)(str(error))


class _Slot:
    """An arrival in the queue, and what became of it."""

    __slots__ = ("arrival", "done", "error", "locked", "recorded")

    def __init__(self, arrival: Arrival) -> None:
        self.arrival = arrival
        self.done = False
        self.error: IndexUnavailable | None = None
        self.locked: IndexLocked | None = None  # why it is committed apart from its group
        self.recorded: Recorded | None = None

    def outcome(self) -> Recorded:
        """What became of it. Raises: IndexUnavailable."""
        # Forgotten when it is raised: the frames that it came through hold this, and all that arrived.
        errors = [self.error] if self.error is not None else []
        self.error = self.locked = None
        if errors:
            raise errors.pop()
        if self.recorded is None:
            raise IndexUnavailable("the object was not recorded")
        return self.recorded
