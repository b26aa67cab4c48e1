"""`pacs version` and `pacs conflicts`: contents and values that contradict each other, for a person to decide."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Final

import click

from pacs_server.cli.exits import ExitCode
from pacs_server.cli.find import readable_name
from pacs_server.cli.invocation import Group, Invocation, pass_invocation, text_value
from pacs_server.cli.output import print_rows, talk

_LATEST: Final = "latest"
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
    "study_uid": "STUDY",
}
_SAYING_HEADINGS: Final = {
    "patient_id": "ID",
    "patient_name": "NAME",
    "birth_date": "BORN",
    "study_date": "DATE",
    "accession_number": "ACCESSION",
    "objects": "OBJECTS",
    "series_uid": "SERIES",
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

    With the UID of a study, and latest as DIGEST: of each of its objects the content that came last.
    """
    from pacs_server.service.upkeep.decisions import use_latest, use_version

    with invocation.node() as node:
        if digest == _LATEST:
            chosen_at_once = use_latest(node, uid, reason).objects
            talk(f"of {len(chosen_at_once)} objects the content that came last is the current one")
            return ExitCode.DONE
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

    Of a study, or of one SOP Instance UID. Of a study that contradicts itself, also the patient whom each series names.

    Ends with 3 when some of its objects cannot be read now.
    """
    from pacs_server.errors import UnknownName
    from pacs_server.index.queries.view import conflicts_view, contents_view
    from pacs_server.service.upkeep.reconciling import sayings_of_study

    said: list[dict[str, Any]] = []
    unread: list[str] = []
    with invocation.node() as node:
        rows = contents_view(node.index, uid)
        if any(not one["sop_uid"] for one in conflicts_view(node.index, uid)):
            sayings, unread = sayings_of_study(node, uid)
            said = [asdict(one) for one in sayings]
    if not (rows or said or unread):
        raise UnknownName("nothing is in conflict there: pacs conflicts list shows where something is")
    _print_conflicts(rows, said, as_json=invocation.as_json)
    if unread:
        talk(f"whose {len(unread)} more objects are cannot be read now: {unread[0]}")
    return ExitCode.PARTLY if unread else ExitCode.DONE


def _print_conflicts(rows: list[dict[str, Any]], said: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        print_rows([*rows, *said], {}, as_json=True)
        return
    if rows:
        print_rows(rows, _CONTENT_HEADINGS, as_json=False)
    if rows and said:
        click.echo()
    if said:
        shown = (
            one | {"patient_name": readable_name(one["patient_name"]), "objects": len(one["sop_uids"])} for one in said
        )
        print_rows(shown, _SAYING_HEADINGS, as_json=False, long=("patient_id", "patient_name", "accession_number"))
