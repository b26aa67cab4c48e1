"""Routes: what is forwarded to whom by itself, and when. Admins change them while the archive runs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, select

from pacs_server.errors import Refused, UnknownName
from pacs_server.index.engine import Index
from pacs_server.index.site.registry import note_change
from pacs_server.index.site.windows import Window
from pacs_server.index.site_entries import forget, put, value_to_change, values_below
from pacs_server.index.site_tables import site

_PREFIX: Final = "route:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """What is forwarded to whom, and when.

    An object fits when its sender is one of `senders`, or there are none named, and it has every value of `keys`, which
    match as in a query. It goes to each AE title of `to`, once nothing of its study has arrived for `quiet_minutes`,
    within `window`, which is empty for always. With a new study go the `priors` most recent earlier ones of the
    patient: of those that share a value of each attribute of `priors_like` with it.
    """

    name: str
    to: tuple[str, ...]
    senders: tuple[str, ...] = ()
    keys: Mapping[str, str]
    quiet_minutes: int = 0
    window: str = ""
    priors: int = 0
    priors_like: tuple[str, ...] = ()
    is_paused: bool = False

    def may_take_from(self, aet: str) -> bool:
        """Whether objects of this sender may fit. What came from its only destination is never sent back there."""
        return (not self.senders or aet in self.senders) and any(destination != aet for destination in self.to)

    def opens_at(self, now: datetime) -> datetime | None:
        """When it may send next: `now`, later, or None while it is paused."""
        if self.is_paused:
            return None
        return Window.of(self.window).opens_at(now) if self.window else now


class Routes:
    """The routes of the site. May be used from any thread."""

    def __init__(self, index: Index) -> None:
        self._index = index

    def all(self) -> dict[str, Route]:
        """Every route, by name. Raises: IndexUnavailable."""
        with self._index.read() as connection:
            routes = [_route(text) for text in values_below(connection, _PREFIX).values()]
        return {route.name: route for route in routes}

    def one(self, name: str) -> Route:
        """A route by its name. Raises: UnknownName; IndexUnavailable."""
        route = self.all().get(name)
        if route is None:
            raise _unknown(name)
        return route

    def add(self, route: Route) -> None:
        """Add a route. Raises: Refused when its name is taken; IndexUnavailable."""
        with self._index.write() as connection:
            if value_to_change(connection, _PREFIX + route.name):
                raise Refused(f"there is a route {route.name} already; remove it first, or choose another name")
            put(connection, _PREFIX + route.name, json.dumps(asdict(route)))
            note_change(connection)

    def set_paused(self, name: str, *, is_paused: bool) -> Route:
        """Let a route wait, or go on; answers what it is then. Raises: UnknownName; IndexUnavailable."""
        with self._index.write() as connection:
            if not (known := value_to_change(connection, _PREFIX + name)):
                raise _unknown(name)
            changed = replace(_route(known), is_paused=is_paused)
            put(connection, _PREFIX + name, json.dumps(asdict(changed)))
            note_change(connection)
        return changed

    def remove(self, name: str) -> None:
        """Forget a route. Raises: UnknownName; IndexUnavailable."""
        with self._index.write() as connection:
            if not forget(connection, _PREFIX + name):
                raise _unknown(name)
            note_change(connection)


def keeps(connection: Connection, name: str) -> bool:
    """Whether there is a route of that name, which nobody removes before the transaction ends."""
    here = select(site.c.name).where(site.c.name == _PREFIX + name)
    return connection.execute(here.with_for_update(read=True)).first() is not None


def _unknown(name: str) -> UnknownName:
    return UnknownName(f"there is no route {name}; pacs route list shows those there are")


def _route(text: str) -> Route:
    told: dict[str, Any] = json.loads(text)
    told |= {name: tuple(told[name]) for name in ("to", "senders", "priors_like")}
    return Route(**told)
