"""Has objects come from an archive server that keeps them: by C-GET, each in the transfer syntax that it was sent in.

C-GET and not C-MOVE: the objects come on the association that asks for them, so the archive server needs no entry that
leads back here, a command-line tool can fetch beside the server, and what came is known without looking for it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby, islice
from typing import Final, TypeAlias

from pacs_server.dicom.asking import MAX_UIDS, failed_uids, identifier
from pacs_server.dicom.attributes import Level
from pacs_server.dicom.elements import EXPLICIT_LE, IMPLICIT_LE
from pacs_server.errors import ObjectMismatch, PacsError, PeerAborted, PeerTimedOut, ProtocolViolation
from pacs_server.index.search import Deliverable
from pacs_server.net.asking import STUDY_ROOT_GET, context_of, get
from pacs_server.net.association import Association, Context
from pacs_server.net.client import MAX_CONTEXTS, Destination, connect
from pacs_server.net.message import Command
from pacs_server.net.negotiate import COMMON_STORAGE
from pacs_server.settings import NetworkLimits

_SYNTAXES: Final = (EXPLICIT_LE, IMPLICIT_LE)
# Source: PS3.4 sections B.2.3 and C.4.3.1.4.
_SUCCESS, _PROCESSING_FAILURE, _SOME_FAILED, _CANNOT_UNDERSTAND = 0x0000, 0x0110, 0xB000, 0xC000
_MOST_CONTEXTS: Final = MAX_CONTEXTS - 1
# Beside the two uncompressed ones: big endian, deflated, RLE, JPEG, JPEG-LS, JPEG 2000, HTJ2K and video.
_IN_USE: Final = (
    "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.5",
    *(f"1.2.840.10008.1.2.4.{n}" for n in (50, 51, 57, 70, 80, 81, 90, 91, 201, 202, 203, 100, 102, 103)),
)  # fmt: skip
_BROKEN: Final = (PeerAborted, PeerTimedOut, ProtocolViolation)


Take: TypeAlias = Callable[[Deliverable, Context, Iterator[memoryview]], None]


class NotAsGiven(PacsError):
    """An archive server gave back another content than it was given."""


Proposal: TypeAlias = tuple[str, Sequence[str], bool]


class _Stopped(Exception):
    """Nobody waits any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """One object that was asked for; `problem` is why it did not come, empty when it did. One that `is_lost` the
    archive server has not, or not as it was given.
    """

    item: Deliverable
    problem: str = ""
    is_lost: bool = False


def fetch(
    source: Destination,
    wanted: Sequence[Deliverable],
    take: Take,
    *,
    calling_aet: str,
    limits: NetworkLimits,
    is_stopped: Callable[[], bool],
) -> Iterator[Fetched]:
    """Ask for objects, some of one series at a time; what became of each. Ends early when it is stopped.

    `take` gets the data set of each as it comes, with its presentation context, and raises a PacsError for one that is
    not to be taken, NotAsGiven for one with another content. One whose transfer syntax or SOP class is not known, and
    empty, may come in any of those that are in use.

    Raises: PeerUnreachable, PeerRejected, PeerAborted, PeerTimedOut or ProtocolViolation when the association broke or
    was not to be had; what became of objects before was told.
    """
    for contexts, items in _by_contexts(wanted):
        proposed = [(STUDY_ROOT_GET, _SYNTAXES, False), *contexts]
        association = connect(source, calling_aet=calling_aet, contexts=proposed, limits=limits)
        try:
            for portion in _portions(items):
                retrieve = _Retrieve(association, portion, take, is_stopped)
                try:
                    retrieve.run(limits.response_timeout_s)
                except _Stopped:
                    return
                finally:
                    yield from retrieve.outcomes.values()
            association.release()
        finally:
            association.close()


class _Retrieve:
    """One C-GET for some objects of one series."""

    def __init__(
        self,
        association: Association,
        items: Sequence[Deliverable],
        take: Take,
        is_stopped: Callable[[], bool],
    ) -> None:
        self._association = association
        self._items: Mapping[str, Deliverable] = {item.sop_uid: item for item in items}
        self._take = take
        self._is_stopped = is_stopped
        self.outcomes: dict[str, Fetched] = {}

    def run(self, timeout_s: float) -> None:
        """Ask, and take what comes."""
        first = next(iter(self._items.values()))
        context = context_of(self._association, STUDY_ROOT_GET, "C-GET")
        asked = [one for one in self._items.values() if any(map(partial(_may_carry, one), self._contexts()))]
        for one in self._items.values():
            if one not in asked:
                what = f"{one.sop_class or 'it'} in {one.transfer_syntax or 'any transfer syntax'}"
                refusal = f"{self._association.called_aet} does not send {what}"
                self.outcomes[one.sop_uid] = Fetched(item=one, problem=refusal)
        if not asked:
            return
        keys = {
            "StudyInstanceUID": first.study_uid,
            "SeriesInstanceUID": first.series_uid,
            "SOPInstanceUID": "\\".join(one.sop_uid for one in asked),
        }
        final, identifier_bytes = get(
            self._association,
            context,
            identifier(Level.IMAGE, keys, context.transfer_syntax),
            self._take_one,
            timeout_s=timeout_s,
        )
        failed = failed_uids(identifier_bytes, context.transfer_syntax)
        for one in asked:
            self.outcomes.setdefault(one.sop_uid, self._missing(one, final, failed))

    def _contexts(self) -> list[Context]:
        return [one for one in self._association.contexts.values() if one.abstract_syntax != STUDY_ROOT_GET]

    def _take_one(self, command: Command) -> int:
        if self._is_stopped():
            raise _Stopped
        item = self._items.get(command.affected_sop_instance)
        if item is None:
            return _PROCESSING_FAILURE
        context = self._association.contexts[command.context_id]
        try:
            if not _may_carry(item, context):
                raise ObjectMismatch(f"{item.sop_uid} came in another transfer syntax, {context.transfer_syntax}")
            self._take(item, context, self._association.data_set())
        except _BROKEN:
            raise
        except PacsError as error:
            is_lost = isinstance(error, NotAsGiven)
            self.outcomes[item.sop_uid] = Fetched(item=item, problem=str(error), is_lost=is_lost)
            return _CANNOT_UNDERSTAND if is_lost else _PROCESSING_FAILURE
        self.outcomes[item.sop_uid] = Fetched(item=item)
        return _SUCCESS

    def _missing(self, one: Deliverable, final: Command, failed: Collection[str]) -> Fetched:
        """Of what did not come: an archive server that has no trouble, or names other objects with which it has some,
        says by that that it does not have it.
        """
        aet = self._association.called_aet
        if final.status == _SUCCESS or (final.status == _SOME_FAILED and failed and one.sop_uid not in failed):
            return Fetched(item=one, problem=f"{aet} does not have {one.sop_uid}", is_lost=True)
        told = f": {final.error_comment}" if final.error_comment else ""
        return Fetched(item=one, problem=f"{aet} did not send {one.sop_uid}: status 0x{final.status:04X}{told}")


def _may_carry(item: Deliverable, context: Context) -> bool:
    """Whether an object may come on a context."""
    is_class = item.sop_class in ("", context.abstract_syntax)
    return is_class and item.transfer_syntax in ("", context.transfer_syntax)


def _by_contexts(wanted: Sequence[Deliverable]) -> Iterator[tuple[list[Proposal], list[Deliverable]]]:
    """The objects in parts whose presentation contexts fit in one association, with these."""
    kinds: dict[tuple[str, str], list[Proposal]] = {}
    for one in wanted:
        kinds.setdefault((one.sop_class, one.transfer_syntax), _proposals(one))
    part: list[tuple[str, str]] = []
    for kind in kinds:
        if sum(len(kinds[one]) for one in (*part, kind)) > _MOST_CONTEXTS and part:
            yield _together(part, kinds, wanted)
            part = []
        part.append(kind)
    if part:
        yield _together(part, kinds, wanted)


def _together(
    part: Sequence[tuple[str, str]], kinds: Mapping[tuple[str, str], list[Proposal]], wanted: Sequence[Deliverable]
) -> tuple[list[Proposal], list[Deliverable]]:
    items = [one for one in wanted if (one.sop_class, one.transfer_syntax) in part]
    return [proposal for kind in part for proposal in kinds[kind]], items


def _proposals(item: Deliverable) -> list[Proposal]:
    if not item.sop_class:
        return [(sop_class, _SYNTAXES, True) for sop_class in COMMON_STORAGE[:_MOST_CONTEXTS]]
    if item.transfer_syntax:
        return [(item.sop_class, (item.transfer_syntax,), True)]
    return [(item.sop_class, syntaxes, True) for syntaxes in (_SYNTAXES, *((one,) for one in _IN_USE))]


def _portions(items: Sequence[Deliverable]) -> Iterator[list[Deliverable]]:
    for _, of_series in groupby(items, key=lambda one: (one.study_uid, one.series_uid)):
        while portion := list(islice(of_series, MAX_UIDS)):
            yield portion
