"""How much room a text takes on a terminal, and where its lines may end, which in Japanese is between most letters."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

# What begins no line, and what ends none (kinsoku shori). Source: JIS X 4051.
_NOT_FIRST: Final = re.escape(
    "、。，．・：；？！」』）】〕〉》〟ーぁぃぅぇぉっゃゅょゎァィゥェォッャュョヮヵヶ々…‥％)]}"
)
_NOT_LAST: Final = re.escape("「『（【〔〈《〝([{")
_PIECE: Final = re.compile(rf"[{_NOT_LAST}]*(?:[!-~]+|[^ ])[{_NOT_FIRST}]* *")


def display_width(text: str) -> int:
    """How many columns of a terminal the text takes. Source: Unicode Standard Annex 11 (wide, full-width)."""
    if text.isascii():
        return len(text)
    return sum(_character_width(character) for character in text)


def _character_width(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def lines_within(text: str, columns: int) -> list[str]:
    """The lines of a paragraph, none wider than so many columns, unless a word of letters without a space is."""
    lines = [""]
    for piece in _PIECE.findall(" ".join(text.split())):
        if lines[-1] and display_width(lines[-1] + piece.rstrip()) > columns:
            lines.append("")
        lines[-1] += piece
    return [line.rstrip() for line in lines]
