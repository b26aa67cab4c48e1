"""Reads the identifier of a query or retrieve: its top-level elements as text, bounded, each decoded before anything
is looked for in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pacs_server.dicom.attributes import BY_TAG, SPECIFIC_CHARACTER_SET
from pacs_server.dicom.charset import declared, decode
from pacs_server.dicom.elements import (
    ITEM,
    ITEM_END,
    LONG_VRS,
    SEQUENCE_END,
    UNDEFINED_LENGTH,
    Encoding,
    encoding_of,
)
from pacs_server.errors import BadQuery

_MAX_ELEMENTS: Final = 2048
_MAX_DEPTH: Final = 8
_TEXT_VRS: Final = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Element:
    """One key. `text` is its decoded value without padding; a sequence has none, `has_items` says if it has items."""

    tag: int
    vr: str
    text: str = ""
    has_items: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Identifier:
    """The keys of a query or retrieve, in order of tags, and the character set they came in."""

    elements: tuple[Element, ...]
    character_set: tuple[str, ...]

    def text(self, tag: int) -> str:
        """The value of a key, empty when it has none or is not there."""
        return next((element.text for element in self.elements if element.tag == tag), "")


def read_identifier(raw: bytes, transfer_syntax: str, *, assumed_charset: str = "") -> Identifier:
    """Read an identifier; a key that comes twice counts once.

    Raises: BadQuery when it is damaged, has more than 2048 elements, or is nested deeper than 8 levels.
    """
    found = _split(raw, encoding_of(transfer_syntax))
    charset = declared(found[SPECIFIC_CHARACTER_SET][1] if SPECIFIC_CHARACTER_SET in found else b"")
    elements = []
    for tag, (vr, value, has_items) in sorted(found.items()):
        attribute = BY_TAG.get(tag)
        known_vr = attribute.vr if attribute else vr
        terms = charset if known_vr in _TEXT_VRS else ()
        assumed = assumed_charset if known_vr in _TEXT_VRS else ""
        text = decode(value, terms, vr=known_vr, assumed=assumed).text.strip(" ")
        elements.append(Element(tag=tag, vr=vr, text=text, has_items=has_items))
    return Identifier(elements=tuple(elements), character_set=charset)


def _split(raw: bytes, encoding: Encoding) -> dict[int, tuple[str, bytes, bool]]:
    """The top-level elements: VR where the syntax has one, raw value, whether it is a sequence with items."""
    found: dict[int, tuple[str, bytes, bool]] = {}
    offset = 0
    while offset < len(raw):
        tag, vr, length, start = _header(raw, offset, encoding)
        if length == UNDEFINED_LENGTH:
            offset = _behind_sequence(raw, start, encoding)
            found.setdefault(tag, ("SQ", b"", offset > start + 8))
        else:
            offset = start + length
            if offset > len(raw):
                raise BadQuery(f"key {tag:08x} of the identifier is longer than the identifier")
            is_sequence = vr == b"SQ" or raw[start : start + 4] == b"\xfe\xff\x00\xe0"
            value = b"" if is_sequence else raw[start:offset]
            found.setdefault(tag, ("SQ" if is_sequence else vr.decode("latin-1"), value, is_sequence and length > 0))
        if len(found) > _MAX_ELEMENTS:
            raise BadQuery(f"the identifier has more than {_MAX_ELEMENTS} keys")
    return found


def _header(raw: bytes, offset: int, encoding: Encoding) -> tuple[int, bytes, int, int]:
    header = encoding.header(raw, offset)
    if header is None:
        raise BadQuery("the identifier ends inside an element")
    if encoding.explicit and header[1] not in LONG_VRS and not header[1].isalpha() and header[0] >> 16 != 0xFFFE:
        raise BadQuery(f"key {header[0]:08x} of the identifier has no value representation")
    return header


def _behind_sequence(raw: bytes, offset: int, encoding: Encoding) -> int:
    """The offset behind the delimiter of a sequence of undefined length."""
    closing = [SEQUENCE_END]
    while closing:
        tag, _, length, start = _header(raw, offset, encoding)
        offset = start
        if tag == closing[-1]:
            closing.pop()
        elif length == UNDEFINED_LENGTH:
            closing.append(ITEM_END if tag == ITEM else SEQUENCE_END)
        else:
            offset += length
        if len(closing) > 2 * _MAX_DEPTH:
            raise BadQuery(f"the identifier is nested deeper than {_MAX_DEPTH} levels")
    return offset
