"""`pacs reconcile`: files and rows are made to agree; the files are the truth."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import TYPE_CHECKING, Final

import click

from pacs_server.cli.exits import ExitCode
from pacs_server.cli.invocation import Command, Invocation, pass_invocation
from pacs_server.cli.output import print_rows, talk

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pacs_server.archive.reconcile import Finding

_HEADINGS: Final = {"volume": "VOLUME", "kind": "FINDING", "path": "FILE", "detail": "DETAIL"}


@click.command(cls=Command, reports=True, example="pacs reconcile --since 2026-01-01 --repair")
@click.option(
    "--since",
    type=click.DateTime(["%Y-%m-%d", "%Y%m%d"]),
    metavar="DATE",
    help="Only studies that began to arrive on this day (UTC) or later.",
)
@click.option("--repair", is_flag=True, help="Adopt files that no row knows; drop the row of a copy that is gone.")
@pass_invocation
def reconcile(invocation: Invocation, since: datetime | None, *, repair: bool) -> ExitCode:
    """Compare files with rows, in both directions.

    Changes nothing without --repair.

    Ends with 12 when objects are missing or damaged. The last row of a lost object is never removed.
    """
    from pacs_server.service.deeds import reconcile_volumes

    with invocation.node() as node:
        findings = reconcile_volumes(node, since=since.date() if since else None, repair=repair)
        return print_findings(findings, "files and rows agree", as_json=invocation.as_json)


def print_findings(findings: Iterable[Finding], all_well: str, *, as_json: bool) -> ExitCode:
    """Print findings as they come, then their counts; damage is an exit code of its own."""
    counts: Counter[str] = Counter()
    damage = False

    def rows() -> Iterator[dict[str, object]]:
        nonlocal damage
        for finding in findings:
            counts[finding.kind.value] += 1
            damage = damage or finding.kind.is_damage
            yield {
                "volume": finding.volume,
                "kind": finding.kind.value,
                "path": finding.path,
                "detail": finding.detail,
            }

    print_rows(rows(), _HEADINGS, as_json=as_json)
    talk(", ".join(f"{count} x {kind}" for kind, count in counts.items()) or all_well)
    return ExitCode.DAMAGE if damage else ExitCode.DONE
