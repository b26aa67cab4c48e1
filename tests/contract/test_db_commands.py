"""`pacs db` and `pacs serve` before a database that is not as this release needs it: each says what to do."""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import text
from support.server import Archive

from pacs_server.cli.exits import ExitCode
from pacs_server.cli.main import run
from pacs_server.index import schema
from pacs_server.index.engine import Index
from pacs_server.index.schema import current, head

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


def test_a_backup_of_an_older_release_is_refused_with_who_has_to_make_it(
    archive: Archive, url: str, tmp_path: Path
) -> None:
    set_schema(url, BEFORE)
    told = archive.pacs("backup", "run", "--to", str(tmp_path / "backup"), expect=ExitCode.SCHEMA).stderr
    assert f"{BEFORE} of an older release, and that one has to back it up" in told
    assert not (tmp_path / "backup").exists()


def test_a_server_upgrades_sqlite_alone_and_says_so_once_it_has(archive: Archive, url: str, kind: str) -> None:
    empty(url)
    with closing(Index.open(url)) as index, index.write_alone() as connection:
        schema.migrate(connection, BEFORE)
    if kind == "postgresql":
        assert "run pacs db upgrade" in archive.pacs("serve", expect=ExitCode.SCHEMA).stderr
        return
    archive.start()
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
