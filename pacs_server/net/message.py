"""Command sets of DIMSE messages as values, and as bytes.

Source: PS3.7 section 6.3 and annex E (command dictionary).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from struct import Struct
from typing import Any, Final

from pacs_server.errors import ProtocolViolation

NO_DATA_SET: Final = 0x0101
_A_DATA_SET: Final = 0x0001
_RESPONSE_BIT: Final = 0x8000
MAX_COMMENT_BYTES: Final = 64
_PENDING: Final = frozenset({0xFF00, 0xFF01})

_ELEMENT: Final = Struct("<HHL")
_US: Final = Struct("<H")
_UL: Final = Struct("<L")
_GROUP_LENGTH_BYTES: Final = _ELEMENT.size + _UL.size
_SHORT_ELEMENT: Final = Struct("<HHLH")

_GROUP_LENGTH: Final = 0x0000
_COMMAND_FIELD: Final = 0x0100
_DATA_SET_TYPE: Final = 0x0800
_AFFECTED_CLASS, _REQUESTED_CLASS = 0x0002, 0x0003
_MESSAGE_ID, _RESPONDED_TO = 0x0110, 0x0120
_MOVE_DESTINATION, _PRIORITY, _STATUS, _COMMENT = 0x0600, 0x0700, 0x0900, 0x0902
_AFFECTED_INSTANCE, _REQUESTED_INSTANCE = 0x1000, 0x1001
_EVENT_TYPE, _ACTION_TYPE = 0x1002, 0x1008
_REMAINING, _COMPLETED, _FAILED, _WARNING = 0x1020, 0x1021, 0x1022, 0x1023
_ORIGINATOR, _ORIGINATOR_MESSAGE = 0x1030, 0x1031


class CommandField(IntEnum):
    """What a command asks or answers. Source: PS3.7 table E.1-1."""

    C_STORE_RQ = 0x0001
    C_STORE_RSP = 0x8001
    C_GET_RQ = 0x0010
    C_GET_RSP = 0x8010
    C_FIND_RQ = 0x0020
    C_FIND_RSP = 0x8020
    C_MOVE_RQ = 0x0021
    C_MOVE_RSP = 0x8021
    C_ECHO_RQ = 0x0030
    C_ECHO_RSP = 0x8030
    N_EVENT_REPORT_RQ = 0x0100
    N_EVENT_REPORT_RSP = 0x8100
    N_GET_RQ = 0x0110
    N_GET_RSP = 0x8110
    N_SET_RQ = 0x0120
    N_SET_RSP = 0x8120
    N_ACTION_RQ = 0x0130
    N_ACTION_RSP = 0x8130
    N_CREATE_RQ = 0x0140
    N_CREATE_RSP = 0x8140
    N_DELETE_RQ = 0x0150
    N_DELETE_RSP = 0x8150
    C_CANCEL_RQ = 0x0FFF


# In the place of a C-MOVE's message ID: a partner hands on an object that it got from the AE title beside it. Toolkits
# count messages from 1 on, so that no C-MOVE looks like that.
HANDED_ON: Final = 0

_FIELDS: Final = {int(field): field for field in CommandField}


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command set. Texts are as received without their padding, and may be rubbish; absent values are 0 or empty.
    `completed`: of the sub-operations of a retrieve, those that ended well, perhaps with a warning; None when not told.
    """

    field: CommandField
    context_id: int
    has_data_set: bool
    message_id: int = 0
    responded_to: int = 0
    affected_sop_class: str = ""
    affected_sop_instance: str = ""
    requested_sop_class: str = ""
    requested_sop_instance: str = ""
    move_destination: str = ""
    move_originator: str = ""
    move_originator_message_id: int = 0
    priority: int = 0
    status: int = 0
    error_comment: str = ""
    event_type: int = 0
    action_type: int = 0
    completed: int | None = None

    @property
    def is_response(self) -> bool:
        """Whether it answers a request."""
        return bool(self.field & _RESPONSE_BIT)

    @property
    def is_pending(self) -> bool:
        """Whether it is a response behind which others come. Source: PS3.4 section C.4.1.1.4."""
        return self.status in _PENDING


def decode_command(encoded: bytes, context_id: int) -> Command:
    """The command set in `encoded`. What follows of other groups in a response is passed over.

    Raises: ProtocolViolation when it is not one: another group, unordered or duplicated elements, wrong lengths, an
    unknown Command Field, or one of the elements missing that every command has.
    Source: PS3.7 section 6.3.1 (Implicit VR Little Endian), annex E.
    """
    values = _elements(encoded)
    field = _FIELDS.get(_number(values, _COMMAND_FIELD))
    if field is None:
        raise ProtocolViolation(f"a command has an unknown Command Field 0x{_number(values, _COMMAND_FIELD):04X}")
    is_request = not field & _RESPONSE_BIT and field != CommandField.C_CANCEL_RQ
    required = _MESSAGE_ID if is_request else _RESPONDED_TO
    if required not in values or _DATA_SET_TYPE not in values:
        raise ProtocolViolation(f"a {field.name} lacks its message ID or Command Data Set Type")
    if field & _RESPONSE_BIT and not values.get(_STATUS):
        raise ProtocolViolation(f"a {field.name} lacks its Status")
    has_data_set = _number(values, _DATA_SET_TYPE) != NO_DATA_SET
    if has_data_set and field == CommandField.C_CANCEL_RQ:
        raise ProtocolViolation("a C_CANCEL_RQ announces a data set")
    told: dict[str, Any] = {
        found[0]: found[1](values, element) for element in values if (found := _TOLD.get(element)) is not None
    }
    if values.get(_COMPLETED):
        told["completed"] = _number(values, _COMPLETED) + _number(values, _WARNING)
    return Command(field=field, context_id=context_id, has_data_set=has_data_set, **told)


def _elements(encoded: bytes) -> dict[int, bytes]:
    values: dict[int, bytes] = {}
    offset, size, last = 0, len(encoded), -1
    while offset < size:
        if offset + 8 > size:
            raise ProtocolViolation("a command set ends inside an element")
        group, element, length = _ELEMENT.unpack_from(encoded, offset)
        end = offset + 8 + length
        if group != 0:
            # Orthanc 1.10 puts the list of what failed into the command set of its final C-GET response.
            if not _number(values, _COMMAND_FIELD) & _RESPONSE_BIT:
                raise ProtocolViolation(f"a command set holds an element of group {group:04X}")
            size = offset
            break
        if element <= last:
            raise ProtocolViolation(f"element (0000,{element:04X}) of a command set is out of order or there twice")
        if end > size:
            raise ProtocolViolation(f"element (0000,{element:04X}) runs past the end of its command set")
        values[element] = encoded[offset + 8 : end]
        offset, last = end, element
    group_length = values.get(_GROUP_LENGTH)
    fitting = (size - _GROUP_LENGTH_BYTES, len(encoded) - _GROUP_LENGTH_BYTES)
    if group_length is not None and (len(group_length) != _UL.size or _UL.unpack(group_length)[0] not in fitting):
        raise ProtocolViolation("a command set has a wrong Command Group Length")
    return values


def _number(values: dict[int, bytes], element: int) -> int:
    value = values.get(element)
    if not value:
        return 0
    if len(value) != _US.size:
        raise ProtocolViolation(f"element (0000,{element:04X}) of a command set is not a 16-bit number")
    return int.from_bytes(value, "little")


def _text(values: dict[int, bytes], element: int) -> str:
    value = values.get(element)
    return value.rstrip(b"\0 ").decode("latin-1") if value else ""


def _title(values: dict[int, bytes], element: int) -> str:
    """An AE title, whose leading spaces are padding too. Source: PS3.5 table 6.2-1."""
    return _text(values, element).lstrip(" ")


# What a command tells beside its field: the name in `Command`, and how it is read.
_TOLD: Final[dict[int, tuple[str, Callable[[dict[int, bytes], int], int | str]]]] = {
    _MESSAGE_ID: ("message_id", _number),
    _RESPONDED_TO: ("responded_to", _number),
    _AFFECTED_CLASS: ("affected_sop_class", _text),
    _AFFECTED_INSTANCE: ("affected_sop_instance", _text),
    _REQUESTED_CLASS: ("requested_sop_class", _text),
    _REQUESTED_INSTANCE: ("requested_sop_instance", _text),
    _MOVE_DESTINATION: ("move_destination", _title),
    _ORIGINATOR: ("move_originator", _title),
    _ORIGINATOR_MESSAGE: ("move_originator_message_id", _number),
    _PRIORITY: ("priority", _number),
    _STATUS: ("status", _number),
    _COMMENT: ("error_comment", _text),
    _EVENT_TYPE: ("event_type", _number),
    _ACTION_TYPE: ("action_type", _number),
}


def encode_command(
    field: CommandField,
    *,
    has_data_set: bool = False,
    message_id: int | None = None,
    responded_to: int | None = None,
    affected_sop_class: str = "",
    affected_sop_instance: str = "",
    requested_sop_class: str = "",
    requested_sop_instance: str = "",
    move_destination: str = "",
    originator: tuple[str, int] | None = None,
    priority: int | None = None,
    status: int | None = None,
    comment: str = "",
    event_type: int | None = None,
    action_type: int | None = None,
    remaining: int | None = None,
    completed: int | None = None,
    failed: int | None = None,
    warning: int | None = None,
) -> bytes:
    """A command set with its group length; what is None or empty is left out. `originator`: AE title, message ID.

    The comment is cut to 64 bytes, and what is not printable ASCII in it becomes '_'.
    """
    parts = (
        _uid(_AFFECTED_CLASS, affected_sop_class),
        _uid(_REQUESTED_CLASS, requested_sop_class),
        _short(_COMMAND_FIELD, field),
        _short(_MESSAGE_ID, message_id),
        _short(_RESPONDED_TO, responded_to),
        _padded(_MOVE_DESTINATION, move_destination) if move_destination else b"",
        _short(_PRIORITY, priority),
        _short(_DATA_SET_TYPE, _A_DATA_SET if has_data_set else NO_DATA_SET),
        _short(_STATUS, status),
        _padded(_COMMENT, _plain(comment)) if comment else b"",
        _uid(_AFFECTED_INSTANCE, affected_sop_instance),
        _uid(_REQUESTED_INSTANCE, requested_sop_instance),
        _short(_EVENT_TYPE, event_type),
        _short(_ACTION_TYPE, action_type),
        _short(_REMAINING, remaining),
        _short(_COMPLETED, completed),
        _short(_FAILED, failed),
        _short(_WARNING, warning),
        _padded(_ORIGINATOR, originator[0]) + _short(_ORIGINATOR_MESSAGE, originator[1]) if originator else b"",
    )
    body = b"".join(parts)
    return _ELEMENT.pack(0, _GROUP_LENGTH, 4) + _UL.pack(len(body)) + body


def response(
    request: Command,
    status: int,
    *,
    comment: str = "",
    has_data_set: bool = False,
    remaining: int | None = None,
    completed: int | None = None,
    failed: int | None = None,
    warning: int | None = None,
) -> bytes:
    """The command set that answers `request` with `status`; the counts belong to C-GET and C-MOVE.

    Source: PS3.7 sections 9.3 and 10.3 (each response names the request's message ID, SOP class and, if any, instance).
    """
    return encode_command(
        CommandField(request.field | _RESPONSE_BIT),
        has_data_set=has_data_set,
        responded_to=request.message_id,
        affected_sop_class=request.affected_sop_class or request.requested_sop_class,
        affected_sop_instance=request.affected_sop_instance or request.requested_sop_instance,
        status=status,
        comment=comment,
        remaining=remaining,
        completed=completed,
        failed=failed,
        warning=warning,
    )


def _short(element: int, value: int | None) -> bytes:
    return b"" if value is None else _SHORT_ELEMENT.pack(0, element, 2, value)


def _uid(element: int, text: str) -> bytes:
    if not text:
        return b""
    value = text.encode("latin-1", "replace")
    value += b"\0" * (len(value) % 2)
    return _ELEMENT.pack(0, element, len(value)) + value


def _padded(element: int, text: str) -> bytes:
    value = text.encode("latin-1", "replace")
    value += b" " * (len(value) % 2)
    return _ELEMENT.pack(0, element, len(value)) + value


def _plain(comment: str) -> str:
    """The comment as an LO of the default repertoire, which has no backslash in one value (PS3.5 section 6.2)."""
    shown = comment[:MAX_COMMENT_BYTES]
    return "".join(letter if " " <= letter <= "~" and letter != "\\" else "_" for letter in shown)
