"""The nodes of a site: what each tells of itself, so that the others see that it lives and which volumes it reaches."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, func, select

from pacs_server.index.engine import Index
from pacs_server.index.site_entries import forget, put, values_below
from pacs_server.index.site_tables import site

_NODE: Final = "node "
IS_OF_NODE: Final = site.c.name.startswith(_NODE, autoescape=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteNode:
    """What a server process tells of itself. `name` is that of its machine with its data directory; `reach` are the ids
    of the volumes that it can read, `within` those of them that are on disks of its machine.
    """

    name: str
    machine: str
    aet: str
    address: str
    release: str
    reach: frozenset[str]
    within: frozenset[str]
    seen_at: datetime


class Nodes:
    """Those of the site. May be used from any thread."""

    def __init__(self, index: Index) -> None:
        self._index = index

    def all(self) -> tuple[SiteNode, ...]:
        """Every node that has told of itself and not taken its leave, by name. Raises: IndexUnavailable."""
        with self._index.read() as connection:
            return nodes_in(connection)

    def tell(self, node: SiteNode) -> None:
        """A node lives, at its `seen_at`. Raises: IndexUnavailable."""
        facts = {
            "machine": node.machine,
            "aet": node.aet,
            "address": node.address,
            "release": node.release,
            "reach": sorted(node.reach),
            "within": sorted(node.within),
            "seen_at": node.seen_at.isoformat(),
        }
        with self._index.write() as connection:
            put(connection, f"{_NODE}{node.name}", json.dumps(facts))

    def forget(self, name: str) -> None:
        """A node takes its leave, or never comes back. Raises: IndexUnavailable."""
        with self._index.write() as connection:
            forget(connection, f"{_NODE}{name}")

    def clock(self) -> datetime | None:
        """The time of PostgreSQL, which may be on another machine; None with SQLite. Raises: IndexUnavailable."""
        if self._index.database_path is not None:
            return None
        with self._index.read() as connection:
            told: datetime = connection.execute(select(func.clock_timestamp())).scalar_one()
        return told


def nodes_in(connection: Connection) -> tuple[SiteNode, ...]:
    """The nodes that a database knows, by name."""
    return tuple(_node(name, json.loads(told)) for name, told in values_below(connection, _NODE).items())


def _node(name: str, facts: Mapping[str, Any]) -> SiteNode:
    return SiteNode(
        name=name,
        machine=facts["machine"],
        aet=facts["aet"],
        address=facts["address"],
        release=facts["release"],
        reach=frozenset(facts["reach"]),
        within=frozenset(facts["within"]),
        seen_at=datetime.fromisoformat(facts["seen_at"]),
    )
