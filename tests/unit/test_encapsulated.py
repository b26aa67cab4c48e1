"""Which fragments make a frame, with offset tables that are right, missing or wrong."""

import struct
from collections.abc import Sequence

import pytest

from pacs_server.dicom.element_source import ElementSource
from pacs_server.dicom.pixels.encapsulated import padded_fragments, read_frames, write_frames
from pacs_server.errors import Undecodable

SOI, J2K = b"\xff\xd8\xff\xe0", b"\xff\x4f\xff\x51"
LIMIT = 1 << 20


def items(*values: bytes) -> bytes:
    head = b"".join(struct.pack("<HHL", 0xFFFE, 0xE000, len(value)) + value for value in values)
    return head + struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)


def frames_of(content: bytes, count: int, *, piece_bytes: int = 7, limit: int = LIMIT) -> list[bytes]:
    pieces = [content[start : start + piece_bytes] for start in range(0, len(content), piece_bytes)]
    return list(read_frames(ElementSource(pieces), count, max_bytes=limit))


def table(*offsets: int) -> bytes:
    return struct.pack(f"<{len(offsets)}L", *offsets)


@pytest.mark.parametrize("beginning", [SOI, J2K])
@pytest.mark.parametrize("offsets", [b"", table(0, 0, 99), table(7, 7, 7)], ids=["empty", "wrong", "wrong too"])
def test_fragments_that_begin_like_a_codestream_begin_a_frame(beginning: bytes, offsets: bytes) -> None:
    fragments = [beginning + b"1a", b"1b", beginning + b"2a", beginning + b"3a", b"3b", b"3c"]
    assert frames_of(items(offsets, *fragments), 3) == [
        beginning + b"1a1b",
        beginning + b"2a",
        beginning + b"3a3b3c",
    ]


@pytest.mark.parametrize("place", [0, 1, 4])
def test_an_empty_fragment_is_no_frame_wherever_it_is(place: int) -> None:
    fragments = [SOI + b"1a", b"1b", SOI + b"2a", b"2b"]
    fragments.insert(place, b"")
    assert frames_of(items(b"", *fragments), 2) == [SOI + b"1a1b", SOI + b"2a2b"]
    assert frames_of(items(table(8, 18), b"", b"11", b"22"), 2) == [b"11", b"22"]


def test_all_fragments_of_a_single_frame_belong_together_whatever_they_begin_with() -> None:
    assert frames_of(items(b"", b"ab", SOI, b"cd"), 1) == [b"ab" + SOI + b"cd"]


def test_without_a_visible_beginning_the_offset_table_decides() -> None:
    assert frames_of(items(table(0, 20), b"11", b"12", b"21", b"22"), 2) == [b"1112", b"2122"]


def test_without_a_table_too_each_fragment_is_a_frame() -> None:
    assert frames_of(items(b"", b"11", b"22", b"33"), 3) == [b"11", b"22", b"33"]


@pytest.mark.parametrize(("fragments", "count"), [([b"11"], 2), ([b"11", b"22", b"33"], 2), ([], 1)])
def test_another_number_of_frames_is_refused(fragments: Sequence[bytes], count: int) -> None:
    with pytest.raises(Undecodable, match="frames"):
        frames_of(items(b"", *fragments), count)


def test_a_frame_larger_than_allowed_is_refused_before_it_is_read() -> None:
    content = items(b"", b"x" * 64)
    with pytest.raises(Undecodable, match="more than 63 bytes"):
        frames_of(content[:40], 1, limit=63)


@pytest.mark.parametrize("cut", [1, 8, 12, 17])
def test_pixel_data_that_end_early_are_refused(cut: int) -> None:
    content = items(b"", SOI + b"11", SOI + b"22")
    with pytest.raises(Undecodable):
        frames_of(content[:-cut], 2)


def test_what_is_written_is_read_again_and_odd_frames_are_padded() -> None:
    frames = [SOI + b"1", SOI + b"22", SOI + b"333"]
    written = b"".join(bytes(piece) for piece in write_frames(iter(frames)))
    assert len(written) % 2 == 0
    assert frames_of(written[12:], 3) == [frames[0] + b"\0", frames[1], frames[2] + b"\0"]


def test_odd_fragments_are_padded_and_a_table_that_does_not_fit_them_any_more_is_emptied() -> None:
    content = items(table(0, 12), SOI, SOI + b"22", b"3")
    written = b"".join(bytes(piece) for piece in padded_fragments(ElementSource((content[:20], content[20:]))))
    assert written[12:] == items(b"", SOI, SOI + b"22", b"3\0")


def test_something_between_fragments_is_refused_where_they_are_padded() -> None:
    with pytest.raises(Undecodable):
        list(padded_fragments(ElementSource((items(b"", SOI)[:-8] + struct.pack("<HHL", 0x0010, 0x0010, 0),))))
