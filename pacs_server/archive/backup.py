"""Backs the archive up while it serves: its index as at one moment, its settings, a manifest, and, when wanted, every
object that the directory does not have yet. And reads such a backup again, to see whether it is whole.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Final

from pacs_server import this_release
from pacs_server.archive.copies import damage_of
from pacs_server.dicom.identity import Digest, Uid
from pacs_server.dicom.part10 import file_meta
from pacs_server.errors import CopyUnreadable, Undecodable, VolumeUnavailable
from pacs_server.index.copies import Copies
from pacs_server.index.engine import Index
from pacs_server.index.maintenance.schema import head
from pacs_server.index.maintenance.snapshot import HeldObject, held_objects, problem_of, row_counts, sqlite_url
from pacs_server.index.operations import Operations
from pacs_server.storage.backup import (
    INDEX,
    MANIFEST,
    SETTINGS,
    SUMMARY,
    BackupDirectory,
    Listed,
    Summary,
    manifest_lines,
    part,
    tls_name,
)
from pacs_server.storage.carrying import Carried, Result, carry
from pacs_server.storage.layout import object_path
from pacs_server.storage.operations import keep
from pacs_server.storage.placement import Placement

_PIECE_BYTES: Final = 1 << 20
_LOOK_AFTER: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What is backed up: a snapshot of the index, the settings file, certificates and keys by their file names, and
    where the objects are now.
    """

    snapshot: Path
    settings: bytes
    certificates: Mapping[str, bytes]
    taken_at: datetime
    copies: Copies
    placement: Callable[[], Placement]


def back_up(material: Material, directory: BackupDirectory, stamp: str, *, with_objects: bool) -> Iterator[Carried]:
    """Write a run to a directory; with objects, one result for each object of the snapshot.

    The run counts once its last file is there, whole. Broken off anywhere, another run goes on with the objects.

    Raises: NotEnoughCopies when the directory takes no more; VolumeUnavailable; IndexUnavailable.
    """
    # Before the file is opened as a database, because that changes it.
    digests = {INDEX: directory.put(part(stamp, INDEX), _pieces(material.snapshot))}
    digests[SETTINGS] = directory.put(part(stamp, SETTINGS), [material.settings])
    for name, content in material.certificates.items():
        digests[tls_name(name)] = directory.put_secret(part(stamp, tls_name(name)), content)
    missing_count = 0
    with closing(Index.open(sqlite_url(material.snapshot))) as index:
        tally = _Tally()
        lines = manifest_lines(map(tally.count, map(_listed, _held_here(index))))
        digests[MANIFEST] = directory.put(part(stamp, MANIFEST), lines)
        _keep_operations(Operations(index), directory)
        if with_objects:
            for one in _carry_all(_held_here(index), material, directory):
                missing_count += one.result is Result.MISSING
                yield one
        summary = Summary(
            stamp=stamp,
            taken_at=material.taken_at,
            release=this_release(),
            schema=head(),
            counts=row_counts(index),
            size_bytes=tally.size_bytes,
            digests=digests,
            with_objects=with_objects,
            missing_count=missing_count,
        )
    directory.put(part(stamp, SUMMARY), [summary.to_json()])


def _held_here(index: Index) -> Iterator[HeldObject]:
    """What an archive server keeps in our stead is not part of a backup, but for its rows and its operation."""
    return (one for one in held_objects(index) if not one.is_elsewhere)


class _Tally:
    def __init__(self) -> None:
        self.size_bytes = 0

    def count(self, one: Listed) -> Listed:
        self.size_bytes += one.size_bytes
        return one


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(_PIECE_BYTES):
            yield piece


def _listed(held: HeldObject) -> Listed:
    meta = file_meta(sop_class=held.sop_class, sop_instance=held.sop_uid, transfer_syntax=held.transfer_syntax)
    path = object_path(held.day, held.study_uid, held.series_uid, Uid(held.sop_uid), Digest(held.digest))
    return Listed(
        sop_uid=held.sop_uid,
        digest=held.digest,
        size_bytes=len(meta) + held.size_bytes,
        path=held.copies[0].path if held.copies else str(path),
    )


def _keep_operations(operations: Operations, directory: BackupDirectory) -> None:
    there = dict(directory.volume.operation_files())
    for stamp in sorted(operations.stamps() - there.keys()):
        keep(operations.one(stamp), directory.volume)


def _carry_all(objects: Iterable[HeldObject], material: Material, directory: BackupDirectory) -> Iterator[Carried]:
    suspects = _suspects(directory)
    for number, held in enumerate(objects, 1):
        if number % _LOOK_AFTER == 0:
            directory.volume.check()  # whether it has room is only known when it is looked at
        yield _carry_one(held, material, directory, suspects)


def _suspects(directory: BackupDirectory) -> set[str]:
    """The objects that were found damaged in the directory when some run was verified."""
    found: set[str] = set()
    for stamp in directory.stamps():
        try:
            summary = directory.summary(stamp)
        except (Undecodable, CopyUnreadable):
            continue
        found.update(summary.damaged if summary else ())
    return found


def _carry_one(held: HeldObject, material: Material, directory: BackupDirectory, suspects: Collection[str]) -> Carried:
    listed = _listed(held)
    path = PurePosixPath(listed.path)
    told = Carried(sop_uid=held.sop_uid, path=listed.path, size_bytes=listed.size_bytes, result=Result.PRESENT)
    if directory.volume.has_file(path, listed.size_bytes):
        if listed.path not in suspects or not damage_of(directory.volume, listed.path, held.digest):
            return told
        directory.volume.put_aside(path)
    try:
        carry(path, held.digest, held.copies, material.placement(), directory.placement)
    except CopyUnreadable as error:
        # It may have been moved, or destroyed as somebody decided, since the snapshot was taken.
        now = [one for one in material.copies.of_objects([held.sop_uid]) if one.digest == held.digest]
        if not now:
            return replace(told, result=Result.REMOVED)
        try:
            carry(path, held.digest, now[0].copies, material.placement(), directory.placement)
        except CopyUnreadable:
            return replace(told, result=Result.MISSING, detail=str(error))
    return replace(told, result=Result.COPIED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """One file of a backup that was read; `damage` says what is wrong with it, empty when nothing is."""

    path: str
    size_bytes: int = 0
    damage: str = ""


def check(directory: BackupDirectory, summary: Summary) -> Iterator[Checked]:
    """Read everything that a run consists of, with its objects if it was made with them; one result for each file.

    Raises: VolumeUnavailable when the directory goes away meanwhile.
    """
    parts = [_check_part(directory, part(summary.stamp, name), digest) for name, digest in summary.digests.items()]
    index = part(summary.stamp, INDEX)
    for one in parts:
        if one.path == str(index) and not one.damage:
            one = replace(one, damage=problem_of(directory.path / index, summary.schema))
        yield one
    if summary.with_objects and not any(one.damage for one in parts if one.path.endswith(MANIFEST)):
        for listed in directory.listed(summary.stamp):
            damage = damage_of(directory.volume, listed.path, listed.digest)
            yield Checked(path=listed.path, size_bytes=listed.size_bytes, damage=damage)


def _check_part(directory: BackupDirectory, path: PurePosixPath, digest: str) -> Checked:
    try:
        damage = "" if directory.digest_of(path) == digest else "it is not what was backed up"
    except (CopyUnreadable, VolumeUnavailable) as error:
        if not directory.volume.check().is_readable:
            raise
        damage = str(error)
    return Checked(path=str(path), damage=damage)


def note_check(directory: BackupDirectory, summary: Summary, damaged: Collection[str], *, now: datetime) -> None:
    """Write down in the run that it was read, and which of its files are damaged.

    Raises: NotEnoughCopies when nothing can be written there.
    """
    noted = replace(summary, damaged=sorted(damaged), verified_at=None if damaged else now)
    directory.put(part(summary.stamp, SUMMARY), [noted.to_json()])
