"""The servers that can be measured, each started on a free loopback port and stopped again."""

from __future__ import annotations

import json
import socket
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import ClassVar, Final, Protocol

from benchmark.processes import Failed, Process, run, start, stop
from benchmark.raw_association import VERIFICATION, Proposal, RawAssociation, associate_rq
from benchmark.studies import record_studies
from pacs_server.index.engine import Index
from pacs_server.index.registry import Registry
from pacs_server.settings import load

_START_S: Final = 60.0
_LOOK_EVERY_S: Final = 0.005
_COMMAND_S: Final = 60.0


class Server(Protocol):
    """What a row asks of a server. `services` are those it has, of: store, find, move, get, index."""

    services: ClassVar[frozenset[str]]
    aet: str
    port: int

    def __init__(self, directory: Path) -> None: ...

    def prepare(self) -> None:
        """Make its data directory and settings."""

    def start(self) -> float:
        """Run it; answers the seconds until it accepted the first association."""

    def stop(self) -> None:
        """End it, if it runs."""

    @property
    def pid(self) -> int:
        """Its first process."""

    def stored(self) -> int:
        """How many objects it holds."""

    def know_destination(self, aet: str, port: int) -> None:
        """Let it send to this AE on this machine; `start` comes later."""

    def hold_studies(self, count: int, seed: int, objects: int = 1) -> None:
        """Put studies into its index without sending them (service "index")."""


class _Started:
    """A server's process, and the wait until it answers."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.aet = "PACS"
        self.port = free_port()
        self._process: Process | None = None

    @property
    def pid(self) -> int:
        """The process that was started."""
        if self._process is None:
            raise Failed("the server does not run")
        return self._process.pid

    def run(self, arguments: list[str], environment: dict[str, str]) -> float:
        """Start it and wait for the first association that it accepts; answers how long that took, in seconds."""
        log = self.directory / "server.log"
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


class Archive(_Started):
    """This project's archive, from this checkout, with its default settings (SQLite, one volume)."""

    services: ClassVar = frozenset({"store", "find", "move", "get", "index"})

    def prepare(self) -> None:
        """Initialise the data directory."""
        place = ("--data", str(self._data), "--aet", self.aet, "--host", "127.0.0.1", "--port", str(self.port))
        self._pacs("init", *place)

    def start(self) -> float:
        """Serve as it is shipped; its log goes to a file."""
        return self.run([sys.executable, "-m", "pacs_server", "-c", str(self._settings), "serve"], {})

    def stored(self) -> int:
        """Instances in the index, as `pacs status` counts them."""
        return int(_deep(json.loads(self._pacs("-c", str(self._settings), "--json", "status")), "instances"))

    def know_destination(self, aet: str, port: int) -> None:
        """Register the AE."""
        self._pacs("-c", str(self._settings), "ae", "add", aet, "127.0.0.1", str(port))

    def hold_studies(self, count: int, seed: int, objects: int = 1) -> None:
        """Write them into the tables."""
        with closing(Index.open(load(self._settings).database)) as index:
            record_studies(index, Registry(index).volumes()[0].id, count=count, objects=objects, seed=seed)

    @property
    def _data(self) -> Path:
        return self.directory / "data"

    @property
    def _settings(self) -> Path:
        return self._data / "pacs.yaml"

    def _pacs(self, *arguments: str) -> str:
        return run([sys.executable, "-m", "pacs_server", *arguments], timeout_s=_COMMAND_S)


class Storescp(_Started):
    """DCMTK's storescp, one process for each association: writes files, flushes nothing, has no index."""

    services: ClassVar = frozenset({"store"})

    def prepare(self) -> None:
        """Make the directory that it writes to."""
        self._objects.mkdir()

    def start(self) -> float:
        """Run it without Nagle's algorithm, keeping the bytes as they come."""
        command = ["storescp", "-q", "--fork", "+xa", "+B", "-dhl", "-pdu", "131072", "-aet", self.aet]
        return self.run([*command, "-od", str(self._objects), str(self.port)], {"TCP_NODELAY": "1"})

    def stored(self) -> int:
        """Files in its directory."""
        return sum(1 for _ in self._objects.iterdir())

    def know_destination(self, aet: str, port: int) -> None:
        """It sends nothing. Raises: Failed always."""
        raise Failed(f"storescp cannot send to {aet} on port {port}")

    def hold_studies(self, count: int, seed: int, objects: int = 1) -> None:
        """It has no index. Raises: Failed always."""
        raise Failed(f"storescp cannot hold {count} studies of {objects} objects, seed {seed}")

    @property
    def _objects(self) -> Path:
        return self.directory / "objects"


SERVERS: Final[dict[str, type[Server]]] = {"archive": Archive, "storescp": Storescp}


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
