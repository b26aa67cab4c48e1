"""Which nodes live, and which of them does what is done once: every node comes to the same answer by itself."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import permutations

import pytest

from pacs_server.cluster.roster import SILENT_AFTER, Roster, lives
from pacs_server.index.site.nodes import SiteNode
from pacs_server.service.partners.liaison import comparison_is_due

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def node(name: str, *reach: str) -> SiteNode:
    return SiteNode(
        name=name,
        machine=name,
        aet="PACS",
        address="127.0.0.1:11112",
        release="1",
        reach=frozenset(reach),
        within=frozenset(),
        seen_at=NOW,
    )


def rosters(*nodes: SiteNode) -> list[Roster]:
    """What each of them sees."""
    return [Roster(own=one, others=tuple(other for other in nodes if other != one)) for one in nodes]


def test_a_node_lives_until_it_was_silent_for_longer_than_is_allowed() -> None:
    assert lives(node("a"), NOW + SILENT_AFTER)
    assert not lives(node("a"), NOW + SILENT_AFTER + timedelta(seconds=1))
    assert lives(node("a"), NOW - timedelta(seconds=3)), "its clock may be ahead"


@pytest.mark.parametrize("order", list(permutations(["a", "b", "c"])))
def test_a_duty_falls_to_one_node_whoever_looks(order: tuple[str, ...]) -> None:
    seen = rosters(*(node(name, "v1", "v2") for name in order))
    assert [one.own.name for one in seen if one.has_duty()] == ["a"]
    assert [one.own.name for one in seen if one.has_duty("v2")] == ["a"]


def test_a_duty_falls_to_the_node_that_reaches_most_and_for_a_volume_to_one_that_reaches_it() -> None:
    seen = rosters(node("a", "v1"), node("b", "v1", "v2"), node("c", "v3"))
    assert [one.own.name for one in seen if one.has_duty()] == ["b"]
    assert [one.own.name for one in seen if one.has_duty("v1")] == ["b"]
    assert [one.own.name for one in seen if one.has_duty("v3")] == ["c"]
    assert not any(one.has_duty("v4") for one in seen)


def test_series_are_left_to_a_node_that_reaches_all_that_this_one_does_and_more() -> None:
    few, many, others = rosters(node("a", "v1"), node("b", "v1", "v2"), node("c", "v3"))
    assert [few.leaves_series(), many.leaves_series(), others.leaves_series()] == [True, False, False]
    alike, _ = rosters(node("a", "v1"), node("b", "v1"))
    assert not alike.leaves_series()


def test_what_is_for_a_volume_that_only_others_reach_is_theirs() -> None:
    few, many = rosters(node("a", "v1"), node("b", "v1", "v2"))
    assert (few.elsewhere(), many.elsewhere()) == ({"v2"}, frozenset())


def test_a_node_alone_has_every_duty() -> None:
    (alone,) = rosters(node("a", "v1"))
    assert alone.has_duty()
    assert alone.has_duty("v1")
    assert not alone.leaves_series()
    assert replace(alone, own=node("a")).has_duty(), "also while it reaches nothing"


@pytest.mark.parametrize(
    ("compared", "hour", "is_due_here", "is_due_elsewhere"),
    [
        (None, 12, True, False),  # at once, when it was never done
        (None, 4, True, True),
        (timedelta(hours=24), 1, True, False),
        (timedelta(hours=24), 4, True, True),  # the node whose duty it is has not: it may not reach the partner
        (timedelta(hours=24), 7, False, False),
        (timedelta(hours=2), 4, False, False),  # it was done this night
        (timedelta(hours=-72), 4, True, True),  # by a clock that was wrong
    ],
)
def test_sites_are_compared_by_one_node_once_a_night_and_by_another_only_when_that_one_has_not(
    compared: timedelta | None, hour: int, *, is_due_here: bool, is_due_elsewhere: bool
) -> None:
    now = NOW.replace(hour=hour)
    compared_at = None if compared is None else now - compared
    assert comparison_is_due(compared_at, now, has_duty=True) == is_due_here
    assert comparison_is_due(compared_at, now, has_duty=False) == is_due_elsewhere
