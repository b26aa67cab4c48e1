"""A site as a file describes it, so that a purchase can be tried before it is made (docs/operate/surviving.md)."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from pacs_server.cluster.survive import Database, Placement, Server, Site, Volume, copied_on
from pacs_server.errors import ConfigError, Refused
from pacs_server.index.site.registry import Policy
from pacs_server.yaml_file import Item, read_items

_ROLES: Final = ("full", "archive")
_OUTSIDE: Final = ""


def read_layout(path: Path) -> Site:
    """The site that a file describes. Where it does not say how objects lie, they lie in each way in which they may
    when they are acknowledged.

    Raises: ConfigError with every problem and its place.
    """
    top = read_items(path, remedy="; config/layouts has examples")
    reading = _Reading()
    site = reading.site(reading.mapping(top, "", ("policy", "servers", "databases", "volumes", "objects")), path)
    if reading.problems:
        raise ConfigError(*reading.problems)
    return site if site.placements else replace(site, placements=copied_on(site, site.policy.need))


@dataclass(slots=True)
class _Reading:
    """One reading of a layout: what is wrong with it is collected, and read as if it were not there."""

    problems: list[str] = field(default_factory=list)

    def problem(self, item: Item, name: str, reason: str) -> None:
        self.problems.append(f"{item.place}: {name + ': ' if name else ''}{reason}")

    def site(self, top: dict[str, Item], path: Path) -> Site:
        parts = {kind: self.mapping(top.get(kind), kind) for kind in ("servers", "databases", "volumes")}
        for kind, named in parts.items():
            if not named:
                place = top[kind].place if kind in top else str(path)
                self.problems.append(f"{place}: {kind}: name at least one")
        servers = parts["servers"]
        databases = tuple(self.databases(parts["databases"], servers))
        volumes = tuple(self.volumes(parts["volumes"], servers))
        return Site(
            servers=tuple(self.servers(servers, databases, volumes)),
            databases=databases,
            volumes=volumes,
            policy=self.policy(top.get("policy")),
            placements=tuple(self.placements(top.get("objects"), parts["volumes"])),
        )

    def policy(self, item: Item | None) -> Policy:
        given = self.mapping(item, "policy", ("want", "need", "degraded"))
        numbers = {name: self.number(one, f"policy.{name}") for name, one in given.items()}
        want = numbers.get("want", 1)
        need = numbers.get("need", want)
        try:
            return Policy(want=want, need=need, degraded=numbers.get("degraded", min(1, need)))
        except Refused as error:
            if item is not None:
                self.problem(item, "policy", str(error))
            return Policy()

    def databases(self, named: dict[str, Item], servers: Collection[str]) -> Iterator[Database]:
        for name, item in named.items():
            given = self.mapping(item, f"databases.{name}", ("server", "domain"))
            server = self.one_of(given.get("server"), f"databases.{name}.server", servers, _OUTSIDE)
            yield Database(name=name, server=server, domain=self.text(given.get("domain"), f"databases.{name}.domain"))

    def volumes(self, named: dict[str, Item], servers: Collection[str]) -> Iterator[Volume]:
        for name, item in named.items():
            given = self.mapping(item, f"volumes.{name}", ("server", "domain"))
            server = self.one_of(given.get("server"), f"volumes.{name}.server", servers, _OUTSIDE)
            domain = self.text(given.get("domain"), f"volumes.{name}.domain") or name
            yield Volume(name=name, domain=domain, server=server)

    def servers(
        self, named: dict[str, Item], databases: Iterable[Database], volumes: Iterable[Volume]
    ) -> Iterator[Server]:
        """Without a list a server uses whatever is in no other server."""
        for name, item in named.items():
            given = self.mapping(item, f"servers.{name}", ("databases", "volumes", "role"))
            used = {
                kind: self.names(given[kind], f"servers.{name}.{kind}", {one.name for one in there})
                if kind in given
                else frozenset(one.name for one in there if one.server in (_OUTSIDE, name))
                for kind, there in (("databases", databases), ("volumes", volumes))
            }
            role = self.one_of(given.get("role"), f"servers.{name}.role", _ROLES, "full")
            yield Server(name=name, databases=used["databases"], volumes=used["volumes"], takes_new=role == "full")

    def placements(self, item: Item | None, volumes: Collection[str]) -> Iterator[Placement]:
        if item is None:
            return
        if not item.listed:
            self.problem(item, "objects", "is a list, like `- {on: [nas1, nas2], count: 1000}`; or leave it out")
        for number, one in enumerate(item.listed or (), start=1):
            name = f"objects.{number}"
            given = self.mapping(one, name, ("on", "count"))
            if "on" not in given:
                self.problem(one, name, "needs `on`: the volumes that have a copy of each of these objects")
                continue
            count = self.number(given["count"], f"{name}.count") if "count" in given else 0
            yield Placement(volumes=self.names(given["on"], f"{name}.on", volumes), objects=count)

    def mapping(self, item: Item | None, name: str, known: Collection[str] | None = None) -> dict[str, Item]:
        """The items of a mapping by name; those of other names than the known ones are problems."""
        found: dict[str, Item] = {}
        if item is None:
            return found
        if item.named is None and (item.text is not None or item.listed is not None):
            self.problem(item, name, "needs `name: value` lines below it")
        for key, one in item.named or ():
            dotted = f"{name}.{key}" if name else key
            if known is not None and key not in known:
                self.problem(one, dotted, f"unknown; the nearest is {_nearest(key, known)}")
            elif key in found:
                self.problem(one, dotted, "is there twice")
            else:
                found[key] = one
        return found

    def number(self, item: Item, name: str) -> int:
        if item.number is None or item.number < 0:
            self.problem(item, name, "needs a whole number")
            return 1
        return item.number

    def text(self, item: Item | None, name: str) -> str:
        if item is None:
            return ""
        if item.text is None:
            self.problem(item, name, "needs one name")
        return item.text or ""

    def one_of(self, item: Item | None, name: str, known: Collection[str], default: str) -> str:
        text = self.text(item, name)
        if item is None or not text:
            return default
        if text not in known:
            self.problem(item, name, f"'{text}' is none of {', '.join(known)}")
            return default
        return text

    def names(self, item: Item, name: str, known: Collection[str]) -> frozenset[str]:
        """The names of a list, each of which has to be known."""
        if item.listed is None:
            self.problem(item, name, f"is a list of some of {', '.join(sorted(known))}")
        return frozenset(filter(None, (self.one_of(one, name, sorted(known), "") for one in item.listed or ())))


def _nearest(key: str, known: Collection[str]) -> str:
    return max(known, key=lambda name: difflib.SequenceMatcher(None, key, name).ratio())
