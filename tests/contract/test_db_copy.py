"""`pacs db copy`: everything is copied and compared before it counts, from either database to the other."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import delete, func, insert, inspect, select, update
from support.arrivals import arrival
from support.empty_index import copy_empty_index
from support.filling import fill, held

from pacs_server.cli.exits import ExitCode
from pacs_server.cli.main import run
from pacs_server.dicom.identity import AeTitle
from pacs_server.errors import Busy, CopyDiffers, Refused
from pacs_server.index.engine import Index
from pacs_server.index.maintenance import copying
from pacs_server.index.maintenance.schema import open_current, upgrade
from pacs_server.index.maintenance.snapshot import copy_rows
from pacs_server.index.objects import Outcome
from pacs_server.index.recording.instances import Instances
from pacs_server.index.site_tables import extra_fields, peers
from pacs_server.index.tables import metadata, patients
from pacs_server.service.locks import instance_lock
from pacs_server.service.upkeep.database import copy_database
from pacs_server.settings import Settings, load, minimal_file

TABLES = metadata.sorted_tables


@pytest.fixture(params=["to postgresql", "to sqlite"])
def urls(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, str]:
    """A filled database, and an empty one of the other kind."""
    sqlite = f"sqlite:///{tmp_path}/index.db"
    if request.param == "to postgresql":
        copy_empty_index(tmp_path / "index.db")
        source, target = sqlite, request.getfixturevalue("postgres_url")()
    else:
        source, target = request.getfixturevalue("upgraded_postgres_url"), sqlite
    with closing(open_current(source)) as index, index.write() as connection:
        fill(connection, TABLES)
    return source, target


@pytest.fixture
def settings(urls: tuple[str, str], tmp_path: Path) -> Settings:
    path = tmp_path / "pacs.yaml"
    path.write_text(minimal_file(aet=AeTitle("PACS"), host="::1", port=104, database=urls[0]), encoding="utf-8")
    return load(path)


@pytest.fixture
def source(urls: tuple[str, str]) -> Iterator[Index]:
    with closing(open_current(urls[0])) as index:
        yield index


def everything(url: str) -> dict[str, list[tuple[object, ...]]]:
    with closing(open_current(url)) as index, index.read() as connection:
        return held(connection, TABLES)


def tables_in(url: str) -> list[str]:
    with closing(Index.open(url)) as index, index.read() as connection:
        return inspect(connection).get_table_names()


def test_every_table_is_copied_and_told_and_the_copy_is_gone_on_with(settings: Settings, urls: tuple[str, str]) -> None:
    told = list(copy_database(settings, urls[1]))
    assert {one.table: one.rows for one in told} == {table.name: 3 for table in TABLES}
    assert everything(urls[1]) == everything(urls[0])
    with closing(open_current(urls[1])) as index:
        assert Instances(index).record(arrival("1.2.3.4")).outcome is Outcome.NEW


def test_an_id_that_must_not_come_again_does_not(postgres_url: Callable[[], str], tmp_path: Path) -> None:
    """The field with the greatest id was removed; values of it may be left."""
    url = f"sqlite:///{tmp_path}/index.db"
    copy_empty_index(tmp_path / "index.db")
    with closing(open_current(url)) as source, closing(copying.prepare(url, postgres_url())) as target:
        with source.write() as connection:
            fill(connection, [extra_fields])
            connection.execute(delete(extra_fields).where(extra_fields.c.id == 3))
        list(copying.copy_content(source, target))
        with target.write() as connection:
            values = {column.name: 0 if column.type.python_type is int else "x" for column in extra_fields.c}
            del values["id"]
            assert connection.execute(insert(extra_fields).values(values)).inserted_primary_key == (4,)


def test_a_copy_that_is_broken_off_leaves_nothing_and_is_begun_anew(settings: Settings, urls: tuple[str, str]) -> None:
    copied = copy_database(settings, urls[1])
    for _ in range(5):
        next(copied)
    copied.close()
    assert tables_in(urls[1]) == []
    assert len(list(copy_database(settings, urls[1]))) == len(TABLES)


def test_a_database_that_holds_the_same_is_compared_and_one_that_does_not_is_refused(
    settings: Settings, source: Index, urls: tuple[str, str]
) -> None:
    first = list(copy_database(settings, urls[1]))
    assert list(copy_database(settings, urls[1])) == first
    with source.write() as connection:
        connection.execute(update(peers).where(peers.c.port == 2).values(port=22))
    with pytest.raises(Refused, match="table peers has 3 rows in both, and their values differ; make an empty one"):
        list(copy_database(settings, urls[1]))
    with source.write() as connection:
        connection.execute(delete(peers).where(peers.c.port == 22))
    with pytest.raises(Refused, match="something else than this index: table peers has 3 rows there and 2 here"):
        list(copy_database(settings, urls[1]))
    with closing(open_current(urls[1])) as target, target.read() as connection:
        assert connection.execute(select(func.count()).where(peers.c.port == 2)).scalar() == 1


def test_a_database_that_holds_anything_at_all_is_not_filled(settings: Settings, urls: tuple[str, str]) -> None:
    upgrade(urls[1])
    with closing(open_current(urls[1])) as target, target.write() as connection:
        fill(connection, [peers])
    before = everything(urls[1])
    with pytest.raises(Refused, match=r"holds something else than this index: table .* has 0 rows there and 3 here"):
        list(copy_database(settings, urls[1]))
    assert everything(urls[1]) == before


@pytest.mark.parametrize("name", ["employees", "patients"])
def test_a_database_of_something_else_is_refused_and_left_as_it_is(
    settings: Settings, urls: tuple[str, str], name: str
) -> None:
    with closing(Index.open(urls[1])) as target, target.write() as connection:
        connection.exec_driver_sql(f"CREATE TABLE {name} (a integer)")
    with pytest.raises(Refused, match=f"tables of something else \\({name}\\): make an empty one"):
        list(copy_database(settings, urls[1]))
    with closing(Index.open(urls[1])) as target, target.read() as connection:
        assert inspect(connection).get_table_names() == [name]


def test_a_copy_that_is_not_what_it_was_copied_from_is_not_kept(
    settings: Settings, urls: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def alter(source, target, table) -> None:
        copy_rows(source, target, table)
        if table is patients:
            target.execute(update(patients).where(patients.c.id == 2).values(patient_name="SOMEBODY^ELSE"))

    monkeypatch.setattr(copying, "copy_rows", alter)
    with pytest.raises(CopyDiffers, match="patients"):
        list(copy_database(settings, urls[1]))
    assert tables_in(urls[1]) == []


def test_a_copy_whose_process_is_killed_leaves_no_table(settings: Settings, urls: tuple[str, str]) -> None:
    program = (
        "import os, sys; from pathlib import Path; from pacs_server.settings import load;"
        "from pacs_server.service.upkeep.database import copy_database;"
        "copied = copy_database(load(Path(sys.argv[1])), sys.argv[2]); next(copied); next(copied);"
        "os.kill(os.getpid(), 9)"
    )
    words = [sys.executable, "-c", program, str(settings.data_dir / "pacs.yaml"), urls[1]]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (-signal.SIGKILL, "")
    assert tables_in(urls[1]) == []
    assert len(list(copy_database(settings, urls[1]))) == len(TABLES)


def test_nothing_is_copied_while_a_server_runs(settings: Settings, urls: tuple[str, str]) -> None:
    with instance_lock(settings.data_dir), pytest.raises(Busy):
        list(copy_database(settings, urls[1]))


def test_two_copies_at_once_are_told_from_a_server(
    settings: Settings, urls: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["-c", str(settings.data_dir / "pacs.yaml"), "db", "copy", "--to", urls[1]]
    with instance_lock(settings.data_dir):
        assert run(words) == ExitCode.BUSY
    assert f"another pacs works on {settings.data_dir}: wait until it has ended" in capsys.readouterr().err


def test_databases_of_the_same_kind_are_refused_with_what_does_it(settings: Settings, urls: tuple[str, str]) -> None:
    with pytest.raises(Refused, match="pg_dump"):
        list(copy_database(settings, urls[0]))
