"""That PostgreSQL was promoted, or restored on another server, since files and rows were compared last.

Without a synchronous standby it may lack the last rows of the former one, though not the files of their objects. It has
the former one's note of the cluster and timeline, so that any node sees that it is another now.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, select, update

from pacs_server.index.engine import Index
from pacs_server.index.site_tables import site

_TIMELINE: Final = "timeline"
_IS_NOTE: Final = site.c.name == _TIMELINE


def note_timeline(index: Index, now: datetime) -> bool:
    """Note to which cluster and timeline of PostgreSQL is written; whether that is another since it was noted last.

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
    told = json.dumps(value)
    with index.write() as connection:
        entry = index.insert(site).values(name=_TIMELINE, value=told)
        connection.execute(entry.on_conflict_do_update(index_elements=[site.c.name], set_={"value": told}))
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


def compared(index: Index, until: datetime) -> None:
    """All files that were written until then were compared with the rows. Raises: IndexUnavailable."""
    with index.write() as connection:
        noted = _noted(connection)
        if (told := noted.get("promoted_at")) and datetime.fromisoformat(told) <= until:
            value = json.dumps(noted | {"promoted_at": None})
            connection.execute(update(site).where(_IS_NOTE).values(value=value))


def _noted(connection: Connection) -> dict[str, Any]:
    told = connection.execute(select(site.c.value).where(_IS_NOTE)).scalar()
    noted: dict[str, Any] = json.loads(told) if told else {}
    return noted
