"""Rewrites a native data set into another native transfer syntax: values stay byte for byte, only headers change.

Sequences and items come out with undefined length, so nothing has to be held back; large values pass through as views.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Final

from pydicom.datadict import dictionary_VR

from pacs_server.dicom.elements import (
    EXPLICIT_BE,
    EXPLICIT_LE,
    IMPLICIT,
    IMPLICIT_LE,
    ITEM,
    ITEM_END,
    LONG_VRS,
    PIXEL_DATA,
    SEQUENCE_END,
    UNDEFINED_LENGTH,
    Buffer,
    Encoding,
    encoding_of,
)
from pacs_server.errors import Undecodable

_SOURCES: Final = frozenset({IMPLICIT_LE, EXPLICIT_LE, EXPLICIT_BE})
_TARGETS: Final = frozenset({IMPLICIT_LE, EXPLICIT_LE})
_MAX_DEPTH: Final = 64
_SWAP_BYTES: Final = 1 << 20
_MAX_SHORT_BYTES: Final = 0xFFFE

_PIXEL_REPRESENTATION: Final = 0x00280103
_BITS_ALLOCATED: Final = 0x00280100

# Bytes of one number of each VR, for a change of byte order. AT is two numbers of 16 bits. Source: PS3.5 section 7.3.
_NUMBER_BYTES: Final = {
    b"AT": 2, b"OW": 2, b"SS": 2, b"US": 2,
    b"FL": 4, b"OF": 4, b"OL": 4, b"SL": 4, b"UL": 4,
    b"FD": 8, b"OD": 8, b"OV": 8, b"SV": 8, b"UV": 8,
}  # fmt: skip


def can_reencode(source: str, target: str) -> bool:
    """Whether a data set in `source` can be rewritten into `target` without touching pixels."""
    return source in _SOURCES and target in _TARGETS


def reencode(data_set: Buffer, source: str, target: str) -> Iterator[Buffer]:
    """The data set in another syntax, piece by piece. Group lengths are left out, because they would be wrong.

    Raises: Undecodable when the data set is damaged or nested deeper than 64 levels.
    Source: PS3.5 sections 7.1, 7.5, A.1 to A.3.
    """
    return _Rewriter(data_set, encoding_of(source), encoding_of(target)).pieces()


def canonical(data_set: Buffer, source: str) -> Iterator[Buffer]:
    """One form for equal values: Implicit VR Little Endian without group lengths.

    Raises: Undecodable.
    """
    return reencode(data_set, source, IMPLICIT_LE)


class _Rewriter:
    """Walks one data set with an explicit stack: for each open level where it ends and what closes it."""

    def __init__(self, data_set: Buffer, source: Encoding, target: Encoding) -> None:
        self._view = memoryview(data_set)
        self._source = source
        self._target = target
        self._is_signed = False
        self._bits_allocated = 16

    def pieces(self) -> Iterator[Buffer]:
        # (offset at which a level of defined length ends, or None; the delimiter that closes it; encoding inside)
        levels: list[tuple[int | None, int, Encoding]] = [(len(self._view), 0, self._source)]
        offset = 0
        while levels:
            end, closes, encoding = levels[-1]
            if end is not None and offset >= end:
                if offset > end:
                    raise Undecodable("an item or sequence ends inside an element")
                levels.pop()
                if closes:
                    yield self._target.write_header(closes, b"", 0)
                continue
            tag, vr, length, offset = self._header(encoding, offset)
            if tag == closes and end is None:
                levels.pop()
                yield self._target.write_header(closes, b"", 0)
            elif tag == ITEM and closes == SEQUENCE_END:
                levels.append((_end(offset, length), ITEM_END, encoding))
                yield self._target.write_header(ITEM, b"", UNDEFINED_LENGTH)
            elif closes == SEQUENCE_END or tag >> 16 == 0xFFFE:
                raise Undecodable(f"element {tag:08x} stands where it may not stand")
            else:
                vr = vr or _dictionary_vr(tag)
                if vr == b"SQ" or length == UNDEFINED_LENGTH:
                    levels.append((_end(offset, length), SEQUENCE_END, IMPLICIT if vr == b"UN" else encoding))
                    yield self._target.write_header(tag, b"SQ", UNDEFINED_LENGTH)
                else:
                    yield from self._element(tag, vr, offset, length, encoding)
                    offset += length
            if len(levels) > 2 * _MAX_DEPTH:
                raise Undecodable(f"sequences are nested deeper than {_MAX_DEPTH} levels")

    def _header(self, encoding: Encoding, offset: int) -> tuple[int, bytes, int, int]:
        header = encoding.header(self._view, offset)
        if header is None:
            raise Undecodable("the data set ends inside an element header")
        if header[2] != UNDEFINED_LENGTH and header[3] + header[2] > len(self._view):
            raise Undecodable(f"element {header[0]:08x} ends beyond the data set")
        return header

    def _element(self, tag: int, vr: bytes, offset: int, length: int, encoding: Encoding) -> Iterator[Buffer]:
        if tag & 0xFFFF == 0:
            return
        value = self._view[offset : offset + length]
        if tag in (_PIXEL_REPRESENTATION, _BITS_ALLOCATED) and length >= 2:
            number = int.from_bytes(value[:2], "big" if encoding.big_endian else "little")
            self._note(tag, number)
        vr = self._definite_vr(tag, vr)
        if self._target.explicit and length > _MAX_SHORT_BYTES and vr not in LONG_VRS:
            vr = b"UN"  # PS3.5 section 6.2.2 note 1
        yield self._target.write_header(tag, vr, length)
        if encoding.big_endian and vr in _NUMBER_BYTES:
            yield from _swapped(value, _NUMBER_BYTES[vr])
        else:
            yield value

    def _note(self, tag: int, number: int) -> None:
        if tag == _PIXEL_REPRESENTATION:
            self._is_signed = number == 1
        else:
            self._bits_allocated = number

    def _definite_vr(self, tag: int, vr: bytes) -> bytes:
        """One VR where the dictionary leaves a choice. Source: PS3.5 section A.1 and A.2; PS3.3 section C.7.6.3."""
        if len(vr) == 2:
            return vr
        if tag == PIXEL_DATA or b"OB" in vr:
            return b"OW" if self._bits_allocated > 8 or not self._target.explicit or tag != PIXEL_DATA else b"OB"
        if b"SS" in vr and b"US" in vr:
            return b"SS" if self._is_signed and tag != 0x00283002 else b"US"
        return b"OW" if b"OW" in vr else vr[:2]


def _end(offset: int, length: int) -> int | None:
    return None if length == UNDEFINED_LENGTH else offset + length


@lru_cache(maxsize=8192)
def _dictionary_vr(tag: int) -> bytes:
    """The VR of an element of implicit encoding; private and unknown ones are UN, private creators LO."""
    group, element = tag >> 16, tag & 0xFFFF
    if element == 0:
        return b"UL"
    if group & 1:
        return b"LO" if 0x10 <= element <= 0xFF else b"UN"
    try:
        return dictionary_VR(tag).encode("ascii")
    except KeyError:
        return b"UN"


def _swapped(value: memoryview, size: int) -> Iterator[bytes]:
    """The numbers of a value in the other byte order, a bounded piece at a time."""
    whole = len(value) - len(value) % size
    for start in range(0, whole, _SWAP_BYTES):
        piece = value[start : min(start + _SWAP_BYTES, whole)]
        swapped = bytearray(len(piece))
        for index in range(size):
            swapped[index::size] = piece[size - 1 - index :: size]
        yield bytes(swapped)
    if whole < len(value):
        yield bytes(value[whole:])
