"""A server of several processes: any of them may die or freeze, and to its peers it is one."""

import os
import random
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from support.processes import environment
from support.samples import Sample, data_set_of
from support.senders import LIMITS, Sender, objects
from support.server import LONG, Archive, children, lives, resident_bytes, wait_for

from pacs_server.dicom.elements import IMPLICIT_LE
from pacs_server.errors import PacsError, PeerRejected, PeerUnreachable
from pacs_server.net import client
from pacs_server.net.association import Association
from pacs_server.net.client import Destination

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(1_800 if LONG else 300)]

SENDERS, FOR_S = 8, 600 if LONG else 30
WORKERS = 3
VERIFICATION = "1.2.840.10008.1.1"


@pytest.fixture
def archive(new_archive: Callable[..., Archive]) -> Archive:
    return new_archive(workers=WORKERS)


def call(archive: Archive, aet: str = "CT1") -> Association:
    destination = Destination(aet=archive.aet, host="127.0.0.1", port=archive.port)
    contexts = [(VERIFICATION, (IMPLICIT_LE,), False)]
    return client.connect(destination, calling_aet=aet, contexts=contexts, limits=LIMITS)


def echoes(archive: Archive) -> bool:
    association = call(archive)
    status = client.echo(association)
    association.release()
    association.close()
    return status == 0


def test_eight_senders_lose_nothing_while_processes_are_killed_under_them(
    archive: Archive, tmp_path: Path, evidence: Callable[..., None]
) -> None:
    archive.start()
    folder = tmp_path / "objects"
    folder.mkdir()
    chance, kills, sent = random.Random(), 0, 0
    acknowledged: list[Sample] = []
    most_bytes, ends_at = 0, time.monotonic() + FOR_S
    rounds = 0
    while time.monotonic() < ends_at:
        into = folder / str(rounds)
        into.mkdir()
        senders = [Sender(archive, objects(into, 100 * rounds + number, 50)) for number in range(SENDERS)]
        for sender in senders:
            sender.start()
        while any(sender.is_alive() for sender in senders):
            time.sleep(chance.uniform(0.5, 2.0))
            os.kill(chance.choice(children(archive.pid)), signal.SIGKILL)
            kills += 1
            wait_for(lambda: len(children(archive.pid)) == WORKERS + 1, "the process to be replaced", timeout_s=30)
        most_bytes = max(most_bytes, resident_bytes(archive.pid))
        sent += sum(len(sender.acknowledged) + len(sender.waiting) for sender in senders)
        acknowledged += [sample for sender in senders for sample in sender.acknowledged]
        rounds += 1
    assert kills > 2
    assert len(acknowledged) == sent
    files = {path.name.rpartition("-")[0]: path for path in archive.files()}
    assert [one.sop_uid for one in acknowledged if data_set_of(files[one.sop_uid]) != one.data_set] == []
    assert archive.instance_uids() >= {one.sop_uid for one in acknowledged}
    assert archive.stop() == 0
    evidence(kills=kills, acknowledged=len(acknowledged), lost=0, most_mb=most_bytes // 1_000_000)


def test_a_frozen_process_keeps_nobody_out_and_is_replaced(archive: Archive) -> None:
    archive.start(dies_at=("impatient", 0))  # 3 s without a sign are enough
    frozen = children(archive.pid)[0]
    os.kill(frozen, signal.SIGSTOP)
    began, served = time.monotonic(), 0
    while lives(frozen):
        assert echoes(archive)
        served += 1
        assert time.monotonic() - began < 60
    assert served > 3
    wait_for(lambda: len(children(archive.pid)) == WORKERS + 1, "the process to be replaced", timeout_s=30)
    assert "process is stuck" in archive.log_text()
    assert archive.stop() == 0


def are_replaced(archive: Archive, old: set[int]) -> bool:
    """Whether others do the work of those that ended, which are children until somebody has looked at their end."""
    now = set(children(archive.pid))
    return len(now) == WORKERS + 1 and not now & old


def test_the_places_are_counted_over_all_processes(new_archive: Callable[..., Archive]) -> None:
    archive = new_archive(workers=WORKERS, network={"max_associations": 4})
    archive.start()
    for _ in range(3):  # what one that was killed held is given back
        held = [call(archive) for _ in range(4)]
        with pytest.raises(PeerRejected, match="local limit exceeded"):
            call(archive)
        # Each process tells of its own once a second: one that was killed may not have been forgotten yet.
        told = lambda: len(archive.report("status")["server"]["associations"])  # noqa: E731
        wait_for(lambda: told() <= 4, "no more than there are places to be told")  # noqa: B023
        killed = set(children(archive.pid))
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        for association in held:
            association.close()
        wait_for(lambda: are_replaced(archive, killed), "the processes to be replaced", timeout_s=30)  # noqa: B023
    assert archive.stop() == 0


def test_connections_of_one_address_are_counted_over_all_processes(new_archive: Callable[..., Archive]) -> None:
    archive = new_archive(workers=WORKERS, network={"max_connections_per_address": 4})
    archive.start()
    with ExitStack() as opened:
        silent = [opened.enter_context(socket.create_connection(("127.0.0.1", archive.port))) for _ in range(5)]
        (refused,), _, _ = select.select(silent, [], [], 30)
        assert refused.recv(1) == b""
    wait_for(lambda: echoes_at_last(archive), "the address to have room again")
    assert archive.stop() == 0


def echoes_at_last(archive: Archive) -> bool:
    try:
        return echoes(archive)
    except PacsError:
        return False


def test_processes_end_with_a_supervisor_that_is_killed_and_the_next_one_begins_at_once(archive: Archive) -> None:
    archive.start()
    held = call(archive)
    family = children(archive.pid)
    os.kill(archive.pid, signal.SIGKILL)
    archive.start()
    assert not any(map(lives, family))
    assert echoes(archive)
    held.close()
    assert archive.stop() == 0


def test_a_process_that_is_ended_takes_no_other_with_it(archive: Archive) -> None:
    archive.start()
    for pid in children(archive.pid):
        os.kill(pid, signal.SIGTERM)
        wait_for(lambda: not lives(pid), "it to end", timeout_s=30)  # noqa: B023
        assert echoes(archive)
    wait_for(lambda: len(children(archive.pid)) == WORKERS + 1, "the processes to be replaced", timeout_s=30)
    assert all(echoes(archive) for _ in range(2 * WORKERS))
    assert archive.stop() == 0


def test_settings_are_read_again_by_all_and_an_end_lets_all_end(new_archive: Callable[..., Archive]) -> None:
    archive = new_archive(workers=WORKERS, log={"level": "ERROR"})
    archive.start()
    assert "INFO" not in archive.log_text()
    archive.config.write_text(archive.config.read_text(encoding="utf-8").replace("ERROR", "INFO"), encoding="utf-8")
    os.kill(archive.pid, signal.SIGHUP)
    wait_for(lambda: archive.log_text().count("reloaded level=INFO") == WORKERS + 2, "every process to read them")
    family = children(archive.pid)
    assert archive.stop() == 0
    assert not any(map(lives, family))


def test_a_socket_of_the_service_manager_is_used_and_it_is_told_of_the_state(archive: Archive, tmp_path: Path) -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
        notified.bind(str(tmp_path / "notify"))
        notified.settimeout(30)
        manager = (
            f"import os, sys; os.dup2({listening.fileno()}, 3); os.environ |= dict(LISTEN_FDS='1', "
            "LISTEN_PID=str(os.getpid())); os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
        )
        command = [sys.executable, "-c", manager, "-m", "pacs_server", "-c", str(archive.config), "serve"]
        with (tmp_path / "log").open("wb") as log:
            running = subprocess.Popen(
                command, stdout=log, stderr=log, pass_fds=[listening.fileno()],
                env=environment() | {"NOTIFY_SOCKET": str(tmp_path / "notify")},
            )  # fmt: skip
        assert notified.recv(100) == b"READY=1"
        archive.port = listening.getsockname()[1]
        listening.close()
        assert echoes(archive)
        assert notified.recv(100) == b"WATCHDOG=1"
        running.send_signal(signal.SIGTERM)
        told = b""
        while told != b"STOPPING=1":
            told = notified.recv(100)
        assert running.wait(60) == 0
    with pytest.raises(PeerUnreachable):
        call(archive)
