"""Objects become rows: the same rules on every database."""

import gc
import random
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from pydicom.dataset import Dataset
from sqlalchemy import func, select
from support.arrivals import CT, arrival
from support.samples import encoded, tiny

from pacs_server.dicom.attributes import ATTRIBUTES, Level
from pacs_server.dicom.describe import Flag, describe
from pacs_server.dicom.elements import EXPLICIT_LE
from pacs_server.dicom.header import HeadScanner
from pacs_server.dicom.queries.matching import column_from_keyword, query_from_keywords
from pacs_server.errors import IndexLocked, IndexUnavailable, IndexUnreachable
from pacs_server.index.copies import Copies, Copy
from pacs_server.index.engine import Index
from pacs_server.index.maintenance.holdings import HeldCopy, Holdings, replace_content
from pacs_server.index.objects import Outcome
from pacs_server.index.queries.search import Search
from pacs_server.index.queries.view import study_view
from pacs_server.index.recording.instances import Instances
from pacs_server.index.site.registry import Registry, VolumeRow
from pacs_server.index.tables import copies, instances, patients, series, studies

MR = "1.2.840.10008.5.1.4.1.1.4"


@pytest.fixture
def objects(index: Index) -> Instances:
    return Instances(index)


def flags_of(index: Index, study: str = "1.2.3") -> list[tuple[str, str]]:
    view = study_view(index, study)
    assert view is not None
    return [(flag["kind"], flag["detail"]) for flag in view["flags"]]


@pytest.mark.parametrize("refusal", [IndexUnavailable, IndexUnreachable, IndexLocked])
def test_what_could_not_be_recorded_is_held_by_nothing_once_that_was_told(
    index: Index, objects: Instances, monkeypatch: pytest.MonkeyPatch, refusal: type[IndexUnavailable]
) -> None:
    raised: list[weakref.ref[IndexUnavailable]] = []

    def fail(*_: object, **__: object) -> None:
        error = refusal("it is away")
        raised.append(weakref.ref(error))
        try:
            raise error
        finally:
            del error

    monkeypatch.setattr(index, "write_cursor", fail)
    gc.disable()
    try:
        try:
            objects.record(arrival("1.2.3.4"))
        except refusal as error:
            raised.append(weakref.ref(error))
        assert len(raised) > 1
        assert [one() for one in raised if one() is not None] == []
    finally:
        gc.enable()


def test_what_is_not_held_is_not_known(objects: Instances) -> None:
    known = objects.known("1.2.3.4", "1.2.3")
    assert (known.study_day, known.objects) == (None, ())


def test_a_recorded_object_is_known_with_its_copy_and_the_day_of_its_study(objects: Instances) -> None:
    new = arrival("1.2.3.4")
    assert objects.record(new).outcome is Outcome.NEW
    known = objects.known("1.2.3.4", "1.2.3")
    assert known.study_day == new.day
    (held,) = known.objects
    assert (held.digest, held.role, held.transfer_syntax, held.copies) == (
        new.digest, "current", new.transfer_syntax, new.copies,
    )  # fmt: skip


def test_nothing_is_recorded_on_a_volume_that_was_removed_until_it_is_added_again(
    index: Index, objects: Instances
) -> None:
    registry, kept = Registry(index), Copies(index)
    gone = VolumeRow(id="a", name="a", path="/mnt/a", domain="a", tier="hot")
    registry.add_volume(gone)
    registry.remove_volume("a")
    refused, beside = arrival("1.2.3.4", volume="a"), arrival("1.2.3.5", volume="b")
    with pytest.raises(IndexUnavailable, match="removed"):
        objects.record_in_order([refused, beside])
    assert objects.known("1.2.3.4", "1.2.3").objects == ()
    (held,) = kept.of_objects(["1.2.3.5"])
    kept.add(held, Copy(volume_id="a", path="late"), datetime.now(UTC))
    assert kept.count_on("a") == 0
    registry.add_volume(gone)
    assert objects.record(refused).outcome is Outcome.NEW


def test_the_same_object_again_is_a_duplicate_and_its_new_copy_is_added(index: Index, objects: Instances) -> None:
    objects.record(arrival("1.2.3.4", volume="a"))
    assert objects.record(arrival("1.2.3.4", volume="b")).outcome is Outcome.DUPLICATE
    assert objects.record(arrival("1.2.3.4", volume="b")).outcome is Outcome.DUPLICATE
    (held,) = objects.known("1.2.3.4", "1.2.3").objects
    assert [copy.volume_id for copy in held.copies] == ["a", "b"]
    assert study_view(index, "1.2.3")["instance_count"] == 1


def test_same_uid_other_bytes_is_kept_as_a_flagged_version_and_the_first_stays_current(
    index: Index, objects: Instances
) -> None:
    objects.record(arrival("1.2.3.4", content="first"))
    assert objects.record(arrival("1.2.3.4", content="other")).outcome is Outcome.VERSION
    roles = [held.role for held in objects.known("1.2.3.4", "1.2.3").objects]
    assert roles == ["current", "version"]
    assert ("conflict-version", "") in flags_of(index)
    assert study_view(index, "1.2.3")["instance_count"] == 1


def test_two_studies_that_have_objects_under_one_uid_are_both_found_and_a_person_is_told(
    index: Index, objects: Instances
) -> None:
    outcomes = [objects.record(arrival("1.2.3.4", study=study, content=study)).outcome for study in ("1.2", "1.3")]
    assert outcomes == [Outcome.NEW, Outcome.NEW]
    query, wanted = query_from_keywords(Level.IMAGE, {"SOPInstanceUID": "1.2.3.4"}), ("StudyInstanceUID",)
    found = Search(index).find(query, [column_from_keyword(name) for name in wanted])
    assert sorted(str(row[0]) for row in found) == ["1.2", "1.3"]
    assert (flags_of(index, "1.2"), flags_of(index, "1.3")) == ([], [("conflict-uid", "1.2")])
    assert objects.record(arrival("1.2.3.4", study="1.3", content="other")).outcome is Outcome.VERSION
    roles = {study: [held.role for held in objects.known("1.2.3.4", study).objects] for study in ("1.2", "1.3")}
    assert roles == {"1.2": ["current"], "1.3": ["current", "version"]}


def test_a_device_that_counts_anew_for_each_study_is_told_of_in_few_words(index: Index, objects: Instances) -> None:
    for number in range(1, 9):
        objects.record(arrival("1.2.3.4", study=f"1.{number}", content=str(number)))
    assert flags_of(index, "1.8") == [("conflict-uid", f"1.{number}") for number in (1, 2, 3)]


def test_what_is_recorded_later_counts_as_received_later(index: Index, objects: Instances) -> None:
    """An index that is made anew enters objects in that order, and of two that come at once either may be first."""
    one, other = (arrival("1.9", study="1.2", content=content) for content in ("one", "other"))
    objects.record(one)
    objects.record(replace(other, received_at=one.received_at - timedelta(seconds=9)))
    objects.record_in_order([arrival(study="1.2"), arrival(study="1.2")])
    with index.read() as connection:
        told = connection.execute(select(instances.c.received_at).order_by(instances.c.id)).scalars().all()
        last = connection.execute(select(studies.c.last_received_at)).scalar_one()
    assert told == sorted(set(told))
    assert (told[0], told[-1]) == (one.received_at.isoformat(), last)


def test_what_comes_after_a_clock_that_ran_ahead_was_put_right_is_of_its_own_time(
    index: Index, objects: Instances
) -> None:
    one = arrival(study="1.2")
    objects.record(replace(one, received_at=one.received_at + timedelta(days=9000)))
    other = arrival(study="1.2")
    objects.record(other)
    with index.read() as connection:
        told = connection.execute(select(instances.c.received_at).order_by(instances.c.id)).scalars().all()
    assert told[1] == other.received_at.isoformat()


def test_the_same_values_in_another_encoding_are_kept_without_an_alarm(index: Index, objects: Instances) -> None:
    objects.record(arrival("1.2.3.4", content="first"))
    recoded = arrival("1.2.3.4", content="recoded", role="encoding")
    assert objects.record(recoded).outcome is Outcome.ENCODING
    assert flags_of(index) == []


def test_another_patient_id_within_a_study_is_stored_and_flagged(index: Index, objects: Instances) -> None:
    objects.record(arrival(patient_id="100"))
    assert objects.record(arrival(patient_id="200")).outcome is Outcome.NEW
    view = study_view(index, "1.2.3")
    assert (view["patient"]["patient_id"], view["instance_count"]) == ("100", 2)
    assert ("conflict-patient", "PatientID") in flags_of(index)


def test_contradicting_demographics_are_flagged_without_naming_the_values(index: Index, objects: Instances) -> None:
    objects.record(arrival(birth_date="19700101", sex="M"))
    objects.record(arrival(birth_date="19710101", sex="M", patient_name="SUZUKI^ICHIRO"))
    assert flags_of(index) == [("conflict-demographics", "PatientName, PatientBirthDate")]
    assert study_view(index, "1.2.3")["patient"]["birth_date"] == "19700101"


SUZUKI = {"patient_name": "SUZUKI^ICHIRO", "birth_date": None, "sex": None}
TANABE = {"patient_name": "TANABE^HANAKO=田辺^花子=たなべ^はなこ", "birth_date": "19500505", "sex": "F"}


def named(index: Index, key: str) -> list[tuple[str | None, ...]]:
    """Study, name, birth date and sex of the studies that a key of the patient's name finds."""
    query = query_from_keywords(Level.STUDY, {"PatientName": key})
    columns = ("StudyInstanceUID", "PatientName", "PatientBirthDate", "PatientSex")
    return sorted(map(tuple, Search(index).find(query, [column_from_keyword(one) for one in columns])))


def test_two_names_under_one_id_are_two_patients_each_found_by_every_group_of_his_own(
    index: Index, objects: Instances
) -> None:
    objects.record(arrival(study="1.1", **SUZUKI))
    objects.record(arrival(study="1.2", **TANABE))
    objects.record(arrival(study="1.3", **SUZUKI))
    objects.record(arrival(study="1.4", **TANABE | {"patient_name": "TANABE^HANAKO"}))
    suzuki = [(uid, "SUZUKI^ICHIRO", None, None) for uid in ("1.1", "1.3")]
    tanabe = [(uid, *TANABE.values()) for uid in ("1.2", "1.4")]
    for key in ("SUZUKI*", "*ICHIRO", "suzuki ichiro"):
        assert named(index, key) == suzuki
    for key in ("TANABE*", "*HANAKO", "田辺*", "*田辺*", "*花子", "=田辺^花子", "タナベ*", TANABE["patient_name"]):
        assert named(index, str(key)) == tanabe
    assert named(index, "SUZUKI^ICHIRO=田辺^花子") == []
    assert flags_of(index, "1.2") == [("conflict-demographics", "PatientName")]
    assert flags_of(index, "1.3") == []


@pytest.mark.parametrize("first_is_fuller", [False, True])
def test_a_name_gets_the_groups_that_it_comes_with_later_and_is_found_by_all(
    index: Index, objects: Instances, first_is_fuller: bool
) -> None:
    names = ["KONISHI^TARO", "Konishi^Taro^^=小西^太郎"]
    for number, name in enumerate(reversed(names) if first_is_fuller else names):
        objects.record(arrival(study=f"1.{number}", patient_name=name))
    for key in ("KONISHI*", "*TARO", "小西*", "*小西*", "=小西^太郎"):
        assert len(named(index, key)) == 2, key
    assert {name for _, name, *_ in named(index, "小西*")} == {
        names[1] if first_is_fuller else "KONISHI^TARO=小西^太郎"
    }
    assert flags_of(index, "1.0") == flags_of(index, "1.1") == []


@pytest.mark.parametrize("study", ["1.1", "1.2"])
def test_a_patient_whose_name_comes_later_is_found_by_every_part_of_it(
    index: Index, objects: Instances, study: str
) -> None:
    objects.record(arrival(study="1.1", patient_name=None))
    assert named(index, "*KON*") == []
    objects.record(arrival(study=study, patient_name="KONISHI^TARO=小西^太郎"))
    for key in ("KONISHI*", "*NISHI*", "*TARO", "*小西*"):
        assert [uid for uid, *_ in named(index, key)] == sorted({"1.1", study}), key
    assert flags_of(index, study) == []


def test_a_later_object_fills_in_what_the_first_did_not_say(index: Index, objects: Instances) -> None:
    objects.record(arrival(accession_number=None, series_description=None, sex=None))
    objects.record(arrival(accession_number="A1", series_description="Thorax", sex="F"))
    view = study_view(index, "1.2.3")
    assert (view["accession_number"], view["patient"]["sex"]) == ("A1", "F")
    assert view["series"][0]["series_description"] == "Thorax"
    assert flags_of(index) == []


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("role", ["version", "encoding"])
def test_what_is_not_found_fills_nothing_in(index: Index, objects: Instances, together: bool, role: str) -> None:
    unknown = dict.fromkeys(("modality", "accession_number", "series_description", "sex", "birth_date"))
    said = {name: "A" for name in unknown}
    arrivals = [
        arrival("1.2.3.4", content="first", **unknown),
        arrival("1.2.3.4", content="other", role=role, patient_name="YAMADA^TARO=山田^太郎", **said),
    ]
    if together:
        objects.record_in_order(arrivals)
    else:
        for one in arrivals:
            objects.record(one)
    view = study_view(index, "1.2.3")
    assert "modalities" not in view
    for name in unknown:
        assert [one.get(name) for one in (view, view["patient"], view["series"][0])] == [None] * 3, name
    assert view["patient"]["patient_name"] == "YAMADA^TARO"
    objects.record(arrival(**said))
    assert study_view(index, "1.2.3")["modalities"] == "A"
    assert_rollups_equal_a_recount(index)


def test_two_studies_without_patient_id_are_two_patients(index: Index, objects: Instances) -> None:
    objects.record(arrival(study="1.2.3", patient_id=None))
    objects.record(arrival(study="1.2.4", patient_id=None))
    with index.read() as connection:
        assert connection.execute(select(func.count()).select_from(patients)).scalar() == 2


def test_one_patient_id_of_two_issuers_is_two_patients(index: Index, objects: Instances) -> None:
    objects.record(arrival(study="1.2.3", patient_id="1", issuer="A"))
    objects.record(arrival(study="1.2.4", patient_id="1", issuer="B"))
    with index.read() as connection:
        assert connection.execute(select(func.count()).select_from(patients)).scalar() == 2


def test_one_series_uid_under_two_studies_is_two_series(index: Index, objects: Instances) -> None:
    objects.record(arrival(study="1.2.3", series="9.9"))
    objects.record(arrival(study="1.2.4", series="9.9"))
    assert len(study_view(index, "1.2.3")["series"]) == len(study_view(index, "1.2.4")["series"]) == 1


def test_a_flag_of_the_object_is_noted_once(index: Index, objects: Instances) -> None:
    for _ in range(3):
        objects.record(arrival(flags=(Flag(kind="charset-missing", detail="PatientName"),)))
    assert flags_of(index) == [("charset-missing", "PatientName")]


def assert_rollups_equal_a_recount(index: Index) -> None:
    with index.read() as connection:
        current = (
            select(instances.c.series_row, func.count().label("n"))
            .where(instances.c.role == "current")
            .group_by(instances.c.series_row)
        )
        per_series = {row.series_row: row.n for row in connection.execute(current)}
        parts = connection.execute(select(*series.c)).mappings().all()
        assert {part["id"]: part["instance_count"] for part in parts if part["instance_count"]} == per_series
        for study in connection.execute(select(*studies.c)).mappings():
            mine = [part for part in parts if part["study_row"] == study["id"] and part["instance_count"]]
            assert study["series_count"] == len(mine)
            assert study["instance_count"] == sum(part["instance_count"] for part in mine)
            assert study["modalities"] == ("\\".join(sorted({part["modality"] for part in mine})) or None)
            joined = instances.join(series).select().where(series.c.study_row == study["id"])
            classes = connection.execute(joined.where(instances.c.role == "current")).mappings()
            assert study["sop_classes"] == ("\\".join(sorted({row["sop_class"] for row in classes})) or None)
        for patient in connection.execute(select(*patients.c)).mappings():
            held = connection.execute(select(*studies.c).where(studies.c.patient_row == patient["id"])).mappings().all()
            assert patient["study_count"] == len(held)
            assert patient["series_count"] == sum(study["series_count"] for study in held)
            assert patient["instance_count"] == sum(study["instance_count"] for study in held)


def random_arrivals(seed: int, count: int) -> list:
    chance = random.Random(seed)
    made = []
    for _ in range(count):
        study = f"1.2.{chance.randrange(4)}"
        part = chance.randrange(3)
        made.append(
            arrival(
                f"1.2.9.{chance.randrange(count // 2)}",
                study=study,
                series=f"{study}.{part}",
                modality=("CT", "MR", "US")[part],
                sop_class=chance.choice((CT, MR)),
                patient_id=f"P{chance.randrange(3)}",
                content=chance.choice(("first", "first", "other")),
            )
        )
    return made


@pytest.mark.parametrize("seed", range(3))
def test_counts_equal_a_recount_after_any_sequence(index: Index, objects: Instances, seed: int) -> None:
    for one in random_arrivals(seed, 60):
        objects.record(one)
    assert_rollups_equal_a_recount(index)


@pytest.mark.parametrize("seed", range(3))
def test_a_group_becomes_what_its_objects_become_one_by_one(
    index: Index, objects: Instances, new_upgraded_url: Callable[[], str], seed: int
) -> None:
    arrivals = random_arrivals(seed, 60)
    together = objects.record_in_order(arrivals)
    url = new_upgraded_url()
    with closing(Index.open(url)) as other:
        apart = Instances(other)
        assert together == [apart.record(one) for one in arrivals]
        assert content_of(index) == content_of(other)
    assert {outcome.outcome for outcome in together} == {Outcome.NEW, Outcome.VERSION, Outcome.DUPLICATE}
    assert_rollups_equal_a_recount(index)


def content_of(index: Index) -> list[tuple]:
    named = select(instances.c.sop_uid, instances.c.digest, instances.c.role, series.c.series_uid, studies.c.study_uid)
    named = named.add_columns(copies.c.path).join_from(instances, series).join(studies)
    with index.read() as connection:
        return sorted(tuple(row) for row in connection.execute(named.join(copies)))


def test_many_threads_record_new_patients_studies_and_the_same_objects_at_once(
    index: Index, objects: Instances
) -> None:
    """Two `Instances` stand for two processes: their commits meet in the database, not in one queue."""
    second = Instances(index)
    errors: list[BaseException] = []

    def send(sender: Instances, seed: int) -> None:
        try:
            for one in random_arrivals(seed, 40):
                sender.record(one)
        except BaseException as error:  # noqa: BLE001 - told to the test's own thread
            errors.append(error)

    threads = [threading.Thread(target=send, args=((objects, second)[n % 2], n // 2)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert_rollups_equal_a_recount(index)


def test_one_object_that_cannot_be_recorded_does_not_fail_its_group(index: Index, objects: Instances) -> None:
    """A number beyond the column's range fails on PostgreSQL; a text that is none fails on both."""
    good, bad = arrival("1.2.3.1"), arrival("1.2.3.2", study_description=object())
    outcomes: dict[str, object] = {}

    def record(name: str, one: object) -> None:
        try:
            outcomes[name] = objects.record(one).outcome  # type: ignore[arg-type]
        except Exception as error:  # noqa: BLE001 - told to the test's own thread
            outcomes[name] = error

    threads = [threading.Thread(target=record, args=pair) for pair in (("bad", bad), ("good", good))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes["good"] is Outcome.NEW
    assert isinstance(outcomes["bad"], Exception)
    assert len(objects.known("1.2.3.1", "1.2.3").objects) == 1


def test_text_that_a_database_cannot_hold_is_cleaned_at_the_door(index: Index, objects: Instances) -> None:
    objects.record(arrival(study_description="a\0b\ud800c"))
    assert study_view(index, "1.2.3")["study_description"] == "abc"


def test_copies_are_listed_by_volume_and_forgotten_as_long_as_another_one_is_good(
    index: Index, objects: Instances
) -> None:
    objects.record(arrival("1.2.3.4", volume="a"))
    objects.record(arrival("1.2.3.4", volume="b"))
    holdings = Holdings(index)
    (held,) = holdings.copies_on("a", since=None)
    assert [holdings.forget_spare(held, volume) for volume in ("a", "a", "b")] == [True, False, False]
    assert not holdings.holds("a", held.path)
    assert holdings.holds("b", held.path)
    assert list(holdings.copies_on("a", since=None)) == []


def test_a_copy_of_an_object_that_was_purged_meanwhile_is_not_forgotten_once_more(index: Index) -> None:
    assert not Holdings(index).forget_spare(HeldCopy(instance_id=7, path="gone", size_bytes=1), "a")


def test_of_two_copies_that_are_forgotten_at_the_same_moment_one_stays(index: Index, objects: Instances) -> None:
    holdings, meeting = Holdings(index), threading.Barrier(2)

    def forget(volume: str) -> list[bool]:
        told = []
        for held in list(holdings.copies_on(volume, since=None)):
            meeting.wait(60)
            told.append(holdings.forget_spare(held, volume))
        return told

    for number in range(30):
        for volume in ("a", "b"):
            objects.record(arrival(f"1.2.3.4.{number}", volume=volume))
    with ThreadPoolExecutor(2) as both:
        told = list(both.map(forget, ("a", "b")))
    assert {sum(pair) for pair in zip(*told, strict=True)} == {1}


def test_the_content_of_another_index_takes_the_place_of_this_one(
    index: Index, objects: Instances, new_upgraded_url: Callable[[], str]
) -> None:
    objects.record(arrival("1.2.3.1", volume="a"))
    Registry(index).add_volume(VolumeRow(id="volume-1", name="first", path="/mnt/1", domain="1", tier="hot"))
    url = new_upgraded_url()
    with closing(Index.open(url)) as beside:
        for one in random_arrivals(7, 30):
            Instances(beside).record(one)
        missed: list[tuple[str, str]] = []
        replace_content(index, beside, lambda volume, path: missed.append((volume, path)), datetime.now(UTC))
        assert [volume for volume, _ in missed] == ["a"]
        with index.read() as here, beside.read() as there:
            for table in (patients, studies, series, instances, copies):
                assert here.execute(select(table).order_by(table.c.id)).all() == (
                    there.execute(select(table).order_by(table.c.id)).all()
                )
    assert objects.record(arrival("1.2.3.77")).outcome is Outcome.NEW


def test_texts_as_long_as_they_are_kept_are_recorded_in_any_script(index: Index) -> None:
    """An entry of PostgreSQL's indexes holds 2,704 bytes."""
    chance = random.Random(1)
    data_set = tiny(1)
    for attribute in ATTRIBUTES:
        if attribute.vr in ("PN", "LO", "SH", "LT"):
            text = "".join(map(chr, chance.sample(range(0x4E00, 0x9FA0), 3_000)))
            setattr(data_set, attribute.keyword, text)
    code = Dataset()
    code.CodeValue = code.CodingSchemeDesignator = code.CodeMeaning = text
    data_set.ProcedureCodeSequence = [code]
    data_set.SpecificCharacterSet = "ISO_IR 192"
    scanner = HeadScanner(EXPLICIT_LE)
    scanner.feed(memoryview(encoded(data_set, EXPLICIT_LE)))
    description = describe(scanner.finish())
    assert Flag(kind="text-cut", detail="PatientName") in description.flags
    recorded = Instances(index).record(replace(arrival(), description=description))
    assert recorded.outcome is Outcome.NEW
