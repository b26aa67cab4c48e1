"""scale: whether a full index slows a store down, and whether a worker grows with what it has stored."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import count
from statistics import median
from typing import Final

from benchmark.figures import Figure, Goal
from benchmark.processes import Failed, cpu_seconds, memory_bytes, settle
from benchmark.report import number
from benchmark.servers import Server
from benchmark.store_rows import senders_name
from benchmark.surroundings import Bench
from benchmark.tiny_objects import dealt, messages, store_together

_OBJECTS: Final = 10  # of each study
_LEVELS: Final = (0, 1_000_000, 10_000_000)
# After a start the pages of a large index are cold: whoever comes first pays for that, and one sender pays it alone.
_SENDERS: Final = (4, 1)
_TURNS: Final = 5
_WARM_UP: Final = 400
_COUNT: Final = 4_000
# Their patients and studies are none of those in the index.
_FIRST_NEW_STUDY: Final = 50_000_000
_SLOWER: Final = 0.9

_STORED: Final = 100_000
_BATCH: Final = 5_000
_MOST_GROWTH_MB: Final = 10.0


def scale_row(bench: Bench) -> Iterator[Figure]:
    """Memory first, then the rates at each size of the index: all indexes are made before, and measured in turn."""
    yield _memory(bench)
    rates: dict[tuple[int, int], list[float]] = {}
    cpu: dict[tuple[int, int], list[float]] = {}
    with ExitStack() as stack:
        servers = [_holding(bench, stack, level) for level in _LEVELS]
        new = messages(range(_FIRST_NEW_STUDY, _FIRST_NEW_STUDY + 10**6), objects=_OBJECTS, seed=bench.seed)
        for turn in range(_TURNS):
            for level, server in zip(_LEVELS, servers, strict=True):
                server.start()
                settle(server.pids)
                store_together(server, dealt(new, _WARM_UP, max(_SENDERS)))
                for senders in _SENDERS:
                    shares = dealt(new, _COUNT, senders)
                    before = cpu_seconds(server.pids)
                    rate = _COUNT / store_together(server, shares)
                    rates.setdefault((level, senders), []).append(rate)
                    cpu.setdefault((level, senders), []).append((cpu_seconds(server.pids) - before) * 1_000 / _COUNT)
                    print(f"scale turn {turn + 1}, {_name(level, senders)}: {number(rate)} objects/s", file=sys.stderr)
                server.stop()
    for senders in _SENDERS:
        first = median(rates[_LEVELS[0], senders])
        for level in _LEVELS:
            yield Figure(
                row="scale",
                name=_name(level, senders),
                value=median(rates[level, senders]),
                unit="objects/s",
                floor=first if level else None,
                floor_name="the same with an empty index, in the same run" if level else "",
                extra={"CPU ms": median(cpu[level, senders])},
                goals=(Goal(measure="ratio", at_least=_SLOWER),) if level else (),
            )


def _holding(bench: Bench, stack: ExitStack, level: int) -> Server:
    server = stack.enter_context(bench.prepared())
    if level:
        print(f"scale: making an index of {level:,} instances ...", file=sys.stderr)
        server.hold_studies(level // _OBJECTS, bench.seed, _OBJECTS)
        os.sync()
    return server


def _name(level: int, senders: int) -> str:
    return f"{senders_name(senders)}, {level:,} instances in the index"


def _memory(bench: Bench) -> Figure:
    """What no file backs of the process that grew most, from the first objects to the last of 100,000."""
    new = messages(range(1, _STORED // _OBJECTS + 1), objects=_OBJECTS, seed=bench.seed)
    with bench.running() as server:
        samples = [memory_bytes(server.pids, "RssAnon")]
        shared = [sum(memory_bytes(server.pids, "Pss").values())]
        for done in count(_BATCH, _BATCH):
            if not (shares := dealt(new, _BATCH, max(_SENDERS))):
                break
            store_together(server, shares)
            samples.append(memory_bytes(server.pids, "RssAnon"))
            shared.append(sum(memory_bytes(server.pids, "Pss").values()))
            print(f"scale: {done:,} objects stored, Pss {shared[-1] / 1e6:.1f} MB", file=sys.stderr)
        if server.stored() != _STORED:
            raise Failed(f"the server holds {server.stored()} objects of {_STORED} that it acknowledged")
    warm = 2  # after 10,000 objects every cache and every thread's arena is there
    lasting = [process for process in samples[warm] if all(process in sample for sample in samples[warm:])]
    grown = max(lasting, key=lambda process: samples[-1][process] - samples[warm][process])
    return Figure(
        row="scale",
        name=f"growth of a process from {warm * _BATCH:,} to {_STORED:,} stored objects",
        value=(samples[-1][grown] - samples[warm][grown]) / 1e6,
        unit="MB",
        extra={
            "before MB": samples[0].get(grown, 0) / 1e6,
            "most MB": max(sample[grown] for sample in samples[warm:]) / 1e6,
            "after MB": samples[-1][grown] / 1e6,
            "Pss of all before MB": shared[0] / 1e6,
            "Pss of all after MB": shared[-1] / 1e6,
        },
        goals=(Goal(measure="value", at_most=_MOST_GROWTH_MB),),
    )
