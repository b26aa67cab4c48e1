"""Reads the identifier of a query or retrieve: its top-level elements as text, bounded, each decoded before anything
is looked for in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from pacs_server.dicom.attributes import SPECIFIC_CHARACTER_SET, Attribute
from pacs_server.dicom.charset import declared, decode
from pacs_server.dicom.elements import NUMBERS, TEXT_VRS, UNDEFINED_LENGTH, Encoding, encoding_of
from pacs_server.dicom.items import MAX_DEPTH, behind_sequence, encoding_of_items, header_at, is_sequence, read_items
from pacs_server.dicom.values import numbers_of
from pacs_server.dicom.vocabulary import STANDARD, Vocabulary, reservation
from pacs_server.errors import BadQuery, Undecodable

_MAX_ELEMENTS: Final = 2048


class Element(NamedTuple):
    """One key. `text` is its decoded value without padding. A sequence has none, but the keys of its items by tag; of a
    sequence inside of an item what all its keys say is one text.

    `attribute` is what the index holds under its tag, or as that element of its private creator; None for nothing.
    """

    tag: int
    vr: str
    attribute: Attribute | None = None
    text: str = ""
    items: tuple[Mapping[int, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Identifier:
    """The keys of a query or retrieve, in order of tags, and the character set they came in."""

    elements: tuple[Element, ...]
    character_set: tuple[str, ...]

    def text(self, tag: int) -> str:
        """The value of a key, empty when it has none or is not there."""
        return next((element.text for element in self.elements if element.tag == tag), "")


def read_identifier(
    raw: bytes, transfer_syntax: str, *, assumed_charset: str = "", vocabulary: Vocabulary = STANDARD
) -> Identifier:
    """Read an identifier. A key that comes twice counts once; group lengths, which old toolkits send, are no keys.

    Raises: BadQuery when it is damaged, has more than 2048 elements, or is nested deeper than 8 levels.
    """
    encoding = encoding_of(transfer_syntax)
    try:
        found = top_level(raw, encoding)
        charset = declared(found[SPECIFIC_CHARACTER_SET][1] if SPECIFIC_CHARACTER_SET in found else b"")
        items = {
            tag: _items(value, encoding.inside(vr.encode("latin-1")), charset, assumed_charset)
            for tag, (vr, value) in found.items()
            if vr == "SQ" or (vr == "UN" and is_sequence(value, encoding.inside(b"UN")))
        }
    except Undecodable as error:
        raise BadQuery(f"the identifier is damaged: {error}") from error

    elements = []
    for tag, (vr, value) in sorted(found.items()):
        if _is_group_length(tag):
            continue
        if tag in items:
            elements.append(Element(tag, vr, items=items[tag]))
        else:
            creator = ""
            if reserved_by := reservation(tag):
                creator = found.get(reserved_by, ("", b""))[1].decode("latin-1").strip(" \0")
            attribute = vocabulary.attribute(tag, creator)
            vr_or_known = attribute.vr if attribute else vr
            text = _text(value, vr_or_known, encoding, charset, assumed_charset) if value else ""  # most have none
            elements.append(Element(tag, vr, attribute, text))
    return Identifier(elements=tuple(elements), character_set=charset)


def _items(
    value: bytes, encoding: Encoding, charset: tuple[str, ...], assumed: str, depth: int = 1
) -> tuple[dict[int, str], ...]:
    """The keys of each item of a sequence, which may have a character set of its own. Raises: Undecodable.

    Source: PS3.3 section C.12.1.1.2.
    """
    if depth > MAX_DEPTH:
        raise Undecodable(f"it is nested deeper than {MAX_DEPTH} levels")
    read = []
    encoding = encoding_of_items(value, encoding)
    for item in read_items(value, encoding):
        own = declared(item.pop(SPECIFIC_CHARACTER_SET, b"")) or charset
        keys = {tag: inner for tag, inner in item.items() if not _is_group_length(tag)}
        read.append({tag: _said(inner, encoding, own, assumed, depth) for tag, inner in keys.items()})
    return tuple(read)


def _said(value: bytes, encoding: Encoding, charset: tuple[str, ...], assumed: str, depth: int) -> str:
    """What a key of an item says: its text, or all that the keys of a sequence say which stands there."""
    if not is_sequence(value, encoding):
        return _text(value, "LO", encoding, charset, assumed)
    inner = _items(value, encoding, charset, assumed, depth + 1)
    return " ".join(text for keys in inner for text in keys.values() if text)


def _text(value: bytes, vr: str, encoding: Encoding, charset: tuple[str, ...], assumed: str) -> str:
    if vr in NUMBERS:
        return numbers_of(value, vr, encoding.byte_order)
    terms, assumed = (charset, assumed) if vr in TEXT_VRS else ((), "")
    return decode(value, terms, vr=vr, assumed=assumed).text.strip(" ")


def _is_group_length(tag: int) -> bool:
    """Source: PS3.5 section 7.2: read and ignored."""
    return tag & 0xFFFF == 0


def top_level(raw: bytes, encoding: Encoding) -> dict[int, tuple[str, bytes]]:
    """The top-level elements by tag: VR where the syntax has one, raw value, which are the items of a sequence.

    Raises: BadQuery or Undecodable when it is damaged; BadQuery when there are more than 2048.
    """
    found: dict[int, tuple[str, bytes]] = {}
    offset = 0
    while offset < len(raw):
        tag, vr, length, start = header_at(raw, offset, encoding)
        if encoding.explicit and not vr.isalpha() and tag >> 16 != 0xFFFE:
            raise BadQuery(f"key {tag:08x} of the identifier has no value representation")
        if length == UNDEFINED_LENGTH:
            offset = behind_sequence(raw, start, encoding.inside(vr))
            found.setdefault(tag, ("UN" if vr == b"UN" else "SQ", raw[start:offset]))
        else:
            offset = start + length
            if offset > len(raw):
                raise BadQuery(f"key {tag:08x} of the identifier is longer than the identifier")
            is_sequence = vr == b"SQ" or raw[start : start + 4] == b"\xfe\xff\x00\xe0"
            found.setdefault(tag, ("SQ" if is_sequence else vr.decode("latin-1"), raw[start:offset]))
        if len(found) > _MAX_ELEMENTS:
            raise BadQuery(f"the identifier has more than {_MAX_ELEMENTS} keys")
    return found
