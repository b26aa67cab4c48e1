"""What is counted, and how it is told: in Prometheus's words, bounded, and documented."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from pacs_server import metrics
from pacs_server.metrics import Family, Kind
from pacs_server.service.monitoring.gauges import GAUGES
from pacs_server.web.exposition import exposition

PAGE = Path(__file__).parents[2] / "docs" / "operate" / "watching.md"
FAMILIES = (*metrics.COUNTED, *GAUGES)
SECONDS = Family(name="t_seconds", kind=Kind.HISTOGRAM, meaning="Time.", labels=("service",), bounds=(0.1, 1.0))
PEERS = Family(name="t_total", kind=Kind.COUNTER, meaning="A \\ and\na line.", labels=("peer",))


@pytest.fixture(autouse=True)
def nothing_counted() -> Iterator[None]:
    metrics.forget()
    yield
    metrics.forget()


def told(*families: Family) -> str:
    return exposition((family, metrics.totals().get(family.name, {})) for family in families)


def test_a_duration_falls_into_every_bucket_that_is_not_below_it() -> None:
    for seconds in (0.05, 0.1, 0.5, 7.0):
        metrics.observe(SECONDS, seconds, "store")
    assert told(SECONDS) == (
        "# HELP t_seconds Time.\n"
        "# TYPE t_seconds histogram\n"
        't_seconds_bucket{service="store",le="0.1"} 2\n'
        't_seconds_bucket{service="store",le="1"} 3\n'
        't_seconds_bucket{service="store",le="+Inf"} 4\n'
        't_seconds_sum{service="store"} 7.65\n'
        't_seconds_count{service="store"} 4\n'
    )


def test_what_would_break_a_line_is_escaped() -> None:
    metrics.add(PEERS, 'A"B\\C\n')
    assert told(PEERS) == (
        '# HELP t_total A \\\\ and\\na line.\n# TYPE t_total counter\nt_total{peer="A\\"B\\\\C\\n"} 1\n'
    )


def test_however_many_names_there_are_the_combinations_are_bounded() -> None:
    for number in range(5_000):
        metrics.add(PEERS, f"AE{number}")
    held = metrics.totals()["t_total"]
    assert len(held) <= 1_001
    assert sum(numbers[0] for numbers in held.values()) == 5_000


def test_the_parts_of_several_processes_are_added_up() -> None:
    metrics.add(PEERS, "CT", number=2)
    metrics.observe(SECONDS, 0.5, "find")
    part = metrics.totals()
    metrics.take(part)
    assert metrics.totals() == metrics.summed([part, part])
    assert metrics.totals()["t_total"] == {("CT",): [4.0]}
    assert metrics.totals()["t_seconds"] == {("find",): [0.0, 2.0, 0.0, 1.0]}


def test_metrics_are_named_as_prometheus_wants_them() -> None:
    for family in FAMILIES:
        assert re.fullmatch(r"pacs_[a-z]+(_[a-z]+)*", family.name)
        assert family.name.endswith("_total") == (family.kind is Kind.COUNTER), family.name
        assert bool(family.bounds) == (family.kind is Kind.HISTOGRAM)
    assert len({family.name for family in FAMILIES}) == len(FAMILIES)


def test_every_metric_is_documented_as_it_is() -> None:
    rows = re.findall(r"^\| `(pacs_\w+)` \| (\w+) \| (.*?) \| (.*) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert rows == [
        (family.name, str(family.kind), ", ".join(f"`{one}`" for one in family.labels), family.meaning)
        for family in FAMILIES
    ]
