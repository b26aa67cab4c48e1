"""Hands each request on an association to its service."""

from __future__ import annotations

import time

from pacs_server import metrics
from pacs_server.dimse.commit import handle_commit, settle_report
from pacs_server.dimse.find import handle_find
from pacs_server.dimse.retrieve import handle_get, handle_move
from pacs_server.dimse.services import SERVICES
from pacs_server.dimse.session import Session
from pacs_server.dimse.status import Status
from pacs_server.dimse.store import handle_store
from pacs_server.index.site.peers import Right
from pacs_server.net.message import Command, CommandField, response

_SERVICE_NAMES = {
    CommandField.C_ECHO_RQ: "echo",
    CommandField.C_STORE_RQ: "store",
    CommandField.C_FIND_RQ: "find",
    CommandField.C_GET_RQ: "get",
    CommandField.C_MOVE_RQ: "move",
    CommandField.N_ACTION_RQ: "commit",
}
_OPERATION = {
    Right.ECHO: CommandField.C_ECHO_RQ,
    Right.FIND: CommandField.C_FIND_RQ,
    Right.GET: CommandField.C_GET_RQ,
    Right.MOVE: CommandField.C_MOVE_RQ,
}
_QUERY_RETRIEVE = {Right.FIND: handle_find, Right.GET: handle_get, Right.MOVE: handle_move}


def dispatch(session: Session, command: Command) -> None:
    """Hand one request to the service of its presentation context.

    Source: PS3.7 section 9.3 (DIMSE-C protocol).
    """
    if command.is_response:
        # Of all that we ask on the association of a peer, only reports are answered in their own time.
        settle_report(session, command)
        return
    began = time.monotonic()
    _do(session, command)
    if not session.caller.is_self_check:
        metrics.observe(metrics.SECONDS, time.monotonic() - began, _SERVICE_NAMES.get(command.field, "other"))


def _do(session: Session, command: Command) -> None:
    context = session.association.contexts[command.context_id]
    service = SERVICES.get(context.abstract_syntax)
    if service is None:
        if command.field == CommandField.C_STORE_RQ and context.as_scp:
            handle_store(session, command)
        else:
            _answer_status(session, command, Status.UNRECOGNISED_OPERATION)
    elif service.right is Right.COMMIT:
        handle_commit(session, command)
    elif command.field != _OPERATION[service.right]:
        _answer_status(session, command, Status.UNRECOGNISED_OPERATION)
    elif service.model is None:
        _answer_status(session, command, _status_of_echo(command, context.abstract_syntax))
    else:
        session.tally.doing = service.right.value
        _QUERY_RETRIEVE[service.right](session, command, service.model)
        session.tally.doing = ""


def _status_of_echo(command: Command, sop_class: str) -> Status:
    """Success where the class is that of its context, or left out as devices do, and no data set comes.

    Source: PS3.7 sections 9.1.5.1.4 and 9.3.5.1.
    """
    if command.affected_sop_class not in ("", sop_class):
        return Status.SOP_CLASS_NOT_SUPPORTED
    return Status.PROCESSING_FAILURE if command.has_data_set else Status.SUCCESS


def _answer_status(session: Session, command: Command, status: Status) -> None:
    session.association.drain()
    session.association.respond(response(command, status), command.context_id)
