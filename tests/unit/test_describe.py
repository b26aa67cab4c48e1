"""What the index records of an object."""

import pytest
from pydicom.dataset import Dataset
from support.raw_objects import element, identified
from support.samples import encoded, tiny

from pacs_server.dicom.attributes import BY_TAG, Level
from pacs_server.dicom.describe import Description, Flag, describe
from pacs_server.dicom.elements import EXPLICIT, EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE
from pacs_server.dicom.header import HeadScanner
from pacs_server.dicom.queries.matching import Model
from pacs_server.dicom.queries.retrieval import parse_retrieve
from pacs_server.errors import InvalidUid, ObjectMismatch


def described(*, syntax: str = EXPLICIT_LE, charset: str = "", issuer: str = "", **values: object) -> Description:
    scanner = HeadScanner(syntax)
    scanner.feed(encoded(tiny("described", **values), syntax))
    return describe(scanner.finish(), assumed_charset=charset, default_issuer=issuer)


def raw_value(tag: int, value: bytes, *, vr: bytes = b"UI") -> Description:
    content = encoded(tiny("raw"))
    keyword = tag.to_bytes(4, "big")
    encoded_tag = keyword[1::-1] + keyword[:1:-1]
    start = content.index(encoded_tag + vr)
    old = int.from_bytes(content[start + 6 : start + 8], "little")
    content = content[: start + 6] + len(value).to_bytes(2, "little") + value + content[start + 8 + old :]
    scanner = HeadScanner(EXPLICIT_LE)
    scanner.feed(content)
    return describe(scanner.finish())


@pytest.mark.parametrize("syntax", [IMPLICIT_LE, EXPLICIT_LE, EXPLICIT_BE])
def test_values_are_read_in_every_encoding(syntax: str) -> None:
    found = described(syntax=syntax, Rows=512, InstanceNumber=7, StudyDescription="Chest ")
    assert (found.instance["rows"], found.instance["instance_number"]) == (512, 7)
    assert (found.study["study_description"], found.patient["patient_id"]) == ("Chest", "T-1")
    assert found.flags == ()


def test_a_name_is_kept_as_it_is_and_folded_for_search() -> None:
    found = described(SpecificCharacterSet="ISO_IR 192", PatientName="Yamada^Tarou=山田^太郎=やまだ^たろう")
    assert found.patient["patient_name"] == "Yamada^Tarou=山田^太郎=やまだ^たろう"
    assert found.patient["patient_name_ideographic"] == "山田 太郎"
    assert found.patient["patient_name_phonetic"] == "ヤマダ タロウ"


@pytest.mark.parametrize("value", [b"", b"../x", b"1..2", b"1.2.\0", b"abc\0", b"1" * 66, b"/abs/x"])
def test_a_sop_instance_uid_of_another_form_is_refused(value: bytes) -> None:
    with pytest.raises(InvalidUid):
        raw_value(0x00080018, value)


def test_padding_and_leading_zeros_of_a_uid_are_tolerated() -> None:
    assert raw_value(0x00080018, b"1.2.3 ").sop_uid == "1.2.3"
    found = raw_value(0x00080018, b"1.02.3\0\0")
    assert found.sop_uid == "1.02.3"
    assert Flag(kind="malformed-uid", detail="SOPInstanceUID") in found.flags


@pytest.mark.parametrize("tag", [0x0020000D, 0x0020000E, 0x00080016])
def test_an_empty_study_series_or_class_uid_is_refused(tag: int) -> None:
    with pytest.raises(ObjectMismatch):
        raw_value(tag, b"")


@pytest.mark.parametrize("value", [b"../../etc\0", b"C:/x", b"CON\0"])
def test_a_study_uid_of_another_form_is_kept_and_flagged(value: bytes) -> None:
    found = raw_value(0x0020000D, value)
    assert found.study_uid == value.rstrip(b"\0").decode()
    assert Flag(kind="malformed-uid", detail="StudyInstanceUID") in found.flags


@pytest.mark.parametrize("value", [b" 1.2.3\0", b"1.2\\3\0", b"1.2.*\0", b"1.2.?\0"])
def test_a_study_uid_is_kept_as_one_that_can_be_asked_for(value: bytes) -> None:
    found = raw_value(0x0020000D, value)
    key = EXPLICIT.write_header(0x0020000D, b"UI", len(found.study_uid)) + found.study_uid.encode()
    asked = parse_retrieve(key, EXPLICIT_LE, Model.STUDY_ROOT)
    assert asked.study_uids == (found.study_uid,)
    assert (found.study_uid == "1.2.3") is value.startswith(b" ")
    assert (Flag(kind="malformed-uid", detail="StudyInstanceUID") in found.flags) is not value.startswith(b" ")


@pytest.mark.parametrize(
    ("tag", "vr", "value", "column", "expected"),
    [
        (0x00080020, b"DA", b"00000000", "study_date", None),
        (0x00080020, b"DA", b"20260230", "study_date", None),
        (0x00080020, b"DA", b"2026.01.05", "study_date", "20260105"),
        (0x00080020, b"DA", b"R8.1.5", "study_date", None),
        (0x00080030, b"TM", b"24:00:60", "study_time", None),
        (0x00080030, b"TM", b"10:15:30", "study_time", "101530"),
    ],
)
def test_a_value_that_is_none_of_its_vr_is_empty_or_put_right_and_flagged(
    tag: int, vr: bytes, value: bytes, column: str, expected: str | None
) -> None:
    found = raw_value(tag, value, vr=vr)
    assert found.study[column] == expected
    assert "invalid-value" in [flag.kind for flag in found.flags]


@pytest.mark.parametrize(
    ("tag", "vr", "value", "expected"),
    [
        (0x00080020, "DA", "20200101" + "9" * 5_000, None),
        (0x00080020, "DA", "２０２０", None),
        (0x00080030, "TM", "1٢", None),
        (0x00101010, "AS", "040Y", "040Y"),
        (0x00101010, "AS", "40Y", "040Y"),
        (0x00101010, "AS", "forty", None),
        (0x00101030, "DS", "72.50000000000000001", "72.50000000000000001"),
        (0x00101030, "DS", "1e9", "1e9"),
        (0x00101030, "DS", "9" * 500, None),
        (0x00101030, "DS", "heavy", None),
        (0x00200013, "IS", "1e9", None),
        (0x00200013, "IS", "٣", None),
        (0x00200013, "IS", "9" * 5_000, None),
    ],
    ids=lambda value: str(value)[:12],
)
def test_what_is_no_date_number_age_or_time_leaves_its_column_empty(
    tag: int, vr: str, value: str, expected: str
) -> None:
    scanner = HeadScanner(EXPLICIT_LE)
    scanner.feed(identified("value", **{"after" if tag > 0x0020000E else "before": element(tag, vr, value)}))
    found = describe(scanner.finish())
    attribute = BY_TAG[tag]
    column = {Level.STUDY: found.study, Level.IMAGE: found.instance}[attribute.level][attribute.column]
    assert column == expected
    flags = [flag for flag in found.flags if flag.kind == "invalid-value"]
    assert flags == ([] if expected == value else [Flag(kind="invalid-value", detail=attribute.keyword)])


def test_a_damaged_sequence_is_flagged() -> None:
    scanner = HeadScanner(EXPLICIT_LE)
    scanner.feed(identified("items", before=element(0x00081032, "SQ", element(0xFFFEE000, "", b"", 400))))
    assert Flag(kind="invalid-value", detail="ProcedureCodeSequence") in describe(scanner.finish()).flags


def test_each_of_several_ids_of_items_is_kept_once() -> None:
    items = []
    for ids in ("R1 \\R2", "R3\\R1"):
        items.append(Dataset())
        items[-1].RequestedProcedureID = ids
    (several,) = described(RequestAttributesSequence=items).fields.values()
    assert [one.value for one in several] == ["R1", "R2", "R3"]


def test_a_patient_is_issuer_and_id_and_without_id_one_of_its_own_per_study() -> None:
    assert described().patient["identity"] == "\x1fT-1"
    assert described(issuer="SITE").patient["identity"] == "SITE\x1fT-1"
    assert described(issuer="SITE", IssuerOfPatientID="OWN").patient["identity"] == "OWN\x1fT-1"
    anonymous = described(PatientID="")
    assert anonymous.patient["identity"] == f"study\x1f{anonymous.study_uid}"


def test_text_without_a_label_is_read_as_its_sender_is_known_to_write() -> None:
    scanner = HeadScanner(EXPLICIT_LE)
    scanner.feed(encoded(tiny("sjis")).replace(b"Test^Tiny ", "山田^太郎".encode("cp932") + b" "))
    found = describe(scanner.finish(), assumed_charset="SHIFT_JIS")
    assert found.patient["patient_name"] == "山田^太郎"
    assert "charset-assumed" in [flag.kind for flag in found.flags]
