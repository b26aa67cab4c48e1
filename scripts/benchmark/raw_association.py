"""A minimal DICOM association over a plain socket, so that the client is not what a row measures.

It speaks only what the bench needs, and believes its peer. Source: PS3.8 section 9.3, PS3.7 section 9.3 and annex E.
"""

from __future__ import annotations

import contextlib
import io
import socket
import struct
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, Self

from benchmark.processes import Failed

VERIFICATION: Final = "1.2.840.10008.1.1"
STUDY_ROOT_FIND: Final = "1.2.840.10008.5.1.4.1.2.2.1"
STUDY_ROOT_MOVE: Final = "1.2.840.10008.5.1.4.1.2.2.2"
STUDY_ROOT_GET: Final = "1.2.840.10008.5.1.4.1.2.2.3"
IMPLICIT_LE: Final = "1.2.840.10008.1.2"
EXPLICIT_LE: Final = "1.2.840.10008.1.2.1"

AFFECTED_SOP_CLASS: Final = 0x0002
COMMAND_FIELD: Final = 0x0100
MESSAGE_ID: Final = 0x0110
RESPONDED_TO: Final = 0x0120
MOVE_DESTINATION: Final = 0x0600
PRIORITY: Final = 0x0700
DATA_SET_TYPE: Final = 0x0800
STATUS: Final = 0x0900
AFFECTED_SOP_INSTANCE: Final = 0x1000

C_STORE_RQ, C_GET_RQ, C_FIND_RQ, C_MOVE_RQ, C_ECHO_RQ = 0x0001, 0x0010, 0x0020, 0x0021, 0x0030
RESPONSE: Final = 0x8000
NO_DATA_SET: Final = 0x0101
PENDING: Final = (0xFF00, 0xFF01)

_TIMEOUT_S: Final = 60.0
_MAX_PDU_BYTES: Final = 131_072
_BUFFER_BYTES: Final = 1 << 18
_TCP_QUICKACK: Final = getattr(socket, "TCP_QUICKACK", None)
_RELEASE_RQ: Final = struct.pack(">BBII", 5, 0, 4, 0)
_RELEASE_RP: Final = struct.pack(">BBII", 6, 0, 4, 0)


class Proposal(NamedTuple):
    """One presentation context that is proposed; `as_scp` asks for the SCP role, which C-GET needs."""

    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...] = (IMPLICIT_LE,)
    as_scp: bool = False


class Fragment(NamedTuple):
    """The head of one PDV: its context, whether it is of a command, whether it is the last one, and its length."""

    context_id: int
    is_command: bool
    is_last: bool
    length: int


def element(tag: int, value: bytes, padding: bytes = b"\0") -> bytes:
    """One element of an Implicit VR Little Endian data set, its value padded to an even length."""
    value += padding * (len(value) % 2)
    return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, len(value)) + value


def command_set(values: Mapping[int, int | str]) -> bytes:
    """A command set from the element numbers of group 0000; numbers become US, text is padded like a UID or an AE."""
    body = b""
    for number, value in sorted(values.items()):
        padding = b" " if number == MOVE_DESTINATION else b"\0"
        body += element(number, struct.pack("<H", value) if isinstance(value, int) else value.encode(), padding)
    return element(0, struct.pack("<I", len(body))) + body


def parse_command(raw: bytes) -> dict[int, bytes]:
    """The raw values of a command set by element number."""
    values, offset = {}, 0
    while offset < len(raw):
        _, number, length = struct.unpack_from("<HHI", raw, offset)
        values[number] = raw[offset + 8 : offset + 8 + length]
        offset += 8 + length
    return values


def data_tf(context_id: int, command: bytes, data_set: bytes = b"") -> bytes:
    """The bytes of a message: the command in one P-DATA-TF and a short data set in another."""
    pdus = struct.pack(">BBIIBB", 4, 0, len(command) + 6, len(command) + 2, context_id, 3) + command
    if data_set:
        pdus += struct.pack(">BBIIBB", 4, 0, len(data_set) + 6, len(data_set) + 2, context_id, 2) + data_set
    return pdus


def associate_rq(called: str, calling: str, proposals: Sequence[Proposal]) -> bytes:
    """An A-ASSOCIATE-RQ. Contexts get the ids 1, 3, 5 ... in the order of the proposals."""
    items = _item(0x10, b"1.2.840.10008.3.1.1.1")
    roles = b""
    for number, proposal in enumerate(proposals):
        syntaxes = b"".join(_item(0x40, syntax.encode()) for syntax in proposal.transfer_syntaxes)
        abstract = proposal.abstract_syntax.encode()
        items += _item(0x20, bytes((2 * number + 1, 0, 0, 0)) + _item(0x30, abstract) + syntaxes)
        if proposal.as_scp:
            roles += _item(0x54, struct.pack(">H", len(abstract)) + abstract + b"\0\1")
    return _associate(1, called, calling, items + _user_information(roles))


def associate_ac(called: str, calling: str, accepted: Mapping[int, str]) -> bytes:
    """An A-ASSOCIATE-AC that accepts these contexts with these transfer syntaxes."""
    items = _item(0x10, b"1.2.840.10008.3.1.1.1")
    for context_id, syntax in accepted.items():
        items += _item(0x21, bytes((context_id, 0, 0, 0)) + _item(0x40, syntax.encode()))
    return _associate(2, called, calling, items + _user_information(b""))


def contexts_of(body: bytes) -> dict[int, tuple[int, list[str]]]:
    """From the body of an A-ASSOCIATE-RQ or -AC: result and transfer syntaxes of each presentation context."""
    found = {}
    for kind, value in _items(body[68:]):
        if kind in (0x20, 0x21):
            syntaxes = [raw.rstrip(b"\0").decode() for sub, raw in _items(value[4:]) if sub == 0x40]
            found[value[0]] = (value[2], syntaxes)
    return found


def _associate(kind: int, called: str, calling: str, items: bytes) -> bytes:
    body = struct.pack(">HH16s16s32x", 1, 0, called.ljust(16).encode(), calling.ljust(16).encode()) + items
    return struct.pack(">BBI", kind, 0, len(body)) + body


def _user_information(roles: bytes) -> bytes:
    values = _item(0x51, struct.pack(">I", _MAX_PDU_BYTES)) + _item(0x52, b"2.25.1338") + roles
    return _item(0x50, values + _item(0x55, b"BENCH"))


def _item(kind: int, value: bytes) -> bytes:
    return struct.pack(">BBH", kind, 0, len(value)) + value


def _items(raw: bytes) -> list[tuple[int, bytes]]:
    found, offset = [], 0
    while offset < len(raw):
        kind, _, length = struct.unpack_from(">BBH", raw, offset)
        found.append((kind, raw[offset + 4 : offset + 4 + length]))
        offset += 4 + length
    return found


class RawAssociation:
    """One association of either role. `contexts` maps the accepted context ids to their transfer syntaxes.

    Raises: Failed when the peer does anything but what the bench expects; OSError when it is silent for 60 s.
    """

    def __init__(self, connection: socket.socket) -> None:
        connection.settimeout(_TIMEOUT_S)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = connection
        self.contexts: dict[int, str] = {}
        self._input = io.BufferedReader(connection.makefile("rb", buffering=0), _BUFFER_BYTES)
        self._pdu_left = 0
        self._waste = memoryview(bytearray(_BUFFER_BYTES))

    @classmethod
    def request(
        cls, port: int, rq: bytes, *, host: str = "127.0.0.1", source: str = "", timeout_s: float = _TIMEOUT_S
    ) -> Self:
        """Connect, send the prepared A-ASSOCIATE-RQ and read the answer."""
        address = (source, 0) if source else None
        association = cls(socket.create_connection((host, port), timeout=timeout_s, source_address=address))
        try:
            association.socket.sendall(rq)
            kind, body = association.read_pdu()
        except BaseException:
            association.close()
            raise
        if kind != 2:
            association.close()
            raise Failed(f"the association was answered with PDU type {kind} {body[:4].hex()}")
        for context_id, (result, syntaxes) in contexts_of(body).items():
            if result == 0:
                association.contexts[context_id] = syntaxes[0]
        return association

    @classmethod
    def accept(cls, connection: socket.socket) -> Self:
        """Accept whatever is proposed, each context with its first transfer syntax."""
        association = cls(connection)
        kind, body = association.read_pdu()
        if kind != 1:
            raise Failed(f"a connection began with PDU type {kind}")
        association.contexts = {context_id: syntaxes[0] for context_id, (_, syntaxes) in contexts_of(body).items()}
        called, calling = (body[start : start + 16].decode() for start in (4, 20))
        connection.sendall(associate_ac(called, calling, association.contexts))
        return association

    def read_pdu(self) -> tuple[int, bytes]:
        """Type and body of the next PDU, whole."""
        head = self._exactly(6)
        return head[0], self._exactly(struct.unpack_from(">I", head, 2)[0])

    def next_fragment(self) -> Fragment | None:
        """The head of the next PDV; its bytes are read by `take` or `skip`. None when the peer asked for release."""
        if not self._pdu_left:
            head = self._exactly(6)
            if head[0] == 5:
                self._exactly(4)
                return None
            if head[0] != 4:
                raise Failed(f"PDU type {head[0]} came instead of data")
            self._pdu_left = int(struct.unpack_from(">I", head, 2)[0])
        length, context_id, control = struct.unpack(">IBB", self._exactly(6))
        self._pdu_left -= length + 4
        return Fragment(context_id, bool(control & 1), bool(control & 2), length - 2)

    def take(self, fragment: Fragment) -> bytes:
        """The bytes of a fragment."""
        return self._exactly(fragment.length)

    def skip(self, fragment: Fragment) -> None:
        """Read the bytes of a fragment and forget them."""
        missing = fragment.length
        while missing:
            got = self._input.readinto(self._waste[: min(missing, len(self._waste))])
            if not got:
                raise Failed("the peer closed the connection in a fragment")
            missing -= got

    def command(self) -> tuple[int, dict[int, bytes]] | None:
        """The next command with its context id; None when the peer asked for release."""
        raw = b""
        while (fragment := self.next_fragment()) is not None:
            raw += self.take(fragment)
            if fragment.is_last:
                return fragment.context_id, parse_command(raw)
        return None

    def discard_data_set(self) -> None:
        """Read the data set that follows a command and forget it."""
        if _TCP_QUICKACK is not None:
            # The peer may have its Nagle on: without this its last segment waits for our delayed ACK, 44 ms.
            self.socket.setsockopt(socket.IPPROTO_TCP, _TCP_QUICKACK, 1)
        while (fragment := self.next_fragment()) is not None:
            self.skip(fragment)
            if fragment.is_last:
                return

    def release(self) -> None:
        """Release the association and close the connection."""
        self.socket.sendall(_RELEASE_RQ)
        kind, _ = self.read_pdu()
        self.close()
        if kind != 6:
            raise Failed(f"the release was answered with PDU type {kind}")

    def confirm_release(self) -> None:
        """Answer the peer's release."""
        self.socket.sendall(_RELEASE_RP)
        self.close()

    def close(self) -> None:
        """Close the connection, whatever its state."""
        with contextlib.suppress(OSError):
            self._input.close()
            self.socket.close()

    def _exactly(self, count: int) -> bytes:
        raw = self._input.read(count)
        if len(raw) != count:
            raise Failed("the peer closed the connection")
        return raw
