"""Raw PDUs for scripted peers that are ruder than any client library lets one be."""

import socket
import struct

IMPLICIT_LE = "1.2.840.10008.1.2"
EXPLICIT_LE = "1.2.840.10008.1.2.1"
VERIFICATION = "1.2.840.10008.1.1"
CT_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
STUDY_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"

ASSOCIATE_RQ, ASSOCIATE_AC, ASSOCIATE_RJ, P_DATA, RELEASE_RQ, RELEASE_RP, ABORT = range(1, 8)


def pdu(kind: int, body: bytes, length: int | None = None) -> bytes:
    """A PDU; `length` may lie."""
    return struct.pack(">BxL", kind, len(body) if length is None else length) + body


def item(kind: int, body: bytes, length: int | None = None) -> bytes:
    """An item or sub-item of an A-ASSOCIATE PDU; `length` may lie."""
    return struct.pack(">BxH", kind, len(body) if length is None else length) + body


def context(number: int, abstract: str, *transfer: str) -> bytes:
    """A proposed presentation context."""
    names = item(0x30, abstract.encode()) + b"".join(item(0x40, name.encode()) for name in transfer)
    return item(0x20, bytes((number, 0, 0, 0)) + names)


def user_information(*items: bytes, max_pdu_bytes: int = 16_384) -> bytes:
    """User information with a maximum length and further sub-items."""
    return item(0x50, item(0x51, struct.pack(">L", max_pdu_bytes)) + item(0x52, b"1.2.3") + b"".join(items))


def role(uid: str, scu: int, scp: int) -> bytes:
    """A role selection sub-item."""
    return item(0x54, struct.pack(">H", len(uid)) + uid.encode() + bytes((scu, scp)))


def associate_request(
    *contexts: bytes,
    called: bytes = b"PACS",
    calling: bytes = b"CT1",
    version: int = 1,
    name: str = APPLICATION_CONTEXT,
    user: bytes | None = None,
) -> bytes:
    """An A-ASSOCIATE-RQ PDU."""
    head = struct.pack(">HH", version, 0) + called.ljust(16) + calling.ljust(16) + bytes(32)
    information = user_information() if user is None else user
    return pdu(ASSOCIATE_RQ, head + item(0x10, name.encode()) + b"".join(contexts) + information)


def value(context_id: int, control: int, data: bytes, length: int | None = None) -> bytes:
    """A presentation data value. Bit 0 of `control`: command; bit 1: last. `length` may lie."""
    return struct.pack(">LBB", len(data) + 2 if length is None else length, context_id, control) + data


def p_data(*values: bytes) -> bytes:
    """A P-DATA PDU."""
    return pdu(P_DATA, b"".join(values))


def element(number: int, data: bytes, group: int = 0) -> bytes:
    """An element in Implicit VR Little Endian."""
    return struct.pack("<HHL", group, number, len(data)) + data


def us(number: int, data: int) -> bytes:
    """A command element with a 16-bit number."""
    return element(number, struct.pack("<H", data))


def command_set(*elements: bytes) -> bytes:
    """A command set with its group length."""
    body = b"".join(elements)
    return element(0, struct.pack("<L", len(body))) + body


def echo_request(message_id: int = 1, *, data_set_type: int = 0x0101) -> bytes:
    """The command set of a C-ECHO-RQ."""
    return command_set(
        element(0x0002, VERIFICATION.encode() + b"\0"),
        us(0x0100, 0x0030),
        us(0x0110, message_id),
        us(0x0800, data_set_type),
    )


def store_request(message_id: int = 1, sop_instance: str = "1.2.3.4") -> bytes:
    """The command set of a C-STORE-RQ."""
    uid = sop_instance.encode()
    return command_set(
        element(0x0002, CT_STORAGE.encode() + b"\0"),
        us(0x0100, 0x0001),
        us(0x0110, message_id),
        us(0x0700, 0),
        us(0x0800, 1),
        element(0x1000, uid + b"\0" * (len(uid) % 2)),
    )


def cancel_request(message_id: int) -> bytes:
    """The command set of a C-CANCEL-RQ."""
    return command_set(us(0x0100, 0x0FFF), us(0x0120, message_id), us(0x0800, 0x0101))


class Peer:
    """A connected socket that says exactly what it is told, and reads PDUs."""

    def __init__(self, address: tuple[str, int], *, receive_bytes: int = 0) -> None:
        self.socket = socket.socket()
        if receive_bytes:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        self.socket.settimeout(10)
        self.socket.connect(address)

    def __enter__(self) -> "Peer":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def read_pdu(self) -> tuple[int, bytes] | None:
        """The next PDU as (type, body); None when the other side closed or reset the connection."""
        head = self._read(6)
        if head is None:
            return None
        kind, length = struct.unpack(">BxL", head)
        body = self._read(length)
        return None if body is None else (kind, body)

    def _read(self, size: int) -> bytes | None:
        data = b""
        while len(data) < size:
            try:
                more = self.socket.recv(size - len(data))
            except ConnectionResetError:
                return None
            if not more:
                return None
            data += more
        return data

    def aborted(self) -> tuple[int, int]:
        """Source and reason of the A-ABORT that is the next PDU, after which the connection ends."""
        found = self.read_pdu()
        assert found is not None
        assert found[0] == ABORT
        assert self.read_pdu() is None
        return found[1][2], found[1][3]

    def reset(self) -> None:
        """Close with RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def associate(self, *contexts: bytes, **request: object) -> tuple[int, bytes]:
        """Request an association with these contexts (Verification alone by default); the PDU that answers."""
        self.send(associate_request(*(contexts or (context(1, VERIFICATION, IMPLICIT_LE),)), **request))  # type: ignore[arg-type]
        answer = self.read_pdu()
        assert answer is not None
        return answer


ECHO_AND_CT = (
    context(1, VERIFICATION, IMPLICIT_LE),
    context(3, CT_STORAGE, EXPLICIT_LE),
    context(5, "1.3.12.2", EXPLICIT_LE),
)
STORE = p_data(value(3, 3, store_request()))
