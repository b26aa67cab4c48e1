"""What changes in a data set when its pixels are put into another transfer syntax; the pixels themselves change hands.

The SOP Instance UID stays. Decompressing changes no pixel, and lossless compression none either; a new one is due only
where pixels become others in a way that may affect the interpretation. Source: PS3.3 section C.7.6.1.1.2.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Final

from pacs_server.dicom.element_source import ElementSource
from pacs_server.dicom.elements import (
    EXPLICIT_BE,
    EXPLICIT_LE,
    NATIVE_SYNTAXES,
    PIXEL_DATA,
    UNDEFINED_LENGTH,
    Buffer,
    encoding_of,
)
from pacs_server.dicom.pixels.codestream import Codestream, read_jpeg, read_jpeg_2000
from pacs_server.dicom.pixels.encapsulated import read_frames, write_frames
from pacs_server.dicom.pixels.recoding import FRAMES, Codec, Recode, Recoding, number_of
from pacs_server.dicom.reencode import can_reencode, reencode
from pacs_server.errors import Unconvertible, Undecodable

_JPEG: Final = "1.2.840.10008.1.2.4."
DECODABLE: Final = {
    f"{_JPEG}50": Codec.JPEG,
    f"{_JPEG}51": Codec.JPEG,
    f"{_JPEG}57": Codec.JPEG_LOSSLESS,
    f"{_JPEG}70": Codec.JPEG_LOSSLESS,
    f"{_JPEG}80": Codec.JPEG_LS,
    f"{_JPEG}81": Codec.JPEG_LS,
    f"{_JPEG}90": Codec.JPEG_2000,
    f"{_JPEG}91": Codec.JPEG_2000,
    f"{_JPEG}201": Codec.HTJ2K,
    f"{_JPEG}202": Codec.HTJ2K,
    f"{_JPEG}203": Codec.HTJ2K,
    "1.2.840.10008.1.2.5": Codec.RLE,
    "1.2.840.10008.1.2.1.98": Codec.NATIVE,
}
# Into these pixels are compressed, in the order in which they are chosen: what most receivers know comes first.
ENCODABLE: Final = {
    f"{_JPEG}70": Codec.JPEG_LOSSLESS,
    f"{_JPEG}57": Codec.JPEG_LOSSLESS,
    f"{_JPEG}80": Codec.JPEG_LS,
    f"{_JPEG}90": Codec.JPEG_2000,
    "1.2.840.10008.1.2.5": Codec.RLE,
}
# The names under which an administrator may ask for them.
ENCODABLE_BY_NAME: Final = {
    "jpeg-lossless": f"{_JPEG}70",
    "jpeg-ls": f"{_JPEG}80",
    "jpeg-2000": f"{_JPEG}90",
    "rle": "1.2.840.10008.1.2.5",
}
# The name under which everything that can be is sent without compression, with one context for each SOP class: GDCM's
# receiver, 3.0.21 and 3.2.6, reads all objects in the syntax of the last context that it accepted.
UNCOMPRESSED: Final = "uncompressed"
# Their pixels have lost something; in those of the second set they may have.
_LOSSY: Final = frozenset({f"{_JPEG}50", f"{_JPEG}51"})
_MAYBE_LOSSY: Final = frozenset({f"{_JPEG}81", f"{_JPEG}91", f"{_JPEG}203"})

_SAMPLES, _PHOTOMETRIC, _PLANAR, _ROWS, _COLUMNS = 0x280002, 0x280004, 0x280006, 0x280010, 0x280011
_ALLOCATED, _STORED, _HIGH_BIT, _SIGNED, _LOSSY_MARK = 0x280100, 0x280101, 0x280102, 0x280103, 0x282110
_ICON, _OFFSETS, _LENGTHS, _TOTAL_LENGTH = 0x00880200, 0x7FE00001, 0x7FE00002, 0x7FE00003
_MAX_NATIVE_BYTES: Final = 0xFFFFFFFE


def can_convert(source: str, target: str) -> bool:
    """Whether objects in `source` can be put into `target`, so far as their transfer syntax tells."""
    if can_reencode(source, target):
        return True
    return (source in DECODABLE or source in NATIVE_SYNTAXES) and (
        target in ENCODABLE or can_reencode(EXPLICIT_LE, target)
    )


def widest_syntax(numbers: Mapping[str, int]) -> str:
    """In which syntax most objects can be sent, so far as theirs tell, of which there are so many each: one of theirs
    or Explicit VR Little Endian. Where the same number fits several, the one that most have.
    """

    def fitting(target: str) -> tuple[int, int]:
        sent = sum(number for one, number in numbers.items() if one == target or can_convert(one, target))
        return sent, numbers.get(target, 0)

    return max((*numbers, EXPLICIT_LE), key=fitting)


def transcode(
    data_set: Iterable[Buffer], source: str, target: str, recode: Recode, *, max_frame_bytes: int
) -> Iterator[Buffer]:
    """The data set in another syntax, piece by piece, its frames one by one as `recode` answers them.

    Raises: Undecodable when the data set or a frame is damaged or larger than `max_frame_bytes`; Unconvertible when
    its pixels cannot be put into that syntax without loss; whatever `recode` raises.
    """
    if source == EXPLICIT_BE:
        data_set, source = reencode(data_set, source, EXPLICIT_LE), EXPLICIT_LE
    conversion = _PixelConversion(source, target, recode, max_frame_bytes)
    yield from reencode(data_set, source, target, conversion)
    if target in ENCODABLE and not conversion.has_pixels:
        raise Unconvertible("it has no pixel data to be compressed")


class _PixelConversion:
    """How the attributes of pixels follow them into another syntax. Belongs to the rewriting of one data set."""

    def __init__(self, source: str, target: str, recode: Recode, max_frame_bytes: int) -> None:
        self.changed: Mapping[int, bytes] = {_PHOTOMETRIC: b"CS", _PLANAR: b"US", _LOSSY_MARK: b"CS"}
        self.dropped = frozenset({_OFFSETS, _LENGTHS, _TOTAL_LENGTH})
        if source in DECODABLE:
            self.dropped |= {_ICON}  # its pixels may be compressed too; without it a viewer makes its own
        self.has_pixels = False
        self._source, self._target = source, target
        self._decode = DECODABLE.get(source, Codec.NATIVE)
        self._encode = ENCODABLE.get(target, Codec.NATIVE)
        self._recode = recode
        self._max_frame_bytes = max_frame_bytes
        self._numbers: dict[int, int] = {}
        self._photometric = ""
        self._becomes_rgb = False

    def note(self, tag: int, value: bytes) -> None:
        """Keep the numbers that describe pixels."""
        if (number := number_of(tag, value)) is not None:
            self._numbers[tag] = number

    def change(self, tag: int, value: bytes | None) -> bytes | None:
        """Photometric Interpretation, Planar Configuration and Lossy Image Compression as they are afterwards."""
        if tag == _PHOTOMETRIC:
            return None if value is None else self._change_photometric(value)
        if tag == _PLANAR:
            if value is not None and len(value) == 2:
                self._numbers[tag] = int(value != b"\0\0")
            return value if self._samples == 1 else b"\0\0"
        # What is marked stays marked, and a mark that the syntax made superfluous is set (PS3.3 section C.7.6.1.1.5).
        unmarked = value is None or not value.strip(b" \0")
        return b"01" if self._source in _LOSSY or (unmarked and self._source in _MAYBE_LOSSY) else value

    @property
    def _samples(self) -> int:
        return self._numbers.get(_SAMPLES, 1)

    def _change_photometric(self, value: bytes) -> bytes:
        """The colours of a lossy JPEG and of a colour transformed JPEG 2000 are RGB when they are decoded; those of all
        others stay what they are, but come out with all of their samples. Source: PS3.5 sections 8.2.1 to 8.2.4.
        """
        self._photometric = name = value.decode("latin-1").strip(" \0")
        was_transformed = self._decode is Codec.JPEG or name in ("YBR_RCT", "YBR_ICT")
        self._becomes_rgb = self._samples == 3 and self._decode is not Codec.NATIVE and was_transformed
        if self._becomes_rgb:
            return b"RGB "
        return b"YBR_FULL" if name == "YBR_FULL_422" and self._source not in NATIVE_SYNTAXES else value

    def pixels(self, elements: ElementSource, length: int) -> Iterator[Buffer]:
        """Pixel Data in the other syntax. Raises: Unconvertible; Undecodable."""
        self.has_pixels = True
        recoding, count = self._recoding(), self._numbers.get(FRAMES, 1)
        frames = self._frames(elements, length, recoding, count)
        if self._encode is not Codec.NATIVE:
            yield from write_frames(frames)
            return
        size = recoding.native_bytes * count
        if size > _MAX_NATIVE_BYTES:
            raise Unconvertible(f"uncompressed its pixel data have {size} bytes, which one element cannot hold")
        vr = b"OW" if recoding.bits_allocated > 8 else b"OB"
        yield encoding_of(self._target).write_header(PIXEL_DATA, vr, size + size % 2)
        yield from frames
        yield b"\0" * (size % 2)

    def _recoding(self) -> Recoding:
        number = self._numbers.get
        bits_allocated, bits_stored = number(_ALLOCATED, 0), number(_STORED, 0)
        recoding = Recoding(
            decode=self._decode,
            encode=self._encode,
            rows=number(_ROWS, 0),
            columns=number(_COLUMNS, 0),
            samples=self._samples,
            bits_allocated=bits_allocated,
            bits_stored=bits_stored,
            is_signed=number(_SIGNED, 0) == 1,
            is_planar=self._decode is Codec.NATIVE and self._samples > 1 and number(_PLANAR, 0) == 1,
            stays_ycc=self._photometric.startswith("YBR") and not self._becomes_rgb,
        )
        fits = 0 < bits_stored <= bits_allocated and self._samples in (1, 3)
        if not recoding.native_bytes or not fits or number(FRAMES, 1) < 1:
            raise Undecodable("its attributes do not describe an image that can be transcoded")
        if recoding.native_bytes > self._max_frame_bytes:
            raise Undecodable(f"a frame of {recoding.native_bytes} bytes is larger than is transcoded")
        if bits_allocated not in (8, 16, 32):
            raise Unconvertible(f"pixels of {bits_allocated} bits are not transcoded")
        if self._encode is not Codec.NATIVE:
            self._refuse_to_encode(bits_allocated, bits_stored)
        return recoding

    def _refuse_to_encode(self, bits_allocated: int, bits_stored: int) -> None:
        """Raises: Unconvertible for pixels whose layout the codecs do not know."""
        if "4" in self._photometric and self._decode is Codec.NATIVE:
            raise Unconvertible(f"uncompressed pixels in {self._photometric} are not compressed")
        if self._encode is Codec.RLE:
            return
        if bits_allocated > 16 or bits_stored < 2 or self._numbers.get(_HIGH_BIT, bits_stored - 1) != bits_stored - 1:
            raise Unconvertible(f"{bits_stored} bits of {bits_allocated} in this place are compressed by RLE only")

    def _frames(self, elements: ElementSource, length: int, recoding: Recoding, count: int) -> Iterator[bytes]:
        if self._source in NATIVE_SYNTAXES:
            size = recoding.native_bytes * count
            # What is no whole frame is padding, which some write; a single one makes the length even.
            if length == UNDEFINED_LENGTH or not size <= length < size + max(recoding.native_bytes, 2):
                raise Undecodable(f"its pixel data are not those of {count} frames of {recoding.native_bytes} bytes")
            for _ in range(count):
                yield self._recode(recoding, elements.read(recoding.native_bytes))
            elements.skip(length - size)
            return
        if length != UNDEFINED_LENGTH:
            raise Undecodable("its pixel data are not in fragments, as its transfer syntax demands")
        for frame in read_frames(elements, count, max_bytes=self._max_frame_bytes):
            yield self._recode(self._agreeing(recoding, frame), frame)

    def _agreeing(self, recoding: Recoding, frame: bytes) -> Recoding:
        """The recoding of a frame whose codestream was compared with the data set."""
        if self._decode in (Codec.JPEG, Codec.JPEG_LOSSLESS, Codec.JPEG_LS):
            stream = read_jpeg(frame)
        elif self._decode in (Codec.JPEG_2000, Codec.HTJ2K):
            stream = read_jpeg_2000(frame)
        else:
            return recoding
        claimed = (stream.rows, stream.columns, stream.components)
        if claimed != (recoding.rows, recoding.columns, recoding.samples) or stream.precision > recoding.bits_allocated:
            raise Undecodable(
                f"a frame claims {stream.rows} rows, {stream.columns} columns, {stream.components} samples and "
                f"{stream.precision} bits, the data set {recoding.rows}, {recoding.columns}, {recoding.samples} and "
                f"{recoding.bits_allocated}"
            )
        return replace(recoding, precision=stream.precision, is_ycc=self._is_ycc(stream))

    def _is_ycc(self, stream: Codestream) -> bool:
        if self._decode is not Codec.JPEG or stream.components != 3:
            return False
        return self._photometric.startswith("YBR") if stream.is_ycc is None else stream.is_ycc
