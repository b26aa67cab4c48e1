"""The schema's history: which revision a database has, and how it comes to that of this release."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from sqlalchemy import Connection, inspect, text

from pacs_server.errors import PacsError, SchemaMismatch
from pacs_server.index.engine import Index
from pacs_server.index.postgresql import WAIT_LITTLE_FOR_TABLES, refuse_unfit
from pacs_server.index.sqlite import copy_sqlite


def _migrations() -> Path:
    """In a wheel the migrations lie inside the package, in a checkout beside it."""
    here = Path(__file__).resolve().parent.parent
    return next(place for place in (here / "migrations", here.parent / "migrations") if (place / "env.py").is_file())


def _revisions() -> list[str]:
    """Those of this release and of all before it. The files have the names of their revisions, in their order: Alembic
    would take a third of a second of each command to tell the same.
    """
    return sorted(path.stem for path in (_migrations() / "versions").glob("[0-9]*.py"))


def head() -> str:
    """The revision of this release."""
    return _revisions()[-1]


def knows(revision: str) -> bool:
    """Whether a revision is that of this release or of one before it."""
    return revision in _revisions()


def _revision(index: Index) -> str | None:
    with index.read() as connection:
        if index.database_path is None:
            refuse_unfit(connection)
        return _revision_in(connection)


def _revision_in(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def current(url: str) -> str | None:
    """The revision of a database, None when it has no schema.

    Raises: ConfigError; IndexUnavailable.
    """
    with closing(Index.open(url)) as index:
        return _revision(index)


def open_current(url: str) -> Index:
    """Open a database whose schema is that of this release.

    Raises: SchemaMismatch when it is another; ConfigError; IndexUnavailable.
    """
    index = Index.open(url)
    try:
        found, wanted = _revision(index), head()
        if found != wanted:
            raise SchemaMismatch(
                f"the index has schema {found or 'none'}, this release needs {wanted}: run pacs db upgrade"
            )
    except PacsError:
        index.close()
        raise
    return index


def upgrade(url: str) -> None:
    """Bring a database to the schema of this release; a SQLite file that has one already is copied beside itself first.

    Of several that do so at once, on whatever machines, one does it, and the others find it done.

    Raises: SchemaMismatch when it is that of a newer release; ConfigError; IndexUnavailable.
    """
    with closing(Index.open(url)) as index:
        if _revision(index) == head():
            return
        with index.write_alone() as connection:
            found = _revision_in(connection)
            if found == head():
                return
            if found is not None and not knows(found):
                raise SchemaMismatch(
                    f"the index has schema {found} of a newer release: install that release or a later one"
                )
            if (path := index.database_path) is None:
                connection.exec_driver_sql(WAIT_LITTLE_FOR_TABLES)
            elif found is not None:
                copy_sqlite(path, path.with_name(f"{path.name}.before-{found}"))
            migrate(connection, head())


def migrate(connection: Connection, revision: str) -> None:
    """Bring a database to the schema of a revision that is newer than its own."""
    # Here because loading it takes a third of a second, and only this needs it.
    from alembic import command
    from alembic.config import Config

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(_migrations()).replace("%", "%%"))
    command.upgrade(config, revision)
