"""Monitoring and alarms while what they tell of hangs: the database, every process that serves."""

import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from support.monitoring import keeper, metrics, page, reasons, words
from support.postgres import Cluster
from support.server import Archive, children, freeze, wait_for

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(1_200)]

SOON_S = 180.0


@contextmanager
def hanging(cluster: Cluster) -> Iterator[None]:
    """No process of a cluster does anything: first that which begins the others, so that none is missed."""
    with cluster.frozen():
        stopped = cluster.processes()
        _signal(stopped, signal.SIGSTOP)
        try:
            yield
        finally:
            _signal(stopped, signal.SIGCONT)


def _signal(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def test_a_database_that_hangs_holds_up_no_page_and_is_told(
    new_archive: Callable[..., Archive], tmp_path: Path
) -> None:
    command, told = keeper(tmp_path)
    with Cluster.new() as cluster:
        cluster.execute("CREATE DATABASE pacs")
        archive = Archive(
            tmp_path / "archive",
            settings={"http": {"port": 0}, "alert": {"command": command, "hold_s": 0.0, "clear_after_s": 1.0}},
            database=f"{cluster.url('pacs')}&connect_timeout=2",
        )
        archive.start()
        try:
            wait_for(lambda: not reasons(archive), "the server to be ready", timeout_s=SOON_S)
            wait_for(lambda: "pacs_held_bytes" in metrics(archive), "the holdings to be counted", timeout_s=SOON_S)
            before = metrics(archive)
            with hanging(cluster):
                wait_for(lambda: metrics(archive)["pacs_index_up"] == 0, "that to be told", timeout_s=SOON_S)
                # That nothing can be written may be seen first.
                wait_for(
                    lambda: any("the index does not answer" in one for one in reasons(archive)),
                    "the reason",
                    timeout_s=SOON_S,
                )
                assert page(archive, "/live")[0] == 200
                assert metrics(archive)["pacs_held_bytes"] == before["pacs_held_bytes"]
                wait_for(lambda: "raised index database" in words(told), "the alarm", timeout_s=SOON_S)
            wait_for(lambda: not reasons(archive), "the server to be ready again", timeout_s=SOON_S)
            wait_for(lambda: "cleared index database" in words(told), "its end", timeout_s=SOON_S)
            assert archive.stop() == 0
            assert "Traceback" not in archive.log_text()
        finally:
            archive.kill()


def test_processes_that_do_not_answer_are_told_to_monitoring_to_persons_and_to_the_service_manager(
    new_archive: Callable[..., Archive], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    command, told = keeper(tmp_path)
    alert = {"command": command, "hold_s": 0.0, "clear_after_s": 1.0}
    archive = new_archive(workers=1, http={"port": 0}, alert=alert)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
        notified.bind(str(tmp_path / "notify"))
        notified.settimeout(4)  # it is told every second

        def is_told() -> bool:
            try:
                return notified.recv(100) in (b"READY=1", b"WATCHDOG=1")
            except TimeoutError:
                return False

        archive.start(dies_at=("deaf", 0))  # 10 s without an answer are enough
        wait_for(lambda: is_told() and not reasons(archive), "the server to be ready", timeout_s=SOON_S)
        # Where it took long to begin, that was told, too.
        wait_for(lambda: words(told)[-1:] in ([], ["cleared self-check plain"]), "no alarm to stand", timeout_s=SOON_S)
        (worker, *_) = children(archive.pid)
        freeze(worker)
        wait_for(lambda: not is_told(), "it to be told nothing", timeout_s=SOON_S)
        shut = "the plain port does not answer a C-ECHO"
        wait_for(lambda: any(shut in one for one in reasons(archive)), "monitoring to be told", timeout_s=SOON_S)
        raised, cleared = "raised self-check plain", "cleared self-check plain"
        wait_for(lambda: words(told)[-1:] == [raised], "persons to be told", timeout_s=SOON_S)
        assert page(archive, "/live")[0] == 200
        os.kill(worker, signal.SIGCONT)
        wait_for(is_told, "it to be told again", timeout_s=SOON_S)
        wait_for(lambda: is_told() and not reasons(archive), "the server to be ready again", timeout_s=SOON_S)
        wait_for(lambda: is_told() and words(told)[-2:] == [raised, cleared], "its end", timeout_s=SOON_S)
        assert set(words(told)) == {raised, cleared}
        assert archive.stop() == 0
