"""Volumes as the index has them: where their files are on this node, and what storage has to know of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from pacs_server.index.site.registry import MANY_DAMAGED, VolumeMode, VolumeRow
from pacs_server.service.locks import has_served
from pacs_server.settings import Settings
from pacs_server.storage.condition import VolumeSpec
from pacs_server.storage.location import Location, location_of
from pacs_server.storage.mounts import mount_of, mount_table


def on_this_node(row: VolumeRow, settings: Settings) -> VolumeRow:
    """The volume with its path on this node, which its settings may say; the row has that of all the others."""
    path = settings.volume_paths.get(row.name)
    return row if path is None else replace(row, path=str(path))


def lenders(rows: Iterable[VolumeRow], settings: Settings) -> dict[Path, str]:
    """The other data directories in which volumes lie, each with one of them: a data directory that was copied still
    has the volumes of the original. None with PostgreSQL, where nodes of one archive share volumes, and none of the
    network: SQLite is on no NAS, and one that hangs would keep who asks for ever.
    """
    if not settings.database.startswith("sqlite:"):
        return {}
    table = mount_table()
    paths = {row.name: Path(on_this_node(row, settings).path) for row in rows}
    lent = {name: path for name, path in paths.items() if path.parent.name == "volumes" and _is_here(path, table)}
    owners = {path.parents[1].resolve(): name for name, path in lent.items()}
    own = settings.data_dir.resolve()
    return {owner: name for owner, name in owners.items() if owner != own and has_served(owner)}


def _is_here(path: Path, table: str) -> bool:
    mount = mount_of(path, table)
    return mount is None or not mount.is_elsewhere


def location_of_volume(row: VolumeRow) -> Location:
    """Where the files of a volume are."""
    return location_of(row.path, endpoint=row.endpoint, region=row.region, credentials_file=row.credentials_file)


def moved_to(row: VolumeRow, location: Location) -> VolumeRow:
    """The volume, with its files at a location."""
    if isinstance(location, Path):
        return replace(row, path=str(location))
    return replace(
        row,
        path=str(location),
        endpoint=location.endpoint,
        region=location.region,
        credentials_file=str(location.credentials_file or ""),
    )


def spec_of(row: VolumeRow) -> VolumeSpec:
    """What storage has to know of a volume."""
    return VolumeSpec(
        id=row.id,
        name=row.name,
        path=location_of_volume(row),
        tier=row.tier,
        domain=row.domain,
        is_draining=row.mode is VolumeMode.DRAINING,
        is_closed=row.mode is VolumeMode.READ_ONLY,
        high_water=row.high_water,
        low_water=min(row.low_water, row.high_water),
        is_distrusted=row.damaged_count >= MANY_DAMAGED,
    )
