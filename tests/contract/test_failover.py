"""What a failover leaves in the index: that a site drains, what was compared before, and nothing at all of what was
stored to try it out.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from support.house import House
from support.samples import SECONDARY_CAPTURE
from support.site import NOW, Site

from pacs_server.archive.ingest import Declared, Origin, Reception, ingest
from pacs_server.cluster.failover import Plan
from pacs_server.dicom.elements import EXPLICIT_LE
from pacs_server.dicom.identity import Uid
from pacs_server.dicom.tiny_object import TRIAL_STUDY_UID, new_uid, trial_object
from pacs_server.dicom.vocabulary import STANDARD
from pacs_server.index.contents import Contents
from pacs_server.index.engine import Index
from pacs_server.index.partners import Partner
from pacs_server.index.registry import Draining, Registry
from pacs_server.index.retiring import forget_study
from pacs_server.service.failover import Failover
from pacs_server.service.role import failover_facts


def test_a_site_drains_since_it_was_told_first_until_it_is_told_otherwise(index: Index) -> None:
    registry, since = Registry(index), datetime(2026, 11, 26, 3, tzinfo=UTC)
    assert registry.draining() is None
    registry.set_draining(None)
    assert registry.revision() == 0
    registry.set_draining(Draining(since=since, who="admin@tokyo"))
    registry.set_draining(Draining(since=since + timedelta(hours=1), who="admin@osaka"))
    assert registry.draining() == Draining(since=since, who="admin@tokyo")
    assert registry.revision() == 1  # by which running servers see it
    registry.set_draining(None)
    assert (registry.draining(), registry.revision()) == (None, 2)


def test_what_is_stored_to_try_a_site_out_goes_nowhere_and_is_nothing_that_sites_compare(
    index: Index, tmp_path: Path
) -> None:
    site, uid = Site(index, tmp_path), new_uid()
    declared = Declared(sop_class=SECONDARY_CAPTURE, sop_instance=Uid(uid), transfer_syntax=EXPLICIT_LE)
    reception = Reception(
        declared, Origin(aet="TOKYO"), instances=site.instances, placement=site.placement(need=2), vocabulary=STANDARD,
        memory_bytes=1 << 20, now=NOW, routes=("everything",), partners=("osaka",),
    )  # fmt: skip
    reception.feed(memoryview(trial_object(EXPLICIT_LE, uid)))
    ingest(reception)
    assert site.jobs.listed() == []
    contents = Contents(index)
    assert contents.recount() == []
    assert not any(contents.buckets())
    assert contents.of(TRIAL_STUDY_UID).held
    assert forget_study(index, TRIAL_STUDY_UID, NOW) == 1
    assert contents.of(TRIAL_STUDY_UID).held == ()
    assert not any(contents.buckets())


def test_what_was_compared_last_is_told_after_a_failover_until_both_are_compared_anew(
    new_url: Callable[[], str], tmp_path: Path
) -> None:
    osaka = Partner(name="osaka", host="192.0.2.5", port=11114, fingerprint="AA:01", added_at=NOW)
    with House(tmp_path / "data", new_url()).node() as node:
        node.partners.add(osaka)
        node.partners.note_compared("osaka", {"at": "2026-11-26T03:00:00+00:00", "here": 1, "there": 2})
        plan = Plan(target="here", source="osaka", is_source_lost=True, steps=(), checks={})
        asked = Failover(node, "here", is_source_lost=True)
        assert list(asked.run(plan, wait_s=0, keeps_draining=False)) == []
        (told,) = failover_facts(node, NOW)["partners"]
        assert (told["compared_at"], told["compared_found"]) == ("2026-11-26T03:00:00+00:00", 3)
        assert node.partners.asked_to_compare("osaka")
