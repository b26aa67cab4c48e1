"""Uncompressed pixels under a transfer syntax that demands compressed ones. PixelMed sends so what it has uncompressed
on an association that also takes compressed objects of the kind. DCMTK, and what is built upon it, reads no such
object and aborts the association at it; relabelled it is an ordinary one.

Source: PS3.5 section A.4: but for its pixels such a data set is in Explicit VR Little Endian.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Final

from pacs_server.dicom.element_source import ElementSource
from pacs_server.dicom.elements import EXPLICIT_LE, Buffer
from pacs_server.dicom.pixels.recoding import FRAMES, number_of
from pacs_server.dicom.reencode import reencode
from pacs_server.errors import Undecodable

_IN_FRAGMENTS: Final = tuple(b"\xe0\x7f\x10\x00" + vr + b"\0\0\xff\xff\xff\xff" for vr in (b"OB", b"OW"))
_LOOKED_THROUGH_BYTES: Final = 64 << 10
_SAMPLES, _ROWS, _COLUMNS, _ALLOCATED = 0x280002, 0x280010, 0x280011, 0x280100


def is_mislabelled(data_set: Iterable[Buffer], transfer_syntax: str) -> bool:
    """Whether a data set of a transfer syntax with fragments has uncompressed pixels in their place: as many bytes as
    its attributes say. What else may stand there is not known, and no such data set.
    """
    pieces = iter(data_set)
    first = next(pieces, b"")
    begin = bytes(first[:_LOOKED_THROUGH_BYTES])
    if any(header in begin for header in _IN_FRAGMENTS):
        return False
    pixels = _Pixels()
    try:
        for _ in reencode(chain((first,), pieces), transfer_syntax, EXPLICIT_LE, pixels):
            if pixels.length is not None:
                return pixels.length == pixels.native_bytes
    except Undecodable:  # also at pixels that are in fragments
        pass
    return False


class _Pixels:
    """What stands under Pixel Data, and what should; nothing is changed."""

    changed: Mapping[int, bytes] = {}
    dropped: frozenset[int] = frozenset()

    def __init__(self) -> None:
        self.length: int | None = None
        self._numbers: dict[int, int] = {}

    @property
    def native_bytes(self) -> int:
        number = self._numbers.get
        pixels = number(_ROWS, 0) * number(_COLUMNS, 0) * number(FRAMES, 1)
        size = pixels * number(_SAMPLES, 1) * number(_ALLOCATED, 0) // 8
        return size + size % 2

    def note(self, tag: int, value: bytes) -> None:
        if (number := number_of(tag, value)) is not None:
            self._numbers[tag] = number

    def change(self, tag: int, value: bytes | None) -> bytes | None:
        return value

    def pixels(self, elements: ElementSource, length: int) -> Iterator[Buffer] | None:
        self.length = length
        return None
