"""What one key of a query demands of one attribute, as a value. No SQL here.

Source: PS3.4 section C.2.2.2.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial
from itertools import chain
from typing import Final, TypeAlias

from pacs_server.dicom.attributes import Attribute, ItemSequence, Matching
from pacs_server.dicom.coded_sets import read_elsewhere
from pacs_server.dicom.moments import earliest, latest, moments_of_range
from pacs_server.dicom.names import GROUPS, NamePattern, joined_or_parted, typed
from pacs_server.dicom.values import INTEGER_FORM, MAX_TEXT_CHARACTERS, age_of
from pacs_server.dicom.wildcards import regex_of
from pacs_server.errors import BadQuery

_SINGLE_VALUED: Final = frozenset({"LT", "ST", "UT", "UR"})
_CHECKED: Final = frozenset({"AS", "DS"})  # held where it is one age or number, and so never with a backslash
_RANGED: Final = frozenset({Matching.DATE, Matching.TIME, Matching.MOMENT})
_OLD_DATE: Final = re.compile(r"(\d{4})\.(\d\d)\.(\d\d)")
_STARS: Final = re.compile(r"\*{2,}")
_RANGE: Final = re.compile(r"([^-]*)-([^-]*)")
_DAY: Final = re.compile(r"\d{8}", re.ASCII)
_TIME_FORM: Final = re.compile(r"(?:[01]\d|2[0-4])(?:[0-5]\d(?:(?:[0-5]\d|60)(?:\.\d{1,6})?)?)?")
_MAX_NAME_CHARACTERS: Final = 1024  # no longer name is held
_MOST_ALTERNATIVES: Final = 900  # SQLite takes no expression that is deeper than 1,000
_TIME_LATEST: Final = "235959.999999"


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


def is_universal(text: str) -> bool:
    """Whether a value matches everything. Source: PS3.4 section C.2.2.2.3."""
    return not text.strip("* \0")


def is_fitted(predicate: ValuePredicate, text: str) -> bool:
    """Whether a text of an item is what its predicate demands. Those of items are all exact texts or patterns."""
    several = text, *(value.strip() for value in text.split("\\"))
    if isinstance(predicate, OneOf):
        return not set(several).isdisjoint(predicate.values)
    if isinstance(predicate, Like):
        regexes = [regex_of(one, ".", atomic=True) for one in predicate.patterns]
        return any(re.fullmatch(regex, one, re.DOTALL) for regex in regexes for one in several)
    return True


def predicate_of(attribute: Attribute, text: str, *, takes_names_in_any_order: bool = False) -> ValuePredicate | None:
    """The predicate of one key, None when it restricts nothing.

    Raises: BadQuery when it has too many values that are not looked for as one list.
    """
    if is_universal(text):
        return None
    make = _BY_MATCHING.get(attribute.matching)
    if attribute.matching is Matching.NAME and takes_names_in_any_order:
        make = partial(_name, fuzzy=True)
    if make is None:
        return None
    values = (text,) if attribute.vr in _SINGLE_VALUED else tuple(text.split("\\"))
    trimmed = tuple(value.strip(" \0") for value in values)
    wanted = tuple(dict.fromkeys(value for value in trimmed if value))
    if not wanted or any(is_universal(value) for value in wanted):
        return None
    if "-" in wanted and attribute.matching in _RANGED:  # as of a form whose two fields of a range are empty
        return None
    if (
        len(values) > 1
        and attribute.matching is Matching.TEXT
        and not attribute.is_list
        and attribute.vr not in _CHECKED
    ):
        wanted += as_one_value(text)
    made = make(attribute, wanted)
    if made is not None and alternatives(made) > _MOST_ALTERNATIVES:
        raise BadQuery(f"{attribute.keyword} has more values than are looked for at once; ask in parts")
    return made


def as_one_value(text: str) -> tuple[str, ...]:
    """A list of values as the one text that it is where an attribute of a single value was sent with a backslash in it:
    viewers ask for it as they were answered. Nothing where it is longer than any text that is held.
    """
    return (text.strip(" \0"),) if len(text) <= MAX_TEXT_CHARACTERS else ()


def alternatives(predicate: Predicate) -> int:
    """How many conditions it is, of which one has to hold: of a name one for each group, of exact values one."""
    match predicate:
        case HasItem(fields=fields):
            return sum(map(alternatives, fields))
        case NameLike(patterns=names):
            return GROUPS * len(names)
        case Like(patterns=some) | Between(bounds=some):
            return len(some)
        case OneOf(attribute=attribute, values=texts) if attribute.is_list:
            return len(texts)
        case _:
            return 1


def _text(attribute: Attribute, values: Sequence[str]) -> ValuePredicate:
    if attribute.vr == "AS":
        values = [age_of(value) or value for value in values]
    read = (_STARS.sub("*", text) for value in values for text in read_elsewhere(value))
    # SQLite takes no pattern of more than 50,000 bytes, and to read one of a megabyte took half a minute.
    texts = tuple(text for text in read if len(text) - text.count("*") <= MAX_TEXT_CHARACTERS)
    if not texts:
        return Nothing(attribute)
    if any("*" in text or "?" in text for text in texts):
        return Like(attribute, texts)
    return OneOf(attribute, texts)


def _uid(attribute: Attribute, values: Sequence[str]) -> ValuePredicate:
    """A list of UIDs; a UID has no wildcards (PS3.4 section C.2.2.2.2), so one with them matches nothing."""
    plain = tuple(value for value in values if "*" not in value and "?" not in value)
    return OneOf(attribute, plain) if plain else Nothing(attribute)


def _name(attribute: Attribute, values: Sequence[str], *, fuzzy: bool = False) -> ValuePredicate | None:
    if any(len(value) > _MAX_NAME_CHARACTERS for value in values):
        return Nothing(attribute)
    if any(not value.strip("*^= ") for value in values):  # as of a form with a field for each component
        return None
    patterns: dict[NamePattern, None] = {}
    texts = [text for value in values for text in read_elsewhere(value)]
    # Of a list each name is asked for as it was answered.
    more = joined_or_parted(values[0]) if len(values) == 1 else []
    for key in chain((key for text in texts for key in typed(text)), more):
        patterns[NamePattern.of(key, fuzzy=fuzzy)] = None
        if GROUPS * len(patterns) > _MOST_ALTERNATIVES:
            break  # so many are refused, and to read on in a list of a megabyte took seconds
    return NameLike(attribute, tuple(patterns)) if all(pattern.parts for pattern in patterns) else None


def _number(attribute: Attribute, values: Sequence[str]) -> ValuePredicate:
    numbers = tuple(int(value) for value in values if INTEGER_FORM.fullmatch(value))
    return NumberIn(attribute, numbers) if numbers else Nothing(attribute)


def _dates(attribute: Attribute, values: Sequence[str]) -> ValuePredicate:
    digits = [_OLD_DATE.sub(r"\1\2\3", value) for value in values]
    meant = [value for value in digits if "-" in value or _is_date(value)]
    return _range(attribute, meant, _day, _day)


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


def _day(text: str) -> str | None:
    """The end of a range of dates, which need not be in the calendar: `20260231` ends February."""
    return text if _DAY.fullmatch(text) else None


def _is_date(digits: str) -> bool:
    try:
        return _day(digits) is not None and bool(date.fromisoformat(digits))
    except ValueError:
        return False


def _time_low(text: str) -> str | None:
    """The least stored text of this time: `1000` also finds what is stored as `10`, and `.50` what is as `.5`."""
    if not _TIME_FORM.fullmatch(text):
        return None
    shortest = text.rstrip("0").rstrip(".") if "." in text else text
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


_BY_MATCHING: Final[dict[Matching, Callable[[Attribute, Sequence[str]], ValuePredicate | None]]] = {
    Matching.UID: _uid,
    Matching.TEXT: _text,
    Matching.NAME: _name,
    Matching.DATE: _dates,
    Matching.TIME: _times,
    Matching.MOMENT: _moments,
    Matching.NUMBER: _number,
}

# The matchings by which a key can restrict anything.
SEARCHED: Final = frozenset(_BY_MATCHING)
