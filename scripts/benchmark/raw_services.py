"""C-ECHO, C-FIND, C-MOVE and C-GET from the asking side, and a receiver that forgets what it is sent."""

from __future__ import annotations

import socket
import struct
import sys
import threading
import time
from dataclasses import dataclass
from typing import Final

from benchmark.processes import Failed
from benchmark.raw_association import (
    AFFECTED_SOP_CLASS,
    AFFECTED_SOP_INSTANCE,
    C_ECHO_RQ,
    C_FIND_RQ,
    C_GET_RQ,
    C_MOVE_RQ,
    C_STORE_RQ,
    COMMAND_FIELD,
    DATA_SET_TYPE,
    EXPLICIT_LE,
    IMPLICIT_LE,
    MESSAGE_ID,
    MOVE_DESTINATION,
    NO_DATA_SET,
    PENDING,
    PRIORITY,
    RESPONDED_TO,
    RESPONSE,
    STATUS,
    STUDY_ROOT_FIND,
    STUDY_ROOT_GET,
    STUDY_ROOT_MOVE,
    VERIFICATION,
    Proposal,
    RawAssociation,
    associate_rq,
    command_set,
    data_tf,
    element,
    parse_command,
)

CALLING: Final = "BENCH"
_STUDY_UID: Final = 0x0020000D
_QUERY_RETRIEVE_LEVEL: Final = 0x00080052
_COMPLETED: Final = 0x1021
_ANSWERS_S: Final = 120.0
_RECEIVE_BYTES: Final = 1 << 20

_ECHO_RQ: Final = data_tf(
    1,
    command_set(
        {AFFECTED_SOP_CLASS: VERIFICATION, COMMAND_FIELD: C_ECHO_RQ, MESSAGE_ID: 1, DATA_SET_TYPE: NO_DATA_SET}
    ),
)


@dataclass(frozen=True, slots=True)
class Found:
    """What a query brought: how many answers, seconds to the first bytes and to the last, and all bytes received."""

    answers: int
    first_s: float
    all_s: float
    size_bytes: int


def echo_once(port: int, rq: bytes) -> None:
    """Connect, associate, echo, release."""
    association = RawAssociation.request(port, rq)
    association.socket.sendall(_ECHO_RQ)
    answer = association.command()
    if answer is None or answer[1][STATUS] != b"\0\0":
        raise Failed("C-ECHO was not answered with success")
    association.release()


def echo_request(called: str) -> bytes:
    """The A-ASSOCIATE-RQ for `echo_once`."""
    return associate_rq(called, CALLING, [Proposal(VERIFICATION)])


def find(port: int, called: str, keys: dict[int, str]) -> Found:
    """A study-level C-FIND. Bytes are only kept while they arrive, and counted as answers when all are here."""
    identifier = _identifier(keys)
    request = data_tf(1, _request(STUDY_ROOT_FIND, C_FIND_RQ), identifier)
    association = RawAssociation.request(port, associate_rq(called, CALLING, [Proposal(STUDY_ROOT_FIND)]))
    chunks: list[bytes] = []
    tail, first_s = b"", 0.0
    started = time.monotonic()
    association.socket.sendall(request)
    while not _ends_with_final_response(tail):
        chunk = association.socket.recv(_RECEIVE_BYTES)
        if not chunk or time.monotonic() - started > _ANSWERS_S:
            raise Failed("C-FIND was not answered to its end")
        first_s = first_s or time.monotonic() - started
        chunks.append(chunk)
        tail = (tail + chunk)[-256:]
    all_s = time.monotonic() - started
    association.release()
    received = b"".join(chunks)
    return Found(_count_answers(received), first_s, all_s, len(received))


def move(port: int, called: str, study_uid: str, destination: str) -> int:
    """Ask for a study to be sent to `destination`; answers how many sub-operations completed."""
    association = RawAssociation.request(port, associate_rq(called, CALLING, [Proposal(STUDY_ROOT_MOVE)]))
    command = _request(STUDY_ROOT_MOVE, C_MOVE_RQ, {MOVE_DESTINATION: destination})
    association.socket.sendall(data_tf(1, command, _identifier({_STUDY_UID: study_uid})))
    return _await_sub_operations(association)


def get(port: int, called: str, study_uid: str, storage_class: str) -> int:
    """Fetch a study over the same association and forget it; answers how many sub-operations completed."""
    storage = Proposal(storage_class, (EXPLICIT_LE, IMPLICIT_LE), as_scp=True)
    association = RawAssociation.request(port, associate_rq(called, CALLING, [Proposal(STUDY_ROOT_GET), storage]))
    command = _request(STUDY_ROOT_GET, C_GET_RQ)
    association.socket.sendall(data_tf(1, command, _identifier({_STUDY_UID: study_uid})))
    return _await_sub_operations(association)


def receive_for_ever(listener: socket.socket) -> None:
    """Accept associations and confirm every C-STORE without keeping anything; one thread for each association."""
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=_receive, args=(connection,), daemon=True).start()


def _receive(connection: socket.socket) -> None:
    association = RawAssociation.accept(connection)
    while (message := association.command()) is not None:
        context_id, values = message
        if _number(values[COMMAND_FIELD]) == C_ECHO_RQ:
            response = {COMMAND_FIELD: C_ECHO_RQ | RESPONSE, RESPONDED_TO: 1, DATA_SET_TYPE: NO_DATA_SET, STATUS: 0}
            association.socket.sendall(data_tf(context_id, command_set(response)))
        else:
            _confirm_store(association, context_id, values)
    association.confirm_release()


def _confirm_store(association: RawAssociation, context_id: int, values: dict[int, bytes]) -> None:
    association.discard_data_set()
    response: dict[int, int | str] = {
        AFFECTED_SOP_CLASS: values[AFFECTED_SOP_CLASS].rstrip(b"\0").decode(),
        COMMAND_FIELD: C_STORE_RQ | RESPONSE,
        RESPONDED_TO: _number(values[MESSAGE_ID]),
        DATA_SET_TYPE: NO_DATA_SET,
        STATUS: 0,
        AFFECTED_SOP_INSTANCE: values[AFFECTED_SOP_INSTANCE].rstrip(b"\0").decode(),
    }
    association.socket.sendall(data_tf(context_id, command_set(response)))


def _await_sub_operations(association: RawAssociation) -> int:
    received = completed = 0
    while (message := association.command()) is not None:
        context_id, values = message
        if _number(values[COMMAND_FIELD]) == C_STORE_RQ:
            _confirm_store(association, context_id, values)
            received += 1
            continue
        completed = _number(values.get(_COMPLETED, b"\0\0"))
        status = _number(values[STATUS])
        if _number(values[DATA_SET_TYPE]) != NO_DATA_SET:
            association.discard_data_set()
        if status in PENDING:
            continue
        association.release()
        if status:
            raise Failed(f"the retrieve ended with status 0x{status:04X}")
        return max(completed, received)
    raise Failed("the archive released the association in a retrieve")


def _number(raw: bytes) -> int:
    return int.from_bytes(raw, "little")


def _request(sop_class: str, field: int, more: dict[int, int | str] | None = None) -> bytes:
    values: dict[int, int | str] = {
        AFFECTED_SOP_CLASS: sop_class, COMMAND_FIELD: field, MESSAGE_ID: 1, PRIORITY: 0, DATA_SET_TYPE: 1
    }  # fmt: skip
    return command_set(values | (more or {}))


def _identifier(keys: dict[int, str]) -> bytes:
    """An Implicit VR identifier of study level."""
    values = {_QUERY_RETRIEVE_LEVEL: "STUDY"} | keys
    padding = {_STUDY_UID: b"\0"}
    return b"".join(element(tag, value.encode(), padding.get(tag, b" ")) for tag, value in sorted(values.items()))


def _ends_with_final_response(tail: bytes) -> bool:
    """Whether the last PDV of the stream is the command that ends a C-FIND: its status is not pending."""
    start = tail.rfind(struct.pack("<HHI", 0, 0, 4))
    if start < 6 or not tail[start - 1] & 1:
        return False
    length = struct.unpack_from(">I", tail, start - 6)[0] - 2
    if len(tail) - start != length:
        return False
    return _number(parse_command(tail[start:])[STATUS]) not in PENDING


def _count_answers(received: bytes) -> int:
    """The pending responses in a stream of P-DATA-TF PDUs. Raises: Failed when the last status is not success."""
    answers, offset, status = 0, 0, -1
    while offset < len(received):
        end = offset + 6 + struct.unpack_from(">I", received, offset + 2)[0]
        offset += 6
        while offset < end:
            length, _, control = struct.unpack_from(">IBB", received, offset)
            if control & 1:
                status = _number(parse_command(received[offset + 6 : offset + 4 + length])[STATUS])
                answers += status in PENDING
            offset += 4 + length
    if status:
        raise Failed(f"C-FIND ended with status 0x{status:04X}")
    return answers


if __name__ == "__main__":
    receive_for_ever(socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=64))
