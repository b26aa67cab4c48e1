"""`pacs route`: what is forwarded by itself, to whom and when."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import click

from pacs_server.cli.exits import ExitCode
from pacs_server.cli.invocation import (
    MOMENT,
    ROWS,
    Group,
    Invocation,
    aet_values,
    confirmed,
    key_values,
    name_value,
    pass_invocation,
)
from pacs_server.cli.output import print_facts, print_rows, talk

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pacs_server.dicom.identity import AeTitle
    from pacs_server.index.site.routes import Route

_HEADINGS: Final = {
    "name": "NAME",
    "from": "FROM",
    "keys": "FITS",
    "to": "TO",
    "quiet_minutes": "QUIET",
    "window": "WINDOW",
    "priors": "PRIORS",
    "paused": "PAUSED",
}
_TEST_HEADINGS: Final = {
    "uid": "STUDY",
    "to": "TO",
    "objects": "OBJECTS",
    "fitting": "FIT",
    "to_send": "TO SEND",
    "why": "WHY",
}


@click.group(cls=Group)
def route() -> None:
    """Forward what arrives by itself: to whom, what, when."""


@route.command(example="pacs route add night-ct --from CT1 Modality=CT --to ARCHIVE2 --window 20:00-06:00")
@click.argument("name", callback=name_value)
@click.argument("keys", metavar="[KEY=VALUE]...", nargs=-1)
@click.option("--from", "senders", multiple=True, callback=aet_values, metavar="AET",
              help="Only what this peer sends; may be given again. IMPORT is pacs import.")  # fmt: skip
@click.option("--to", multiple=True, required=True, callback=aet_values, metavar="AET",
              help="A registered peer; may be given again.")  # fmt: skip
@click.option("--quiet", "quiet_minutes", type=click.IntRange(min=0, max=10_080), default=0, metavar="MINUTES",
              help="Wait until nothing of the study has arrived for so long.")  # fmt: skip
@click.option("--window", default="", metavar="HH:MM-HH:MM", help="Send only in this part of the day, local time.")
@click.option("--priors", type=click.IntRange(min=0, max=100), default=0, metavar="N",
              help="With a new study, also the N latest earlier ones of the patient.")  # fmt: skip
@click.option("--priors-like", multiple=True, metavar="KEY",
              help="Only priors with the same value, like that of Modality; may be given again.")  # fmt: skip
@pass_invocation
def add(
    invocation: Invocation,
    /,
    name: str,
    keys: tuple[str, ...],
    senders: tuple[AeTitle, ...],
    to: tuple[AeTitle, ...],
    quiet_minutes: int,
    window: str,
    priors: int,
    priors_like: tuple[str, ...],
) -> ExitCode:
    """Forward what arrives from now on and fits.

    Every KEY has to match, as in pacs find. What came from a destination is not sent back to it, and what is held
    already is not forwarded when it arrives again.
    """
    from pacs_server.index.site.routes import Route
    from pacs_server.service.peers.sending import add_route

    if priors_like and not priors:
        raise click.UsageError("--priors-like goes with --priors")
    new = Route(
        name=name, to=to, senders=senders, keys=key_values(keys), quiet_minutes=quiet_minutes, window=window,
        priors=priors, priors_like=priors_like,
    )  # fmt: skip
    with invocation.node() as node:
        add_route(node, new)
    talk(f"added route {name}; what it would do with what is held: pacs route test {name}")
    return ExitCode.DONE


@route.command("list", reports=True, example="pacs route list --json")
@pass_invocation
def list_(invocation: Invocation) -> ExitCode:
    """List the routes."""
    with invocation.node() as node:
        rows = [_row(one) for one in node.route_rules.all().values()]
    if not print_rows(rows, _HEADINGS, as_json=invocation.as_json):
        talk("nothing is forwarded by itself; pacs route add makes a route")
    return ExitCode.DONE


@route.command(reports=True, example="pacs route show night-ct")
@click.argument("name")
@pass_invocation
def show(invocation: Invocation, name: str) -> ExitCode:
    """Show one route."""
    with invocation.node() as node:
        print_facts(_row(node.route_rules.one(name)), as_json=invocation.as_json)
    return ExitCode.DONE


@route.command(reports=True, example="pacs route test night-ct 1.2.840.113619.2.55.3")
@click.argument("name")
@click.argument("uids", metavar="[STUDY-UID]...", nargs=-1)
@click.option("--limit", type=ROWS, default=20, show_default=True,
              help="Without a UID: of so many studies that began to arrive last.")  # fmt: skip
@pass_invocation
def test(invocation: Invocation, name: str, uids: tuple[str, ...], limit: int) -> ExitCode:
    """Say which held studies it would send, and why others not."""
    from pacs_server.service.peers.sending import explain

    def rows() -> Iterator[dict[str, object]]:
        for one in explain(node, name, uids, datetime.now(UTC), limit=limit):
            yield {
                "uid": one.study_uid,
                "to": one.destination,
                "objects": one.objects,
                "fitting": one.fitting,
                "to_send": one.to_send,
                "why": list(one.why),
            }

    with invocation.node() as node:
        print_rows(rows(), _TEST_HEADINGS, as_json=invocation.as_json, said=("why",))
    return ExitCode.DONE


@route.command(example="pacs route apply night-ct --since 2026-11-27T03:00")
@click.argument("name")
@click.option("--since", type=MOMENT, required=True, metavar="MOMENT",
              help="Studies of which something arrived since, in UTC: 2026-01-31 or 2026-01-31T08:00.")  # fmt: skip
@pass_invocation
def apply(invocation: Invocation, name: str, since: datetime) -> ExitCode:
    """Forward what is held, as if it arrived now.

    For what arrived before the route was made, and for what a site that was lost had not forwarded. What this site sent
    for a route already is not sent again.
    """
    from pacs_server.service.peers.sending import apply_to_held

    with invocation.node() as node:
        count = apply_to_held(node, name, since.replace(tzinfo=UTC), datetime.now(UTC))
    talk(f"route {name} looks at {count} series; pacs send list shows what it queues")
    return ExitCode.DONE


@route.command(example="pacs route pause night-ct")
@click.argument("name")
@pass_invocation
def pause(invocation: Invocation, name: str) -> ExitCode:
    """Let a route and what it has queued wait. What arrives meanwhile is forwarded when it is resumed."""
    return _set_paused(invocation, name, is_paused=True)


@route.command(example="pacs route resume night-ct")
@click.argument("name")
@pass_invocation
def resume(invocation: Invocation, name: str) -> ExitCode:
    """Let a paused route go on."""
    return _set_paused(invocation, name, is_paused=False)


@route.command(example="pacs route remove night-ct --yes")
@click.argument("name")
@confirmed
@pass_invocation
def remove(invocation: Invocation, name: str, *, yes: bool) -> ExitCode:
    """Forget a route, and what it has queued and not sent."""
    from pacs_server.service.peers.sending import remove_route

    with invocation.node() as node:
        node.route_rules.one(name)
        if not yes:
            talk(f"would forget route {name} and what it has queued; do it with --yes")
            return ExitCode.DONE
        dropped = remove_route(node, name)
    talk(f"forgot route {name}; {dropped} objects that it had queued are not sent")
    return ExitCode.DONE


def _set_paused(invocation: Invocation, name: str, *, is_paused: bool) -> ExitCode:
    from pacs_server.service.peers.sending import set_paused

    with invocation.node() as node:
        set_paused(node, name, is_paused=is_paused, now=datetime.now(UTC))
    talk(f"route {name} {'is paused' if is_paused else 'goes on'}")
    return ExitCode.DONE


def _row(one: Route) -> dict[str, object]:
    return {
        "name": one.name,
        "from": list(one.senders),
        "keys": [f"{key}={value}" for key, value in one.keys.items()],
        "to": list(one.to),
        "quiet_minutes": one.quiet_minutes,
        "window": one.window,
        "priors": one.priors,
        "priors_like": list(one.priors_like),
        "paused": one.is_paused,
    }
