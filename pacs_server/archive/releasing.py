"""Removes files that are copies no more, so that nothing is lost that is stored again at the same place meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import PurePosixPath
from typing import Final

from pacs_server import log
from pacs_server.errors import VolumeSilent, VolumeUnavailable
from pacs_server.index.copies import Copies, Copy
from pacs_server.index.maintenance.holdings import Holdings
from pacs_server.index.releases import Releases
from pacs_server.storage.layout import LEAVING, object_in_name
from pacs_server.storage.leaving import bring_back, leaving, remove_left, set_leaving
from pacs_server.storage.placement import Placement
from pacs_server.storage.volume import Volume

_PORTION: Final = 100
_MAX_REFUSED: Final = 1_000


def release_due(
    volume: Volume, releases: Releases, holdings: Holdings, copies: Copies, placement: Placement, *, now: datetime
) -> Iterator[str]:
    """Remove the files of a volume that are due; each path when it is settled. Only one at a time does that for a
    volume. Broken off anywhere, it goes on where it was when it is called again. A file that cannot be moved, as on an
    SMB share where somebody has it open, is passed over, so that it keeps no other from going; and so is one of which
    no other copy can be read now. One that came again after the index was saved stays.

    Raises: VolumeUnavailable when the volume is away or does not answer, or has refused this for a thousand files; at
    the end, when it has for one; IndexUnavailable.
    """
    put_back_unknown(volume, holdings)
    refused: set[str] = set()
    problem = ""
    while due := releases.due(volume.spec.id, now, limit=_PORTION, without=refused):
        for path in due:
            try:
                if holdings.has_come_again(*object_in_name(PurePosixPath(path))):
                    releases.settled(volume.spec.id, path, is_copy=False)
                    log.warning("file kept", volume=volume.spec.name, path=path, why="it came again, by the volumes")
                    continue
                keep_last(volume, path, copies, placement, now=now)
                for _ in release(volume, path, releases, holdings):
                    pass
            except VolumeUnavailable as error:
                refused.add(path)
                problem = f"files that could not be removed: {len(refused)}, the last {path}: {error}"
                is_away = isinstance(error, VolumeSilent) or not volume.check().is_readable
                if is_away or len(refused) >= _MAX_REFUSED:
                    raise VolumeUnavailable(problem) from error
                continue
            yield path
    if problem:
        raise VolumeUnavailable(problem)


def keep_last(volume: Volume, path: str, copies: Copies, placement: Placement, *, now: datetime) -> None:
    """Have a file that is owed its removal be a copy again where its object has lost all others since, with a disk that
    died perhaps. What was purged, or an archive server keeps, needs none.

    Raises: VolumeUnavailable while it is not known whether another one is there; IndexUnavailable.
    """
    place = PurePosixPath(path)
    sop_uid, digest_begins = object_in_name(place)
    held = next((one for one in copies.of_objects([sop_uid]) if one.digest.startswith(digest_begins)), None)
    if held is None or held.deposits or any((one.volume_id, one.path) == (volume.spec.id, path) for one in held.copies):
        return
    is_known = True
    for copy in (one for one in held.copies if not one.damage):
        other = placement.volume(copy.volume_id)
        if other is None:
            continue
        try:
            if other.has_file(PurePosixPath(copy.path), held.size_bytes):
                return
        except VolumeUnavailable:
            is_known = False
        else:
            copies.mark_damaged(copy.volume_id, copy.path, "its file is not there", now)
    if not is_known:
        raise VolumeUnavailable("it stays until another copy of its object can be read")
    if volume.has_file(place) or volume.has_file(LEAVING / place):
        copies.add(held, Copy(volume_id=volume.spec.id, path=path), now)
        log.warning("copy kept", volume=volume.spec.name, path=path, why="the others are lost")


def release(volume: Volume, path: str, releases: Releases, holdings: Holdings) -> Iterator[None]:
    """Remove one file that is owed its removal, unless it is a copy again; pauses between its steps.

    Whoever stores an object that was here writes the file, then the row, then looks whether the file is there. So a row
    that comes too late for both looks here belongs to a file that was moved away before its writer looks: that writer
    does not acknowledge it. Any earlier row is seen here, and the file is brought back.

    Raises: VolumeUnavailable when the volume is away; IndexUnavailable.
    """
    place = PurePosixPath(path)
    if not holdings.holds(volume.spec.id, path):
        yield
        set_leaving(volume, place)
        yield
    if is_copy := holdings.holds(volume.spec.id, path):
        yield
        bring_back(volume, place)
    else:
        yield
        remove_left(volume, place)
    yield
    releases.settled(volume.spec.id, path, is_copy=is_copy)


def put_back_unknown(volume: Volume, holdings: Holdings) -> None:
    """Put back what is leaving a volume although nobody knows why, for instance with an index that was made anew: the
    comparison of files with rows then says what it is.

    Raises: VolumeUnavailable when the volume is away; IndexUnavailable.
    """
    for path in leaving(volume):
        if not holdings.is_leaving(volume.spec.id, str(path)):
            bring_back(volume, path)
