"""The archive and Orthanc with their index on PostgreSQL, each on a cluster of its own, set as PostgreSQL comes."""

from __future__ import annotations

import os
import pwd
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Final

from benchmark.peers import Orthanc
from benchmark.processes import Failed, Process, start, stop
from benchmark.servers import Archive, Started, free_port, traced

_ANSWER_S: Final = 60.0
_LOOK_EVERY_S: Final = 0.05
_ROLE: Final = "bench"
_ORTHANC_PLUGIN: Final = Path("/usr/share/orthanc/plugins/libOrthancPostgreSQLIndex.so")


class Cluster:
    """A PostgreSQL server on a free port of the loopback, with its data below a directory that it makes."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._data = directory / "data"
        self._flush_log = directory / "flushes"  # its user may write nowhere else
        self._process: Process | None = None
        self.port = free_port()

    @staticmethod
    def absent() -> str:
        """Why there can be none on this machine, and the remedy; empty when there can."""
        if _programs() and _somebody() is not None:
            return ""
        return "PostgreSQL is not installed (on Debian: apt-get install postgresql)"

    @property
    def url(self) -> str:
        """Of the database that it has from the beginning."""
        return f"postgresql://{_ROLE}@127.0.0.1:{self.port}/postgres"

    @property
    def pids(self) -> list[int]:
        """Its first process, if it runs."""
        return [self._process.pid] if self._process else []

    def make(self) -> None:
        """Make it, with texts in the order of their bytes. Raises: Failed."""
        self._directory.mkdir()
        self._directory.parent.chmod(0o711)
        somebody = _somebody() or {}
        if somebody:
            os.chown(self._directory, somebody["user"], somebody["group"])
        words = ["-U", _ROLE, "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "-D", str(self._data)]
        command = [_programs() / "initdb", *words]
        done = subprocess.run(command, capture_output=True, text=True, cwd=self._directory, check=False, **somebody)
        if done.returncode:
            raise Failed(f"initdb exited with {done.returncode}: {done.stderr.strip()[-2_000:]}")

    def start(self, *, traced_flushes: bool = False) -> None:
        """Run, and return when it answers. Raises: Failed."""
        options = ["listen_addresses=127.0.0.1", f"port={self.port}", "unix_socket_directories="]
        command = [str(_programs() / "postgres"), "-D", str(self._data)]
        command += [word for option in options for word in ("-c", option)]
        if traced_flushes:
            command = traced(command, self._flush_log)
        log = self._directory / "server.log"
        self._process = start(command, log=log, somebody=_somebody())
        asked = [_programs() / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        deadline = time.monotonic() + _ANSWER_S
        while subprocess.run(asked, check=False).returncode:
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise Failed(f"PostgreSQL did not start: {log.read_text()[-2_000:]}")
            time.sleep(_LOOK_EVERY_S)

    def stop(self) -> None:
        """End it, if it runs."""
        if self._process is not None:
            stop(self._process)
            self._process = None

    @contextmanager
    def running(self) -> Iterator[None]:
        """It runs while this is open."""
        self.start()
        try:
            yield
        finally:
            self.stop()

    def flushes(self) -> list[str]:
        """What strace wrote of its flushes."""
        return self._flush_log.read_text().splitlines()


class _OnPostgresql(Started):
    """A server whose index is in a cluster, which runs while the server runs. Comes before the server's own class."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.cluster = Cluster(directory / "postgresql")

    def start(self, *, nagle_on: bool = False) -> float:
        """Run the cluster, then the server, whose seconds are answered."""
        self.cluster.start(traced_flushes=self.flush_log is not None)
        return super().start(nagle_on=nagle_on)  # type: ignore[misc,no-any-return]

    def stop(self) -> None:
        """End both, the cluster last."""
        super().stop()
        self.cluster.stop()

    @property
    def pids(self) -> list[int]:
        """Those of the server and of the cluster."""
        return [*super().pids, *self.cluster.pids]

    def flushes(self) -> list[str]:
        """Those of the server and of the cluster."""
        return [*super().flushes(), *self.cluster.flushes()]


class ArchiveOnPostgresql(_OnPostgresql, Archive):
    """The archive; all else as it is shipped."""

    @classmethod
    def absent(cls) -> str:
        """Whether PostgreSQL is installed."""
        return Cluster.absent()

    def prepare(self) -> None:
        """Make the cluster, and initialise the data directory and the database."""
        self.cluster.make()
        with self.cluster.running():
            self.initialise("--database", self.cluster.url)

    def know_destination(self, aet: str, port: int) -> None:
        """Register the AE."""
        with self.cluster.running():
            super().know_destination(aet, port)

    def hold_studies(self, count: int, seed: int, objects: int = 1) -> None:
        """Write them into the tables."""
        with self.cluster.running():
            super().hold_studies(count, seed, objects)


class OrthancOnPostgresql(_OnPostgresql, Orthanc):
    """Orthanc with its plugin for the index; files lie in its directory."""

    package: ClassVar = "orthanc-postgresql"
    success_means: ClassVar = "file and index flushed"

    @classmethod
    def absent(cls) -> str:
        """Whether Orthanc, its plugin and PostgreSQL are installed."""
        if not _ORTHANC_PLUGIN.exists():
            return f"{_ORTHANC_PLUGIN.name} is not installed (on Debian: apt-get install {cls.package})"
        return super().absent() or Cluster.absent()

    def prepare(self) -> None:
        """Make the cluster and the directory of files."""
        self.cluster.make()
        super().prepare()

    def settings(self) -> dict[str, Any]:
        """With what the plugin needs to find its database."""
        place = {"Host": "127.0.0.1", "Port": self.cluster.port, "Database": "postgres", "Username": _ROLE}
        index = {"EnableIndex": True, "EnableStorage": False, "Password": "", **place}
        return super().settings() | {"Plugins": [str(_ORTHANC_PLUGIN)], "PostgreSQL": index}


def _programs() -> Path | None:
    """The directory of PostgreSQL's programs, of the newest release that is installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    return found[-1].parent if found else None


def _somebody() -> dict[str, Any] | None:
    """How to start a program as somebody else than root, as whom PostgreSQL refuses to run; None: there is nobody."""
    if os.geteuid() != 0:
        return {}
    users = {entry.pw_name: entry for entry in pwd.getpwall()}
    user = users.get("postgres") or users.get("nobody")
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if user else None
