"""`pacs tls`: certificates for a site that has no authority for them, and when they expire."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import click

from pacs_server.cli.exits import ExitCode
from pacs_server.cli.invocation import Group, Invocation, PathWord, is_there, pass_invocation, replacing, tell_of
from pacs_server.cli.output import print_rows, talk
from pacs_server.errors import IndexUnavailable, Refused, SchemaMismatch

# Apple's systems, on which viewers run, take no server certificate that is valid for longer.
_NODE_DAYS: Final = 825
_HEADINGS: Final = {
    "name": "CERTIFICATE",
    "subject": "SUBJECT",
    "names": "NAMES",
    "days_left": "DAYS",
    "fingerprint": "FINGERPRINT (SHA-256)",
}


@click.group(cls=Group)
def tls() -> None:
    """Make and show the certificates of this node."""


@tls.command(example="pacs tls init --name pacs1.hospital.lan --name 192.168.10.5")
@click.option("--dir", "directory", type=PathWord(file_okay=False), metavar="DIR",
              help="Put them here, for another machine; else where the settings say.")  # fmt: skip
@click.option("--name", "names", multiple=True, metavar="HOST",
              help="A host name or address that it is for; repeat it. Else: those of this machine.")  # fmt: skip
@click.option("--days", type=click.IntRange(1, 36_500), default=_NODE_DAYS, show_default=True,
              help="For how long it is valid; never longer than the authority.")  # fmt: skip
@replacing
@pass_invocation
def init(
    invocation: Invocation, /, directory: Path | None, names: tuple[str, ...], *, days: int, yes: bool
) -> ExitCode:
    """Make a certificate for this node, and an authority where there is none.

    An authority that is there is used, and never replaced.
    """
    from pacs_server.cluster.certificates import make, read
    from pacs_server.service.processes.own_names import own_names
    from pacs_server.settings import TlsFiles

    settings = invocation.settings()
    files = settings.tls_files if directory is None else TlsFiles.within(directory)
    if directory is not None and not names:
        raise click.UsageError("--dir is for another machine: say with --name what that is called")
    try:
        taken = [path for path in (files.certificate, files.key) if is_there(path)]
    except OSError as error:
        raise Refused(f"{error.filename} cannot be written: {error.strerror}") from error
    if taken and not yes:
        raise Refused(
            f"{taken[0]} exists; a new certificate has another fingerprint, which every partner has to pin; "
            "replace it with --yes"
        )
    named = _checked(names) or own_names(settings.host, settings.tls_host, settings.partner.host)
    written = make(files, named, days=days, now=datetime.now(UTC))
    try:
        tell_of(invocation)
    except (IndexUnavailable, SchemaMismatch) as error:  # certificates are made before there is a database, too
        talk(f"not told to the audit trail: {error}")
    for path in written:
        talk(f"wrote {path}")
    if files.ca_key in written:
        talk(f"keep {files.ca_key} secret, and a copy of it in a safe place: who has it can make certificates")
    talk(f"peers that check certificates need {files.ca}, and nothing else")
    talk(f"partners pin this node by {read(files.certificate).fingerprint}")
    return ExitCode.DONE


def _checked(names: tuple[str, ...]) -> tuple[str, ...]:
    from pacs_server.settings import host_name

    try:
        return tuple(map(host_name, names))
    except ValueError as error:
        raise click.UsageError(str(error)) from error


@tls.command(reports=True, example="pacs tls show --json")
@pass_invocation
def show(invocation: Invocation) -> ExitCode:
    """Show the certificates of this node, with fingerprint and days left.

    Ends with 12 when one has expired or will within 30 days.
    """
    from pacs_server.net.tls import refuse_unusable
    from pacs_server.service.present import certificates_of, validity_problem

    files = invocation.settings().tls_files
    rows = list(certificates_of(files))
    print_rows(rows, _HEADINGS, as_json=invocation.as_json)
    warnings = list(filter(None, (validity_problem(row) for row in rows)))
    for warning in warnings:
        talk(warning)
    refuse_unusable(files)
    return ExitCode.DAMAGE if warnings else ExitCode.DONE
