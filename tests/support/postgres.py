"""PostgreSQL clusters of our own: started, stopped, killed, followed by a standby, on a socket in a directory each."""

import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError
from support.server import descendants, wait_for

from pacs_server.index.database_url import parse_url

_LOCALE = ("-E", "UTF8", "--locale=C.UTF-8")
_ROOM_BYTES = 4 << 30
_numbers = itertools.count(1)
_OPTIONS = ("listen_addresses=", "fsync=off", "max_wal_senders=4")


def _program(name: str) -> str | None:
    installed = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return str(installed[-1]) if installed else shutil.which(name)


def required(name: str) -> str:
    """The path of one of PostgreSQL's programs; without it the test is skipped."""
    found = _program(name)
    if found is None:
        pytest.skip(f"PostgreSQL's {name} is not installed")
    return found


class Cluster:
    """One server with its data. Its socket is in `home`, under the port 5432."""

    def __init__(self, below: Path | None = None) -> None:
        # Not in pytest's directory: another pytest that begins closes that to other users, and the cluster ends.
        self.home = Path(tempfile.mkdtemp(prefix="pacs-pg-", dir=below))
        self._somebody = somebody(self.home)
        self._data = self.home / "data"
        self._running: subprocess.Popen[bytes] | None = None

    @classmethod
    @contextmanager
    def new(cls, below: Path | None = None) -> Iterator["Cluster"]:
        """A cluster that runs and is empty; in another folder than that of temporary files, if `below` names one."""
        cluster = cls(below)
        try:
            cluster.make()
            yield cluster
        finally:
            cluster.remove()

    def make(self) -> None:
        """Make it, empty, and start it."""
        self._make(required("initdb"), "-U", "pacs", "-A", "trust", *_LOCALE, "-D")
        self.start()

    @contextmanager
    def copied(self, *options: str) -> Iterator["Cluster"]:
        """A copy, which runs; a server of its own unless the options of pg_basebackup say otherwise."""
        copy = Cluster()
        try:
            copy._copy(self, *options)
            yield copy
        finally:
            copy.remove()

    def _copy(self, other: "Cluster", *options: str) -> None:
        source = ("-h", str(other.home), "-U", "pacs", "-X", "stream", "-c", "fast", "--no-sync")
        self._make(required("pg_basebackup"), *source, *options, "-D")
        self.start()

    def follow(self, primary: "Cluster") -> None:
        """Become the standby of another one, without which that commits nothing any more; what was here is gone."""
        shutil.rmtree(self._data, ignore_errors=True)
        self._copy(primary, "-R")
        primary.wait_for_standby()

    @contextmanager
    def standby(self) -> Iterator["Cluster"]:
        """A standby, without which this one commits nothing any more."""
        with self.copied("-R") as copy:
            self.wait_for_standby()
            yield copy

    def wait_for_standby(self) -> None:
        """From now on, commit nothing without a standby; return when one follows."""
        self.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
        self.execute("SELECT pg_reload_conf()")
        told = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'"
        wait_for(lambda: self.execute(told), "the standby to follow", timeout_s=60)

    def go_on_alone(self) -> None:
        """Commit without a standby, as a person decides when that is lost."""
        self.execute("ALTER SYSTEM SET synchronous_standby_names = ''")
        self.execute("SELECT pg_reload_conf()")

    def _make(self, *command: str) -> None:
        words = [*command, str(self._data)]
        made = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False, **self._somebody)
        if made.returncode:
            pytest.skip(f"{Path(command[0]).name} does not run here: {made.stderr.strip()[-200:]}")

    def url(self, database: str) -> str:
        """The URL of one of its databases."""
        return f"postgresql://pacs@/{database}?host={self.home}"

    def start(self) -> None:
        """Run, and return when it answers."""
        words = [required("postgres"), "-D", str(self._data), "-k", str(self.home)]
        words += [word for option in _OPTIONS for word in ("-c", option)]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self._running = subprocess.Popen(words, **quiet, **self._somebody)
        wait_for(self._answers, "PostgreSQL to answer", timeout_s=60, every_s=0.1)

    def _answers(self) -> bool:
        try:
            return bool(self.execute("SELECT 1"))
        except OperationalError:
            return False

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End it: SIGINT rolls back what is open, SIGQUIT ends it like a power cut. Nothing when it does not run."""
        if self._running is not None:
            self._running.send_signal(how)
            self._running.wait(timeout=90)
            self._running = None

    def kill(self) -> None:
        """End all of its processes at once, as when its machine loses power."""
        assert self._running is not None, "it does not run"
        for pid in [self._running.pid, *descendants(self._running.pid)]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._running.wait(timeout=90)
        self._running = None

    def copy_database(self, like: str, name: str) -> None:
        """Make a database like another one, file by file: block by block, as is usual since 15, takes twice as long."""
        by_file = " STRATEGY FILE_COPY" if int(self.execute("SHOW server_version_num")) >= 150_000 else ""
        self.execute(f"CREATE DATABASE {name} TEMPLATE {like}{by_file}")

    def let_in(self, line: str) -> None:
        """Have a line of pg_hba.conf decide before all others who gets in, and by what."""
        rules = self._data / "pg_hba.conf"
        rules.write_text(f"{line}\n{rules.read_text(encoding='utf-8')}", encoding="utf-8")
        before = self.execute("SELECT pg_conf_load_time()")
        self.execute("SELECT pg_reload_conf()")
        wait_for(lambda: self.execute("SELECT pg_conf_load_time()") != before, "the rule to be read")

    def backends(self, database: str) -> list[int]:
        """The processes that serve connections to a database."""
        told = f"SELECT string_agg(pid::text, ' ') FROM pg_stat_activity WHERE datname = '{database}'"
        return [int(pid) for pid in (self.execute(told) or "").split()]

    def processes(self) -> list[int]:
        """All of its processes but the one that begins them, which may be frozen."""
        assert self._running is not None, "it does not run"
        return descendants(self._running.pid)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """The process that accepts connections is stopped, so that none is answered."""
        assert self._running is not None, "it does not run"
        self._running.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._running.send_signal(signal.SIGCONT)

    def remove(self) -> None:
        """End it, and remove its data."""
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self.home, ignore_errors=True)

    def execute(self, sql: str, database: str = "postgres") -> Any:
        """The first value that a statement answers, each in a transaction of its own; None when it answers nothing."""
        engine = create_engine(parse_url(self.url(database)), isolation_level="AUTOCOMMIT")
        try:
            with engine.connect() as connection:
                done = connection.execute(text(sql))
                return done.scalar() if done.returns_rows else None
        finally:
            engine.dispose()


class Databases:
    """Those of one test, which go with it: hundreds that stayed would be of three hundred files each."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._made: list[str] = []

    def new(self, like: str = "template1") -> str:
        """The URL of a database like another one."""
        self._made.append(f"index_{next(_numbers)}")
        self._cluster.copy_database(like, self._made[-1])
        return self._cluster.url(self._made[-1])

    def drop(self) -> None:
        for name in self._made:
            self._cluster.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def memory() -> Path | None:
    """A folder in memory with room for the databases of a test on each of many processors; None where there is none."""
    folder = Path("/dev/shm")
    try:
        has_room = shutil.disk_usage(folder).free >= _ROOM_BYTES and os.access(folder, os.W_OK)
    except OSError:
        return None
    return folder if has_room else None


def somebody(home: Path) -> dict[str, Any]:
    """How to start a program as somebody else, because PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return {"cwd": home}
    users = {entry.pw_name: entry for entry in pwd.getpwall()}
    user = users.get("postgres") or users.get("nobody")
    if user is None:
        pytest.skip("PostgreSQL does not run as root, and there is no user to change to")
    os.chown(home, user.pw_uid, user.pw_gid)
    for parent in home.parents:
        if parent.stat().st_uid == os.geteuid() and not parent.stat().st_mode & 0o001:
            parent.chmod(parent.stat().st_mode | 0o011)
    return {"cwd": home, "user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def wait_until_waiting(cluster: Cluster, url: str, number: int = 1) -> None:
    """Return when so many statements wait for a lock."""
    name = url.partition("?")[0].rpartition("/")[2]
    waits = f"SELECT count(*) >= {number} FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = '{name}'"
    wait_for(lambda: cluster.execute(waits), "statements that wait")
