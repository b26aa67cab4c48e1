"""Has objects of one series come from an archive server, over an association with it, in one of two ways.

By C-GET they come on that association: the archive server needs no entry that leads back here, a command-line tool can
fetch beside the server, and what came is known without looking for it. So it is the first choice.

By C-MOVE, of an archive server that offers no C-GET, they come to the running server, on associations of their own, and
are stored as whatever else is. So what came is looked up, and not taken from what the archive server counts; of its
counts it is only believed that something may still be on its way, or was sent to somebody else.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeAlias

from pacs_server.dicom.attributes import Level
from pacs_server.dicom.queries.asking import failed_uids, identifier
from pacs_server.errors import AssociationBroken, NotAsGiven, ObjectMismatch, PacsError, PeerRejected
from pacs_server.index.queries.search import Deliverable
from pacs_server.net.asking import STUDY_ROOT_GET, STUDY_ROOT_MOVE, get, move
from pacs_server.net.association import Association, Context
from pacs_server.net.message import Command

# Source: PS3.4 sections B.2.3, C.4.2.1.5 and C.4.3.1.4.
_SUCCESS, _PROCESSING_FAILURE, _SOME_FAILED, _CANNOT_UNDERSTAND = 0x0000, 0x0110, 0xB000, 0xC000
_CANNOT_SEND, _NO_SUCH_DESTINATION = 0xA702, 0xA801
# Some answer a C-MOVE before they have sent everything, Orthanc where it is set to.
_LATE_S: Final = 30.0
_LOOK_EVERY_S: Final = 0.2

Take: TypeAlias = Callable[[Deliverable, Context, Iterator[memoryview]], None]


class Stopped(Exception):
    """Nobody waits any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """One object that was asked for; `problem` is why it did not come, empty when it did. One that `is_lost` the
    archive server has not, or not as it was given.
    """

    item: Deliverable
    problem: str = ""
    is_lost: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrivals:
    """What comes to the running server of this archive because it was asked for by C-MOVE.

    `expect` is told of objects before they are asked for; it raises Refused, with the remedy, when none could come.
    `came` tells, of these objects, those that have come, by SOP Instance UID: with an empty text, or with why what came
    is not what was asked for.
    """

    expect: Callable[[Sequence[Deliverable]], None]
    came: Callable[[Sequence[Deliverable]], Mapping[str, str]]


class Get:
    """One C-GET for some objects of one series. `outcomes` are those of the objects, as far as they are known."""

    def __init__(
        self, association: Association, items: Sequence[Deliverable], take: Take, is_stopped: Callable[[], bool]
    ) -> None:
        self._association = association
        self._items: Mapping[str, Deliverable] = {item.sop_uid: item for item in items}
        self._take = take
        self._is_stopped = is_stopped
        self.outcomes: dict[str, Fetched] = {}

    def run(self, context: Context, timeout_s: float) -> None:
        """Ask, and take what comes.

        Raises: Stopped; AssociationBroken.
        """
        asked = [one for one in self._items.values() if any(map(partial(_may_carry, one), self._contexts()))]
        for one in self._items.values():
            if one not in asked:
                what = f"{one.sop_class or 'it'} in {one.transfer_syntax or 'any transfer syntax'}"
                refusal = f"{self._association.called_aet} does not send {what}"
                self.outcomes[one.sop_uid] = Fetched(item=one, problem=refusal)
        if not asked:
            return
        final, identifier_bytes = get(
            self._association, context, _keys(asked, context), self._take_one, timeout_s=timeout_s
        )
        failed = failed_uids(identifier_bytes, context.transfer_syntax)
        for one in asked:
            self.outcomes.setdefault(one.sop_uid, _missing(one, self._association.called_aet, final, failed))

    def _contexts(self) -> list[Context]:
        services = STUDY_ROOT_GET, STUDY_ROOT_MOVE
        return [one for one in self._association.contexts.values() if one.abstract_syntax not in services]

    def _take_one(self, command: Command) -> int:
        if self._is_stopped():
            raise Stopped
        item = self._items.get(command.affected_sop_instance)
        if item is None:
            return _PROCESSING_FAILURE
        context = self._association.contexts[command.context_id]
        try:
            if not _may_carry(item, context):
                raise ObjectMismatch(f"{item.sop_uid} came in another transfer syntax, {context.transfer_syntax}")
            self._take(item, context, self._association.data_set())
        except AssociationBroken:
            raise
        except PacsError as error:
            is_lost = isinstance(error, NotAsGiven)
            self.outcomes[item.sop_uid] = Fetched(item=item, problem=str(error), is_lost=is_lost)
            return _CANNOT_UNDERSTAND if is_lost else _PROCESSING_FAILURE
        self.outcomes[item.sop_uid] = Fetched(item=item)
        return _SUCCESS


class Move:
    """C-MOVEs for some objects of one series to this archive itself. `outcomes` are those of the objects, as far as
    they are known.
    """

    def __init__(
        self, association: Association, items: Sequence[Deliverable], arrivals: Arrivals, is_stopped: Callable[[], bool]
    ) -> None:
        self._association = association
        self._items = items
        self._arrivals = arrivals
        self._is_stopped = is_stopped
        self.outcomes: dict[str, Fetched] = {}

    def run(self, context: Context, timeout_s: float) -> None:
        """Ask, and see what came; one by one where the archive server takes no list of UIDs.

        Raises: Stopped; Refused when nothing could come; PeerRejected when the archive server does not know where this
        one is; AssociationBroken.
        """
        self._arrivals.expect(self._items)
        final, failed = self._ask(self._items, context, timeout_s)
        if len(self._items) > 1 and not self.outcomes and _may_be_for_the_list(final):
            for one in self._items:
                self._settle([one], *self._ask([one], context, timeout_s))
        else:
            self._settle(self._items, final, failed)

    def _ask(self, items: Sequence[Deliverable], context: Context, timeout_s: float) -> tuple[Command, Collection[str]]:
        """One C-MOVE: its final response, and what that names as failed."""
        us, them = self._association.calling_aet, self._association.called_aet
        try:
            final, listed = move(
                self._association, context, _keys(items, context), us, meanwhile=self._look_whether_to_stop
            )
        finally:
            self._look(items)  # also when the association broke: what came, came
        if final.status == _NO_SUCH_DESTINATION:
            raise PeerRejected(
                f"{them} offers no C-GET and does not know {us} as the destination of a C-MOVE (status 0xA801): "
                f"register {us} there with the address of this server"
            )
        failed = failed_uids(listed, context.transfer_syntax)
        self._await_rest(items, final, failed, timeout_s)
        if final.completed and not any(one.sop_uid in self.outcomes for one in items):
            raise PeerRejected(
                f"{them} says that it sent {final.completed} objects to {us}, but none came here: look there whether "
                f"{us} is registered with the address of this server, and whether {us} is named as Move Originator"
            )
        return final, failed

    def _await_rest(
        self, items: Sequence[Deliverable], final: Command, failed: Collection[str], timeout_s: float
    ) -> None:
        """Wait for what was sent but has not come yet, as long as something does."""
        sent = len(items) - len(failed) if final.completed is None else final.completed
        if final.status not in (_SUCCESS, _SOME_FAILED):
            return
        came = self._look(items)
        ends_at = time.monotonic() + min(_LATE_S, timeout_s)
        while came < min(sent, len(items)) and time.monotonic() < ends_at:
            self._look_whether_to_stop()
            time.sleep(_LOOK_EVERY_S)
            if (now := self._look(items)) > came:
                came, ends_at = now, time.monotonic() + min(_LATE_S, timeout_s)

    def _look_whether_to_stop(self) -> None:
        if self._is_stopped():
            raise Stopped

    def _look(self, items: Sequence[Deliverable]) -> int:
        """See which objects have come; how many did."""
        came = self._arrivals.came(items)
        for one in items:
            if (problem := came.get(one.sop_uid)) is not None:
                self.outcomes[one.sop_uid] = Fetched(item=one, problem=problem, is_lost=bool(problem))
        return len(came)

    def _settle(self, items: Sequence[Deliverable], final: Command, failed: Collection[str]) -> None:
        """What became of those that did not come. An archive server that sent more than came, or does not say how much
        it sent, has not said that it does not have them.
        """
        them = self._association.called_aet
        came = sum(one.sop_uid in self.outcomes for one in items)
        for one in items:
            if final.status in (_SUCCESS, _SOME_FAILED) and (final.completed is None or final.completed > came):
                on_its_way = f"{them} told of no trouble with {one.sop_uid}, but it did not come"
                self.outcomes.setdefault(one.sop_uid, Fetched(item=one, problem=on_its_way))
            self.outcomes.setdefault(one.sop_uid, _missing(one, them, final, failed))


def _may_be_for_the_list(final: Command) -> bool:
    """Whether nothing may have been sent because several UIDs were asked for at once."""
    if final.status == _SUCCESS:
        return final.completed == 0
    return final.status not in (_SOME_FAILED, _CANNOT_SEND)


def _keys(items: Sequence[Deliverable], context: Context) -> bytes:
    """The unique keys of all levels: nobody has to offer relational retrieval."""
    keys = {
        "StudyInstanceUID": items[0].study_uid,
        "SeriesInstanceUID": items[0].series_uid,
        "SOPInstanceUID": "\\".join(one.sop_uid for one in items),
    }
    return identifier(Level.IMAGE, keys, context.transfer_syntax)


def _missing(one: Deliverable, aet: str, final: Command, failed: Collection[str]) -> Fetched:
    """What to tell of an object that did not come. An archive server that reports no trouble, or trouble with other
    objects alone, does not have this one.
    """
    if final.status == _SUCCESS or (final.status == _SOME_FAILED and failed and one.sop_uid not in failed):
        return Fetched(item=one, problem=f"{aet} does not have {one.sop_uid}", is_lost=True)
    told = f": {final.error_comment}" if final.error_comment else ""
    return Fetched(item=one, problem=f"{aet} did not send {one.sop_uid}: status 0x{final.status:04X}{told}")


def _may_carry(item: Deliverable, context: Context) -> bool:
    """Whether an object may come on a context."""
    is_class = item.sop_class in ("", context.abstract_syntax)
    return is_class and item.transfer_syntax in ("", context.transfer_syntax)
