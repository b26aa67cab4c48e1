"""Which losses a site survives: a model of its servers, databases and volumes, and every loss of so many of them.

Values only: service/monitoring/survival.py makes the model of the running site, layout.py that of a file. What is
assumed is written down in docs/operate/surviving.md, and compared with real losses in tests/scenario/test_survive.py,
test_survive_pairs.py and test_survive_hospital.py.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from itertools import combinations, product
from math import comb
from typing import Final

from pacs_server.errors import Refused
from pacs_server.index.site.registry import Policy

# Looking whether one loss takes one part or one placement: about 4 million a second, so that an answer takes seconds.
_MOST_LOOKS: Final = 20_000_000


class Aspect(StrEnum):
    """What a loss may end."""

    DATA = "data"
    RETRIEVING = "retrieving"
    STORING = "storing"


class IndexState(StrEnum):
    """What is left of the index, from which everything is answered."""

    SERVED = "served"
    TO_BE_MADE_ANEW = "to be made anew"  # a server is left, and the files tell what the index said
    NO_SERVER = "no server"


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A machine that serves while it has one of its databases. `takes_new`: modalities send to it."""

    name: str
    databases: frozenset[str]
    volumes: frozenset[str]
    takes_new: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Database:
    """One database that holds the index, alone or beside others. It is lost with the server that it is in, and with the
    fault domain that it shares with others; `domain` is empty for one that shares none.
    """

    name: str
    server: str = ""
    domain: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """A volume, lost with its fault domain, and with the server that it is in. `takes_new`: objects go to it now."""

    name: str
    domain: str
    server: str = ""
    takes_new: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """The volumes that have a good copy of each of so many objects, of none where they were not counted. Without a
    volume, objects that have no copy even now.
    """

    volumes: frozenset[str]
    objects: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What can be lost at once: a server, a database, a volume, or a fault domain with all that it holds."""

    kind: str
    name: str
    holds: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.kind} {self.name_and_content}"

    @property
    def name_and_content(self) -> str:
        """Its name, and what it holds."""
        return f"{self.name} ({', '.join(self.holds)})" if self.holds else self.name


@dataclass(frozen=True, kw_only=True)
class Site:
    """The servers, databases and volumes of a site, how many copies it wants, and where its objects lie."""

    servers: tuple[Server, ...]
    databases: tuple[Database, ...]
    volumes: tuple[Volume, ...]
    policy: Policy
    placements: tuple[Placement, ...]

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        """Everything that can be lost at once, in the order in which losses are tried."""
        domains: dict[str, list[Volume | Database]] = {}
        members: tuple[Volume | Database, ...] = (*self.volumes, *self.databases)
        for one in members:
            if one.domain:
                domains.setdefault(one.domain, []).append(one)
        return (
            *(Part(kind="server", name=one.name) for one in self.servers),
            *(Part(kind="database", name=one.name) for one in self.databases),
            *(
                Part(kind="volume", name=held[0].name)
                if len(held) == 1
                else Part(kind="domain", name=domain, holds=tuple(one.name for one in held))
                for domain, held in domains.items()
                if len(held) > 1 or isinstance(held[0], Volume)
            ),
        )

    @cached_property
    def weakest(self) -> tuple[frozenset[str], ...]:
        """The volumes of the placements that are lost first: whatever takes another one takes one of these."""
        ordered = sorted({one.volumes for one in self.placements}, key=len)
        weakest: list[frozenset[str]] = []
        for volumes in ordered:
            if not any(one <= volumes for one in weakest):
                weakest.append(volumes)
        return tuple(weakest)


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """Some parts, and what their loss leaves. `lost` objects have no copy any more; `unreached` ones have some, but no
    server that has the index reaches them.
    """

    parts: tuple[Part, ...]
    index: IndexState
    stores: bool
    lost: tuple[Placement, ...]
    unreached: tuple[Placement, ...]

    @property
    def ends(self) -> frozenset[Aspect]:
        """What does not go on. Nothing is retrieved without an index, and not everything when objects are missing."""
        gone = []
        if self.lost:
            gone.append(Aspect.DATA)
        if self.lost or self.unreached or self.index is not IndexState.SERVED:
            gone.append(Aspect.RETRIEVING)
        if not self.stores:
            gone.append(Aspect.STORING)
        return frozenset(gone)


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """All losses of so many parts: how many there are, and how many of them end what."""

    parts: int
    losses: int
    ending: Mapping[Aspect, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """All losses of up to `sizes[-1].parts` parts. `first`: the first and smallest that ends something."""

    parts: tuple[Part, ...]
    sizes: tuple[Size, ...]
    first: Mapping[Aspect, Loss]

    def survived(self, aspect: Aspect) -> int:
        """Of how many parts any may be lost, as far as was looked; -1 when something is amiss before any is."""
        return len(self.first[aspect].parts) - 1 if aspect in self.first else self.sizes[-1].parts

    def is_past(self, aspect: Aspect) -> bool:
        """Whether objects that have no copy even now ended it: no change brings them back."""
        loss = self.first.get(aspect)
        return aspect is not Aspect.STORING and loss is not None and bool(loss.lost) and not loss.parts


def lose(site: Site, parts: Collection[Part]) -> Loss:
    """What is left when these parts are lost."""
    return _lose(site, tuple(parts), site.placements)


def _lose(site: Site, parts: tuple[Part, ...], placements: Collection[Placement]) -> Loss:
    names = {(part.kind, part.name) for part in parts}
    servers = {name for kind, name in names if kind == "server"}
    domains = {name for kind, name in names if kind == "domain"}
    databases = {
        one.name
        for one in site.databases
        if ("database", one.name) in names or one.server in servers or one.domain in domains
    }
    gone = {
        one.name
        for one in site.volumes
        if ("volume", one.name) in names or one.server in servers or one.domain in domains
    }
    living = [server for server in site.servers if server.name not in servers]
    serving = [server for server in living if server.databases - databases]
    reached = frozenset().union(*(server.volumes for server in serving)) - gone
    writable = {one.name for one in site.volumes if one.takes_new} - gone
    return Loss(
        parts=parts,
        index=IndexState.SERVED if serving else IndexState.TO_BE_MADE_ANEW if living else IndexState.NO_SERVER,
        stores=any(one.takes_new and len(one.volumes & writable) >= site.policy.degraded for one in serving),
        lost=tuple(one for one in placements if one.volumes <= gone),
        unreached=tuple(one for one in placements if not one.volumes <= gone and not one.volumes & reached),
    )


def survey(site: Site, most: int) -> Survey:
    """Try every loss of up to `most` parts, or of all when there are fewer.

    Raises: Refused when these are more than can be tried in seconds.
    """
    most = min(most, len(site.parts))
    _refuse_too_many(site, most)
    first: dict[Aspect, Loss] = {}
    sizes: list[Size] = []
    for number in range(most + 1):
        ending = dict.fromkeys(Aspect, 0)
        for loss in _losses(site, number):
            for aspect in filter(loss.ends.__contains__, Aspect):
                ending[aspect] += 1
                if aspect not in first:
                    first[aspect] = lose(site, loss.parts)
        sizes.append(Size(parts=number, losses=comb(len(site.parts), number), ending=ending))
    return Survey(parts=site.parts, sizes=tuple(sizes), first=first)


def survived(site: Site, most: int) -> dict[Aspect, int]:
    """Of how many parts any may be lost, up to `most`, for each aspect: no loss is tried that tells nothing new.

    Raises: Refused when they are more than can be tried in seconds.
    """
    open_yet = set(Aspect)
    numbers = dict.fromkeys(Aspect, most)
    for number in range(min(most, len(site.parts)) + 1):
        _refuse_too_many(site, number)
        for loss in _losses(site, number):
            for aspect in loss.ends & open_yet:
                numbers[aspect] = number - 1
                open_yet.remove(aspect)
        if not open_yet:
            break
    return numbers


def _losses(site: Site, number: int) -> Iterator[Loss]:
    weakest = [Placement(volumes=volumes) for volumes in site.weakest]
    return (_lose(site, parts, weakest) for parts in combinations(site.parts, number))


def _refuse_too_many(site: Site, most: int) -> None:
    losses = sum(comb(len(site.parts), number) for number in range(most + 1))
    if losses * (len(site.parts) + len(site.weakest)) > _MOST_LOOKS:
        raise Refused(
            f"{len(site.parts)} parts can be lost in {losses:,} ways of up to {most}, and objects lie in "
            f"{len(site.weakest):,} ways: too many to try each; ask for fewer with --survive"
        )


def copied_on(site: Site, number: int) -> tuple[Placement, ...]:
    """The placements once every object has so many copies as far as there are fault domains for them: each way in which
    they may come to lie, not counted. Without objects: each way in which new ones may.
    """
    homes: dict[str, dict[str, str]] = {}
    for one in site.volumes:
        if one.takes_new:  # of several volumes that are lost together, one stands for all
            homes.setdefault(one.domain, {}).setdefault(one.server, one.name)
    domain_of = {one.name: one.domain for one in site.volumes}
    ways: dict[frozenset[str], None] = {}
    for placement in site.placements or (Placement(volumes=frozenset()),):
        has = {domain_of[name] for name in placement.volumes}
        others = sorted(homes.keys() - has)
        for chosen in combinations(others, min(len(others), max(0, number - len(has)))):
            for added in product(*(homes[domain].values() for domain in chosen)):
                ways[placement.volumes | set(added)] = None
    return tuple(Placement(volumes=volumes) for volumes in ways if volumes)
