"""Every schema that ever was becomes that of this release, with what it holds, whoever else upgrades meanwhile."""

import json
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from functools import cache
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, inspect, make_url, text
from support.arrivals import arrival
from support.filling import ROWS, fill, held, reflected
from support.postgres import Databases
from support.server import wait_for

from pacs_server.dicom.vocabulary import PARTED
from pacs_server.errors import IndexUnavailable, SchemaMismatch
from pacs_server.index.drivers import sqlite
from pacs_server.index.engine import Index
from pacs_server.index.maintenance import schema
from pacs_server.index.maintenance.schema import current, head, migrate, open_current, upgrade
from pacs_server.index.objects import Outcome
from pacs_server.index.recording.instances import Instances
from pacs_server.index.site_tables import metadata

VERSIONS = Path(__file__).parents[2] / "migrations" / "versions"
REVISIONS = sorted(path.stem for path in VERSIONS.glob("[0-9]*.py"))

# What the catalogue of a database tells of its tables, whatever order their columns have.
CATALOGUE = {
    "sqlite": (
        'SELECT m.name, c.name, c.type, c."notnull", c.dflt_value, c.pk'
        " FROM sqlite_master m JOIN pragma_table_xinfo(m.name) c WHERE m.type = 'table'",
        'SELECT m.name, f."from", f."table", f."to", f.on_delete'
        " FROM sqlite_master m JOIN pragma_foreign_key_list(m.name) f WHERE m.type = 'table'",
        'SELECT m.name, i."unique", i.partial, x.seqno, x.name, m.sql FROM sqlite_master t'
        " JOIN pragma_index_list(t.name) i JOIN pragma_index_xinfo(i.name) x JOIN sqlite_master m ON m.name = i.name",
        "SELECT name, sql LIKE '%AUTOINCREMENT%', sql LIKE '%WITHOUT ROWID%' FROM sqlite_master WHERE type = 'table'",
    ),
    "postgresql": (
        "SELECT table_name, column_name, data_type, is_nullable, column_default FROM information_schema.columns"
        " WHERE table_schema = 'public'",
        "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'",
        "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint"
        " WHERE connamespace = 'public'::regnamespace",
    ),
}


def catalogue(url: str) -> set[str]:
    with closing(Index.open(url)) as index, index.read() as connection:
        told = {
            re.sub(r"\s+", " ", str(tuple(row)))
            for question in CATALOGUE[connection.dialect.name]
            for row in connection.execute(text(question.replace("::", "\\:\\:")))
        }
    return {line for line in told if "alembic_version" not in line and "sqlite_sequence" not in line}


def made_with(url: str, revision: str) -> None:
    with closing(Index.open(url)) as index, index.write_alone() as connection:
        migrate(connection, revision)


@pytest.fixture(scope="module")
def steps(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., str]]:
    """Makes URLs of databases with the schema of a revision, each from that of the revision before."""
    folder = tmp_path_factory.mktemp("steps")
    with ExitStack() as open_ones:

        @cache
        def databases() -> Databases:
            made = Databases(request.getfixturevalue("cluster"))
            open_ones.callback(made.drop)
            return made

        @cache
        def of(kind: str, revision: str) -> str:
            number = REVISIONS.index(revision)
            before = of(kind, REVISIONS[number - 1]) if number else None
            url = copied(before, folder / f"{revision}.db" if kind == "sqlite" else databases())
            made_with(url, revision)
            return url

        yield of


def copied(url: str | None, to: Path | Databases) -> str:
    """The URL of a new database like another one, or of an empty one."""
    if isinstance(to, Databases):
        return to.new(str(make_url(url).database)) if url else to.new()
    if url:
        shutil.copyfile(url.removeprefix("sqlite:///"), to)
    return f"sqlite:///{to}"


@pytest.fixture
def new_with(
    kind: str, steps: Callable[..., str], request: pytest.FixtureRequest, tmp_path: Path
) -> Callable[[str], str]:
    """Makes URLs of databases of one kind with the schema of a revision and no content."""
    to = tmp_path / "index.db" if kind == "sqlite" else request.getfixturevalue("databases")
    return lambda revision: copied(steps(kind, revision), to)


def test_the_tables_of_the_code_are_those_that_the_migrations_make(new_url: Callable[[], str]) -> None:
    migrated, declared = new_url(), new_url()
    upgrade(migrated)
    with closing(Index.open(declared)) as index, index.write() as connection:
        metadata.create_all(connection)
    assert catalogue(migrated) == catalogue(declared)
    if migrated.startswith("postgresql"):  # Alembic misreads SQLite's empty defaults, and indexes of one database alone
        with closing(Index.open(migrated)) as index, index.read() as connection:
            compared = {"compare_type": True, "compare_server_default": True}
            assert compare_metadata(MigrationContext.configure(connection, opts=compared), metadata) == []


@pytest.mark.parametrize("revision", REVISIONS)
def test_a_filled_database_of_each_schema_is_upgraded_with_everything_it_holds(
    new_with: Callable[[str], str], revision: str
) -> None:
    url = new_with(revision)
    with closing(Index.open(url)) as index:
        with index.write() as connection:
            tables = reflected(connection)
            fill(connection, tables)
            before = held(connection, tables)
        upgrade(url)
        assert current(url) == head()
        with index.read() as connection:
            after = held(connection, tables)
            assert {name: after[name] for name in before} | {"name_grams": []} == before | {"name_grams": []}
            assert set(before.get("name_grams", ())) <= set(after.get("name_grams", ()))
    with closing(open_current(url)) as index:
        # Ids go on behind those that are taken, as they would have; a sequence has to be told on PostgreSQL.
        if index.database_path is None:
            _count_on(index)
        assert Instances(index).record(arrival("1.2.3.4")).outcome is Outcome.NEW


def test_a_study_tells_of_every_modality_of_its_series_after_the_upgrade(new_url: Callable[[], str]) -> None:
    url = new_url()
    made_with(url, "0019_pre_identity")
    with closing(Index.open(url)) as index:
        with index.write() as connection:
            fill(connection, reflected(connection))
            for row, modality in ((1, "CT"), (2, "a\\b'_%")):
                values = {"row": row, "modality": modality}
                connection.execute(text("UPDATE series SET modality = :modality WHERE id = :row"), values)
            connection.execute(text("UPDATE studies SET modalities = NULL WHERE id = 2"))
        upgrade(url)
        with index.read() as connection:
            told = connection.execute(text("SELECT modalities FROM studies ORDER BY id")).scalars().all()
    assert told == ["CT\\modality 1 山田", "a\\b'_%", "modality 3 山田"]


def test_an_id_that_came_as_several_before_is_found_by_each_after_the_upgrade(new_url: Callable[[], str]) -> None:
    url = new_url()
    made_with(url, "0022_pre_current_of_study")
    with closing(Index.open(url)) as index:
        with index.write() as connection:
            fill(connection, reflected(connection))
            connection.execute(text("DELETE FROM extra_values"))
            for table, column in (("studies", "accession_number"), ("request_attributes", "requested_procedure_id")):
                changed = text(f"UPDATE {table} SET {column} = :ids WHERE id = 2")
                connection.execute(changed, {"ids": "A1\\ A2\\A1\\"})
        upgrade(url)
        with index.read() as connection:
            owner = connection.execute(text("SELECT owner_row FROM request_attributes WHERE id = 2")).scalar()
            told = text("SELECT field_id, owner_row, place, value, sought FROM extra_values ORDER BY field_id, place")
            rows = [tuple(row) for row in connection.execute(told)]
    of = {one.keyword: field.row for one, field in PARTED.items()}
    requested, accession = of["RequestedProcedureID"], of["AccessionNumber"]
    assert rows == [
        (requested, owner, 0, "A1", "A1"),
        (requested, owner, 1, "A2", "A2"),
        (accession, 2, 0, "A1", "A1"),
        (accession, 2, 1, "A2", "A2"),
    ]


def hide_the_second_study(connection: Connection) -> None:
    """The second study and a later version of it get the UID of an object of the first, as before 0022."""
    for statement in (
        "UPDATE series SET study_row = id",
        "UPDATE instances SET series_row = id, sop_uid = '1.2', role = 'version'",
        "UPDATE instances SET role = 'current' WHERE id = 1",
        "UPDATE instances SET series_row = 2 WHERE id = 3",
        "DELETE FROM flags",
        "INSERT INTO flags (id, study_row, instance_row, kind, detail, noted_at)"
        " SELECT id, series_row, id, 'conflict-version', '', 'then' FROM instances WHERE id > 1",
    ):
        connection.execute(text(statement))


def test_an_object_that_one_of_another_study_hid_is_found_after_the_upgrade(new_url: Callable[[], str]) -> None:
    """What else is a version stays one, and each study is counted as what of it is found."""
    url = new_url()
    made_with(url, "0021_pre_newest")
    with closing(Index.open(url)) as index:
        with index.write() as connection:
            fill(connection, reflected(connection))
            hide_the_second_study(connection)
            for statement in (
                "UPDATE series SET modality = 'MR', instance_count = 0",
                "UPDATE studies SET patient_row = id, series_count = 0, instance_count = 0",
                "UPDATE instances SET sop_class = '1.4'",
            ):
                connection.execute(text(statement))
            ids = "SELECT study_uid FROM studies ORDER BY id"
            first = connection.execute(text(ids)).scalars().first()
        upgrade(url)
        with index.read() as connection:
            told = {
                table: connection.execute(text(f"SELECT {wanted} FROM {table} ORDER BY id")).all()
                for table, wanted in (
                    ("instances", "role"),
                    ("flags", "study_row, instance_row, kind, detail, noted_at"),
                    ("series", "instance_count"),
                    ("patients", "study_count, series_count, instance_count"),
                )
            }
            second = connection.execute(
                text("SELECT series_count, instance_count, modalities, sop_classes FROM studies WHERE id = 2")
            ).one()
    assert [row[0] for row in told["instances"]] == ["current", "current", "version"]
    assert sorted(told["flags"]) == [(2, 0, "conflict-uid", first, "then"), (2, 3, "conflict-version", "", "then")]
    assert told["series"][1] == (1,)
    assert told["patients"][1] == (1, 1, 1)
    assert second == (1, 1, "MR", "1.4")


def test_what_was_chosen_of_each_study_is_found_after_the_upgrade(new_url: Callable[[], str]) -> None:
    """Of two choices under one UID the release before noted the last alone; the operations have both."""
    url = new_url()
    made_with(url, "0021_pre_newest")
    with closing(Index.open(url)) as index:
        with index.write() as connection:
            fill(connection, reflected(connection))
            hide_the_second_study(connection)
            for statement in (
                "DELETE FROM operations WHERE counter > 2",
                "UPDATE operations SET kind = 'version',"
                " study_uid = (SELECT study_uid FROM studies WHERE id = 3 - counter)",
                "DELETE FROM choices",
            ):
                connection.execute(text(statement))
            digests = connection.execute(text("SELECT digest FROM instances ORDER BY id")).scalars().all()
            for counter, digest in ((1, digests[2]), (2, digests[0])):
                content = json.dumps({"objects": [["1.2", digest, "version"]]})
                told = {"content": content, "counter": counter}
                connection.execute(text("UPDATE operations SET content = :content WHERE counter = :counter"), told)
        upgrade(url)
        with index.read() as connection:
            roles = connection.execute(text("SELECT role FROM instances ORDER BY id")).scalars().all()
            chosen = connection.execute(text("SELECT digest FROM choices ORDER BY counter")).scalars().all()
    assert (roles, chosen) == (["current", "version", "current"], [digests[2], digests[0]])


def _count_on(index: Index) -> None:
    with index.write() as connection:
        for table in inspect(connection).get_table_names():
            if table != "alembic_version" and any(c["name"] == "id" for c in inspect(connection).get_columns(table)):
                connection.execute(
                    text(
                        f"SELECT setval(s, 1000) FROM pg_get_serial_sequence('{table}', 'id') AS s WHERE s IS NOT NULL"
                    )
                )


@pytest.mark.parametrize("number", range(1, len(REVISIONS)))
def test_the_release_before_a_migration_that_runs_pre_goes_on_beside_it(
    new_with: Callable[[str], str], number: int
) -> None:
    """It writes and reads the columns that it knows."""
    before, revision = REVISIONS[number - 1], REVISIONS[number]
    if "_pre_" not in revision:
        pytest.skip("it runs when every node has the new release")
    url = new_with(before)
    with closing(Index.open(url)) as index:
        with index.write() as connection:
            tables = reflected(connection)
        made_with(url, revision)
        with index.write() as connection:
            fill(connection, tables)
            assert all(len(rows) == ROWS for rows in held(connection, tables).values())


def test_every_migration_says_in_its_name_and_its_text_when_it_runs() -> None:
    for path in VERSIONS.glob("[0-9]*.py"):
        found = re.fullmatch(r"\d{4}_(pre|post)_\w+", path.stem)
        assert found, path.name
        assert f"Runs {found[1]}" in path.read_text(encoding="utf-8").partition('"""\n\n')[0], path.name


def test_several_upgrades_at_once_upgrade_once(new_url: Callable[[], str], monkeypatch: pytest.MonkeyPatch) -> None:
    url = new_url()
    made_with(url, REVISIONS[0])
    with closing(Index.open(url)) as index, index.write() as connection:
        fill(connection, reflected(connection))
    ran: list[str] = []
    usual = schema.migrate

    def counted(connection: Connection, revision: str) -> None:
        ran.append(revision)
        # The others have seen the old schema by now, and wait; or they are not here yet and will see the new one.
        wait_for(lambda: all(each.is_alive() for each in upgrading), "the others to have begun")
        usual(connection, revision)

    monkeypatch.setattr(schema, "migrate", counted)
    errors: list[Exception] = []
    did: list[bool] = []

    def begin() -> None:
        try:
            did.append(upgrade(url))
        except Exception as error:  # noqa: BLE001 - told to the test's own thread
            errors.append(error)

    upgrading = [threading.Thread(target=begin) for _ in range(3)]
    for each in upgrading:
        each.start()
    for each in upgrading:
        each.join(60)
    assert (errors, ran, current(url)) == ([], [head()], head())
    assert sorted(did) == [False, False, True]
    if url.startswith("sqlite"):
        file = Path(url.removeprefix("sqlite:///"))
        assert current(f"sqlite:///{file}.before-{REVISIONS[0]}") == REVISIONS[0]


def test_a_copy_that_was_broken_off_is_in_nobodys_way_nor_left_where_another_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "index.db"
    url = f"sqlite:///{file}"
    made_with(url, REVISIONS[0])
    if os.geteuid() == 0:
        os.chown(tmp_path, 2104, 2104)
    name = f"{file.name}.before-{REVISIONS[0]}"

    def full(_: Path, target: Path) -> None:
        target.write_bytes(b"half")
        raise IndexUnavailable("database or disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(sqlite, "copy_sqlite", full)
        with pytest.raises(IndexUnavailable):
            upgrade(url)
    assert list(tmp_path.glob("*before*")) == []
    for left in ("part", "part-journal"):  # by one that was killed
        tmp_path.joinpath(f"{name}.{left}").write_bytes(b"half")
    upgrade(url)
    (kept,) = tmp_path.glob("*before*")
    assert (kept.name, kept.stat().st_uid) == (name, tmp_path.stat().st_uid)
    assert current(f"sqlite:///{kept}") == REVISIONS[0]


def test_a_schema_that_is_not_current_is_not_used_and_the_command_is_named(new_url: Callable[[], str]) -> None:
    url = new_url()
    made_with(url, REVISIONS[-2])
    with pytest.raises(SchemaMismatch, match="run pacs db upgrade"):
        open_current(url)
    upgrade(url)
    with closing(Index.open(url)) as index, index.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999_pre_later'"))
    with pytest.raises(SchemaMismatch, match="newer release"):
        open_current(url)
    with pytest.raises(SchemaMismatch, match="newer release"):
        upgrade(url)
