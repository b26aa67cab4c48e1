"""`pacs doctor`: what the checks of doctor_checks.py find, and which losses the site survives."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pacs_server.cli.doctor_checks import CHECKS, Problem, of_patroni, of_settings, told_of
from pacs_server.cli.doctor_peer import examine_peer
from pacs_server.cli.exits import ExitCode, exit_code
from pacs_server.cli.invocation import Command, Invocation, PathWord, aet_or_none, pass_invocation
from pacs_server.cli.output import as_json_text, print_checks, talk
from pacs_server.cli.survival import as_facts, print_survey
from pacs_server.errors import PacsError

if TYPE_CHECKING:
    from pacs_server.cluster.survive import Site
    from pacs_server.dicom.identity import AeTitle
    from pacs_server.service.assemble import Node


@click.command(cls=Command, reports=True, example="pacs doctor --survive 2")
@click.argument("aet", required=False, callback=aet_or_none)
@click.option(
    "--survive",
    type=click.IntRange(min=1),
    metavar="N",
    help="Try every loss of N servers, databases and volumes: which first loses data, or ends service.",
)
@click.option(
    "--layout",
    type=PathWord(),
    metavar="FILE",
    help="With --survive: of a site as this file describes it, not of this one.",
)
@click.option("--no-store", is_flag=True, help="With AET: send it nothing.")
@click.option("--send-back", is_flag=True, help="With AET: have it send the tiny object back, which is held here then.")
@pass_invocation
def doctor(
    invocation: Invocation,
    aet: AeTitle | None,
    survive: int | None,
    layout: Path | None,
    no_store: bool,
    send_back: bool,
) -> ExitCode:
    """Examine this archive, or one peer, and say what to do.

    With AET: the way to that peer, what it takes and answers, what it did here, what waits for it. It is sent a tiny
    object, as by pacs ae test, and nothing else is left there. Ends with 13 when it is not reached.

    Else: settings, database, Patroni, server, nodes, volumes, fault domains, copies, what is to be sent. Ends with 12
    when something is to be done, or when fewer losses are survived than --survive asks for.
    """
    if aet is not None:
        if survive is not None or layout is not None:
            raise click.UsageError("--survive and --layout are about this archive, not about a peer")
        return examine_peer(invocation, aet, stores=not no_store, sends_back=send_back)
    if no_store or send_back:
        raise click.UsageError("--no-store and --send-back go with the AE title of a peer")
    if survive is None:
        if layout is not None:
            raise click.UsageError("--layout goes with --survive")
        return _examine(invocation)
    if layout is not None:
        from pacs_server.cluster.layout import read_layout

        return _survive(invocation, read_layout(layout), survive, {"layout": str(layout)})
    with invocation.node() as node:
        site, told = _present(node)
    code = _survive(invocation, site, survive, told)
    return ExitCode.DAMAGE if told["gone_objects"] else code


def _present(node: Node) -> tuple[Site, dict[str, object]]:
    """This site as it is now, and what is to be known beside its model."""
    import socket

    from pacs_server.cluster.roster import lives
    from pacs_server.service.monitoring.survival import count_copies, standing
    from pacs_server.service.roll_call import node_name
    from pacs_server.storage.mounts import mount_table

    others = [one for one in node.nodes.all() if one.name != node_name(node.settings)]
    living = [one for one in others if lives(one, datetime.now(UTC))]
    if silent := [one.name for one in others if one not in living]:
        talk(f"left out, because they do not serve now: {', '.join(silent)}")
    now = standing(node, count_copies(node), server=socket.gethostname(), table=mount_table(), others=living)
    if now.is_empty:
        talk("nothing is held yet: told is what becomes of objects to come")
    if now.gone:
        talk(f"{now.gone} objects have no good copy that can be read now: pacs verify, pacs storage list")
    if now.away:
        talk(f"left out, because they cannot be read now: {', '.join(now.away)}")
    if now.idle:
        talk(f"left out, because they could not take over now: {', '.join(now.idle)} (pacs doctor)")
    return now.site, {
        "gone_objects": now.gone,
        "away": now.away,
        "databases_away": now.idle,
        "is_empty": now.is_empty,
    }


def _survive(invocation: Invocation, site: Site, most: int, told: dict[str, object]) -> ExitCode:
    from pacs_server.cluster.advice import advise
    from pacs_server.cluster.survive import survey

    tried = survey(site, most)
    advice = advise(site, tried)
    if invocation.as_json:
        click.echo(as_json_text(told | {"asked": most} | as_facts(tried, advice)))
    else:
        print_survey(site, tried, advice)
    return ExitCode.DAMAGE if tried.first else ExitCode.DONE


def _examine(invocation: Invocation) -> ExitCode:
    """Make every check that can be made: without settings or an index the others cannot."""
    rows: list[dict[str, object]] = []
    code = ExitCode.DONE

    def note(check: str, problems: list[Problem]) -> None:
        rows.extend({"check": check, "result": problem, "remedy": remedy} for problem, remedy in problems)
        if not problems:
            rows.append({"check": check, "result": "good", "remedy": ""})

    check = "settings"
    try:
        settings = invocation.settings()
        problems = list(of_settings(settings, invocation.settings_path()))
        note(check, problems)
        code = ExitCode.DAMAGE if problems else code
        check = "database"
        for name, problems in of_patroni(settings):
            note(name, problems)
            code = ExitCode.DAMAGE if problems else code
        with invocation.node(only_tries=True) as node:
            note(check, [])
            for check, find in CHECKS.items():
                problems = list(find(node))
                note(check, problems)
                code = ExitCode.DAMAGE if problems else code
    except PacsError as error:
        note(check, list(told_of(error, check)))
        code = exit_code(error)
    print_checks(rows, as_json=invocation.as_json)
    return code
