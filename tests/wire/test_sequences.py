"""Sequence keys: procedure codes and request attributes are found by their items, and answered with them."""

import pytest
from pydicom import Dataset
from support.dcmtk import STUDY_ROOT, Station
from support.samples import tiny, uid, write
from support.server import Archive

SUCCESS, PENDING, PENDING_OPTIONAL = 0x0000, 0xFF00, 0xFF01


def code(value: str, scheme: str, meaning: str = "") -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


JJ1017 = "10000050100000000000010000000000"


def elsewhere(**where: str) -> Dataset:
    """A code that is no Code Value, as it is too long or a URN."""
    item = code("", "JJ1017-32", "胸部単純")
    del item.CodeValue
    for keyword, value in where.items():
        setattr(item, keyword, value)
    return item


def requested(procedure: str, step: str) -> Dataset:
    item = Dataset()
    item.RequestedProcedureID, item.ScheduledProcedureStepID, item.AccessionNumber = procedure, step, f"ACC-{step}"
    return item


@pytest.fixture(scope="module")
def filled(archive: Archive, tmp_path_factory: pytest.TempPathFactory) -> Archive:
    folder = tmp_path_factory.mktemp("sequences")
    kanji = {"SpecificCharacterSet": ["", "ISO 2022 IR 87"]}
    two_codes = [code("CHEST", "99X", "胸部"), code("ABDOMEN", "JJ1017", "腹部")]
    write(tiny(1, study="two", PatientID="Q-1", ProcedureCodeSequence=two_codes, **kanji), folder / "1.dcm")
    one_code = [code("CHEST", "JJ1017", "Chest")]
    write(tiny(1, study="one", PatientID="Q-2", ProcedureCodeSequence=one_code), folder / "2.dcm")
    for number in (1, 2):
        steps = {"RequestAttributesSequence": [requested("RP1", f"SPS{number}")]}
        write(tiny(number, study="steps", series=str(number), PatientID="Q-3", **steps), folder / f"3{number}.dcm")
    for number, where in ((5, {"LongCodeValue": JJ1017}), (6, {"URNCodeValue": "urn:oid:1.2.392.5"})):
        codes = {"ProcedureCodeSequence": [elsewhere(**where)], **kanji}
        write(tiny(number, study=f"long {number}", PatientID=f"L-{number}", **codes), folder / f"{number}.dcm")
    assert Station(archive=archive, folder=folder).store(folder, options=["+sd"]).statuses == [SUCCESS] * 6
    return archive


def studies(station: Station, level: str = "STUDY", **keys: str) -> list[str]:
    names = {uid("study", name): name for name in ("two", "one", "steps")}
    items = {keyword.replace("__", "[0]."): value for keyword, value in keys.items()}
    done = station.find(STUDY_ROOT, level, {"PatientID": "Q-*", "StudyInstanceUID": "", **items})
    assert done.status == SUCCESS, done.output[-2_000:]
    assert PENDING_OPTIONAL not in done.statuses
    return sorted(names[row.StudyInstanceUID] for row in done.rows)


@pytest.mark.parametrize(
    ("keys", "found"),
    [
        ({"ProcedureCodeSequence__CodeValue": "CHEST"}, ["one", "two"]),
        ({"ProcedureCodeSequence__CodeValue": "CH*"}, ["one", "two"]),
        ({"ProcedureCodeSequence__CodeValue": "chest"}, []),
        ({"ProcedureCodeSequence__CodeMeaning": "Chest"}, ["one"]),
        ({"RequestAttributesSequence__RequestedProcedureID": "RP1"}, ["steps"]),
        ({"RequestAttributesSequence__ScheduledProcedureStepID": "SPS2"}, ["steps"]),
        ({"RequestAttributesSequence__ScheduledProcedureStepID": "SPS3"}, []),
        ({"ProcedureCodeSequence__CodeValue": ""}, ["one", "steps", "two"]),
    ],
)
def test_a_study_is_found_by_an_item(filled: Archive, station: Station, keys: dict[str, str], found: list[str]) -> None:
    assert studies(station, **keys) == found


def test_one_item_has_to_fit_all_its_keys(filled: Archive, station: Station) -> None:
    both = {"ProcedureCodeSequence__CodeValue": "CHEST", "ProcedureCodeSequence__CodingSchemeDesignator": "JJ1017"}
    assert studies(station, **both) == ["one"]


def test_a_series_is_found_by_its_own_request_and_by_the_codes_of_its_study(filled: Archive, station: Station) -> None:
    assert studies(station, "SERIES", RequestAttributesSequence__ScheduledProcedureStepID="SPS1") == ["steps"]
    assert studies(station, "SERIES", ProcedureCodeSequence__CodeValue="ABDOMEN") == ["two"]
    assert studies(station, "IMAGE", RequestAttributesSequence__RequestedProcedureID="RP1") == ["steps", "steps"]


def test_the_answer_holds_every_item_in_its_character_set(filled: Archive, station: Station) -> None:
    keys = {"PatientID": "Q-1", "ProcedureCodeSequence": ""}
    for charset in ("", "\\ISO 2022 IR 87", "ISO_IR 192"):
        (row,) = station.find(STUDY_ROOT, "STUDY", keys, charset=charset).rows
        items = {(item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning) for item in row.ProcedureCodeSequence}
        assert items == {("CHEST", "99X", "胸部"), ("ABDOMEN", "JJ1017", "腹部")}


@pytest.mark.parametrize(
    ("keys", "items"),
    [
        ({"CodeValue": "CHEST"}, [{"CodeValue": "CHEST"}]),
        ({"CodeValue": "*DOM?N", "CodeMeaning": ""}, [{"CodeValue": "ABDOMEN", "CodeMeaning": "腹部"}]),
        ({"CodeValue": ""}, [{"CodeValue": "CHEST"}, {"CodeValue": "ABDOMEN"}]),
    ],
)
def test_the_answer_holds_of_the_items_that_match_what_was_asked_for(
    filled: Archive, station: Station, keys: dict[str, str], items: list[dict[str, str]]
) -> None:
    asked = {f"ProcedureCodeSequence[0].{keyword}": value for keyword, value in keys.items()}
    (row,) = station.find(STUDY_ROOT, "STUDY", {"PatientID": "Q-1", **asked}, charset="ISO_IR 192").rows
    assert [{one.keyword: one.value for one in item} for item in row.ProcedureCodeSequence] == items


@pytest.mark.parametrize(
    ("keys", "answer"),
    [
        ({"LongCodeValue": JJ1017}, {"LongCodeValue": JJ1017}),
        ({"LongCodeValue": "1000005*", "CodeMeaning": ""}, {"CodeMeaning": "胸部単純", "LongCodeValue": JJ1017}),
        ({"CodeValue": JJ1017}, {"CodeValue": JJ1017}),
        ({"CodeValue": "", "LongCodeValue": JJ1017}, {"LongCodeValue": JJ1017}),
        ({"CodeValue": "", "URNCodeValue": "urn:oid:*"}, {"URNCodeValue": "urn:oid:1.2.392.5"}),
    ],
)
def test_a_code_that_is_too_long_for_code_value_is_found_and_answered(
    filled: Archive, station: Station, keys: dict[str, str], answer: dict[str, str]
) -> None:
    asked = {f"ProcedureCodeSequence[0].{keyword}": value for keyword, value in keys.items()}
    done = station.find(STUDY_ROOT, "STUDY", {"PatientID": "", **asked}, charset="ISO_IR 192")
    assert PENDING_OPTIONAL not in done.statuses
    (row,) = done.rows
    assert [{one.keyword: one.value for one in item} for item in row.ProcedureCodeSequence] == [answer]


def test_a_key_of_an_item_that_is_not_held_is_said_to_be_unsupported(filled: Archive, station: Station) -> None:
    keys = {"PatientID": "Q-1", "ProcedureCodeSequence[0].CodingSchemeVersion": "2"}
    assert station.find(STUDY_ROOT, "STUDY", keys).statuses == [PENDING_OPTIONAL, SUCCESS]


@pytest.mark.parametrize(("value", "pending"), [("", PENDING), ("A1", PENDING_OPTIONAL)])
def test_a_sequence_inside_of_an_item_is_unsupported_where_a_key_of_it_has_a_value(
    filled: Archive, station: Station, value: str, pending: int
) -> None:
    protocol = {"RequestAttributesSequence[0].ScheduledProtocolCodeSequence[0].CodeValue": value}
    assert station.find(STUDY_ROOT, "STUDY", {"PatientID": "Q-3", **protocol}).statuses == [pending, SUCCESS]


def test_the_items_survive_a_rebuild(filled: Archive, station: Station) -> None:
    filled.pacs("index", "rebuild")
    assert studies(station, RequestAttributesSequence__RequestedProcedureID="RP1") == ["steps"]
    assert studies(station, ProcedureCodeSequence__CodeValue="CHEST") == ["one", "two"]


def test_the_command_line_asks_for_items_and_shows_them(filled: Archive) -> None:
    keys = ("ProcedureCodeSequence.CodeValue=CHEST", "ProcedureCodeSequence.CodingSchemeDesignator=99X")
    (row,) = filled.report("find", "studies", *keys)
    assert row["uid"] == uid("study", "two")
    assert [item["CodeMeaning"] for item in row["ProcedureCodeSequence"]] == ["胸部", "腹部"]
    assert "腹部" in filled.pacs("find", "studies", *keys).stdout
    filled.pacs("find", "studies", "ProcedureCodeSequence.Nothing=1", expect=2)
