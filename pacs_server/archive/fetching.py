"""Has objects come from an archive server that keeps them: by C-GET, each in the transfer syntax in which it was sent
there, or by C-MOVE where the archive server offers no C-GET.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import groupby, islice
from typing import Final, TypeAlias

from pacs_server.archive.retrieving import Arrivals, Fetched, Get, Move, Stopped, Take
from pacs_server.dicom.elements import EXPLICIT_LE, IMPLICIT_LE
from pacs_server.dicom.queries.asking import MAX_UIDS
from pacs_server.errors import PeerAborted
from pacs_server.index.queries.search import Deliverable
from pacs_server.net.asking import STUDY_ROOT_GET, STUDY_ROOT_MOVE, context_of
from pacs_server.net.association import Association
from pacs_server.net.client import MAX_CONTEXTS, Destination, connect
from pacs_server.net.negotiate import COMMON_STORAGE
from pacs_server.settings import NetworkLimits

_SYNTAXES: Final = (EXPLICIT_LE, IMPLICIT_LE)
# Beside the two uncompressed ones: big endian, deflated, RLE, JPEG, JPEG-LS, JPEG 2000, HTJ2K and video.
_IN_USE: Final = (
    "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.5",
    *(f"1.2.840.10008.1.2.4.{n}" for n in (50, 51, 57, 70, 80, 81, 90, 91, 201, 202, 203, 100, 102, 103)),
)  # fmt: skip

Proposal: TypeAlias = tuple[str, Sequence[str], bool]

_SERVICES: Final[tuple[Proposal, ...]] = ((STUDY_ROOT_GET, _SYNTAXES, False), (STUDY_ROOT_MOVE, _SYNTAXES, False))
_ONLY_MOVE: Final = _SERVICES[1:]
_MOST_CONTEXTS: Final = MAX_CONTEXTS - len(_SERVICES)


def fetch(
    source: Destination,
    wanted: Sequence[Deliverable],
    take: Take,
    arrivals: Arrivals,
    *,
    calling_aet: str,
    limits: NetworkLimits,
    is_stopped: Callable[[], bool],
) -> Iterator[Fetched]:
    """Ask for objects, some of one series at a time; what became of each. Ends early when it is stopped.

    By C-GET, `take` gets the data set of each as it comes, with its presentation context, and raises a PacsError for
    one that is not to be taken, NotAsGiven for one with another content. By C-MOVE they come to the running server, and
    `arrivals` tells which did. One whose transfer syntax or SOP class is not known, and empty, may come in any of those
    that are in use.

    Raises: PeerFailed; Refused when nothing could come by C-MOVE, with the remedy; what became of objects before was
    told.
    """
    call = partial(connect, source, calling_aet=calling_aet, limits=limits)
    over = partial(
        _over_one,
        by_get=partial(Get, take=take, is_stopped=is_stopped),
        by_move=partial(Move, arrivals=arrivals, is_stopped=is_stopped),
        timeout_s=limits.response_timeout_s,
    )
    offered, is_told = _SERVICES, False
    for contexts, items in _by_contexts(wanted):
        if is_stopped():
            return
        try:
            for outcome in over(call(contexts=[*offered, *contexts]), items):
                is_told = True
                yield outcome
        except PeerAborted:
            if is_told or offered == _ONLY_MOVE:
                raise
            # Orthanc accepts the context of a C-GET that it does not allow, and aborts once it is asked for something.
            offered = _ONLY_MOVE
            yield from over(call(contexts=[*offered, *contexts]), items)


def _over_one(
    association: Association,
    items: Sequence[Deliverable],
    *,
    by_get: Callable[[Association, Sequence[Deliverable]], Get],
    by_move: Callable[[Association, Sequence[Deliverable]], Move],
    timeout_s: float,
) -> Iterator[Fetched]:
    """What becomes of objects that are asked for over one association. Ends early when it is stopped."""
    try:
        offers_get = association.context_of(STUDY_ROOT_GET) is not None
        context = context_of(association, STUDY_ROOT_GET if offers_get else STUDY_ROOT_MOVE, "C-GET or C-MOVE")
        for portion in _portions(items):
            retrieve = by_get(association, portion) if offers_get else by_move(association, portion)
            try:
                retrieve.run(context, timeout_s)
            except Stopped:
                return
            finally:
                yield from retrieve.outcomes.values()
        association.release()
    finally:
        association.close()


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
