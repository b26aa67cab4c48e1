"""`pacs verify` and `pacs reconcile`: files are read and compared, with what was received and with the rows."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import TYPE_CHECKING, Final

import click

from pacs_server.cli.comparing import Mending, compare_with
from pacs_server.cli.exits import ExitCode
from pacs_server.cli.invocation import Command, Invocation, Number, aet_or_none, key_values, pass_invocation
from pacs_server.cli.output import Progress, counted, in_their_language, listed, print_rows, readable_size, talk

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pacs_server.archive.adopting import Finding
    from pacs_server.dicom.identity import AeTitle

_VERIFY_HEADINGS: Final = {"volume": "VOLUME", "result": "RESULT", "path": "FILE", "detail": "DETAIL"}
_HEADINGS: Final = {"volume": "VOLUME", "kind": "FINDING", "path": "FILE", "detail": "DETAIL"}


@click.command(cls=Command, reports=True, example="pacs verify --volume nas1 --rate 50")
@click.option("--volume", "names", multiple=True, metavar="NAME", help="Only this volume; may be given again.")
@click.option("--rate", type=Number(min=0.01), metavar="MB/S", help="Read no faster than this.")
@pass_invocation
def verify(invocation: Invocation, names: tuple[str, ...], rate: float | None) -> ExitCode:
    """Read every copy and compare it with what was received.

    Damaged copies are put aside and replaced from a good one. Interrupted, it goes on where it was when it is run
    again.

    Ends with 12 when damage is left that cannot be repaired, with 3 when a volume or a copy could not be read now.
    """
    from pacs_server.service.upkeep.deeds import verify_volumes

    progress = Progress()
    tally: Counter[str] = Counter()
    read_bytes = 0

    def rows() -> Iterator[dict[str, object]]:
        nonlocal read_bytes
        for one in verify_volumes(node, names, bytes_per_s=rate * 1e6 if rate else None):
            tally[one.result] += 1
            read_bytes += one.size_bytes
            progress.show(f"{tally.total()} copies, {readable_size(read_bytes)} read")
            if one.result != "good":
                progress.clear()
                yield {"volume": one.volume, "result": one.result, "path": one.path, "detail": one.detail}

    with invocation.node() as node:
        print_rows(rows(), _VERIFY_HEADINGS, as_json=invocation.as_json, said=("result", "detail"), is_work=True)
    progress.clear()
    results = ("good", "repaired", "damaged", "not read")
    told = listed(counted(tally[result], result) for result in results if tally[result])
    talk(told or "nothing to verify")
    if tally["damaged"]:
        return ExitCode.DAMAGE
    return ExitCode.PARTLY if tally["not read"] else ExitCode.DONE


@click.command(cls=Command, reports=True, example="pacs reconcile --since 2026-01-01 --repair")
@click.argument("keys", metavar="[KEY=VALUE]...", nargs=-1)
@click.option(
    "--since",
    type=click.DateTime(["%Y-%m-%d", "%Y%m%d"]),
    metavar="DATE",
    help="Only studies that began to arrive on this day (UTC) or later; with --with, that were made then or later.",
)
@click.option("--with", "aet", callback=aet_or_none, metavar="AET", help="Compare with this archive, not with files.")
@click.option("--thorough", is_flag=True, help="With --with, ask for every object, also where the counts agree.")
@click.option(
    "--repair",
    is_flag=True,
    help="Adopt files that no row knows; drop the row of a copy that is gone; remove what is unfinished since an hour. "
    "With --with, fetch what is missing here, and have sent what is missing there.",
)
@click.option("--fetch", is_flag=True, help="With --with, only fetch what is missing here: nothing is sent there.")
@pass_invocation
def reconcile(
    invocation: Invocation,
    keys: tuple[str, ...],
    since: datetime | None,
    aet: AeTitle | None,
    *,
    thorough: bool,
    repair: bool,
    fetch: bool,
) -> ExitCode:
    """Compare files with rows, in both directions; or this archive with another.

    Changes nothing without --repair or --fetch. Files of the last 15 minutes are not looked at: they may be on their
    way in.

    Ends with 12 when objects are missing or damaged, with 3 when a volume or a file could not be read, or what is
    unfinished not be removed. The last row of a lost object is never removed.

    With --with, a registered peer is asked for its studies, month by month, narrowed by KEY=VALUE of patients and
    studies; where counts differ, for each series and object. Ends with 3 when a difference is left. What was deleted
    here is told, and never fetched.
    """
    from pacs_server.service.upkeep.reconciling import reconcile_volumes

    if aet is not None:
        day, narrowed = since.date() if since else None, key_values(keys)
        if day and "StudyDate" in narrowed:
            raise click.UsageError(
                "--since and StudyDate both say from which day on: give one of them, like StudyDate=20260101-"
            )
        if repair and fetch:
            raise click.UsageError("--repair fetches and sends, --fetch only fetches: give one of them")
        mending = Mending.FETCH_AND_SEND if repair else Mending.FETCH if fetch else Mending.NONE
        return compare_with(invocation, aet, narrowed, day, mending=mending, is_thorough=thorough)
    if keys or thorough or fetch:
        raise click.UsageError(
            "KEY=VALUE, --thorough and --fetch are for the comparison with another archive: give --with AET"
        )
    with invocation.node() as node:
        findings = reconcile_volumes(node, since=since.date() if since else None, repair=repair)
        return print_findings(
            findings,
            "files and rows agree; files of the last 15 minutes were not looked at",
            as_json=invocation.as_json,
        )


def print_findings(findings: Iterable[Finding], all_well: str, *, as_json: bool) -> ExitCode:
    """Print findings as they come, then their counts; damage and what could not be done are exit codes."""
    counts: Counter[str] = Counter()
    damage = undone = False

    def rows() -> Iterator[dict[str, object]]:
        nonlocal damage, undone
        for finding in findings:
            counts[finding.kind.value] += 1
            damage = damage or finding.kind.is_damage
            undone = undone or finding.kind.is_undone
            yield {
                "volume": finding.volume,
                "kind": finding.kind.value,
                "path": finding.path,
                "detail": finding.detail,
            }

    print_rows(rows(), _HEADINGS, as_json=as_json, said=("kind", "detail"), is_work=True)
    talk(listed(f"{count} x {in_their_language(kind)}" for kind, count in counts.items()) or all_well)
    if damage:
        return ExitCode.DAMAGE
    return ExitCode.PARTLY if undone else ExitCode.DONE
