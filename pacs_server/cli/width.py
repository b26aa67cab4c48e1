"""How much room a text takes on a terminal."""

from __future__ import annotations

import unicodedata


def display_width(text: str) -> int:
    """How many columns of a terminal the text takes. Source: Unicode Standard Annex 11 (wide, full-width)."""
    if text.isascii():
        return len(text)
    return sum(_character_width(character) for character in text)


def _character_width(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
