"""Parts of the day, in the local time of the machine, in which something may be done."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import count
from typing import Final, Self

from pacs_server.errors import Refused

_TIME_OF_DAY: Final = r"([01][0-9]|2[0-3]):([0-5][0-9])"


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """One that ends before it begins goes over midnight."""

    begin: time
    end: time

    @classmethod
    def of(cls, text: str) -> Self:
        """The window of a text like 20:00-06:00. Raises: Refused."""
        found = re.fullmatch(f"{_TIME_OF_DAY}-{_TIME_OF_DAY}", text)
        if found is None or found[1] + found[2] == found[3] + found[4]:
            raise Refused(f"{text[:40]} is no window: give two different times of day, like 01:00-05:00")
        return cls(begin=time(int(found[1]), int(found[2])), end=time(int(found[3]), int(found[4])))

    def contains(self, moment: time) -> bool:
        """Whether a time of day is in it."""
        if self.begin < self.end:
            return self.begin <= moment < self.end
        return moment >= self.begin or moment < self.end

    def opens_at(self, now: datetime) -> datetime:
        """When it is open next; `now` when it is open."""
        if self.contains(_time_at(now)):
            return now
        return next(
            begin for begin in self._begins(now.astimezone().date()) if begin > now and self.contains(_time_at(begin))
        )

    def _begins(self, today: date) -> Iterator[datetime]:
        """Its beginnings from a day on, in UTC, by the clock of the wall. That shows some times twice on the day when
        clocks are set back, and leaves out some on the day when they are set forward: these come out as two others.
        """
        for days in count():
            for fold in (0, 1):
                yield datetime.combine(today + timedelta(days=days), self.begin.replace(fold=fold)).astimezone(UTC)

    def __str__(self) -> str:
        return f"{self.begin:%H:%M}-{self.end:%H:%M}"


def _time_at(moment: datetime) -> time:
    """The time of day by the clock of the wall."""
    return moment.astimezone().time()
