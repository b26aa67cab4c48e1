"""`pacs db`: the schema of the database."""

from __future__ import annotations

import click

from pacs_server.cli.exits import ExitCode
from pacs_server.cli.invocation import Group, Invocation, pass_invocation, refuse_while_serving
from pacs_server.cli.output import print_facts, talk


@click.group(cls=Group)
def db() -> None:
    """Look at the database's schema and bring it up to date."""


@db.command(reports=True, example="pacs db current")
@pass_invocation
def current(invocation: Invocation) -> ExitCode:
    """Show the schema of the database and the one this release needs."""
    from pacs_server.index import schema
    from pacs_server.settings import shown_url

    settings = invocation.settings()
    found, needed = schema.current(settings.database), schema.head()
    facts = {"database": shown_url(settings.database), "current": found or "none", "needed": needed}
    print_facts(facts, as_json=invocation.as_json)
    if found == needed:
        return ExitCode.DONE
    talk("the schema is not current: stop the server, then run pacs db upgrade")
    return ExitCode.SCHEMA


@db.command(example="pacs db upgrade")
@pass_invocation
def upgrade(invocation: Invocation) -> ExitCode:
    """Bring the schema up to date.

    A SQLite file is copied beside itself first. No server may be running.
    """
    from pacs_server.index import schema

    settings = invocation.settings()
    found, needed = schema.current(settings.database), schema.head()
    if found == needed:
        talk(f"the schema is current ({needed}); nothing was changed")
        return ExitCode.DONE
    refuse_while_serving(settings.data_dir, "the upgrade of its database")
    schema.upgrade(settings.database)
    talk(f"upgraded the schema from {found or 'none'} to {needed}")
    return ExitCode.DONE
