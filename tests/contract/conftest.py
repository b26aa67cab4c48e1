"""One suite for every database: an empty SQLite file, and an empty database of a PostgreSQL cluster of our own."""

import itertools
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from pacs_server.index.engine import Index
from pacs_server.index.schema import upgrade

_databases = itertools.count(1)


def _program(name: str) -> str | None:
    installed = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return str(installed[-1]) if installed else shutil.which(name)


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """The URL of a running cluster, without a database name; it listens on a socket in a directory of its own.

    Not in pytest's directory: another pytest that begins closes that to other users, and the cluster ends.
    """
    initdb, server = _program("initdb"), _program("postgres")
    if initdb is None or server is None:
        pytest.skip("PostgreSQL's initdb and postgres are not installed")
    home = Path(tempfile.mkdtemp(prefix="pacs-pg-"))
    become = _unprivileged(home)
    data = home / "data"
    made = subprocess.run(
        [*become, initdb, "-D", str(data), "-U", "pacs", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8"],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    if made.returncode:
        pytest.skip(f"initdb does not run here: {made.stderr.strip()[-200:]}")
    running = subprocess.Popen(
        [*become, server, "-D", str(data), "-k", str(home), "-c", "listen_addresses=", "-c", "fsync=off"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        url = f"postgresql+psycopg2://pacs@/{{name}}?host={home}"
        _wait_until_it_answers(url.format(name="postgres"))
        yield url
    finally:
        running.terminate()
        running.wait(timeout=30)
        shutil.rmtree(home, ignore_errors=True)


def _unprivileged(home: Path) -> list[str]:
    """How to start a program as somebody else, because PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return []
    user = next((name for name in ("postgres", "nobody") if name in {entry.pw_name for entry in pwd.getpwall()}), None)
    if user is None or shutil.which("runuser") is None:
        pytest.skip("PostgreSQL does not run as root, and there is no user or runuser to change to")
    shutil.chown(home, user)
    for parent in home.parents:
        if parent.stat().st_uid == os.geteuid() and not parent.stat().st_mode & 0o001:
            parent.chmod(parent.stat().st_mode | 0o011)
    return ["runuser", "-u", user, "--"]


def _wait_until_it_answers(url: str) -> None:
    engine = create_engine(url)
    for attempt in itertools.count():
        try:
            with engine.connect():
                return
        except Exception:
            if attempt > 300:
                raise
            subprocess.run(["sleep", "0.1"], check=True)
        finally:
            engine.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def new_url(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], str]:
    """Makes URLs of empty databases of one kind."""
    if request.param == "sqlite":
        return lambda: f"sqlite:///{tmp_path}/index-{next(_databases)}.db"
    cluster = request.getfixturevalue("postgres_url")

    def make() -> str:
        name = f"index_{next(_databases)}"
        engine = create_engine(cluster.format(name="postgres"), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
        engine.dispose()
        return str(cluster.format(name=name))

    return make


@pytest.fixture
def index(new_url: Callable[[], str]) -> Iterator[Index]:
    """An open index with the schema of this release and no content."""
    url = new_url()
    upgrade(url)
    with closing(Index.open(url)) as opened:
        yield opened
