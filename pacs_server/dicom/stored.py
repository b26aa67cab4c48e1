"""A stored file seen as pieces of bytes: its meta information, and whether it is still what was received."""

from __future__ import annotations

from collections.abc import Iterable

from pacs_server.dicom.identity import Digest, ObjectHasher
from pacs_server.dicom.part10 import FileMeta, read_file_meta
from pacs_server.errors import Undecodable


def digest_of_file(pieces: Iterable[memoryview]) -> tuple[FileMeta, Digest]:
    """The meta information and the digest of a DICOM file that comes in pieces, the first at least 64 KiB or all of it.

    Raises: Undecodable when it is not a DICOM file.
    """
    hasher: ObjectHasher | None = None
    for piece in pieces:
        if hasher is None:
            meta = read_file_meta(piece)
            hasher = ObjectHasher(meta.transfer_syntax)
            piece = piece[meta.data_set_offset :]
        hasher.update(piece)
    if hasher is None:
        raise Undecodable("the file is empty")
    return meta, hasher.digest()


def is_intact(pieces: Iterable[memoryview], digest: str) -> bool:
    """Whether a file still holds the object of that digest."""
    try:
        return digest_of_file(pieces)[1] == digest
    except Undecodable:
        return False
