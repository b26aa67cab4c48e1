"""What a soak calls growth, and how it tells of it."""

from collections import Counter

import pytest
from support.soak.course import Footprint, Outcome

START = Footprint(threads=50, descriptors=200, memory_bytes=300_000_000)


def test_a_tenth_more_is_no_growth() -> None:
    assert Footprint(threads=55, descriptors=220, memory_bytes=330_000_000).growth_since(START) == []


@pytest.mark.parametrize(
    ("end", "told"),
    [
        (Footprint(threads=56, descriptors=200, memory_bytes=300_000_000), "threads grew from 50 to 56"),
        (Footprint(threads=50, descriptors=221, memory_bytes=300_000_000), "descriptors grew from 200 to 221"),
        (Footprint(threads=50, descriptors=2, memory_bytes=330_000_001), "memory grew from 300,000,000 to 330,000,001"),
    ],
)
def test_more_than_a_tenth_is_told(end: Footprint, told: str) -> None:
    assert end.growth_since(START) == [told]


def test_a_summary_says_clean_only_without_a_problem() -> None:
    def summary(*problems: str) -> str:
        return str(
            Outcome(
                seconds=30,
                acknowledged=7,
                counts=Counter(kills=2),
                start=START,
                end=START,
                left_by_kills=0,
                problems=problems,
            )
        )

    assert summary().splitlines()[-1].startswith("clean")
    assert summary("an object is lost").splitlines()[-1] == "NOT CLEAN: an object is lost"
