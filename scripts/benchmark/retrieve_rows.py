"""move and get: a CT study of 200 images, read before, to receivers that forget it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Final

from benchmark.figures import Figure, Goal
from benchmark.floors import acknowledged_per_s
from benchmark.objects import CT, study_uid
from benchmark.processes import Failed, cpu_seconds, nagle, run
from benchmark.raw_services import get, move
from benchmark.servers import Server
from benchmark.surroundings import Bench, send

_IMAGES: Final = 200
_TIMES: Final = 5
_STUDY: Final = 100
_TIMEOUT_S: Final = 120.0
_FLOOR_NAME: Final = "loopback, each image acknowledged"

# What the fastest peer reached with the same client on two cores (docs/performance.md).
_MOVE_GOALS: Final = (Goal(measure="value", at_least=1_675),)
_GET_GOALS: Final = (Goal(measure="value", at_least=1_240),)


def move_row(bench: Bench) -> Iterator[Figure]:
    """C-MOVE, asked for by a raw client, to DCMTK's `storescp --ignore` and to a raw receiver."""
    for receiver, name in (("storescp", "to DCMTK storescp --ignore"), ("raw", "to a raw receiver")):
        with bench.receiver(receiver) as port, bench.prepared() as server:
            server.know_destination("BENCHDEST", port)
            _fill(bench, server)
            floor = acknowledged_per_s(CT.pixel_bytes, _IMAGES * _TIMES)

            def one(server: Server = server) -> None:
                _expect_all(move(server.port, server.aet, study_uid(bench.seed, CT, _STUDY), "BENCHDEST"))

            yield _figure("move", name, server, one, floor, _MOVE_GOALS)


def get_row(bench: Bench) -> Iterator[Figure]:
    """C-GET by DCMTK's `getscu --ignore`, which takes some time to start, and by a raw client."""
    uid = study_uid(bench.seed, CT, _STUDY)
    with bench.prepared() as server:
        _fill(bench, server)
        floor = acknowledged_per_s(CT.pixel_bytes, _IMAGES * _TIMES)
        keys = ("-S", "-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={uid}")
        getscu = ["getscu", "-q", "--ignore", "-pdu", "131072", *keys, "-aec", server.aet, "127.0.0.1"]

        def with_getscu() -> None:
            run([*getscu, str(server.port)], timeout_s=_TIMEOUT_S, environment=nagle(on=False))

        def with_raw_client() -> None:
            _expect_all(get(server.port, server.aet, uid, CT.sop_class))

        yield _figure("get", "by DCMTK getscu --ignore", server, with_getscu, floor, _GET_GOALS)
        yield _figure("get", "by a raw client", server, with_raw_client, floor, _GET_GOALS)


def _fill(bench: Bench, server: Server) -> None:
    server.start()
    study = bench.objects(CT, studies=1, images=_IMAGES, first=_STUDY)
    send(server, [study])


def _figure(
    row: str, name: str, server: Server, retrieve: Callable[[], None], floor: float, goals: tuple[Goal, ...]
) -> Figure:
    retrieve()
    cpu_before, started = cpu_seconds(server.pids), time.monotonic()
    for _ in range(_TIMES):
        retrieve()
    seconds = time.monotonic() - started
    cpu_ms = (cpu_seconds(server.pids) - cpu_before) * 1_000 / (_IMAGES * _TIMES)
    return Figure(
        row=row,
        name=name,
        value=_IMAGES * _TIMES / seconds,
        unit="images/s",
        floor=floor,
        floor_name=_FLOOR_NAME,
        extra={"CPU ms": cpu_ms},
        goals=goals,
    )


def _expect_all(completed: int) -> None:
    if completed != _IMAGES:
        raise Failed(f"{completed} images of {_IMAGES} were sent")
