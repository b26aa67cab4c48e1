"""`pacs policy`: how many copies of an object there have to be."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import click

from pacs_server.cli.exits import ExitCode
from pacs_server.cli.invocation import Group, Invocation, aet_or_none, pass_invocation
from pacs_server.cli.output import print_rows, talk

if TYPE_CHECKING:
    from pacs_server.dicom.identity import AeTitle
    from pacs_server.index.site.registry import Policy
    from pacs_server.service.assemble import Node

_HEADINGS: Final = {"aet": "PEER", "want": "WANT", "need": "NEED", "degraded": "DEGRADED"}
_COPIES: Final = click.IntRange(min=1, max=16)


@click.group(cls=Group)
def policy() -> None:
    """Show and set how many copies objects have."""


@policy.command(reports=True, example="pacs policy show --json")
@pass_invocation
def show(invocation: Invocation) -> ExitCode:
    """Show the policy of the site, and of peers that have their own.

    want: copies that exist in the end, in different fault domains. need: copies that are awaited before success.
    degraded: the least with which an object is taken when volumes fail.
    """
    with invocation.node() as node:
        policies = node.policies()
    rows = [_row("", policies.usual), *(_row(aet, one) for aet, one in sorted(policies.of_peers.items()))]
    print_rows(rows, _HEADINGS, as_json=invocation.as_json)
    return ExitCode.DONE


@policy.command("set", example="pacs policy set --want 2 --need 2 --degraded 1")
@click.option("--want", type=_COPIES, metavar="N", help="Copies that exist in the end, in different fault domains.")
@click.option("--need", type=_COPIES, metavar="N", help="Copies that are awaited before success.")
@click.option("--degraded", type=_COPIES, metavar="N", help="The least with which an object is taken.")
@click.option("--peer", callback=aet_or_none, metavar="AET",
              help="Only for what this peer sends.")  # fmt: skip
@click.option("--as-site", is_flag=True, help="With --peer: let it follow the policy of the site again.")
@pass_invocation
def set_(
    invocation: Invocation,
    want: int | None,
    need: int | None,
    degraded: int | None,
    peer: AeTitle | None,
    *,
    as_site: bool,
) -> ExitCode:
    """Set the policy; what is not given stays.

    1 <= degraded <= need <= want. A running server follows within a second, and makes copies that are missing now.
    """
    from pacs_server.index.jobs import JobKind

    given = {name: n for name, n in (("want", want), ("need", need), ("degraded", degraded)) if n is not None}
    if as_site and (peer is None or given):
        raise click.UsageError("--as-site goes with --peer and nothing else")
    if not given and not as_site:
        raise click.UsageError("give at least one of --want, --need and --degraded")
    with invocation.node() as node:
        _tell_unknown(node, peer)
        if as_site:
            node.registry.set_policy(None, aet=peer or "")
            shown = node.registry.policies().usual
        else:
            shown = node.registry.change_policy(given, aet=peer or "")
        node.jobs.owe(JobKind.SURVEY, datetime.now(UTC))
        domains = {volume.spec.domain for volume in node.volumes() if not volume.spec.is_draining}
    talk(f"{peer or 'the site'}: want {shown.want}, need {shown.need}, degraded {shown.degraded}")
    if shown.want > len(domains):
        talk(f"there are volumes in {len(domains)} fault domains only, so {shown.want} copies cannot exist yet")
    return ExitCode.DONE


def _tell_unknown(node: Node, peer: AeTitle | None) -> None:
    """A title that nobody has is mistyped, or that of a program on this machine, which may call unregistered."""
    from pacs_server.service.upkeep.deeds import IMPORTER

    if peer is not None and peer != IMPORTER and node.registry.peer(peer) is None:
        talk(f"no peer {peer} is registered: it is for what comes from this machine by that title; pacs ae list")


def _row(aet: str, one: Policy) -> dict[str, object]:
    return {"aet": aet, "want": one.want, "need": one.need, "degraded": one.degraded}
