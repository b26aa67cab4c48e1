"""`pacs config`: what is set, where that was said, and every problem at once."""

from __future__ import annotations

import click

from pacs_server.cli.exits import ExitCode
from pacs_server.cli.invocation import Group, Invocation, pass_invocation
from pacs_server.cli.output import print_facts, print_rows, talk


@click.group(cls=Group)
def config() -> None:
    """Check and show the settings file."""


@config.command(reports=True, example="pacs -c /etc/pacs/pacs.yaml config check")
@pass_invocation
def check(invocation: Invocation) -> ExitCode:
    """Read the settings file and name every problem with its place."""
    from pacs_server.errors import ConfigError

    path = invocation.settings_path()
    try:
        invocation.settings()
    except ConfigError as error:
        if not invocation.as_json:
            raise
        print_facts({"file": path, "problems": list(error.problems)}, as_json=True)
        return ExitCode.CONFIGURATION
    if invocation.as_json:
        print_facts({"file": path, "problems": []}, as_json=True)
    else:
        talk(f"{path} is good")
    return ExitCode.DONE


@config.command(reports=True, example="pacs config show --origin")
@click.option("--origin", is_flag=True, help="Also show where each value comes from.")
@pass_invocation
def show(invocation: Invocation, *, origin: bool) -> ExitCode:
    """Show every setting with the value that applies. Passwords are not shown."""
    from pacs_server.settings import entries

    settings = invocation.settings()
    rows = [{"name": name, "value": value, "origin": settings.origins[name]} for name, value in entries(settings)]
    if invocation.as_json:
        rows = rows if origin else [{"name": row["name"], "value": row["value"]} for row in rows]
    headings = {"name": "SETTING", "value": "VALUE"} | ({"origin": "FROM"} if origin else {})
    print_rows(rows, headings, as_json=invocation.as_json)
    return ExitCode.DONE
