"""What Patroni tells over HTTP, what is wrong with it, and when it must not be asked. The answers are those of Patroni
4.1.5 and 3.0.2 with PostgreSQL 15, as they came.
"""

import base64
import json
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.house import House
from support.rest import Rest

from pacs_server.cli.exits import ExitCode
from pacs_server.cli.main import run
from pacs_server.cluster.patroni import Patroni
from pacs_server.cluster.patroni_checks import checks
from pacs_server.cluster.rest import Api
from pacs_server.errors import ConfigError, PatroniUnavailable, Refused
from pacs_server.settings import PatroniSettings

NOW = datetime(2026, 11, 26, 22, 33, 6, tzinfo=UTC)
URL = "postgresql://pacs@db1:5432,db2:5432/pacs?target_session_attrs=read-write"
SEEN = int(NOW.timestamp()) - 1
# To commands that go by the clock, however long a busy machine takes for them.
REACHED_LATELY = datetime.now(UTC) + timedelta(days=1)
PATRONI: dict[str, dict[str, Any]] = {
    "db1": {
        "state": "running",
        "postmaster_start_time": "2026-11-26 22:32:57.053374+00:00",
        "role": "primary",
        "server_version": 150018,
        "xlog": {"location": 50331728},
        "timeline": 1,
        "replication": [
            {
                "usename": "pacs", "application_name": "db2", "client_addr": "127.0.0.1", "state": "streaming",
                "sync_state": "sync", "sync_priority": 1,
            }
        ],
        "dcs_last_seen": SEEN,
        "database_system_identifier": "7712611809110103051",
        "patroni": {"version": "4.1.5", "scope": "pacs", "name": "db1"},
    },
    "db2": {
        "state": "running",
        "postmaster_start_time": "2026-11-26 22:33:01.936793+00:00",
        "role": "replica",
        "server_version": 150018,
        "xlog": {
            "received_location": 50331728, "replayed_location": 50331728,
            "replayed_timestamp": "2026-11-26 22:33:02.950949+00:00", "paused": False,
        },
        "timeline": 1,
        "replication_state": "streaming",
        "dcs_last_seen": SEEN,
        "database_system_identifier": "7712611809110103051",
        "patroni": {"version": "4.1.5", "scope": "pacs", "name": "db2"},
    },
}  # fmt: skip
LEADER = {"name": "db1", "role": "leader", "state": "running", "host": "127.0.0.1", "port": 45197, "timeline": 1}
STANDBY = {
    "name": "db2", "role": "sync_standby", "state": "streaming", "host": "127.0.0.1", "port": 33383, "timeline": 1,
    "receive_lag": 0, "receive_lsn": "0/3000050", "replay_lag": 0, "replay_lsn": "0/3000050", "lag": 0,
    "lsn": "0/3000050",
}  # fmt: skip
CONFIG = {
    "loop_wait": 1,
    "postgresql": {"parameters": {"max_connections": 50}, "use_pg_rewind": True},
    "retry_timeout": 3,
    "synchronous_mode": True,
    "ttl": 20,
}
GOOD = {
    name: []
    for name in (
        "patroni members", "patroni version", "patroni leader", "patroni etcd", "patroni synchronous mode",
        "patroni lag", "patroni timelines", "database URL",
    )
}  # fmt: skip


class Pair:
    """Two members, `db1` leads."""

    def __init__(self, one: Rest, other: Rest) -> None:
        self.rests = {"db1": one, "db2": other}
        self.leader, self.standby = dict(LEADER), dict(STANDBY)
        self.patroni = {name: dict(told) for name, told in PATRONI.items()}
        self.config, self.more = dict(CONFIG), dict[str, object]()
        self.settings = PatroniSettings(urls=(one.url, other.url), timeout_s=30.0)

    def tell(self) -> Patroni:
        members = [
            member | {"api_url": f"{self.rests[str(member['name'])].url}/patroni"}
            for member in (self.leader, self.standby)
        ]
        for name, rest in self.rests.items():
            rest.tells(
                {
                    "/patroni": self.patroni[name],
                    "/cluster": {"members": members, "scope": "pacs"} | self.more,
                    "/config": self.config,
                }
            )
        return Patroni(self.settings)

    def loses_etcd(self) -> Patroni:
        """As it was some time after etcd was gone."""
        patroni = self.tell()
        for rest in self.rests.values():
            rest.answers |= {f"GET {path}": (502, "") for path in ("/cluster", "/config")}
        return patroni

    def found(self, url: str = URL, now: datetime = NOW) -> dict[str, list[str]]:
        """What the checks find."""
        return {name: [problem for problem, _ in problems] for name, problems in checks(self.tell().status(), url, now)}

    def problems(self) -> list[str]:
        return [problem for problems in self.found().values() for problem in problems]

    def refusals(self, to: str = "db2") -> tuple[str, ...]:
        return self.tell().plan(to, NOW).refusals


@pytest.fixture
def pair() -> Iterator[Pair]:
    with ExitStack() as running:
        yield Pair(running.enter_context(Rest.new()), running.enter_context(Rest.new()))


def test_what_the_members_tell_is_put_together(pair: Pair) -> None:
    state = pair.tell().status()
    leader, standby = state.members
    assert (leader.name, leader.is_leader, leader.address, leader.version) == ("db1", True, "127.0.0.1:45197", "4.1.5")
    assert (standby.is_synchronous, standby.lag_bytes, standby.timeline, standby.hindrance) == (True, 0, 1, "")
    assert standby.url == pair.rests["db2"].url
    assert standby.etcd_seen_at == NOW - timedelta(seconds=1)
    assert state.is_synchronous
    assert pair.found() == GOOD
    assert pair.refusals() == ()


def test_patroni_3_is_refused_and_told_why_though_it_tells_less(pair: Pair) -> None:
    for name, role in (("db1", "master"), ("db2", "replica")):
        pair.patroni[name] |= {"role": role, "patroni": {"version": "3.0.2", "scope": "pacs"}}
    pair.standby = {key: value for key, value in STANDBY.items() if "lsn" not in key and "_lag" not in key}
    pair.standby["state"] = "running"
    why = (
        "runs Patroni 3.0.2: Patroni before 4.1 loses acknowledged commits: 3.0.2 did in three of three network cuts "
        "that were tried, 4.1.5 in none of five"
    )
    assert pair.found() == GOOD | {"patroni version": [f"db1 {why}", f"db2 {why}"]}
    assert pair.refusals() == (f"db1 {why}", f"db2 {why}")
    with pytest.raises(Refused, match="loses acknowledged commits"):
        pair.tell().switch("db2", NOW)
    assert not any(rest.asked for rest in pair.rests.values())


@pytest.mark.parametrize(
    ("version", "is_good"),
    [("4.0.9", False), ("4.1.0", True), ("4.2", True), ("10.0.1", True), ("4.1rc1", False), ("5.0.0", True)],
)
def test_versions_are_compared_as_numbers(pair: Pair, version: str, is_good: bool) -> None:
    pair.patroni["db2"]["patroni"] = {"version": version, "name": "db2"}
    assert (pair.refusals() == ()) is is_good
    assert (pair.found() == GOOD) is is_good


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"state": "stopped"}, "db2 does not follow: it is stopped"),
        ({"lag": "unknown"}, "db2 does not tell how far it is behind"),
        ({"lag": 3 << 20}, "db2 is 3 MiB behind"),
        ({"timeline": 2}, "the members are not on one timeline: db1 on 1, db2 on 2"),
        ({"timeline": "unknown"}, "the members are not on one timeline: db1 on 1, db2 on an unknown one"),
        ({"role": "replica"}, "no standby is synchronous now: another loss would lose what is acknowledged meanwhile"),
    ],
)
def test_a_standby_that_is_not_fit_to_lead_is_told_and_refused(
    pair: Pair, change: dict[str, object], told: str
) -> None:
    pair.standby |= change
    assert told in pair.problems()
    assert pair.refusals() != ()


def test_each_reason_against_a_switch_is_told_and_all_at_once(pair: Pair) -> None:
    assert pair.refusals("db1") == ("db1 leads already",)
    assert pair.refusals("db3") == ("db3 is no member; there are db1, db2",)
    pair.more = {"pause": True, "scheduled_switchover": {"at": "2026-11-27T03:00:00+00:00", "from": "db1"}}
    pair.standby |= {"role": "replica", "tags": {"nofailover": True}, "lag": "unknown", "timeline": 2}
    assert pair.refusals() == (
        "Patroni is paused by somebody: patronictl resume",
        "a switch-over is scheduled already: patronictl list",
        "db2 has the tag nofailover",
        "db2 is not the synchronous standby: it may lack what was acknowledged",
        "db2 does not tell how far it is behind",
        "db2 is on timeline 2, but the leader on 1",
    )
    assert "Patroni is paused: it promotes nobody by itself" in pair.problems()


def test_without_synchronous_mode_doctor_says_what_is_lost_and_a_planned_switch_is_allowed(pair: Pair) -> None:
    pair.config["synchronous_mode"] = False
    pair.standby["role"] = "replica"
    told = "synchronous_mode is off: what was acknowledged last is lost with the leader"
    assert pair.found()["patroni synchronous mode"] == [told]
    assert pair.refusals() == (), "the leader ends in order, so that the standby has all"


def test_without_etcd_nothing_is_asked(pair: Pair) -> None:
    later = NOW + timedelta(minutes=1)
    patroni = pair.loses_etcd()
    state = patroni.status()
    found = {name: [problem for problem, _ in problems] for name, problems in checks(state, URL, later)}
    assert found["patroni leader"] == ["no member reaches etcd, so who leads is not known"]
    assert found["patroni etcd"] == [
        f"{name} has not reached etcd since 2026-11-26T22:33:05+00:00" for name in ("db1", "db2")
    ]
    assert "patroni lag" not in found, "nobody tells it then"
    assert "no member reaches etcd, so Patroni can change nothing" in patroni.plan("db2", later).refusals
    with pytest.raises(Refused):
        patroni.switch("db2", later)


def test_while_nobody_leads_a_failover_is_asked_for(pair: Pair) -> None:
    pair.leader |= {"role": "replica", "state": "stopped"}
    assert "nobody leads: nothing can be written" in pair.found()["patroni leader"]
    pair.rests["db1"].answers["POST /failover"] = (200, 'Successfully failed over to "db2"')
    assert pair.tell().switch("db2", NOW) == 'Successfully failed over to "db2"'
    assert pair.rests["db1"].asked == [("/failover", {"candidate": "db2"})]


@pytest.mark.parametrize("answer", ["<html>welcome</html>", "[" * 200_000], ids=["page", "nesting"])
def test_a_member_that_does_not_answer_is_named_and_the_other_is_asked(pair: Pair, answer: str) -> None:
    patroni = pair.tell()
    pair.rests["db1"].answers = {"GET /patroni": (200, answer)}
    (url, reason), *others = patroni.status().unanswered
    assert (url, others) == (pair.rests["db1"].url, [])
    assert "no JSON object; is it Patroni's REST API?" in reason
    pair.rests["db2"].answers["POST /switchover"] = (200, 'Successfully switched over to "db2"')
    assert patroni.switch("db2", NOW) == 'Successfully switched over to "db2"'
    assert pair.rests["db2"].asked == [("/switchover", {"leader": "db1", "candidate": "db2"})]


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("/patroni", {"patroni": "4.1.5"}),
        ("/patroni", {"dcs_last_seen": 10**20}),
        ("/cluster", {"members": ["db1"]}),
        ("/cluster", {"members": [{"name": "db1", "tags": ["nofailover"]}]}),
        ("/cluster", {"members": 2}),
    ],
)
def test_what_patroni_never_answers_is_told_as_that(pair: Pair, path: str, told: dict[str, object]) -> None:
    patroni = pair.tell()
    for rest in pair.rests.values():
        rest.tells({path: told})
    with pytest.raises(PatroniUnavailable, match=r"is patroni\.urls right"):
        patroni.status()


def test_a_member_that_the_settings_do_not_name_is_told(pair: Pair) -> None:
    pair.settings = PatroniSettings(urls=(pair.rests["db1"].url,))
    assert pair.found()["patroni members"] == ["db2 of the cluster is not in patroni.urls"]
    assert pair.refusals() == ("db2 does not tell its version of Patroni: is its REST API in patroni.urls?",)
    with pytest.raises(Refused, match=r"the REST API of db2 does not answer, or is not in patroni.urls"):
        pair.tell().reinit("db2")


def test_silence_ends_at_the_deadline(pair: Pair) -> None:
    pair.tell()
    for rest in pair.rests.values():
        rest.stays_silent.set()
    with pytest.raises(PatroniUnavailable, match="does not answer: timed out"):
        Patroni(PatroniSettings(urls=pair.settings.urls, timeout_s=0.2)).status()


def test_an_answer_whose_headers_drip_ends_at_the_deadline(pair: Pair) -> None:
    for rest in pair.rests.values():
        rest.drips.set()
    for url in pair.settings.urls:
        with pytest.raises(PatroniUnavailable, match="does not answer: timed out"):
            Api(url, PatroniSettings(urls=pair.settings.urls, timeout_s=0.2)).get("/patroni")


def test_what_patroni_refuses_is_told_in_its_words(pair: Pair) -> None:
    pair.rests["db1"].answers["POST /switchover"] = (412, "switchover is not possible: no good candidates\n")
    with pytest.raises(Refused, match=r"Patroni refuses, with 412: switchover is not possible: no good candidates$"):
        pair.tell().switch("db2", NOW)


def test_changes_are_asked_for_with_the_password_of_the_settings(pair: Pair, tmp_path: Path) -> None:
    pair.rests["db1"].answers["POST /switchover"] = (401, "no auth header received")
    with pytest.raises(Refused, match=r"patroni\.user and patroni\.password_file"):
        pair.tell().switch("db2", NOW)
    secret = tmp_path / "secret"
    secret.write_text("geheim\n", encoding="utf-8")
    secret.chmod(0o600)
    pair.settings = PatroniSettings(urls=pair.settings.urls, user="me", password_file=secret)
    pair.rests["db1"].answers["POST /switchover"] = (200, "done")
    assert pair.tell().switch("db2", NOW) == "done"
    assert pair.rests["db1"].logins == {"", f"Basic {base64.b64encode(b'me:geheim').decode()}"}
    with pytest.raises(ConfigError, match="cannot be used"):
        Patroni(PatroniSettings(urls=("https://127.0.0.1:1",), ca_file=secret))


def test_a_member_is_made_anew_by_its_own_patroni_and_never_the_leader(pair: Pair) -> None:
    pair.rests["db2"].answers["POST /reinitialize"] = (200, "reinitialize started")
    patroni = pair.tell()
    assert patroni.reinit("db2") == "reinitialize started"
    assert pair.rests["db2"].asked == [("/reinitialize", {"force": True})]
    for name, told in (("db1", "db1 is the leader"), ("db9", "db9 is no member; there are db1, db2")):
        with pytest.raises(Refused, match=told):
            patroni.reinit(name)
    pair.leader["role"] = "replica"
    with pytest.raises(Refused, match="nobody leads, so there is nothing to make a copy of"):
        pair.tell().reinit("db2")


@pytest.mark.parametrize(
    ("url", "problems"),
    [
        ("postgresql://pacs@/pacs?host=db1&host=db2&target_session_attrs=read-write", []),
        ("postgresql://pacs@db1,db2/pacs?target_session_attrs=primary", []),
        ("postgresql://pacs@db1,db2/pacs", ["database does not ask for the member that can be written"]),
        (
            "postgresql://pacs@db1/pacs?target_session_attrs=read-write",
            ["database names one host, so no other member is ever found"],
        ),
    ],
)
def test_the_url_has_to_find_whichever_member_leads(pair: Pair, url: str, problems: list[str]) -> None:
    assert pair.found(url)["database URL"] == problems


def test_doctor_makes_these_checks_where_the_settings_name_patroni(
    pair: Pair, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    house = House(tmp_path / "archive", f"sqlite:///{tmp_path}/index.db")
    told = yaml.safe_load(house.config.read_text(encoding="utf-8"))
    urls = list(pair.settings.urls)
    house.config.write_text(yaml.safe_dump(told | {"patroni": {"urls": urls, "timeout_s": 30.0}}), encoding="utf-8")

    def found() -> dict[str, str]:
        assert run(["-c", str(house.config), "doctor", "--json"]) == ExitCode.DAMAGE
        return {row["check"]: row["result"] for row in json.loads(capsys.readouterr().out)}

    for one in pair.patroni.values():
        one["dcs_last_seen"] = REACHED_LATELY.timestamp()
    pair.tell()
    good = found()
    assert [name for name in GOOD if good[name] == "good"] == list(GOOD)[:-1]
    assert good["database URL"].startswith("database ")
    for rest in pair.rests.values():
        rest.answers = {}
    assert "answers 404 and no JSON object" in found()["patroni members"]


def test_failover_asks_patroni_about_its_members_and_nothing_about_others(
    pair: Pair, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    house = House(tmp_path / "archive", f"sqlite:///{tmp_path}/index.db")
    told = yaml.safe_load(house.config.read_text(encoding="utf-8"))
    urls = list(pair.settings.urls)
    house.config.write_text(yaml.safe_dump(told | {"patroni": {"urls": urls, "timeout_s": 30.0}}), encoding="utf-8")

    def failover(*arguments: str, expect: ExitCode = ExitCode.DONE) -> dict[str, Any]:
        assert run(["-c", str(house.config), "failover", *arguments, "--json"]) == expect
        out = capsys.readouterr().out
        return dict(json.loads(out)) if out else {}

    for one in pair.patroni.values():
        one["dcs_last_seen"] = REACHED_LATELY.timestamp()
    pair.tell()
    database = failover("status")["database"]
    assert [(one["name"], one["role"]) for one in database["members"]] == [("db1", "leader"), ("db2", "sync_standby")]
    plan = failover("plan", "to", "db2")
    assert (plan["source"], plan["steps"], plan["result"]) == ("db1", ["switch over"], "would run")
    assert failover("to", "db2", "--dry-run")["result"] == "would run"
    (refusal,) = failover("plan", "to", "db1", expect=ExitCode.REFUSED)["refusals"]
    assert refusal["text"] == "db1 leads already"
    assert not any(rest.asked for rest in pair.rests.values())
    pair.rests["db1"].answers["POST /switchover"] = (200, "Successfully switched over to db2")
    assert failover("to", "db2")["told"] == "Successfully switched over to db2"
    assert pair.rests["db1"].asked == [("/switchover", {"leader": "db1", "candidate": "db2"})]
    pair.rests["db2"].answers["POST /reinitialize"] = (200, "reinitialize started")
    assert failover("resync", "db2")["told"] == "reinitialize started"
    failover("demote", "db1", expect=ExitCode.REFUSED)
    failover("to", "db3", expect=ExitCode.REFUSED)  # no member: a partner, of which there is none
    for rest in pair.rests.values():
        rest.answers = {}
    assert "answers 404" in failover("status")["database"]["problem"]
    failover("to", "db1", expect=ExitCode.UNREACHABLE)  # whether it is a member is not known
    failover("to", "pacs", expect=ExitCode.REFUSED)  # this site, which has no partner


def test_the_members_are_shown_while_the_database_is_away(
    pair: Pair, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    house = House(tmp_path / "archive", f"sqlite:///{tmp_path}/index.db")
    told = yaml.safe_load(house.config.read_text(encoding="utf-8"))
    patroni = {"urls": list(pair.settings.urls), "timeout_s": 30.0}
    away = {"database": "postgresql://pacs@127.0.0.1:1/pacs", "patroni": patroni}
    house.config.write_text(yaml.safe_dump(told | away), encoding="utf-8")
    pair.loses_etcd()
    assert run(["-c", str(house.config), "failover", "status"]) == ExitCode.UNREACHABLE
    assert "db2" in capsys.readouterr().out
    assert run(["-c", str(house.config), "failover", "status", "--json"]) == ExitCode.UNREACHABLE
    shown = json.loads(capsys.readouterr().out)
    assert [one["name"] for one in shown["database"]["members"]] == ["db1", "db2"]
    assert run(["-c", str(house.config), "failover", "to", "db2"]) == ExitCode.REFUSED  # Patroni is asked all the same
