"""A stored file seen as pieces of bytes: its meta information, and whether it is still what was received."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Final

from pacs_server.dicom.attributes import SOP_CLASS, SOP_UID
from pacs_server.dicom.elements import Buffer
from pacs_server.dicom.header import Head, HeadScanner
from pacs_server.dicom.identity import Digest, ObjectHasher, uid_text
from pacs_server.dicom.part10 import FileMeta, file_meta, read_file_meta
from pacs_server.dicom.vocabulary import Vocabulary
from pacs_server.errors import ObjectMismatch, Undecodable

_LOOKED_THROUGH_BYTES: Final = 4096


def data_set_of(pieces: Iterator[memoryview]) -> Iterator[memoryview]:
    """The data set of a file that comes in pieces, the first at least 64 KiB or the whole meta information.

    Raises: Undecodable when it does not begin as one.
    """
    first = next(pieces)
    return chain((first[read_file_meta(first).data_set_offset :],), pieces)


class FileHasher:
    """The digest of a DICOM file that comes in pieces, the first at least 64 KiB or the whole meta information, and
    whether what stands before its data set, of which there is no digest, follows from that.
    """

    def __init__(self) -> None:
        self._meta: FileMeta | None = None
        self._hasher: ObjectHasher | None = None
        self._is_meta_ours = False
        self._scanner: HeadScanner | None = None

    def update(self, piece: Buffer) -> None:
        """Add the next bytes of the file. Raises: Undecodable when it does not begin as one."""
        if self._hasher is None:
            self._meta = meta = read_file_meta(piece)
            self._hasher = ObjectHasher(meta.transfer_syntax)
            ours = file_meta(
                sop_class=meta.sop_class, sop_instance=meta.sop_instance, transfer_syntax=meta.transfer_syntax
            )
            self._is_meta_ours = bytes(piece[: meta.data_set_offset]) == ours
            piece = memoryview(piece)[meta.data_set_offset :]
            self._look_for_uids(meta, bytes(piece[:_LOOKED_THROUGH_BYTES]))
        self._hasher.update(piece)
        if self._scanner is not None and not self._scanner.is_past_head:
            try:
                self._scanner.feed(memoryview(piece))
            except (Undecodable, ObjectMismatch):
                self._scanner = None  # its digest tells

    def _look_for_uids(self, meta: FileMeta, begin: bytes) -> None:
        """Read the data set for them where they do not stand at its very beginning, which takes longer than hashing."""
        if any(uid.encode("latin-1") not in begin for uid in (meta.sop_class, meta.sop_instance)):
            self._scanner = HeadScanner(meta.transfer_syntax)

    @property
    def meta(self) -> FileMeta:
        """The meta information. Raises: Undecodable when there was no piece."""
        if self._meta is None:
            raise Undecodable("the file is empty")
        return self._meta

    @property
    def has_our_meta(self) -> bool:
        """Whether everything before the data set is, to the bit, what this archive writes for an object like it."""
        if self._scanner is None:
            return self._is_meta_ours
        uids = [uid_text(self._scanner.value(tag) or b"") for tag in (SOP_CLASS, SOP_UID)]
        return self._is_meta_ours and uids == [self.meta.sop_class, self.meta.sop_instance]

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


def head_of(pieces: Iterator[memoryview], transfer_syntax: str, vocabulary: Vocabulary) -> Head:
    """The head of an object from the pieces of its file; no more of them is read.

    Raises: BadObject.
    """
    scanner = HeadScanner(transfer_syntax, vocabulary=vocabulary)
    for piece in data_set_of(pieces):
        scanner.feed(piece)
        if scanner.is_past_head:
            break
    return scanner.head()


def is_intact(pieces: Iterable[memoryview], digest: str) -> bool:
    """Whether a file still is, to its last bit, what was written for the object of that digest."""
    hasher = FileHasher()
    try:
        for piece in pieces:
            hasher.update(piece)
        return hasher.digest() == digest and hasher.has_our_meta
    except Undecodable:
        return False


def holds_object(pieces: Iterable[memoryview], digest: str) -> bool:
    """Whether the data set in a file still is that of the object of that digest, whatever became of its meta
    information: enough where only the data set is given to somebody.
    """
    try:
        return digest_of_file(pieces)[1] == digest
    except Undecodable:
        return False
