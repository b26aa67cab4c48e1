"""Items of sequences, whole and as they arrive in fragments."""

import pytest
from pydicom import DataElement, Dataset
from pydicom.sequence import Sequence
from support.samples import encoded, tiny

from pacs_server.dicom.attributes import Level
from pacs_server.dicom.describe import describe
from pacs_server.dicom.element_source import ElementSource, skip_value
from pacs_server.dicom.elements import (
    EXPLICIT_BE,
    EXPLICIT_LE,
    IMPLICIT_LE,
    ITEM,
    ITEM_END,
    SEQUENCE_END,
    UNDEFINED_LENGTH,
    encoding_of,
)
from pacs_server.dicom.header import HeadScanner
from pacs_server.dicom.items import pack, read_items, unpack
from pacs_server.dicom.queries.matching import Model, parse_query, query_from_keywords
from pacs_server.errors import BadQuery, Undecodable

CODES = (("P5-09051", "SRT", "胸部CT"), ("JJ1017-1", "JJ1017", ""))


def code(value: str, scheme: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    inner = Dataset()
    inner.CodeValue = "INNER"
    item.EquivalentCodeSequence = [inner]
    return item


def data_set(*, undefined: bool) -> Dataset:
    made = tiny(1, study="items", SpecificCharacterSet="ISO_IR 192")
    made.ProcedureCodeSequence = Sequence([code(*one) for one in CODES])
    element = made["ProcedureCodeSequence"]
    element.is_undefined_length = undefined
    for item in element.value:
        item.is_undefined_length_sequence_item = undefined
        item["EquivalentCodeSequence"].is_undefined_length = undefined
    return made


@pytest.mark.parametrize("undefined", [True, False])
@pytest.mark.parametrize("syntax", [EXPLICIT_LE, IMPLICIT_LE, EXPLICIT_BE])
@pytest.mark.parametrize("size", [1, 7, 4096])
def test_items_are_read_whole_or_in_fragments(undefined: bool, syntax: str, size: int) -> None:
    raw = encoded(data_set(undefined=undefined), syntax)
    scanner = HeadScanner(syntax)
    for start in range(0, len(raw), size):
        scanner.feed(raw[start : start + size])
    description = describe(scanner.finish())
    assert description.items == {"procedure_codes": CODES}
    assert description.flags == ()


@pytest.mark.parametrize("undefined", [True, False])
@pytest.mark.parametrize("empty", [0, 2])
def test_items_are_read_of_a_sequence_that_came_as_un(undefined: bool, empty: int) -> None:
    made = data_set(undefined=undefined)
    codes = Dataset()
    codes.SpecificCharacterSet = "ISO_IR 192"
    codes.ProcedureCodeSequence = [*(Dataset() for _ in range(empty)), *made.ProcedureCodeSequence]
    codes["ProcedureCodeSequence"].is_undefined_length = undefined
    tag = int(codes["ProcedureCodeSequence"].tag)
    items = encoded(codes, IMPLICIT_LE).partition(b"\x08\x00\x32\x10")[2][4:]
    header = encoding_of(EXPLICIT_LE).write_header(tag, b"UN", UNDEFINED_LENGTH if undefined else len(items))
    scanner = HeadScanner(EXPLICIT_LE)
    scanner.feed(encoded(made[:tag], EXPLICIT_LE) + header + items + encoded(made[tag + 1 :], EXPLICIT_LE))
    description = describe(scanner.finish())
    assert description.items == {"procedure_codes": CODES}
    assert description.flags == ()


@pytest.mark.parametrize(("outer", "own"), [("\\ISO 2022 IR 87", "ISO_IR 192"), ("ISO_IR 192", "\\ISO 2022 IR 87")])
def test_an_item_with_a_character_set_of_its_own_is_read_by_it(outer: str, own: str) -> None:
    made = tiny(1, study="items", SpecificCharacterSet=outer, StudyDescription="腹部")
    made.ProcedureCodeSequence = [code("1", "JJ1017", "胸部CT"), code("2", "JJ1017", "頭部MR")]
    made.ProcedureCodeSequence[0].SpecificCharacterSet = own
    scanner = HeadScanner(EXPLICIT_LE)
    scanner.feed(encoded(made, EXPLICIT_LE))
    description = describe(scanner.finish())
    assert description.items == {"procedure_codes": (("1", "JJ1017", "胸部CT"), ("2", "JJ1017", "頭部MR"))}
    assert (description.study["study_description"], description.flags) == ("腹部", ())


@pytest.mark.parametrize(("outer", "own"), [("\\ISO 2022 IR 87", "ISO_IR 192"), ("ISO_IR 192", "\\ISO 2022 IR 87")])
def test_a_key_of_an_item_with_a_character_set_of_its_own_is_read_by_it(outer: str, own: str) -> None:
    keys = Dataset()
    keys.SpecificCharacterSet, keys.QueryRetrieveLevel, keys.StudyInstanceUID = outer, "STUDY", ""
    key = Dataset()
    key.SpecificCharacterSet, key.CodeMeaning = own, "胸部*"
    keys.ProcedureCodeSequence = [key]
    made = parse_query(encoded(keys, EXPLICIT_LE), EXPLICIT_LE, Model.STUDY_ROOT)
    assert (
        made.predicates == query_from_keywords(Level.STUDY, {"ProcedureCodeSequence.CodeMeaning": "胸部*"}).predicates
    )
    assert not made.has_unsupported_keys


def protocol(value: str, *, undefined: bool) -> Dataset:
    """A query for request attributes, and of these for the protocol codes, a sequence inside of an item."""
    inner, item, keys = Dataset(), Dataset(), Dataset()
    inner.CodeValue, inner.CodingSchemeDesignator = value, ""
    inner.is_undefined_length_sequence_item = item.is_undefined_length_sequence_item = undefined
    item.ScheduledProtocolCodeSequence, item.RequestedProcedureID = [inner], ""
    item["ScheduledProtocolCodeSequence"].is_undefined_length = undefined
    keys.QueryRetrieveLevel, keys.StudyInstanceUID = "STUDY", ""
    keys.RequestAttributesSequence = [item]
    keys["RequestAttributesSequence"].is_undefined_length = undefined
    return keys


@pytest.mark.parametrize("undefined", [True, False])
@pytest.mark.parametrize("syntax", [EXPLICIT_LE, IMPLICIT_LE, EXPLICIT_BE])
@pytest.mark.parametrize(("value", "asked"), [("", ""), ("*", " 00400275=*"), ("A1", " 00400275=A1")])
def test_a_sequence_inside_of_an_item_says_what_its_own_items_say(
    undefined: bool, syntax: str, value: str, asked: str
) -> None:
    made = parse_query(encoded(protocol(value, undefined=undefined), syntax), syntax, Model.STUDY_ROOT)
    assert made.asked == f"STUDY{asked}"
    assert made.has_unsupported_keys == (value == "A1")


@pytest.mark.parametrize(("syntax", "undefined"), [(EXPLICIT_LE, True), (EXPLICIT_LE, False), (EXPLICIT_BE, True)])
def test_keys_are_read_of_a_sequence_that_came_as_un(syntax: str, undefined: bool) -> None:
    keys, items, item = Dataset(), Dataset(), Dataset()
    keys.QueryRetrieveLevel = "STUDY"
    item.CodeValue, item.CodeMeaning = "JJ*", ""
    items.ProcedureCodeSequence = [item]
    items["ProcedureCodeSequence"].is_undefined_length = undefined
    value = encoded(items, IMPLICIT_LE)[8:]
    length = UNDEFINED_LENGTH if undefined else len(value)
    header = encoding_of(syntax).write_header(int(items["ProcedureCodeSequence"].tag), b"UN", length)
    made = parse_query(encoded(keys, syntax) + header + value, syntax, Model.STUDY_ROOT)
    assert made.predicates == query_from_keywords(Level.STUDY, {"ProcedureCodeSequence.CodeValue": "JJ*"}).predicates
    assert (made.asked, made.has_unsupported_keys) == ("STUDY 00081032=JJ*", False)


@pytest.mark.parametrize("undefined", [True, False])
def test_items_that_are_nested_too_deep_are_no_query(undefined: bool) -> None:
    header = encoding_of(IMPLICIT_LE).write_header
    value = b""
    for _ in range(10):
        length = UNDEFINED_LENGTH if undefined else len(value)
        item = header(ITEM, b"", length) + value + (header(ITEM_END, b"", 0) if undefined else b"")
        end = header(SEQUENCE_END, b"", 0) if undefined else b""
        value = header(0x00081032, b"SQ", UNDEFINED_LENGTH if undefined else len(item)) + item + end
    with pytest.raises(BadQuery, match="nested deeper than 8 levels"):
        parse_query(value, IMPLICIT_LE, Model.STUDY_ROOT)


@pytest.mark.parametrize(("value", "is_unsupported"), [("", False), ("*", False), ("1.2", True)])
def test_a_sequence_that_is_not_held_is_unsupported_where_a_key_of_it_has_a_value(
    value: str, is_unsupported: bool
) -> None:
    keys, item = Dataset(), Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = "", value
    keys.QueryRetrieveLevel, keys.ReferencedStudySequence = "STUDY", [item]
    made = parse_query(encoded(keys, EXPLICIT_LE), EXPLICIT_LE, Model.STUDY_ROOT)
    assert made.has_unsupported_keys is is_unsupported


def private_sequence() -> DataElement:
    """A private sequence of implicit encoding as it is passed on by who does not know it: UN of undefined length."""
    inner = Dataset()
    inner.add_new(0x00431001, "LO", "of a device ")
    header = encoding_of(IMPLICIT_LE).write_header
    item = header(ITEM, b"", UNDEFINED_LENGTH) + encoded(inner, IMPLICIT_LE) + header(ITEM_END, b"", 0)
    made = DataElement(0x00411001, "UN", item)
    made.is_undefined_length = True
    return made


def test_an_item_with_a_private_sequence_of_unknown_vr_is_read_and_so_is_what_stands_behind_it() -> None:
    made = data_set(undefined=True)
    made.ProcedureCodeSequence[0].add(private_sequence())
    scanner = HeadScanner(EXPLICIT_LE)
    scanner.feed(encoded(made, EXPLICIT_LE))
    description = describe(scanner.finish())
    assert (description.items, description.flags) == ({"procedure_codes": CODES}, ())


def test_a_sequence_is_skipped_with_a_private_sequence_of_unknown_vr_in_it() -> None:
    icon, whole = tiny("icon"), Dataset()
    icon.is_undefined_length_sequence_item = True
    icon.add(private_sequence())
    whole.IconImageSequence = [icon]
    whole["IconImageSequence"].is_undefined_length = True
    rest = ElementSource([encoded(whole, EXPLICIT_LE)])
    assert rest.header(encoding_of(EXPLICIT_LE)) == (whole["IconImageSequence"].tag, b"SQ", UNDEFINED_LENGTH)
    skip_value(rest, encoding_of(EXPLICIT_LE), UNDEFINED_LENGTH)
    assert rest.at_end


def test_a_query_with_a_private_sequence_of_unknown_vr_is_read() -> None:
    keys = Dataset()
    keys.QueryRetrieveLevel, keys.AccessionNumber = "STUDY", "A1"
    keys.add(private_sequence())
    keys.add_new(0x40080212, "CS", "READ")
    made = parse_query(encoded(keys, EXPLICIT_LE), EXPLICIT_LE, Model.STUDY_ROOT)
    asked = {"AccessionNumber": "A1", "InterpretationStatusID": "READ"}
    assert made.predicates == query_from_keywords(Level.STUDY, asked).predicates
    assert made.has_unsupported_keys


def test_a_sequence_that_is_too_long_is_flagged_and_left_out() -> None:
    made = data_set(undefined=True)
    made.ProcedureCodeSequence = [code("1", "X" * 16, "m" * 60) for _ in range(400)]
    scanner = HeadScanner(EXPLICIT_LE)
    scanner.feed(encoded(made, EXPLICIT_LE))
    description = describe(scanner.finish())
    assert description.items == {}
    assert [(flag.kind, flag.detail) for flag in description.flags] == [("value-too-long", "ProcedureCodeSequence")]


@pytest.mark.parametrize("cut", range(1, 60))
def test_cut_items_are_refused_or_shorter_never_wrong(cut: int) -> None:
    item = code("P5-09051", "SRT", "CT")
    whole = Dataset()
    whole.ProcedureCodeSequence = [item]
    raw = encoded(whole, EXPLICIT_LE)[12:]
    try:
        found = read_items(raw[:-cut], encoding_of(EXPLICIT_LE))
    except Undecodable:
        return
    assert found in ([], [{}])


def test_packed_items_come_out_again() -> None:
    assert [tuple(item) for item in unpack(pack(CODES))] == list(CODES)
    assert unpack("") == []
