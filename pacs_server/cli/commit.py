"""`pacs commit`: ask another archive for Storage Commitment, and show what was asked both ways."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from pacs_server.cli.exits import ExitCode
from pacs_server.cli.invocation import ROWS, Group, Invocation, Number, aet_value, pass_invocation
from pacs_server.cli.output import in_their_language, print_rows, talk

if TYPE_CHECKING:
    from pacs_server.dicom.identity import AeTitle
    from pacs_server.index.sending.commitments import Commitment

_HEADINGS: Final = {
    "asked_at": "ASKED",
    "direction": "DIR",
    "aet": "PEER",
    "state": "STATE",
    "objects": "OBJECTS",
    "failed": "FAILED",
    "settled_at": "SETTLED",
    "uid": "TRANSACTION",
}
_FAILED_HEADINGS: Final = {"aet": "PEER", "uid": "OBJECT", "reason": "REASON", "sop_class": "SOP CLASS"}


@click.group(cls=Group)
def commit() -> None:
    """Storage Commitment: who vouches for which objects."""


@commit.command(reports=True, example="pacs commit study 1.2.840.113619.2.1 --with ARCHIVE2")
@click.argument("uid")
@click.option("--with", "aet", metavar="AET", required=True, callback=aet_value, help="The peer that is asked.")
@click.option(
    "--wait",
    "wait_s",
    type=Number(min=0),
    metavar="SECONDS",
    default=30.0,
    show_default=True,
    help="Wait so long for its report; a later one is taken in by the running server.",
)
@pass_invocation
def study(invocation: Invocation, uid: str, aet: AeTitle, wait_s: float) -> ExitCode:
    """Ask a peer whether it keeps every object of a study safely.

    Ends with 3 unless it says so of every one.
    """
    from pacs_server.index.sending.commitments import State
    from pacs_server.service.peers.commitment import ask_commitment

    with invocation.node() as node:
        asked = ask_commitment(node, uid, aet, wait_s=wait_s)
    print_rows([_row(asked)], _HEADINGS, as_json=invocation.as_json, said=("state",))
    if asked.state is not State.ANSWERED:
        talk(f"{aet} has not reported yet; pacs commit show {asked.transaction_uid} tells when it has")
        return ExitCode.PARTLY
    if asked.failed:
        talk(f"{aet} does not vouch for {asked.failed} objects: pacs commit show {asked.transaction_uid}")
        return ExitCode.PARTLY
    return ExitCode.DONE


@commit.command("list", reports=True, example="pacs commit list --json")
@click.option("--limit", type=ROWS, default=1000, show_default=True, help="Show at most N.")
@pass_invocation
def list_(invocation: Invocation, limit: int) -> ExitCode:
    """List the transactions, the latest first.

    In: a peer asked us. Out: we asked it.
    """
    with invocation.node() as node:
        found = node.commitments.listed(limit=limit)
    if not print_rows(map(_row, found), _HEADINGS, as_json=invocation.as_json, said=("state",)):
        talk("nobody has asked for storage commitment, and we asked nobody")
    return ExitCode.DONE


@commit.command(reports=True, example="pacs commit show 2.25.329800735698586629295641978511506172918")
@click.argument("transaction")
@pass_invocation
def show(invocation: Invocation, transaction: str) -> ExitCode:
    """Show the objects of a transaction that nobody vouches for, and why."""
    with invocation.node() as node:
        found = [(one, node.commitments.failures(one)) for one in node.commitments.named(transaction)]
    rows = [
        {"aet": one.aet, "uid": reference.sop_uid, "sop_class": reference.sop_class, "reason": _words(one, reason)}
        for one, failures in found
        for reference, reason in failures
    ]
    print_rows(rows, _FAILED_HEADINGS, as_json=invocation.as_json, said=("reason",))
    for one, _ in found:
        state = in_their_language(one.state)
        talk(f"{one.aet}, {one.direction}, {state}: {one.failed} of {one.objects} objects failed")
    return ExitCode.DONE


def _words(one: Commitment, reason: int | None) -> str:
    from pacs_server.dicom.commitment import reason_in_words
    from pacs_server.index.sending.commitments import State

    if reason is not None:
        return reason_in_words(reason)
    return "it was not named in the report" if one.state is State.ANSWERED else "not known yet"


def _row(one: Commitment) -> dict[str, object]:
    return {
        "uid": one.transaction_uid,
        "direction": one.direction.value,
        "aet": one.aet,
        "state": one.state.value,
        "objects": one.objects,
        "failed": one.failed,
        "asked_at": one.asked_at.isoformat(timespec="seconds"),
        "settled_at": one.settled_at.isoformat(timespec="seconds") if one.settled_at else None,
    }
