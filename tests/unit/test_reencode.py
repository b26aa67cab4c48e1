"""Rewriting a data set into another native syntax leaves every value as it was."""

import zlib
from io import BytesIO

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.equality import differences
from support.raw_objects import element, identified
from support.samples import bundled, encoded, tiny

from pacs_server.dicom.element_source import inflated
from pacs_server.dicom.elements import DEFLATED_LE, EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE
from pacs_server.dicom.identity import ObjectHasher
from pacs_server.dicom.part10 import IMPLEMENTATION_CLASS_UID, file_meta, read_file_meta
from pacs_server.dicom.reencode import can_reencode, canonical, reencode
from pacs_server.dicom.stored import digest_of_file, holds_object, is_intact
from pacs_server.errors import Undecodable

SOURCES, TARGETS = (IMPLICIT_LE, EXPLICIT_LE, EXPLICIT_BE), (IMPLICIT_LE, EXPLICIT_LE)


def joined(pieces) -> bytes:
    return b"".join(bytes(piece) for piece in pieces)


def native_files():
    for path in bundled():
        try:
            meta = read_file_meta(path.read_bytes())
        except Undecodable:
            continue
        # priv_SQ holds a private sequence of defined length, which no reader of implicit VR can know for one.
        other = ("truncated", "DICOMDIR", "priv_SQ")
        if meta.transfer_syntax in SOURCES and not any(word in path.name for word in other):
            yield path, meta


@pytest.mark.parametrize("target", TARGETS)
def test_every_native_bundled_file_is_equal_element_by_element(tmp_path, target: str) -> None:
    compared = 0
    for path, meta in native_files():
        data = path.read_bytes()[meta.data_set_offset :]
        again = tmp_path / path.name
        names = {"sop_class": meta.sop_class, "sop_instance": meta.sop_instance}
        again.write_bytes(
            file_meta(**names, transfer_syntax=target) + joined(reencode((data,), meta.transfer_syntax, target))
        )
        assert differences(path, again) == [], path.name
        compared += 1
    assert compared > 50


def test_equal_values_have_one_canonical_form_in_every_syntax() -> None:
    dataset = tiny("canonical", Rows=300, ReferencedImageSequence=[tiny("inner"), tiny("other")], PixelData=b"\1\2\3\4")
    dataset.BitsAllocated = 16
    dataset["PixelData"].VR = "OW"
    forms = {syntax: joined(canonical((encoded(dataset, syntax),), syntax)) for syntax in (IMPLICIT_LE, EXPLICIT_LE)}
    assert len(set(forms.values())) == 1
    dataset.Rows = 301
    assert joined(canonical((encoded(dataset, EXPLICIT_LE),), EXPLICIT_LE)) not in forms.values()


def test_what_says_nothing_is_no_difference_between_values() -> None:
    dataset = tiny("canonical", ReferencedImageSequence=[tiny("inner")])
    plain = encoded(dataset)
    dataset["ReferencedImageSequence"].is_undefined_length = True
    dataset.add_new(0x00080000, "UL", 4711)
    dataset.add_new(0xFFFCFFFC, "OB", b"\0" * 20)
    padded = encoded(dataset)
    assert padded != plain
    assert joined(canonical((padded,), EXPLICIT_LE)) == joined(canonical((plain,), EXPLICIT_LE))


def test_compressed_pixel_data_are_compared_as_they_are() -> None:
    def form(second: bytes, *, comment: str = "", inside: bytes = b"", behind: bytes = b"") -> bytes:
        dataset = tiny("compressed", ImageComments=comment)
        fragments = b"".join(element(0xFFFEE000, value=value) for value in (b"", b"first!", second))
        pixels = element(0x7FE00010, "OB", fragments + inside, length=0xFFFFFFFF) + element(0xFFFEE0DD)
        return joined(canonical((encoded(dataset) + pixels + behind,), "1.2.840.10008.1.2.4.70"))

    assert form(b"second", behind=element(0xFFFCFFFC, "OB", b"\0\0")) == form(b"second")
    assert len({form(b"second"), form(b"sec\0"), form(b"second", comment="other")}) == 3
    with pytest.raises(Undecodable):
        form(b"second", inside=element(0xFFFEE00D))


def test_big_endian_numbers_are_turned_and_text_is_not() -> None:
    dataset = tiny("big", Rows=258, ImageComments="ABCD")
    little = pydicom.dcmread(
        BytesIO(joined(reencode((encoded(dataset, EXPLICIT_BE),), EXPLICIT_BE, EXPLICIT_LE))), force=True
    )
    assert (little.Rows, little.ImageComments) == (258, "ABCD")


def test_the_pixels_of_an_icon_say_nothing_of_those_of_the_image() -> None:
    icon = tiny("icon", BitsAllocated=8, PixelRepresentation=0, PixelData=b"\1\2")
    dataset = tiny("image", BitsAllocated=16, PixelRepresentation=1, IconImageSequence=[icon], PixelData=b"\1\2\3\4")
    dataset["PixelData"].VR = icon["PixelData"].VR = "OW"
    explicit = joined(reencode((encoded(dataset, IMPLICIT_LE),), IMPLICIT_LE, EXPLICIT_LE))
    again = pydicom.dcmread(BytesIO(explicit), force=True)
    assert (again["PixelData"].VR, again.IconImageSequence[0]["PixelData"].VR) == ("OW", "OB")


@pytest.mark.parametrize("zeros", [2, 8, 510])
@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("target", TARGETS)
def test_zeros_behind_a_data_set_are_left_out(source: str, target: str, zeros: int) -> None:
    plain = encoded(tiny("filled up"), source)
    assert joined(reencode((plain + bytes(zeros),), source, target)) == joined(reencode((plain,), source, target))


def test_a_value_too_long_for_its_short_vr_becomes_un() -> None:
    dataset = tiny("long")
    dataset.add_new(0x00204000, "LT", "x" * 70_000)
    explicit = joined(reencode((encoded(dataset, IMPLICIT_LE),), IMPLICIT_LE, EXPLICIT_LE))
    again = pydicom.dcmread(BytesIO(explicit), force=True)
    assert (again[0x00204000].VR, len(again[0x00204000].value)) in [("UN", 70_000), ("LT", 70_000)]


def test_an_element_whose_vr_no_edition_has_yet_is_rewritten_with_its_32_bit_length() -> None:
    later = element(0x00204000, "ZZ", b"x" * 70_000)
    data_set = identified("later", after=later)
    assert joined(reencode((data_set,), EXPLICIT_LE, EXPLICIT_LE)) == data_set
    implicit = joined(reencode((data_set,), EXPLICIT_LE, IMPLICIT_LE))
    assert implicit == identified("later", after=element(0x00204000, value=b"x" * 70_000), implicit=True)


def test_a_private_element_without_a_vr_is_rewritten_as_un() -> None:
    data_set = identified("none", after=b"\x09\x10\x01\x10??\x04\x00abcd")
    explicit = joined(reencode((data_set,), EXPLICIT_LE, EXPLICIT_LE))
    assert explicit == identified("none", after=element(0x10091001, "UN", "abcd"))


def test_only_native_syntaxes_are_rewritten_and_never_into_big_endian() -> None:
    assert can_reencode(EXPLICIT_BE, IMPLICIT_LE)
    assert not can_reencode(EXPLICIT_LE, EXPLICIT_BE)
    assert not can_reencode("1.2.840.10008.1.2.4.50", EXPLICIT_LE)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_a_damaged_data_set_is_rewritten_or_refused_and_nothing_else(data: st.DataObject) -> None:
    syntax = data.draw(st.sampled_from(SOURCES))
    content = bytearray(encoded(tiny("damaged", ReferencedImageSequence=[tiny("inner")]), syntax))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        joined(reencode((bytes(content),), syntax, EXPLICIT_LE))
    except Undecodable:
        return


@pytest.mark.parametrize("step", [1 << 10, 1 << 20])
def test_a_deflate_bomb_is_not_inflated_and_much_of_nothing_is(step: int) -> None:
    def inflated_bytes(mib: int) -> int:
        squeeze = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
        data = squeeze.compress(encoded(tiny("zeros")) + b"\xe0\x7f\x10\0OB\0\0" + (mib << 20).to_bytes(4, "little"))
        data += b"".join(squeeze.compress(bytes(1 << 20)) for _ in range(mib)) + squeeze.flush()
        pieces = (data[start : start + step] for start in range(0, len(data), step))
        return sum(len(piece) for piece in reencode(pieces, DEFLATED_LE, EXPLICIT_LE))

    assert inflated_bytes(60) > 60 << 20
    with pytest.raises(Undecodable, match="bomb"):
        inflated_bytes(70)


def test_a_deflated_data_set_is_whole_however_much_comes_of_its_last_bytes() -> None:
    for size in (*range(1 << 20, (1 << 20) + 260, 4), *range(2 << 20, (2 << 20) + 8)):
        squeeze = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        deflated = squeeze.compress(bytes(size)) + squeeze.flush()
        assert sum(map(len, inflated((deflated,), DEFLATED_LE))) == size


def test_our_file_meta_follows_from_the_three_uids_alone_and_pydicom_reads_it() -> None:
    made = file_meta(sop_class="1.2.3", sop_instance="1.2.3.4", transfer_syntax=EXPLICIT_LE)
    assert made == file_meta(sop_class="1.2.3", sop_instance="1.2.3.4", transfer_syntax=EXPLICIT_LE)
    assert made[:128] == bytes(128)
    meta = pydicom.dcmread(BytesIO(made)).file_meta
    assert (meta.MediaStorageSOPInstanceUID, meta.TransferSyntaxUID) == ("1.2.3.4", EXPLICIT_LE)
    assert meta.ImplementationClassUID == IMPLEMENTATION_CLASS_UID
    assert read_file_meta(made).data_set_offset == len(made)


def stored(transfer_syntax: str, **values: object) -> tuple[bytearray, str]:
    """A file as this archive writes it, and the digest of the object in it."""
    dataset = tiny("stored", **values)
    data = encoded(dataset)
    if transfer_syntax != EXPLICIT_LE:
        data = joined(reencode((data,), EXPLICIT_LE, transfer_syntax))
    meta = file_meta(
        sop_class=dataset.SOPClassUID, sop_instance=dataset.SOPInstanceUID, transfer_syntax=transfer_syntax
    )
    hasher = ObjectHasher(transfer_syntax)
    hasher.update(data)
    return bytearray(meta + data), hasher.digest()


def test_a_flipped_bit_in_a_stored_file_is_noticed() -> None:
    content, digest = stored(EXPLICIT_LE)
    assert digest_of_file((memoryview(content),))[1] == digest
    assert is_intact((memoryview(content),), digest)
    content[-1] ^= 1
    assert not is_intact((memoryview(content),), digest)
    assert not holds_object((memoryview(content),), digest)
    assert not is_intact((memoryview(b"nothing"),), digest)


@pytest.mark.parametrize("transfer_syntax", [EXPLICIT_LE, IMPLICIT_LE, EXPLICIT_BE, DEFLATED_LE])
@pytest.mark.parametrize("before_its_uids", ["", "ORIGINAL\\" * 1000])
def test_any_flipped_bit_before_the_data_set_is_noticed_though_the_object_is_still_there(
    transfer_syntax: str, before_its_uids: str
) -> None:
    content, digest = stored(transfer_syntax, ImageType=before_its_uids)
    whole = bytes(content)
    assert is_intact((memoryview(whole),), digest)
    for place in range(read_file_meta(whole).data_set_offset):
        content[place] ^= 1 << place % 8
        assert not is_intact((memoryview(content),), digest), f"byte {place}"
        content[place] ^= 1 << place % 8
    content[0] ^= 1
    assert holds_object((memoryview(content),), digest)


@pytest.mark.parametrize("target", TARGETS)
def test_a_value_of_odd_length_is_padded_as_its_vr_demands(target: str) -> None:
    def odd(*, is_padded: bool, implicit: bool = False) -> bytes:
        values = ((0x00204000, "LT", b"odd", b" "), (0x00420011, "OB", b"odd", b"\0"))
        padded = [(tag, vr, value + fill if is_padded else value) for tag, vr, value, fill in values]
        after = b"".join(element(tag, "" if implicit else vr, value, len(value)) for tag, vr, value in padded)
        return identified("odd", after=after, implicit=implicit)

    rewritten = joined(reencode((odd(is_padded=False),), EXPLICIT_LE, target))
    assert rewritten == odd(is_padded=True, implicit=target == IMPLICIT_LE)
