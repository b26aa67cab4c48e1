"""`pacs version` and `pacs conflicts`: contents and values that contradict each other, for a person to decide."""

from __future__ import annotations

from typing import Final

import click

from pacs_server.cli.exits import ExitCode
from pacs_server.cli.invocation import Group, Invocation, pass_invocation, text_value
from pacs_server.cli.output import print_rows, talk

_HEADINGS: Final = {
    "noted_at": "NOTED",
    "kind": "CONFLICT",
    "detail": "DETAIL",
    "patient_id": "ID",
    "sop_uid": "OBJECT",
    "uid": "STUDY",
}
_CONTENT_HEADINGS: Final = {
    "role": "ROLE",
    "digest": "DIGEST",
    "sender": "FROM",
    "received_at": "RECEIVED",
    "size_bytes": "BYTES",
    "sop_uid": "OBJECT",
}


@click.group(cls=Group)
def version() -> None:
    """Choose between contents that came under one UID."""


@version.command(
    example="pacs version use 1.2.840.113619.2.1.5 9f86d081884c7d65 --reason 'second scan is the right one'"
)
@click.argument("uid")
@click.argument("digest")
@click.option("--reason", metavar="TEXT", required=True, callback=text_value, help="Why; it stays in the history.")
@pass_invocation
def use(invocation: Invocation, uid: str, digest: str, reason: str) -> ExitCode:
    """Make one content the current one.

    It is found and sent, the others are kept.
    DIGEST is what pacs conflicts show prints, or its beginning. Choosing the other one again reverses it.
    """
    from pacs_server.service.upkeep.decisions import use_version

    with invocation.node() as node:
        chosen = use_version(node, uid, digest, reason).objects[0]
    talk(f"{chosen.digest[:16]} is the current content of {chosen.sop_uid}")
    return ExitCode.DONE


@click.group(cls=Group)
def conflicts() -> None:
    """Show what contradicts itself."""


@conflicts.command("list", reports=True, example="pacs conflicts list --json")
@pass_invocation
def list_(invocation: Invocation) -> ExitCode:
    """List what contradicts itself.

    Other contents under one UID, patients or studies whose values differ.
    """
    from pacs_server.index.queries.view import conflicts_view

    with invocation.node() as node:
        rows = conflicts_view(node.index)
    if not print_rows(rows, _HEADINGS, as_json=invocation.as_json, long=("patient_id",)):
        talk("nothing contradicts itself")
    return ExitCode.DONE


@conflicts.command(reports=True, example="pacs conflicts show 1.2.840.113619.2.1")
@click.argument("uid")
@pass_invocation
def show(invocation: Invocation, uid: str) -> ExitCode:
    """Show the contents between which a person may choose.

    Of a study, or of one SOP Instance UID.
    """
    from pacs_server.errors import UnknownName
    from pacs_server.index.queries.view import contents_view

    with invocation.node() as node:
        rows = contents_view(node.index, uid)
    if not rows:
        raise UnknownName("nothing is in conflict there: pacs conflicts list shows where something is")
    print_rows(rows, _CONTENT_HEADINGS, as_json=invocation.as_json)
    return ExitCode.DONE
