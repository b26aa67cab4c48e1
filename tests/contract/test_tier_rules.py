"""What a site decides about tiers: rules, the window, and what it remembers of how fast moves are."""

from datetime import time

import pytest

from pacs_server.errors import Refused, UnknownName
from pacs_server.index.engine import Index
from pacs_server.index.site.tier_rules import TierRule, TierRules
from pacs_server.index.site.windows import Window

OLD = TierRule(name="old", source="hot", target="cold", older_than_days=30)


def test_rules_are_kept_in_the_order_of_their_names_until_they_are_removed(index: Index) -> None:
    rules = TierRules(index)
    ct = TierRule(name="ct", source="hot", target="warm", modalities=("CT", "PT"), not_read_for_days=7)
    for rule in (OLD, ct):
        rules.add(rule)
    assert rules.all() == [ct, OLD]
    with pytest.raises(Refused, match="exists already"):
        rules.add(OLD)
    rules.remove("old")
    assert rules.all() == [ct]
    with pytest.raises(UnknownName, match="old"):
        rules.remove("old")


@pytest.mark.parametrize("values", [{"target": "hot"}, {"older_than_days": None}])
def test_a_rule_that_moves_nowhere_or_everything_is_refused(values: dict[str, object]) -> None:
    with pytest.raises(Refused, match="rule old"):
        TierRule(**({"name": "old", "source": "hot", "target": "cold", "older_than_days": 30} | values))  # type: ignore[arg-type]


def test_the_window_is_kept_and_may_go_over_midnight(index: Index) -> None:
    rules = TierRules(index)
    assert rules.window() is None
    rules.set_window(Window.of("22:30-05:00"))
    window = rules.window()
    assert window
    assert [window.contains(time(*at)) for at in ((22, 29), (22, 30), (0, 0), (4, 59), (5, 0))] == [
        False, True, True, True, False,
    ]  # fmt: skip
    rules.set_window(Window.of("01:00-05:00"))
    rules.set_window(None)
    assert rules.window() is None
    for text in ("1-5", "25:00-26:00", "03:00-03:00", "03:00", ""):
        with pytest.raises(Refused, match="no window"):
            Window.of(text)


def test_the_rate_is_that_of_recent_moves_and_not_known_before_there_was_one(index: Index) -> None:
    rules = TierRules(index)
    assert rules.bytes_per_s() is None
    rules.note_moved(0, 5.0)
    assert rules.bytes_per_s() is None
    rules.note_moved(1000, 10.0)
    assert rules.bytes_per_s() == 100
    for _ in range(50):
        rules.note_moved(36_000, 3600.0)
    assert rules.bytes_per_s() == pytest.approx(10, rel=0.01)
