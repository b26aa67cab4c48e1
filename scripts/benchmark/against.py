"""--against: the archive and other servers do the same work for the same client in turn, several rounds of it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final, NamedTuple, TypeAlias

from benchmark.all_servers import SERVERS
from benchmark.association_rows import echoed
from benchmark.comparison import Comparison, Missing
from benchmark.figures import Figure, medians
from benchmark.find_row import hold_studies, queries
from benchmark.objects import CT, MR, Kind
from benchmark.processes import Failed, LeftOut
from benchmark.report import number
from benchmark.retrieve_rows import get_row, move_row
from benchmark.servers import Server
from benchmark.store_rows import SENDERS, senders_name, stored
from benchmark.surroundings import Bench

# Of each of eight studies. The slowest peer takes 40 objects a second, and as shipped each takes 10 to 20 from one
# sender: with as many objects as without peers a run would last for hours.
_CT_IMAGES: Final = 75
_MR_IMAGES: Final = 125
_IMAGES_AS_SHIPPED: Final = 25

Part: TypeAlias = Callable[[], Iterable[Figure]]


class Row(NamedTuple):
    """A row in parts, each of which every server does before the next part comes, and what it needs of a server."""

    parts: Callable[[Bench, ExitStack], list[Part]]
    needs: frozenset[str]


def _store(row: str, kind: Kind, images: int) -> Callable[[Bench, ExitStack], list[Part]]:
    """Nagle's algorithm off in client and server, so that servers are compared; then as all of them are shipped."""

    def one(bench: Bench, senders: int, nagle_on: bool) -> Iterator[Figure]:
        count = _IMAGES_AS_SHIPPED if nagle_on else images
        figure = stored(bench, row, kind, images=count, senders=senders, nagle_on=nagle_on)
        yield replace(figure, name=senders_name(senders) + (", as shipped" if nagle_on else ""))

    def parts(bench: Bench, _: ExitStack) -> list[Part]:
        return [partial(one, bench, senders, nagle_on) for nagle_on in (False, True) for senders in SENDERS]

    return parts


def _find(bench: Bench, stack: ExitStack) -> list[Part]:
    """The queries of `find`. Each server gets its studies once and keeps them for all rounds."""
    holding: list[Server] = []

    def one() -> Iterator[Figure]:
        if not holding:
            server = stack.enter_context(bench.prepared())
            print(f"find: {bench.studies:,} studies for {bench.server_name} ...", file=sys.stderr)
            hold_studies(bench, server)
            holding.append(server)
        holding[0].start()
        try:
            yield from queries(holding[0])
        finally:
            holding[0].stop()

    return [one]


def _echo(bench: Bench, _: ExitStack) -> list[Part]:
    def one() -> Iterator[Figure]:
        with bench.running() as server:
            yield echoed(server)

    return [one]


ROWS: Final = {
    "store-ct": Row(_store("store-ct", CT, _CT_IMAGES), frozenset({"store"})),
    "store-mr": Row(_store("store-mr", MR, _MR_IMAGES), frozenset({"store"})),
    "move": Row(lambda bench, _: [partial(move_row, bench)], frozenset({"move"})),
    "get": Row(lambda bench, _: [partial(get_row, bench)], frozenset({"get"})),
    "find": Row(_find, frozenset({"find"})),
    "echo": Row(_echo, frozenset()),
}


@dataclass(slots=True)
class _Part:
    """What a part of a row has yielded so far: figures by server, and why a server yields no more."""

    figures: dict[str, list[list[Figure]]] = field(default_factory=dict)
    missing: dict[str, Missing] = field(default_factory=dict)


def compare(bench: Bench, rows: Sequence[str], servers: Sequence[str], rounds: int) -> list[Comparison]:
    """All rows, one after the other: in each round every part is done by each server in turn; the first is ours."""
    return [comparison for row in rows for comparison in _compare(bench, row, servers, rounds)]


def _compare(bench: Bench, row: str, servers: Sequence[str], rounds: int) -> list[Comparison]:
    with ExitStack() as stack:
        parts_of = {name: ROWS[row].parts(replace(bench, server_name=name), stack) for name in servers}
        results = [_Part() for _ in parts_of[servers[0]]]
        for number_of_round in range(1, rounds + 1):
            for place, result in enumerate(results):
                for server, parts in parts_of.items():
                    label = f"{row} ({number_of_round} of {rounds}): {server}"
                    _measure(parts[place], label, server, ROWS[row].needs, result)
    return [comparison for result in results for comparison in _compared(row, servers, result)]


def _measure(part: Part, label: str, server: str, needs: frozenset[str], result: _Part) -> None:
    """One part by one server; after a failure it is not tried again, so that a run ends in bounded time."""
    lacks = SERVERS[server].lacks
    for service in needs & lacks.keys():
        result.missing[server] = Missing(LeftOut.cell, lacks[service])
    if server in result.missing:
        return
    figures: list[Figure] = []
    result.figures.setdefault(server, []).append(figures)
    try:
        for figure in part():
            figures.append(replace(figure, goals=()))
            print(f"{label} {figure.name}: {number(figure.value)} {figure.unit}", file=sys.stderr)
    except (Failed, OSError) as error:
        cell = error.cell if isinstance(error, Failed) else Failed.cell
        result.missing[server] = Missing(cell, str(error).strip())
        print(f"{label}: {error}", file=sys.stderr)


def _compared(row: str, servers: Sequence[str], result: _Part) -> list[Comparison]:
    """A comparison for each figure that any server has in this part."""
    by_server = {
        server: {figure.name: figure for figure in medians(result.figures.get(server, []))} for server in servers
    }
    names = list(dict.fromkeys(name for figures in by_server.values() for name in figures)) or [""]
    return [
        Comparison(
            row=row,
            name=name,
            figures={server: figures[name] for server, figures in by_server.items() if name in figures},
            missing=result.missing,
            ours=servers[0],
        )
        for name in names
    ]
