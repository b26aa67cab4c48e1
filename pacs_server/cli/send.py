"""`pacs send`: objects to other systems, queued, and what waits for whom."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import click

from pacs_server.cli.exits import ExitCode
from pacs_server.cli.invocation import ROWS, Group, Invocation, aet_or_none, aet_value, confirmed, pass_invocation
from pacs_server.cli.output import Progress, print_rows, talk

if TYPE_CHECKING:
    from collections.abc import Callable

    from pacs_server.dicom.identity import AeTitle
    from pacs_server.index.sending.backlogs import Backlog
    from pacs_server.index.sending.sendings import Sending
    from pacs_server.service.assemble import Node
    from pacs_server.service.peers.sending import Queued

_BACKLOG_HEADINGS: Final = {
    "aet": "AET",
    "waiting": "WAITING",
    "sent": "SENT",
    "dead": "DEAD",
    "gone": "GONE",
    "waiting_since": "SINCE",
    "error": "LAST ERROR",
}
_DEAD_HEADINGS: Final = {"aet": "AET", "uid": "UID", "route": "ROUTE", "at": "AT", "reason": "WHY"}
_TO = click.option("--to", "aet", required=True, callback=aet_value, metavar="AET", help="A registered peer.")
_WAIT = click.option("--wait", is_flag=True, help="Wait until everything is sent, refused, or cannot be sent now.")


@click.group(cls=Group)
def send() -> None:
    """Send objects to other systems, and show what waits."""


def _queueing(decorated: Callable[..., ExitCode]) -> Callable[..., ExitCode]:
    return _TO(_WAIT(pass_invocation(decorated)))


@send.command(example="pacs send study 1.2.840.113619.2.55.3 --to VIEWER1")
@click.argument("uid")
@_queueing
def study(invocation: Invocation, uid: str, aet: AeTitle, *, wait: bool) -> ExitCode:
    """Send a study.

    It is queued, and sent by the running server, also after a restart. Ends with 3 or 13 when --wait saw it fail.
    """
    return _send(invocation, {"StudyInstanceUID": uid}, aet, wait=wait)


@send.command(example="pacs send series 1.2.840.113619.2.55.3.7 --to VIEWER1")
@click.argument("uid")
@_queueing
def series(invocation: Invocation, uid: str, aet: AeTitle, *, wait: bool) -> ExitCode:
    """Send a series."""
    return _send(invocation, {"SeriesInstanceUID": uid}, aet, wait=wait)


@send.command(example="pacs send instance 1.2.840.113619.2.55.3.7.1 --to VIEWER1")
@click.argument("uid")
@_queueing
def instance(invocation: Invocation, uid: str, aet: AeTitle, *, wait: bool) -> ExitCode:
    """Send one object."""
    return _send(invocation, {"SOPInstanceUID": uid}, aet, wait=wait)


@send.command(example="pacs send patient 1234567 --to VIEWER1")
@click.argument("patient_id", metavar="ID")
@click.option("--issuer", metavar="ID", help="Who issued the patient ID, where two did.")
@_queueing
def patient(invocation: Invocation, patient_id: str, issuer: str | None, aet: AeTitle, *, wait: bool) -> ExitCode:
    """Send every study of a patient."""
    issued = {"IssuerOfPatientID": issuer} if issuer else {}
    return _send(invocation, {"PatientID": patient_id} | issued, aet, wait=wait)


@send.command(example="pacs send accession A2026000123 --to VIEWER1")
@click.argument("number")
@_queueing
def accession(invocation: Invocation, number: str, aet: AeTitle, *, wait: bool) -> ExitCode:
    """Send the studies of an accession number."""
    return _send(invocation, {"AccessionNumber": number}, aet, wait=wait)


@send.command("list", reports=True, example="pacs send list --dead --json")
@click.option("--dead", is_flag=True, help="Show each object that a destination refused for good.")
@click.option("--limit", type=ROWS, default=1000, show_default=True, help="Show at most N.")
@pass_invocation
def list_(invocation: Invocation, limit: int, *, dead: bool) -> ExitCode:
    """Show what each destination got, waits for and refused."""
    from pacs_server.index.sending.backlogs import backlogs

    with invocation.node() as node:
        if dead:
            rows, headings = [_dead_row(one) for one in node.sendings.dead(limit=limit)], _DEAD_HEADINGS
        else:
            rows, headings = [_row(one) for one in backlogs(node.index)[:limit]], _BACKLOG_HEADINGS
    if not print_rows(rows, headings, as_json=invocation.as_json, said=("error", "reason")):
        talk("no destination refused anything for good" if dead else "nothing was queued for any destination")
    return ExitCode.DONE


@send.command(example="pacs send retry --to VIEWER1")
@click.option("--to", "aet", callback=aet_or_none, metavar="AET", help="Only what is for this peer.")
@pass_invocation
def retry(invocation: Invocation, aet: AeTitle | None) -> ExitCode:
    """Send at once what failed, also what was refused for good."""
    from pacs_server.service.peers.sending import retry as retry_for

    with invocation.node() as node:
        revived = retry_for(node, aet or "", datetime.now(UTC))
    talk(f"what waits is tried at once; {revived} that were refused are sent once more")
    return ExitCode.DONE


@send.command(example="pacs send drop --to VIEWER1 --yes")
@_TO
@confirmed
@pass_invocation
def drop(invocation: Invocation, aet: AeTitle, *, yes: bool) -> ExitCode:
    """Forget what waits for a destination, and what it refused. The objects stay."""
    from pacs_server.index.sending.backlogs import backlogs

    with invocation.node() as node:
        if yes:
            talk(f"forgot {node.sendings.forget(destination=aet)} objects that were to be sent to {aet}")
            return ExitCode.DONE
        left = sum(one.waiting + one.dead + one.gone for one in backlogs(node.index, aet))
    talk(f"would forget {left} objects that were to be sent to {aet}; do it with --yes")
    return ExitCode.DONE


def _send(invocation: Invocation, keys: dict[str, str], aet: AeTitle, *, wait: bool) -> ExitCode:
    from pacs_server.service.peers.sending import queue

    with invocation.node() as node:
        queued = queue(node, keys, aet, datetime.now(UTC))
        talk(f"queued {len(queued.objects)} objects for {aet}")
        return _follow(node, queued) if wait else ExitCode.DONE


def _follow(node: Node, queued: Queued) -> ExitCode:
    from pacs_server.index.sending.sendings import SendState
    from pacs_server.service.peers.sending import follow

    progress, counts = Progress(), dict.fromkeys(SendState, 0)
    try:
        for counts in follow(node, queued):
            progress.show(f"{counts[SendState.SENT]} of {len(queued.objects)} objects sent to {queued.destination}")
    finally:
        progress.clear()
    talk(f"{counts[SendState.SENT]} sent to {queued.destination}, {counts[SendState.DEAD]} refused")
    if counts[SendState.GONE]:
        talk(f"{counts[SendState.GONE]} were deleted meanwhile")
    if counts[SendState.DEAD] or counts[SendState.GONE]:
        return ExitCode.PARTLY
    return ExitCode.DONE


def _row(one: Backlog) -> dict[str, object]:
    return {
        "aet": one.destination,
        "waiting": one.waiting,
        "sent": one.sent,
        "dead": one.dead,
        "gone": one.gone,
        "waiting_since": one.waiting_since.isoformat(timespec="seconds") if one.waiting_since else None,
        "error": one.error,
    }


def _dead_row(one: Sending) -> dict[str, object]:
    return {
        "aet": one.destination,
        "study_uid": one.study_uid,
        "series_uid": one.series_uid,
        "uid": one.sop_uid,
        "route": one.route,
        "attempts": one.attempts,
        "at": one.at.isoformat(timespec="seconds"),
        "reason": one.reason,
    }
