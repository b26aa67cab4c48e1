"""`pacs storage drain` and `pacs storage remove`: a volume that is emptied, and forgotten."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from pacs_server.cli.exits import ExitCode
from pacs_server.cli.invocation import Command, Invocation, confirmed, pass_invocation
from pacs_server.cli.output import talk
from pacs_server.cli.storage import known_volume, only_on
from pacs_server.errors import Refused

if TYPE_CHECKING:
    from pacs_server.index.site.registry import VolumeRow
    from pacs_server.service.assemble import Node


@click.command(cls=Command, example="pacs storage drain nas1 --yes")
@click.argument("name")
@confirmed
@pass_invocation
def drain(invocation: Invocation, name: str, *, yes: bool) -> ExitCode:
    """Have a volume emptied.

    Nothing new goes to it, and what is on it gets copies elsewhere, which the running server makes. pacs storage show
    tells how many objects are still only there. Its files stay.
    """
    from pacs_server.index.jobs import JobKind
    from pacs_server.index.site.registry import VolumeMode

    with invocation.node() as node:
        row = known_volume(node, name)
        copies, only = node.copies.count_on(row.id), only_on(node, row)
        _warn_of_too_few(node, row)
        if not yes:
            talk(f"would have the {copies} copies on {name} made elsewhere, {only} of them the only ones: --yes")
            return ExitCode.DONE
        node.registry.change_volume(row.id, {"mode": VolumeMode.DRAINING})
        node.jobs.owe(JobKind.SURVEY, datetime.now(UTC))
    talk(f"{name} is being emptied: {copies} copies, {only} of them the only ones")
    return ExitCode.DONE


def _warn_of_too_few(node: Node, row: VolumeRow) -> None:
    """Say so where nothing that arrives has a place to go to as soon as a volume takes nothing new any more."""
    from pacs_server.storage.condition import Status
    from pacs_server.storage.volume import check_all

    check_all(others := [one for one in node.volumes() if one.spec.id != row.id])
    left = len({one.spec.domain for one in others if one.state.status is Status.ONLINE})
    needed = node.placement().degraded
    if left < needed:
        talk(
            f"while {row.name} is emptied, whatever is sent here is refused (0xA700): {left} other fault domains take "
            f"new objects, and {needed} are needed; first: pacs storage add"
        )


@click.command(cls=Command, example="pacs storage remove nas1 --yes")
@click.argument("name")
@click.option("--lost", is_flag=True, help="It is lost for good: forget it with the only copies of objects, too.")
@confirmed
@pass_invocation
def remove(invocation: Invocation, name: str, *, lost: bool, yes: bool) -> ExitCode:
    """Forget a volume. Its files stay as they are.

    Refused while an object has no good copy on another volume that can be read now, and while a server runs that may
    still write to it: drain it first.

    With --lost, what was only there stays in the index without a copy, until it is sent again.
    """
    with invocation.node() as node:
        row = known_volume(node, name)
        _refuse_while_written_to(node, row)
        with node.index.trail.preparing("begun"):
            if not _prepared(node, row, lost=lost, yes=yes):
                return ExitCode.DONE
        node.registry.remove_volume(row.id)
    talk(f"forgot {name}; nothing was removed from {row.path}")
    return ExitCode.DONE


def _refuse_while_written_to(node: Node, row: VolumeRow) -> None:
    from pacs_server.cluster.roster import lives
    from pacs_server.index.site.registry import VolumeMode
    from pacs_server.service.telling import serving

    is_served = serving(node.settings.data_dir) is not None or any(
        lives(one, datetime.now(UTC)) for one in node.nodes.all()
    )
    if is_served and row.mode is not VolumeMode.DRAINING:
        raise Refused(
            f"a server may be writing to {row.name} at this moment: first pacs storage drain {row.name} --yes"
        )


def _prepared(node: Node, row: VolumeRow, *, lost: bool, yes: bool) -> bool:
    """Do all but the last step of forgetting a volume, which is still listed after a kill and can be removed again; or
    say what would be done, and answer no.

    Raises: Refused.
    """
    from pacs_server.index.jobs import JobKind
    from pacs_server.service.upkeep.reconciling import note_losses

    if yes:
        for volume in node.volumes():
            if volume.spec.id != row.id and volume.check().is_readable:
                note_losses(node, volume)
    # It is looked at once: after it was forgotten it is no volume of the node any more.
    leaving = node.placement().volume(row.id)
    can_be_read = leaving is not None and leaving.check().is_readable
    only = _only_copies(node, row, can_be_read=can_be_read, lost=lost)
    if len(node.registry.volumes()) == 1:
        raise Refused(f"{row.name} is the only volume: add another one first")
    if only:
        talk(
            f"{only} objects have no good copy without {row.name}: they stay in the index without one until they come "
            "again"
        )
    if not yes:
        copies = node.copies.count_on(row.id)
        talk(f"would forget {row.name} with its {copies} copies; its files stay; do it with --yes")
        return False
    node.jobs.owe(JobKind.SURVEY, datetime.now(UTC))
    _forget_copies(node, row, can_be_read=can_be_read, lost=lost)
    return True


def _forget_copies(node: Node, row: VolumeRow, *, can_be_read: bool, lost: bool) -> None:
    """Forget the copies of a volume, to which nothing goes from now on.

    Raises: Refused when something else was still on its way there.
    """
    mode = node.registry.close_volume(row.id)
    try:
        _only_copies(node, row, can_be_read=can_be_read, lost=lost)
    except Refused:
        node.registry.reopen_volume(row.id, mode)
        raise
    node.copies.forget_volume(row.id)


def _only_copies(node: Node, row: VolumeRow, *, can_be_read: bool, lost: bool) -> int:
    """How many objects lose their only good copy with a volume. Raises: Refused unless there is none, or it is lost."""
    from pacs_server.index.site.registry import VolumeMode

    if lost and can_be_read:
        raise Refused(f"{row.name} is not lost, it can be read: pacs storage drain {row.name} --yes")
    if (only := only_on(node, row)) and not lost:
        alone = f"{only} objects have no good copy but on {row.name}"
        if can_be_read and row.mode is VolumeMode.DRAINING:
            raise Refused(
                f"{alone}, which the running server empties: wait; pacs storage show {row.name} tells how many are "
                "left, pacs jobs list what is in the way"
            )
        if can_be_read:
            raise Refused(f"{alone}: first pacs storage drain {row.name} --yes")
        raise Refused(
            f"{alone}, which cannot be read: bring it back (pacs storage set {row.name} --path PATH), or give them up "
            "with --lost"
        )
    return only
