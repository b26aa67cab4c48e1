"""What deserves an alarm, from what an archive really holds and owes, on either database."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, create_engine, text
from support.house import House
from support.mounts import on_tmpfs
from support.postgres import Cluster
from support.samples import tiny
from support.server import wait_for

from pacs_server.cli.doctor_checks import CHECKS
from pacs_server.cli.japanese.translation import in_japanese
from pacs_server.cluster.certificates import make
from pacs_server.cluster.members import state_of
from pacs_server.cluster.patroni import Patroni
from pacs_server.dicom.audit import Event, EventKind, EventOutcome
from pacs_server.dicom.identity import AeTitle
from pacs_server.errors import IndexUnavailable
from pacs_server.index.database_url import parse_url
from pacs_server.index.jobs import JobKind, JobState
from pacs_server.index.maintenance import locks
from pacs_server.index.site.peers import Peer, Right
from pacs_server.index.site.registry import Policy
from pacs_server.service.assemble import Node
from pacs_server.service.board import Board
from pacs_server.service.monitoring.alarms import OF_INDEX, Alarm, AlarmKind, alarms_of, unknown_of
from pacs_server.service.monitoring.gatherer import Gatherer
from pacs_server.service.monitoring.habits import Sample
from pacs_server.service.monitoring.observing import Holdings, Observer, Site, holdings_of
from pacs_server.service.monitoring.self_check import Door
from pacs_server.service.monitoring.standbys import hindered
from pacs_server.service.partners.role import Role
from pacs_server.service.present import backlog_of, certificates_of, volumes_of
from pacs_server.service.processes.watching import Watcher
from pacs_server.service.upkeep.checkpoints import key_file
from pacs_server.settings import AlertSettings, PatroniSettings

NOW = datetime.now(UTC)
HERE = Site(role=Role.ALONE, is_draining=False, takes_stores=True, online=1, degraded=1, does_for_all=True)


@pytest.fixture
def house(new_upgraded_url: Callable[[], str], tmp_path: Path) -> House:
    return House(tmp_path / "house", new_upgraded_url())


@pytest.fixture
def node(house: House) -> Iterator[Node]:
    with house.node() as opened:
        yield opened


def observer_of(node: Node, *, site: Site = HERE, held: Holdings | None = None, door: str = "") -> Observer:
    """One that has looked, with what it found; `door` is what is wrong with the port."""
    observer = Observer(node.settings, Board(1), ())
    observer.doors.latest = (Door(name="plain", host="127.0.0.1", port=104, problem=door),)
    observer.site.latest = site
    observer.holdings.latest = held or holdings_of(node)
    observer.volumes.latest = volumes_of(node)
    observer.certificates.latest, observer.standbys.latest = [], {}
    return observer


def alarms(
    observer: Observer,
    node: Node,
    *,
    rooms: dict[str, list[Sample]] | None = None,
    hours: dict[str, set[int]] | None = None,
    **alert: Any,
) -> list[Alarm]:
    settings = replace(node.settings, alert=AlertSettings(**alert))
    return list(alarms_of(observer, settings, rooms or {}, hours or {}, NOW))


def told(found: list[Alarm]) -> list[str]:
    return [one.key for one in found]


def test_an_archive_that_is_well_has_none(house: House, node: Node) -> None:
    house.take_in(tiny("well"))
    assert alarms(observer_of(node), node) == []


def test_objects_that_lack_copies_are_one_after_a_while(house: House, node: Node) -> None:
    (sample,) = house.take_in(tiny("lacking"))
    node.registry.set_policy(Policy(want=2, need=1, degraded=1))
    node.jobs.owe(JobKind.COPY, NOW, series=[(sample.study_uid, sample.series_uid)])
    node.look_at_site_state(max_age_s=0)
    assert backlog_of(node)["lacking_copies"] == 1
    assert alarms(observer_of(node), node) == [], "with need below want, there is always one while objects come"
    assert list(CHECKS["copies"](node)) == []
    with node.index.write() as session:
        long_ago = (NOW - timedelta(minutes=2)).isoformat()
        session.execute(text("UPDATE instances SET received_at = :long_ago"), {"long_ago": long_ago})
    assert [problem for problem, _ in CHECKS["copies"](node)] == ["1 objects have fewer copies than are wanted"]
    (alarm,) = alarms(observer_of(node), node, copies_after_s=900.0)
    assert (alarm.key, alarm.hold_s) == ("copies all", 900.0)
    assert "1 objects have fewer copies than are wanted" in alarm.text


def test_a_job_that_is_overdue_is_one_and_one_that_waits_for_its_time_is_not(node: Node) -> None:
    long_ago = NOW - timedelta(hours=5)
    node.jobs.owe(JobKind.VERIFY, long_ago, series=[("1", "1.1")])
    assert told(alarms(observer_of(node), node)) == ["backlog verify"]
    assert alarms(observer_of(node), node, backlog_after_s=6 * 3_600.0) == []
    job = node.jobs.claim("one", NOW, lease=timedelta(minutes=5), per_target=1)
    assert job
    node.jobs.done(job, NOW, again_at=NOW + timedelta(hours=1))
    assert node.jobs.overdue(NOW) == {}
    assert node.jobs.overdue(NOW + timedelta(hours=2)) == {"verify": long_ago}
    job = node.jobs.claim("one", NOW + timedelta(hours=2), lease=timedelta(minutes=5), per_target=1)
    assert job
    node.jobs.failed(job, "no", NOW)
    assert node.jobs.overdue(NOW - timedelta(days=1)) == {"verify": long_ago}, "one that fails is overdue"
    node.jobs.set_state([job.id], JobState.PAUSED, NOW)
    assert node.jobs.overdue(NOW + timedelta(days=1)) == {}


def test_copies_that_were_found_damaged_today_are_an_alarm_also_when_they_are_replaced(
    house: House, node: Node
) -> None:
    (sample,) = house.take_in(tiny("damaged"))
    (kept,) = node.copies.of_objects([sample.sop_uid])
    (copy,) = kept.copies
    node.copies.mark_damaged(copy.volume_id, copy.path, "a flipped bit", datetime.now(UTC))
    assert told(alarms(observer_of(node), node)) == ["damage first", "damage all"]
    node.copies.add(kept, replace(copy, verified_at=datetime.now(UTC)), datetime.now(UTC))
    assert told(alarms(observer_of(node), node)) == ["damage first"]
    (row,) = node.registry.volumes()
    node.registry.change_volume(row.id, {"damaged_count": 0})  # pacs storage set first --trust
    assert told(alarms(observer_of(node), node)) == []


def test_a_volume_that_is_away_is_an_alarm(house: House, node: Node) -> None:
    house.volume.rename(house.volume.with_name("away"))
    (alarm,) = alarms(observer_of(node), node)
    assert alarm.key == "volume first"
    assert "offline" in alarm.text


def test_a_data_directory_without_room_for_the_index_is_an_alarm_before_it_is_full(node: Node, tmp_path: Path) -> None:
    with ExitStack() as mounts:
        settings = replace(node.settings, data_dir=on_tmpfs(tmp_path, "data", "2m", mounts))
        observer = Observer(settings, Board(1), ())
        (settings.data_dir / "log").write_bytes(bytes(1_900_000))
        observer.disk.look()
        assert list(alarms_of(observer, settings, {}, {}, NOW)) == []
        (settings.data_dir / "index.db").write_bytes(bytes(180_000))
        observer.disk.look()
        (alarm,) = alarms_of(observer, settings, {}, {}, NOW)
        assert alarm.key == "index disk"
        assert f"0 MiB are left on the disk of the data directory {settings.data_dir}" in alarm.text


@pytest.mark.parametrize("locked", ["SELECT * FROM studies FOR UPDATE", "LOCK TABLE series IN ROW EXCLUSIVE MODE"])
def test_rows_that_somebody_keeps_locked_for_long_are_an_alarm_until_they_are_free(
    house: House, node: Node, monkeypatch: pytest.MonkeyPatch, locked: str
) -> None:
    if node.index.database_path is not None:
        pytest.skip("with SQLite a lock keeps everybody from writing, which is told as such")
    house.take_in(tiny("locked"))
    observer = observer_of(node)
    observer.ask = lambda question: question(node)  # type: ignore[method-assign, assignment]
    person = create_engine(parse_url(house.url), connect_args={"application_name": "psql"})
    monkeypatch.setattr(locks, "LONG_S", 1.0)
    with person.connect() as session, session.begin():
        session.execute(text("SELECT * FROM studies"))
        wait_for(lambda: seconds_of(session) > 1, "the transaction to be a second old")
        observer.locks.look()
        assert alarms(observer, node) == [], "who only reads keeps nobody out"
        session.execute(text(locked))
        observer.locks.look()
        (alarm,) = alarms(observer, node)
        pid = session.execute(text("SELECT pg_backend_pid()")).scalar()
        assert alarm.key == f"index lock {pid}"
        assert alarm.text.startswith(f"process {pid} of PostgreSQL (pacs, psql) keeps rows of the archive locked")
    observer.locks.look()
    assert alarms(observer, node) == []
    person.dispose()


def test_a_session_that_does_not_show_when_it_began_is_an_alarm_when_it_was_seen_for_long(
    house: House, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    if node.index.database_path is not None:
        pytest.skip("of SQLite nobody is told who keeps it locked")
    monkeypatch.setattr(locks, "_HOLDING", text(str(locks._HOLDING).replace("a.xact_start", "NULL::timestamptz")))
    monkeypatch.setattr(locks, "LONG_S", 0.2)
    looking, person = locks.LongLocks(), create_engine(parse_url(house.url))
    with person.connect() as session, session.begin():
        session.execute(text("LOCK TABLE copies IN ROW SHARE MODE"))
        assert looking.look(node.index) == []
        wait_for(lambda: looking.look(node.index), "it to have been seen for long")
    assert looking.look(node.index) == []
    person.dispose()


def seconds_of(session: Connection) -> float:
    return float(session.execute(text("SELECT extract(epoch FROM clock_timestamp() - now())")).scalar_one())


def test_a_volume_that_is_well_and_did_not_take_copies_is_an_alarm(node: Node) -> None:
    observer = observer_of(node)
    observer.volumes.latest = [one | {"untaken": 3} for one in volumes_of(node)]
    (alarm,) = alarms(observer, node)
    assert alarm.key == "volume first"
    assert "is online, but did not take 3 copies" in alarm.text


def test_a_standby_that_is_away_is_an_alarm_of_the_node_that_tells_what_concerns_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Cluster.new() as used, used.standby() as second:
        used.go_on_alone()
        url = f"postgresql://pacs@/postgres?host={used.home}&host={second.home}&target_session_attrs=read-write"
        house = House(tmp_path / "house", url)
        with house.node() as node:
            # An observer keeps the node that it opens until its process ends.
            monkeypatch.setattr(Node, "open", lambda _: nullcontext(node))
            observer = Observer(house.settings, Board(1), ())
            for one in (observer.site, observer.holdings, observer.standbys):
                one.look()
            assert alarms(observer, node) == []
            second.stop()
            observer.standbys.look()
            (alarm,) = alarms(observer, node, hold_s=7.0)
            assert (alarm.key, alarm.hold_s) == (f"standby {second.home}", 7.0)
            assert f"the database server at {second.home}:5432 could not take over: " in alarm.text
            assert in_japanese(alarm.text).startswith("データベースの待機系が一つ欠けています: ")
            observer.site.latest = replace(HERE, does_for_all=False)
            observer.standbys.look()
            assert observer.standbys.latest == {}


def test_of_a_database_that_patroni_runs_its_members_are_asked(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    node.settings = replace(node.settings, patroni=PatroniSettings(urls=("http://127.0.0.1:1",)))
    (why,) = hindered(node).values()
    assert "127.0.0.1:1" in why
    names = {"leader": ("running", 0), "near": ("streaming", 0), "far": ("streaming", 99 << 20), "dead": ("stopped", 0)}
    told = [
        {"name": name, "role": "leader" if name == "leader" else "replica", "state": state, "lag": lag, "timeline": 1}
        for name, (state, lag) in names.items()
    ]
    answers = state_of({}, {"members": told}, {}, [("http://10.0.0.4:8008", "it does not answer")])
    monkeypatch.setattr(Patroni, "status", lambda _: answers)
    assert hindered(node) == {
        "far": "far is 99 MiB behind",
        "dead": "dead does not follow: it is stopped",
        "http://10.0.0.4:8008": "it does not answer",
    }


def test_a_key_that_cannot_be_used_and_a_trail_that_is_not_signed_are_alarms(house: House, node: Node) -> None:
    held = holdings_of(node)
    assert told(alarms(observer_of(node, held=replace(held, checkpoint_age_s=3 * 86_400.0)), node)) == [
        "audit checkpoint"
    ]
    key_file(house.settings.data_dir).write_text("no key", encoding="utf-8")
    assert told(alarms(observer_of(node), node)) == ["audit key"]


def test_what_was_not_looked_at_since_the_start_neither_begins_nor_ends(node: Node) -> None:
    begun = Observer(node.settings, Board(1), ())
    assert unknown_of(begun) == frozenset(AlarmKind), "what is not known is not well"
    looked = observer_of(node)
    assert unknown_of(looked) == frozenset()
    looked.volumes.latest = None
    assert unknown_of(looked) == {AlarmKind.VOLUME}


def test_of_a_database_that_is_away_its_own_alarm_is_known_and_what_it_holds_is_not(node: Node) -> None:
    def fails() -> Site:
        raise IndexUnavailable("it is away")

    away = observer_of(node)
    away.site = Gatherer("index", fails, every_s=1.0, late_after_s=60.0)
    away.site.look()
    assert [one.key for one in alarms(away, node)] == ["index database"]
    assert unknown_of(away) & {AlarmKind.INDEX, *OF_INDEX} == OF_INDEX


def test_a_port_that_does_not_answer_is_an_alarm(node: Node) -> None:
    (alarm,) = alarms(observer_of(node, door="nothing listens"), node, hold_s=7.0)
    assert (alarm.key, alarm.hold_s) == ("self-check plain", 7.0)


def test_a_certificate_that_expires_is_an_alarm_in_time(house: House, node: Node) -> None:
    make(house.settings.tls_files, ("localhost",), days=20, now=NOW)
    observer = observer_of(node)
    observer.certificates.latest = list(certificates_of(house.settings.tls_files))
    assert told(alarms(observer, node)) == ["certificate node"]
    assert alarms(observer, node, certificate_days=10) == []
    # `pacs tls init` goes on using an authority that is there, and refuses one that has expired.
    of_node, of_authority = alarms(observer, node, certificate_days=4000)
    assert "ca.crt expires in 3649 days: move it and its key away, then pacs tls init --yes" in of_authority.text
    assert in_japanese(of_authority.text).startswith("認証局の証明書")
    assert of_node.text.endswith("days: pacs tls init --yes, or one of your authority")


def test_a_volume_that_fills_is_an_alarm(node: Node) -> None:
    rooms: dict[str, list[Sample]] = {"first": [(float(hour), 1e12 - hour * 4e9) for hour in range(100)]}
    (alarm,) = alarms(observer_of(node), node, rooms=rooms)
    assert alarm.key == "disk first"
    assert "full in 6 days" in alarm.text
    assert alarms(observer_of(node), node, rooms=rooms, disk_full_within_days=3) == []


def test_a_volume_that_fills_up_to_its_high_water_mark_is_one_in_time(node: Node) -> None:
    (volume,) = node.volumes()
    total = volume.check().total_bytes
    assert total is not None
    a_day = total / 100
    samples = [(float(hour), total * 0.4 - a_day * hour / 24) for hour in range(49)]  # 38 % are left
    observer = observer_of(node)

    def in_days(high_water: int) -> list[str]:
        volume.spec = replace(volume.spec, high_water=high_water)
        observer.volumes.latest = [{**row, "full_below_bytes": volume.full_below()} for row in volumes_of(node)]
        found = alarms(observer, node, rooms={"first": samples})
        return [one.text.partition(",")[0] for one in found if one.kind is AlarmKind.DISK]

    assert in_days(100) == []
    assert in_days(70) == ["volume first is full in 8 days"]


def test_a_modality_that_is_silent_against_its_habit_is_an_alarm_by_the_audit_trail(node: Node) -> None:
    node.registry.save_peer(
        Peer(aet=AeTitle("CT1"), host=None, port=None, rights=frozenset({Right.STORE}), sources=("10.0.0.1",))
    )
    for hours_ago in range(12, 15 * 24, 6):
        for who, outcome in (("CT1", EventOutcome.DONE), ("CT1", EventOutcome.DONE), ("CT2", EventOutcome.REFUSED)):
            at = NOW - timedelta(hours=hours_ago)
            node.audit.record(Event(kind=EventKind.STORE, at=at, who=who, outcome=outcome, count=1))
    told_hours = node.audit.hours_of_storing(NOW - timedelta(days=14))
    assert set(told_hours) == {"CT1"}
    assert len(told_hours["CT1"]) == 55
    hours = {int(datetime.fromisoformat(f"{one}:00:00+00:00").timestamp()) // 3_600 for one in told_hours["CT1"]}
    assert alarms(observer_of(node), node, hours={"CT1": hours}) == []
    earlier = {hour - 36 for hour in hours}
    (alarm,) = alarms(observer_of(node), node, hours={"CT1": earlier, "FORGOTTEN": earlier})
    assert alarm.key == "silence CT1"


def test_a_partner_that_is_behind_or_away_for_long_is_an_alarm(node: Node) -> None:
    partner = {"name": "osaka", "state": "reachable", "behind_objects": 7, "since": NOW.isoformat(), "problem": ""}
    late = partner | {"behind_since": (NOW - timedelta(hours=2)).isoformat()}
    away = partner | {"behind_since": None, "state": "not reachable", "since": (NOW - timedelta(hours=2)).isoformat()}
    held = holdings_of(node)
    for one, is_one in ((late, True), (away, True), (late | {"state": "paused"}, False),
                        (partner | {"behind_since": NOW.isoformat()}, False)):  # fmt: skip
        found = alarms(observer_of(node, held=replace(held, partners=[one])), node)
        assert told(found) == (["partner osaka"] if is_one else [])


def test_what_concerns_the_site_is_told_by_one_node(node: Node) -> None:
    node.jobs.owe(JobKind.VERIFY, NOW - timedelta(hours=5), series=[("1", "1.1")])
    elsewhere = replace(HERE, does_for_all=False)
    assert told(alarms(observer_of(node, site=elsewhere, door="shut"), node)) == ["self-check plain"]


def test_no_alarm_names_a_patient(house: House, node: Node) -> None:
    house.take_in(tiny("private", PatientName="SECRET^NAME", PatientID="SECRET-ID"))
    node.jobs.owe(JobKind.VERIFY, NOW - timedelta(hours=5), series=[("1", "1.1")])
    house.volume.rename(house.volume.with_name("away"))
    found = alarms(observer_of(node, door="shut"), node)
    assert len(found) == 3
    assert "SECRET" not in repr(found)


def test_room_and_hours_are_noted_on_after_the_clock_was_ahead(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    observer = observer_of(node)
    observer.volumes.latest = [{"name": "first", "free_bytes": 1_000}]
    watcher = Watcher(node.settings, observer)
    for now in (NOW + timedelta(days=365), NOW, NOW):
        watcher._note_rooms(now)
    assert watcher.book.rooms == {"first": [(int(NOW.timestamp()) // 3_600, 1_000.0)]}
    read: list[datetime] = []
    monkeypatch.setattr(observer, "ask", lambda question: question(node))
    monkeypatch.setattr(node.audit, "hours_of_storing", lambda since: read.append(since) or {})
    watcher._hours_until = NOW + timedelta(days=365)
    watcher._read_hours()
    assert read[0] < NOW
