"""Files against rows, on every volume of the site."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from functools import cache

from pacs_server import log
from pacs_server.archive.adopting import Finding, FindingKind, Ledger, adopt_deposits
from pacs_server.archive.describing import Heads, Saying, describe_anew, sayings
from pacs_server.archive.ingest import role_beside
from pacs_server.archive.operations import learn
from pacs_server.archive.reconcile import SETTLED_AFTER, reconcile, release_purged, unknown_study
from pacs_server.archive.releasing import put_back_unknown
from pacs_server.archive.set_back import note_lost
from pacs_server.errors import VolumeUnavailable
from pacs_server.index.engine import Index
from pacs_server.index.fates import purged_studies
from pacs_server.index.jobs import JobKind
from pacs_server.index.maintenance.holdings import Holdings
from pacs_server.index.promotion import UnknownStudy, compared, note_unknown_study
from pacs_server.index.promotion import unknown_study as noted_unknown_study
from pacs_server.index.recording.instances import Instances
from pacs_server.service.assemble import Node
from pacs_server.storage.volume import Volume


def reconcile_volumes(node: Node, *, since: date | None, repair: bool) -> Iterator[Finding]:
    """Compare every volume with the index. One that cannot be read is a finding: what lies on the others is not to wait
    for a disk that is lost perhaps.

    Raises: IndexUnavailable.
    """
    now, is_whole = datetime.now(UTC), since is None and repair
    for volume in node.volumes():
        try:
            for finding in _reconcile_volume(node, volume, since=since, repair=repair, now=now):
                is_whole = is_whole and not finding.kind.is_gap
                yield finding
        except VolumeUnavailable as error:
            is_whole = False
            yield Finding(kind=FindingKind.NOT_READ, volume=volume.spec.name, path="", detail=str(error))
    stubs = list(node.deposits.without_row(node.index))
    yield from adopt_deposits(stubs, ledger_of(node, node.index), repair=repair)
    if repair:
        node.jobs.owe(JobKind.SURVEY, now)  # what was adopted or forgotten may lack copies
    if is_whole:
        compared(node.index, now - SETTLED_AFTER)


def _reconcile_volume(
    node: Node, volume: Volume, *, since: date | None, repair: bool, now: datetime
) -> Iterator[Finding]:
    """Raises: VolumeUnavailable; IndexUnavailable."""
    if not (state := volume.check()).is_readable:
        raise VolumeUnavailable(f"{state.status}: {state.reason}")
    learn(volume, node.instances.operations, node.volumes(), now=now)
    if repair:
        put_back_unknown(volume, node.holdings)
    yield from reconcile(volume, ledger_of(node, node.index), node.placement(), since=since, repair=repair, now=now)


def note_losses(node: Node, volume: Volume) -> None:
    """Look whether a volume still has what was stored on it last, and owe the copies that it lost, and the decisions.

    Raises: VolumeUnavailable when it cannot be read; IndexUnavailable.
    """
    now, lost = datetime.now(UTC), 0
    for series in note_lost(volume, node.holdings, node.copies, now=now):
        node.jobs.owe(JobKind.COPY, now, series=series)
        lost += len(series)
    if lost:
        node.jobs.owe(JobKind.OPERATIONS, now, target=volume.spec.id)
        log.warning("copies lost", volume=volume.spec.name, series=lost)


def note_unknown(node: Node, volume: Volume) -> None:
    """Look whether a volume has studies that are newer than the index, or of its last day, and that it does not know.

    Raises: VolumeUnavailable when it cannot be read; IndexUnavailable.
    """
    now, ledger = datetime.now(UTC), ledger_of(node, node.index)
    newest = ledger.holdings.newest_day()
    # Days to come are those of a clock that was wrong.
    since = None if newest is None else min(newest, now.date())
    volume_ids = [one.spec.id for one in node.volumes()]
    folder = unknown_study(volume, volume_ids, ledger, since=since, now=now)
    if folder is None:
        return
    unknown = UnknownStudy(volume=volume.spec.name, folder=str(folder), noted_at=now)
    if note_unknown_study(node.index, unknown):
        log.warning("study without rows", volume=volume.spec.name, folder=folder, why="pacs doctor says what to do")


def release_what_was_purged(node: Node, volume: Volume, *, goes_on: Callable[[], bool]) -> None:
    """Have the files of purged objects leave a volume on which they stayed, asking before each step whether it
    `goes_on`. Not beside an index that was set back, nor while another volume is away: what came again after it was
    purged may be there, or known there alone.

    Raises: VolumeUnavailable when it cannot be read; NotEnoughCopies; IndexUnavailable.
    """
    volumes, now = node.volumes(), datetime.now(UTC)
    if noted_unknown_study(node.index) is not None or not all(one.state.is_readable for one in volumes):
        return
    for one in volumes:
        learn(one, node.instances.operations, volumes, now=now)
    purged = purged_studies(node.index)
    ledger = ledger_of(node, node.index)
    if purged and (released := release_purged(volume, purged, ledger, now=now, goes_on=goes_on)):
        why = "they were purged while it was not there; they are removed now"
        log.warning("files of purged objects", volume=volume.spec.name, files=released, why=why)


def describe_study(node: Node, study_uid: str, *, goes_on: Callable[[], None]) -> tuple[str, ...]:
    """Have a study say what its objects say that are found; why that has to be tried again.

    Raises: IndexUnavailable.
    """
    return describe_anew(node.anew, study_uid, _heads(node, goes_on))


def sayings_of_study(node: Node, study_uid: str) -> tuple[list[Saying], list[str]]:
    """What the objects of a study say of whose it is, and why others cannot be read now. Raises: IndexUnavailable."""
    return sayings(node.anew, study_uid, _heads(node, lambda: None))


def _heads(node: Node, goes_on: Callable[[], None]) -> Heads:
    return Heads(
        placement=node.placement(), vocabulary=node.vocabulary(), assumed_of=_assumed_of(node), goes_on=goes_on
    )


def ledger_of(node: Node, index: Index) -> Ledger:
    """The rows of an index, for comparing files of this site with them. Who sent an object is not in its file; the
    present index may know. An index that is made beside it owes partners nothing:
    the site compares with them as a whole.
    """
    partners = node.partners_now() if index is node.index else ()
    return Ledger(
        instances=Instances(index),
        holdings=Holdings(index),
        sender_of=node.instances.sender_of,
        assumed_of=_assumed_of(node),
        vocabulary=node.vocabulary(),
        role_beside=lambda held, syntax, copies: role_beside(held, syntax, copies, node.placement()),
        partners=tuple(partner.name for partner in partners if partner.aet),
    )


def _assumed_of(node: Node) -> Callable[[str], tuple[str, str]]:
    @cache
    def assumed_of(sender: str) -> tuple[str, str]:
        origin = node.origin_of(sender)
        return origin.charset, origin.issuer

    return assumed_of
