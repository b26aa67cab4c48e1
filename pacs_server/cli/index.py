"""`pacs index`: the index as a whole, and the attributes that are added to it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import click

from pacs_server.cli.exits import ExitCode
from pacs_server.cli.invocation import Group, Invocation, confirmed, pass_invocation
from pacs_server.cli.keep import print_findings
from pacs_server.cli.output import print_rows, talk
from pacs_server.errors import UnknownName

if TYPE_CHECKING:
    from pacs_server.index.recording.fields import FieldProgress

_LEVELS: Final = ("patient", "study", "series", "image")

_HEADINGS: Final = {
    "keyword": "KEYWORD",
    "level": "LEVEL",
    "vr": "VR",
    "matching": "MATCHING",
    "state": "STATE",
    "unread": "UNREAD",
}


@click.group(cls=Group)
def index() -> None:
    """Work on the index as a whole."""


@index.command(reports=True, example="pacs index rebuild")
@pass_invocation
def rebuild(invocation: Invocation) -> ExitCode:
    """Make the index anew from the files of all volumes.

    It is made beside the present one, and then they are swapped. Interrupted, it goes on where it was when it
    is run again. The server may keep running.
    """
    from pacs_server.service.upkeep.rebuilding import rebuild_index

    with invocation.node() as node:
        code = print_findings(rebuild_index(node), "every file was taken in", as_json=invocation.as_json)
        counts, knows_peers = node.search.counts(), bool(node.registry.peers())
    talk(f"the index holds {counts['studies']} studies and {counts['instances']} instances")
    if not knows_peers:
        talk(
            "no peer is registered, because files do not say who may call, nor the policy and the routes: pacs ae add, "
            "pacs policy set, pacs route add; a backup has them all (pacs restore-backup)"
        )
    return code


@index.group()
def fields() -> None:
    """Add attributes to those that the index holds, and remove them."""


@fields.command(example="pacs index fields add ContrastBolusAgent --level series")
@click.argument("keyword")
@click.option("--level", type=click.Choice(_LEVELS), required=True, help="Whose attribute it is.")
@click.option("--vr", metavar="VR", default="", help="Its value representation, where the dictionary does not know it.")
@pass_invocation
def add(invocation: Invocation, keyword: str, level: str, vr: str) -> ExitCode:
    """Add an attribute, to be asked for and answered in queries.

    KEYWORD is that of the DICOM dictionary, a tag like 0018,0010, or a private element with its creator, like
    0019xx18:GEMS_ACQU_01.

    What arrives from now on has it at once. The running server reads it from the files that are here already, and
    matches keys on it when it is through.
    """
    from pacs_server.dicom.attributes import Level
    from pacs_server.dicom.vocabulary import new_field

    field = new_field(keyword, Level[level.upper()], vr.upper())
    with invocation.node() as node:
        node.fields.add(field, datetime.now(UTC))
        unread = next(one.unread for one in node.fields.progress() if one.field.keyword == field.keyword)
    talk(
        f"added {field.keyword}, VR {field.vr}, at level {level}; {unread} objects are to be read for it by the server"
    )
    return ExitCode.DONE


@fields.command("list", reports=True, example="pacs index fields list --json")
@pass_invocation
def list_(invocation: Invocation) -> ExitCode:
    """List what was added, and how far it is read from the files."""
    with invocation.node() as node:
        rows = [_row(one) for one in node.fields.progress()]
    if not print_rows(rows, _HEADINGS, as_json=invocation.as_json, said=("state", "matching")):
        talk("no field was added; add one with: pacs index fields add")
    return ExitCode.DONE


@fields.command(example="pacs index fields remove ContrastBolusAgent --yes")
@click.argument("keyword")
@confirmed
@pass_invocation
def remove(invocation: Invocation, keyword: str, *, yes: bool) -> ExitCode:
    """Remove an attribute that was added. The files keep it."""
    with invocation.node() as node:
        if keyword not in {one.field.keyword for one in node.fields.progress()}:
            raise UnknownName(f"no field {keyword} was added; pacs index fields list shows those there are")
        if not yes:
            talk(f"would remove {keyword} with its values, which can be read from the files again; do it with --yes")
            return ExitCode.DONE
        node.fields.remove(keyword)
    talk(f"removed {keyword}")
    return ExitCode.DONE


def _row(one: FieldProgress) -> dict[str, object]:
    field = one.field
    return {
        "keyword": field.keyword,
        "tag": f"{field.tag >> 16:04x},{field.tag & 0xFFFF:04x}",
        "level": field.level.name.lower(),
        "vr": field.vr,
        "matching": field.matching.value,
        "state": one.stage.value,
        "unread": one.unread,
        "added_at": one.added_at.isoformat(timespec="seconds"),
    }
