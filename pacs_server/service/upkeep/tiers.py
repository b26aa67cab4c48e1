"""Tiers at work: what the rules would move, the moving by hand, and the moving at night by the running server."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Final

from pacs_server import log
from pacs_server.archive.tiering import Moved, PlannedSeries, Room, bytes_to_lose, move, plan
from pacs_server.errors import Busy, NotEnoughCopies, Refused, UnknownName, VolumeUnavailable
from pacs_server.index.jobs import JobKind
from pacs_server.index.site.tier_rules import TierRule
from pacs_server.service.assemble import Node
from pacs_server.service.destinations import destination_of
from pacs_server.service.locks import tier_lock
from pacs_server.service.upkeep.leaving import release_volume
from pacs_server.storage.condition import Status
from pacs_server.storage.volume import Volume, check_all

_LEASE: Final = timedelta(minutes=5)
# After everything was moved, the rules are looked at again when so much time has passed.
_NOTHING_LEFT_S: Final = 600.0
# So many series may be on their way to archive servers when the window ends; what is begun is finished.
_MOST_QUEUED: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyMove:
    """The series of one study that a rule moves."""

    rule: TierRule
    study_uid: str
    series: tuple[PlannedSeries, ...]

    @property
    def objects(self) -> int:
        """How many objects move."""
        return sum(one.objects for one in self.series)

    @property
    def size_bytes(self) -> int:
        """Their bytes."""
        return sum(one.size_bytes for one in self.series)

    @property
    def leaving(self) -> Counter[str]:
        """The bytes that leave each volume, by id."""
        return sum((Counter(one.leaving) for one in self.series), Counter())

    @property
    def written(self) -> Counter[str]:
        """The bytes that are written to each volume, by id."""
        return sum((Counter(one.written) for one in self.series), Counter())


def chosen_rules(node: Node, name: str | None) -> list[TierRule]:
    """The rules of the site, or the one of this name. Raises: UnknownName; IndexUnavailable."""
    return node.rules.all() if name is None else [node.rules.one(name)]


def planned(node: Node, rules: Sequence[TierRule], room: Room) -> Iterator[StudyMove]:
    """What the rules would move at this moment, study by study; a series belongs to the first rule that moves it.

    Raises: IndexUnavailable.
    """
    waiting = Counter({one.volume_id: one.size_bytes for one in node.releases.waiting()})
    seen: set[tuple[str, str]] = set()
    for rule in rules:
        sources = _of_tier(node, rule.source)
        room.to_lose = bytes_to_lose(sources, waiting + room.leaving) if rule.makes_room else Counter()
        means = node.tiering.candidates(rule, [volume.spec.id for volume in sources], datetime.now(UTC))
        moving = plan(rule, [one for one in means if one not in seen], node.copies, node.placement, room)
        for study_uid, series in groupby(moving, key=lambda one: one.study_uid):
            of_study = tuple(series)
            seen.update((one.study_uid, one.series_uid) for one in of_study)
            yield StudyMove(rule=rule, study_uid=study_uid, series=of_study)


def hindrance(node: Node, rule: TierRule) -> str:
    """Why a rule cannot move anything whatever there is; empty when it can."""
    if not _of_tier(node, rule.source):
        return f"there is no volume of tier {rule.source}"
    if rule.archive:
        try:
            destination_of(node, rule.archive)
        except (Refused, UnknownName) as error:
            return str(error)
        return ""
    targets = _of_tier(node, rule.target)
    if not targets:
        return f"there is no volume of tier {rule.target}; pacs storage add NAME PATH --tier {rule.target} adds one"
    if all(volume.state.status is not Status.ONLINE for volume in targets):
        told = "; ".join(f"{volume.spec.name} is {volume.state.status}: {volume.state.reason}" for volume in targets)
        return f"no volume of tier {rule.target} takes anything now: {told}"
    return ""


def _of_tier(node: Node, tier: str) -> list[Volume]:
    return [volume for volume in node.volumes() if volume.spec.tier == tier]


def move_study(node: Node, study: StudyMove, *, is_stopped: Callable[[], bool]) -> Moved:
    """Move the series of a study; what was moved, and why the rest was not. Broken off anywhere, it goes on when it is
    called again. What goes to an archive server is queued for the running server (service/peers/depositing.py).

    Raises: IndexUnavailable.
    """
    check_all(node.volumes())
    whole = Moved()
    if study.rule.archive:
        series = [(one.study_uid, one.series_uid) for one in study.series]
        node.jobs.owe(JobKind.DEPOSIT, datetime.now(UTC), series=series, target=study.rule.archive)
        return Moved(queued=study.objects)
    for one in study.series:
        parts = move(
            node.copies.of_series(one.study_uid, one.series_uid), study.rule, node.copies, node.tiering,
            node.placement, clock=lambda: datetime.now(UTC),
            release_after=timedelta(seconds=node.settings.storage.release_delay_s),
        )  # fmt: skip
        began = time.monotonic()
        for part in parts:
            node.rules.note_moved(part.written_bytes, time.monotonic() - began)
            whole.add(part)
            if is_stopped():
                return whole
            began = time.monotonic()
    return whole


def release_what_is_due(node: Node, worker: str) -> list[str]:
    """Remove the files that are due from all volumes, as the running server does; why some could not be.

    What an earlier one of the same name had under way when it was killed is taken up. Raises: IndexUnavailable.
    """
    node.jobs.release(worker)
    problems: list[str] = []
    while job := node.jobs.claim(worker, datetime.now(UTC), lease=_LEASE, per_target=1, kinds=[JobKind.RELEASE]):
        try:
            again_at = release_volume(node, job, lease=_LEASE, is_stopped=lambda: False)
        except (NotEnoughCopies, VolumeUnavailable) as error:
            problems.append(str(error))
            node.jobs.failed(job, str(error), datetime.now(UTC))
        else:
            node.jobs.done(job, datetime.now(UTC), again_at=again_at)
    return problems


class NightlyMoves:
    """The moves of the running server, a study at a time, in the window of the site. Belongs to one thread."""

    def __init__(self, node: Node, is_stopped: Callable[[], bool], clock: Callable[[], datetime]) -> None:
        """`clock` tells local time."""
        self._node = node
        self._clock = clock
        self._is_stopped = is_stopped
        self._moves: Iterator[StudyMove] | None = None
        self._rules: Sequence[TierRule] = ()  # by which they were planned
        self._room = Room()
        self._rests_until = 0.0
        self._rests_beside: object = None

    def step(self) -> bool:
        """Move the next study, if it is the time for that; at the end of the window it is broken off. Whether there may
        be more.

        Raises: IndexUnavailable.
        """
        window = self._node.rules.window()
        if window is None or not window.contains(self._clock().time()):
            self._moves, self._rests_until = None, 0.0
            return False
        if time.monotonic() < self._rests_until and self._rests_beside == self._circumstances():
            return False
        try:
            with tier_lock(self._node.settings.data_dir):
                return self._move_next(lambda: self._is_stopped() or not window.contains(self._clock().time()))
        except Busy:
            return False

    def _circumstances(self) -> object:
        """What lets more be moved when it changes: the rules, and how the volumes are."""
        return self._node.rules.all(), {one.spec: one.state.status for one in self._node.volumes()}

    def _under_way(self) -> int:
        counts = self._node.jobs.counts().items()
        return sum(number for (kind, _), number in counts if kind == JobKind.DEPOSIT)

    def _move_next(self, is_over: Callable[[], bool]) -> bool:
        rules = chosen_rules(self._node, None)
        if self._moves is None or rules != self._rules:
            self._rules, self._room = rules, Room()
            self._moves = planned(self._node, rules, self._room)
        study = next(self._moves, None)
        if study is not None and study.rule.archive and self._under_way() >= _MOST_QUEUED:
            return True  # its turn comes when the rules are looked at again
        if study is None:
            self._moves, self._rests_until = None, time.monotonic() + _NOTHING_LEFT_S
            self._rests_beside = self._circumstances()
            return False
        moved = move_study(self._node, study, is_stopped=is_over)
        self._room.writing.clear()  # it is on the volumes now, and they were looked at
        log.info(
            "moved", rule=study.rule.name, study=study.study_uid, objects=moved.objects, bytes=moved.size_bytes,
            queued=moved.queued or None, why="; ".join(dict.fromkeys(moved.problems)) or None,
        )  # fmt: skip
        return True
