"""What a person asks for from the command line, wired to the use cases that do it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from itertools import groupby
from pathlib import Path, PurePosixPath

from pacs_server.archive.copies import complete
from pacs_server.archive.exporting import ExportResult, export
from pacs_server.archive.importing import ImportResult, import_paths
from pacs_server.archive.ingest import Declared, Origin, Reception, role_beside
from pacs_server.archive.operations import learn
from pacs_server.archive.reconcile import Finding, FindingKind, Ledger, adopt, reconcile
from pacs_server.archive.releasing import put_back_unknown
from pacs_server.archive.scrub import Verified, verify, verify_series
from pacs_server.dicom.attributes import Level
from pacs_server.dicom.matching import column_from_keyword, query_from_keywords
from pacs_server.errors import BadQuery, Refused, UnknownName, VolumeUnavailable
from pacs_server.index.engine import Index
from pacs_server.index.fields import copy_fields
from pacs_server.index.holdings import Holdings, replace_content
from pacs_server.index.instances import Instances
from pacs_server.index.jobs import JobKind
from pacs_server.index.operations import copy_decisions
from pacs_server.index.schema import open_current, upgrade
from pacs_server.service.assemble import Node
from pacs_server.storage.layout import FoundFile
from pacs_server.storage.volume import Volume

_IMPORTER = "IMPORT"


def import_files(node: Node, paths: Iterable[Path]) -> Iterator[ImportResult]:
    """Take in every file below `paths`; one result for each.

    Raises: NotEnoughCopies or IndexUnavailable when the archive cannot take more.
    """
    origin = Origin(aet=_IMPORTER, charset=node.settings.default_charset, issuer=node.settings.default_issuer)

    def receive(declared: Declared) -> Reception:
        return node.reception(declared, origin)

    return import_paths(paths, receive)


def export_files(node: Node, keys: Mapping[str, str], target: Path) -> Iterator[ExportResult]:
    """Write what the keys select to files below `target`, whole studies unless a key is of a lower level.

    Raises: BadQuery when there is no key or one is unknown; Refused when `target` cannot be written.
    """
    if not keys:
        raise BadQuery("an export needs at least one KEY=VALUE, for instance PatientID=1234")
    vocabulary = node.vocabulary()
    query = query_from_keywords(Level.STUDY, keys, vocabulary)  # refuses keys that nobody knows
    level = max([Level.STUDY, *(column_from_keyword(key, vocabulary).level for key in keys)])
    query = replace(query, level=level)
    return export(node.search, node.placement(), query, target)


def reconcile_volumes(node: Node, *, since: date | None, repair: bool) -> Iterator[Finding]:
    """Compare every volume that is online with the index.

    Raises: Refused when a volume is not online, because its files cannot be told from missing ones.
    """
    now = datetime.now(UTC)
    for volume in _online(node):
        learn(volume, node.instances.operations, now=now)
        if repair:
            put_back_unknown(volume, node.holdings)
        yield from reconcile(volume, _ledger(node, node.index), node.placement(), since=since, repair=repair, now=now)
    if repair:
        node.jobs.owe(JobKind.SURVEY, now)  # what was adopted or forgotten may lack copies


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedCopy:
    """One copy that was verified, or a volume that could not be. `result` is good, repaired, damaged or not read."""

    volume: str
    result: str
    path: str = ""
    detail: str = ""
    size_bytes: int = 0


def verify_volumes(node: Node, names: Sequence[str], *, bytes_per_s: float | None) -> Iterator[VerifiedCopy]:
    """Read every copy on these volumes, or on all, and repair what is damaged from good copies.

    A round that was broken off goes on with what it had not read.

    Raises: UnknownName when there is no volume of a name; IndexUnavailable.
    """
    volumes = {volume.spec.name: volume for volume in node.volumes()}
    if unknown := [name for name in names if name not in volumes]:
        raise UnknownName(f"no volume has the name {unknown[0]}; pacs storage list shows those there are")
    yield from _repaired_before(node, volumes)
    for name in names or sorted(volumes):
        volume = volumes[name]
        if not volume.check().is_readable:
            yield VerifiedCopy(volume=name, result="not read", detail=volume.state.reason)
            continue
        began = node.copies.verification_began(volume.spec.id, datetime.now(UTC))
        try:
            for one in verify(volume, node.copies, before=began, clock=lambda: datetime.now(UTC)):
                yield _told(node, volume, one)
                if bytes_per_s:
                    time.sleep(one.size_bytes / bytes_per_s)
        except VolumeUnavailable as error:
            yield VerifiedCopy(volume=name, result="not read", detail=str(error))
            continue
        node.copies.verification_ended(volume.spec.id)


def _repaired_before(node: Node, volumes: Mapping[str, Volume]) -> Iterator[VerifiedCopy]:
    """What was found damaged earlier is tried once more; it does not come up in the reading of good copies."""
    names = {volume.spec.id: name for name, volume in volumes.items()}
    for study_uid, series_uid in node.copies.with_damage():
        problems = verify_series(study_uid, series_uid, node.copies, node.placement, now=datetime.now(UTC))
        for held in node.copies.of_series(study_uid, series_uid):
            for copy in held.copies:
                if copy.damage:
                    detail = "; ".join([copy.damage, *problems])
                    volume = names.get(copy.volume_id, copy.volume_id)
                    yield VerifiedCopy(volume=volume, result="damaged", path=copy.path, detail=detail)


def _told(node: Node, volume: Volume, one: Verified) -> VerifiedCopy:
    name = volume.spec.name
    if not one.damage:
        return VerifiedCopy(volume=name, result="good", path=one.path, size_bytes=one.size_bytes)
    objects = node.copies.of_series(one.study_uid, one.series_uid)
    done = complete(objects, node.copies, node.placement, now=datetime.now(UTC))
    after = node.copies.of_series(one.study_uid, one.series_uid)
    is_left = any(
        copy.damage
        for held in after
        for copy in held.copies
        if (copy.volume_id, copy.path) == (volume.spec.id, one.path)
    )
    detail = "; ".join([one.damage, *done.problems]) if is_left else one.damage
    return VerifiedCopy(volume=name, result="damaged" if is_left else "repaired", path=one.path, detail=detail)


def rebuild_index(node: Node) -> Iterator[Finding]:
    """Make the content of the index anew from the files of all volumes, beside the present one, then swap them.

    Interrupted, it goes on where it was when it is called again. What arrives meanwhile is kept.

    Raises: Refused when a volume is not online; IndexUnavailable.
    """
    path = node.settings.data_dir / "rebuild.db"
    url = f"sqlite:///{path}"
    upgrade(url)
    with closing(open_current(url)) as beside:
        copy_fields(node.index, beside)
        ledger, placement = _ledger(node, beside), node.placement()
        volumes = {volume.spec.id: volume for volume in _online(node)}
        for volume in volumes.values():
            learn(volume, node.instances.operations, now=datetime.now(UTC))
        copy_decisions(node.index, beside)
        for volume in volumes.values():
            put_back_unknown(volume, node.holdings)
            for file in _as_received(volume):
                if not ledger.holdings.holds(volume.spec.id, str(file.path)):
                    finding = adopt(volume, file, ledger, placement)
                    if finding.kind is FindingKind.PURGED:
                        node.holdings.release(volume.spec.id, finding.path, datetime.now(UTC))
                    if finding.kind is not FindingKind.ADOPTED:
                        yield finding

        missed: list[Finding] = []

        def catch_up(volume_id: str, path: str) -> None:
            if volume_id in volumes:
                file = _just_received(PurePosixPath(path))
                missed.append(adopt(volumes[volume_id], file, ledger, placement))

        replace_content(node.index, beside, catch_up, datetime.now(UTC))
    yield from (finding for finding in missed if finding.kind is not FindingKind.ADOPTED)
    for leftover in path.parent.glob(path.name + "*"):
        leftover.unlink()
    node.jobs.owe(JobKind.SURVEY, datetime.now(UTC))


def _as_received(volume: Volume) -> Iterator[FoundFile]:
    """The files of a volume, those of a day in the order in which they came: the first of a patient or study counts."""
    for _, files in groupby(volume.walk(None), key=lambda file: file.day):
        yield from sorted(files, key=lambda file: file.modified)


def _just_received(path: PurePosixPath) -> FoundFile:
    year, month, day = (int(part) for part in path.parts[1:4])
    return FoundFile(path=path, day=date(year, month, day), size_bytes=0, modified=datetime.now(UTC))


def _online(node: Node) -> list[Volume]:
    volumes = node.volumes()
    for volume in volumes:
        state = volume.check()
        if not state.is_readable:
            raise Refused(
                f"volume {volume.spec.name} is {state.status} ({state.reason}); bring it back first, "
                "because its files cannot be told from missing ones"
            )
    return volumes


def _ledger(node: Node, index: Index) -> Ledger:
    placement = node.placement()
    return Ledger(
        instances=Instances(index),
        holdings=Holdings(index),
        default_issuer=node.settings.default_issuer,
        default_charset=node.settings.default_charset,
        vocabulary=node.vocabulary(),
        role_beside=lambda held, syntax, copies: role_beside(held, syntax, copies, placement),
    )
