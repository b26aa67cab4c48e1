"""`pacs init` and `pacs serve`: a new archive, and a running one."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pacs_server.cli.exits import ExitCode
from pacs_server.cli.invocation import (
    DEFAULT_DATA,
    Command,
    Invocation,
    PathWord,
    aet_value,
    find_settings,
    pass_invocation,
    refuse_while_serving,
    tell_of,
)
from pacs_server.cli.output import in_their_language, leave_unread, talk
from pacs_server.errors import ConfigError

if TYPE_CHECKING:
    from pacs_server.dicom.identity import AeTitle
    from pacs_server.service.processes.service_manager import ServiceManager
    from pacs_server.service.processes.supervisor import Address
    from pacs_server.settings import Settings

# Of a start, where a database is upgraded in it: ten million objects are copied in minutes, on a slow disk in an hour.
_UPGRADE_S = 21_600
_USUAL_S = 90


@click.command(cls=Command, example="pacs init --data /srv/pacs --aet ARCHIVE --host 0.0.0.0")
@click.option(
    "--data",
    type=PathWord(file_okay=False),
    envvar="PACS_DATA",
    default=DEFAULT_DATA,
    show_default="PACS_DATA, else ./pacs-data",
    help="Directory of the archive; made if it is missing.",
)
@click.option("--aet", callback=aet_value, default="PACS", show_default=True, help="AE title of the archive.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0 is every one.")
@click.option("--port", type=click.IntRange(0, 65_535), default=11112, show_default=True, help="Port to listen on.")
@click.option("--database", metavar="URL", help="postgresql://... for production; else SQLite in the directory.")
@pass_invocation
def init(invocation: Invocation, data: Path, aet: AeTitle, host: str, port: int, database: str | None) -> ExitCode:
    """Make a new archive: settings file, database and a first volume.

    Where the --database is that of an archive, this becomes one more node of it: it uses its volumes, and adds none.
    """
    from pacs_server.service.upkeep.initialise import initialise

    made = initialise(data, aet=aet, host=host, port=port, database=database)
    tell_of(Invocation(config=made.settings_path, words=invocation.words))
    talk("made one more node of the archive that the database is of" if made.volumes else f"made an archive in {data}")
    for row in made.absent:
        talk(
            f"volume {row.name} is not at {row.path} here: mount it there, or say where it is on this node: "
            f"volume_paths in {made.settings_path}"
        )
    talk(f"settings: {made.settings_path}; start it with: {_program(made.settings_path)} serve")
    if not _is_found(made.settings_path):
        named = shlex.quote(str(made.settings_path.resolve()))
        talk(f"other commands do not look there: export PACS_CONFIG={named}, or name it each time with -c")
    return ExitCode.DONE


@click.command(cls=Command, example="pacs -c /etc/pacs/pacs.yaml serve")
@pass_invocation
def serve(invocation: Invocation) -> ExitCode:
    """Run the archive in the foreground.

    SIGTERM lets running work end; SIGHUP reads the log settings again, and no others.

    A SQLite database of an older release is copied beside itself and then upgraded. A PostgreSQL database is not:
    run pacs db upgrade.
    """
    from pacs_server.service.processes import supervisor
    from pacs_server.service.processes.service_manager import ServiceManager

    settings, manager = invocation.settings(), ServiceManager()
    _upgrade_embedded(settings, manager)
    for name, variable in settings.overridden().items():
        talk(f"{name} is {getattr(settings, name)} for this run, by {variable}; the settings file says otherwise")

    def tell_first_steps(served: Settings, plain: Address, secured: Address) -> None:
        heading, *steps = first_steps(served, invocation.settings_path(), plain, secured).splitlines()
        try:
            click.echo("\n".join((in_their_language(heading), *steps)))
        except OSError:  # no reason to serve nobody
            leave_unread()

    supervisor.serve(invocation.settings, manager, announce=talk, begun=tell_first_steps)
    return ExitCode.DONE


def _upgrade_embedded(settings: Settings, manager: ServiceManager) -> None:
    if not settings.database.startswith("sqlite:"):
        return
    from pacs_server.index.maintenance import schema

    found, needed = schema.current(settings.database), schema.head()
    if found == needed:
        return
    if found is None or not schema.knows(found):
        raise schema.mismatch(settings.database, found)
    refuse_while_serving(settings.data_dir, "the upgrade of its database")
    talk(f"the database has schema {found}, this release needs {needed}: copying it beside itself, then upgrading it")
    manager.may_start_for(_UPGRADE_S)  # one that is ended after the usual time begins anew, for ever
    if schema.upgrade(settings.database):
        talk(f"upgraded the schema from {found} to {needed}")
    manager.may_start_for(_USUAL_S)


def first_steps(settings: Settings, settings_path: Path, plain: Address, secured: Address) -> str:
    """What a person may do first with an archive that listens there, as commands to copy (DCMTK's tools)."""
    host, port = plain
    if port is None:
        return f"{settings.aet} at {secured[0]}:{secured[1]}, over TLS only, data in {settings.data_dir}"
    here = "127.0.0.1" if host in ("0.0.0.0", "::") else host
    peer = f"-aec {shlex.quote(settings.aet)} {here} {port}"
    return "\n".join(
        (
            f"{settings.aet} at {host}:{port}, data in {settings.data_dir}. To try it:",
            f"  echoscu {peer}",
            f"  storescu {peer} +sd +r FOLDER_OR_FILE",
            f'  findscu -S {peer} -k QueryRetrieveLevel=STUDY -k StudyInstanceUID -k StudyDate -k "PatientName=*"',
            f"  {_program(settings_path)} ae add MYSTATION {here} 11113   # a destination for C-MOVE",
            f"  movescu -S {peer} -aet MYSTATION -aem MYSTATION +P 11113 "
            "-k QueryRetrieveLevel=STUDY -k StudyInstanceUID=UID",
        )
    )


def _is_found(settings_path: Path) -> bool:
    """Whether commands that name no settings file work on this archive."""
    try:
        return find_settings(None, os.environ).resolve() == settings_path.resolve()
    except ConfigError:
        return False


def _program(settings_path: Path) -> str:
    """How this program was called, for that archive, so that what is printed works when it is pasted."""
    called = Path(sys.argv[0])
    words = [sys.executable, "-m", "pacs_server"] if called.name == "__main__.py" else [str(called)]
    return shlex.join([*words, "-c", str(settings_path)])
