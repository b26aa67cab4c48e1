"""Fields that were added: found and answered at every level, read from what was there before, removed again."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from random import Random

import pytest
from pydicom import Dataset, config
from sqlalchemy import select
from support.house import House
from support.samples import encoded, tiny, uid

from pacs_server.archive.backfill import backfill
from pacs_server.dicom.attributes import BY_KEYWORD, UNIQUE_KEY, Level
from pacs_server.dicom.describe import FieldValue, describe
from pacs_server.dicom.elements import EXPLICIT_LE
from pacs_server.dicom.header import HeadScanner
from pacs_server.dicom.identity import ObjectHasher
from pacs_server.dicom.queries.matching import query_from_keywords
from pacs_server.dicom.vocabulary import Vocabulary, new_field
from pacs_server.errors import BadQuery, Refused, UnknownName
from pacs_server.index.engine import Index
from pacs_server.index.objects import Arrival, Outcome
from pacs_server.index.queries.search import Search
from pacs_server.index.recording.fields import Fields, Stage
from pacs_server.index.recording.instances import Instances
from pacs_server.index.retiring import forget_study
from pacs_server.index.tables import extra_values

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def arrival_of(data_set: Dataset, vocabulary: Vocabulary) -> Arrival:
    raw = encoded(data_set, EXPLICIT_LE)
    scanner, hasher = HeadScanner(EXPLICIT_LE, vocabulary=vocabulary), ObjectHasher(EXPLICIT_LE)
    scanner.feed(raw)
    hasher.update(raw)
    return Arrival(
        description=describe(scanner.finish(), vocabulary=vocabulary), digest=hasher.digest(),
        transfer_syntax=EXPLICIT_LE, size_bytes=len(raw), copies=(), received_at=NOW, day=NOW.date(), sender="TEST",
    )  # fmt: skip


@pytest.fixture
def fields(index: Index) -> Fields:
    return Fields(index)


def add(fields: Fields, *named: tuple[str, Level]) -> Vocabulary:
    """Fields that are ready, because nothing was there before."""
    for name, level in named:
        fields.add(new_field(name, level), NOW)
    while field := fields.next_to_read(NOW):
        fields.enter(field, {}, [])
    return fields.vocabulary()


def found(index: Index, vocabulary: Vocabulary, level: Level, **keys: str) -> list[str]:
    query = query_from_keywords(level, keys, vocabulary)
    return sorted(str(row[0]) for row in Search(index).find(query, (UNIQUE_KEY[level],)))


def fill(index: Index) -> Vocabulary:
    vocabulary = add(
        Fields(index),
        ("SoftwareVersions", Level.SERIES),
        ("PhysiciansOfRecord", Level.STUDY),
        ("FrameAcquisitionDateTime", Level.IMAGE),
        ("SamplesPerPixel", Level.IMAGE),
        ("PatientReligiousPreference", Level.PATIENT),
    )
    instances = Instances(index)
    for number, version in enumerate((["1.0", "A"], ["2.0"], None), start=1):
        data_set = tiny(
            1, study=number, PatientID=f"P{number}", SoftwareVersions=version, SamplesPerPixel=number,
            PhysiciansOfRecord=("山田^太郎", "Smith^John", None)[number - 1], SpecificCharacterSet="ISO_IR 192",
            PatientReligiousPreference=("X", None, "Y")[number - 1],
        )  # fmt: skip
        data_set.add_new(0x00189074, "DT", f"2026010{number}120000")
        instances.record(arrival_of(data_set, vocabulary))
    return vocabulary


@pytest.fixture
def filled(index: Index) -> Vocabulary:
    """Of an index that belongs to the test, which may change it."""
    return fill(index)


@pytest.fixture(scope="module")
def filled_once(shared_index: Callable[[str], Index]) -> Callable[[str], tuple[Index, Vocabulary]]:
    @cache
    def of(kind: str) -> tuple[Index, Vocabulary]:
        return shared_index(kind), fill(shared_index(kind))

    return of


@pytest.fixture
def shared(kind: str, filled_once: Callable[[str], tuple[Index, Vocabulary]]) -> tuple[Index, Vocabulary]:
    """An index that other tests ask as well, and nobody changes, and its vocabulary."""
    return filled_once(kind)


@pytest.mark.parametrize("level", list(Level))
@pytest.mark.parametrize(
    ("keys", "numbers"),
    [
        ({"SoftwareVersions": "A"}, [1]),
        ({"SoftwareVersions": "?.0"}, [1, 2]),
        ({"SoftwareVersions": "2.0\\A"}, [1, 2]),
        ({"SoftwareVersions": "a"}, []),
        ({"PhysiciansOfRecord": "smith*"}, [2]),
        ({"PhysiciansOfRecord": "*田*"}, [1]),
        ({"FrameAcquisitionDateTime": "20260102-"}, [2, 3]),
        ({"FrameAcquisitionDateTime": "-20260102115959"}, [1]),
        ({"SamplesPerPixel": "3"}, [3]),
        ({"PatientReligiousPreference": "*Y*"}, [3]),
        ({"PatientReligiousPreference": "*"}, [1, 2, 3]),
        ({"SoftwareVersions": "*.0", "SamplesPerPixel": "2"}, [2]),
    ],
)
def test_a_field_is_matched_at_every_level(
    shared: tuple[Index, Vocabulary], level: Level, keys: dict[str, str], numbers: list[int]
) -> None:
    names = {
        Level.PATIENT: [f"P{number}" for number in numbers],
        Level.STUDY: [uid("study", number) for number in numbers],
        Level.SERIES: [uid("series", number, "series") for number in numbers],
        Level.IMAGE: [uid("object", number, "series", 1) for number in numbers],
    }
    assert found(*shared, level, **keys) == sorted(names[level])


def test_an_object_is_recorded_however_long_the_value_of_a_field_is(index: Index, fields: Fields) -> None:
    vocabulary = add(fields, ("ReferencedFrameOfReferenceUID", Level.SERIES))
    data_set = tiny(1)
    with config.disable_value_validation():
        data_set.ReferencedFrameOfReferenceUID = "".join(Random(1).choices("0123456789.", k=12_000))
        arrival = arrival_of(data_set, vocabulary)
    assert Instances(index).record(arrival).outcome is Outcome.NEW


@pytest.mark.parametrize("level", list(Level))
def test_a_field_is_answered_with_all_its_values_at_every_level(shared: tuple[Index, Vocabulary], level: Level) -> None:
    index, vocabulary = shared
    columns = [BY_KEYWORD["PatientID"], *vocabulary.fields]
    rows = {str(row[0]): list(row[1:]) for row in Search(index).find(query_from_keywords(level, {}), columns)}
    assert rows["P1"] == ["1.0\\A", "山田^太郎", "20260101120000", "1", "X"]
    assert rows["P2"] == ["2.0", "Smith^John", "20260102120000", "2", None]
    assert rows["P3"] == [None, None, "20260103120000", "3", "Y"]


def test_the_first_object_with_a_value_counts_for_its_series(index: Index, fields: Fields) -> None:
    vocabulary = add(fields, ("SoftwareVersions", Level.SERIES))
    for number, version in enumerate((None, "first", ["second", "third"])):
        Instances(index).record(arrival_of(tiny(number, SoftwareVersions=version), vocabulary))
    rows = list(Search(index).find(query_from_keywords(Level.SERIES, {}), vocabulary.fields))
    assert [tuple(row) for row in rows] == [("first",)]


def test_a_key_waits_until_what_was_there_before_is_read(index: Index, fields: Fields) -> None:
    instances = Instances(index)
    for number in range(3):
        instances.record(arrival_of(tiny(number, study=number), Vocabulary()))
    fields.add(new_field("SoftwareVersions", Level.SERIES), NOW)
    with pytest.raises(BadQuery, match="still being read"):
        found(index, fields.vocabulary(), Level.STUDY, SoftwareVersions="1")
    field = fields.next_to_read(NOW)
    assert field is not None
    unread = fields.unread(field, 2)
    fields.enter(field, {unread[0].owner_row: (FieldValue(value="1", sought="1"),)}, unread)
    assert [one.unread for one in fields.progress()] == [1]
    fields.enter(field, {}, fields.unread(field, 2))
    fields.enter(field, {}, fields.unread(field, 2))
    assert found(index, fields.vocabulary(), Level.STUDY, SoftwareVersions="1") == [uid("study", 0)]


def test_what_was_on_its_way_when_a_field_was_added_is_read_an_hour_later(index: Index, fields: Fields) -> None:
    before = fields.vocabulary()
    vocabulary = add(fields, ("SoftwareVersions", Level.SERIES))
    Instances(index).record(arrival_of(tiny(1, study=1), before))
    Instances(index).record(arrival_of(tiny(1, study=2, SoftwareVersions="2"), vocabulary))
    assert fields.next_to_read(NOW) is None
    field = fields.next_to_read(NOW + timedelta(hours=1))
    assert field is not None
    assert [one.instance_row for one in fields.unread(field, 10)] == [1]
    fields.enter(field, {}, [])
    assert [one.stage for one in fields.progress()] == [Stage.DONE]
    assert fields.next_to_read(NOW + timedelta(hours=2)) is None


def move_all(source: Path, target: Path) -> None:
    for path in list(source.iterdir()):
        path.rename(target / path.name)


def test_what_is_on_a_volume_that_went_away_a_moment_ago_is_read_when_it_is_back(
    tmp_path: Path, new_upgraded_url: Callable[[], str]
) -> None:
    house, away = House(tmp_path / "data", new_upgraded_url()), tmp_path / "away"
    away.mkdir()
    house.take_in(tiny(1, study=1, SoftwareVersions="1"), tiny(2, study=2, SoftwareVersions="1"))
    with house.node() as node:
        node.fields.add(new_field("SoftwareVersions", Level.SERIES), NOW)
        field = node.fields.next_to_read(NOW)
        assert field is not None
        placement = node.placement()
        move_all(house.volume, away)
        assert not backfill(node.fields, field, placement, lambda sender: "")
        assert [one.unread for one in node.fields.progress()] == [2]
        move_all(away, house.volume)
        assert [volume.check().is_readable for volume in node.volumes()] == [True]
        while backfill(node.fields, field, placement, lambda sender: ""):
            pass
        studies = found(node.index, node.fields.vocabulary(), Level.STUDY, SoftwareVersions="1")
        assert studies == sorted([uid("study", 1), uid("study", 2)])


def test_a_field_that_is_removed_leaves_nothing_and_may_be_added_again(index: Index, filled: Vocabulary) -> None:
    fields = Fields(index)
    with pytest.raises(Refused, match="added already, at level series"):
        fields.add(new_field("SoftwareVersions", Level.IMAGE), NOW)
    for field in filled.fields:
        fields.remove(field.keyword)
    with pytest.raises(UnknownName):
        fields.remove("SoftwareVersions")
    vocabulary = add(fields, ("SoftwareVersions", Level.SERIES))
    assert found(index, vocabulary, Level.STUDY, SoftwareVersions="A") == []
    assert vocabulary.fields[0].row > max(field.row for field in filled.fields)


def test_a_value_of_a_list_in_the_table_matches_by_itself(index: Index) -> None:
    data_set = tiny(1, ImageType=["ORIGINAL", "PRIMARY", "AXIAL"], OtherPatientIDs=["A-1", "B-2"])
    Instances(index).record(arrival_of(data_set, Vocabulary()))
    sop = [data_set.SOPInstanceUID]
    for value in ("PRIMARY", "ORIGINAL", "AX*", "*", "X\\AXIAL", "P?I*Y", "*I*L"):
        assert found(index, Vocabulary(), Level.IMAGE, ImageType=value) == sop, value
    for value in ("PRI", "O*AXIAL", "ORIGINAL*PRIMARY", "primary", "?"):
        assert found(index, Vocabulary(), Level.IMAGE, ImageType=value) == [], value
    assert found(index, Vocabulary(), Level.PATIENT, OtherPatientIDs="B-2") == ["T-1"]


def test_spaces_around_the_values_of_a_list_are_padding(index: Index) -> None:
    padded = tiny(1)
    padded.add_new(0x00080008, "CS", "ORIGINAL \\ PRIMARY\\AXIAL")
    Instances(index).record(arrival_of(padded, Vocabulary()))
    for value in ("PRIMARY", "ORIGINAL", "PRIM*", "*MARY", "ORIGINA?"):
        assert found(index, Vocabulary(), Level.IMAGE, ImageType=value) == [padded.SOPInstanceUID], value
    assert found(index, Vocabulary(), Level.IMAGE, ImageType="RIMARY") == []


def grouped(number: int, **ids: list[str]) -> Dataset:
    """An object of procedures that were done together: several values where there is to be one."""
    data_set = tiny(number, study=number)
    request, code = Dataset(), Dataset()
    request.RequestedProcedureID = ids.get("RequestedProcedureID", "R9")
    request.ScheduledProcedureStepID = "S9"
    code.CodeValue = "C9"
    data_set.RequestAttributesSequence, data_set.ProcedureCodeSequence = [request], [code]
    data_set.PatientID, data_set.AccessionNumber = ids.get("PatientID", "P9"), ids.get("AccessionNumber", "A9")
    return data_set


GROUPED = {"AccessionNumber": ["A1", "A2 "], "PatientID": ["P1", "P2"], "RequestedProcedureID": ["R1", "R2"]}


def test_an_id_that_came_as_several_is_found_by_each_and_whole(index: Index) -> None:
    many, one = grouped(1, **GROUPED), grouped(2)
    Instances(index).record(arrival_of(many, Vocabulary()))
    Instances(index).record(arrival_of(one, Vocabulary()))
    studies = [str(many.StudyInstanceUID)]
    for keyword, values in GROUPED.items():
        key = f"RequestAttributesSequence.{keyword}" if keyword.startswith("Requested") else keyword
        first, second = (value.strip() for value in values)
        for value in (first, second, f"X\\{second}", f"{first}\\{second}", f"{first}*", f"*{second}"):
            assert found(index, Vocabulary(), Level.STUDY, **{key: value}) == studies, (key, value)
        for value in (first[0], "9", f"{second}X"):
            assert found(index, Vocabulary(), Level.STUDY, **{key: value}) == [], (key, value)
        assert found(index, Vocabulary(), Level.IMAGE, **{key: second}) == [many.SOPInstanceUID]
    assert found(index, Vocabulary(), Level.STUDY, AccessionNumber="A9") == [one.StudyInstanceUID]
    both = {"AccessionNumber": "A2", "PatientID": "P1", "RequestAttributesSequence.RequestedProcedureID": "R2"}
    assert found(index, Vocabulary(), Level.STUDY, **both) == studies
    for item in (many, one):
        forget_study(index, str(item.StudyInstanceUID), NOW)
    with index.read() as connection:
        assert connection.execute(select(extra_values)).all() == []


def test_the_values_of_what_is_gone_are_not_those_of_what_gets_its_place(index: Index, filled: Vocabulary) -> None:
    for number in (3, 2, 1):
        forget_study(index, uid("study", number), NOW)
    Instances(index).record(arrival_of(tiny(1, study=4), filled))  # SQLite gives the numbers of rows anew
    (row,) = Search(index).find(query_from_keywords(Level.IMAGE, {}), filled.fields)
    assert list(row) == [None] * 5
    with index.read() as connection:
        assert connection.execute(select(extra_values)).all() == []
