"""Bytes to protocol data units and back, without sockets: one receive buffer, bounded before anything is believed.

Source: PS3.8 section 9.3 (DICOM upper layer protocol data unit structure) and annex E.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Iterator
from enum import IntEnum
from struct import Struct
from typing import Final, NamedTuple, TypeAlias

from pacs_server.dicom.elements import Buffer
from pacs_server.errors import ProtocolViolation

PDU_HEADER_BYTES: Final = 6
PDV_HEADER_BYTES: Final = 6
# 128 contexts of 60 transfer syntaxes with UIDs of 64 characters are 0.55 MiB; user information is at most 64 KiB.
MAX_ASSOCIATE_BYTES: Final = 1 << 20
_LEAST_ASSOCIATE_BYTES: Final = 68
_SHORT_PDU_BYTES: Final = 4

_PDU_HEADER: Final = Struct(">BxL")
_PDV_HEADER: Final = Struct(">LBB")
_DATA_HEADER: Final = Struct(">BxLLBB")
_COMMAND_BIT: Final = 0x01
_LAST_BIT: Final = 0x02
_TLS_RECORDS: Final = frozenset({0x15, 0x16})  # an alert, a handshake (RFC 8446 section 5.1)


class PduType(IntEnum):
    """The first byte of a PDU."""

    ASSOCIATE_RQ = 0x01
    ASSOCIATE_AC = 0x02
    ASSOCIATE_RJ = 0x03
    P_DATA = 0x04
    RELEASE_RQ = 0x05
    RELEASE_RP = 0x06
    ABORT = 0x07


class AbortReason(IntEnum):
    """Why the upper layer aborts. Source: PS3.8 table 9-26."""

    NOT_SPECIFIED = 0
    UNRECOGNISED_PDU = 1
    UNEXPECTED_PDU = 2
    UNEXPECTED_PARAMETER = 5
    INVALID_PARAMETER = 6


class BadPdu(ProtocolViolation):
    """What arrived is not a PDU, or not one that may come; `reason` is what the A-ABORT says."""

    def __init__(self, text: str, reason: AbortReason) -> None:
        super().__init__(text)
        self.reason = reason


class Fragment(NamedTuple):
    """One presentation data value. `data` is a view into the receive buffer, valid until its next `writable`."""

    context_id: int
    is_command: bool
    is_last: bool
    data: memoryview


class AssociateRequestPdu(NamedTuple):
    """A whole A-ASSOCIATE-RQ, header included."""

    pdu: bytes


class AssociateAcceptPdu(NamedTuple):
    """A whole A-ASSOCIATE-AC, header included."""

    pdu: bytes


class AssociateRejectPdu(NamedTuple):
    """An A-ASSOCIATE-RJ."""

    result: int
    source: int
    reason: int


class ReleaseRequest(NamedTuple):
    """An A-RELEASE-RQ."""


class ReleaseReply(NamedTuple):
    """An A-RELEASE-RP."""


class Abort(NamedTuple):
    """An A-ABORT; source 0 is the peer's application, 2 its upper layer."""

    source: int
    reason: int


Event: TypeAlias = (
    Fragment | AssociateRequestPdu | AssociateAcceptPdu | AssociateRejectPdu | ReleaseRequest | ReleaseReply | Abort
)


def _memory(size_bytes: int) -> memoryview:
    """A buffer that takes real memory only as it is used; as bytearrays, 300 idle associations held 80 MB of zeros."""
    return memoryview(mmap.mmap(-1, size_bytes))


class PduReader:
    """Takes received bytes into its buffer and gives events out of it; a length is checked when its header is there.

    Use: fill `writable()`, tell `received(count)`, then call `next()` until it is None. Memory is two PDUs of the
    maximum that we announce; only while an A-ASSOCIATE PDU larger than that arrives, it is that PDU's size.
    """

    def __init__(self, max_pdu_bytes: int) -> None:
        self._max_pdu_bytes = max_pdu_bytes
        self._capacity = 2 * (max_pdu_bytes + PDU_HEADER_BYTES)
        self._view = _memory(self._capacity)
        self._start = 0  # of the first byte that is not consumed
        self._end = 0  # of what was received
        self._pdu_end = 0  # of the P-DATA PDU whose values are being given out; not above _start when there is none
        self._kind = 0
        self._needed = 0  # bytes of the PDU at _start with its header; 0 while its header is not there
        self.finished = 0  # PDUs that arrived whole

    @property
    def mid_pdu(self) -> bool:
        """Whether a PDU has begun to arrive and is not whole; meant to be asked when `next` answered None."""
        return self._end > self._start

    def writable(self) -> memoryview:
        """Where the next bytes go; never empty. Views given out before are no longer valid."""
        held = self._end - self._start
        if held == 0:
            self._start = self._end = self._pdu_end = 0
            if len(self._view) > self._capacity:
                self._view = _memory(self._capacity)
        elif self._needed > len(self._view):
            self._move_to(_memory(self._needed), held)
        elif self._start + max(self._needed, PDU_HEADER_BYTES) > len(self._view):
            self._move_to(self._view, held)
        return self._view[self._end :]

    def _move_to(self, view: memoryview, held: int) -> None:
        view[:held] = self._view[self._start : self._end]
        self._view, self._start, self._end, self._pdu_end = view, 0, held, 0

    def received(self, count: int) -> None:
        """Tell that `count` bytes were written to the beginning of `writable()`."""
        self._end += count

    def next(self) -> Event | None:
        """The next event that is wholly here, or None.

        Raises: BadPdu as soon as what is here cannot become a PDU that may come.
        """
        if self._start < self._pdu_end:
            return self._next_value()
        held = self._end - self._start
        if self._needed == 0:
            if held < PDU_HEADER_BYTES:
                return None
            self._kind, length = _PDU_HEADER.unpack_from(self._view, self._start)
            self._check(self._kind, length)
            self._needed = PDU_HEADER_BYTES + length
        if held < self._needed:
            return None
        end, self._needed = self._start + self._needed, 0
        self.finished += 1
        if self._kind == PduType.P_DATA:
            self._pdu_end = end
            self._start += PDU_HEADER_BYTES
            return self._next_value()
        pdu = bytes(self._view[self._start : end])
        self._start = end
        return _event(self._kind, pdu)

    def _check(self, kind: int, length: int) -> None:
        if kind == PduType.P_DATA:
            low, high = PDV_HEADER_BYTES, self._max_pdu_bytes
        elif kind in (PduType.ASSOCIATE_RQ, PduType.ASSOCIATE_AC):
            low, high = _LEAST_ASSOCIATE_BYTES, MAX_ASSOCIATE_BYTES
        elif PduType.ASSOCIATE_RJ <= kind <= PduType.ABORT:
            low, high = _SHORT_PDU_BYTES, _SHORT_PDU_BYTES
        else:
            if kind in _TLS_RECORDS:
                raise BadPdu("not DICOM: it speaks TLS, which has a port of its own", AbortReason.UNRECOGNISED_PDU)
            raise BadPdu(f"not DICOM: it sent a PDU of type 0x{kind:02X}", AbortReason.UNRECOGNISED_PDU)
        if not low <= length <= high:
            name = PduType(kind).name
            raise BadPdu(
                f"a PDU of type {name} has a length of {length} bytes; allowed are {low} to {high}",
                AbortReason.INVALID_PARAMETER,
            )

    def _next_value(self) -> Fragment:
        """The presentation data value at the start. Source: PS3.8 section 9.3.5.1 and annex E.2."""
        start, left = self._start, self._pdu_end - self._start
        if left < PDV_HEADER_BYTES:
            raise BadPdu(f"a P-DATA PDU ends with {left} bytes too many", AbortReason.INVALID_PARAMETER)
        length, context_id, control = _PDV_HEADER.unpack_from(self._view, start)
        if not 2 <= length <= left - 4:
            raise BadPdu(
                f"a presentation data value has a length of {length} bytes in {left - 4} of its PDU",
                AbortReason.INVALID_PARAMETER,
            )
        self._start = start + 4 + length
        # Bits 2 to 7 of the message control header are not tested (PS3.8 annex E.2).
        data = self._view[start + PDV_HEADER_BYTES : self._start]
        return Fragment(context_id, control & _COMMAND_BIT != 0, control & _LAST_BIT != 0, data)


def _event(kind: int, pdu: bytes) -> Event:
    if kind == PduType.ASSOCIATE_RQ:
        return AssociateRequestPdu(pdu)
    if kind == PduType.ASSOCIATE_AC:
        return AssociateAcceptPdu(pdu)
    if kind == PduType.ASSOCIATE_RJ:
        return AssociateRejectPdu(*pdu[7:10])
    if kind == PduType.RELEASE_RQ:
        return ReleaseRequest()
    if kind == PduType.RELEASE_RP:
        return ReleaseReply()
    return Abort(*pdu[8:10])


RELEASE_REQUEST: Final = bytes((PduType.RELEASE_RQ, 0, 0, 0, 0, 4, 0, 0, 0, 0))
RELEASE_REPLY: Final = bytes((PduType.RELEASE_RP, 0, 0, 0, 0, 4, 0, 0, 0, 0))


def abort_pdu(source: int, reason: int) -> bytes:
    """An A-ABORT PDU. Source: PS3.8 section 9.3.8."""
    return bytes((PduType.ABORT, 0, 0, 0, 0, 4, 0, 0, source, reason))


def data_header(context_id: int, size_bytes: int, *, is_command: bool, is_last: bool) -> bytes:
    """What stands before `size_bytes` of one fragment that is sent as a P-DATA PDU of its own."""
    control = (_COMMAND_BIT if is_command else 0) | (_LAST_BIT if is_last else 0)
    return _DATA_HEADER.pack(PduType.P_DATA, size_bytes + PDV_HEADER_BYTES, size_bytes + 2, context_id, control)


def data_pdus(context_id: int, pieces: Iterable[Buffer], room: int, *, is_command: bool) -> Iterator[list[Buffer]]:
    """P-DATA PDUs of one fragment each, of at most `room` bytes: the header, then views of the pieces, uncopied."""
    held: list[Buffer] = []
    size = 0
    for piece in pieces:
        view = memoryview(piece)
        start, end = 0, len(view)
        while start < end:
            if size == room:
                yield [data_header(context_id, size, is_command=is_command, is_last=False), *held]
                held, size = [], 0
            behind = min(start + room - size, end)
            held.append(view[start:behind])
            size += behind - start
            start = behind
    yield [data_header(context_id, size, is_command=is_command, is_last=True), *held]
