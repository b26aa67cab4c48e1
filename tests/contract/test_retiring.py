"""Deleting on real volumes: out of sight, back again, destroyed; and what holds, resends and other volumes do to it."""

import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items
from sqlalchemy import Connection, delete, event, select
from support.faulty_volume import mounted
from support.house import House, set_back
from support.samples import Sample, tiny, write
from support.site import LATER, NOW, Site

from pacs_server.archive import retire
from pacs_server.archive.operations import learn, synchronise
from pacs_server.archive.releasing import release_due
from pacs_server.archive.retire import Decider
from pacs_server.dicom.attributes import BY_KEYWORD, UNIQUE_KEY, Level
from pacs_server.dicom.identity import ObjectHasher
from pacs_server.dicom.operations import Content, Fate, Operation, OperationKind
from pacs_server.dicom.queries.matching import query_from_keywords
from pacs_server.dicom.stored import is_intact
from pacs_server.errors import IndexCutOff, IndexUnavailable, IndexUnreachable, NotEnoughCopies, Refused
from pacs_server.index import contents, retiring
from pacs_server.index.contents import Contents
from pacs_server.index.copies import Copy
from pacs_server.index.engine import Index
from pacs_server.index.fates import holds_of
from pacs_server.index.jobs import JobKind
from pacs_server.index.maintenance.holdings import Holdings
from pacs_server.index.operations import Operations
from pacs_server.index.promotion import UnknownStudy, note_unknown_study
from pacs_server.index.queries import trash
from pacs_server.index.queries.search import Search
from pacs_server.index.queries.trash import Held, Trash
from pacs_server.index.queries.view import conflicts_view, studies_with_uids_of_others
from pacs_server.index.releases import Releases
from pacs_server.index.retiring import forget_study
from pacs_server.index.site.partners import Partner, Partners
from pacs_server.index.site.registry import VolumeRow
from pacs_server.index.site.retention import Purging, Retention, change_retention
from pacs_server.index.site_tables import holds, operations, releases
from pacs_server.index.site_tables import site as site_entries
from pacs_server.index.tables import CONTENT, MOST_NAMED_ELSEWHERE, copies, flags, patients, series, studies
from pacs_server.service.contacts import Contact, Contacts
from pacs_server.service.upkeep import decisions, rounds
from pacs_server.service.upkeep.reconciling import release_what_was_purged
from pacs_server.service.upkeep.tiers import release_what_is_due
from pacs_server.storage.operations import keep_everywhere
from pacs_server.storage.sentinel import adopt
from pacs_server.storage.volume import Volume

AT_ONCE = Retention(purging=Purging.BY_HAND, grace_days=0)


class Deleting(Site):
    """A site on which things are deleted."""

    def __init__(self, index: Index, folder: Path) -> None:
        super().__init__(index, folder)
        self.trash, self.search = Trash(index), Search(index)
        self.operations = self.instances.operations

    def decider(self, *, only: str = "", now: object = NOW) -> Decider:
        volumes = [volume for name, volume in self.volumes.items() if only in ("", name)]
        return Decider(who="admin@test", reason="wrong patient", now=now, operations=self.operations, volumes=volumes)

    def found(self, **keys: str) -> list[Held]:
        return self.trash.found(query_from_keywords(Level.IMAGE, keys).predicates)

    def delete(self, only: str = "", **keys: str) -> None:
        assert list(retire.delete(self.found(**keys), self.decider(only=only)))

    def restore(self) -> None:
        assert list(retire.restore(self.trash.trashed(), self.decider()))

    def purge(self, retention: Retention = AT_ONCE, *, now: object = NOW) -> int:
        return len(list(retire.purge(self.trash.trashed(), retention, self.decider(now=now))))

    def uids(self, level: Level = Level.IMAGE) -> list[str]:
        query = query_from_keywords(level, {})
        return sorted(str(row[0]) for row in self.search.find(query, [UNIQUE_KEY[level]]))

    def counts(self) -> list[list[tuple[object, ...]]]:
        """The counts of every patient, study and series that is there."""
        with self.index.read() as connection:
            return [
                sorted(tuple(row) for row in connection.execute(select(*wanted)))
                for wanted in (
                    (patients.c.patient_id, patients.c.study_count, patients.c.series_count, patients.c.instance_count),
                    (studies.c.study_uid, studies.c.series_count, studies.c.instance_count, studies.c.modalities),
                    (series.c.series_uid, series.c.instance_count),
                )
            ]

    def leaving(self) -> set[tuple[str, str]]:
        with self.index.read() as connection:
            return {(row.volume_id, row.path) for row in connection.execute(select(releases))}


@pytest.fixture
def site(index: Index, tmp_path: Path) -> Deleting:
    return Deleting(index, tmp_path)


def two_studies(site: Deleting) -> tuple[list[Sample], list[Sample]]:
    first = site.store(*(tiny(n, study=1, series=n % 2, Modality=["CT", "SR"][n % 2]) for n in range(4)))
    second = site.store(*(tiny(n, study=2) for n in range(2)))
    return first, second


def uids_of(samples: Sequence[Sample]) -> list[str]:
    return sorted(sample.sop_uid for sample in samples)


def test_what_comes_back_beside_a_study_that_has_its_uids_by_now_is_flagged_once(site: Deleting) -> None:
    first = site.store(*(tiny(n, study=1) for n in range(2)))
    site.delete(StudyInstanceUID=first[0].study_uid)
    second = site.store(*(tiny(n, study=2, SOPInstanceUID=first[n].sop_uid) for n in range(2)))
    site.store(tiny(7, study=1), tiny(7, study=2))
    assert (conflicts_view(site.index), studies_with_uids_of_others(site.index)) == ([], 0)
    for samples in (second, first, second):
        site.restore()
        (told,) = conflicts_view(site.index)
        assert (told["kind"], told["uid"], told["detail"]) == ("conflict-uid", first[0].study_uid, second[0].study_uid)
        for sample in samples:
            assert len(conflicts_view(site.index)) == studies_with_uids_of_others(site.index) == 1
            assert Search(site.index).counts()["conflicts"] == 1
            site.delete(SOPInstanceUID=sample.sop_uid, StudyInstanceUID=sample.study_uid)
        assert (conflicts_view(site.index), studies_with_uids_of_others(site.index)) == ([], 0)
        assert Search(site.index).counts()["conflicts"] == 0


def test_what_comes_back_beside_many_studies_that_have_its_uid_names_as_few_of_them_as_what_comes(
    site: Deleting,
) -> None:
    (sample,) = site.store(tiny(1, study="first"))
    site.delete(StudyInstanceUID=sample.study_uid)
    site.store(*(tiny(1, study=n, SOPInstanceUID=sample.sop_uid) for n in range(MOST_NAMED_ELSEWHERE + 2)))
    site.restore()
    told = [one for one in conflicts_view(site.index) if one["uid"] == sample.study_uid]
    assert len(told) == MOST_NAMED_ELSEWHERE


def test_what_is_deleted_is_found_no_more_and_comes_back_as_it_was(site: Deleting) -> None:
    first, second = two_studies(site)
    before, all_of_them = site.counts(), site.uids()
    site.delete(StudyInstanceUID=first[0].study_uid)
    assert site.uids() == uids_of(second)
    assert site.uids(Level.STUDY) == [second[0].study_uid]
    assert site.uids(Level.SERIES) == [second[0].series_uid]
    assert site.counts()[0] == [("T-1", 1, 1, 2)]
    assert len(site.trash.trashed()) == 4
    site.restore()
    assert (site.counts(), site.uids(), site.trash.trashed()) == (before, all_of_them, [])


def test_a_study_is_counted_once_for_each_decision_however_many_objects_it_has(
    site: Deleting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was counted anew for each 500 of them: for a study of 60,000 objects 120 times, while nobody could store."""
    monkeypatch.setattr(retiring, "_BATCH", 2)
    first, second = two_studies(site)
    counted: list[int] = []
    recount = retiring.recount

    def count(connection: Connection, study_row: int) -> None:
        counted.append(study_row)
        recount(connection, study_row)

    monkeypatch.setattr(retiring, "recount", count)
    site.delete(StudyInstanceUID=first[0].study_uid)
    assert (len(counted), site.uids(), site.counts()[0]) == (1, uids_of(second), [("T-1", 1, 1, 2)])
    site.restore()
    assert (len(counted), site.uids(), site.counts()[0]) == (2, uids_of([*first, *second]), [("T-1", 2, 3, 6)])


def test_a_study_is_neither_found_nor_answered_by_what_of_it_is_in_the_trash(site: Deleting) -> None:
    of_series = (
        {"Modality": "SR", "SeriesDescription": "report", "PerformingPhysicianName": "Doe^Jane", "Rows": 1},
        {"Modality": "CT", "SeriesDescription": "slices", "PerformingPhysicianName": "Roe^John", "Rows": 2},
    )
    site.store(*(tiny(n, series=n, **values) for n, values in enumerate(of_series)))
    site.delete(Modality="SR")
    keys = {"ModalitiesInStudy": "SR", "SeriesDescription": "report", "PerformingPhysicianName": "Doe*", "Rows": "1"}
    for keyword, value in keys.items():
        for level in (Level.PATIENT, Level.STUDY):
            assert list(site.search.find(query_from_keywords(level, {keyword: value}), [UNIQUE_KEY[level]])) == []
    columns = [BY_KEYWORD[keyword] for keyword in keys]
    (answer,) = site.search.find(query_from_keywords(Level.STUDY, {}), columns)
    assert tuple(answer) == ("CT", "slices", "Roe^John", 2)
    for keyword in ("ModalitiesInStudy", "SeriesDescription"):
        assert len(site.trash.trashed(query_from_keywords(Level.IMAGE, {keyword: keys[keyword]}).predicates)) == 1


def test_one_object_is_deleted_and_the_counts_and_modalities_follow(site: Deleting) -> None:
    first, second = two_studies(site)
    site.delete(Modality="SR")
    assert site.uids() == uids_of([first[0], first[2], *second])
    assert site.counts()[1] == sorted([(first[0].study_uid, 1, 2, "CT"), (second[0].study_uid, 1, 2, "OT")])


def test_every_operation_lies_on_every_volume_before_it_takes_effect(site: Deleting) -> None:
    site.take_in(1)
    site.delete(PatientID="T-1")
    for volume in site.volumes.values():
        ((stamp, _),) = volume.operation_files()
        assert site.operations.one(stamp).kind is OperationKind.DELETE
        assert site.operations.one(stamp).reason == "wrong patient"


def test_what_is_purged_leaves_no_row_and_its_files_are_owed_their_removal(site: Deleting) -> None:
    first, second = two_studies(site)
    paths = {(volume.spec.id, str(file.path)) for volume in site.volumes.values() for file in volume.walk()}
    site.delete(StudyInstanceUID=first[0].study_uid)
    assert site.purge() == 1
    assert site.uids() == uids_of(second)
    assert site.leaving() == {place for place in paths if first[0].study_uid in place[1]}
    assert site.jobs.counts() == {("release", "waiting"): 2}
    assert site.operations.fates(first[0].sop_uid) == {site_digest(site, first[0]): Fate.PURGED}


def site_digest(site: Deleting, sample: Sample) -> str:
    (digest,) = site.operations.fates(sample.sop_uid)
    return digest


def test_what_partners_compare_of_a_study_is_what_is_left_of_it_after_a_purge(site: Deleting) -> None:
    first, _ = two_studies(site)
    site.delete(SOPInstanceUID=first[0].sop_uid)
    assert site.purge() == 1
    assert Contents(site.index).recount() == [], "nothing was counted otherwise"


def test_when_everything_is_purged_no_content_is_left(site: Deleting) -> None:
    code, request = Dataset(), Dataset()
    code.CodeValue, request.RequestedProcedureID = "11", "12"
    site.store(
        tiny(
            0, PatientName="Yamada^Taro=山田^太郎", SpecificCharacterSet=["", "ISO 2022 IR 87"],
            ProcedureCodeSequence=Items([code]), RequestAttributesSequence=Items([request]),
        )
    )  # fmt: skip
    site.store(tiny(0, PatientID="T-2", ImageComments="another content"))
    assert filled_tables(site) == {table.name for table in CONTENT} - {"extra_values"}
    site.delete(StudyInstanceUID=site.found()[0].study_uid)
    assert site.purge() == 1
    assert filled_tables(site) == set()


def filled_tables(site: Deleting) -> set[str]:
    """The tables that say something of objects now."""
    with site.index.read() as connection:
        return {table.name for table in CONTENT if connection.execute(select(table)).first() is not None}


@pytest.mark.parametrize(
    ("retention", "days"),
    [
        (Retention(purging=Purging.BY_HAND, grace_days=30), 30),
        (Retention(purging=Purging.NIGHTLY, grace_days=0, keep_days=100), 100),
    ],
)
def test_nothing_is_purged_before_its_time(site: Deleting, retention: Retention, days: int) -> None:
    site.take_in(1)
    site.delete(PatientID="T-1")
    assert site.purge(retention, now=NOW + timedelta(days=days, hours=-25)) == 0
    assert site.purge(retention, now=NOW + timedelta(days=days)) == 1


def test_a_study_of_the_year_9999_is_kept_and_keeps_no_other_one(site: Deleting) -> None:
    site.store(tiny(0, StudyDate="99991231"), tiny(1, study="other", StudyDate="20200101"))
    site.delete(PatientID="T-1")
    retention = Retention(purging=Purging.BY_HAND, grace_days=0, keep_days=10)
    assert site.purge(retention, now=NOW + timedelta(days=10)) == 1
    (kept,) = site.trash.trashed()
    why = retire.kept_because(kept, retention, [], NOW + timedelta(days=10))
    assert why == "its study has to be kept until 9999-12-31"


def test_by_default_nothing_is_purged_at_all(site: Deleting) -> None:
    site.take_in(1)
    site.delete(PatientID="T-1")
    with pytest.raises(Refused, match="pacs retention set"):
        site.purge(Retention(), now=NOW + timedelta(days=10_000))


def test_a_study_on_hold_is_neither_deleted_nor_purged(site: Deleting) -> None:
    def kept_because(**keys: str) -> set[str]:
        return {retire.kept_because(one, AT_ONCE, [], LATER) for one in site.found(**keys)}

    first, _ = two_studies(site)
    site.decider().decide(OperationKind.HOLD, first[0].study_uid)
    with pytest.raises(Refused, match="on hold"):
        site.delete(PatientID="T-1")
    assert len(site.uids()) == 6
    assert kept_because(StudyInstanceUID=first[0].study_uid) == {"its study is on hold"}
    site.decider().decide(OperationKind.RELEASE, first[0].study_uid)
    assert kept_because() == {"it is not in the trash"}
    site.delete(PatientID="T-1")
    assert site.uids() == []


def test_a_hold_brings_back_what_is_in_the_trash(site: Deleting) -> None:
    site.take_in(2)
    site.delete(PatientID="T-1")
    site.decider().decide(OperationKind.HOLD, site.samples[0].study_uid)
    assert site.uids() == uids_of(site.samples)
    assert [hold.reason for hold in holds_of(site.index)] == ["wrong patient"]
    assert site.purge() == 0


def test_what_is_in_the_trash_comes_back_when_it_is_sent_again(site: Deleting) -> None:
    site.take_in(3)
    site.delete(PatientID="T-1")
    site.store(tiny(1, ImageComments="x" * 900))
    assert site.uids() == [site.samples[1].sop_uid]
    assert site.counts()[0] == [("T-1", 1, 1, 1)]
    kinds = [one.kind for one in site.operations.of_study(site.samples[0].study_uid)]
    assert kinds == [OperationKind.DELETE, OperationKind.READMIT]
    assert [len(list(volume.operation_files())) for volume in site.volumes.values()] == [2, 2]


def test_a_study_that_is_in_the_trash_is_described_anew_when_another_series_of_it_comes(site: Deleting) -> None:
    site.store(tiny(1, series=1))
    site.delete()
    assert "describe" not in {job.kind for job in site.jobs.listed()}
    site.store(tiny(2, series=2))
    assert "describe" in {job.kind for job in site.jobs.listed()}


def test_what_was_purged_is_held_again_when_it_is_sent_again(site: Deleting) -> None:
    site.take_in(2)
    site.delete(PatientID="T-1")
    site.purge()
    again = site.store(tiny(0, ImageComments=""))
    assert site.uids() == uids_of(again)
    assert site.operations.fates(again[0].sop_uid) == {site_digest(site, again[0]): Fate.KEPT}


def test_another_content_that_came_after_a_deletion_stays_current_when_the_first_comes_back(site: Deleting) -> None:
    site.store(tiny(0))
    site.delete(PatientID="T-1")
    site.store(tiny(0, ImageComments="corrected"))
    held = site.copies.of_objects([site.found()[0].content.sop_uid])
    assert [one.role for one in held] == ["trash", "current"]
    site.restore()
    held = site.copies.of_objects([site.found()[0].content.sop_uid])
    assert [one.role for one in held] == ["version", "current"]


def test_what_another_study_has_under_the_same_uid_is_not_deleted_along(site: Deleting) -> None:
    (first,) = site.store(tiny(0, study=1))
    (other,) = site.store(tiny(0, study=2, SOPInstanceUID=first.sop_uid))
    site.delete(StudyInstanceUID=first.study_uid)
    assert [one.study_uid for one in site.found()] == [other.study_uid]
    assert site.uids(Level.STUDY) == [other.study_uid]
    site.restore()
    assert [(one.study_uid, one.content.role) for one in site.found(StudyInstanceUID=other.study_uid)] == [
        (other.study_uid, "current")
    ]


def test_a_study_that_is_forgotten_leaves_neither_row_nor_decision_nor_job(site: Deleting) -> None:
    first, _ = two_studies(site)
    site.store(tiny(9, study=1), need=1, only="a")  # lacks a copy, which is owed
    site.delete(SOPInstanceUID=first[0].sop_uid)
    before = site.counts()[1:]
    trial = site.store(*(tiny(n, study="trial", PatientID="TRIAL") for n in range(2)), need=1, only="a")
    paths = {(volume.spec.id, str(file.path)) for volume in site.volumes.values() for file in volume.walk()}
    assert {job.study_uid for job in site.jobs.listed()} >= {trial[0].study_uid}
    assert forget_study(site.index, trial[0].study_uid, NOW) == 2
    assert site.counts()[1:] == before
    assert len(site.counts()[0]) == 1
    assert {path for path in paths if trial[0].study_uid in path[1]} == site.leaving()
    assert {job.study_uid for job in site.jobs.listed()} - {""} == {first[0].study_uid}
    assert site.operations.fates(trial[0].sop_uid) == {}
    assert forget_study(site.index, trial[0].study_uid, NOW) == 0
    assert len(site.trash.trashed()) == 1


def test_a_person_chooses_the_version_that_is_found(site: Deleting) -> None:
    site.store(tiny(0))
    site.store(tiny(0, ImageComments="the right one"))
    contents = [one.content for one in site.found()]
    assert [one.role for one in contents] == ["current", "version"]
    site.decider().decide(OperationKind.VERSION, site.found()[0].study_uid, [contents[1]])
    assert [one.content.role for one in site.found()] == ["version", "current"]
    assert site.counts()[0] == [("T-1", 1, 1, 1)]
    with site.index.read() as connection:
        conflicts = connection.execute(select(flags.c.instance_row, flags.c.kind).order_by(flags.c.id)).all()
    assert conflicts == [(1, "conflict-version")], "each content beside the current one once, as after a rebuild"


def test_the_number_of_a_decision_that_never_took_effect_is_given_to_no_other(site: Deleting) -> None:
    """Its file may lie on a volume."""
    first, second = (site.operations.draft(OperationKind.HOLD, "1.2", now=NOW, who="a", reason="b") for _ in range(2))
    assert first.stamp < second.stamp
    assert site.operations.stamps() == set()


def test_a_decision_whose_connection_ends_takes_effect_once(site: Deleting, monkeypatch: pytest.MonkeyPatch) -> None:
    record, ended = site.operations.record, []

    def cut_off(operation: Operation, **how: Any) -> Operation:
        done = record(operation, **how)
        if not ended:
            ended.append(operation)
            raise IndexCutOff("the server ended the connection behind the commit")
        return done

    site.take_in(1)
    monkeypatch.setattr(site.operations, "record", cut_off)
    (deleted,) = retire.delete(site.found(PatientID="T-1"), site.decider())
    assert len(deleted.objects) == len(site.trash.trashed()) == 1
    assert len(site.operations.stamps()) == 1


def test_a_decision_that_the_index_does_not_take_is_told_to_take_effect_with_the_next_one(
    site: Deleting, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object, **__: object) -> Operation:
        raise IndexUnreachable("it is away", "start it")

    site.take_in(1)
    with monkeypatch.context() as patched:
        patched.setattr(site.operations, "record", away)
        with pytest.raises(
            IndexUnreachable, match=r"it is away: start it; the decision about study .* is on the volumes"
        ):
            site.delete(PatientID="T-1")
    assert site.trash.trashed() == []
    assert learn(site.volumes["a"], site.operations, list(site.volumes.values()), now=LATER) == 1
    assert len(site.trash.trashed()) == 1


def test_a_volume_that_was_away_gets_the_operations_that_it_missed(site: Deleting) -> None:
    site.take_in(1)
    site.delete(only="a", PatientID="T-1")
    assert list(site.volumes["b"].operation_files()) == []
    assert synchronise(site.volumes["b"], site.operations, list(site.volumes.values()), now=LATER) == ()
    assert list(site.volumes["b"].operation_files()) == list(site.volumes["a"].operation_files())


def test_a_damaged_operation_is_written_again(site: Deleting) -> None:
    site.take_in(1)
    site.delete(PatientID="T-1")
    ((_, path),) = site.volumes["b"].operation_files()
    file = site.volumes["b"].spec.path / path
    whole = file.read_bytes()
    file.write_bytes(whole.replace(b"wrong", b"right"))
    assert synchronise(site.volumes["b"], site.operations, list(site.volumes.values()), now=LATER) == ()
    assert file.read_bytes() == whole


def test_an_operation_that_its_disk_cannot_read_is_written_again(index: Index, tmp_path: Path) -> None:
    with ExitStack() as mounts:
        try:
            faulty = mounts.enter_context(mounted(tmp_path / "b"))
        except OSError as error:
            pytest.skip(str(error))
        site = Deleting(index, tmp_path)
        site.take_in(2)
        for sample in site.samples:
            site.delete(SOPInstanceUID=sample.sop_uid)
        before = {path: (faulty.path / path).stat().st_mtime for _, path in site.volumes["b"].operation_files()}
        faulty.tell("fail EIO read ops")
        assert synchronise(site.volumes["b"], site.operations, list(site.volumes.values()), now=LATER) == ()
        assert len(before) == 2
        assert all((faulty.path / path).stat().st_mtime > at for path, at in before.items())


def test_an_index_that_knows_no_operation_learns_them_from_a_volume_in_any_order(site: Deleting, index: Index) -> None:
    first, second = two_studies(site)
    site.delete(StudyInstanceUID=first[0].study_uid)
    site.purge()
    site.delete(StudyInstanceUID=second[0].study_uid)
    site.decider().decide(OperationKind.HOLD, second[0].study_uid)
    stamps = sorted(site.operations.stamps())
    told = [site.operations.one(stamp) for stamp in stamps]
    forget_operations(index)
    assert site.operations.stamps() == set()
    other = Operations(index)
    for operation in reversed(told):
        other.record(operation, missed=(), now=LATER)
    assert site.uids() == uids_of(second)
    assert other.fates(first[0].sop_uid) == {site_digest(site, first[0]): Fate.PURGED}
    forget_operations(index)
    assert learn(site.volumes["a"], other, [], now=LATER) == 4
    assert learn(site.volumes["a"], other, [], now=LATER) == 0
    assert site.uids() == uids_of(second)
    later = other.draft(OperationKind.RELEASE, second[0].study_uid, now=LATER, who="admin", reason="over")
    assert later.stamp > max(stamps)


@pytest.mark.parametrize("site_id", ["0", "zzzz"])
def test_what_another_site_purged_before_it_knew_of_a_hold_stays_and_is_owed_to_partners(
    site: Deleting, site_id: str
) -> None:
    (kept, _), partner = (
        two_studies(site),
        Partner(name="osaka", host="192.0.2.1", port=11114, fingerprint="AA", aet="OSAKA", added_at=NOW),
    )
    Partners(site.index).add(partner)
    study_uid = kept[0].study_uid
    site.delete(StudyInstanceUID=study_uid)
    contents = [one.content for one in site.trash.trashed()]
    (hold,) = retire.hold([study_uid], site.decider())
    assert {one.sop_uid for one in hold.objects} == set(uids_of(kept))
    purged = replace(hold, kind=OperationKind.PURGE, site_id=site_id, objects=tuple(contents), reason="over")
    site.operations.record(purged, missed=(), now=LATER)
    assert set(uids_of(kept)) <= set(site.uids())
    assert site.leaving() == set()
    owed = [job for job in site.jobs.listed() if job.kind is JobKind.REPLICATE]
    assert {(job.series_uid, job.target) for job in owed} == {(one.series_uid, "osaka") for one in kept}


def brought_back(site: Deleting, way: str, study_uid: str, *, only: str = "") -> None:
    if way == "hold":
        list(retire.hold([study_uid], site.decider(only=only)))
    else:
        list(retire.restore(site.trash.trashed(), site.decider(only=only)))


@pytest.mark.parametrize("way", ["hold", "restore"])
def test_what_is_brought_back_while_it_is_purged_stays(
    site: Deleting, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """Each command ends, and the purge was begun first: on slow volumes it writes for seconds what it destroys."""
    first, _ = two_studies(site)
    site.delete(StudyInstanceUID=first[0].study_uid)
    purging = site.decider()
    before, in_trash = site.uids(), site.trash.trashed()

    def kept_slowly(operation: Operation, volumes: Sequence[Volume]) -> list[Volume]:
        missed = keep_everywhere(operation, volumes)
        if operation.kind is OperationKind.PURGE:
            brought_back(site, way, first[0].study_uid)
        return missed

    monkeypatch.setattr(retire, "keep_everywhere", kept_slowly)
    (purged,) = retire.purge(in_trash, AT_ONCE, purging)
    assert purged.objects == ()
    assert site.uids() == sorted([*before, *uids_of(first)])
    assert site.leaving() == set()
    assert len(holds_of(site.index)) == (way == "hold")


@pytest.mark.parametrize("way", ["hold", "restore"])
def test_what_was_brought_back_while_a_volume_was_away_is_not_destroyed_by_a_purge_that_it_alone_knows(
    site: Deleting, way: str
) -> None:
    """The purge was killed between its file and its rows."""
    first, _ = two_studies(site)
    site.delete(StudyInstanceUID=first[0].study_uid)
    contents = [one.content for one in site.trash.trashed()]
    told = {"now": NOW, "who": "server", "reason": "its time in the trash is over"}
    purge = site.operations.draft(OperationKind.PURGE, first[0].study_uid, contents, **told)
    keep_everywhere(purge, [site.volumes["a"]])
    brought_back(site, way, first[0].study_uid, only="b")
    found = site.uids()
    volumes = list(site.volumes.values())
    for volume in volumes:
        learn(volume, site.operations, volumes, now=LATER)
        assert site.uids() == found
    assert set(uids_of(first)) <= set(found)
    assert site.leaving() == set()
    other = Operations(site.index)
    forget_operations(site.index)
    learn(site.volumes["b"], other, [], now=LATER)
    learn(site.volumes["a"], other, [], now=LATER)
    assert site.uids() == found, "an index that is made anew knows it, too"


def test_a_hold_of_a_study_names_what_of_it_is_in_the_trash_in_as_many_operations_as_that_takes(
    site: Deleting, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = two_studies(site)
    site.delete(StudyInstanceUID=first[0].study_uid)
    monkeypatch.setattr(retire, "MAX_OBJECTS", 3)
    holds = list(retire.hold([first[0].study_uid, second[0].study_uid], site.decider()))
    assert [len(one.objects) for one in holds] == [3, 1, 0]
    assert set(site.uids()) == {*uids_of(first), *uids_of(second)}


@pytest.mark.parametrize("way", ["hold", "restore"])
def test_each_operation_says_what_comes_back_beside_another_content(
    site: Deleting, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    first = site.store(*(tiny(n) for n in range(2)))
    site.delete(PatientID="T-1")
    site.store(*(tiny(n, ImageComments="corrected") for n in range(2)))
    monkeypatch.setattr(retire, "MAX_OBJECTS", 1)
    if way == "hold":
        decided = list(retire.hold([first[0].study_uid], site.decider()))
    else:
        decided = list(retire.restore(site.trash.trashed(), site.decider()))
    assert [(one.sop_uid, one.role) for operation in decided for one in operation.objects] == [
        (sop_uid, "version") for sop_uid in uids_of(first)
    ]


def test_nobody_waits_longer_for_a_later_portion_of_a_large_study_nor_for_each_of_its_objects(
    site: Deleting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Flags were looked for object by object, and each portion went over all before it: of 10,000 objects one kept all
    who stored waiting for 6 s.
    """
    site.store(*(tiny(n) for n in range(24)))
    asked: list[str] = []
    with site.index.write() as connection:
        event.listen(connection.engine, "before_cursor_execute", lambda _, __, sql, *___: asked.append(sql))
    held = site.found(PatientID="T-1")

    def statements(objects: Sequence[Held], at_once: int) -> list[int]:
        monkeypatch.setattr(retire, "MAX_OBJECTS", at_once)
        monkeypatch.setattr(retiring, "_BATCH", at_once)
        asked.clear()
        portions = []
        for _ in retire.delete(objects, site.decider()):
            portions.append(len(asked))
            asked.clear()
        return portions

    statements(held[:2], 2)  # the site gets its id with the first operation
    few, many = statements(held[2:8], 2), statements(held[8:20], 6)
    assert (len(few), len(many)) == (3, 2)
    assert len({*few, *many}) == 1, (few, many)
    in_trash = {(one.content.sop_uid, one.content.digest) for one in site.trash.trashed()}
    assert in_trash == {(one.content.sop_uid, one.content.digest) for one in held[:20]}


def test_a_portion_of_a_large_study_adds_up_nothing_but_what_goes(
    site: Deleting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each portion read the digests of the whole study again, while all who stored waited."""
    site.store(*(tiny(n) for n in range(12)))
    held = site.found(PatientID="T-1")
    added_up: list[str] = []
    number_of = contents.number_of

    def noted(digest: str) -> int:
        added_up.append(digest)
        return number_of(digest)

    monkeypatch.setattr(retire, "MAX_OBJECTS", 4)
    with monkeypatch.context() as patch:
        patch.setattr(contents, "number_of", noted)
        assert len(list(retire.delete(held[:8], site.decider()))) == 2
        assert added_up == []
        for _ in retire.purge(site.trash.trashed(), AT_ONCE, site.decider()):
            assert len(added_up) == 4
            added_up.clear()
    assert Contents(site.index).recount() == []


def choice(sample: Sample, digest: str, counter: int) -> Operation:
    """What another site decided about the contents under one SOP Instance UID."""
    return Operation(
        counter=counter,
        site_id="abc",
        kind=OperationKind.VERSION,
        study_uid=sample.study_uid,
        objects=(Content(sop_uid=sample.sop_uid, digest=digest, role="version"),),
        at=NOW,
        who="admin",
        reason="better",
    )


def current(site: Deleting, sop_uid: str) -> list[str]:
    return [one.digest for one in site.copies.of_objects([sop_uid]) if one.role == "current"]


def digest_of(sample: Sample) -> str:
    hasher = ObjectHasher(sample.transfer_syntax)
    hasher.update(memoryview(sample.data_set))
    return str(hasher.digest())


def test_a_content_that_was_chosen_before_it_came_here_is_the_current_one(site: Deleting, tmp_path: Path) -> None:
    first = site.store(tiny(1), tiny(2))
    chosen = write(tiny(1, ImageComments="better"), tmp_path / "chosen.dcm")
    site.operations.record(choice(chosen, digest_of(chosen), 5), missed=(), now=NOW)
    assert current(site, chosen.sop_uid) == [digest_of(first[0])]
    site.receive([chosen.path])
    assert current(site, chosen.sop_uid) == [digest_of(chosen)]
    assert [row[2] for row in site.counts()[1]] == [2]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_two_studies_with_one_uid_each_show_what_was_chosen_for_them(site: Deleting, order: tuple[int, int]) -> None:
    uid = tiny(1).SOPInstanceUID
    site.store(*(tiny(1, study=study, SOPInstanceUID=uid) for study in "ab"))
    better = site.store(*(tiny(1, study=study, SOPInstanceUID=uid, ImageComments="better") for study in "ab"))
    made = [choice(sample, digest_of(sample), 5 + place) for place, sample in enumerate(better)]
    for place in order:
        site.operations.record(made[place], missed=(), now=NOW)
    assert current(site, uid) == [digest_of(sample) for sample in better]
    assert [row[2] for row in site.counts()[1]] == [1, 1]


def forget_operations(index: Index) -> None:
    from sqlalchemy import delete

    from pacs_server.index.site_tables import choices, fates, holds, operations, site

    with index.write() as connection:
        for table in (operations, fates, holds, choices, site):
            connection.execute(delete(table))


class Resending(threading.Thread):
    """Sends the same objects again and again, like a modality: what is not acknowledged too."""

    def __init__(self, site: Deleting, samples: Sequence[Sample]) -> None:
        super().__init__(daemon=True)
        self.site, self.samples = site, samples
        self.over = threading.Event()

    def run(self) -> None:
        while not self.over.is_set():
            for sample in self.samples:
                with suppress(NotEnoughCopies, IndexUnavailable):
                    self.site.receive([sample.path])

    def end(self) -> None:
        self.over.set()
        self.join(60)
        assert not self.is_alive()


def remove_due(site: Deleting) -> None:
    for volume in site.volumes.values():
        list(release_due(volume, Releases(site.index), Holdings(site.index), site.copies, site.placement(), now=LATER))


def test_storing_and_destroying_the_same_objects_at_once_leaves_no_row_without_its_file(site: Deleting) -> None:
    datasets = [tiny(n, study=n % 3) for n in range(9)]
    samples = site.store(*datasets)
    senders = [Resending(site, samples[half::2]) for half in (0, 1)]
    for sender in senders:
        sender.start()
    for _ in range(5):
        list(retire.delete(site.found(), site.decider()))
        list(retire.purge(site.trash.trashed(), AT_ONCE, site.decider()))
        remove_due(site)
    for sender in senders:
        sender.end()
    site.store(*datasets)
    remove_due(site)
    for volume in site.volumes.values():
        held = list(Holdings(site.index).copies_on(volume.spec.id, since=None))
        assert [one.path for one in held if not volume.has_file(PurePosixPath(one.path), one.size_bytes)] == []
        assert len(list(volume.walk())) == len(held) == 9
    assert site.uids() == uids_of(samples)
    assert site.counts()[0] == [("T-1", 3, 3, 9)]


def test_a_hold_of_another_site_that_came_before_a_deletion_brings_back_what_was_deleted_in_ignorance_of_it(
    site: Deleting,
) -> None:
    first, _ = two_studies(site)
    before = site.uids()
    held = site.operations.draft(OperationKind.HOLD, first[0].study_uid, now=NOW, who="osaka", reason="court case")
    site.delete(StudyInstanceUID=first[0].study_uid)
    assert site.uids() != before
    site.operations.record(replace(held, site_id="ffff"), missed=(), now=NOW)
    assert site.uids() == before
    assert site.trash.trashed() == []


@pytest.mark.parametrize(
    ("acknowledged", "exchanged_at", "reason"),
    [
        (0, NOW, "partner osaka does not know yet that it was deleted"),
        (1, None, "partner osaka was not heard of for 10 minutes"),
        (1, NOW - timedelta(minutes=11), "partner osaka was not heard of for 10 minutes"),
        (1, NOW + timedelta(days=3), "partner osaka was not heard of for 10 minutes"),
        (1, NOW, ""),
    ],
)
def test_nothing_is_purged_before_every_partner_knows_that_it_was_deleted_and_was_heard_of(
    site: Deleting, acknowledged: int, exchanged_at: datetime | None, reason: str
) -> None:
    site.take_in(1)
    site.delete(PatientID="T-1")
    osaka = Partner(
        name="osaka",
        host="127.0.0.1",
        port=1,
        fingerprint="f",
        aet="OSAKA",
        added_at=NOW,
        acknowledged=acknowledged,
        exchanged_at=exchanged_at,
    )
    Partners(site.index).add(osaka)
    (one,) = site.trash.trashed()
    assert one.trashed_by == 1
    assert retire.kept_because(one, AT_ONCE, [osaka], NOW) == reason
    decider = replace(site.decider(), partners=[osaka])
    series_of_it = [(site.samples[0].study_uid, site.samples[0].series_uid)]
    site.jobs.owe(JobKind.REPLICATE, NOW, series=series_of_it, target="osaka")
    assert list(retire.purge(site.trash.trashed(), AT_ONCE, decider)) == []
    (owed,) = site.trash.trashed()
    assert retire.kept_because(owed, AT_ONCE, [], NOW) == "partner osaka does not have all of its series yet"
    purged = list(retire.purge([one], AT_ONCE, decider))
    assert bool(purged) is not bool(reason)


def test_an_index_that_was_set_back_writes_no_decision_over_one_that_it_does_not_know(site: Deleting) -> None:
    (sample,) = site.samples = site.store(tiny(1))
    made = site.decider().decide(OperationKind.HOLD, sample.study_uid)
    files = [path for path in site.folder.rglob("*.json") if path.parent.parent.parent.name == "ops"]
    before = {path: path.read_bytes() for path in files}
    assert len(before) == 2
    with site.index.write() as connection:  # as it was in a dump of the day before
        for table in (operations, holds):
            connection.execute(delete(table))
        connection.execute(delete(site_entries).where(site_entries.c.name == "operation counter"))
    with pytest.raises(NotEnoughCopies, match="is another operation"):
        site.decider().decide(OperationKind.DELETE, sample.study_uid, [site.found()[0].content])
    assert {path: path.read_bytes() for path in files} == before
    for volume in site.volumes.values():
        learn(volume, site.operations, [], now=NOW)
    assert [one.stamp for one in site.operations.of_study(sample.study_uid)] == [made.stamp]
    site.decider().decide(OperationKind.RELEASE, sample.study_uid)
    assert holds_of(site.index) == []


@pytest.mark.parametrize("by", ["database", "partner"])
def test_nothing_is_purged_by_a_clock_that_jumped_ahead(
    new_upgraded_url: Callable[[], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    monkeypatch.setattr(rounds, "_NIGHT_ENDS", 24)
    house = House(tmp_path / "data", new_upgraded_url())
    (sample,) = house.take_in(tiny(1))
    ahead, named = timedelta(days=400), "database" if by == "database" else "osaka"
    with house.node() as node:
        if by == "database" and node.index.database_path is not None:
            pytest.skip("SQLite has no clock of its own")
        change_retention(node.index, purging=Purging.NIGHTLY, grace_days=0)
        list(
            decisions.delete(node, Trash(node.index).found(query_from_keywords(Level.IMAGE, {}).predicates), "a trial")
        )
        with monkeypatch.context() as patch:
            if by == "database":
                patch.setattr(node.nodes, "clock", lambda: datetime.now(UTC) - ahead)
            else:
                Contacts(node.settings.data_dir).note(contact("osaka", clock_ahead_s=-ahead.total_seconds()))
            rounds.Rounds(node, lambda: True).purge()
            assert set(node.instances.operations.fates(sample.sop_uid).values()) == {Fate.TRASHED}
            with pytest.raises(Refused, match=rf"is \+34560\d+ s from that of .*{named}"):
                decisions.due(node, decisions.in_trash(node, {}))
        Contacts(node.settings.data_dir).note(contact("osaka", clock_ahead_s=-5.0))
        rounds.Rounds(node, lambda: True).purge()
        assert set(node.instances.operations.fates(sample.sop_uid).values()) == {Fate.PURGED}


def test_what_is_deleted_by_a_clock_that_is_behind_stays_in_the_trash_for_as_long_as_any(
    new_upgraded_url: Callable[[], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The battery of a machine was empty, and NTP was not reached yet."""
    house = House(tmp_path / "data", new_upgraded_url())
    house.take_in(tiny(1))
    with house.node() as node:
        if node.index.database_path is not None:
            pytest.skip("SQLite has no clock of its own")
        right = datetime.now(UTC) + timedelta(days=400)
        monkeypatch.setattr(node.nodes, "clock", lambda: right)
        found = Trash(node.index).found(query_from_keywords(Level.IMAGE, {}).predicates)
        (deleted,) = decisions.delete(node, found, "a trial")
        assert deleted.at == right
        (one,) = Trash(node.index).trashed()
        assert retire.kept_because(one, Retention(purging=Purging.NIGHTLY), [], right).startswith("it stays in the")
        monkeypatch.setattr(node.nodes, "clock", lambda: datetime.now(UTC) + timedelta(minutes=5))
        restored = list(decisions.restore(node, Trash(node.index).trashed(), "a trial"))
        assert restored[0].at < datetime.now(UTC)


def test_what_was_transcoded_of_an_object_that_was_purged_elsewhere_is_removed_here(
    new_upgraded_url: Callable[[], str], tmp_path: Path
) -> None:
    """Another node purges, or a partner, whose operation is learnt."""
    house = House(tmp_path / "data", new_upgraded_url())
    gone, kept = house.take_in(tiny(1), tiny(2))
    with house.node() as node:
        digest, other = digest_of(gone), digest_of(kept)
        for one in (digest, other):
            list(node.transcoder._cache.keep(one, "1.2.840.10008.1.2", [b"pixels"]))
        by = decisions.decider(node, "a trial")
        for kind in (OperationKind.DELETE, OperationKind.PURGE):
            by.decide(kind, gone.study_uid, [Content(sop_uid=gone.sop_uid, digest=digest, role="current")])
        assert node.transcoder.digests() == {digest, other}
        rounds.Rounds(node, lambda: False).forget_transcoded()
        assert node.transcoder.digests() == {other}


def contact(name: str, *, clock_ahead_s: float) -> Contact:
    return Contact(
        name=name, fingerprint="f", is_reached=True, since=NOW, at=NOW, problem="", clock_ahead_s=clock_ahead_s,
        node="n", aet="OSAKA", schema="", version="",
    )  # fmt: skip


def test_what_the_volumes_know_to_be_on_hold_is_not_purged_at_night(
    new_upgraded_url: Callable[[], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a database lost its last rows with a former primary."""
    monkeypatch.setattr(rounds, "_NIGHT_ENDS", 24)
    house = House(tmp_path / "data", new_upgraded_url())
    (sample,) = house.take_in(tiny(1))
    with house.node() as node:
        change_retention(node.index, purging=Purging.NIGHTLY, grace_days=0)
        found = Trash(node.index).found(query_from_keywords(Level.IMAGE, {}).predicates)
        list(decisions.delete(node, found, "a trial"))
        by = decisions.decider(node, "a trial")
        held = by.operations.draft(OperationKind.HOLD, sample.study_uid, now=NOW, who="admin", reason="a trial")
        assert keep_everywhere(held, by.volumes) == []
        rounds.Rounds(node, lambda: True).purge()
        assert set(node.instances.operations.fates(sample.sop_uid).values()) == {Fate.KEPT}


def test_the_trash_is_emptied_at_night_some_studies_at_a_time(
    new_upgraded_url: Callable[[], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of it was read into the memory of the server, due or not: 0.8 GB for a million objects."""
    monkeypatch.setattr(rounds, "_NIGHT_ENDS", 24)
    monkeypatch.setattr(trash, "_STUDIES_AT_ONCE", 2)
    house = House(tmp_path / "data", new_upgraded_url())
    samples = house.take_in(*(tiny(n, study=n // 2) for n in range(10)))
    read: list[int] = []

    def noted(self: Trash, statement: object) -> list[Held]:
        read.append(len(found := held_of(self, statement)))
        return found

    with house.node() as node:
        change_retention(node.index, purging=Purging.NIGHTLY, grace_days=0)
        list(decisions.delete(node, decisions.to_delete(node, {"PatientID": "T-1"}), "a trial"))
        held_of = Trash._held
        monkeypatch.setattr(Trash, "_held", noted)
        rounds.Rounds(node, lambda: True).purge()
        assert read == [4, 4, 2]
        for sample in samples:
            assert set(node.instances.operations.fates(sample.sop_uid).values()) == {Fate.PURGED}


@pytest.mark.parametrize("change", [{"purging": Purging.BY_HAND}, {"keep_days": 3650}], ids=str)
def test_an_admin_ends_the_purging_of_a_night_that_goes_on(
    new_upgraded_url: Callable[[], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, object]
) -> None:
    monkeypatch.setattr(rounds, "_NIGHT_ENDS", 24)
    monkeypatch.setattr(trash, "_STUDIES_AT_ONCE", 1)
    house = House(tmp_path / "data", new_upgraded_url())
    samples = house.take_in(*(tiny(n, study=n) for n in range(3)))

    def and_then(*asked: object) -> Iterator[Operation]:
        yield from retire.purge(*asked)
        change_retention(node.index, **change)

    monkeypatch.setattr(rounds, "purge", and_then)
    with house.node() as node:
        change_retention(node.index, purging=Purging.NIGHTLY, grace_days=0)
        list(decisions.delete(node, decisions.to_delete(node, {"PatientID": "T-1"}), "a trial"))
        rounds.Rounds(node, lambda: True).purge()
        fates = [fate for one in samples for fate in node.instances.operations.fates(one.sop_uid).values()]
        assert sorted(fates) == [Fate.PURGED, Fate.TRASHED, Fate.TRASHED]


def an_hour_ago() -> tuple[float, float]:
    return ((NOW - timedelta(hours=1)).timestamp(),) * 2


def purged_in_absence(house: House, sample: Sample) -> Path:
    """The file of an object that is purged while its volume is another, an hour old."""
    (path,) = house.volume.rglob(f"{sample.sop_uid}-*.dcm")
    content = path.read_bytes()
    with house.node() as node:
        change_retention(node.index, purging=Purging.BY_HAND, grace_days=0)
        list(decisions.delete(node, decisions.to_delete(node, {"SOPInstanceUID": sample.sop_uid}), "a trial"))
        list(decisions.purge(node, decisions.in_trash(node, {}), "a trial"))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    for one in house.volume.rglob("*.dcm"):
        os.utime(one, an_hour_ago())
    return path


def test_files_of_purged_objects_that_stayed_on_a_volume_leave_it_without_a_command(
    new_upgraded_url: Callable[[], str], tmp_path: Path
) -> None:
    house = House(tmp_path / "data", new_upgraded_url())
    gone, again, kept = house.take_in(tiny(1), tiny(2), tiny(3, study=2))
    stayed = purged_in_absence(house, gone)
    came_again = purged_in_absence(house, again)
    house.take_in(tiny(2))
    away = tmp_path / "away"
    away.mkdir()
    with house.node() as node:
        node.registry.add_volume(VolumeRow(id="away", name="away", path=str(away), tier="hot", domain="away"))
    with house.node() as node:
        volume, _ = sorted(node.volumes(), key=lambda one: not one.state.is_readable)
        release_what_was_purged(node, volume, goes_on=lambda: True)
        assert node.releases.waiting() == [], "the other volume may know what came again"
        node.registry.remove_volume("away")
    with house.node() as node:
        (volume,) = node.volumes()
        release_what_was_purged(node, volume, goes_on=lambda: False)
        assert node.releases.waiting() == [], "the server ends"
        release_what_was_purged(node, volume, goes_on=lambda: True)
        assert [one.files for one in node.releases.waiting()] == [1]
        release_what_was_purged(node, volume, goes_on=lambda: True)
        assert release_what_is_due(node, "a trial") == []
    assert not stayed.exists()
    assert came_again.exists()
    assert list(house.volume.rglob(f"{kept.sop_uid}-*.dcm"))


def test_of_a_study_of_which_objects_were_purged_no_other_file_leaves_its_volume(
    new_upgraded_url: Callable[[], str], tmp_path: Path
) -> None:
    house = House(tmp_path / "data", new_upgraded_url())
    purged, unknown = house.take_in(tiny(1), tiny(2))
    stayed = purged_in_absence(house, purged)
    (kept,) = house.volume.rglob(f"{unknown.sop_uid}-*.dcm")
    with house.node() as node:
        with node.index.write() as connection:
            connection.execute(delete(copies).where(copies.c.path == str(kept.relative_to(house.volume))))
        (volume,) = node.volumes()
        os.utime(stayed)
        release_what_was_purged(node, volume, goes_on=lambda: True)
        assert node.releases.waiting() == [], "it may have come again, and be on its way into the index"
        os.utime(stayed, an_hour_ago())
        release_what_was_purged(node, volume, goes_on=lambda: True)
        assert [one.files for one in node.releases.waiting()] == [1]
        assert release_what_is_due(node, "a trial") == []
    assert (stayed.exists(), kept.exists()) == (False, True)


@pytest.mark.parametrize("knows", [True, False], ids=["its volumes know what came again", "it lacks studies"])
def test_what_came_again_after_it_was_purged_stays_beside_an_index_that_was_set_back(
    tmp_path: Path, *, knows: bool
) -> None:
    house = House(tmp_path / "data", f"sqlite:///{tmp_path}/index.db")
    (sample,) = house.take_in(tiny(1))
    path = purged_in_absence(house, sample)
    path.unlink()
    shutil.copy(tmp_path / "index.db", tmp_path / "snapshot")
    house.take_in(tiny(1))
    os.utime(path, an_hour_ago())
    set_back(tmp_path)
    if not knows:
        for one in (house.volume / "v1" / "ops").rglob("*.json"):
            if json.loads(one.read_text())["kind"] == OperationKind.READMIT.value:
                one.unlink()
    with house.node() as node:
        (volume,) = node.volumes()
        if not knows:
            note_unknown_study(node.index, UnknownStudy(volume="first", folder="v1", noted_at=NOW))
        release_what_was_purged(node, volume, goes_on=lambda: True)
        assert node.releases.waiting() == []


def test_what_came_again_beside_nothing_is_shown_by_an_index_that_was_set_back_to_when_it_was_a_version(
    tmp_path: Path,
) -> None:
    house = House(tmp_path / "data", f"sqlite:///{tmp_path}/index.db")
    (sample,), (version,) = (house.take_in(tiny(1, ImageComments=told)) for told in ("first", "second"))
    shutil.copy(tmp_path / "index.db", tmp_path / "snapshot")
    with house.node() as node:
        change_retention(node.index, purging=Purging.BY_HAND, grace_days=0)
        list(decisions.delete(node, decisions.to_delete(node, {"SOPInstanceUID": sample.sop_uid}), "a trial"))
        list(decisions.purge(node, decisions.in_trash(node, {}), "a trial"))
    house.take_in(tiny(1, ImageComments="second"))
    set_back(tmp_path)
    with house.node() as node:
        decisions.decider(node, "any command that decides something")
        (held,) = node.copies.of_objects([sample.sop_uid])
        assert (held.digest, held.role) == (digest_of(version), "current")


@pytest.mark.parametrize("is_known_on", ["both", "the other"])
def test_what_was_purged_and_came_again_after_the_index_was_saved_keeps_its_file(
    tmp_path: Path, is_known_on: str
) -> None:
    house = House(tmp_path / "data", f"sqlite:///{tmp_path}/index.db")
    other = tmp_path / "other"
    other.mkdir()
    with house.node() as node:
        row = VolumeRow(id=adopt(other, name="other"), name="other", path=str(other), tier="hot", domain="other")
        node.registry.add_volume(row)
    sample, _ = house.take_in(tiny(1), tiny(2))
    with house.node() as node:
        change_retention(node.index, purging=Purging.BY_HAND, grace_days=0)
        list(decisions.delete(node, decisions.to_delete(node, {"SOPInstanceUID": sample.sop_uid}), "a trial"))
    shutil.copy(tmp_path / "index.db", tmp_path / "snapshot")
    with house.node() as node:
        list(decisions.purge(node, decisions.in_trash(node, {}), "a trial"))
    house.take_in(tiny(1))
    set_back(tmp_path)
    for one in (house.volume / "v1" / "ops").rglob("*.json"):
        if is_known_on == "the other" and json.loads(one.read_text())["kind"] == OperationKind.READMIT.value:
            one.unlink()
    with house.node() as node:
        decisions.decider(node, "any command that decides something")
        assert node.releases.waiting() == []
        assert release_what_is_due(node, "a trial") == []
        (held,) = node.copies.of_objects([sample.sop_uid])
        assert held.role == "current"
        assert node.placement().can_read(held.copies)
        with node.placement().open(held.copies) as opened:
            assert is_intact(opened.pieces(), held.digest)


@pytest.mark.parametrize("step", ["enter", "forget_values"])
def test_a_copy_that_is_recorded_while_its_object_is_purged_leaves_its_volume_too(
    site: Deleting, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    if site.index.database_path is not None:
        pytest.skip("SQLite has one writer")
    (sample,) = site.store(tiny(1), need=1, only="a")
    site.delete(PatientID="T-1")
    (held,) = site.copies.of_objects([sample.sop_uid])
    made = Copy(volume_id=site.volumes["b"].spec.id, path=held.copies[0].path)
    real, recording = getattr(retiring, step), []

    def meanwhile(*asked: object, **named: object) -> object:
        done = real(*asked, **named)
        if not recording:
            recording.append(threading.Thread(target=site.copies.add, args=(held, made, LATER)))
            recording[0].start()
            recording[0].join(1)
        return done

    monkeypatch.setattr(retiring, step, meanwhile)
    assert site.purge() == 1
    recording[0].join(30)
    assert site.leaving() == {(copy.volume_id, copy.path) for copy in (*held.copies, made)}
