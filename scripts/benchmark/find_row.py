"""find: study-level C-FIND with 16 return keys over an index of 100,000 studies (or --studies), and of a million."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from statistics import median
from typing import Final

from benchmark.figures import Figure, Goal
from benchmark.floors import stream_s
from benchmark.processes import LeftOut, cpu_seconds, nagle, run, settle
from benchmark.raw_services import find
from benchmark.servers import Server
from benchmark.studies import NAME_PART, NAME_PREFIX, UNKNOWN_PATIENT_ID
from benchmark.surroundings import Bench
from benchmark.tiny_objects import fill

_PATIENT_NAME, _PATIENT_ID, _STUDY_DATE, _ACCESSION, _MODALITIES = (
    0x00100010, 0x00100020, 0x00080020, 0x00080050, 0x00080061,
)  # fmt: skip
# What viewers ask a study list for.
_USUAL_KEYS: Final = {
    _STUDY_DATE: "StudyDate",
    0x00080030: "StudyTime",
    0x00080050: "AccessionNumber",
    0x00080061: "ModalitiesInStudy",
    0x00080090: "ReferringPhysicianName",
    0x00081030: "StudyDescription",
    _PATIENT_NAME: "PatientName",
    _PATIENT_ID: "PatientID",
    0x00100030: "PatientBirthDate",
    0x00100040: "PatientSex",
    0x00101010: "PatientAge",
    0x0020000D: "StudyInstanceUID",
    0x00200010: "StudyID",
    0x00201206: "NumberOfStudyRelatedSeries",
    0x00201208: "NumberOfStudyRelatedInstances",
    0x00080056: "InstanceAvailability",
}
_TIMEOUT_S: Final = 120.0

# Name, keys, how often it is asked, and the milliseconds of the fastest peer, 100,000 studies (docs/performance.md).
QUERIES: Final[tuple[tuple[str, dict[int, str], int, float], ...]] = (
    ("unknown ID", {_PATIENT_ID: UNKNOWN_PATIENT_ID}, 20, 0.3),
    ("one month", {_STUDY_DATE: "20200301-20200331"}, 10, 60.0),
    ("name prefix", {_PATIENT_NAME: f"{NAME_PREFIX}*"}, 5, 109.0),
    ("all", {}, 3, 1_800.0),
)
_ALL_ANSWERS_PER_S: Final = 80_000.0

# The goal of each: its first answer within 5 ms, as the median.
_MILLION: Final = 1_000_000
_OBJECTS: Final = 10
_FIRST_MS: Final = 5.0
_AT_A_MILLION: Final[tuple[tuple[str, dict[int, str]], ...]] = (
    ("unknown ID", {_PATIENT_ID: UNKNOWN_PATIENT_ID}),
    ("ID", {_PATIENT_ID: "P00000001"}),
    ("accession number", {_ACCESSION: "A00500000"}),
    ("one day", {_STUDY_DATE: "20200314"}),
    ("one month", {_STUDY_DATE: "20200301-20200331"}),
    ("name prefix", {_PATIENT_NAME: f"{NAME_PREFIX}*"}),
    ("two kanji within", {_PATIENT_NAME: NAME_PART}),
    ("modality and month", {_MODALITIES: "MR", _STUDY_DATE: "20200301-20200331"}),
)


def find_row(bench: Bench) -> Iterator[Figure]:
    """Each query by a raw client, then the longest by DCMTK's findscu, whose own work is most of its time."""
    with bench.prepared() as server:
        hold_studies(bench, server)
        server.start()
        yield from queries(server)
        started = time.monotonic()
        asked = [argument for keyword in _USUAL_KEYS.values() for argument in ("-k", keyword)]
        command = ["findscu", "-q", "-S", "-aec", server.aet, "-k", "QueryRetrieveLevel=STUDY", *asked, "127.0.0.1"]
        run([*command, str(server.port)], timeout_s=_TIMEOUT_S, environment=nagle(on=False))
        yield Figure(row="find", name="all, by DCMTK findscu", value=(time.monotonic() - started) * 1_000, unit="ms")


def hold_studies(bench: Bench, server: Server) -> None:
    """Let a prepared server hold the studies of the run; one whose tables are not ours is sent them, and stopped again.

    Raises: LeftOut when that takes too long, or when it cannot hold so many.
    """
    if reason := server.lacks.get("many studies"):
        raise LeftOut(reason)
    if "index" in server.lacks:
        server.start()
        try:
            fill(server, bench.studies, bench.seed)
        finally:
            server.stop()
    else:
        server.hold_studies(bench.studies, bench.seed)
    os.sync()


def queries(server: Server) -> Iterator[Figure]:
    """Each query of QUERIES to a running server by a raw client, after a first one that is not counted."""
    settle(server.pids)
    find(server.port, server.aet, _keys({_PATIENT_ID: UNKNOWN_PATIENT_ID}))
    for name, keys, times, peer_ms in QUERIES:
        yield _query(server, name, _keys(keys), times, peer_ms)


def find_million_row(bench: Bench) -> Iterator[Figure]:
    """The first answer of each query, and all of them, with a million studies of ten instances each."""
    with bench.prepared() as server:
        server.hold_studies(_MILLION, bench.seed, _OBJECTS)
        server.start()
        settle(server.pids)
        find(server.port, server.aet, _keys({_PATIENT_ID: UNKNOWN_PATIENT_ID}))
        for name, keys in _AT_A_MILLION:
            results = [find(server.port, server.aet, _keys(keys)) for _ in range(10)]
            all_s = median(result.all_s for result in results)
            yield Figure(
                row="find-million",
                name=name,
                value=median(result.first_s for result in results) * 1_000,
                unit="ms",
                floor=stream_s(results[0].size_bytes) * 1_000,
                floor_name="all bytes of the answers through the loopback",
                extra={"all ms": all_s * 1_000, "answers": results[0].answers, "answers/s": results[0].answers / all_s},
                goals=(Goal(measure="value", at_most=_FIRST_MS),),
            )


def _keys(matching: dict[int, str]) -> dict[int, str]:
    return dict.fromkeys(_USUAL_KEYS, "") | matching


def _query(server: Server, name: str, keys: dict[int, str], times: int, peer_ms: float) -> Figure:
    cpu_before = cpu_seconds(server.pids)
    results = [find(server.port, server.aet, keys) for _ in range(times)]
    cpu_ms = (cpu_seconds(server.pids) - cpu_before) * 1_000 / times
    all_s = median(result.all_s for result in results)
    answers = results[0].answers
    goals = [Goal(measure="value", at_most=peer_ms)]
    if name == "all":
        goals.append(Goal(measure="answers/s", at_least=_ALL_ANSWERS_PER_S))
    return Figure(
        row="find",
        name=name,
        value=all_s * 1_000,
        unit="ms",
        floor=stream_s(results[0].size_bytes) * 1_000,
        floor_name="the same bytes through the loopback",
        extra={
            "first ms": median(result.first_s for result in results) * 1_000,
            "answers": answers,
            "answers/s": answers / all_s,
            "CPU ms": cpu_ms,
        },
        goals=tuple(goals),
    )
