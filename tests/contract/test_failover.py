"""What a failover leaves in the index: that a site drains, what was compared before, and nothing at all of what was
stored to try it out.
"""

import os
import signal
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import update
from support.house import House
from support.samples import SECONDARY_CAPTURE
from support.site import NOW, Site

from pacs_server.archive.ingest import ingest
from pacs_server.archive.reception import Declared, Origin, Reception
from pacs_server.cli.japanese.translation import in_japanese
from pacs_server.cluster.failover import DRAIN, Plan, Standing, Step, Unfinished
from pacs_server.cluster.messages import Body
from pacs_server.dicom.elements import EXPLICIT_LE
from pacs_server.dicom.identity import Uid, new_uid
from pacs_server.dicom.tiny_object import TRIAL_STUDY_UID, trial_object
from pacs_server.dicom.vocabulary import STANDARD
from pacs_server.errors import Refused, StillBusy
from pacs_server.index.audit import Wanted
from pacs_server.index.contents import Contents
from pacs_server.index.engine import Index
from pacs_server.index.jobs import JobKind
from pacs_server.index.retiring import forget_study
from pacs_server.index.site.changes import PREFERENCE
from pacs_server.index.site.draining import Draining, draining_of, set_draining
from pacs_server.index.site.partners import Partner
from pacs_server.index.site.registry import Registry
from pacs_server.index.site_tables import jobs
from pacs_server.service.assemble import Node
from pacs_server.service.partners.failover import Failover, abandon, drain
from pacs_server.service.partners.role import failover_facts
from pacs_server.service.partners.sides import Here, There, failover_answers
from pacs_server.service.partners.unfinished import note, unfinished
from pacs_server.service.person import command_of, this_person
from pacs_server.settings import load


def test_a_site_drains_since_it_was_told_first_until_it_is_told_otherwise(index: Index) -> None:
    registry, since = Registry(index), datetime(2026, 11, 26, 3, tzinfo=UTC)
    assert draining_of(index) is None
    set_draining(index, None)
    assert registry.revision() == 0
    set_draining(index, Draining(since=since, who="admin@tokyo"))
    set_draining(index, Draining(since=since + timedelta(hours=1), who="admin@osaka"))
    assert draining_of(index) == Draining(since=since, who="admin@tokyo")
    assert registry.revision() == 1  # by which running servers see it
    set_draining(index, None)
    assert (draining_of(index), registry.revision()) == (None, 2)


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
    new_upgraded_url: Callable[[], str], tmp_path: Path
) -> None:
    osaka = Partner(name="osaka", host="192.0.2.5", port=11114, fingerprint="AA:01", added_at=NOW)
    with House(tmp_path / "data", new_upgraded_url()).node() as node:
        node.partners.add(osaka)
        node.partners.note_compared("osaka", {"at": "2026-11-26T03:00:00+00:00", "here": 1, "there": 2})
        plan = Plan(target="here", source="osaka", is_source_lost=True, steps=(), checks={})
        asked = Failover(node, "here", is_source_lost=True)
        assert list(asked.run(plan, wait_s=0, keeps_draining=False)) == []
        (told,) = failover_facts(node, NOW)["partners"]
        assert (told["compared_at"], told["compared_found"]) == ("2026-11-26T03:00:00+00:00", 3)
        assert node.partners.asked_to_compare("osaka")


def test_a_site_that_cannot_hand_over_says_why(
    new_upgraded_url: Callable[[], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    osaka = Partner(name="osaka", host="192.0.2.5", port=11114, fingerprint="AA:01", added_at=NOW)
    plan = Plan(target="osaka", source="here", is_source_lost=False, steps=(Step.HAND_OVER,), checks={})
    busy = Standing(
        site_id="1", schema="1", version="1", preferred="", is_serving=True, is_draining=True, associations=0, homes=1,
        need=1, degraded=1, owed_objects=2, owed_series=1, owed_since=NOW,
    )  # fmt: skip
    monkeypatch.setattr(Here, "standing", lambda _: busy)
    with House(tmp_path / "data", new_upgraded_url()).node() as node:
        node.partners.add(osaka)
        with pytest.raises(StillBusy, match=r"Try again later, or with a longer --wait$"):
            list(Failover(node, "osaka", is_source_lost=False).run(plan, wait_s=0, keeps_draining=False))
        node.jobs.owe(JobKind.REPLICATE, NOW, series=[("1.2", "1.2.1")], target="osaka")
        with node.index.write() as connection:
            connection.execute(update(jobs).values(attempts=2, error="osaka rejected the association"))
        with pytest.raises(StillBusy, match=r"It does not get over: osaka rejected the association$") as told:
            list(Failover(node, "osaka", is_source_lost=False).run(plan, wait_s=0, keeps_draining=False))
        assert "引き渡せない理由: " in in_japanese(str(told.value))


def test_a_site_takes_associations_again_whatever_partners_it_has(
    new_upgraded_url: Callable[[], str], tmp_path: Path
) -> None:
    with House(tmp_path / "data", new_upgraded_url()).node() as node:
        drain(node, "here", is_draining=True)
        assert draining_of(node.index) is not None
        drain(node, "HERE", is_draining=False)
        assert draining_of(node.index) is None


def test_what_one_site_has_another_one_do_is_in_the_trail_of_both(
    new_upgraded_url: Callable[[], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    osaka = Partner(name="osaka", host="192.0.2.5", port=11114, fingerprint="AA:01", added_at=NOW)
    asked: list[Body] = []
    monkeypatch.setattr(There, "_ask", lambda _, __, body: asked.append(body))
    house = House(tmp_path / "data", new_upgraded_url())
    with Node.open(house.settings, command_of(["failover", "demote", "osaka"], NOW)) as node:
        node.partners.add(osaka)
    with Node.open(house.settings, command_of(["failover", "demote", "osaka"], NOW)) as node:
        drain(node, "osaka", is_draining=True)
        assert [row.event.detail for row in node.audit.rows(Wanted())] == ["pacs failover demote osaka"] * 2
    with house.node() as node:
        answer = failover_answers(node)[DRAIN]
        for body in (*asked, *asked, asked[0] | {"is_draining": False}):
            answer(osaka, body)
        _, _, *told = node.audit.rows(Wanted())
    assert [row.event.detail for row in told] == [
        "this site takes no new associations",
        "this site takes associations again",
    ]
    assert {row.event.who for row in told} == {f"{this_person()} of osaka"}


def begun(source: str) -> Unfinished:
    return Unfinished(
        target="here", source=source, is_source_lost=False, left=(Step.TRY_OUT, Step.RESUME), begun_at=NOW, who="me"
    )


def test_a_failover_from_a_partner_that_was_removed_can_be_given_up(
    new_upgraded_url: Callable[[], str], tmp_path: Path
) -> None:
    with House(tmp_path / "data", new_upgraded_url()).node() as node:
        note(node, begun("osaka"))
        given_up, problem = abandon(node)
        assert (given_up.source, unfinished(node)) == ("osaka", None)
        assert "osaka" in problem


def test_of_two_partners_what_is_left_goes_on_with_the_one_it_was_begun_with(
    new_upgraded_url: Callable[[], str], tmp_path: Path
) -> None:
    with House(tmp_path / "data", new_upgraded_url()).node() as node:
        for number, name in enumerate(("kobe", "osaka")):
            fingerprint = f"AA:0{number}"
            node.partners.add(Partner(name=name, host="192.0.2.5", port=1, fingerprint=fingerprint, added_at=NOW))
        own = node.instances.operations.site_id()
        node.changes.record(PREFERENCE, "", {"site": own}, now=NOW, who="me")
        with pytest.raises(Refused, match="2 partners"):
            Failover(node, "here", is_source_lost=False)
        note(node, begun("osaka"))
        assert Failover(node, "here", is_source_lost=False).source.name == "osaka"


def test_a_hook_may_leave_something_running_and_its_failure_is_told_in_its_words(
    new_upgraded_url: Callable[[], str], tmp_path: Path
) -> None:
    house, left, hook = House(tmp_path / "data", new_upgraded_url()), tmp_path / "left", tmp_path / "hook"
    hook.write_text(f'#!/bin/sh\nsleep 60 &\necho $! >> {left}\necho "$2 has no route" >&2\ntest "$1" != fail\n')
    hook.chmod(0o755)
    usual = house.config.read_text()
    osaka = Partner(name="osaka", host="192.0.2.5", port=11114, fingerprint="AA:01", added_at=NOW)
    plan = Plan(target="here", source="osaka", is_source_lost=True, steps=(), checks={})

    def run(*words: str) -> str:
        house.config.write_text(
            f"{usual}\nfailover: {{hook: [{', '.join([str(hook), *words])}], hook_timeout_s: 20}}\n"
        )
        house.settings = load(house.config)
        with house.node() as node:
            if not node.partners.all():
                node.partners.add(osaka)
            return Failover(node, "here", is_source_lost=True)._run_hook(plan)

    try:
        assert run() == ""
        with pytest.raises(Refused, match=r"hook ended with 1: osaka has no route$"):
            run("fail", "osaka")
    finally:
        for number in left.read_text().split():
            os.kill(int(number), signal.SIGKILL)
