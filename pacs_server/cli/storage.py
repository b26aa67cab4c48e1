"""`pacs storage`: the volumes on which objects are kept: added, listed, changed, examined."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import click

from pacs_server.cli.exits import ExitCode
from pacs_server.cli.invocation import Group, Invocation, name_value, pass_invocation
from pacs_server.cli.output import print_facts, print_rows, readable_room, talk
from pacs_server.errors import Refused, UnknownName, VolumeUnavailable

if TYPE_CHECKING:
    from pacs_server.index.site.registry import VolumeRow
    from pacs_server.service.assemble import Node
    from pacs_server.storage.condition import VolumeState

TIERS: Final = ("hot", "warm", "cold")
_PERCENT: Final = click.IntRange(1, 100)

_ENDPOINT: Final = "For s3://BUCKET/PREFIX: the URL of the S3 server. Without it, that of Amazon."
_REGION: Final = "For s3://BUCKET/PREFIX: the region of the bucket, where the server has several."
_CREDENTIALS: Final = (
    "For s3://BUCKET/PREFIX: a file with aws_access_key_id and aws_secret_access_key in a section [default], which the "
    "server can read and others cannot. Without it, the keys of the environment."
)

_HEADINGS: Final = {
    "name": "VOLUME",
    "state": "STATE",
    "since": "SINCE",
    "free": "FREE",
    "tier": "TIER",
    "domain": "DOMAIN",
    "path": "PATH",
    "reason": "WHY",
}
_PROBLEM_HEADINGS: Final = {"volume": "VOLUME", "problem": "PROBLEM", "remedy": "REMEDY"}


@click.group(cls=Group)
def storage() -> None:
    """Add, show, change, empty and remove volumes."""


@storage.command(example="pacs storage add nas1 /mnt/nas1 --domain nas1")
@click.argument("name")
@click.argument("path")
@click.option("--endpoint", metavar="URL", default="", help=_ENDPOINT)
@click.option("--region", metavar="NAME", default="", help=_REGION)
@click.option("--credentials-file", metavar="FILE", default="", help=_CREDENTIALS)
@click.option("--tier", type=click.Choice(TIERS), default="hot", show_default=True, help="How fast it is.")
@click.option(
    "--domain",
    callback=name_value,
    metavar="LABEL",
    help="What fails together: volumes of one machine or disk share a label. On one device with a known volume: that "
    "volume's label, else NAME.",
)
@pass_invocation
def add(invocation: Invocation, /, name: str, path: str, *, tier: str, domain: str | None, **where: str) -> ExitCode:
    """Adopt an existing directory or bucket as a volume.

    PATH is a directory, or s3://BUCKET/PREFIX. A running server uses it within a second.
    """
    from pacs_server.index.jobs import JobKind
    from pacs_server.index.site.registry import VolumeMode, VolumeRow
    from pacs_server.service.volume_rows import location_of_volume, moved_to, on_this_node
    from pacs_server.storage.location import location_of
    from pacs_server.storage.mounts import fail_together, mount_table
    from pacs_server.storage.sentinel import adopt, place_at

    location = location_of(path, **where)
    with invocation.node() as node:
        known = node.registry.volumes()
        if any(row.name == name for row in known):
            raise Refused(f"a volume {name} exists already; pacs storage list shows them")
        places = [location_of_volume(on_this_node(row, node.settings)) for row in known]
        table = mount_table()
        beside = (row.domain for row, place in zip(known, places, strict=True) if fail_together(location, place, table))
        label = domain or next(beside, name)
        ids = {row.id for row in known}  # the server that has one of these open is that of this archive
        data_dir = node.settings.data_dir
        volume_id = adopt(location, name=name, others=places, may_be_in_use=ids.__contains__, data_dir=data_dir)
        had_objects = place_at(location).has_objects
        row = VolumeRow(id=volume_id, name=name, path=str(location), tier=tier, domain=label)
        node.registry.add_volume(moved_to(row, location))
        talk(f"added volume {name} at {location}, tier {tier}, fault domain {label}")
        if had_objects:
            talk("it was a volume before: pacs reconcile --repair takes in what lies there and the index does not know")
            talk("an archive that had it must not start with it again: each would take the other's files for litter")
        # Behind what a person has to know, also when the index goes away now.
        node.jobs.owe(JobKind.SURVEY, datetime.now(UTC))
        want = node.policies().greatest_want
    domains = {row.domain for row in known if row.mode is not VolumeMode.DRAINING} | {label}
    if want == 1 and len(domains) > 1:
        found = len(domains)
        talk(f"{found} fault domains now: pacs policy set --want 2 --need 2 --degraded 1 keeps every object in two")
    return ExitCode.DONE


@storage.command("list", reports=True, example="pacs storage list --json")
@pass_invocation
def list_(invocation: Invocation) -> ExitCode:
    """List the volumes with their present state and free space."""
    from pacs_server.service.present import volumes_of

    with invocation.node() as node:
        print_volumes(volumes_of(node), as_json=invocation.as_json)
    return ExitCode.DONE


@storage.command(reports=True, example="pacs storage show nas1")
@click.argument("name")
@pass_invocation
def show(invocation: Invocation, name: str) -> ExitCode:
    """Show one volume, how much is on it, and what is only there."""
    from pacs_server.service.present import volume_facts
    from pacs_server.service.sighted import states_of
    from pacs_server.storage.location import tells_room

    with invocation.node() as node:
        row = known_volume(node, name)
        (volume,) = [volume for volume in node.volumes() if volume.spec.id == row.id]
        has_marks = tells_room(volume.spec.path)
        facts = volume_facts(volume, states_of(node).get(row.id, volume.state)) | {
            "endpoint": row.endpoint,
            "region": row.region,
            "credentials_file": row.credentials_file,
            "mode": row.mode.value,
            "high_water": row.high_water if has_marks else None,
            "low_water": volume.spec.low_water if has_marks else None,
            "damaged_count": row.damaged_count,
            "copies": node.copies.count_on(row.id),
            "only_copies": only_on(node, row),
        }
    print_facts(facts, as_json=invocation.as_json, said=("state", "reason", "mode"))
    return ExitCode.DONE


@storage.command("set", example="pacs storage set nas1 --tier warm --high-water 90")
@click.argument("name")
@click.option("--rename", callback=name_value, metavar="NAME", help="Another name.")
@click.option("--path", help="Where it is mounted now; its sentinel has to be there.")
@click.option("--endpoint", metavar="URL", help=_ENDPOINT)
@click.option("--region", metavar="NAME", help=_REGION)
@click.option("--credentials-file", metavar="FILE", help=_CREDENTIALS)
@click.option("--tier", type=click.Choice(TIERS), help="How fast it is.")
@click.option("--domain", callback=name_value, metavar="LABEL", help="What fails together with it.")
@click.option("--high-water", type=_PERCENT, metavar="PERCENT", help="It is full when more than this is used.")
@click.option(
    "--low-water", type=_PERCENT, metavar="PERCENT", help="Tier rules that make room on it stop when this is used."
)
@click.option("--read-only/--writable", default=None, help="Whether it takes new objects; --writable ends a drain too.")
@click.option("--trust", is_flag=True, help="Forget the damaged copies that were counted against it.")
@pass_invocation
def set_(invocation: Invocation, /, name: str, *, trust: bool, **given: object) -> ExitCode:
    """Change what is known of a volume; what is not given stays.

    A running server follows within a second.
    """
    from pacs_server.index.jobs import JobKind
    from pacs_server.service.volume_rows import location_of_volume
    from pacs_server.storage.location import tells_room

    with invocation.node() as node:
        row = known_volume(node, name)
        changed = _changed(row, given, trust=trust)
        if changed == row:
            if not trust and all(value is None for value in given.values()):
                raise click.UsageError("nothing to change was given")
            talk(f"{name} is so already; nothing was changed")
            return ExitCode.DONE
        if changed.high_water < changed.low_water < 100:  # 100 is: as the high-water mark
            raise Refused(
                f"a low-water mark of {changed.low_water} % above the high-water mark of {changed.high_water} % would "
                "never be reached: give a lower one with --low-water"
            )
        marks = changed.high_water, changed.low_water
        if marks != (row.high_water, row.low_water) and not tells_room(location_of_volume(changed)):
            raise Refused(f"{row.name} tells no room, so marks of how much is used mean nothing there")
        if location_of_volume(changed) != location_of_volume(row):
            if row.name in node.settings.volume_paths:
                raise Refused(
                    f"the settings of this node say where {row.name} is (volume_paths); the path of the other nodes is "
                    "changed on one of them, where its sentinel can be read"
                )
            _check_sentinel(changed)
        changes = {fact: value for fact, value in asdict(changed).items() if value != getattr(row, fact)}
        node.registry.change_volume(row.id, changes)
        node.jobs.owe(JobKind.SURVEY, datetime.now(UTC))
    talk(f"changed volume {changed.name}")
    return ExitCode.DONE


@storage.command(reports=True, example="pacs storage doctor")
@pass_invocation
def doctor(invocation: Invocation) -> ExitCode:
    """Examine how the volumes are mounted, and what S3 servers do.

    Says what is dangerous, and what to write in fstab or use instead. Ends with 12 when there is something to change.
    """
    from pacs_server.service.sighted import states_of

    with invocation.node() as node:
        rows = mount_problems(node, states_of(node))
    print_rows(rows, _PROBLEM_HEADINGS, as_json=invocation.as_json, said=("problem", "remedy"))
    if not rows:
        talk("nothing to change")
    return ExitCode.DAMAGE if rows else ExitCode.DONE


def mount_problems(node: Node, states: Mapping[str, VolumeState]) -> list[dict[str, object]]:
    """What is wrong with the volumes, which are in these states, as they are mounted, and what to write instead."""
    from pacs_server.storage.medium import Advice

    rows: list[dict[str, object]] = []
    for volume in node.volumes():
        told, name = states.get(volume.spec.id, volume.state), volume.spec.name
        look = f"see pacs storage show {name}"
        if told.reason:
            is_elsewhere = told.reason.endswith(os.strerror(errno.ENOENT))
            remedy = f"mount it; where it is at another path now: pacs storage set {name} --path PATH"
            rows.append({"volume": name, "problem": told.reason, "remedy": remedy if is_elsewhere else look})
        try:
            found = volume.advice() if told.is_readable and volume.state.is_readable else []
        except VolumeUnavailable as error:
            found = [Advice(problem=str(error), remedy=look)]
        rows += ({"volume": name, "problem": one.problem, "remedy": one.remedy} for one in found)
    return rows


def known_volume(node: Node, name: str) -> VolumeRow:
    """The volume of that name. Raises: UnknownName."""
    row = next((row for row in node.registry.volumes() if row.name == name), None)
    if row is None:
        raise UnknownName(f"no volume has the name {name}; pacs storage list shows those there are")
    return row


def only_on(node: Node, row: VolumeRow) -> int:
    """How many objects have no copy elsewhere that can be read now and is to stay."""
    others = [volume for volume in node.volumes() if volume.spec.id != row.id and not volume.spec.is_draining]
    return node.spread.only_on(row.id, others=[one.spec.id for one in others if one.check().is_readable])


def _changed(row: VolumeRow, given: Mapping[str, object], *, trust: bool) -> VolumeRow:
    from pacs_server.index.site.registry import VolumeMode
    from pacs_server.service.volume_rows import location_of_volume, moved_to

    facts = {key: value for key, value in given.items() if value is not None}
    if "rename" in facts:
        facts["name"] = facts.pop("rename")
    if "read_only" in facts:
        facts["mode"] = VolumeMode.READ_ONLY if facts.pop("read_only") else VolumeMode.NORMAL
    if trust:
        facts["damaged_count"] = 0
    changed = replace(row, **facts)  # type: ignore[arg-type]
    return moved_to(changed, location_of_volume(changed))


def _check_sentinel(row: VolumeRow) -> None:
    """Refuse a path at which another volume, or none, is mounted."""
    from pacs_server.service.volume_rows import location_of_volume
    from pacs_server.storage.sentinel import sentinel_at

    try:
        found = sentinel_at(location_of_volume(row))
    except VolumeUnavailable as error:
        raise Refused(f"{row.path} is not volume {row.name}: {error}") from error
    if found != row.id:
        raise Refused(f"another volume is at {row.path} (id {found[:64]}); nothing was changed")


def print_volumes(volumes: Sequence[dict[str, object]], *, as_json: bool) -> None:
    """Print such a list."""
    if as_json:
        print_rows(volumes, _HEADINGS, as_json=True)
    elif volumes:
        rows = (volume | {"free": _free(volume)} for volume in volumes)
        print_rows(rows, _HEADINGS, as_json=False, said=("state", "free", "reason"))
    else:
        talk("no volume: nothing can be stored; add one with pacs storage add")


def _free(volume: dict[str, object]) -> str:
    free = volume["free_bytes"] if isinstance(volume["free_bytes"], int) else None
    is_unknown = free is None and volume["state"] in ("offline", "suspect")
    return "" if is_unknown else readable_room(free)
