"""Queries and retrieves find the right rows: the same on every database."""

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from functools import cache
from typing import Any
from unicodedata import normalize

import pytest
from benchmark.studies import record_studies
from sqlalchemy import Connection, text
from sqlalchemy.dialects.sqlite.pysqlite import dialect as sqlite_dialect
from sqlalchemy.engine.interfaces import CacheStats
from sqlalchemy.event import listen
from support.arrivals import CT, EXPLICIT_LE, arrival
from support.raw_objects import element

from pacs_server.dicom.attributes import BY_KEYWORD, Level
from pacs_server.dicom.charset import decode
from pacs_server.dicom.queries.matching import Manner, Model, parse_query, query_from_keywords
from pacs_server.dicom.queries.retrieval import RetrieveRequest
from pacs_server.errors import BadQuery
from pacs_server.index.engine import Index
from pacs_server.index.queries.criteria import criterion
from pacs_server.index.queries.finding import rows_of
from pacs_server.index.queries.search import Search
from pacs_server.index.recording.instances import Instances
from pacs_server.index.tables import CONTENT

MR = "1.2.840.10008.5.1.4.1.1.4"


def fill(index: Index) -> None:
    objects = Instances(index)
    objects.record(
        arrival("1.2.3.4.1", study="1.2.3", series="1.2.3.1", patient_id="A_1", study_date="20260105",
                study_time="1015", accession_number="ACC%1", instance_number=2, rows=512, series_number=1,
                patient_name="Yamada^Tarou=山田^太郎=やまだ^たろう", study_description="Chest [PA]")
    )  # fmt: skip
    objects.record(arrival("1.2.3.4.2", study="1.2.3", series="1.2.3.1", patient_id="A_1", instance_number=10))
    objects.record(
        arrival("1.2.3.4.3", study="1.2.3", series="1.2.3.2", patient_id="A_1", modality="SR", series_number=2,
                performing_physician="Doe^Jane")
    )  # fmt: skip
    objects.record(
        arrival("1.2.4.4.1", study="1.2.4", patient_id="AX1", study_date="20260201", study_time="101530.5",
                accession_number="ACCx1", patient_name="SUZUKI^ICHIRO", modality="MR", sop_class=MR, syntax="1.2.4.70",
                study_description="Chest P")
    )  # fmt: skip
    objects.record(
        arrival("1.2.5.4.1", study="1.2.5", patient_id="a'; --", study_date=None, patient_name="ｻﾄｳ^ﾊﾅｺ", issuer="B")
    )  # fmt: skip


@pytest.fixture
def search(index: Index) -> Search:
    """Of an index that belongs to the test, which may add to it."""
    fill(index)
    return Search(index)


@pytest.fixture(scope="module")
def filled(shared_index: Callable[[str], Index]) -> Callable[[str], Search]:
    """Searches of an index of either kind, which is filled once."""

    @cache
    def of(kind: str) -> Search:
        fill(shared_index(kind))
        return Search(shared_index(kind))

    return of


@pytest.fixture
def shared(kind: str, filled: Callable[[str], Search]) -> Search:
    """Of an index that other tests ask as well, and nobody changes."""
    return filled(kind)


def uids(search: Search, level: Level = Level.STUDY, **keys: str) -> list[object]:
    column = {
        Level.PATIENT: "PatientID",
        Level.STUDY: "StudyInstanceUID",
        Level.SERIES: "SeriesInstanceUID",
        Level.IMAGE: "SOPInstanceUID",
    }[level]
    return [row[0] for row in search.find(query_from_keywords(level, keys), (BY_KEYWORD[column],))]


ALL = ["1.2.4", "1.2.3", "1.2.5"]


@pytest.mark.parametrize(
    ("keys", "found"),
    [
        ({}, ALL),
        ({"PatientID": "A_1"}, ["1.2.3"]),
        ({"PatientID": "A?1"}, ["1.2.4", "1.2.3"]),
        ({"PatientID": "A_*"}, ["1.2.3"]),
        ({"PatientID": "a*"}, ["1.2.5"]),
        ({"PatientID": "a'; --"}, ["1.2.5"]),
        ({"PatientID": "A_1\\AX1"}, ["1.2.4", "1.2.3"]),
        ({"AccessionNumber": "ACC%1"}, ["1.2.3"]),
        ({"AccessionNumber": "ACC%*"}, ["1.2.3"]),
        ({"StudyDescription": "*[PA]"}, ["1.2.3"]),
        ({"StudyDescription": "Chest ?"}, ["1.2.4"]),
        ({"StudyInstanceUID": "1.2.3\\1.2.5\\9.9"}, ["1.2.3", "1.2.5"]),
        ({"StudyInstanceUID": "1.2.*"}, []),
        ({"StudyDate": "20260105"}, ["1.2.3"]),
        ({"StudyDate": "20260101-20260131"}, ["1.2.3"]),
        ({"StudyDate": "20260106-"}, ["1.2.4"]),
        ({"StudyDate": "-20260131"}, ["1.2.3"]),
        ({"StudyTime": "1015"}, ["1.2.4", "1.2.3"]),
        ({"StudyTime": "101530-"}, ["1.2.4"]),
        ({"StudyTime": "10-11"}, ["1.2.4", "1.2.3"]),
        ({"StudyTime": "-1014"}, []),
        ({"ModalitiesInStudy": "SR"}, ["1.2.3"]),
        ({"ModalitiesInStudy": "MR\\SR"}, ["1.2.4", "1.2.3"]),
        ({"ModalitiesInStudy": "M*"}, ["1.2.4"]),
        ({"SOPClassesInStudy": MR}, ["1.2.4"]),
        ({"PatientName": "yamada^tarou"}, ["1.2.3"]),
        ({"PatientName": "YAMADA*"}, ["1.2.3"]),
        ({"PatientName": "山田*"}, ["1.2.3"]),
        ({"PatientName": "*田*"}, ["1.2.3"]),
        ({"PatientName": "ヤマダ^タロウ"}, ["1.2.3"]),
        ({"PatientName": "ﾔﾏﾀﾞ*"}, ["1.2.3"]),
        ({"PatientName": "さとう*"}, ["1.2.5"]),
        ({"PatientName": "=山田^太郎="}, ["1.2.3"]),
        ({"PatientName": "Suzuki*=山田*"}, []),
        ({"PatientName": "田*"}, []),
        ({"PerformingPhysicianName": "doe*"}, ["1.2.3"]),
        ({"SeriesNumber": "2"}, ["1.2.3"]),
        ({"IssuerOfPatientID": "B"}, ["1.2.5"]),
    ],
)
def test_a_study_query_finds_exactly_these(shared: Search, keys: dict[str, str], found: list[str]) -> None:
    assert uids(shared, **keys) == found


@pytest.mark.parametrize(
    ("keys", "found"),
    [
        ({"PatientID": "47\\11"}, ["1.2.6"]),
        ({"PatientID": "47\\11\\A_1"}, ["1.2.3"]),
        ({"StudyDescription": "CT\\造影"}, ["1.2.6"]),
        ({"StudyDescription": "CT\\*影"}, ["1.2.6"]),
        ({"StudyDescription": "CT"}, []),
    ],
)
def test_a_text_that_was_sent_with_a_backslash_is_found_as_it_is_answered(
    index: Index, search: Search, keys: dict[str, str], found: list[str]
) -> None:
    Instances(index).record(arrival("1.2.6.4.1", study="1.2.6", patient_id="47\\11", study_description="CT\\造影"))
    assert uids(search, **keys) == found


@pytest.mark.parametrize(
    ("pair", "shifted_pair"),
    [
        (b"!A", b"\x81\x60"),
        (b"!B", b"\x81\x61"),
        (b"!]", b"\x81\x7c"),
        (b"!q", b"\x81\x91"),
        (b"!r", b"\x81\x92"),
        (b'"L', b"\x81\xca"),
    ],
    ids=["〜", "‖", "−", "¢", "£", "¬"],
)
def test_a_character_of_jis_is_found_from_whichever_coded_form_it_was_read(
    index: Index, search: Search, pair: bytes, shifted_pair: bytes
) -> None:
    called = decode(b"\x1b$B;3ED" + pair + b"\x1b(B", ("", "ISO 2022 IR 87"), vr="PN").text
    shifted = decode("山田".encode("cp932") + shifted_pair, (), vr="PN").text
    assert called != shifted
    for study, name in (("1.2.6", called), ("1.2.7", shifted)):
        Instances(index).record(
            arrival(f"{study}.4.1", study=study, patient_id=study, patient_name=f"{name}^太郎", study_description=name)
        )
    for typed in (called, shifted):
        for keys in ({"StudyDescription": typed}, {"StudyDescription": f"*{typed[1:]}"}, {"PatientName": f"{typed}*"}):
            assert sorted(map(str, uids(search, **keys))) == ["1.2.6", "1.2.7"]


def test_a_text_is_found_whether_its_marks_are_characters_of_their_own_or_not(index: Index, search: Search) -> None:
    composed, decomposed = (normalize(form, "がん検診 バリウム") for form in ("NFC", "NFD"))
    assert composed != decomposed
    for study, text_of_it in (("1.2.6", composed), ("1.2.7", decomposed)):
        Instances(index).record(arrival(f"{study}.4.1", study=study, study_description=text_of_it))
    for typed in (composed, decomposed):
        for key in (typed, f"{typed[:5]}*", f"*{typed[-5:]}"):
            assert sorted(map(str, uids(search, StudyDescription=key))) == ["1.2.6", "1.2.7"]


def test_an_ideograph_that_unicode_would_replace_by_another_stays_what_it_is(index: Index, search: Search) -> None:
    Instances(index).record(arrival("1.2.6.4.1", study="1.2.6", study_description="\ufa19が"))
    assert uids(search, StudyDescription="神が") == []
    assert uids(search, StudyDescription="\ufa19" + normalize("NFD", "が")) == ["1.2.6"]


def test_as_many_values_as_are_looked_for_at_once_are_and_more_are_refused(shared: Search) -> None:
    many = {
        "PatientName": "\\".join(f"N{number}*" for number in range(300)),
        "StudyDate": "\\".join(f"2026{number:04}-" for number in range(900)),
        "StudyDescription": "\\".join(f"N{number}*" for number in range(900)),
        "OtherPatientIDs": "\\".join(f"N{number}" for number in range(900)),
    }
    assert uids(shared, **many) == []
    for keyword, values in many.items():
        with pytest.raises(BadQuery, match=f"{keyword} has more values than are looked for at once; ask in parts"):
            uids(shared, **{keyword: f"{values}\\20261231-"})
    assert uids(shared, StudyInstanceUID="\\".join(f"9.9.{number}" for number in range(2_000))) == []


@pytest.mark.parametrize(
    ("keyword", "hit", "number", "is_found"),
    [
        ("PatientName", "*mada*", 300, True),
        ("StudyDate", "20260105-20260105", 900, True),
        ("ModalitiesInStudy", "SR", 900, True),
        ("SOPClassesInStudy", MR, 900, True),
        ("ReferringPhysicianName", "*nobody*", 300, False),
        ("PerformingPhysicianName", "*jane*", 300, True),
        ("SeriesDescription", "Chest*", 900, False),
        ("RequestAttributesSequence.ScheduledProcedureStepID", "S*", 900, False),
        ("ImageType", "PRIMARY", 900, False),
        ("ContentDate", "20260105-", 900, False),
    ],
)
def test_as_many_values_as_are_looked_for_at_once_are_at_every_level(
    shared: Search, keyword: str, hit: str, number: int, is_found: bool
) -> None:
    suffix = "-" if "-" in hit else "*" if hit.endswith("*") else ""
    others = [f"{19000000 + number}{suffix}" for number in range(number - 1)]
    for level in Level:
        assert bool(uids(shared, level, **{keyword: "\\".join([*others, hit])})) is is_found


@pytest.mark.parametrize(
    ("keyword", "number"), [("OtherPatientIDs", 900), ("ModalitiesInStudy", 900), ("PerformingPhysicianName", 300)]
)
def test_many_values_are_few_regular_expressions(keyword: str, number: int) -> None:
    """Python keeps 512 that it has compiled; with more each was compiled again for each row."""
    query = query_from_keywords(Level.STUDY, {keyword: "\\".join(f"N{each}*" for each in range(number))})
    (condition,) = (criterion(predicate, Level.STUDY) for predicate in query.predicates)
    assert 1 <= str(condition.compile(dialect=sqlite_dialect())).count("REGEXP") <= 15


@pytest.mark.parametrize(
    "pattern", ["*[" * 400_000 + "*", "*" * 400_000 + "Chest*", "?" * 400_000, "*Chest" + "?" * 1_020]
)
@pytest.mark.parametrize("keyword", ["PatientID", "StudyDescription", "OtherPatientIDs", "ModalitiesInStudy"])
def test_what_is_longer_than_any_text_that_is_held_is_found_nowhere(shared: Search, keyword: str, pattern: str) -> None:
    is_found = keyword == "StudyDescription" and pattern.endswith("Chest*")
    began = time.process_time()
    assert uids(shared, **{keyword: pattern}) == (["1.2.4", "1.2.3"] if is_found else [])
    assert time.process_time() - began < 2


@pytest.mark.parametrize(
    "keyword", ["PatientName", "StudyDescription", "OtherPatientIDs", "ProcedureCodeSequence.CodeValue"]
)
def test_the_statement_of_a_query_with_many_values_is_not_kept(index: Index, keyword: str) -> None:
    """SQLAlchemy keeps 500; of 900 patterns each they filled a gigabyte."""
    kept = []

    def note(
        _connection: Connection, _cursor: object, sql: str, _parameters: object, context: Any, _many: bool
    ) -> None:
        if sql.startswith("SELECT"):
            kept.append(context.cache_hit is not CacheStats.CACHING_DISABLED)

    listen(index.engine, "before_cursor_execute", note)
    for number in (1, 300):
        assert uids(Search(index), **{keyword: "\\".join(f"*N{each}*" for each in range(number))}) == []
    assert kept == [True, False]


def test_queries_that_differ_in_their_values_alone_each_find_their_own(shared: Search) -> None:
    """They are one statement, made once."""
    for _ in range(2):
        assert uids(shared, PatientID="A_1") == ["1.2.3"]
        assert uids(shared, PatientID="AX1") == ["1.2.4"]
        assert uids(shared, PatientID="AX1\\A_1") == ["1.2.4", "1.2.3"]
        assert uids(shared, PatientID="\\".join(["AX1", *map(str, range(100))])) == ["1.2.4"], "of many it is not made"
        assert uids(shared, PatientID="\0000") == [], "no value stands for another"
        assert uids(shared, StudyDate="20260105", PatientID="AX1") == []
        assert uids(shared, StudyDate="20260201", PatientID="AX1") == ["1.2.4"]
        assert uids(shared, StudyDate="20260201-", PatientID="AX1") == ["1.2.4"]
        assert uids(shared, StudyDate="-20260131", PatientID="AX1") == []
        assert uids(shared, PatientName="yama*") == ["1.2.3"]
        assert uids(shared, PatientName="suz*") == ["1.2.4"]
        assert uids(shared, PatientName="*mada*") == ["1.2.3"]
        assert uids(shared, PatientName="*suki*") == []
        assert uids(shared, PatientName="*zuki*") == ["1.2.4"]


@pytest.mark.parametrize("keys", [{"StudyDate": "20200101-"}, {"PatientID": "A*"}])
def test_a_query_that_is_given_up_holds_nothing(index: Index, search: Search, keys: dict[str, str]) -> None:
    answers = search.find(query_from_keywords(Level.STUDY, keys), (BY_KEYWORD["StudyInstanceUID"],))
    assert next(iter(answers))
    answers.close()  # type: ignore[attr-defined]
    with index.write_alone() as connection:
        connection.execute(text("DELETE FROM jobs"))
    assert index.engine.pool.checkedout() == 0  # type: ignore[attr-defined]


@pytest.mark.parametrize("level", list(Level))
@pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
def test_what_was_asked_before_with_other_values_is_not_compiled_anew(index: Index, level: Level) -> None:
    compiled: list[object] = []

    def authorize(*what: object) -> int:  # SQLite asks while it compiles a statement, and at no other time
        compiled.append(what)
        return sqlite3.SQLITE_OK

    index.engine.dispose()
    listen(index.engine, "connect", lambda connection, _: connection.set_authorizer(authorize))
    search, columns = Search(index), (BY_KEYWORD["InstanceAvailability"], BY_KEYWORD["PatientID"])
    for patient_id, is_new in (("A_1", True), ("AX1", False), ("none", False)):
        compiled.clear()
        assert list(search.find(query_from_keywords(level, {"PatientID": patient_id}), columns)) == []
        assert bool(compiled) is is_new


def test_every_level_is_answered(shared: Search) -> None:
    assert sorted(map(str, uids(shared, Level.PATIENT))) == ["AX1", "A_1", "a'; --"]
    assert uids(shared, Level.SERIES, StudyInstanceUID="1.2.3") == ["1.2.3.1", "1.2.3.2"]
    assert uids(shared, Level.IMAGE, SeriesInstanceUID="1.2.3.1") == ["1.2.3.4.1", "1.2.3.4.2"]
    assert uids(shared, Level.IMAGE, InstanceNumber="10") == ["1.2.3.4.2"]
    assert uids(shared, Level.PATIENT, ModalitiesInStudy="SR") == ["A_1"]


def test_a_number_is_found_up_to_the_greatest_that_is_held_and_asked_up_to_the_longest(
    index: Index, search: Search
) -> None:
    numbers = {"1.2.6.1": 2**31 - 1, "1.2.6.2": -(2**31)}
    for sop_uid, number in numbers.items():
        Instances(index).record(arrival(sop_uid, study="1.2.6", instance_number=number))
    for sop_uid, number in numbers.items():
        assert uids(search, Level.IMAGE, InstanceNumber=str(number)) == [sop_uid]
    assert uids(search, Level.IMAGE, InstanceNumber="4294967295\\-99999999999\\999999999999") == []


def test_answers_hold_counts_and_values_of_the_levels_above_and_below(shared: Search) -> None:
    keywords = ("NumberOfStudyRelatedSeries", "NumberOfStudyRelatedInstances", "ModalitiesInStudy", "SOPClassesInStudy",
                "NumberOfPatientRelatedStudies", "PerformingPhysicianName", "Rows", "SeriesInstanceUID")  # fmt: skip
    columns = [BY_KEYWORD[keyword] for keyword in keywords]
    query = query_from_keywords(Level.STUDY, {"StudyInstanceUID": "1.2.3"})
    (row,) = shared.find(query, columns)
    assert tuple(row) == (2, 3, "CT\\SR", CT, 1, None, 512, None)


def test_a_version_is_neither_found_nor_counted(index: Index, search: Search) -> None:
    Instances(index).record(arrival("1.2.3.4.1", study="1.2.3", series="1.2.3.1", patient_id="A_1", content="other"))
    assert uids(search, Level.IMAGE, SOPInstanceUID="1.2.3.4.1") == ["1.2.3.4.1"]


@pytest.mark.parametrize(
    ("dates", "times", "found"),
    [
        ("20260301-20260302", "-1030", ["1.2.7"]),  # from the beginning of the 1st, at whatever time that one was
        ("20260228-20260301", "1030-", ["1.2.7"]),
        ("20260301-20260302", "0000-", []),
        ("20260228-20260301", "-2359", []),
    ],
)
def test_a_study_without_a_time_is_of_each_whole_day_of_a_range_of_moments(
    index: Index, search: Search, dates: str, times: str, found: list[str]
) -> None:
    Instances(index).record(arrival("1.2.7.1", study="1.2.7", study_date="20260301", study_time=None))
    keys = element(0x00080020, "DA", dates) + element(0x00080030, "TM", times) + element(0x00080052, "CS", "STUDY")
    query = parse_query(keys, EXPLICIT_LE, Model.STUDY_ROOT, manner=Manner(combines_moments=True))
    assert [row[0] for row in search.find(query, (BY_KEYWORD["StudyInstanceUID"],))] == found


def test_a_limit_ends_the_answers(shared: Search) -> None:
    query = query_from_keywords(Level.IMAGE, {})
    assert len(list(shared.find(query, (), limit=2))) == 2


def test_a_retrieve_names_objects_in_order_with_their_copies(shared: Search) -> None:
    items = shared.deliverables(RetrieveRequest(level=Level.STUDY, study_uids=("1.2.3",)))
    assert [item.sop_uid for item in items] == ["1.2.3.4.1", "1.2.3.4.2", "1.2.3.4.3"]
    assert (items[0].sop_class, items[0].transfer_syntax, items[0].size_bytes) == (CT, EXPLICIT_LE, 1000)
    assert [copy.volume_id for copy in items[0].copies] == ["volume-1"]


def test_a_retrieve_of_many_uids_is_complete(shared: Search) -> None:
    wanted = (*(f"9.9.{n}" for n in range(2_000)), "1.2.3.4.2", "1.2.4.4.1")
    items = shared.deliverables(RetrieveRequest(level=Level.IMAGE, sop_uids=wanted))
    assert {item.sop_uid for item in items} == {"1.2.3.4.2", "1.2.4.4.1"}


def test_a_patient_id_of_two_issuers_moves_nothing_unless_the_issuer_is_given(index: Index, search: Search) -> None:
    Instances(index).record(arrival("1.2.6.1", study="1.2.6", patient_id="A_1", issuer="OTHER"))
    with pytest.raises(BadQuery, match="Issuer"):
        search.deliverables(RetrieveRequest(level=Level.PATIENT, patient_ids=("A_1",)))
    (item,) = search.deliverables(RetrieveRequest(level=Level.PATIENT, patient_ids=("A_1",), issuers=("OTHER",)))
    assert item.sop_uid == "1.2.6.1"


def test_a_patient_id_of_two_names_moves_what_is_of_both(index: Index, search: Search) -> None:
    objects = Instances(index)
    for study, name in (("1.2.7", "SMITH^ANNA"), ("1.2.8", "JONES^ANNA"), ("1.2.9", "YAMADA^TARO")):
        objects.record(arrival(f"{study}.1", study=study, patient_id="M-1", patient_name=name))
    objects.record(arrival("1.2.10.1", study="1.2.10", patient_id="M-2", issuer="A", patient_name="SMITH^ANNA"))
    objects.record(arrival("1.2.11.1", study="1.2.11", patient_id="M-2", issuer="A", patient_name="JONES^ANNA"))
    items = search.deliverables(RetrieveRequest(level=Level.PATIENT, patient_ids=("M-1", "M-2")))
    assert [item.sop_uid for item in items] == ["1.2.7.1", "1.2.8.1", "1.2.9.1", "1.2.10.1", "1.2.11.1"]


def test_the_usual_syntax_of_a_class_is_that_of_most_of_its_objects(shared: Search) -> None:
    assert shared.usual_syntax(MR) == "1.2.4.70"
    assert shared.usual_syntax("9.9") is None


def test_counts_tell_how_much_is_held(shared: Search) -> None:
    counts = shared.counts()
    assert (counts["patients"], counts["studies"], counts["series"], counts["instances"]) == (3, 3, 4, 5)
    assert (counts["copies"], counts["versions"], counts["bytes"]) == (5, 0, 5000)


@pytest.mark.parametrize(
    "keys",
    [
        {"PatientID": "A1"},
        {"AccessionNumber": "A1"},
        {"StudyDate": "20260101-20260131"},
        {"StudyInstanceUID": "1.2.3"},
        {"SeriesInstanceUID": "1.2.3"},
        {"SOPInstanceUID": "1.2.3"},
        {"PatientName": "yamada*"},
        {"PatientName": "山田*"},
        {"PatientName": "*山田*"},
        {"PatientName": "*田"},
        {"PatientName": "=*田*"},
        {"ModalitiesInStudy": "MR", "StudyDate": "20260101-20260131"},
        {"ReferringPhysicianName": "*doe*"},
        {"PerformingPhysicianName": "doe*"},
    ],
)
def test_the_usual_queries_read_no_table_from_end_to_end(
    new_upgraded_url: Callable[[], str], keys: dict[str, str]
) -> None:
    url = new_upgraded_url()
    if not url.startswith("sqlite"):
        pytest.skip("PostgreSQL chooses its plans by the size of its tables")
    for plan in plans_of(url, keys):
        tables = [str(table.name) for table in CONTENT]
        scanned = [step for step in plan if step.startswith(tuple(f"SCAN {name}" for name in tables))]
        assert not [step for step in plan if step in scanned or "modality" in step], plan


@pytest.mark.parametrize("keys", [{"ModalitiesInStudy": "SR"}, {"Modality": "SR"}, {"SOPClassesInStudy": MR}])
@pytest.mark.parametrize("others", ["", "\\CT", "".join(f"\\{n}" for n in range(40))])
def test_a_study_is_not_looked_below_for_what_it_does_not_tell_of(
    index: Index, search: Search, keys: dict[str, str], others: str
) -> None:
    keys = {keyword: value + others for keyword, value in keys.items()}
    found = uids(search, **keys)
    assert found
    with index.write() as connection:
        connection.execute(text("UPDATE studies SET modalities = 'OT', sop_classes = '1.2'"))
    assert uids(Search(index), **keys) == (found if len(others) > 40 else [])


@pytest.mark.parametrize("keys", [{"PatientBirthDate": "19600131"}, {"PatientID": "*123"}])
def test_a_patient_is_not_looked_for_study_by_study_in_the_order_of_their_days(
    new_upgraded_url: Callable[[], str], keys: dict[str, str]
) -> None:
    url = new_upgraded_url()
    if not url.startswith("sqlite"):
        pytest.skip("PostgreSQL chooses its plans by the size of its tables")
    assert not [step for plan in plans_of(url, keys) for step in plan if "ix_studies_study_date" in step]
    (by_day, _) = plans_of(url, keys | {"StudyDate": "20260101"})
    assert any("ix_studies_study_date" in step for step in by_day)


@pytest.mark.parametrize(
    ("keys", "condition"),
    [
        ({"StudyDate": "20260101-20260131"}, "study_date >="),
        ({"StudyDate": "20260131"}, "study_date >="),
        ({"ReferringPhysicianName": "*doe*"}, "referring_physician_folded ~>"),
    ],
)
def test_days_and_names_of_physicians_are_found_by_their_index_on_postgresql_too(
    new_upgraded_url: Callable[[], str], keys: dict[str, str], condition: str
) -> None:
    url = new_upgraded_url()
    if url.startswith("sqlite"):
        pytest.skip("shown above")
    plan = plan_of_postgresql(url, keys, column_of="StudyDate")
    assert any("Index Cond" in step and condition in step for step in plan), plan


@pytest.mark.parametrize("keys", [{}, {"StudyDate": "20260101-20260131"}])
def test_the_newest_studies_come_first_without_any_being_sorted_on_postgresql_too(
    new_upgraded_url: Callable[[], str], keys: dict[str, str]
) -> None:
    url = new_upgraded_url()
    if url.startswith("sqlite"):
        pytest.skip("shown above")
    plan = plan_of_postgresql(url, keys, column_of="PatientID")
    assert any("Index Scan using ix_studies_newest" in step for step in plan), plan
    assert not [step for step in plan if "Sort" in step], plan


@pytest.mark.parametrize("keys", [{"PatientID": "A1"}, {"AccessionNumber": "A1"}, {"SOPInstanceUID": "1.2.3"}])
def test_what_few_studies_have_is_not_sought_in_the_order_of_their_days(
    new_upgraded_url: Callable[[], str], keys: dict[str, str]
) -> None:
    """PostgreSQL would where it has no statistics of it yet, as after a copy."""
    url = new_upgraded_url()
    if url.startswith("sqlite"):
        (plan, _) = plans_of(url, keys)
    else:
        plan = plan_of_postgresql(url, keys, column_of="PatientID")
    assert not [step for step in plan if "ix_studies_newest" in step or "ix_studies_study_date" in step], plan


def test_what_hardly_any_study_has_is_sought_in_another_order_than_that_of_their_days_on_postgresql(
    new_upgraded_url: Callable[[], str],
) -> None:
    url = new_upgraded_url()
    if url.startswith("sqlite"):
        pytest.skip("SQLite chooses its plans without the number of rows")
    with closing(Index.open(url)) as index:
        record_studies(index, "volume", count=6_000, objects=1, seed=1)
        with index.write() as connection:
            connection.execute(text("ANALYZE"))
        with index.read() as connection:
            for keys in ({"StudyID": "5000"}, {"AccessionNumber": "*5000"}, {"ModalitiesInStudy": "PT"}):
                plan = steps_of(connection, keys, column_of="PatientID")
                assert not [step for step in plan if "ix_studies_newest" in step], plan
            for keys in ({}, {"StudyDate": "20200301-"}):
                plan = steps_of(connection, keys, column_of="PatientID")
                assert any("ix_studies_newest" in step for step in plan), plan


def plan_of_postgresql(url: str, keys: dict[str, str], *, column_of: str) -> list[str]:
    """The steps in which PostgreSQL finds the studies of a query, as if its tables were large."""
    with closing(Index.open(url)) as index, index.read() as connection:
        for without in ("enable_seqscan", "enable_sort", "enable_hashjoin", "enable_bitmapscan"):
            connection.execute(text(f"SET LOCAL {without} = off"))  # which is best for tables without rows
        return steps_of(connection, keys, column_of=column_of)


def steps_of(connection: Connection, keys: dict[str, str], *, column_of: str) -> list[str]:
    """The steps in which PostgreSQL finds the studies of a query that are read as they come."""
    query = query_from_keywords(Level.STUDY, keys)
    statement = rows_of(query.level, query.predicates, (BY_KEYWORD[column_of],), None)
    compiled = str(statement.compile(dialect=connection.dialect, compile_kwargs={"literal_binds": True}))
    explained = f"EXPLAIN DECLARE found NO SCROLL CURSOR FOR {compiled}"
    return [str(step) for step in connection.exec_driver_sql(explained).scalars()]


def plans_of(url: str, keys: dict[str, str]) -> list[list[str]]:
    """The steps in which SQLite finds the studies of a query, of all and of a limited number."""
    query = query_from_keywords(Level.STUDY, keys)
    plans = []
    with closing(Index.open(url)) as index, index.read() as connection:
        for limit in (None, 10):
            statement = rows_of(query.level, query.predicates, (BY_KEYWORD["PatientID"],), limit)
            compiled = statement.compile(dialect=index.engine.dialect, compile_kwargs={"literal_binds": True})
            asked = text(f"EXPLAIN QUERY PLAN {compiled}".replace(":", "\\:"))
            plans.append([str(row[3]) for row in connection.execute(asked)])
    return plans
