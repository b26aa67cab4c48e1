"""The index made anew from the files of all volumes: listed in order, read side by side, recorded in that order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import UTC, date, datetime
from heapq import merge
from itertools import groupby
from pathlib import PurePosixPath
from typing import Final, TypeAlias

from pacs_server.archive.adopting import (
    Finding,
    FindingKind,
    Ledger,
    ObjectInFile,
    adopt,
    adopt_deposits,
    enter,
    examine,
)
from pacs_server.archive.operations import learn
from pacs_server.archive.reconcile import has_left, rows_without_file
from pacs_server.archive.releasing import put_back_unknown
from pacs_server.errors import Refused
from pacs_server.index.engine import Index
from pacs_server.index.jobs import JobKind
from pacs_server.index.maintenance.holdings import copies_unknown_to, replace_content
from pacs_server.index.maintenance.schema import open_current, upgrade
from pacs_server.index.operations import copy_decisions
from pacs_server.index.promotion import compared
from pacs_server.index.recording.fields import copy_fields
from pacs_server.service.assemble import Node
from pacs_server.service.locks import rebuild_lock
from pacs_server.service.upkeep.reconciling import ledger_of
from pacs_server.storage.layout import FoundFile, day_directory
from pacs_server.storage.volume import Volume

# Threads, not processes: docs/performance.md has the measurement.
_READERS: Final = 4
_AHEAD: Final = 64
# What comes in the hours of a rebuild, then what comes in the minutes of the first round: so nobody waits for the rest.
_ROUNDS: Final = 2
_PORTION: Final = 100  # recorded together: one flush of the new index for so many files

Placed: TypeAlias = tuple[Volume, FoundFile]
ReceivedBelow: TypeAlias = Callable[[str, str], Mapping[str, datetime]]


def rebuild_index(node: Node) -> Iterator[Finding]:
    """Make the content of the index anew from the files of all volumes, beside the present one, then swap them.

    Interrupted, it goes on where it was when it is called again. What arrives meanwhile is kept.

    Every copy is read to its end, the second one of an object too. To enter that by its name and size alone would be
    twice as fast, and would count a copy that a disk has damaged as good until its verification comes round, in weeks:
    until then nobody would make another, and the tiers might let the only good one go.

    Raises: Busy beside another one; Refused when a volume cannot be read; VolumeUnavailable when one goes away
    meanwhile; IndexUnavailable. The present index stays as it was then, or is the new one as a whole.
    """
    with rebuild_lock(node.settings.data_dir):
        yield from _rebuilt(node)


def _rebuilt(node: Node) -> Iterator[Finding]:
    began, is_whole = datetime.now(UTC), True
    path = node.settings.data_dir / "rebuild.db"
    url = f"sqlite:///{path}"
    upgrade(url)
    with closing(open_current(url)) as beside:
        copy_fields(node.index, beside)
        ledger = ledger_of(node, beside)
        volumes = _readable_volumes(node)
        _learn_decisions(node, beside, volumes)
        told: set[tuple[str, str]] = set()
        for volume_id, finding in _taken_in(node, volumes, ledger):
            told.add((volume_id, finding.path))
            is_whole = is_whole and not finding.kind.is_gap
            yield finding
        for _ in adopt_deposits(node.deposits.without_row(beside), ledger, repair=True):
            pass
        _take_in_arrivals(node, beside, ledger)
        missed: list[Finding] = []

        def catch_up(volume_id: str, path: str) -> None:
            # A damaged file may be whole by now; what was told of it is not told twice.
            finding = _adopt_now(node, volume_id, path, ledger)
            if finding and finding.kind is not FindingKind.ADOPTED and (volume_id, path) not in told:
                missed.append(finding)

        replace_content(node.index, beside, catch_up, datetime.now(UTC))
    if is_whole:
        compared(node.index, began)
    try:
        yield from missed
        yield from _lost_meanwhile(node, volumes)
    finally:  # the content was exchanged, whatever goes away now
        for leftover in path.parent.glob(path.name + "*"):
            leftover.unlink()
        node.jobs.owe(JobKind.SURVEY, datetime.now(UTC))
        _ask_to_compare(node, datetime.now(UTC))


def _learn_decisions(node: Node, beside: Index, volumes: Collection[Volume]) -> None:
    """Have the new index know what was decided, and nothing that is leaving a volume for a reason nobody knows.

    Raises: VolumeUnavailable; IndexUnavailable.
    """
    for volume in volumes:
        learn(volume, node.instances.operations, tuple(volumes), now=datetime.now(UTC))
    copy_decisions(node.index, beside)
    for volume in volumes:
        put_back_unknown(volume, node.holdings)


def _taken_in(node: Node, volumes: Collection[Volume], ledger: Ledger) -> Iterator[tuple[str, Finding]]:
    """Enter the files of these volumes that no row of the ledger knows; what was not entered, with the volume's id.

    Raises: VolumeUnavailable; IndexUnavailable.
    """
    placement = node.placement()
    by_name = {volume.spec.name: volume for volume in volumes}
    files = _unrecorded(files_as_received(volumes, node.holdings.received_below), ledger)
    for finding in _recorded(_read(files, lambda one: examine(*one, ledger, placement)), ledger):
        volume = by_name[finding.volume]
        if finding.kind is FindingKind.ADOPTED or has_left(volume, PurePosixPath(finding.path), node.holdings):
            continue
        if finding.kind is FindingKind.PURGED:
            node.holdings.release(volume.spec.id, finding.path, datetime.now(UTC))
        yield volume.spec.id, finding


def _readable_volumes(node: Node) -> list[Volume]:
    """Every volume of the site. Raises: Refused when one of them cannot be read."""
    volumes = node.volumes()
    for volume in volumes:
        state = volume.check()
        if not state.is_readable:
            raise Refused(
                f"volume {volume.spec.name} is {state.status} ({state.reason}); bring it back first, "
                "because its files cannot be told from missing ones"
            )
    return volumes


def files_as_received(volumes: Iterable[Volume], received_below: ReceivedBelow) -> Iterator[Placed]:
    """The files of these volumes by day, those of a day in the order in which they came, on whichever volume: the first
    of a patient or study counts, and the first content under a UID is current.

    The present index may know when they came. A file may be younger than that: one that moved to another tier, or that
    was made again.

    Raises: VolumeUnavailable; IndexUnavailable.
    """
    return merge(*(_by_day(volume, received_below) for volume in volumes), key=_when)


def _by_day(volume: Volume, received_below: ReceivedBelow) -> Iterator[Placed]:
    for day, files in groupby(volume.walk(None), key=lambda file: file.day):
        known = received_below(volume.spec.id, str(day_directory(day)))
        placed = ((volume, replace(file, modified=known.get(str(file.path), file.modified))) for file in files)
        yield from sorted(placed, key=_when)


def _when(placed: Placed) -> tuple[date, datetime, str]:
    file = placed[1]
    return file.day, file.modified, str(file.path)


def _unrecorded(files: Iterable[Placed], ledger: Ledger) -> Iterator[Placed]:
    """Those that no row knows: an earlier attempt may have come far."""
    return (one for one in files if not ledger.holdings.holds(one[0].spec.id, str(one[1].path)))


def _read(
    files: Iterable[Placed], examine_one: Callable[[Placed], ObjectInFile | Finding]
) -> Iterator[ObjectInFile | Finding]:
    """What is in the files, in their order; a few are read and hashed at the same time."""
    readers = ThreadPoolExecutor(_READERS, thread_name_prefix="rebuild")
    under_way: deque[Future[ObjectInFile | Finding]] = deque()
    try:
        for one in files:
            under_way.append(readers.submit(examine_one, one))
            if len(under_way) >= _AHEAD:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()
    finally:
        readers.shutdown(cancel_futures=True)


def _recorded(found: Iterable[ObjectInFile | Finding], ledger: Ledger) -> Iterator[Finding]:
    """Record what was found, in its order and in portions; what was found."""
    portion: list[ObjectInFile] = []
    digests: dict[str, str] = {}
    for one in found:
        if isinstance(one, Finding):
            yield one
            continue
        uid = one.description.sop_uid
        if len(portion) >= _PORTION or digests.get(uid, one.digest) != one.digest:
            yield from enter(portion, ledger)
            portion, digests = [], {}
        portion.append(one)
        digests[uid] = one.digest
    if portion:
        yield from enter(portion, ledger)


def _lost_meanwhile(node: Node, volumes: Iterable[Volume]) -> Iterator[Finding]:
    """Remove the rows of copies that left a volume of these after they were read, hours or attempts ago: they moved to
    another tier. What is left are objects whose last file was lost.

    Raises: VolumeUnavailable; IndexUnavailable.
    """
    ledger = ledger_of(node, node.index)
    for volume in volumes:
        found = rows_without_file(volume, ledger, since=None, repair=True)
        yield from (finding for finding in found if finding.kind is FindingKind.MISSING)


def _ask_to_compare(node: Node, now: datetime) -> None:
    """Have this site compare with its partners: an index from files may say otherwise than theirs what came first."""
    for partner in node.partners.all():
        node.partners.ask_to_compare(partner.name, now)


def _take_in_arrivals(node: Node, beside: Index, ledger: Ledger) -> None:
    """Enter what came since the files were listed, while more comes. Where that is not possible now, it is tried once
    more when nobody can write, and told then.

    Raises: VolumeUnavailable; IndexUnavailable.
    """
    for _ in range(_ROUNDS):
        copy_decisions(node.index, beside)
        for volume_id, path in copies_unknown_to(beside, node.index):
            _adopt_now(node, volume_id, path, ledger)


def _adopt_now(node: Node, volume_id: str, path: str, ledger: Ledger) -> Finding | None:
    """Enter a file by the volumes of this moment: some may have been added, or removed, since the first was read."""
    volume = node.placement().volume(volume_id)
    if volume is None:
        node.look_at_site_state(max_age_s=0)
        volume = node.placement().volume(volume_id)
    return None if volume is None else adopt(volume, _just_received(PurePosixPath(path)), ledger, node.placement())


def _just_received(path: PurePosixPath) -> FoundFile:
    year, month, day = (int(part) for part in path.parts[1:4])
    return FoundFile(path=path, day=date(year, month, day), size_bytes=0, modified=datetime.now(UTC))
