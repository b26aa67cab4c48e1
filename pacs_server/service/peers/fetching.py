"""Fetches what is only with archive servers: each object is compared with what it was, and becomes an ordinary copy."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Final

from pacs_server import log
from pacs_server.archive.fetching import fetch
from pacs_server.archive.ingest import ingest
from pacs_server.archive.reception import Declared, Origin
from pacs_server.archive.retrieving import Fetched
from pacs_server.dicom.attributes import Level
from pacs_server.dicom.identity import Uid
from pacs_server.dicom.operations import Fate
from pacs_server.dicom.queries.retrieval import RetrieveRequest
from pacs_server.errors import NotAsGiven, PeerFailed, Refused, UnknownName
from pacs_server.index.queries.search import Deliverable
from pacs_server.service.assemble import Node
from pacs_server.service.destinations import destination_of
from pacs_server.service.peers.arriving import as_given

_NO_ARCHIVE: Final = (PeerFailed, Refused, UnknownName)


def fetch_back(
    node: Node, items: Sequence[Deliverable], is_stopped: Callable[[], bool]
) -> Iterator[tuple[Deliverable, str]]:
    """Have objects come from the archive servers that keep them; each with the copies that it has then, or with why it
    did not come. Nothing is told of those that were not begun when it was stopped.

    An object with other bytes than those that went there is not taken: it is noted that this archive server lost it.

    Raises: IndexUnavailable.
    """
    left = {(one.sop_uid, one.digest): one for one in items}
    problems: dict[tuple[str, str], str] = {}
    for aet in dict.fromkeys(aet for one in items for aet in one.archives):
        wanted = [one for one in left.values() if aet in one.archives]
        for came in _from_one(node, aet, wanted, is_stopped):
            name = came.item.sop_uid, came.item.digest
            if came.problem:
                problems[name] = came.problem
                continue
            one = left.pop(name)
            node.deposits.note_given_back(aet, name, datetime.now(UTC))
            here = _with_copies(node, one)
            yield (here, "") if here is not None else (one, "it was deleted while it was fetched")
        if is_stopped():
            return
    for name, one in left.items():
        yield one, problems.get(name, "no archive server keeps it")


def _from_one(node: Node, aet: str, wanted: Sequence[Deliverable], is_stopped: Callable[[], bool]) -> Iterator[Fetched]:
    """What becomes of objects at one archive server; what it could not be asked for has the reason as its problem."""
    told: set[str] = set()
    reason = "it was no longer waited for"
    try:
        came = fetch(
            destination_of(node, aet), wanted, lambda item, _, pieces: _take(node, aet, item, pieces),
            as_given(node, aet), calling_aet=node.settings.aet, limits=node.settings.network, is_stopped=is_stopped,
        )  # fmt: skip
        for one in came:
            told.add(one.item.sop_uid)
            if one.is_lost:
                log.error("archive server lost an object", aet=aet, sop=one.item.sop_uid, why=one.problem)
                node.deposits.note_damage(aet, (one.item.sop_uid, one.item.digest), one.problem)
            yield one
    except _NO_ARCHIVE as error:
        log.warning("archive server failed", aet=aet, left=len(wanted) - len(told), why=error)
        reason = str(error)
    yield from (Fetched(item=one, problem=reason) for one in wanted if one.sop_uid not in told)


def _take(node: Node, aet: str, item: Deliverable, pieces: Iterator[memoryview]) -> None:
    """Keep an object that came back, as if its sender had sent it once more.

    Raises: NotAsGiven; BadObject; NotEnoughCopies; IndexUnavailable.
    """
    declared = Declared(sop_class=item.sop_class, sop_instance=Uid(item.sop_uid), transfer_syntax=item.transfer_syntax)
    reception = node.reception(declared, Origin(aet=aet))
    try:
        for piece in pieces:
            reception.feed(piece)
        if reception.digest() != item.digest:
            raise NotAsGiven(f"{aet} gives back {item.sop_uid} with other bytes than it got")
        if node.instances.operations.fates(item.sop_uid).get(item.digest, Fate.KEPT) is Fate.KEPT:
            ingest(reception)
    finally:
        reception.abandon()


def _with_copies(node: Node, item: Deliverable) -> Deliverable | None:
    request = RetrieveRequest(level=Level.IMAGE, study_uids=(item.study_uid,), sop_uids=(item.sop_uid,))
    found = (one for one in node.search.deliverables(request) if one.digest == item.digest and one.copies)
    return next(found, None)
