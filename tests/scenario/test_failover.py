"""Two sites, and the way from one to the other: planned, without the source, broken off, and back."""

import json
import signal
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from support.pair import Pair
from support.samples import CT, Sample, tiny, write
from support.senders import LIMITS, Sender, objects
from support.server import Archive, wait_for

from pacs_server.cluster.failover import DRAIN, PLANNED, Reason, Step
from pacs_server.dicom.elements import EXPLICIT_LE
from pacs_server.dicom.tiny_object import TRIAL_STUDY_UID
from pacs_server.errors import ConfigError, PacsError, PeerRejected, ProtocolViolation
from pacs_server.index.site.changes import PREFERENCE
from pacs_server.index.site.draining import draining_of
from pacs_server.net import client
from pacs_server.net.association import Association
from pacs_server.net.client import Destination
from pacs_server.service.assemble import Node
from pacs_server.service.partners import failover
from pacs_server.service.partners.failover import Failover
from pacs_server.service.partners.role import failover_facts
from pacs_server.service.partners.sides import failover_answers
from pacs_server.service.partners.unfinished import unfinished
from pacs_server.service.telling import running
from pacs_server.settings import load

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(300)]

STUDY_FIND = "1.2.840.10008.5.1.4.1.2.2.1"


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Two sites that all tests share; each leaves neither of them draining, and nothing unfinished."""
    joined = Pair(tmp_path_factory.mktemp("pair"))
    try:
        yield joined
        for each in joined.both:
            assert "Traceback" not in each.log_text(), each.log_text()[-8_000:]
    finally:
        joined.close()


class TwoDestinations(Sender):
    """A modality that goes to the other of two archives when one turns it away or is gone, until it sent enough."""

    def __init__(self, archives: Sequence[Archive], samples: list[Sample]) -> None:
        super().__init__(archives[0], samples)
        self.enough = threading.Event()
        self.turned = 0
        self._at_once = 1
        self._turns = iter(lambda: archives[self.turned % 2], None)

    def run(self) -> None:
        while self.waiting and not self.enough.is_set():
            try:
                self.send_some()
            except PacsError:
                self.turned += 1
            self.enough.wait(0.1)


@contextmanager
def associated(archive: Archive, calling: str = "MODALITY") -> Iterator[Association]:
    destination = Destination(aet=archive.aet, host="127.0.0.1", port=archive.port)
    proposals = [(CT, (EXPLICIT_LE,), False), (STUDY_FIND, (EXPLICIT_LE,), False)]
    association = client.connect(destination, calling_aet=calling, contexts=proposals, limits=LIMITS)
    try:
        yield association
        association.release()
    finally:
        association.close()


def turns_away(archive: Archive) -> bool:
    try:
        with associated(archive):
            return False
    except PeerRejected as error:
        return "temporary congestion (it may accept later)" in str(error)


def status(archive: Archive) -> dict[str, Any]:
    """What `pacs failover status` tells; without a process of its own, because it is asked a hundred times."""
    with Node.open(load(archive.config)) as node:
        return failover_facts(node, datetime.now(UTC))


def wait_until_told(archive: Archive, *calling: str) -> None:
    """Until its processes tell of these associations and no others, which they do once a second."""
    told = lambda: [one["calling_aet"] for one in (running(archive.data) or {}).get("associations", ())]  # noqa: E731
    wait_for(lambda: told() == [*calling], f"{archive.aet} to tell who is associated")


def wait_until_handing_over(archive: Archive) -> None:
    """Until the failover that was begun there has noted that the source is drained, which it is a moment before."""
    left = lambda: status(archive)["unfinished"]["left"]  # noqa: E731
    wait_for(lambda: left()[0] == Step.HAND_OVER, "the source to hand over", every_s=0.1)


def roles(pair: Pair) -> list[str]:
    return [status(each)["role"] for each in pair.both]


def by_role(pair: Pair) -> tuple[Archive, Archive]:
    """The preferred site, and its standby; TOKYO is preferred where none is yet."""
    if "equal" in roles(pair):
        pair.tokyo.pacs("failover", "to", "here")
    return pair.both if status(pair.tokyo)["role"] == "preferred" else (pair.osaka, pair.tokyo)


def assert_no_trace(*archives: Archive) -> None:
    """No row of any table and no file tells that sites were tried out, once what is owed is done; but the audit trail,
    which tells of everything that was."""
    for each in archives:
        with closing(sqlite3.connect(each.data / "index.db", timeout=30)) as index:
            named = index.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name <> 'audit'")
            tables = [name for (name,) in named]

            def told(index: sqlite3.Connection = index, tables: Sequence[str] = tables) -> list[str]:
                rows = [(name, str(row)) for name in tables for row in index.execute(f'SELECT * FROM "{name}"')]
                return [name for name, row in rows if TRIAL_STUDY_UID in row or "PACS-TEST" in row]

            assert set(told()) <= {"releases"}
            wait_for(lambda told=told: not told(), "its files to be removed", timeout_s=60)  # type: ignore[misc]
        assert [path for path in each.files() if TRIAL_STUDY_UID in str(path)] == []


def held(archive: Archive) -> set[str]:
    """The SOP Instance UIDs of all that it holds."""
    with closing(sqlite3.connect(archive.data / "index.db", timeout=30)) as index:
        return {uid for (uid,) in index.execute("SELECT sop_uid FROM instances")}


def lacking(archive: Archive, sender: Sender) -> set[str]:
    """What was acknowledged, by whichever site, and is not there."""
    return {one.sop_uid for one in sender.acknowledged} - held(archive)


def send(archive: Archive, folder: Path, *names: object, study: object = "study") -> set[str]:
    """Objects that are acknowledged."""
    samples = [write(tiny(name, study=study), folder / f"{study}-{name}.dcm") for name in names]
    with associated(archive) as association:
        for one in samples:
            context = next(c.id for c in association.contexts.values() if c.abstract_syntax == CT)
            told = client.store(
                association, context_id=context, sop_class=CT, sop_instance=one.sop_uid, data_set=(one.data_set,)
            )
            assert told == 0
    return {one.sop_uid for one in samples}


def test_a_planned_switch_under_load_loses_nothing_and_leaves_no_trace(pair: Pair, tmp_path: Path) -> None:
    pair.osaka.add_peer("WORKSTATION", 1)
    pair.osaka.pacs("route", "add", "everything", "--to", "WORKSTATION")
    plan = pair.tokyo.report("failover", "plan", "to", "osaka")
    assert (plan["result"], plan["steps"], plan["refusals"]) == ("would run", [step.value for step in PLANNED], [])
    pair.tokyo.pacs("failover", "to", "osaka", "--dry-run")
    assert roles(pair) == ["equal", "equal"]
    sender = TwoDestinations(pair.both, objects(tmp_path, 1, 600))
    sender.start()
    wait_for(lambda: len(sender.acknowledged) > 20, "the load")
    before = pair.partner(pair.tokyo)["compared_at"]
    with associated(pair.tokyo, "LONG"):
        told = lambda: (running(pair.tokyo.data) or {}).get("associations", ())  # noqa: E731
        wait_for(lambda: "LONG" in {one["calling_aet"] for one in told()}, "the association to be told")
        command = pair.tokyo.begin("failover", "to", "osaka")
        wait_for(lambda: turns_away(pair.tokyo), "the source to drain", every_s=0.1)
        wait_for(lambda: sender.archive is pair.osaka, "the modality to turn to the other site")
        # It hands over and does not switch yet: somebody uses it.
        wait_until_handing_over(pair.tokyo)
        assert command.poll() is None
    assert command.wait(120) == 0
    assert [pair.tokyo.report("failover", "status")["role"], pair.osaka.report("status")["role"]] == [
        "standby",
        "preferred",
    ]
    assert not turns_away(pair.tokyo)
    compared = lambda: pair.partner(pair.tokyo)["compared_at"]  # noqa: E731
    wait_for(lambda: compared() not in (None, before), "both to be compared afterwards", timeout_s=60, every_s=0.2)
    taken = len(sender.acknowledged)
    wait_for(lambda: len(sender.acknowledged) > taken or not sender.waiting, "the load to go on")
    sender.enough.set()
    sender.join(60)
    for each in pair.both:
        wait_for(lambda each=each: not lacking(each, sender), "all that was acknowledged", timeout_s=60, every_s=0.2)  # type: ignore[misc]
    assert_no_trace(*pair.both)
    assert "is the preferred site already" in pair.tokyo.pacs("failover", "to", "osaka").stderr


def test_a_switch_that_is_broken_off_behind_any_step_is_ended_by_the_same_command(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failover, "_SETTLED_AFTER_S", 0.0)
    with Node.open(load(pair.tokyo.config)) as node:
        for number, step in enumerate(PLANNED):
            target, other = ("here", "osaka") if node.is_standby() else ("osaka", "here")
            asked = Failover(node, target, is_source_lost=False)
            steps = asked.run(asked.plan(), wait_s=100, keeps_draining=False)
            ended = (event.step for event in steps if event.is_over)
            assert [next(ended) for _ in range(number + 1)][-1] is step
            steps.close()
            # The step itself is done once more: nobody knows that it was done.
            left = unfinished(node)
            assert left is not None
            assert left.left == PLANNED[number:]
            elsewhere = Failover(node, other, is_source_lost=False).plan()
            assert [one.reason for one in elsewhere.refusals if one.reason is Reason.UNFINISHED]
            again = Failover(node, target, is_source_lost=False)
            done = [event for event in again.run(again.plan(), wait_s=100, keeps_draining=False) if event.is_over]
            assert [(event.step, event.problem) for event in done] == [(step, "") for step in PLANNED[number:]]
            assert node.is_standby() == (target != "here")
            assert unfinished(node) is None
            assert not any(one.view().standing.is_draining for one in (asked.source, asked.target))
    assert_no_trace(*pair.both)


def test_the_command_killed_while_it_waits_is_gone_on_with_or_given_up(pair: Pair) -> None:
    other, target = by_role(pair)
    name = target.aet.lower()
    with associated(other):
        wait_until_told(other, "MODALITY")
        noted = other.data / "failover.json"
        for _ in range(2):
            before = noted.stat().st_mtime_ns if noted.exists() else 0
            command = other.begin("failover", "to", name)
            wait_for(lambda before=before: noted.exists() and noted.stat().st_mtime_ns > before, "it to begin")  # type: ignore[misc]
            wait_for(lambda: turns_away(other), "the source to drain", every_s=0.1)
            assert "another pacs failover" in other.pacs("failover", "to", name, expect=14).stderr
            command.send_signal(signal.SIGKILL)
            assert command.wait(60) == -signal.SIGKILL
            assert status(other)["unfinished"]["target"] == name
            assert turns_away(other)
        checks = {row["check"]: row["result"] for row in other.report("doctor", expect=12)}
        assert checks["failover"] == f"a failover to {name} is unfinished"
        given_up = other.report("failover", "abandon")
        assert given_up["target"] == name
        assert not turns_away(other)
        assert "no failover is unfinished" in other.pacs("failover", "abandon", expect=2).stderr
        # Whoever stays is not waited for without end, and then nothing was changed.
        wait_until_told(other, "MODALITY")  # no more of who was just let in
        refused = other.pacs("failover", "to", name, "--wait", "0", expect=2)
        assert "1 associations open" in refused.stderr
        assert (status(other)["role"], status(other)["unfinished"]) == ("preferred", None)
        assert not turns_away(other)
        assert "takes associations again" in refused.stderr
        refused = other.pacs("failover", "to", name, "--wait", "0", "--keep-draining", expect=2)
        assert "goes on draining" in refused.stderr
        assert turns_away(other)
    assert other.report("failover", "to", name)["result"] == "done"
    assert status(target)["role"] == "preferred"
    assert not turns_away(other)


def test_a_hook_is_told_what_happens_and_its_failure_is_partly_done(pair: Pair, tmp_path: Path) -> None:
    source, target = by_role(pair)
    name = target.aet.lower()
    usual, told = source.config.read_text(encoding="utf-8"), tmp_path / "told"
    hook = tmp_path / "hook"
    hook.write_text(f'#!/bin/sh\necho "$@" >> {told}\ntest -e {told}.ok || {{ echo no route >&2; exit 7; }}\n')
    hook.chmod(0o755)
    source.config.write_text(f"{usual}\nfailover: {{hook: [{hook}, --vip], hook_timeout_s: 60}}\n", encoding="utf-8")
    try:
        partly = source.report("failover", "to", name, expect=3)
        assert partly["result"] == "partly done"
        assert [one["step"] for one in partly["ran"] if one["result"] == "failed"] == ["hook"]
        left = status(source)["unfinished"]
        assert left["left"] == ["hook"]
        assert "ended with 7: no route" in left["problems"][0]
        assert not turns_away(source)
        Path(f"{told}.ok").touch()
        assert source.report("failover", "to", name)["result"] == "done"
        assert told.read_text().splitlines() == [f"--vip switch {name} here"] * 2
    finally:
        source.config.write_text(usual, encoding="utf-8")
    assert status(source)["unfinished"] is None


def test_a_third_site_that_is_preferred_is_not_passed_over(pair: Pair) -> None:
    """It would go on as if it were preferred, and hand nothing over."""
    with Node.open(load(pair.tokyo.config)) as node:
        osaka = node.partners.one("osaka")
        kobe = replace(osaka, name="kobe", fingerprint="00" * 32, certificate="", site_id="c" * 32, is_paused=True)
        node.partners.add(kobe)
        node.changes.record(PREFERENCE, "", {"site": "c" * 32}, now=datetime.now(UTC), who="test")
        (first, *_) = Failover(node, "osaka", is_source_lost=False).plan().refusals
        assert first.reason is Reason.NOT_HERE
        assert "between kobe and osaka" in first.text
        node.partners.remove("kobe")
        assert Failover(node, "osaka", is_source_lost=False).plan().refusals == ()
        own = node.instances.operations.site_id()
        node.changes.record(PREFERENCE, "", {"site": own}, now=datetime.now(UTC), who="test")


def test_a_source_killed_under_load_is_left_and_comes_back_and_both_are_equal(pair: Pair, tmp_path: Path) -> None:
    if by_role(pair)[0] is pair.osaka:
        pair.tokyo.pacs("failover", "to", "here")
    sender = TwoDestinations(pair.both, objects(tmp_path, 2, 600))
    sender.start()
    wait_for(lambda: len(sender.acknowledged) > 20, "the load")
    refused = pair.osaka.report("failover", "to", "here", "--source-lost", expect=2)
    assert [one["reason"] for one in refused["refusals"]] == [Reason.SOURCE_ANSWERS]
    assert refused["lost"] is None
    # What it takes from now on it cannot hand over, but it still says so.
    pair.wires[0].cut()
    wait_for(lambda: (told := status(pair.osaka)["partners"][0])["we_lack_objects"] and told, "it to tell", every_s=0.2)
    pair.tokyo.kill()
    away = wait_for(
        lambda: (told := status(pair.osaka)["partners"][0])["state"] == "not reachable" and told, "it to be missed"
    )
    assert away["we_lack_objects"] > 0
    # Where the source itself is asked, its server being stopped, it names them.
    named = pair.tokyo.report("failover", "plan", "to", "osaka", "--source-lost")["lost"]
    assert named["objects"] > 0
    assert len(named["named"]) == named["series"] > 0
    refused = pair.osaka.report("failover", "to", "here", expect=13)
    assert [one["reason"] for one in refused["refusals"]] == [Reason.SOURCE_AWAY]
    # By the name that it has there, as somebody would who read it in the runbook of the other site.
    done = pair.osaka.pacs("failover", "to", "osaka", "--source-lost", "--json")
    told = json.loads(done.stdout)
    assert (told["result"], [one["step"] for one in told["ran"]]) == ("done", ["prefer", "hook", "try out"])
    assert told["lost"]["objects"] == away["we_lack_objects"]
    assert f"only tokyo has {away['we_lack_objects']} objects" in done.stderr
    assert "what it took after that is not known" in done.stderr
    again = pair.osaka.pacs("failover", "to", "here", "--source-lost")  # for who has lost the terminal
    assert f"only tokyo has {away['we_lack_objects']} objects" in again.stderr
    wait_for(lambda: sender.archive is pair.osaka, "the modality to turn to the other site")
    taken = len(sender.acknowledged)
    wait_for(lambda: len(sender.acknowledged) > taken or not sender.waiting, "the load to go on")
    sender.enough.set()
    sender.join(60)
    assert_no_trace(pair.osaka)
    pair.wires[0].mend()
    pair.tokyo.start()
    wait_for(
        lambda: status(pair.osaka)["partners"][0]["state"] == "reachable",
        "it to be heard of again",
        timeout_s=60,
        every_s=0.2,
    )
    synced = pair.osaka.report("failover", "resync", "tokyo", "--wait", "100", timeout_s=150)
    assert synced["is_equal"]
    assert [lacking(each, sender) for each in pair.both] == [set(), set()]
    assert held(pair.tokyo) == held(pair.osaka)
    assert pair.are_equal()
    wait_for(lambda: roles(pair) == ["standby", "preferred"], "it to know that it is the standby", every_s=0.2)


def test_a_source_that_dies_while_it_hands_over_is_given_up_and_comes_back_draining(pair: Pair) -> None:
    source, target = by_role(pair)
    name = source.aet.lower()
    with suppress(PacsError), associated(source):
        wait_until_told(source, "MODALITY")
        command = target.begin("failover", "to", "here")
        wait_for(lambda: turns_away(source), "the source to drain", every_s=0.1)
        wait_until_handing_over(target)
        source.kill()
    assert command.wait(120) == 13
    assert status(target)["unfinished"]["left"][0] == Step.HAND_OVER
    assert [one["reason"] for one in target.report("failover", "to", "here", expect=13)["refusals"]] == [
        Reason.SOURCE_AWAY
    ]
    told = target.report("failover", "to", "here", "--source-lost")
    assert (told["result"], [one["step"] for one in told["ran"]]) == ("done", ["prefer", "hook", "try out"])
    assert status(target)["role"] == "preferred"
    source.start(calling=target.aet)
    assert "draining since" in source.pacs("status").stdout
    assert turns_away(source)
    wait_for(lambda: status(target)["partners"][0]["is_draining"], "it to be heard of", timeout_s=60, every_s=0.2)
    target.pacs("failover", "demote", name, "--end")
    assert not turns_away(source)


def test_what_no_command_of_a_partner_says_is_not_understood(pair: Pair) -> None:
    with Node.open(load(pair.tokyo.config)) as node:
        answer = failover_answers(node)[DRAIN]
        for wrong in ({}, {"is_draining": 1, "who": "x"}, {"is_draining": True, "who": None}):
            with pytest.raises(ProtocolViolation):
                answer(node.partners.one("osaka"), wrong)
        assert draining_of(node.index) is None


def test_what_is_left_is_not_guessed_where_it_cannot_be_read_or_noted(pair: Pair) -> None:
    with Node.open(load(pair.tokyo.config)) as node:
        noted = pair.tokyo.data / "failover.json"
        noted.write_text('{"target": "osaka"}', encoding="utf-8")
        for arguments in (("status",), ("to", "here")):
            assert "cannot be read" in pair.tokyo.pacs("failover", *arguments, expect=10).stderr
        noted.unlink()
        in_the_way = noted.with_name(f"{noted.name}.part")
        in_the_way.mkdir()
        asked = Failover(node, "osaka", is_source_lost=False)
        with pytest.raises(ConfigError, match="cannot be written"):
            next(asked.run(asked.plan(), wait_s=0, keeps_draining=False))
        in_the_way.rmdir()
        assert draining_of(node.index) is None


def test_two_sites_that_do_not_become_equal_in_time_are_partly_done(pair: Pair, tmp_path: Path) -> None:
    pair.wires[0].cut()
    sent = send(pair.tokyo, tmp_path, 1, study="kept back")
    told = pair.tokyo.report("failover", "resync", "osaka", "--wait", "1", expect=3)
    assert not told["is_equal"]
    pair.wires[0].mend()
    assert pair.tokyo.report("failover", "resync", "osaka", "--wait", "100", timeout_s=150)["is_equal"]
    assert sent <= held(pair.osaka)


def test_a_site_that_was_demoted_stays_so_over_a_restart_and_a_standby_may_take_no_stores(
    pair: Pair, tmp_path: Path
) -> None:
    """Both mean nobody's partner. The last test: OSAKA goes on with another setting."""
    if by_role(pair)[0] is pair.osaka:
        pair.tokyo.pacs("failover", "to", "here")
    pair.tokyo.pacs("failover", "demote", "osaka")
    assert turns_away(pair.osaka)
    begin = len(pair.osaka.log_text())
    assert pair.osaka.stop() == 0
    with pair.osaka.config.open("a", encoding="utf-8") as file:
        file.write("failover: {standby_stores: false}\n")
    pair.osaka.start(calling="TOKYO")  # nobody else gets an answer
    first = pair.osaka.log_text()[begin:].partition(" listens on ")[0]
    assert "this site is a standby: tokyo is preferred; it answers, and does not take what is sent" in first
    assert "draining since " in first
    told = pair.osaka.pacs("status").stdout
    assert "draining since " in told
    assert status(pair.osaka)["draining_by"].endswith(" of tokyo")
    assert turns_away(pair.osaka)
    sent = send(pair.tokyo, tmp_path, 1, study="demoted")
    wait_for(lambda: sent <= held(pair.osaka), "the partner's object", timeout_s=60, every_s=0.2)
    assert "demote osaka --end" in pair.tokyo.pacs("failover", "to", "osaka", expect=2).stderr
    pair.tokyo.pacs("failover", "demote", "osaka", "--end")
    with associated(pair.osaka) as association:
        assert [one.abstract_syntax for one in association.contexts.values()] == [STUDY_FIND]
    pair.osaka.pacs("failover", "to", "here")
    with associated(pair.osaka) as association:
        assert len(association.contexts) == 2
