"""Items of sequences, whole and as they arrive in fragments."""

import pytest
from pydicom import Dataset
from pydicom.sequence import Sequence
from support.samples import encoded, tiny

from pacs_server.dicom.describe import describe
from pacs_server.dicom.elements import EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE, encoding_of
from pacs_server.dicom.header import HeadScanner
from pacs_server.dicom.items import pack, read_items, unpack
from pacs_server.errors import Undecodable

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
