"""One frame of pixels and what is to be done with it, as values that the codec processes share with the server."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Final, TypeAlias

from pacs_server.dicom.elements import Buffer

FRAMES: Final = 0x280008  # Number of Frames, the only number among those of pixels that is a text


class Codec(StrEnum):
    """How the pixels of a frame are coded; NATIVE: not at all."""

    NATIVE = "native"
    JPEG = "jpeg"
    JPEG_LOSSLESS = "jpeg-lossless"
    JPEG_LS = "jpeg-ls"
    JPEG_2000 = "jpeg-2000"
    HTJ2K = "htj2k"
    RLE = "rle"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recoding:
    """One frame to be decoded and encoded again. Native frames have their samples pixel by pixel when they come out;
    `is_planar`: one plane after the other when they go in. `is_ycc`: the colours of a JPEG are to be made RGB;
    `stays_ycc`: the colours are not RGB and stay what they are.
    """

    decode: Codec
    encode: Codec
    rows: int
    columns: int
    samples: int
    bits_allocated: int
    bits_stored: int
    is_signed: bool
    precision: int = 0
    is_planar: bool = False
    is_ycc: bool = False
    stays_ycc: bool = False

    @property
    def native_bytes(self) -> int:
        """The size of the frame when it is not compressed."""
        return self.rows * self.columns * self.samples * self.bits_allocated // 8

    def as_dict(self) -> dict[str, object]:
        """As plain values."""
        return asdict(self)


Recode: TypeAlias = Callable[[Recoding, Buffer], bytes]


def number_of(tag: int, value: bytes) -> int | None:
    """The number in a value that describes pixels, little endian: of a text 0 when it is none; None when the value is
    of another kind.
    """
    if tag == FRAMES:
        text = value.strip(b" \0") or b"1"
        return int(text) if text.isdigit() else 0
    return int.from_bytes(value, "little") if len(value) == 2 else None
