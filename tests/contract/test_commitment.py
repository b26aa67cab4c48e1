"""When an object counts as kept safely: on real volumes, with SQLite and PostgreSQL."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from support.samples import CT, tiny
from support.site import NOW, Site

from pacs_server.archive.commitment import COMMITTED, read_back, stand
from pacs_server.dicom.commitment import Failure, Reason, Reference, Report, Request
from pacs_server.errors import UnknownName
from pacs_server.index.copies import Copy
from pacs_server.index.engine import Index
from pacs_server.index.job_queue import JobQueue
from pacs_server.index.jobs import JobKind, JobState
from pacs_server.index.sending.commitments import Commitments, Direction, State

REQUESTED = NOW + timedelta(minutes=1)
LATER = REQUESTED + timedelta(minutes=1)


@pytest.fixture
def site(index: Index, tmp_path: Path) -> Site:
    return Site(index, tmp_path)


def outcomes(site: Site, *references: Reference) -> list[int]:
    asked = references or tuple(Reference(one.sop_class, one.sop_uid) for one in site.samples)
    found = read_back(asked, site.copies, site.placement, since=REQUESTED, clock=lambda: LATER)
    return [found[one] for one in asked]


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-7] ^= 0x20
    path.write_bytes(content)


def test_an_object_with_every_wanted_copy_read_back_is_committed_to(site: Site) -> None:
    site.take_in(3)
    assert outcomes(site) == [COMMITTED] * 3
    assert all(copy.verified_at == LATER for one in site.objects() for copy in one.copies)


def test_a_copy_that_was_verified_before_the_request_is_read_again(site: Site) -> None:
    site.take_in(1)
    places = [(copy.volume_id, copy.path) for one in site.objects() for copy in one.copies]
    site.copies.mark_verified(places, REQUESTED - timedelta(seconds=1))
    for name in ("a", "b"):
        flip(site.file(0, name))
    asked = [Reference(one.sop_class, one.sop_uid) for one in site.samples]
    assert stand(asked, site.copies, site.placement, since=REQUESTED)[asked[0]] == Reason.RESOURCE_LIMITATION
    assert outcomes(site) == [Reason.PROCESSING_FAILURE]


def test_what_was_read_since_the_request_is_not_read_again_while_another_object_is_waited_for(site: Site) -> None:
    site.take_in(2)
    outcomes(site)
    asked = [Reference(one.sop_class, one.sop_uid) for one in site.samples]
    much_later = LATER + timedelta(hours=1)
    read_back(asked, site.copies, site.placement, since=REQUESTED, clock=lambda: much_later)
    assert {copy.verified_at for one in site.objects() for copy in one.copies} == {LATER}


def test_a_copy_that_was_read_at_a_time_to_come_before_the_clock_was_put_back_is_read_again(site: Site) -> None:
    site.take_in(2)
    places = [(copy.volume_id, copy.path) for one in site.objects() for copy in one.copies]
    site.copies.mark_verified(places, LATER + timedelta(days=300))
    for name in ("a", "b"):
        flip(site.file(0, name))
    assert outcomes(site) == [Reason.PROCESSING_FAILURE, COMMITTED]


def test_a_missing_copy_is_made_and_then_committed_to(site: Site) -> None:
    site.take_in(2, need=1, only="a")
    assert outcomes(site) == [COMMITTED] * 2
    assert all(len(one.copies) == 2 for one in site.objects())


def test_a_copy_that_went_bad_is_repaired_from_a_good_one_and_then_committed_to(site: Site) -> None:
    site.take_in(2)
    flip(site.file(0, "b"))
    assert outcomes(site) == [COMMITTED] * 2
    assert site.verify("b") == ["", ""]


def test_an_object_without_a_good_copy_is_not_committed_to(site: Site) -> None:
    site.take_in(2)
    flip(site.file(0, "a"))
    site.file(0, "b").unlink()
    assert outcomes(site) == [Reason.PROCESSING_FAILURE, COMMITTED]


def test_a_copy_on_a_volume_that_is_away_does_not_count_until_it_is_back(site: Site) -> None:
    site.take_in(2)
    away = site.volumes["b"].spec.path
    elsewhere = away.rename(away.with_name("elsewhere"))
    site.volumes["b"].check()
    assert outcomes(site) == [Reason.RESOURCE_LIMITATION] * 2
    elsewhere.rename(away)
    site.volumes["b"].check()
    flip(site.file(0, "b"))
    assert outcomes(site) == [COMMITTED] * 2
    assert site.verify("b") == ["", ""]


def test_a_good_copy_that_cannot_be_read_now_is_still_hoped_for(site: Site) -> None:
    site.take_in(1)
    flip(site.file(0, "a"))
    away = site.volumes["b"].spec.path
    away.rename(away.with_name("elsewhere"))
    site.volumes["b"].check()
    assert outcomes(site) == [Reason.RESOURCE_LIMITATION]


def test_two_copies_in_one_fault_domain_count_as_one(site: Site) -> None:
    site.take_in(1, need=1, only="a")
    (held,) = site.objects()
    path = site.file(0, "a")
    second = path.with_name("second.dcm")
    second.write_bytes(path.read_bytes())
    volume = site.volumes["a"].spec
    beside = Copy(volume_id=volume.id, path=str(second.relative_to(volume.path)), verified_at=LATER)
    site.copies.add(held, beside, NOW)
    asked = [Reference(one.sop_class, one.sop_uid) for one in site.samples]
    site.copies.mark_verified([(copy.volume_id, copy.path) for copy in site.objects()[0].copies], LATER)
    assert stand(asked, site.copies, site.placement, since=REQUESTED)[asked[0]] == Reason.RESOURCE_LIMITATION


def test_of_several_contents_under_one_uid_each_has_to_be_kept(site: Site) -> None:
    site.take_in(1)
    site.store(tiny(0, ImageComments="another content"))
    assert outcomes(site) == [COMMITTED]
    (version,) = [one for one in site.objects() if one.role == "version"]
    for copy in version.copies:
        volume = next(one for one in site.volumes.values() if one.spec.id == copy.volume_id)
        flip(volume.spec.path / copy.path)
    assert outcomes_again(site) == [Reason.PROCESSING_FAILURE]


def test_an_object_is_committed_to_under_its_class_although_another_study_has_its_uid(site: Site) -> None:
    site.take_in(1)
    (held,) = site.samples
    mr = "1.2.840.10008.5.1.4.1.1.4"
    site.store(tiny(0, study="other", SOPInstanceUID=held.sop_uid, SOPClassUID=mr))
    assert outcomes(site, Reference(held.sop_class, held.sop_uid), Reference(mr, held.sop_uid)) == [COMMITTED] * 2


def outcomes_again(site: Site) -> list[int]:
    """As a later request finds it."""
    asked = [Reference(one.sop_class, one.sop_uid) for one in site.samples]
    moment = LATER + timedelta(minutes=1)
    found = read_back(asked, site.copies, site.placement, since=moment, clock=lambda: moment)
    return [found[one] for one in asked]


def test_what_is_not_held_or_is_another_class_is_told_apart(site: Site) -> None:
    site.take_in(1)
    (held,) = site.samples
    asked = (
        Reference(held.sop_class, held.sop_uid),
        Reference("1.2.840.10008.5.1.4.1.1.4", held.sop_uid),
        Reference(CT, "1.2.3"),
        Reference("1.2.840.10008.5.1.4.31", "1.2.3"),
    )
    assert outcomes(site, *asked) == [
        COMMITTED, Reason.CLASS_CONFLICT, Reason.NO_SUCH_OBJECT, Reason.CLASS_NOT_SUPPORTED,
    ]  # fmt: skip


# --- transactions ---

ONE, TWO = Reference(CT, "1.2.3.1"), Reference(CT, "1.2.3.2")
REQUEST = Request(transaction_uid="1.2.9", references=(ONE, TWO))


@pytest.fixture
def commitments(index: Index) -> Commitments:
    return Commitments(index)


def test_what_is_taken_in_is_owed_at_once_even_after_failures(index: Index, commitments: Commitments) -> None:
    jobs = JobQueue(index)
    assert commitments.take_in("CT1", REQUEST, NOW)
    job = jobs.claim("one", NOW, lease=timedelta(minutes=5), per_target=3)
    assert job
    assert (job.kind, job.target) == (JobKind.COMMIT, "CT1")
    jobs.failed(job, "CT1 is off", NOW)
    assert jobs.claim("one", NOW, lease=timedelta(minutes=5), per_target=3) is None
    other = Request(transaction_uid="1.2.10", references=(ONE,))
    assert commitments.take_in("CT1", other, NOW + timedelta(seconds=1))
    (waiting,) = jobs.listed()
    assert (waiting.state, waiting.due_at) == (JobState.WAITING, NOW + timedelta(seconds=1))


def test_the_same_request_again_is_owed_again_and_another_under_its_uid_is_refused(commitments: Commitments) -> None:
    assert commitments.take_in("CT1", REQUEST, NOW)
    (first,) = commitments.due("CT1")
    assert commitments.decide(first, {ONE: COMMITTED, TWO: Reason.NO_SUCH_OBJECT}, NOW)
    commitments.reported(first, NOW)
    assert commitments.due("CT1") == []
    assert commitments.failures(first) == [(TWO, Reason.NO_SUCH_OBJECT)]
    assert not commitments.take_in("CT1", Request(transaction_uid="1.2.9", references=(ONE,)), NOW)
    assert commitments.due("CT1") == []
    assert commitments.take_in("CT1", Request(transaction_uid="1.2.9", references=(TWO, ONE)), LATER)
    (again,) = commitments.due("CT1")
    assert (again.id, again.state, again.asked, again.asked_at) == (first.id, State.RECEIVED, 2, LATER)
    assert set(commitments.references(again)) == {ONE, TWO}
    assert commitments.take_in("CT2", Request(transaction_uid="1.2.9", references=(ONE,)), NOW)


def test_what_was_asked_at_a_time_to_come_counts_as_asked_once_the_clock_is_put_back(commitments: Commitments) -> None:
    commitments.take_in("CT1", REQUEST, LATER)
    (one,) = commitments.due("CT1")
    assert commitments.asked_by(one, LATER) == one
    assert commitments.asked_by(one, NOW).asked_at == NOW
    assert [one.asked_at for one in commitments.due("CT1")] == [NOW]


def test_an_answer_to_an_earlier_asking_settles_nothing(commitments: Commitments) -> None:
    commitments.take_in("CT1", REQUEST, NOW)
    (first,) = commitments.due("CT1")
    commitments.take_in("CT1", REQUEST, LATER)
    assert not commitments.decide(first, {ONE: COMMITTED, TWO: COMMITTED}, NOW)
    commitments.reported(first, LATER)
    (again,) = commitments.due("CT1")
    assert again.state is State.RECEIVED
    assert commitments.report(again).committed == ()


def test_what_was_decided_is_what_is_reported(commitments: Commitments) -> None:
    commitments.take_in("CT1", REQUEST, NOW)
    (one,) = commitments.due("CT1")
    commitments.decide(one, {ONE: COMMITTED, TWO: Reason.NO_SUCH_OBJECT}, NOW)
    (decided,) = commitments.due("CT1")
    assert (decided.state, decided.failed) == (State.DECIDED, 1)
    failed = (Failure(TWO, Reason.NO_SUCH_OBJECT),)
    assert commitments.report(decided) == Report(transaction_uid="1.2.9", committed=(ONE,), failed=failed)


def told(*committed: Reference, failed: tuple[Failure, ...] = ()) -> Report:
    return Report(transaction_uid="1.2.9", committed=committed, failed=failed)


@pytest.mark.parametrize(
    ("report", "left"),
    [
        (lambda: told(ONE, TWO), []),
        (lambda: told(ONE, failed=(Failure(TWO, 0x0112),)), [(TWO, 0x0112)]),
        (lambda: told(ONE), [(TWO, None)]),
        (lambda: told(ONE, TWO, failed=(Failure(TWO, 0x0110),)), [(TWO, 0x0110)]),
        (lambda: told(ONE, Reference("1.2.840.10008.5.1.4.1.1.4", TWO.sop_uid)), [(TWO, None)]),
    ],
)
def test_only_what_a_peer_vouches_for_by_name_counts(
    commitments: Commitments, report: Callable[[], Report], left: list[tuple[Reference, int | None]]
) -> None:
    commitments.ask("OTHER", REQUEST, NOW)
    assert not commitments.answer("STRANGER", told(ONE, TWO), NOW)
    assert commitments.answer("OTHER", report(), LATER)
    (one,) = commitments.named("1.2.9")
    assert (one.direction, one.state, one.failed) == (Direction.OUT, State.ANSWERED, len(left))
    assert commitments.failures(one) == left
    assert commitments.answer("OTHER", told(failed=(Failure(ONE, 0x0110),)), LATER)
    assert commitments.failures(one) == left, "a later report changed what was answered"


def test_what_a_peer_did_not_take_is_forgotten(commitments: Commitments) -> None:
    commitments.ask("OTHER", REQUEST, datetime.now(UTC))
    commitments.take_back("OTHER", "1.2.9")
    assert commitments.listed(limit=10) == []
    with pytest.raises(UnknownName, match=r"no transaction 1\.2\.9"):
        commitments.named("1.2.9")
