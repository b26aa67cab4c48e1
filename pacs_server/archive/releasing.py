"""Removes files that are copies no more, so that nothing is lost that is stored again at the same place meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import PurePosixPath
from typing import Final

from pacs_server.index.maintenance.holdings import Holdings
from pacs_server.index.releases import Releases
from pacs_server.storage.leaving import bring_back, leaving, remove_left, set_leaving
from pacs_server.storage.volume import Volume

_PORTION: Final = 100


def release_due(volume: Volume, releases: Releases, holdings: Holdings, *, now: datetime) -> Iterator[str]:
    """Remove the files of a volume that are due; each path when it is settled. Only one at a time does that for a
    volume. Broken off anywhere, it goes on where it was when it is called again.

    Raises: VolumeUnavailable when the volume is away; IndexUnavailable.
    """
    put_back_unknown(volume, holdings)
    while due := releases.due(volume.spec.id, now, limit=_PORTION):
        for path in due:
            for _ in release(volume, path, releases, holdings):
                pass
            yield path


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
