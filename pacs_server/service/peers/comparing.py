"""Compares this archive with another one, and makes them alike where that is wanted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from typing import Final

from pacs_server.archive.comparing import FIRST_DAY, Compared, Comparison, Difference, DifferenceKind
from pacs_server.archive.fetching import fetch
from pacs_server.archive.ingest import ingest
from pacs_server.archive.reception import Declared, Origin
from pacs_server.archive.retrieving import Fetched
from pacs_server.dicom.attributes import BY_KEYWORD, Level
from pacs_server.dicom.elements import EXPLICIT_LE, IMPLICIT_LE
from pacs_server.dicom.identity import Uid
from pacs_server.dicom.queries.asking import answered, identifier
from pacs_server.dicom.queries.matching import query_from_keywords
from pacs_server.errors import AssociationBroken, BadQuery
from pacs_server.index.jobs import JobKind
from pacs_server.index.queries.search import Deliverable
from pacs_server.index.sending.selection import Selection
from pacs_server.index.sending.sendings import Urgency
from pacs_server.net.asking import STUDY_ROOT_FIND, context_of, find
from pacs_server.net.association import Association, Context
from pacs_server.net.client import connect
from pacs_server.service.assemble import Node
from pacs_server.service.destinations import destination_of
from pacs_server.service.peers.arriving import anything

_SYNTAXES: Final = (EXPLICIT_LE, IMPLICIT_LE)
_SENT_AT_ONCE: Final = 200


class _Peer:
    """Another archive, asked over one association that is requested anew when it broke between two questions."""

    def __init__(self, node: Node, aet: str) -> None:
        self._node, self._destination = node, destination_of(node, aet)
        self._association: Association | None = None

    def find(self, level: Level, keys: Mapping[str, str]) -> Iterator[Mapping[str, str]]:
        """The answers to a query, by the keywords that were asked for."""
        association = self._associated()
        context = context_of(association, STUDY_ROOT_FIND, "C-FIND")
        try:
            for answer in find(association, context, identifier(level, keys, context.transfer_syntax)):
                yield answered(answer, keys, context.transfer_syntax)
        except AssociationBroken:
            self.close()
            raise

    def _associated(self) -> Association:
        if self._association is None:
            settings = self._node.settings
            contexts = [(STUDY_ROOT_FIND, _SYNTAXES, False)]
            self._association = connect(
                self._destination, calling_aet=settings.aet, contexts=contexts, limits=settings.network
            )
        return self._association

    def close(self) -> None:
        """End the association."""
        if self._association is not None:
            self._association.close()
            self._association = None


@contextmanager
def comparison(node: Node, aet: str, keys: Mapping[str, str], *, is_thorough: bool) -> Iterator[Comparison]:
    """A comparison with a peer, narrowed by keys of patient and study.

    Raises: UnknownName or Refused when the peer is not registered with an address; BadQuery when a key is another one.
    """
    query_from_keywords(Level.STUDY, keys)  # refuses keys that nobody knows
    for keyword in keys:
        if (known := BY_KEYWORD.get(keyword)) is None or known.level > Level.STUDY:
            raise BadQuery(f"{keyword} is no attribute of patients or studies that every archive is asked for")
    peer = _Peer(node, aet)
    try:
        yield Comparison(peer, node.search, node.instances.operations, keys, is_thorough=is_thorough)
    finally:
        peer.close()


def compare(node: Node, made: Comparison, keys: Mapping[str, str], since: date | None) -> Iterator[Compared]:
    """Compare what was made since a day, or everything, month by month, and what has no date.

    Raises: PeerFailed; IndexUnavailable.
    """
    today = datetime.now(UTC).date()
    # What was digitised with an earlier date comes with what has none.
    undated = None if since else node.studies.undated(FIRST_DAY)
    yield from made.everything(since or FIRST_DAY, node.studies.first_day() or today, today, undated)


def send_missing(node: Node, aet: str, differences: Sequence[Difference], now: datetime) -> int:
    """Queue what is missing there, for the running server; how many objects that are. Raises: IndexUnavailable."""
    missing: dict[str, list[str]] = {}
    for one in differences:
        if one.kind is DifferenceKind.MISSING_THERE:
            missing.setdefault(one.study_uid, []).append(one.sop_uid)
    queued = 0
    for study_uid, sop_uids in missing.items():  # not what another study, perhaps of another patient, has under a UID
        for start in range(0, len(sop_uids), _SENT_AT_ONCE):
            query = query_from_keywords(
                Level.IMAGE, {"SOPInstanceUID": "\\".join(sop_uids[start : start + _SENT_AT_ONCE])}
            )
            meant = Selection(predicates=query.predicates, study_uid=study_uid)
            queued += len(node.sendings.owe(meant, aet, now, urgency=Urgency.AGAIN))
    if queued:
        node.jobs.wake_target(JobKind.SEND, aet, now, only_failed=True)
    return queued


def fetch_missing(
    node: Node, aet: str, differences: Sequence[Difference], is_stopped: Callable[[], bool]
) -> Iterator[Fetched]:
    """Have come what is missing here, and keep it as if the peer had sent it; what became of each.

    Raises: PeerFailed; Refused when it cannot come; IndexUnavailable.
    """
    wanted = [_wanted(one) for one in differences if one.kind is DifferenceKind.MISSING_HERE]

    def take(item: Deliverable, context: Context, pieces: Iterator[memoryview]) -> None:
        declared = Declared(
            sop_class=context.abstract_syntax,
            sop_instance=Uid(item.sop_uid),
            transfer_syntax=context.transfer_syntax,
        )
        reception = node.reception(declared, Origin(aet=aet))
        try:
            for piece in pieces:
                reception.feed(piece)
            ingest(reception)
        finally:
            reception.abandon()

    yield from fetch(
        destination_of(node, aet), wanted, take, anything(node, aet),
        calling_aet=node.settings.aet, limits=node.settings.network, is_stopped=is_stopped,
    )  # fmt: skip


def _wanted(one: Difference) -> Deliverable:
    """An object of which no more is known than its name: it may come in any transfer syntax."""
    return Deliverable(
        sop_class=one.sop_class,
        sop_uid=one.sop_uid,
        transfer_syntax="",
        size_bytes=0,
        digest="",
        study_uid=one.study_uid,
        series_uid=one.series_uid,
        copies=(),
    )
