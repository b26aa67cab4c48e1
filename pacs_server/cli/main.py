"""The `pacs` command: its groups, and the one place where an error becomes an exit code."""

from __future__ import annotations

import errno
import gc
import os
import sys
import traceback
from pathlib import Path

import click
from click.shell_completion import shell_complete

from pacs_server import this_release
from pacs_server.cli import (
    ae,
    alert,
    approve,
    audit,
    backup,
    commit,
    config,
    db,
    doctor,
    drain,
    failover,
    find,
    index,
    jobs,
    keep,
    node,
    partner,
    policy,
    retire,
    route,
    send,
    status,
    storage,
    tier,
    tls,
    transfer,
    user,
    version,
)
from pacs_server.cli.exits import ExitCode, exit_code
from pacs_server.cli.invocation import Group, Invocation, add_global_options
from pacs_server.cli.japanese.translation import help_in_japanese, in_japanese, is_wanted
from pacs_server.cli.output import escape_what_cannot_be_shown, leave_unread, open_closed_streams, talk
from pacs_server.errors import ConfigError, PacsError

# What a shell reports for a process ended by SIGINT or SIGPIPE; scripts rely on it.
_INTERRUPTED = 130
_UNREAD = 141
_COMPLETION = "_PACS_COMPLETE"
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})
_NOTHING_FOR_OTHERS = 0o007
# pydicom imports these wherever they are installed, for pixels and downloads that nobody asks it for here: 0.15 s and
# 6 MB of each process for numpy, as much again for the others.
UNUSED = ("numpy", "gdcm", "requests")
# Loading makes a quarter of a million Python objects and no garbage; looking for garbage after every 700 of them took
# an eighth of that time. Storing leaves none either, so a server keeps this bound.
_COLLECTED_AFTER = 50_000


def _tell_release(context: click.Context, _: click.Parameter, is_asked: bool) -> None:
    if is_asked and not context.resilient_parsing:
        click.echo(this_release())
        context.exit()


@click.group("pacs", cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_tell_release,
    help="Show the version and exit.",
)  # fmt: skip
def pacs() -> None:
    """A DICOM archive: what it acknowledges, it keeps.

    Start with: pacs init, pacs serve, pacs ae add.
    """


add_global_options(pacs)
for command in (
    node.init,
    node.serve,
    status.status,
    doctor.doctor,
    config.config,
    ae.ae,
    storage.storage,
    policy.policy,
    tier.tier,
    find.find,
    find.show,
    transfer.import_,
    transfer.export,
    retire.delete,
    retire.restore,
    retire.purge,
    retire.trash,
    retire.hold,
    retire.retention,
    version.version,
    version.conflicts,
    commit.commit,
    send.send,
    route.route,
    partner.partner,
    failover.failover,
    tls.tls,
    user.user,
    audit.audit,
    alert.alert,
    jobs.jobs,
    keep.verify,
    keep.reconcile,
    backup.backup,
    backup.restore_backup,
    index.index,
    db.db,
):
    pacs.add_command(command)
ae.ae.add_command(approve.seen)
ae.ae.add_command(approve.approve)
storage.storage.add_command(drain.drain)
storage.storage.add_command(drain.remove)


def main() -> None:
    """Run `pacs` and end the process with the exit code of what happened."""
    open_closed_streams()  # before anything else is opened, which would get their numbers
    escape_what_cannot_be_shown()
    # What any command makes may hold data of patients, index.db above all, which SQLite makes by itself: others than
    # the owner and its group get nothing of it, nor of what a process makes that is started here.
    os.umask(os.umask(_NOTHING_FOR_OTHERS) | _NOTHING_FOR_OTHERS)
    gc.set_threshold(_COLLECTED_AFTER)
    # The codec processes, which need numpy, are Pythons of their own.
    for unused in UNUSED:
        sys.modules[unused] = None  # type: ignore[assignment]
    try:
        code = run(sys.argv[1:])
        sys.stdout.flush()
    except OSError as error:
        leave_unread()  # Python would complain once more while it closes the stream
        if isinstance(error, BrokenPipeError):
            code = _UNREAD  # the reader has what it wanted (`| head`)
        else:
            code = ExitCode.UNEXPECTED
            why = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
            talk(f"pacs: could not write: {why}; make room, and see what was done before you ask again")
    sys.exit(code)


def run(arguments: list[str]) -> int:
    """Run one command line and answer its exit code; everything that goes wrong is said on standard error.

    Raises: BrokenPipeError when nobody reads standard output any more; OSError when a disk has no room, its or another.
    """
    if is_wanted(os.environ):
        help_in_japanese(pacs)
    try:
        result = _result_of(arguments)
    except click.ClickException as error:
        _show(error)
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        talk("interrupted")
        return _INTERRUPTED
    except ConfigError as error:
        for problem in error.problems:
            talk(f"pacs: {problem}")
        return exit_code(error)
    except PacsError as error:
        talk(f"pacs: {error}")
        return exit_code(error)
    except Exception as error:  # the top of the command line
        if isinstance(error, BrokenPipeError) or (isinstance(error, OSError) and error.errno in _NO_ROOM):
            raise
        if isinstance(error, FileNotFoundError) and _is_nowhere():
            talk("pacs: the working directory was removed: change to one that is there")
            return ExitCode.REFUSED
        traceback.print_exc()
        talk(f"pacs: unexpected: {type(error).__name__}; this is a fault in pacs, please report the lines above")
        return ExitCode.UNEXPECTED
    return result if isinstance(result, int) else ExitCode.DONE


def _result_of(arguments: list[str]) -> object:
    """What a command answers. Not by pacs.main(), which ends the process by itself when nobody reads."""
    if instruction := os.environ.get(_COMPLETION):
        return shell_complete(pacs, {}, "pacs", _COMPLETION, instruction)
    try:
        with pacs.make_context("pacs", list(arguments), obj=Invocation(words=tuple(arguments))) as context:
            return pacs.invoke(context)
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except KeyboardInterrupt:
        click.echo(err=True)  # behind the ^C of the terminal
        raise


def _is_nowhere() -> bool:
    """Whether the directory in which the command was given is there no more, so that no relative path means a thing."""
    try:
        Path.cwd()
    except FileNotFoundError:
        return True
    return False


def _show(error: click.ClickException) -> None:
    """Print what the library found wrong with a command line, in the person's language."""
    if not is_wanted(os.environ):
        error.show()
        return
    if isinstance(error, click.UsageError) and error.ctx is not None:
        click.echo(error.ctx.get_usage(), err=True)
    click.echo(in_japanese(error.format_message()), err=True)
