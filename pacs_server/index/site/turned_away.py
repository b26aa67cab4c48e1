"""Who was rejected lately, so that an admin sees a device that waits to be let in, and lets it in by its name."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, delete, select

from pacs_server.index.engine import Index
from pacs_server.index.site.peers import Right
from pacs_server.index.site_tables import turned_away

# Whoever likes may call; the latest are those that an admin looks for.
MOST_KEPT: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnedAway:
    """A caller that was rejected: by what title it called us, the fingerprint of the certificate that it showed, or
    empty, and why and how often it was rejected. `asked`: all that it asked for, because who sends in vain tries an
    echo next.
    """

    aet: str
    address: str
    called: str
    fingerprint: str
    asked: frozenset[Right]
    why: str
    first_at: datetime
    last_at: datetime
    count: int = 1


class TurnedAwayCallers:
    """The latest of them. May be used from any thread."""

    def __init__(self, index: Index) -> None:
        self._index = index
        statement = index.insert(turned_away)
        new = statement.excluded
        latest = {name: new[name] for name in ("called", "fingerprint", "asked", "why", "last_at")}
        self._note = statement.on_conflict_do_update(
            index_elements=[turned_away.c.aet, turned_away.c.address],
            set_=latest | {"count": turned_away.c.count + new["count"]},
        )

    def note(self, callers: Iterable[TurnedAway]) -> None:
        """Add what happened to what is known, and forget the oldest of too many. Raises: IndexUnavailable."""
        with self._index.write() as connection:
            for one in sorted(callers, key=lambda one: (one.aet, one.address)):
                asked = one.asked | _asked_before(connection, one)
                connection.execute(self._note.values(_row(replace(one, asked=asked))))
            newest_first = select(turned_away.c.last_at).order_by(turned_away.c.last_at.desc())
            last_kept = connection.execute(newest_first.offset(MOST_KEPT - 1).limit(1)).scalar()
            if last_kept is not None:
                connection.execute(delete(turned_away).where(turned_away.c.last_at < last_kept))

    def all(self, aet: str = "") -> list[TurnedAway]:
        """Those of a title, or every one, the latest first. Raises: IndexUnavailable."""
        wanted = select(*turned_away.c).order_by(turned_away.c.last_at.desc(), turned_away.c.aet)
        if aet:
            wanted = wanted.where(turned_away.c.aet == str(aet))
        with self._index.read() as connection:
            return [_caller(row) for row in connection.execute(wanted).mappings()]

    def forget(self, aet: str, addresses: Iterable[str]) -> None:
        """Forget those of a title from these addresses. Raises: IndexUnavailable."""
        let_in = turned_away.c.aet == str(aet), turned_away.c.address.in_(list(addresses))
        with self._index.write() as connection:
            connection.execute(delete(turned_away).where(*let_in))


def _asked_before(connection: Connection, one: TurnedAway) -> frozenset[Right]:
    same = turned_away.c.aet == str(one.aet), turned_away.c.address == one.address
    told = connection.execute(select(turned_away.c.asked).where(*same).with_for_update()).scalar()
    return _rights(told or "[]")


def _rights(told: str) -> frozenset[Right]:
    return frozenset(Right(right) for right in json.loads(told))


def _row(one: TurnedAway) -> dict[str, Any]:
    return {
        "aet": str(one.aet),
        "address": one.address,
        "called": one.called,
        "fingerprint": one.fingerprint,
        "asked": json.dumps(sorted(one.asked)),
        "why": one.why,
        "first_at": one.first_at.isoformat(timespec="microseconds"),
        "last_at": one.last_at.isoformat(timespec="microseconds"),
        "count": one.count,
    }


def _caller(row: Any) -> TurnedAway:
    return TurnedAway(
        **{
            **row,
            "asked": _rights(row["asked"]),
            "first_at": datetime.fromisoformat(row["first_at"]),
            "last_at": datetime.fromisoformat(row["last_at"]),
        }
    )
