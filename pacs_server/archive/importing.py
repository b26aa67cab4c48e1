"""Takes files and folders in through the same ingest as the network."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from stat import S_ISREG
from typing import BinaryIO, Final

from pacs_server.archive.ingest import ingest
from pacs_server.archive.reception import Declared, Reception
from pacs_server.dicom.elements import EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE
from pacs_server.dicom.foreign import begun_syntax, identity_of
from pacs_server.dicom.identity import Uid
from pacs_server.dicom.part10 import (
    MAX_FILE_META_BYTES,
    MEDIA_DIRECTORY,
    PREAMBLE_BYTES,
    FileMeta,
    find_file_meta,
    has_preamble,
)
from pacs_server.errors import BadObject
from pacs_server.index.objects import Outcome

_PIECE_BYTES: Final = 1 << 20
_ZIP: Final = b"PK\3\4"
_NAMES: Final = {
    IMPLICIT_LE: "Implicit VR Little Endian",
    EXPLICIT_LE: "Explicit VR Little Endian",
    EXPLICIT_BE: "Explicit VR Big Endian",
}


class ImportOutcome(StrEnum):
    """What became of one file."""

    STORED = "stored"
    DUPLICATE = "already held"
    SKIPPED = "skipped"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportResult:
    """One file of an import; `reason` says why it was skipped or refused, or what is remarkable about it."""

    path: Path
    outcome: ImportOutcome
    reason: str = ""


def import_paths(paths: Iterable[Path], receive: Callable[[Declared], Reception]) -> Iterator[ImportResult]:
    """Import every file below `paths`, in order of names; one result for each, and at the end of a path one for each
    folder below it that cannot be looked into. A path may be a symbolic link: whoever names it means it. Those below
    are not followed.

    Raises: NotEnoughCopies or IndexUnavailable when the archive itself cannot take more; what was reported stays.
    """
    for path in paths:
        closed: list[OSError] = []
        for file in _files_below(path, closed.append):
            yield _import_file(file, receive, may_be_link=file == path)
        yield from (_unread(Path(error.filename), error) for error in closed)


def _files_below(path: Path, on_closed: Callable[[OSError], None]) -> Iterator[Path]:
    if not path.is_dir():
        yield path
        return
    for folder, folders, names in os.walk(path, onerror=on_closed):
        folders.sort()
        links = [name for name in folders if _is_link(Path(folder, name))]  # not gone into, but told of
        for name in sorted([*names, *links]):
            yield Path(folder, name)


def _is_link(path: Path) -> bool:
    with suppress(OSError):
        return path.is_symlink()
    return False  # it cannot be looked at, which is told when it is gone into


def _import_file(path: Path, receive: Callable[[Declared], Reception], *, may_be_link: bool) -> ImportResult:
    try:
        # Not is_file(): from Python 3.14 on it takes what cannot be looked at for no file, which would be passed over.
        status = path.stat(follow_symlinks=may_be_link)
        if not S_ISREG(status.st_mode):
            return ImportResult(path=path, outcome=ImportOutcome.SKIPPED, reason="not a regular file")
        with path.open("rb") as file:
            return _import_open(path, file, receive)
    except BadObject as refusal:
        return ImportResult(path=path, outcome=ImportOutcome.REFUSED, reason=str(refusal))
    except OSError as error:
        return _unread(path, error)


def _unread(path: Path, error: OSError) -> ImportResult:
    return ImportResult(path=path, outcome=ImportOutcome.REFUSED, reason=f"cannot be read: {error.strerror}")


def _import_open(path: Path, file: BinaryIO, receive: Callable[[Declared], Reception]) -> ImportResult:
    prefix = file.read(MAX_FILE_META_BYTES)
    if prefix.startswith(_ZIP) and not has_preamble(prefix):
        return ImportResult(path=path, outcome=ImportOutcome.REFUSED, reason="a ZIP file: unpack it, and import that")
    meta = find_file_meta(prefix)
    if meta.sop_class == MEDIA_DIRECTORY:
        return ImportResult(path=path, outcome=ImportOutcome.SKIPPED, reason="a DICOMDIR, not an object")
    declared = _declared(file, prefix, meta)
    file.seek(meta.data_set_offset)
    reception = receive(declared)
    try:
        for piece in _pieces(file):
            reception.feed(memoryview(piece))
        recorded = ingest(reception)
    finally:
        reception.abandon()
    outcome = ImportOutcome.DUPLICATE if recorded.outcome is Outcome.DUPLICATE else ImportOutcome.STORED
    return ImportResult(path=path, outcome=outcome, reason="; ".join(_remarks(prefix, meta, declared)))


def _declared(file: BinaryIO, prefix: bytes, meta: FileMeta) -> Declared:
    """What object the file holds, by its data set: programs that write new UIDs there leave the old ones in file meta
    information now and then.

    Raises: BadObject.
    """
    syntax = meta.transfer_syntax or begun_syntax(prefix[meta.data_set_offset :])
    file.seek(meta.data_set_offset)
    sop_class, sop_instance = identity_of(_pieces(file), syntax, is_guess=not meta.transfer_syntax)
    return Declared(sop_class=sop_class, sop_instance=Uid(sop_instance), transfer_syntax=syntax)


def _remarks(prefix: bytes, meta: FileMeta, declared: Declared) -> Iterator[str]:
    """What a person should know of how a file was read."""
    if has_preamble(prefix) and any(prefix[:PREAMBLE_BYTES]):
        yield "its preamble was not empty and was left out"
    if not meta.transfer_syntax:
        yield f"no file meta information tells its transfer syntax: it was read as {_NAMES[declared.transfer_syntax]}"
    elif (meta.sop_class, meta.sop_instance) != (declared.sop_class, declared.sop_instance):
        yield "its file meta information names another SOP class or instance than its data set, which was believed"


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    return iter(partial(file.read, _PIECE_BYTES), b"")
