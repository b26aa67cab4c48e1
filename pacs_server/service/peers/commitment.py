"""Settles what peers asked Storage Commitment for, and asks peers for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from pacs_server import log
from pacs_server.archive.commitment import COMMITTED, read_back, stand
from pacs_server.dicom.commitment import (
    MAX_REFERENCES,
    REQUEST_COMMITMENT,
    WELL_KNOWN_INSTANCE,
    Reason,
    Reference,
    Report,
    Request,
    write_report,
    write_request,
)
from pacs_server.dicom.elements import EXPLICIT_LE, IMPLICIT_LE
from pacs_server.dicom.identity import new_uid
from pacs_server.dimse.commit import receive_report
from pacs_server.dimse.services import STORAGE_COMMITMENT
from pacs_server.errors import AssociationBroken, PeerFailed, PeerRejected, ProtocolViolation, Refused, UnknownName
from pacs_server.index.jobs import Job
from pacs_server.index.sending.commitments import Commitment, Direction, State
from pacs_server.net.association import Association
from pacs_server.net.client import action, connect, event_report
from pacs_server.net.message import CommandField
from pacs_server.net.negotiate import Context
from pacs_server.service.assemble import Node
from pacs_server.service.destinations import destination_of

_SYNTAXES: Final = (EXPLICIT_LE, IMPLICIT_LE)
_OBJECTS_PER_LEASE: Final = 100
_KNOWN_AT_ONCE: Final = 1_000
_LOOK_EVERY_S: Final = 0.2
_STOPPED: Final = "the server was stopped"


def settle_commitments(
    node: Node, job: Job, *, lease: timedelta, is_stopped: Callable[[], bool], is_ours: Callable[[Commitment], bool]
) -> tuple[tuple[str, ...], bool]:
    """Decide every transaction of the peer of a job that is ours, and report it to the peer; the problems that are
    left, and whether there are others.

    A transaction is over when the peer has acknowledged its report with success, and never before.

    Raises: IndexUnavailable.
    """

    def goes_on() -> bool:
        node.jobs.renew(job, datetime.now(UTC), lease)
        return not is_stopped()

    problems: dict[tuple[int, int], str] = {}
    while True:
        left = [one for one in node.commitments.due(job.target) if (one.id, one.asked) not in problems]
        ours = [one for one in left if is_ours(one)]
        for one in ours:  # what is asked meanwhile does not wait for what failed before
            problems[one.id, one.asked] = _settle(node, one, goes_on)
        if not ours:
            return tuple(dict.fromkeys(problem for problem in problems.values() if problem)), bool(left)


def _settle(node: Node, one: Commitment, goes_on: Callable[[], bool]) -> str:
    """Why a transaction is not over; empty when it is, or when it was asked again meanwhile."""
    if not goes_on():
        return _STOPPED
    one = node.commitments.asked_by(one, datetime.now(UTC))
    if one.state is State.RECEIVED:
        outcomes = _decided(node, one, goes_on)
        if outcomes is None:
            return _STOPPED
        waiting = sum(outcome == Reason.RESOURCE_LIMITATION for outcome in outcomes.values())
        wait = timedelta(seconds=node.settings.storage.commitment_wait_s)
        if waiting and datetime.now(UTC) < one.asked_at + wait:
            return (
                f"transaction {one.transaction_uid}: {waiting} of {one.objects} objects have fewer copies than wanted; "
                "pacs storage list shows which volume is away"
            )
        if not node.commitments.decide(one, outcomes, datetime.now(UTC)):
            return ""
    report = _confirmed(node, one)
    problem = _deliver(node, one, report)
    if not problem:
        node.commitments.reported(one, datetime.now(UTC))
        log.info("commitment", peer=one.aet, transaction=one.transaction_uid, failed=len(report.failed) or None)
    return problem


def _decided(node: Node, one: Commitment, goes_on: Callable[[], bool]) -> Mapping[Reference, int] | None:
    """What becomes of every object; None when the server stops.

    What may be given up here, because an archive server keeps it, is not vouched for: else archives that keep things
    for each other, two or in a ring, could all give up the same object.
    """
    references = node.commitments.references(one)
    outcomes: dict[Reference, int] = {}
    for start in range(0, len(references), _OBJECTS_PER_LEASE):
        if not goes_on():
            return None
        portion = references[start : start + _OBJECTS_PER_LEASE]
        outcomes |= read_back(portion, node.copies, node.placement, since=one.asked_at, clock=lambda: datetime.now(UTC))
        elsewhere = node.deposits.relied_on(list({reference.sop_uid for reference in portion}))
        if elsewhere:
            why = "an archive server keeps them for this archive, which may give up its own"
            log.warning("not vouched for", peer=one.aet, objects=len(elsewhere), why=why)
        doubted = [reference for reference in portion if reference.sop_uid in elsewhere]
        outcomes |= dict.fromkeys(doubted, Reason.PROCESSING_FAILURE)
    return outcomes


def _confirmed(node: Node, one: Commitment) -> Report:
    """The report that was decided, but without a promise for what was deleted or found damaged since: the requester may
    have been away for days.
    """
    report = node.commitments.report(one)
    outcomes = {failure.reference: failure.reason for failure in report.failed}
    for start in range(0, len(report.committed), _KNOWN_AT_ONCE):
        portion = report.committed[start : start + _KNOWN_AT_ONCE]
        outcomes |= stand(portion, node.copies, node.placement, since=one.asked_at)
    if sum(outcome != COMMITTED for outcome in outcomes.values()) == len(report.failed):
        return report
    node.commitments.decide(one, outcomes, datetime.now(UTC))
    return node.commitments.report(one)


def _deliver(node: Node, one: Commitment, report: Report) -> str:
    """Why the peer has not acknowledged the report; empty when it has."""
    limits = node.settings.network
    status = node.requests.report(one.aet, report, answered_within_s=limits.response_timeout_s)
    try:
        if status is None:
            status = _call(node, one.aet, report)
    except (PeerFailed, Refused, UnknownName) as error:
        return f"the report of transaction {one.transaction_uid} waits: {error}"
    return "" if status == 0 else f"{one.aet} answers the report of {one.transaction_uid} with status 0x{status:04X}"


def _call(node: Node, aet: str, report: Report) -> int:
    """Report on an association of its own, in the role of SCP; the status that is answered.

    A peer that accepts the context without a word on roles gets the report too: what else could it be accepted for?
    Source: PS3.4 section J.3.3, PS3.7 section D.3.3.4.
    """
    association, context = _associate(node, aet, as_scp=True)
    try:
        status = event_report(
            association,
            context_id=context.id,
            sop_class=STORAGE_COMMITMENT,
            sop_instance=WELL_KNOWN_INSTANCE,
            event_type=report.event_type,
            data_set=write_report(report, context.transfer_syntax, retrieve_aet=node.settings.aet),
        )
        _release(association, aet)
    finally:
        association.close()
    return status


def _associate(node: Node, aet: str, *, as_scp: bool) -> tuple[Association, Context]:
    """Raises: UnknownName or Refused, saying what to register; what `connect` raises; PeerRejected."""
    destination = destination_of(node, aet)
    proposed = [(STORAGE_COMMITMENT, _SYNTAXES, as_scp)]
    limits = node.settings.network
    association = connect(destination, calling_aet=node.settings.aet, contexts=proposed, limits=limits)
    if not association.contexts:
        association.close()
        raise PeerRejected(f"{aet} accepts no presentation context for Storage Commitment: enable it there for us")
    return association, next(iter(association.contexts.values()))


def _release(association: Association, aet: str) -> None:
    try:
        association.release()
    except AssociationBroken as error:  # what was to be said was answered
        log.warning("commitment peer did not release", aet=aet, why=error)


def ask_commitment(node: Node, study_uid: str, aet: str, *, wait_s: float) -> Commitment:
    """Ask a peer for commitment to every object that we hold of a study, and wait for its report, at most `wait_s`.

    Raises: UnknownName when peer or study is not known; Refused when there are too many; what `ask_for` raises.
    """
    references = tuple(node.commitments.of_study(study_uid))
    if not references:
        raise UnknownName(f"no study {study_uid} is held; pacs find studies lists those there are")
    if len(references) > MAX_REFERENCES:
        raise Refused(f"the study has {len(references)} objects; at most {MAX_REFERENCES} can be asked for at once")
    return ask_for(node, Request(transaction_uid=new_uid(), references=references), aet, wait_s=wait_s)


def ask_for(node: Node, request: Request, aet: str, *, wait_s: float) -> Commitment:
    """Ask a peer for commitment to these objects, and wait for its report, at most `wait_s`.

    A report that comes later, on an association of the peer's own, is taken in by the running server.

    Raises: UnknownName when the peer is not known; Refused when it has no address, or does not take the request;
    PeerFailed; IndexUnavailable.
    """
    association, context = _associate(node, aet, as_scp=False)
    try:
        node.commitments.ask(aet, request, datetime.now(UTC))  # before the peer can report
        status = action(
            association,
            context_id=context.id,
            sop_class=STORAGE_COMMITMENT,
            sop_instance=WELL_KNOWN_INSTANCE,
            action_type=REQUEST_COMMITMENT,
            data_set=write_request(request, context.transfer_syntax),
        )
        if status != 0:
            node.commitments.take_back(aet, request.transaction_uid)
            raise Refused(f"{aet} did not take the request: status 0x{status:04X}; its log says why")
        if _await_report(node, aet, request.transaction_uid, association, wait_s):
            _release(association, aet)
    finally:
        association.close()
    return _ours(node, aet, request.transaction_uid)


def _await_report(node: Node, aet: str, transaction_uid: str, association: Association, wait_s: float) -> bool:
    """Wait for a report on this association or another; whether this one is still open."""
    ends_at = time.monotonic() + wait_s
    while _ours(node, aet, transaction_uid).state is State.ASKED and (left := ends_at - time.monotonic()) > 0:
        if association.stays_quiet(min(left, _LOOK_EVERY_S)):
            continue
        try:
            command = association.receive()
        except AssociationBroken as error:
            log.info("commitment peer ended the association", aet=aet, why=error)
            return False
        if command is None:
            return False
        if command.field != CommandField.N_EVENT_REPORT_RQ:
            raise ProtocolViolation(f"{aet} sent a {command.field.name} where only its report is due")
        receive_report(association, command, aet, node.commitments)
    return True


def _ours(node: Node, aet: str, transaction_uid: str) -> Commitment:
    return next(
        one for one in node.commitments.named(transaction_uid) if (one.direction, one.aet) == (Direction.OUT, aet)
    )
