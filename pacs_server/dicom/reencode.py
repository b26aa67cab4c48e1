"""Rewrites a native data set into another native transfer syntax: values stay byte for byte, only headers change, and
what has an odd length is padded, as every value should be (PS3.5 section 6.2).

Sequences and items come out with undefined length, so nothing has to be held back; values pass through as views of the
pieces that came.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Final, Protocol, TypeAlias

from pydicom.datadict import dictionary_VR

from pacs_server.dicom.element_source import ElementSource, deflated, inflated, skip_value
from pacs_server.dicom.elements import (
    DEFLATED_LE,
    DEFLATED_SYNTAXES,
    EXPLICIT_LE,
    IMPLICIT,
    IMPLICIT_LE,
    ITEM,
    ITEM_END,
    LONG_VRS,
    NATIVE_SYNTAXES,
    PIXEL_DATA,
    SEQUENCE_END,
    SHORT_VRS,
    UNDEFINED_LENGTH,
    Buffer,
    Encoding,
    encoding_of,
    padding_of,
)
from pacs_server.errors import Undecodable

_TARGETS: Final = frozenset({IMPLICIT_LE, EXPLICIT_LE, DEFLATED_LE})
_MAX_DEPTH: Final = 64
_SWAP_BYTES: Final = 1 << 20
_MAX_SHORT_BYTES: Final = 0xFFFE
_MAX_NOTED_BYTES: Final = 64
# A piece takes 8 us: a million, the headers of 8 MB of empty elements, kept other peers waiting for 8 s. A header is
# one piece, and so is a value of up to 1 MiB.
_MAX_COMPARED_PIECES: Final = 200_000

_TRAILING_PADDING: Final = 0xFFFCFFFC
_IMAGE_GROUP: Final = 0x0028
_PIXEL_REPRESENTATION: Final = 0x00280103
_BITS_ALLOCATED: Final = 0x00280100

# Bytes of one number of each VR, for a change of byte order. AT is two numbers of 16 bits. Source: PS3.5 section 7.3.
_NUMBER_BYTES: Final = {
    b"AT": 2, b"OW": 2, b"SS": 2, b"US": 2,
    b"FL": 4, b"OF": 4, b"OL": 4, b"SL": 4, b"UL": 4,
    b"FD": 8, b"OD": 8, b"OV": 8, b"SV": 8, b"UV": 8,
}  # fmt: skip


# The offset at which a level of defined length ends, or None; the delimiter that closes it; the encoding inside.
_Level: TypeAlias = tuple[int | None, int, Encoding]


class Amendment(Protocol):
    """What is done at the top level of a data set while it is rewritten.

    `changed` are the tags, ascending, each with its VR, whose values `change` decides; `dropped` are left out.
    """

    changed: Mapping[int, bytes]
    dropped: frozenset[int]

    def note(self, tag: int, value: bytes) -> None:
        """Look at a short value of group 0028 that stays as it is; numbers are little endian."""

    def change(self, tag: int, value: bytes | None) -> bytes | None:
        """The new value of a tag, by the one it has, None when it is not there; None leaves it out."""

    def pixels(self, elements: ElementSource, length: int) -> Iterator[Buffer] | None:
        """Take the value of Pixel Data, of that length, and answer what stands for the element, header too; None, with
        nothing taken, leaves it as it is.
        """


def can_reencode(source: str, target: str) -> bool:
    """Whether a data set in `source` can be rewritten into `target` without touching pixels."""
    return source in NATIVE_SYNTAXES and target in _TARGETS


def reencode(
    data_set: Iterable[Buffer], source: str, target: str, amendment: Amendment | None = None
) -> Iterator[Buffer]:
    """The data set in another syntax, piece by piece. Group lengths are left out, because they would be wrong.

    Raises: Undecodable when the data set is damaged or nested deeper than 64 levels; where it is cut or its deflated
    data are damaged, that is found on the way. Source: PS3.5 sections 7.1, 7.5, A.1 to A.5.
    """
    elements = ElementSource(inflated(data_set, source))
    pieces = _Rewriter(elements, encoding_of(source), encoding_of(target), amendment).pieces()
    return deflated(pieces) if target in DEFLATED_SYNTAXES else pieces


def canonical(data_set: Iterable[Buffer], source: str) -> Iterator[Buffer]:
    """One form for equal values: Implicit VR Little Endian without group lengths and padding behind the data set, and
    with compressed pixel data as they are.

    Raises: Undecodable, also when it has some 100,000 elements or more.
    """
    for number, piece in enumerate(reencode(data_set, source, IMPLICIT_LE, _Compared())):
        if number == _MAX_COMPARED_PIECES:
            raise Undecodable("it has too many elements to be compared")
        yield piece


class _Compared:
    """What says nothing is left out. Source: PS3.10 section 7.2: the padding has no significance."""

    changed: Mapping[int, bytes] = MappingProxyType({})
    dropped = frozenset({_TRAILING_PADDING})

    def note(self, tag: int, value: bytes) -> None:
        pass

    def change(self, tag: int, value: bytes | None) -> bytes | None:
        return value

    def pixels(self, elements: ElementSource, length: int) -> Iterator[Buffer] | None:
        return _fragments(elements) if length == UNDEFINED_LENGTH else None


def _fragments(elements: ElementSource) -> Iterator[Buffer]:
    """Encapsulated pixel data whose header was taken, as they are. Source: PS3.5 section A.4."""
    yield IMPLICIT.write_header(PIXEL_DATA, b"", UNDEFINED_LENGTH)
    while True:
        tag, _, length = elements.header(IMPLICIT)
        yield IMPLICIT.write_header(tag, b"", length)
        if tag == SEQUENCE_END:
            return
        if tag != ITEM or length == UNDEFINED_LENGTH:
            raise Undecodable("compressed pixel data hold something else than fragments")
        yield from elements.pieces(length)


class _Rewriter:
    """Walks one data set with an explicit stack: for each open level where it ends and what closes it."""

    def __init__(
        self, elements: ElementSource, source: Encoding, target: Encoding, amendment: Amendment | None
    ) -> None:
        self._elements = elements
        self._target = target
        self._amendment = amendment
        self._to_change = dict(amendment.changed) if amendment else {}
        self._levels: list[_Level] = [(None, 0, source)]
        # Of each open level, whether its samples are signed and how many bits they have: an icon has its own.
        self._samples = [(False, 16)]

    def pieces(self) -> Iterator[Buffer]:
        levels, elements = self._levels, self._elements
        while levels:
            end, closes, encoding = levels[-1]
            if self._has_ended(end, closes):
                self._leave()
                if closes:
                    yield self._target.write_header(closes, b"", 0)
                continue
            tag, vr, length = elements.header(encoding)
            instead = None
            if len(levels) == 1:
                yield from self._missing(before=tag)
                instead = self._instead(tag, vr, length, encoding)
            if instead is None:
                instead = self._element(tag, vr, length, levels[-1])
            yield from instead
            if len(levels) > 2 * _MAX_DEPTH:
                raise Undecodable(f"sequences are nested deeper than {_MAX_DEPTH} levels")
        yield from self._missing(before=1 << 32)

    def _element(self, tag: int, vr: bytes, length: int, level: _Level) -> Iterator[Buffer]:
        """Rewrite an element whose header was taken; what is nested in it becomes a level of its own."""
        end, closes, encoding = level
        if closes and tag == closes and end is None:
            self._leave()
            yield self._target.write_header(closes, b"", 0)
        elif tag == ITEM and closes == SEQUENCE_END:
            self._enter(length, ITEM_END, encoding)
            yield self._target.write_header(ITEM, b"", UNDEFINED_LENGTH)
        elif closes == SEQUENCE_END or tag >> 16 == 0xFFFE:
            raise Undecodable(f"element {tag:08x} stands where it may not stand")
        elif length == UNDEFINED_LENGTH and tag == PIXEL_DATA:
            raise Undecodable("compressed pixel data stand where only uncompressed ones may stand")
        elif (vr := vr or _dictionary_vr(tag)) == b"SQ" or length == UNDEFINED_LENGTH:
            self._enter(length, SEQUENCE_END, encoding.inside(vr))
            yield self._target.write_header(tag, b"SQ", UNDEFINED_LENGTH)
        else:
            yield from self._value(tag, vr, length, encoding)

    def _enter(self, length: int, closes: int, encoding: Encoding) -> None:
        end = None if length == UNDEFINED_LENGTH else self._elements.offset + length
        self._levels.append((end, closes, encoding))
        self._samples.append(self._samples[-1])

    def _leave(self) -> None:
        self._levels.pop()
        self._samples.pop()

    def _has_ended(self, end: int | None, closes: int) -> bool:
        if end is None:
            return not closes and self._elements.at_end
        if self._elements.offset > end:
            raise Undecodable("an item or sequence ends inside an element")
        return self._elements.offset == end

    def _instead(self, tag: int, vr: bytes, length: int, encoding: Encoding) -> Iterator[Buffer] | None:
        """What stands for an element of the top level; None when it stays and its value is yet to be taken."""
        amendment, elements = self._amendment, self._elements
        if amendment is None:
            return None
        if tag == PIXEL_DATA:
            return amendment.pixels(elements, length)
        if tag in amendment.dropped:
            skip_value(elements, encoding.inside(vr), length)
            return iter(())
        if tag in self._to_change and length <= _MAX_SHORT_BYTES:
            value = amendment.change(tag, bytes(elements.read(length)))
            return self._written(tag, self._to_change.pop(tag), value)
        if tag >> 16 == _IMAGE_GROUP and length <= _MAX_NOTED_BYTES:
            value = bytes(elements.peek(length))
            amendment.note(tag, value[::-1] if encoding.big_endian and length == 2 else value)
        return None

    def _missing(self, *, before: int) -> Iterator[Buffer]:
        """The elements to be changed that are not there, up to a tag."""
        for tag in [tag for tag in self._to_change if tag < before]:
            vr = self._to_change.pop(tag)
            if self._amendment is not None:
                yield from self._written(tag, vr, self._amendment.change(tag, None))

    def _written(self, tag: int, vr: bytes, value: bytes | None) -> Iterator[Buffer]:
        if value is not None:
            yield self._target.write_header(tag, vr, len(value)) + value

    def _value(self, tag: int, vr: bytes, length: int, encoding: Encoding) -> Iterator[Buffer]:
        if tag & 0xFFFF == 0:
            self._elements.skip(length)
            return
        if tag in (_PIXEL_REPRESENTATION, _BITS_ALLOCATED) and length >= 2:
            number = int.from_bytes(self._elements.peek(2), "big" if encoding.big_endian else "little")
            self._note(tag, number)
        vr = self._definite_vr(tag, vr)
        if self._target.explicit and vr not in LONG_VRS and (length > _MAX_SHORT_BYTES or vr not in SHORT_VRS):
            vr = b"UN"  # PS3.5 section 6.2.2 note 1, or what stands in the place of a VR
        yield self._target.write_header(tag, vr, length + length % 2)
        if encoding.big_endian != self._target.big_endian and vr in _NUMBER_BYTES:
            yield from self._swapped(length, _NUMBER_BYTES[vr])
        else:
            yield from self._elements.pieces(length)
        if length % 2:
            yield padding_of(vr)

    def _swapped(self, length: int, size: int) -> Iterator[bytes]:
        """The next numbers in the other byte order, a bounded piece at a time."""
        for start in range(0, length - length % size, _SWAP_BYTES):
            piece = self._elements.read(min(_SWAP_BYTES, length - length % size - start))
            swapped = bytearray(len(piece))
            for index in range(size):
                swapped[index::size] = piece[size - 1 - index :: size]
            yield bytes(swapped)
        yield from map(bytes, self._elements.pieces(length % size))

    def _note(self, tag: int, number: int) -> None:
        is_signed, bits_allocated = self._samples[-1]
        is_representation = tag == _PIXEL_REPRESENTATION
        self._samples[-1] = (number == 1, bits_allocated) if is_representation else (is_signed, number)

    def _definite_vr(self, tag: int, vr: bytes) -> bytes:
        """One VR where the dictionary leaves a choice. Source: PS3.5 section A.1 and A.2; PS3.3 section C.7.6.3."""
        if len(vr) == 2:
            return vr
        is_signed, bits_allocated = self._samples[-1]
        if tag == PIXEL_DATA or b"OB" in vr:
            return b"OW" if bits_allocated > 8 or not self._target.explicit or tag != PIXEL_DATA else b"OB"
        if b"SS" in vr and b"US" in vr:
            return b"SS" if is_signed and tag != 0x00283002 else b"US"
        return b"OW" if b"OW" in vr else vr[:2]


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
