"""Which alarms stand, since when, what was told of them, and what is still to be told. It is in a small file, so that a
restart neither forgets an alarm nor tells it again.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from pacs_server import log
from pacs_server.service.monitoring.alarms import Alarm, AlarmKind
from pacs_server.service.monitoring.habits import Sample
from pacs_server.service.noted import NOT_AS_NOTED, made_of, moment, object_in, refuse_closed
from pacs_server.service.telling import Teller
from pacs_server.settings import AlertSettings

_FILE: Final = "alarms.json"
# Ways that are away for long get the newest; that many are a day of trouble.
_MOST_WAITING: Final = 200
_FIRST_PAUSE: Final = timedelta(seconds=30)
_LONGEST_PAUSE: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """What is told: an alarm was `raised`, stands still (`repeated`), is over (`cleared`), or is a `test`."""

    what: str
    kind: str
    about: str
    text: str
    since: str
    at: str
    node: str
    aet: str


@dataclass(slots=True, kw_only=True)
class StandingAlarm:
    """An alarm as it stands; `raised_at` and `told_at` are empty until it was told. What it tells of was
    over at `gone_since`, which is empty until then; the alarm stands for a while after that.
    """

    kind: str
    about: str
    text: str
    since: str
    raised_at: str = ""
    told_at: str = ""
    gone_since: str = ""


@dataclass(slots=True, kw_only=True)
class Delivery:
    """A notice that is still to be told by one way."""

    way: str
    notice: Notice
    attempts: int
    due_at: str
    problem: str = ""


class AlarmBook:
    """May be used from any thread."""

    def __init__(self, data_dir: Path, settings: AlertSettings, *, node: str, aet: str, ways: Collection[str]) -> None:
        self._settings, self._node, self._aet, self._ways = settings, node, aet, tuple(ways)
        self._lock = threading.Lock()
        self._teller = Teller(data_dir / _FILE)
        self._seen_at: dict[str, datetime] = {}
        self._standing: dict[str, StandingAlarm] = {}
        self._waiting: list[Delivery] = []
        self.rooms: dict[str, list[Sample]] = {}
        try:
            self._take_over(object_in(data_dir / _FILE))
        except NOT_AS_NOTED as error:  # of another release
            log.warning("alarms of before are not known", why=error)

    def _take_over(self, told: dict[str, Any]) -> None:
        known = {kind.value for kind in AlarmKind}
        standing, waiting = _standing_in(told), _waiting_in(told)
        rooms = told.get("rooms", {}).items()
        self.rooms = {name: [(float(hour), float(free)) for hour, free in samples] for name, samples in rooms}
        self._standing = {key: one for key, one in standing.items() if one.kind in known}
        self._waiting = [one for one in waiting if one.way in self._ways]

    def take(
        self,
        alarms: Iterable[Alarm],
        now: datetime,
        *,
        unknown: Collection[AlarmKind] = (),
        elsewhere: Collection[AlarmKind] = (),
    ) -> list[Notice]:
        """What is to be told now that these stand. Of the kinds that are `unknown` nothing begins and nothing ends;
        those that another node tells `elsewhere` are forgotten.

        One that comes and goes is told once: it has to hold before it is raised, and to be over for a while before it
        is cleared.
        """
        with self._lock:
            present = {alarm.key: alarm for alarm in alarms if alarm.kind not in unknown}
            notices = [notice for alarm in present.values() if (notice := self._stands(alarm, now))]
            for key, one in list(self._standing.items()):
                if one.kind in elsewhere:
                    del self._standing[key]
                elif one.kind in unknown:
                    self._seen_at[key] = now
                elif key not in present and (notice := self._is_over(key, one, now)):
                    notices.append(notice)
            self._waiting += [
                Delivery(way=way, notice=notice, attempts=0, due_at=now.isoformat())
                for notice in notices
                for way in self._ways
            ]
            if len(self._waiting) > _MOST_WAITING:
                log.error("alarms not told", count=len(self._waiting) - _MOST_WAITING)
                del self._waiting[:-_MOST_WAITING]
            self._write()
        return notices

    def _stands(self, alarm: Alarm, now: datetime) -> Notice | None:
        one = self._standing.setdefault(
            alarm.key, StandingAlarm(kind=alarm.kind, about=alarm.about, text=alarm.text, since=now.isoformat())
        )
        one.text, one.gone_since = alarm.text, ""
        self._seen_at[alarm.key] = now
        if not one.raised_at:
            if abs(now - datetime.fromisoformat(one.since)) < timedelta(seconds=alarm.hold_s):
                return None
            one.raised_at = one.told_at = now.isoformat()
            return self._notice("raised", one, now)
        if abs(now - datetime.fromisoformat(one.told_at)) >= timedelta(seconds=self._settings.repeat_after_s):
            one.told_at = now.isoformat()
            return self._notice("repeated", one, now)
        return None

    def _is_over(self, key: str, one: StandingAlarm, now: datetime) -> Notice | None:
        one.gone_since = one.gone_since or now.isoformat(timespec="seconds")
        seen_at = self._seen_at.setdefault(key, now)
        if one.raised_at and abs(now - seen_at) < timedelta(seconds=self._settings.clear_after_s):
            return None
        del self._standing[key], self._seen_at[key]
        return self._notice("cleared", one, now) if one.raised_at else None

    def _notice(self, what: str, one: StandingAlarm, now: datetime) -> Notice:
        tell = log.info if what == "cleared" else log.error
        tell(f"alarm {what}", kind=one.kind, about=one.about, why=one.text)
        return Notice(
            what=what,
            kind=one.kind,
            about=one.about,
            text=one.text,
            since=one.since,
            at=now.isoformat(timespec="seconds"),
            node=self._node,
            aet=self._aet,
        )

    def raised(self) -> list[Alarm]:
        """Those that were told and are not over."""
        with self._lock:
            return [
                Alarm(kind=AlarmKind(one.kind), about=one.about, text=one.text, hold_s=0)
                for one in self._standing.values()
                if one.raised_at
            ]

    def next_due(self, way: str, now: datetime) -> Delivery | None:
        """What is to be told by a way next: in the order in which it happened, so one that fails holds up the rest."""
        with self._lock:
            first = next((one for one in self._waiting if one.way == way), None)
        if first is None:
            return None
        # More than the longest pause is left of one only where the clock was put back.
        return None if timedelta() < datetime.fromisoformat(first.due_at) - now <= _LONGEST_PAUSE else first

    def settle(self, delivery: Delivery, problem: str, now: datetime) -> None:
        """A way has told it, or has not because of the problem; then it is tried again after ever longer."""
        with self._lock:
            if not problem:
                self._waiting = [one for one in self._waiting if one is not delivery]
            else:
                pause = min(_FIRST_PAUSE * 2 ** min(delivery.attempts, 10), _LONGEST_PAUSE)
                delivery.attempts += 1
                delivery.due_at = (now + pause).isoformat()
                delivery.problem = problem
            self._write()

    def note_rooms(self, rooms: dict[str, list[Sample]]) -> None:
        """Keep how the free room of the volumes went."""
        with self._lock:
            self.rooms = rooms
            self._write()

    def _write(self) -> None:
        self._teller.tell(
            {
                "standing": {key: asdict(one) for key, one in self._standing.items()},
                "waiting": [asdict(one) for one in self._waiting],
                "rooms": self.rooms,
            }
        )


def standing_alarms(data_dir: Path, *, also_new: bool = False) -> list[dict[str, Any]]:
    """The alarms of this node that were raised and are not over, as the running server noted them; with `also_new`,
    also what has not held for long enough to be raised.

    Raises: ConfigError when only another user may read them.
    """
    refuse_closed(data_dir / _FILE)
    try:
        standing = _standing_in(object_in(data_dir / _FILE)).values()
        return [asdict(one) for one in standing if one.raised_at or also_new]
    except NOT_AS_NOTED:
        return []


def undelivered(data_dir: Path) -> dict[str, str]:
    """Why the ways that have something to tell could not, by their names."""
    try:
        return {one.way: one.problem for one in _waiting_in(object_in(data_dir / _FILE)) if one.problem}
    except NOT_AS_NOTED:
        return {}


def _standing_in(told: dict[str, Any]) -> dict[str, StandingAlarm]:
    standing = {key: made_of(StandingAlarm, facts) for key, facts in told.get("standing", {}).items()}
    for one in standing.values():
        for noted in filter(None, (one.since, one.raised_at, one.told_at, one.gone_since)):
            moment(noted)
    return standing


def _waiting_in(told: dict[str, Any]) -> list[Delivery]:
    waiting = [made_of(Delivery, facts) for facts in told.get("waiting", [])]
    for one in waiting:
        moment(one.due_at)
    return waiting
