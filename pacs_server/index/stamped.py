"""Logs whose entries have a place in an order that no clock decides: (counter, site). Two sites make them equal by
telling each other what the other lacks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from sqlalchemy import Select, Table, func, select, tuple_

from pacs_server.index.engine import Index

Stamp: TypeAlias = tuple[int, str]
# Of each site, how many of its entries are known, the greatest counter of them, and the sum of their counters.
LogState: TypeAlias = dict[str, tuple[int, int, int]]

_BATCH: Final = 500


class StampedLog:
    """One such table, or what of it is not of a kind. May be used from any thread."""

    def __init__(self, index: Index, table: Table, *, without: str = "") -> None:
        self._index = index
        self._table = table
        self._wanted = (table.c.kind != without,) if without else ()

    def state(self) -> LogState:
        """What is known. Raises: IndexUnavailable."""
        column = self._table.c
        counted = select(column.site_id, func.count(), func.max(column.counter), func.sum(column.counter))
        with self._index.read() as connection:
            rows = connection.execute(counted.where(*self._wanted).group_by(column.site_id))
            return {site_id: (int(count), int(last), int(total)) for site_id, count, last, total in rows}

    def beyond(self, heads: Mapping[str, int], *, limit: int) -> list[str]:
        """The entries behind the greatest counter that is known of each site, in their order, at most so many.

        Raises: IndexUnavailable.
        """
        column = self._table.c
        with self._index.read() as connection:
            sites = connection.execute(select(column.site_id).distinct()).scalars().all()
            found: list[tuple[int, str, str]] = []
            for site_id in sites:
                here = *self._wanted, column.site_id == site_id, column.counter > heads.get(site_id, 0)
                rows = select(column.counter, column.site_id, column.content).where(*here)
                found += [tuple(row) for row in connection.execute(rows.order_by(column.counter).limit(limit))]
        return [content for _, _, content in sorted(found)[:limit]]

    def stamps(self, after: Stamp, *, limit: int) -> list[Stamp]:
        """The places of entries behind a place, in their order, at most so many. Raises: IndexUnavailable."""
        column = self._table.c
        place = tuple_(column.counter, column.site_id)
        behind = select(column.counter, column.site_id).where(*self._wanted, place > tuple_(*after))
        with self._index.read() as connection:
            rows = connection.execute(behind.order_by(column.counter, column.site_id).limit(limit))
            return [(counter, site_id) for counter, site_id in rows]

    def texts(self, stamps: Iterable[Stamp]) -> list[str]:
        """The entries of these places that are known, in their order. Raises: IndexUnavailable."""
        wanted = sorted(stamps)
        found: list[str] = []
        with self._index.read() as connection:
            for start in range(0, len(wanted), _BATCH):
                found += connection.execute(self._of(wanted[start : start + _BATCH])).scalars().all()
        return found

    def _of(self, stamps: Sequence[Stamp]) -> Select[Any]:
        column = self._table.c
        here = tuple_(column.counter, column.site_id).in_(stamps)
        return select(column.content).where(*self._wanted, here).order_by(column.counter, column.site_id)
