"""The archive as a process of its own: started, stopped, killed, started again, and asked through `pacs`."""

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from fnmatch import fnmatchcase
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml
from support.empty_index import copy_empty_index
from support.namespaces import entered
from support.processes import Pacs

from pacs_server.dicom.elements import IMPLICIT_LE
from pacs_server.errors import PacsError
from pacs_server.net import client
from pacs_server.net.client import Destination
from pacs_server.settings import NetworkLimits

VERIFICATION = "1.2.840.10008.1.1"

# Scenarios at full length, by ./scripts/test --long
LONG = bool(os.environ.get("PACS_TEST_LONG"))

START_S = 90.0
STOP_S = 90.0
COMMAND_S = 120.0
WAIT_S = 90.0

_PAUSES = 2
_LONGEST_PAUSE_S = 1.0


def files_below(folder: Path, pattern: str = "*") -> list[Path]:
    """The files with such names in a folder and below it. Unlike Path.rglob it stands directories that go away."""
    walked = ((top, name) for top, _, names in os.walk(folder) for name in names)
    return sorted(Path(top, name) for top, name in walked if fnmatchcase(name, pattern))


def wait_for(condition: Callable[[], Any], what: str, *, timeout_s: float = WAIT_S, every_s: float = 0.02) -> Any:
    """The first true value of `condition`; fails with `what` was waited for when the deadline passes.

    One that takes long to ask, because it starts a `pacs` each time, is asked less often: what is waited for needs the
    processor too.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        asked_at = time.monotonic()
        if value := condition():
            return value
        now = time.monotonic()
        if now > deadline:
            raise AssertionError(f"waited {timeout_s:g} s in vain for {what}")
        time.sleep(max(every_s, min(_PAUSES * (now - asked_at), _LONGEST_PAUSE_S)))


class Archive:
    """One archive in a directory. It listens on a port that the system gives it, another one after each start."""

    aet = "PACS"

    def __init__(
        self,
        folder: Path,
        *,
        host: str = "127.0.0.1",
        settings: Mapping[str, object] | None = None,
        aet: str = aet,
        database: str | None = None,
        network: Path | None = None,
    ) -> None:
        """`database` is the URL of another than SQLite, perhaps that of an archive that this is one more node of;
        `network` the namespace in which it and its commands run.
        """
        self.aet = aet
        self.network = network
        self.data = folder / "data"
        self.config = self.data / "pacs.yaml"
        self.log = folder / "server.log"
        self.host = host
        self.port = 0
        self._process: Pacs | None = None
        self._family: set[tuple[int, str]] = set()  # its other processes, and when each of them began
        folder.mkdir(parents=True, exist_ok=True)
        words = ["--database", database] if database else []
        if not database:  # so it is what an interrupted `pacs init` has left, which the next one uses
            self.data.mkdir(mode=0o770, exist_ok=True)
            copy_empty_index(self.data / "index.db")
        run_pacs(
            ["init", "--data", str(self.data), "--aet", self.aet, "--host", host, "--port", "0", *words],
            network=network,
        )
        if settings:
            with self.config.open("a", encoding="utf-8") as file:
                yaml.safe_dump(dict(settings), file)

    @property
    def volume(self) -> Path:
        """The root of its first volume."""
        return self.data / "volumes" / "first"

    @property
    def tls_port(self) -> int:
        """The port on which it listens for TLS, once it does."""
        told = rf"{self.aet} listens for TLS on \S+:(\d+)$"
        return int(wait_for(lambda: re.findall(told, self.log_text(), re.MULTILINE), "the port for TLS")[-1])

    @property
    def pid(self) -> int:
        """The process that was started, and has started the others."""
        assert self._process is not None, "the server was not started"
        return self._process.pid

    def start(self, *, dies_at: tuple[str, int] | None = None, calling: str = "STARTING") -> None:
        """Serve, and return once it answers a C-ECHO. `dies_at`: the step, and the object that is killed in it; what is
        owed is begun before that answer, so it may be dead already. `calling`: who asks for that answer.
        """
        begin = self.log.stat().st_size if self.log.exists() else 0
        self._process = Pacs(["-c", str(self.config), "serve"], out=self.log, dies_at=dies_at, network=self.network)

        def is_up() -> bool:
            if not self.is_running():
                assert dies_at, f"the server ended while it started:\n{self._told_since(begin)[-4_000:]}"
                return True
            self._look_for_others()  # it may be dead at the next look
            found = re.search(rf"{self.aet} listens on \S+:(\d+)$", self._told_since(begin), re.MULTILINE)
            self.port = int(found[1]) if found else 0
            return bool(found) and self._answers(calling)

        wait_for(is_up, "the server to answer a C-ECHO", timeout_s=START_S)
        self._look_for_others()

    def _look_for_others(self) -> None:
        """Note its processes of this moment, unless it has just ended."""
        self._family = {(pid, began(pid)) for pid in descendants(self.pid)} or self._family

    def _told_since(self, begin: int) -> str:
        return self.log.read_bytes()[begin:].decode(errors="replace") if self.log.exists() else ""

    def _answers(self, calling: str) -> bool:
        destination = Destination(aet=self.aet, host="127.0.0.1", port=self.port)
        limits = NetworkLimits(connect_timeout_s=5, association_timeout_s=5, response_timeout_s=5)
        try:
            with entered(self.network):
                association = client.connect(
                    destination, calling_aet=calling, contexts=[(VERIFICATION, (IMPLICIT_LE,), False)], limits=limits
                )
            try:
                status = client.echo(association)
                association.release()
            finally:
                association.close()
        except PacsError:
            return False
        return status == 0

    def is_running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.poll() is None

    def stop(self) -> int:
        """End it by SIGTERM and return its exit code; it may have ended already."""
        assert self._process is not None, "the server was not started"
        if self.is_running():
            self._look_for_others()
            self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(STOP_S)
        finally:
            self.kill()

    def kill(self) -> None:
        """End all of its processes by SIGKILL, at whatever they do."""
        if self._process is not None:
            if self.is_running():  # the number of one that has ended may be another's by now
                self._look_for_others()
                for pid in [self.pid, *(pid for pid, _ in self._family)]:
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            self.wait_for_death()

    def wait_for_death(self, timeout_s: float = COMMAND_S) -> int:
        """The exit code of a server that ends by itself, once all of its processes have ended."""
        assert self._process is not None, "the server was not started"
        code = self._process.wait(timeout_s)
        wait_for(
            lambda: not any(lives(pid) and began(pid) == at for pid, at in self._family),
            "the other processes to end",
            timeout_s=timeout_s,
        )
        self._family = set()
        return code

    def pacs(
        self, *arguments: str, expect: int | Sequence[int] = 0, timeout_s: float = COMMAND_S
    ) -> subprocess.CompletedProcess[str]:
        """Run `pacs` on this archive. It has to end with the exit code `expect`, or one of them."""
        return run_pacs(["-c", str(self.config), *arguments], expect=expect, timeout_s=timeout_s, network=self.network)

    def pacs_dying(self, step: str, count: int, *arguments: str) -> None:
        """Run a command that is killed when the object of that number reaches a step of dying_server.py."""
        run_pacs(
            ["-c", str(self.config), *arguments], expect=-signal.SIGKILL, dies_at=(step, count), network=self.network
        )

    def begin(self, *arguments: str) -> Pacs:
        """Begin a command whose output nobody reads."""
        return Pacs(["-c", str(self.config), *arguments], out=Path(os.devnull), network=self.network)

    def report(self, *arguments: str, expect: int | Sequence[int] = 0, timeout_s: float = COMMAND_S) -> Any:
        """What `pacs ... --json` prints."""
        return json.loads(self.pacs(*arguments, "--json", expect=expect, timeout_s=timeout_s).stdout)

    def add_peer(self, aet: str, port: int, *options: str, host: str = "127.0.0.1") -> None:
        """Register a peer of this machine; the server may be running."""
        self.pacs("ae", "add", aet, host, str(port), *options)

    def files(self) -> list[Path]:
        """The files of the objects on its volume, and whatever lies among them; not those of the audit trail."""
        return [path for path in files_below(self.volume / "v1") if self.volume / "v1" / "audit" not in path.parents]

    def instance_uids(self) -> set[str]:
        """The SOP Instance UIDs that `pacs find` finds."""
        return {row["uid"] for row in self.report("find", "instances")}

    def log_text(self) -> str:
        """Everything that the server wrote to standard output and standard error."""
        return self.log.read_text(encoding="utf-8", errors="replace")


def children(pid: int) -> list[int]:
    """The processes that a process has started, and not yet seen end."""
    found: list[int] = []
    with suppress(OSError):  # it, or one of its threads, has just ended
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with suppress(OSError):
                found += map(int, (thread / "children").read_text(encoding="ascii").split())
    return found


def descendants(pid: int) -> list[int]:
    """The children of a process, and theirs."""
    return [one for child in children(pid) for one in (child, *descendants(child))]


def lives(pid: int) -> bool:
    """Whether a process is there and has not ended.

    It has when the last of its threads has: one that waits in accept() may take a connection after the first thread is
    a zombie, and resets it as it dies.
    """
    return bool(_states(pid) - {"Z", "X"})


def began(pid: int) -> str:
    """When a process began, which tells it from another one that gets its number later; empty when it is not there."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[19]
    return ""


def freeze(pid: int) -> None:
    """Stop a process as a whole. The signal is only the begin of it: a thread that runs goes on for a moment, and may
    take a connection that nobody serves then.
    """
    os.kill(pid, signal.SIGSTOP)
    wait_for(lambda: _states(pid) <= {"T", "Z"}, f"process {pid} to stand still")


def _states(pid: int) -> set[str]:
    """What the threads of a process do, by their letters in /proc; none when it is not there."""
    states = set()
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with suppress(OSError):  # it went between the list and the look
                states.add(task.joinpath("stat").read_text(encoding="ascii").rpartition(")")[2].split()[0])
    return states


def resident_bytes(pid: int) -> int:
    """The memory that a server holds itself, all of its processes together without those of the codecs."""
    return sum(map(resident_of, (pid, *children(pid))))


def resident_of(pid: int) -> int:
    """The memory that one process holds; nothing for one that has just ended."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) << 10
    return 0


def run_pacs(
    arguments: Sequence[str],
    *,
    expect: int | Sequence[int] = 0,
    timeout_s: float = COMMAND_S,
    dies_at: tuple[str, int] | None = None,
    network: Path | None = None,
    umask: int | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a command of its own words. It has to end with the exit code `expect`, or one of them."""
    with TemporaryDirectory() as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        process = Pacs(arguments, out=out, err=err, dies_at=dies_at, network=network, umask=umask)
        try:
            code = process.wait(timeout_s)
        finally:
            process.send_signal(signal.SIGKILL)
        done = subprocess.CompletedProcess(
            arguments, code, *(path.read_text(encoding="utf-8") if path.exists() else "" for path in (out, err))
        )
    expected = (expect,) if isinstance(expect, int) else expect
    assert done.returncode in expected, f"pacs {' '.join(arguments)} ended with {done.returncode}:\n{done.stderr}"
    return done
