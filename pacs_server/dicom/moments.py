"""DT values as texts that compare: one moment has many forms, by precision and by offset from UTC.

Source: PS3.5 section 6.2 (DT), PS3.4 section C.2.2.2.5.
"""

from __future__ import annotations

import re
from calendar import monthrange
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Final

# A hyphen before an offset that exists belongs to the value, not to a range.
_OFFSET: Final = r"[+-](?:0\d|1[0-4])[0-5]\d"
_MOMENT: Final = rf"\d{{4}}(?:\d\d){{0,5}}(?:\.\d{{1,6}})?(?:{_OFFSET})?"
_RANGE: Final = re.compile(rf"({_MOMENT})?(-)?({_MOMENT})?")
_PARTS: Final = re.compile(rf"(\d{{4,14}})(?:\.(\d{{1,6}}))?({_OFFSET})?")
_EARLIEST: Final = "00000101000000000000"
_LATEST: Final = "99991231235959999999"
_FORM: Final = "%Y%m%d%H%M%S%f"


def moments_of_range(text: str) -> tuple[str, str] | None:
    """The two ends of a single value or of a range, an open one empty; None when it is neither."""
    found = _RANGE.fullmatch(text)
    if found is None or not (found[1] or found[3]) or (found[1] and found[3] and not found[2]):
        return None
    return (found[1] or "", found[3] or "") if found[2] else (found[1], found[1])


def earliest(text: str, local: tzinfo | None = None) -> str | None:
    """The first microsecond of a DT value in UTC, as 20 digits; None when the text is no DT value.

    A value without an offset is one of `local`, which is the time zone of this machine when it is None.
    """
    return _in_utc(text, _EARLIEST, local)


def latest(text: str, local: tzinfo | None = None) -> str | None:
    """The last microsecond of a DT value, by its precision, like `earliest`."""
    return _in_utc(text, _LATEST, local)


def _in_utc(text: str, filling: str, local: tzinfo | None) -> str | None:
    found = _PARTS.fullmatch(text)
    if found is None:
        return None
    digits = found[1] + (found[2] or "")
    filled = _last_day(digits) if len(digits) == 6 and filling == _LATEST else digits + filling[len(digits) :]
    zone = timezone(_offset(found[3])) if found[3] else local
    try:
        moment = datetime.strptime(filled, _FORM).replace(tzinfo=zone)
    except ValueError:
        return None
    with suppress(ValueError, OverflowError):  # where the calendar begins and ends it is another day in UTC
        moment = moment.astimezone(UTC)
    return f"{moment:{_FORM}}".rjust(20, "0")


def _last_day(digits: str) -> str:
    year, month = int(digits[:4]), int(digits[4:])
    days = monthrange(year, month)[1] if 1 <= month <= 12 and year else 31
    return f"{digits}{days:02}" + _LATEST[8:]


def _offset(text: str) -> timedelta:
    sign = -1 if text[0] == "-" else 1
    return sign * timedelta(hours=int(text[1:3]), minutes=int(text[3:]))
