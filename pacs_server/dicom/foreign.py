"""What the data set in a file of another program says of itself, where its file meta information says nothing or
something else: archives before PS3.10 kept data sets alone, and some do today (Conquest's .v2).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from pacs_server.dicom.attributes import SOP_CLASS, SOP_UID
from pacs_server.dicom.elements import EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE, LONG_VRS, SHORT_VRS, Buffer
from pacs_server.dicom.header import COMPRESSED_PIXELS, HeadScanner
from pacs_server.dicom.identity import uid_text
from pacs_server.errors import Undecodable

_IDENTIFYING_GROUP: Final = 0x0008  # the first one of every composite object


def begun_syntax(data_set: Buffer) -> str:
    """The uncompressed transfer syntax that a data set begins like.

    Raises: Undecodable when it begins like none.
    """
    has_vr = bytes(data_set[4:6]) in SHORT_VRS | LONG_VRS
    if int.from_bytes(data_set[:2], "little") == _IDENTIFYING_GROUP:
        return EXPLICIT_LE if has_vr else IMPLICIT_LE
    if int.from_bytes(data_set[:2], "big") == _IDENTIFYING_GROUP and has_vr:
        return EXPLICIT_BE
    raise Undecodable("not a DICOM file: neither file meta information nor a data set")


def identity_of(pieces: Iterable[Buffer], transfer_syntax: str, *, is_guess: bool) -> tuple[str, str]:
    """The SOP class and instance that a data set names. Where the transfer syntax is a guess, all of it is read.

    Raises: Undecodable when it names none, or cannot be read so; ObjectMismatch when it begins like one in another
    encoding. Compressed pixels fit no guess: which codec they are of stands in file meta information alone.
    """
    scanner = HeadScanner(transfer_syntax)
    for piece in pieces:
        scanner.feed(memoryview(piece))
        if scanner.identified and not is_guess:
            break
    head = scanner.finish() if is_guess else scanner.head()
    if is_guess and COMPRESSED_PIXELS in head.flags:
        raise Undecodable("its pixel data are compressed, and no file meta information says how")
    sop_class, sop_instance = (uid_text(head.values.get(tag, b"")) for tag in (SOP_CLASS, SOP_UID))
    if not (sop_class and sop_instance):
        raise Undecodable("not a DICOM object: its data set names no SOP class and instance")
    return sop_class, sop_instance
