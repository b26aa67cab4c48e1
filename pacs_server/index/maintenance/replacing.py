"""The whole content of a database replaced by that of another: after a disaster, from a snapshot."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Collection, Sequence
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from sqlalchemy import delete, func, insert, inspect, select

from pacs_server.errors import IndexUnavailable
from pacs_server.index.copies import ROUND
from pacs_server.index.deposits import is_deposited
from pacs_server.index.engine import Index
from pacs_server.index.jobs import JobKind
from pacs_server.index.maintenance.schema import current, open_current, upgrade
from pacs_server.index.maintenance.snapshot import make_whole, replace_all, sqlite_url
from pacs_server.index.operations import SITE_ID
from pacs_server.index.site.nodes import IS_OF_NODE, SiteNode, nodes_in
from pacs_server.index.site.registry import VolumeRow, note_change
from pacs_server.index.site_entries import forget, put, value_of
from pacs_server.index.site_tables import jobs, releases, site, volumes
from pacs_server.index.tables import copies, instances
from pacs_server.whole_file import flush_folder

_RESTORING: Final = "restoring"
# What says where a volume is, as far as the schema of that database has it.
_TOLD: Final = ("id", "name", "path", "tier", "domain", "endpoint", "region", "credentials_file")


@dataclass(frozen=True, slots=True, kw_only=True)
class Present:
    """What the database tells that is to be replaced: its volumes, its nodes, and a restore that was broken off."""

    volumes: tuple[VolumeRow, ...] = ()
    nodes: tuple[SiteNode, ...] = ()
    restoring: str = ""


def present(url: str) -> Present:
    """What can be learnt from a database, whatever its schema; from one that is missing or destroyed, nothing.

    Raises: ConfigError; IndexUnavailable when a PostgreSQL cannot be reached.
    """
    with closing(Index.open(url)) as index:
        path = index.database_path
        if path is not None and not path.exists():
            return Present()
        try:
            if current(url) is None:
                return Present()
            with index.read() as connection:
                columns = {column["name"] for column in inspect(connection).get_columns(volumes.name)}
                named = select(*(volumes.c[name] for name in _TOLD if name in columns))
                rows = tuple(VolumeRow(**row) for row in connection.execute(named.order_by("name")).mappings())
                nodes = nodes_in(connection)
                restoring = value_of(connection, _RESTORING)
        except IndexUnavailable:
            if path is None:
                raise
            return Present()
    return Present(volumes=rows, nodes=nodes, restoring=restoring or "")


def count_without(index: Index, volume_ids: Collection[str]) -> int:
    """How many objects have no copy on one of these volumes, and are kept by no archive server.

    Raises: IndexUnavailable.
    """
    here = select(copies.c.id).where(copies.c.instance_row == instances.c.id, copies.c.volume_id.in_(volume_ids))
    with index.read_at_one_moment() as connection:
        return connection.execute(
            select(func.count()).select_from(instances).where(~here.exists(), is_deposited() == 0)
        ).scalar_one()


def settle(index: Index, present_volumes: Sequence[VolumeRow], gone: Collection[str], *, restoring: str) -> None:
    """Make these the volumes of a snapshot, and forget what was on, or owed to, those that are gone.

    No file is to be removed any more: what was to leave a volume then may have been received again since. It becomes
    another site: what the former one decided after the snapshot may be on some volume, and its numbers must never be
    given twice. It is marked as under way until `settled`.

    Raises: IndexUnavailable.
    """
    with index.write() as connection:
        connection.execute(delete(copies).where(copies.c.volume_id.in_(gone)))
        connection.execute(delete(releases))
        connection.execute(delete(jobs).where(jobs.c.target.in_(gone) | (jobs.c.kind == JobKind.RELEASE)))
        connection.execute(delete(volumes))
        connection.execute(insert(volumes), [asdict(row) for row in present_volumes])
        no_more = [SITE_ID, *(f"{ROUND}{volume_id}" for volume_id in gone)]
        connection.execute(delete(site).where(site.c.name.in_(no_more) | IS_OF_NODE))
        put(connection, _RESTORING, restoring)
        note_change(connection)


def settled(index: Index) -> None:
    """Everything that can be brought back was. Raises: IndexUnavailable."""
    with index.write() as connection:
        forget(connection, _RESTORING)


def install(prepared: Path, url: str, *, keep_as: str) -> Path | None:
    """Make the content of a database that of a prepared SQLite file of this release, whole or not at all.

    A SQLite file is replaced by the prepared one, which lies beside it; the former one is kept there too, under a name
    that ends in `keep_as`, and its path is answered. A PostgreSQL database is filled anew in one transaction.

    Raises: ConfigError; SchemaMismatch; IndexUnavailable.
    """
    make_whole(prepared)
    with closing(Index.open(url)) as index:
        if index.database_path is not None:
            with index.alone():
                return _swap(prepared, index.database_path, keep_as)
    upgrade(url)
    with closing(open_current(url)) as index, closing(open_current(sqlite_url(prepared))) as source:
        replace_all(index, source)
    return None


def _swap(prepared: Path, path: Path, keep_as: str) -> Path | None:
    """Put a file where another is, which never is not there. A log that belongs to the former one must not stay: SQLite
    would take it for that of the new one.
    """
    kept = path.with_name(f"{path.name}.{keep_as}")
    try:
        with prepared.open("rb") as file:
            os.fsync(file.fileno())
        if path.exists():
            with suppress(sqlite3.Error), closing(sqlite3.connect(path)) as connection:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            kept.hardlink_to(path)
        for end in ("-wal", "-shm"):
            with suppress(FileNotFoundError):
                path.with_name(path.name + end).rename(kept.with_name(kept.name + end))
        prepared.replace(path)
        flush_folder(path.parent)
    except OSError as error:
        raise IndexUnavailable(f"{path} could not be replaced: {error.strerror}; it is as it was") from error
    return kept if kept.exists() else None
