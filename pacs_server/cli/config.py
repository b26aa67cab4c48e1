"""`pacs config`: what is set, where that was said, and every problem at once."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pacs_server.cli.exits import ExitCode
from pacs_server.cli.invocation import Group, Invocation, is_there, pass_invocation
from pacs_server.cli.output import print_facts, print_rows, talk

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pacs_server.settings import Settings


@click.group(cls=Group)
def config() -> None:
    """Check and show the settings file."""


@config.command(reports=True, example="pacs -c /etc/pacs/pacs.yaml config check")
@pass_invocation
def check(invocation: Invocation) -> ExitCode:
    """Read the settings file and name every problem with its place.

    Files and programs that it names have to be there.
    """
    from pacs_server.errors import ConfigError

    path = invocation.settings_path()
    try:
        _refuse_absent(invocation.settings())
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


def _refuse_absent(settings: Settings) -> None:
    """Raises: ConfigError, naming all files and programs that the settings name and that are not there."""
    from pacs_server.errors import ConfigError

    if told := list(absent(settings)):
        raise ConfigError(*told)


def absent(settings: Settings) -> Iterator[str]:
    """What the settings name and is not there. A server starts all the same where it can do without."""
    alert, at = settings.alert, settings.data_dir
    if why := _why_absent(at, is_folder=True):
        yield f"{settings.origins['data_dir']}: data_dir: {at} {why}"
        return  # what is named within it is not there either, and no problem of its own
    for name, file in named_files(settings):
        if why := _why_absent(file):
            yield f"{settings.origins[name]}: {name}: {file} {why}"
    if settings.log.file is not None and (why := _why_absent(settings.log.file.parent, is_folder=True)):
        yield f"{settings.origins['log.file']}: log.file: {settings.log.file.parent} {why}"
    for name, words in (("alert.command", alert.command), ("failover.hook", settings.failover.hook)):
        if words and shutil.which(words[0]) is None:
            yield f"{settings.origins[name]}: {name}: {words[0]} is no program that can be run"


def named_files(settings: Settings) -> list[tuple[str, Path]]:
    """The files that the settings name, each with its setting; but those with passwords, which are read with them."""
    alert, tls = settings.alert, settings.tls
    files = [(f"tls.{name}", getattr(tls, name)) for name in ("certificate_file", "key_file", "ca_file")]
    files += [("audit.syslog.ca_file", settings.audit.syslog.ca_file), ("patroni.ca_file", settings.patroni.ca_file)]
    files += [("alert.mail.ca_file", alert.mail.ca_file), ("alert.webhook.ca_file", alert.webhook.ca_file)]
    files += [("identity.jwt.key_files", Path(file)) for file in settings.identity.jwt.key_files]
    return [(name, settings.data_dir / file) for name, file in files if file is not None]


def _why_absent(path: Path, *, is_folder: bool = False) -> str:
    """What is wrong with a path at which there has to be a file or folder, as far as this user can tell; or nothing."""
    try:
        is_good = is_there(path) and (path.is_dir() or not is_folder)
    except OSError as error:
        return f"cannot be read: {error.strerror}; correct it, or run pacs as the user of the server"
    return "" if is_good else "is not there"


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
