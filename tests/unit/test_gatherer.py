"""How often something is looked at: seldom what takes long, and soon again what failed."""

import pytest

from pacs_server.errors import IndexUnavailable
from pacs_server.service.monitoring import gatherer
from pacs_server.service.monitoring.gatherer import Gatherer

EVERY_S = 2.0


class Clock:
    """Time that passes while something is looked at."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(gatherer, "time", made)
    return made


def counting(clock: Clock, takes_s: float, *, is_costly: bool = True, fails: bool = False) -> Gatherer[int]:
    def count() -> int:
        clock.now += takes_s
        if fails:
            raise IndexUnavailable("it does not answer")
        return 7

    return Gatherer("counts", count, every_s=EVERY_S, late_after_s=60.0, is_costly=is_costly)


@pytest.mark.parametrize(
    ("takes_s", "rests_s"), [(0.01, EVERY_S), (1.0, 19.0), (10.0, 190.0), (600.0, 300.0), (3_600.0, 300.0)]
)
def test_what_is_costly_is_rested_from_but_never_for_long(clock: Clock, takes_s: float, rests_s: float) -> None:
    one = counting(clock, takes_s)
    assert one.look() == pytest.approx(rests_s)
    assert (one.latest, one.problem) == (7, "")


def test_what_costs_nothing_is_not_rested_from(clock: Clock) -> None:
    assert counting(clock, 600.0, is_costly=False).look() == EVERY_S


def test_what_failed_is_looked_at_again_at_once_however_long_it_hung(clock: Clock) -> None:
    one = counting(clock, 600.0, fails=True)
    assert one.look() == EVERY_S
    assert (one.latest, one.problem) == (None, "it does not answer")
