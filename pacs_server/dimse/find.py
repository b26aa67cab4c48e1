"""C-FIND as the provider: answers stream as rows are read, C-CANCEL stops them.

Source: PS3.4 section C.4.1, PS3.7 section 9.1.2.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from pacs_server import log, metrics
from pacs_server.archive.lookup import answers
from pacs_server.dicom.audit import EventKind, EventOutcome
from pacs_server.dicom.queries.matching import Manner, Model, parse_query
from pacs_server.dimse.session import Session
from pacs_server.dimse.status import Status, comment_for, status_for
from pacs_server.errors import AssociationBroken, BadQuery, IndexUnavailable
from pacs_server.net.message import Command, response

# Answers wait for company at most this long, and the first not at all: one write for many, yet a viewer's list fills.
_COMPANY_S: Final = 0.02
_OUTCOMES: Final = {
    Status.SUCCESS: EventOutcome.DONE,
    Status.CANCEL: EventOutcome.PARTLY,
    Status.OUT_OF_RESOURCES: EventOutcome.PARTLY,
}


@dataclass(slots=True)
class _Course:
    """How one query went: what was asked for in words, and the status and comment that ended it. Without a status the
    association broke before that was told.
    """

    asked: str = ""
    status: Status | None = None
    comment: str = ""


def handle_find(session: Session, command: Command, model: Model) -> None:
    """Answer one query.

    Raises: AssociationBroken.
    """
    started = time.monotonic()
    answered = session.tally.answered
    course = _Course()
    try:
        status, course.comment = _answer(session, command, model, course)
        final = response(command, status, comment=comment_for(course.comment))
        session.association.respond(final, command.context_id)
        course.status = status
    except AssociationBroken as error:
        course.comment = course.comment or str(error)
        raise
    finally:  # told only now: the peer need not wait for it
        _tell(session, command, course, count=session.tally.answered - answered, seconds=time.monotonic() - started)


def _tell(session: Session, command: Command, course: _Course, *, count: int, seconds: float) -> None:
    """Tell the metrics, the audit trail and the log of a query, also of one whose peer left before its end."""
    status, comment = course.status, course.comment
    metrics.add(metrics.ANSWERS, session.caller.label, number=count)
    if status is None:
        outcome = EventOutcome.PARTLY if count else EventOutcome.FAILED
    else:
        outcome = _OUTCOMES.get(status, EventOutcome.REFUSED)
        if status != Status.SUCCESS:
            metrics.add(metrics.FAILURES, "find", hex(status))
    session.audit(
        EventKind.QUERY,
        outcome,
        target=command.affected_sop_class,
        count=count,
        detail=f"{course.asked}; {comment}" if comment else course.asked,
    )
    log.info(
        "find",
        calling=session.caller.aet,
        status=None if status is None else hex(status),
        answers=count,
        ms=round(seconds * 1000),
        why=comment or None,
    )


def _answer(session: Session, command: Command, model: Model, course: _Course) -> tuple[Status, str]:
    """Send the answers, and note what was asked for; the status and comment that end it."""
    association, archive, caller = session.association, session.archive, session.caller
    if not command.has_data_set:
        return Status.DATA_SET_MISMATCH, "C-FIND without an identifier"
    context = association.contexts[command.context_id]
    syntax = context.transfer_syntax
    limit = caller.max_answers or archive.settings.max_find_answers
    manner = Manner(
        combines_moments=caller.combines_moments or context.extended[1:2] == b"\1",
        takes_names_in_any_order=context.extended[2:3] == b"\1",
    )
    try:
        identifier = association.read_identifier()
        query = parse_query(
            identifier,
            syntax,
            model,
            assumed_charset=caller.origin.charset,
            manner=manner,
            vocabulary=archive.vocabulary(),
        )
        course.asked = query.asked
        going_on = Status.PENDING_OPTIONAL_KEYS if query.has_unsupported_keys else Status.PENDING
        pending = response(command, going_on, has_data_set=True)
        found = answers(
            archive.search,
            query,
            syntax,
            reply_charset=caller.charset,
            retrieve_aet=archive.settings.aet,
            limit=limit + 1 if limit else None,  # one more tells whether there are more
        )
        return _sent(session, command, pending, found, limit)
    except (BadQuery, IndexUnavailable) as refusal:
        return status_for(refusal), str(refusal)


def _sent(
    session: Session, command: Command, pending: bytes, found: Iterable[Sequence[bytes]], limit: int
) -> tuple[Status, str]:
    """Send what is found, at most `limit` of it unless that is 0; the status and comment that end it.

    Raises: what `found` raises.
    """
    association = session.association
    flushed, left = 0.0, limit or sys.maxsize
    for some in found:
        if association.cancelled(command.message_id):
            return Status.CANCEL, ""
        association.queue(command.context_id, pending, some[:left])
        session.tally.answered += min(len(some), left)
        left -= len(some)
        if left < 0:
            return Status.OUT_OF_RESOURCES, f"More than {limit} matches: narrow the query"
        now = time.monotonic()
        if now - flushed > _COMPANY_S:
            association.flush()
            flushed = now
    return Status.SUCCESS, ""
