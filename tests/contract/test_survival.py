"""The model of the running site, and the numbers that the server notes for `pacs status`, in either database."""

import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from support.house import NOW, House
from support.postgres import Cluster
from support.samples import tiny

from pacs_server.cli.doctor_checks import _sends
from pacs_server.cli.exits import ExitCode
from pacs_server.cli.main import run
from pacs_server.cluster.survive import Database, Placement
from pacs_server.index.engine import Index
from pacs_server.index.site.registry import Policy, VolumeMode, VolumeRow
from pacs_server.service.assemble import Node
from pacs_server.service.locks import instance_lock
from pacs_server.service.monitoring.survival import Standing, SurvivalNotes, count_copies, is_here, standing
from pacs_server.storage.mounts import mount_of
from pacs_server.storage.sentinel import adopt

LOCAL = "22 1 254:0 / / rw - ext4 /dev/vda rw\n"
NAS = "40 22 0:{number} / {path} rw - nfs4 nas:/pacs rw,hard\n"


@pytest.fixture
def house(tmp_path: Path, new_upgraded_url: Callable[[], str]) -> House:
    """An archive with the volume `first`."""
    return House(tmp_path / "archive", new_upgraded_url())


def add(house: House, name: str, domain: str) -> None:
    path = house.folder.parent / name
    path.mkdir()
    with house.node() as node:
        node.registry.add_volume(
            VolumeRow(id=adopt(path, name=name), name=name, path=str(path), tier="hot", domain=domain)
        )


def stands(node: Node, table: str = LOCAL) -> Standing:
    return standing(node, count_copies(node), server="here", table=table)


def test_a_new_archive_is_told_as_its_policy_will_have_it(house: House) -> None:
    with house.node() as node:
        now = stands(node)
    assert now.is_empty
    assert now.site.placements == (Placement(volumes=frozenset({"first"})),)
    assert [(one.name, one.server, one.takes_new) for one in now.site.volumes] == [("first", "here", True)]


def test_a_database_of_the_machine_is_in_the_server_and_a_sqlite_file_shares_its_disk(house: House) -> None:
    with house.node() as node:
        (database,) = stands(node).site.databases
        path, hosts = node.index.database_path, node.index.hosts
    if path is not None:
        assert database == Database(name=path.name, server="here", domain="first")
    else:
        assert database == Database(name=hosts[0], server="here")


def test_a_volume_of_the_network_outlives_the_server(house: House) -> None:
    add(house, "nas", "far")
    table = LOCAL + NAS.format(path=house.folder.parent / "nas", number=50)
    with house.node() as node:
        now = stands(node, table)
    assert {one.name: one.server for one in now.site.volumes} == {"first": "here", "nas": ""}


def test_only_good_copies_on_volumes_that_can_be_read_count(house: House) -> None:
    add(house, "second", "second")
    with house.node() as node:
        node.registry.set_policy(Policy(want=2, need=2, degraded=1))
    house.take_in(tiny(1), tiny(2), tiny(3))
    with house.node() as node:
        both = frozenset({"first", "second"})
        assert stands(node).site.placements == (Placement(volumes=both, objects=3),)
        first = next(volume for volume in node.volumes() if volume.spec.name == "first")
        held = node.copies.of_objects([tiny(1).SOPInstanceUID])[0].copies
        (copy,) = [one for one in held if one.volume_id == first.spec.id]
        node.copies.mark_damaged(copy.volume_id, copy.path, "short", NOW)
        assert {one.volumes: one.objects for one in stands(node).site.placements} == {both: 2, frozenset({"second"}): 1}
    (house.folder.parent / "second").rename(house.folder.parent / "away")
    with house.node() as node:
        now = stands(node)
    assert (now.away, now.gone, now.is_empty) == (("second",), 1, False)
    assert now.site.placements == (Placement(volumes=frozenset({"first"}), objects=2),)
    assert [one.name for one in now.site.volumes] == ["first"]


def test_a_site_that_holds_nothing_is_tried_with_the_copies_that_a_sender_waits_for(house: House) -> None:
    add(house, "second", "second")
    with house.node() as node:
        node.registry.set_policy(Policy(want=2, need=1, degraded=1))
        assert {one.volumes for one in stands(node).site.placements} == {frozenset({"first"}), frozenset({"second"})}
        node.registry.set_policy(Policy(want=2, need=2, degraded=1))
        node.look_at_site_state(max_age_s=0)
        assert {one.volumes for one in stands(node).site.placements} == {frozenset({"first", "second"})}


def test_a_read_only_volume_is_read_and_takes_nothing_new(house: House) -> None:
    with house.node() as node:
        (row,) = node.registry.volumes()
        node.registry.change_volume(row.id, {"mode": VolumeMode.READ_ONLY})
    with house.node() as node:
        (volume,) = stands(node).site.volumes
    assert not volume.takes_new


def test_the_server_notes_what_is_survived_and_counts_again_after_an_hour(house: House) -> None:
    house.take_in(tiny(1))
    with house.node() as node:

        def noted() -> Mapping[str, Any]:
            told = node.registry.survival()
            assert told is not None
            return {name: value for name, value in told.items() if name in ("data", "storing", "gone", "counted_at")}

        assert node.registry.survival() is None
        notes = SurvivalNotes(node)
        notes.look(NOW)
        usual = {"data": 0, "storing": 0, "gone": 0}
        assert noted() == usual | {"counted_at": NOW.isoformat()}
        (copy,) = node.copies.of_objects([tiny(1).SOPInstanceUID])[0].copies
        node.copies.mark_damaged(copy.volume_id, copy.path, "short", NOW)
        notes.look(NOW + timedelta(minutes=59))
        assert noted() == usual | {"counted_at": NOW.isoformat()}, "copies are counted once an hour"
        (row,) = node.registry.volumes()
        node.registry.change_volume(row.id, {"mode": VolumeMode.READ_ONLY})
        node.look_at_site_state(max_age_s=0)
        notes.look(NOW + timedelta(minutes=59, seconds=59))
        assert noted()["storing"] == 0, "volumes are looked at once a minute"
        notes.look(NOW + timedelta(minutes=60))
        assert noted() == {
            "data": -1, "storing": -1, "gone": 1, "counted_at": (NOW + timedelta(minutes=60)).isoformat(),
        }  # fmt: skip


def test_what_a_node_whose_clock_is_ahead_has_counted_is_not_of_the_future(
    house: House, capsys: pytest.CaptureFixture[str]
) -> None:
    house.take_in(tiny(1))
    with house.node() as node:
        SurvivalNotes(node).look(datetime.now(UTC) + timedelta(days=1))
    run(["-c", str(house.config), "status"])
    assert "(copies counted 0 minutes ago)" in capsys.readouterr().out


def test_status_tells_the_numbers_and_how_old_they_are(house: House, capsys: pytest.CaptureFixture[str]) -> None:
    config = str(house.config)
    run(["-c", config, "status"])
    assert "losses survived  not counted yet; pacs doctor --survive 1 counts" in capsys.readouterr().out
    house.take_in(tiny(1))
    with house.node() as node:
        SurvivalNotes(node).look(NOW - timedelta(minutes=7))
    run(["-c", config, "status"])
    line = re.search(r"^losses survived +(.*)$", capsys.readouterr().out, re.M)
    assert line
    assert line[1].startswith("data, retrieving, storing: none (copies counted ")
    assert int(re.findall(r"counted (\d+) minutes ago", line[1])[0]) >= 7
    run(["-c", config, "status", "--json"])
    told = json.loads(capsys.readouterr().out)["survival"]
    assert told["counted_at"] == (NOW - timedelta(minutes=7)).isoformat()


def test_doctor_makes_every_check_and_names_a_remedy(house: House, capsys: pytest.CaptureFixture[str]) -> None:
    def found(expect: ExitCode) -> dict[str, list[tuple[str, str]]]:
        assert run(["-c", str(house.config), "doctor", "--json"]) == expect
        rows: dict[str, list[tuple[str, str]]] = {}
        for row in json.loads(capsys.readouterr().out):
            rows.setdefault(row["check"], []).append((row["result"], row["remedy"]))
        return rows

    house.take_in(tiny(1))
    good = [("good", "")]
    first = found(ExitCode.DAMAGE)
    known = [
        "settings",
        "database",
        "writing",
        "durability",
        "server",
        "nodes",
        "volumes",
        "fault domains",
        "copies",
        "UIDs",
        "sends",
        "partners",
    ]
    known += ["certificates", "failover", "codecs", "audit trail"]
    assert list(first) == known
    assert first["server"] == [("no server runs here", "pacs serve")]
    assert (first["settings"], first["fault domains"], first["copies"], first["partners"]) == (good,) * 4
    assert (first["certificates"], first["UIDs"]) == (good, good)
    assert first["audit trail"] == good
    key = house.folder / "audit.key"
    key.write_bytes(b"none")
    key.chmod(0o644)
    ((told, remedy),) = found(ExitCode.DAMAGE)["audit trail"]
    assert told == f"{key} may be read by other users of this machine: chmod 600 it"
    assert "no checkpoint" in remedy
    key.chmod(0o600)
    ((told, _),) = found(ExitCode.DAMAGE)["audit trail"]
    assert told.startswith(f"{key} holds no key")
    add(house, "second", "another")
    with house.node() as node:
        node.registry.set_policy(Policy(want=3, need=1, degraded=1))
        (copy,) = node.copies.of_objects([tiny(1).SOPInstanceUID])[0].copies
        node.copies.mark_damaged(copy.volume_id, copy.path, "short", NOW)
    house.take_in(tiny(2, study="other", SOPInstanceUID=tiny(1).SOPInstanceUID), tiny(1, Rows=2))
    then = found(ExitCode.DAMAGE)
    assert [told for told, _ in then["UIDs"]] == ["1 studies have objects under the UIDs of objects of other studies"]
    assert then["copies"] == [("1 copies are damaged", "pacs verify")]
    assert then["fault domains"] == [
        ("second is on the device of first, but in another fault domain", "pacs storage set second --domain first"),
        ("3 copies are wanted, but there are 2 fault domains", "pacs storage add"),
    ]
    (house.folder.parent / "second").rename(house.folder.parent / "away")
    assert "second: " in found(ExitCode.DAMAGE)["volumes"][0][0]
    house.config.write_text("port: many\naet: ''\n", encoding="utf-8")
    broken = found(ExitCode.CONFIGURATION)
    assert [remedy for _, remedy in broken["settings"]] == ["pacs config check"] * 2
    assert list(broken) == ["settings"]


def test_doctor_tells_of_a_passcode_that_is_not_here(house: House, capsys: pytest.CaptureFixture[str]) -> None:
    """As on a site that has the registration from its partner."""
    secret = house.folder / "archive2.passcode"
    secret.write_text("geheim\n", encoding="utf-8")
    secret.chmod(0o600)
    words = ["-c", str(house.config), "ae", "add", "ARCHIVE2", "127.0.0.1", "104", "--tls", "--as-user", "pacs"]
    assert run([*words, "--passcode-file", str(secret)]) == ExitCode.DONE
    with house.node() as node:
        assert list(_sends(node)) == []
        secret.unlink()
        ((told, remedy),) = _sends(node)
    assert told.startswith(f"ARCHIVE2 cannot be called: {secret} cannot be read: No such file or directory; write it")
    assert remedy == "pacs ae set ARCHIVE2 --passcode-file FILE"


def test_doctor_tells_of_a_database_that_loses_what_was_committed_in_a_power_cut(
    house: House, kind: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def found() -> dict[str, str]:
        assert run(["-c", str(house.config), "doctor", "--json"]) == ExitCode.DAMAGE
        rows = [row for row in json.loads(capsys.readouterr().out) if row["check"] == "durability"]
        return {row["result"].partition(":")[0]: row["remedy"] for row in rows}

    if kind == "postgresql":  # of the tests, which is never flushed
        assert found() == {"fsync of the database is off": "fsync = on in postgresql.conf there, then reload it"}
        return
    assert found() == {"good": ""}
    monkeypatch.setattr("pacs_server.index.drivers.sqlite._PRAGMAS", ("journal_mode=DELETE", "synchronous=NORMAL"))
    remedy = "end other programs that have its file open, then restart pacs serve"
    assert found() == {
        "journal_mode of the database is delete": remedy, "synchronous of the database is 1": remedy,
    }  # fmt: skip


def test_a_standby_that_is_away_is_named_and_not_counted_as_a_database(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def told() -> list[str]:
        run(["-c", str(house.config), "doctor", "--json"])
        return [row["result"] for row in json.loads(capsys.readouterr().out) if "take over" in row["result"]]

    def databases() -> tuple[list[str], tuple[str, ...]]:
        with house.node() as node:
            now = stands(node)
        return [one.name for one in now.site.databases], now.idle

    with Cluster.new() as used, used.standby() as standby:
        used.execute("CREATE DATABASE pacs")
        url = f"postgresql://pacs@/pacs?host={used.home}&host={standby.home}&target_session_attrs=read-write"
        house = House(tmp_path / "archive", url)
        first, second = (str(one.home) for one in (used, standby))
        assert told() == []
        assert databases() == ([first, second], ())
        used.go_on_alone()
        standby.stop()
        (why,) = told()
        assert why.startswith(f"the database server at {second}:5432 could not take over: ")
        assert databases() == ([first], (second,))
        assert run(["-c", str(house.config), "doctor", "--survive", "1"]) == ExitCode.DAMAGE
        assert f"could not take over now: {second}" in capsys.readouterr().err


def test_doctor_tells_at_once_of_a_database_that_takes_nothing_new_and_makes_the_other_checks(
    house: House, kind: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def found() -> dict[str, dict[str, str]]:
        assert run(["-c", str(house.config), "doctor", "--json"]) == ExitCode.DAMAGE
        return {row["check"]: row for row in json.loads(capsys.readouterr().out)}

    assert found()["writing"]["result"] == "good"
    if kind == "postgresql":
        name = house.url.partition("?")[0].rpartition("/")[2]
        with house.node() as node, node.index.write() as connection:
            connection.execute(text(f"ALTER DATABASE {name} SET default_transaction_read_only = on"))
        expected = "read-only transaction"
    else:
        monkeypatch.setattr("pacs_server.index.drivers.sqlite._PRAGMAS", ("query_only=ON",))
        expected = "readonly database"
    told = found()
    assert expected in told["writing"]["result"]
    assert told["writing"]["remedy"]
    assert told["copies"]["result"] == "good"


def test_doctor_tells_what_the_server_finds_wrong_with_itself(house: House, capsys: pytest.CaptureFixture[str]) -> None:
    def alarm(kind: str, text: str, raised_at: str, about: str = "x") -> dict[str, str]:
        return {"kind": kind, "about": about, "text": text, "since": NOW.isoformat(), "raised_at": raised_at}

    raised = NOW.isoformat()
    standing = {
        "1": alarm("self-check", "the plain port does not answer", raised),
        "2": alarm("volume", "volume nas1 is offline", raised),  # looked at anew by another check
        "3": alarm("index", "the database takes nothing new", ""),
        "4": alarm("volume", "volume first did not take 3 copies", raised, "first"),  # which is well when looked at
        "5": alarm("index", "the database takes nothing new", raised) | {"gone_since": raised},
    }
    (house.folder / "alarms.json").write_text(json.dumps({"standing": standing}), encoding="utf-8")
    with instance_lock(house.folder):
        assert run(["-c", str(house.config), "doctor", "--json"]) == ExitCode.DAMAGE
    told = [row for row in json.loads(capsys.readouterr().out) if row["check"] == "server"]
    assert [(row["result"], row["remedy"]) for row in told] == [
        ("the plain port does not answer", "pacs alert list"),
        ("volume first did not take 3 copies", "pacs alert list"),
    ]


def test_doctor_survive_ends_with_12_while_something_is_not_survived(
    house: House, capsys: pytest.CaptureFixture[str]
) -> None:
    house.take_in(tiny(1), tiny(2))
    assert run(["-c", str(house.config), "doctor", "--survive", "1"]) == ExitCode.DAMAGE
    assert "2 objects that lie on first alone are lost" in capsys.readouterr().out
    with house.node() as node:
        (copy,) = node.copies.of_objects([tiny(1).SOPInstanceUID])[0].copies
        node.copies.mark_damaged(copy.volume_id, copy.path, "short", NOW)
    assert run(["-c", str(house.config), "doctor", "--survive", "1", "--json"]) == ExitCode.DAMAGE
    said = capsys.readouterr()
    assert json.loads(said.out)["gone_objects"] == 1
    assert "1 objects have no good copy that can be read now" in said.err
    assert json.loads(said.out)["survived"]["data"] == 0, "what the other object survives"
    house.volume.rename(house.folder.parent / "away")
    assert run(["-c", str(house.config), "doctor", "--survive", "1"]) == ExitCode.DAMAGE
    shown = capsys.readouterr().out
    assert shown.count("does not even go on now; 2 objects have no copy that can be read") == 2
    assert "then data" not in shown, "which nothing brings back"


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        ("postgresql://pacs@db1/pacs", ("db1",)),
        ("postgresql://pacs@db1:5433/pacs", ("db1",)),
        ("postgresql://pacs@db1:5432,db2:5432/pacs?target_session_attrs=read-write", ("db1:5432", "db2:5432")),
        ("postgresql:///pacs?host=/run/postgresql", ("/run/postgresql",)),
        ("postgresql:///pacs", ("localhost",)),
    ],
)
def test_each_host_of_a_url_is_a_database(url: str, hosts: tuple[str, ...]) -> None:
    index = Index.open(url)
    try:
        assert index.hosts == hosts
    finally:
        index.close()


@pytest.mark.parametrize(
    ("line", "elsewhere"),
    [
        ("- nfs4 nas:/x rw", True),
        ("- cifs //nas/x rw", True),
        ("- fuse.sshfs nas:/x rw", True),
        ("- fuse.mergerfs /disks rw", False),
        ("- fuseblk /dev/sdb1 rw", False),
        ("- ext4 /dev/sdb1 rw", False),
    ],
)
def test_a_file_system_outlives_the_machine_only_where_that_is_known(line: str, elsewhere: bool) -> None:
    mount = mount_of(Path("/mnt/v/pacs"), f"{LOCAL}40 22 0:50 / /mnt/v rw {line}\n")
    assert mount is not None
    assert (mount.is_elsewhere, mount.device) == (elsewhere, "0:50")


@pytest.mark.parametrize(
    ("host", "here"),
    [
        ("localhost", True),
        ("localhost:5433", True),
        ("127.0.0.1:5432", True),
        ("::1", True),
        ("/run/postgresql", True),
        ("/run/postgresql:5433", True),
        ("192.0.2.7", False),
        ("db1:5432", False),
        ("2001:db8::1", False),
    ],
)
def test_a_database_on_this_machine_is_lost_with_it(host: str, here: bool) -> None:
    assert is_here(host) is here
