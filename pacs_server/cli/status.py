"""`pacs status`: the server, its associations, the volumes and what is held, in one screen."""

from __future__ import annotations

from typing import Any, Final

import click

from pacs_server.cli.exits import ExitCode
from pacs_server.cli.invocation import Command, Invocation, pass_invocation
from pacs_server.cli.output import as_json_text, print_facts, print_rows, readable_size
from pacs_server.cli.storage import print_volumes, volumes_of

_ASSOCIATION_HEADINGS: Final = {
    "number": "NO",
    "calling_aet": "CALLING",
    "address": "ADDRESS",
    "since": "SINCE",
    "doing": "DOING",
    "stored": "STORED",
    "refused": "REFUSED",
    "answered": "ANSWERED",
    "sent": "SENT",
}


@click.command(cls=Command, reports=True, example="pacs status --json")
@pass_invocation
def status(invocation: Invocation) -> ExitCode:
    """Show the server, the volumes and how much is held.

    Ends with 13 when no server runs.
    """
    from pacs_server.service.worker import running

    settings = invocation.settings()
    server = running(settings.data_dir)
    with invocation.node() as node:
        volumes = volumes_of(node)
        holdings = node.search.counts()
    if invocation.as_json:
        click.echo(as_json_text({"server": server, "volumes": volumes, "holdings": holdings}))
    else:
        _print_screen(server, volumes, holdings)
    return ExitCode.UNREACHABLE if server is None else ExitCode.DONE


def _print_screen(server: dict[str, Any] | None, volumes: list[dict[str, object]], holdings: dict[str, int]) -> None:
    print_facts({"server": _server_line(server), "holdings": _holdings_line(holdings)}, as_json=False)
    click.echo()
    print_volumes(volumes, as_json=False)
    associations = (server or {}).get("associations") or []
    if associations:
        click.echo()
        print_rows(associations, _ASSOCIATION_HEADINGS, as_json=False)


def _server_line(server: dict[str, Any] | None) -> str:
    if server is None:
        return "not running"
    if "pid" not in server:
        return "starting"
    return (
        f"{server['aet']} on {server['host']}:{server['port']}, process {server['pid']}, since {server['started_at']}, "
        f"{len(server['associations'])} associations open, {server['served']} served"
    )


def _holdings_line(counts: dict[str, int]) -> str:
    return ", ".join(
        f"{readable_size(count)}" if what == "bytes" else f"{count:,} {what}" for what, count in counts.items()
    )
