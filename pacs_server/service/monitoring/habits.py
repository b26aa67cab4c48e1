"""What is usual: how fast a volume fills, and in which hours of the week a modality sends. Values only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

HOURS_OF_WEEK: Final = 168
_WEEKS: Final = 4
HISTORY_HOURS: Final = _WEEKS * HOURS_OF_WEEK
# One that sent on fewer days has no habit yet.
_FEWEST_DAYS: Final = 10
_FORECAST_HOURS: Final = 14 * 24
_LEAST_SPAN_HOURS: Final = 48

Sample = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """How many of its usual hours a modality let pass: now, and at most in the weeks before its last object. An hour in
    which it sends every week counts one, an hour in which it did once in four weeks a quarter.
    """

    missed: float
    longest: float
    last_hour: int

    @property
    def is_unusual(self) -> bool:
        """Whether it has been silent for longer than ever: by half, and by three of its hours."""
        return self.missed > max(self.longest * 1.5, self.longest + 3)


def silence_of(hours: Collection[int], now_hour: int) -> Silence | None:
    """Judge a modality by the hours since 1970 in which it sent; None when it has no habit.

    Nights, week-ends and a rare examination weigh what they always did, so that a CT of a practice is missed on the
    morning of a working day, and not on a Sunday.
    """
    past = {hour for hour in hours if hour <= now_hour}  # in those to come it sent while the clock was ahead
    last = max(past, default=0)
    known = sorted(hour for hour in past if hour > last - HISTORY_HOURS)
    if len({hour // 24 for hour in known}) < _FEWEST_DAYS:
        return None
    weeks = max(1, -(-(last - known[0] + 1) // HOURS_OF_WEEK))
    usual = Counter(hour % HOURS_OF_WEEK for hour in known)

    def missed(begin: int, end: int) -> float:
        return sum(usual[hour % HOURS_OF_WEEK] for hour in range(begin + 1, end)) / weeks

    longest = max((missed(begin, end) for begin, end in pairwise(known)), default=0.0)
    return Silence(missed=missed(last, now_hour), longest=longest, last_hour=last)


def days_until_full(samples: Sequence[Sample], *, reserve_bytes: int) -> float | None:
    """When a volume is full, by the trend of (hour, free bytes) of the last days; None when it does not fill, or was
    not looked at for two days.
    """
    recent = [(hour, free) for hour, free in samples if hour > samples[-1][0] - _FORECAST_HOURS] if samples else []
    if not recent or recent[-1][0] - recent[0][0] < _LEAST_SPAN_HOURS:
        return None
    middle_hour = sum(hour for hour, _ in recent) / len(recent)
    middle_free = sum(free for _, free in recent) / len(recent)
    spread = sum((hour - middle_hour) ** 2 for hour, _ in recent)
    slope = sum((hour - middle_hour) * (free - middle_free) for hour, free in recent) / spread
    if slope >= 0:
        return None
    return max(0.0, recent[-1][1] - reserve_bytes) / -slope / 24


def kept(samples: Sequence[Sample], hour: int, free_bytes: float) -> list[Sample]:
    """The samples with one of this hour, as many as a forecast needs."""
    before = [one for one in samples if hour - _FORECAST_HOURS < one[0] < hour]
    return [*before, (hour, free_bytes)]
