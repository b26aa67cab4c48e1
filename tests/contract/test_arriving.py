"""What comes because an archive server was asked for it by C-MOVE: what of it is taken, and how that is known."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from support.deposits import FAR, FAR_PEER, kept
from support.house import House, flip
from support.samples import tiny, write
from support.site import LATER, NOW, Site

from pacs_server.archive import retire
from pacs_server.archive.importing import ImportOutcome
from pacs_server.archive.reception import Origin
from pacs_server.archive.retire import Decider
from pacs_server.dicom.attributes import Level
from pacs_server.dicom.identity import AeTitle
from pacs_server.dicom.queries.matching import query_from_keywords
from pacs_server.dicom.queries.retrieval import RetrieveRequest
from pacs_server.errors import Refused
from pacs_server.index.deposits import Deposits
from pacs_server.index.engine import Index
from pacs_server.index.queries.search import Deliverable
from pacs_server.index.queries.trash import Trash
from pacs_server.index.site.draining import Draining, set_draining
from pacs_server.index.site.peers import Peer, Right
from pacs_server.index.site.retention import Purging, Retention
from pacs_server.service.assemble import Node
from pacs_server.service.locks import instance_lock
from pacs_server.service.peers.arriving import anything, as_given
from pacs_server.service.roll_call import this_node

ASKED = Origin(aet=FAR, was_asked=True)


@pytest.fixture
def site(index: Index, tmp_path: Path) -> Site:
    made = Site(index, tmp_path)
    made.take_in(2)
    return made


def arrives(site: Site, dataset: Dataset, origin: Origin = ASKED) -> tuple[ImportOutcome, str]:
    path = write(dataset, site.folder / "arriving" / "1.dcm").path
    (result,) = site.receive([path], origin=origin)
    return result.outcome, result.reason


def test_what_is_asked_for_brings_no_other_content_of_what_is_held(site: Site) -> None:
    other = tiny(0, ImageComments="other")
    outcome, why = arrives(site, other)
    assert outcome is ImportOutcome.REFUSED
    assert why == f"FAR gives back {site.samples[0].sop_uid} with other bytes than it got"
    assert len(site.objects()) == 2
    assert arrives(site, other, Origin(aet=FAR))[0] is ImportOutcome.STORED, "unasked it is a version as any other"
    assert arrives(site, other)[0] is ImportOutcome.DUPLICATE, "of several that are held each may come back"


def test_what_is_asked_for_and_is_not_known_is_taken(site: Site) -> None:
    assert arrives(site, tiny(7))[0] is ImportOutcome.STORED
    assert len(site.objects()) == 3


@pytest.mark.parametrize("is_purged", [False, True], ids=["in the trash", "purged"])
def test_what_was_deleted_meanwhile_does_not_come_back_because_it_was_asked_for(site: Site, is_purged: bool) -> None:
    trash = Trash(site.index)
    volumes = list(site.volumes.values())
    by = Decider(who="admin", reason="test", now=NOW, operations=site.instances.operations, volumes=volumes)
    keys = query_from_keywords(Level.IMAGE, {"SOPInstanceUID": site.samples[0].sop_uid}).predicates
    assert list(retire.delete(trash.found(keys), by))
    if is_purged:
        assert list(retire.purge(trash.trashed(), Retention(purging=Purging.BY_HAND, grace_days=0), by))
    for content in (tiny(0), tiny(0, ImageComments="other")):
        with pytest.raises(Refused, match="was deleted here, and is not taken back because FAR was asked for it"):
            arrives(site, content)
    assert not trash.found(keys)


def test_what_was_deleted_of_another_study_under_the_same_uid_keeps_nothing_out(site: Site) -> None:
    trash = Trash(site.index)
    volumes = list(site.volumes.values())
    by = Decider(who="admin", reason="test", now=NOW, operations=site.instances.operations, volumes=volumes)
    keys = query_from_keywords(Level.IMAGE, {"SOPInstanceUID": site.samples[0].sop_uid}).predicates
    assert list(retire.delete(trash.found(keys), by))
    of_another = tiny(0, study="another", SOPInstanceUID=site.samples[0].sop_uid)
    assert arrives(site, of_another)[0] is ImportOutcome.STORED


def test_what_was_kept_comes_back_also_where_a_wrong_version_of_it_was_purged(site: Site) -> None:
    wrong, right = tiny(9, ImageComments="wrong"), tiny(9)
    site.store(wrong)
    trash = Trash(site.index)
    volumes = list(site.volumes.values())
    by = Decider(who="admin", reason="test", now=NOW, operations=site.instances.operations, volumes=volumes)
    keys = query_from_keywords(Level.IMAGE, {"SOPInstanceUID": wrong.SOPInstanceUID}).predicates
    assert list(retire.delete(trash.found(keys), by))
    assert list(retire.purge(trash.trashed(), Retention(purging=Purging.BY_HAND, grace_days=0), by))
    site.store(right)
    assert arrives(site, right)[0] is ImportOutcome.DUPLICATE
    with pytest.raises(Refused, match="was deleted here"):
        arrives(site, wrong)


def test_what_is_under_way_came_back_as_it_was_or_as_something_else_or_not_yet(site: Site) -> None:
    deposits = Deposits(site.index)
    series = site.samples[0].study_uid, site.samples[0].series_uid, FAR
    first, second = (one.name for one in deposits.of_series(*series))
    uids = [first[0], second[0]]
    deposits.note_asked(FAR, [first, second], "1.2.3", NOW)
    deposits.expect(FAR, [first, second])
    assert deposits.came(FAR, uids) == {}
    deposits.note_given_back("ANOTHER", first, LATER)
    deposits.note_given_back(FAR, (first[0], second[1]), LATER)
    assert deposits.came(FAR, uids) == {}
    deposits.note_given_back(FAR, first, LATER)
    assert deposits.came(FAR, uids) == {uids[0]: True}
    deposits.note_other(FAR, uids[1], "other bytes")
    assert deposits.came(FAR, uids) == {uids[0]: True, uids[1]: False}
    assert [one.transaction_uid for one in deposits.of_series(*series)] == ["1.2.3", None], "it is sent anew"


@pytest.fixture
def house(new_upgraded_url: Callable[[], str], tmp_path: Path) -> House:
    return House(tmp_path / "data", new_upgraded_url())


def test_nothing_is_asked_for_that_would_not_be_taken_here(house: House) -> None:
    peer = Peer(aet=AeTitle(FAR), host="127.0.0.1", port=1, rights=frozenset({Right.FIND}), sources=())
    with house.node() as node, instance_lock(house.settings.data_dir):
        expect = as_given(node, FAR).expect
        with pytest.raises(Refused, match=r"may not store here .* pacs ae set FAR --allow store"):
            expect([])
        node.registry.save_peer(peer)
        with pytest.raises(Refused, match=r"may not store here .* pacs ae set FAR --allow store,find"):
            expect([])
        node.registry.save_peer(replace(peer, rights=frozenset({Right.STORE})))
        expect([])
        set_draining(node.index, Draining(since=NOW, who="admin"))
        node.look_at_site_state(max_age_s=0)
        with pytest.raises(Refused, match="does not take now what it sends"):
            expect([])
        set_draining(node.index, None)
        node.look_at_site_state(max_age_s=0)
        expect([])
    with house.node() as node, pytest.raises(Refused, match="does not run: start pacs serve"):
        as_given(node, FAR).expect([])


def test_another_node_of_the_archive_takes_it_as_well(house: House) -> None:
    peer = Peer(aet=AeTitle(FAR), host="127.0.0.1", port=1, rights=frozenset({Right.STORE}), sources=())
    with house.node() as node:
        node.registry.save_peer(peer)
        now = datetime.now(UTC) + timedelta(minutes=5)  # so that it serves, however long this takes
        other = replace(this_node(node, now), name="another machine:/data")
        node.nodes.tell(replace(other, aet="OTHER"))
        with pytest.raises(Refused, match="does not run"):
            as_given(node, FAR).expect([])
        node.nodes.tell(replace(other, seen_at=now - timedelta(days=1)))
        with pytest.raises(Refused, match="does not run"):
            as_given(node, FAR).expect([])
        node.nodes.tell(other)
        as_given(node, FAR).expect([])


@pytest.fixture
def far(house: House) -> Iterator[tuple[Node, list[Deliverable]]]:
    """A node with an object that only the archive server keeps, and one of which a damaged copy is here, too."""
    samples = house.take_in(tiny(0), tiny(1))
    with house.node() as node:
        node.registry.save_peer(FAR_PEER)
        kept(samples, node.deposits, node.instances, node.volumes())
        gone, damaged = node.deposits.of_series(samples[0].study_uid, samples[0].series_uid, FAR)
        ids = [volume.spec.id for volume in node.volumes()]
        assert node.deposits.give_up([gone.row], ids, FAR, due_at=LATER) == 1
        flip(house.volume / damaged.copies[0].path)
        node.copies.mark_damaged(damaged.copies[0].volume_id, damaged.copies[0].path, "a test", NOW)
        yield node, looked_up(node, samples[0].study_uid)


def looked_up(node: Node, study_uid: str) -> list[Deliverable]:
    found = node.search.deliverables(RetrieveRequest(level=Level.STUDY, study_uids=(study_uid,)))
    return sorted(found, key=lambda one: len(one.copies))


def test_what_only_an_archive_server_keeps_has_come_once_a_good_copy_is_here(
    house: House, far: tuple[Node, list[Deliverable]]
) -> None:
    node, items = far
    arrivals = as_given(node, FAR)
    assert arrivals.came(items) == {}, "a damaged copy is none"
    for one in items:
        node.deposits.note_damage(FAR, (one.sop_uid, one.digest), "it is not there")
    assert arrivals.came(items) == {one.sop_uid: "it is not there" for one in items}
    house.take_in(tiny(0), tiny(1))
    assert arrivals.came(items)[items[0].sop_uid] == "", "whoever brought it"
    node.deposits.note_given_back(FAR, (items[1].sop_uid, items[1].digest), LATER)
    assert arrivals.came(items) == {one.sop_uid: "" for one in items}


def test_an_object_of_other_bytes_under_the_same_uid_is_not_what_an_archive_server_keeps(
    house: House, far: tuple[Node, list[Deliverable]]
) -> None:
    node, items = far
    house.take_in(tiny(0, ImageComments="other"), tiny(1, ImageComments="other"))
    assert as_given(node, FAR).came(items) == {}


def test_what_is_not_held_has_come_once_it_is(house: House) -> None:
    with house.node() as node:
        samples = [write(tiny(n), house.volume.parent / f"{n}.dcm") for n in (5, 6)]
        items = [
            Deliverable(
                sop_class="", sop_uid=one.sop_uid, transfer_syntax="", size_bytes=0, digest="",
                study_uid=one.study_uid, series_uid=one.series_uid, copies=(),
            )
            for one in samples
        ]  # fmt: skip
        assert anything(node, FAR).came(items) == {}
        house.take_in(tiny(5))
        assert anything(node, FAR).came(items) == {samples[0].sop_uid: ""}
