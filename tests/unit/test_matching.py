"""Identifiers become predicates, and rows become answers that any reader understands."""

from io import BytesIO

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from support.samples import encoded

from pacs_server.dicom.attributes import BY_KEYWORD, Level
from pacs_server.dicom.elements import EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE, ITEM, encoding_of
from pacs_server.dicom.queries.answer import encoder_of
from pacs_server.dicom.queries.matching import Manner, Model, Query, parse_query, query_from_keywords
from pacs_server.dicom.queries.predicates import (
    Between,
    BetweenMoments,
    HasItem,
    Like,
    NameLike,
    Nothing,
    NumberIn,
    OneOf,
    predicate_of,
)
from pacs_server.dicom.queries.retrieval import Named, named_in, parse_retrieve
from pacs_server.errors import BadQuery

SYNTAXES = (IMPLICIT_LE, EXPLICIT_LE, EXPLICIT_BE)


def asked(level: str | None = "STUDY", **keys: object) -> Dataset:
    dataset = Dataset()
    if level is not None:
        dataset.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        setattr(dataset, keyword, value)
    return dataset


def query(dataset: Dataset, syntax: str = IMPLICIT_LE, model: Model = Model.STUDY_ROOT) -> Query:
    return parse_query(encoded(dataset, syntax), syntax, model)


def predicate(keyword: str, value: str) -> object:
    made = query_from_keywords(Level.STUDY, {keyword: value}).predicates
    return made[0] if made else None


@pytest.mark.parametrize("value", ["", "*", "**", " ", "\\", " \\ "])
def test_a_universal_key_restricts_nothing(value: str) -> None:
    assert predicate("PatientID", value) is None


@pytest.mark.parametrize("value", ["^^^^", "*^*", "*^*^*^*^*", "^*", "*=*=*", "*^*=*^*", "SMITH\\*^*"])
def test_a_name_of_nothing_but_delimiters_and_asterisks_restricts_nothing(value: str) -> None:
    assert predicate("PatientName", value) is None


def test_each_kind_of_key_becomes_its_predicate() -> None:
    assert predicate("OtherPatientIDs", "1\\2") == OneOf(BY_KEYWORD["OtherPatientIDs"], ("1", "2"))
    assert predicate("PatientID", "1*") == Like(BY_KEYWORD["PatientID"], ("1*",))
    assert predicate("StudyDate", "20260101-") == Between(BY_KEYWORD["StudyDate"], (("20260101", None),), is_range=True)
    assert predicate("StudyTime", "1000-11") == Between(
        BY_KEYWORD["StudyTime"], (("10", "115959.999999"),), is_range=True
    )
    assert predicate("StudyTime", "103000.50-") == Between(
        BY_KEYWORD["StudyTime"], (("103000.5", None),), is_range=True
    )
    assert predicate("InstanceNumber", "7") == NumberIn(BY_KEYWORD["InstanceNumber"], (7,))
    assert isinstance(predicate("PatientName", "山*"), NameLike)


def test_a_list_for_an_attribute_of_one_value_is_also_the_text_that_it_is_as_a_whole() -> None:
    assert predicate("PatientID", "1\\2") == OneOf(BY_KEYWORD["PatientID"], ("1", "2", "1\\2"))
    assert predicate("StudyDescription", "CT\\") == OneOf(BY_KEYWORD["StudyDescription"], ("CT", "CT\\"))
    assert predicate("AccessionNumber", "1\\2*") == Like(BY_KEYWORD["AccessionNumber"], ("1", "2*", "1\\2*"))


def test_a_range_of_dates_and_one_of_times_become_one_of_moments_and_leave_every_other_key() -> None:
    keys = {"PatientID": "4711", "StudyDate": "20260101-20260103", "StudyTime": "2200-0600"}
    identifier, manner = encoded(asked(**keys), IMPLICIT_LE), Manner(combines_moments=True)
    made = parse_query(identifier, IMPLICIT_LE, Model.STUDY_ROOT, manner=manner)
    day, clock = (predicate(keyword, keys[keyword]) for keyword in ("StudyDate", "StudyTime"))
    assert isinstance(day, Between)
    assert isinstance(clock, Between)
    combined = BetweenMoments(day.attribute, clock.attribute, day.bounds[0], clock.bounds[0])
    assert made.predicates == (predicate("PatientID", "4711"), combined)
    apart = parse_query(identifier, IMPLICIT_LE, Model.STUDY_ROOT)
    assert set(apart.predicates) == {predicate("PatientID", "4711"), day, clock}


def test_an_age_is_asked_for_as_it_is_held_however_many_digits_it_has() -> None:
    assert predicate("PatientAge", "45Y\\3M") == OneOf(BY_KEYWORD["PatientAge"], ("045Y", "003M"))
    assert predicate("PatientAge", "*5Y") == Like(BY_KEYWORD["PatientAge"], ("*5Y",))


def test_the_ends_of_a_range_need_not_be_in_the_calendar() -> None:
    february, day = predicate("StudyDate", "2026.02.01-2026.02.31"), predicate("StudyTime", "0000-2400")
    assert february == Between(BY_KEYWORD["StudyDate"], (("20260201", "20260231"),), is_range=True)
    assert day == Between(BY_KEYWORD["StudyTime"], (("00", "240059.999999"),), is_range=True)


@pytest.mark.parametrize("keyword", ["StudyDate", "StudyTime", "PatientBirthDate"])
@pytest.mark.parametrize("value", ["-", " - ", "20260101-20260131\\-"])
def test_a_range_that_is_open_at_both_ends_restricts_nothing(keyword: str, value: str) -> None:
    assert predicate_of(BY_KEYWORD[keyword], value) is None


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("StudyDate", "--"),
        ("StudyDate", "20260231"),
        ("StudyDate", "20260201-2026023"),
        ("StudyDate", "2020"),
        ("StudyTime", "99"),
        ("StudyInstanceUID", "1.*"),
        ("Rows", "x"),
        ("InstanceNumber", "٧"),
        ("InstanceNumber", "1234567890123"),
    ],
)
def test_a_value_that_the_vr_cannot_have_matches_nothing(keyword: str, value: str) -> None:
    assert isinstance(predicate_of(BY_KEYWORD[keyword], value), Nothing)


@pytest.mark.parametrize(
    ("keyword", "value", "form"),
    [
        ("StudyDate", "2026-01-31", "no date: write 20260131"),
        ("StudyDate", "20261345", "no date"),
        ("StudyTime", "99", "no time"),
    ],
)
def test_a_person_who_types_no_date_is_told_how_one_is_written(keyword: str, value: str, form: str) -> None:
    with pytest.raises(BadQuery, match=f"^{value} is {form}"):
        query_from_keywords(Level.STUDY, {keyword: value})


def test_an_unknown_keyword_is_named_with_the_nearest() -> None:
    with pytest.raises(BadQuery, match="PatientName"):
        query_from_keywords(Level.STUDY, {"PatientNam": "x"})


@pytest.mark.parametrize(
    ("dataset", "model"),
    [
        (asked(None, PatientID="1"), Model.STUDY_ROOT),
        (asked("NONSENSE"), Model.STUDY_ROOT),
        (asked("IMAGE"), Model.PATIENT_STUDY_ONLY),
    ],
)
def test_a_wrong_level_is_refused(dataset: Dataset, model: Model) -> None:
    with pytest.raises(BadQuery):
        query(dataset, model=model)


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_an_answer_holds_what_was_asked_in_the_syntax_of_the_context(syntax: str) -> None:
    keys = {"PatientName": "", "StudyDate": "", "StudyInstanceUID": "", "NumberOfStudyRelatedInstances": ""}
    made = query(asked(**keys, RequestedProcedureDescription=""), syntax)
    encoder = encoder_of(made, syntax, reply_charset="", retrieve_aet="PACS")
    values = {"PatientName": "山田^太郎", "StudyDate": None, "StudyInstanceUID": "1.2.3", "StudyDescription": None}
    row = [values.get(column.keyword, 12) for column in encoder.columns]
    (content,) = encoder.encode([row])
    answer = pydicom.filereader.read_dataset(BytesIO(content), syntax == IMPLICIT_LE, syntax != EXPLICIT_BE)
    assert (answer.SpecificCharacterSet, answer.QueryRetrieveLevel) == ("ISO_IR 192", "STUDY")
    answer.decode()
    assert (str(answer.PatientName), answer.StudyInstanceUID) == ("山田^太郎", "1.2.3")
    assert (answer.NumberOfStudyRelatedInstances, answer.RetrieveAETitle) == (12, "PACS")
    assert "RequestedProcedureDescription" in answer
    assert [element.tag for element in answer] == sorted(element.tag for element in answer)


def test_where_it_can_be_retrieved_from_is_answered_once_whether_asked_for_or_not() -> None:
    answers = []
    for keys in ({}, {"RetrieveAETitle": ""}):
        made = query(asked(StudyInstanceUID="", **keys), EXPLICIT_LE)
        encoder = encoder_of(made, EXPLICIT_LE, reply_charset="", retrieve_aet="PACS")
        answers += encoder.encode([["1.2.3"]])
    assert answers[0] == answers[1]
    assert answers[0].count(b"\x08\x00\x54\x00AE\x04\x00PACS") == 1


@pytest.mark.parametrize(("offset", "is_unsupported"), [("", False), ("+0900", True)])
def test_a_time_zone_that_is_not_known_is_left_out_of_the_answers(offset: str, is_unsupported: bool) -> None:
    made = query(asked(StudyInstanceUID="", TimezoneOffsetFromUTC=offset))
    assert [key.tag for key in made.return_keys] == [BY_KEYWORD["StudyInstanceUID"].tag]
    assert made.has_unsupported_keys is is_unsupported


def test_the_same_bytes_are_read_once_for_each_meaning_that_they_may_have() -> None:
    raw = encoded(asked(PatientName="NAME"), IMPLICIT_LE).replace(b"NAME", "Иван".encode("iso8859_5"))
    first = parse_query(raw, IMPLICIT_LE, Model.STUDY_ROOT, assumed_charset="ISO_IR 144")
    assert parse_query(raw, IMPLICIT_LE, Model.STUDY_ROOT, assumed_charset="ISO_IR 144") is first
    assert parse_query(raw, IMPLICIT_LE, Model.STUDY_ROOT, assumed_charset="ISO_IR 100") != first
    with pytest.raises(BadQuery):
        parse_query(raw, EXPLICIT_LE, Model.STUDY_ROOT, assumed_charset="ISO_IR 144")


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_group_lengths_are_no_keys(syntax: str) -> None:
    plain, encoding = asked(StudyInstanceUID="1.2"), encoding_of(syntax)
    length = encoding.write_header(0x00080000, b"UL", 4) + bytes(4)
    item = encoding.write_header(ITEM, b"", len(length)) + length
    items = encoding.write_header(0x00081032, b"SQ", len(item)) + item
    made = parse_query(length + items + encoded(plain, syntax), syntax, Model.STUDY_ROOT)
    plain.ProcedureCodeSequence = []
    assert made == query(plain, syntax)


def test_a_retrieve_takes_its_level_from_the_lowest_uid_when_it_states_none() -> None:
    dataset = asked(None, StudyInstanceUID="1.2", SeriesInstanceUID="1.3")
    assert parse_retrieve(encoded(dataset, EXPLICIT_LE), EXPLICIT_LE, Model.STUDY_ROOT).level is Level.SERIES


@pytest.mark.parametrize("uid", ["1." + "2" * 70, "1..2", "abc"])
def test_a_study_with_an_odd_uid_that_was_stored_can_be_retrieved(uid: str) -> None:
    identifier = encoded(asked(StudyInstanceUID=uid), EXPLICIT_LE)
    assert parse_retrieve(identifier, EXPLICIT_LE, Model.STUDY_ROOT).study_uids == (uid,)


def test_a_patient_id_that_was_sent_with_a_backslash_is_retrieved_as_it_was_answered() -> None:
    dataset = asked(StudyInstanceUID="1.2\\1.3", PatientID="47\\11")
    request = parse_retrieve(encoded(dataset, EXPLICIT_LE), EXPLICIT_LE, Model.PATIENT_ROOT)
    assert (request.patient_ids, request.study_uids) == (("47", "11", "47\\11"), ("1.2", "1.3"))


@pytest.mark.parametrize(
    "dataset",
    [
        asked(),
        asked(StudyInstanceUID=""),
        asked("SERIES", StudyInstanceUID="1.2"),
        asked("PATIENT"),
        asked(None),
        asked(StudyInstanceUID="1.2", SeriesInstanceUID="1.3"),
    ],
    ids=str,
)
def test_a_retrieve_that_is_not_certain_is_refused(dataset: Dataset) -> None:
    with pytest.raises(BadQuery):
        parse_retrieve(encoded(dataset, EXPLICIT_LE), EXPLICIT_LE, Model.STUDY_ROOT)


@pytest.mark.parametrize(
    ("keys", "named"),
    [
        ({"PatientID": "4711 ", "StudyInstanceUID": "1.2"}, Named(patient_id="4711", study_uid="1.2")),
        ({"PatientID": "4711", "IssuerOfPatientID": "A"}, Named(patient_id="4711", issuer="A")),
        ({"PatientID": "4711\\4712", "IssuerOfPatientID": "A"}, Named()),
        ({"PatientID": "47*", "StudyInstanceUID": "1.2\\1.3"}, Named()),
    ],
)
def test_a_retrieve_that_is_refused_names_one_patient_and_one_study_or_none(keys: dict[str, str], named: Named) -> None:
    assert named_in(encoded(asked(None, **keys), EXPLICIT_LE), EXPLICIT_LE) == named
    assert named_in(b"\xff" * 9, EXPLICIT_LE) == Named()


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_any_bytes_are_a_query_or_a_refusal(data: st.DataObject) -> None:
    syntax = data.draw(st.sampled_from(SYNTAXES))
    content = bytearray(encoded(asked(PatientName="A*", StudyDate="20260101-", StudyInstanceUID="1.2"), syntax))
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    for parse in (parse_query, parse_retrieve):
        try:
            parse(bytes(content), syntax, Model.STUDY_ROOT)
        except BadQuery:
            continue


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_binary_numbers_are_read_from_keys_and_written_to_answers(syntax: str) -> None:
    asks = query(asked("IMAGE", Rows=512, Columns=None), syntax, Model.STUDY_ROOT)
    assert asks.predicates == (NumberIn(BY_KEYWORD["Rows"], (512,)),)
    encoder = encoder_of(asks, syntax, reply_charset="", retrieve_aet="PACS")
    row = [{"Rows": 512, "Columns": None}[column.keyword] for column in encoder.columns]
    content = BytesIO(*encoder.encode([row]))
    answer = pydicom.filereader.read_dataset(content, syntax == IMPLICIT_LE, syntax != EXPLICIT_BE)
    assert (answer.Rows, answer["Columns"].value) == (512, None)


def test_items_of_a_sequence_are_typed_behind_its_keyword() -> None:
    keys = {"ProcedureCodeSequence.CodeValue": "1234", "ProcedureCodeSequence.CodeMeaning": "CT*"}
    (found,) = query_from_keywords(Level.STUDY, keys).predicates
    assert isinstance(found, HasItem)
    assert [type(one) for one in found.fields] == [OneOf, Like]


@pytest.mark.parametrize(
    ("keyword", "value", "said"),
    [
        ("PatientNam", "x", "did you mean PatientName"),
        ("RetrieveAETitle", "", "cannot be asked for"),
        ("NumberOfStudyRelatedInstances", "3", "is counted and cannot be searched"),
        ("ProcedureCodeSequence.CodeValu", "3", "did you mean CodeValue"),
        ("Nothing", "3", "pacs index fields add"),
    ],
)
def test_a_typed_key_that_cannot_be_matched_is_refused_with_the_reason(keyword: str, value: str, said: str) -> None:
    with pytest.raises(BadQuery, match=said):
        query_from_keywords(Level.STUDY, {keyword: value})
