"""A running server as monitoring and persons see it: pages, metrics, alarms, and its calls to itself."""

import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from support import rude
from support.faulty_volume import mounted
from support.mail import MailServer
from support.monitoring import Metrics, http_port, keeper, metrics, page, reasons, words
from support.samples import tiny, write
from support.second_client import associate, identifier, send
from support.server import Archive, children, freeze, lives, wait_for

from pacs_server.dicom.elements import IMPLICIT_LE
from pacs_server.index.engine import Index
from pacs_server.index.site.draining import Draining, set_draining
from pacs_server.settings import load

pytestmark = pytest.mark.timeout(600)

STUDY_FIND = rude.STUDY_FIND
SOON_S = 120.0
PROMPT = {"hold_s": 0.0, "clear_after_s": 1.0}


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    """It speaks TLS too, and answers monitoring on a port of its own."""
    made = Archive(tmp_path_factory.mktemp("archive"), settings={"http": {"port": 0}, "tls": {"port": 0}})
    made.pacs("tls", "init", "--name", "localhost", "--name", "127.0.0.1")
    made.start()
    yield made
    assert made.stop() == 0
    assert "Traceback" not in made.log_text()


def counted(archive: Archive, name: str, value: float) -> None:
    """Wait until a sample is what was done: processes tell what they counted once a second."""
    wait_for(lambda: metrics(archive).get(name) == value, f"{name} {value}", timeout_s=SOON_S, every_s=0.2)


def test_a_server_that_serves_is_live_and_ready(archive: Archive) -> None:
    wait_for(lambda: page(archive, "/live") == (200, '{"live": true}\n'), "the server to live", timeout_s=SOON_S)
    wait_for(lambda: not reasons(archive), "the server to be ready", timeout_s=SOON_S)
    assert json.loads(page(archive, "/ready")[1])["role"] == "alone"


def test_what_is_done_is_counted_by_peer_and_by_service(archive: Archive, tmp_path: Path) -> None:
    archive.add_peer("CT1", 104)
    sample = write(tiny("counted", study="counted"), tmp_path / "a.dcm")
    assert send(archive, [sample], aet="CT1") == {sample.sop_uid: 0}
    with associate(archive, [(STUDY_FIND, [IMPLICIT_LE])]) as association:
        asked = identifier("STUDY", StudyInstanceUID="")
        answers = [status for status, _ in association.send_c_find(asked, STUDY_FIND)]
    assert len(answers) == 2
    counted(archive, 'pacs_stored_objects_total{peer="CT1"}', 1)
    counted(archive, 'pacs_find_answers_total{peer="unregistered"}', 1)
    counted(archive, 'pacs_stored_bytes_total{peer="CT1"}', len(sample.data_set))
    counted(archive, 'pacs_request_seconds_count{service="store"}', 1)
    counted(archive, 'pacs_request_seconds_count{service="find"}', 1)
    counted(archive, 'pacs_accepted_associations_total{peer="CT1"}', 1)
    wait_for(lambda: metrics(archive).get('pacs_held{what="instances"}') == 1, "what is held", timeout_s=SOON_S)


def test_what_is_refused_is_counted_by_its_status_or_reason(archive: Archive, tmp_path: Path) -> None:
    bad = write(tiny("refused", study="refused", SeriesInstanceUID=""), tmp_path / "bad.dcm")
    assert send(archive, [bad]) == {bad.sop_uid: 0xA900}
    counted(archive, 'pacs_refused_objects_total{peer="unregistered",status="0xa900"}', 1)
    with socket.create_connection(("127.0.0.1", archive.port), timeout=60) as caller:
        caller.sendall(rude.associate_request(rude.context(1, rude.VERIFICATION, rude.IMPLICIT_LE), called=b"WRONG"))
        assert caller.recv(1) == b"\x03"
    counted(archive, 'pacs_rejected_associations_total{reason="called AE title not recognised"}', 1)


def test_status_and_metrics_tell_the_same(archive: Archive) -> None:
    def agree() -> bool:
        told, now = archive.report("status"), metrics(archive)
        held = {what.replace(" ", "_"): number for what, number in told["holdings"].items() if what != "bytes"}
        (volume,) = told["volumes"]
        return (
            all(now.get(f'pacs_held{{what="{what}"}}') == number for what, number in held.items())
            and now.get("pacs_held_bytes") == told["holdings"]["bytes"]
            and now.get("pacs_objects_lacking_copies") == told["backlog"]["lacking_copies"]
            and now.get(f'pacs_volume_size_bytes{{volume="{volume["name"]}"}}') == volume["total_bytes"]
            and told["alarms"] == []
        )

    wait_for(agree, "the same to be told", timeout_s=SOON_S, every_s=0.5)


def test_the_server_calls_both_of_its_ports_and_leaves_no_trace(archive: Archive) -> None:
    def told_all() -> tuple[int, Metrics] | None:
        """The associations that were served, and the metrics, once every process has told of what came before."""
        served, now = archive.report("status")["server"]["served"], metrics(archive)
        ended = re.findall(r"association .*calling=(\S+) .*ended=(\S+)", archive.log_text())
        accepted = sum(value for name, value in now.items() if name.startswith("pacs_accepted_associations_total"))
        echoed = now.get('pacs_request_seconds_count{service="echo"}', 0)
        is_all = len(ended) == served == accepted and ended.count(("STARTING", "released")) <= echoed
        return (served, now) if is_all else None

    def told_of_others() -> list[str]:
        """The rows of the audit trail, but not those that tell of these reports."""
        return [row["hash"] for row in archive.report("audit", "report") if row["event"] != "audit"]

    def checks() -> list[float]:
        return [
            metrics(archive).get(f'pacs_self_checks_total{{port="{port}",result="good"}}', 0)
            for port in ("plain", "TLS")
        ]

    served, before = wait_for(told_all, "everything to be told", timeout_s=SOON_S, every_s=0.5)
    rows = told_of_others()
    begin = checks()
    wait_for(lambda: min(b - a for a, b in zip(begin, checks(), strict=True)) >= 2, "two checks", timeout_s=SOON_S)
    told = archive.log_text()
    assert not re.search(rf"calling={archive.aet}\b", told)
    assert archive.report("status")["server"]["served"] == served
    assert told_of_others() == rows
    now = metrics(archive)
    for name in ('pacs_accepted_associations_total{peer="unregistered"}', 'pacs_request_seconds_count{service="echo"}'):
        assert now.get(name) == before.get(name)
    assert now['pacs_self_check_up{port="TLS"}'] == 1
    assert not any(name.startswith("pacs_broken") for name in now.keys() - before.keys())


def test_a_call_to_itself_that_is_let_in_when_it_was_given_up_leaves_no_trace_either(archive: Archive) -> None:
    def counts(*names: str) -> float:
        return sum(value for name, value in metrics(archive).items() if name.startswith(names))

    def wait_until_all_is_counted() -> None:
        served = lambda: len(re.findall(r" association number=", archive.log_text()))  # noqa: E731
        wait_for(lambda: counts("pacs_accepted") == served(), "everything to be counted", timeout_s=SOON_S)

    def wait_until_told(what: str) -> None:
        for door in ("plain", "TLS"):
            told = f"{what} door={door}"
            wait_for(lambda told=told: told in archive.log_text()[begin:], told, timeout_s=SOON_S)  # type: ignore[misc]

    wait_for(lambda: not reasons(archive), "the server to be ready", timeout_s=SOON_S)
    wait_until_all_is_counted()
    broken, begin = counts("pacs_broken", "pacs_rejected"), len(archive.log_text())
    serving = children(archive.pid)[:-1]  # the last one watches
    for pid in serving:
        freeze(pid)
    try:
        wait_until_told("self-check failed")
    finally:
        for pid in serving:
            os.kill(pid, signal.SIGCONT)
    wait_until_told("self-check is good again")
    with associate(archive, [(rude.VERIFICATION, [IMPLICIT_LE])], aet="STRANGER") as association:
        assert association.send_c_echo().Status == 0x0000
    wait_for(lambda: "calling=STRANGER" in archive.log_text()[begin:], "the stranger to be told of", timeout_s=SOON_S)
    assert re.findall(r" (association|connection) number=", archive.log_text()[begin:]) == ["association"]
    wait_until_all_is_counted()
    assert counts("pacs_broken", "pacs_rejected") == broken


def test_nobody_else_is_taken_for_the_server_because_he_uses_its_name(archive: Archive) -> None:
    begin = metrics(archive).get('pacs_accepted_associations_total{peer="unregistered"}', 0)
    with associate(archive, [(rude.VERIFICATION, [IMPLICIT_LE])], aet=archive.aet) as association:
        assert association.send_c_echo().Status == 0x0000
    counted(archive, 'pacs_accepted_associations_total{peer="unregistered"}', begin + 1)
    told = rf"association .*calling={archive.aet}\b"
    wait_for(lambda: re.search(told, archive.log_text()), "the association to be told of", timeout_s=SOON_S)


def test_the_process_that_watches_is_replaced_and_goes_on_counting(archive: Archive) -> None:
    before = metrics(archive)['pacs_stored_objects_total{peer="CT1"}']
    watching = children(archive.pid)[-1]
    os.kill(watching, signal.SIGKILL)
    wait_for(lambda: not lives(watching), "it to die", timeout_s=SOON_S)
    # The supervisor holds the port: who asks meanwhile waits for the next one.
    wait_for(lambda: not reasons(archive), "the server to be ready", timeout_s=SOON_S)
    assert metrics(archive)['pacs_stored_objects_total{peer="CT1"}'] == before
    assert metrics(archive)['pacs_replaced_processes_total{process="watching"}'] == 1


def test_counters_go_on_when_processes_are_killed(archive: Archive) -> None:
    name = 'pacs_stored_objects_total{peer="CT1"}'
    before, served = metrics(archive)[name], archive.report("status")["server"]["served"]
    family = children(archive.pid)
    told = {path: path.stat().st_ino for path in archive.data.glob("serve-*.json")}
    for pid in family[:-1]:  # the last one watches, and was replaced before
        os.kill(pid, signal.SIGKILL)

    def is_replaced() -> bool:
        now = metrics(archive)
        assert now[name] == before
        return sum(value for key, value in now.items() if key.startswith("pacs_replaced_processes")) == len(family)

    wait_for(is_replaced, "the processes to be replaced", timeout_s=SOON_S)
    wait_for(lambda: not reasons(archive), "the server to be ready again", timeout_s=SOON_S)
    wait_for(lambda: all(path.stat().st_ino != was for path, was in told.items()), "all to tell", timeout_s=SOON_S)
    assert archive.report("status")["server"]["served"] >= served > 0


def drain(archive: Archive, draining: Draining | None) -> None:
    """As `pacs failover demote here` does."""
    with closing(Index.open(load(archive.config).database)) as index:
        set_draining(index, draining)


def test_a_draining_site_is_live_but_not_ready(archive: Archive) -> None:
    drain(archive, Draining(since=datetime.now(UTC), who="somebody"))
    wait_for(lambda: any("no new associations" in one for one in reasons(archive)), "it", timeout_s=SOON_S)
    wait_for(lambda: page(archive, "/live")[0] == 200, "it to live", timeout_s=SOON_S)
    counted(archive, 'pacs_self_check_up{port="plain"}', 1)
    drain(archive, None)
    wait_for(lambda: not reasons(archive), "the server to be ready", timeout_s=SOON_S)


def test_a_port_that_is_taken_keeps_no_archive_from_serving(
    archive: Archive, new_archive: Callable[..., Archive]
) -> None:
    other = new_archive(http={"port": http_port(archive)})
    other.start()
    assert "monitoring is not answered" in other.log_text()
    assert "listening for monitoring" not in other.log_text()
    assert other.stop() == 0


def test_monitoring_can_be_off(new_archive: Callable[..., Archive]) -> None:
    archive = new_archive(http={"port": None})
    archive.start()
    told = json.loads((archive.data / "serve.json").read_text(encoding="utf-8"))
    assert told["http_port"] is None
    assert archive.stop() == 0


# What a machine that stands still for seconds raises, and nothing that is done here.
STANDSTILL = ("self-check", "index")


def told_of(file: Path) -> list[str]:
    return [one for one in words(file) if not one.split(maxsplit=1)[1].startswith(STANDSTILL)]


def listed_by(archive: Archive) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = archive.report("alert", "list", expect=(0, 12))
    return [row for row in rows if row["kind"] not in STANDSTILL]


def test_a_volume_that_goes_is_told_once_also_over_a_restart_and_when_it_is_back(
    new_archive: Callable[..., Archive], tmp_path: Path
) -> None:
    command, told = keeper(tmp_path)
    archive = new_archive(http={"port": 0}, alert=PROMPT | {"command": command})
    archive.start()
    wait_for(lambda: not reasons(archive), "the server to be ready", timeout_s=SOON_S)
    away = archive.volume.with_name("away")
    archive.volume.rename(away)
    wait_for(lambda: told_of(told) == ["raised volume first"], "the alarm", timeout_s=SOON_S)
    wait_for(lambda: reasons(archive) == ["0 volumes can take an object, but the policy wants at least 1"], "that",
             timeout_s=SOON_S)  # fmt: skip
    assert metrics(archive)['pacs_alarms{kind="volume"}'] == 1
    assert metrics(archive)['pacs_volume_state{volume="first",state="offline"}'] == 1
    (listed,) = listed_by(archive)
    assert (listed["kind"], listed["about"]) == ("volume", "first")
    assert listed in archive.report("status")["alarms"]
    assert archive.stop() == 0
    archive.start()
    wait_for(lambda: metrics(archive).get("pacs_volumes_online") == 0, "it to be looked at", timeout_s=SOON_S)
    away.rename(archive.volume)
    wait_for(lambda: told_of(told) == ["raised volume first", "cleared volume first"], "its end", timeout_s=SOON_S)
    assert listed_by(archive) == []
    assert archive.stop() == 0


def test_a_volume_that_takes_nothing_or_is_mounted_read_only_is_told_and_one_that_an_admin_closed_is_not(
    new_archive: Callable[..., Archive], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    command, told = keeper(tmp_path)
    archive = new_archive(http={"port": 0}, alert=PROMPT | {"command": command})
    sentinel = archive.volume / ".pacs-volume.json"
    content = sentinel.read_bytes()
    mounts = ExitStack()
    request.addfinalizer(mounts.close)
    try:
        volume = mounts.enter_context(mounted(archive.volume))
    except OSError as error:
        pytest.skip(str(error))
    mounts.callback(archive.kill)
    sentinel.touch(mode=0o640)
    sentinel.write_bytes(content)
    archive.start()
    story: list[str] = []

    def tells(what: str) -> None:
        story.append(f"{what} volume first")
        wait_for(lambda: told_of(told) == story, f"{what} to be told", timeout_s=SOON_S)

    volume.tell("fail EDQUOT write")
    sample = write(tiny("no room"), tmp_path / "sample.dcm")
    assert send(archive, [sample]) == {sample.sop_uid: 0xA700}
    tells("raised")
    volume.tell("ok")
    tells("cleared")
    subprocess.run(["mount", "-o", "remount,bind,ro", str(archive.volume)], check=True)
    tells("raised")
    archive.pacs("storage", "set", "first", "--read-only")
    subprocess.run(["mount", "-o", "remount,bind,rw", str(archive.volume)], check=True)
    tells("cleared")
    wait_for(lambda: metrics(archive)['pacs_volume_state{volume="first",state="read-only"}'] == 1, "it to be closed")


def test_an_index_that_another_program_keeps_locked_is_not_ready(new_archive: Callable[..., Archive]) -> None:
    archive = new_archive(http={"port": 0})
    archive.start()
    wait_for(lambda: page(archive, "/ready")[0] == 200, "it to be ready", timeout_s=SOON_S)
    with closing(sqlite3.connect(archive.data / "index.db", isolation_level=None, timeout=60)) as other:
        other.execute("BEGIN IMMEDIATE")
        told = lambda: any("takes nothing new" in one for one in reasons(archive))  # noqa: E731
        wait_for(told, "that to be told", timeout_s=SOON_S)
        assert metrics(archive)["pacs_index_up"] == 0
        other.execute("ROLLBACK")
    wait_for(lambda: page(archive, "/ready")[0] == 200, "it to be ready again", timeout_s=SOON_S)
    assert archive.stop() == 0


def test_a_supervisor_that_stands_still_is_not_live(new_archive: Callable[..., Archive]) -> None:
    archive = new_archive(http={"port": 0})
    archive.start()
    wait_for(lambda: page(archive, "/live")[0] == 200, "it to live", timeout_s=SOON_S)
    freeze(archive.pid)
    wait_for(lambda: page(archive, "/live")[0] == 503, "that to be told", timeout_s=SOON_S)
    os.kill(archive.pid, signal.SIGCONT)
    wait_for(lambda: page(archive, "/live")[0] == 200, "it to go on", timeout_s=SOON_S)
    assert archive.stop() == 0


def test_a_test_alarm_goes_by_each_way_and_says_which_failed(
    new_archive: Callable[..., Archive], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command, told = keeper(tmp_path)
    with MailServer().running() as mail:
        server = {"host": "127.0.0.1", "port": mail.port, "starttls": False}
        addresses = {"sender": "pacs@a.example", "recipients": ["it@a.example"]}
        archive = new_archive(
            alert={
                "command": command,
                "mail": server | addresses,
                "webhook": {"url": "http://127.0.0.1:1/hooks/secret"},
            }
        )
        rows = {one["way"]: one for one in archive.report("alert", "test", expect=3)}
    assert {way: one["is_told"] for way, one in rows.items()} == {"command": True, "mail": True, "webhook": False}
    assert rows["webhook"]["result"].startswith("127.0.0.1:1 refused the connection: ")
    assert words(told) == ["test test test"]
    assert [one["Subject"] for one in mail.mails] == ["[PACS] test: test test"]
    assert "secret" not in archive.pacs("config", "show").stdout

    none = new_archive()
    assert "neither command nor mail nor webhook" in none.pacs("alert", "test", expect=10).stderr
    deaf = new_archive(alert={"command": ["/nothing/there"]})
    assert deaf.report("alert", "test", expect=13)[0]["is_told"] is False

    monkeypatch.setenv("LC_ALL", "ja_JP.UTF-8")
    heading, *rows = archive.pacs("alert", "test", expect=3).stdout.splitlines()
    assert heading.split() == ["通知方法", "結果"]
    assert rows[0].split() == ["コマンド", "送信済み"]
    assert rows[1].split()[0] == "メール"
    assert "メールを受け取りません: 接続が拒否されました" in rows[1]
    assert "127.0.0.1:1 は接続を拒否しました" in rows[2]
    assert archive.report("alert", "test", expect=3)[0] == {"way": "command", "result": "taken", "is_told": True}
