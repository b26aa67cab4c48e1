"""How a volume is, and what may be done with it: by what the site has decided, by its room, by what a look found."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from pacs_server.storage.location import Location
from pacs_server.storage.medium import Room

CLOSED: Final = "an admin set it so"
EMPTIED: Final = "an admin has it emptied"
_LEAST_RESERVE_BYTES: Final = 1 << 20


class Status(StrEnum):
    """What can be done with a volume."""

    ONLINE = "online"
    FULL = "full"
    DRAINING = "draining"
    READ_ONLY = "read-only"
    SUSPECT = "suspect"
    OFFLINE = "offline"


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeSpec:
    """What the site has decided about a volume. `domain` names what fails together with it. One without an `id` is read
    whatever its sentinel says, if it has any.

    Nothing new is written to one that `is_draining` or `is_closed`, or of which more than `high_water` percent is used.
    Rules that make room on it stop at `low_water` percent. It `is_distrusted` when too many of its copies were found
    damaged.
    """

    id: str
    name: str
    path: Location
    tier: str
    domain: str
    is_draining: bool = False
    is_closed: bool = False
    high_water: int = 100
    low_water: int = 100
    is_distrusted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeState:
    """How a volume is, why, and since when; sizes in bytes as last seen, None when it tells none.

    `is_readable` tells whether its files can be read. That is so unless it is offline or does not answer; one that is
    suspect because of many damaged copies is read, after those that nothing is known against. `mounted` counts how
    often its root was found to be another one: what is mounted there by now may have other content.
    """

    status: Status
    is_readable: bool
    reason: str
    since: datetime
    free_bytes: int | None = None
    total_bytes: int | None = None
    mounted: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What one look at a volume found."""

    status: Status
    is_readable: bool = True
    reason: str = ""
    free_bytes: int | None = None
    total_bytes: int | None = None


def reserve_of(total_bytes: int, wished_bytes: int) -> int:
    """How much of a volume is to stay free, of so much as the settings wish for."""
    # A small volume keeps a twentieth of itself, so that the reserve never is all of it; and where none is wished,
    # what has no room for an object is full all the same.
    return min(max(wished_bytes, _LEAST_RESERVE_BYTES), total_bytes // 20)


def judged(spec: VolumeSpec, room: Room, reserve_bytes: int) -> Seen:
    """What may be done with a volume that is there, by what was decided about it and by its room."""
    status, reason = Status.ONLINE, ""
    if room.is_read_only:
        status, reason = Status.READ_ONLY, "it is mounted read-only; look into the kernel log for why"
    elif spec.is_draining:
        status, reason = Status.DRAINING, EMPTIED
    elif spec.is_closed:
        status, reason = Status.READ_ONLY, CLOSED
    elif spec.is_distrusted:
        status = Status.SUSPECT
        reason = (
            "many damaged copies were found on it in one day: check the disk, then "
            f"pacs storage set {spec.name} --trust"
        )
    elif reason := _fullness(spec, room, reserve_bytes):
        status = Status.FULL
    return Seen(status=status, reason=reason, free_bytes=room.free_bytes, total_bytes=room.total_bytes)


def _fullness(spec: VolumeSpec, room: Room, reserve_bytes: int) -> str:
    """Why it counts as full; empty when it does not, or tells no room."""
    free, total = room.free_bytes, room.total_bytes
    if free is None or total is None:
        return ""
    reserve = reserve_of(total, reserve_bytes)
    if total and 100 * (total - free) > spec.high_water * total:
        return f"more than its high-water mark of {spec.high_water} % is used; make room or add a volume"
    if free < reserve:
        return f"{free >> 20} MiB are free and {reserve >> 20} MiB are kept in reserve; make room or add a volume"
    return "" if room.has_inodes else "no inodes are left; make room or add a volume"
