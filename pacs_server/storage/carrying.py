"""Carries an object from where it lies to where it is wanted; what arrives is what was received, or nothing does."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath

from pacs_server.dicom.stored import is_intact
from pacs_server.errors import CopyUnreadable, VolumeUnavailable
from pacs_server.storage.placement import NamesCopy, Placement
from pacs_server.storage.streaming import ObjectStream
from pacs_server.storage.writing import CopyPlace


class Result(StrEnum):
    """What became of an object that was to be somewhere."""

    PRESENT = "present"  # it was there
    COPIED = "copied"
    MISSING = "missing"  # no copy of it can be read
    REMOVED = "removed"  # it was destroyed meanwhile, as somebody decided


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """One such object; `size_bytes` is that of its file, `detail` says why it is missing."""

    sop_uid: str
    path: str
    size_bytes: int
    result: Result
    detail: str = ""


def carry(
    path: PurePosixPath, digest: str, copies: Iterable[NamesCopy], source: Placement, target: Placement
) -> tuple[CopyPlace, ...]:
    """Write the object of this digest to `path` on volumes of `target`, from the first of its copies that is whole.

    It is read once: the bytes that are written are those that are compared, and only then get their final name.

    Raises: CopyUnreadable when no copy is whole; the message says why, copy by copy; NotEnoughCopies.
    """
    problems: list[str] = []
    for copy in source.read_order(copies):
        stream = target.stream(path.parent)
        try:
            with source.open((copy,)) as opened:
                if is_intact(_passing(opened.pieces(), stream), digest):
                    return stream.finish(path)
            problems.append(f"{copy.path} is not what was received")
        except (CopyUnreadable, VolumeUnavailable) as error:
            problems.append(str(error))
        finally:
            stream.abandon()
    raise CopyUnreadable("; ".join(problems) or "no copy of it is on a volume of this site")


def _passing(pieces: Iterable[memoryview], stream: ObjectStream) -> Iterator[memoryview]:
    for piece in pieces:
        stream.write(piece)
        yield piece
