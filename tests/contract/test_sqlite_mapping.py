"""Which connections of a SQLite file map it: lists do, and what every object needs does not, nor does it keep much."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from support.arrivals import arrival
from support.empty_index import copy_empty_index

from pacs_server.index.engine import Index
from pacs_server.index.recording.instances import Instances


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "index.db"
    copy_empty_index(file)
    return file


@pytest.fixture
def index(path: Path) -> Iterator[Index]:
    with closing(Index.open(f"sqlite:///{path}")) as opened:
        yield opened


def is_mapped(path: Path) -> bool:
    """Whether this process maps the file. Each commit of another connection makes it map the file anew."""
    return any(line.endswith(f" {path}") for line in Path("/proc/self/maps").read_text().splitlines())


def test_storing_an_object_maps_nothing(index: Index, path: Path) -> None:
    objects = Instances(index)
    for number in range(3):
        assert not objects.known(f"1.2.3.{number}", "1.2.3").objects
        objects.record(arrival(f"1.2.3.{number}"))
        assert objects.known(f"1.2.3.{number}", "1.2.3").objects
    assert not is_mapped(path)


def test_a_list_is_read_through_a_mapping(index: Index, path: Path) -> None:
    rows = index.stream("SELECT study_uid FROM studies", ())
    assert [row for part in rows for row in part] == []
    assert is_mapped(path)


def test_look_ups_keep_little_of_a_large_index_in_memory(index: Index) -> None:
    ((kept,),) = index.rows("PRAGMA cache_size", ())
    with index.write() as connection:
        written = connection.exec_driver_sql("PRAGMA cache_size").scalar_one()
    # Below zero they are KiB. Source: SQLite's PRAGMA cache_size.
    assert written < 16 * kept < 0
