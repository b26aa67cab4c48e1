"""The schema's history: which revision a database has, and how it comes to that of this release."""

from __future__ import annotations

from contextlib import closing, suppress
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, inspect, text

from pacs_server.errors import PacsError, SchemaMismatch
from pacs_server.index.drivers.postgresql import WAIT_LITTLE_FOR_TABLES, refuse_unfit
from pacs_server.index.drivers.sqlite import keep_sqlite
from pacs_server.index.engine import Index
from pacs_server.ownership import make_file
from pacs_server.settings import shown_url

_AS_SQLITE: Final = 0o644


def _migrations() -> Path:
    """In a wheel the migrations lie inside the package, in a checkout beside it."""
    here = Path(__file__).resolve().parents[2]
    return next(place for place in (here / "migrations", here.parent / "migrations") if (place / "env.py").is_file())


def _revisions() -> list[str]:
    """Those of this release and of all before it. The files have the names of their revisions, in their order: Alembic
    would take a third of a second of each command to tell the same.
    """
    return sorted(path.stem for path in (_migrations() / "versions").glob("[0-9]*.py"))


def head() -> str:
    """The revision of this release."""
    return _revisions()[-1]


def knows(found: str) -> bool:
    """Whether a revision is that of this release or of one before it."""
    return found in _revisions()


def is_gone(index: Index) -> bool:
    """Whether there is no SQLite file. Who looks into it would make an empty one, and into that of root no server of
    another user may write.
    """
    if index.database_path is None:
        return False
    try:
        index.database_path.stat()
    except OSError as error:  # what else hinders is said by whoever opens it
        return isinstance(error, FileNotFoundError)
    return False


def begin_file(index: Index) -> None:
    """Make the SQLite file that is about to be filled, where there is none, for the owner of its folder."""
    if index.database_path is not None:
        with suppress(OSError):  # SQLite says what hinders it
            make_file(index.database_path, _AS_SQLITE)


def revision(index: Index) -> str | None:
    """The revision of an open database, None when it has no schema. Raises: IndexUnavailable."""
    if is_gone(index):
        return None
    with index.read() as connection:
        return _revision_in(connection)


def refuse_unfit_kind(index: Index) -> None:
    """Refuse a PostgreSQL database that compares texts otherwise. Raises: ConfigError; IndexUnavailable."""
    if index.database_path is None:
        with index.read() as connection:
            refuse_unfit(connection)


def _revision_if_fit(index: Index) -> str | None:
    if is_gone(index):
        return None
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
        return _revision_if_fit(index)


def mismatch(url: str, found: str | None) -> SchemaMismatch:
    """Why a database whose revision is not that of this release is not used, and what there is to do."""
    if found is None:  # an empty one in the place of one that is lost would answer that nothing is held
        return SchemaMismatch(
            f"the database {shown_url(url)} is gone or empty: if this archive held something, see whether the settings "
            "file names the right database, mount or restore it (pacs restore-backup); or make an empty one with "
            "pacs db upgrade --new, add the volumes under their old names, and pacs index rebuild"
        )
    if not knows(found):
        return SchemaMismatch(f"the index has schema {found} of a newer release: install that release or a later one")
    return SchemaMismatch(
        f"the index has schema {found}, this release needs {head()}: stop the server, then run pacs db upgrade"
    )


def open_current(url: str) -> Index:
    """Open a database whose schema is that of this release.

    Raises: SchemaMismatch when it is another; ConfigError; IndexUnavailable.
    """
    index = Index.open(url)
    try:
        if (found := _revision_if_fit(index)) != head():
            raise mismatch(url, found)
    except PacsError:
        index.close()
        raise
    return index


def upgrade(url: str) -> bool:
    """Bring a database to the schema of this release; a SQLite file that has one already is copied beside itself first.

    Of several that do so at once, on whatever machines, one does it, and the others find it done: whether this one did.

    Raises: SchemaMismatch when it is that of a newer release; ConfigError; IndexUnavailable.
    """
    with closing(Index.open(url)) as index:
        begin_file(index)
        path = index.database_path
        if _revision_if_fit(index) == head():
            return False
        with index.write_alone() as connection:
            found = _revision_in(connection)
            if found == head():
                return False
            if found is not None and not knows(found):
                raise mismatch(url, found)
            if path is None:
                connection.exec_driver_sql(WAIT_LITTLE_FOR_TABLES)
            elif found is not None:
                keep_sqlite(path, path.with_name(f"{path.name}.before-{found}"))
            migrate(connection, head())
    return True


def migrate(connection: Connection, wanted: str) -> None:
    """Bring a database to the schema of a revision that is newer than its own."""
    # Here because loading it takes a third of a second, and only this needs it.
    from alembic import command
    from alembic.config import Config

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(_migrations()).replace("%", "%%"))
    command.upgrade(config, wanted)
