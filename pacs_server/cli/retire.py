"""`pacs delete`, `restore`, `purge`, `trash`, `hold`, `retention`: how objects go, and what keeps them."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final

import click

from pacs_server.cli.exits import ExitCode
from pacs_server.cli.invocation import (
    DAYS,
    Command,
    Group,
    Invocation,
    confirmed,
    key_values,
    pass_invocation,
    text_value,
)
from pacs_server.cli.output import print_facts, print_rows, printable, readable_size, talk
from pacs_server.errors import PacsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from pacs_server.dicom.operations import Operation
    from pacs_server.index.queries.trash import Held

_TRASH_HEADINGS: Final = {
    "at": "DELETED",
    "patient_id": "ID",
    "study_date": "DATE",
    "objects": "OBJECTS",
    "size": "SIZE",
    "who": "BY",
    "reason": "REASON",
    "hold": "HOLD",
    "uid": "STUDY",
}
_HOLD_HEADINGS: Final = {"at": "SINCE", "who": "BY", "reason": "REASON", "uid": "STUDY"}


def _reason(**how: Any) -> Callable[[Any], Any]:
    return click.option("--reason", metavar="TEXT", callback=text_value, help="Why; it stays in the history.", **how)


@click.command(cls=Command, example="pacs delete StudyInstanceUID=1.2.840.1 --reason 'sent to the wrong patient' --yes")
@click.argument("keys", metavar="KEY=VALUE...", nargs=-1, required=True)
@_reason(required=True)
@confirmed
@pass_invocation
def delete(invocation: Invocation, keys: tuple[str, ...], reason: str, *, yes: bool) -> ExitCode:
    """Put objects into the trash.

    They are found no more; nothing of them is destroyed, and pacs restore brings them back. Keys are those of pacs
    find instances. A study on hold is refused.
    """
    from pacs_server.service.upkeep import decisions

    with invocation.node() as node:
        objects = decisions.to_delete(node, key_values(keys))
        return _decide(objects, "go to the trash", yes, lambda: decisions.delete(node, objects, reason))


@click.command(cls=Command, example="pacs restore PatientID=4711 --reason 'deleted by mistake' --yes")
@click.argument("keys", metavar="KEY=VALUE...", nargs=-1, required=True)
@_reason()
@confirmed
@pass_invocation
def restore(invocation: Invocation, keys: tuple[str, ...], reason: str, *, yes: bool) -> ExitCode:
    """Bring objects back from the trash. Keys are those of pacs find instances."""
    from pacs_server.service.upkeep import decisions

    with invocation.node() as node:
        objects = decisions.in_trash(node, key_values(keys))
        if not objects:
            talk(
                "nothing in the trash is selected: pacs trash list shows what is there; what was purged is brought "
                "back from a backup with objects by pacs import (docs/operate/deleting.md)"
            )
            return ExitCode.DONE
        return _decide(objects, "come back from the trash", yes, lambda: decisions.restore(node, objects, reason))


@click.command(cls=Command, example="pacs purge StudyInstanceUID=1.2.840.1 --yes")
@click.argument("keys", metavar="[KEY=VALUE]...", nargs=-1)
@_reason(default="its time in the trash is over")
@confirmed
@pass_invocation
def purge(invocation: Invocation, keys: tuple[str, ...], reason: str, *, yes: bool) -> ExitCode:
    """Destroy what is in the trash, for ever.

    Only what was there as long as pacs retention says, whose study is old enough and is not on hold. Off until pacs
    retention set --purge allows it. A tombstone stays, so that no volume that was away brings it back.
    """
    from pacs_server.service.upkeep import decisions

    with invocation.node() as node:
        due, kept = decisions.due(node, decisions.in_trash(node, key_values(keys)))
        for why, number in sorted(kept.items()):
            talk(f"kept: {number} objects: {why}")
        if kept and not due:
            return ExitCode.DONE
        return _decide(due, "are destroyed", yes, lambda: decisions.purge(node, due, reason))


def _decide(objects: list[Held], fate: str, yes: bool, decide: Callable[[], Iterable[Operation]]) -> ExitCode:
    """Do it, or say what would be done."""
    size = readable_size(sum(one.size_bytes for one in objects))
    told = f"{len(objects)} objects of {len({one.study_uid for one in objects})} studies ({size}) {fate}"
    if not objects:
        talk("nothing there is selected")
    elif not yes:
        talk(f"dry run: {told}; do it with --yes")
    else:
        done = 0
        try:
            for operation in decide():
                done += len(operation.objects)
        except PacsError:
            if done:
                talk(f"of {told}: {done}, before it went no further")
            raise
        if done < len(objects):
            talk(
                f"of {told}: {done}; the other {len(objects) - done} stay as they are, because they were put on hold, "
                "or decided otherwise, meanwhile: pacs hold list, pacs trash list"
            )
            return ExitCode.PARTLY
        talk(told)
    return ExitCode.DONE


@click.group(cls=Group)
def trash() -> None:
    """Show what was deleted and can be brought back."""


@trash.command("list", reports=True, example="pacs trash list --json")
@pass_invocation
def list_(invocation: Invocation) -> ExitCode:
    """List what is in the trash, by study.

    When, by whom and why it was deleted.
    """
    from pacs_server.index.queries.trash import Trash

    with invocation.node() as node:
        rows = [
            dict(row)
            | {
                "at": _to_the_second(row["at"]),
                "uid": row["study_uid"],
                "size": readable_size(int(row["size_bytes"])),
                "size_bytes": int(row["size_bytes"]),
                "hold": "yes" if row["on_hold"] else "",
                "on_hold": bool(row["on_hold"]),
            }
            for row in Trash(node.index).summary()
        ]
    if not print_rows(rows, _TRASH_HEADINGS, as_json=invocation.as_json, long=("patient_id",)):
        talk("nothing is in the trash")
    return ExitCode.DONE


def _to_the_second(moment: str) -> str:
    return datetime.fromisoformat(moment).isoformat(timespec="seconds")


@click.group(cls=Group)
def hold() -> None:
    """Keep studies from being deleted."""


@hold.command(example="pacs hold add PatientID=4711 --reason 'court case 12/2026'")
@click.argument("keys", metavar="KEY=VALUE...", nargs=-1, required=True)
@_reason(required=True)
@pass_invocation
def add(invocation: Invocation, keys: tuple[str, ...], reason: str) -> ExitCode:
    """Put studies on hold.

    They can be neither deleted nor purged, and what of them is in the trash comes back.
    """
    from pacs_server.service.upkeep import decisions

    with invocation.node() as node:
        done = {operation.study_uid for operation in decisions.hold(node, key_values(keys), reason)}
    talk(f"{len(done)} studies are on hold")
    return ExitCode.DONE


@hold.command(example="pacs hold remove PatientID=4711 --reason 'case closed' --yes")
@click.argument("keys", metavar="KEY=VALUE...", nargs=-1, required=True)
@_reason()
@confirmed
@pass_invocation
def remove(invocation: Invocation, keys: tuple[str, ...], reason: str, *, yes: bool) -> ExitCode:
    """End the hold of studies."""
    from pacs_server.service.upkeep import decisions

    with invocation.node() as node:
        ended = decisions.on_hold(node, key_values(keys))
        told = f"{len(ended)} studies may be deleted again"
        if yes:
            for _ in decisions.release(node, ended, reason):
                pass
            talk(told)
        else:
            for one in ended:
                talk(f"would end the hold of study {one.study_uid}: {printable(one.reason)}")
            talk(f"dry run: {told}; do it with --yes")
    return ExitCode.DONE


@hold.command("list", reports=True, example="pacs hold list --json")
@pass_invocation
def list_holds(invocation: Invocation) -> ExitCode:
    """List the studies on hold.

    Since when, by whom and why.
    """
    from pacs_server.index.fates import holds_of

    with invocation.node() as node:
        rows = [
            {"uid": one.study_uid, "at": _to_the_second(one.at), "who": one.who, "reason": one.reason}
            for one in holds_of(node.index)
        ]
    if not print_rows(rows, _HOLD_HEADINGS, as_json=invocation.as_json):
        talk("no study is on hold")
    return ExitCode.DONE


@click.group(cls=Group)
def retention() -> None:
    """Decide how long things stay in the trash, and are kept."""


@retention.command(reports=True, example="pacs retention show")
@pass_invocation
def show(invocation: Invocation) -> ExitCode:
    """Show what the site decided."""
    from pacs_server.index.site.retention import retention_of

    with invocation.node() as node:
        decided = retention_of(node.index)
    facts = {"purge": decided.purging.value, "grace_days": decided.grace_days, "keep_days": decided.keep_days}
    print_facts(facts, as_json=invocation.as_json)
    return ExitCode.DONE


@retention.command("set", example="pacs retention set --purge nightly --grace-days 90 --keep-days 3650")
@click.option(
    "--purge",
    "purging",
    type=click.Choice(("never", "by-hand", "nightly")),
    help="Whether the trash is emptied: never, by pacs purge, or by the running server as well.",
)
@click.option("--grace-days", type=DAYS, metavar="N", help="How long what was deleted stays in the trash.")
@click.option("--keep-days", type=DAYS, metavar="N", help="How old a study has to be before it is destroyed.")
@pass_invocation
def set_(invocation: Invocation, purging: str | None, grace_days: int | None, keep_days: int | None) -> ExitCode:
    """Decide; what is not given stays. A running server follows at once."""
    from pacs_server.index.site.retention import Purging, change_retention

    given: dict[str, Any] = {"grace_days": grace_days, "keep_days": keep_days}
    given = {name: days for name, days in given.items() if days is not None}
    if purging is not None:
        given["purging"] = Purging(purging)
    if not given:
        raise click.UsageError("give at least one of --purge, --grace-days and --keep-days")
    with invocation.node() as node:
        decided = change_retention(node.index, **given)
    talk(f"purge {decided.purging}, {decided.grace_days} days in the trash, {decided.keep_days} days to keep")
    return ExitCode.DONE
