"""A volume that was away may have come back with older content: from a snapshot, as a clone, or as the wrong disk of a
mirror. Its sentinel is the right one, and the rows of what was stored on it since are not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import PurePosixPath
from typing import Final

from pacs_server.index.copies import Copies
from pacs_server.index.maintenance.holdings import Holdings, RecordedCopy
from pacs_server.storage.volume import Volume

# Of 2,000 rows of copies each: what a large site stores in a day or two.
_LATEST: Final = 100
_ONE_OF: Final = 50


def note_lost(volume: Volume, holdings: Holdings, copies: Copies, *, now: datetime) -> Iterator[list[tuple[str, str]]]:
    """Look whether the files of the copies are there that were recorded last, and note those that are not; the series
    that lack some, by the UIDs of study and series, as soon as it is noted, for whoever owes them.

    It goes back in time, portion by portion. What was stored since the volume was set back is there, however much it
    is: of the latest portions some files each are looked at, and all where one of those is not there. It ends with the
    first of the others whose files are all there. Other files that are gone are found when they are read or verified.

    Raises: VolumeUnavailable when the volume cannot be read; IndexUnavailable.
    """
    had_lost = True  # of the last portions all are looked at
    for number, portion in enumerate(holdings.newest_first(volume.spec.id)):
        lost: list[RecordedCopy] = []
        if had_lost or number >= _LATEST or _lost(volume, [*portion[::_ONE_OF], portion[-1]]):
            lost = _lost(volume, portion)
        if not lost and number >= _LATEST:
            return
        if lost:
            reason = "files that were stored last are not there: did it come back with older content?"
            copies.mark_lost(volume.spec.id, [one.path for one in lost], reason, now)
            yield list(dict.fromkeys((one.study_uid, one.series_uid) for one in lost))
        had_lost = bool(lost)


def _lost(volume: Volume, portion: Sequence[RecordedCopy]) -> list[RecordedCopy]:
    return [one for one in portion if not volume.has_file(PurePosixPath(one.path), one.size_bytes)]
