"""`pacs db`: the schema of the database, and its move to another one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from pacs_server.cli.exits import ExitCode
from pacs_server.cli.invocation import (
    Group,
    Invocation,
    PathWord,
    is_there,
    pass_invocation,
    refuse_while_serving,
    tell_of,
)
from pacs_server.cli.output import Progress, print_checks, print_facts, print_rows, talk

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pacs_server.index.maintenance.copying import Content

_HEADINGS: Final = {"table": "TABLE", "rows": "ROWS", "digest": "DIGEST"}


@click.group(cls=Group)
def db() -> None:
    """Look at the schema of the database, upgrade it, check or copy the database."""


@db.command(reports=True, example="pacs db current")
@pass_invocation
def current(invocation: Invocation) -> ExitCode:
    """Show the schema of the database and the one this release needs."""
    from pacs_server.index.maintenance import schema
    from pacs_server.settings import shown_url

    settings = invocation.settings()
    found, needed = schema.current(settings.database), schema.head()
    facts = {"database": shown_url(settings.database), "current": found or "none", "needed": needed}
    print_facts(facts, as_json=invocation.as_json)
    if found == needed:
        return ExitCode.DONE
    talk(str(schema.mismatch(settings.database, found)))
    return ExitCode.SCHEMA


@db.command(example="pacs db upgrade")
@click.option("--new", "is_new", is_flag=True, help="Begin anew with an empty database, where that of old is lost.")
@pass_invocation
def upgrade(invocation: Invocation, *, is_new: bool) -> ExitCode:
    """Bring the schema up to date.

    A SQLite file is copied beside itself first; PostgreSQL is not: back up before, with the former release. No server
    may be running.

    Ends with 12 when the tables are not those of this release even so.
    """
    from pacs_server.index.maintenance import schema

    settings = invocation.settings()
    found, needed = schema.current(settings.database), schema.head()
    if found == needed:
        talk(f"the schema is current ({needed}); nothing was changed")
        return ExitCode.DONE
    is_wanted = schema.knows(found) if found else is_new or _is_first_here(settings.data_dir)
    if not is_wanted:
        raise schema.mismatch(settings.database, found)
    refuse_while_serving(settings.data_dir, "the upgrade of its database")
    if not schema.upgrade(settings.database):
        talk(f"the schema is current ({needed}): another pacs upgraded it meanwhile; nothing was left to do")
        return ExitCode.DONE
    tell_of(invocation)
    talk(f"upgraded the schema from {found} to {needed}" if found else f"made an empty database of schema {needed}")
    return _told_of_tables(settings.database)


def _told_of_tables(url: str) -> ExitCode:
    """Say in what the tables differ: somebody changed them, or what made them was no release."""
    from contextlib import closing

    from pacs_server.index.engine import Index
    from pacs_server.index.maintenance.checking import differences

    with closing(Index.open(url)) as index:
        told = list(differences(index))
    for one in told:
        talk(one)
    if not told:
        return ExitCode.DONE
    talk("the database cannot be used as it is; pacs db check says what to do")
    return ExitCode.DAMAGE


def _is_first_here(data_dir: Path) -> bool:
    """Whether no archive was made or has served with these settings before: then no database of it was lost."""
    from pacs_server.service.volume_states import remembered

    return not is_there(data_dir / "volumes") and not remembered(data_dir)


@db.command(reports=True, example="pacs db check")
@pass_invocation
def check(invocation: Invocation) -> ExitCode:
    """Check the database, and say what to do.

    That it answers, is of a kind that will do, has the schema of this release and its very tables, can be written to;
    and that SQLite's file is whole, which reads all of it. Changes nothing; the server may keep running.

    Ends with 13 when it cannot be reached or written to, 10 when its kind will not do, 12 when tables or contents are
    damaged, 11 when its schema is another.
    """
    from pacs_server.cli.db_check import examine_database

    rows, code = examine_database(invocation.settings().database)
    print_checks(rows, as_json=invocation.as_json)
    return code


@db.command(reports=True, example="pacs db copy --to postgresql://pacs@db/pacs --password-file /etc/pacs/password")
@click.option("--to", "url", metavar="URL", required=True, help="An empty database, like postgresql://USER@HOST/NAME.")
@click.option(
    "--password-file",
    metavar="FILE",
    type=PathWord(),
    help="A file with the password of that user; not readable by others.",
)
@pass_invocation
def copy(invocation: Invocation, url: str, password_file: Path | None) -> ExitCode:
    """Copy the database from SQLite to PostgreSQL, or back.

    Every table is read again there and compared before anything counts; broken off, nothing is left, and it begins
    anew. A database that holds the same already is only compared. No server may be running. The archive uses the copy
    when the settings file names it.
    """
    from pacs_server.service.upkeep.database import copy_database
    from pacs_server.settings import database_at, shown_url

    settings = invocation.settings()
    refuse_while_serving(settings.data_dir, "a copy of its database")
    target = database_at(url, password_file)
    print_rows(_told(copy_database(settings, target)), _HEADINGS, as_json=invocation.as_json, is_work=True)
    talk(f"{shown_url(target)} holds the same as {shown_url(settings.database)}")
    talk("to use it, write it to the settings file as database (and database_password_file), then start the server")
    return ExitCode.DONE


def _told(contents: Iterable[Content]) -> Iterator[dict[str, object]]:
    progress = Progress()
    for one in contents:
        progress.show(f"{one.table}: {one.rows} rows copied and compared")
        yield {"table": one.table, "rows": one.rows, "digest": one.digest}
    progress.clear()
