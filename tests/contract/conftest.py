"""One suite for every database: an empty SQLite file, and an empty database of a PostgreSQL cluster of our own."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from functools import cache
from pathlib import Path

import pytest
from support.empty_index import copy_empty_index
from support.postgres import Cluster, Databases, memory

from pacs_server.index.engine import Index
from pacs_server.index.maintenance.schema import upgrade

_databases = itertools.count(1)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A PostgreSQL that all tests share; each has databases of its own. It flushes nothing, so it needs no disk. In
    memory a database is made and removed in a third of the time.
    """
    with Cluster.new(memory()) as running:
        yield running


@pytest.fixture
def databases(cluster: Cluster) -> Iterator[Databases]:
    made = Databases(cluster)
    yield made
    made.drop()


@pytest.fixture
def postgres_url(databases: Databases) -> Callable[[], str]:
    """Makes URLs of empty databases of the cluster."""
    return databases.new


@pytest.fixture(params=["sqlite", "postgresql"])
def kind(request: pytest.FixtureRequest) -> str:
    """The database that a test is about; it runs once with each."""
    return str(request.param)


@pytest.fixture
def new_url(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], str]:
    """Makes URLs of empty databases of one kind."""
    if kind == "sqlite":
        return lambda: _new_file(tmp_path)
    make: Callable[[], str] = request.getfixturevalue("postgres_url")
    return make


def _new_file(folder: Path) -> str:
    return f"sqlite:///{folder}/index-{next(_databases)}.db"


@pytest.fixture(scope="session")
def upgraded_database(cluster: Cluster) -> str:
    """The name of a database of the cluster with the schema of this release and no content."""
    cluster.execute("CREATE DATABASE upgraded")
    upgrade(cluster.url("upgraded"))
    return "upgraded"


@pytest.fixture
def new_upgraded_url(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], str]:
    """Makes URLs of databases of one kind with the schema of this release and no content."""
    if kind == "sqlite":
        return lambda: _new_copy(tmp_path)
    databases: Databases = request.getfixturevalue("databases")
    upgraded: str = request.getfixturevalue("upgraded_database")
    return lambda: databases.new(upgraded)


def _new_copy(folder: Path) -> str:
    url = _new_file(folder)
    copy_empty_index(Path(url.removeprefix("sqlite:///")))
    return url


@pytest.fixture
def upgraded_postgres_url(databases: Databases, upgraded_database: str) -> str:
    """The URL of such a database of the cluster."""
    return databases.new(upgraded_database)


@pytest.fixture
def index(new_upgraded_url: Callable[[], str]) -> Iterator[Index]:
    """An open index with the schema of this release and no content."""
    with closing(Index.open(new_upgraded_url())) as opened:
        yield opened


@pytest.fixture(scope="module")
def shared_index(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], Index]]:
    """An open index of either kind, which tests of one module share: it is made once, and without content."""
    with ExitStack() as open_ones:

        @cache
        def of(kind: str) -> Index:
            if kind == "sqlite":
                url = _new_copy(tmp_path_factory.mktemp("shared"))
            else:
                databases = Databases(request.getfixturevalue("cluster"))
                open_ones.callback(databases.drop)
                url = databases.new(request.getfixturevalue("upgraded_database"))
            return open_ones.enter_context(closing(Index.open(url)))

        yield of
