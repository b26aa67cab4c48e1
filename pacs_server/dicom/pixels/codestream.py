"""What a JPEG, JPEG-LS or JPEG 2000 codestream says of its image, read before anything decodes it.

A decoder makes room for what the codestream claims, so the claim is compared with the data set first.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct
from typing import Final

from pacs_server.errors import Undecodable

_START_OF_FRAME: Final = frozenset({*range(0xC0, 0xD0), 0xF7}) - {0xC4, 0xC8, 0xCC}  # 0xF7: JPEG-LS
_ALONE: Final = frozenset({0x01, *range(0xD0, 0xD9)})  # markers without a segment
_JFIF, _ADOBE, _START_OF_SCAN = 0xE0, 0xEE, 0xDA
_JPEG_2000: Final = b"\xff\x4f\xff\x51"
_JPEG_LS_FRAME, _PRESETS = 0xF7, 0xF8
_PRESETS_SEGMENT: Final = Struct(">BBHBHHHHH")  # marker, length, kind, greatest sample, three thresholds, reset
_RESET: Final = 64
_FRAME_HEADER: Final = Struct(">BHHB")  # precision, lines, samples per line, components
_SIZE_HEADER: Final = Struct(">HHLLLL16xH")  # Lsiz, Rsiz, Xsiz, Ysiz, XOsiz, YOsiz, tiles, Csiz
_MAX_PREAMBLE_BYTES: Final = 4_096


@dataclass(frozen=True, slots=True, kw_only=True)
class Codestream:
    """The image of a codestream. `is_ycc`: its markers say that its colours are YCbCr (True) or not (False)."""

    rows: int
    columns: int
    components: int
    precision: int
    is_ycc: bool | None = None


def read_jpeg(frame: bytes) -> Codestream:
    """What the frame header of a JPEG or JPEG-LS codestream says.

    Raises: Undecodable when there is none. Source: ITU-T T.81 annex B.2, T.87 annex C.2.
    """
    is_jfif, adobe_transform = False, -1
    offset = 2
    while offset + 4 <= len(frame) and frame[offset] == 0xFF:
        marker = frame[offset + 1]
        if marker == 0xFF or marker in _ALONE:  # fill bytes
            offset += 1 if marker == 0xFF else 2
            continue
        start, end = offset + 4, offset + 2 + int.from_bytes(frame[offset + 2 : offset + 4], "big")
        if marker in _START_OF_FRAME and start + _FRAME_HEADER.size <= len(frame):
            precision, rows, columns, components = _FRAME_HEADER.unpack_from(frame, start)
            names = frame[start + 6 : start + 6 + 3 * components : 3]
            is_ycc = _is_ycc(adobe_transform, bytes(names), is_jfif=is_jfif)
            return Codestream(rows=rows, columns=columns, components=components, precision=precision, is_ycc=is_ycc)
        if marker == _START_OF_SCAN:
            break
        if marker == _ADOBE and frame[start : start + 5] == b"Adobe" and start + 12 <= end:
            adobe_transform = frame[start + 11]
        is_jfif = is_jfif or (marker == _JFIF and frame[start : start + 4] == b"JFIF")
        offset = end
    raise Undecodable("a frame is no JPEG codestream: it has no frame header")


def unmarked(frame: bytes) -> bytes:
    """A JPEG codestream that was marked as RGB, without any mark: the data set alone speaks of its colours, as it must
    where they are YCbCr that is not to be converted. Source: PS3.5 section 8.2.1.
    """
    made, offset = bytearray(frame[:2]), 2
    while (marker := frame[offset + 1]) != _START_OF_SCAN:
        end = offset + 2 + int.from_bytes(frame[offset + 2 : offset + 4], "big")
        segment = bytearray(frame[offset:end])
        if marker in _START_OF_FRAME:
            segment[10:19:3] = b"\1\2\3"
        if marker != _ADOBE:
            made += segment
        offset = end
    scan = bytearray(frame[offset:])
    scan[5:11:2] = b"\1\2\3"
    return bytes(made + scan)


def with_thresholds_of_dcmtk(frame: bytes) -> bytes:
    """A JPEG-LS codestream of fewer than 8 bits that says by which thresholds DCMTK coded it: those that CharLS before
    2.0 took for granted, where the standard has others. One of 8 bits, or that says its own, stays as it is.

    Source: ITU-T T.87 annex C.2.4.1.1.
    """
    offset, precision = 2, 8
    while offset + 4 <= len(frame) and (marker := frame[offset + 1]) not in (_START_OF_SCAN, _PRESETS):
        precision = frame[offset + 4] if marker == _JPEG_LS_FRAME else precision
        offset += 2 + int.from_bytes(frame[offset + 2 : offset + 4], "big")
    scan = frame[offset:]
    if precision >= 8 or scan[1:2] != bytes((_START_OF_SCAN,)):
        return frame
    near = scan[5 + 2 * scan[4]]
    greatest, thresholds, least = (1 << precision) - 1, [], near + 1
    for threshold in (2 + 3 * near, 3 + 5 * near, 4 + 7 * near):
        least = threshold if least <= threshold <= greatest else least
        thresholds.append(least)
    return frame[:offset] + _PRESETS_SEGMENT.pack(0xFF, _PRESETS, 13, 1, greatest, *thresholds, _RESET) + scan


def _is_ycc(adobe_transform: int, names: bytes, *, is_jfif: bool) -> bool | None:
    """As libjpeg decides it, but None where nothing tells."""
    if adobe_transform >= 0:
        return adobe_transform != 0
    if names == b"RGB":
        return False
    return True if is_jfif else None


def read_jpeg_2000(frame: bytes) -> Codestream:
    """What the size marker of a JPEG 2000 codestream says, also when it lies in the JP2 file format.

    Raises: Undecodable when there is none. Source: ITU-T T.800 annex A.5.1.
    """
    start = frame.find(_JPEG_2000, 0, _MAX_PREAMBLE_BYTES) + len(_JPEG_2000)
    if start < len(_JPEG_2000) or start + _SIZE_HEADER.size >= len(frame):
        raise Undecodable("a frame is no JPEG 2000 codestream: it has no size marker")
    _, _, right, bottom, left, top, components = _SIZE_HEADER.unpack_from(frame, start)
    precision = (frame[start + _SIZE_HEADER.size] & 0x7F) + 1
    return Codestream(rows=bottom - top, columns=right - left, components=components, precision=precision)
