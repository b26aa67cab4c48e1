"""Forwarding between real processes: dead, refusing and good destinations, restarts, and archives that forward to each
other.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from support.dcmtk import Receiver, Station, free_port, require
from support.samples import CT, SECONDARY_CAPTURE, Sample, data_set_of, tiny, write
from support.second_client import Squeamish
from support.server import Archive, wait_for

pytestmark = pytest.mark.timeout(900)

LONG_S = 150.0
CT_ONLY = """
[[TransferSyntaxes]]
[Uncompressed]
TransferSyntax1 = LocalEndianExplicit
TransferSyntax2 = LittleEndianImplicit
[[PresentationContexts]]
[CTOnly]
PresentationContext1 = CTImageStorage\\Uncompressed
PresentationContext2 = VerificationSOPClass\\Uncompressed
[[Profiles]]
[Default]
PresentationContexts = CTOnly
"""


@pytest.fixture
def source(new_archive: Callable[..., Archive]) -> Archive:
    """A running archive that destinations are registered at."""
    require()
    archive = new_archive()
    archive.start()
    return archive


@pytest.fixture
def ct_only(receive: Callable[..., Receiver], tmp_path: Path) -> Receiver:
    """A storescp that accepts no SOP class but CT."""
    profile = tmp_path / "ct-only.cfg"
    profile.write_text(CT_ONLY, encoding="ascii")
    return receive("CTONLY", "-xf", str(profile), "Default")


def samples_in(folder: Path, count: int, **values: Any) -> list[Sample]:
    into = folder / f"{values.get('study', 'study')}-{values.get('series', 'series')}"
    into.mkdir()
    return [write(tiny(n, **values), into / f"{n}.dcm") for n in range(count)]


def stored(archive: Archive, samples: list[Sample], folder: Path, aet: str = "CT1") -> None:
    done = Station(archive=archive, folder=folder, aet=aet).store(*(sample.path for sample in samples))
    assert set(done.statuses) == {0}, done.output[-3000:]


def backlog(archive: Archive, aet: str) -> dict[str, Any]:
    rows: list[dict[str, Any]] = archive.report("send", "list")
    return next(
        (row for row in rows if row["aet"] == aet), {"waiting": 0, "sent": 0, "dead": 0, "gone": 0, "error": ""}
    )


def sends_told(archive: Archive) -> list[str]:
    return [row["result"] for row in archive.report("doctor", expect=(0, 12)) if row["check"] == "sends"]


def times_received(receiver: Receiver) -> int:
    return receiver.log_text().count("Store Request")


def assert_holds(receiver: Receiver, samples: list[Sample]) -> None:
    wait_for(
        lambda: len(receiver.objects()) >= len(samples), f"{len(samples)} objects at {receiver.aet}", timeout_s=LONG_S
    )
    wanted = {sample.sop_uid: sample.data_set for sample in samples}
    wait_for(
        lambda: {uid: data_set_of(path) for uid, path in receiver.objects().items()} == wanted,
        f"these objects and no others, whole, at {receiver.aet}",
        timeout_s=LONG_S,
    )


def test_a_dead_and_a_refusing_destination_delay_no_other_and_nothing_is_forgotten_or_sent_twice(
    source: Archive, receive: Callable[..., Receiver], ct_only: Receiver, tmp_path: Path
) -> None:
    fine = receive("FINE")
    source.add_peer("DEAD", free_port())
    source.add_peer("CTONLY", ct_only.port)
    source.add_peer("FINE", fine.port, "--associations", "2")
    source.pacs("route", "add", "all", "--to", "DEAD", "--to", "CTONLY", "--to", "FINE")
    cts = [s for n in range(3) for s in samples_in(tmp_path, 20, study=n)]
    others = samples_in(tmp_path, 5, study="others", sop_class=SECONDARY_CAPTURE)
    stored(source, cts + others, tmp_path)
    assert_holds(fine, cts + others)
    assert_holds(ct_only, cts)
    wait_for(lambda: backlog(source, "DEAD")["error"], "the dead one to be told of", timeout_s=LONG_S)
    wait_for(lambda: backlog(source, "CTONLY")["dead"] == len(others), "the refusals", timeout_s=LONG_S)
    # What is acknowledged and not yet noted is sent again after a kill.
    for aet, sent in (("FINE", cts + others), ("CTONLY", cts)):
        wait_for(lambda aet=aet, sent=sent: backlog(source, aet)["sent"] == len(sent), f"{aet}", timeout_s=LONG_S)  # type: ignore[misc]
    dead = backlog(source, "DEAD")
    assert (dead["waiting"], dead["sent"], dead["dead"]) == (len(cts + others), 0, 0)
    assert "nothing listens" in dead["error"]
    told = sends_told(source)
    assert any(one.startswith(f"{len(cts + others)} objects wait for DEAD: ") for one in told), told
    letters = source.report("send", "list", "--dead")
    assert {letter["uid"] for letter in letters} == {sample.sop_uid for sample in others}
    assert all("no context for Secondary Capture Image Storage" in letter["reason"] for letter in letters)
    assert source.report("status")["backlog"]["sends"] == {"waiting": len(cts + others), "dead": len(others)}

    source.kill()
    source.start()
    alive = receive("ALIVE")
    source.pacs("ae", "set", "DEAD", "--port", str(alive.port))
    source.pacs("send", "retry", "--to", "DEAD")
    assert_holds(alive, cts + others)
    wait_for(lambda: backlog(source, "DEAD")["sent"] == len(cts + others), "everything to be noted", timeout_s=LONG_S)
    stored(source, cts[:5], tmp_path)  # what is held already is not forwarded again
    assert [times_received(one) for one in (fine, ct_only, alive)] == [65, 60, 65]
    assert len(source.report("send", "list", "--dead")) == len(others)


def test_a_kill_in_the_middle_of_sending_forgets_nothing(
    source: Archive, receive: Callable[..., Receiver], tmp_path: Path
) -> None:
    samples = [s for n in range(4) for s in samples_in(tmp_path, 60, study=n)]
    stored(source, samples, tmp_path)
    slow = receive("SLOW", "+xa", "--sleep-after", "0")
    source.add_peer("SLOW", slow.port)
    for uid in dict.fromkeys(sample.study_uid for sample in samples):
        source.pacs("send", "study", uid, "--to", "SLOW")
    wait_for(lambda: len(list(slow.folder.iterdir())) >= 20, "some to arrive", timeout_s=LONG_S)
    source.kill()
    source.start()
    assert_holds(slow, samples)
    wait_for(lambda: backlog(source, "SLOW")["waiting"] == 0, "everything to be noted", timeout_s=LONG_S)
    assert len(samples) <= times_received(slow) <= len(samples) + 17


def test_routes_choose_by_sender_modality_station_and_description_in_kanji(
    source: Archive, receive: Callable[..., Receiver], tmp_path: Path
) -> None:
    heads, lungs, mri, all_of_ct2 = (receive(aet) for aet in ("HEADS", "LUNGS", "MRI", "OFCT2"))
    for receiver in (heads, lungs, mri, all_of_ct2):
        source.add_peer(receiver.aet, receiver.port)
    source.pacs("route", "add", "heads", "Modality=CT", "StudyDescription=*頭部*", "--to", "HEADS")
    source.pacs("route", "add", "lungs", "StationName=CT-ROOM2", "BodyPartExamined=CHEST", "--to", "LUNGS")
    source.pacs("route", "add", "mri", "Modality=MR", "--to", "MRI")
    source.pacs("route", "add", "ct2", "--from", "CT2", "--to", "OFCT2")
    japanese = {"SpecificCharacterSet": "ISO_IR 192"}
    head = samples_in(tmp_path, 2, study="head", Modality="CT", StudyDescription="CT 頭部単純", **japanese)
    lung = samples_in(tmp_path, 2, study="lung", Modality="CT", StationName="CT-ROOM2", BodyPartExamined="CHEST")
    resonance = samples_in(tmp_path, 2, study="mr", Modality="MR", StudyDescription="MR 頭部", **japanese)
    stored(source, head + resonance, tmp_path)
    stored(source, lung, tmp_path, aet="CT2")
    for receiver, wanted in ((heads, head), (lungs, lung), (mri, resonance), (all_of_ct2, lung)):
        assert_holds(receiver, wanted)
    (told,) = source.report("route", "test", "heads", resonance[0].study_uid)
    assert (told["objects"], told["fitting"], told["to_send"]) == (2, 0, 0)
    assert told["why"] == ["2 do not match Modality=CT"]
    (told,) = source.report("route", "test", "heads", head[0].study_uid)
    assert (told["fitting"], told["why"]) == (2, ["2 sent, waiting or refused already"])
    assert len(source.report("route", "test", "ct2")) == 3
    source.pacs("route", "add", "broken", "Modalty=CT", "--to", "MRI", expect=2)
    source.pacs("route", "add", "nowhere", "--to", "NOBODY", expect=2)
    source.pacs("route", "add", "mri", "--to", "MRI", expect=2)


def test_a_route_is_applied_to_what_is_held_since_a_moment_and_sends_it_once(
    source: Archive, receive: Callable[..., Receiver], tmp_path: Path
) -> None:
    today = datetime.now(UTC)
    later = today + timedelta(days=2)
    viewer = receive("VIEWER")
    source.add_peer("VIEWER", viewer.port)
    ct, mr = samples_in(tmp_path, 3, Modality="CT"), samples_in(tmp_path, 2, study="mr", Modality="MR")
    stored(source, ct + mr, tmp_path)
    source.pacs("route", "add", "reading", "Modality=CT", "--to", "VIEWER")
    assert "0 series" in source.pacs("route", "apply", "reading", "--since", f"{later:%Y-%m-%d}").stderr
    for _ in range(2):
        assert "2 series" in source.pacs("route", "apply", "reading", "--since", f"{today:%Y-%m-%d}").stderr
        wait_for(lambda: source.report("jobs", "list") == [], "the route and its sending to end", timeout_s=LONG_S)
        assert_holds(viewer, ct)
    assert times_received(viewer) == len(ct)
    source.pacs("route", "apply", "nothing", "--since", "2026-01-01", expect=2)


def test_a_paused_route_sends_what_it_missed_when_it_is_resumed(
    source: Archive, receive: Callable[..., Receiver], tmp_path: Path
) -> None:
    viewer = receive("VIEWER")
    source.add_peer("VIEWER", viewer.port)
    source.pacs("route", "add", "all", "--to", "VIEWER")
    source.pacs("route", "pause", "all")
    samples = samples_in(tmp_path, 3)
    stored(source, samples, tmp_path)

    def is_put_off() -> bool:
        due_at = [
            datetime.fromisoformat(job["due_at"]) for job in source.report("jobs", "list") if job["kind"] == "route"
        ]
        return bool(due_at) and min(due_at) > datetime.now(UTC) + timedelta(minutes=30)

    wait_for(is_put_off, "the route to be looked at", timeout_s=LONG_S)
    (told,) = source.report("route", "test", "all", samples[0].study_uid)
    assert told["why"] == ["the route is paused: pacs route resume all"]
    assert viewer.objects() == {}
    source.pacs("route", "resume", "all")
    assert_holds(viewer, samples)
    source.pacs("route", "remove", "all")
    assert [row["name"] for row in source.report("route", "list")] == ["all"], "nothing is done without --yes"
    source.pacs("route", "remove", "all", "--yes")
    assert source.report("route", "list") == []


def test_priors_go_with_a_new_study(source: Archive, receive: Callable[..., Receiver], tmp_path: Path) -> None:
    viewer = receive("VIEWER")
    source.add_peer("VIEWER", viewer.port)
    years = ("2021", "2022", "2023", "2024")
    old = {year: samples_in(tmp_path, 2, study=year, StudyDate=f"{year}0101", Modality="CT") for year in years}
    other = samples_in(tmp_path, 1, study="mr", StudyDate="20240601", Modality="MR")
    later = samples_in(tmp_path, 1, study="later", StudyDate="20290101", Modality="CT")
    stored(source, [*(s for part in old.values() for s in part), *other, *later], tmp_path)
    source.pacs("route", "add", "read", "--to", "VIEWER", "--priors", "2", "--priors-like", "Modality")
    new = samples_in(tmp_path, 2, study="new", StudyDate="20250101", Modality="CT")
    stored(source, new, tmp_path)
    assert_holds(viewer, [*new, *old["2024"], *old["2023"]])


def test_two_archives_that_forward_to_each_other_come_to_rest(
    new_archive: Callable[..., Archive], tmp_path: Path
) -> None:
    require()
    left, right = new_archive(aet="LEFT"), new_archive(aet="RIGHT")
    for archive in (left, right):
        archive.start()
    left.add_peer("RIGHT", right.port)
    right.add_peer("LEFT", left.port)
    left.pacs("route", "add", "mirror", "--to", "RIGHT")
    right.pacs("route", "add", "mirror", "--to", "LEFT")
    first, second = samples_in(tmp_path, 5, study="first"), samples_in(tmp_path, 5, study="second")
    for archive, samples in ((left, first), (right, second)):
        done = Station(archive=archive, folder=tmp_path, aet="CT1", called=archive.aet)
        assert set(done.store(*(sample.path for sample in samples)).statuses) == {0}
    uids = {sample.sop_uid for sample in first + second}
    for archive in (left, right):
        wait_for(lambda one=archive: one.instance_uids() == uids, "both to hold everything", timeout_s=LONG_S)  # type: ignore[misc]
        wait_for(lambda one=archive: one.report("jobs", "list") == [], "nothing to be owed", timeout_s=LONG_S)  # type: ignore[misc]
    assert (backlog(left, "RIGHT")["sent"], backlog(right, "LEFT")["sent"]) == (5, 5)


def test_a_person_sends_a_study_and_waits_for_it(
    source: Archive, receive: Callable[..., Receiver], ct_only: Receiver, tmp_path: Path
) -> None:
    viewer = receive("VIEWER")
    source.add_peer("VIEWER", viewer.port)
    source.add_peer("CTONLY", ct_only.port)
    source.add_peer("GONE", free_port())
    mixed = [*samples_in(tmp_path, 2, AccessionNumber="A1"),
             *samples_in(tmp_path, 1, series="sc", sop_class=SECONDARY_CAPTURE, AccessionNumber="A1")]  # fmt: skip
    stored(source, mixed, tmp_path)
    assert "queued 3 objects" in source.pacs("send", "study", mixed[0].study_uid, "--to", "VIEWER", "--wait").stderr
    assert_holds(viewer, mixed)
    source.pacs("send", "accession", "A1", "--to", "CTONLY", "--wait", expect=3)
    assert_holds(ct_only, [sample for sample in mixed if sample.sop_class == CT])
    told = source.pacs("send", "series", mixed[0].series_uid, "--to", "GONE", "--wait", expect=13).stderr
    assert "nothing listens" in told
    assert "stays queued" in told
    assert times_received(viewer) == 3
    source.pacs("send", "patient", "T-1", "--to", "VIEWER", "--wait")
    assert times_received(viewer) == 6, "what a person asks for is sent again"


def test_an_object_at_which_a_destination_always_aborts_keeps_no_other_from_it(source: Archive, tmp_path: Path) -> None:
    samples = samples_in(tmp_path, 4)
    stored(source, samples, tmp_path)
    receiver = Squeamish("SQUEAMISH", {samples[1].sop_uid})
    with receiver.running():
        source.add_peer(receiver.aet, receiver.port)
        source.pacs("send", "study", samples[0].study_uid, "--to", receiver.aet)
        wait_for(lambda: receiver.aborted, "the first attempt", timeout_s=LONG_S)
        others = {sample.sop_uid for sample in samples} - {samples[1].sop_uid}
        wait_for(
            lambda: {one.sop_uid for one in receiver.received} == others, "what does no harm to come", timeout_s=LONG_S
        )
    assert backlog(source, receiver.aet)["dead"] == 0


def test_what_cannot_be_sent_is_refused_and_what_waits_can_be_dropped(source: Archive, tmp_path: Path) -> None:
    source.add_peer("GONE", free_port())
    stored(source, samples_in(tmp_path, 2), tmp_path)
    source.pacs("send", "patient", "T-1", "--to", "GONE")
    source.pacs("send", "drop", "--to", "GONE")
    assert backlog(source, "GONE")["waiting"] == 2
    source.pacs("send", "drop", "--to", "GONE", "--yes")
    assert backlog(source, "GONE")["waiting"] == 0
    source.pacs("send", "instance", "1.2.3.4", "--to", "GONE", expect=2)
    source.pacs("send", "patient", "T-*", "--to", "GONE", expect=2)
    source.pacs("send", "patient", "T-1", "--to", "NOBODY", expect=2)


def test_a_patient_of_two_names_is_sent_whole_and_one_of_two_issuers_is_not(source: Archive, tmp_path: Path) -> None:
    source.add_peer("GONE", free_port())
    stored(source, samples_in(tmp_path, 1, study="one", PatientName="Yamada^Taro"), tmp_path)
    stored(source, samples_in(tmp_path, 1, study="two", PatientName="Sato^Taro"), tmp_path)
    assert "queued 2 objects" in source.pacs("send", "patient", "T-1", "--to", "GONE").stderr
    stored(source, samples_in(tmp_path, 1, study="three", IssuerOfPatientID="OTHER"), tmp_path)
    told = source.pacs("send", "patient", "T-1", "--to", "GONE", expect=2).stderr
    assert "several issuers (OTHER, none)" in told


def test_a_patient_whose_id_has_a_backslash_is_sent(source: Archive, tmp_path: Path) -> None:
    source.add_peer("GONE", free_port())
    for study, patient_id in (("one", "47\\11"), ("two", "47"), ("three", "11")):
        stored(source, samples_in(tmp_path, 1, study=study, PatientID=patient_id), tmp_path)
    assert "queued 1 object" in source.pacs("send", "patient", "47\\11", "--to", "GONE").stderr


def test_a_route_that_asks_for_a_field_that_is_not_there_is_told_of(source: Archive) -> None:
    source.add_peer("VIEWER", free_port())
    source.pacs("index", "fields", "add", "ContrastBolusAgent", "--level", "series")
    is_read = lambda: [one["state"] for one in source.report("index", "fields", "list")] == ["ready"]  # noqa: E731
    wait_for(is_read, "the field to be read", timeout_s=LONG_S)
    source.pacs("route", "add", "agents", "ContrastBolusAgent=GD*", "--to", "VIEWER")
    assert sends_told(source) == ["good"]
    source.pacs("index", "fields", "remove", "ContrastBolusAgent", "--yes")
    (told,) = sends_told(source)
    assert told.startswith("the route agents forwards nothing: ContrastBolusAgent is not an attribute"), told


def test_what_was_deleted_before_it_was_sent_is_not_sent_until_it_is_back(
    source: Archive, receive: Callable[..., Receiver], tmp_path: Path
) -> None:
    port = free_port()
    source.add_peer("VIEWER", port)
    kept, deleted = samples_in(tmp_path, 2, study="kept"), samples_in(tmp_path, 2, study="deleted")
    stored(source, kept + deleted, tmp_path)
    source.pacs("send", "patient", "T-1", "--to", "VIEWER")
    source.pacs("delete", f"StudyInstanceUID={deleted[0].study_uid}", "--reason", "wrong patient", "--yes")
    viewer = receive("VIEWER")
    source.pacs("ae", "set", "VIEWER", "--port", str(viewer.port))
    source.pacs("send", "retry")
    assert_holds(viewer, kept)
    wait_for(lambda: backlog(source, "VIEWER")["gone"] == 2, "the deleted ones to be told of", timeout_s=LONG_S)
    assert source.report("send", "list", "--dead") == []
    assert sends_told(source) == ["good"]

    source.pacs("restore", f"StudyInstanceUID={deleted[0].study_uid}", "--reason", "it was the right one", "--yes")
    assert_holds(viewer, kept + deleted)
    wait_for(lambda: backlog(source, "VIEWER")["sent"] == 4, "all to be noted as sent", timeout_s=LONG_S)
    assert backlog(source, "VIEWER")["gone"] == 0
