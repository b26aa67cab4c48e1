"""Processes that record objects in one index at the same moments."""

import multiprocessing
from contextlib import closing
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier

from support.arrivals import arrival

from pacs_server.errors import PacsError
from pacs_server.index.maintenance.schema import open_current
from pacs_server.index.recording.instances import Instances

_TOGETHER_S = 110.0


def race(url: str, processes: int, rounds: int) -> list[list[str]]:
    """What each process was told, in each round, about three objects that are new to all of them: the same one with the
    same patient, study and series; one that each has in a study of its own; one of which each has other bytes.
    """
    context = multiprocessing.get_context("spawn")
    barrier, told = context.Barrier(processes), context.Queue()
    runners = [
        context.Process(target=_record, args=(url, number, rounds, barrier, told), daemon=True)
        for number in range(processes)
    ]
    for runner in runners:
        runner.start()
    results = [told.get(timeout=_TOGETHER_S) for _ in runners]
    for runner in runners:
        runner.join(_TOGETHER_S)
    return results


def _record(url: str, number: int, rounds: int, barrier: Barrier, told: "Queue[list[str]]") -> None:
    outcomes = []
    with closing(open_current(url)) as index:
        instances = Instances(index)
        for n in range(rounds):
            new = {"patient_id": f"NEW-{n}", "volume": f"of-{number}"}
            met = (
                arrival(f"1.2.{n}.1", study=f"1.2.{n}", **new),
                arrival(f"1.2.{n}.2", study=f"1.3.{n}.{number}", **new),
                arrival(f"1.2.{n}.3", study=f"1.2.{n}", content=f"of {number}", **new),
            )
            for one in met:
                barrier.wait(_TOGETHER_S)
                try:
                    outcomes.append(str(instances.record(one).outcome))
                except PacsError as error:
                    outcomes.append(repr(error))
    told.put(outcomes)
