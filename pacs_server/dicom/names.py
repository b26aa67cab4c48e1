"""Person names: their three component groups, and folding for search.

Folding serves search alone; what is stored and answered stays as it was received.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise, product
from math import prod
from typing import Final

from pacs_server.dicom.wildcards import regex_of

GROUPS: Final = 3
_REMEMBERED: Final = 2048  # the names of a working day come again with each object of a study

# NFKC would replace a compatibility ideograph by the character it resembles, yet 神 (U+FA19) and 神 stay distinct, as
# 髙 and 高 do. The delimiters stand for themselves too, but nothing may become one (full-width = and \ would).
_PROTECTED: Final = re.compile(r"([=\\\uf900-\ufaff\U0002f800-\U0002fa1f]+)")
_NOT_DELIMITERS: Final = str.maketrans({"=": "\u30a0", "\\": "\u29f5"})

# Marks of sound that stand by themselves, as where a device made each half-width kana a full-width one: タ゛ is ダ.
_COMBINING: Final = str.maketrans("\u309b\u309c", "\u3099\u309a")
# What nobody sees or types: selectors of a variant of a glyph, zero-width characters, directions of writing.
_INVISIBLE: Final = re.compile(
    "[\u00ad\u034f\u061c\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff\U000e0100-\U000e01ef]"
)

_SMALL: Final = "ぁぃぅぇぉっゃゅょゎゕゖァィゥェォッャュョヮヵヶㇰㇱㇲㇳㇴㇵㇶㇷㇸㇹㇺㇻㇼㇽㇾㇿ"
_LARGE: Final = "アイウエオツヤユヨワカケアイウエオツヤユヨワカケクシストヌハヒフヘホムラリルレロ"
_HIRAGANA: Final = {code: code + 0x60 for code in (*range(0x3041, 0x3097), 0x309D, 0x309E)}
_DASHES: Final = "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\u2500\u2501"
_KANA: Final = _HIRAGANA | str.maketrans(_SMALL, _LARGE) | {ord(dash): "-" for dash in _DASHES}
_LONG_VOWEL: Final = re.compile("(?<=[\u30a1-\u30fa\u30fc])-+")
_STARS: Final = re.compile(r"\*{2,}")
# Where a run begins, not tried again at each place inside of it: a thousand carets took 20 ms each time.
_LAST_COMPONENT: Final = re.compile(r"(?<![\^ \u3000])[\^ \u3000]+\*+(?==|$)")
_COMPONENTS: Final = 5  # PS3.5 section 6.2.1.1
# A prefix, and a middle name, of which a key says nothing though more comes behind it.
_UNTOLD: Final = tuple(re.compile(rf"((?:^|=)[^=^]*(?:\^[^=^]*){{{count}}})\^\*+(?=\^)") for count in (2, 1))
# A family or given name of which a key says nothing though more comes behind it. A name without one begins, folded,
# with what comes behind, as other names do: so that has to be all there is of the group.
_ABSENT: Final = re.compile(r"((?:^|=)(?:(?!\*+\^)[^=^]+\^)?)(?:\*+\^)+([^=*?]+)\**(?==|$)")
_MARKED: Final = {"ﾞ": "ｳｶ-ﾄﾊ-ﾎ", "ﾟ": "ﾊ-ﾎ"}
# What one device writes as an apostrophe, or as the dot between the parts of a foreign name, another writes otherwise;
# the dot of GB 2312 and that of GBK are the same two bytes.
_ALIKE: Final = tuple((re.compile(f"[{marks}]"), marks) for marks in ("'’‘＇ʼ´`", "·・･‧"))
# A group of a key that is kanji and kana alone, folded, in one piece or in two.
_GLYPH: Final = "[々〆〇ァ-ヶー\u3400-\u4dbf\u4e00-\u9fff\ue000-\ue757\uf900-\ufaff\U00020000-\U0003ffff]"
_PIECES: Final = re.compile(rf"(\*?)({_GLYPH}+)(?: ({_GLYPH}+))?(\*?)")
_KANA_ALONE: Final = re.compile("[ァ-ヶー]*")
_LEAST_PARTED: Final = 3  # shorter ones are a family name or a given name
_LEAST_PARTED_KANA: Final = 4
_MOST_FORMS: Final = 100
_WILDCARD: Final = re.compile(r"[*?]")
# Wildcards stay within one group of one value.
_IN_GROUP: Final = r"[^=\\]"


@lru_cache(maxsize=_REMEMBERED)
def fold(text: str) -> str:
    """Fold one name, or one group of it, so that equal results mean a hit.

    Width and case are levelled, hiragana becomes katakana, small kana large, and a mark of sound behind a kana one with
    it. A dash of any kind after kana is the long vowel mark ー, elsewhere a hyphen. `^` and runs of spaces become one
    space, so that a name typed with a space is found; none remain at the ends. Variants of a kanji (渡邊, 渡邉, 渡辺)
    stay distinct, but not those that an invisible selector behind it asks for.
    """
    if not text.isascii():
        text = _INVISIBLE.sub("", text).translate(_COMBINING)
        text = "".join(_normalised(part) for part in _PROTECTED.split(text)).translate(_KANA)
        text = _LONG_VOWEL.sub(lambda dashes: "ー" * len(dashes[0]), text)
    return " ".join(text.replace("^", " ").upper().split())


def _normalised(part: str) -> str:
    if _PROTECTED.match(part):
        return part
    level = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", part).casefold().upper())
    return level.translate(_NOT_DELIMITERS)


def groups(pn: str) -> tuple[str, str, str]:
    """The alphabetic, ideographic and phonetic group of the first value, without padding; missing ones are empty.

    Source: PS3.5 section 6.2.1.
    """
    alphabetic, ideographic, phonetic, *_ = (*pn.split("\\", 1)[0].split("=", GROUPS), "", "", "")
    return alphabetic.strip(), ideographic.strip(), phonetic.strip()


@lru_cache(maxsize=_REMEMBERED)
def completed(pn: str, other: str) -> str | None:
    """A name with the groups that it has in another way to write it. None where these are two names: a group says
    something else, or none says the same.
    """
    ours, theirs = groups(pn), groups(other)
    folded = [(fold(one), fold(another)) for one, another in zip(ours, theirs, strict=True)]
    both = [(one, another) for one, another in folded if one and another]
    if not both or any(one != another for one, another in both):
        return None
    if all(one or not another for one, another in folded):
        return pn
    return "=".join(one or another for one, another in zip(ours, theirs, strict=True)).rstrip("=")


def may_be_same(held: str, told: str) -> bool:
    """Whether two names that came under one patient ID are those of one person, as far as is told."""
    return not held or not told or held == told or completed(held, told) is not None


@lru_cache(maxsize=_REMEMBERED)
def search_text(pn: str) -> str:
    """All values with all groups folded, as `=alphabetic=ideographic=phonetic=`, joined by a backslash.

    The delimiter at both ends of a group lets one search find it whole or from its start. Empty for an empty name.
    """
    values = ["=".join(("", *(fold(group) for group in groups(value)), "")) for value in pn.split("\\")]
    return "\\".join(value for value in values if value != "====")


def grams_of_name(searched: str) -> set[str]:
    """Every two neighbouring characters of each group in a `search_text`, the last one with a space: so each character
    of a group begins a gram.
    """
    folded = [group for value in searched.split("\\") for group in value.split("=") if group]
    return {group[start : start + 2].ljust(2) for group in folded for start in range(len(group))}


def typed(key: str) -> list[str]:
    """A query key, and what else is meant by it: the same with another apostrophe or middle dot, and, because an
    asterisk may stand for nothing, the components before each `^*` at the end (as `SMITH^*^*` for SMITH), those around
    one for any other component, and a half-width kana to whose voiced mark a person has not come yet.
    """
    keys = []
    for one in [key, *(found.sub(mark, key) for found, marks in _ALIKE if found.search(key) for mark in marks)]:
        told = [one]
        for component in _UNTOLD:
            told += [component.sub(r"\1", known) for known in told]
        told += [_ABSENT.sub(r"\1\2", known) for known in told]
        for known in dict.fromkeys(told):
            keys.append(known)
            for _ in range(1, _COMPONENTS):
                keys.append(_LAST_COMPONENT.sub("", keys[-1]))
        for mark, letters in _MARKED.items():
            keys.append(re.sub(f"([{letters}])(?=\\*)", rf"\1{mark}", one))
    return list(dict.fromkeys(one for one in keys if one == key or fold(one).strip("*=? ")))


def joined_or_parted(key: str) -> list[str]:
    """What else is meant by a key in kanji or kana, folded. Of one without anything between family and given name, as
    it is typed where a viewer has one field for both: what it is with a space behind each of its characters. Of one
    with a delimiter: the name in one piece, as some devices send it.
    """
    forms = [[group, *_in_other_pieces(group)] for group in _pattern(key).split("=")]
    if prod(map(len, forms)) > _MOST_FORMS:
        return []
    return ["=".join(groups) for groups in product(*forms)][1:]


def _in_other_pieces(group: str) -> list[str]:
    if not (found := _PIECES.fullmatch(group)):
        return []
    before, first, second, behind = found.groups(default="")
    if second:
        return [before + first + second + behind]
    if len(first) < (_LEAST_PARTED_KANA if _KANA_ALONE.fullmatch(first) else _LEAST_PARTED):
        return []
    return [f"{before}{first[:at]} {first[at:]}{behind}" for at in range(1, len(first))]


@dataclass(frozen=True, slots=True)
class NamePattern:
    """One name to look for, folded: `any_group` in whichever group, `by_group` each where it is given, or `words`, each
    at the beginning of some word of the name.
    """

    any_group: str = ""
    by_group: tuple[str, str, str] = ("", "", "")
    words: tuple[str, ...] = ()

    @classmethod
    def of(cls, key: str, *, fuzzy: bool = False) -> NamePattern:
        """The pattern of a query key, as `fold` levels it; `*` and `?` are wildcards, runs of `*` become one.

        Full-width ＊ and ？ are wildcards too: an input method for kana types them, and no name holds them.
        `fuzzy` takes the words of the key in any order.
        """
        if fuzzy and not _WILDCARD.search(fold(key)):
            return cls(words=tuple(fold(key.replace("=", " ")).split()))
        told = key.rstrip("= ")  # a delimiter of groups that are empty says no more than none (PS3.5 section 6.2.1.1)
        if "=" not in told:
            return cls(any_group=_pattern(told))
        folded = [_pattern(group) for group in told.split("=")[:GROUPS]]
        alphabetic, ideographic, phonetic = ("" if group == "*" else group for group in (*folded, "", "")[:GROUPS])
        return cls(by_group=(alphabetic, ideographic, phonetic))

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts that have to be met, as patterns."""
        return tuple(filter(None, (self.any_group, *self.by_group, *self.words)))

    @property
    def grams(self) -> tuple[str, ...]:
        """Grams that every name that fits has, the most telling first; one of a single character is the beginning of
        one. Empty when there are none.
        """
        runs = [run for part in self.parts for run in _WILDCARD.split(part) if run]
        found = {gram for run in runs for gram in ([run] if len(run) == 1 else map("".join, pairwise(run)))}
        return tuple(sorted(found, key=lambda gram: (gram.isascii(), -len(gram), gram)))

    def regex(self, *, atomic: bool) -> str:
        """What `search_text` of a name that fits contains, as a regular expression; `atomic` for Python."""
        if self.words:
            return "^" + "".join(f"(?=.*[= ]{re.escape(word)})" for word in self.words)
        wanted = self.any_group or "=".join(group or "*" for group in self.by_group)
        return f"={regex_of(wanted, _IN_GROUP, atomic=atomic)}="


def _pattern(key: str) -> str:
    return _STARS.sub("*", fold(key))
