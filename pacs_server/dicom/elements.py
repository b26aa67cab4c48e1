"""How one data element is laid out in each native encoding: the part that every reader and writer of ours shares.

Source: PS3.5 section 7.1 (element structure), 7.5 (sequences), A.1-A.3 and A.5 (transfer syntaxes).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product
from string import ascii_uppercase
from struct import Struct
from typing import Final, TypeAlias

UNDEFINED_LENGTH: Final = 0xFFFFFFFF
ITEM: Final = 0xFFFEE000
ITEM_END: Final = 0xFFFEE00D
SEQUENCE_END: Final = 0xFFFEE0DD
PIXEL_DATA: Final = 0x7FE00010

IMPLICIT_LE: Final = "1.2.840.10008.1.2"
EXPLICIT_LE: Final = "1.2.840.10008.1.2.1"
DEFLATED_LE: Final = "1.2.840.10008.1.2.1.99"
EXPLICIT_BE: Final = "1.2.840.10008.1.2.2"
NATIVE_SYNTAXES: Final = frozenset({IMPLICIT_LE, EXPLICIT_LE, DEFLATED_LE, EXPLICIT_BE})
DEFLATED_SYNTAXES: Final = frozenset({DEFLATED_LE, "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205"})

# VRs whose explicit form has a 16-bit length. Any other, also one of an edition to come, has two reserved bytes and a
# 32-bit length (PS3.5 section 7.1.2). What is no pair of capital letters is no VR.
SHORT_VRS: Final = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
LONG_VRS: Final = frozenset(map(bytes, product(ascii_uppercase.encode(), repeat=2))) - SHORT_VRS

# Whole numbers, each with its form for `struct`; texts that Specific Character Set speaks of (PS3.5 section 6.2).
NUMBERS: Final = {"SL": "l", "SS": "h", "UL": "L", "US": "H"}
TEXT_VRS: Final = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})
_PADDED_WITH_SPACES: Final = frozenset(b"AE AS CS DA DS DT IS LO LT PN SH ST TM UC UR UT".split())

Buffer: TypeAlias = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class Encoding:
    """One of the three native element layouts. `header` answers (tag, vr, length, value offset).

    `vr` is empty for implicit VR and for item and delimiter tags, which never carry one.
    """

    explicit: bool
    big_endian: bool
    tag_and_length: Struct
    tag_and_short: Struct
    long: Struct

    def header(self, buffer: Buffer, offset: int) -> tuple[int, bytes, int, int] | None:
        """Read the element header at `offset`; None when the buffer ends inside it."""
        if offset + 8 > len(buffer):
            return None
        group, element, length = self.tag_and_length.unpack_from(buffer, offset)
        tag = group << 16 | element
        if not self.explicit or group == 0xFFFE:
            return tag, b"", length, offset + 8
        vr = bytes(buffer[offset + 4 : offset + 6])
        if vr not in LONG_VRS:
            return tag, vr, self.tag_and_short.unpack_from(buffer, offset)[3], offset + 8
        if offset + 12 > len(buffer):
            return None
        return tag, vr, self.long.unpack_from(buffer, offset + 8)[0], offset + 12

    def inside(self, vr: bytes) -> Encoding:
        """The layout of what is nested in an element of undefined length: Implicit VR Little Endian where it is UN.

        Source: PS3.5 section 6.2.2 note 2.
        """
        return IMPLICIT if vr == b"UN" else self

    def write_header(self, tag: int, vr: bytes, length: int) -> bytes:
        """The bytes of an element header. A short-form VR takes at most 65534 bytes; longer ones must come as UN.

        Source: PS3.5 section 6.2.2 note 1.
        """
        group, element = tag >> 16, tag & 0xFFFF
        if not self.explicit or group == 0xFFFE:
            return self.tag_and_length.pack(group, element, length)
        if vr in LONG_VRS:
            return self.tag_and_short.pack(group, element, vr, 0) + self.long.pack(length)
        return self.tag_and_short.pack(group, element, vr, length)

    def write_element(self, tag: int, vr: bytes, value: bytes) -> bytes:
        """The bytes of an element, its value padded to an even length."""
        padded = value + padding_of(vr) if len(value) % 2 else value
        return self.write_header(tag, vr, len(padded)) + padded

    def write_sequence(self, tag: int, items: Iterable[bytes]) -> bytes:
        """The bytes of a sequence of items, whose elements are written already."""
        content = b"".join(self.write_header(ITEM, b"", len(item)) + item for item in items)
        return self.write_header(tag, b"SQ", len(content)) + content

    @property
    def byte_order(self) -> str:
        """The byte order of numbers, as `struct` writes it."""
        return ">" if self.big_endian else "<"


def padding_of(vr: bytes) -> bytes:
    """What a value of odd length gets behind it: a space for texts, a NUL for all else. Source: PS3.5 section 6.2."""
    return b" " if vr in _PADDED_WITH_SPACES else b"\0"


def _encoding(*, explicit: bool, big_endian: bool) -> Encoding:
    order = ">" if big_endian else "<"
    return Encoding(explicit, big_endian, Struct(f"{order}HHL"), Struct(f"{order}HH2sH"), Struct(f"{order}L"))


IMPLICIT: Final = _encoding(explicit=False, big_endian=False)
EXPLICIT: Final = _encoding(explicit=True, big_endian=False)
BIG_ENDIAN: Final = _encoding(explicit=True, big_endian=True)


def encoding_of(transfer_syntax: str) -> Encoding:
    """The element layout of a transfer syntax; every encapsulated or deflated one is explicit little endian.

    Source: PS3.5 section A.4: encapsulated data sets are Explicit VR Little Endian.
    """
    if transfer_syntax == IMPLICIT_LE:
        return IMPLICIT
    return BIG_ENDIAN if transfer_syntax == EXPLICIT_BE else EXPLICIT
