"""Files that are copies no more, until they are removed from their volume."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection
from sqlalchemy.dialects import postgresql, sqlite

from pacs_server.index.engine import Index
from pacs_server.index.jobs import JobKind, entry, owing
from pacs_server.index.tables import releases


def enter(
    connection: Connection, index: Index, places: Sequence[tuple[str, str]], *, reason: str, due_at: datetime
) -> None:
    """Owe the removal of files, by volume and path, in the transaction in which they stop being copies."""
    if not places:
        return
    make = sqlite.insert if index.database_path is not None else postgresql.insert
    rows = [
        {"volume_id": volume_id, "path": path, "reason": reason, "due_at": due_at.isoformat()}
        for volume_id, path in places
    ]
    connection.execute(make(releases).on_conflict_do_nothing(), rows)
    owed = [entry(JobKind.RELEASE, "", "", volume_id, due_at) for volume_id in sorted({place[0] for place in places})]
    connection.execute(owing(index), owed)
