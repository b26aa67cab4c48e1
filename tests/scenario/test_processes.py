"""A server of several processes: any of them may die or freeze, and to its peers it is one."""

import errno
import os
import random
import resource
import select
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from support.processes import environment
from support.samples import Sample, data_set_of
from support.senders import LIMITS, Sender, objects
from support.server import LONG, Archive, children, freeze, lives, resident_bytes, resident_of, wait_for

from pacs_server import log
from pacs_server.cli.exits import ExitCode
from pacs_server.dicom.elements import IMPLICIT_LE
from pacs_server.errors import Busy, ConfigError, IndexUnfit, IndexUnreachable, PacsError, PeerRejected, PeerUnreachable
from pacs_server.net import client
from pacs_server.net.association import Association
from pacs_server.net.client import Destination
from pacs_server.net.seats import Seats
from pacs_server.service.board import Board
from pacs_server.service.processes.crew import Crew, Work
from pacs_server.service.processes.service_manager import ServiceManager

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(1_800 if LONG else 300)]

SENDERS, FOR_S = 8, 600 if LONG else 30
WORKERS = 3
PROCESSES = WORKERS + 2  # one keeps house, and one watches
MAY_GROW_BYTES = 10_000_000  # of one process
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
    ends_at = time.monotonic() + FOR_S
    at_all, at_supervisor = [], []  # the memory after each round
    while time.monotonic() < ends_at:
        rounds = len(at_all)
        into = folder / str(rounds)
        into.mkdir()
        senders = [Sender(archive, objects(into, 100 * rounds + number, 50)) for number in range(SENDERS)]
        for sender in senders:
            sender.start()
        while any(sender.is_alive() for sender in senders):
            time.sleep(chance.uniform(0.5, 2.0))
            killed = chance.choice(children(archive.pid))
            os.kill(killed, signal.SIGKILL)
            kills += 1
            wait_for(lambda: are_replaced(archive, {killed}), "the process to be replaced", timeout_s=60)  # noqa: B023
        at_all.append(resident_bytes(archive.pid))
        at_supervisor.append(resident_of(archive.pid))
        sent += sum(len(sender.acknowledged) + len(sender.waiting) for sender in senders)
        acknowledged += [sample for sender in senders for sample in sender.acknowledged]
    assert kills > 2
    assert len(acknowledged) == sent
    files = {path.name.rpartition("-")[0]: path for path in archive.files()}
    assert [one.sop_uid for one in acknowledged if data_set_of(files[one.sop_uid]) != one.data_set] == []
    assert archive.instance_uids() >= {one.sop_uid for one in acknowledged}
    assert at_supervisor[-1] - at_supervisor[0] < MAY_GROW_BYTES  # the one that lives through all of it
    assert archive.stop() == 0
    third = max(1, len(at_all) // 3)
    first, last = (sum(some) // len(some) for some in (at_all[:third], at_all[-third:]))
    if LONG:  # a process that was just replaced holds less, so each third of a short run says little
        assert last - first < MAY_GROW_BYTES * PROCESSES
    megabytes = {"first_third_mb": first, "last_third_mb": last, "most_mb": max(at_all)}
    megabytes |= {"supervisor_first_mb": at_supervisor[0], "supervisor_last_mb": at_supervisor[-1]}
    evidence(
        kills=kills,
        acknowledged=len(acknowledged),
        lost=0,
        **{name: round(size / 1e6, 1) for name, size in megabytes.items()},
    )


def test_a_frozen_process_keeps_nobody_out_and_is_replaced(archive: Archive) -> None:
    archive.start()
    frozen = children(archive.pid)[0]
    freeze(frozen)
    began, served = time.monotonic(), 0
    while lives(frozen):
        assert echoes(archive)
        served += 1
        assert time.monotonic() - began < 120
    assert served > 3
    wait_for(lambda: are_replaced(archive, {frozen}), "the process to be replaced", timeout_s=60)
    assert "process is stuck" in archive.log_text()
    assert archive.stop() == 0


def test_one_that_froze_in_the_middle_of_a_write_is_replaced_before_senders_lose_patience(
    archive: Archive, tmp_path: Path
) -> None:
    archive.start()
    senders = [Sender(archive, objects(tmp_path, number, 200)) for number in range(4)]
    for sender in senders:
        sender.start()
    lock = (archive.data / "index.db.lock").stat().st_ino
    frozen = wait_for(lambda: freeze_in_a_write(archive, lock), "one to be frozen in the middle of a write")
    wait_for(lambda: not any(one.is_alive() for one in senders), "all objects to be acknowledged", timeout_s=120)
    wait_for(lambda: are_replaced(archive, {frozen}), "the process to be replaced", timeout_s=60)
    acknowledged = {sample.sop_uid for sender in senders for sample in sender.acknowledged}
    assert len(acknowledged) == 800
    assert acknowledged <= archive.instance_uids()
    assert archive.stop() == 0


def freeze_in_a_write(archive: Archive, lock: int) -> int:
    """Freeze a process that has the lock for writing, by its inode; 0 when none had, or it let go in time."""
    for pid in children(archive.pid):
        if has_lock(pid, lock):
            freeze(pid)
            if has_lock(pid, lock):
                return pid
            os.kill(pid, signal.SIGCONT)
    return 0


def has_lock(pid: int, inode: int) -> bool:
    """Whether a process holds a lock of a whole file, not one that it waits for."""
    held = (line.split() for line in Path("/proc/locks").read_text(encoding="ascii").splitlines() if "->" not in line)
    return any(line[1] == "FLOCK" and line[4] == str(pid) and line[5].endswith(f":{inode}") for line in held)


TOLD_AGAIN_AND_AGAIN = """
import os, signal, time
from pacs_server.net.seats import Seats
from pacs_server.service.board import Board
from pacs_server.service.processes.crew import SIGNALS, Crew
from pacs_server.settings import NetworkLimits

def work(is_stopped):
    while not is_stopped(0.0002):
        pass
    return True

signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
seats = Seats(NetworkLimits(), processes=1, listeners=1)
crew = Crew(lambda: None, [], seats, Board(3), [("housekeeping", work)])
crew.begin()
ends_at = time.monotonic() + 8
while time.monotonic() < ends_at and time.monotonic() - crew._signs[0] < 3:
    crew._signal_all(signal.SIGHUP)
    time.sleep(0.0003)
print(crew.end())
crew.kill()
"""


def test_a_process_that_is_told_while_it_looks_whether_it_was_goes_on() -> None:
    words = [sys.executable, "-c", TOLD_AGAIN_AND_AGAIN]
    told = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert (told.stdout, told.stderr) == ("True\n", "")


def test_a_process_that_is_slow_to_die_is_killed_and_told_of_once(monkeypatch: pytest.MonkeyPatch) -> None:
    works: list[tuple[str, Work]] = [("housekeeping", lambda _: True)]
    crew = Crew(lambda: pytest.fail("settings"), [], Seats(LIMITS, processes=1, listeners=1), Board(3), works)
    crew._pids[4_711] = 0
    crew._begun_at[0] = time.monotonic() - 1_000
    crew._awake_since = crew._begun_at[0]
    killed: list[tuple[int, int]] = []
    told: list[str] = []
    monkeypatch.setattr(os, "kill", lambda *words: killed.append(words))
    monkeypatch.setattr(log, "error", lambda what, **_: told.append(what))
    for _ in range(3):
        crew._kill_stuck()
    assert (killed, told) == ([(4_711, signal.SIGKILL)], ["process is stuck"])


def test_the_end_of_a_process_that_was_not_begun_here_ends_no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    works: list[tuple[str, Work]] = [("housekeeping", lambda _: True)]
    crew = Crew(lambda: pytest.fail("settings"), [], Seats(LIMITS, processes=1, listeners=1), Board(3), works)
    crew._pids[4_711] = 0
    looked_at = iter([(9_999, 256), (0, 0)])
    monkeypatch.setattr(os, "waitpid", lambda *_: next(looked_at))
    assert (crew._reap(), crew._pids) == ([], {4_711: 0})
    ended = iter([(9_998, 0), (4_711, 9)])
    monkeypatch.setattr(os, "wait", lambda: next(ended))
    monkeypatch.setattr(os, "kill", lambda *_: None)
    crew.kill()
    assert crew._pids == {}


def test_nobody_is_taken_for_stuck_after_the_machine_was_held_up(monkeypatch: pytest.MonkeyPatch) -> None:
    works: list[tuple[str, Work]] = [("housekeeping", lambda _: True)]
    crew = Crew(lambda: pytest.fail("settings"), [], Seats(LIMITS, processes=1, listeners=1), Board(3), works)
    monkeypatch.setattr(os, "kill", lambda *_: pytest.fail("killed"))
    crew._pids[4_711] = 0
    now = time.monotonic()
    crew._begun_at[0] = crew._signs[0] = crew._pulses[0] = crew._looked_at = crew._awake_since = now - 1_000
    for _ in range(2):
        crew._kill_stuck()


def test_a_process_that_cannot_be_begun_ends_no_others_and_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    works: list[tuple[str, Work]] = [("housekeeping", lambda _: True)]
    crew = Crew(lambda: pytest.fail("settings"), [], Seats(LIMITS, processes=1, listeners=1), Board(3), works)
    told: list[str] = []
    answers: list[int | OSError] = [BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"), 4_711]

    def fork() -> int:
        if isinstance(answer := answers.pop(0), OSError):
            raise answer
        crew._is_to_end = True
        return answer

    monkeypatch.setattr(os, "fork", fork)
    monkeypatch.setattr(signal, "sigtimedwait", lambda *_: crew._begun_at.__setitem__(0, float("-inf")))
    monkeypatch.setattr(log, "error", lambda what, **_: told.append(what))
    crew.watch(ServiceManager())
    assert crew._pids == {4_711: 0}
    assert [what.partition(":")[0] for what in told] == ["process cannot be begun"]


@pytest.mark.parametrize(
    ("why", "ends_with"),
    [
        (IndexUnreachable("away"), IndexUnreachable),
        (IndexUnfit("read-only"), ConfigError),
        (Busy("in use"), ConfigError),
    ],
)
def test_a_start_in_which_the_database_goes_away_is_no_fault_of_the_settings(
    why: PacsError, ends_with: type[PacsError], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Ended(BaseException):
        """In the place of the end of a process."""

    def work(_: object) -> bool:
        raise why

    def end(code: int) -> None:
        codes.append(code)
        raise Ended

    codes: list[int] = []
    crew = Crew(lambda: pytest.fail("settings"), [], Seats(LIMITS, processes=1, listeners=1), Board(3), [("w", work)])
    monkeypatch.setattr(crew, "_be", lambda _: work(None))
    monkeypatch.setattr(os, "_exit", end)
    monkeypatch.setattr(os, "fork", lambda: 0)
    with pytest.raises(Ended):
        crew._fork(0)
    monkeypatch.setattr(os, "fork", lambda: 4_711)
    monkeypatch.setattr(os, "waitpid", lambda *_: (4_711, codes[0] << 8))
    monkeypatch.setattr(signal, "sigtimedwait", lambda *_: None)
    with pytest.raises(ends_with, match="ended while it started"):
        crew.begin()


def are_replaced(archive: Archive, old: set[int]) -> bool:
    """Whether others do the work of those that ended, which are children until somebody has looked at their end."""
    now = set(children(archive.pid))
    return len(now) == PROCESSES and not now & old


def test_the_places_are_counted_over_all_processes(new_archive: Callable[..., Archive]) -> None:
    archive = new_archive(workers=WORKERS, network={"max_associations": 4})
    archive.start()
    for _ in range(3):  # what one that was killed held is given back
        held = [wait_for(lambda: called(archive), "a place to be given back") for _ in range(4)]
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
        wait_for(lambda: are_replaced(archive, killed), "the processes to be replaced", timeout_s=60)  # noqa: B023
    assert archive.stop() == 0


def called(archive: Archive) -> Association | None:
    """An association; None while the place of one that was released a moment ago is not free."""
    try:
        return call(archive)
    except PeerRejected:
        return None


def test_connections_of_one_address_are_counted_over_all_processes(new_archive: Callable[..., Archive]) -> None:
    archive = new_archive(workers=WORKERS, network={"max_connections_per_address": 4})
    archive.start()
    with ExitStack() as opened:
        silent = [opened.enter_context(socket.create_connection(("127.0.0.1", archive.port))) for _ in range(5)]
        # The self-check may have one of the places, and so may whoever asked whether the server is up.
        refused, _, _ = select.select(silent, [], [], 60)
        assert 0 < len(refused) < len(silent)
        assert {one.recv(1) for one in refused} == {b""}
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
    ended = set(children(archive.pid))
    for pid in ended:
        os.kill(pid, signal.SIGTERM)
        wait_for(lambda: not lives(pid), "it to end", timeout_s=90)  # noqa: B023
        assert echoes(archive)
    wait_for(lambda: are_replaced(archive, ended), "the processes to be replaced", timeout_s=60)
    assert all(echoes(archive) for _ in range(2 * WORKERS))
    assert archive.stop() == 0


def test_a_signal_that_means_nothing_ends_no_process_and_the_keys_of_a_terminal_let_all_end(archive: Archive) -> None:
    archive.start()
    family = children(archive.pid)
    names = ("USR1", "USR2", "ALRM", "VTALRM", "PROF", "IO", "PWR", "PIPE", "WINCH", "TTOU", "CHLD", "CONT")
    for number in (signal.Signals[f"SIG{name}"] for name in names):
        for pid in (archive.pid, *family):
            os.kill(pid, number)
        assert echoes(archive), number.name
    assert children(archive.pid) == family
    for pid in (*family, archive.pid):
        os.kill(pid, signal.SIGQUIT)
    assert archive.wait_for_death() == 0
    assert "stopped drained=True" in archive.log_text()
    assert not any(map(lives, family))


@pytest.mark.parametrize("lost", ["a terminal that went away", "a full disk", "a reader that ended"])
def test_a_server_serves_whatever_becomes_of_what_it_writes_to(archive: Archive, lost: str) -> None:
    near, far = os.openpty() if lost.startswith("a terminal") else os.pipe()
    program = [sys.executable, "-m", "pacs_server", "-c", str(archive.config), "serve"]
    told_of = environment() | {"PACS_PORT": "0"}  # which is not what the settings say
    with Path("/dev/full").open("w") as full:
        out = full if lost == "a full disk" else far
        server = subprocess.Popen(program, stdout=out, stderr=out, env=told_of, start_new_session=True)
    os.close(near)
    os.close(far)
    try:
        wait_for(lambda: (archive.report("status", expect=(0, 13))["server"] or {}).get("port"), "it to serve")
        archive.port = archive.report("status")["server"]["port"]
        wait_for(lambda: echoes(archive) and server.poll() is None, "it to answer")
        server.send_signal(signal.SIGHUP)
        assert echoes(archive)
        server.terminate()
        assert server.wait(60) in (0, 120), "120 is of Python, for what it could not write in the end"
    finally:
        server.kill()
        server.wait()


def test_settings_are_read_again_by_all_and_an_end_lets_all_end(new_archive: Callable[..., Archive]) -> None:
    archive = new_archive(workers=WORKERS, log={"level": "ERROR"})
    archive.start()
    assert "INFO" not in archive.log_text()
    changed = archive.config.read_text(encoding="utf-8").replace("ERROR", "INFO")
    changed += "\ndefault_issuer: NEW\nstorage: {verify_every_days: 0}\n"
    archive.config.write_text(changed, encoding="utf-8")
    os.kill(archive.pid, signal.SIGHUP)
    wait_for(lambda: archive.log_text().count("reloaded level=INFO") == PROCESSES + 1, "every process to read them")
    waiting = 'after a restart changed="default_issuer, storage.verify_every_days"\n'
    assert archive.log_text().count(waiting) == 1
    family = children(archive.pid)
    assert archive.stop() == 0
    assert not any(map(lives, family))


def test_a_log_file_that_cannot_be_opened_again_ends_no_server_and_begins_none(
    new_archive: Callable[..., Archive],
) -> None:
    archive = new_archive(workers=1, log={"file": "pacs.log"})
    archive.start()
    file = archive.data / "pacs.log"
    rotated = file.rename(archive.data / "pacs.log.1")
    file.mkdir()  # as one that belongs to root, which lets the tests in everywhere
    os.kill(archive.pid, signal.SIGHUP)
    told = 'settings not reloaded why="log.file: '
    wait_for(lambda: rotated.read_text().count(told) == 4, "every process to go on with the log that it has")
    assert archive.stop() == 0
    assert archive.pacs("serve", expect=10).stderr.startswith(f"pacs: log.file: {file} cannot be written")


def handing_over(archive: Archive, descriptor: int, number: int = 1) -> list[str]:
    """A server that is begun as a service manager does it, with that descriptor and as many as it says."""
    manager = (
        f"import os, sys; os.dup2({descriptor}, 3); os.environ |= dict(LISTEN_FDS='{number}', "
        "LISTEN_PID=str(os.getpid())); os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
    )
    return [sys.executable, "-c", manager, "-m", "pacs_server", "-c", str(archive.config), "serve"]


def test_a_socket_of_the_service_manager_is_used_and_it_is_told_of_the_state(archive: Archive, tmp_path: Path) -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
        notified.bind(str(tmp_path / "notify"))
        notified.settimeout(90)
        command = handing_over(archive, listening.fileno())
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
        wait_for(lambda: "listens on" in (tmp_path / "log").read_text(), "the address to be told")
        assert f"  echoscu -aec PACS 127.0.0.1 {archive.port}\n" in (tmp_path / "log").read_text()
        running.send_signal(signal.SIGTERM)
        told = b""
        while told != b"STOPPING=1":
            told = notified.recv(100)
        assert running.wait(60) == 0
    with pytest.raises(PeerUnreachable):
        call(archive)


def unix_socket(folder: Path) -> socket.socket:
    given = socket.socket(socket.AF_UNIX)
    given.bind(str(folder / "pacs.sock"))
    given.listen()
    return given


def udp_socket(_: Path) -> socket.socket:
    given = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    given.bind(("127.0.0.1", 0))
    return given


def silent_socket(_: Path) -> socket.socket:
    given = socket.socket()
    given.bind(("127.0.0.1", 0))
    return given


@pytest.mark.parametrize(
    ("make", "number", "told"),
    [
        (lambda _: socket.create_server(("127.0.0.1", 0)), 2, "handed over 2 sockets, and the server takes one"),
        (unix_socket, 1, "a socket of AF_UNIX ("),
        (udp_socket, 1, "a socket of SOCK_DGRAM, "),
        (silent_socket, 1, "a TCP socket that does not listen, "),
        (lambda folder: (folder / "pipe").open("wb"), 1, "something that is no socket, "),
    ],
)
def test_what_no_association_can_be_accepted_from_is_refused_with_what_the_unit_has_to_say(
    archive: Archive, tmp_path: Path, make: Callable[[Path], Any], number: int, told: str
) -> None:
    with make(tmp_path) as given:
        done = subprocess.run(
            handing_over(archive, given.fileno(), number), capture_output=True, pass_fds=[given.fileno()],
            env=environment(), text=True, timeout=60, check=False,
        )  # fmt: skip
    assert done.returncode == ExitCode.CONFIGURATION, done.stderr
    assert told in done.stderr
    assert "ListenStream=" in done.stderr
    assert "Traceback" not in done.stderr
    assert "listens on" not in done.stderr


def test_a_service_manager_that_does_not_read_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
        notified.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        manager = ServiceManager()
        for _ in range(2_000):  # its queue holds ten
            manager.tell("WATCHDOG=1")
        assert notified.recv(100) == b"WATCHDOG=1"


def test_a_server_may_open_many_files_and_its_supervisor_has_no_thread_that_a_signal_could_hit(
    archive: Archive,
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
    try:
        command = [sys.executable, "-m", "pacs_server", "-c", str(archive.config), "serve"]
        running = subprocess.Popen(command, env=environment(), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    try:
        wait_for(lambda: len(children(running.pid)) == WORKERS + 2, "all its processes", timeout_s=60)
        limits = {resource.prlimit(pid, resource.RLIMIT_NOFILE)[0] for pid in (running.pid, *children(running.pid))}
        assert limits == {min(hard, 65_536)}
        assert len(list(Path(f"/proc/{running.pid}/task").iterdir())) == 1
    finally:
        running.terminate()
        assert running.wait(60) == 0


def test_the_service_manager_hears_nothing_while_a_process_cannot_be_replaced(
    archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def set_schema(name: str) -> str:
        with closing(sqlite3.connect(archive.data / "index.db", timeout=30)) as database, database:
            (before,) = database.execute("SELECT version_num FROM alembic_version").fetchone()
            database.execute("UPDATE alembic_version SET version_num = ?", [name])
        return str(before)

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
        notified.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        archive.start(dies_at=("impatient", 0))
        schema = set_schema("of a newer release")
        os.kill(children(archive.pid)[0], signal.SIGKILL)
        notified.settimeout(4)  # of a message that is sent every second

        def is_silent() -> bool:
            try:
                notified.recv(100)
            except TimeoutError:
                return True
            return False

        wait_for(lambda: "process cannot work" in archive.log_text(), "it to be replaced in vain", timeout_s=60)
        wait_for(is_silent, "no sign to the service manager", timeout_s=120)
        assert echoes(archive)  # the others go on
        set_schema(schema)
        notified.settimeout(60)
        assert notified.recv(100) == b"WATCHDOG=1"
    assert archive.stop() == 0
