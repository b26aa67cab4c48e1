"""What this process counts: module functions like those of `log`, so that a deed is counted where it is done.

Counts only grow. `totals` is what the process counted so far; service/board.py adds up those of all processes.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeAlias

Labels: TypeAlias = tuple[str, ...]
# Of a counter or a gauge its one number; of a histogram how many fell into each bucket, then the sum.
Numbers: TypeAlias = list[float]
Totals: TypeAlias = dict[str, dict[Labels, Numbers]]

# What does not fit any more is counted under this name: whoever reads the metrics keeps each combination for months.
OTHERS: Final = "others"
_MOST_LABELS: Final = 1_000


class Kind(StrEnum):
    """What the numbers of a family are."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One metric with its labels. `bounds` are the upper bounds of the buckets of a histogram, in seconds."""

    name: str
    kind: Kind
    meaning: str
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()


STORED: Final = Family(
    name="pacs_stored_objects_total",
    kind=Kind.COUNTER,
    meaning="Objects that were acknowledged with success, by the peer that sent them.",
    labels=("peer",),
)
RECEIVED_BYTES: Final = Family(
    name="pacs_stored_bytes_total",
    kind=Kind.COUNTER,
    meaning="Bytes of the data sets of these objects.",
    labels=("peer",),
)
REFUSED: Final = Family(
    name="pacs_refused_objects_total",
    kind=Kind.COUNTER,
    meaning="Objects that were not stored, by the status that their sender was answered.",
    labels=("peer", "status"),
)
UNRECORDED: Final = Family(
    name="pacs_unrecorded_objects_total",
    kind=Kind.COUNTER,
    meaning="Objects that were not stored because the index answers but did not take them.",
)
UNWRITTEN: Final = Family(
    name="pacs_failed_copies_total",
    kind=Kind.COUNTER,
    meaning="Copies of objects that could not be written, by the volume that did not take them.",
    labels=("volume",),
)
ANSWERS: Final = Family(
    name="pacs_find_answers_total", kind=Kind.COUNTER, meaning="Answers to C-FIND.", labels=("peer",)
)
SENT: Final = Family(
    name="pacs_retrieved_objects_total",
    kind=Kind.COUNTER,
    meaning="Objects of C-GET and C-MOVE, by whether they were sent or failed.",
    labels=("service", "result"),
)
FAILURES: Final = Family(
    name="pacs_failed_requests_total",
    kind=Kind.COUNTER,
    meaning="Queries and retrieves that ended with another status than success, by that.",
    labels=("service", "status"),
)
SECONDS: Final = Family(
    name="pacs_request_seconds",
    kind=Kind.HISTOGRAM,
    meaning="Time from a request to the end of its answer, with what the peer takes to send and to read.",
    labels=("service",),
    bounds=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0),
)
ACCEPTED: Final = Family(
    name="pacs_accepted_associations_total", kind=Kind.COUNTER, meaning="Associations let in.", labels=("peer",)
)
REJECTED: Final = Family(
    name="pacs_rejected_associations_total",
    kind=Kind.COUNTER,
    meaning="Associations that were rejected, by the reason that the peer was told.",
    labels=("reason",),
)
BROKEN: Final = Family(
    name="pacs_broken_associations_total",
    kind=Kind.COUNTER,
    meaning="Connections that did not end with a release, by what ended them.",
    labels=("reason",),
)
REPLACED: Final = Family(
    name="pacs_replaced_processes_total",
    kind=Kind.COUNTER,
    meaning="Processes of the server that ended by themselves or were stuck, and were started again.",
    labels=("process",),
)
COUNTED: Final = (
    STORED, RECEIVED_BYTES, REFUSED, UNRECORDED, UNWRITTEN, ANSWERS, SENT, FAILURES, SECONDS, ACCEPTED, REJECTED,
    BROKEN, REPLACED,
)  # fmt: skip

_lock = threading.Lock()
_totals: Totals = {}


def add(family: Family, *labels: str, number: float = 1) -> None:
    """Count so many more. Takes 1 µs on two shared cores."""
    with _lock:
        _numbers(family, labels)[0] += number


def observe(family: Family, seconds: float, *labels: str) -> None:
    """Note one duration in a histogram."""
    with _lock:
        numbers = _numbers(family, labels)
        numbers[bisect_left(family.bounds, seconds)] += 1
        numbers[-1] += seconds


def _numbers(family: Family, labels: Labels) -> Numbers:
    held = _totals.setdefault(family.name, {})
    if (numbers := held.get(labels)) is None:
        if len(held) >= _MOST_LABELS:
            labels = (OTHERS,) * len(labels)
        numbers = held.setdefault(labels, [0.0] * (len(family.bounds) + 2 if family.bounds else 1))
    return numbers


def totals() -> Totals:
    """What this process has counted so far."""
    with _lock:
        return {name: {labels: list(numbers) for labels, numbers in held.items()} for name, held in _totals.items()}


def take(counted: Totals) -> None:
    """Add what another process has counted."""
    global _totals
    with _lock:
        _totals = summed((_totals, counted))


def forget() -> None:
    """Begin at nought: a process that was forked counts its own deeds, not those before its birth."""
    with _lock:
        _totals.clear()


def summed(parts: Iterable[Totals]) -> Totals:
    """The sum of what several processes have counted."""
    total: Totals = {}
    for part in parts:
        for name, held in part.items():
            family = total.setdefault(name, {})
            for labels, numbers in held.items():
                before = family.get(labels, [0.0] * len(numbers))
                family[labels] = [a + b for a, b in zip(before, numbers, strict=True)]
    return total
