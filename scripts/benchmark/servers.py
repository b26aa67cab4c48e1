"""What the bench asks of a server, and the archive itself: started on a free loopback port and stopped again."""

from __future__ import annotations

import json
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import ClassVar, Final, Protocol

from benchmark.processes import Failed, Process, first_line, run, start, stop
from benchmark.raw_association import VERIFICATION, Proposal, RawAssociation, associate_rq
from benchmark.studies import record_studies, volume_away
from pacs_server.index.engine import Index
from pacs_server.settings import load

_START_S: Final = 60.0
_LOOK_EVERY_S: Final = 0.005
_COMMAND_S: Final = 60.0
_FLUSHES: Final = "fsync,fdatasync,sync,syncfs,sync_file_range,msync"


class Server(Protocol):
    """What a row asks of a server. `lacks` says why it has none of: store, find, move, get, index."""

    lacks: ClassVar[Mapping[str, str]]
    success_means: ClassVar[str]
    directory: Path
    aet: str
    port: int
    flush_log: Path | None

    def __init__(self, directory: Path) -> None: ...

    @classmethod
    def absent(cls) -> str:
        """Why it cannot be started on this machine, and the remedy; empty when it can."""

    @classmethod
    def version(cls) -> str:
        """What it says of itself."""

    def prepare(self) -> None:
        """Make its data directory and settings."""

    def start(self, *, nagle_on: bool = False) -> float:
        """Run it; answers the seconds until it accepted the first association."""

    def stop(self) -> None:
        """End it, if it runs."""

    @property
    def pids(self) -> list[int]:
        """Its first process, and that of a database of its own."""

    @property
    def objects(self) -> Path:
        """Where its objects lie; what it flushes elsewhere is its index."""

    def stored(self) -> int:
        """How many objects it holds."""

    def flushes(self) -> list[str]:
        """Strace's lines, once it was started with a `flush_log` and has ended."""

    def know_destination(self, aet: str, port: int) -> None:
        """Let it send to this AE on this machine; `start` comes later."""

    def hold_studies(self, count: int, seed: int, objects: int = 1) -> None:
        """Put studies into its index without sending them (service "index")."""


class Started:
    """A server's process, and the wait until it answers. With a `flush_log`, strace writes what it flushes there."""

    lacks: ClassVar[Mapping[str, str]] = {}
    program: ClassVar[tuple[str, ...]]

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.aet = "PACS"
        self.port = free_port()
        self.flush_log: Path | None = None
        self._process: Process | None = None

    @classmethod
    def version(cls) -> str:
        """The first line of its --version."""
        return first_line(*cls.program, "--version")

    @property
    def pids(self) -> list[int]:
        """The process that was started."""
        if self._process is None:
            raise Failed("the server does not run")
        return [self._process.pid]

    def run(self, arguments: list[str], environment: Mapping[str, str]) -> float:
        """Start it and wait for the first association that it accepts; answers how long that took, in seconds."""
        log = self.directory / "server.log"
        if self.flush_log is not None:
            arguments = traced(arguments, self.flush_log)
        started = time.monotonic()
        self._process = start(arguments, log=log, environment=environment)
        rq = associate_rq(self.aet, "BENCH", [Proposal(VERIFICATION)])
        while True:
            try:
                association = RawAssociation.request(self.port, rq, timeout_s=1.0)
            except OSError as error:
                seconds = time.monotonic() - started
                if self._process.poll() is not None or seconds > _START_S:
                    raise Failed(f"the server did not start: {log.read_text()[-2_000:]}") from error
                time.sleep(_LOOK_EVERY_S)
                continue
            seconds = time.monotonic() - started
            association.release()
            return seconds

    def stop(self) -> None:
        """End the process, if there is one."""
        if self._process is not None:
            stop(self._process)
            self._process = None

    def flushes(self) -> list[str]:
        """What strace wrote of its flushes. Raises: Failed when it was not traced."""
        if self.flush_log is None:
            raise Failed("no flushes were traced")
        return self.flush_log.read_text().splitlines()


class Archive(Started):
    """This project's archive, from this checkout, with its default settings (SQLite, one volume)."""

    program: ClassVar = (sys.executable, "-m", "pacs_server")
    success_means: ClassVar = "file and index flushed"

    @classmethod
    def absent(cls) -> str:
        """It is always here."""
        return ""

    def prepare(self) -> None:
        """Initialise the data directory."""
        self.initialise()

    def initialise(self, *options: str) -> None:
        """Initialise the data directory with more options."""
        place = ("--data", str(self._data), "--aet", self.aet, "--host", "127.0.0.1", "--port", str(self.port))
        self._pacs("init", *place, *options)

    def start(self, *, nagle_on: bool = False) -> float:
        """Serve as it is shipped, with Nagle's algorithm off whatever `nagle_on` says; its log goes to a file."""
        return self.run([*self.program, "-c", str(self._settings), "serve"], {})

    @property
    def objects(self) -> Path:
        """All volumes."""
        return self._data / "volumes"

    def stored(self) -> int:
        """Instances in the index, as `pacs status` counts them."""
        return int(_deep(json.loads(self._pacs("-c", str(self._settings), "--json", "status")), "instances"))

    def know_destination(self, aet: str, port: int) -> None:
        """Register the AE."""
        self._pacs("-c", str(self._settings), "ae", "add", aet, "127.0.0.1", str(port))

    def hold_studies(self, count: int, seed: int, objects: int = 1) -> None:
        """Write them into the tables."""
        with closing(Index.open(load(self._settings).database)) as index:
            record_studies(index, volume_away(index, self._data), count=count, objects=objects, seed=seed)

    @property
    def _data(self) -> Path:
        return self.directory / "data"

    @property
    def _settings(self) -> Path:
        return self._data / "pacs.yaml"

    def _pacs(self, *arguments: str) -> str:
        return run([*self.program, *arguments], timeout_s=_COMMAND_S)


def traced(command: Sequence[str], log: Path) -> list[str]:
    """The command under strace, which writes what it flushes to the log."""
    # With -D the server stays our own child, and strace ends with it. -y writes the path of each descriptor.
    return ["strace", "-D", "-f", "-qq", "-y", "-o", str(log), "-e", f"trace={_FLUSHES}", *command]


def free_port() -> int:
    """A TCP port of the loopback that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _deep(values: object, name: str) -> int:
    """The first number of that name in nested mappings. Raises: Failed when there is none."""
    waiting = [values]
    for value in waiting:
        if isinstance(value, dict):
            found = value.get(name)
            if isinstance(found, int):
                return found
            waiting.extend(value.values())
    raise Failed(f"`pacs status` does not tell {name}")
