"""C-FIND with findscu: every model and level, every kind of key, names in every writing."""

from collections.abc import Callable
from pathlib import Path

import pytest
from support.dcmtk import PATIENT_ROOT, PATIENT_STUDY_ONLY, STUDY_ROOT, Station
from support.samples import tiny, uid, write

SUCCESS, CANCEL, MISMATCH, CANNOT_UNDERSTAND = 0x0000, 0xFE00, 0xA900, 0xC000
IR87 = "\\ISO 2022 IR 87"
UTF8 = "ISO_IR 192"


@pytest.fixture(scope="module")
def filled(archive, tmp_path_factory: pytest.TempPathFactory) -> object:
    """Three studies: a romaji CT, a kanji one in ISO 2022, one in UTF-8 with a character outside JIS X 0208."""
    folder = tmp_path_factory.mktemp("find")
    common = {"study": "ct", "PatientID": "F-1", "PatientName": "Smith^John", "StudyDescription": "Chest"}
    common |= {"AccessionNumber": "ACC1", "StudyDate": "20260110", "StudyTime": "081500"}
    write(tiny(1, series="a", Modality="CT", SeriesNumber=1, InstanceNumber=1, **common), folder / "1.dcm")
    write(tiny(2, series="a", Modality="CT", SeriesNumber=1, InstanceNumber=2, **common), folder / "2.dcm")
    write(tiny(3, series="b", Modality="SR", SeriesNumber=2, InstanceNumber=1, **common), folder / "3.dcm")
    kanji = {"PatientName": "Yamada^Tarou=山田^太郎=やまだ^たろう", "SpecificCharacterSet": ["", "ISO 2022 IR 87"]}
    write(
        tiny(1, study="kanji", PatientID="F-2", StudyDate="20260220", StudyTime="235959", Modality="MR", **kanji),
        folder / "4.dcm",
    )
    modern = {"PatientName": "=髙橋^𠮷子", "SpecificCharacterSet": UTF8}
    write(tiny(1, study="modern", PatientID="F-3", StudyDate="20260301", Modality="US", **modern), folder / "5.dcm")
    done = Station(archive=archive, folder=folder).store(folder, options=["+sd"])
    assert done.statuses == [SUCCESS] * 5
    return archive


@pytest.fixture
def ask(filled: object, station: Station) -> Callable[..., list[str]]:
    """The StudyInstanceUIDs that a query on study level finds, by the names of the studies here."""
    names = {uid("study", name): name for name in ("ct", "kanji", "modern")}

    def asked(charset: str = "", model: str = STUDY_ROOT, **keys: str) -> list[str]:
        done = station.find(model, "STUDY", {"StudyInstanceUID": "", **keys}, charset=charset)
        assert done.code == 0, done.output[-2_000:]
        return sorted(names[row.StudyInstanceUID] for row in done.rows if row.StudyInstanceUID in names)

    return asked


@pytest.mark.parametrize("model", [PATIENT_ROOT, STUDY_ROOT, PATIENT_STUDY_ONLY])
def test_each_model_answers_on_study_level(ask: Callable[..., list[str]], model: str) -> None:
    assert ask(model=model, PatientID="F-1") == ["ct"]


@pytest.mark.parametrize(
    ("keys", "found"),
    [
        ({"PatientID": "F-*"}, ["ct", "kanji", "modern"]),
        ({"PatientID": "F-?"}, ["ct", "kanji", "modern"]),
        ({"PatientID": "f-1"}, []),
        ({"AccessionNumber": "ACC1"}, ["ct"]),
        ({"StudyDate": "20260110"}, ["ct"]),
        ({"StudyDate": "20260201-", "PatientID": "F-*"}, ["kanji", "modern"]),
        ({"StudyDate": "-20260220", "PatientID": "F-*"}, ["ct", "kanji"]),
        ({"StudyDate": "20260101-20260131"}, ["ct"]),
        ({"StudyDate": "-", "StudyTime": "-", "PatientID": "F-*"}, ["ct", "kanji", "modern"]),
        ({"StudyTime": "08-09", "PatientID": "F-*"}, ["ct"]),
        ({"StudyTime": "2359-", "PatientID": "F-*"}, ["kanji"]),
        ({"ModalitiesInStudy": "SR"}, ["ct"]),
        ({"ModalitiesInStudy": "SR\\US"}, ["ct", "modern"]),
        ({"Modality": "MR", "PatientID": "F-*"}, ["kanji"]),
        ({"PatientName": "smith*"}, ["ct"]),
        ({"PatientName": "SMITH^JOHN"}, ["ct"]),
        ({"StudyDescription": "Che*", "PatientID": "F-*"}, ["ct"]),
    ],
)
def test_a_key_selects_exactly_these_studies(
    ask: Callable[..., list[str]], keys: dict[str, str], found: list[str]
) -> None:
    assert ask(**keys) == found


@pytest.mark.parametrize("charset", [IR87, UTF8, "ISO 2022 IR 13\\ISO 2022 IR 87"])
@pytest.mark.parametrize("name", ["山田^太郎", "山田*", "*田*", "*山田*", "ヤマダ*", "やまだ^たろう"])
def test_a_kanji_name_is_found_in_each_writing_and_each_character_set(
    ask: Callable[..., list[str]], charset: str, name: str
) -> None:
    assert "kanji" in ask(charset=charset, PatientName=name)


def test_half_width_kana_and_romaji_find_the_same_patient(ask: Callable[..., list[str]]) -> None:
    assert ask(charset=UTF8, PatientName="ﾔﾏﾀﾞ*") == ["kanji"]
    assert ask(PatientName="yamada*") == ["kanji"]


@pytest.mark.parametrize("charset", [IR87, UTF8, "ISO_IR 100"])
@pytest.mark.parametrize(
    ("patient_id", "name"), [("F-2", "Yamada^Tarou=山田^太郎=やまだ^たろう"), ("F-3", "=髙橋^𠮷子")]
)
def test_an_answer_declares_the_character_set_it_is_in_and_loses_no_character(
    filled: object, station: Station, charset: str, patient_id: str, name: str
) -> None:
    keys = {"PatientID": patient_id, "PatientName": "", "StudyInstanceUID": ""}
    (row,) = station.find(STUDY_ROOT, "STUDY", keys, charset=charset).rows
    assert str(row.PatientName) == name
    fits = charset in (UTF8, IR87) and (charset == UTF8 or patient_id == "F-2")
    declared = row.SpecificCharacterSet
    text = declared if isinstance(declared, str) else "\\".join(declared)
    assert text == (charset if fits else UTF8)


def test_levels_below_the_study_are_answered_with_their_counts(filled: object, station: Station) -> None:
    study = {"StudyInstanceUID": uid("study", "ct")}
    keys = study | {"SeriesInstanceUID": "", "Modality": "", "SeriesNumber": "", "NumberOfSeriesRelatedInstances": ""}
    series = station.find(STUDY_ROOT, "SERIES", keys).rows
    told = [(row.Modality, row.SeriesNumber, row.NumberOfSeriesRelatedInstances) for row in series]
    assert sorted(told) == [("CT", 1, 2), ("SR", 2, 1)]
    images = station.find(PATIENT_ROOT, "IMAGE", study | {"SOPInstanceUID": "", "InstanceNumber": ""}).rows
    assert sorted(row.SOPInstanceUID for row in images) == sorted(
        [uid("object", "ct", "a", 1), uid("object", "ct", "a", 2), uid("object", "ct", "b", 3)]
    )


@pytest.mark.parametrize("model", [PATIENT_ROOT, STUDY_ROOT, PATIENT_STUDY_ONLY])
def test_patient_level_is_answered_also_where_only_viewers_ask_for_it(
    filled: object, station: Station, model: str
) -> None:
    keys = {"PatientID": "F-1", "PatientName": "", "NumberOfPatientRelatedInstances": ""}
    (row,) = station.find(model, "PATIENT", keys).rows
    assert (row.PatientID, str(row.PatientName), row.NumberOfPatientRelatedInstances) == ("F-1", "Smith^John", 3)


def test_study_counts_and_modalities_come_with_each_answer(filled: object, station: Station) -> None:
    keys = {"PatientID": "F-1", "ModalitiesInStudy": "", "NumberOfStudyRelatedSeries": ""}
    keys |= {
        "NumberOfStudyRelatedInstances": "",
        "RetrieveAETitle": "",
        "InstanceAvailability": "",
        "RequestedProcedureDescription": "",
    }
    (row,) = station.find(STUDY_ROOT, "STUDY", keys).rows
    assert list(row.ModalitiesInStudy) == ["CT", "SR"]
    assert (row.NumberOfStudyRelatedSeries, row.NumberOfStudyRelatedInstances) == (2, 3)
    assert (row.RetrieveAETitle, row.InstanceAvailability, row.RequestedProcedureDescription) == ("PACS", "ONLINE", "")


def test_a_query_without_a_level_or_with_one_of_another_model_is_refused(filled: object, station: Station) -> None:
    assert station.find(STUDY_ROOT, "NONSENSE", {"PatientID": "F-1"}).status == MISMATCH
    assert station.find(PATIENT_STUDY_ONLY, "IMAGE", {"PatientID": "F-1"}).status == MISMATCH


def test_a_cancelled_query_ends_with_cancel(filled: object, station: Station, tmp_path: Path) -> None:
    for number in range(300):
        write(tiny(number, study=f"many-{number}", PatientID="MANY"), tmp_path / f"{number}.dcm")
    station.archive.pacs("import", str(tmp_path))
    everything = station.find(STUDY_ROOT, "STUDY", {"PatientID": "MANY", "StudyInstanceUID": ""})
    assert (len(everything.rows), everything.status) == (300, SUCCESS)
    cancelled = station.find(STUDY_ROOT, "STUDY", {"PatientID": "MANY"}, options=["--cancel", "2"])
    # All answers may have been on their way before the cancel came.
    assert cancelled.status == CANCEL or (cancelled.status, len(cancelled.rows)) == (SUCCESS, 300)


def test_a_study_sent_later_is_found_at_once(filled: object, station: Station, tmp_path: Path) -> None:
    sample = write(tiny(1, study="later", PatientID="LATER"), tmp_path / "later.dcm")
    assert station.find(STUDY_ROOT, "STUDY", {"PatientID": "LATER"}).rows == ()
    assert station.store(sample.path).status == SUCCESS
    assert len(station.find(STUDY_ROOT, "STUDY", {"PatientID": "LATER"}).rows) == 1
