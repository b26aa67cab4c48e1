"""Writes held objects as files into a folder, byte for byte."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final

from pacs_server.dicom.attributes import UNIQUE_KEY, Level
from pacs_server.dicom.part10 import file_meta
from pacs_server.dicom.queries.matching import Query
from pacs_server.dicom.queries.retrieval import RetrieveRequest
from pacs_server.dicom.stored import data_set_of, holds_object, is_intact
from pacs_server.errors import BadObject, CopyUnreadable, Refused
from pacs_server.index.queries.search import Deliverable, Search
from pacs_server.storage.placement import NamesCopy, Placement

_MAX_NAME_CHARACTERS: Final = 64
_PIECE_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportResult:
    """One object of an export: where it was written, or why not."""

    study_uid: str
    sop_uid: str
    path: Path | None
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where objects come from: the volumes of this moment; the copies that an object has by now, None when those are
    the ones that were known; who is told of each copy that is bad, and why; and who has come what is only with archive
    servers, or tells why it does not.
    """

    placement: Callable[[], Placement]
    moved: Callable[[Deliverable], Deliverable | None]
    on_damage: Callable[[Deliverable, NamesCopy, str], None]
    fetch: Callable[[Sequence[Deliverable]], Iterator[tuple[Deliverable, str]]]


class Folder:
    """A folder to which objects are written as <study>/<series>/<sop>.dcm."""

    def __init__(self, path: Path) -> None:
        """Make it, if it is missing. Raises: Refused when that fails."""
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise Refused(f"{path} cannot be made a folder: {error.strerror}; choose another --to") from error

    def path_for(self, item: Deliverable) -> Path:
        """Where this object is to be written."""
        study, series, sop = (_file_name(uid) for uid in (item.study_uid, item.series_uid, item.sop_uid))
        return self.path / study / series / f"{sop}.dcm"

    def written(self, item: Deliverable, path: Path) -> None:
        """The object is there."""

    def finish(self) -> None:
        """All are there. Raises: OSError when that cannot be noted."""


def export(search: Search, source: Source, query: Query, target: Folder) -> Iterator[ExportResult]:
    """Write every object below what the query finds to its place in `target`; one result for each.

    A file that is already there with the same bytes counts as written; another one is never overwritten.

    Raises: IndexUnavailable.
    """
    for request in _requests(search, query):
        items = search.deliverables(request)
        for item in items:
            if not item.archives:
                yield _export_one(item, source, target)
        for item, problem in source.fetch([item for item in items if item.archives]):
            yield _told(item, None, problem) if problem else _export_one(item, source, target)
    try:
        target.finish()
    except OSError as error:
        yield ExportResult(study_uid="", sop_uid="", path=None, problem=f"{error.filename}: {error.strerror}")


def _requests(search: Search, query: Query) -> Iterator[RetrieveRequest]:
    keys = tuple(UNIQUE_KEY[level] for level in (Level.STUDY, Level.SERIES, Level.IMAGE) if level <= query.level)
    names = ("study_uids", "series_uids", "sop_uids")
    for row in list(search.find(query, keys)):
        uids = {name: (str(uid),) for name, uid in zip(names, row, strict=False)}
        yield RetrieveRequest(level=query.level, **uids)


def _export_one(item: Deliverable, source: Source, target: Folder) -> ExportResult:
    path = target.path_for(item)
    try:
        if path.exists():
            with path.open("rb") as file:
                is_same = is_intact(iter(partial(_next_piece, file), memoryview(b"")), item.digest)
            return _told(item, path, "" if is_same else f"{path} exists with other content and was left as it is")
        try:
            _write(path, item, source)
        except CopyUnreadable:
            if (moved := source.moved(item)) is None or moved.archives:
                raise
            _write(path, moved, source)
        target.written(item, path)
    except (BadObject, CopyUnreadable) as error:
        return _told(item, None, str(error))
    except OSError as error:
        return _told(item, None, f"{path} cannot be written: {error.strerror}")
    return _told(item, path)


def _told(item: Deliverable, path: Path | None, problem: str = "") -> ExportResult:
    written = None if problem else path
    return ExportResult(study_uid=item.study_uid, sop_uid=item.sop_uid, path=written, problem=problem)


def _write(path: Path, item: Deliverable, source: Source) -> None:
    """Write an object from the best copy that is whole. Raises: CopyUnreadable; OSError when it cannot be written."""

    def is_whole(pieces: Iterator[memoryview]) -> bool:
        return holds_object(pieces, item.digest)

    meta = file_meta(sop_class=item.sop_class, sop_instance=item.sop_uid, transfer_syntax=item.transfer_syntax)
    with source.placement().open_whole(item.copies, is_whole, partial(source.on_damage, item)) as copy:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".part")
        try:
            with unfinished.open("w+b") as written:
                written.write(meta)  # that of the copy is no reason not to have the object
                written.writelines(data_set_of(copy.pieces()))
                written.flush()
                os.fsync(written.fileno())
                written.seek(0)
                if not is_intact(iter(partial(_next_piece, written), memoryview(b"")), item.digest):
                    raise OSError(errno.EIO, "what was written is not what is read back")
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)


def _next_piece(file: BinaryIO) -> memoryview:
    return memoryview(file.read(_PIECE_BYTES))


def _file_name(uid: str) -> str:
    """A UID as a name on any file system; malformed ones lose whatever is not a letter, digit or dot."""
    kept = "".join(character if character.isascii() and character.isalnum() else "." for character in uid)
    return kept.strip(".")[:_MAX_NAME_CHARACTERS] or "malformed"
