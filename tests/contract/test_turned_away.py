"""Who was rejected: what is kept of it, and for how many."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from pacs_server.index.engine import Index
from pacs_server.index.site.peers import Right
from pacs_server.index.site.turned_away import MOST_KEPT, TurnedAway, TurnedAwayCallers

NOW = datetime(2026, 11, 26, 9, tzinfo=UTC)
CT1 = TurnedAway(
    aet="CT1",
    address="192.0.2.7",
    called="PACS",
    fingerprint="AA:01",
    asked=frozenset({Right.ECHO, Right.STORE}),
    why="it is not registered",
    first_at=NOW,
    last_at=NOW,
)


@pytest.fixture
def callers(index: Index) -> TurnedAwayCallers:
    return TurnedAwayCallers(index)


def test_a_caller_is_one_entry_for_each_place_it_calls_from(callers: TurnedAwayCallers) -> None:
    later = NOW + timedelta(minutes=5)
    elsewhere = replace(CT1, address="192.0.2.8", last_at=NOW + timedelta(minutes=1))
    callers.note([CT1, elsewhere])
    callers.note([replace(CT1, asked=frozenset({Right.FIND}), why="another", first_at=later, last_at=later, count=3)])
    asked = frozenset({Right.ECHO, Right.STORE, Right.FIND})
    now = replace(CT1, asked=asked, why="another", last_at=later, count=4)
    assert callers.all() == [now, elsewhere]
    assert callers.all("CT2") == []
    callers.forget("CT1", [CT1.address])
    assert callers.all("CT1") == [elsewhere]


def test_a_flood_of_titles_leaves_the_latest(callers: TurnedAwayCallers) -> None:
    def one(number: int) -> TurnedAway:
        return replace(CT1, aet=f"X{number}", last_at=NOW + timedelta(seconds=number))

    for first in range(0, 3 * MOST_KEPT, 50):
        callers.note(map(one, range(first, first + 50)))
    assert [caller.aet for caller in callers.all()] == [f"X{number}" for number in range(599, 399, -1)]
