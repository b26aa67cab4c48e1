"""Single values: from the bytes of an element to what the index holds, checked against what their VR promises."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date
from functools import lru_cache
from struct import calcsize, iter_unpack
from typing import Final, TypeAlias

from pacs_server.dicom.charset import decode
from pacs_server.dicom.elements import NUMBERS, TEXT_VRS
from pacs_server.dicom.identity import uid_text
from pacs_server.dicom.moments import earliest
from pacs_server.dicom.names import search_text

Value: TypeAlias = str | int | None

MAX_TEXT_CHARACTERS: Final = 1024
# An entry of PostgreSQL's indexes holds 2,704 bytes; the key of a patient is made of an issuer and an ID.
_MAX_INDEXED_BYTES: Final = 1_320
_REMEMBERED_BYTES: Final = 64

_TIME_FORM: Final = re.compile(r"([01]\d|2[0-3])(?:([0-5]\d)(?:([0-5]\d|60)(\.\d{1,6})?)?)?", re.ASCII)
INTEGER_FORM: Final = re.compile(r"[+-]?\d{1,12}", re.ASCII)
_AGE_FORM: Final = re.compile(r"(\d{1,3})([DWMY])", re.ASCII)
# Devices write all 17 digits of a binary number, where the standard allows for 16 characters.
_DECIMAL_FORM: Final = re.compile(r"(?=.{1,32}$)[+-]?(\d+\.?\d*|\.\d+)([Ee][+-]?\d+)?", re.ASCII)
_SURROGATES: Final = re.compile("[\ud800-\udfff]")
_MAX_INTEGER: Final = 2**31 - 1


def value_of(raw: bytes, vr: str, charset: tuple[str, ...], assumed: str, order: str) -> tuple[Value, tuple[str, ...]]:
    """A value as the index holds it, None when it is not what its VR promises, and the flags of what is remarkable.
    `order` is the byte order of numbers, "<" or ">".
    """
    # A UID seldom comes again.
    return (_read if len(raw) > _REMEMBERED_BYTES or vr == "UI" else _remembered)(raw, vr, charset, assumed, order)


def _read(raw: bytes, vr: str, charset: tuple[str, ...], assumed: str, order: str) -> tuple[Value, tuple[str, ...]]:
    if vr in NUMBERS:
        first = numbers_of(raw, vr, order).partition("\\")[0]
        return (int(first), ()) if first else (None, ("invalid-value",))
    text, kinds = text_of(raw, vr, charset, assumed)
    check = _CHECKS.get(vr)
    if not text or check is None:
        return text or None, kinds
    value = check(text)
    if value is None or (value != text and isinstance(value, str)):
        kinds = (*kinds, "invalid-value")
    return value, kinds


# Most values of an image are those of the one before: reading them anew took 0.1 ms of each object.
_remembered: Final = lru_cache(maxsize=2048)(_read)


def numbers_of(raw: bytes, vr: str, order: str) -> str:
    """The whole numbers of a binary VR, as text, parted by backslashes."""
    form = order + NUMBERS[vr]
    whole = raw[: len(raw) // calcsize(form) * calcsize(form)]
    return "\\".join(str(number) for (number,) in iter_unpack(form, whole))


def text_of(raw: bytes, vr: str, charset: tuple[str, ...], assumed: str) -> tuple[str, tuple[str, ...]]:
    """A text without its padding, and the flags of what is remarkable."""
    if vr == "UI":
        return uid_text(raw), ()
    decoded = decode(raw, charset, vr=vr, assumed=assumed) if vr in TEXT_VRS else decode(raw, (), vr=vr)
    text = _SURROGATES.sub("", decoded.text).rstrip(" ")
    is_one = vr in ("LT", "ST", "UT")
    if not is_one:
        text = text.lstrip(" ")
    kept = text[:MAX_TEXT_CHARACTERS] if is_one else indexable(text[:MAX_TEXT_CHARACTERS])
    if len(kept) == len(text):
        return text, tuple(decoded.flags)
    # Of a list the values that are whole; of a single one, and of a first that is longer, the beginning.
    whole = "" if is_one else text[: len(kept) + 1].rpartition("\\")[0]
    return whole or kept, (*decoded.flags, "text-cut")


def indexable(text: str) -> str:
    """As much of a text as two of them fit into one entry of an index: of ASCII all that is kept of it."""
    if text.isascii():
        return text
    raw = text.encode("utf-8")
    return text if len(raw) <= _MAX_INDEXED_BYTES else raw[:_MAX_INDEXED_BYTES].decode("utf-8", "ignore")


def _date(text: str) -> str | None:
    """YYYYMMDD of a real day, also from the old form with points; None otherwise."""
    digits = text.replace(".", "") if len(text) == 10 else text
    if len(digits) != 8:
        return None
    try:
        day = date(int(digits[:4]), int(digits[4:6]), int(digits[6:]))
    except ValueError:
        return None
    return digits if digits == f"{day:%Y%m%d}".rjust(8, "0") else None


def _time(text: str) -> str | None:
    """HH, HHMM or HHMMSS with a fraction, also from the old form with colons; None otherwise."""
    digits = text.replace(":", "")
    return digits if _TIME_FORM.fullmatch(digits) else None


def _integer(text: str) -> int | None:
    """The number of an IS value; None when the text is no whole number, or does not fit 32 bits."""
    number = int(text) if INTEGER_FORM.fullmatch(text) else None
    return number if number is not None and -_MAX_INTEGER - 1 <= number <= _MAX_INTEGER else None


def age_of(text: str) -> str | None:
    """Three digits and a unit, also from fewer digits; None otherwise."""
    found = _AGE_FORM.fullmatch(text)
    return found[1].rjust(3, "0") + found[2] if found else None


def _decimal(text: str) -> str | None:
    """A decimal number as it is written; None when the text is no number, or absurdly long."""
    return text if _DECIMAL_FORM.fullmatch(text) else None


_CHECKS: Final[dict[str, Callable[[str], Value]]] = {
    "AS": age_of,
    "DA": _date,
    "DS": _decimal,
    "IS": _integer,
    "TM": _time,
}


def sought_in(text: str, vr: str) -> str:
    """What keys on a value of this VR are compared with; empty when it is not what the VR promises."""
    if vr == "PN":
        return indexable(search_text(text))
    if vr == "DT":
        return earliest(text) or ""
    check = _CHECKS.get(vr)
    # Of texts no more is kept; a UID comes here as long as it was sent.
    compared = check(text) if check else int(text) if vr in NUMBERS else indexable(text[:MAX_TEXT_CHARACTERS])
    return "" if compared is None else str(compared)
