"""What is said in Storage Commitment: which objects are to be kept safely, and which are; as values and as data sets.

Source: PS3.4 annex J, PS3.3 section C.14.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from struct import Struct
from typing import Final

import blake3

from pacs_server.dicom.elements import Encoding, encoding_of
from pacs_server.dicom.identity import Uid, uid_text
from pacs_server.dicom.items import read_items
from pacs_server.dicom.queries.identifier import top_level
from pacs_server.errors import BadQuery, InvalidUid, MissingAttribute, Undecodable

# The one instance that every request and report is about. Source: PS3.4 section J.3.5.
WELL_KNOWN_INSTANCE: Final = "1.2.840.10008.1.20.1.1"
REQUEST_COMMITMENT: Final = 1  # the action type
ALL_COMMITTED, SOME_FAILED = 1, 2  # the event types

# The largest examinations have some ten thousand objects; one item takes up to 160 bytes.
MAX_REFERENCES: Final = 100_000
MAX_BYTES: Final = 16 << 20

_RETRIEVE_AET: Final = 0x00080054
_CLASS, _INSTANCE = 0x00081150, 0x00081155
_TRANSACTION: Final = 0x00081195
_REASON: Final = 0x00081197
_FAILED, _REFERENCED = 0x00081198, 0x00081199


class Reason(IntEnum):
    """Why an object is not committed to. Source: PS3.3 section C.14.1.1."""

    PROCESSING_FAILURE = 0x0110
    NO_SUCH_OBJECT = 0x0112
    CLASS_CONFLICT = 0x0119
    CLASS_NOT_SUPPORTED = 0x0122
    DUPLICATE_TRANSACTION = 0x0131
    RESOURCE_LIMITATION = 0x0213

    @property
    def words(self) -> str:
        """The reason for a person."""
        return _WORDS[self]


_WORDS: Final = {
    Reason.PROCESSING_FAILURE: "it could not be read back as it was received",
    Reason.NO_SUCH_OBJECT: "it is not held",
    Reason.CLASS_CONFLICT: "it is held under another SOP class",
    Reason.CLASS_NOT_SUPPORTED: "its SOP class is not one that is stored",
    Reason.DUPLICATE_TRANSACTION: "the transaction UID was used before",
    Reason.RESOURCE_LIMITATION: "it has fewer copies than wanted",
}


def reason_in_words(reason: int) -> str:
    """Any reason for a person, also one that is not of the standard."""
    return Reason(reason).words if reason in _WORDS else f"reason 0x{reason:04X}"


@dataclass(frozen=True, slots=True)
class Reference:
    """An object as its sender names it."""

    sop_class: str
    sop_uid: str


@dataclass(frozen=True, slots=True)
class Failure:
    """An object that is not committed to; `reason` is one of `Reason`, or what another system says instead."""

    reference: Reference
    reason: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The objects for which commitment is asked, each once."""

    transaction_uid: str
    references: tuple[Reference, ...]

    def digest(self) -> str:
        """The same for the same objects in whatever order."""
        named = sorted(f"{one.sop_class}\0{one.sop_uid}" for one in self.references)
        return blake3.blake3("\n".join(named).encode("ascii")).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What became of a request."""

    transaction_uid: str
    committed: tuple[Reference, ...]
    failed: tuple[Failure, ...] = ()

    @property
    def event_type(self) -> int:
        """Whether every object was committed to."""
        return SOME_FAILED if self.failed else ALL_COMMITTED


def read_request(raw: bytes, transfer_syntax: str) -> Request:
    """Read the action information of an N-ACTION.

    Raises: MissingAttribute without a transaction UID or an object; TooLarge with too many; BadQuery when it is damaged
    or the text of a UID is not valid. Source: PS3.4 table J.3-1.
    """
    encoding = encoding_of(transfer_syntax)
    found = _elements(raw, encoding)
    references = [_reference(item) for item in _items(found, _REFERENCED, encoding)]
    if not references:
        raise MissingAttribute("the request names no object in its Referenced SOP Sequence (0008,1199)")
    return Request(transaction_uid=_transaction(found), references=tuple(dict.fromkeys(references)))


def read_report(raw: bytes, transfer_syntax: str) -> Report:
    """Read the event information of an N-EVENT-REPORT.

    Raises: like `read_request`. Source: PS3.4 table J.3-2.
    """
    encoding = encoding_of(transfer_syntax)
    found = _elements(raw, encoding)
    failed = [Failure(_reference(item), _reason(item, encoding)) for item in _items(found, _FAILED, encoding)]
    committed = [_reference(item) for item in _items(found, _REFERENCED, encoding)]
    if not committed and not failed:
        raise MissingAttribute("the report names no object")
    return Report(transaction_uid=_transaction(found), committed=tuple(committed), failed=tuple(failed))


def _elements(raw: bytes, encoding: Encoding) -> dict[int, tuple[str, bytes]]:
    try:
        return top_level(raw, encoding)
    except Undecodable as error:
        raise BadQuery(f"the data set is damaged: {error}") from error


def _items(found: dict[int, tuple[str, bytes]], tag: int, encoding: Encoding) -> list[dict[int, bytes]]:
    try:
        return read_items(found[tag][1], encoding, MAX_REFERENCES) if tag in found else []
    except Undecodable as error:
        raise BadQuery(f"its sequence of objects is damaged: {error}") from error


def _transaction(found: dict[int, tuple[str, bytes]]) -> str:
    return _uid(found.get(_TRANSACTION, ("", b""))[1], "Transaction UID (0008,1195)")


def _reference(item: dict[int, bytes]) -> Reference:
    return Reference(
        _uid(item.get(_CLASS, b""), "Referenced SOP Class UID (0008,1150)"),
        _uid(item.get(_INSTANCE, b""), "Referenced SOP Instance UID (0008,1155)"),
    )


def _reason(item: dict[int, bytes], encoding: Encoding) -> int:
    """Why an object failed. Never 0, which stands for an object that is committed to: not without a reason either."""
    raw = item.get(_REASON, b"")
    number = int.from_bytes(raw, "big" if encoding.big_endian else "little") if len(raw) == 2 else 0
    return number or Reason.PROCESSING_FAILURE


def _uid(raw: bytes, name: str) -> str:
    text = uid_text(raw)
    if not text:
        raise MissingAttribute(f"there is no {name}")
    try:
        return str(Uid(text))
    except InvalidUid as error:
        raise BadQuery(f"{name}: {error}") from error


def write_request(request: Request, transfer_syntax: str) -> bytes:
    """The action information of an N-ACTION."""
    encoding = encoding_of(transfer_syntax)
    items = [_written(one, encoding) for one in request.references]
    return _uid_element(_TRANSACTION, request.transaction_uid, encoding) + encoding.write_sequence(_REFERENCED, items)


def write_report(report: Report, transfer_syntax: str, *, retrieve_aet: str) -> bytes:
    """The event information of an N-EVENT-REPORT; what was committed to can be retrieved from `retrieve_aet`."""
    encoding = encoding_of(transfer_syntax)
    number = Struct(f"{encoding.byte_order}H")
    failed = [
        _written(one.reference, encoding) + encoding.write_element(_REASON, b"US", number.pack(one.reason))
        for one in report.failed
    ]
    committed = [_written(one, encoding) for one in report.committed]
    return b"".join(
        (
            encoding.write_element(_RETRIEVE_AET, b"AE", retrieve_aet.encode("ascii")) if committed else b"",
            _uid_element(_TRANSACTION, report.transaction_uid, encoding),
            encoding.write_sequence(_FAILED, failed) if failed else b"",
            encoding.write_sequence(_REFERENCED, committed) if committed else b"",
        )
    )


def _written(one: Reference, encoding: Encoding) -> bytes:
    return _uid_element(_CLASS, one.sop_class, encoding) + _uid_element(_INSTANCE, one.sop_uid, encoding)


def _uid_element(tag: int, uid: str, encoding: Encoding) -> bytes:
    return encoding.write_element(tag, b"UI", uid.encode("ascii"))
