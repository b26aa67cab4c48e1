"""Calls the destination of a C-MOVE while its requester waits: what is proposed, and how long that may take."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from contextlib import suppress
from typing import Final

from pacs_server.archive.deliver import contexts_for
from pacs_server.errors import PacsError
from pacs_server.index.queries.search import Deliverable
from pacs_server.net.association import Association
from pacs_server.net.client import MAX_CONTEXTS

_TURN_S: Final = 0.1


def answered(request: Callable[[], Association], goes_on: Callable[[], bool]) -> Association | None:
    """The association that `request` opens, in a thread of its own: a destination that says nothing is waited for as
    long as two time-outs. Meanwhile `goes_on` is called again and again. When it answers no, nobody wants the
    association any more, and there is none.

    Raises: what `request` and `goes_on` raise.
    """
    answer: Future[Association] = Future()
    threading.Thread(target=_request, args=(request, answer), name="calling", daemon=True).start()
    try:
        while not wait([answer], timeout=_TURN_S).done:
            if not goes_on():
                answer.add_done_callback(_close)
                return None
    except BaseException:
        answer.add_done_callback(_close)
        raise
    return answer.result()


def _request(request: Callable[[], Association], answer: Future[Association]) -> None:
    try:
        answer.set_result(request())
    except Exception as error:  # noqa: BLE001 - raised where it is waited for
        answer.set_exception(error)


def _close(answer: Future[Association]) -> None:
    with suppress(PacsError):
        answer.result().close()


def proposals(items: Sequence[Deliverable], preferred: str) -> list[tuple[str, Sequence[str], bool]]:
    """The presentation contexts that are proposed for these objects."""
    proposed = contexts_for(_one_of_each(items), preferred)
    return [(kind[0], syntaxes, False) for kind, syntaxes in proposed.items()]


def batches(items: Sequence[Deliverable], preferred: str) -> Iterator[list[Deliverable]]:
    """Cut the objects so that the contexts of each part fit in one association (at most 128, PS3.8 section 9.3.2.2)."""
    batch: list[Deliverable] = []
    kinds: set[tuple[str, str]] = set()
    for item in items:
        kind = (item.sop_class, item.transfer_syntax)
        if kind not in kinds and len(contexts_for([*_one_of_each(batch), item], preferred)) > MAX_CONTEXTS:
            yield batch
            batch, kinds = [], set()
        kinds.add(kind)
        batch.append(item)
    if batch:
        yield batch


def _one_of_each(items: Sequence[Deliverable]) -> list[Deliverable]:
    return list({(item.sop_class, item.transfer_syntax): item for item in items}.values())
