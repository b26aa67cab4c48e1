"""The transfer syntax that a class has is that in which most of its objects can be sent: the same on every database."""

from collections.abc import Callable

import pytest
from support.arrivals import EXPLICIT_LE, arrival

from pacs_server.index.engine import Index
from pacs_server.index.queries.usual import UsualSyntaxes
from pacs_server.index.recording.instances import Instances

US = "1.2.840.10008.5.1.4.1.1.6.1"
BASELINE, LOSSLESS, MPEG2, MPEG4 = (f"1.2.840.10008.1.2.4.{number}" for number in (50, 70, 100, 102))


@pytest.fixture
def store(index: Index) -> Callable[..., None]:
    objects = Instances(index)

    def record(syntax: str, number: int = 1) -> None:
        for _ in range(number):
            objects.record(arrival(sop_class=US, syntax=syntax))

    return record


class Clock:
    """Goes on by itself, so that each question is a look."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


@pytest.mark.parametrize(
    ("held", "usual"),
    [
        ({}, None),
        ({BASELINE: 2}, BASELINE),
        ({LOSSLESS: 2, EXPLICIT_LE: 1}, LOSSLESS),
        ({BASELINE: 2, EXPLICIT_LE: 1}, EXPLICIT_LE),
        ({BASELINE: 2, "1.2.840.10008.1.2.4.51": 1}, EXPLICIT_LE),
        ({MPEG4: 3, MPEG2: 2}, MPEG4),
        ({MPEG4: 3, EXPLICIT_LE: 2}, MPEG4),
    ],
)
def test_the_usual_syntax_is_the_one_that_fits_most_objects(
    index: Index, store: Callable[..., None], held: dict[str, int], usual: str | None
) -> None:
    for syntax, number in held.items():
        store(syntax, number)
    assert UsualSyntaxes(index).of(US) == usual


def test_an_object_that_came_long_before_the_others_counts_too(index: Index, store: Callable[..., None]) -> None:
    store(EXPLICIT_LE)
    store(BASELINE, 5)
    usual = UsualSyntaxes(index, portion=2, unsettled=2, monotonic=Clock())
    assert [usual.of(US) for _ in range(6)] == [EXPLICIT_LE] * 6


def test_what_was_not_read_yet_may_be_uncompressed(index: Index, store: Callable[..., None]) -> None:
    store(BASELINE, 5)
    usual = UsualSyntaxes(index, portion=2, unsettled=2, monotonic=Clock())
    assert [usual.of(US) for _ in range(4)] == [EXPLICIT_LE, BASELINE, BASELINE, BASELINE]


def test_what_arrives_counts_at_the_next_look(index: Index, store: Callable[..., None]) -> None:
    usual = UsualSyntaxes(index, portion=2, unsettled=2, monotonic=Clock())
    assert usual.of(US) is None
    store(BASELINE)
    assert usual.of(US) == BASELINE
    store(EXPLICIT_LE)
    assert usual.of(US) == EXPLICIT_LE
    store(BASELINE, 9)
    assert {usual.of(US) for _ in range(6)} == {EXPLICIT_LE}


def test_each_object_counts_once(index: Index, store: Callable[..., None]) -> None:
    usual = UsualSyntaxes(index, portion=2, unsettled=2, monotonic=Clock())
    store(MPEG2, 4)
    assert [usual.of(US) for _ in range(9)] == [MPEG2] * 9
    store(MPEG4, 5)
    assert [usual.of(US) for _ in range(9)][-1] == MPEG4
