"""Storage Commitment, both ways: take in what a peer asks and report to it, and take in what a peer reports to us.

Source: PS3.4 annex J (Push Model), PS3.7 sections 10.1.1 (N-EVENT-REPORT) and 10.1.4 (N-ACTION).
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Final

from pacs_server import log
from pacs_server.dicom.audit import EventKind, EventOutcome
from pacs_server.dicom.commitment import (
    ALL_COMMITTED,
    MAX_BYTES,
    REQUEST_COMMITMENT,
    SOME_FAILED,
    WELL_KNOWN_INSTANCE,
    Request,
    read_report,
    read_request,
    write_report,
)
from pacs_server.dimse.reporting import Offer
from pacs_server.dimse.services import STORAGE_COMMITMENT
from pacs_server.dimse.session import Session
from pacs_server.dimse.status import Status, comment_for, normalised_status_for
from pacs_server.errors import BadQuery, IndexUnavailable
from pacs_server.index.sending.commitments import Commitments
from pacs_server.net.association import Association
from pacs_server.net.client import event_report_command
from pacs_server.net.message import Command, CommandField, response

# How long a report that is ready may wait for a look at the association that it goes to.
_LOOK_EVERY_S: Final = 0.1


def next_command(session: Session) -> Command | None:
    """The next command of an association. Reports of Storage Commitment that become ready meanwhile are sent on it.

    Raises: like `Association.receive`.
    """
    association, requester = session.association, session.requester
    if not requester.awaits:
        return association.receive()
    idle_s = session.archive.settings.network.idle_timeout_s
    ends_at = time.monotonic() + idle_s
    while requester.awaits and time.monotonic() < ends_at:
        if requester.offers:
            _send(session, requester.offers.popleft())
        elif not association.stays_quiet(_LOOK_EVERY_S):
            return association.receive()
    return association.receive(max(0.001, ends_at - time.monotonic()))


def handle_commit(session: Session, command: Command) -> None:
    """Answer one N-ACTION or N-EVENT-REPORT.

    Raises: AssociationBroken.
    """
    association = session.association
    if command.field == CommandField.N_EVENT_REPORT_RQ:
        status, comment = _record(association, command, session.caller.aet, session.archive.commitments)
    elif command.field == CommandField.N_ACTION_RQ and association.contexts[command.context_id].as_scp:
        status, comment = _take_in(session, command)
    else:
        status, comment = Status.UNRECOGNISED_OPERATION, ""
    if status != Status.SUCCESS:
        session.audit(EventKind.COMMITMENT, EventOutcome.REFUSED, detail=f"{hex(status)} {comment}")
    _settle(association, command, status, comment)


def _take_in(session: Session, command: Command) -> tuple[Status, str]:
    """Success only when the transaction is recorded, and with it the report that is owed."""
    refusal = _not_for_us(command, command.requested_sop_class, command.requested_sop_instance)
    if refusal is not None:
        return refusal
    if command.action_type != REQUEST_COMMITMENT:
        return Status.NO_SUCH_ACTION, f"action type {command.action_type} is not 1"
    caller = session.caller.aet
    syntax = session.association.contexts[command.context_id].transfer_syntax
    try:
        request = read_request(session.association.read_identifier(MAX_BYTES), syntax)
        is_taken = _recorded(session, command, request)
    except (BadQuery, IndexUnavailable) as error:
        log.warning("commitment not taken in", calling=caller, why=error)
        return normalised_status_for(error), str(error)
    if not is_taken:
        return Status.DUPLICATE_TRANSACTION, "this Transaction UID was used for other objects"
    log.info("commitment asked", calling=caller, transaction=request.transaction_uid, objects=len(request.references))
    return Status.SUCCESS, ""


def _recorded(session: Session, command: Command, request: Request) -> bool:
    """Record a request. This association waits for its report from a moment before, so that no report can miss it."""
    aet, uid, requester = session.caller.aet, request.transaction_uid, session.requester
    waited_before = uid in requester.awaits
    session.archive.requests.wait(aet, uid, requester, command.context_id)
    is_taken = False
    try:
        is_taken = session.archive.commitments.take_in(aet, request, datetime.now(UTC))
    finally:
        if not is_taken and not waited_before:
            session.archive.requests.leave(aet, uid, requester)
    return is_taken


def _not_for_us(command: Command, sop_class: str, sop_instance: str) -> tuple[Status, str] | None:
    if sop_class != STORAGE_COMMITMENT:
        return Status.NO_SUCH_CLASS, "the SOP class is not Storage Commitment Push Model"
    if sop_instance != WELL_KNOWN_INSTANCE:
        return Status.NO_SUCH_INSTANCE, f"the SOP instance is not {WELL_KNOWN_INSTANCE}"
    if not command.has_data_set:
        return Status.MISSING_ATTRIBUTE, "there is no data set"
    return None


def _send(session: Session, offer: Offer) -> None:
    association, requester = session.association, session.requester
    context_id = requester.awaits.get(offer.report.transaction_uid)
    if context_id is None:
        offer.settle(None)
    elif offer.take():
        message_id = association.next_message_id()
        requester.sent[message_id] = offer
        syntax = association.contexts[context_id].transfer_syntax
        event_type = offer.report.event_type
        command = event_report_command(message_id, STORAGE_COMMITMENT, WELL_KNOWN_INSTANCE, event_type)
        data_set = write_report(offer.report, syntax, retrieve_aet=session.archive.settings.aet)
        association.ask(context_id, command, data_set, message_id)


def settle_report(session: Session, command: Command) -> None:
    """Take the requester's answer to a report that was sent on its association."""
    offer = session.requester.sent.pop(command.responded_to)
    if command.status == Status.SUCCESS:
        session.archive.requests.leave(session.caller.aet, offer.report.transaction_uid, session.requester)
    offer.settle(command.status)


def receive_report(association: Association, command: Command, aet: str, commitments: Commitments) -> None:
    """Record what a peer reports about a transaction of ours, and answer it.

    Raises: AssociationBroken.
    """
    status, comment = _record(association, command, aet, commitments)
    _settle(association, command, status, comment)


def _settle(association: Association, command: Command, status: Status, comment: str) -> None:
    association.drain()
    association.respond(response(command, status, comment=comment_for(comment)), command.context_id)


def _record(association: Association, command: Command, aet: str, commitments: Commitments) -> tuple[Status, str]:
    refusal = _not_for_us(command, command.affected_sop_class, command.affected_sop_instance)
    if refusal is not None:
        return refusal
    if command.event_type not in (ALL_COMMITTED, SOME_FAILED):
        return Status.NO_SUCH_EVENT, f"event type {command.event_type} is neither 1 nor 2"
    syntax = association.contexts[command.context_id].transfer_syntax
    try:
        report = read_report(association.read_identifier(MAX_BYTES), syntax)
        is_known = commitments.answer(aet, report, datetime.now(UTC))
    except (BadQuery, IndexUnavailable) as error:
        log.warning("commitment report not taken in", calling=aet, why=error)
        return normalised_status_for(error), str(error)
    if not is_known:
        return Status.INVALID_ARGUMENT, "this Transaction UID is none that we asked for"
    failed = len(report.failed)
    log.info("commitment reported", calling=aet, transaction=report.transaction_uid, failed=failed or None)
    return Status.SUCCESS, ""
