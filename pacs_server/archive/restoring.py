"""Brings an archive back from a backup: which volumes there are now, and the objects that none of them has."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from itertools import islice
from pathlib import PurePosixPath
from typing import Final

from pacs_server.dicom.stored import is_intact
from pacs_server.errors import CopyUnreadable
from pacs_server.index.copies import Copies, Copy, KeptObject
from pacs_server.index.site.registry import VolumeMode, VolumeRow
from pacs_server.storage.backup import BackupDirectory, Listed
from pacs_server.storage.carrying import Carried, Result, carry
from pacs_server.storage.placement import Placement
from pacs_server.storage.sentinel import Place
from pacs_server.storage.writing import CopyPlace

_PORTION: Final = 200


class Becomes(StrEnum):
    """What becomes of a volume when an archive is restored."""

    KEPT = "kept"
    FOUND = "found at another path"
    REPLACED = "gone, another volume is at its path"
    MADE = "gone, made anew in the empty directory"
    GONE = "gone"
    ADDED = "added"

    @property
    def is_gone(self) -> bool:
        """Whether the files that it had are not there."""
        return self in (Becomes.REPLACED, Becomes.MADE, Becomes.GONE)


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumePlan:
    """A volume of the restored archive, or one that is no more. Without an id it has still to be made."""

    row: VolumeRow
    becomes: Becomes
    former_id: str = ""


def plan_volumes(
    backed_up: Sequence[VolumeRow], present: Sequence[VolumeRow], place_at: Callable[[VolumeRow], Place]
) -> list[VolumePlan]:
    """What becomes of the volumes of a backup, where `present` are those that this archive knows now.

    A volume whose sentinel is found at a known path stays. A volume at the path of one that is gone takes its place,
    with its name and all. Another volume of this archive is added when one is gone for good, or when it holds objects.
    """
    ids = {row.id for row in backed_up}
    found = {place_at(row).volume_id: row for row in (*backed_up, *present)}
    plans = [_plan(row, ids, found, place_at(row)) for row in backed_up]
    used = {plan.row.id for plan in plans}
    is_short = any(plan.becomes is Becomes.GONE for plan in plans)
    names = {plan.row.name for plan in plans if plan.becomes is not Becomes.GONE}
    for volume_id, row in found.items():
        if volume_id == row.id and volume_id not in used and (is_short or place_at(row).has_objects):
            name = next(name for name in _names(row.name) if name not in names)
            names.add(name)
            plans.append(VolumePlan(row=replace(row, name=name), becomes=Becomes.ADDED))
    return plans


def _plan(row: VolumeRow, ids: set[str], found: dict[str, VolumeRow], place: Place) -> VolumePlan:
    if place.volume_id == row.id:
        return VolumePlan(row=row, becomes=Becomes.KEPT, former_id=row.id)
    if (elsewhere := found.get(row.id)) is not None:
        there = {name: getattr(elsewhere, name) for name in ("path", "endpoint", "region", "credentials_file")}
        return VolumePlan(row=replace(row, **there), becomes=Becomes.FOUND, former_id=row.id)
    anew = replace(row, id=place.volume_id, mode=VolumeMode.NORMAL, damaged_count=0, damaged_on="")
    if place.volume_id and place.volume_id not in ids:
        return VolumePlan(row=anew, becomes=Becomes.REPLACED, former_id=row.id)
    if place.is_empty:
        return VolumePlan(row=anew, becomes=Becomes.MADE, former_id=row.id)
    return VolumePlan(row=row, becomes=Becomes.GONE, former_id=row.id)


def _names(name: str) -> Iterator[str]:
    yield name
    number = 2
    while True:
        yield f"{name}-{number}"
        number += 1


def bring_back(
    directory: BackupDirectory, stamp: str, copies: Copies, placement_for: Callable[[str], Placement]
) -> Iterator[Carried]:
    """Give every object of a run that has no file on a volume one again, from the directory; one result for each.

    What the directory does not hold either keeps its row, which says what was lost. Broken off anywhere, it goes on
    with what is missing when it is called again.

    Raises: NotEnoughCopies when the volumes take no more; VolumeUnavailable; IndexUnavailable.
    """
    listed = directory.listed(stamp)
    while portion := list(islice(listed, _PORTION)):
        for volume in placement_for("").volumes:
            volume.check()  # whether it has room is only known when it is looked at
        held = {(one.sop_uid, one.digest): one for one in copies.of_objects([one.sop_uid for one in portion])}
        made: list[tuple[KeptObject, Copy]] = []
        try:
            for one in portion:
                if (kept := held.get((one.sop_uid, one.digest))) is not None:
                    yield _bring_one(one, kept, directory, placement_for(kept.sender), made)
        finally:
            if made:
                copies.add_all(made, datetime.now(UTC))


def _bring_one(
    one: Listed, kept: KeptObject, directory: BackupDirectory, placement: Placement, made: list[tuple[KeptObject, Copy]]
) -> Carried:
    told = Carried(sop_uid=one.sop_uid, path=one.path, size_bytes=one.size_bytes, result=Result.PRESENT)
    if _is_there(kept.copies, one.size_bytes, placement):
        return told
    if unknown := _where_no_row_says(one, placement):
        made += [(kept, copy) for copy in unknown]
        return told
    source = CopyPlace(volume_id=directory.volume.spec.id, path=one.path)
    try:
        places = carry(PurePosixPath(one.path), one.digest, (source,), directory.placement, placement)
    except CopyUnreadable as error:
        return replace(told, result=Result.MISSING, detail=str(error))
    made += [(kept, Copy(volume_id=place.volume_id, path=place.path)) for place in places]
    return replace(told, result=Result.COPIED)


def _is_there(copies: Iterable[Copy], size_bytes: int, placement: Placement) -> bool:
    readable = [copy for copy in copies if not copy.damage and placement.can_read((copy,))]
    volumes = [(placement.volume(copy.volume_id), copy.path) for copy in readable]
    return any(volume is not None and volume.has_file(PurePosixPath(path), size_bytes) for volume, path in volumes)


def _where_no_row_says(one: Listed, placement: Placement) -> list[Copy]:
    """The copies on volumes to which the object was moved after the backup, or written by a restore that was killed."""
    readable = [volume for volume in placement.volumes if volume.state.is_readable]
    there = [volume for volume in readable if volume.has_file(PurePosixPath(one.path), one.size_bytes)]
    copies = [Copy(volume_id=volume.spec.id, path=one.path) for volume in there]
    return [copy for copy in copies if placement.intact((copy,), lambda pieces: is_intact(pieces, one.digest))]
