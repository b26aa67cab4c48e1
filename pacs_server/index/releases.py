"""Files that are copies no more, until they are removed from their volume."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, bindparam, case, delete, func, select, update

from pacs_server.index.engine import Index
from pacs_server.index.jobs import JobKind, JobState, entry, owing
from pacs_server.index.site_tables import jobs, releases
from pacs_server.index.tables import copies, instances


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """How many files of a volume are to be removed, what they hold, and when the first of them is due."""

    volume_id: str
    files: int
    size_bytes: int
    first_due_at: datetime


class Releases:
    """What is to leave the volumes. May be used from any thread."""

    def __init__(self, index: Index) -> None:
        self._index = index

    def due(self, volume_id: str, now: datetime, *, limit: int, without: Collection[str] = ()) -> list[str]:
        """The paths of files that are to be removed now, longest due first; not those `without`.

        Raises: IndexUnavailable.
        """
        here = releases.c.volume_id == volume_id, releases.c.path.not_in(without)
        wanted = select(releases.c.path).where(*here, releases.c.due_at <= now.isoformat())
        with self._index.read() as connection:
            ordered = wanted.order_by(releases.c.due_at, releases.c.id).limit(limit)
            return list(connection.execute(ordered).scalars())

    def next_due_at(self, volume_id: str) -> datetime | None:
        """When the first of the files of a volume is due; None when there are none. Raises: IndexUnavailable."""
        return next((one.first_due_at for one in self.waiting() if one.volume_id == volume_id), None)

    def waiting(self) -> list[Waiting]:
        """What waits to be removed, for each volume that something waits on. Raises: IndexUnavailable."""
        totals = func.count(), func.sum(releases.c.size_bytes), func.min(releases.c.due_at)
        counted = select(releases.c.volume_id, *totals).group_by(releases.c.volume_id)
        with self._index.read() as connection:
            return [
                Waiting(
                    volume_id=volume_id,
                    files=files,
                    size_bytes=int(size_bytes),
                    first_due_at=datetime.fromisoformat(due_at),
                )
                for volume_id, files, size_bytes, due_at in connection.execute(counted.order_by(releases.c.volume_id))
            ]

    def settled(self, volume_id: str, path: str, *, is_copy: bool) -> None:
        """Forget a file that was removed; or that `is_copy` again, unless it has stopped to be one since then.

        Raises: IndexUnavailable.
        """
        with self._index.write() as connection:
            here = [releases.c.volume_id == volume_id, releases.c.path == path]
            if is_copy:
                here.append(select(copies.c.id).where(copies.c.volume_id == volume_id, copies.c.path == path).exists())
            connection.execute(delete(releases).where(*here))


def enter(
    connection: Connection, index: Index, places: Sequence[tuple[str, str]], *, reason: str, due_at: datetime
) -> None:
    """Owe the removal of files, by volume and path, in the transaction in which they stop being copies, before their
    rows are removed. What is owed already, and waits longer, is brought forward.
    """
    if not places:
        return
    known_size = (
        select(instances.c.size_bytes)
        .join_from(copies, instances)
        .where(copies.c.volume_id == bindparam("volume"), copies.c.path == bindparam("place"))
    )
    statement = index.insert(releases).values(
        volume_id=bindparam("volume"),
        path=bindparam("place"),
        reason=bindparam("why"),
        due_at=bindparam("moment"),
        size_bytes=func.coalesce(known_size.scalar_subquery(), 0),
    )
    earlier = case((releases.c.due_at < statement.excluded.due_at, releases.c.due_at), else_=statement.excluded.due_at)
    rows = [
        {"volume": volume_id, "place": path, "why": reason, "moment": due_at.isoformat()}
        for volume_id, path in sorted(places)
    ]
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=[releases.c.volume_id, releases.c.path], set_={"due_at": earlier}
        ),
        rows,
    )
    volume_ids = sorted({volume_id for volume_id, _ in places})
    connection.execute(owing(index), [entry(JobKind.RELEASE, "", "", one, due_at) for one in volume_ids])
    waits_longer = (
        jobs.c.kind == JobKind.RELEASE,
        jobs.c.target.in_(volume_ids),
        jobs.c.state == JobState.WAITING,
        jobs.c.due_at > due_at.isoformat(),
    )
    connection.execute(update(jobs).where(*waits_longer).values(due_at=due_at.isoformat()))
