"""A volume that was away may have come back with older content: from a snapshot, as a clone, or as the wrong disk of a
mirror. Its sentinel is the right one, and the rows of what was stored on it since are not.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import PurePosixPath

from pacs_server.index.copies import Copies
from pacs_server.index.maintenance.holdings import Holdings
from pacs_server.storage.volume import Volume


def note_lost(volume: Volume, holdings: Holdings, copies: Copies, *, now: datetime) -> Iterator[list[tuple[str, str]]]:
    """Look whether the files of the copies are there that were recorded last, and note those that are not; the series
    that lack some, by the UIDs of study and series, as soon as it is noted, for whoever owes them.

    It goes back in time, portion by portion, and ends with the first whose files are all there: a volume that was set
    back lacks what came last. Other files that are gone are found when they are read or verified.

    Raises: VolumeUnavailable when the volume cannot be read; IndexUnavailable.
    """
    for portion in holdings.newest_first(volume.spec.id):
        lost = [one for one in portion if not volume.has_file(PurePosixPath(one.path), one.size_bytes)]
        if not lost:
            return
        reason = "files that were stored last are not there: did it come back with older content?"
        copies.mark_lost(volume.spec.id, [one.path for one in lost], reason, now)
        yield list(dict.fromkeys((one.study_uid, one.series_uid) for one in lost))
