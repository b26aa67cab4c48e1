"""A stored file seen as pieces of bytes: its meta information, and whether it is still what was received."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain

from pacs_server.dicom.elements import Buffer
from pacs_server.dicom.identity import Digest, ObjectHasher
from pacs_server.dicom.part10 import FileMeta, read_file_meta
from pacs_server.errors import Undecodable


def data_set_of(pieces: Iterator[memoryview]) -> Iterator[memoryview]:
    """The data set of a file that comes in pieces, the first at least 64 KiB or the whole meta information.

    Raises: Undecodable when it does not begin as one.
    """
    first = next(pieces)
    return chain((first[read_file_meta(first).data_set_offset :],), pieces)


class FileHasher:
    """The digest of a DICOM file that comes in pieces, the first at least 64 KiB or the whole meta information."""

    def __init__(self) -> None:
        self._meta: FileMeta | None = None
        self._hasher: ObjectHasher | None = None

    def update(self, piece: Buffer) -> None:
        """Add the next bytes of the file. Raises: Undecodable when it does not begin as one."""
        if self._hasher is None:
            self._meta = read_file_meta(piece)
            self._hasher = ObjectHasher(self._meta.transfer_syntax)
            piece = memoryview(piece)[self._meta.data_set_offset :]
        self._hasher.update(piece)

    @property
    def meta(self) -> FileMeta:
        """The meta information. Raises: Undecodable when there was no piece."""
        if self._meta is None:
            raise Undecodable("the file is empty")
        return self._meta

    def digest(self) -> Digest:
        """The digest of everything added so far. Raises: Undecodable when there was no piece."""
        if self._hasher is None:
            raise Undecodable("the file is empty")
        return self._hasher.digest()


def digest_of_file(pieces: Iterable[memoryview]) -> tuple[FileMeta, Digest]:
    """The meta information and the digest of a DICOM file that comes in pieces, the first at least 64 KiB or all of it.

    Raises: Undecodable when it is not a DICOM file.
    """
    hasher = FileHasher()
    for piece in pieces:
        hasher.update(piece)
    return hasher.meta, hasher.digest()


def is_intact(pieces: Iterable[memoryview], digest: str) -> bool:
    """Whether a file still holds the object of that digest."""
    try:
        return digest_of_file(pieces)[1] == digest
    except Undecodable:
        return False
