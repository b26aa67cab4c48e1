"""Files against rows, in both directions: adopts files that no row knows, finds rows whose file is gone."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import date, datetime, timedelta
from pathlib import PurePosixPath
from typing import Final

from pacs_server.archive.adopting import Finding, FindingKind, Ledger, adopt
from pacs_server.errors import VolumeUnavailable
from pacs_server.index.maintenance.holdings import Holdings
from pacs_server.storage.layout import Entry, FoundFile, walk
from pacs_server.storage.placement import Placement
from pacs_server.storage.volume import Volume

# A younger file may be on its way into the index at this moment.
SETTLED_AFTER: Final = timedelta(minutes=15)
# One from so far in the future came while the clock of its NAS was wrong, and would not settle before that day.
_CLOCKS_DIFFER: Final = timedelta(days=1)
# What was done about a file is told, also where it is gone by now because of that.
_DONE: Final = frozenset({FindingKind.ADOPTED, FindingKind.REMOVED})


def reconcile(
    volume: Volume, ledger: Ledger, placement: Placement, *, since: date | None, repair: bool, now: datetime
) -> Iterator[Finding]:
    """Compare one volume's files with its rows, studies of `since` and later; one finding for each difference.

    With `repair`, settled files without a row are adopted, those of purged objects are removed instead; and the
    row of a missing copy is removed when another copy of the object is there, or an archive server keeps it. The only
    row of an object is never removed otherwise: it says what was lost. Unfinished files that nobody has written to for
    an hour are removed.

    Raises: VolumeUnavailable when the volume is not online; IndexUnavailable.
    """
    its_now = volume.its_time(now)
    for file in volume.walk(since):
        if not is_settled(file, its_now) or ledger.accounts_for(volume.spec.id, str(file.path)):
            continue
        finding = _unknown(volume, file, ledger, placement, repair=repair, now=now)
        if finding.kind in _DONE or not has_left(volume, file.path, ledger.holdings):
            yield finding
    yield from rows_without_file(volume, ledger, since=since, repair=repair)
    for path in volume.litter(its_now):
        yield _litter(volume, path, repair=repair)


def release_purged(
    volume: Volume, study_uids: Collection[str], ledger: Ledger, *, now: datetime, goes_on: Callable[[], bool]
) -> int:
    """Owe the removal of the files of purged objects of these studies that a volume has although nothing says so: it
    left the site and came back, or another was mounted in its place, while they were purged. Answers how many they are.
    Asked before each directory, `goes_on` may wait; once it says no, no other is looked at.

    Raises: VolumeUnavailable when the volume is not online; IndexUnavailable.
    """
    its_now, released = volume.its_time(now), 0

    def entries_of(directory: PurePosixPath) -> list[Entry]:
        return volume.entries(directory) if goes_on() else []

    for file in walk(entries_of, study_uids=study_uids):
        is_known = not is_settled(file, its_now) or ledger.accounts_for(volume.spec.id, str(file.path))
        if not is_known and ledger.is_purged(file) and not has_left(volume, file.path, ledger.holdings):
            ledger.holdings.release(volume.spec.id, str(file.path), now)
            released += 1
    return released


def is_settled(file: FoundFile, now: datetime) -> bool:
    """Whether a file is not on its way into the index any more, at a time by the clock that has dated it."""
    return not -_CLOCKS_DIFFER < now - file.modified < SETTLED_AFTER


def has_left(volume: Volume, path: PurePosixPath, holdings: Holdings) -> bool:
    """Whether a file that was listed is not there any more and need not be: what is purged or moves to another tier has
    lost its row before.

    Raises: VolumeUnavailable when that is not known; IndexUnavailable.
    """
    return not volume.has_file(path) and not holdings.holds(volume.spec.id, str(path))


def unknown_study(
    volume: Volume, volume_ids: Sequence[str], ledger: Ledger, *, since: date | None, now: datetime
) -> PurePosixPath | None:
    """The folder of the first study of `since` or later of which this volume has an object, and the index none on any
    volume: it was set back perhaps, by a snapshot of its machine. What was purged, or is about to be removed, is known.

    Raises: VolumeUnavailable when the volume cannot be read; IndexUnavailable.
    """
    known: set[PurePosixPath] = set()
    its_now = volume.its_time(now)
    for file in volume.walk(since):
        study = file.path.parent.parent
        if study in known or not is_settled(file, its_now):
            continue
        if any(ledger.holdings.received_below(one, str(study)) for one in volume_ids):
            known.add(study)
        elif not ledger.accounts_for(volume.spec.id, str(file.path)) and not ledger.is_purged(file):
            return study
    return None


def rows_without_file(volume: Volume, ledger: Ledger, *, since: date | None, repair: bool) -> Iterator[Finding]:
    """The copies of a volume whose files are not there, of studies of `since` and later; `repair` as in `reconcile`.

    Raises: VolumeUnavailable when the volume is not online; IndexUnavailable.
    """
    for held in ledger.holdings.copies_on(volume.spec.id, since=since):
        if volume.has_file(PurePosixPath(held.path), held.size_bytes):
            continue
        is_spare = repair and ledger.holdings.forget_spare(held, volume.spec.id)
        # The rows are read in portions: what was purged or moved meanwhile has lost its row first.
        if is_spare or ledger.holdings.holds(volume.spec.id, held.path):
            kind = FindingKind.FORGOTTEN if is_spare else FindingKind.MISSING
            yield Finding(kind=kind, volume=volume.spec.name, path=held.path)


def _unknown(
    volume: Volume, file: FoundFile, ledger: Ledger, placement: Placement, *, repair: bool, now: datetime
) -> Finding:
    if ledger.is_purged(file):
        if repair:
            ledger.holdings.release(volume.spec.id, str(file.path), now)
        kind = FindingKind.REMOVED if repair else FindingKind.PURGED
    elif repair:
        return adopt(volume, file, ledger, placement)
    else:
        kind = FindingKind.UNKNOWN_FILE
    return Finding(kind=kind, volume=volume.spec.name, path=str(file.path))


def _litter(volume: Volume, path: PurePosixPath, *, repair: bool) -> Finding:
    """Raises: VolumeUnavailable when the volume is away."""
    kind, detail = FindingKind.LITTER, ""
    if repair:
        try:
            volume.remove_litter(path)
            kind = FindingKind.SWEPT
        except VolumeUnavailable as error:  # of this one file perhaps: its rights, or a mark that it may not change
            if not volume.check().is_readable:
                raise
            kind, detail = FindingKind.STUCK, str(error)
    return Finding(kind=kind, volume=volume.spec.name, path=str(path), detail=detail)
