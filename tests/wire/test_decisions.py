"""What a person decides while the server runs, as viewers see it: deleted, held, restored, another version chosen."""

from collections.abc import Callable
from pathlib import Path

import pytest
from support.dcmtk import STUDY_ROOT, Station, require
from support.samples import Sample, data_set_of, tiny, write
from support.server import Archive, files_below, wait_for

SUCCESS = 0x0000


@pytest.fixture
def archive(new_archive: Callable[..., Archive]) -> Archive:
    require()
    archive = new_archive()
    archive.start()
    return archive


@pytest.fixture
def station(archive: Archive, tmp_path: Path) -> Station:
    return Station(archive=archive, folder=tmp_path)


def stored(station: Station, folder: Path, study: str, count: int = 2, **values: object) -> list[Sample]:
    names = [folder / f"{study}-{n}-{len(values)}.dcm" for n in range(count)]
    samples = [write(tiny(n, study=study, PatientID=study, **values), path) for n, path in enumerate(names)]
    assert set(station.store(*(sample.path for sample in samples)).statuses) == {SUCCESS}
    return samples


def seen(station: Station, into: Path, sample: Sample) -> set[bytes]:
    """The objects of a study that a viewer gets."""
    station.get(STUDY_ROOT, "STUDY", {"StudyInstanceUID": sample.study_uid}, into)
    return {data_set_of(file) for file in into.iterdir()}


def patients(station: Station) -> list[str]:
    return sorted(row.PatientID for row in station.find(STUDY_ROOT, "STUDY", {"PatientID": ""}).rows)


def test_a_viewer_sees_what_is_not_deleted_and_again_what_is_restored(
    archive: Archive, station: Station, tmp_path: Path
) -> None:
    first = stored(station, tmp_path, "P1")
    stored(station, tmp_path, "P2")
    archive.pacs("delete", "PatientID=P1", "--reason", "wrong")
    assert patients(station) == ["P1", "P2"], "without --yes nothing happens"
    archive.pacs("delete", "PatientID=P1", "--reason", "wrong", "--yes")
    assert patients(station) == ["P2"]
    assert seen(station, tmp_path / "none", first[0]) == set()
    (row,) = archive.report("trash", "list")
    assert (row["uid"], row["objects"], row["reason"]) == (first[0].study_uid, 2, "wrong")
    archive.pacs("verify")
    archive.pacs("restore", "PatientID=P1", "--reason", "it was right", "--yes")
    assert patients(station) == ["P1", "P2"]
    assert seen(station, tmp_path / "again", first[0]) == {sample.data_set for sample in first}
    nothing = archive.pacs("restore", "PatientID=P1", "--reason", "it was right", "--yes").stderr
    assert nothing.startswith(
        "nothing in the trash is selected: pacs trash list shows what is there; what was purged is"
    )
    history = archive.report("show", "study", first[0].study_uid)["history"]
    assert [(one["kind"], one["reason"]) for one in history] == [("delete", "wrong"), ("restore", "it was right")]


def test_a_modality_that_sends_again_what_was_purged_finds_it_held_and_flagged(
    archive: Archive, station: Station, tmp_path: Path
) -> None:
    first = stored(station, tmp_path, "P1")
    archive.pacs("delete", "PatientID=P1", "--reason", "wrong", "--yes")
    archive.pacs("purge", "--yes", expect=2)
    archive.pacs("retention", "set", "--purge", "by-hand", "--grace-days", "0")
    archive.pacs("purge", "--yes")
    wait_for(
        lambda: archive.files() == files_below(archive.volume / "v1" / "ops", "*.json"), "the files to go", timeout_s=60
    )
    archive.pacs("restore", "PatientID=P1", "--reason", "too late", "--yes")
    assert patients(station) == []
    assert set(station.store(*(sample.path for sample in first)).statuses) == {SUCCESS}
    assert seen(station, tmp_path / "again", first[0]) == {sample.data_set for sample in first}
    flags = archive.report("show", "study", first[0].study_uid)["flags"]
    assert {(flag["kind"], flag["detail"]) for flag in flags} == {("readmitted", "received again after it was purged")}


@pytest.mark.parametrize("words", [("delete", "PatientID=P1", "--yes"), ("hold", "add", "PatientID=P1")])
def test_nothing_is_deleted_or_held_without_a_reason(
    archive: Archive, station: Station, tmp_path: Path, words: tuple[str, ...]
) -> None:
    stored(station, tmp_path, "P1")
    assert "--reason" in archive.pacs(*words, expect=2).stderr
    assert "is empty" in archive.pacs(*words, "--reason", " ", expect=2).stderr
    assert (patients(station), archive.report("hold", "list")) == (["P1"], [])


def test_a_study_on_hold_is_not_deleted(archive: Archive, station: Station, tmp_path: Path) -> None:
    sample, *_ = stored(station, tmp_path, "P1")
    archive.pacs("hold", "add", "PatientID=P1", "--reason", "court case")
    for words in ((), ("--yes",)):
        assert "on hold" in archive.pacs("delete", "PatientID=P1", "--reason", "wrong", *words, expect=2).stderr
    assert [row["reason"] for row in archive.report("hold", "list")] == ["court case"]
    assert patients(station) == ["P1"]
    told = archive.pacs("hold", "remove", "PatientID=P1", "--reason", "closed").stderr
    assert f"would end the hold of study {sample.study_uid}: court case" in told
    assert len(archive.report("hold", "list")) == 1, "it was ended without --yes"
    archive.pacs("hold", "remove", "PatientID=P1", "--reason", "closed", "--yes")
    assert archive.report("hold", "list") == []
    archive.pacs("hold", "add", "PatientID=nobody", "--reason", "x", expect=2)


def test_a_person_chooses_the_version_that_viewers_get_and_takes_it_back(
    archive: Archive, station: Station, tmp_path: Path
) -> None:
    (first,) = stored(station, tmp_path, "P1", 1)
    (second,) = stored(station, tmp_path, "P1", 1, ImageComments="the right one")
    assert seen(station, tmp_path / "first", first) == {first.data_set}
    (conflict,) = archive.report("conflicts", "list")
    assert (conflict["kind"], conflict["sop_uid"]) == ("conflict-version", first.sop_uid)
    contents = {row["role"]: row["digest"] for row in archive.report("conflicts", "show", first.sop_uid)}
    archive.pacs("version", "use", first.sop_uid, contents["version"][:16], "--reason", "second scan")
    assert seen(station, tmp_path / "second", first) == {second.data_set}
    archive.pacs("index", "rebuild")
    assert seen(station, tmp_path / "rebuilt", first) == {second.data_set}
    archive.pacs("version", "use", first.sop_uid, contents["current"], "--reason", "no, the first")
    assert seen(station, tmp_path / "third", first) == {first.data_set}
    archive.pacs("version", "use", first.sop_uid, "ffff", "--reason", "none such", expect=2)


def test_an_examination_of_the_wrong_patient_is_told_deleted_sent_again_and_found_under_the_right_one(
    archive: Archive, station: Station, tmp_path: Path
) -> None:
    (right, *_) = stored(station, tmp_path, "P1")
    wrong = write(tiny("x", study="P1", series="x", PatientID="P2", PatientName="Other^One"), tmp_path / "wrong.dcm")
    assert set(station.store(wrong.path).statuses) == {SUCCESS}
    assert [row["detail"] for row in archive.report("conflicts", "list")] == ["PatientID"]
    said = archive.report("conflicts", "show", right.study_uid)
    assert [(row["patient_id"], row["series_uid"], len(row["sop_uids"])) for row in said] == [
        ("P1", right.series_uid, 2),
        ("P2", wrong.series_uid, 1),
    ]
    assert "Other One" in archive.pacs("conflicts", "show", right.study_uid).stdout
    archive.pacs("delete", f"SeriesInstanceUID={wrong.series_uid}", "--reason", "another's", "--yes")
    wait_for(lambda: archive.report("conflicts", "list") == [], "the contradiction to end", timeout_s=60)
    archive.pacs("conflicts", "show", right.study_uid, expect=2)
    archive.pacs("delete", "PatientID=P1", "--reason", "wrong patient", "--yes")
    again = [write(tiny(n, study="P1", PatientID="P3"), tmp_path / f"{n}.dcm") for n in range(2)]
    assert set(station.store(*(sample.path for sample in again)).statuses) == {SUCCESS}
    wait_for(lambda: patients(station) == ["P3"], "the study to be that of the right patient", timeout_s=60)
    assert seen(station, tmp_path / "seen", right) == {sample.data_set for sample in again}


def test_two_studies_with_the_same_uids_are_each_found_and_sent_whole(
    archive: Archive, station: Station, tmp_path: Path
) -> None:
    """As a device gives them that begins to count anew after a reset."""
    first = stored(station, tmp_path, "P1")
    uids = [sample.sop_uid for sample in first]
    second = [
        write(tiny(n, study="P2", PatientID="P2", SOPInstanceUID=uid), tmp_path / f"{n}.dcm")
        for n, uid in enumerate(uids)
    ]
    assert set(station.store(*(sample.path for sample in second)).statuses) == {SUCCESS}

    def shown(name: str) -> list[set[bytes]]:
        assert patients(station) == ["P1", "P2"]
        return [seen(station, tmp_path / f"{name}-{one[0].study_uid}", one[0]) for one in (first, second)]

    assert shown("sent") == [{sample.data_set for sample in samples} for samples in (first, second)]
    counts = station.find(STUDY_ROOT, "STUDY", {"NumberOfStudyRelatedInstances": "", "StudyInstanceUID": ""}).rows
    assert [int(row.NumberOfStudyRelatedInstances) for row in counts] == [2, 2]
    one_object = {"StudyInstanceUID": second[0].study_uid, "SeriesInstanceUID": second[0].series_uid}
    station.get(STUDY_ROOT, "IMAGE", one_object | {"SOPInstanceUID": uids[0]}, tmp_path / "one")
    assert [data_set_of(file) for file in (tmp_path / "one").iterdir()] == [second[0].data_set]
    (told,) = archive.report("conflicts", "list")
    assert (told["kind"], told["uid"], told["detail"]) == ("conflict-uid", second[0].study_uid, first[0].study_uid)
    archive.pacs("index", "rebuild")
    assert shown("rebuilt") == [{sample.data_set for sample in samples} for samples in (first, second)]
    archive.pacs("delete", "PatientID=P1", "--reason", "sent once more under its own UIDs", "--yes")
    assert archive.report("conflicts", "list") == []
    assert seen(station, tmp_path / "left", second[0]) == {sample.data_set for sample in second}
