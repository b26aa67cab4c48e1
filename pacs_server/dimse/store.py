"""C-STORE as the receiver: check, hand the bytes to ingest, and answer only what ingest has earned.

Source: PS3.4 annex B, PS3.7 section 9.1.1.
"""

from __future__ import annotations

from dataclasses import replace

from pacs_server import log, metrics
from pacs_server.archive.ingest import ingest
from pacs_server.archive.reception import Declared
from pacs_server.dicom.audit import EventKind, EventOutcome
from pacs_server.dicom.identity import AeTitle, Uid
from pacs_server.dimse.session import Session
from pacs_server.dimse.status import Status, comment_for, status_for
from pacs_server.errors import (
    BadObject,
    IndexConflict,
    IndexUnavailable,
    IndexUnreachable,
    NotAsGiven,
    NotEnoughCopies,
    ObjectMismatch,
    Refused,
    VolumeUnavailable,
)
from pacs_server.net.message import HANDED_ON, Command, response


def handle_store(session: Session, command: Command) -> None:
    """Receive one object and answer its status.

    Raises: PeerAborted, PeerTimedOut or ProtocolViolation when the association broke; nothing is left of an object that
    had not come to its end.
    """
    status, comment = _receive(session, command)
    session.association.drain()
    session.association.respond(response(command, status, comment=comment_for(comment)), command.context_id)


def _receive(session: Session, command: Command) -> tuple[Status, str]:
    tally = session.tally
    try:
        if not command.has_data_set:
            return _refused(session, command, Status.PROCESSING_FAILURE, "C-STORE without a data set")
        received_bytes = _keep(session, command)
    except (BadObject, NotEnoughCopies, VolumeUnavailable, IndexUnavailable, Refused) as refusal:
        if isinstance(refusal, IndexUnavailable) and not isinstance(refusal, (IndexUnreachable, IndexConflict)):
            metrics.add(metrics.UNRECORDED)
        return _refused(session, command, status_for(refusal), str(refusal))
    tally.stored += 1
    tally.received_bytes += received_bytes
    metrics.add(metrics.STORED, session.caller.label)
    metrics.add(metrics.RECEIVED_BYTES, session.caller.label, number=received_bytes)
    return Status.SUCCESS, ""


def _refused(session: Session, command: Command, status: Status, why: str) -> tuple[Status, str]:
    session.tally.refused += 1
    metrics.add(metrics.REFUSED, session.caller.label, hex(status))
    caller = session.caller.aet
    log.warning("not stored", calling=caller, sop=command.affected_sop_instance, status=hex(status), why=why)
    session.audit(EventKind.STORE, EventOutcome.REFUSED, count=1, detail=f"{hex(status)} {why}")
    return status, why


def _handed_on_from(command: Command) -> str:
    """From where a partner says that it has the object; empty when it says nothing of the kind."""
    try:
        return AeTitle(command.move_originator) if command.move_originator_message_id == HANDED_ON else ""
    except ValueError:
        return ""


def _was_asked(session: Session, command: Command) -> bool:
    """Whether the object comes because we asked for it by C-MOVE.

    Source: PS3.7 section 9.1.1.1.7 (Move Originator Application Entity Title).
    """
    return command.move_originator == session.archive.settings.aet and command.move_originator_message_id != HANDED_ON


def _keep(session: Session, command: Command) -> int:
    archive, association = session.archive, session.association
    context = association.contexts[command.context_id]
    if command.affected_sop_class != context.abstract_syntax:
        raise ObjectMismatch("the command's SOP Class is not that of its presentation context")
    declared = Declared(
        sop_class=command.affected_sop_class,
        sop_instance=Uid(command.affected_sop_instance),
        transfer_syntax=context.transfer_syntax,
    )
    was_asked, aet = _was_asked(session, command), session.caller.aet
    origin = replace(session.caller.origin, actor=session.actor, was_asked=was_asked)
    reception = archive.receive(declared, origin, _handed_on_from(command))
    try:
        for fragment in association.data_set():
            reception.feed(fragment)
        ingest(reception)
    except NotAsGiven as error:
        archive.deposits.note_other(aet, declared.sop_instance, str(error))
        raise
    finally:
        reception.abandon()
    if was_asked:
        archive.deposits.note_given_back(aet, (declared.sop_instance, reception.digest()), reception.now)
    return reception.size_bytes
