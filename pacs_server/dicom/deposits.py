"""Objects that an archive server keeps for us, as a file on our own volumes tells of them: where they are, and as much
of each that an index which is made anew finds it although its file is not here.
"""

from __future__ import annotations

import json
import zlib
from base64 import b64decode, b64encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

from pacs_server.dicom.elements import encoding_of
from pacs_server.dicom.header import Head
from pacs_server.dicom.identity import Digest, Uid
from pacs_server.errors import Undecodable

# What one operation tells of at most: its file stays small then, and so does the message by which a partner hears of
# it. The heads of a CT series are alike, and 500 of them deflate to some 30 KiB; others may have long texts.
_MAX_STUBS: Final = 500
_MAX_VALUE_BYTES: Final = 1 << 19
_MAX_BYTES: Final = 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Stub:
    """What is kept here of an object whose file is elsewhere: enough for its rows. `values` are those of its head."""

    sop_uid: str
    digest: str
    transfer_syntax: str
    size_bytes: int
    received_at: datetime
    day: date
    sender: str
    values: tuple[tuple[int, bytes], ...]

    def head(self) -> Head:
        """Its head as it was read. Raises: Undecodable when its transfer syntax is not known."""
        return Head(values=dict(self.values), encoding=encoding_of(self.transfer_syntax), flags=frozenset())


@dataclass(frozen=True, slots=True, kw_only=True)
class Deposit:
    """Objects that the archive server `aet` has committed to in a transaction, and gave back as they are."""

    aet: str
    transaction_uid: str
    stubs: tuple[Stub, ...]


def stub_values(head: Head) -> tuple[tuple[int, bytes], ...]:
    """What a stub keeps of a head. A private field stands there under a number of this site, which means nothing in
    another index, so that it is left out.
    """
    return tuple(sorted((key, value) for key, value in head.values.items() if key > 0))


def portions(stubs: Sequence[Stub]) -> Iterator[tuple[int, int]]:
    """Where the stubs of each operation begin and end."""
    begin = size_bytes = 0
    for place, stub in enumerate(stubs):
        own_bytes = sum(len(value) for _, value in stub.values)
        if place > begin and (place - begin == _MAX_STUBS or size_bytes + own_bytes > _MAX_VALUE_BYTES):
            yield begin, place
            begin, size_bytes = place, 0
        size_bytes += own_bytes
    if stubs:
        yield begin, len(stubs)


def to_told(deposit: Deposit) -> dict[str, Any]:
    """A deposit as JSON values; the stubs, which nobody reads, in little room."""
    stubs = [
        [
            one.sop_uid, one.digest, one.transfer_syntax, one.size_bytes, one.received_at.isoformat(),
            one.day.isoformat(), one.sender, {str(key): value.decode("latin-1") for key, value in one.values},
        ]
        for one in deposit.stubs
    ]  # fmt: skip
    deflated = zlib.compress(json.dumps(stubs, ensure_ascii=False).encode())
    return {
        "aet": deposit.aet,
        "transaction": deposit.transaction_uid,
        "stubs": b64encode(deflated).decode("ascii"),
    }


def from_told(told: dict[str, Any]) -> Deposit:
    """The deposit in JSON values. Raises: Undecodable; ValueError, TypeError or KeyError when they are others."""
    inflater = zlib.decompressobj()
    try:
        inflated = inflater.decompress(b64decode(told["stubs"], validate=True), _MAX_BYTES)
    except zlib.error as error:
        raise Undecodable(f"the stubs of a deposit cannot be inflated: {error}") from error
    if not inflater.eof:
        raise Undecodable("the stubs of a deposit are cut, or too many")
    aet, transaction_uid = told["aet"], told["transaction"]
    if not isinstance(aet, str) or not isinstance(transaction_uid, str):
        raise TypeError("its archive server and its transaction have to be texts")
    return Deposit(aet=aet, transaction_uid=transaction_uid, stubs=tuple(_stub(*one) for one in json.loads(inflated)))


def _stub(
    sop_uid: str,
    digest: str,
    transfer_syntax: str,
    size_bytes: int,
    received_at: str,
    day: str,
    sender: str,
    values: dict[str, str],
) -> Stub:
    if not isinstance(size_bytes, int):
        raise TypeError("the size of a stub has to be a whole number")
    return Stub(
        sop_uid=Uid(sop_uid),
        digest=Digest(digest),
        transfer_syntax=transfer_syntax,
        size_bytes=size_bytes,
        received_at=datetime.fromisoformat(received_at),
        day=date.fromisoformat(day),
        sender=sender,
        values=tuple(sorted((int(key), value.encode("latin-1")) for key, value in values.items())),
    )
