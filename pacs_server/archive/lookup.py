"""What the archive holds that a query or a retrieve asks for. No file is opened here."""

from __future__ import annotations

from collections.abc import Iterator

from pacs_server.dicom.attributes import Level
from pacs_server.dicom.queries.answer import encoder_of
from pacs_server.dicom.queries.matching import Query
from pacs_server.dicom.queries.retrieval import RetrieveRequest
from pacs_server.index.queries.search import Deliverable, Search


def answers(
    search: Search,
    query: Query,
    transfer_syntax: str,
    *,
    reply_charset: str,
    retrieve_aet: str,
    limit: int | None = None,
) -> Iterator[list[bytes]]:
    """The encoded identifiers that answer a query, as rows are read: few at first, never none, at most 200 together.

    Raises: IndexUnavailable.
    Source: PS3.4 section C.4.1.
    """
    encoder = encoder_of(query, transfer_syntax, reply_charset=reply_charset, retrieve_aet=retrieve_aet)
    for rows in search.find_in_parts(query, encoder.columns, limit=limit):
        yield encoder.encode(rows)


def moved_copies(search: Search, item: Deliverable) -> Deliverable | None:
    """The same object with the copies that it has by now, or with the archive servers that alone keep it since then;
    None when it has no other place than was known already. A retrieve may take longer than a copy stays that moved to
    another tier, or was given up for an archive server, after it was looked up.

    Raises: IndexUnavailable.
    """
    request = RetrieveRequest(level=Level.IMAGE, study_uids=(item.study_uid,), sop_uids=(item.sop_uid,))
    found = (one for one in search.deliverables(request) if one.digest == item.digest)
    return next((one for one in found if one.archives or not set(one.copies) <= set(item.copies)), None)
