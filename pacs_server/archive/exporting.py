"""Writes held objects as files into a folder, byte for byte."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final

from pacs_server.dicom.attributes import UNIQUE_KEY, Level
from pacs_server.dicom.matching import Query
from pacs_server.dicom.retrieval import RetrieveRequest
from pacs_server.dicom.stored import is_intact
from pacs_server.errors import CopyUnreadable, Refused, VolumeUnavailable
from pacs_server.index.search import Deliverable, Search
from pacs_server.storage.placement import Placement

_MAX_NAME_CHARACTERS: Final = 64
_PIECE_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportResult:
    """One object of an export: where it was written, or why not."""

    study_uid: str
    sop_uid: str
    path: Path | None
    problem: str = ""


def export(
    search: Search,
    placement: Placement,
    query: Query,
    target: Path,
    *,
    fetch: Callable[[Sequence[Deliverable]], Iterator[tuple[Deliverable, str]]],
) -> Iterator[ExportResult]:
    """Write every object below what the query finds to `target`/<study>/<series>/<sop>.dcm; one result for each.

    A file that is already there with the same bytes counts as written; another one is never overwritten. `fetch` has
    come what is only with archive servers, or tells why it does not.

    Raises: Refused when `target` is not a folder that can be written; IndexUnavailable.
    """
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Refused(f"{target} cannot be made a folder: {error.strerror}; choose another --to") from error
    for request in _requests(search, query):
        items = search.deliverables(request)
        for item in items:
            if not item.archives:
                yield _export_one(item, placement, target)
        for item, problem in fetch([item for item in items if item.archives]):
            if problem:
                yield ExportResult(study_uid=item.study_uid, sop_uid=item.sop_uid, path=None, problem=problem)
            else:
                yield _export_one(item, placement, target)


def _requests(search: Search, query: Query) -> Iterator[RetrieveRequest]:
    keys = tuple(UNIQUE_KEY[level] for level in (Level.STUDY, Level.SERIES, Level.IMAGE) if level <= query.level)
    names = ("study_uids", "series_uids", "sop_uids")
    for row in list(search.find(query, keys)):
        uids = {name: (str(uid),) for name, uid in zip(names, row, strict=False)}
        yield RetrieveRequest(level=query.level, **uids)


def _export_one(item: Deliverable, placement: Placement, target: Path) -> ExportResult:
    study, series, sop = (_file_name(uid) for uid in (item.study_uid, item.series_uid, item.sop_uid))
    path = target / study / series / f"{sop}.dcm"

    def told(path: Path | None, problem: str = "") -> ExportResult:
        return ExportResult(study_uid=item.study_uid, sop_uid=item.sop_uid, path=path, problem=problem)

    try:
        with placement.open(item.copies) as copy:
            if path.exists():
                with path.open("rb") as file:
                    same = is_intact(iter(partial(_next_piece, file), memoryview(b"")), item.digest)
                problem = "" if same else f"{path} exists with other content and was left as it is"
                return told(path if same else None, problem)
            path.parent.mkdir(parents=True, exist_ok=True)
            unfinished = path.with_suffix(".part")
            with unfinished.open("w+b") as written:
                written.writelines(copy.pieces())
                written.flush()
                os.fsync(written.fileno())
                written.seek(0)
                if not is_intact(iter(partial(_next_piece, written), memoryview(b"")), item.digest):
                    unfinished.unlink()
                    return told(None, "its copy is damaged")
            unfinished.replace(path)
    except (CopyUnreadable, VolumeUnavailable) as error:
        return told(None, str(error))
    except OSError as error:
        return told(None, f"{path} cannot be written: {error.strerror}")
    return told(path)


def _next_piece(file: BinaryIO) -> memoryview:
    return memoryview(file.read(_PIECE_BYTES))


def _file_name(uid: str) -> str:
    """A UID as a name on any file system; malformed ones lose whatever is not a letter, digit or dot."""
    kept = "".join(character if character.isascii() and character.isalnum() else "." for character in uid)
    return kept.strip(".")[:_MAX_NAME_CHARACTERS] or "malformed"
