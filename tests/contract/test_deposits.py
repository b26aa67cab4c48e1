"""What archive servers keep for us: as rows, as operations on the volumes, and in an index that is made anew."""

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update
from support.deposits import FAR, FAR_PEER, kept
from support.house import House, dump
from support.samples import Sample, tiny
from support.site import LATER, NOW, Site

from pacs_server.archive import retire
from pacs_server.archive.adopting import FindingKind
from pacs_server.archive.commitment import read_back
from pacs_server.archive.retire import Decider
from pacs_server.archive.tiering import Room, plan
from pacs_server.cluster.survive import lose
from pacs_server.dicom.attributes import BY_KEYWORD, UNIQUE_KEY, Level
from pacs_server.dicom.commitment import Reason, Reference
from pacs_server.dicom.queries.matching import query_from_keywords
from pacs_server.dicom.queries.retrieval import RetrieveRequest
from pacs_server.errors import Refused
from pacs_server.index.deposits import Depositable, Deposits
from pacs_server.index.engine import Index
from pacs_server.index.maintenance.replacing import count_without
from pacs_server.index.queries.search import Search
from pacs_server.index.queries.trash import Trash
from pacs_server.index.releases import enter as releases_enter
from pacs_server.index.site.changes import Changes
from pacs_server.index.site.registry import Registry
from pacs_server.index.site.retention import Purging, Retention
from pacs_server.index.site.tier_rules import TierRule, TierRules
from pacs_server.index.site_tables import depositing, releases
from pacs_server.index.tables import copies, instances
from pacs_server.index.tiering import Tiering
from pacs_server.service.monitoring.survival import count_copies, standing
from pacs_server.service.upkeep.rebuilding import rebuild_index
from pacs_server.service.upkeep.reconciling import reconcile_volumes
from pacs_server.storage.mounts import mount_table


class Depositing(Site):
    """A site with the volumes `a` and `b`; every object is wanted twice."""

    def __init__(self, index: Index, folder: Path) -> None:
        super().__init__(index, folder)
        self.deposits, self.search, self.registry = Deposits(index), Search(index), Registry(index)
        self.registry.save_peer(FAR_PEER)

    def keep(self, *numbers: int, aet: str = FAR) -> None:
        some = [self.samples[number] for number in numbers]
        kept(some, self.deposits, self.instances, list(self.volumes.values()), aet)

    def of_series(self, aet: str = FAR) -> list[Depositable]:
        return self.deposits.of_series(self.samples[0].study_uid, self.samples[0].series_uid, aet)

    def give_up(self, *names: str) -> int:
        ids = [self.volumes[name].spec.id for name in names]
        return self.deposits.give_up([one.row for one in self.of_series()], ids, FAR, due_at=LATER)

    def lacking(self) -> int:
        found, _ = self.spread.lacking(want=2, after=0, absent=[])
        return len(found)

    def decider(self) -> Decider:
        volumes = list(self.volumes.values())
        return Decider(who="admin", reason="test", now=NOW, operations=self.instances.operations, volumes=volumes)


@pytest.fixture
def site(index: Index, tmp_path: Path) -> Depositing:
    return Depositing(index, tmp_path)


def test_copies_are_given_up_only_of_what_the_archive_server_keeps(site: Depositing) -> None:
    site.take_in(3)
    site.keep(0, 1)
    site.deposits.note_damage(FAR, site.of_series()[1].name, "it came back with other bytes")
    assert [one.is_kept for one in site.of_series()] == [True, False, False]
    assert site.give_up("a", "b") == 1
    assert [len(one.copies) for one in site.of_series()] == [0, 2, 2]
    with site.index.read() as connection:
        owed = connection.execute(select(releases.c.reason, releases.c.due_at)).all()
    assert {tuple(row) for row in owed} == {("kept by FAR", LATER.isoformat())}
    assert site.give_up("a", "b") == 0
    (told,) = site.deposits.kept()
    assert (told.aet, told.objects, told.only_there, told.not_given_back) == (FAR, 1, 1, 1)


def test_nothing_is_given_up_for_an_archive_server_that_was_removed_meanwhile(site: Depositing) -> None:
    site.take_in(2)
    site.keep(0, 1)
    site.registry.remove_peer(FAR)
    assert site.give_up("a", "b") == 0
    site.registry.save_peer(FAR_PEER)
    assert site.give_up("a", "b") == 2


def test_an_archive_server_for_which_copies_are_given_up_at_this_moment_is_not_removed(
    site: Depositing, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, removing = threading.Event(), threading.Event()

    def enter_when_it_is_removed(*told: Any, **owed: Any) -> None:
        begun.set()
        removing.wait(60)
        releases_enter(*told, **owed)

    monkeypatch.setattr("pacs_server.index.deposits.enter", enter_when_it_is_removed)
    site.take_in(2)
    site.keep(0, 1)
    with ThreadPoolExecutor(2) as both:
        given_up = both.submit(site.give_up, "a", "b")
        assert begun.wait(60)
        removed = both.submit(site.registry.remove_peer, FAR)
        wait([removed], timeout=1)  # it would not have waited for the other one
        removing.set()
        assert given_up.result() == 2
        with pytest.raises(Refused, match="FAR keeps 2 objects that have no copy here"):
            removed.result()
    assert site.registry.peer(FAR) is not None


def test_a_partner_s_admin_does_not_remove_the_archive_server_that_alone_keeps_an_object(site: Depositing) -> None:
    changes = Changes(site.index)
    changes.note_own(now=NOW, who="admin")
    (added,) = changes.log.beyond({}, limit=10)
    removal = json.loads(added) | {"counter": 7, "site": "partner", "content": None}
    site.take_in(2)
    site.keep(0, 1)
    site.give_up("a", "b")
    assert changes.take([json.dumps(removal)]) == 1
    assert site.registry.peer(FAR) is not None
    assert changes.note_own(now=NOW, who="server") == 1, "the partner is told that it is here"
    site.take_in(2)
    assert changes.take([json.dumps(removal | {"counter": 70})]) == 1
    assert site.registry.peer(FAR) is None


def test_what_has_another_version_or_is_in_the_trash_neither_goes_nor_is_given_up(site: Depositing) -> None:
    site.samples = site.store(tiny(0), tiny(1))
    site.keep(0, 1)
    site.store(tiny(0, ImageComments="other"))
    keys = query_from_keywords(Level.IMAGE, {"SOPInstanceUID": site.samples[1].sop_uid}).predicates
    assert list(retire.delete(Trash(site.index).found(keys), site.decider()))
    assert [one.may_go for one in site.of_series()] == [False, False, False]
    assert site.give_up("a", "b") == 0
    rule = TierRule(name="far", source="hot", target="", archive=FAR, older_than_days=0)
    series = [(site.samples[0].study_uid, site.samples[0].series_uid)]
    room = Room()
    assert list(plan(rule, series, site.copies, site.placement, room)) == []
    assert room.staying["far"] == 3


def test_a_deposit_counts_as_a_copy_beside_those_that_are_here_and_alone_as_enough(site: Depositing) -> None:
    site.take_in(2)
    site.keep(0, 1)
    assert site.give_up("a") == 2
    assert (site.lacking(), site.complete()) == (0, (0, ()))
    ids = [volume.spec.id for volume in site.volumes.values()]
    assert site.spread.by_places(ids, [FAR]) == {frozenset({ids[1], FAR}): 2}
    assert site.spread.by_places(ids) == {frozenset({ids[1]}): 2}
    assert site.give_up("b") == 2
    assert (site.lacking(), site.complete()) == (0, (0, ()))
    assert site.spread.by_places(ids, [FAR]) == {frozenset({FAR}): 2}
    site.deposits.note_damage(FAR, site.of_series()[0].name, "it is not there")
    assert site.lacking() == 1, "it is lost, and nothing hides that"
    assert site.spread.by_places(ids, [FAR]) == {frozenset({FAR}): 1, frozenset(): 1}


def test_a_deposit_and_a_copy_on_a_volume_that_is_emptied_are_one_copy_too_few(site: Depositing) -> None:
    site.take_in(1)
    site.keep(0)
    site.give_up("a")
    found, _ = site.spread.lacking(want=2, after=0, absent=[site.volumes["b"].spec.id])
    assert len(found) == 1


def test_an_object_without_a_good_copy_names_who_keeps_it_latest_first(site: Depositing) -> None:
    site.take_in(2)
    site.keep(0)
    request = RetrieveRequest(level=Level.STUDY, study_uids=(site.samples[0].study_uid,))
    assert [one.archives for one in site.search.deliverables(request)] == [(), ()]
    site.give_up("a", "b")
    assert [(len(one.copies), one.archives) for one in site.search.deliverables(request)] == [(0, (FAR,)), (2, ())]
    site.keep(1)
    for copy in site.of_series()[1].copies:
        site.copies.mark_damaged(copy.volume_id, copy.path, "a test", NOW)
    assert [one.archives for one in site.search.deliverables(request)] == [(FAR,), (FAR,)]


def test_what_is_only_with_an_archive_server_is_nearline_at_every_level(site: Depositing) -> None:
    site.take_in(2)
    other = site.store(tiny(0, study="other"))[0]

    def availability(level: Level) -> list[tuple[object, ...]]:
        columns = UNIQUE_KEY[level], BY_KEYWORD["InstanceAvailability"]
        return sorted(tuple(row) for row in site.search.find(query_from_keywords(level, {}), columns))

    first, second = sorted(one.sop_uid for one in site.samples)
    assert {told for level in Level for _, told in availability(level)} == {"ONLINE"}
    site.keep(0)
    assert {told for level in Level for _, told in availability(level)} == {"ONLINE"}
    site.give_up("a", "b")
    gone = site.samples[0].sop_uid
    assert dict(availability(Level.IMAGE)) == {
        uid: "NEARLINE" if uid == gone else "ONLINE" for uid in (first, second, other.sop_uid)
    }
    for level, uid in ((Level.STUDY, other.study_uid), (Level.SERIES, other.series_uid)):
        assert {told: uid == key for key, told in availability(level)} == {"NEARLINE": False, "ONLINE": True}
    assert availability(Level.PATIENT) == [("T-1", "NEARLINE")]


def test_nothing_is_vouched_for_that_cannot_be_read_here(site: Depositing) -> None:
    site.take_in(1)
    site.keep(0)
    site.give_up("a", "b")
    asked = Reference(site.samples[0].sop_class, site.samples[0].sop_uid)
    told = read_back([asked], site.copies, site.placement, since=NOW, clock=lambda: LATER)
    assert told[asked] == Reason.PROCESSING_FAILURE


def test_what_any_archive_server_keeps_or_is_about_to_keep_may_be_given_up_and_is_not_relied_on(
    site: Depositing,
) -> None:
    site.take_in(3)
    names = [one.name for one in site.of_series()]
    uids = [uid for uid, _ in names]
    assert site.deposits.relied_on(uids) == set()
    site.keep(0, aet="OTHER")
    site.deposits.note_sent(FAR, names[1:2], NOW)
    assert site.deposits.relied_on(uids) == set(uids[:2])
    site.deposits.note_damage("OTHER", names[0], "it lost it")
    assert site.deposits.relied_on(uids) == {uids[1]}


def test_a_purge_forgets_who_keeps_an_object_and_a_loss_stays_noted_until_it_is_kept_anew(site: Depositing) -> None:
    site.take_in(2)
    site.keep(0, 1)
    site.deposits.note_damage(FAR, site.of_series()[1].name, "it is not there")
    keys = query_from_keywords(Level.IMAGE, {"SOPInstanceUID": site.samples[0].sop_uid}).predicates
    assert list(retire.delete(Trash(site.index).found(keys), site.decider()))
    retention = Retention(purging=Purging.BY_HAND, grace_days=0, keep_days=0)
    assert list(retire.purge(Trash(site.index).trashed(), retention, site.decider()))
    (told,) = site.deposits.kept()
    assert (told.objects, told.not_given_back) == (0, 1)
    site.samples = site.samples[1:]
    site.keep(0)
    (told,) = site.deposits.kept()
    assert (told.objects, told.not_given_back) == (1, 0)


def test_how_far_an_object_is_on_its_way_is_noted_and_forgotten_when_it_is_kept(site: Depositing) -> None:
    site.take_in(2)
    names = [one.name for one in site.of_series()]
    site.deposits.note_sent(FAR, names, NOW)
    site.deposits.note_asked(FAR, names[:1], "1.2.3", NOW)
    assert [one.transaction_uid for one in site.of_series()] == ["1.2.3", ""]
    assert [one.transaction_uid for one in site.of_series("OTHER")] == [None, None]
    site.deposits.forget(FAR, names[1:])
    site.keep(0)
    with site.index.read() as connection:
        assert connection.execute(select(depositing)).all() == []


def test_a_rule_moves_to_a_tier_or_to_an_archive_server_and_spares_what_was_read_of_late(site: Depositing) -> None:
    with pytest.raises(Refused):
        TierRule(name="both", source="hot", target="cold", archive=FAR, older_than_days=1)
    with pytest.raises(Refused):
        TierRule(name="none", source="hot", target="", older_than_days=1)
    with pytest.raises(Refused):
        TierRule(name="room", source="hot", target="", archive=FAR, makes_room=True)
    rules = TierRules(site.index)
    rule = TierRule(name="far", source="hot", target="", archive=FAR, older_than_days=0)
    rules.add(rule)
    assert rules.all() == [rule]
    site.take_in(1)
    tiering, ids = Tiering(site.index), [volume.spec.id for volume in site.volumes.values()]
    assert len(tiering.candidates(rule, ids, NOW)) == 1
    tiering.note_read([site.samples[0].study_uid], NOW)
    assert tiering.candidates(rule, ids, NOW + timedelta(days=6)) == []
    assert len(tiering.candidates(rule, ids, NOW + timedelta(days=8))) == 1


@pytest.fixture
def house(new_upgraded_url: Callable[[], str], tmp_path: Path) -> House:
    return House(tmp_path / "house", new_upgraded_url())


def sent_away(house: House) -> list[Sample]:
    """Two objects of a study of three, one of them of another patient name, that are only with an archive server."""
    samples = house.take_in(tiny(0, PatientName="山田^太郎", SpecificCharacterSet="ISO_IR 192"), tiny(1), tiny(2))
    with house.node() as node:
        node.registry.save_peer(FAR_PEER)
        with node.index.write() as connection:
            connection.execute(update(instances).values(sender="CT1"))
        kept(samples[:2], node.deposits, node.instances, node.volumes())
        rows = [one.row for one in node.deposits.of_series(samples[0].study_uid, samples[0].series_uid, FAR)]
        ids = [volume.spec.id for volume in node.volumes()]
        assert node.deposits.give_up(rows, ids, FAR, due_at=NOW) == 2
    for path in house.volume.rglob("*.dcm"):
        if path.name.startswith(tuple(sample.sop_uid for sample in samples[:2])):
            path.unlink()
    return samples


def found(house: House) -> dict[str, object]:
    """What is found of every object, and where it is; not the numbers of rows."""
    with house.node() as node:
        request = RetrieveRequest(level=Level.PATIENT, patient_ids=("T-1",))
        items = node.search.deliverables(request)
        counts = node.search.counts()
        told: dict[str, object] = {
            one.sop_uid: (one.digest, one.size_bytes, one.study_uid, one.series_uid, one.archives) for one in items
        }
        sender = select(instances.c.sop_uid, instances.c.sender)
        with node.index.read() as connection:
            away = connection.execute(sender.where(instances.c.id.not_in(select(copies.c.instance_row)))).all()
        told |= {"counts": {name: counts[name] for name in ("studies", "series", "instances", "bytes")}}
        return told | {"senders": {tuple(row) for row in away}}


def test_an_index_made_anew_knows_what_only_an_archive_server_keeps(house: House) -> None:
    sent_away(house)
    before = found(house)
    with house.node() as node:
        names = dump(node.index)["patients"]
        assert list(rebuild_index(node)) == []
        assert len(node.deposits.kept()) == 1
        assert len(dump(node.index)["patients"]) == len(names)
    assert found(house) == before


def test_a_fresh_index_learns_from_the_volumes_what_only_an_archive_server_keeps(
    house: House, new_upgraded_url: Callable[[], str], tmp_path: Path
) -> None:
    samples = sent_away(house)
    before = found(house)
    fresh = House(tmp_path / "fresh", new_upgraded_url())
    with house.node() as node, fresh.node() as other:
        (row,) = node.registry.volumes()
        (own,) = other.registry.volumes()
        other.registry.remove_volume(own.id)
        other.registry.add_volume(row)
    with fresh.node() as node:
        told = [one for one in reconcile_volumes(node, since=None, repair=False) if not one.volume]
        assert [one.kind for one in told] == [FindingKind.UNKNOWN_DEPOSIT] * 2
        assert {one.path for one in told} == {sample.sop_uid for sample in samples[:2]}
        assert list(rebuild_index(node)) == []
        assert [one for one in reconcile_volumes(node, since=None, repair=False) if not one.volume] == []
    assert found(fresh) == before


def test_a_missing_file_of_what_an_archive_server_keeps_is_forgotten_and_the_object_fetched_from_there(
    house: House,
) -> None:
    samples = house.take_in(tiny(0), tiny(1))
    with house.node() as node:
        kept(samples[:1], node.deposits, node.instances, node.volumes())
        for path in house.volume.rglob("*.dcm"):
            path.unlink()
        told = list(reconcile_volumes(node, since=None, repair=True))
        assert sorted(one.kind for one in told) == [FindingKind.FORGOTTEN, FindingKind.MISSING]
        request = RetrieveRequest(level=Level.STUDY, study_uids=(samples[0].study_uid,))
        archives = {one.sop_uid: one.archives for one in node.search.deliverables(request)}
    assert archives == {samples[0].sop_uid: (FAR,), samples[1].sop_uid: ()}


def test_a_backup_leaves_out_what_only_an_archive_server_keeps_and_is_whole(house: House, tmp_path: Path) -> None:
    samples = sent_away(house)
    carried = house.back_up(tmp_path / "backup", new=True)
    assert [one.sop_uid for one in carried] == [samples[2].sop_uid]
    with house.node() as node:
        assert count_without(node.index, [volume.spec.id for volume in node.volumes()]) == 0
        assert count_without(node.index, []) == 1, "without its volume; what is elsewhere is not lacking"


def test_an_archive_server_is_one_more_place_that_can_be_lost(house: House) -> None:
    sent_away(house)
    with house.node() as node:
        told = standing(node, count_copies(node), server="here", table=mount_table())
    assert told.gone == 0
    assert {one.volumes: one.objects for one in told.site.placements} == {
        frozenset({"archive server FAR"}): 2,
        frozenset({"first"}): 1,
    }
    lost = lose(told.site, [part for part in told.site.parts if part.name == "archive server FAR"])
    assert sum(one.objects for one in lost.lost) == 2
    assert not lost.unreached
