"""Pixel data in fragments: which of them make a frame, and how frames are written.

Source: PS3.5 section A.4 and annex A.4.1 to A.4.4 (fragments of a frame), tables A.4-1 and A.4-2.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from pacs_server.dicom.element_source import ElementSource
from pacs_server.dicom.elements import EXPLICIT, ITEM, PIXEL_DATA, SEQUENCE_END, UNDEFINED_LENGTH, Buffer
from pacs_server.errors import Undecodable

# How a codestream begins: JPEG and JPEG-LS, JPEG 2000, and JPEG 2000 in the file format that some writers leave it in;
# RLE with the number of its segments, 1 to 15, and the place of the first one (PS3.5 section G.5).
_BEGINNINGS: Final = (
    b"\xff\xd8\xff",
    b"\xff\x4f\xff\x51",
    b"\0\0\0\x0cjP  ",
    *(bytes((segments, 0, 0, 0, 64, 0, 0, 0)) for segments in range(1, 16)),
)
_LONGEST_BEGINNING_BYTES: Final = 8
_TABLE_ENTRY_BYTES: Final = 4


def read_frames(elements: ElementSource, count: int, *, max_bytes: int) -> Iterator[bytes]:
    """Take the value of encapsulated pixel data and answer its `count` frames, one after the other.

    A fragment that begins like a codestream begins a frame, whatever the offset table says: tables are often missing
    and sometimes wrong. Where codestreams have no such beginning, the table decides, and without one each fragment is
    a frame.

    Raises: Undecodable when there are more or fewer frames, or one is larger than `max_bytes`.
    """
    table = frozenset(_offset_table(elements, count))
    begins_visibly = None
    frame: list[bytes] = []
    size, position, found = 0, 0, 0
    while (length := _next_item(elements)) is not None:
        if not length:  # some writers put one first, or last: it tells nothing of how the others begin
            position += 8
            continue
        beginning = bytes(elements.peek(_LONGEST_BEGINNING_BYTES))
        if begins_visibly is None:
            begins_visibly = beginning.startswith(_BEGINNINGS)
        is_next = beginning.startswith(_BEGINNINGS) if begins_visibly else (not table or position in table)
        if frame and (count > 1 or begins_visibly) and is_next:
            yield b"".join(frame)
            frame, size, found = [], 0, found + 1
        size += length
        if size > max_bytes or found >= count:
            raise Undecodable(f"its pixel data hold more than {count} frames, or one of more than {max_bytes} bytes")
        frame.append(bytes(elements.read(length)))
        position += 8 + length
    if not frame or found + 1 != count:
        raise Undecodable(f"its pixel data hold {found + bool(frame)} frames instead of {count}")
    yield b"".join(frame)


def _offset_table(elements: ElementSource, count: int) -> Iterator[int]:
    """The entries of the Basic Offset Table; none where it is empty or has another number than there are frames."""
    length = _next_item(elements)
    if length is None:
        raise Undecodable("its encapsulated pixel data have no offset table")
    if length != count * _TABLE_ENTRY_BYTES:
        elements.skip(length)
        return
    entries = elements.read(length)
    for start in range(0, length, _TABLE_ENTRY_BYTES):
        yield int.from_bytes(entries[start : start + _TABLE_ENTRY_BYTES], "little")


def _next_item(elements: ElementSource) -> int | None:
    """The length of the next item in bytes; None after the last."""
    tag, _, length = elements.header(EXPLICIT)
    if tag == SEQUENCE_END:
        return None
    if tag != ITEM or length == UNDEFINED_LENGTH:
        raise Undecodable("something else stands between the fragments of its pixel data")
    return length


def write_frames(frames: Iterator[bytes]) -> Iterator[Buffer]:
    """The element Pixel Data with a fragment for each frame and an empty offset table, which may always be."""
    yield EXPLICIT.write_header(PIXEL_DATA, b"OB", UNDEFINED_LENGTH) + EXPLICIT.write_header(ITEM, b"", 0)
    for frame in frames:
        yield EXPLICIT.write_header(ITEM, b"", len(frame) + len(frame) % 2)
        yield frame
        if len(frame) % 2:
            yield b"\0"
    yield EXPLICIT.write_header(SEQUENCE_END, b"", 0)


def padded_fragments(elements: ElementSource) -> Iterator[Buffer]:
    """The element Pixel Data with the fragments that are taken, each of even length, and an empty offset table, because
    they may lie elsewhere now.

    Raises: Undecodable when something else stands between them.
    """
    yield EXPLICIT.write_header(PIXEL_DATA, b"OB", UNDEFINED_LENGTH) + EXPLICIT.write_header(ITEM, b"", 0)
    elements.skip(_next_item(elements) or 0)
    while (length := _next_item(elements)) is not None:
        yield EXPLICIT.write_header(ITEM, b"", length + length % 2)
        yield from elements.pieces(length)
        yield b"\0" * (length % 2)
    yield EXPLICIT.write_header(SEQUENCE_END, b"", 0)
