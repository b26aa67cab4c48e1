"""echo, idle and start: what associations cost that carry no objects, and how soon the first is accepted."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from statistics import median, quantiles
from typing import Final

from benchmark.figures import Figure, Goal
from benchmark.floors import conversations_per_s
from benchmark.objects import CT
from benchmark.processes import cpu_seconds, memory_bytes, run_seconds, settle
from benchmark.raw_association import RawAssociation
from benchmark.raw_services import echo_once, echo_request
from benchmark.servers import Server
from benchmark.surroundings import Bench, run_senders

_ECHO_S: Final = 3.0
_SENDERS: Final = 8
_IMAGES: Final = 150
_IDLE: Final = 300
_IDLE_S: Final = 10.0
_STARTS: Final = 3
_TIMEOUT_S: Final = 120.0


def echo_row(bench: Bench) -> Iterator[Figure]:
    """Connect, associate, echo and release again and again; first alone, then while eight senders store CT."""
    with bench.running() as server:
        yield echoed(server)
        directories = bench.objects(CT, studies=_SENDERS, images=_IMAGES)
        with ThreadPoolExecutor(1) as thread:
            storing = thread.submit(run_senders, server, [[directory] for directory in directories])
            times = _echoes(server, _TIMEOUT_S, storing)
            storing.result()
        yield Figure(
            row="echo",
            name=f"while {_SENDERS} senders store",
            value=_p99_ms(times),
            unit="ms",
            extra={"median ms": median(times) * 1_000, "worst ms": max(times) * 1_000, "echoes": len(times)},
            goals=(Goal(measure="value", at_most=10),),
        )


def echoed(server: Server) -> Figure:
    """How often a second one client can do that with a running server that does nothing else."""
    _echoes(server, 0.5)
    cpu_before = cpu_seconds(server.pids)
    times = _echoes(server, _ECHO_S)
    cpu_ms = (cpu_seconds(server.pids) - cpu_before) * 1_000 / len(times)
    return Figure(
        row="echo",
        name="1 client",
        value=len(times) / sum(times),
        unit="associations/s",
        floor=conversations_per_s(1.0),
        floor_name="loopback, connection and three questions",
        extra={"CPU ms": cpu_ms, "p99 ms": _p99_ms(times)},
        goals=(Goal(measure="value", at_least=1_000),),
    )


def idle_row(bench: Bench) -> Iterator[Figure]:
    """300 associations that say nothing, from several loopback addresses because one may not have so many."""
    with bench.running() as server, ExitStack() as opened:
        rq = echo_request(server.aet)
        for number in range(_IDLE):
            source = f"127.0.0.{2 + number // 75}"
            association = RawAssociation.request(server.port, rq, source=source)
            opened.callback(association.close)
        settle(server.pids)
        before = run_seconds(server.pids)
        time.sleep(_IDLE_S)
        percent = (run_seconds(server.pids) - before) / _IDLE_S * 100
        resident, shared = (sum(memory_bytes(server.pids, kind).values()) / 1e6 for kind in ("VmRSS", "Pss"))
        yield Figure(
            row="idle",
            name=f"CPU with {_IDLE} idle associations",
            value=percent,
            unit="% of a core",
            goals=(Goal(measure="value", at_most=2),),
        )
        yield Figure(
            row="idle",
            name=f"memory (Pss) with {_IDLE} idle associations",
            value=shared,
            unit="MB",
            extra={"RSS MB": resident},
            goals=(Goal(measure="value", at_most=100),),
        )


def start_row(bench: Bench) -> Iterator[Figure]:
    """From the start of the process to the first accepted association, with studies in the index, if it has one."""
    with bench.prepared() as server:
        name = "empty"
        if "index" not in server.lacks:
            server.hold_studies(bench.studies, bench.seed)
            name = f"{bench.studies:,} studies in the index"
        seconds = []
        for _ in range(_STARTS):
            seconds.append(server.start())
            server.stop()
        yield Figure(
            row="start",
            name=name,
            value=median(seconds),
            unit="s",
            floor=_interpreter_s(),
            floor_name="python -c pass",
            goals=(Goal(measure="value", at_most=1.5),),
        )


def _echoes(server: Server, seconds: float, storing: Future[float] | None = None) -> list[float]:
    """The seconds of each conversation, one after the other, for so long or until all is stored."""
    rq = echo_request(server.aet)
    times = []
    end = time.monotonic() + seconds
    while (now := time.monotonic()) < end and (storing is None or not storing.done()):
        echo_once(server.port, rq)
        times.append(time.monotonic() - now)
    return times


def _p99_ms(times: list[float]) -> float:
    return quantiles(times, n=100)[98] * 1_000


def _interpreter_s() -> float:
    seconds = []
    for _ in range(_STARTS):
        started = time.monotonic()
        subprocess.run([sys.executable, "-c", "pass"], check=True)
        seconds.append(time.monotonic() - started)
    return median(seconds)
