"""Raw PDUs for scripted peers that are ruder than any client library lets one be."""

import socket
import struct
from contextlib import suppress

IMPLICIT_LE = "1.2.840.10008.1.2"
EXPLICIT_LE = "1.2.840.10008.1.2.1"
VERIFICATION = "1.2.840.10008.1.1"
CT_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
PATIENT_FIND, PATIENT_MOVE, PATIENT_GET = (f"1.2.840.10008.5.1.4.1.2.1.{number}" for number in (1, 2, 3))
STUDY_FIND, STUDY_MOVE, STUDY_GET = (f"1.2.840.10008.5.1.4.1.2.2.{number}" for number in (1, 2, 3))
COMMITMENT = "1.2.840.10008.1.20.1"
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


def echo_request(message_id: int = 1, *, sop_class: str | None = VERIFICATION, data_set_type: int = 0x0101) -> bytes:
    """The command set of a C-ECHO-RQ; without an Affected SOP Class UID for None."""
    return command_set(
        *([uid_element(0x0002, sop_class)] if sop_class is not None else []),
        us(0x0100, 0x0030),
        us(0x0110, message_id),
        us(0x0800, data_set_type),
    )


def uid_element(number: int, uid: str | bytes) -> bytes:
    """A command element with a UID, or what stands in the place of one."""
    encoded = uid.encode() if isinstance(uid, str) else uid
    return element(number, encoded + b"\0" * (len(encoded) % 2))


def store_request(
    message_id: int = 1, sop_instance: str | bytes = "1.2.3.4", *, sop_class: str = CT_STORAGE, data_set_type: int = 1
) -> bytes:
    """The command set of a C-STORE-RQ."""
    return command_set(
        uid_element(0x0002, sop_class),
        us(0x0100, 0x0001),
        us(0x0110, message_id),
        us(0x0700, 0),
        us(0x0800, data_set_type),
        uid_element(0x1000, sop_instance),
    )


def store_response(message_id: int) -> bytes:
    """The command set of a C-STORE-RSP that says that it was done."""
    return command_set(us(0x0100, 0x8001), us(0x0120, message_id), us(0x0800, 0x0101), us(0x0900, 0))


FIND, GET, MOVE = 0x0020, 0x0010, 0x0021


def query_request(field: int, sop_class: str, *, message_id: int = 1, destination: str = "") -> bytes:
    """The command set of a C-FIND-RQ, C-GET-RQ or C-MOVE-RQ."""
    return command_set(
        uid_element(0x0002, sop_class),
        us(0x0100, field),
        us(0x0110, message_id),
        *([element(0x0600, destination.encode().ljust(16))] if field == MOVE else []),
        us(0x0700, 0),
        us(0x0800, 1),
    )


def report_response(message_id: int, status: int) -> bytes:
    """The command set of an N-EVENT-REPORT-RSP."""
    return command_set(us(0x0100, 0x8100), us(0x0120, message_id), us(0x0800, 0x0101), us(0x0900, status))


def commit_request(message_id: int = 1, *, action: int = 1, instance: str = COMMITMENT + ".1") -> bytes:
    """The command set of an N-ACTION-RQ that asks for Storage Commitment."""
    return command_set(
        uid_element(0x0003, COMMITMENT),
        us(0x0100, 0x0130),
        us(0x0110, message_id),
        us(0x0800, 1),
        uid_element(0x1001, instance),
        us(0x1008, action),
    )


def report_request(message_id: int = 1) -> bytes:
    """The command set of an N-EVENT-REPORT-RQ that says that everything was committed to."""
    return command_set(
        uid_element(0x0002, COMMITMENT),
        us(0x0100, 0x0100),
        us(0x0110, message_id),
        us(0x0800, 1),
        uid_element(0x1000, COMMITMENT + ".1"),
        us(0x1002, 1),
    )


def message(context_id: int, command: bytes, data_set: bytes = b"", *, room: int = 16_000) -> bytes:
    """A command and its data set as P-DATA PDUs of one fragment each."""
    pieces = [data_set[start : start + room] for start in range(0, len(data_set), room)]
    values = [value(context_id, 2 if number == len(pieces) else 0, piece) for number, piece in enumerate(pieces, 1)]
    return p_data(value(context_id, 3, command)) + b"".join(map(p_data, values))


def cancel_request(message_id: int) -> bytes:
    """The command set of a C-CANCEL-RQ."""
    return command_set(us(0x0100, 0x0FFF), us(0x0120, message_id), us(0x0800, 0x0101))


def results(answer: tuple[int, bytes]) -> dict[int, int]:
    """The result of each context in an A-ASSOCIATE-AC, by context ID."""
    kind, body = answer
    assert kind == ASSOCIATE_AC, answer
    found, place = {}, 68
    while place < len(body):
        item_kind, length = struct.unpack_from(">BxH", body, place)
        if item_kind == 0x21:
            found[body[place + 4]] = body[place + 6]
        place += 4 + length
    return found


class Peer:
    """A connected socket that says exactly what it is told, and reads PDUs."""

    def __init__(
        self, address: tuple[str, int], *, receive_bytes: int = 0, source: tuple[str, int] | None = None
    ) -> None:
        self._values: list[tuple[int, int, bytes]] = []
        self.socket = socket.socket()
        if source:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.socket.bind(source)
        if receive_bytes:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        self.socket.settimeout(60)
        self.socket.connect(address)

    def __enter__(self) -> "Peer":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def send_what_is_taken(self, data: bytes) -> None:
        """Send, unless the other side has had enough before."""
        with suppress(BrokenPipeError, ConnectionResetError):
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

    def ended(self) -> int | None:
        """The type of the last PDU before the other side ends the connection; None when that was a reset, which is all
        that reaches a peer that sends on and on.
        """
        last = None
        while (found := self.read_pdu()) is not None:
            last = found[0]
        return last

    def answered(self) -> int:
        """The final status of the request that was made; the pending ones before it, and data sets, are passed over."""
        while True:
            status, data_set_follows = self._response()
            while data_set_follows:
                data_set_follows = not self._value()[1] & 2
            if status not in (0xFF00, 0xFF01):
                return status

    def _response(self) -> tuple[int, bool]:
        """Status of the next response, and whether a data set follows."""
        context_id, control, data = self._value()
        assert control & 3 == 3, (context_id, control)
        numbers = {
            tag: int(struct.unpack_from("<H", data, data.index(struct.pack("<HHL", 0, tag, 2)) + 8)[0])
            for tag in (0x0800, 0x0900)
        }
        return numbers[0x0900], numbers[0x0800] != 0x0101

    def _value(self) -> tuple[int, int, bytes]:
        """The next presentation data value: context ID, message control header, fragment."""
        if not self._values:
            found = self.read_pdu()
            assert found is not None
            kind, body = found
            assert kind == P_DATA, found
            while body:
                (length,) = struct.unpack_from(">L", body)
                self._values.append((body[4], body[5], body[6 : 4 + length]))
                body = body[4 + length :]
        return self._values.pop(0)

    def release(self) -> None:
        """End the association in good order."""
        self.send(pdu(RELEASE_RQ, bytes(4)))
        assert self.read_pdu() == (RELEASE_RP, bytes(4))
        assert self.read_pdu() is None

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
