"""Several nodes of one archive: who joins, what each tells of itself, and who does what when one is gone."""

import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from sqlalchemy import text
from support.faulty_volume import FaultyVolume
from support.house import NOW, House
from support.postgres import Cluster
from support.samples import tiny

from pacs_server.cli.exits import ExitCode
from pacs_server.cli.main import run
from pacs_server.cluster.roster import FORGOTTEN_AFTER, SILENT_AFTER
from pacs_server.dicom.attributes import UNIQUE_KEY, Level
from pacs_server.dicom.operations import OperationKind
from pacs_server.dicom.queries.matching import query_from_keywords
from pacs_server.errors import Busy, SchemaMismatch
from pacs_server.index.engine import Index
from pacs_server.index.fates import holds_of
from pacs_server.index.job_queue import JobQueue
from pacs_server.index.jobs import JobKind
from pacs_server.index.promotion import compared, note_timeline, promoted_at
from pacs_server.index.queries.view import conflicts_view
from pacs_server.index.site.nodes import Nodes
from pacs_server.service.assemble import Node
from pacs_server.service.monitoring.survival import count_copies, standing
from pacs_server.service.roll_call import RollCall, node_name, this_node
from pacs_server.service.runner import Runner
from pacs_server.service.upkeep.backup import Restore
from pacs_server.service.upkeep.database import copy_database
from pacs_server.service.upkeep.reconciling import reconcile_volumes
from pacs_server.service.upkeep.rounds import Rounds
from pacs_server.settings import load
from pacs_server.storage.operations import keep_everywhere
from pacs_server.storage.volume import Volume, check_all

LEASE = timedelta(minutes=5)
LONG_AGO = NOW - timedelta(days=1)
A_MOMENT = timedelta(seconds=3)
_OF_ANOTHER_CLUSTER = """UPDATE site SET value = '{"cluster": 7, "number": "00000001"}' WHERE name = 'timeline'"""


@pytest.fixture
def first(tmp_path: Path, upgraded_postgres_url: str) -> House:
    """The first node of an archive, with the volume `first`."""
    return House(tmp_path / "one", upgraded_postgres_url)


@pytest.fixture
def second(first: House, tmp_path: Path) -> House:
    """The second node of that archive."""
    return House(tmp_path / "two", first.url)


def set_in(house: House, **settings: object) -> None:
    told = yaml.safe_load(house.config.read_text(encoding="utf-8"))
    house.config.write_text(yaml.safe_dump(told | settings), encoding="utf-8")


def told_by(house: House, capsys: pytest.CaptureFixture[str], *words: str) -> list[dict[str, str]]:
    """What a command prints as JSON."""
    capsys.readouterr()
    run(["-c", str(house.config), *words, "--json"])
    told: list[dict[str, str]] = json.loads(capsys.readouterr().out)
    return told


def test_a_power_cut_after_a_node_was_made_leaves_its_settings_whole(
    forgetful: FaultyVolume, postgres_url: Callable[[], str]
) -> None:
    folder = forgetful.path / "node"
    made = House(folder, postgres_url())
    for named_in in (forgetful.path, folder):  # as any file system does before long, in its own order
        descriptor = os.open(named_in, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
    forgetful.tell("cut")
    assert load(made.config) == made.settings


def test_a_node_joins_the_archive_of_its_database_and_uses_its_volumes(first: House, second: House) -> None:
    with first.node() as one, second.node() as other:
        assert [row.name for row in other.registry.volumes()] == ["first"]
        assert [volume.state.is_readable for volume in other.volumes()] == [True]
        assert one.instances.operations.site_id() == other.instances.operations.site_id()
    assert not (second.folder / "volumes").exists()
    (sent,) = first.take_in(tiny(1))
    with second.node() as other:
        (held,) = other.copies.of_objects([sent.sop_uid])
        assert len(held.copies) == 1


def test_a_node_that_joins_is_told_which_volumes_it_does_not_find_and_where_to_say_where_they_are(
    first: House, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    elsewhere = first.volume.rename(tmp_path / "elsewhere")
    words = ["--data", str(tmp_path / "two"), "--port", "0", "--database", first.url]
    assert run(["init", *words]) == ExitCode.DONE
    told = capsys.readouterr().err
    assert "one more node of the archive" in told
    assert f"volume first is not at {first.volume} here: mount it there, or say where it is on this node" in told
    config = tmp_path / "two" / "pacs.yaml"
    with config.open("a", encoding="utf-8") as file:
        yaml.safe_dump({"volume_paths": {"first": str(elsewhere)}}, file)
    assert run(["-c", str(config), "storage", "list", "--json"]) == ExitCode.DONE
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["state"], row["path"]) == ("online", str(elsewhere))
    with first.node() as one:
        assert [row.path for row in one.registry.volumes()] == [str(first.volume)]


def test_the_path_of_all_nodes_is_not_changed_from_a_node_that_has_its_own(
    first: House, second: House, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    set_in(second, volume_paths={"first": str(first.volume)})
    words = ["storage", "set", "first", "--path", str(tmp_path / "other")]
    assert run(["-c", str(second.config), *words]) == ExitCode.REFUSED
    assert "the settings of this node say where first is (volume_paths)" in capsys.readouterr().err


def test_doctor_names_a_path_for_a_volume_that_there_is_not(second: House, capsys: pytest.CaptureFixture[str]) -> None:
    set_in(second, volume_paths={"frist": "/srv/first"})
    told = [row["result"] for row in told_by(second, capsys, "doctor")]
    assert "volume_paths names frist, but no volume has that name" in told


def test_who_joins_does_not_change_the_schema_that_the_others_work_with(first: House, tmp_path: Path) -> None:
    with first.node() as one, one.index.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0010_pre_buckets'"))
    with pytest.raises(SchemaMismatch, match="pacs db upgrade"):
        House(tmp_path / "two", first.url)
    assert not (tmp_path / "two" / "pacs.yaml").exists()


def a_while_from_now() -> datetime:
    """When a node was seen that counts as serving, however long a busy machine takes for what is done meanwhile."""
    return datetime.now(UTC) + timedelta(minutes=5)


class Clock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.passed = timedelta()

    def elapsed_s(self) -> float:
        return self.passed.total_seconds()


class Caller:
    """A node that calls the roll, by that clock; its own `is_off` by some time."""

    def __init__(self, node: Node, clock: Clock) -> None:
        self.node, self.clock = node, clock
        self.name = node_name(node.settings)
        self.is_off = timedelta()
        self.roll = RollCall(node, LONG_AGO, clock.elapsed_s)
        self.call()

    def call(self) -> None:
        self.roll.call(LONG_AGO + self.clock.passed + self.is_off)

    def sees(self) -> list[str]:
        return [one.name for one in self.roll.roster.others]

    def knows(self) -> list[str]:
        return [one.name for one in self.node.nodes.all()]


def pass_time(clock: Clock, how_long: timedelta, *callers: Caller) -> None:
    """Let time pass while these nodes call the roll."""
    until = clock.passed + how_long
    while clock.passed < until:
        clock.passed += A_MOMENT
        for caller in callers:
            caller.call()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def callers(first: House, second: House, clock: Clock) -> Iterator[tuple[Caller, Caller]]:
    """Two nodes that have seen each other for longer than a node may be silent."""
    with ExitStack() as opened:
        one, other = (Caller(opened.enter_context(house.node()), clock) for house in (first, second))
        pass_time(clock, SILENT_AFTER + A_MOMENT, one, other)
        yield one, other


def test_nodes_see_each_other_and_share_the_duties(callers: tuple[Caller, Caller]) -> None:
    one, other = callers
    assert (one.sees(), other.sees()) == ([other.name], [one.name])
    assert [caller.roll.roster.has_duty() for caller in callers].count(True) == 1


def test_the_jobs_of_a_node_that_is_gone_are_taken_up_and_its_duties_too(
    callers: tuple[Caller, Caller], clock: Clock
) -> None:
    one, other = callers
    jobs = one.node.jobs
    jobs.owe(JobKind.COPY, LONG_AGO, series=[("1", "1.1"), ("1", "1.2"), ("1", "1.3")])

    def claim(worker: str) -> str | None:
        job = jobs.claim(worker, LONG_AGO + clock.passed, lease=LEASE, per_target=10)
        return job.series_uid if job else None

    taken = [claim(other.name), claim(f"{other.name}:forwarding"), claim(one.name)]
    assert None not in taken
    pass_time(clock, SILENT_AFTER, one)
    assert claim(one.name) is None
    pass_time(clock, A_MOMENT, one)
    assert one.sees() == []
    assert one.roll.roster.has_duty()
    assert {claim(one.name), claim(one.name)} == set(taken[:2]), "what is its own stays so"


@pytest.mark.parametrize("days", [1, -1])
def test_row_65_a_clock_that_is_set_takes_no_duty_and_no_job_from_anybody(
    callers: tuple[Caller, Caller], clock: Clock, days: int
) -> None:
    one, other = callers
    jobs, duties = one.node.jobs, [caller.roll.roster.has_duty() for caller in callers]
    jobs.owe(JobKind.COPY, LONG_AGO, series=[("1", "1.1"), ("1", "1.2")])
    taken = [jobs.claim(caller.name, LONG_AGO + clock.passed, lease=LEASE, per_target=10) for caller in callers]
    assert None not in taken
    one.is_off = timedelta(days=days)
    pass_time(clock, 2 * SILENT_AFTER, one, other)
    assert (one.sees(), other.sees()) == ([other.name], [one.name])
    assert [caller.roll.roster.has_duty() for caller in callers] == duties
    assert {job.worker for job in jobs.listed()} == {one.name, other.name}
    pass_time(clock, SILENT_AFTER + 3 * A_MOMENT, one)
    assert one.sees() == [], "and who is dead is missed all the same"


def test_copies_are_verified_by_one_node_alone(callers: tuple[Caller, Caller], first: House) -> None:
    first.take_in(tiny(1))
    leader, follower = sorted(callers, key=lambda caller: caller.name)
    with leader.node.index.write() as connection:
        connection.execute(text("UPDATE copies SET verified_at = '2001-01-01'"))
    (volume,) = leader.node.volumes()

    def due() -> int:
        return len(leader.node.copies.least_verified(volume.spec.id, before=LONG_AGO, now=NOW, limit=10))

    Runner(follower.node)._verify()
    assert due() == 1
    Runner(leader.node)._verify()
    assert due() == 0


def test_what_a_node_of_a_former_release_hid_while_the_others_were_upgraded_is_found(first: House) -> None:
    """It makes a version of an object that has the UID of one of another study, also with the schema of the others."""
    sample, _ = first.take_in(tiny(1), tiny(1, study=2, SOPInstanceUID=tiny(1).SOPInstanceUID))
    hiding = (
        "UPDATE instances SET role = 'version' WHERE id = 2",
        "DELETE FROM flags",
        "INSERT INTO flags (study_row, instance_row, kind, detail, noted_at)"
        " VALUES (2, 2, 'conflict-version', '', 'then')",
        "UPDATE series SET instance_count = 0 WHERE study_row = 2",
        "UPDATE studies SET instance_count = 0, series_count = 0, modalities = NULL, sop_classes = NULL WHERE id = 2",
    )
    with first.node() as node:
        with node.index.write() as connection:
            for statement in hiding:
                connection.execute(text(statement))
        found = query_from_keywords(Level.IMAGE, {"SOPInstanceUID": sample.sop_uid})
        assert len(list(node.search.find(found, [UNIQUE_KEY[Level.IMAGE]]))) == 1
        Rounds(node, lambda: True).show_hidden()
        assert len(list(node.search.find(found, [UNIQUE_KEY[Level.IMAGE]]))) == 2
        assert [flag["kind"] for flag in conflicts_view(node.index)] == ["conflict-uid"]
        assert node.contents.hidden() == []


def test_a_node_that_takes_its_leave_is_not_missed(callers: tuple[Caller, Caller], clock: Clock) -> None:
    one, other = callers
    other.roll.leave()
    pass_time(clock, A_MOMENT, one, other)
    assert one.sees() == []
    assert one.knows() == [one.name]


def test_the_jobs_of_a_node_that_takes_its_leave_are_taken_up_at_once(
    callers: tuple[Caller, Caller], clock: Clock
) -> None:
    one, other = callers
    jobs, now = one.node.jobs, LONG_AGO + clock.passed
    jobs.owe(JobKind.COPY, LONG_AGO, series=[("1", "1.1"), ("1", "1.2"), ("1", "1.3")])
    taken = [
        jobs.claim(worker, now, lease=LEASE, per_target=10)
        for worker in (other.name, f"{other.name}:forwarding", one.name)
    ]
    assert None not in taken
    other.roll.leave()
    again = [jobs.claim(one.name, now, lease=LEASE, per_target=10) for _ in taken]
    assert [job and job.series_uid for job in again] == ["1.1", "1.2", None], "what is its own stays so"


def test_after_the_database_was_away_the_others_have_their_time_to_tell_that_they_live(
    callers: tuple[Caller, Caller], clock: Clock
) -> None:
    one, other = callers
    clock.passed += SILENT_AFTER + A_MOMENT
    one.call()
    assert one.sees() == [other.name]
    pass_time(clock, SILENT_AFTER + A_MOMENT, one)
    assert one.sees() == []


def test_a_node_that_never_comes_back_is_forgotten(callers: tuple[Caller, Caller], clock: Clock) -> None:
    one, other = callers
    pass_time(clock, SILENT_AFTER + A_MOMENT, one)
    assert other.name in one.knows()
    clock.passed += A_MOMENT
    one.roll.call(LONG_AGO + clock.passed + FORGOTTEN_AFTER)
    assert one.knows() == [one.name]


def test_status_and_doctor_tell_of_nodes_that_are_silent(
    callers: tuple[Caller, Caller], first: House, capsys: pytest.CaptureFixture[str]
) -> None:
    names = {caller.name for caller in callers}
    run(["-c", str(first.config), "status"])
    shown = capsys.readouterr().out
    assert all(name in shown for name in names)
    with first.node() as one:
        one.nodes.tell(replace(one.nodes.all()[0], seen_at=a_while_from_now()))
    run(["-c", str(first.config), "status", "--json"])
    told = {row["name"]: (row["state"], row["volumes"]) for row in json.loads(capsys.readouterr().out)["nodes"]}
    assert sorted(told.values()) == [("serving", 1), ("silent", 1)]
    problems = [row["result"] for row in told_by(first, capsys, "doctor") if row["check"] == "nodes"]
    (silent,) = [name for name, (state, _) in told.items() if state == "silent"]
    (ahead,) = names - {silent}
    assert len(problems) == 2
    assert any(one.startswith(f"{silent} was last seen at ") for one in problems)
    assert any(re.fullmatch(rf"the clock of {re.escape(ahead)} is \+\d+ s from ours", one) for one in problems)


def test_doctor_tells_of_a_promotion_until_all_files_were_compared_with_the_rows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = lambda: [row["result"] for row in told_by(house, capsys, "doctor") if "promoted" in row["result"]]  # noqa: E731
    with Cluster.new() as former:
        former.execute("CREATE DATABASE pacs")
        with former.standby() as promoted:
            url = f"postgresql://pacs@/pacs?host={former.home}&host={promoted.home}&target_session_attrs=read-write"
            house = House(tmp_path / "one", url)
            with house.node() as node:
                assert not note_timeline(node.index, LONG_AGO)
            former.stop()
            promoted.execute("SELECT pg_promote()")
            with house.node() as node:
                assert note_timeline(node.index, LONG_AGO)
                assert not note_timeline(node.index, NOW)
                compared(node.index, LONG_AGO - A_MOMENT)
                list(reconcile_volumes(node, since=NOW.date(), repair=True))
                assert told() == [
                    f"the database was promoted, or restored on another server, at {LONG_AGO:%Y-%m-%d %H:%M} UTC: "
                    "it may lack the last rows of the former one"
                ]
                list(reconcile_volumes(node, since=None, repair=True))
                assert told() == []
                house.take_in(tiny(1))
                with node.index.write() as connection:
                    connection.execute(text("UPDATE audit SET number = 2 WHERE number = 1"))
            assert run(["-c", str(house.config), "audit", "verify"]) == ExitCode.DAMAGE
            assert f"restored on another server, at {LONG_AGO:%Y-%m-%d %H:%M} UTC" in capsys.readouterr().err


def test_a_database_that_was_restored_on_another_cluster_is_told_as_one_that_may_lack_rows(first: House) -> None:
    with first.node() as node:
        assert not note_timeline(node.index, LONG_AGO)
        with node.index.write() as connection:  # as a dump of another cluster has it
            connection.execute(text(_OF_ANOTHER_CLUSTER))
        assert note_timeline(node.index, NOW)
        assert promoted_at(node.index) == NOW.replace(microsecond=0)


def decided_without_a_row(node: Node, kind: OperationKind, study_uid: str) -> None:
    """What is on the volumes alone, because the database lost its last rows."""
    operation = node.instances.operations.draft(kind, study_uid, now=NOW, who="admin", reason="a trial")
    assert keep_everywhere(operation, checked(node)) == []


def checked(node: Node) -> Sequence[Volume]:
    check_all(volumes := node.volumes())
    return volumes


def test_what_was_decided_in_rows_that_were_lost_is_known_again_soon_after_a_promotion(first: House) -> None:
    (sample,) = first.take_in(tiny(1))
    with first.node() as node:
        decided_without_a_row(node, OperationKind.HOLD, sample.study_uid)
        assert not note_timeline(node.index, LONG_AGO)
        with node.index.write() as connection:
            connection.execute(text(_OF_ANOTHER_CLUSTER))
        runner = Runner(node)
        runner._call_roll()
        assert runner._do_job(frozenset({JobKind.OPERATIONS}))
        assert [one.study_uid for one in holds_of(node.index)] == [sample.study_uid]


def test_what_must_be_alone_is_refused_while_another_node_serves(first: House, second: House, tmp_path: Path) -> None:
    first.back_up(tmp_path / "backup")
    with second.node() as other:
        other.nodes.tell(this_node(other, a_while_from_now()))
    with (
        pytest.raises(Busy, match="another node of this archive serves"),
        Restore.of(first.settings, tmp_path / "backup", ""),
    ):
        pytest.fail("a restore was prepared")
    with pytest.raises(Busy, match="stop every node before its copy"):
        list(copy_database(first.settings, f"sqlite:///{tmp_path}/copy.db"))
    assert list(tmp_path.glob("copy.db*")) == []
    assert run(["-c", str(first.config), "storage", "remove", "first"]) == ExitCode.REFUSED


def test_a_restored_archive_knows_no_nodes_of_the_former_one(first: House, second: House, tmp_path: Path) -> None:
    with second.node() as other:
        other.nodes.tell(this_node(other, LONG_AGO))
    first.back_up(tmp_path / "backup")
    with Restore.of(first.settings, tmp_path / "backup", "") as restore:
        list(restore.do(now=NOW))
    with first.node() as one:
        assert one.nodes.all() == ()


def test_the_model_of_the_site_has_every_node_that_serves(callers: tuple[Caller, Caller]) -> None:
    one, other = callers
    (told,) = [known for known in one.node.nodes.all() if known.name == other.name]
    elsewhere = replace(told, machine="pacs2", within=frozenset())

    def servers(own: str) -> dict[str, frozenset[str]]:
        site = standing(one.node, count_copies(one.node), server=own, table="", others=[elsewhere]).site
        return {server.name: server.volumes for server in site.servers}

    assert servers("pacs1") == {"pacs1": {"first"}, "pacs2": {"first"}}
    assert servers("pacs2") == {"pacs2": {"first"}}, "two nodes of one machine are lost together"


def test_a_volume_that_only_another_node_reads_is_in_the_model(callers: tuple[Caller, Caller], first: House) -> None:
    one, other = callers
    told = [replace(known, machine="pacs2") for known in one.node.nodes.all() if known.name == other.name]
    first.volume.rename(first.folder / "away")
    now = standing(one.node, count_copies(one.node), server="pacs1", table="", others=told)
    assert [(volume.name, volume.server, volume.takes_new) for volume in now.site.volumes] == [("first", "pacs2", True)]
    assert [server.volumes for server in now.site.servers] == [frozenset(), {"first"}]
    assert now.away == ()


def test_a_node_tells_and_is_told_of_in_either_database(index: Index, second: House) -> None:
    nodes = Nodes(index)
    with second.node() as node:
        told = this_node(node, NOW)
    nodes.tell(told)
    nodes.tell(told)
    assert nodes.all() == (told,)
    nodes.forget(told.name)
    assert nodes.all() == ()


def test_jobs_for_a_target_that_is_not_reached_are_left_to_others(index: Index) -> None:
    jobs = JobQueue(index)
    for target in ("v1", "v2"):
        jobs.owe(JobKind.RELEASE, NOW, target=target)
    job = jobs.claim("one", NOW, lease=LEASE, per_target=1, without={"v1"})
    assert job
    assert job.target == "v2"
    assert jobs.claim("one", NOW, lease=LEASE, per_target=1, without={"v1"}) is None


def test_the_jobs_of_a_node_are_known_by_its_whole_name(index: Index) -> None:
    jobs = JobQueue(index)
    jobs.owe(JobKind.COPY, NOW, series=[("1", "1.1"), ("1", "1.2"), ("1", "1.3")])
    for worker in ("pacs_1:/srv/pacs", "pacs_1:/srv/pacs:worker 0", "pacs_1:/srv/pacs2"):
        assert jobs.claim(worker, NOW, lease=LEASE, per_target=10)
    assert jobs.release_node("pacs_1:/srv/pacs") == 2
    assert jobs.release_node("pacsX1:/srv/pacs2") == 0
