"""Who keeps rows or tables of the archive locked in PostgreSQL for long, as a transaction does that somebody has left
open. Who needs none of them notices nothing of it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

from sqlalchemy import text

from pacs_server.index.engine import Index
from pacs_server.index.tables import copies, instances, patients, series, studies

# What storing an object writes to.
RECORDED: Final = (patients, studies, series, instances, copies)
# A lock on rows does not show, but who has one holds its table too. A mode that lets everybody write is left out. The
# begin of a transaction is shown to its user and to those who may see all.
_HOLDING: Final = text(
    "SELECT DISTINCT l.pid, l.virtualtransaction, coalesce(a.usename, ''), coalesce(a.application_name, ''),"
    " coalesce(extract(epoch FROM clock_timestamp() - a.xact_start), 0)"
    " FROM pg_locks l JOIN pg_stat_activity a USING (pid)"
    " WHERE l.granted AND l.locktype = 'relation' AND a.datname = current_database()"
    f" AND l.relation = ANY (ARRAY[{', '.join(repr(one.name) for one in RECORDED)}]::regclass[])"
    " AND l.mode NOT IN ('AccessShareLock', 'ShareUpdateExclusiveLock')"
)
# No statement of the archive takes so long, nor does a session that has stopped in the middle of one while it stores.
LONG_S: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LongLock:
    """A session that keeps something locked, by the number of its process there, and for how long at least."""

    pid: int
    user: str
    program: str
    held_s: float


class LongLocks:
    """Looks now and then who does. Belongs to one thread."""

    def __init__(self) -> None:
        self._since: dict[tuple[int, str], float] = {}

    def look(self, index: Index) -> list[LongLock]:
        """Those who do for `LONG_S`, as far as is known; none with SQLite, where a lock keeps everybody from writing.

        Raises: IndexUnavailable.
        """
        if index.database_path is not None:
            return []
        with index.read() as connection:
            rows = connection.execute(_HOLDING).all()
        now = time.monotonic()
        self._since = {(pid, name): self._since.get((pid, name), now) for pid, name, *_ in rows}
        found = [
            LongLock(pid=pid, user=user, program=program, held_s=max(float(age_s), now - self._since[pid, name]))
            for pid, name, user, program, age_s in rows
        ]
        return sorted((one for one in found if one.held_s >= LONG_S), key=lambda one: one.pid)
