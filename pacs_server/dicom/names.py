"""Person names: their three component groups, and folding for search.

Folding serves search alone; what is stored and answered stays as it was received.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Final

GROUPS: Final = 3
_REMEMBERED: Final = 2048  # the names of a working day come again with each object of a study

# NFKC would replace a compatibility ideograph by the character it resembles, yet 神 (U+FA19) and 神 stay distinct, as
# 髙 and 高 do. The delimiters stand for themselves too, but nothing may become one (full-width = and \ would).
_PROTECTED: Final = re.compile(r"([=\\\uf900-\ufaff\U0002f800-\U0002fa1f]+)")
_NOT_DELIMITERS: Final = str.maketrans({"=": "\u30a0", "\\": "\u29f5"})

_SMALL: Final = "ぁぃぅぇぉっゃゅょゎゕゖァィゥェォッャュョヮヵヶㇰㇱㇲㇳㇴㇵㇶㇷㇸㇹㇺㇻㇼㇽㇾㇿ"
_LARGE: Final = "アイウエオツヤユヨワカケアイウエオツヤユヨワカケクシストヌハヒフヘホムラリルレロ"
_HIRAGANA: Final = {code: code + 0x60 for code in (*range(0x3041, 0x3097), 0x309D, 0x309E)}
_DASHES: Final = "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\u2500\u2501"
_KANA: Final = _HIRAGANA | str.maketrans(_SMALL, _LARGE) | {ord(dash): "-" for dash in _DASHES}
_LONG_VOWEL: Final = re.compile("(?<=[\u30a1-\u30fa\u30fc])-+")
_STARS: Final = re.compile(r"\*{2,}")


@lru_cache(maxsize=_REMEMBERED)
def fold(text: str) -> str:
    """Fold one name, or one group of it, so that equal results mean a hit.

    Width and case are levelled, hiragana becomes katakana, small kana large. A dash of any kind after kana is the long
    vowel mark ー, elsewhere a hyphen. `^` and runs of spaces become one space, so that a name typed with a space is
    found; none remain at the ends. Variants of a kanji (渡邊, 渡邉, 渡辺) stay distinct.
    """
    if not text.isascii():
        text = "".join(_normalised(part) for part in _PROTECTED.split(text)).translate(_KANA)
        text = _LONG_VOWEL.sub(lambda dashes: "ー" * len(dashes[0]), text)
    return " ".join(text.replace("^", " ").upper().split())


def _normalised(part: str) -> str:
    if _PROTECTED.match(part):
        return part
    level = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", part).casefold().upper())
    return level.translate(_NOT_DELIMITERS)


def fold_pattern(key: str) -> str:
    """Fold one group of a query key as `fold` does; `*` and `?` survive as wildcards, runs of `*` become one.

    Full-width ＊ and ？ are wildcards too: an input method for kana types them, and no name holds them.
    """
    return _STARS.sub("*", fold(key))


def groups(pn: str) -> tuple[str, str, str]:
    """The alphabetic, ideographic and phonetic group of the first value, without padding; missing ones are empty.

    Source: PS3.5 section 6.2.1.
    """
    alphabetic, ideographic, phonetic, *_ = (*pn.split("\\", 1)[0].split("=", GROUPS), "", "", "")
    return alphabetic.strip(), ideographic.strip(), phonetic.strip()


@lru_cache(maxsize=_REMEMBERED)
def search_text(pn: str) -> str:
    """All values with all groups folded, as `=alphabetic=ideographic=phonetic=`, joined by a backslash.

    The delimiter at both ends of a group lets one search find it whole or from its start. Empty for an empty name.
    """
    values = ["=".join(("", *(fold(group) for group in groups(value)), "")) for value in pn.split("\\")]
    return "\\".join(value for value in values if value != "====")
