"""Moves series between tiers: copied, read back, switched in the index; their old files are released later."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import PurePosixPath
from typing import Final

from pacs_server.archive.copies import intact_copy, noted_damage_of, one_more
from pacs_server.errors import CopyUnreadable, NotEnoughCopies, VolumeUnavailable
from pacs_server.index.copies import Copies, Copy, KeptObject
from pacs_server.index.site.tier_rules import TierRule
from pacs_server.index.tiering import Leaving, Tiering, dispensable
from pacs_server.storage.placement import Placement
from pacs_server.storage.volume import Volume

# A copy that was read to its end so lately is good enough to let another one go for it.
_VERIFIED_WITHIN: Final = timedelta(days=30)
_PORTION: Final = 100
_CURRENT: Final = "current"


@dataclass(slots=True, kw_only=True)
class Room:
    """What is planned so far: bytes that reach and leave each volume, and bytes that each has to lose yet, by id.

    `staying` counts, by rule, the objects that it means and that cannot move: the target has no room, too few copies
    would remain, or one is damaged; an archive server is not sent what lies beside another content of its UID.
    """

    writing: Counter[str] = field(default_factory=Counter)
    leaving: Counter[str] = field(default_factory=Counter)
    to_lose: Counter[str] = field(default_factory=Counter)
    staying: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedSeries:
    """What a rule would do with a series: objects that move, their bytes, and the bytes that leave and reach volumes,
    by id.
    """

    rule: TierRule
    study_uid: str
    series_uid: str
    objects: int
    size_bytes: int
    leaving: Mapping[str, int]
    written: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Decision:
    """For one object: the volumes that get a copy, the copies that can go then, and the fault domains that have one on
    the target tier then.
    """

    homes: tuple[Volume, ...]
    gone: tuple[Copy, ...]
    domains: frozenset[str] = frozenset()


def bytes_to_lose(volumes: Sequence[Volume], waiting: Mapping[str, int]) -> Counter[str]:
    """How many bytes each volume is above its low-water mark, beyond those that wait to be removed from it; none for
    one that tells no room.
    """
    over: Counter[str] = Counter()
    for volume in volumes:
        total, free = volume.state.total_bytes, volume.state.free_bytes
        if total is not None and free is not None:
            used = total - free - waiting.get(volume.spec.id, 0)
            over[volume.spec.id] = max(0, used - total * volume.spec.low_water // 100)
    return over


def plan(
    rule: TierRule,
    series: Sequence[tuple[str, str]],
    copies: Copies,
    placement_for: Callable[[str], Placement],
    room: Room,
) -> Iterator[PlannedSeries]:
    """What a rule would do with these series, one by one; nothing is changed but `room`.

    Raises: IndexUnavailable.
    """
    for study_uid, series_uid in series:
        if rule.makes_room and not any(room.to_lose.values()):
            return
        leaving: Counter[str] = Counter()
        written: Counter[str] = Counter()
        objects = size_bytes = 0
        held = copies.of_series(study_uid, series_uid)
        contents = Counter(one.sop_uid for one in held)
        for one in held:
            placement = placement_for(one.sender)
            if rule.archive:
                decision = _decide_to_archive(one, rule, placement, contents[one.sop_uid])
            else:
                decision = _decide(one, rule, placement, room.writing + written)
            if decision is not None:
                objects, size_bytes = objects + 1, size_bytes + one.size_bytes
                leaving.update({copy.volume_id: one.size_bytes for copy in decision.gone})
                written.update({volume.spec.id: one.size_bytes for volume in decision.homes})
            else:
                room.staying[rule.name] += _lies_on(one, rule.source, placement)
        if objects and (not rule.makes_room or any(room.to_lose[volume_id] for volume_id in leaving)):
            room.writing.update(written)
            room.leaving.update(leaving)
            room.to_lose = Counter({one: max(0, left - leaving[one]) for one, left in room.to_lose.items()})
            yield PlannedSeries(
                rule=rule, study_uid=study_uid, series_uid=series_uid, objects=objects, size_bytes=size_bytes,
                leaving=leaving, written=written,
            )  # fmt: skip


def _decide(one: KeptObject, rule: TierRule, placement: Placement, writing: Mapping[str, int]) -> _Decision | None:
    """What is to be done with an object; None when nothing of it can leave.

    As many copies as it wants are made on the target tier, each in a domain of its own, as far as there are domains.
    One of which a copy is damaged stays until that is repaired. Copies on volumes that are away, or cannot be relied
    on, do not count.
    """
    if any(copy.damage for copy in one.copies):
        return None
    held = [(copy, volume) for copy in one.copies if (volume := _readable(copy, placement)) is not None]
    used = {volume.spec.domain for _, volume in held if volume.spec.tier == rule.target and _can_be_relied_on(volume)}
    homes: list[Volume] = []
    while len(used) < placement.want and (fitting := _fitting(one, rule, placement, used, writing)):
        homes.append(fitting[0])
        used.add(fitting[0].spec.domain)
    others = {volume.spec.domain for _, volume in held if volume.spec.tier != rule.source and _can_be_relied_on(volume)}
    others |= {volume.spec.domain for volume in homes}
    leaving = [
        (copy, volume.spec.domain if _can_be_relied_on(volume) else None)
        for copy, volume in held
        if volume.spec.tier == rule.source
    ]
    gone = dispensable(leaving, others, placement.want)
    return _Decision(homes=tuple(homes), gone=tuple(gone), domains=frozenset(used)) if gone else None


def _fitting(
    one: KeptObject, rule: TierRule, placement: Placement, used_domains: set[str], writing: Mapping[str, int]
) -> list[Volume]:
    """The volumes of the target tier that have room for a copy, best first, all in domains that have none there."""
    return [
        volume
        for volume in placement.homes(used_domains)
        if volume.spec.tier == rule.target and volume.takes(writing.get(volume.spec.id, 0) + one.size_bytes)
    ]


def _decide_to_archive(one: KeptObject, rule: TierRule, placement: Placement, contents: int) -> _Decision | None:
    """All its copies on the tier go, once an archive server keeps the object. It stays here beside another content
    under its UID: commitment names UIDs, so nobody would know which of them it means. What is in the trash stays too.
    """
    if contents > 1 or one.role != _CURRENT:
        return None
    held = [(copy, volume) for copy in one.copies if (volume := _readable(copy, placement)) is not None]
    gone = tuple(copy for copy, volume in held if volume.spec.tier == rule.source)
    return _Decision(homes=(), gone=gone) if gone else None


def _can_be_relied_on(volume: Volume) -> bool:
    """Whether a copy on it is a reason to let another one go: not when it is emptied, or many were found damaged."""
    return not (volume.spec.is_draining or volume.spec.is_distrusted)


def _reliable(copy: Copy, placement: Placement) -> Volume | None:
    volume = _readable(copy, placement)
    return volume if volume is not None and _can_be_relied_on(volume) else None


def _lies_on(one: KeptObject, tier: str, placement: Placement) -> bool:
    volumes = (placement.volume(copy.volume_id) for copy in one.copies)
    return any(volume is not None and volume.spec.tier == tier for volume in volumes)


def _readable(copy: Copy, placement: Placement) -> Volume | None:
    volume = placement.volume(copy.volume_id)
    return volume if volume is not None and volume.state.is_readable else None


@dataclass(slots=True, kw_only=True)
class Moved:
    """What was moved: objects, bytes of them, bytes that were written; and why others were not, one sentence each.
    `queued` objects are to go to an archive server.
    """

    objects: int = 0
    queued: int = 0
    size_bytes: int = 0
    written_bytes: int = 0
    problems: list[str] = field(default_factory=list)

    def add(self, other: Moved) -> None:
        """Count what another one counted."""
        self.objects += other.objects
        self.queued += other.queued
        self.size_bytes += other.size_bytes
        self.written_bytes += other.written_bytes
        self.problems += other.problems


def move(
    objects: Sequence[KeptObject],
    rule: TierRule,
    copies: Copies,
    tiering: Tiering,
    placement_for: Callable[[str], Placement],
    *,
    clock: Callable[[], datetime],
    release_after: timedelta,
) -> Iterator[Moved]:
    """Move these objects as the rule says; what was done after each portion. Broken off anywhere, nothing is lost, and
    it goes on where it was when it is called again.

    A copy is made of one that was read to its end, and read back from the disk. Only then old copies are copies no
    more, as far as enough good ones remain, and their files are removed after `release_after`.

    Raises: IndexUnavailable.
    """
    for start in range(0, len(objects), _PORTION):
        moved, now = Moved(), clock()
        leaving: list[tuple[KeptObject, Leaving]] = []
        for one in objects[start : start + _PORTION]:
            placement = placement_for(one.sender)
            try:
                if (decision := _decide(one, rule, placement, {})) is None:
                    continue
                _prepare(one, rule, decision, copies, placement, now)
            except (CopyUnreadable, NotEnoughCopies, VolumeUnavailable) as error:
                moved.problems.append(str(error))
                continue
            moved.written_bytes += one.size_bytes * len(decision.homes)
            places = tuple((copy.volume_id, copy.path) for copy in decision.gone)
            leaving.append((one, Leaving(instance_row=one.row, places=places, want=placement.want)))
        _switch(leaving, moved, tiering, placement_for(""), now=now, due_at=clock() + release_after)
        yield moved


def _prepare(
    one: KeptObject, rule: TierRule, decision: _Decision, copies: Copies, placement: Placement, now: datetime
) -> None:
    """Make the copies that an object needs, and know of enough that are to stay that they are good.

    Raises: CopyUnreadable; NotEnoughCopies; VolumeUnavailable.
    """
    good = list(one.copies)
    staying = [copy for copy in good if copy not in decision.gone and _readable(copy, placement) is not None]
    if decision.homes:
        source = intact_copy(one, good, copies, placement, now)
        used = set(decision.domains)
        for home in decision.homes:
            homes = [home, *_fitting(one, rule, placement, used, {})]
            staying.append(made := one_more(one, source, homes, copies, placement, now))
            used |= placement.domains([made])
    since = now - _VERIFIED_WITHIN
    relied_on = [(copy, volume) for copy in staying if (volume := _reliable(copy, placement)) is not None]
    # The file of one may be gone since it was read: its volume came back with older content.
    known = [
        copy
        for copy, volume in relied_on
        if copy.verified_at is not None
        and copy.verified_at >= since
        and volume.has_file(PurePosixPath(copy.path), one.size_bytes)
    ]
    for copy, volume in relied_on:
        if copy in known or len(placement.domains(known)) >= placement.want:
            continue
        if problem := noted_damage_of(volume, copy.path, one.digest, copies, now):
            raise CopyUnreadable(problem)
        known.append(copy)


def _switch(
    leaving: Sequence[tuple[KeptObject, Leaving]],
    moved: Moved,
    tiering: Tiering,
    placement: Placement,
    *,
    now: datetime,
    due_at: datetime,
) -> None:
    if not leaving:
        return
    standing = {one.spec.id for one in placement.volumes if one.state.is_readable and _can_be_relied_on(one)}
    gone = set(
        tiering.switch(
            [one for _, one in leaving], standing=standing, verified_since=now - _VERIFIED_WITHIN, due_at=due_at
        )
    )
    for one, planned in leaving:
        if gone.isdisjoint(planned.places):
            moved.problems.append(f"{one.sop_uid} stays: too few of its other copies are known to be good")
        else:
            moved.objects += 1
            moved.size_bytes += one.size_bytes
