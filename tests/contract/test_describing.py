"""A study is that of the patient whom its objects name that are found: after others were deleted, or not chosen."""

import json
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from sqlalchemy import insert, literal, select, update
from support.house import NOW, House
from support.samples import tiny

from pacs_server.archive import retire
from pacs_server.cli.exits import ExitCode
from pacs_server.cli.main import run
from pacs_server.dicom.attributes import BY_KEYWORD, Level
from pacs_server.dicom.queries.matching import query_from_keywords
from pacs_server.dicom.vocabulary import new_field
from pacs_server.errors import UnknownName
from pacs_server.index.jobs import JobKind
from pacs_server.index.queries.view import conflicts_view
from pacs_server.index.site.registry import VolumeMode, VolumeRow
from pacs_server.index.site.retention import Purging, change_retention
from pacs_server.index.tables import copies, flags, patients
from pacs_server.service.assemble import Node
from pacs_server.service.upkeep.decisions import (
    delete,
    hold,
    in_trash,
    purge,
    restore,
    to_delete,
    use_latest,
    use_version,
)
from pacs_server.service.upkeep.rebuilding import rebuild_index
from pacs_server.service.upkeep.reconciling import describe_study
from pacs_server.storage.sentinel import adopt

WRONG = {"PatientID": "W", "PatientName": "Wrong^Walter", "PatientBirthDate": "19500505", "AccessionNumber": "1"}
RIGHT = {"PatientID": "R", "PatientName": "Right^Rita", "PatientBirthDate": "19800808", "AccessionNumber": "2"}
TOLD = ("PatientID", "PatientName", "PatientBirthDate", "AccessionNumber", "NumberOfStudyRelatedInstances")
AS_WRONG, AS_RIGHT = ((*values.values(), 2) for values in (WRONG, RIGHT))


def study(values: dict[str, str], *, count: int = 2, **more: object) -> list[Dataset]:
    return [tiny(n, **values, **more) for n in range(count)]


@pytest.fixture
def house(tmp_path: Path, new_upgraded_url: Callable[[], str]) -> House:
    return House(tmp_path / "data", new_upgraded_url())


@pytest.fixture
def node(house: House) -> Iterator[Node]:
    with house.node() as node:
        yield node


def describe(node: Node) -> None:
    """Do what is owed of it, as the running server would."""
    done = [do_one(node) for _ in range(4)]
    assert done[-1] is None, "it ends"
    assert set(done) <= {(), None}


def do_one(node: Node) -> tuple[str, ...] | None:
    job = node.jobs.claim("w", NOW + timedelta(days=1), lease=timedelta(1), per_target=9, kinds={JobKind.DESCRIBE})
    if job is None:
        return None
    kept: list[str] = []
    problems = describe_study(node, job.study_uid, goes_on=lambda: kept.append(job.study_uid))
    assert kept, "a job that reads many objects would be taken from who does it"
    if problems:
        node.jobs.failed(job, "; ".join(problems), NOW)
    else:
        node.jobs.done(job, NOW)
    return problems


def asked(node: Node, level: Level, wanted: Sequence[str], **keys: str) -> list[tuple[object, ...]]:
    found = node.search.find(query_from_keywords(level, keys), [BY_KEYWORD[keyword] for keyword in wanted])
    return [tuple(row) for row in found]


def told(node: Node, level: Level = Level.STUDY, **keys: str) -> list[tuple[object, ...]]:
    return asked(node, level, TOLD, **keys)


def procedure(value: str) -> Dataset:
    item = Dataset()
    item.RequestedProcedureID = value
    return item


def contradictions(node: Node) -> set[str]:
    with node.index.read() as connection:
        return set(connection.execute(select(flags.c.kind).where(flags.c.instance_row == 0)).scalars())


def names(node: Node) -> list[str]:
    with node.index.read() as connection:
        return sorted(connection.execute(select(patients.c.patient_name)).scalars())


def delete_all(node: Node, **keys: str) -> None:
    assert list(delete(node, to_delete(node, keys), "wrong patient"))


def test_a_study_sent_under_a_wrong_patient_deleted_and_sent_again_is_that_of_the_right_one(
    house: House, node: Node
) -> None:
    house.take_in(*study(WRONG))
    delete_all(node, PatientID="W")
    house.take_in(*study(RIGHT))
    describe(node)
    assert (told(node), told(node, PatientID="R"), told(node, PatientID="W")) == ([AS_RIGHT], [AS_RIGHT], [])
    assert (contradictions(node), names(node)) == (set(), ["Right^Rita"])
    assert [row[0] for row in told(node, Level.PATIENT)] == ["R"]


def test_a_study_sent_again_is_that_of_the_right_patient_at_once_though_the_rest_of_it_is_still_on_its_way(
    house: House, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.take_in(*study(WRONG))
    delete_all(node, PatientID="W")
    house.take_in(*study(RIGHT, count=1))
    found = node.anew.objects(str(tiny(0).StudyInstanceUID))
    with monkeypatch.context() as patched:
        patched.setattr(node.anew, "objects", lambda _: found)
        house.take_in(*study(RIGHT))
        assert do_one(node) == ("objects of the study came meanwhile",)
    assert (told(node), contradictions(node)) == ([AS_RIGHT], {"conflict-patient", "conflict-study"})
    describe(node)
    assert (told(node), contradictions(node)) == ([AS_RIGHT], set())


def test_so_it_is_where_it_was_sent_again_before_the_wrong_one_was_deleted(house: House, node: Node) -> None:
    house.take_in(*study(WRONG))
    house.take_in(*study(RIGHT))
    delete_all(node, PatientID="W")
    house.take_in(*study(RIGHT))
    describe(node)
    assert (told(node), contradictions(node), names(node)) == ([AS_RIGHT], set(), ["Right^Rita"])


def test_what_was_deleted_by_mistake_and_is_restored_is_that_of_its_patient_again(house: House, node: Node) -> None:
    house.take_in(*study(WRONG))
    delete_all(node, PatientID="W")
    house.take_in(*study(RIGHT))
    describe(node)
    delete_all(node, PatientID="R")
    first = {node.copies.of_objects([one.content.sop_uid])[0].digest for one in in_trash(node, {})}
    wrong = [one for one in in_trash(node, {}) if one.content.digest in first]
    assert list(restore(node, wrong, "it was right"))
    describe(node)
    assert (told(node), contradictions(node), names(node)) == ([AS_WRONG], set(), ["Wrong^Walter"])


@pytest.mark.parametrize("how", ["restored", "restored one by one", "held"])
def test_a_corrected_study_that_is_deleted_by_mistake_comes_back_corrected(
    house: House, node: Node, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if how == "restored one by one":
        monkeypatch.setattr(retire, "MAX_OBJECTS", 1)
    for values in (WRONG, RIGHT):
        house.take_in(*study(values))
        describe(node)
        delete_all(node, PatientID=values["PatientID"])
    if how != "held":
        list(restore(node, in_trash(node, {}), "by mistake"))
    else:
        list(hold(node, {"StudyInstanceUID": str(tiny(0).StudyInstanceUID)}, "by mistake"))
    describe(node)
    assert (told(node), told(node, PatientID="W")) == ([AS_RIGHT], [])
    assert list(rebuild_index(node)) == []
    describe(node)
    assert (told(node), told(node, PatientID="W")) == ([AS_RIGHT], [])


def test_versions_that_a_person_chose_are_of_their_patient(house: House, node: Node) -> None:
    first = house.take_in(*study(WRONG))
    house.take_in(*study(RIGHT))
    describe(node)
    assert (told(node), contradictions(node)) == ([AS_WRONG], {"conflict-patient", "conflict-study"})
    for sample in first:
        use_version(node, sample.sop_uid, node.copies.of_objects([sample.sop_uid])[1].digest, "corrected")
    describe(node)
    assert (told(node), contradictions(node)) == ([AS_RIGHT], set())


def test_the_latest_content_of_each_object_is_chosen_at_once_and_the_choice_is_taken_back(
    house: House, node: Node
) -> None:
    house.take_in(*study(WRONG, count=3))
    house.take_in(*study(RIGHT))
    uid = str(tiny(0).StudyInstanceUID)
    assert len(use_latest(node, uid, "corrected").objects) == 2
    with pytest.raises(UnknownName):
        use_latest(node, uid, "corrected")
    delete_all(node, SOPInstanceUID=str(tiny(2).SOPInstanceUID))
    describe(node)
    assert (told(node), contradictions(node)) == ([AS_RIGHT], set())
    for number in range(2):
        sop_uid = str(tiny(number).SOPInstanceUID)
        use_version(node, sop_uid, node.copies.of_objects([sop_uid])[0].digest, "no, the first")
    describe(node)
    assert told(node) == [AS_WRONG]


def test_another_patients_series_in_a_study_is_told_until_it_is_deleted(house: House, node: Node) -> None:
    house.take_in(*study(WRONG), *study(RIGHT, series="other"))
    assert contradictions(node) == {"conflict-patient", "conflict-study"}
    other = tiny(0, series="other").SeriesInstanceUID
    delete_all(node, SeriesInstanceUID=str(other))
    describe(node)
    assert (told(node), contradictions(node)) == ([AS_WRONG], set())
    assert list(restore(node, in_trash(node, {}), "it belongs there"))
    describe(node)
    assert contradictions(node) == {"conflict-patient", "conflict-study"}
    delete_all(node, SeriesInstanceUID=str(tiny(0).SeriesInstanceUID))
    describe(node)
    assert (told(node), contradictions(node)) == ([AS_RIGHT], set())


def test_a_series_and_what_hangs_on_it_say_what_is_sent_again(house: House, node: Node) -> None:
    wrong = {"Modality": "CT", "SeriesDescription": "left", "BodyPartExamined": "HEAD"}
    house.take_in(tiny(1, series="kept"), *study({**wrong, "RequestAttributesSequence": [procedure("LEFT")]}))
    delete_all(node, Modality="CT")
    describe(node)
    right = {"Modality": "MR", "SeriesDescription": "right", "RequestAttributesSequence": [procedure("RIGHT")]}
    house.take_in(*study(right))
    describe(node)
    found = asked(node, Level.SERIES, ("Modality", "SeriesDescription", "BodyPartExamined"))
    assert sorted(found) == [("MR", "right", None), ("OT", None, None)]
    assert asked(node, Level.STUDY, ("ModalitiesInStudy",)) == [("MR\\OT",)]
    item = "RequestAttributesSequence.RequestedProcedureID"
    assert [len(asked(node, Level.SERIES, ("Modality",), **{item: value})) for value in ("LEFT", "RIGHT")] == [0, 1]


def test_a_name_and_a_birth_date_that_were_wrong_in_each_study_of_an_id_are_those_of_nobody(
    house: House, node: Node
) -> None:
    wrong = {**RIGHT, "PatientName": "Wrong^Walter=誤^名", "PatientBirthDate": "19500505"}
    for number in (1, 2):
        house.take_in(*study(wrong, study=number, SpecificCharacterSet="ISO_IR 192"))
    for number in (1, 2):
        delete_all(node, StudyInstanceUID=str(tiny(0, study=number).StudyInstanceUID))
        house.take_in(*study(RIGHT, study=number))
        describe(node)
    house.take_in(*study(RIGHT, study=3))
    assert asked(node, Level.PATIENT, TOLD[:3]) == [("R", "Right^Rita", "19800808")]
    assert (contradictions(node), names(node)) == (set(), ["Right^Rita"])
    assert [len(told(node, PatientName=name)) for name in ("wrong*", "*誤*", "right*", "*ight*")] == [0, 0, 3, 3]


def test_a_birth_date_of_one_study_alone_is_told_and_leaves_the_patient_as_he_is(house: House, node: Node) -> None:
    house.take_in(*study(RIGHT), *study(RIGHT, study="other"))
    delete_all(node, StudyInstanceUID=str(tiny(0).StudyInstanceUID))
    house.take_in(*study({**RIGHT, "PatientBirthDate": "19700707"}))
    describe(node)
    assert asked(node, Level.PATIENT, TOLD[:3]) == [("R", "Right^Rita", "19800808")]
    assert contradictions(node) == {"conflict-demographics"}


BORN_WRONG = {**RIGHT, "PatientBirthDate": "19500505"}
BORN_RIGHT = [tuple(RIGHT.values())[:3]]


def uid_of(number: int) -> str:
    return str(tiny(0, study=number).StudyInstanceUID)


def test_a_birth_date_goes_with_the_one_study_that_told_it(house: House, node: Node) -> None:
    house.take_in(*study(BORN_WRONG, study=1), *study(RIGHT, study=2), *study(RIGHT, study=3))
    assert contradictions(node) == {"conflict-demographics"}
    delete_all(node, StudyInstanceUID=uid_of(1))
    describe(node)
    assert (asked(node, Level.PATIENT, TOLD[:3]), contradictions(node)) == (BORN_RIGHT, set())


def test_a_birth_date_that_was_wrong_in_each_study_is_corrected_with_the_last_of_them(house: House, node: Node) -> None:
    house.take_in(*study(BORN_WRONG, study=1), *study(BORN_WRONG, study=2))
    told_of = list[object]()
    for number in (1, 2):
        delete_all(node, StudyInstanceUID=uid_of(number))
        house.take_in(*study(RIGHT, study=number))
        describe(node)
        told_of.append((asked(node, Level.PATIENT, TOLD[:3]), contradictions(node)))
    assert told_of == [([(*BORN_RIGHT[0][:2], "19500505")], {"conflict-demographics"}), (BORN_RIGHT, set())]


def test_studies_that_contradict_themselves_do_not_take_turns(house: House, node: Node) -> None:
    for number in (1, 2, 3):
        born = [{**RIGHT, "PatientBirthDate": f"19{number}{n}0101"} for n in range(2)]
        house.take_in(*(tiny(n, **values, study=number) for n, values in enumerate(born)))
    delete_all(node, StudyInstanceUID=uid_of(1))
    describe(node)
    assert contradictions(node) == {"conflict-demographics"}


def test_an_added_field_of_a_patient_of_whom_nothing_else_tells_is_told_anew(house: House, node: Node) -> None:
    node.fields.add(new_field("RegionOfResidence", Level.PATIENT), NOW)
    while field := node.fields.next_to_read(NOW):
        node.fields.enter(field, {}, [])
    house.take_in(*study({**RIGHT, "RegionOfResidence": "Lille"}))
    delete_all(node, PatientID="R")
    house.take_in(*study({**RIGHT, "RegionOfResidence": "Lyon"}))
    describe(node)
    found = node.search.find(query_from_keywords(Level.PATIENT, {}), node.vocabulary().fields)
    assert [tuple(row) for row in found] == [("Lyon",)]


@pytest.mark.parametrize("how", ["purged", "corrected"])
def test_a_name_is_one_patient_also_where_the_first_of_its_id_is_no_more(house: House, node: Node, how: str) -> None:
    house.take_in(*study({**RIGHT, "PatientName": "Wrong^Walter"}), *study(RIGHT, study=2))
    delete_all(node, StudyInstanceUID=str(tiny(0).StudyInstanceUID))
    if how == "purged":
        assert purge_all(node)
    else:
        house.take_in(*study(WRONG))
        describe(node)
    house.take_in(*study(RIGHT, study=3))
    described = asked(node, Level.PATIENT, ("PatientName", "NumberOfPatientRelatedStudies"), PatientID="R")
    assert described == [("Right^Rita", 2)]


def test_a_name_that_was_corrected_is_taken_again_under_the_same_id(house: House, node: Node) -> None:
    wrong, third = ({**RIGHT, "PatientName": name} for name in ("Wrong^Walter", "Third^Tom"))
    house.take_in(*study(RIGHT), *study(wrong, study=2))
    for values in (third, wrong, third):
        delete_all(node, StudyInstanceUID=str(tiny(0, study=2).StudyInstanceUID))
        house.take_in(*study(values, study=2))
        describe(node)
    house.take_in(*study(wrong, study=3), *study(third, study=4))
    delete_all(node, StudyInstanceUID=str(tiny(0, study=4).StudyInstanceUID))
    house.take_in(*study(wrong, study=4))
    assert [do_one(node) for _ in range(5)][-1] is None, "each study is described, and it ends"
    described = asked(node, Level.PATIENT, ("PatientName", "NumberOfPatientRelatedStudies"), PatientID="R")
    assert sorted(described) == [("Right^Rita", 1), ("Third^Tom", 1), ("Wrong^Walter", 2)]


def test_a_study_comes_to_a_name_that_was_corrected_in_another(house: House, node: Node) -> None:
    wrong, third = ({**RIGHT, "PatientName": name} for name in ("Wrong^Walter", "Third^Tom"))
    house.take_in(*study(RIGHT), *study(RIGHT, study=2), *study(wrong, study=3))
    for number, values in ((3, third), (2, wrong)):
        delete_all(node, StudyInstanceUID=str(tiny(0, study=number).StudyInstanceUID))
        house.take_in(*study(values, study=number))
        describe(node)
    assert names(node) == ["Right^Rita", "Third^Tom", "Wrong^Walter"]


def test_two_names_under_an_id_are_told_of_as_long_as_both_are_found(house: House, node: Node) -> None:
    other = {**RIGHT, "PatientName": "Other^Olga"}
    house.take_in(*study(RIGHT, study=1), *study(other, study=2))

    def flagged() -> list[str]:
        return sorted({row["uid"] for row in conflicts_view(node.index)})

    delete_all(node, SOPInstanceUID=str(tiny(0, study=2).SOPInstanceUID))
    describe(node)
    assert flagged() == [uid_of(2)]
    delete_all(node, StudyInstanceUID=uid_of(1))
    describe(node)
    assert flagged() == []
    house.take_in(*study(other, study=3))
    assert flagged() == [], "nobody of another name is found"
    list(restore(node, in_trash(node, {"StudyInstanceUID": uid_of(1)}), "by mistake"))
    describe(node)
    assert flagged() == [uid_of(1)]
    delete_all(node, StudyInstanceUID=uid_of(1))
    assert flagged() == [], "it is in the trash"


def test_a_further_name_under_an_id_is_told_of_where_the_first_is_no_more(house: House, node: Node) -> None:
    house.take_in(*study(RIGHT, study=1), *study({**RIGHT, "PatientName": "Other^Olga"}, study=2))
    delete_all(node, StudyInstanceUID=uid_of(1))
    assert purge_all(node)
    describe(node)
    assert contradictions(node) == set()
    house.take_in(*study({**RIGHT, "PatientName": "Third^Tom"}, study=3))
    assert contradictions(node) == {"conflict-demographics"}


def test_an_index_made_anew_says_the_same(house: House, node: Node) -> None:
    house.take_in(*study(WRONG))
    delete_all(node, PatientID="W")
    house.take_in(*study(RIGHT))
    describe(node)
    assert list(rebuild_index(node)) == []
    describe(node)
    assert (told(node), contradictions(node), names(node)) == ([AS_RIGHT], set(), ["Right^Rita"])


def test_patients_who_have_other_studies_stay_and_are_counted(house: House, node: Node) -> None:
    house.take_in(*study(WRONG), *study(WRONG, study="before"), *study(RIGHT, study="her own"))
    wrong = str(tiny(0).StudyInstanceUID)
    delete_all(node, StudyInstanceUID=wrong)
    house.take_in(*study(RIGHT))
    describe(node)
    with node.index.read() as connection:
        counted = select(patients.c.patient_id, patients.c.study_count, patients.c.instance_count)
        assert {tuple(row) for row in connection.execute(counted)} == {("W", 1, 2), ("R", 2, 4)}
    list(purge_all(node))
    assert names(node) == ["Right^Rita", "Wrong^Walter"]


def purge_all(node: Node) -> Sequence[object]:
    change_retention(node.index, purging=Purging.BY_HAND, grace_days=0)
    return list(purge(node, in_trash(node, {}), "over"))


def test_a_damaged_copy_tells_nothing_while_a_good_one_does(house: House, node: Node) -> None:
    house.take_in(*study(WRONG, count=1))
    beside = select(copies.c.instance_row, literal("beside"), copies.c.path)

    def read_from() -> list[str]:
        (one,) = node.anew.objects(str(tiny(0).StudyInstanceUID))
        return [copy.volume_id for copy in one.copies]

    with node.index.write() as connection:
        connection.execute(update(copies).values(damage="a bit of the name"))
        connection.execute(insert(copies).from_select(["instance_row", "volume_id", "path"], beside))
    assert read_from() == ["beside"]
    with node.index.write() as connection:
        connection.execute(update(copies).values(damage="both"))
    assert len(read_from()) == 2, "better than nothing"


def test_contents_between_which_to_choose_are_shown_while_the_volume_is_away(
    house: House, capsys: pytest.CaptureFixture[str]
) -> None:
    house.take_in(*study(WRONG))
    house.take_in(*study(RIGHT))
    show = ["-c", str(house.config), "conflicts", "show", str(tiny(0).StudyInstanceUID), "--json"]
    house.volume.rename(house.volume.with_name("away"))
    capsys.readouterr()
    assert run(show) == ExitCode.PARTLY
    told = capsys.readouterr()
    assert sorted(row["role"] for row in json.loads(told.out)) == ["current", "current", "version", "version"]
    assert "volume first" in told.err


def test_whose_the_objects_are_that_can_be_read_is_shown_while_another_volume_is_away(
    house: House, node: Node, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (second := tmp_path / "second").mkdir()
    row = VolumeRow(id=adopt(second, name="second"), name="second", path=str(second), tier="hot", domain="second")
    house.take_in(*study(WRONG, count=1))
    node.registry.add_volume(row)
    (first,) = (one for one in node.registry.volumes() if one.name == "first")
    node.registry.change_volume(first.id, {"mode": VolumeMode.READ_ONLY})
    house.take_in(*study(RIGHT, series="other", count=2))
    house.volume.rename(house.volume.with_name("away"))
    capsys.readouterr()
    assert (
        run(["-c", str(house.config), "conflicts", "show", str(tiny(0).StudyInstanceUID), "--json"]) == ExitCode.PARTLY
    )
    told = capsys.readouterr()
    assert [(row["patient_id"], len(row["sop_uids"])) for row in json.loads(told.out)] == [("R", 2)]
    assert "whose 1 more objects are cannot be read now" in told.err


def test_an_ordinary_deletion_leaves_a_study_as_it_is(house: House, node: Node) -> None:
    first, *_ = house.take_in(*study(WRONG))
    delete_all(node, SOPInstanceUID=first.sop_uid)
    describe(node)
    assert told(node) == [(*WRONG.values(), 1)]


def test_whose_a_study_is_whose_first_object_cannot_be_read_is_not_decided_anew(house: House, node: Node) -> None:
    house.take_in(*study(WRONG, count=1), *study(RIGHT, series="other", count=2))
    (first,) = house.volume.rglob(f"{tiny(0).SOPInstanceUID}-*.dcm")
    first.write_bytes(b"rotten" * 100)
    delete_all(node, SOPInstanceUID=str(tiny(1, series="other").SOPInstanceUID))
    describe(node)
    assert told(node) == [(*WRONG.values(), 2)]
    assert contradictions(node) == {"conflict-patient", "conflict-study"}


def test_while_its_volume_is_away_a_study_waits_to_be_described(house: House, node: Node) -> None:
    house.take_in(*study(WRONG))
    delete_all(node, PatientID="W")
    house.take_in(*study(RIGHT))
    away = house.volume.rename(house.volume.with_name("away"))
    (volume,) = node.volumes()
    volume.check()
    assert do_one(node)
    assert told(node) == [AS_WRONG]
    away.rename(house.volume)
    volume.check()
    describe(node)
    assert told(node) == [AS_RIGHT]


def test_what_comes_back_alone_is_current_also_in_an_index_made_anew(house: House, node: Node) -> None:
    house.take_in(tiny(1), tiny(1, ImageComments="other", SeriesInstanceUID="1.2.3"))
    sop_uid = str(tiny(1).SOPInstanceUID)
    first, second = (one.digest for one in node.copies.of_objects([sop_uid]))
    delete_all(node, SOPInstanceUID=sop_uid)
    for series_uid in ("1.2.3", str(tiny(1).SeriesInstanceUID)):
        assert list(restore(node, in_trash(node, {"SeriesInstanceUID": series_uid}), "by mistake"))
    for _ in range(2):
        roles = {one.digest: one.role for one in node.copies.of_objects([sop_uid])}
        assert roles == {first: "version", second: "current"}
        assert list(rebuild_index(node)) == []
