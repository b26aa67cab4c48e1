"""A database that is away, lets nobody in or cannot be used: a person is told why and what to do about it, in words."""

import json
import shutil
import sqlite3
import subprocess
import sys
import traceback
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest
from sqlalchemy import bindparam, insert, select
from support.postgres import Cluster

from pacs_server.cli.exits import ExitCode
from pacs_server.cli.japanese.translation import in_japanese
from pacs_server.cli.main import run
from pacs_server.errors import IndexDamaged, IndexUnavailable, IndexUnfit, IndexUnreachable
from pacs_server.index.database_url import parse_url
from pacs_server.index.drivers.remedies import unavailable
from pacs_server.index.engine import Index
from pacs_server.index.maintenance.checking import unsafe_settings, write_nothing, write_once
from pacs_server.index.maintenance.replacing import install
from pacs_server.index.maintenance.schema import upgrade
from pacs_server.index.statements import Statement
from pacs_server.index.tables import patients

PATIENT_ID = "S-4711"
AWAY = "postgresql://pacs@127.0.0.1:1,localhost:1/pacs"


def as_somebody(cluster: Cluster, name: str, *, with_password: bool = True) -> str:
    """The URL of a new database for another user than its owner, who is asked for a password there."""
    cluster.execute(f"CREATE DATABASE {name}")
    cluster.execute(f"CREATE ROLE user_of_{name} LOGIN PASSWORD 'right'")
    if with_password:
        cluster.let_in(f"local {name} all scram-sha-256")
    return cluster.url(name).replace("pacs@", f"user_of_{name}@")


def limited(cluster: Cluster, what: str, name: str) -> str:
    url = as_somebody(cluster, name, with_password=False)
    cluster.execute(f"ALTER {what} CONNECTION LIMIT 0")
    return url


def made_empty(cluster: Cluster, name: str) -> str:
    cluster.execute(f"CREATE DATABASE {name}")
    return cluster.url(name)


def of_another_program(cluster: Cluster) -> str:
    url = made_empty(cluster, "taken")
    cluster.execute("CREATE TABLE patients (whose text)", "taken")
    return url


UNFIT: dict[str, tuple[Callable[[Cluster], str], type[IndexUnavailable], str, str]] = {
    "no password": (
        lambda cluster: as_somebody(cluster, "silent"), IndexUnreachable, "no password supplied",
        "name a file with the right password as database_password_file in pacs.yaml (--password-file of pacs db copy), "
        "or put it into ~/.pgpass",
    ),
    "a wrong password": (
        lambda cluster: as_somebody(cluster, "guarded").replace("@", ":wrong@"), IndexUnreachable,
        'password authentication failed for user "user_of_guarded"',
        "name a file with the right password as database_password_file in pacs.yaml (--password-file of pacs db copy), "
        "or put it into ~/.pgpass",
    ),
    "no such database": (
        lambda cluster: cluster.url("nosuch"), IndexUnreachable, 'database "nosuch" does not exist',
        "createdb -O pacs -T template0 -E UTF8 --locale=C.UTF-8 nosuch, or correct the name in the URL",
    ),
    "no such user": (
        lambda cluster: cluster.url("postgres").replace("pacs@", "nobody@"), IndexUnreachable,
        'role "nobody" does not exist', "createuser --pwprompt nobody, or correct the user in the URL",
    ),
    "another owner": (
        lambda cluster: as_somebody(cluster, "owned", with_password=False), IndexUnfit,
        "permission denied for schema public",
        "let user_of_owned own it and its tables (ALTER DATABASE owned OWNER TO user_of_owned, ALTER TABLE likewise), "
        "or GRANT it what is missing",
    ),
    "no connection left for the user": (
        lambda cluster: limited(cluster, "ROLE user_of_limited", "limited"), IndexUnreachable,
        'too many connections for role "user_of_limited"',
        "let it have more there (ALTER ROLE user_of_limited or ALTER DATABASE limited CONNECTION LIMIT), or lower "
        "workers in pacs.yaml",
    ),
    "no connection left for the database": (
        lambda cluster: limited(cluster, "DATABASE closed", "closed"), IndexUnreachable,
        'too many connections for database "closed"',
        "let it have more there (ALTER ROLE user_of_closed or ALTER DATABASE closed CONNECTION LIMIT), or lower "
        "workers in pacs.yaml",
    ),
    "a standby is asked for": (
        lambda cluster: cluster.url("postgres") + "&target_session_attrs=standby", IndexUnreachable,
        "server is not in hot standby mode", "the URL asks for a standby: name target_session_attrs=read-write there",
    ),
    "an unknown option": (
        lambda cluster: cluster.url("postgres") + "&foo=1", IndexUnfit, 'invalid connection option "foo"',
        "correct what stands behind the ? in the URL",
    ),
    "an impossible option": (
        lambda cluster: cluster.url("postgres") + "&sslmode=foo", IndexUnfit, 'invalid sslmode value: "foo"',
        "correct what stands behind the ? in the URL",
    ),
    "tables of something else": (
        of_another_program, IndexUnfit, 'relation "patients" already exists',
        "it holds tables of something else: make an empty one, and name that",
    ),
    "nobody there": (
        lambda _: AWAY, IndexUnreachable, "Connection refused",
        "see that PostgreSQL runs there, that the URL names its host and port, and the firewalls between",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", UNFIT)
def test_what_is_wrong_is_told_with_what_to_do_and_without_names_of_classes(case: str, cluster: Cluster) -> None:
    url_in, kind, reason, remedy = UNFIT[case]
    url = url_in(cluster)
    with pytest.raises(IndexUnavailable) as raised:
        upgrade(url)
    told = str(raised.value)
    assert type(raised.value) is kind
    assert reason in told
    assert told.endswith(f": {remedy}")
    assert told.startswith(f"the index at {url.replace(':wrong@', ':***@')} failed: ")
    assert "Error" not in told
    assert "\n" not in told
    assert in_japanese(told).endswith(in_japanese(remedy))
    assert in_japanese(remedy) != remedy


@pytest.mark.parametrize(
    ("words", "remedy"),
    [
        ("server does not support SSL, but SSL was required", "turn ssl on there, or leave sslmode out of the URL"),
        ('FATAL:  pg_hba.conf rejects connection for host "::1"', "let it in: pg_hba.conf there, then reload"),
        ("FATAL:  the database system is starting up", ""),
        ("session is read-only", "start the primary, or promote the standby"),
        ("Connection refused", "see that PostgreSQL runs there, that the URL names its host and port"),
    ],
)
def test_a_server_that_was_found_is_not_looked_for(words: str, remedy: str) -> None:
    reason = psycopg2.OperationalError(f'connection to server at "127.0.0.1", port 5432 failed: {words}')
    told = unavailable(AWAY, parse_url(AWAY), IndexUnreachable, reason).remedy
    assert told.startswith(remedy)
    assert bool(told) is bool(remedy)
    assert not told or in_japanese(told) != told


def test_a_file_that_holds_tables_of_something_else_is_as_unfit(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/index.db"
    with closing(Index.open(url)) as index, index.write() as connection:
        connection.exec_driver_sql("CREATE TABLE patients (whose TEXT)")
    with pytest.raises(IndexUnfit, match="it holds tables of something else: make an empty one, and name that"):
        upgrade(url)


def test_an_archive_is_not_made_in_a_database_of_something_else(
    cluster: Cluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = made_empty(cluster, "taken_already")
    cluster.execute("CREATE TABLE studies (whose text)", "taken_already")
    words = ["init", "--data", str(tmp_path / "archive"), "--port", "0", "--database", url]
    assert run(words) == ExitCode.CONFIGURATION
    assert "it holds tables of something else" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("database", "code", "remedy"),
    [
        (AWAY, ExitCode.UNREACHABLE, "see that PostgreSQL runs there"),
        ("sqlite:////nowhere/index.db", ExitCode.CONFIGURATION, "database in pacs.yaml"),
    ],
)
def test_doctor_has_the_remedy_of_what_ended_it_and_not_a_command_that_ends_so_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], database: str, code: ExitCode, remedy: str
) -> None:
    settings = tmp_path / "pacs.yaml"
    settings.write_text(f"database: {database}\n", encoding="utf-8")
    assert run(["-c", str(settings), "doctor", "--json"]) == code
    row = json.loads(capsys.readouterr().out)[-1]
    assert row["check"] == "database"
    assert row["remedy"].startswith(remedy)
    assert row["remedy"] not in row["result"]


def test_settings_under_which_a_power_cut_takes_what_was_committed_are_told(index: Index, kind: str) -> None:
    if kind == "postgresql":
        assert unsafe_settings(index) == {"fsync": "off"}, "as it is for tests"
        return
    assert unsafe_settings(index) == {}
    with index.read() as connection:
        used = connection.connection.dbapi_connection
    assert used is not None
    used.execute("PRAGMA synchronous = NORMAL")
    assert unsafe_settings(index) == {"synchronous": 1}


def test_a_traceback_tells_no_value_of_a_statement_and_no_row(index: Index) -> None:
    """PostgreSQL quotes the statement, and the row that is in the way."""
    wanted = select(patients.c.id).where(patients.c.patient_id == bindparam("id"))

    def take_in() -> None:
        with index.write() as connection:
            for _ in range(2):
                connection.execute(insert(patients).values(identity=PATIENT_ID, patient_id=PATIENT_ID))

    def look_up() -> None:
        with index.read() as connection:
            connection.execute(wanted, {"id": PATIENT_ID})

    def look_up_directly() -> None:
        Statement(index, wanted).rows(id=PATIENT_ID)

    def told(deed: Callable[[], None]) -> str:
        with pytest.raises(IndexUnavailable, match="patients") as found:
            deed()
        return "".join(traceback.format_exception(found.value))

    assert PATIENT_ID not in told(take_in)
    with index.write_alone() as connection:
        connection.exec_driver_sql("ALTER TABLE patients RENAME TO gone")
    assert PATIENT_ID not in told(look_up)
    assert PATIENT_ID not in told(look_up_directly)


def test_a_damaged_sqlite_file_is_told_as_damage_with_the_way_back_by_every_command(tmp_path: Path, capsys) -> None:
    data = tmp_path / "pacs"
    assert run(["init", "--data", str(data)]) == ExitCode.DONE
    path = data / "index.db"
    path.write_bytes(path.read_bytes()[:4096] + b"\xff" * (path.stat().st_size - 4096))
    capsys.readouterr()
    for words in (["find", "studies"], ["ae", "add", "CT1", "192.0.2.1", "104"], ["serve"]):
        assert run(["-c", str(data / "pacs.yaml"), *words]) == ExitCode.DAMAGE
        told = capsys.readouterr().err.strip()
        assert "database disk image is malformed: pacs restore-backup; or put the database aside, " in told
        assert in_japanese(told).endswith("、pacs index rebuild")
    assert run(["-c", str(data / "pacs.yaml"), "--json", "doctor"]) == ExitCode.DAMAGE
    (problem,) = (row for row in json.loads(capsys.readouterr().out) if row["result"] != "good")
    assert problem["remedy"].startswith("pacs restore-backup; ")


def test_no_object_is_entered_into_a_sqlite_file_in_which_any_process_has_met_damage(tmp_path: Path, capsys) -> None:
    data = tmp_path / "pacs"
    assert run(["init", "--data", str(data)]) == ExitCode.DONE
    path = data / "index.db"
    with closing(sqlite3.connect(path)) as connection:
        page = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'patients'").fetchone()[0]
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    with path.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xff" * size)
    url, doctor = f"sqlite:///{path}", ["-c", str(data / "pacs.yaml"), "--json", "doctor"]
    with closing(Index.open(url)) as one, closing(Index.open(url)) as of_another_process:
        write_once(of_another_process)
        with pytest.raises(IndexDamaged, match="malformed"):
            one.rows("SELECT * FROM patients", ())
        for tried in (write_nothing, write_once):
            with pytest.raises(
                IndexDamaged, match=r"index.db was found damaged.*a whole file was copied over it, start the server"
            ):
                tried(of_another_process)
        with pytest.raises(IndexDamaged, match="takes no objects any more"), of_another_process.write_cursor():
            pass
        capsys.readouterr()
        assert run(doctor) == ExitCode.DAMAGE
        assert "takes no objects any more" in capsys.readouterr().out
        of_another_process.forget_damage()
        write_once(one)
        with pytest.raises(IndexDamaged):
            one.rows("SELECT * FROM patients", ())
    prepared = data / "prepared.db"
    upgrade(f"sqlite:///{prepared}")
    install(prepared, url, keep_as="damaged")
    with closing(Index.open(url)) as put_in_its_place:
        write_once(put_in_its_place)


def test_where_no_room_is_left_for_the_files_beside_a_database_a_person_is_told_to_make_some(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/index.db"
    upgrade(url)
    open_it = (
        "import resource, sys\n"
        "from pacs_server.index.engine import Index\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, 1_000))\n"
        "with Index.open(sys.argv[1]).read() as connection:\n"
        "    connection.exec_driver_sql('SELECT count(*) FROM studies')\n"
    )
    done = subprocess.run([sys.executable, "-c", open_it, url], capture_output=True, text=True, check=False)
    told = done.stderr.splitlines()[-1].partition("IndexUnavailable: ")[2]
    assert told.startswith(f"the index at {url} failed: disk I/O error: make room on the disk of the database; ")
    assert in_japanese(told) != told


@pytest.mark.parametrize("replaced", [True, False])
def test_nothing_is_written_to_a_file_that_was_removed_or_replaced_while_it_is_in_use(
    tmp_path: Path, replaced: bool
) -> None:
    url, path = f"sqlite:///{tmp_path}/index.db", tmp_path / "index.db"
    upgrade(url)
    with closing(Index.open(url)) as index:
        with index.write_cursor():
            pass
        path.rename(tmp_path / "elsewhere.db")
        if replaced:
            shutil.copy(tmp_path / "elsewhere.db", path)
        for writing in (index.write(), index.write_cursor()):
            with pytest.raises(IndexUnavailable, match="removed or replaced while it was in use") as told, writing:
                pytest.fail("it was written to")
            assert in_japanese(str(told.value)) != str(told.value)


def test_a_file_that_cannot_even_be_looked_at_is_told_as_one_that_cannot_be_opened(tmp_path: Path) -> None:
    path = tmp_path / "index.db"
    path.symlink_to(path)  # for root as for others
    with (
        pytest.raises(IndexUnavailable, match="unable to open database file: let its user read and write that file"),
        closing(Index.open(f"sqlite:///{path}")) as index,
        index.read(),
    ):
        pytest.fail("it was opened")


@pytest.mark.parametrize("name", ["closed", "x" * 300])
def test_a_folder_that_cannot_be_looked_into_is_told_by_every_command_with_what_to_do(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = tmp_path / "pacs.yaml"
    settings.write_text(f"data_dir: {tmp_path}/{name}/data\n", encoding="utf-8")
    look = Path.stat

    def closed(path: Path, **given: bool) -> object:  # as for another user: root is let in everywhere
        if "closed" in path.parts:
            raise PermissionError(13, "Permission denied", str(path))
        return look(path, **given)

    monkeypatch.setattr(Path, "stat", closed)
    for words in (["db", "current"], ["db", "check"], ["ae", "list"], ["doctor"]):
        assert (words, run(["-c", str(settings), *words])) == (words, ExitCode.UNREACHABLE)
        told = "".join(capsys.readouterr())
        assert "let its user read and write that file, and its folder" in told, told
