"""Metrics as Prometheus reads them.

Source: Prometheus, Text-based format, version 0.0.4.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Final

from pacs_server.metrics import Family, Kind, Labels

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


def exposition(told: Iterable[tuple[Family, Mapping[Labels, Sequence[float]]]]) -> str:
    """Each family with its numbers; one that has none is named, so that it can be looked for."""
    return "".join(f"{line}\n" for family, held in told for line in _lines(family, held))


def _lines(family: Family, held: Mapping[Labels, Sequence[float]]) -> Iterator[str]:
    yield f"# HELP {family.name} {_escaped(family.meaning)}"
    yield f"# TYPE {family.name} {family.kind}"
    for labels, numbers in sorted(held.items()):
        pairs = list(zip(family.labels, labels, strict=True))
        if family.kind is not Kind.HISTOGRAM:
            yield f"{family.name}{_braced(pairs)} {_number(numbers[0])}"
            continue
        *buckets, total = numbers
        counts = list(accumulate(buckets))
        for bound, count in zip([*map(_number, family.bounds), "+Inf"], counts, strict=True):
            yield f"{family.name}_bucket{_braced([*pairs, ('le', bound)])} {_number(count)}"
        yield f"{family.name}_sum{_braced(pairs)} {_number(total)}"
        yield f"{family.name}_count{_braced(pairs)} {_number(counts[-1])}"


def _braced(pairs: Iterable[tuple[str, str]]) -> str:
    inside = ",".join(f'{name}="{_quoted(value)}"' for name, value in pairs)
    return f"{{{inside}}}" if inside else ""


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def _quoted(text: str) -> str:
    return _escaped(text).replace('"', '\\"')


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(float(value))
