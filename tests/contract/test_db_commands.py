"""`pacs db` and `pacs serve` before a database that is not as this release needs it: each says what to do."""

import shutil
import socket
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import text
from support.postgres import Cluster
from support.server import Archive

from pacs_server.cli.exits import ExitCode
from pacs_server.cli.main import run
from pacs_server.index.engine import Index
from pacs_server.index.maintenance import schema
from pacs_server.index.maintenance.schema import current, head

LATER = "9999_pre_later"
BEFORE = sorted(path.stem for path in (Path(__file__).parents[2] / "migrations" / "versions").glob("[0-9]*.py"))[-2]


@pytest.fixture
def url(new_url: Callable[[], str]) -> str:
    return new_url()


@pytest.fixture
def archive(url: str, tmp_path: Path) -> Iterator[Archive]:
    """An archive on either database, without a server."""
    made = Archive(tmp_path, database=url)
    yield made
    made.kill()


def execute(url: str, *statements: str) -> None:
    with closing(Index.open(url)) as index, index.write() as connection:
        for one in statements:
            connection.execute(text(one))


def set_schema(url: str, revision: str) -> None:
    execute(url, f"UPDATE alembic_version SET version_num = '{revision}'")


def empty(url: str) -> None:
    """What is behind the URL when the database was lost, and another made in its place."""
    if url.startswith("sqlite"):
        for file in Path(url.removeprefix("sqlite:///")).parent.glob("index-*.db*"):
            file.unlink()
    else:
        execute(url, "DROP SCHEMA public CASCADE", "CREATE SCHEMA public")


@pytest.mark.parametrize("words", [["serve"], ["status"], ["db", "current"], ["db", "upgrade"], ["backup", "run"]])
def test_of_a_newer_release_every_command_says_that_this_release_has_to_be_installed(
    archive: Archive, url: str, tmp_path: Path, words: list[str]
) -> None:
    set_schema(url, LATER)
    told = archive.pacs(*words, *(["--to", str(tmp_path)] if "run" in words else []), expect=ExitCode.SCHEMA)
    assert f"{LATER} of a newer release: install that release or a later one" in told.stderr
    assert "pacs db upgrade" not in told.stderr
    assert "upgrad" not in told.stderr + told.stdout
    assert current(url) == LATER
    assert [file.name for file in tmp_path.rglob("*.before-*")] == []


@pytest.mark.parametrize("words", [["serve"], ["status"], ["db", "current"], ["db", "upgrade"]])
def test_an_empty_database_behind_an_archive_is_neither_served_nor_filled_unless_that_is_wanted(
    archive: Archive, url: str, words: list[str]
) -> None:
    empty(url)
    told = archive.pacs(*words, expect=ExitCode.SCHEMA).stderr
    assert "is gone or empty: if this archive held something, see whether the settings file names the right" in told
    assert "pacs restore-backup" in told
    assert current(url) is None
    assert "made an empty database" in archive.pacs("db", "upgrade", "--new").stderr
    assert current(url) == head()
    archive.pacs("storage", "add", "first", str(archive.volume))
    archive.pacs("index", "rebuild")


def test_an_empty_database_before_anything_was_made_is_filled(archive: Archive, url: str) -> None:
    empty(url)
    shutil.rmtree(archive.data / "volumes")
    assert "made an empty database" in archive.pacs("db", "upgrade").stderr
    assert current(url) == head()


def test_of_an_older_release_the_commands_name_the_upgrade_which_is_told_once_it_was_done(
    archive: Archive, url: str
) -> None:
    empty(url)
    with closing(Index.open(url)) as index, index.write_alone() as connection:
        schema.migrate(connection, BEFORE)
    assert "stop the server, then run pacs db upgrade" in archive.pacs("db", "current", expect=ExitCode.SCHEMA).stderr
    told = archive.pacs("db", "upgrade").stderr
    assert told == f"upgraded the schema from {BEFORE} to {head()}\n"
    assert "nothing was changed" in archive.pacs("db", "upgrade").stderr


def test_an_upgrade_after_which_the_tables_are_not_those_of_this_release_says_so(archive: Archive, url: str) -> None:
    empty(url)
    with closing(Index.open(url)) as index, index.write_alone() as connection:
        schema.migrate(connection, BEFORE)
    execute(url, "ALTER TABLE peers DROP COLUMN charset")
    told = archive.pacs("db", "upgrade", expect=ExitCode.DAMAGE).stderr.splitlines()
    assert told[1:] == [
        "the column peers.charset is missing",
        "the database cannot be used as it is; pacs db check says what to do",
    ]


def test_a_backup_of_an_older_release_is_refused_with_who_has_to_make_it(
    archive: Archive, url: str, tmp_path: Path
) -> None:
    set_schema(url, BEFORE)
    told = archive.pacs("backup", "run", "--to", str(tmp_path / "backup"), expect=ExitCode.SCHEMA).stderr
    assert f"{BEFORE} of an older release, and that one has to back it up" in told
    assert not (tmp_path / "backup").exists()


def test_a_server_upgrades_sqlite_alone_in_its_time_and_says_so_once_it_has(
    archive: Archive, url: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty(url)
    with closing(Index.open(url)) as index, index.write_alone() as connection:
        schema.migrate(connection, BEFORE)
    if kind == "postgresql":
        assert "run pacs db upgrade" in archive.pacs("serve", expect=ExitCode.SCHEMA).stderr
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
        notified.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        archive.start()
        states = [notified.recv(100) for _ in range(3)]
    assert states == [b"EXTEND_TIMEOUT_USEC=21600000000", b"EXTEND_TIMEOUT_USEC=90000000", b"READY=1"]
    told = archive.log_text()
    assert f"the database has schema {BEFORE}, this release needs {head()}: copying it beside itself, then" in told
    assert f"upgraded the schema from {BEFORE} to {head()}" in told
    assert archive.stop() == 0


def test_of_two_upgrades_at_once_the_second_says_that_it_is_done_already(
    archive: Archive, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(schema, "current", lambda _: BEFORE)  # what it sees before the other is through
    assert run(["-c", str(archive.config), "db", "upgrade"]) == ExitCode.DONE
    told = capsys.readouterr().err
    assert "another pacs upgraded it meanwhile" in told
    assert "upgraded the schema from" not in told


def checked(archive: Archive, *, expect: int = ExitCode.DONE) -> dict[str, list[str]]:
    """What is wrong by each check; all have a remedy then, and none else."""
    rows = archive.report("db", "check", expect=expect)
    assert [row for row in rows if (row["result"] == "good") is bool(row["remedy"])] == []
    return {
        check: [row["result"] for row in rows if row["check"] == check and row["remedy"]]
        for check in dict.fromkeys(row["check"] for row in rows)
    }


def test_a_good_database_passes_every_check_also_under_a_server(archive: Archive, kind: str) -> None:
    archive.start()
    of_kind = "contents" if kind == "sqlite" else "kind"
    assert checked(archive) == {"database": [], of_kind: [], "schema": [], "tables": [], "writing": []}
    assert archive.stop() == 0


def test_tables_that_were_changed_by_hand_are_told_and_those_that_were_added_are_not(
    archive: Archive, url: str
) -> None:
    execute(
        url,
        "DROP INDEX ix_copies_instance_row",
        "ALTER TABLE studies ADD COLUMN remark TEXT",
        "DROP TABLE turned_away",
        "CREATE TABLE of_the_radiologists (id INTEGER)",
        "CREATE INDEX for_a_report ON copies (path)",
    )
    assert checked(archive, expect=ExitCode.DAMAGE)["tables"] == [
        "the table turned_away is missing",
        "the index ix_copies_instance_row of copies is missing, or is another one",
        "the column studies.remark is none of this release",
    ]


@pytest.mark.parametrize(
    ("revision", "told"),
    [(LATER, "it has schema {} of a newer release"), (BEFORE, "it has schema {}, this release needs " + head())],
)
def test_a_schema_of_another_release_is_told(archive: Archive, url: str, revision: str, told: str) -> None:
    set_schema(url, revision)
    assert checked(archive, expect=ExitCode.SCHEMA)["schema"] == [told.format(revision)]


def test_an_empty_database_is_told(archive: Archive, url: str) -> None:
    empty(url)
    assert checked(archive, expect=ExitCode.SCHEMA)["schema"] == ["it is empty"]


@pytest.mark.parametrize("kind", ["sqlite"])
def test_a_sqlite_file_that_is_broken_is_told(archive: Archive, url: str) -> None:
    path = Path(url.removeprefix("sqlite:///"))
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("PRAGMA journal_mode = DELETE")
        size, pages = (database.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_size", "page_count"))
    with path.open("r+b") as file:
        file.seek((pages - 1) * size)
        file.write(b"\xff" * size)
    assert checked(archive, expect=ExitCode.DAMAGE)["contents"]
    path.write_bytes(b"nothing like it" * 1000)
    (told,) = checked(archive, expect=ExitCode.DAMAGE)["database"]
    assert "file is not a database" in told


@pytest.mark.parametrize("kind", ["sqlite"])
def test_rows_of_sqlite_that_belong_to_none_are_told(archive: Archive, url: str) -> None:
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as database, database:
        database.execute("PRAGMA foreign_keys = OFF")
        columns = database.execute("SELECT name, type FROM pragma_table_info('copies')").fetchall()
        values = ", ".join("7" if of == "INTEGER" else "'x'" for _, of in columns)
        database.execute(f"INSERT INTO copies ({', '.join(name for name, _ in columns)}) VALUES ({values})")
    told = checked(archive, expect=ExitCode.DAMAGE)["contents"]
    assert "row 7 of the table copies belongs to a row of instances that is not there" in told


@pytest.mark.parametrize("kind", ["postgresql"])
def test_a_database_that_cannot_be_written_to_or_does_not_answer_is_told(
    archive: Archive, url: str, cluster: Cluster
) -> None:
    name = url.partition("?")[0].rpartition("/")[2]
    cluster.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    (told,) = checked(archive, expect=ExitCode.UNREACHABLE)["writing"]
    assert "read-only transaction" in told
    cluster.execute(f"DROP DATABASE {name} WITH (FORCE)")
    assert len(checked(archive, expect=ExitCode.UNREACHABLE)["database"]) == 1
