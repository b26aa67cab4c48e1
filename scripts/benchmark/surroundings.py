"""Where a run takes place: its directory, its seed, the objects it sends and the server it measures."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmark import steady
from benchmark.all_servers import SERVERS
from benchmark.objects import Kind, make_study
from benchmark.processes import nagle, run_together, stop
from benchmark.servers import Server, free_port

_SEND_S: Final = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """One run. Everything is written below `work`, so that floors and servers share one disk."""

    work: Path
    server_name: str
    seed: int
    studies: int

    def clear(self, *, objects: bool) -> None:
        """Remove what the run left, its objects as well or not, and `work` itself when nothing else is in it."""
        if objects:
            shutil.rmtree(self._objects, ignore_errors=True)
        steady.remove(self.work)

    @property
    def _objects(self) -> Path:
        return self.work / f"objects-{self.seed}"

    def objects(self, kind: Kind, *, studies: int, images: int, first: int = 0) -> list[Path]:
        """A directory for each of so many studies of this kind; made once and kept until the run ends."""
        directories = [self._objects / f"{kind.modality}-{images}-{number}" for number in range(first, first + studies)]
        for number, directory in enumerate(directories, start=first):
            make_study(directory, kind, seed=self.seed, study=number, images=images)
        return directories

    @contextmanager
    def prepared(self) -> Iterator[Server]:
        """A server with an empty data directory, not yet started; stopped at the end of the block."""
        directory = Path(tempfile.mkdtemp(prefix=f"{self.server_name}-", dir=self.work))
        # What was written before, also by a run before, shall not be flushed during a measurement.
        os.sync()
        server: Server = SERVERS[self.server_name](directory)
        try:
            server.prepare()
            yield server
        finally:
            server.stop()
            steady.leave(directory)

    @contextmanager
    def running(self, *, nagle_on: bool = False) -> Iterator[Server]:
        """A server with an empty data directory that accepts associations."""
        with self.prepared() as server:
            server.start(nagle_on=nagle_on)
            yield server

    @contextmanager
    def receiver(self, kind: str) -> Iterator[int]:
        """The port of a receiver that forgets what it gets: "storescp --ignore" of DCMTK, or "raw", our own."""
        port = free_port()
        command = [sys.executable, "-m", "benchmark.raw_services", str(port)]
        if kind != "raw":
            command = ["storescp", "-q", "--fork", "--ignore", "+xa", "-dhl", "-pdu", "131072", str(port)]
        process = subprocess.Popen(command, env={**os.environ, **nagle(on=False)}, stdin=subprocess.DEVNULL)
        try:
            yield port
        finally:
            stop(process)


def send(server: Server, groups: Sequence[Sequence[Path]], *, nagle_on: bool = False) -> float:
    """Send directories of objects, each group from a storescu of its own; answers the seconds that the sending took.

    storescu reads the head of every file before it connects, 0.08 ms each. That is measured at a port where nobody
    listens, and taken off.

    Raises: Failed when an object was not acknowledged.
    """
    nowhere = _senders(server.aet, free_port(), groups)
    before_s = run_together(nowhere, timeout_s=_SEND_S, environment={}, may_fail=True)
    return run_senders(server, groups, nagle_on=nagle_on) - before_s


def run_senders(server: Server, groups: Sequence[Sequence[Path]], *, nagle_on: bool = False) -> float:
    """Like `send`, with the seconds from the start of the first storescu to the end of the last."""
    commands = _senders(server.aet, server.port, groups)
    return run_together(commands, timeout_s=_SEND_S, environment=nagle(on=nagle_on))


def _senders(aet: str, port: int, groups: Sequence[Sequence[Path]]) -> list[list[str]]:
    return [
        ["storescu", "-q", "-R", "-aet", f"BENCH{number}", "-aec", aet, "127.0.0.1", str(port), "+sd", *map(str, group)]
        for number, group in enumerate(groups, start=1)
    ]
