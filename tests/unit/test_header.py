"""The head of a data set: the same however it is cut, bounded whatever it holds, honest about damage."""

import random
import zlib
from io import BytesIO

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from support import raw_objects
from support.samples import bundled, encoded, tiny, uid

from pacs_server.dicom.attributes import HEADER_TAGS, SERIES_UID
from pacs_server.dicom.describe import describe
from pacs_server.dicom.elements import DEFLATED_LE, EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE
from pacs_server.dicom.head_walk import HeadLimits, Walk
from pacs_server.dicom.header import Head, HeadScanner
from pacs_server.dicom.part10 import read_file_meta
from pacs_server.errors import BadObject, ObjectMismatch, Undecodable

NATIVE = (IMPLICIT_LE, EXPLICIT_LE, EXPLICIT_BE)


def scan(data: bytes, syntax: str = EXPLICIT_LE, step: int | None = None, **limits: int) -> Head:
    scanner = HeadScanner(syntax, HeadLimits(**limits))
    for start in range(0, max(1, len(data)), step or len(data) or 1):
        scanner.feed(memoryview(data)[start : start + (step or len(data) or 1)])
    return scanner.finish()


def sample(syntax: str = EXPLICIT_LE, **values: object) -> bytes:
    inner = tiny("inner")
    nested = tiny("nested", ReferencedImageSequence=[inner])
    return encoded(tiny("head", ProcedureCodeSequence=[nested, inner], Rows=512, **values), syntax)


def element(tag: int, vr: bytes, value: bytes, length: int | None = None) -> bytes:
    size = len(value) if length is None else length
    head = (tag >> 16).to_bytes(2, "little") + (tag & 0xFFFF).to_bytes(2, "little") + vr
    if vr in (b"SQ", b"UN", b"OB", b"OW", b"UT"):
        return head + b"\0\0" + size.to_bytes(4, "little") + value
    return head + size.to_bytes(2, "little") + value


@pytest.mark.parametrize("syntax", NATIVE)
def test_every_cut_into_fragments_gives_the_same_head(syntax: str) -> None:
    data = sample(syntax)
    whole = scan(data, syntax)
    assert whole.values[0x0020000D].rstrip(b"\0").startswith(b"2.25.")
    for step in range(1, len(data)):
        assert scan(data, syntax, step) == whole


def test_the_values_are_those_that_pydicom_reads_from_every_bundled_file() -> None:
    compared = 0
    for path in bundled():
        content = path.read_bytes()
        try:
            meta = read_file_meta(content)
            head = scan(content[meta.data_set_offset :], meta.transfer_syntax, 4096)
        except BadObject:
            continue
        dataset = pydicom.dcmread(BytesIO(content), force=True)
        for tag in HEADER_TAGS:
            if tag in dataset and tag in head.values and dataset[tag].VR == "UI" and dataset[tag].value:
                assert head.values[tag].rstrip(b"\0 ").decode() == str(dataset[tag].value), (path.name, hex(tag))
                compared += 1
    assert compared > 400


def test_a_truncated_data_set_is_refused_at_every_byte_unless_an_element_ends_there() -> None:
    data = sample()
    whole_elements = 0
    for end in range(len(data)):
        try:
            describe(scan(data[:end]))
            whole_elements += 1
        except BadObject:
            pass
    assert whole_elements <= 12  # the elements behind the Series Instance UID


def test_a_deflated_head_is_read_and_a_bomb_is_not_inflated() -> None:
    squeeze = zlib.compressobj(9, wbits=-15)
    bomb = squeeze.compress(sample() + element(0x7FE00010, b"OB", b"", 1 << 28))
    zeros = bytes(1 << 20)
    bomb += b"".join(squeeze.compress(zeros) for _ in range(256)) + squeeze.flush()
    head = scan(bomb, DEFLATED_LE, 1000)
    assert head.values[0x00280010] == b"\x00\x02"
    with pytest.raises(Undecodable, match="inflate"):
        scan(b"\xff" * 100, DEFLATED_LE)


def test_a_deflated_data_set_is_read_to_its_end_however_much_comes_of_its_last_bytes() -> None:
    begin = sample()
    for more in range(0, 40, 2):
        comment = b" " * ((1 << 16) + more - len(begin) - 12)
        squeeze = zlib.compressobj(wbits=-15)
        data = squeeze.compress(begin + element(0x40000010, b"UT", comment)) + squeeze.flush()
        assert scan(data, DEFLATED_LE).values[0x00280010] == b"\x00\x02", more


def test_a_deflate_bomb_in_the_head_is_inflated_no_further_than_a_head_is_read_and_is_flagged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    limit, rows, squeeze = 1 << 20, element(0x00280010, b"US", b"\0\2"), zlib.compressobj(9, wbits=-15)
    begin, end = sample().split(rows)  # all that identifies comes before
    bomb = squeeze.compress(begin + element(0x00210000, b"UN", bytes(16 * limit)) + rows + end) + squeeze.flush()
    feed, inflated = Walk.feed, [0]

    def counted(walk: Walk, piece: bytes | memoryview) -> None:
        inflated[-1] += len(piece)
        feed(walk, piece)

    monkeypatch.setattr(Walk, "feed", counted)
    for step in (100, len(bomb)):
        inflated.append(0)
        head = scan(bomb, DEFLATED_LE, step, max_head_bytes=limit)
        assert limit < inflated[-1] <= limit + (1 << 16)
        assert (head.flags, 0x0020000D in head.values, 0x00280010 in head.values) == ({"head-cut"}, True, False)


@pytest.mark.parametrize("behind", ["an element without a VR", "what cannot be inflated"])
def test_damage_behind_a_deflated_head_changes_nothing_however_it_is_cut(behind: str) -> None:
    """What was stored in small fragments is read in large ones when the index is rebuilt."""
    squeeze = zlib.compressobj(wbits=-15)
    pixels = random.Random(1).randbytes(3_000)
    data = squeeze.compress(sample() + element(0x7FE00010, b"OB", pixels, 6_000)) + squeeze.flush(zlib.Z_FULL_FLUSH)
    if behind == "an element without a VR":
        data += squeeze.compress(bytes(3_000) + element(0x7FE10010, b"zz", b"")) + squeeze.flush()
    else:
        data += b"\xff" * 100
    whole = scan(data, DEFLATED_LE)
    assert whole.values[0x00280010] == b"\x00\x02"
    for step in (1, 7, 17, 200, 1_000, 4_096):
        assert scan(data, DEFLATED_LE, step) == whole


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "empty"),
        (b"\0" * 200, "no place in a data set"),
        (b"\0" * 128 + b"DICM", "no place in a data set"),
        (element(0x00020010, b"UI", b"1.2.840.10008.1.2\0"), "no place"),
        (element(0x00080005, b"zz", b""), "VR"),
        (element(0x00080005, b"??", b""), "VR"),
        (element(0x00091001, b"\4\0", b""), "VR"),
        (element(0x00080016, b"UI", b"1.2", 0x4000), "truncated"),
        (element(0x00081111, b"UN", b"", 0xFFFFFFFF), "truncated"),
        (element(0x00081140, b"OF", b"", 0), "truncated"),
    ],
    ids=lambda value: str(value)[:24],
)
def test_what_is_no_data_set_is_refused_with_the_reason(data: bytes, why: str) -> None:
    with pytest.raises(Undecodable, match=why):
        scan(data)


@pytest.mark.parametrize(
    ("is_in", "came_in", "named"),
    [
        (EXPLICIT_LE, IMPLICIT_LE, "Explicit VR"),
        (IMPLICIT_LE, EXPLICIT_LE, "Implicit VR"),
        (EXPLICIT_LE, EXPLICIT_BE, "other byte order"),
        (EXPLICIT_BE, EXPLICIT_LE, "other byte order"),
        (EXPLICIT_BE, IMPLICIT_LE, "other byte order"),
        (IMPLICIT_LE, EXPLICIT_BE, "other byte order"),
    ],
)
def test_the_wrong_encoding_is_recognised(is_in: str, came_in: str, named: str) -> None:
    with pytest.raises(ObjectMismatch, match=named):
        scan(sample(is_in), came_in)


@pytest.mark.parametrize("step", [7, 100_000])
def test_a_vr_that_no_edition_has_yet_is_passed_by_its_32_bit_length(step: int) -> None:
    later = raw_objects.element(0x00102000, "ZZ", bytes(70_000))
    inner = raw_objects.element(0xFFFEE000, value=raw_objects.element(0x00080100, "ZZ", "later"))
    data = raw_objects.identified(
        "later",
        before=raw_objects.element(0x00081032, "SQ", inner) + later,
        after=raw_objects.element(0x00280010, "US", b"\2\0"),
    )
    head = scan(data, step=step)
    assert (head.values[0x00280010], head.flags) == (b"\2\0", frozenset())


@pytest.mark.parametrize("step", [7, 100_000])
@pytest.mark.parametrize("vr", [b"??", b"--", b"  ", b"\0\0"])
def test_a_private_element_without_a_vr_is_passed_by_its_16_bit_length_and_flagged(vr: bytes, step: int) -> None:
    before, after = (element(tag, vr, b"abcd") for tag in (0x00091001, 0x7FE11001))
    head = scan(raw_objects.identified("none", before=before, after=after), step=step)
    assert head.values[SERIES_UID].rstrip(b"\0").decode() == uid("series", "none")
    assert head.flags == {"no-vr"}


@pytest.mark.parametrize("step", [7, 100_000])
@pytest.mark.parametrize("zeros", [2, 8, 510])
@pytest.mark.parametrize("syntax", [EXPLICIT_LE, IMPLICIT_LE, EXPLICIT_BE, DEFLATED_LE])
def test_zeros_behind_a_data_set_are_flagged(syntax: str, zeros: int, step: int) -> None:
    data = sample(EXPLICIT_LE if syntax == DEFLATED_LE else syntax) + bytes(zeros)
    squeeze = zlib.compressobj(wbits=-15)
    head = scan(squeeze.compress(data) + squeeze.flush() if syntax == DEFLATED_LE else data, syntax, step)
    assert head.flags == {"zeros-behind"}


@pytest.mark.parametrize("step", [7, 100_000])
@pytest.mark.parametrize("zeros", [1, 7, 9])
def test_zeros_that_make_an_odd_data_set_even_are_flagged(zeros: int, step: int) -> None:
    after = element(0x7FE00010, b"OW", bytes(8))
    odd = raw_objects.identified("odd", before=element(0x00091001, b"OB", b"abc"), after=after)
    assert scan(odd + bytes(zeros), step=step).flags == {"odd-length", "zeros-behind"}
    with pytest.raises(Undecodable, match="truncated"):
        scan(raw_objects.identified("even", after=after) + bytes(zeros), step=step)


def test_a_value_that_keeps_the_uids_out_of_the_head_is_refused_at_its_header() -> None:
    scanner = HeadScanner(IMPLICIT_LE)
    huge = b"\x10\x00\x00\x40" + (2 << 30).to_bytes(4, "little")
    with pytest.raises(Undecodable, match="identifying UIDs"):
        scanner.feed(b"\x08\x00\x16\x00\x04\x00\x00\x001.2\0" + huge)


@pytest.mark.parametrize("depth", [300, 30_000])
def test_deep_nesting_before_the_uids_is_refused_without_recursion(depth: int) -> None:
    opened = element(0x00081140, b"SQ", b"", 0xFFFFFFFF) + b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
    with pytest.raises(Undecodable, match="levels"):
        scan(element(0x00080016, b"UI", b"1.2\0") + opened * depth, max_elements=10**9)


def test_caps_met_behind_the_uids_leave_the_object_and_flag_it() -> None:
    many = b"".join(element(0x00210010 + n, b"LO", b"") for n in range(300))
    head = scan(sample() + many, max_elements=100)
    assert "head-cut" in head.flags
    behind = element(0x00210200, b"LO", b"") + element(0x00280010, b"US", b"\0\4")
    begin, _ = sample().split(element(0x00280010, b"US", b"\0\2"))
    head = scan(begin + many + behind, max_elements=100)
    assert ("head-cut" in head.flags, 0x00280010 in head.values) == (True, False), "the rest stays unread"
    with pytest.raises(Undecodable, match="100 elements"):
        scan(
            element(0x00080008, b"CS", b"") + b"".join(element(0x00091010, b"LO", b"") for _ in range(300)),
            max_elements=100,
        )


def test_a_value_that_is_far_too_long_is_left_out_and_flagged() -> None:
    dataset = tiny("long")
    dataset.add_new(0x00104000, "LT", "x" * 60_000)
    assert "value-too-long:PatientComments" in scan(encoded(dataset)).flags


def test_tags_out_of_order_are_flagged_and_the_first_value_counts() -> None:
    data = encoded(tiny("order")) + element(0x00100020, b"LO", b"LATER ")
    head = scan(data)
    assert "tags-out-of-order" in head.flags
    assert head.values[0x00100020].strip() == b"T-1"


def test_a_long_undefined_sequence_behind_the_head_costs_little() -> None:
    items = b"\xfe\xff\x00\xe0\x00\x00\x00\x00" * 100_000
    end = b"\xfe\xff\xdd\xe0\x00\x00\x00\x00"
    data = encoded(tiny("contours")) + element(0x50000010, b"SQ", items + end, 0xFFFFFFFF)
    assert "tail-unchecked" in scan(data).flags


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=400), st.integers(1, 50), st.sampled_from((*NATIVE, DEFLATED_LE)))
def test_any_bytes_in_any_fragments_are_a_head_or_a_refusal(data: bytes, step: int, syntax: str) -> None:
    def outcome(size: int | None) -> object:
        try:
            return scan(data, syntax, size)
        except BadObject as refusal:
            return type(refusal)

    assert outcome(step) == outcome(None)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_damaged_object_is_described_or_refused_and_nothing_else(data: st.DataObject) -> None:
    content = bytearray(sample())
    for _ in range(data.draw(st.integers(1, 5))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        described = describe(scan(bytes(content)))
    except BadObject:
        return
    assert described.sop_uid


def test_an_empty_dataset_object_is_refused() -> None:
    with pytest.raises(Undecodable):
        scan(encoded(Dataset()))
