"""One frame out of and into each codec. Imported by the child process only: numpy and imagecodecs are loaded here.

Native pixels are little endian, the samples of a pixel side by side.
"""

from __future__ import annotations

import struct
from typing import Any, Final

import numpy

# By name: imagecodecs loads each codec when it is first asked for, and the child opens no file once it works.
from imagecodecs import (
    htj2k_decode,
    jpeg2k_decode,
    jpeg2k_encode,
    jpeg8_decode,
    jpeg8_encode,
    jpegls_decode,
    jpegls_encode,
    packbits_decode,
    packbits_encode,
)

from pacs_server.dicom.pixels.codestream import unmarked, with_thresholds_of_dcmtk
from pacs_server.dicom.pixels.recoding import Codec, Recoding

Pixels = numpy.ndarray[Any, numpy.dtype[Any]]

_RLE_HEADER: Final = struct.Struct("<16L")
_END_OF_IMAGE: Final = b"\xff\xd9"  # of JPEG, and of JPEG 2000, where it ends the codestream
_MORE_BITS: Final = b"\x55\xaa\x33\xcc" * 32  # read by a decoder that has too few
_FEW_BYTES: Final = 8
_SELECTION_VALUE: Final = 1  # predictor of JPEG Lossless, First-Order Prediction (PS3.5 section A.4.1)


class Unsuitable(Exception):
    """These pixels cannot be coded so without loss."""


def recode(recoding: Recoding, frame: bytes) -> bytes:
    """The frame in its new coding.

    Raises: Unsuitable; what the codecs raise for a frame that is damaged: ValueError, RuntimeError or MemoryError.
    """
    pixels = _decoded(recoding, frame)
    if recoding.encode is Codec.NATIVE:
        return pixels.tobytes()
    if recoding.encode is Codec.RLE:
        return _encode_rle(recoding, pixels)
    return _encoded(recoding, pixels)


def _decoded(recoding: Recoding, frame: bytes) -> Pixels:
    """Pixels as (row, column, sample) of unsigned numbers of the size that the data set allocates."""
    shape = (recoding.rows, recoding.columns, recoding.samples)
    kind = numpy.dtype(f"<u{recoding.bits_allocated // 8}")
    match recoding.decode:
        case Codec.NATIVE:
            pixels = numpy.frombuffer(frame[: recoding.native_bytes], dtype=kind)
            if recoding.is_planar:
                return numpy.moveaxis(pixels.reshape(recoding.samples, *shape[:2]), 0, -1)
            return pixels.reshape(shape)
        case Codec.RLE:
            return _decode_rle(recoding, frame, kind).reshape(shape)
        case Codec.JPEG:
            decoded = _decode_jpeg(frame, recoding, "YCBCR" if recoding.is_ycc else "RGB")
        case Codec.JPEG_LOSSLESS:
            decoded = _decode_jpeg(frame, recoding, "RGB")  # whatever its colours are, they stay
        case Codec.JPEG_LS:
            decoded = _decode_jpeg_ls(frame)
        case Codec.JPEG_2000:
            decoded = jpeg2k_decode(_without_lost_rest(frame), planar=False)
        case Codec.HTJ2K:
            decoded = _decode_htj2k(frame)
    if decoded.shape != (shape if recoding.samples > 1 else shape[:2]):
        raise ValueError(f"the decoder made an image of {decoded.shape}")
    return _as_allocated(recoding, decoded, kind).reshape(shape)


def _decode_jpeg(frame: bytes, recoding: Recoding, colours: str) -> Pixels:
    """Raises: ValueError where the codestream is cut: libjpeg makes up the rest of the image, and says nothing.

    Some that are whole have no end marker. What stands behind them changes no pixel.
    """
    options: dict[str, Any] = {"colorspace": colours, "outcolorspace": "RGB"} if recoding.samples > 1 else {}
    pixels = jpeg8_decode(frame, **options)
    told = _without_lost_rest(frame)
    if not told.rstrip(b"\0").endswith(_END_OF_IMAGE):
        stuffing = b"\0" if told.endswith(b"\xff") else b""
        other = jpeg8_decode(told + stuffing + _MORE_BITS + _END_OF_IMAGE, **options)
        if (other != pixels).any():
            raise ValueError("it ends early")
    return pixels


def _without_lost_rest(frame: bytes) -> bytes:
    """A codestream without zeros that stand where the rest of it was lost; a few may be its own, or padding."""
    told = frame.rstrip(b"\0")
    return frame if len(frame) - len(told) < _FEW_BYTES or told.endswith(_END_OF_IMAGE) else told


def _decode_htj2k(frame: bytes) -> Pixels:
    """Raises: ValueError where the codestream is cut, of which OpenJPH decodes what there is."""
    if not frame.rstrip(b"\0").endswith(_END_OF_IMAGE):
        raise ValueError("it ends early")
    return htj2k_decode(frame, planar=False)


def _decode_jpeg_ls(frame: bytes) -> Pixels:
    """By the thresholds of the standard, else by those of DCMTK: pixels that were coded by others end in an error."""
    try:
        return jpegls_decode(frame)
    except RuntimeError:
        if (told := with_thresholds_of_dcmtk(frame)) == frame:
            raise
        return jpegls_decode(told)


def _as_allocated(recoding: Recoding, decoded: Pixels, kind: numpy.dtype[Any]) -> Pixels:
    """The decoder's numbers in as many bits as the data set allocates, their sign in all of those that are free.

    JPEG and JPEG-LS code no sign, and some JPEG 2000 say nothing of theirs: what the data set says holds.
    """
    if decoded.dtype.kind == "i" or not recoding.is_signed or recoding.precision >= recoding.bits_allocated:
        return decoded.astype(f"<i{kind.itemsize}" if decoded.dtype.kind == "i" else kind).view(kind)
    free = recoding.bits_allocated - recoding.precision
    widened = (decoded.astype(kind) << free).view(f"<i{kind.itemsize}")
    return (widened >> free).view(kind)


def _encoded(recoding: Recoding, pixels: Pixels) -> bytes:
    stored, extended = _stored_bits(recoding, pixels if recoding.samples > 1 else pixels[:, :, 0])
    bits = recoding.bits_stored
    if recoding.encode is Codec.JPEG_LS:
        # CharLS codes all bits that are allocated here, so the sign has to stand in those that are not stored.
        return _encode_jpeg_ls(extended.view(stored.dtype))
    if recoding.encode is Codec.JPEG_LOSSLESS:
        colours = "RGB" if recoding.samples == 3 else None
        if bits <= 8 < recoding.bits_allocated:
            # All 16 bits, as DCMTK does: decoders make pixels of 8 bits of 8 or fewer, and the data set tells of 16.
            stored, bits = extended.view(stored.dtype), 16
        coded = jpeg8_encode(
            stored,
            lossless=True,
            predictor=_SELECTION_VALUE,
            bitspersample=bits,
            colorspace=colours,
            outcolorspace=colours,
        )
        return unmarked(bytes(coded)) if recoding.stays_ycc else bytes(coded)
    if bits <= 8 < recoding.bits_allocated:  # imagecodecs 2026.10 takes 8 bits and fewer from bytes alone
        extended = extended.astype(f"{extended.dtype.kind}1")
    return bytes(jpeg2k_encode(extended, level=0, codecformat="j2k", reversible=True, mct=False, bitspersample=bits))


def _encode_jpeg_ls(pixels: Pixels) -> bytes:
    """imagecodecs makes room for a kilobyte more than the pixels have; those of mere noise become larger by a tenth."""
    try:
        return bytes(jpegls_encode(pixels))
    except RuntimeError:
        return bytes(jpegls_encode(pixels, out=2 * pixels.nbytes))


def _stored_bits(recoding: Recoding, pixels: Pixels) -> tuple[Pixels, Pixels]:
    """The stored bits with zeros above them, and as the numbers that they are.

    Raises: Unsuitable when something else stands in the bits above (an overlay, once), because it would be lost.
    """
    pixels = numpy.ascontiguousarray(pixels)
    stored = pixels & ((1 << recoding.bits_stored) - 1)
    is_same = stored == pixels
    extended = stored
    if recoding.is_signed:
        free = stored.dtype.itemsize * 8 - recoding.bits_stored
        extended = (stored << free).view(f"<i{stored.dtype.itemsize}") >> free
        is_same |= extended.view(stored.dtype) == pixels
    if not is_same.all():
        raise Unsuitable("something stands in the bits above those that are stored, and would be lost")
    return stored, extended


def _decode_rle(recoding: Recoding, frame: bytes, kind: numpy.dtype[Any]) -> Pixels:
    """Source: PS3.5 annex G: a segment for each byte of each sample, the most significant first."""
    if len(frame) < _RLE_HEADER.size:
        raise ValueError(f"a frame of {len(frame)} bytes is too short for the header of RLE")
    count, *offsets = _RLE_HEADER.unpack_from(frame)
    if count != recoding.samples * kind.itemsize:
        raise ValueError(f"a frame has {count} RLE segments instead of {recoding.samples * kind.itemsize}")
    size = recoding.rows * recoding.columns
    pixels = numpy.empty((size, recoding.samples, kind.itemsize), dtype="u1")
    for segment in range(count):
        end = offsets[segment + 1] if segment + 1 < count else len(frame)
        plane = packbits_decode(frame[offsets[segment] : end])
        sample, significance = divmod(segment, kind.itemsize)
        pixels[:, sample, kind.itemsize - 1 - significance] = numpy.frombuffer(plane, dtype="u1", count=size)
    return pixels.view(kind)


def _encode_rle(recoding: Recoding, pixels: Pixels) -> bytes:
    planes = numpy.ascontiguousarray(pixels).view("u1").reshape(recoding.rows, recoding.columns, recoding.samples, -1)
    depth = planes.shape[3]
    if recoding.samples * depth > 15:
        raise Unsuitable(f"{recoding.samples} samples of {8 * depth} bits need more segments than RLE has")
    segments = []
    for sample in range(recoding.samples):
        for byte in reversed(range(depth)):
            # A copy always: the one pixel of an image of 1 x 1 lies side by side for numpy, but not for the codec.
            coded = packbits_encode(planes[:, :, sample, byte].copy(), axis=-1)
            segments.append(bytes(coded) + b"\0" * (len(coded) % 2))
    offsets = [_RLE_HEADER.size + sum(map(len, segments[:number])) for number in range(len(segments))]
    return _RLE_HEADER.pack(len(segments), *offsets, *([0] * (15 - len(offsets)))) + b"".join(segments)
