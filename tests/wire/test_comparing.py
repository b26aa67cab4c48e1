"""`pacs reconcile --with`: this archive beside another of ours, and beside DCMTK's dcmqrscp."""

from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from support.dcmtk import QueryRetrieveServer
from support.samples import Sample, tiny, write
from support.server import Archive, wait_for

from pacs_server.archive.comparing import periods

pytestmark = pytest.mark.timeout(600)

DEADLINE_S = 150


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory, archive: Archive) -> Iterator[Archive]:
    """A second archive that is registered as the peer OTHER, and knows the first."""
    second = Archive(tmp_path_factory.mktemp("other"), aet="OTHER")
    second.start()
    archive.add_peer("OTHER", second.port)
    second.add_peer(archive.aet, archive.port)
    yield second
    second.kill()


def take_in(archive: Archive, *samples: Sample) -> None:
    archive.pacs("import", *(str(sample.path) for sample in samples))


def some(folder: Path, study: str, count: int, **values: Any) -> list[Sample]:
    return [write(tiny(n, study=study, **values), folder / f"{study}-{n}.dcm") for n in range(count)]


def compared(archive: Archive, aet: str, *words: str, expect: int | Sequence[int] = 3) -> list[tuple[str, str, str]]:
    """Each difference: what it is, its object, and what became of it."""
    rows = archive.report("reconcile", "--with", aet, *words, expect=expect)
    return sorted((row["kind"], row["uid"], row["outcome"]) for row in rows)


def test_what_either_lacks_is_named_object_by_object_and_repaired_in_both_directions(
    archive: Archive, other: Archive, tmp_path: Path
) -> None:
    both = some(tmp_path, "both", 3)
    here, there = some(tmp_path, "here", 2), some(tmp_path, "there", 2, StudyDate="20250630")
    undated, deleted = some(tmp_path, "undated", 1, StudyDate=None), some(tmp_path, "deleted", 1)
    take_in(archive, *both[:2], *here, *undated, *deleted)
    take_in(other, *both[1:], *there, *deleted)
    archive.pacs("delete", f"SOPInstanceUID={deleted[0].sop_uid}", "--reason", "a test", "--yes")
    missing_here = [("missing here", one.sop_uid) for one in (both[2], *there)]
    missing_there = [("missing there", one.sop_uid) for one in (both[0], *here, *undated)]
    gone = ("deleted here, held there", deleted[0].sop_uid, "")
    wanted = sorted([*((*one, "") for one in (*missing_here, *missing_there)), gone])
    assert compared(archive, "OTHER", "--thorough") == wanted
    by_counts = {uid for _, uid, _ in wanted} - {both[0].sop_uid, both[2].sop_uid}
    assert {uid for _, uid, _ in compared(archive, "OTHER")} == by_counts, "both have two of three"
    since = compared(archive, "OTHER", "--since", "2026-01-01", "--thorough")
    assert {uid for _, uid, _ in since} == {uid for _, uid, _ in wanted} - {one.sop_uid for one in (*there, *undated)}
    assert compared(archive, "OTHER", "StudyDate=20250601-20250630") == sorted((*one, "") for one in missing_here[1:])
    repaired = [*((*one, "fetched") for one in missing_here), *((*one, "queued to be sent") for one in missing_there)]
    assert compared(archive, "OTHER", "--thorough", "--repair") == sorted([*repaired, gone])
    wait_for(
        lambda: compared(archive, "OTHER", "--thorough") == [gone], "what was queued to be there", timeout_s=DEADLINE_S
    )
    assert archive.instance_uids() == other.instance_uids() - {deleted[0].sop_uid}


def test_studies_that_no_date_finds_are_fetched_from_an_archive_that_is_taken_over(
    archive: Archive, other: Archive, tmp_path: Path
) -> None:
    undated = some(tmp_path, "undated there", 2, StudyDate=None, PatientID="UNDATED")
    early = some(tmp_path, "early there", 1, StudyDate="19660304")
    take_in(other, *undated, *early)
    missing = sorted(("missing here", one.sop_uid, "") for one in undated)
    assert compared(archive, "OTHER", "PatientID=UNDATED") == missing
    (of_ours,) = some(tmp_path, "early here", 1, StudyDate="19700101", PatientID="UNDATED")
    take_in(archive, of_ours)
    missing_there = ("missing there", of_ours.sop_uid, "")
    assert compared(archive, "OTHER", "PatientID=UNDATED") == sorted([*missing, missing_there])
    assert compared(archive, "OTHER", "--since", "2026-01-01", "PatientID=UNDATED", expect=0) == []
    fetched = {("missing here", one.sop_uid, "fetched") for one in (*undated, *early)}
    assert fetched <= set(compared(archive, "OTHER", "--fetch", expect=(0, 3)))
    assert {one.sop_uid for one in (*undated, *early)} <= archive.instance_uids()


def test_studies_whose_objects_have_the_same_uids_are_told_apart(
    archive: Archive, other: Archive, tmp_path: Path
) -> None:
    """What was deleted, is missing, or was fetched in one says nothing of the other, perhaps of another patient."""
    here, there, deleted = (
        some(tmp_path, f"twins-{name}", 1, PatientID=name, SOPInstanceUID="1.2.826.99.1", StudyDate="20240601")
        for name in ("HERE", "THERE", "DELETED")
    )
    take_in(archive, *here, *deleted)
    take_in(other, *there, *deleted)
    archive.pacs("delete", "PatientID=DELETED", "--reason", "a test", "--yes")
    rows = archive.report("reconcile", "--with", "OTHER", "StudyDate=20240601", "--repair", expect=3)
    assert {(row["study_uid"], row["kind"], row["outcome"]) for row in rows} == {
        (here[0].study_uid, "missing there", "queued to be sent"),
        (there[0].study_uid, "missing here", "fetched"),
        (deleted[0].study_uid, "deleted here, held there", ""),
    }
    sending_to = lambda study: archive.pacs(  # noqa: E731
        "reconcile", "--with", "OTHER", f"StudyInstanceUID={study}", "--repair", expect=(0, 3)
    )
    wait_for(lambda: "the same" in sending_to(here[0].study_uid).stderr, "it to be sent", timeout_s=DEADLINE_S)


def test_only_the_study_that_is_missing_is_sent(archive: Archive, other: Archive, tmp_path: Path) -> None:
    wanted, another = (
        some(tmp_path, f"alike-{name}", 1, PatientID=name, SOPInstanceUID="1.2.826.99.2", StudyDate="20240701")
        for name in ("WANTED", "ANOTHER")
    )
    take_in(archive, *wanted, *another)
    assert compared(archive, "OTHER", "PatientID=WANTED", "--repair", expect=0) == [
        ("missing there", wanted[0].sop_uid, "queued to be sent")
    ]
    wait_for(lambda: wanted[0].sop_uid in other.instance_uids(), "it to be sent", timeout_s=DEADLINE_S)
    (row,) = other.report("find", "studies", "StudyDate=20240701")
    assert row["uid"] == wanted[0].study_uid


def test_who_takes_an_archive_over_fetches_and_sends_nothing(archive: Archive, other: Archive, tmp_path: Path) -> None:
    here, there = some(tmp_path, "staying", 1, PatientID="TAKE-1"), some(tmp_path, "taken", 2, PatientID="TAKE-1")
    take_in(archive, *here)
    take_in(other, *there)
    narrowed = ("--with", "OTHER", "PatientID=TAKE-1", "--fetch")
    assert compared(archive, *narrowed[1:], expect=0) == sorted(
        ("missing here", one.sop_uid, "fetched") for one in there
    )
    assert "nothing is missing here" in archive.pacs("reconcile", *narrowed, expect=0).stderr
    assert here[0].sop_uid not in other.instance_uids()
    assert not [job for job in archive.report("jobs", "list") if job["target"] == "OTHER"], (
        "nothing is on its way there"
    )
    assert "give one of them" in archive.pacs("reconcile", *narrowed, "--repair", expect=2).stderr
    assert "give --with AET" in archive.pacs("reconcile", "--fetch", expect=2).stderr


def test_a_person_is_told_of_a_comparison_in_their_language(
    archive: Archive, other: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LC_ALL", "ja_JP.UTF-8")
    (sample,) = some(tmp_path, "told", 1, PatientID="TOLD-1")
    take_in(archive, sample)
    narrowed = ("reconcile", "--with", "OTHER", "PatientID=TOLD-1", "--repair")
    done = archive.pacs(*narrowed, expect=0)
    assert done.stdout.splitlines()[1].split()[::4] == ["相手にない", "送信待ち"]
    assert done.stderr == "OTHER と 1 件の検査を比べました: 1 x 相手にない\n"
    agreed = lambda: archive.pacs(*narrowed, expect=0).stderr  # noqa: E731
    wait_for(
        lambda: agreed() == "OTHER と 1 件の検査を比べました: 違いはありません\n", "agreement", timeout_s=DEADLINE_S
    )


def test_what_cannot_be_compared_is_said(archive: Archive, other: Archive) -> None:
    assert (
        "no attribute of patients or studies"
        in archive.pacs("reconcile", "--with", "OTHER", "SeriesNumber=1", expect=2).stderr
    )
    assert "NOBODY is not registered" in archive.pacs("reconcile", "--with", "NOBODY", expect=2).stderr
    assert "--with AET" in archive.pacs("reconcile", "PatientID=1", expect=2).stderr
    twice = "--since", "2026-01-01", "StudyDate=20250101-"
    assert "give one of them" in archive.pacs("reconcile", "--with", "OTHER", *twice, expect=2).stderr
    archive.add_peer("AWAY", 1)
    archive.pacs("reconcile", "--with", "AWAY", expect=13)


def test_an_archive_that_answers_no_long_lists_is_asked_in_shorter_periods(
    archive: Archive, other: Archive, tmp_path: Path
) -> None:
    """It ends a query with a failure after three answers, whatever it has told by then."""
    days = [(f"day-{n}", {"StudyDate": f"2024020{n}", "PatientID": "D-1"}) for n in range(1, 6)]
    samples = [one for name, values in days for one in some(tmp_path, name, 1, **values)]
    take_in(archive, *samples[1:])
    take_in(other, *samples)
    other.pacs("ae", "set", archive.aet, "--max-answers", "3")
    assert compared(archive, "OTHER", "--since", "2024-02-01", "PatientID=D-1") == [
        ("missing here", samples[0].sop_uid, "")
    ]
    told = archive.pacs("reconcile", "--with", "OTHER", "StudyInstanceUID=" + samples[1].study_uid).stderr
    assert "1 studies compared with OTHER: they hold the same" in told
    told = archive.pacs("reconcile", "--with", "OTHER", "PatientID=D-1", "--fetch", expect=3).stderr
    assert "1 x missing here" in told
    assert "its studies without a date are not compared: OTHER ended the query with status 0x" in told


def test_dcmqrscp_is_compared_with_and_repaired(archive: Archive, tmp_path: Path) -> None:
    """It tells no counts, so every object is asked for, and no SOP class, so that every usual one is proposed."""
    samples = some(tmp_path, "foreign", 3, StudyDate="20231105")
    take_in(archive, *samples[:2])
    with QueryRetrieveServer(tmp_path / "dcmqrscp") as foreign:
        archive.add_peer(foreign.aet, foreign.port)
        foreign.take_in(*(sample.path for sample in samples[1:]))
        since = ("--since", "2023-11-01", "StudyInstanceUID=" + samples[0].study_uid)
        here, there = ("missing here", samples[2].sop_uid), ("missing there", samples[0].sop_uid)
        assert compared(archive, foreign.aet, *since) == [(*here, ""), (*there, "")]
        repaired = compared(archive, foreign.aet, *since, "--repair", expect=0)
        assert repaired == [(*here, "fetched"), (*there, "queued to be sent")]
        wait_for(
            lambda: compared(archive, foreign.aet, *since, expect=(0, 3)) == [], "both to be alike",
            timeout_s=DEADLINE_S,
        )  # fmt: skip
    assert {one.sop_uid for one in samples} <= archive.instance_uids()


def test_the_periods_leave_no_day_out_and_end_behind_today() -> None:
    told = list(periods(date(2024, 2, 3), date(2025, 12, 24), date(2026, 1, 10)))
    assert told[0] == (date(2024, 2, 3), date(2024, 12, 31)), "years before the first study that is held"
    assert told[-3:] == [
        (date(2025, 12, 1), date(2025, 12, 31)),
        (date(2026, 1, 1), date(2026, 1, 31)),
        (date(2026, 2, 1), date.max),
    ]
    assert all(after[0] - before[1] == timedelta(days=1) for before, after in pairwise(told))
    told = list(periods(date.min, date(1966, 3, 4), date(2026, 1, 10)))
    assert told[:2] == [
        (date.min, date(1979, 12, 31)),
        (date(1980, 1, 1), date(1980, 1, 31)),
    ], "what was digitised is asked for at once"
    assert list(periods(date.max, date(2025, 12, 24), date(2026, 1, 10))) == [(date.max, date.max)]


@pytest.mark.parametrize("day", ["00010101", "00011231", "20240229", "99991231"])
def test_a_study_of_a_day_at_an_end_of_the_calendar_is_compared_and_found(
    archive: Archive, other: Archive, tmp_path: Path, day: str
) -> None:
    (sample,) = some(tmp_path, f"of {day}", 1, StudyDate=day, PatientID=f"E-{day}")
    take_in(other, sample)
    since = "--since", f"{day[:4]}-{day[4:6]}-{day[6:]}"
    assert compared(archive, "OTHER", *since, f"PatientID=E-{day}") == [("missing here", sample.sop_uid, "")]
    for key in (day, f"-{day}", f"{day}-", f"{day}-{day}"):
        found = other.report("find", "studies", f"StudyDate={key}", f"PatientID=E-{day}")
        assert [one["StudyDate"] for one in found] == [day], key
