"""Which losses the running site survives: its model, and the numbers that `pacs status` tells without counting."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final

from pacs_server.cluster.survive import Aspect, Database, Placement, Server, Site, Volume, copied_on, survived
from pacs_server.errors import Refused
from pacs_server.index.maintenance.checking import hindrances
from pacs_server.index.site.nodes import SiteNode
from pacs_server.service.assemble import Node
from pacs_server.storage.condition import Status
from pacs_server.storage.mounts import footing_of, mount_of, mount_table

Spread = Mapping[frozenset[str], int]

# 4 s of one core at a million objects with two copies each, 25 s at five million (docs/operate/surviving.md).
_COUNT_EVERY: Final = timedelta(hours=1)
_LOOK_EVERY: Final = timedelta(minutes=1)
_MOST: Final = 5
_ARCHIVE: Final = "archive server "


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """The site as it is now. `gone`: objects without a good copy that can be read now; unless there are no others, the
    model leaves them out, and tells what the others survive. `away`: the volumes that cannot be read, which it leaves
    out too, and `idle` the database servers that could not take over. `is_empty`: nothing is held, and the objects of
    the model are those to come.
    """

    site: Site
    gone: int
    away: tuple[str, ...]
    idle: tuple[str, ...]
    is_empty: bool


def count_copies(node: Node) -> Spread:
    """How many objects have good copies on which volumes, by their ids, or are kept by which archive servers, by what
    these are called in the model. Raises: IndexUnavailable.
    """
    archives = {one.aet: f"{_ARCHIVE}{one.aet}" for one in node.deposits.kept()}
    counted = node.spread.by_places([volume.spec.id for volume in node.volumes()], list(archives))
    return {frozenset(archives.get(one, one) for one in places): objects for places, objects in counted.items()}


def standing(node: Node, spread: Spread, *, server: str, table: str, others: Iterable[SiteNode] = ()) -> Standing:
    """The model of this site: this server, under the name `server`, those of the `others`, their databases, the volumes
    that one of them reads, and the archive servers that keep objects, each as a volume elsewhere.

    Raises: IndexUnavailable.
    """
    volumes = _volumes(node, server, table, others := tuple(others)) | _archives(spread)
    domain_of = {
        footing.device: one.spec.domain
        for one in node.volumes()
        if one.spec.id in volumes and (footing := footing_of(one.spec.path, table)) is not None
    }
    machines = {server, *(one.machine for one in others)}
    databases = _databases(node, server, domain_of, table, machines)
    counted: dict[frozenset[str], int] = {}
    for ids, objects in spread.items():
        places = frozenset(volumes[one].name for one in ids if one in volumes)
        counted[places] = counted.get(places, 0) + objects
    gone = counted.pop(frozenset(), 0)
    site = Site(
        servers=_servers(node, server, volumes, databases, others),
        databases=databases,
        volumes=tuple(volumes.values()),
        policy=node.policies().usual,
        placements=tuple(
            Placement(volumes=places, objects=objects)
            for places, objects in sorted(counted.items(), key=lambda one: sorted(one[0]))
        ),
    )
    if is_empty := not spread:
        site = replace(site, placements=copied_on(site, site.policy.need))
    elif not counted:
        site = replace(site, placements=(Placement(volumes=frozenset(), objects=gone),))
    away = tuple(volume.spec.name for volume in node.volumes() if volume.spec.id not in volumes)
    modelled = {one.name for one in databases}
    idle = tuple(host for host in node.index.hosts if host not in modelled)
    return Standing(site=site, gone=gone, away=away, idle=idle, is_empty=is_empty)


def _volumes(node: Node, server: str, table: str, others: Iterable[SiteNode]) -> dict[str, Volume]:
    """The volumes that can be read, by id. One that only another node reads takes new objects as far as is known here:
    unless an admin has said that it does not.
    """
    found: dict[str, Volume] = {}
    for volume in node.volumes():
        state, spec = volume.check(), volume.spec
        elsewhere = [one for one in others if spec.id in one.reach]
        if not state.is_readable and not elsewhere:
            continue
        holders = [one.machine for one in elsewhere if spec.id in one.within]
        if state.is_readable and not ((footing := footing_of(spec.path, table)) is not None and footing.is_elsewhere):
            holders.insert(0, server)
        found[spec.id] = Volume(
            name=spec.name,
            domain=spec.domain,
            server=next(iter(holders), ""),
            takes_new=state.status is Status.ONLINE
            if state.is_readable
            else not (spec.is_draining or spec.is_closed or spec.is_distrusted),
        )
    return found


def _archives(spread: Spread) -> dict[str, Volume]:
    """The archive servers that keep objects: on no server of this site, each in a fault domain of its own."""
    names = sorted({one for places in spread for one in places if one.startswith(_ARCHIVE)})
    return {name: Volume(name=name, domain=name, takes_new=False) for name in names}


def _servers(
    node: Node, server: str, volumes: Mapping[str, Volume], databases: Iterable[Database], others: Iterable[SiteNode]
) -> tuple[Server, ...]:
    """The machines that serve; nodes of one machine are lost together."""
    reach = {server: {volume.spec.id for volume in node.volumes() if volume.state.is_readable}}
    for one in others:
        reach.setdefault(one.machine, set()).update(one.reach)
    names = frozenset(one.name for one in databases)
    return tuple(
        Server(
            name=machine,
            databases=names,
            volumes=frozenset(one.name for key, one in volumes.items() if key in ids or key.startswith(_ARCHIVE)),
        )
        for machine, ids in reach.items()
    )


def _databases(
    node: Node, server: str, domain_of: Mapping[str, str], table: str, machines: Collection[str]
) -> tuple[Database, ...]:
    """A SQLite file is in this server, and on the disk that it may share with a volume; of PostgreSQL each machine that
    is used, or could take over.
    """
    if (path := node.index.database_path) is None:
        told = hindrances(node.index)
        hosts = [host for host in node.index.hosts if told.get(host, "") == ""]
        return tuple(Database(name=host, server=_machine_of(host, server, machines)) for host in hosts)
    mount = mount_of(path, table)
    return (Database(name=path.name, server=server, domain=domain_of.get(mount.device, "") if mount else ""),)


def _machine_of(host: str, server: str, machines: Collection[str]) -> str:
    """The one of the servers that a host of a PostgreSQL URL is; empty for another machine."""
    if is_here(host):
        return server
    return name if (name := host.partition(":")[0]) in machines else ""


def is_here(host: str) -> bool:
    """Whether a host of a PostgreSQL URL, with or without a port, is this machine."""
    for name in (host, host.rpartition(":")[0]):
        with suppress(ValueError):
            return ipaddress.ip_address(name.strip("[]")).is_loopback
    return host.startswith("/") or host.partition(":")[0] == "localhost"


class SurvivalNotes:
    """Keeps noted how many losses the site survives. Belongs to one thread."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._looked_at = self._counted_at = datetime.min.replace(tzinfo=UTC)
        self._spread: Spread = {}
        self._noted: tuple[Site, int, datetime] | None = None

    def look(self, now: datetime, others: Iterable[SiteNode] = ()) -> None:
        """Count the copies when that was long ago; note anew what changed by that, by volumes, by policy or by the
        `others` that serve.

        Raises: IndexUnavailable.
        """
        if abs(now - self._looked_at) < _LOOK_EVERY:
            return
        self._looked_at = now
        if abs(now - self._counted_at) >= _COUNT_EVERY:
            self._spread, self._counted_at = count_copies(self._node), now
        told = standing(self._node, self._spread, server=socket.gethostname(), table=mount_table(), others=others)
        state = told.site, told.gone, self._counted_at
        if state != self._noted:
            self._node.registry.note_survival(_facts(told) | {"counted_at": self._counted_at.isoformat()})
            self._noted = state


def _facts(told: Standing) -> dict[str, object]:
    return {**{aspect.value: number for aspect, number in _numbers(told.site).items()}, "gone": told.gone}


def _numbers(site: Site) -> dict[Aspect, int]:
    """How many losses are survived, of up to five or as many as can be tried in seconds."""
    for most in range(_MOST, 0, -1):
        with suppress(Refused):
            return survived(site, most)
    return survived(site, 0)
