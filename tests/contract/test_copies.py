"""Copies on real volumes: what lacks some gets them, what is damaged is replaced, and never by something damaged."""

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from sqlalchemy import delete, event, func, select, update
from support.faulty_volume import FaultyVolume
from support.house import House
from support.samples import tiny, write
from support.server import WAIT_S, files_below, wait_for
from support.site import LATER, NOW, Site

from pacs_server.archive import set_back
from pacs_server.archive.copies import complete, damage_of
from pacs_server.archive.ingest import ingest
from pacs_server.archive.reception import Declared, Origin
from pacs_server.archive.releasing import release_due
from pacs_server.archive.retire import Decider
from pacs_server.archive.scrub import verify, verify_series
from pacs_server.archive.set_back import note_lost
from pacs_server.cli.exits import ExitCode
from pacs_server.cli.main import run
from pacs_server.dicom.identity import Uid
from pacs_server.dicom.operations import Content, OperationKind
from pacs_server.errors import CopyUnreadable, VolumeUnavailable
from pacs_server.index.copies import Copies, Copy, KeptObject
from pacs_server.index.engine import Index
from pacs_server.index.jobs import JobKind
from pacs_server.index.maintenance import holdings
from pacs_server.index.maintenance.holdings import Holdings
from pacs_server.index.releases import Releases
from pacs_server.index.site.registry import Policies, Policy, Registry, VolumeMode, VolumeRow
from pacs_server.index.tables import copies
from pacs_server.service import runner
from pacs_server.service.assemble import Node
from pacs_server.service.runner import Runner
from pacs_server.service.upkeep import rounds
from pacs_server.service.upkeep.deeds import verify_volumes
from pacs_server.service.upkeep.reconciling import note_losses
from pacs_server.storage.carrying import carry
from pacs_server.storage.condition import Status
from pacs_server.storage.placement import Placement
from pacs_server.storage.sentinel import SENTINEL_NAME, adopt
from pacs_server.storage.volume import Volume

TWO = Policies(usual=Policy(want=2), of_peers={})


@pytest.fixture
def site(index: Index, tmp_path: Path) -> Site:
    return Site(index, tmp_path)


def test_an_object_with_fewer_copies_than_wanted_owes_them_and_gets_them(site: Site) -> None:
    site.take_in(3, need=1, only="a")
    assert site.jobs.counts() == {("copy", "waiting"): 1}
    assert site.spread.count_lacking(TWO, absent=[]) == 3
    assert site.complete() == (3, ())
    assert site.spread.count_lacking(TWO, absent=[]) == 0
    for number, sample in enumerate(site.samples):
        assert site.file(number, "b").read_bytes() == site.file(number, "a").read_bytes()
        assert site.file(number, "b").read_bytes().endswith(sample.data_set)
    assert all(copy.verified_at for one in site.objects() for copy in one.copies)
    assert site.complete() == (0, ())


def test_a_volume_is_forgotten_with_its_copies_however_long_it_takes_to_count_them(
    new_upgraded_url: Callable[[], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = House(tmp_path / "data", new_upgraded_url())
    house.take_in(tiny(1))
    (tmp_path / "second").mkdir()
    words = ["-c", str(house.config), "storage"]
    assert run([*words, "add", "second", str(tmp_path / "second"), "--domain", "second"]) == ExitCode.DONE
    with house.node() as node:
        owner, removed = (row.id for row in sorted(node.registry.volumes(), key=lambda row: row.name))
        (one,) = node.copies.of_objects([tiny(1).SOPInstanceUID])
        node.copies.add(one, replace(one.copies[0], volume_id=removed), NOW)
    # What the site knows is looked at anew each time, as where a second passes in between.
    assert Node.look_at_site_state.__kwdefaults__ is not None
    monkeypatch.setitem(Node.look_at_site_state.__kwdefaults__, "max_age_s", 0.0)
    assert run([*words, "remove", "second", "--yes"]) == ExitCode.DONE
    with house.node() as node:
        assert [row.id for row in node.registry.volumes()] == [owner]
        assert [copy.volume_id for one in node.copies.of_objects([one.sop_uid]) for copy in one.copies] == [owner]
        assert (JobKind.SURVEY, "waiting") in node.jobs.counts()


def test_a_removal_that_was_killed_in_the_middle_is_done_by_the_same_command_given_again(
    new_upgraded_url: Callable[[], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = House(tmp_path / "data", new_upgraded_url())
    house.take_in(tiny(1), tiny(2))
    (tmp_path / "second").mkdir()
    words = ["-c", str(house.config), "storage"]
    assert run([*words, "add", "second", str(tmp_path / "second"), "--domain", "second"]) == ExitCode.DONE
    with house.node() as node:
        owner, removed = (row.id for row in sorted(node.registry.volumes(), key=lambda row: row.name))
        for one in node.copies.of_objects([tiny(number).SOPInstanceUID for number in (1, 2)]):
            node.copies.add(one, replace(one.copies[0], volume_id=removed), NOW)

    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as killed:
        killed.setattr(Copies, "forget_volume", dies)
        assert run([*words, "remove", "second", "--yes"]) != ExitCode.DONE
    with house.node() as node:
        (one,) = node.copies.of_objects([tiny(1).SOPInstanceUID])
        node.copies.add(one, replace(one.copies[0], volume_id=removed, path="late"), NOW)
        (one,) = node.copies.of_objects([one.sop_uid])
        assert "late" not in {copy.path for copy in one.copies}, "nothing new is recorded on it"
        modes = {row.id: row.mode for row in node.registry.volumes()}
        assert modes == {owner: VolumeMode.NORMAL, removed: VolumeMode.DRAINING}, "no row is of a volume that is gone"
    assert run([*words, "remove", "second", "--yes"]) == ExitCode.DONE
    with house.node() as node:
        assert [row.id for row in node.registry.volumes()] == [owner]
        found = node.copies.of_objects([tiny(number).SOPInstanceUID for number in (1, 2)])
        assert {copy.volume_id for one in found for copy in one.copies} == {owner}


def test_who_adds_a_volume_again_is_told_how_what_lies_there_is_found(
    new_upgraded_url: Callable[[], str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    house = House(tmp_path / "data", new_upgraded_url())
    words = ["-c", str(house.config), "storage", "add"]
    (tmp_path / "new").mkdir()
    (tmp_path / "old" / "v1").mkdir(parents=True)
    (tmp_path / "old" / SENTINEL_NAME).write_text('{"id": "26ccc763e1b14e5ba50a8867ae95d2fb"}', encoding="utf-8")
    assert run([*words, "new", str(tmp_path / "new")]) == ExitCode.DONE
    assert "reconcile" not in capsys.readouterr().err
    assert run([*words, "old", str(tmp_path / "old")]) == ExitCode.DONE
    assert "pacs reconcile --repair takes in what lies there" in capsys.readouterr().err


def test_what_lacks_copies_is_counted_among_what_is_owed_alone(site: Site, index: Index) -> None:
    """Whether it is owed was asked of each object: 5 s with ten million, of which none lacked any."""
    asked: list[tuple[str, tuple[object, ...]]] = []

    @event.listens_for(index.engine, "before_cursor_execute")
    def note(_: object, __: object, sql: str, values: tuple[object, ...], *___: object) -> None:
        if sql.startswith("SELECT"):
            asked.append((sql, values))

    site.spread.count_lacking(TWO, absent=[])
    ((sql, values),) = asked
    with index.read() as connection:
        if index.database_path is None:
            pytest.skip("PostgreSQL chooses its plans by the size of its tables")
        plan = [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", values)]
    assert not [step for step in plan if step.startswith(("SCAN instances", "SCAN copies", "SCAN series"))], plan


def test_what_lacks_copies_is_counted_by_the_policy_for_its_sender(site: Site) -> None:
    site.take_in(3, need=1, only="a")
    (sender,) = {one.sender for one in site.objects()}

    def lacking(usual: int, **of_peers: int) -> int:
        own = {aet: Policy(want=want) for aet, want in of_peers.items()}
        return site.spread.count_lacking(Policies(usual=Policy(want=usual), of_peers=own), absent=[])

    assert (lacking(1, **{sender: 2}), lacking(2, **{sender: 1})) == (3, 0)
    assert (lacking(1, ANOTHER=2), lacking(2, ANOTHER=1)) == (0, 3)


def test_with_enough_copies_nothing_is_owed(site: Site) -> None:
    site.take_in(2, need=2)
    assert site.jobs.counts() == {}
    assert site.spread.lacking(want=2, after=0, absent=[]) == ([], 0)


def test_a_survey_finds_the_series_that_lack_copies_now(site: Site) -> None:
    site.take_in(2, need=2)
    series = (site.samples[0].study_uid, site.samples[0].series_uid)
    assert site.spread.lacking(want=3, after=0, absent=[]) == ([series], 0)
    assert site.spread.lacking(want=2, after=0, absent=[site.volumes["b"].spec.id]) == ([series], 0)
    ids = {name: volume.spec.id for name, volume in site.volumes.items()}
    assert site.spread.only_on(ids["a"], others=[ids["b"]]) == 0
    assert site.spread.only_on(ids["a"], others=[]) == 2, "a copy on a volume that is away does not count"
    site.copies.forget_volume(site.volumes["b"].spec.id)
    assert site.spread.only_on(ids["a"], others=[ids["b"]]) == 2


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)


HARM: dict[str, Callable[[Path], object]] = {
    "flipped": flip,
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-7]),
    "deleted": lambda path: path.unlink(),
}


@pytest.mark.parametrize("harmed", ["a", "b"])
@pytest.mark.parametrize("harm", sorted(HARM))
def test_a_damaged_copy_is_found_put_aside_and_replaced(site: Site, harm: str, harmed: str) -> None:
    site.take_in(3)
    path = site.file(1, harmed)
    whole = path.read_bytes()
    HARM[harm](path)
    assert [bool(damage) for damage in site.verify("a")] == [False, harmed == "a", False]
    assert [bool(damage) for damage in site.verify("b")] == [False, harmed == "b", False]
    assert site.copies.count_damaged() == 1
    assert site.complete() == (1, ())
    assert (path.read_bytes(), site.copies.count_damaged()) == (whole, 0)
    put_aside = list((site.volumes[harmed].spec.path / "quarantine").rglob("*.dcm"))
    assert len(put_aside) == (0 if harm == "deleted" else 1)


def test_a_damaged_copy_that_is_found_while_another_one_is_made_is_put_aside_too(site: Site) -> None:
    site.take_in(1)
    path = site.file(0, "a")
    whole = path.read_bytes()
    flip(path)
    damaged = path.read_bytes()
    site.volumes["c"] = site._volume("c")
    done = complete(
        site.objects(), site.copies, lambda _: Placement([*site.volumes.values()], want=3, need=1, degraded=1), now=NOW
    )
    assert (done.written, dict(done.problems)) == (2, {})
    assert [site.file(0, name).read_bytes() for name in ("a", "b", "c")] == [whole] * 3
    (put_aside,) = (site.folder / "a" / "quarantine").rglob("*.dcm")
    assert put_aside.read_bytes() == damaged


def test_a_copy_that_somebody_else_replaces_while_it_is_read_is_not_put_aside(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.take_in(1)
    path = site.file(0, "b")
    whole = path.read_bytes()
    flip(path)
    site.verify("b")

    def replaced_meanwhile(volume: Volume, *told: str) -> str:
        damage = damage_of(volume, *told)
        if damage:
            another = path.with_name("another")
            another.write_bytes(whole)
            another.rename(path)
        return damage

    monkeypatch.setattr("pacs_server.archive.copies.damage_of", replaced_meanwhile)
    assert site.complete() == (0, ())
    assert (path.read_bytes(), site.copies.count_damaged()) == (whole, 0)
    assert not list((site.volumes["b"].spec.path / "quarantine").rglob("*.dcm"))


def test_a_copy_that_one_volume_cannot_take_into_its_folder_is_made_on_the_next(site: Site) -> None:
    site.take_in(1, need=1, only="b")
    site.volumes["c"] = site._volume("c")
    folder = site.file(0, "b").parent.parent.relative_to(site.folder / "b")
    (site.folder / "a" / folder.parent).mkdir(parents=True)
    (site.folder / "a" / folder).touch()  # so no object of this study can be written there
    assert site.complete() == (1, ())
    assert site.file(0, "c").read_bytes() == site.file(0, "b").read_bytes()


def test_an_object_gets_another_copy_also_where_the_damaged_one_cannot_be_replaced(
    site: Site, forgetful: FaultyVolume
) -> None:
    free = site.volumes.pop("b")
    site.volumes["forgetful"] = site._volume("forgetful")
    site.take_in(1)
    site.file(0, "forgetful").write_bytes(b"damaged")
    site.verify("forgetful")
    site.volumes["b"] = free
    forgetful.tell("fail EIO rename")
    written, (problem,) = site.complete()
    assert written == 1
    assert "Input/output error" in problem, "what cannot be replaced is told, and tried again"
    assert site.file(0, "b").read_bytes() == site.file(0, "a").read_bytes()
    forgetful.tell("ok")
    assert site.complete() == (1, ())


def test_a_copy_that_its_disk_gives_back_otherwise_than_it_was_written_does_not_count(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.take_in(1, need=1, only="a")
    lies = site.file(0, "a").relative_to(site.folder / "a")

    def carried(path: PurePosixPath, *how: Any) -> None:
        carry(path, *how)
        flip(site.folder / "b" / path)

    with monkeypatch.context() as rotting:
        rotting.setattr("pacs_server.archive.copies.carry", carried)
        written, (problem,) = site.complete()
    assert (written, len(site.objects()[0].copies)) == (0, 1)
    assert problem == f"read back after it was written: {lies} on volume b is not what was received"
    assert site.complete() == (1, ())
    assert site.file(0, "b").read_bytes() == site.file(0, "a").read_bytes()


def test_a_copy_whose_file_leaves_while_it_is_written_again_is_written_once_more(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.take_in(1, need=1, only="a")
    add = site.copies.add

    def added(one: KeptObject, copy: Copy, now: datetime) -> None:
        (site.folder / "b" / copy.path).unlink()  # by who released it, and looked for its row before
        add(one, copy, now)

    with monkeypatch.context() as leaving:
        leaving.setattr(site.copies, "add", added)
        written, (problem,) = site.complete()
    assert (written, site.copies.count_damaged()) == (0, 1)
    assert problem.endswith("left volume b while it was written again; it is written once more later")
    assert site.complete() == (1, ())
    assert (site.file(0, "b").read_bytes(), site.copies.count_damaged()) == (site.file(0, "a").read_bytes(), 0)


def test_what_is_not_carried_whole_leaves_nothing_where_it_was_to_go(site: Site) -> None:
    site.take_in(1, need=1, only="a")
    (held,) = site.objects()
    target = Placement((site.volumes["b"],), need=1, degraded=1)
    with pytest.raises(CopyUnreadable, match="is not what was received"):
        carry(PurePosixPath(held.copies[0].path), "0" * 64, held.copies, site.placement(), target)
    wait_for(lambda: [path.name for path in files_below(site.folder / "b")] == [SENTINEL_NAME], "it to be removed")


def test_what_is_damaged_everywhere_is_told_and_nothing_is_made_of_it(site: Site) -> None:
    site.take_in(1)
    for name in ("a", "b"):
        flip(site.file(0, name))
    before = [site.file(0, name).read_bytes() for name in ("a", "b")]
    series = site.samples[0].study_uid, site.samples[0].series_uid
    problems = verify_series(*series, site.copies, site.placement, now=NOW)
    ((problem,),) = problems.values()
    assert "no good copy" in problem
    assert [site.file(0, name).read_bytes() for name in ("a", "b")] == before
    assert site.copies.count_damaged() == 2
    flip(site.file(0, "b"))  # it was a cable: the copy is good after all
    assert verify_series(*series, site.copies, site.placement, now=NOW) == {}
    assert site.file(0, "a").read_bytes() == site.file(0, "b").read_bytes()
    assert site.copies.count_damaged() == 0


def test_a_finding_tells_of_its_own_object_and_of_no_other_of_its_series(
    new_upgraded_url: Callable[[], str], tmp_path: Path
) -> None:
    house = House(tmp_path / "data", new_upgraded_url())
    uids = [sample.sop_uid for sample in house.take_in(*(tiny(n) for n in range(3)))]
    for path in house.volume.rglob("*.dcm"):
        flip(path)
    with house.node() as node:
        for found in (verify_volumes(node, (), bytes_per_s=None) for _ in ("first told", "told again")):
            told = {one.path: one for one in found if one.result == "damaged"}
            assert len(told) == len(uids)
            for path, one in told.items():
                assert "no good copy" in one.detail
                assert [uid for uid in uids if uid in one.detail] == [uid for uid in uids if uid in path]


def test_a_finding_costs_as_much_however_many_objects_its_series_has(
    new_upgraded_url: Callable[[], str], tmp_path: Path
) -> None:
    """All of the series were looked up twice for each damaged copy: for hours with 30,000 on a disk that died."""
    asked: list[str] = []
    house = House(tmp_path / "data", new_upgraded_url())
    house.take_in(*(tiny(n) for n in range(6)))
    for path in list(house.volume.rglob("*.dcm"))[:2]:
        flip(path)
    with house.node() as node:
        event.listen(node.index.engine, "before_cursor_execute", lambda _, __, sql, *___: asked.append(sql))
        told = [one.result for one in verify_volumes(node, (), bytes_per_s=None)]
    assert sorted(told) == ["damaged"] * 2 + ["good"] * 4
    assert not [sql for sql in asked if "series.series_uid = " in sql]


def test_the_only_copy_that_was_lost_is_there_again_when_the_object_is_sent_again(site: Site) -> None:
    site.take_in(1, need=1, only="a")
    path = site.file(0, "a")
    path.unlink()
    assert [bool(damage) for damage in site.verify("a")] == [True]
    site.take_in(1, need=1, only="a")
    assert path.read_bytes().endswith(site.samples[0].data_set)
    assert site.copies.count_damaged() == 0


def test_a_volume_that_is_away_is_not_taken_for_a_damaged_one(site: Site) -> None:
    site.take_in(1)
    away = site.folder / "away"
    site.volumes["b"].spec.path.rename(away)
    site.volumes["b"].check()
    series = site.samples[0].study_uid, site.samples[0].series_uid
    verify_series(*series, site.copies, site.placement, now=NOW)
    assert site.copies.count_damaged() == 0
    assert site.jobs.counts().get((JobKind.COPY, "waiting"), 0) == 0


def test_nothing_is_read_in_vain_while_no_volume_takes_one_more_copy(site: Site) -> None:
    site.take_in(1, need=1, only="a")
    site.volumes["b"].spec.path.rename(site.folder / "away")
    site.volumes["b"].check()
    written, (problem,) = site.complete()
    assert (written, "volume b is offline" in problem) == (0, True)
    assert [copy.verified_at for one in site.objects() for copy in one.copies] == [None]


def test_what_cannot_be_read_now_is_neither_copied_nor_called_damaged(site: Site) -> None:
    site.take_in(1, need=1, only="a")
    path, away = site.volumes["a"].spec.path, site.folder / "away"
    path.rename(away)
    site.volumes["a"].check()
    written, (problem,) = site.complete()
    assert (written, "the copy on a cannot be read now" in problem) == (0, True)
    del site.volumes["a"]
    written, (problem,) = site.complete()
    assert (written, "none is held" in problem, site.copies.count_damaged()) == (0, True, 0)


def test_a_round_goes_on_where_it_was(site: Site) -> None:
    site.take_in(3)
    volume = site.volumes["a"]
    began = site.copies.verification_began(volume.spec.id, LATER)
    next(verify(volume, site.copies, before=began, clock=lambda: LATER + timedelta(minutes=1)))
    again = site.copies.verification_began(volume.spec.id, LATER + timedelta(hours=1))
    assert again == began
    rest = list(verify(volume, site.copies, before=again, clock=lambda: LATER + timedelta(hours=1)))
    assert len(rest) == 2
    site.copies.verification_ended(volume.spec.id)
    assert site.copies.verification_began(volume.spec.id, LATER + timedelta(days=1)) == LATER + timedelta(days=1)


def damaged_on_a(site: Site) -> int:
    return next(row.damaged_count for row in Registry(site.index).volumes() if row.name == "a")


def paths_on_a(site: Site) -> list[str]:
    volume_id = site.volumes["a"].spec.id
    return [copy.path for one in site.objects() for copy in one.copies if copy.volume_id == volume_id]


def test_many_damaged_copies_of_one_day_count_against_their_volume_and_few_of_many_days_do_not(site: Site) -> None:
    site.take_in(13)
    registry, volume_id = Registry(site.index), site.volumes["a"].spec.id
    *paths, last = paths_on_a(site)
    for day, path in enumerate(paths[:3]):
        site.copies.mark_damaged(volume_id, path, "rotten", NOW + timedelta(days=day))
    assert damaged_on_a(site) == 1
    told = registry.revision()
    for path in paths:
        site.copies.mark_damaged(volume_id, path, "rotten", NOW + timedelta(days=2))
    assert damaged_on_a(site) == 1 + 9, "what was noted before is not counted again"
    site.copies.mark_damaged(volume_id, last, "rotten", NOW + timedelta(days=30))
    assert damaged_on_a(site) == 11, "it stays until a person has looked"
    assert registry.revision() == told + 1, "servers that run are told once that it is not to be trusted"


def test_what_was_taken_for_damaged_and_is_whole_counts_against_its_volume_no_more(site: Site) -> None:
    """One node whose NAS answers errors for a moment is no reason for all to store nothing there."""
    site.take_in(12)
    registry, volume_id = Registry(site.index), site.volumes["a"].spec.id
    paths = paths_on_a(site)
    for path in paths:
        site.copies.mark_damaged(volume_id, path, "Input/output error", NOW)
    told = registry.revision()
    site.copies.mark_verified([(volume_id, path) for path in paths[:2]], NOW)
    assert (damaged_on_a(site), registry.revision()) == (10, told)
    site.copies.mark_verified([(volume_id, path) for path in paths], NOW + timedelta(days=1))
    assert (damaged_on_a(site), registry.revision()) == (0, told + 1)
    site.copies.mark_verified([(volume_id, path) for path in paths], NOW + timedelta(days=1))
    assert (damaged_on_a(site), site.copies.count_damaged()) == (0, 0)


def test_a_volume_that_answered_errors_while_it_was_verified_is_trusted_again_when_its_copies_are_whole(
    site: Site,
) -> None:
    site.take_in(12)
    volume = site.volumes["a"]
    for path in paths_on_a(site):
        site.copies.mark_damaged(volume.spec.id, path, "Input/output error", NOW)
    flip(site.file(0, "a"))
    volume.change(replace(volume.spec, is_distrusted=True))
    assert volume.check().status is Status.SUSPECT
    site.complete()
    assert (damaged_on_a(site), site.copies.count_damaged()) == (1, 1), "of the one that is damaged"
    assert site.file(0, "a").exists(), "it may be the last one, and none can be written in its place"


def test_what_was_taken_for_damaged_on_another_day_clears_none_that_is_damaged(site: Site) -> None:
    site.take_in(16)
    volume_id, paths = site.volumes["a"].spec.id, paths_on_a(site)
    for number, path in enumerate(paths):
        site.copies.mark_damaged(volume_id, path, "rotten", NOW + timedelta(days=number >= 5))
    site.copies.mark_verified([(volume_id, path) for path in paths[:5]], NOW + timedelta(days=1))
    assert damaged_on_a(site) == 11


def test_a_copy_that_is_found_whole_costs_as_much_however_many_its_volume_has(site: Site, index: Index) -> None:
    """All of the volume were read for each, while nobody could store: a second with three million of them."""
    site.take_in(3)
    volume_id, paths = site.volumes["a"].spec.id, paths_on_a(site)
    site.copies.mark_lost(volume_id, paths, "gone", NOW)
    if index.database_path is None:
        pytest.skip("PostgreSQL chooses its plans by the size of its tables")
    asked: list[tuple[str, tuple[object, ...]]] = []
    with index.write() as connection:

        @event.listens_for(connection.engine, "before_cursor_execute")
        def note(_: object, __: object, sql: str, values: tuple[object, ...], *___: object) -> None:
            if sql.startswith("SELECT"):
                asked.append((sql, values))

    site.copies.mark_verified([(volume_id, paths[0])], NOW)
    with index.read() as connection:
        ((sql, values),) = [one for one in asked if "copies" in one[0]]
        plan = [str(row[3]) for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", values)]
    assert "LIMIT" in sql
    assert [step for step in plan if "copies" in step] == ["SEARCH copies USING INDEX ix_copies_damage (damage>?)"]


def test_objects_are_counted_by_the_volumes_that_have_good_copies_of_them(site: Site) -> None:
    a, b = (site.volumes[name].spec.id for name in ("a", "b"))
    assert site.spread.by_places([a, b]) == {}
    site.take_in(3)
    site.store(tiny("alone", study="other"), need=1, only="a")
    assert site.spread.by_places([a, b]) == {frozenset({a, b}): 3, frozenset({a}): 1}
    assert site.spread.by_places([b]) == {frozenset({b}): 3, frozenset(): 1}
    assert site.spread.by_places([]) == {frozenset(): 4}
    damaged, forgotten = site.objects()[:2]
    for copy in damaged.copies:
        site.copies.mark_damaged(copy.volume_id, copy.path, "its digest is another", NOW)
    with site.index.write() as connection:
        connection.execute(delete(copies).where(copies.c.path == forgotten.copies[0].path))
    assert site.spread.by_places([a, b]) == {frozenset({a, b}): 1, frozenset({a}): 1, frozenset(): 2}


def test_an_object_that_is_purged_while_a_copy_of_it_is_written_has_none_afterwards_nor_has_the_next_object(
    site: Site, index: Index
) -> None:
    (sample,) = site.samples = site.store(tiny(1), need=1, only="a")
    operations = site.instances.operations
    decider = Decider(who="test", reason="a test", now=NOW, operations=operations, volumes=tuple(site.volumes.values()))

    class Overtaken(Copies):
        def add(self, one: KeptObject, copy: Copy, now: datetime) -> None:
            content = Content(sop_uid=one.sop_uid, digest=one.digest)
            for kind in (OperationKind.DELETE, OperationKind.PURGE):
                decider.decide(kind, sample.study_uid, [content])
            site.store(tiny(2), need=1, only="a")  # SQLite gives it the row that is free now
            super().add(one, copy, now)

    complete(site.objects(), Overtaken(index), site.placement, now=NOW)
    (left,) = site.objects()
    assert left.sop_uid != sample.sop_uid
    assert [copy.volume_id for copy in left.copies] == [site.volumes["a"].spec.id]
    for volume in site.volumes.values():
        list(release_due(volume, Releases(index), Holdings(index), site.copies, site.placement(), now=LATER))
    assert not [path for path in site.folder.rglob("*.dcm") if path.name.startswith(f"{sample.sop_uid}-")]


def test_a_copy_is_that_of_its_object_also_when_an_index_that_was_made_anew_has_numbered_it_otherwise(
    site: Site,
) -> None:
    site.take_in(2, need=1, only="a")
    first, second = site.objects()
    made = replace(first.copies[0], volume_id=site.volumes["b"].spec.id)
    site.copies.add(replace(first, row=second.row), made, NOW)
    assert [one.copies for one in site.objects()] == [(*first.copies, made), second.copies]


def test_a_copy_in_whose_transfer_syntax_one_bit_has_flipped_is_damaged_like_any_other_and_is_repaired(
    site: Site,
) -> None:
    site.take_in(2)
    path = site.file(0, "a")
    whole = path.read_bytes()
    damaged = bytearray(whole)
    damaged[whole.index(b"1.2.840.10008.1.2.1") + 3] ^= 0x80
    path.write_bytes(damaged)
    assert sorted(map(bool, site.verify("a"))) == [False, True]
    assert site.complete() == (1, ())
    assert path.read_bytes() == whole
    path.write_bytes(damaged)
    site.take_in(2)  # sent again
    assert path.read_bytes() == whole


@pytest.mark.parametrize("what", [b"", b"DICM", b"\2\0\0\0UL", b"1.2.840.10008.5.1.4.1.1.2", b"2.25."])
def test_a_bit_that_flipped_before_the_data_set_is_noticed_and_the_file_is_what_it_was_again(
    site: Site, what: bytes
) -> None:
    site.take_in(1)
    path = site.file(0, "a")
    whole = path.read_bytes()
    damaged = bytearray(whole)
    damaged[whole.index(what) + len(what)] ^= 1
    path.write_bytes(damaged)
    assert [bool(damage) for damage in site.verify("a")] == [True]
    assert site.complete() == (1, ())
    assert path.read_bytes() == whole


def lost(site: Site, name: str) -> list[tuple[str, str]]:
    return [*chain.from_iterable(note_lost(site.volumes[name], Holdings(site.index), site.copies, now=LATER))]


def test_a_volume_that_has_everything_has_lost_nothing_however_often_it_is_asked(site: Site) -> None:
    site.take_in(3)
    assert lost(site, "b") == lost(site, "b") == []
    assert site.copies.count_damaged() == 0


def test_what_a_volume_lacks_of_what_it_had_last_is_noted_once_and_made_again(site: Site) -> None:
    site.take_in(5)
    for number in (2, 3, 4):
        site.file(number, "b").unlink()
    series = site.samples[0].study_uid, site.samples[0].series_uid
    assert lost(site, "b") == [series]
    assert lost(site, "a") == lost(site, "b") == []
    assert site.copies.count_damaged() == 3
    assert site.complete() == (3, ())
    assert site.verify("b") == [""] * 5


def test_what_a_volume_lost_is_found_however_much_it_has_stored_since(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was set back under its mount, or the look when it came back had to wait while much was stored."""
    monkeypatch.setattr(holdings, "_NEWEST", 4)
    monkeypatch.setattr(set_back, "_LATEST", 5)
    site.take_in(12)
    for number in range(2, 5):
        site.file(number, "b").unlink()
    assert set(lost(site, "b")) == {(site.samples[0].study_uid, site.samples[0].series_uid)}
    assert site.copies.count_damaged() == 3
    assert lost(site, "b") == []


def test_a_look_for_what_a_volume_lost_asks_for_few_files_of_each_portion_and_comes_to_an_end(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(holdings, "_NEWEST", 4)
    monkeypatch.setattr(set_back, "_LATEST", 3)
    site.take_in(20)
    asked: list[PurePosixPath] = []
    has_file = Volume.has_file

    def counted(volume: Volume, path: PurePosixPath, size_bytes: int) -> bool:
        asked.append(path)
        return has_file(volume, path, size_bytes)

    monkeypatch.setattr(Volume, "has_file", counted)
    assert lost(site, "b") == []
    assert len(asked) == 2 + 2 * 2 + 2, "all of the last portion, and of the first that is not among the latest"


def test_a_volume_that_lost_many_copies_is_not_trusted_until_somebody_has_looked(site: Site, index: Index) -> None:
    site.take_in(12)
    for number in range(12):
        site.file(number, "b").unlink()
    assert len(lost(site, "b")) == 1
    counts = {row.name: row.damaged_count for row in Registry(index).volumes()}
    assert counts == {"a": 0, "b": 12}


def test_a_volume_that_is_set_back_under_its_mount_is_found_to_have_lost_copies_within_a_day(
    tmp_path: Path, new_upgraded_url: Callable[[], str]
) -> None:
    house = House(tmp_path / "data", new_upgraded_url())
    house.take_in(tiny(1), tiny(2))
    with house.node() as node:
        runner = Runner(node)
        next(house.volume.rglob("*.dcm")).unlink()
        runner._verify()
        runner._verify()
        assert node.copies.count_damaged() == 1
        assert node.jobs.has(JobKind.COPY)
        assert node.jobs.has(JobKind.OPERATIONS), "it lacks decisions, too"
        assert [row.damaged_count for row in node.registry.volumes()] == [1]


def test_what_a_volume_lost_is_owed_although_it_goes_away_before_all_of_it_was_looked_for(
    tmp_path: Path, new_upgraded_url: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(holdings, "_NEWEST", 1)
    house = House(tmp_path / "data", new_upgraded_url())
    house.take_in(tiny(1))
    house.take_in(tiny(2))
    has_file = Volume.has_file

    def until_it_went(volume: Volume, path: PurePosixPath, size_bytes: int) -> bool:
        if tiny(1).SOPInstanceUID in path.name:
            raise VolumeUnavailable("it went away")
        return has_file(volume, path, size_bytes)

    monkeypatch.setattr(Volume, "has_file", until_it_went)
    next(house.volume.rglob(f"{tiny(2).SOPInstanceUID}-*.dcm")).unlink()
    with house.node() as node:
        with pytest.raises(VolumeUnavailable):
            note_losses(node, node.volumes()[0])
        assert node.copies.count_damaged() == 1
        assert node.jobs.has(JobKind.COPY)


def test_copies_of_which_a_volume_tells_nothing_keep_no_others_from_being_verified(
    index: Index, forgetful: FaultyVolume
) -> None:
    """As an object in a cold class of a bucket, or one in sectors that a disk reads for minutes."""
    (forgetful.path / "site").mkdir()
    site = Site(index, forgetful.path / "site")
    site.take_in(1)
    site.volumes["a"].check()
    assert site.verify("a") == [""]
    more = site.store(tiny(7), tiny(8))
    untold = next(site.volumes["a"].spec.path.rglob(f"{more[0].sop_uid}-*.dcm"))
    forgetful.tell(f"fail ESTALE open {untold.name}")
    read: list[str] = []
    later = LATER + timedelta(days=1)
    with pytest.raises(VolumeUnavailable, match=f"copies that could not be read: 1, the last v1/.*{untold.name}"):
        read.extend(one.path for one in verify(site.volumes["a"], site.copies, before=later, clock=lambda: later))
    assert len(read) == 2
    assert site.copies.count_damaged() == 0
    forgetful.tell("ok")
    last = list(verify(site.volumes["a"], site.copies, before=later, clock=lambda: later))
    assert [(Path(one.path).name, one.damage) for one in last] == [(untold.name, "")]


def test_a_volume_that_goes_away_while_it_is_verified_keeps_no_other_from_that(
    tmp_path: Path, new_upgraded_url: Callable[[], str]
) -> None:
    house, second = House(tmp_path / "data", new_upgraded_url()), tmp_path / "second"
    second.mkdir()
    with house.node() as node:
        row = VolumeRow(id=adopt(second, name="second"), name="second", path=str(second), tier="hot", domain="second")
        node.registry.add_volume(row)
        node.registry.set_policy(Policy(want=2, need=2))
    house.take_in(tiny(1))
    with house.node() as node:
        runner = Runner(node)
        runner._verify()
        with node.index.write() as connection:
            connection.execute(update(copies).values(verified_at="2001-01-01"))
        next(house.volume.rglob("*.dcm")).unlink()
        (house.volume / SENTINEL_NAME).unlink()
        flip(next(second.rglob("*.dcm")))
        with pytest.raises(VolumeUnavailable, match="first"):
            runner._verify()
        assert node.copies.count_damaged() == 1


def test_a_volume_of_which_much_is_to_be_read_keeps_no_other_from_its_turn(
    tmp_path: Path, new_upgraded_url: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor from being looked at for losses each day."""
    monkeypatch.setattr(runner, "_TURN_S", 0.0)
    house, second = House(tmp_path / "data", new_upgraded_url()), tmp_path / "second"
    second.mkdir()
    with house.node() as node:
        row = VolumeRow(id=adopt(second, name="second"), name="second", path=str(second), tier="hot", domain="second")
        node.registry.add_volume(row)
        node.registry.set_policy(Policy(want=2, need=2))
    house.take_in(tiny(1), tiny(2), tiny(3))
    with house.node() as node:
        with node.index.write() as connection:
            connection.execute(update(copies).values(verified_at="2001-01-01"))
        Runner(node)._verify()
        with node.index.read() as connection:
            left = select(copies.c.volume_id).where(copies.c.verified_at == "2001-01-01")
            assert sorted(Counter(connection.execute(left).scalars()).values()) == [2, 2]


def test_a_long_look_for_what_was_purged_keeps_no_volume_from_being_verified(
    tmp_path: Path, new_upgraded_url: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    house, is_listed, looks = House(tmp_path / "data", new_upgraded_url()), threading.Event(), threading.Event()

    def look(*_: object, **__: object) -> None:
        looks.set()
        is_listed.wait(WAIT_S)

    monkeypatch.setattr(runner, "release_what_was_purged", look)
    house.take_in(tiny(1))
    with house.node() as node:
        with node.index.write() as connection:
            connection.execute(update(copies).values(verified_at="2001-01-01"))
        works = Runner(node)
        works.start()
        try:
            assert looks.wait(WAIT_S)
            left = select(func.count()).select_from(copies).where(copies.c.verified_at == "2001-01-01")

            def is_verified() -> bool:
                with node.index.read() as connection:
                    return connection.execute(left).scalar_one() == 0

            wait_for(is_verified, "the copy to be verified")
        finally:
            is_listed.set()
            works.stop()
            works.leave()


@pytest.mark.parametrize("kind", [JobKind.VERIFY, JobKind.COPY])
def test_a_job_for_a_series_is_kept_while_its_objects_are_read(
    tmp_path: Path, new_upgraded_url: Callable[[], str], monkeypatch: pytest.MonkeyPatch, kind: JobKind
) -> None:
    """Else others took it up too, all job threads in the end, and what lacked copies waited for it."""
    house, second = House(tmp_path / "data", new_upgraded_url()), tmp_path / "second"
    samples = house.take_in(tiny(1), tiny(2), tiny(3))
    second.mkdir()
    with house.node() as node:
        row = VolumeRow(id=adopt(second, name="second"), name="second", path=str(second), tier="hot", domain="second")
        node.registry.add_volume(row)
        node.registry.set_policy(Policy(want=2))
        node.jobs.owe(kind, NOW, series=[(samples[0].study_uid, samples[0].series_uid)])
        kept: list[JobKind] = []
        monkeypatch.setattr(runner, "_RENEW_AFTER", timedelta(seconds=-1))
        monkeypatch.setattr(node.jobs, "renew", lambda job, *_: kept.append(job.kind))
        assert Runner(node)._do_job({kind})
        assert kept.count(kind) >= 3
    assert len(list(second.rglob("*.dcm"))) == 3


def test_a_copy_that_no_volume_takes_is_not_tried_again_and_again_but_once_there_is_another_volume(
    tmp_path: Path, new_upgraded_url: Callable[[], str]
) -> None:
    house, second = House(tmp_path / "data", new_upgraded_url()), tmp_path / "second"
    (sample,) = house.take_in(tiny(1))
    second.mkdir()
    with house.node() as node:
        node.registry.set_policy(Policy(want=2))
        node.jobs.owe(JobKind.COPY, NOW, series=[(sample.study_uid, sample.series_uid)])
        works = Runner(node)
        assert works._do_job({JobKind.COPY})
        (waiting,) = node.jobs.listed()
        assert waiting.error == "1 of 2 copies: there is no volume in another fault domain"
        assert waiting.due_at - datetime.now(UTC) > timedelta(hours=5)
        row = VolumeRow(id=adopt(second, name="second"), name="second", path=str(second), tier="hot", domain="second")
        node.registry.add_volume(row)
        node.jobs.owe(JobKind.SURVEY, NOW)
        assert works._do_job({JobKind.SURVEY})
        assert works._do_job({JobKind.COPY})
        assert node.jobs.listed() == []
    assert len(list(second.rglob("*.dcm"))) == 1


def test_what_was_being_received_while_the_policy_was_changed_gets_its_copies_within_a_day(
    tmp_path: Path, new_upgraded_url: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was looked through once, for the change, before that object was there, and never again."""
    house, second = House(tmp_path / "data", new_upgraded_url()), tmp_path / "second"
    second.mkdir()
    sample = write(tiny(1), tmp_path / "large.dcm")
    declared = Declared(
        sop_class=sample.sop_class, sop_instance=Uid(sample.sop_uid), transfer_syntax=sample.transfer_syntax
    )
    with house.node() as node:
        row = VolumeRow(id=adopt(second, name="second"), name="second", path=str(second), tier="hot", domain="second")
        node.registry.add_volume(row)
        works, looking = Runner(node), rounds.Rounds(node, lambda: True)
        works._roll.call(datetime.now(UTC))
        reception = node.reception(declared, Origin(aet="SLOW"))
        node.registry.set_policy(Policy(want=2))
        node.jobs.owe(JobKind.SURVEY, NOW)
        assert works._do_job({JobKind.SURVEY})
        reception.feed(memoryview(sample.data_set))
        ingest(reception)
        looking.owe_survey()
        assert node.jobs.listed() == [], "nobody knows that it lacks one"
        a_day_later = time.monotonic() + 86_400
        monkeypatch.setattr(rounds.time, "monotonic", lambda: a_day_later)
        looking.owe_survey()
        monkeypatch.undo()
        assert works._do_job({JobKind.SURVEY})
        assert works._do_job({JobKind.COPY})
        assert node.jobs.listed() == []
    assert len(list(second.rglob("*.dcm"))) == len(list(house.volume.rglob("*.dcm"))) == 1


def test_no_copy_is_tried_while_no_volume_takes_anything(tmp_path: Path, new_upgraded_url: Callable[[], str]) -> None:
    house = House(tmp_path / "data", new_upgraded_url())
    (sample,) = house.take_in(tiny(1))
    with house.node() as node:
        (row,) = node.registry.volumes()
        node.registry.change_volume(row.id, {"mode": VolumeMode.READ_ONLY})
        node.jobs.owe(JobKind.COPY, NOW, series=[(sample.study_uid, sample.series_uid)])
        node.look_at_site_state(max_age_s=0)
        assert not Runner(node)._do_job({JobKind.COPY, JobKind.VERIFY})
        assert [job.attempts for job in node.jobs.listed()] == [0]


def test_the_only_volume_takes_objects_again_when_what_failed_while_it_was_verified_can_be_read(
    tmp_path: Path, new_upgraded_url: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    house = House(tmp_path / "data", new_upgraded_url())
    house.take_in(*map(tiny, range(12)))
    with house.node() as node:

        def state() -> Status:
            node.look_at_site_state(max_age_s=0)
            return node.volumes()[0].check().status

        works = Runner(node)
        works._roll.call(datetime.now(UTC))
        with monkeypatch.context() as failing:
            failing.setattr("pacs_server.archive.copies.damage_of", lambda *_: "Input/output error")
            works._verify_volume(node.volumes()[0], datetime.now(UTC) + timedelta(hours=1))
        assert state() is Status.SUSPECT
        assert works._do_job({JobKind.COPY})
        assert (state(), node.copies.count_damaged(), node.jobs.listed()) == (Status.ONLINE, 0, [])


def test_copies_that_came_or_were_verified_while_the_clock_was_years_ahead_are_verified_once_it_is_right(
    site: Site,
) -> None:
    ahead = NOW + timedelta(days=3_650)
    site.samples = site.store(tiny(1))
    site.samples += site.store(tiny(2), now=ahead)
    (verified, _) = site.objects()
    for copy in verified.copies:
        site.copies.mark_verified([(copy.volume_id, copy.path)], ahead)
    for number in (0, 1):
        flip(site.file(number, "b"))
    assert site.verify("a") == ["", ""]
    assert site.verify("a") == []
    assert sorted(map(bool, site.verify("b"))) == [True, True]
