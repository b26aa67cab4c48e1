"""A C-FIND identifier as values: which rows match, and what each answer holds. No SQL here.

Source: PS3.4 section C.2.2.2 (matching) and C.4.1 (C-FIND).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from enum import Enum
from functools import lru_cache
from typing import Final, NamedTuple

from pydicom.datadict import dictionary_VR

from pacs_server.dicom.attributes import (
    BY_KEYWORD,
    MODALITY,
    QUERY_RETRIEVE_LEVEL,
    SEQUENCE_BY_TAG,
    SEQUENCES,
    SPECIFIC_CHARACTER_SET,
    Attribute,
    ItemSequence,
    Level,
    Matching,
)
from pacs_server.dicom.items import with_code_value
from pacs_server.dicom.queries.identifier import Element, Identifier, read_identifier
from pacs_server.dicom.queries.predicates import (
    SEARCHED,
    Between,
    BetweenMoments,
    HasItem,
    Nothing,
    Predicate,
    ValuePredicate,
    is_universal,
    predicate_of,
)
from pacs_server.dicom.vocabulary import STANDARD, Field, Vocabulary, reserves
from pacs_server.errors import BadQuery

_FORMS: Final = {
    Matching.DATE: "date: write 20260131, 20260101-20260131, -20260131 or 20260101-",
    Matching.TIME: "time: write 1530, 153000, 0800-1200, -1200 or 0800-",
}
MODALITIES_IN_STUDY: Final = BY_KEYWORD["ModalitiesInStudy"]
_TIMEZONE_OFFSET: Final = 0x00080201
_MOST_REMEMBERED_BYTES: Final = 4096


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How keys are taken where the standard leaves it to negotiation. Source: PS3.4 section C.5.1.1.

    `combines_moments`: a range of dates and one of times that belong together are one range of moments (C.2.2.2.5).
    `takes_names_in_any_order`: the words of a name may stand in any order and be cut short ("fuzzy").
    """

    combines_moments: bool = False
    takes_names_in_any_order: bool = False


class ReturnKey(NamedTuple):
    """One element of each answer. Where the index does not hold it, `attribute` is None and `text` is answered.

    Of a sequence those items are answered that fit all of `fitting`, with the attributes whose tags are in `asked`, or
    with all where that names none.
    """

    tag: int
    vr: str
    attribute: Attribute | ItemSequence | None
    text: str = ""
    asked: frozenset[int] = frozenset()
    fitting: tuple[ValuePredicate, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What is asked for. Predicates are all to be met; return keys are in order of tags.

    `has_unsupported_keys` says that a key with a value could not be matched (PS3.4 section C.4.1.1.4, status FF01).
    `asked` are the level and the keys that have a value, for a person to read; it may tell of patients.
    """

    level: Level
    predicates: tuple[Predicate, ...]
    return_keys: tuple[ReturnKey, ...]
    character_set: tuple[str, ...] = ()
    has_unsupported_keys: bool = False
    asked: str = ""


def parse_query(
    identifier: bytes,
    transfer_syntax: str,
    model: Model,
    *,
    assumed_charset: str = "",
    manner: Manner = Manner(),
    vocabulary: Vocabulary = STANDARD,
) -> Query:
    """Read a C-FIND identifier. One that was read lately is not read again.

    Raises: BadQuery when it is damaged, or its level is missing or not one of the model.
    """
    parse = _parse_once if len(identifier) <= _MOST_REMEMBERED_BYTES else _parse
    return parse(identifier, transfer_syntax, model, assumed_charset, manner, vocabulary)


def _parse(
    identifier: bytes, transfer_syntax: str, model: Model, assumed_charset: str, manner: Manner, vocabulary: Vocabulary
) -> Query:
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
        return_key, predicate, is_supported = _key(element, level, manner)
        return_keys += [return_key] if return_key else []
        predicates += [predicate] if predicate else []
        unsupported |= not is_supported
    return Query(
        level=level,
        predicates=tuple(_combined(predicates) if manner.combines_moments else predicates),
        return_keys=tuple(return_keys),
        character_set=keys.character_set,
        has_unsupported_keys=unsupported,
        asked=_asked(level, keys),
    )


# A viewer asks the same again whenever it shows its list anew. Reading 16 keys took 60 of the 110 us after which a
# question that finds nothing is answered.
_parse_once: Final = lru_cache(maxsize=64)(_parse)


def _key(element: Element, level: Level, manner: Manner) -> tuple[ReturnKey | None, Predicate | None, bool]:
    """A key as it comes back, what it restricts the answers to, and whether all that it says could be matched."""
    if sequence := SEQUENCE_BY_TAG.get(element.tag):
        wanted, is_known = _item_predicates(sequence, [with_code_value(item) for item in element.items])
        asked: frozenset[int] = frozenset(*element.items[:1])
        return_key = ReturnKey(element.tag, "SQ", sequence, asked=asked, fitting=wanted)
        return return_key, HasItem(sequence, wanted) if wanted else None, is_known
    if reserves(element.tag):
        return ReturnKey(element.tag, "LO", None, element.text), None, True
    attribute = _attribute(element, level)
    if not element.text and not element.items:
        return _return_key(element, attribute), None, True  # it is asked for alone, as most keys are
    predicate = None
    if attribute and _is_ready(attribute):
        predicate = predicate_of(attribute, element.text, takes_names_in_any_order=manner.takes_names_in_any_order)
    said = (element.text, *(text for item in element.items for text in item.values()))
    says_nothing = all(map(is_universal, said)) or (not element.items and _restricts_nothing(attribute))
    return _return_key(element, attribute), predicate, predicate is not None or says_nothing


def _asked(level: Level, keys: Identifier) -> str:
    told = [level.name]
    for element in keys.elements:
        if element.tag in (SPECIFIC_CHARACTER_SET, QUERY_RETRIEVE_LEVEL) or not (element.text or element.items):
            continue
        values = [element.text, *(text for item in element.items for text in item.values())]
        if any(values):
            keyword = element.attribute.keyword if element.attribute else f"{element.tag:08x}"
            told.append(f"{keyword}={'/'.join(filter(None, values))}")
    return " ".join(told)


def query_from_keywords(level: Level, keys: Mapping[str, str], vocabulary: Vocabulary = STANDARD) -> Query:
    """The query that a person types, as keywords and values: the same matching as on the network. Keywords of items
    stand behind that of their sequence and a point; all of a sequence have to be met by one item.

    Raises: BadQuery when a keyword is not one of the index, and then it names the nearest; when it is one that cannot
    be searched; or when it is a field whose values are still being read from the files.
    """
    predicates: list[Predicate] = []
    items: dict[ItemSequence, list[ValuePredicate]] = {}
    for keyword, text in keys.items():
        sequence_name, _, field_name = keyword.rpartition(".")
        if sequence := _SEQUENCE_BY_KEYWORD.get(sequence_name):
            wanted = _typed(field_name, text, {field.keyword: field for field in sequence.fields})
            items.setdefault(sequence, []).extend(wanted)
        else:
            predicates += _typed(keyword, text, vocabulary.by_keyword)
    predicates += [HasItem(sequence, tuple(wanted)) for sequence, wanted in items.items() if wanted]
    return Query(level=level, predicates=tuple(predicates), return_keys=(), character_set=("ISO_IR 192",))


def column_from_keyword(keyword: str, vocabulary: Vocabulary = STANDARD) -> Attribute | ItemSequence:
    """What a key that `query_from_keywords` takes shows of each answer."""
    return _SEQUENCE_BY_KEYWORD.get(keyword.rpartition(".")[0]) or vocabulary.by_keyword[keyword]


def _typed(keyword: str, text: str, known: Mapping[str, Attribute]) -> list[ValuePredicate]:
    """The predicate of a key that a person typed, if it restricts anything."""
    attribute = known.get(keyword)
    if attribute is None:
        near = get_close_matches(keyword, known, n=1, cutoff=0.5)
        hint = f"; did you mean {near[0]}?" if near else "; pacs index fields add adds one"
        raise BadQuery(f"{keyword} is not an attribute that the index holds{hint}")
    if attribute.matching is Matching.COMPUTED:
        raise BadQuery(f"{keyword} is only made for answers on the network; it cannot be asked for")
    if attribute.matching is Matching.ROLLUP and not is_universal(text):
        raise BadQuery(f"{keyword} is counted and cannot be searched; {keyword}= with nothing behind shows it")
    if not _is_ready(attribute):
        raise BadQuery(f"{keyword} is still being read from the files: pacs index fields list shows how far it is")
    predicate = predicate_of(attribute, text)
    if isinstance(predicate, Nothing) and (form := _FORMS.get(attribute.matching)):
        raise BadQuery(f"{text} is no {form}")
    return [] if predicate is None else [predicate]


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


def _return_key(element: Element, attribute: Attribute | None) -> ReturnKey | None:
    """A key as it comes back. A time zone that nobody knows does not: it may not be empty (PS3.4 C.4.1.1.3.2)."""
    if attribute is None and element.tag == _TIMEZONE_OFFSET:
        return None
    return ReturnKey(element.tag, _vr(element, attribute), attribute)


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


def _item_predicates(
    sequence: ItemSequence, items: Sequence[Mapping[int, str]]
) -> tuple[tuple[ValuePredicate, ...], bool]:
    """What an item has to fulfil, and whether every key with a value is one that the index holds of the items."""
    keys = items[0] if items else {}
    known = {field.tag for field in sequence.fields}
    wanted = (predicate_of(field, keys.get(field.tag, "")) for field in sequence.fields)
    is_known = len(items) < 2 and all(tag in known or is_universal(text) for tag, text in keys.items())
    return tuple(one for one in wanted if one is not None), is_known


def _restricts_nothing(attribute: Attribute | None) -> bool:
    """Whether a key on it could have restricted the answers, and did not by what its value says."""
    return attribute is not None and attribute.matching in SEARCHED and _is_ready(attribute)


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

_SEQUENCE_BY_KEYWORD: Final = {sequence.keyword: sequence for sequence in SEQUENCES}
