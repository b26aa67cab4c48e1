"""Where an object lives on a volume: `v1/YYYY/MM/DD/<study>/<series>/<sop>-<first 16 hex of digest>.dcm`.

A person can find a study with `find` when every database is gone. Nothing else from a peer becomes part of a path.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Final, TypeAlias

import blake3

from pacs_server.dicom.identity import Digest, Uid, is_uid

ROOT: Final = PurePosixPath("v1")
# Damaged files, under the path that they had.
QUARANTINE: Final = PurePosixPath("quarantine")
# Files that are copies no more, under the path that they had, for the moment before they are removed.
LEAVING: Final = PurePosixPath("leaving")
# A file of this name that was not written to for so long belongs to a process that is gone.
LITTER_AFTER: Final = timedelta(hours=1)

_TEMPORARY_SUFFIX: Final = ".tmp"
_TOP: Final = PurePosixPath()
_SERIES_DEPTH: Final = 6
_OBJECT_SUFFIX: Final = ".dcm"
_OPERATIONS: Final = ROOT / "ops"
_CHECKPOINTS: Final = ROOT / "audit"
_RECORD_NAME: Final = re.compile(r"([0-9A-Za-z]+)-([0-9]{1,19})\.json")
_YEAR: Final = re.compile(r"[0-9]{4}")
_TWO_DIGITS: Final = re.compile(r"[0-9]{2}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One name in a directory of a volume; links and other special files are neither file nor directory."""

    name: str
    is_directory: bool
    is_file: bool
    size_bytes: int
    modified: datetime


# Lists a directory, given relative to the root of a volume; one that does not exist has no entries.
Lister: TypeAlias = Callable[[PurePosixPath], Sequence[Entry]]


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundFile:
    """One object's file as found on a volume; `path` is relative to its root, `day` the one in that path."""

    path: PurePosixPath
    day: date
    size_bytes: int
    modified: datetime


def day_directory(day: date) -> PurePosixPath:
    """The directory of the studies that began to arrive on a day, relative to the root of any volume."""
    return ROOT / f"{day.year:04}/{day.month:02}/{day.day:02}"


@lru_cache(maxsize=256)
def series_directory(day: date, study_uid: str, series_uid: str) -> PurePosixPath:
    """The directory of a series, relative to the root of any volume."""
    return day_directory(day) / _component(study_uid) / _component(series_uid)


def object_path(day: date, study_uid: str, series_uid: str, sop_uid: Uid, digest: Digest) -> PurePosixPath:
    """The path of an object; equal objects have equal paths, different ones never meet."""
    return series_directory(day, study_uid, series_uid) / f"{Uid(sop_uid)}{file_name_end(digest)}"


def operation_path(site_id: str, counter: int, at: datetime) -> PurePosixPath:
    """The path of an operation, relative to the root of any volume."""
    return _OPERATIONS / f"{at.year:04}/{at.month:02}/{site_id}-{counter:012}.json"


def operation_files(entries_of: Lister) -> Iterator[tuple[tuple[int, str], PurePosixPath]]:
    """Every operation's file of a volume, with the counter and the site in its name.

    Raises: what `entries_of` raises.
    """
    yield from _record_files(entries_of, _OPERATIONS)


def checkpoint_path(series: str, number: int, at: datetime) -> PurePosixPath:
    """The path of a checkpoint of the audit trail, relative to the root of any volume."""
    return _CHECKPOINTS / f"{at.year:04}/{at.month:02}/{series}-{number:06}.json"


def checkpoint_files(entries_of: Lister) -> Iterator[tuple[tuple[int, str], PurePosixPath]]:
    """Every checkpoint's file of a volume, with the number and the series in its name.

    Raises: what `entries_of` raises.
    """
    yield from _record_files(entries_of, _CHECKPOINTS)


def _record_files(entries_of: Lister, top: PurePosixPath) -> Iterator[tuple[tuple[int, str], PurePosixPath]]:
    for month in _months(entries_of, top):
        for entry in _sorted(entries_of(month)):
            if entry.is_file and (name := _RECORD_NAME.fullmatch(entry.name)):
                yield (int(name[2]), name[1]), month / entry.name


def _months(entries_of: Lister, top: PurePosixPath) -> Iterator[PurePosixPath]:
    for year in _directories(entries_of, top, _YEAR):
        yield from _directories(entries_of, year, _TWO_DIGITS)


def object_in_name(path: PurePosixPath) -> tuple[str, str]:
    """The SOP Instance UID and the first 16 characters of the digest in the name of an object's file."""
    sop_uid, _, digest = path.name.removesuffix(_OBJECT_SUFFIX).rpartition("-")
    return sop_uid, digest


def file_name_end(digest: Digest) -> str:
    """How the file name of an object with this digest ends."""
    return f"-{digest[:16]}{_OBJECT_SUFFIX}"


def temporary_name() -> str:
    """A name for an unfinished file that no other one has."""
    return f".{secrets.token_hex(8)}{_TEMPORARY_SUFFIX}"


def is_temporary(name: str) -> bool:
    """Whether a file of this name is unfinished, or was when its process died."""
    return name.startswith(".") and name.endswith(_TEMPORARY_SUFFIX)


def _component(uid: str) -> str:
    if is_uid(uid):
        return uid
    return "h-" + blake3.blake3(uid.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def walk(
    entries_of: Lister, since: date | None = None, study_uids: Collection[str] | None = None
) -> Iterator[FoundFile]:
    """Every object's file of a volume in order of days, of `since` and later, and of these studies if they are given.
    Links are not followed.

    Raises: what `entries_of` raises, so that a directory that cannot be read never looks like an empty one.
    """
    names = None if study_uids is None else {_component(uid) for uid in study_uids}
    for day, folder in _days(entries_of, since):
        for series in _series_below(entries_of, folder, names):
            for entry in _sorted(entries_of(series)):
                if entry.is_file and entry.name.endswith(_OBJECT_SUFFIX) and not entry.name.startswith("."):
                    path = series / entry.name
                    yield FoundFile(path=path, day=day, size_bytes=entry.size_bytes, modified=entry.modified)


def litter(entries_of: Lister, now: datetime, below: PurePosixPath = _TOP) -> Iterator[PurePosixPath]:
    """The unfinished files that nobody has written to for an hour."""
    for entry in _sorted(entries_of(below)):
        path = below / entry.name
        if entry.is_file and is_temporary(entry.name) and now - entry.modified > LITTER_AFTER:
            yield path
        elif entry.is_directory and path.parts[:1] == ROOT.parts and len(path.parts) <= _SERIES_DEPTH:
            yield from litter(entries_of, now, path)


def _days(entries_of: Lister, since: date | None) -> Iterator[tuple[date, PurePosixPath]]:
    for year in _directories(entries_of, ROOT, _YEAR):
        for month in _directories(entries_of, year, _TWO_DIGITS):
            for folder in _directories(entries_of, month, _TWO_DIGITS):
                try:
                    day = date(int(year.name), int(month.name), int(folder.name))
                except ValueError:
                    continue  # there is no such day, so it is none of ours
                if since is None or day >= since:
                    yield day, folder


def _series_below(entries_of: Lister, day: PurePosixPath, names: Collection[str] | None) -> Iterator[PurePosixPath]:
    for study in _directories(entries_of, day):
        if names is None or study.name in names:
            yield from _directories(entries_of, study)


def _directories(
    entries_of: Lister, parent: PurePosixPath, form: re.Pattern[str] | None = None
) -> Iterator[PurePosixPath]:
    for entry in _sorted(entries_of(parent)):
        if entry.is_directory and (form is None or form.fullmatch(entry.name)):
            yield parent / entry.name


def _sorted(entries: Sequence[Entry]) -> list[Entry]:
    return sorted(entries, key=lambda entry: entry.name)
