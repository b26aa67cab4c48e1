"""What a person asks for from the command line, wired to the use cases that do it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from pacs_server.archive.copies import complete
from pacs_server.archive.exporting import ExportResult, Folder, Source, export
from pacs_server.archive.file_set import FileSet
from pacs_server.archive.importing import ImportResult, import_paths
from pacs_server.archive.lookup import moved_copies
from pacs_server.archive.reception import Declared, Origin, Reception
from pacs_server.archive.scrub import Verified, verify, verify_series
from pacs_server.dicom.attributes import Level
from pacs_server.dicom.audit import Actor, Event, EventKind, digest_over
from pacs_server.dicom.queries.matching import column_from_keyword, query_from_keywords
from pacs_server.errors import BadQuery, UnknownName, VolumeUnavailable
from pacs_server.index.queries.search import Deliverable
from pacs_server.service.assemble import Node
from pacs_server.service.peers.fetching import fetch_back
from pacs_server.service.person import this_person
from pacs_server.storage.volume import Volume

IMPORTER = "IMPORT"
# Objects of an import that are held before are written down after so many files.
_NOTED_AT_ONCE = 1_000


def import_files(node: Node, paths: Iterable[Path]) -> Iterator[ImportResult]:
    """Take in every file below `paths`; one result for each.

    Raises: NotEnoughCopies or IndexUnavailable when the archive cannot take more.
    """
    origin = Origin(
        aet=IMPORTER,
        charset=node.settings.default_charset,
        issuer=node.settings.default_issuer,
        actor=Actor(who=this_person()),
    )

    def receive(declared: Declared) -> Reception:
        return node.reception(declared, origin)

    for number, result in enumerate(import_paths(paths, receive)):
        yield result
        if (number + 1) % _NOTED_AT_ONCE == 0:
            node.audit.write_down()


def export_files(
    node: Node, keys: Mapping[str, str], target: Path, *, as_medium: bool = False
) -> Iterator[ExportResult]:
    """Write what the keys select to files below `target`, whole studies unless a key is of a lower level; `as_medium`
    under names of eight characters, with a DICOMDIR.

    Raises: BadQuery when there is no key or one is unknown; Refused when `target` cannot be written.
    """
    if not keys:
        raise BadQuery("an export needs at least one KEY=VALUE, for instance PatientID=1234")
    vocabulary = node.vocabulary()
    query = query_from_keywords(Level.STUDY, keys, vocabulary)  # refuses keys that nobody knows
    level = max([Level.STUDY, *(column_from_keyword(key, vocabulary).level for key in keys)])
    query = replace(query, level=level)
    source = Source(
        placement=node.placement,
        moved=partial(moved_copies, node.search),
        on_damage=node.note_damage,
        fetch=lambda items: fetch_back(node, items, lambda: False),
    )
    node.audit.tell_command()
    folder = FileSet(target, partial(_assumed_of, node)) if as_medium else Folder(target)
    written: dict[str, list[str]] = {}
    try:
        for result in export(node.search, source, query, folder):
            if result.path is not None:
                written.setdefault(result.study_uid, []).append(result.sop_uid)
            yield result
    finally:
        for study_uid, sop_uids in written.items():
            node.index.trail.note(_exported(study_uid, sop_uids, target))


def _assumed_of(node: Node, item: Deliverable) -> tuple[str, str]:
    origin = node.origin_of(node.instances.sender_of(item.sop_uid, item.digest))
    return origin.charset, origin.issuer


def _exported(study_uid: str, sop_uids: Sequence[str], target: Path) -> Event:
    return Event(
        kind=EventKind.EXPORT,
        at=datetime.now(UTC),
        who=this_person(),
        study_uid=study_uid,
        count=len(sop_uids),
        uid_digest=digest_over(sop_uids),
        target=str(target),
    )


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
    for name in dict.fromkeys(names or sorted(volumes)):
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
                    detail = "; ".join([copy.damage, *problems.get(held.row, ())])
                    volume = names.get(copy.volume_id, copy.volume_id)
                    yield VerifiedCopy(volume=volume, result="damaged", path=copy.path, detail=detail)


def _told(node: Node, volume: Volume, one: Verified) -> VerifiedCopy:
    name, place = volume.spec.name, (volume.spec.id, one.path)
    if not one.damage:
        return VerifiedCopy(volume=name, result="good", path=one.path, size_bytes=one.size_bytes)
    # The object alone: of a series that is lost as a whole, all of it would be looked up for each of its objects.
    done = complete(node.copies.at(*place), node.copies, node.placement, now=datetime.now(UTC))
    after = node.copies.at(*place)
    is_left = any(copy.damage for held in after for copy in held.copies if (copy.volume_id, copy.path) == place)
    detail = "; ".join([one.damage, *done.problems.values()]) if is_left else one.damage
    return VerifiedCopy(volume=name, result="damaged" if is_left else "repaired", path=one.path, detail=detail)
