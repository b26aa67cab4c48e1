"""The items of a sequence that is wholly here. A sequence inside of one is a value as any other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import Final, TypeVar

from pacs_server.dicom.attributes import CODE_VALUE, LONG_CODE_VALUE, URN_CODE_VALUE
from pacs_server.dicom.elements import IMPLICIT, ITEM, ITEM_END, SEQUENCE_END, UNDEFINED_LENGTH, Encoding
from pacs_server.errors import TooLarge, Undecodable

MAX_DEPTH: Final = 8
# Between the texts of an item, and between items, where several stand in one text.
FIELD_END, ROW_END = "\x1f", "\x1e"

_CODES: Final = (CODE_VALUE, LONG_CODE_VALUE, URN_CODE_VALUE)
_SHORTEST_HEADER: Final = 8
_MAX_CODE_VALUE: Final = 16
_URN_STARTS: Final = ("urn:", "http://", "https://")
Value = TypeVar("Value", str, bytes)


def read_items(raw: bytes, encoding: Encoding, most: int | None = None) -> list[dict[int, bytes]]:
    """The elements of each item by tag, as raw values; a delimiter at the end of `raw` may be there or not.

    Raises: Undecodable when this is not a sequence of items, or one is longer than what is here; TooLarge as soon as
    there are more than `most`.
    Source: PS3.5 section 7.5.
    """
    items: list[dict[int, bytes]] = []
    offset = 0
    while offset < len(raw):
        tag, _, length, offset = header_at(raw, offset, encoding)
        if tag == SEQUENCE_END:
            break
        if tag != ITEM:
            raise Undecodable(f"element {tag:08x} stands where only an item may stand")
        values, offset = _read_item(raw, offset, len(raw) if length == UNDEFINED_LENGTH else offset + length, encoding)
        items.append(values)
        if most is not None and len(items) > most:
            raise TooLarge(f"more than {most} items in one sequence: ask in parts")
    return items


def _read_item(raw: bytes, offset: int, end: int, encoding: Encoding) -> tuple[dict[int, bytes], int]:
    values: dict[int, bytes] = {}
    while offset < end:
        tag, vr, length, start = header_at(raw, offset, encoding)
        if tag == ITEM_END:
            return values, start
        is_open = length == UNDEFINED_LENGTH
        offset = behind_sequence(raw, start, encoding.inside(vr)) if is_open else start + length
        values.setdefault(tag, raw[start:offset])
    if offset > min(end, len(raw)):
        raise Undecodable("an element runs past the end of its item")
    return values, offset


def is_sequence(value: bytes, encoding: Encoding) -> bool:
    """Whether a value begins as a sequence of items does, or is one of undefined length that has none."""
    return value.startswith(tuple(encoding.write_header(tag, b"", 0)[:4] for tag in (ITEM, SEQUENCE_END)))


def encoding_of_items(raw: bytes, encoding: Encoding) -> Encoding:
    """The encoding of the items of a sequence in a data set of this one: Implicit VR Little Endian where it came as UN,
    as from a device that does not know its VR. Told by the first element of an item.

    Source: PS3.5 section 6.2.2 note 2.
    """
    offset = 0
    while encoding.explicit and offset + _SHORTEST_HEADER <= len(raw):
        tag, vr, _, offset = header_at(raw, offset, encoding)
        if tag not in (ITEM, ITEM_END, SEQUENCE_END):
            return encoding if vr.isalpha() else IMPLICIT
    return encoding


def header_at(raw: bytes, offset: int, encoding: Encoding) -> tuple[int, bytes, int, int]:
    """Tag, VR, length and value offset of the element at `offset`. Raises: Undecodable when it is cut."""
    header = encoding.header(raw, offset)
    if header is None:
        raise Undecodable("it ends inside an element")
    return header


def behind_sequence(raw: bytes, offset: int, encoding: Encoding) -> int:
    """The offset behind the delimiter of a sequence of undefined length whose first item stands at `offset`, in the
    encoding that is inside of it.

    Raises: Undecodable when it does not end, or is nested deeper than 8 levels.
    """
    closing = [(SEQUENCE_END, encoding)]
    while closing:
        closes, inside = closing[-1]
        tag, vr, length, offset = header_at(raw, offset, inside)
        if tag == closes:
            closing.pop()
        elif length == UNDEFINED_LENGTH:
            closing.append((ITEM_END if tag == ITEM else SEQUENCE_END, inside.inside(vr)))
        else:
            offset += length
        if len(closing) > 2 * MAX_DEPTH:
            raise Undecodable(f"it is nested deeper than {MAX_DEPTH} levels")
    return offset


def with_code_value(item: Mapping[int, Value]) -> dict[int, Value]:
    """An item with its code as Code Value, in whichever of the three elements for one it stands.

    Source: PS3.3 table 8.8-1.
    """
    told = [item[tag] for tag in _CODES if tag in item]
    others = {tag: value for tag, value in item.items() if tag not in _CODES}
    return others | {CODE_VALUE: next(filter(None, told), told[0])} if told else others


def place_of_code(code: str, asked: Set[int]) -> tuple[int, str]:
    """The tag and VR of the element in which a code is answered: one that is long, or a URN, in its own where that is
    asked for, else in Code Value, the only one that most viewers know.

    Source: PS3.3 table 8.8-1.
    """
    if code.startswith(_URN_STARTS) and URN_CODE_VALUE in asked:
        return URN_CODE_VALUE, "UR"
    return (LONG_CODE_VALUE, "UC") if len(code) > _MAX_CODE_VALUE and LONG_CODE_VALUE in asked else (CODE_VALUE, "SH")


def pack(items: Sequence[Sequence[str]]) -> str:
    """Items as one text."""
    return ROW_END.join(FIELD_END.join(item) for item in items)


def unpack(text: str) -> list[list[str]]:
    """What `pack` put together, or the database from the rows of items."""
    return [item.split(FIELD_END) for item in text.split(ROW_END)] if text else []
