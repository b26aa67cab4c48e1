"""The indexed values of one object, decoded and checked, from its head."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from typing import Final, TypeAlias

import blake3

from pacs_server.dicom.attributes import (
    SEQUENCES,
    SERIES_UID,
    SOP_CLASS,
    SOP_UID,
    SPECIFIC_CHARACTER_SET,
    STUDY_UID,
    Attribute,
    ItemSequence,
    Level,
    Matching,
    read_attributes,
)
from pacs_server.dicom.charset import declared
from pacs_server.dicom.elements import NUMBERS, Encoding
from pacs_server.dicom.header import Head
from pacs_server.dicom.identity import Uid, is_uid, uid_text
from pacs_server.dicom.items import FIELD_END, ROW_END, encoding_of_items, read_items, with_code_value
from pacs_server.dicom.names import fold, groups, search_text
from pacs_server.dicom.values import MAX_TEXT_CHARACTERS, Value, indexable, numbers_of, sought_in, text_of, value_of
from pacs_server.dicom.vocabulary import PARTED, STANDARD, Field, Vocabulary
from pacs_server.errors import ObjectMismatch, Undecodable

Items: TypeAlias = tuple[tuple[str, ...], ...]  # the texts of each item in the order of its fields

_MAX_ITEMS: Final = 64
_MAX_ITEM_CHARACTERS: Final = 128
_NO_KEY: Final = frozenset("\\*?")

_BY_LEVEL: Final = {level: read_attributes(level) for level in Level}
_TAGS: Final = {level: tuple(attribute.tag for attribute in found) for level, found in _BY_LEVEL.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """Something remarkable about an object that did no harm. `detail` never holds a patient's data."""

    kind: str
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldValue:
    """One value of a field: as it is answered, and as it is compared with a key."""

    value: str
    sought: str


Parted: TypeAlias = dict[Field, tuple[FieldValue, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What the index records of one object: values by column, for each level, with the folded columns of names.

    `items` are those of sequences that have some, by table: the texts of each in the order of its fields. `fields` are
    the values of those fields of the site that have some, and of what came with several values and has to have one.
    """

    patient: Mapping[str, Value]
    study: Mapping[str, Value]
    series: Mapping[str, Value]
    instance: Mapping[str, Value]
    flags: tuple[Flag, ...]
    sop_uid: Uid
    sop_class: str
    study_uid: str
    series_uid: str
    items: Mapping[str, Items] = field(default_factory=dict)
    fields: Mapping[Field, tuple[FieldValue, ...]] = field(default_factory=dict)


def describe(
    head: Head, *, assumed_charset: str = "", default_issuer: str = "", vocabulary: Vocabulary = STANDARD
) -> Description:
    """Decode the head of an object. Values that are not what their VR promises become None and are flagged.

    Raises: InvalidUid when the SOP Instance UID is missing or not a UID; ObjectMismatch when the SOP Class, Study or
    Series UID is empty.
    """
    sop_uid = Uid(uid_text(head.values.get(SOP_UID, b"")))
    sop_class, study_uid, series_uid = (_required(head, tag) for tag in (SOP_CLASS, STUDY_UID, SERIES_UID))
    reader = _Reader(head, assumed_charset)
    patient, study, series = (reader.shared_level(level) for level in (Level.PATIENT, Level.STUDY, Level.SERIES))
    instance = reader.level(Level.IMAGE)
    study["study_uid"], series["series_uid"] = study_uid, series_uid
    patient["issuer"] = patient["issuer"] or default_issuer or None
    patient["identity"] = patient_identity(patient["patient_id"], patient["issuer"], study_uid)
    for keyword, uid in (("StudyInstanceUID", study_uid), ("SeriesInstanceUID", series_uid)):
        if not is_uid(uid):
            reader.flag("malformed-uid", keyword)
    if sop_uid.has_leading_zero:
        reader.flag("malformed-uid", "SOPInstanceUID")
    fields = {one: values for one in vocabulary.fields if (values := reader.field(one))}
    items = {sequence.table: found for sequence in SEQUENCES if (found := reader.shared_items(sequence))}
    fields |= reader.parted
    return Description(
        patient=patient,
        study=study,
        series=series,
        instance=instance,
        flags=tuple(dict.fromkeys(reader.flags)),
        fields=fields,
        sop_uid=sop_uid,
        sop_class=sop_class,
        study_uid=study_uid,
        series_uid=series_uid,
        items=items,
    )


def patient_identity(patient_id: Value, issuer: Value, study_uid: str) -> str:
    """The key of a patient: issuer and ID; a patient without ID is one of its own for each study."""
    return f"{issuer or ''}\x1f{patient_id}" if patient_id else f"study\x1f{study_uid}"


def identity_of_name(identity: str, name: str) -> str:
    """The key of a patient who came under the issuer and ID of another one, with another name."""
    return f"{identity}\x1f{blake3.blake3(search_text(name).encode()).hexdigest()[:16]}"


def shared_identity(identity: str) -> str:
    """What the keys of all patients of one issuer and ID have in common."""
    return "\x1f".join(identity.split("\x1f", 2)[:2])


def key_of_uid(raw: bytes) -> str:
    """A UID of a study, series or class as it is kept, answered and asked for; empty where there is none.

    As a key a space around it is padding, a backslash stands between two and a wildcard is no part of one: what could
    not be asked for as it stands, or is longer than any text that is held, is known by its digest.
    """
    text = uid_text(raw).lstrip(" ")
    if len(text) > MAX_TEXT_CHARACTERS or not _NO_KEY.isdisjoint(text):
        return "h-" + blake3.blake3(text.encode("latin-1")).hexdigest()[:32]
    return text


def _required(head: Head, tag: int) -> str:
    text = key_of_uid(head.values.get(tag, b""))
    if not text:
        raise ObjectMismatch(f"the data set has no value for ({tag >> 16:04x},{tag & 0xFFFF:04x})")
    return text


class _Reader:
    """Reads the values of one head, and collects what is remarkable."""

    def __init__(self, head: Head, assumed_charset: str) -> None:
        self.flags = [
            Flag(kind=kind, detail=detail) for kind, _, detail in (f.partition(":") for f in sorted(head.flags))
        ]
        self.parted: Parted = {}
        self._values = head.values
        self._encoding = head.encoding
        self._order = head.encoding.byte_order
        self._charset = declared(head.values.get(SPECIFIC_CHARACTER_SET, b""))
        self._assumed = assumed_charset

    def flag(self, kind: str, detail: str) -> None:
        self.flags.append(Flag(kind=kind, detail=detail))

    def shared_level(self, level: Level) -> dict[str, Value]:
        """Like `level`, for one whose values the objects of a series share: they are read once for many of them."""
        raw = tuple(map(self._values.get, _TAGS[level]))
        charset = self._values.get(SPECIFIC_CHARACTER_SET, b"")
        values, flags, parted = _read_level(level, raw, charset, self._encoding, self._assumed)
        self.flags += flags
        self.parted |= parted
        return values.copy()

    def level(self, level: Level) -> dict[str, Value]:
        """The values of one level by column; every column is there."""
        values: dict[str, Value] = {}
        for attribute in _BY_LEVEL[level]:
            raw = self._values.get(attribute.tag)
            value = self._read(raw, attribute) if raw else None
            values[attribute.column] = value
            if attribute.matching is Matching.NAME:
                values.update(folded_columns(attribute, value))
        return values

    def shared_items(self, sequence: ItemSequence) -> Items:
        """Like `items`, for a sequence that the objects of a series share."""
        raw = self._values.get(sequence.tag)
        if not raw:
            return ()
        charset = self._values.get(SPECIFIC_CHARACTER_SET, b"")
        items, flags, parted = _read_sequence(sequence, raw, charset, self._encoding, self._assumed)
        self.flags += flags
        self.parted |= parted
        return items

    def items(self, sequence: ItemSequence) -> Items:
        """The items of a sequence as texts, without doubles; one may have a character set of its own, as what is copied
        from a worklist has. Source: PS3.3 section C.12.1.1.2.
        """
        raw = self._values.get(sequence.tag)
        if not raw:
            return ()
        try:
            encoding = encoding_of_items(raw, self._encoding)
            found = [with_code_value(item) for item in read_items(raw, encoding)]
        except Undecodable:
            self.flag("invalid-value", sequence.keyword)
            return ()
        rows = [tuple(self._item_text(item, one) for one in sequence.fields) for item in found[:_MAX_ITEMS]]
        for place, one in enumerate(sequence.fields):
            self.part(one, "\\".join(row[place] for row in rows if "\\" in row[place]))
        return tuple(dict.fromkeys(row for row in rows if any(row)))

    def field(self, field: Field) -> tuple[FieldValue, ...]:
        """The values of a field that are what its VR promises."""
        raw = self._values.get(field.key)
        if not raw:
            return ()
        texts = numbers_of(raw, field.vr, self._order) if field.vr in NUMBERS else self._text(raw, field, self._charset)
        return self._compared(field, texts.split("\\") if field.is_list else [texts])

    def _compared(self, field: Field, values: Iterable[str]) -> tuple[FieldValue, ...]:
        kept = [value for value in map(str.strip, islice(values, _MAX_ITEMS)) if value]
        sought = [(value, sought_in(value, field.vr)) for value in kept]
        if not all(compared for _, compared in sought):
            self.flag("invalid-value", field.keyword)
        return tuple(FieldValue(value=value, sought=compared) for value, compared in sought if compared)

    def part(self, attribute: Attribute, value: Value) -> None:
        """Keep each of several values of an attribute that has to have one."""
        field = PARTED.get(attribute) if isinstance(value, str) and "\\" in value else None
        if field and (values := self._compared(field, dict.fromkeys(map(str.strip, str(value).split("\\"))))):
            self.parted[field] = values

    def _item_text(self, item: Mapping[int, bytes], one: Attribute) -> str:
        own = item.get(SPECIFIC_CHARACTER_SET)
        text = self._text(item.get(one.tag, b""), one, declared(own) if own else self._charset)
        if len(text) > _MAX_ITEM_CHARACTERS:
            self.flag("text-cut", one.keyword)
        return text.replace(FIELD_END, "").replace(ROW_END, "")[:_MAX_ITEM_CHARACTERS]

    def _read(self, raw: bytes, attribute: Attribute) -> Value:
        value, kinds = value_of(raw, attribute.vr, self._charset, self._assumed, self._order)
        for kind in kinds:
            self.flag(kind, attribute.keyword)
        return value

    def _text(self, raw: bytes, attribute: Attribute, charset: tuple[str, ...]) -> str:
        text, kinds = text_of(raw, attribute.vr, charset, self._assumed)
        for kind in kinds:
            self.flag(kind, attribute.keyword)
        return text


@lru_cache(maxsize=48)
def _read_level(
    level: Level, raw: tuple[bytes | None, ...], charset: bytes, encoding: Encoding, assumed: str
) -> tuple[dict[str, Value], list[Flag], Parted]:
    """The values of a level by column, and what is remarkable about them. Took 0.3 ms of each object."""
    present = {tag: value for tag, value in zip(_TAGS[level], raw, strict=True) if value is not None}
    values = present | {SPECIFIC_CHARACTER_SET: charset}
    reader = _Reader(Head(values=values, encoding=encoding, flags=frozenset()), assumed)
    found = reader.level(level)
    for attribute in _BY_LEVEL[level]:
        reader.part(attribute, found[attribute.column])
    return found, reader.flags, reader.parted


@lru_cache(maxsize=16)
def _read_sequence(
    sequence: ItemSequence, raw: bytes, charset: bytes, encoding: Encoding, assumed: str
) -> tuple[Items, list[Flag], Parted]:
    """The items of a sequence, and what is remarkable about them."""
    values = {sequence.tag: raw, SPECIFIC_CHARACTER_SET: charset}
    reader = _Reader(Head(values=values, encoding=encoding, flags=frozenset()), assumed)
    return reader.items(sequence), reader.flags, reader.parted


def folded_columns(attribute: Attribute, value: Value) -> dict[str, Value]:
    """The search columns beside a name column; the patient's name has one for each group as well."""
    name = str(value) if value else ""
    columns: dict[str, Value] = {f"{attribute.column}_folded": indexable(search_text(name)) or None}
    if attribute.level is Level.PATIENT:
        for kind, group in zip(("alphabetic", "ideographic", "phonetic"), groups(name), strict=True):
            columns[f"{attribute.column}_{kind}"] = indexable(fold(group)) or None
    return columns
