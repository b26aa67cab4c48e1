"""The attributes that the index of a site holds: those of the one table, and the fields that an admin added to it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final

from pydicom.datadict import dictionary_VR, keyword_dict, keyword_for_tag, private_dictionary_VR, tag_for_keyword

from pacs_server.dicom.attributes import (
    BY_KEYWORD,
    BY_TAG,
    HEADER_TAGS,
    SEQUENCE_BY_TAG,
    SEQUENCES,
    Attribute,
    Level,
    Matching,
)
from pacs_server.errors import Refused

_PIXEL_DATA_GROUP: Final = 0x7FE0
_COMMAND_AND_META_GROUPS: Final = 0x0008
_PRIVATE: Final = re.compile(r"([0-9a-f]{4})xx([0-9a-f]{2}):(.{1,64})", re.IGNORECASE)
_TAG: Final = re.compile(r"([0-9a-f]{4}),?([0-9a-f]{4})", re.IGNORECASE)
_MATCHING: Final = {
    **dict.fromkeys(("AE", "AS", "CS", "DS", "LO", "LT", "SH", "ST", "UC", "UR", "UT"), Matching.TEXT),
    **dict.fromkeys(("IS", "SL", "SS", "UL", "US"), Matching.NUMBER),
    "DA": Matching.DATE,
    "DT": Matching.MOMENT,
    "PN": Matching.NAME,
    "TM": Matching.TIME,
    "UI": Matching.UID,
}


@dataclass(frozen=True, slots=True)
class Field(Attribute):
    """An attribute that an admin added. Its values lie in rows of their own, not in a column.

    `tag` of a private one has block 00. `is_ready` says that the objects that were here before were read.
    """

    row: int = 0
    creator: str = ""
    is_ready: bool = False

    @property
    def key(self) -> int:
        """Where its value stands in a head: the tag, or for a private one a number that is no tag."""
        return -self.row if self.creator else self.tag

    @property
    def is_list(self) -> bool:
        """Whether its values are told apart by backslashes; a text VR without that meaning has one value."""
        return self.vr not in ("LT", "ST", "UT", "UR")


_OF_ITEMS: Final = 1 << 30  # the same attribute stands in an item and outside of it


def _parted(attribute: Attribute, number: int) -> Field:
    name = attribute.keyword
    return Field(attribute.tag, name, attribute.vr, attribute.level, "", attribute.matching, row=-number, is_ready=True)


# Of an ID that is found by an index, and has to be a single one, but came as several, each is found as the value of a
# field. The rows of these are no numbers of fields.
PARTED: Final[Mapping[Attribute, Field]] = {
    one: _parted(one, one.tag) for one in (BY_KEYWORD["PatientID"], BY_KEYWORD["AccessionNumber"])
} | {
    one: _parted(one, _OF_ITEMS + one.tag)
    for sequence in SEQUENCES
    for one in sequence.fields
    if one.column in sequence.searched
}
PARTED_ROWS: Final = {level: tuple(one.row for one in PARTED.values() if one.level is level) for level in Level}


class Vocabulary:
    """What is read from objects, and what a key of a query means. Never changes."""

    def __init__(self, fields: Iterable[Field] = ()) -> None:
        self.fields: tuple[Field, ...] = tuple(fields)
        public = {field.tag: field for field in self.fields if not field.creator}
        self.by_keyword: Mapping[str, Attribute] = BY_KEYWORD | {field.keyword: field for field in self.fields}
        self._by_tag: Mapping[int, Attribute] = BY_TAG | public
        self._private = {
            (field.tag >> 16, field.creator, field.tag & 0xFF): field for field in self.fields if field.creator
        }
        self.private_groups = frozenset(group for group, _, _ in self._private)
        self.wanted_tags = HEADER_TAGS | SEQUENCE_BY_TAG.keys() | public.keys()
        # The elements of a private group end somewhere in it.
        self.last_tag = max(*self.wanted_tags, *(group << 16 | 0xFFFF for group in self.private_groups), 0)

    def attribute(self, tag: int, creator: str) -> Attribute | None:
        """The attribute of a tag; of an element in a private block by the name of who reserved it."""
        return self._private.get((tag >> 16, creator, tag & 0xFF)) if creator else self._by_tag.get(tag)

    def keyword(self, key: int) -> str:
        """The name of what a head holds under this key, for a person."""
        if key < 0:
            return next(field.keyword for field in self.fields if field.key == key)
        known = self._by_tag.get(key) or SEQUENCE_BY_TAG.get(key)
        return known.keyword if known else "PrivateCreator" if reserves(key) else "SpecificCharacterSet"


STANDARD: Final = Vocabulary()


def reservation(tag: int) -> int:
    """The tag of the private creator that reserves the block of a private element; 0 where there is none to be.

    Source: PS3.5 section 7.8.1.
    """
    block = tag >> 8 & 0xFF
    return tag & 0xFFFF0000 | block if tag >> 16 & 1 and block >= 0x10 else 0


def reserves(tag: int) -> bool:
    """Whether an element is a private creator, which reserves a block."""
    return bool(tag >> 16 & 1) and 0x10 <= tag & 0xFFFF <= 0xFF


def new_field(name: str, level: Level, vr: str = "") -> Field:
    """The field that an admin names: a keyword, a tag like 0018,1000, or a private element like 0019xx18:GEMS_ACQU_01.

    Raises: Refused when there is no such attribute, the index holds it anyway, its VR is unknown, or values of its VR
    cannot be compared.
    """
    if private := _PRIVATE.fullmatch(name):
        group, element, creator = int(private[1], 16), int(private[2], 16), private[3].strip()
        if not group & 1 or not creator:
            raise Refused(f"{name} is no private element: its group has to be odd, and its creator is not empty")
        tag, keyword = group << 16 | element, f"{group:04x}xx{element:02x}:{creator}"
        known_vr = _private_vr(tag, creator)
    else:
        tag, creator = _public_tag(name), ""
        keyword = keyword_for_tag(tag) or f"{tag >> 16:04x},{tag & 0xFFFF:04x}"
        known_vr = _public_vr(tag)
    _refuse_unsuitable(keyword, tag, is_private=bool(creator))
    vr = vr or known_vr
    if not vr:
        raise Refused(f"nothing is known of {keyword}: name its value representation with --vr, for instance --vr LO")
    if vr not in _MATCHING:
        raise Refused(f"{keyword} has VR {vr}, whose values cannot be compared; {', '.join(sorted(_MATCHING))} can")
    if len(keyword) == len("gggg,eeee") and "," in keyword and tag >> 16 & 1:
        raise Refused(f"{keyword} is private: name its creator, like {tag >> 16:04x}xx{tag & 0xFF:02x}:CREATOR")
    return Field(tag, keyword, vr, level, "", _MATCHING[vr], creator=creator)


def field_of(*, row: int, keyword: str, tag: int, creator: str, vr: str, level: Level, is_ready: bool) -> Field:
    """A field as the site keeps it."""
    return Field(tag, keyword, vr, level, "", _MATCHING[vr], row=row, creator=creator, is_ready=is_ready)


def _public_tag(name: str) -> int:
    if found := _TAG.fullmatch(name):
        return int(found[1] + found[2], 16)
    tag = tag_for_keyword(name)
    if tag is None:
        near = get_close_matches(name, keyword_dict, n=1, cutoff=0.5)
        hint = f"; did you mean {near[0]}?" if near else "; a tag like 0018,1000 will do as well"
        raise Refused(f"{name} is no keyword of the DICOM dictionary{hint}")
    return tag


def _public_vr(tag: int) -> str:
    try:
        return dictionary_VR(tag)[:2]
    except KeyError:
        return ""


def _private_vr(tag: int, creator: str) -> str:
    try:
        return private_dictionary_VR(tag | 0x1000, creator)[:2]
    except KeyError:
        return ""


def _refuse_unsuitable(keyword: str, tag: int, *, is_private: bool) -> None:
    if not is_private and (tag in BY_TAG or tag in SEQUENCE_BY_TAG):
        raise Refused(f"the index holds {keyword} anyway; nothing was changed")
    if not _COMMAND_AND_META_GROUPS <= tag >> 16 < _PIXEL_DATA_GROUP:
        raise Refused(f"{keyword} is not in the part of a data set before the pixel data, which is what is read")
