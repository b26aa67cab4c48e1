"""Queries and retrieves that we ask of a peer: C-FIND; C-GET, whose objects come on the same association; C-MOVE, whose
objects go to where the request says.

Source: PS3.7 sections 9.1.2 to 9.1.4, PS3.4 sections C.4.1 to C.4.3.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Final

from pacs_server.errors import PeerAborted, PeerRejected, ProtocolViolation, TooLarge
from pacs_server.net.association import Association, Context
from pacs_server.net.message import Command, CommandField, encode_command, response

STUDY_ROOT_FIND: Final = "1.2.840.10008.5.1.4.1.2.2.1"
STUDY_ROOT_MOVE: Final = "1.2.840.10008.5.1.4.1.2.2.2"
STUDY_ROOT_GET: Final = "1.2.840.10008.5.1.4.1.2.2.3"
_MEDIUM: Final = 0


def context_of(association: Association, sop_class: str, what: str) -> Context:
    """The accepted context of a SOP class. Raises: PeerRejected when there is none; `what` is its name for a person."""
    if (context := association.context_of(sop_class)) is not None:
        return context
    called, calling = association.called_aet, association.calling_aet
    raise PeerRejected(f"{called} accepts no presentation context for {what}: allow it there for {calling}")


def find(association: Association, context: Context, identifier: bytes) -> Iterator[bytes]:
    """Ask a query, and tell the identifier of each answer as it comes.

    Raises: PeerRejected when it ends with another status than success; AssociationBroken; TooLarge when
    an answer is.
    """
    message_id = association.next_message_id()
    command = encode_command(
        CommandField.C_FIND_RQ,
        has_data_set=True,
        message_id=message_id,
        affected_sop_class=context.abstract_syntax,
        priority=_MEDIUM,
    )
    association.respond(command, context.id, identifier)
    while True:
        answer = association.receive_response(message_id)
        if not answer.is_pending:
            association.drain()
            break
        yield association.read_identifier()
    if answer.status != 0:
        told = f": {answer.error_comment}" if answer.error_comment else ""
        raise PeerRejected(f"{association.called_aet} ended the query with status 0x{answer.status:04X}{told}")


def get(
    association: Association,
    context: Context,
    identifier: bytes,
    take: Callable[[Command], int],
    *,
    timeout_s: float,
) -> tuple[Command, bytes]:
    """Ask for objects that come on this association; answers the final response and its identifier, empty where there
    is none that can be read.

    `take` is called with the command of each, may read its data set from the association, and answers the status of its
    C-STORE response. Nothing may come for `timeout_s` at most.

    Raises: AssociationBroken; what `take` raises.
    """
    message_id = association.next_message_id()
    command = encode_command(
        CommandField.C_GET_RQ,
        has_data_set=True,
        message_id=message_id,
        affected_sop_class=context.abstract_syntax,
        priority=_MEDIUM,
    )
    association.ask(context.id, command, identifier, message_id, pends=True)
    while True:
        came = association.receive(timeout_s)
        if came is None:
            raise PeerAborted("the peer released the association before it had answered the retrieve")
        if came.field == CommandField.C_STORE_RQ and came.has_data_set:
            status = take(came)
            association.drain()
            association.respond(response(came, status), came.context_id)
        elif came.field != CommandField.C_GET_RSP:
            raise ProtocolViolation(f"a {came.field.name} came where only objects of the retrieve are due")
        elif not came.is_pending:
            return came, _final_identifier(association, came)


def move(
    association: Association, context: Context, identifier: bytes, destination: str, *, meanwhile: Callable[[], None]
) -> tuple[Command, bytes]:
    """Ask for objects to be sent to the AE title `destination`; answers the final response and its identifier, empty
    where there is none that can be read. `meanwhile` is called twice a second until then.

    Raises: AssociationBroken; what `meanwhile` raises.
    """
    message_id = association.next_message_id()
    command = encode_command(
        CommandField.C_MOVE_RQ,
        has_data_set=True,
        message_id=message_id,
        affected_sop_class=context.abstract_syntax,
        priority=_MEDIUM,
        move_destination=destination,
    )
    association.respond(command, context.id, identifier)
    while (answer := association.receive_response(message_id, meanwhile)).is_pending:
        association.drain()
    return answer, _final_identifier(association, answer)


def _final_identifier(association: Association, final: Command) -> bytes:
    with suppress(TooLarge):
        return association.read_identifier() if final.has_data_set else b""
    return b""
