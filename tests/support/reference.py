"""A slow, obvious matcher over a list of data sets, as PS3.4 section C.2.2.2 reads; the index has to agree with it."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pydicom import Dataset
from pydicom.datadict import dictionary_VR

from pacs_server.dicom.names import fold

LEVELS = {"PATIENT": "PatientID", "STUDY": "StudyInstanceUID", "SERIES": "SeriesInstanceUID", "IMAGE": "SOPInstanceUID"}
MOMENTS = (("StudyDate", "StudyTime"), ("ContentDate", "ContentTime"))
_GREATEST_TIME = "235959.999999"
_LAST_COMPONENT = re.compile(r"[\^ ]+\*+(?==|$)")
_JAPANESE = re.compile("[々〆〇ァ-ヶー㐀-鿿豈-\ufaff\U00020000-\U0003ffff]")


@dataclass(frozen=True, slots=True)
class Question:
    """A query: its level, its keys with their values, and whether dates and times are one range."""

    level: str
    keys: dict[str, str]
    combines_moments: bool = False


def found(data_sets: Sequence[Dataset], question: Question) -> set[str]:
    """The unique keys, of the level that is asked, of the rows that match.

    Keys of the row's level and above have one value in all its objects. Of a key below it, one object has to fit.
    """
    unique = LEVELS[question.level]
    keys, pairs = dict(question.keys), []
    for day, time in MOMENTS if question.combines_moments else ():
        if is_range(keys.get(day, "")) and is_range(keys.get(time, "")):
            pairs.append((day, time, keys.pop(day), keys.pop(time)))
    rows: dict[str, set[str]] = {}
    for data_set in data_sets:
        fitting = {keyword for keyword, key in keys.items() if fits(data_set, keyword, key)}
        fitting |= {day for day, time, days, times in pairs if _moment_fits(data_set, days, times, day, time)}
        rows.setdefault(str(data_set[unique].value), set()).update(fitting)
    return {row for row, fitting in rows.items() if fitting == {*keys, *(day for day, *_ in pairs)}}


def is_range(value: str) -> bool:
    """Whether a key is one range."""
    return "-" in value and "\\" not in value


def fits(data_set: Dataset, keyword: str, key: str) -> bool:
    """Whether the value of one attribute fits a key."""
    wanted = [value.strip(" ") for value in key.split("\\") if value.strip(" ")]
    if not wanted or any(not value.strip("* ") for value in wanted):
        return True
    vr = dictionary_VR("Modality" if keyword == "ModalitiesInStudy" else keyword)
    element = data_set.get("Modality" if keyword == "ModalitiesInStudy" else keyword)
    value = "" if element is None else str(element)
    if vr == "PN":
        return any(_name_fits(value, one, is_lone=len(set(wanted)) == 1) for one in wanted)
    if vr == "DA":
        return any(_between(value, one, "") for one in wanted)
    if vr == "TM":
        return any(_between(_time(value), one, _GREATEST_TIME) for one in wanted)
    if vr == "IS":
        return bool(value) and int(value) in [int(one) for one in wanted]
    if vr == "UI":
        return value in wanted
    return bool(value) and any(_wildcard(one, "[^\0]").fullmatch(value) for one in wanted)


def _wildcard(pattern: str, any_character: str) -> re.Pattern[str]:
    parts = {"*": f"{any_character}*", "?": any_character}
    return re.compile("".join(parts.get(letter) or re.escape(letter) for letter in pattern), re.DOTALL)


def _name_fits(name: str, key: str, *, is_lone: bool) -> bool:
    if not fold(key).strip("=* "):
        return True  # nothing but delimiters and asterisks
    return any(_fits_as_typed(name, one, is_lone=is_lone) for one in _as_typed(key))


def _as_typed(key: str) -> Iterator[str]:
    """A key, and each that it is when the asterisks for its last components stand for nothing."""
    while fold(key).strip("=* "):
        yield key
        shorter = _LAST_COMPONENT.sub("", key)
        if shorter == key:
            break
        key = shorter


def _fits_as_typed(name: str, key: str, *, is_lone: bool) -> bool:
    groups = [fold(group) for group in (*name.split("="), "", "")[:3]]
    if "=" not in key:
        return any(group and _group_fits(group, key, is_lone=is_lone) for group in groups)
    asked = (*key.split("="), "", "")[:3]
    told = [(group, one) for one, group in zip(asked, groups, strict=True) if fold(one).strip("*")]
    return all(_group_fits(group, one, is_lone=is_lone) for group, one in told)


def _group_fits(group: str, key: str, *, is_lone: bool) -> bool:
    """Whether a folded group of a name fits that of a key. Of `*^B` the asterisk may stand for nothing, and folded no
    delimiter tells of it; so that B is all that there is. A lone key of kanji and kana may lack the space of the name,
    or have one that the name lacks.
    """
    if is_lone and _fits_in_one_piece(group, fold(key)):
        return True
    family, _, rest = key.partition("^")
    given = rest.rstrip("*")
    is_alone = family != "" and not family.strip("*") and not {"*", "?"} & set(given)
    return _wildcard(fold(key), ".").fullmatch(group) is not None or (is_alone and fold(given) == group != "")


def _fits_in_one_piece(group: str, key: str) -> bool:
    words = key.strip("*").split(" ")
    if not all(word and all(_JAPANESE.fullmatch(letter) for letter in word) for word in words) or len(words) > 2:
        return False
    if len(words) == 2:
        return _wildcard(key.replace(" ", ""), ".").fullmatch(group) is not None
    is_long = len(words[0]) >= (4 if all("ァ" <= letter <= "ー" for letter in words[0]) else 3)
    spaces = [place for place, letter in enumerate(group) if letter == " "]
    lacking = (group[:place] + group[place + 1 :] for place in spaces)
    return is_long and any(_wildcard(key, ".").fullmatch(one) for one in lacking)


def _between(value: str, key: str, greatest: str) -> bool:
    """A single value, or a range with one or two ends; a bound counts by its precision."""
    if not value:
        return False
    first, _, last = key.partition("-") if "-" in key else (key, "", key)
    return (not first or value >= _filled(first, greatest, "0")) and (not last or value <= _filled(last, greatest, "9"))


def _filled(bound: str, greatest: str, digit: str) -> str:
    if not greatest:
        return bound
    rest = greatest if digit == "9" else "000000.000000"
    return bound + rest[len(bound) :]


def _time(value: str) -> str:
    return value + "000000.000000"[len(value) :] if value else ""


def _moment_fits(data_set: Dataset, days: str, times: str, day: str, time: str) -> bool:
    value, clock = str(data_set.get(day) or ""), _time(str(data_set.get(time) or ""))
    if not value:
        return False
    (first_day, last_day), (first_time, last_time) = (
        (text.partition("-")[0], text.partition("-")[2]) if "-" in text else (text, text) for text in (days, times)
    )
    if not clock:  # it may be before or after a moment of its day, but is of a whole day
        is_after = not first_day or value > first_day or (value == first_day and not first_time)
        return is_after and (not last_day or value < last_day or (value == last_day and not last_time))
    moment = value + clock
    low = first_day + _filled(first_time, _GREATEST_TIME, "0")
    high = last_day + _filled(last_time, _GREATEST_TIME, "9")
    return (not first_day or moment >= low) and (not last_day or moment <= high)
