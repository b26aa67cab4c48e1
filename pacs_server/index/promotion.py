"""That rows may be missing, since files and rows were compared last: PostgreSQL was promoted, or restored on another
server; or a volume has what the index does not know.

Without a synchronous standby it may lack the last rows of the former one, though not the files of their objects. It has
the former one's note of the cluster and timeline, so that any node sees that it is another now.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection

from pacs_server.index.engine import Index
from pacs_server.index.site_entries import forget, put, value_of
from pacs_server.index.site_tables import site

_TIMELINE: Final = "timeline"
_UNKNOWN: Final = "unknown study"


@dataclass(frozen=True, slots=True, kw_only=True)
class UnknownStudy:
    """A study on a volume of which the index knows nothing; its folder there, and when that was noticed."""

    volume: str
    folder: str
    noted_at: datetime


def note_timeline(index: Index, now: datetime) -> bool:
    """Note the cluster and the timeline of PostgreSQL to which is written; whether they are others than noted last.

    Raises: IndexUnavailable.
    """
    with index.read() as connection:
        cluster, number, _ = connection.connection.dbapi_connection.entrance.timeline  # type: ignore[union-attr]
        noted = _noted(connection)
    if not number or (noted.get("cluster"), noted.get("number")) == (cluster, number):
        return False
    is_another = bool(noted) and (noted["cluster"] != cluster or number > noted["number"])
    moments = [now.isoformat(timespec="seconds")] if is_another else []
    value = {
        "cluster": cluster,
        "number": number,
        "promoted_at": moments[0] if moments else None,
        "promotions": [*noted.get("promotions", []), *moments],
    }
    with index.write() as connection:
        put(connection, _TIMELINE, json.dumps(value))
    return is_another


def promoted_at(index: Index) -> datetime | None:
    """When a promotion was noticed after which files and rows were not compared yet. Raises: IndexUnavailable."""
    with index.read() as connection:
        told = _noted(connection).get("promoted_at")
    return datetime.fromisoformat(told) if told else None


def promotions(index: Index) -> list[datetime]:
    """When each promotion was noticed, in their order. Raises: IndexUnavailable."""
    with index.read() as connection:
        return [datetime.fromisoformat(one) for one in _noted(connection).get("promotions", [])]


def note_unknown_study(index: Index, unknown: UnknownStudy) -> bool:
    """Note it, until files and rows were compared; whether none was noted before. Raises: IndexUnavailable."""
    told = json.dumps({"volume": unknown.volume, "folder": unknown.folder, "noted_at": unknown.noted_at.isoformat()})
    with index.write() as connection:
        entry = index.insert(site).values(name=_UNKNOWN, value=told).on_conflict_do_nothing()
        return connection.execute(entry).rowcount > 0


def unknown_study(index: Index) -> UnknownStudy | None:
    """What was noticed of which files and rows were not compared yet. Raises: IndexUnavailable."""
    with index.read() as connection:
        return _unknown(connection)


def compared(index: Index, until: datetime) -> None:
    """All files that were written until then were compared with the rows. Raises: IndexUnavailable."""
    with index.write() as connection:
        unknown = _unknown(connection)
        if unknown is not None and unknown.noted_at <= until:
            forget(connection, _UNKNOWN)
        noted = _noted(connection)
        if (told := noted.get("promoted_at")) and datetime.fromisoformat(told) <= until:
            put(connection, _TIMELINE, json.dumps(noted | {"promoted_at": None}))


def _unknown(connection: Connection) -> UnknownStudy | None:
    told = value_of(connection, _UNKNOWN)
    if not told:
        return None
    noted = json.loads(told)
    return UnknownStudy(**noted | {"noted_at": datetime.fromisoformat(noted["noted_at"])})


def _noted(connection: Connection) -> dict[str, Any]:
    told = value_of(connection, _TIMELINE)
    noted: dict[str, Any] = json.loads(told) if told else {}
    return noted
