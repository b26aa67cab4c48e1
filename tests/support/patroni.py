"""A database that a real Patroni runs: etcd, and two members on loopback. Where one of its parts is not installed, the
test is skipped.
"""

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

import pytest
import yaml
from psycopg2 import connect
from support.dcmtk import free_port
from support.postgres import required, somebody
from support.server import descendants, wait_for

from pacs_server.cluster.members import State
from pacs_server.cluster.patroni import Patroni
from pacs_server.errors import PatroniUnavailable
from pacs_server.settings import PatroniSettings

START_S = 180.0
SHIPPED = Path(__file__).parents[2] / "config" / "cluster" / "patroni.yaml"


def _command() -> tuple[list[str], dict[str, str]]:
    """How to run Patroni, as a user who may not see the home of this one, where its Python may be."""
    found = importlib.util.find_spec("patroni")
    if found is None or found.origin is None:
        pytest.skip("Patroni is not installed: pip install 'patroni[etcd3]'")
    packages = Path(found.origin).parents[1]
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    python = shutil.which(version, path="/usr/bin") or sys.executable
    return [python, "-S", "-m", "patroni"], {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(packages),
        "LC_ALL": "C.UTF-8",
    }


class Members:
    """etcd and the members `db1` and `db2`, configured as config/cluster/patroni.yaml says but for places and times.
    The one that starts first leads.
    """

    def __init__(self) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="pacs-patroni-"))
        self._etcd_port = free_port()
        self._as_user = somebody(self.home)
        self._ports = {name: (free_port(), free_port()) for name in ("db1", "db2")}
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    @classmethod
    @contextmanager
    def new(cls) -> Iterator["Members"]:
        command, environment = _command()
        etcd = shutil.which("etcd")
        if etcd is None:
            pytest.skip("etcd is not installed (etcd-server)")
        required("postgres")
        with ExitStack() as at_end:
            members = cls()
            at_end.callback(members._remove)
            members._start_etcd(etcd)
            for name in members._ports:
                members._start(name, command, environment)
            yield members

    @property
    def settings(self) -> PatroniSettings:
        secret = self.home / "password"
        secret.write_text(yaml.safe_load(SHIPPED.read_text(encoding="utf-8"))["restapi"]["authentication"]["password"])
        secret.chmod(0o600)
        urls = tuple(f"http://127.0.0.1:{rest}" for rest, _ in self._ports.values())
        return PatroniSettings(urls=urls, password_file=secret)

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{port}" for _, port in self._ports.values())
        return f"postgresql://pacs@{hosts}/postgres?target_session_attrs=read-write"

    def wait_until(self, what: str, leader: str) -> State:
        """How the members are once `leader` leads and the other one is its synchronous standby."""

        def settled() -> State | None:
            with suppress(PatroniUnavailable):
                state = Patroni(self.settings).status()
                standby = next((one for one in state.members if one.is_synchronous), None)
                if state.leader and state.leader.name == leader and standby and not standby.hindrance:
                    return state
            return None

        found: State = wait_for(settled, f"{what}; see {self.home}", timeout_s=START_S, every_s=0.2)
        return found

    def data_of(self, name: str) -> Path:
        """The data directory of a member."""
        return self.home / name

    def make_database(self, password: str) -> str:
        """Make the database of an archive, of a user with this password; its URL."""
        admin = yaml.safe_load(SHIPPED.read_text(encoding="utf-8"))["postgresql"]["authentication"]["superuser"]
        with closing(
            connect(f"{self.url.replace('pacs@', admin['username'] + '@')}", password=admin["password"])
        ) as one:
            one.autocommit = True
            cursor = one.cursor()
            cursor.execute("CREATE USER pacs PASSWORD %s", [password])
            cursor.execute("CREATE DATABASE pacs OWNER pacs")
        return self.url.replace("/postgres?", "/pacs?")

    def kill(self, name: str) -> None:
        """End a member at once, Patroni and PostgreSQL."""
        server = int((self.data_of(name) / "postmaster.pid").read_text(encoding="ascii").split()[0])
        patroni = self._running.pop(name)
        for pid in {patroni.pid, *descendants(patroni.pid), server, *descendants(server)}:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        patroni.wait(timeout=30)

    def stop_etcd(self) -> None:
        self._end("etcd")

    def _start_etcd(self, program: str) -> None:
        client, peer = (f"http://127.0.0.1:{port}" for port in (self._etcd_port, free_port()))
        words = [program, "--data-dir", str(self.home / "etcd"), "--listen-client-urls", client]
        words += ["--advertise-client-urls", client, "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer]
        self._run("etcd", [*words, "--initial-cluster", f"default={peer}"], {"PATH": os.environ["PATH"]})

    def _start(self, name: str, command: list[str], environment: dict[str, str]) -> None:
        rest, port = self._ports[name]
        told = yaml.safe_load(SHIPPED.read_text(encoding="utf-8").replace("192.168.10.0/24", "127.0.0.1/32"))
        told["name"] = name
        told["restapi"] |= {"listen": f"127.0.0.1:{rest}", "connect_address": f"127.0.0.1:{rest}"}
        told["etcd3"]["hosts"] = [f"127.0.0.1:{self._etcd_port}"]
        told["bootstrap"]["dcs"] |= {"ttl": 20, "loop_wait": 1, "retry_timeout": 3}  # as fast as it can be
        parameters = {"fsync": "off", "unix_socket_directories": str(self.home), "shared_buffers": "16MB"}
        told["bootstrap"]["dcs"]["postgresql"]["parameters"] |= parameters
        told["postgresql"] |= {
            "listen": f"127.0.0.1:{port}",
            "connect_address": f"127.0.0.1:{port}",
            "data_dir": str(self.data_of(name)),
            "bin_dir": str(Path(required("postgres")).parent),
        }
        text = yaml.safe_dump(told)
        config = self.home / f"{name}.yml"
        config.write_text(text, encoding="utf-8")
        self._run(name, [*command, str(config)], environment)
        if name == "db1":
            wait_for(self._leads, f"{name} to lead; see {self.home}", timeout_s=START_S, every_s=0.2)

    def _leads(self) -> bool:
        with suppress(PatroniUnavailable):
            return Patroni(self.settings).status().leader is not None
        return False

    def _run(self, name: str, words: list[str], environment: dict[str, str]) -> None:
        with (self.home / f"{name}.log").open("wb") as log:
            self._running[name] = subprocess.Popen(words, stdout=log, stderr=log, env=environment, **self._as_user)

    def _end(self, name: str) -> None:
        process = self._running.pop(name)
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(timeout=30)

    def _remove(self) -> None:
        for name in list(self._running)[::-1]:
            self._end(name)
        shutil.rmtree(self.home, ignore_errors=True)
