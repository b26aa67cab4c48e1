"""Which single change would let a site survive more: tried on the model, and told only where it helps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from pacs_server.cluster.survive import Aspect, Database, Server, Site, Survey, Volume, copied_on, survived
from pacs_server.errors import Refused
from pacs_server.index.site.registry import Policy

_NEW: Final = "(one more)"
_NEW_INDEX: Final = "(one more index)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """One change, and of how many parts any may be lost after it, for each aspect that it helps."""

    change: str
    survives: Mapping[Aspect, int]


def advise(site: Site, tried: Survey) -> list[Advice]:
    """For each aspect that does not survive all that was tried, the smallest change that helps, if a single one does.

    What costs nothing comes before what is bought, and the copies that a change makes possible are counted as made, but
    not those of objects that have none to be made from.
    """
    before = {aspect: tried.survived(aspect) for aspect in tried.first if not tried.is_past(aspect)}
    found: list[Advice] = []
    for change, changed in _changes(site):
        lacking = before.keys() - {aspect for one in found for aspect in one.survives}
        if not lacking:
            break
        try:
            after = survived(changed, tried.sizes[-1].parts)
        except Refused:
            continue  # it would take too long to know
        if helped := {
            aspect: after[aspect] for aspect in Aspect if aspect in lacking and after[aspect] > before[aspect]
        }:
            found.append(Advice(change=change, survives=helped))
    return found


def _changes(site: Site) -> Iterator[tuple[str, Site]]:
    policy = site.policy
    yield f"the copies that want {policy.want} asks for, once they are made", _copied(site)
    if policy.degraded > 1:
        less = Policy(want=policy.want, need=policy.need, degraded=policy.degraded - 1)
        yield f"degraded {less.degraded} in place of {policy.degraded}", replace(site, policy=less)
    more = f"want {policy.want + 1} in place of {policy.want}"
    yield more, _wanting_more(site)
    larger = _with_volume(site)
    volume = "one more volume, outside the servers, in a fault domain of its own"
    yield volume, _copied(larger)
    yield f"{volume}, and {more}", _wanting_more(larger)
    yield "one more database, outside the servers, that each of them can use", _with_database(site)
    yield "one more server that uses the same volumes and databases", _with_server(site)
    yield "one more server with a database and a volume of its own, to which every object goes as well", _mirrored(site)


def _copied(site: Site) -> Site:
    return replace(site, placements=copied_on(site, site.policy.want))


def _wanting_more(site: Site) -> Site:
    policy = site.policy
    return _copied(replace(site, policy=Policy(want=policy.want + 1, need=policy.need, degraded=policy.degraded)))


def _with_volume(site: Site) -> Site:
    servers = tuple(replace(one, volumes=one.volumes | {_NEW}) for one in site.servers)
    return replace(site, servers=servers, volumes=(*site.volumes, Volume(name=_NEW, domain=_NEW)))


def _with_database(site: Site) -> Site:
    servers = tuple(replace(one, databases=one.databases | {_NEW}) for one in site.servers)
    return replace(site, servers=servers, databases=(*site.databases, Database(name=_NEW)))


def _with_server(site: Site) -> Site:
    outside = [frozenset(one.name for one in kind if not one.server) for kind in (site.databases, site.volumes)]
    return replace(site, servers=(*site.servers, Server(name=_NEW, databases=outside[0], volumes=outside[1])))


def _mirrored(site: Site) -> Site:
    return replace(
        site,
        servers=(*site.servers, Server(name=_NEW, databases=frozenset({_NEW_INDEX}), volumes=frozenset({_NEW}))),
        databases=(*site.databases, Database(name=_NEW_INDEX, server=_NEW)),
        volumes=(*site.volumes, Volume(name=_NEW, domain=_NEW)),
        placements=tuple(replace(one, volumes=one.volumes | {_NEW}) for one in site.placements),
    )
