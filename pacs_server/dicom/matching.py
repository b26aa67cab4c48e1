"""A C-FIND identifier as values: which rows match, and what each answer holds. No SQL here.

Source: PS3.4 section C.2.2.2 (matching) and C.4.1 (C-FIND).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from difflib import get_close_matches
from enum import Enum
from functools import partial
from typing import Final, TypeAlias

from pydicom.datadict import dictionary_VR

from pacs_server.dicom.attributes import (
    BY_KEYWORD,
    MODALITY,
    QUERY_RETRIEVE_LEVEL,
    SEQUENCE_BY_TAG,
    SPECIFIC_CHARACTER_SET,
    Attribute,
    ItemSequence,
    Level,
    Matching,
)
from pacs_server.dicom.identifier import Element, Identifier, read_identifier
from pacs_server.dicom.moments import earliest, latest, moments_of_range
from pacs_server.dicom.names import NamePattern
from pacs_server.dicom.vocabulary import STANDARD, Field, Vocabulary, reserves
from pacs_server.errors import BadQuery

MODALITIES_IN_STUDY: Final = BY_KEYWORD["ModalitiesInStudy"]
_SINGLE_VALUED: Final = frozenset({"LT", "ST", "UT", "UR"})
_OLD_DATE: Final = re.compile(r"(\d{4})\.(\d\d)\.(\d\d)")
_RANGE: Final = re.compile(r"([^-]*)-([^-]*)")
_TIME_FORM: Final = re.compile(r"(?:[01]\d|2[0-3])(?:[0-5]\d(?:(?:[0-5]\d|60)(?:\.\d{1,6})?)?)?")
_MAX_NAME_CHARACTERS: Final = 1024  # no longer name is held
_TIME_LATEST: Final = "235959.999999"


class Model(Enum):
    """A query/retrieve information model. Source: PS3.4 section C.6."""

    PATIENT_ROOT = "Patient Root"
    STUDY_ROOT = "Study Root"
    PATIENT_STUDY_ONLY = "Patient/Study Only"

    @property
    def levels(self) -> tuple[Level, ...]:
        """The levels that are answered. PATIENT on Study Root is not the standard's, but viewers ask it (3D Slicer)."""
        if self is Model.PATIENT_STUDY_ONLY:
            return (Level.PATIENT, Level.STUDY)
        return tuple(Level)


@dataclass(frozen=True, slots=True)
class OneOf:
    """The value is one of these, exactly."""

    attribute: Attribute
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Like:
    """The value fits one of these patterns; `*` is any text, `?` any character."""

    attribute: Attribute
    patterns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NameLike:
    """The name fits one of these patterns."""

    attribute: Attribute
    patterns: tuple[NamePattern, ...]


@dataclass(frozen=True, slots=True)
class Between:
    """The text lies between one of these pairs of bounds, both included; an open end is None."""

    attribute: Attribute
    bounds: tuple[tuple[str | None, str | None], ...]
    is_range: bool = False  # one range, not a single value or a list


@dataclass(frozen=True, slots=True)
class BetweenMoments:
    """The date in `attribute` and the time in `time` together lie between these bounds, both included.

    An open end is None. A time counts only beside a date of its end, and without one the whole day belongs to it. An
    object without a time lies neither before nor after another moment of its day.
    """

    attribute: Attribute
    time: Attribute
    dates: tuple[str | None, str | None]
    times: tuple[str | None, str | None]


@dataclass(frozen=True, slots=True)
class NumberIn:
    """The number is one of these."""

    attribute: Attribute
    values: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Nothing:
    """No row matches: the key's value is not one that its VR can have."""

    attribute: Attribute


ValuePredicate: TypeAlias = OneOf | Like | NameLike | Between | BetweenMoments | NumberIn | Nothing


@dataclass(frozen=True, slots=True)
class HasItem:
    """One item of the sequence fits all of these. Source: PS3.4 section C.2.2.2.6."""

    sequence: ItemSequence
    fields: tuple[ValuePredicate, ...]


Predicate: TypeAlias = ValuePredicate | HasItem


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How keys are taken where the standard leaves it to negotiation. Source: PS3.4 section C.5.1.1.

    `combines_moments`: a range of dates and one of times that belong together are one range of moments (C.2.2.2.5).
    `takes_names_in_any_order`: the words of a name may stand in any order and be cut short ("fuzzy").
    """

    combines_moments: bool = False
    takes_names_in_any_order: bool = False


@dataclass(frozen=True, slots=True)
class ReturnKey:
    """One element of each answer. Where the index does not hold it, `attribute` is None and `text` is answered."""

    tag: int
    vr: str
    attribute: Attribute | ItemSequence | None
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What is asked for. Predicates are all to be met; return keys are in order of tags.

    `has_unsupported_keys` says that a key with a value could not be matched (PS3.4 section C.4.1.1.4, status FF01).
    """

    level: Level
    predicates: tuple[Predicate, ...]
    return_keys: tuple[ReturnKey, ...]
    character_set: tuple[str, ...] = ()
    has_unsupported_keys: bool = False


def parse_query(
    identifier: bytes,
    transfer_syntax: str,
    model: Model,
    *,
    assumed_charset: str = "",
    manner: Manner = Manner(),
    vocabulary: Vocabulary = STANDARD,
) -> Query:
    """Read a C-FIND identifier.

    Raises: BadQuery when it is damaged, or its level is missing or not one of the model.
    """
    keys = read_identifier(identifier, transfer_syntax, assumed_charset=assumed_charset, vocabulary=vocabulary)
    level = read_level(keys, model)
    if level is None:
        raise BadQuery("the query has no Query/Retrieve Level")
    predicates: list[Predicate] = []
    return_keys: list[ReturnKey] = []
    unsupported = False
    for element in keys.elements:
        if element.tag in (SPECIFIC_CHARACTER_SET, QUERY_RETRIEVE_LEVEL):
            continue
        if sequence := SEQUENCE_BY_TAG.get(element.tag):
            return_keys.append(ReturnKey(element.tag, "SQ", sequence))
            wanted, known = _item_predicates(sequence, element.items)
            predicates += [HasItem(sequence, wanted)] if wanted else []
            unsupported |= not known
            continue
        if reserves(element.tag):
            return_keys.append(ReturnKey(element.tag, "LO", None, element.text))
            continue
        attribute = _attribute(element, level)
        return_keys.append(ReturnKey(element.tag, _vr(element, attribute), attribute))
        predicate = _predicate(attribute, element.text, manner) if attribute and _is_ready(attribute) else None
        if predicate is not None:
            predicates.append(predicate)
        elif any(element.items) or not (_is_universal(element.text) or _restricts_nothing(attribute)):
            unsupported = True
    return Query(
        level=level,
        predicates=tuple(_combined(predicates) if manner.combines_moments else predicates),
        return_keys=tuple(return_keys),
        character_set=keys.character_set,
        has_unsupported_keys=unsupported,
    )


def query_from_keywords(level: Level, keys: Mapping[str, str], vocabulary: Vocabulary = STANDARD) -> Query:
    """The query that a person types, as keywords and values: the same matching as on the network.

    Raises: BadQuery when a keyword is not one of the index, and then it names the nearest; or when it is a field whose
    values are still being read from the files.
    """
    predicates = []
    for keyword, text in keys.items():
        attribute = vocabulary.by_keyword.get(keyword)
        if attribute is None:
            near = get_close_matches(keyword, vocabulary.by_keyword, n=1, cutoff=0.5)
            hint = f"; did you mean {near[0]}?" if near else "; pacs index fields add adds one"
            raise BadQuery(f"{keyword} is not an attribute that the index holds{hint}")
        if not _is_ready(attribute):
            raise BadQuery(f"{keyword} is still being read from the files: pacs index fields list shows how far it is")
        predicate = _predicate(attribute, text)
        if predicate is not None:
            predicates.append(predicate)
    return Query(level=level, predicates=tuple(predicates), return_keys=(), character_set=("ISO_IR 192",))


def read_level(keys: Identifier, model: Model) -> Level | None:
    """The level that an identifier states, None when it states none.

    Raises: BadQuery when it is not one of the model's.
    """
    stated = keys.text(QUERY_RETRIEVE_LEVEL).strip()
    if not stated:
        return None
    try:
        level = Level[stated]
    except KeyError:
        level = None
    if level not in model.levels:
        shown = stated[:16].encode("unicode_escape").decode("ascii")
        raise BadQuery(f"level {shown} is not one of the {model.value} model")
    return level


def _attribute(element: Element, level: Level) -> Attribute | None:
    """The attribute of a key. Modality at study level is taken for Modalities in Study, as viewers mean it (Horos)."""
    if element.tag == MODALITY and level <= Level.STUDY:
        return MODALITIES_IN_STUDY
    return element.attribute


def _is_ready(attribute: Attribute) -> bool:
    """Whether a key on it finds every object; one on a field whose values are still being read would miss some."""
    return not isinstance(attribute, Field) or attribute.is_ready


def _vr(element: Element, attribute: Attribute | None) -> str:
    if attribute is not None:
        return attribute.vr
    if element.vr:
        return element.vr
    try:
        return dictionary_VR(element.tag)[:2]
    except KeyError:
        return "UN"


def _is_universal(text: str) -> bool:
    """Whether a value matches everything. Source: PS3.4 section C.2.2.2.3."""
    return not text.strip("* \0")


def _item_predicates(
    sequence: ItemSequence, items: Sequence[Mapping[int, str]]
) -> tuple[tuple[ValuePredicate, ...], bool]:
    """What an item has to fulfil, and whether every key with a value is one that the index holds of the items."""
    keys = items[0] if items else {}
    known = {field.tag for field in sequence.fields}
    wanted = (_predicate(field, keys.get(field.tag, "")) for field in sequence.fields)
    is_known = len(items) < 2 and all(tag in known or _is_universal(text) for tag, text in keys.items())
    return tuple(one for one in wanted if one is not None), is_known


def _restricts_nothing(attribute: Attribute | None) -> bool:
    """Whether a key on it could have restricted the answers, and did not by what its value says."""
    return attribute is not None and attribute.matching in _BY_MATCHING and _is_ready(attribute)


def _predicate(attribute: Attribute, text: str, manner: Manner = Manner()) -> ValuePredicate | None:
    """The predicate of one key, None when it restricts nothing."""
    if _is_universal(text):
        return None
    make = _BY_MATCHING.get(attribute.matching)
    if attribute.matching is Matching.NAME and manner.takes_names_in_any_order:
        make = partial(_name, fuzzy=True)
    if make is None:
        return None
    values = (text,) if attribute.vr in _SINGLE_VALUED else tuple(text.split("\\"))
    trimmed = tuple(value.strip(" \0") for value in values)
    wanted = tuple(value for value in trimmed if value)
    if any(_is_universal(value) for value in wanted):
        return None
    return make(attribute, wanted)


def _text(attribute: Attribute, values: Sequence[str]) -> ValuePredicate:
    if any("*" in value or "?" in value for value in values):
        return Like(attribute, tuple(values))
    return OneOf(attribute, tuple(values))


def _uid(attribute: Attribute, values: Sequence[str]) -> ValuePredicate:
    """A list of UIDs; a UID has no wildcards (PS3.4 section C.2.2.2.2), so one with them matches nothing."""
    plain = tuple(value for value in values if "*" not in value and "?" not in value)
    return OneOf(attribute, plain) if plain else Nothing(attribute)


def _name(attribute: Attribute, values: Sequence[str], *, fuzzy: bool = False) -> ValuePredicate | None:
    if any(len(value) > _MAX_NAME_CHARACTERS for value in values):
        return Nothing(attribute)
    patterns = tuple(NamePattern.of(value, fuzzy=fuzzy) for value in values)
    return NameLike(attribute, patterns) if all(pattern.parts for pattern in patterns) else None


def _number(attribute: Attribute, values: Sequence[str]) -> ValuePredicate:
    numbers = tuple(int(value) for value in values if re.fullmatch(r"[+-]?\d{1,9}", value))
    return NumberIn(attribute, numbers) if numbers else Nothing(attribute)


def _dates(attribute: Attribute, values: Sequence[str]) -> ValuePredicate:
    return _range(attribute, values, _date_low, _date_high)


def _times(attribute: Attribute, values: Sequence[str]) -> ValuePredicate:
    return _range(attribute, [value.replace(":", "") for value in values], _time_low, _time_high)


def _moments(attribute: Attribute, values: Sequence[str]) -> ValuePredicate:
    bounds = []
    for first, last in filter(None, map(moments_of_range, values)):
        low = earliest(first) if first else None
        high = latest(last) if last else None
        if (low is not None) == bool(first) and (high is not None) == bool(last):
            bounds.append((low, high))
    return Between(attribute, tuple(bounds)) if bounds else Nothing(attribute)


def _range(
    attribute: Attribute,
    values: Sequence[str],
    low_of: Callable[[str], str | None],
    high_of: Callable[[str], str | None],
) -> ValuePredicate:
    """Single values or ranges, open at either end; several are a list. Source: PS3.4 section C.2.2.2.5."""
    bounds = []
    for value in values:
        found = _RANGE.fullmatch(value)
        first, last = (found[1].strip(), found[2].strip()) if found else (value, value)
        low = low_of(first) if first else None
        high = high_of(last) if last else None
        if (first or last) and (low is not None) == bool(first) and (high is not None) == bool(last):
            bounds.append((low, high))
    is_range = len(values) == 1 and "-" in values[0]
    return Between(attribute, tuple(bounds), is_range) if bounds else Nothing(attribute)


def _date_low(text: str) -> str | None:
    digits = _OLD_DATE.sub(r"\1\2\3", text)
    try:
        return f"{date.fromisoformat(digits):%Y%m%d}" if len(digits) == 8 and digits.isdigit() else None
    except ValueError:
        return None


_date_high = _date_low


def _time_low(text: str) -> str | None:
    """The least stored text of this time: `1000` also finds what is stored as `10`."""
    if not _TIME_FORM.fullmatch(text):
        return None
    shortest = re.sub(r"\.0*$", "", text) if "." in text else text
    while len(shortest) in (4, 6) and shortest.endswith("00"):
        shortest = shortest[:-2]
    return shortest


def _time_high(text: str) -> str | None:
    """The greatest stored text of this time, by its precision: `10` includes `105959.999999`."""
    if not _TIME_FORM.fullmatch(text):
        return None
    if "." in text:
        return text + "9" * (len(_TIME_LATEST) - len(text))
    return text + _TIME_LATEST[len(text) :]


def _combined(predicates: Sequence[Predicate]) -> list[Predicate]:
    """The predicates with each pair of a range of dates and one of times as one range of moments."""
    ranges = {one.attribute: one for one in predicates if isinstance(one, Between) and one.is_range}
    kept = list(predicates)
    for day, clock in _MOMENTS:
        if day in ranges and clock in ranges:
            dates, times = ranges[day], ranges[clock]
            kept = [predicate for predicate in kept if predicate not in (dates, times)]
            kept.append(BetweenMoments(day, clock, dates.bounds[0], times.bounds[0]))
    return kept


_MOMENTS: Final = tuple(
    (BY_KEYWORD[f"{name}Date"], BY_KEYWORD[f"{name}Time"])
    for name in ("Study", "Series", "PatientBirth", "InstanceCreation", "Acquisition", "Content",
                 "PerformedProcedureStepStart")
)  # fmt: skip

_BY_MATCHING: Final[dict[Matching, Callable[[Attribute, Sequence[str]], ValuePredicate | None]]] = {
    Matching.UID: _uid,
    Matching.TEXT: _text,
    Matching.NAME: _name,
    Matching.DATE: _dates,
    Matching.TIME: _times,
    Matching.MOMENT: _moments,
    Matching.NUMBER: _number,
}
