"""Tiers on real volumes: what a rule means, what moves, what stays, and two who move the same at once."""

import threading
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import delete, update
from support.samples import Sample, tiny
from support.site import LATER, NOW, Site

from pacs_server.archive import retire
from pacs_server.archive.copies import complete
from pacs_server.archive.retire import Decider
from pacs_server.archive.tiering import Moved, PlannedSeries, Room, move, plan
from pacs_server.dicom.attributes import Level
from pacs_server.dicom.queries.matching import query_from_keywords
from pacs_server.index.copies import Copy
from pacs_server.index.engine import Index
from pacs_server.index.jobs import JobKind
from pacs_server.index.maintenance.holdings import Holdings
from pacs_server.index.queries.trash import Trash
from pacs_server.index.releases import Releases
from pacs_server.index.site.registry import VolumeMode
from pacs_server.index.site.tier_rules import TierRule
from pacs_server.index.site.windows import Window
from pacs_server.index.site_tables import volumes
from pacs_server.index.tables import copies, studies
from pacs_server.index.tiering import Leaving, Tiering, dispensable
from pacs_server.service.assemble import Node
from pacs_server.service.locks import tier_lock
from pacs_server.service.upkeep.tiers import NightlyMoves
from pacs_server.settings import Settings
from pacs_server.storage.placement import Placement

OLD = TierRule(name="old", source="hot", target="cold", older_than_days=30)
HOUR = timedelta(hours=1)


class Tiers(Site):
    """A site with the hot volumes `a` and `b`; every object is wanted `want` times."""

    def __init__(self, index: Index, folder: Path) -> None:
        super().__init__(index, folder)
        self.tiering, self.releases, self.holdings = Tiering(index), Releases(index), Holdings(index)
        self.want = 1

    def add(self, name: str, tier: str = "cold") -> None:
        self.volumes[name] = self._volume(name, tier)

    def placement(self, aet: str = "", *, need: int = 1, only: str = "") -> Placement:
        found = [volume for name, volume in self.volumes.items() if name in only or not only]
        return Placement(found, want=self.want, need=need, degraded=1)

    def series(self, rule: TierRule = OLD) -> list[tuple[str, str]]:
        source = [volume.spec.id for volume in self.volumes.values() if volume.spec.tier == rule.source]
        return self.tiering.candidates(rule, source, NOW)

    def plan(self, rule: TierRule = OLD, room: Room | None = None) -> list[PlannedSeries]:
        return list(plan(rule, self.series(rule), self.copies, self.placement, room or Room()))

    def move(self, rule: TierRule = OLD) -> Moved:
        whole = Moved()
        for study_uid, series_uid in self.series(rule):
            objects = self.copies.of_series(study_uid, series_uid)
            for part in move(
                objects, rule, self.copies, self.tiering, self.placement, clock=lambda: NOW, release_after=HOUR
            ):  # fmt: skip
                whole.add(part)
        return whole

    def where(self, number: int = 0) -> list[str]:
        """The volumes that an object has copies on, as the index says."""
        names = {volume.spec.id: name for name, volume in self.volumes.items()}
        held = next(one for one in self.objects() if one.sop_uid == self.samples[number].sop_uid)
        return sorted(names[copy.volume_id] for copy in held.copies)

    def where_is(self, sample: Sample) -> list[str]:
        self.samples = [sample]
        return self.where()

    def verified(self, name: str, days_ago: int) -> None:
        """Make the copies on a volume ones that were verified so long ago."""
        moment = (NOW - timedelta(days=days_ago)).isoformat()
        with self.index.write() as connection:
            here = copies.c.volume_id == self.volumes[name].spec.id
            connection.execute(update(copies).where(here).values(verified_at=moment))


@pytest.fixture
def site(index: Index, tmp_path: Path) -> Tiers:
    return Tiers(index, tmp_path)


def test_the_age_of_a_study_is_that_of_its_date_else_of_its_receipt(site: Tiers) -> None:
    days = [(NOW - timedelta(days=n)).strftime("%Y%m%d") for n in (31, 30)]
    older, younger, undated, rubbish = site.store(
        *(tiny(0, study=n, StudyDate=value) for n, value in enumerate((*days, None, "00000000"))), only="a", need=1
    )
    assert [uid for uid, _ in site.series()] == [older.study_uid]
    with site.index.write() as connection:
        connection.execute(update(studies).values(day=(NOW - timedelta(days=31)).date().isoformat()))
    assert {uid for uid, _ in site.series()} == {one.study_uid for one in (older, undated, rubbish)}
    assert younger.study_uid not in {uid for uid, _ in site.series()}


def test_a_rule_means_series_by_modality_and_studies_that_nobody_read(site: Tiers) -> None:
    kinds = ("CT", "MR", "CT")
    samples = site.store(
        *(tiny(n, study="one" if n < 2 else "two", series=n, Modality=kind) for n, kind in enumerate(kinds)),
        only="a", need=1, now=NOW - timedelta(days=10),
    )  # fmt: skip
    ct = TierRule(name="ct", source="hot", target="cold", modalities=("CT",))
    assert {uid for _, uid in site.series(ct)} == {samples[0].series_uid, samples[2].series_uid}
    unread = TierRule(name="unread", source="hot", target="cold", not_read_for_days=7)
    assert len(site.series(unread)) == 3
    site.tiering.note_read([samples[0].study_uid, "1.2.3"], NOW)
    assert [uid for uid, _ in site.series(unread)] == [samples[2].study_uid]
    assert site.series(ct)[0][0] == samples[2].study_uid, "longest not read first"


def test_reading_is_noted_once_a_day(site: Tiers) -> None:
    site.take_in(1)

    def noted() -> object:
        with site.index.read() as connection:
            return connection.execute(studies.select()).one().last_read_at

    moments = [NOW, NOW + timedelta(hours=23), NOW + timedelta(hours=25)]
    seen = []
    for moment in moments:
        site.tiering.note_read([site.samples[0].study_uid], moment)
        seen.append(noted())
    assert seen == [moments[0].isoformat(), moments[0].isoformat(), moments[2].isoformat()]


def test_a_move_copies_reads_back_switches_and_releases_later(site: Tiers) -> None:
    site.add("c")
    site.take_in(3, need=1, only="a")
    (planned,) = site.plan()
    assert (planned.objects, planned.size_bytes) == (3, sum(len(one.data_set) for one in site.samples))
    ids = {name: volume.spec.id for name, volume in site.volumes.items()}
    assert (planned.leaving, planned.written) == ({ids["a"]: planned.size_bytes}, {ids["c"]: planned.size_bytes})
    moved = site.move()
    assert (moved.objects, moved.size_bytes, moved.problems) == (3, planned.size_bytes, [])
    for number, sample in enumerate(site.samples):
        assert site.where(number) == ["c"]
        assert site.file(number, "c").read_bytes().endswith(sample.data_set)
    assert all(copy.verified_at for one in site.objects() for copy in one.copies)
    (waiting,) = site.releases.waiting()
    assert (waiting.volume_id, waiting.files, waiting.first_due_at) == (ids["a"], 3, NOW + HOUR)
    assert site.releases.due(ids["a"], NOW, limit=9) == []
    assert (JobKind.RELEASE, "waiting") in site.jobs.counts()
    assert len(list((site.folder / "a" / "v1").rglob("*.dcm"))) == 3, "a retrieve that runs may still read them"
    assert (site.plan(), site.move()) == ([], Moved())


def test_as_many_copies_as_are_wanted_are_made_before_the_others_go(site: Tiers) -> None:
    for name in ("c", "d"):
        site.add(name)
    site.want = 2
    site.take_in(2)
    assert site.move().objects == 2
    assert [site.where(number) for number in range(2)] == [["c", "d"]] * 2


def test_where_the_target_has_too_few_domains_the_rest_stays_where_it_is(site: Tiers) -> None:
    site.add("c")
    site.want = 2
    site.take_in(2)
    assert site.move().objects == 2
    for number in range(2):
        assert site.where(number) in (["a", "c"], ["b", "c"])
    assert site.plan() == []
    site.want = 3
    site.store(tiny(9, study="three"))
    assert site.plan() == [], "nothing could leave, so nothing is copied either"


def test_what_one_volume_cannot_take_into_its_folder_moves_to_the_next_each_copy_to_a_domain_of_its_own(
    site: Tiers,
) -> None:
    for name in "cde":
        site.add(name)
    site.want = 2
    site.take_in(1)
    folder = site.file(0, "a").parent.parent.relative_to(site.folder / "a")
    (site.folder / "c" / folder.parent).mkdir(parents=True)
    (site.folder / "c" / folder).touch()  # so no object of this study can be written there
    assert (site.move().problems, site.where()) == ([], ["d", "e"])


def test_versions_and_what_is_in_the_trash_move_too_and_a_hold_does_not_hinder(site: Tiers) -> None:
    site.add("c")
    site.samples = site.store(tiny(0), tiny(0, ImageComments="other"), tiny(1), only="a", need=1)
    decider = Decider(
        who="admin", reason="test", now=NOW, operations=site.instances.operations, volumes=[site.volumes["a"]]
    )
    keys = query_from_keywords(Level.IMAGE, {"SOPInstanceUID": site.samples[2].sop_uid}).predicates
    assert list(retire.delete(Trash(site.index).found(keys), decider))
    assert site.move().objects == 3
    assert {copy.volume_id for one in site.objects() for copy in one.copies} == {site.volumes["c"].spec.id}


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)


def test_a_copy_is_never_made_of_a_damaged_one_nor_let_go_for_it(site: Tiers) -> None:
    site.add("c")
    site.take_in(2, need=1, only="a")
    flip(site.file(0, "a"))
    moved = site.move()
    assert moved.objects == 1
    assert "no good copy" in moved.problems[0]
    assert [site.where(number) for number in range(2)] == [["a"], ["c"]]
    assert site.plan() == [], "what is damaged is repaired first"


@pytest.mark.parametrize("is_whole", [True, False])
def test_a_copy_that_is_to_stay_is_read_when_that_was_too_long_ago(site: Tiers, *, is_whole: bool) -> None:
    site.add("c", "warm")
    site.want = 2
    site.take_in(1)
    site.complete()
    rule = TierRule(name="w", source="hot", target="warm", older_than_days=30)
    assert site.move(rule).objects == 1
    site.want = 1
    site.verified("c", 31)
    if not is_whole:
        flip(site.file(0, "c"))
    moved = site.move(rule)
    assert moved.objects == int(is_whole)
    assert (site.where() == ["c"]) is is_whole
    assert site.copies.count_damaged() == int(not is_whole)


def test_a_copy_whose_file_is_gone_since_it_was_read_lets_no_other_go(site: Tiers) -> None:
    """Its volume was set back to a snapshot of before, which is noticed within a day."""
    site.add("c", "warm")
    site.want = 2
    site.take_in(1)
    rule = TierRule(name="w", source="hot", target="warm", older_than_days=30)
    assert site.move(rule).objects == 1
    site.want = 1
    site.file(0, "c").unlink()
    before = site.where()
    (problem,) = site.move(rule).problems
    assert site.samples[0].sop_uid in problem
    assert site.where() == before
    assert site.copies.count_damaged() == 1


def test_copies_on_volumes_that_are_away_or_being_emptied_do_not_count(site: Tiers) -> None:
    site.want = 2
    site.take_in(1)
    held = site.objects()[0]
    ids = {name: volume.spec.id for name, volume in site.volumes.items()}
    path = held.copies[0].path
    for name in ("a", "b"):
        site.verified(name, 0)

    def switched(standing: Sequence[str], *, days: int = 30) -> int:
        leaving = Leaving(instance_row=held.row, places=((ids["a"], path),), want=1)
        since = NOW - timedelta(days=days)
        return len(site.tiering.switch([leaving], standing=standing, verified_since=since, due_at=NOW))

    assert switched([ids["a"]]) == 0, "away"
    site.verified("b", 31)
    assert switched(list(ids.values())) == 0, "not verified for too long"
    site.verified("b", 0)
    with site.index.write() as connection:
        connection.execute(update(volumes).where(volumes.c.id == ids["b"]).values(mode=VolumeMode.DRAINING))
    assert switched(list(ids.values())) == 0, "being emptied"
    with site.index.write() as connection:
        connection.execute(update(volumes).values(mode=VolumeMode.NORMAL))
    assert switched(list(ids.values())) == 1
    assert site.where() == ["b"]


def test_two_who_let_different_copies_go_at_once_never_let_too_many_go(site: Tiers) -> None:
    site.want = 1
    site.take_in(40)
    for name in ("a", "b"):
        site.verified(name, 0)
    ids = {name: volume.spec.id for name, volume in site.volumes.items()}
    objects = site.objects()
    start = threading.Barrier(2)
    gone: dict[str, list[tuple[str, str]]] = {}

    def let_go(name: str) -> None:
        tiering = Tiering(site.index)
        leaving = [Leaving(instance_row=one.row, places=((ids[name], one.copies[0].path),), want=1) for one in objects]
        start.wait()
        found: list[tuple[str, str]] = []
        for at in range(0, len(leaving), 5):
            found += tiering.switch(
                leaving[at : at + 5], standing=list(ids.values()), verified_since=NOW - HOUR, due_at=NOW
            )
        gone[name] = found

    threads = [threading.Thread(target=let_go, args=(name,)) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(gone["a"]) + len(gone["b"]) == 40
    assert {len(one.copies) for one in site.objects()} == {1}


def test_what_can_go_is_what_the_rest_does_not_need() -> None:
    one, two, three = (Copy(volume_id=name, path="p") for name in "abc")
    assert dispensable([(one, "a"), (two, "b")], ["c"], 1) == [one, two]
    assert dispensable([(one, "a"), (two, "b")], ["c"], 2) == [one]
    assert dispensable([(one, "a"), (two, "b")], [], 2) == []
    assert dispensable([(one, "a"), (two, "a"), (three, None)], [], 1) == [one, three]
    assert dispensable([(one, None)], [], 1) == []


def test_making_room_moves_what_was_longest_not_read_and_only_so_much(site: Tiers) -> None:
    site.add("c")
    samples = [
        site.store(tiny(0, study=n, ImageComments="x" * 5000), only="a", need=1, now=NOW - timedelta(days=n))[0]
        for n in range(5)
    ]
    size = len(samples[0].data_set)
    site.tiering.note_read([samples[4].study_uid], NOW)
    rule = TierRule(name="room", source="hot", target="cold", makes_room=True)
    a = site.volumes["a"].spec.id

    def planned(to_lose: int) -> list[str]:
        room = Room()
        room.to_lose[a] = to_lose
        return [one.study_uid for one in site.plan(rule, room)]

    assert planned(0) == []
    assert planned(1) == [samples[3].study_uid]
    assert planned(2 * size) == [samples[3].study_uid, samples[2].study_uid]
    assert planned(100 * size)[-1] == samples[4].study_uid


def test_a_plan_does_not_promise_more_than_the_target_takes(site: Tiers) -> None:
    site.add("c")
    site.store(*(tiny(0, study=n) for n in range(3)), only="a", need=1)
    room = Room()
    state = site.volumes["c"].state
    room.writing[site.volumes["c"].spec.id] = state.free_bytes
    assert site.plan(room=room) == []
    assert len(site.plan()) == 3


def test_a_volume_that_is_away_does_not_hinder_the_rest_and_its_files_move_later(site: Tiers) -> None:
    site.add("c")
    first = site.store(tiny(0, study=1), only="a", need=1)
    second = site.store(tiny(0, study=2), only="b", need=1)
    away = site.folder / "away"
    site.volumes["b"].spec.path.rename(away)
    site.volumes["b"].check()
    site.move()
    site.samples = first
    assert site.where() == ["c"]
    site.samples = second
    assert site.where() == ["b"]
    away.rename(site.volumes["b"].spec.path)
    site.volumes["b"].check()
    site.move()
    assert site.where() == ["c"]


def test_a_volume_on_which_many_copies_were_damaged_is_left_but_not_relied_on(site: Tiers) -> None:
    site.want = 2
    site.add("c")
    site.take_in(1)
    for name in ("a", "c"):
        volume = site.volumes[name]
        volume.change(replace(volume.spec, is_distrusted=True))
        volume.check()
    assert site.plan() == []
    site.add("d")
    site.move()
    assert site.where() == ["b", "d"], "the copy on b is needed beside that on d"


def test_a_copy_that_cannot_be_relied_on_does_not_keep_one_that_can_from_being_read(site: Tiers) -> None:
    for name in ("c", "d"):
        site.add(name)
    site.take_in(1, need=1, only="a")
    of_three = Placement([site.volumes[name] for name in "acd"], want=3, need=1, degraded=1)
    complete(site.objects(), site.copies, lambda _: of_three, now=NOW)
    site.verified("c", days_ago=1)
    site.verified("d", days_ago=60)
    suspect = site.volumes["c"]
    suspect.change(replace(suspect.spec, is_distrusted=True))
    suspect.check()
    moved = site.move()
    assert (moved.problems, moved.objects) == ([], 1)


def test_an_object_that_goes_while_it_is_moved_is_no_problem_of_the_others(site: Tiers) -> None:
    site.add("c")
    site.take_in(2, need=1, only="a")
    objects = site.objects()
    with site.index.write() as connection:
        connection.execute(delete(copies).where(copies.c.instance_row == objects[0].row))
    (moved,) = move(objects, OLD, site.copies, site.tiering, site.placement, clock=lambda: LATER, release_after=HOUR)
    assert moved.objects == 1
    assert len(moved.problems) == 1


def test_the_server_moves_a_study_at_a_time_in_its_window_and_stops_at_its_end(site: Tiers, tmp_path: Path) -> None:
    site.add("c")
    samples = site.store(*(tiny(n, study=n) for n in range(3)), only="a", need=1)
    node = Node(Settings(data_dir=tmp_path, database=site.index.shown_url), site.index)
    clock = [datetime(2026, 1, 2, 0, 59, tzinfo=UTC)]
    nightly = NightlyMoves(node, lambda: False, lambda: clock[0])

    def moved() -> int:
        return sum(site.where_is(sample) == ["c"] for sample in samples)

    assert (nightly.step(), moved()) == (False, 0), "no window"
    node.rules.add(OLD)
    node.rules.set_window(Window.of("01:00-05:00"))
    assert (nightly.step(), moved()) == (False, 0), "too early"
    clock[0] = clock[0].replace(hour=1)
    assert (nightly.step(), moved()) == (True, 1)
    with tier_lock(node.settings.data_dir):
        assert (nightly.step(), moved()) == (False, 1), "somebody moves by hand"
    assert (nightly.step(), moved()) == (True, 2)
    clock[0] = clock[0].replace(hour=5)
    assert (nightly.step(), moved()) == (False, 2), "too late"
    clock[0] = clock[0].replace(hour=1)
    assert [nightly.step() for _ in range(3)] == [True, False, False]
    samples += site.store(tiny(9, study=9), only="a", need=1)
    assert (nightly.step(), moved()) == (False, 3), "it rests when nothing is left"
    node.rules.add(TierRule(name="ot", source="hot", target="cold", modalities=("OT",)))
    assert (nightly.step(), moved()) == (True, 4), "and looks at once when something changed"


def test_the_server_moves_nothing_more_by_a_rule_that_is_removed_or_changed_while_it_moves(
    site: Tiers, tmp_path: Path
) -> None:
    site.add("c")
    samples = site.store(*(tiny(n, study=n) for n in range(4)), only="a", need=1)
    node = Node(Settings(data_dir=tmp_path, database=site.index.shown_url), site.index)
    nightly = NightlyMoves(node, lambda: False, lambda: datetime(2026, 1, 2, 1, tzinfo=UTC))

    def moved() -> int:
        return sum(site.where_is(sample) == ["c"] for sample in samples)

    node.rules.set_window(Window.of("01:00-05:00"))
    node.rules.add(OLD)
    assert (nightly.step(), moved()) == (True, 1)
    node.rules.remove(OLD.name)
    assert (nightly.step(), moved()) == (False, 1)
    node.rules.add(OLD)
    assert (nightly.step(), moved()) == (True, 2)
    node.rules.remove(OLD.name)
    node.rules.add(replace(OLD, modalities=("MR",)))
    assert (nightly.step(), moved()) == (False, 2)
