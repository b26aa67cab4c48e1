"""Tries the codecs that are installed on small pictures: a later release of theirs may do otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Final

from pacs_server.codecs.pool import Pool
from pacs_server.dicom.elements import EXPLICIT, EXPLICIT_LE, PIXEL_DATA
from pacs_server.dicom.pixels.transcoding import ENCODABLE_BY_NAME, transcode
from pacs_server.errors import Unconvertible, Undecodable
from pacs_server.settings import TranscodingLimits

_SIDE: Final = 16


@dataclass(frozen=True, slots=True)
class _Depth:
    """What the samples of a picture are."""

    allocated: int
    stored: int
    is_signed: bool

    def __str__(self) -> str:
        return f"{self.stored} of {self.allocated} bits{' with a sign' if self.is_signed else ''}"

    def pixels(self) -> bytes:
        """Every 256th part of what can be."""
        step, least = (1 << self.stored) // (_SIDE * _SIDE), -(1 << self.stored - 1) if self.is_signed else 0
        numbers = (least + step * place for place in range(_SIDE * _SIDE))
        return b"".join(one.to_bytes(self.allocated // 8, "little", signed=self.is_signed) for one in numbers)

    def data_set(self) -> bytes:
        """A picture of that, in Explicit VR Little Endian."""
        numbers = {
            0x00280002: 1, 0x00280010: _SIDE, 0x00280011: _SIDE, 0x00280100: self.allocated, 0x00280101: self.stored,
            0x00280102: self.stored - 1, 0x00280103: int(self.is_signed),
        }  # fmt: skip
        elements = {tag: (b"US", number.to_bytes(2, "little")) for tag, number in numbers.items()}
        elements |= {0x00280004: (b"CS", b"MONOCHROME2"), PIXEL_DATA: (b"OW", self.pixels())}
        return b"".join(EXPLICIT.write_element(tag, *elements[tag]) for tag in sorted(elements))


# Each of these goes another way through codecs/frames.py.
_DEPTHS: Final = (
    _Depth(8, 8, is_signed=False),
    *(_Depth(16, stored, is_signed=signed) for stored in (8, 12, 16) for signed in (False, True)),
)


def failures(limits: TranscodingLimits) -> Iterator[tuple[str, str]]:
    """Which pictures do not come back from which codec as they went into it, and why. Takes half a second.

    Raises: DecoderUnavailable.
    """
    with closing(Pool(limits)) as pool:
        for name, syntax in ENCODABLE_BY_NAME.items():
            for depth in _DEPTHS:
                if why := _failure(pool, depth, syntax, limits.memory_bytes):
                    yield f"{name}, {depth}", why


def _failure(pool: Pool, depth: _Depth, syntax: str, most_bytes: int) -> str:
    with pool.child(lambda: None) as child:
        recoded = partial(transcode, recode=partial(child.recode, meanwhile=lambda: None), max_frame_bytes=most_bytes)
        try:
            coded = b"".join(map(bytes, recoded((depth.data_set(),), EXPLICIT_LE, syntax)))
            again = b"".join(map(bytes, recoded((coded,), syntax, EXPLICIT_LE)))
        except (Undecodable, Unconvertible) as error:
            return str(error)
    return "" if again.endswith(depth.pixels()) else "its pixels are others afterwards"
