"""`pacs status`: the server, its associations, the volumes and what is held, in one screen."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final

import click

from pacs_server.cli.alert import ALARM_HEADINGS, ALARM_WORDS
from pacs_server.cli.exits import ExitCode
from pacs_server.cli.invocation import Command, Invocation, pass_invocation
from pacs_server.cli.output import (
    as_json_text,
    counted,
    in_their_language,
    listed,
    print_facts,
    print_rows,
    readable_size,
)
from pacs_server.cli.partner import PARTNER_HEADINGS, PARTNER_WORDS
from pacs_server.cli.storage import print_volumes

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
_ALARM_HEADINGS: Final = {"raised_at": "RAISED", **ALARM_HEADINGS}
_NODE_HEADINGS: Final = {
    "name": "NODE",
    "state": "STATE",
    "aet": "AET",
    "address": "ADDRESS",
    "volumes": "VOLUMES",
    "release": "RELEASE",
    "seen_at": "SEEN",
}


@click.command(cls=Command, reports=True, example="pacs status --json")
@pass_invocation
def status(invocation: Invocation) -> ExitCode:
    """Show the server, the volumes, what is held and what is owed.

    Ends with 13 when no server runs.
    """
    from pacs_server.index.site.draining import draining_of
    from pacs_server.service.monitoring.alarm_book import standing_alarms
    from pacs_server.service.partners.role import role_lines, role_of
    from pacs_server.service.present import backlog_of, nodes_of, partners_of, volumes_of
    from pacs_server.service.telling import running

    settings = invocation.settings()
    server = running(settings.data_dir)
    # What was noted by a server that has ended did not hold on.
    alarms = standing_alarms(settings.data_dir, also_new=server is not None)
    with invocation.node() as node:
        volumes = volumes_of(node)
        holdings = node.search.counts()
        backlog = backlog_of(node)
        survival = node.registry.survival()
        partners = partners_of(node)
        nodes = nodes_of(node, datetime.now(UTC))
        role, draining, lines = role_of(node), draining_of(node.index), role_lines(node)
    if invocation.as_json:
        told = {"server": server, "volumes": volumes, "holdings": holdings, "backlog": backlog, "survival": survival}
        since = draining and draining.since.isoformat(timespec="seconds")
        told |= {"partners": partners, "nodes": nodes, "alarms": alarms}
        click.echo(as_json_text(told | {"role": role.value, "draining_since": since}))
    else:
        _print_screen(server, lines, volumes, holdings, backlog, survival)
        if alarms:
            click.echo()
            print_rows(alarms, _ALARM_HEADINGS, as_json=False, said=ALARM_WORDS)
        if len(nodes) > 1:
            click.echo()
            print_rows(nodes, _NODE_HEADINGS, as_json=False, said=("state",))
        if partners:
            click.echo()
            print_rows(partners, PARTNER_HEADINGS, as_json=False, said=PARTNER_WORDS)
    return ExitCode.UNREACHABLE if server is None else ExitCode.DONE


def _backlog_line(backlog: dict[str, Any]) -> str:
    owed = [counted(number, f"{kind} jobs") for kind, number in sorted(backlog["jobs"].items())]
    lacking, damaged, leaving = (backlog[name] for name in ("lacking_copies", "damaged_copies", "leaving_files"))
    sends = backlog["sends"]
    lost = sum(one["not_given_back"] for one in backlog["archives"])
    if not (lacking or damaged or owed or lost or any(sends.values())):
        return in_their_language("none: every object has the copies that are wanted")
    told = [counted(lacking, "objects with fewer copies than are wanted"), counted(damaged, "damaged copies")]
    told += owed or [in_their_language("no jobs")]
    if any(sends.values()):
        told.append(counted(sends["waiting"], "objects to send"))
        told.append(counted(sends["dead"], "not sent and tried no more (pacs send list)"))
    if lost:
        told.append(counted(lost, "objects that their archive server did not give back"))
    if leaving:
        told.append(counted(leaving, "files to be removed"))
    return listed(told)


def _archives_line(backlog: dict[str, Any]) -> str:
    """What archive servers keep in our stead; nothing where none does."""
    told = (
        f"{one['aet']} keeps {one['objects']} objects, {one['only_there']} of them without a copy here"
        for one in backlog["archives"]
    )
    return listed(map(in_their_language, told), "; ")


def _print_screen(
    server: dict[str, Any] | None,
    role: list[str],
    volumes: list[dict[str, object]],
    holdings: dict[str, int],
    backlog: dict[str, Any],
    survival: dict[str, Any] | None,
) -> None:
    facts = {
        "server": _server_line(server),
        "role": listed(map(in_their_language, role), "; "),
        "holdings": _holdings_line(holdings),
        "backlog": _backlog_line(backlog),
        "archives": _archives_line(backlog),
        "losses survived": _losses_line(survival, datetime.now(UTC)),
    }
    print_facts(facts, as_json=False)
    click.echo()
    print_volumes(volumes, as_json=False)
    associations = (server or {}).get("associations") or []
    if associations:
        click.echo()
        print_rows(associations, _ASSOCIATION_HEADINGS, as_json=False)


def _server_line(server: dict[str, Any] | None) -> str:
    if server is None:
        return in_their_language("not running")
    if "pid" not in server:
        return in_their_language("starting")
    doors = [f"{server['host']}:{server['port']}"] if server["port"] is not None else []
    if server.get("tls_port") is not None:
        doors.append(in_their_language(f"{server['tls_host']}:{server['tls_port']} over TLS"))
    return in_their_language(
        f"{server['aet']} on {listed(doors, ' and ')}, process {server['pid']}, since {server['started_at']}, "
        f"{len(server['associations'])} associations open, {server['served']} served"
    )


def _losses_line(survival: dict[str, Any] | None, now: datetime) -> str:
    """What is noted about the losses that are survived, and how old that is."""
    if survival is None:
        return in_their_language("not counted yet; pacs doctor --survive 1 counts")
    by: dict[int, list[str]] = {}
    for what in ("data", "retrieving", "storing"):
        by.setdefault(survival[what], []).append(in_their_language(what))
    told = [f"{listed(those)}: {_any(number)}" for number, those in by.items()]
    if survival["gone"]:
        told.append(counted(survival["gone"], "objects had no copy that could be read"))
    minutes = (now - datetime.fromisoformat(survival["counted_at"])) // timedelta(minutes=1)
    age = max(0, minutes)  # the clock of the node that counted may be ahead of this one
    return in_their_language(f"{listed(told, '; ')} (copies counted {age} minutes ago)")


def _any(number: int) -> str:
    return in_their_language(
        f"any {number}" if number > 0 else "none" if number == 0 else "not even none, something is amiss now"
    )


def _holdings_line(counts: dict[str, int]) -> str:
    return listed(
        readable_size(count) if what == "bytes" else counted(f"{count:,}", what) for what, count in counts.items()
    )
