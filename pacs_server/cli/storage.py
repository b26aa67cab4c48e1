"""`pacs storage`: the volumes on which objects are kept."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from pacs_server.cli.exits import ExitCode
from pacs_server.cli.invocation import Group, Invocation, pass_invocation
from pacs_server.cli.output import print_rows, readable_size, talk
from pacs_server.errors import Refused

if TYPE_CHECKING:
    from pacs_server.index.registry import VolumeRow
    from pacs_server.service.assemble import Node
    from pacs_server.storage.volume import Volume

TIERS: Final = ("hot", "warm", "cold")

_HEADINGS: Final = {
    "name": "VOLUME",
    "state": "STATE",
    "free": "FREE",
    "tier": "TIER",
    "domain": "DOMAIN",
    "path": "PATH",
    "reason": "WHY",
}


@click.group(cls=Group)
def storage() -> None:
    """Add and list the volumes on which objects are kept."""


@storage.command(example="pacs storage add nas1 /mnt/nas1/pacs --domain nas1")
@click.argument("name")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--tier", type=click.Choice(TIERS), default="hot", show_default=True, help="How fast it is.")
@click.option(
    "--domain",
    metavar="LABEL",
    help="What fails together: volumes of one machine or disk share a label. On one device with a known volume: that "
    "volume's label, else NAME.",
)
@pass_invocation
def add(invocation: Invocation, name: str, path: Path, tier: str, domain: str | None) -> ExitCode:
    """Adopt an existing directory as a volume.

    A running server uses it within a second.
    """
    from pacs_server.index.registry import VolumeRow
    from pacs_server.storage.sentinel import adopt

    with invocation.node() as node:
        known = node.registry.volumes()
        if any(row.name == name for row in known):
            raise Refused(f"a volume {name} exists already; pacs storage list shows them")
        label = domain or _domain_of_device(path, known) or name
        place = path.absolute()
        volume_id = adopt(place, name=name, others=[Path(row.path) for row in known])
        node.registry.add_volume(VolumeRow(id=volume_id, name=name, path=str(place), tier=tier, domain=label))
    talk(f"added volume {name} at {place}, tier {tier}, fault domain {label}")
    return ExitCode.DONE


@storage.command("list", reports=True, example="pacs storage list --json")
@pass_invocation
def list_(invocation: Invocation) -> ExitCode:
    """List the volumes with their present state and free space."""
    with invocation.node() as node:
        print_volumes(volumes_of(node), as_json=invocation.as_json)
    return ExitCode.DONE


def volumes_of(node: Node) -> list[dict[str, object]]:
    """The volumes of the site as they are listed, each looked at now."""
    return [_facts_of(volume) for volume in node.volumes()]


def print_volumes(volumes: Sequence[dict[str, object]], *, as_json: bool) -> None:
    """Print such a list."""
    if as_json:
        print_rows(volumes, _HEADINGS, as_json=True)
    elif volumes:
        print_rows((volume | {"free": _size(volume["free_bytes"])} for volume in volumes), _HEADINGS, as_json=False)
    else:
        talk("no volume: nothing can be stored; add one with pacs storage add")


def _facts_of(volume: Volume) -> dict[str, object]:
    state = volume.check()
    readable = state.status.readable
    return {
        "name": volume.spec.name,
        "state": state.status.value,
        "reason": state.reason,
        "since": state.since.isoformat(timespec="seconds"),
        "free_bytes": state.free_bytes if readable else None,
        "total_bytes": state.total_bytes if readable else None,
        "tier": volume.spec.tier,
        "domain": volume.spec.domain,
        "path": str(volume.spec.path),
        "id": volume.spec.id,
    }


def _size(value: object) -> str:
    return readable_size(value) if isinstance(value, int) else ""


def _domain_of_device(path: Path, known: Sequence[VolumeRow]) -> str | None:
    """The fault domain of a known volume on the same device: two directories of one disk fail together."""
    try:
        device = path.stat().st_dev
    except OSError:
        return None
    for row in known:
        try:
            if Path(row.path).stat().st_dev == device:
                return row.domain
        except OSError:
            continue
    return None
