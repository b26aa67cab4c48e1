"""Storage Commitment: says of an object that it is kept safely only after its copies were read back from the disks.

A device deletes its images because of what is said here, so every doubt is a no.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial

from pacs_server.archive.copies import complete, damage_of
from pacs_server.dicom.commitment import Reason, Reference
from pacs_server.errors import VolumeUnavailable
from pacs_server.index.copies import Copies, Copy, KeptObject
from pacs_server.index.retiring import TRASH
from pacs_server.net.negotiate import is_storage_class
from pacs_server.storage.placement import Placement

COMMITTED = 0
_CURRENT = "current"
_EVER = datetime.max.replace(tzinfo=UTC)


def read_back(
    references: Sequence[Reference],
    copies: Copies,
    placement_for: Callable[[str], Placement],
    *,
    since: datetime,
    clock: Callable[[], datetime],
) -> dict[Reference, int]:
    """Read every copy of these objects that was not read since `since`, complete what is missing or damaged, and say
    what becomes of each object: `COMMITTED`, or the reason why not.

    `COMMITTED` is said of an object only if it is held under this class and not in the trash, and as many copies as the
    policy of its sender wants, in distinct fault domains, were read to their end since `since` and are what was
    received. Where several contents came under one UID that is so for each of them: nobody knows which one the
    requester means. `Reason.RESOURCE_LIMITATION` may change when a volume comes back; the other reasons do not.

    Raises: IndexUnavailable.
    """
    uids = list({one.sop_uid for one in references})
    for held in _kept(copies, uids).values():
        _read_copies(held, copies, placement_for, since, clock())
    # What is missing is made from copies that were just read, and read back by whoever writes it.
    everything = [one for held in _kept(copies, uids).values() for one in held]
    complete(everything, copies, placement_for, now=clock())
    return _outcomes(references, copies, placement_for, partial(_was_read, since=since, now=clock()))


def stand(
    references: Sequence[Reference], copies: Copies, placement_for: Callable[[str], Placement], *, since: datetime
) -> dict[Reference, int]:
    """What is known by now of objects that `read_back` said something of, reading none.

    Raises: IndexUnavailable.
    """
    return _outcomes(references, copies, placement_for, partial(_was_read, since=since, now=_EVER))


def _outcomes(
    references: Sequence[Reference],
    copies: Copies,
    placement_for: Callable[[str], Placement],
    was_read: Callable[[Copy], bool],
) -> dict[Reference, int]:
    kept = _kept(copies, list({one.sop_uid for one in references}))
    return {one: _outcome(one, kept.get(one.sop_uid, []), placement_for, was_read) for one in references}


def _kept(copies: Copies, uids: Sequence[str]) -> Mapping[str, list[KeptObject]]:
    """The contents under each UID that are not in the trash."""
    found: dict[str, list[KeptObject]] = {}
    for one in copies.of_objects(uids):
        if one.role != TRASH:
            found.setdefault(one.sop_uid, []).append(one)
    return found


def _read_copies(
    held: Sequence[KeptObject],
    copies: Copies,
    placement_for: Callable[[str], Placement],
    since: datetime,
    now: datetime,
) -> None:
    good: list[tuple[str, str]] = []
    for one in held:
        placement = placement_for(one.sender)
        for copy in one.copies:
            volume = placement.volume(copy.volume_id)
            if volume is None or not volume.state.is_readable or _was_read(copy, since, now):
                continue
            try:
                damage = damage_of(volume, copy.path, one.digest)
            except VolumeUnavailable:
                continue  # what cannot be read is not committed to
            if damage:
                copies.mark_damaged(copy.volume_id, copy.path, damage, now)
            else:
                good.append((copy.volume_id, copy.path))
    copies.mark_verified(good, now)


def _was_read(copy: Copy, since: datetime, now: datetime) -> bool:
    """What was read at a time to come was read before the clock was put back."""
    return not copy.damage and copy.verified_at is not None and since <= copy.verified_at <= now


def _outcome(
    reference: Reference,
    held: Sequence[KeptObject],
    placement_for: Callable[[str], Placement],
    was_read: Callable[[Copy], bool],
) -> int:
    classes = {one.sop_class for one in held if one.role == _CURRENT}  # of each study that has one under this UID
    if not classes:
        known = is_storage_class(reference.sop_class)
        return Reason.NO_SUCH_OBJECT if known else Reason.CLASS_NOT_SUPPORTED
    if reference.sop_class not in classes:
        return Reason.CLASS_CONFLICT
    outcomes = [_state_of(one, placement_for(one.sender), was_read) for one in held]
    return next((one for one in outcomes if one != COMMITTED), COMMITTED)


def _state_of(one: KeptObject, placement: Placement, was_read: Callable[[Copy], bool]) -> int:
    if not placement.lacks([copy for copy in one.copies if was_read(copy)]):
        return COMMITTED
    # With every copy found bad no volume that comes back helps; a copy that was not read may be good.
    hopeless = all(copy.damage for copy in one.copies)
    return Reason.PROCESSING_FAILURE if hopeless else Reason.RESOURCE_LIMITATION
