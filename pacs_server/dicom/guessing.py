"""What text bytes are that no label tells of, or a wrong one: by what such texts look like in practice."""

from __future__ import annotations

import re
from typing import Final

# The last is 澤 or 膵 alone: two letters of Latin-1 that make no word, a small one before a capital or another accent.
_LOOKS_SHIFTED: Final = re.compile(
    rb"[\x81-\x9f]|[\xa1-\xdf]{2}"
    rb"|(?<![A-Za-z\x80-\xff])(?:[\xe0-\xef\xfa-\xfc][@-Z\x80\xa1-\xfc])+(?![A-Za-z\x80-\xff])"
)
# 髙 or 澪 alone, whose first byte is a letter of Latin-1 too, as in François, where a name seldom begins with it.
_LOOKS_LIKE_KANJI: Final = re.compile(rb"(?<![A-Za-z])[\xe0-\xef\xfa-\xfc]|" + _LOOKS_SHIFTED.pattern)
# What Windows-1252 has beside Latin-1, where it belongs and Shift_JIS hardly has a kanji: O’Brien, patient’s, “left”,
# what stands before a space, a digit or the end, and Š Œ Ž š œ ž among Latin letters, as in cœur, FŒTUS and Žižek.
# Each turn is atomic: Python before 3.11.5 repeats a group possessively other than it should.
_LOOKS_WINDOWS: Final = re.compile(
    rb"(?=[^\x80-\x9f]*[\x80-\x9f])(?>[^\x80-\x9f]"
    rb"|(?<=[A-Za-z\xe0-\xff])\x92(?=[A-Za-z\xc0-\xff][A-Za-z\xe0-\xff]|[st](?![A-Za-z]))"
    rb"|[\x91\x93][^\x80-\x9f]+[\x92\x94](?=[\0-\x3f]|\Z)"
    rb"|(?<![\x81-\x9f\xe0-\xfc])[\x80-\x9f](?=[\0-\x3f]|\Z)"
    rb"|(?<=[A-Za-z])[\x9a\x9c\x9e](?=[a-z]{2}|\^)|\x8c(?=[DSTU][A-Z\xc8])"
    rb"|(?<![A-Za-z\x80-\xff])[\x8a\x8c\x8e\x9a\x9c\x9e](?=[a-z][a-z\x9a\x9c\x9e\xe0-\xff]{3}))+"
)
# Two letters between capitals of ASCII, as in CONCEIÇÃO and MÄÄTTÄ, which would be two kana, and single ones.
_LATIN_CAPITALS: Final = re.compile(
    rb"(?>[\0-\x7f]|(?<=[A-Z])[\xc0-\xdf]{2}(?=[A-Z])|(?<![\x80-\xff])[\xc0-\xdf](?![\x80-\xff]))+"
)
# Half-width kana as no text has them, but EUC-JP read so has: beside kanji, with ｰ at their beginning (伊藤) or every
# other one ､ ･ ｣ (たなか, タナカ, ＣＴ), or with a mark of sound where none can be (岸).
_UNLIKE_KANA: Final = re.compile(
    "[\u4e00-\u9fff][\uff61-\uff9f]|[\uff61-\uff9f][\u4e00-\u9fff]"
    "|(?<![｡-ﾟ])(?:ｰ[｡-ﾟ]|(?:､[｡-ﾟ]){2}|(?:･[｡-ﾟ]){2}|(?:｣[｡-ﾟ]){2})"
    "|[｡-ｲｴｵﾅ-ﾉﾏ-ﾟ]ﾞ|[｡-ﾉﾏ-ﾟ]ﾟ"
)
_OTHER_SCRIPTS: Final = re.compile("[\0-\x7f\u0180-\u07ff]*")  # and letters that are of no European language
_PRIVATE: Final = re.compile("[\x80\xa0\ue000-\uf8ff]")


def is_rather_utf8(raw: bytes, text: str) -> bool:
    """Whether what is read as a text of a Latin set is UTF-8, which such texts do not happen to be; but for letters
    that would be those of another script: RÓŻYCKA in ISO_IR 101 would have a Cyrillic one.
    """
    in_utf8 = read_strictly(raw, "utf-8")
    if in_utf8 is None or _OTHER_SCRIPTS.fullmatch(in_utf8) is None:
        return in_utf8 is not None
    return any(one.upper() == one.lower() for one in text if not one.isascii())


def read_utf8(raw: bytes) -> str:
    """The text of bytes by UTF-8, also where a program in Java wrote 𠮷 as two surrogates of three bytes each.

    Raises: UnicodeDecodeError.
    """
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("utf-8", "surrogatepass").encode("utf-16-le", "surrogatepass").decode("utf-16-le")


def read_strictly(raw: bytes, codec: str) -> str | None:
    """The text of bytes by a codec of Python; None when they are not of it."""
    try:
        return read_utf8(raw) if codec == "utf-8" else raw.decode(codec)
    except UnicodeDecodeError:
        return None


def guess(raw: bytes, *, is_japanese: bool) -> str:
    """The text of bytes whose encoding nobody names, by the first of these that fits: UTF-8; Windows-1252 whose letters
    beside those of Latin-1 stand where they belong; Shift_JIS that looks like it, or EUC-JP if that fits better;
    Windows-1252; Latin-1.

    A single accented letter of Latin-1 is often valid Shift_JIS too (MÜLLER has a half-width kana, François a kanji),
    so Shift_JIS is believed only with a first byte of its main rows, two kana in a row, not between capitals, or a
    kanji of its other rows that stands alone; where the label `is_japanese`, also with one before other letters.
    """
    looks_shifted = _LOOKS_LIKE_KANJI if is_japanese else _LOOKS_SHIFTED
    text = read_strictly(raw, "utf-8")
    if text is None and _LOOKS_WINDOWS.fullmatch(raw):
        text = read_strictly(raw, "cp1252")
    if text is None and looks_shifted.search(raw) and not _LATIN_CAPITALS.fullmatch(raw):
        text = read_strictly(raw, "cp932")
        if text is None or _PRIVATE.search(text) or _UNLIKE_KANA.search(text):
            text = read_strictly(raw, "euc_jp") or text
    return text or read_strictly(raw, "cp1252") or raw.decode("latin-1")
