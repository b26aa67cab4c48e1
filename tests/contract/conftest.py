"""One suite for every database: an empty SQLite file, and an empty database of a PostgreSQL cluster of our own."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from support.postgres import Cluster

from pacs_server.index.engine import Index
from pacs_server.index.schema import upgrade

_databases = itertools.count(1)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A PostgreSQL that all tests share; each has databases of its own."""
    with Cluster.new() as running:
        yield running


@pytest.fixture
def postgres_url(cluster: Cluster) -> Callable[[], str]:
    """Makes URLs of empty databases of the cluster."""

    def make() -> str:
        name = f"index_{next(_databases)}"
        cluster.execute(f"CREATE DATABASE {name}")
        return cluster.url(name)

    return make


@pytest.fixture(params=["sqlite", "postgresql"])
def new_url(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], str]:
    """Makes URLs of empty databases of one kind."""
    if request.param == "sqlite":
        return lambda: f"sqlite:///{tmp_path}/index-{next(_databases)}.db"
    make: Callable[[], str] = request.getfixturevalue("postgres_url")
    return make


@pytest.fixture
def index(new_url: Callable[[], str]) -> Iterator[Index]:
    """An open index with the schema of this release and no content."""
    url = new_url()
    upgrade(url)
    with closing(Index.open(url)) as opened:
        yield opened
