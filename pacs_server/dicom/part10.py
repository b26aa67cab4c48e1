"""Our file meta information, and the reading of anybody's.

Source: PS3.10 section 7.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from pacs_server.dicom.elements import EXPLICIT, Buffer
from pacs_server.dicom.identity import uid_text
from pacs_server.errors import Undecodable

IMPLEMENTATION_CLASS_UID: Final = "2.25.338827850861330493178207111212198612719"
IMPLEMENTATION_VERSION: Final = "PACS_SERVER_1"
MAX_FILE_META_BYTES: Final = 1 << 16
MEDIA_DIRECTORY: Final = "1.2.840.10008.1.3.10"  # the class of a DICOMDIR

PREAMBLE_BYTES: Final = 128

_PREFIX: Final = b"\0" * PREAMBLE_BYTES + b"DICM"
_GROUP_LENGTH: Final = 0x00020000
_VERSION: Final = 0x00020001
_SOP_CLASS: Final = 0x00020002
_SOP_INSTANCE: Final = 0x00020003
_TRANSFER_SYNTAX: Final = 0x00020010
_IMPLEMENTATION_CLASS: Final = 0x00020012


@dataclass(frozen=True, slots=True, kw_only=True)
class FileMeta:
    """What a file's meta information says, and where its data set begins, in bytes from the start of the file."""

    sop_class: str
    sop_instance: str
    transfer_syntax: str
    data_set_offset: int


def file_meta(*, sop_class: str, sop_instance: str, transfer_syntax: str) -> bytes:
    """The bytes before the data set of a file of ours: a zero preamble and only what follows from the three UIDs.

    Equal objects get equal files on every volume and every server, so no AE title and no time stand here.
    """
    head, tail = _around_instance(sop_class, transfer_syntax)
    instance = _uid_element(_SOP_INSTANCE, sop_instance)
    length = EXPLICIT.write_header(_GROUP_LENGTH, b"UL", 4) + (len(head) + len(instance) + len(tail)).to_bytes(
        4, "little"
    )
    return b"".join((_PREFIX, length, head, instance, tail))


@lru_cache(maxsize=1024)
def _around_instance(sop_class: str, transfer_syntax: str) -> tuple[bytes, bytes]:
    head = EXPLICIT.write_header(_VERSION, b"OB", 2) + b"\0\1" + _uid_element(_SOP_CLASS, sop_class)
    tail = _uid_element(_TRANSFER_SYNTAX, transfer_syntax) + _uid_element(
        _IMPLEMENTATION_CLASS, IMPLEMENTATION_CLASS_UID
    )
    return head, tail


def _uid_element(tag: int, uid: str) -> bytes:
    return EXPLICIT.write_element(tag, b"UI", uid.encode("latin-1"))


def has_preamble(prefix: Buffer) -> bool:
    """Whether a file that begins so has a preamble, which is anybody's."""
    return bytes(prefix[PREAMBLE_BYTES : len(_PREFIX)]) == b"DICM"


def read_file_meta(prefix: Buffer) -> FileMeta:
    """Read the meta information at the start of a file; `prefix` is the file, or at least its first 64 KiB.

    Raises: Undecodable when there is no meta information, or a UID of it is missing or cannot be one.
    """
    meta = find_file_meta(prefix)
    if not (meta.sop_class and meta.sop_instance and meta.transfer_syntax):
        raise Undecodable("not a DICOM file: no file meta information with SOP class, SOP instance and transfer syntax")
    return meta


def find_file_meta(prefix: Buffer) -> FileMeta:
    """What there is of meta information at the start of a file; what it does not say is empty.

    A missing preamble is tolerated, a wrong group length too: the group ends where its tags end.

    Raises: Undecodable when it is longer than the file or than 64 KiB, or its transfer syntax cannot be one.
    """
    offset = len(_PREFIX) if has_preamble(prefix) else 0
    values: dict[int, bytes] = {}
    while (found := EXPLICIT.header(prefix, offset)) is not None:
        tag, _, length, start = found
        if tag >> 16 != 0x0002:
            break
        if start + length > min(len(prefix), MAX_FILE_META_BYTES):
            raise Undecodable("its file meta information runs past its end or is longer than 64 KiB")
        values[tag] = bytes(prefix[start : start + length])
        offset = start + length
    uids = [uid_text(values.get(tag, b"")) for tag in (_SOP_CLASS, _SOP_INSTANCE, _TRANSFER_SYNTAX)]
    if not uids[2].isascii():
        raise Undecodable("its file meta information names a transfer syntax that cannot be one")
    return FileMeta(sop_class=uids[0], sop_instance=uids[1], transfer_syntax=uids[2], data_set_offset=offset)
