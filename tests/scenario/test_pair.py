"""Two servers that hold the same: whatever is stored, decided or lost on either, and whatever happens between them."""

import os
import random
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from support.pair import HEALED_S, SETTINGS, Pair
from support.samples import Sample, data_set_of, tiny, write
from support.senders import Sender, objects
from support.server import LONG, Archive, wait_for

from pacs_server.service.contacts import remembered

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(300)]

CUT_S = 60.0 if LONG else 0.0
# In bytes a second, at which the objects of these tests are hardly held up, but for one test's.
RATE = 5_000_000


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    settings = {**SETTINGS, "partner": {**SETTINGS["partner"], "send_bytes_per_s": RATE}}
    joined = Pair(tmp_path_factory.mktemp("pair"), settings=settings)
    try:
        yield joined
        for each in joined.both:
            assert "Traceback" not in each.log_text(), each.log_text()[-6_000:]
    finally:
        joined.close()


def take_in(archive: Archive, folder: Path, *data_sets: Any, syntax: str = ExplicitVRLittleEndian) -> list[Sample]:
    folder.mkdir(parents=True)
    samples = [write(one, folder / f"{number}.dcm", syntax) for number, one in enumerate(data_sets)]
    archive.pacs("import", str(folder))
    return samples


def assert_bytes(archive: Archive, samples: list[Sample]) -> None:
    """Every object is on the volume as it was sent."""
    wanted = {(one.sop_uid, one.data_set) for one in samples}
    held = {(path.name.rpartition("-")[0], data_set_of(path)) for path in archive.files() if path.suffix == ".dcm"}
    assert not wanted - held


def tell_the_newest(teller: Archive, listener: Archive) -> str:
    """Wait until a partner was told of the object that was recorded last, by the lack of which it finds out that the
    teller is as it was before; its SOP Instance UID.
    """
    with closing(sqlite3.connect(teller.data / "index.db", timeout=30)) as database:
        (newest,) = database.execute("SELECT id, digest, sop_uid FROM instances ORDER BY id DESC LIMIT 1")
    row_id, digest, sop_uid = newest
    told = lambda: remembered(listener.data)[teller.aet.lower()].newest == f"{row_id} {digest}"  # noqa: E731
    wait_for(told, f"{listener.aet} to be told of the newest object of {teller.aet}", timeout_s=HEALED_S)
    return str(sop_uid)


def test_what_one_stores_the_other_has_and_nothing_goes_back(pair: Pair, tmp_path: Path) -> None:
    samples = objects(tmp_path, 1, 60)
    sender = Sender(pair.tokyo, samples)
    sender.run()
    pair.become_equal()
    assert {one.sop_uid for one in samples} <= pair.osaka.instance_uids()
    assert_bytes(pair.osaka, samples)
    shown = pair.osaka.report("show", "study", samples[0].study_uid)
    assert {one["sender"] for series in shown["series"] for one in series["objects"]} == {"SENDER"}
    pair.owe_nothing()
    sent_back = [line for line in pair.osaka.log_text().splitlines() if " replicated " in line]
    assert all("objects=0" in line for line in sent_back), sent_back


def test_objects_go_over_no_faster_than_is_set(pair: Pair, tmp_path: Path) -> None:
    tokyo, osaka = pair.both
    tokyo.pacs("partner", "pause", "osaka")  # so that all of them go at once
    size = RATE // 2
    samples = take_in(
        tokyo, tmp_path / "in", *(tiny(f"large{n}", study="large", EncapsulatedDocument=bytes(size)) for n in range(5))
    )
    tokyo.pacs("partner", "resume", "osaka")
    pair.become_equal()
    uids = {one.sop_uid for one in samples}
    written_at = [path.stat().st_mtime for path in osaka.files() if path.name.rpartition("-")[0] in uids]
    assert len(written_at) == len(samples)
    # However slow this machine is, that only takes longer. Without a limit it takes tenths of a second.
    assert max(written_at) - min(written_at) > 0.95 * (len(samples) - 1) * size / RATE


def test_both_go_on_while_they_cannot_reach_each_other_and_are_the_same_afterwards(pair: Pair, tmp_path: Path) -> None:
    tokyo, osaka = pair.both
    for each in pair.both:
        each.pacs("retention", "set", "--purge", "by-hand", "--grace-days", "0")
    held, gone, versions = (
        take_in(tokyo, tmp_path / name, *(tiny(f"{name}{n}", study=name, PatientID=name) for n in range(3)))
        for name in ("held", "gone", "versions")
    )
    pair.become_equal()
    pair.cut()
    cut_at = time.monotonic()
    # Each goes on with what it has: four senders, of overlapping studies.
    senders = [
        Sender(archive, objects(tmp_path, number, 40)) for number, archive in enumerate([tokyo, tokyo, osaka, osaka])
    ]
    senders.append(Sender(osaka, list(senders[0].waiting[:20])))
    for sender in senders:
        sender.start()
    # The same object, as Explicit to one and as Implicit to the other; and other bytes under one UID.
    same = tiny("same", study="syntax")
    explicit, implicit = (
        take_in(archive, tmp_path / f"same-{archive.aet}", same, syntax=syntax)[0]
        for archive, syntax in ((tokyo, ExplicitVRLittleEndian), (osaka, ImplicitVRLittleEndian))
    )
    first, second = (
        take_in(archive, tmp_path / f"other-{archive.aet}", tiny("other", study="other", StudyDescription=archive.aet))[
            0
        ]
        for archive in (tokyo, osaka)
    )
    # What persons decide on one side without knowing of the other's.
    tokyo.pacs("delete", "PatientID=held", "--reason", "wrong patient", "--yes")
    osaka.pacs("hold", "add", "PatientID=held", "--reason", "court case")
    tokyo.pacs("delete", "PatientID=gone", "--reason", "wrong patient", "--yes")
    tokyo.pacs("purge", "--yes")
    assert len(tokyo.report("trash", "list")) == 2, "purged before the other knew of it"
    osaka.pacs("ae", "add", "CT9", "192.0.2.9", "104", "--allow", "store")
    wait_for(lambda: not any(one.is_alive() for one in senders), "the senders", timeout_s=120)
    wait_for(lambda: pair.partner(tokyo)["state"] == "not reachable", "the cut to be seen", timeout_s=60)
    time.sleep(max(0.0, CUT_S - (time.monotonic() - cut_at)))
    pair.mend()
    pair.become_equal()
    acknowledged = [sample for sender in senders for sample in sender.acknowledged]
    assert len(acknowledged) == 180
    for each in pair.both:
        assert_bytes(each, [*acknowledged, *held, *gone, *versions, explicit, implicit, first, second])
        found = each.instance_uids()
        assert {one.sop_uid for one in (*acknowledged, *held, explicit, first)} <= found
        assert not {one.sop_uid for one in gone} & found
        assert [row["reason"] for row in each.report("hold", "list")] == ["court case"]
        assert "CT9" in {row["aet"] for row in each.report("ae", "list")}
        conflicts = [row for row in each.report("conflicts", "list") if row["kind"] == "conflict-version"]
        assert {row["sop_uid"] for row in conflicts} == {first.sop_uid}
        assert len([one for one in each.files() if one.suffix == ".dcm" and explicit.sop_uid in one.name]) == 2

    def current(each: Archive) -> list[str]:
        return [row["digest"] for row in each.report("conflicts", "show", first.sop_uid) if row["role"] == "current"]

    # The same content becomes current on both: the one that came first.
    wait_for(lambda: current(tokyo) == current(osaka), "the same to be current", timeout_s=HEALED_S, every_s=0.5)
    assert len(current(tokyo)) == 1
    # Both know of the deletion now, so it may be purged, and is gone on both.
    tokyo.pacs("purge", "--yes")
    pair.become_equal()
    for each in pair.both:
        assert each.report("trash", "list") == []
        left = lambda: {path.name.rpartition("-")[0] for path in each.files()}  # noqa: B023, E731
        wait_for(lambda: not {one.sop_uid for one in gone} & left(), "the files to go", timeout_s=HEALED_S)  # noqa: B023


def test_both_show_the_same_content_although_it_was_chosen_or_came_while_they_could_not_reach_each_other(
    pair: Pair, tmp_path: Path
) -> None:
    tokyo, osaka = pair.both
    (chosen,) = take_in(tokyo, tmp_path / "chosen", tiny("chosen", study="chosen"))
    pair.become_equal()
    pair.cut()
    take_in(tokyo, tmp_path / "better", tiny("chosen", study="chosen", ImageComments="better"))
    better = next(row for row in tokyo.report("conflicts", "show", chosen.sop_uid) if row["role"] == "version")
    tokyo.pacs("version", "use", chosen.sop_uid, better["digest"], "--reason", "better")
    # One SOP Instance UID in two studies, each of which was the first on its site.
    twice = tiny("twice").SOPInstanceUID
    for archive in pair.both:
        take_in(archive, tmp_path / f"twice-{archive.aet}", tiny("twice", study=archive.aet, SOPInstanceUID=twice))
    pair.mend()
    pair.become_equal()

    def current(each: Archive, uid: str) -> list[str]:
        rows = each.report("conflicts", "show", uid)
        return sorted(row["digest"] for row in rows if row["role"] == "current")

    for uid in (chosen.sop_uid, twice):
        wait_for(
            lambda uid=uid: current(tokyo, uid) == current(osaka, uid),  # type: ignore[misc]
            "the same to be current",
            timeout_s=HEALED_S,
            every_s=0.5,
        )
    assert current(osaka, chosen.sop_uid) == [better["digest"]]


def test_both_show_the_same_content_after_one_made_its_index_anew_from_files_that_tell_another_order(
    pair: Pair, tmp_path: Path
) -> None:
    tokyo, osaka = pair.both
    (first,) = take_in(tokyo, tmp_path / "first", tiny("twofold"))
    take_in(tokyo, tmp_path / "second", tiny("twofold", ImageComments="second"))
    pair.become_equal()
    pair.owe_nothing()

    def current(each: Archive) -> list[str]:
        return [row["digest"] for row in each.report("conflicts", "show", first.sop_uid) if row["role"] == "current"]

    (shown,) = before = current(osaka)
    later = time.time() + 60
    for path in osaka.files():  # as those of a copy that was made again
        if shown[:16] in path.name:
            os.utime(path, (later, later))
    osaka.pacs("index", "rebuild")
    wait_for(lambda: current(osaka) == before, "the same to be shown again", timeout_s=HEALED_S, every_s=0.5)
    assert current(tokyo) == before


def test_both_show_the_same_content_whichever_of_two_studies_that_have_its_uid_goes_over_last(
    pair: Pair, tmp_path: Path
) -> None:
    pair.cut()
    for each in pair.both:
        first = tiny("in two studies", ImageComments=each.aet)
        other = tiny("moved", study="second", ImageComments=each.aet, SOPInstanceUID=first.SOPInstanceUID)
        (sent, moved) = take_in(each, tmp_path / each.aet, first, other)

    def owed(each: Archive) -> dict[str, str]:
        return {job["study_uid"]: str(job["id"]) for job in each.report("jobs", "list")}

    def current(each: Archive) -> list[str]:
        rows = each.report("conflicts", "show", sent.sop_uid)
        return sorted(row["digest"] for row in rows if row["role"] == "current")

    held_back = {each.aet: owed(each)[moved.study_uid] for each in pair.both}
    for each in pair.both:
        each.pacs("jobs", "pause", held_back[each.aet])
    pair.mend()
    for each in pair.both:
        wait_for(lambda each=each: list(owed(each)) == [moved.study_uid], "the first study", timeout_s=HEALED_S)  # type: ignore[misc]
    assert current(pair.tokyo) != current(pair.osaka)
    for each in pair.both:
        each.pacs("jobs", "resume", held_back[each.aet])
    wait_for(lambda: current(pair.tokyo) == current(pair.osaka), "the same to be shown", timeout_s=HEALED_S)


def test_what_is_sent_again_to_one_while_the_other_deletes_it_unheard_is_held_on_both(
    pair: Pair, tmp_path: Path
) -> None:
    tokyo, osaka = pair.both
    data_sets = [tiny(f"again{n}", study="again", PatientID="again") for n in range(3)]
    samples = take_in(tokyo, tmp_path / "in", *data_sets)
    pair.become_equal()
    pair.cut()
    osaka.pacs("delete", "PatientID=again", "--reason", "wrong patient", "--yes")
    take_in(tokyo, tmp_path / "again", data_sets[1])
    pair.mend()
    pair.become_equal()
    uids = {one.sop_uid for one in samples}
    for each in pair.both:
        assert each.instance_uids() & uids == {samples[1].sop_uid}
        assert [row["objects"] for row in each.report("trash", "list") if row["patient_id"] == "again"] == [2]
        flags = each.report("show", "study", samples[1].study_uid)["flags"]
        noted = ["readmitted"] if each is osaka else ["readmitted", "sent-again"]
        assert sorted(flag["kind"] for flag in flags) == noted


def test_what_was_lost_behind_the_index_is_found_exactly_and_healed_from_the_other(pair: Pair, tmp_path: Path) -> None:
    tokyo, osaka = pair.both
    samples = take_in(tokyo, tmp_path / "in", *(tiny(f"lost{n}", study=f"lost{n % 5}") for n in range(40)))
    pair.become_equal()
    pair.owe_nothing()
    chance = random.Random(7)
    # Without that row osaka would compare of its own accord, and be whole before it is asked.
    newest = tell_the_newest(osaka, tokyo)
    others = [one for one in samples if one.sop_uid != newest]
    no_file, no_row = chance.sample(others[:20], 3), chance.sample(others[20:], 3)
    pair.cut()
    more = take_in(tokyo, tmp_path / "more", *(tiny(f"late{n}", study=f"late{n}") for n in range(6)))
    for path in osaka.files():
        if path.name.rpartition("-")[0] in {one.sop_uid for one in no_file}:
            path.unlink()
    with closing(sqlite3.connect(osaka.data / "index.db", timeout=30)) as database, database:
        for one in no_row:
            of_it = "instance_row IN (SELECT id FROM instances WHERE sop_uid = ?)"
            database.execute(f"DELETE FROM copies WHERE {of_it}", (one.sop_uid,))
            database.execute("DELETE FROM instances WHERE sop_uid = ?", (one.sop_uid,))
    with closing(sqlite3.connect(tokyo.data / "index.db", timeout=30)) as database, database:
        no_job = more[0]
        database.execute("DELETE FROM jobs WHERE kind = 'replicate' AND study_uid = ?", (no_job.study_uid,))
    osaka.pacs("verify", expect=(0, 12))  # reads every copy, as every night
    pair.mend()
    lost = {one.sop_uid for one in (*no_file, *no_row, no_job)}

    def is_found(asked: Archive, place: str) -> bool:
        return lost == {
            row["uid"] for row in pair.compared(asked, "--full").get("missing", ()) if row["missing"] == place
        }

    for asked, place in ((tokyo, "there"), (osaka, "here")):  # for the first osaka counts what it holds, too
        told = f"{asked.aet} to find exactly what was lost"
        wait_for(partial(is_found, asked, place), told, timeout_s=HEALED_S, every_s=0.5)
    osaka.pacs("partner", "compare", "tokyo", "--full", "--repair")
    pair.become_equal()
    assert_bytes(osaka, [*samples, *more])
    assert osaka.report("verify") == []


def test_a_site_that_was_set_back_to_an_older_state_gets_again_what_it_lacks_without_being_asked(
    pair: Pair, tmp_path: Path
) -> None:
    tokyo, osaka = pair.both
    pair.become_equal()
    pair.owe_nothing()
    osaka.stop()
    snapshot = tmp_path / "snapshot"
    shutil.copytree(osaka.data, snapshot, symlinks=True)
    osaka.start()
    samples = take_in(tokyo, tmp_path / "in", *(tiny(f"since{n}", study="since") for n in range(3)))
    pair.become_equal()
    pair.owe_nothing()
    tell_the_newest(osaka, tokyo)
    osaka.stop()
    shutil.rmtree(osaka.data)
    shutil.copytree(snapshot, osaka.data, symlinks=True)
    take_in(osaka, tmp_path / "more", *(tiny(f"more{n}", study="more") for n in range(4)))
    osaka.start()
    uids = {one.sop_uid for one in samples}
    wait_for(lambda: uids <= osaka.instance_uids(), "what it lacked", timeout_s=HEALED_S, every_s=0.5)


def test_kills_on_either_side_while_objects_go_over_lose_nothing_and_the_rest_follows(
    pair: Pair, tmp_path: Path
) -> None:
    tokyo, osaka = pair.both
    senders = [Sender(archive, objects(tmp_path, number, 60)) for number, archive in ((31, tokyo), (32, osaka))]
    for sender in senders:
        sender.start()
    for each in (osaka, tokyo):
        wait_for(lambda: any(one.acknowledged for one in senders), "something to be under way")
        each.kill()
        each.start()
    wait_for(lambda: not any(one.is_alive() for one in senders), "the senders", timeout_s=120)
    acknowledged = [sample for sender in senders for sample in sender.acknowledged]
    assert len(acknowledged) == 120
    pair.become_equal()
    for each in pair.both:
        assert_bytes(each, acknowledged)


def test_what_is_acknowledged_while_a_volume_of_the_other_site_is_needed_outlives_the_whole_site(
    tmp_path: Path,
) -> None:
    tokyo = Archive(tmp_path / "tokyo", aet="TOKYO", settings={"check_called": False})
    exported = tmp_path / "nas-of-osaka"
    exported.mkdir()
    tokyo.pacs("storage", "add", "at-osaka", str(exported), "--domain", "osaka")
    tokyo.pacs("policy", "set", "--want", "2", "--need", "2", "--degraded", "2")
    tokyo.start()
    sender = Sender(tokyo, objects(tmp_path, 41, 60))
    sender.start()
    wait_for(lambda: len(sender.acknowledged) > 20, "objects to be acknowledged", timeout_s=60)
    tokyo.kill()
    sender.give_up()
    shutil.rmtree(tokyo.data)
    osaka = Archive(tmp_path / "osaka", aet="OSAKA")
    osaka.pacs("storage", "add", "from-tokyo", str(exported))
    long_ago = time.time() - 3_600  # what is younger than a quarter of an hour may be somebody's unfinished work
    for path in exported.rglob("*.dcm"):
        os.utime(path, (long_ago, long_ago))
    osaka.pacs("reconcile", "--repair", expect=(0, 12))
    assert {one.sop_uid for one in sender.acknowledged} <= osaka.instance_uids()


def test_a_study_of_the_wrong_patient_that_is_deleted_and_sent_again_is_the_right_ones_at_both(
    pair: Pair, tmp_path: Path
) -> None:
    first, *_ = take_in(pair.tokyo, tmp_path / "wrong", *(tiny(n, study="mixed", PatientID="W") for n in range(3)))
    pair.become_equal()
    key = f"StudyInstanceUID={first.study_uid}"
    pair.tokyo.pacs("delete", key, "--reason", "wrong patient", "--yes")
    take_in(pair.tokyo, tmp_path / "right", *(tiny(n, study="mixed", PatientID="R") for n in range(3)))
    for each in pair.both:
        wait_for(
            lambda each=each: [one["PatientID"] for one in each.report("find", "studies", key)] == ["R"],
            f"the study to be the right patient's at {each.aet}",
            timeout_s=HEALED_S,
        )
    pair.become_equal()
