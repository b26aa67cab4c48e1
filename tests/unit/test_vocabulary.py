"""Fields that an admin names: what is taken, what is refused with a reason, and what is read of an object."""

import pytest
from pydicom import Dataset
from pydicom.tag import Tag
from support.samples import encoded, tiny

from pacs_server.dicom.attributes import Level, Matching
from pacs_server.dicom.describe import describe
from pacs_server.dicom.elements import EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE
from pacs_server.dicom.header import HeadScanner
from pacs_server.dicom.vocabulary import Field, Vocabulary, field_of, new_field
from pacs_server.errors import Refused


def held(name: str, level: Level = Level.IMAGE, vr: str = "") -> Field:
    new = new_field(name, level, vr)
    return field_of(row=7, keyword=new.keyword, tag=new.tag, creator=new.creator, vr=new.vr, level=level, is_ready=True)


def values_of(field: Field, data_set: Dataset, syntax: str = EXPLICIT_LE, step: int = 1 << 20) -> list[tuple[str, str]]:
    vocabulary = Vocabulary([field])
    scanner = HeadScanner(syntax, vocabulary=vocabulary)
    raw = encoded(data_set, syntax)
    for start in range(0, len(raw), step):
        scanner.feed(raw[start : start + step])
    found = describe(scanner.finish(), vocabulary=vocabulary).fields.get(field, ())
    return [(one.value, one.sought) for one in found]


@pytest.mark.parametrize(
    ("name", "keyword", "tag", "vr", "matching"),
    [
        ("ContrastBolusAgent", "ContrastBolusAgent", 0x00180010, "LO", Matching.TEXT),
        ("0018,0010", "ContrastBolusAgent", 0x00180010, "LO", Matching.TEXT),
        ("00189074", "FrameAcquisitionDateTime", 0x00189074, "DT", Matching.MOMENT),
        ("SamplesPerPixel", "SamplesPerPixel", 0x00280002, "US", Matching.NUMBER),
        ("PhysiciansOfRecord", "PhysiciansOfRecord", 0x00081048, "PN", Matching.NAME),
        ("0019xx18:GEMS_ACQU_01", "0019xx18:GEMS_ACQU_01", 0x00190018, "LO", Matching.TEXT),
    ],
)
def test_a_field_is_named_by_keyword_tag_or_private_creator(
    name: str, keyword: str, tag: int, vr: str, matching: Matching
) -> None:
    field = new_field(name, Level.SERIES)
    assert (field.keyword, field.tag, field.vr, field.matching) == (keyword, tag, vr, matching)


@pytest.mark.parametrize(
    ("name", "vr", "said"),
    [
        ("PatientName", "", "holds PatientName anyway"),
        ("ContrastBolusAgnt", "", "did you mean ContrastBolusAgent"),
        ("ContrastBolusAgentSequence", "", "cannot be compared"),
        ("PixelData", "", "before the pixel data"),
        ("0002,0010", "", "before the pixel data"),
        ("0019,1018", "LO", "name its creator, like 0019xx18:CREATOR"),
        ("0019xx18:NOBODY KNOWS", "", "--vr"),
        ("0018xx18:EVEN", "LO", "has to be odd"),
    ],
)
def test_what_cannot_be_a_field_is_refused_with_the_reason(name: str, vr: str, said: str) -> None:
    with pytest.raises(Refused, match=said):
        new_field(name, Level.IMAGE, vr)


@pytest.mark.parametrize("syntax", [EXPLICIT_LE, IMPLICIT_LE, EXPLICIT_BE])
@pytest.mark.parametrize("step", [1, 1 << 20])
def test_values_are_read_in_every_encoding_and_in_pieces_of_any_size(syntax: str, step: int) -> None:
    data_set = tiny(1, SamplesPerPixel=3, ContrastBolusAgent="Gd")
    assert values_of(held("SamplesPerPixel"), data_set, syntax, step) == [("3", "3")]
    assert values_of(held("ContrastBolusAgent"), data_set, syntax, step) == [("Gd", "Gd")]


@pytest.mark.parametrize("syntax", [EXPLICIT_LE, IMPLICIT_LE])
@pytest.mark.parametrize("step", [1, 1 << 20])
def test_a_private_element_is_found_in_whichever_block_its_creator_has(syntax: str, step: int) -> None:
    data_set = tiny(1)
    data_set.private_block(0x0029, "SOMEBODY ELSE", create=True).add_new(0x10, "LO", "not this")
    data_set.private_block(0x0029, "ACME 1.0", create=True).add_new(0x10, "LO", "this")
    assert Tag(0x0029, 0x1110) in data_set
    assert values_of(held("0029xx10:ACME 1.0", vr="LO"), data_set, syntax, step) == [("this", "this")]


def test_each_value_of_a_list_is_sought_by_itself() -> None:
    assert values_of(held("ContrastBolusAgent"), tiny(1, ContrastBolusAgent="A")) == [("A", "A")]
    software = held("SoftwareVersions")
    assert values_of(software, tiny(1, SoftwareVersions=["1.0", "2.0"])) == [("1.0", "1.0"), ("2.0", "2.0")]
    physicians = held("PhysiciansOfRecord")
    named = tiny(1, PhysiciansOfRecord=["Yamada^Taro", "Sato"], SpecificCharacterSet="ISO_IR 192")
    assert [sought for _, sought in values_of(physicians, named)] == ["=YAMADA TARO===", "=SATO==="]


def test_a_value_that_is_not_what_its_vr_promises_is_flagged_and_not_held() -> None:
    field = held("FrameAcquisitionDateTime")
    vocabulary = Vocabulary([field])
    scanner = HeadScanner(EXPLICIT_LE, vocabulary=vocabulary)
    data_set = tiny(1)
    data_set.add_new(0x00189074, "LO", "yesterday")
    scanner.feed(encoded(data_set))
    description = describe(scanner.finish(), vocabulary=vocabulary)
    assert description.fields == {}
    assert [(flag.kind, flag.detail) for flag in description.flags] == [("invalid-value", field.keyword)]
