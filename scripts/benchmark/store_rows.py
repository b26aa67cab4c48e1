"""store-ct, store-mr and store-large: durable C-STORE from DCMTK storescu, 1 to 8 senders at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from statistics import mean
from typing import Final

from benchmark.figures import Figure, Goal
from benchmark.floors import FlushedFiles, flushed_files, sequential_mb_per_s
from benchmark.objects import CT, MR, XA, Kind
from benchmark.processes import Failed, MemoryWatch, cpu_seconds
from benchmark.surroundings import Bench, send

# Eight studies whatever the number of senders, so that every figure is of the same objects.
_STUDIES: Final = 8
_CT_IMAGES: Final = 150
_MR_IMAGES: Final = 250
SENDERS: Final = (1, 4, 8)
_XA_STUDIES: Final = 4
_WARM_UP: Final = 100

_CT_GOALS: Final = {
    1: (Goal(measure="ratio", at_least=0.5), Goal(measure="CPU ms", at_most=1.1)),
    4: (Goal(measure="times fewer senders", at_least=1.5),),
    8: (Goal(measure="times fewer senders", at_least=0.9),),
}
# Every peer as shipped takes 17 to 22 objects a second from one sender with Nagle's algorithm (docs/performance.md).
_MR_GOALS: Final = {
    1: (
        Goal(measure="ratio", at_least=0.4),
        Goal(measure="CPU ms", at_most=1.0),
        Goal(measure="value", at_least=220),
    )
}
_XA_GOALS: Final = {
    1: (Goal(measure="ratio", at_least=0.6),),
    4: (Goal(measure="ratio", at_least=0.6), Goal(measure="growth MB", at_most=64)),
}


def store_ct(bench: Bench) -> Iterator[Figure]:
    """CT of 527 KB from senders without Nagle's algorithm."""
    yield from _small_objects(bench, "store-ct", CT, _CT_IMAGES, nagle_on=False, goals=_CT_GOALS)


def store_mr(bench: Bench) -> Iterator[Figure]:
    """MR of 21 KB from senders as most devices are: with Nagle's algorithm."""
    yield from _small_objects(bench, "store-mr", MR, _MR_IMAGES, nagle_on=True, goals=_MR_GOALS)


def _small_objects(
    bench: Bench, row: str, kind: Kind, images: int, *, nagle_on: bool, goals: Mapping[int, tuple[Goal, ...]]
) -> Iterator[Figure]:
    first = bench.objects(kind, studies=_STUDIES, images=images)[0]
    size_bytes = next(first.glob("*.dcm")).stat().st_size
    fewer: float | None = None
    for senders in SENDERS:
        # The floor is taken before and after, because other work on the machine comes and goes.
        floors = [_flushed(bench, size_bytes, senders)]
        figure = stored(bench, row, kind, images=images, senders=senders, nagle_on=nagle_on)
        floors.append(_flushed(bench, size_bytes, senders))
        more = {} if fewer is None else {"times fewer senders": figure.value / fewer}
        yield replace(
            figure,
            floor=mean(floor.per_s for floor in floors),
            floor_name=f"write, flush, rename, flush directory; threads: {senders}",
            extra=figure.extra | {"floor CPU ms": mean(floor.cpu_ms for floor in floors)} | more,
            goals=goals.get(senders, ()),
        )
        fewer = figure.value


def stored(bench: Bench, row: str, kind: Kind, *, images: int, senders: int, nagle_on: bool) -> Figure:
    """How fast eight studies of so many images are stored by so many senders; without floor and goals.

    Raises: Failed when the server does not acknowledge all, or does not hold what it acknowledged.
    """
    directories = bench.objects(kind, studies=_STUDIES, images=images)
    warm_up = bench.objects(kind, studies=1, images=_WARM_UP, first=_STUDIES)
    groups = [directories[number::senders] for number in range(senders)]
    count = _STUDIES * images
    with bench.running(nagle_on=nagle_on) as server:
        send(server, [warm_up])
        cpu_before = cpu_seconds(server.pids)
        seconds = send(server, groups, nagle_on=nagle_on)
        cpu_ms = (cpu_seconds(server.pids) - cpu_before) * 1_000 / count
        _expect(server.stored(), count + _WARM_UP)
    return Figure(
        row=row, name=senders_name(senders), value=count / seconds, unit="objects/s", extra={"CPU ms": cpu_ms}
    )


def store_large(bench: Bench) -> Iterator[Figure]:
    """Multi-frame XA of 105 MB, and how much a process of the server grows meanwhile."""
    directories = bench.objects(XA, studies=_XA_STUDIES, images=1)
    warm_up = bench.objects(CT, studies=1, images=_WARM_UP, first=_STUDIES)
    for senders in (1, 4):
        groups = [directories[number::senders] for number in range(senders)]
        floors = [_sequential(bench, senders)]
        with bench.running() as server:
            send(server, [warm_up])
            cpu_before = cpu_seconds(server.pids)
            with MemoryWatch(server.pids) as memory:
                seconds = send(server, groups)
            cpu_ms = (cpu_seconds(server.pids) - cpu_before) * 1_000 / _XA_STUDIES
            _expect(server.stored(), _XA_STUDIES + _WARM_UP)
        floors.append(_sequential(bench, senders))
        yield Figure(
            row="store-large",
            name=senders_name(senders),
            value=_XA_STUDIES * XA.pixel_bytes / 1e6 / seconds,
            unit="MB/s",
            floor=mean(floors),
            floor_name=f"sequential write, one flush each; threads: {senders}",
            extra={"CPU ms": cpu_ms, "growth MB": memory.growth_bytes / 1e6},
            goals=_XA_GOALS[senders],
        )


def _flushed(bench: Bench, size_bytes: int, threads: int) -> FlushedFiles:
    return flushed_files(bench.work, size_bytes=size_bytes, count=400, threads=threads)


def _sequential(bench: Bench, threads: int) -> float:
    return sequential_mb_per_s(bench.work, size_bytes=XA.pixel_bytes, count=4, threads=threads)


def senders_name(count: int) -> str:
    """How a figure with so many senders is called."""
    return "1 sender" if count == 1 else f"{count} senders"


def _expect(stored: int, sent: int) -> None:
    if stored != sent:
        raise Failed(f"the server holds {stored} objects of {sent} that it acknowledged")
