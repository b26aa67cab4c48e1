"""Reads copies again and compares them with what was received: a disk forgets silently, and tells only who asks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from pacs_server.archive.copies import complete, noted_damage_of
from pacs_server.errors import VolumeUnavailable
from pacs_server.index.copies import Copies, CopyToVerify
from pacs_server.storage.placement import Placement
from pacs_server.storage.volume import Volume

_PORTION: Final = 100
_MAX_UNTOLD: Final = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """One copy that was read. `damage` says what is wrong with it, empty when nothing is."""

    path: str
    size_bytes: int
    study_uid: str
    series_uid: str
    damage: str = ""


def verify(volume: Volume, copies: Copies, *, before: datetime, clock: Callable[[], datetime]) -> Iterator[Verified]:
    """Read the copies on a volume that were not verified since `before`, longest ago first, and note what each is.

    Broken off anywhere, it goes on where it was when it is called again with the same `before`. Copies of which the
    volume tells nothing are passed over, so that they keep no other from being read.

    Raises: VolumeUnavailable when the volume goes away meanwhile, or tells nothing of a thousand copies; at the end,
    when it told nothing of one; IndexUnavailable.
    """
    untold: set[str] = set()
    problem = ""
    while portion := copies.least_verified(volume.spec.id, before=before, now=clock(), limit=_PORTION, without=untold):
        for one in portion:
            try:
                damage = noted_damage_of(volume, one.path, one.digest, copies, clock())
            except VolumeUnavailable as error:
                untold.add(one.path)
                problem = f"copies that could not be read: {len(untold)}, the last {one.path}: {error}"
                if len(untold) >= _MAX_UNTOLD or not volume.check().is_readable:
                    raise VolumeUnavailable(problem) from error
                continue
            yield _verified(one, damage)
    if problem:
        raise VolumeUnavailable(problem)


def _verified(one: CopyToVerify, damage: str) -> Verified:
    return Verified(
        path=one.path,
        size_bytes=one.size_bytes,
        study_uid=one.study_uid,
        series_uid=one.series_uid,
        damage=damage,
    )


def verify_series(
    study_uid: str,
    series_uid: str,
    copies: Copies,
    placement_for: Callable[[str], Placement],
    *,
    now: datetime,
    goes_on: Callable[[], None] = lambda: None,
) -> dict[int, list[str]]:
    """Read every copy of a series that can be read now, and replace those that are damaged; the problems that are left,
    by the row of their object. `goes_on` is called before each object.

    Raises: IndexUnavailable.
    """
    problems: dict[int, list[str]] = {}
    for one in copies.of_series(study_uid, series_uid):
        goes_on()
        placement = placement_for(one.sender)
        for copy in one.copies:
            volume = placement.volume(copy.volume_id)
            if volume is None or not volume.state.is_readable:
                continue
            try:
                noted_damage_of(volume, copy.path, one.digest, copies, now)
            except VolumeUnavailable as error:
                problems.setdefault(one.row, []).append(str(error))
    completed = complete(copies.of_series(study_uid, series_uid), copies, placement_for, now=now, goes_on=goes_on)
    for row, problem in completed.problems.items():
        problems.setdefault(row, []).append(problem)
    return problems
