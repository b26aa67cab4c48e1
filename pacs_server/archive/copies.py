"""Gives objects the copies that they lack: read from a good copy, written, read back, and only then counted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePosixPath
from typing import Final

from pacs_server import log
from pacs_server.dicom.stored import is_intact
from pacs_server.errors import (
    CopyUnknown,
    CopyUnreadable,
    NoHome,
    NotEnoughCopies,
    VolumeSilent,
    VolumeUnavailable,
)
from pacs_server.index.copies import Copies, Copy, KeptObject
from pacs_server.storage.carrying import carry
from pacs_server.storage.condition import Status
from pacs_server.storage.placement import Placement
from pacs_server.storage.reading import OpenCopy, looked_twice
from pacs_server.storage.volume import Volume

_LOOKS: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Completed:
    """What was done for a series: copies that were written, and why others could not be, by the row of their object; of
    so many of these because no volume takes one more.
    """

    written: int
    problems: Mapping[int, str]
    homeless: int


def complete(
    objects: Sequence[KeptObject],
    copies: Copies,
    placement_for: Callable[[str], Placement],
    *,
    now: datetime,
    goes_on: Callable[[], None] = lambda: None,
) -> Completed:
    """Write the copies that each of these objects lacks by the policy of its sender, and replace damaged ones.

    A copy is only ever made of one that was read to its end and is what was received, and it is read back from the
    disk before it counts. A damaged one is put aside before it is replaced, so that a person can look at it. `goes_on`
    is called before each object.

    Raises: IndexUnavailable.
    """
    written = homeless = 0
    problems: dict[int, str] = {}
    for one in objects:
        goes_on()
        placement = placement_for(one.sender)
        try:
            written += _complete_one(one, copies, placement, now, problems)
        except (CopyUnreadable, NotEnoughCopies, VolumeUnavailable) as error:
            problems[one.row] = str(error)
            homeless += isinstance(error, NoHome)
    return Completed(written=written, problems=problems, homeless=homeless)


def _complete_one(
    one: KeptObject, copies: Copies, placement: Placement, now: datetime, problems: dict[int, str]
) -> int:
    """How many copies were written; what failed beside them goes to `problems`."""
    good = [copy for copy in one.copies if not copy.damage or _is_whole_again(one, copy, copies, placement, now)]
    if not _replaceable(one, good, placement):
        if not _lacks(one, good, placement):
            return 0
        _homes(good, placement)  # while a volume is away nothing is read in vain, object by object
    source = intact_copy(one, good, copies, placement, now)
    written = 0
    for bad in _replaceable(one, good, placement):  # by now also those that were found damaged on the way to the source
        try:
            good.append(made := _replacement(one, bad, source, copies, placement, now))
            written += made is not bad
        except (NotEnoughCopies, VolumeUnavailable) as error:
            problems[one.row] = str(error)  # its folder may have failed; another volume can still have the copy
    while _lacks(one, good, placement):
        good.append(one_more(one, source, _homes(good, placement), copies, placement, now))
        written += 1
    return written


def _is_whole_again(one: KeptObject, copy: Copy, copies: Copies, placement: Placement, now: datetime) -> bool:
    """Whether a copy that was found damaged is not, on a volume that takes nothing now, perhaps because ten were: its
    disk may have failed for a while only. Where it can be replaced it is looked at before that.

    Raises: IndexUnavailable.
    """
    volume = placement.volume(copy.volume_id)
    if volume is None or not volume.state.is_readable or _can_write(volume):
        return False
    try:
        return not noted_damage_of(volume, copy.path, one.digest, copies, now)
    except VolumeUnavailable:
        return False


def _replaceable(one: KeptObject, good: Sequence[Copy], placement: Placement) -> list[Copy]:
    """Its damaged copies in whose place a good one can be written now."""
    return [copy for copy in one.copies if copy not in good and _can_write(placement.volume(copy.volume_id))]


def _replacement(one: KeptObject, bad: Copy, source: Copy, copies: Copies, placement: Placement, now: datetime) -> Copy:
    """A good copy in the place of a damaged one; that one itself when somebody has replaced it meanwhile.

    Raises: as `write_copy`.
    """
    volume = placement.volume(bad.volume_id)
    if volume is None:
        raise VolumeUnavailable(f"volume {bad.volume_id} left the site")
    if _put_aside(volume, PurePosixPath(bad.path), one.digest):
        return write_copy(one, source, volume, copies, placement, now)
    copies.mark_verified([(bad.volume_id, bad.path)], now)
    return bad


def one_more(
    one: KeptObject, source: Copy, homes: Sequence[Volume], copies: Copies, placement: Placement, now: datetime
) -> Copy:
    """A copy on the first of these volumes that takes it: one that is well may fail in a folder of this study alone.

    Raises: as `write_copy` on the last of them.
    """
    for home in homes[:-1]:
        try:
            return write_copy(one, source, home, copies, placement, now)
        except (NotEnoughCopies, VolumeUnavailable) as error:
            log.warning("copy not made", volume=home.spec.name, why=error)
    return write_copy(one, source, homes[-1], copies, placement, now)


def _put_aside(volume: Volume, path: PurePosixPath, digest: str) -> bool:
    """Put a copy aside if it is damaged; whether it was. To read it may take minutes, in which somebody else puts it
    aside and writes it anew: damage of the former file is no reason to put the new one aside.

    Raises: VolumeUnavailable.
    """
    for _ in range(_LOOKS):
        seen = volume.stamp_of(path)
        if not damage_of(volume, str(path), digest):
            return False
        if volume.stamp_of(path) == seen:
            volume.put_aside(path)
            return True
    raise VolumeUnavailable(f"{path} on volume {volume.spec.name} changes again and again while it is read")


def _lacks(one: KeptObject, good: Sequence[Copy], placement: Placement) -> int:
    """How many copies an object lacks beside these. Each archive server that keeps it counts as one, as long as a
    good one is here too; of an object that is only there none can be made here.
    """
    lacks = placement.lacks(good)
    if not one.deposits:
        return lacks
    if not one.copies:
        return 0
    return max(0, lacks - one.deposits) if placement.domains(good) else lacks


def _homes(good: Sequence[Copy], placement: Placement) -> list[Volume]:
    """The volumes that could take one more copy beside these. Raises: NoHome when there is none."""
    used = placement.domains(good)
    if homes := placement.homes(used):
        return homes
    raise NoHome(placement.shortage(len(used)))


def _can_write(volume: Volume | None) -> bool:
    return volume is not None and volume.state.status is Status.ONLINE


def intact_copy(one: KeptObject, good: list[Copy], copies: Copies, placement: Placement, now: datetime) -> Copy:
    """The first copy that is read to its end and is what was received; those that are not are noted. When no good one
    is left, those that were found damaged are looked at once more: a disk may have failed for a moment only.

    Raises: CopyUnreadable when there is none that can be read now.
    """
    problems: list[str] = []
    for copy in [*placement.read_order(good), *placement.read_order(one.copies)]:
        volume = placement.volume(copy.volume_id)
        if volume is None or not volume.state.is_readable:
            problems.append(f"the copy on {volume.spec.name if volume else copy.volume_id} cannot be read now")
            continue
        if problem := noted_damage_of(volume, copy.path, one.digest, copies, now):
            good[:] = [other for other in good if other is not copy]
            problems.append(problem)
            continue
        good[:] = [copy, *(other for other in good if other is not copy)]
        return copy
    raise CopyUnreadable(
        f"{one.sop_uid}: there is no good copy to make another of: {'; '.join(problems) or 'none is held'}"
    )


def damage_of(volume: Volume, path: str, digest: str) -> str:
    """Why a copy is not what was received, read from the disk to its end; empty when it is.

    Raises: VolumeUnavailable when that cannot be told, because the volume is away or does not answer.
    """

    def look() -> bool:
        with OpenCopy(volume, PurePosixPath(path), from_disk=True) as opened:
            return is_intact(opened.pieces(), digest)

    try:
        intact = looked_twice(volume, look)
    except (CopyUnreadable, VolumeUnavailable) as error:
        if isinstance(error, VolumeSilent | CopyUnknown) or not volume.check().is_readable:
            raise VolumeUnavailable(str(error)) from error
        return str(error)
    return "" if intact else f"{path} on volume {volume.spec.name} is not what was received"


def noted_damage_of(volume: Volume, path: str, digest: str, copies: Copies, now: datetime) -> str:
    """Like `damage_of`; and the index knows then that this copy is damaged, or was verified.

    Raises: VolumeUnavailable; IndexUnavailable.
    """
    if damage := damage_of(volume, path, digest):
        copies.mark_damaged(volume.spec.id, path, damage, now)
    else:
        copies.mark_verified([(volume.spec.id, path)], now)
    return damage


def write_copy(
    one: KeptObject, source: Copy, target: Volume, copies: Copies, placement: Placement, now: datetime
) -> Copy:
    """Write a copy of an intact one, read it back from the disk, and let it count.

    Raises: CopyUnreadable; NotEnoughCopies; VolumeUnavailable; IndexUnavailable.
    """
    path = PurePosixPath(source.path)
    carry(path, one.digest, (source,), placement, Placement((target,), need=1, degraded=1))
    if problem := damage_of(target, source.path, one.digest):
        raise VolumeUnavailable(f"read back after it was written: {problem}")
    made = Copy(volume_id=target.spec.id, path=source.path, verified_at=now)
    copies.add(one, made, now)
    if not target.has_file(path):
        problem = f"{path} left volume {target.spec.name} while it was written again; it is written once more later"
        copies.mark_damaged(target.spec.id, source.path, problem, now)
        raise VolumeUnavailable(problem)
    return made
