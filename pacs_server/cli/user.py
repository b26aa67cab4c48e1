"""`pacs user`: the persons who log in at peers with a passcode."""

from __future__ import annotations

import warnings
from datetime import UTC, datetime
from getpass import GetPassWarning
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from pacs_server.cli.exits import ExitCode
from pacs_server.cli.invocation import Group, Invocation, PathWord, aet_values, confirmed, pass_invocation
from pacs_server.cli.output import IDEOGRAPHIC_SPACE, print_rows, talk
from pacs_server.errors import Refused

if TYPE_CHECKING:
    from pacs_server.dicom.identity import AeTitle
    from pacs_server.service.assemble import Node

_HEADINGS: Final = {"name": "USER", "peers": "PEERS", "changed_at": "CHANGED"}
_MAX_NAME_CHARACTERS: Final = 64


def _user_name(context: click.Context, parameter: click.Parameter, value: str) -> str:
    shown = value.replace(IDEOGRAPHIC_SPACE, " ")
    if not shown.isprintable() or value != value.strip() or not 0 < len(value) <= _MAX_NAME_CHARACTERS:
        raise click.BadParameter(
            f"a user's name has up to {_MAX_NAME_CHARACTERS} characters, none of them a control character",
            context,
            parameter,
        )
    return value


_NAME = click.argument("name", callback=_user_name)
_PEERS = click.option(
    "--peer", "peers", multiple=True, callback=aet_values, metavar="AET",
    help="A peer at which they may log in; repeat it. At first: every peer that asks for a password.",
)  # fmt: skip
_PASSCODE_FILE = click.option(
    "--passcode-file",
    type=PathWord(exists=True, dir_okay=False, allow_dash=True),
    metavar="FILE",
    help="Take the passcode from the first line of a file, - for standard input. Else it is asked for.",
)


@click.group(cls=Group)
def user() -> None:
    """Name the persons who log in at peers with a passcode."""


@user.command(example="pacs user add tanaka --peer VIEWER")
@_NAME
@_PEERS
@_PASSCODE_FILE
@pass_invocation
def add(invocation: Invocation, name: str, peers: tuple[AeTitle, ...], passcode_file: Path | None) -> ExitCode:
    """Name a person.

    They are asked for at peers with --identity password (pacs ae set).
    """
    from pacs_server.index.site.users import User, digest_of

    with invocation.node() as node:
        _refuse_unknown(node, peers)
        if node.users.find(name) is not None:
            raise Refused(f"the user {name} is known already; change what is known with: pacs user set")
        made = User(name=name, passcode=digest_of(_passcode(passcode_file)), peers=peers, changed_at=datetime.now(UTC))
        node.users.add(made)
    talk(f"added the user {name}")
    return ExitCode.DONE


@user.command("set", example="pacs user set tanaka --passcode")
@_NAME
@_PEERS
@click.option("--any-peer", is_flag=True, help="Let them log in at every peer that asks for a password.")
@click.option("--passcode", "asks", is_flag=True, help="Ask for a new passcode.")
@_PASSCODE_FILE
@pass_invocation
def set_(
    invocation: Invocation,
    name: str,
    peers: tuple[AeTitle, ...],
    any_peer: bool,
    asks: bool,
    passcode_file: Path | None,
) -> ExitCode:
    """Change a person's passcode, or where they may log in.

    --peer replaces all that they had. It counts from their next association on.
    """
    from pacs_server.index.site.users import digest_of

    if peers and any_peer:
        raise click.UsageError("--peer and --any-peer contradict each other")
    if not (peers or any_peer or asks or passcode_file):
        raise click.UsageError("nothing to change: name at least one option")
    with invocation.node() as node:
        _refuse_unknown(node, peers)
        node.users.one(name)
        changes: dict[str, object] = {"peers": peers} if peers or any_peer else {}
        if asks or passcode_file:
            changes |= {"passcode": digest_of(_passcode(passcode_file)), "changed_at": datetime.now(UTC)}
        node.users.change(name, **changes)
    talk(f"changed the user {name}")
    return ExitCode.DONE


@user.command("list", reports=True, example="pacs user list --json")
@pass_invocation
def list_(invocation: Invocation) -> ExitCode:
    """List the persons who log in with a passcode."""
    with invocation.node() as node:
        rows = [
            {"name": one.name, "peers": list(one.peers), "changed_at": one.changed_at.isoformat(timespec="seconds")}
            for one in node.users.all()
        ]
    if not print_rows(rows, _HEADINGS, as_json=invocation.as_json):
        talk("no user is known; add one with: pacs user add")
    return ExitCode.DONE


@user.command(example="pacs user remove tanaka --yes")
@_NAME
@confirmed
@pass_invocation
def remove(invocation: Invocation, name: str, *, yes: bool) -> ExitCode:
    """Forget a person. What they did stays in the audit trail."""
    with invocation.node() as node:
        node.users.one(name)
        if not yes:
            talk(f"would forget the user {name}, who could then log in nowhere; do it with --yes")
            return ExitCode.DONE
        node.users.remove(name)
    talk(f"forgot the user {name}")
    return ExitCode.DONE


def _refuse_unknown(node: Node, peers: tuple[AeTitle, ...]) -> None:
    for aet in peers:
        node.registry.known_peer(aet)


def _passcode(file: Path | None) -> str:
    from pacs_server.settings import secret_in

    if file is None:
        return _asked_for()
    try:
        if str(file) != "-":
            return secret_in(file)
        with click.open_file("-", encoding="utf-8") as opened:
            return str(opened.readline()).rstrip("\r\n")
    except (OSError, ValueError) as error:
        raise Refused(f"the passcode cannot be read from {file}: {error}") from error


def _asked_for() -> str:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", GetPassWarning)  # it would read on, from what shows what is typed
            return str(click.prompt("passcode", hide_input=True, confirmation_prompt=True, err=True))
    except GetPassWarning as warning:
        raise Refused(
            "a passcode is asked for at a terminal, and there is none: give it with --passcode-file FILE, "
            "or - for standard input"
        ) from warning
