"""What a failover would do, and every reason why it is refused: two sites as values, nothing else."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from pacs_server.cli.exits import ExitCode, exit_code
from pacs_server.cluster.failover import (
    PLANNED,
    WITHOUT_SOURCE,
    Plan,
    Reason,
    Standing,
    Step,
    Unfinished,
    View,
    plan_failover,
    refusal,
    standing_of,
    unfinished_of,
)
from pacs_server.errors import ProtocolViolation

NOW = datetime(2026, 11, 26, 3, 0, tzinfo=UTC)
GOOD = Standing(
    site_id="a" * 32,
    schema="0012_pre_pairs",
    version="0.1.0",
    preferred="",
    is_serving=True,
    is_draining=False,
    associations=0,
    homes=2,
    need=1,
    degraded=1,
    owed_objects=0,
    owed_series=0,
    owed_since=None,
)
HERE = View(name="here", site_id=GOOD.site_id, standing=GOOD)
OSAKA = View(name="osaka", site_id="b" * 32, standing=replace(GOOD, site_id="b" * 32))
AWAY = replace(OSAKA, standing=None, problem="nothing listens on that port")


def with_standing(view: View, **changes: Any) -> View:
    assert view.standing is not None
    return replace(view, standing=replace(view.standing, **changes))


def plan(target: View = OSAKA, source: View = HERE, *, lost: bool = False, **given: Any) -> Plan:
    return plan_failover(
        target, source, is_source_lost=lost, **({"preferred": HERE.site_id, "unfinished": None} | given)
    )


def begun(*left: Step, target: str = "osaka", source: str = "here", lost: bool = False) -> Unfinished:
    return Unfinished(
        target=target, source=source, is_source_lost=lost, left=left, begun_at=NOW, who="admin@tokyo", problems=("x",)
    )


def test_two_good_sites_are_switched_in_six_steps() -> None:
    found = plan()
    assert (found.target, found.source, found.is_source_lost, found.steps) == ("osaka", "here", False, PLANNED)
    assert (found.refusals, found.warnings) == ((), ())
    assert found.checks["osaka takes objects"] == "on 2 volumes, needs 1"
    assert found.checks["here"] == "has 0 associations open, and owes 0 objects of 0 series"
    assert plan(HERE, OSAKA, preferred=OSAKA.site_id).steps == PLANNED
    assert plan(preferred="").steps == PLANNED


def test_without_its_source_the_target_is_preferred_and_tried_out() -> None:
    found = plan(HERE, AWAY, lost=True, preferred=OSAKA.site_id)
    assert found.steps == WITHOUT_SOURCE
    assert found.checks["osaka answers"] == "no: nothing listens on that port"
    stopped = with_standing(HERE, is_serving=False)
    assert plan(OSAKA, stopped, lost=True).refusals == ()


def test_a_target_that_takes_objects_with_too_few_copies_does_where_its_source_is_lost() -> None:
    """At night, with one NAS of two away: viewers and modalities need a site to go to."""
    one_is_away = with_standing(HERE, homes=1, need=2, degraded=1)
    given: dict[str, Any] = {"preferred": OSAKA.site_id}
    found = plan(one_is_away, AWAY, lost=True, **given)
    assert found.refusals == ()
    (warning,) = found.warnings
    assert warning.startswith("here has 1 volumes for a new object and needs 2")
    (refused,) = plan(one_is_away, OSAKA, **given).refusals
    assert refused.reason is Reason.TOO_FEW_VOLUMES
    (refused,) = plan(with_standing(HERE, homes=1, need=2, degraded=2), AWAY, lost=True, **given).refusals
    assert refused.reason is Reason.TOO_FEW_VOLUMES


def test_a_partner_of_an_older_release_does_not_say_what_is_enough() -> None:
    told = replace(GOOD, homes=1, need=2, degraded=1).body()
    assert standing_of(told).degraded == 1
    del told["degraded"]
    assert standing_of(told).degraded == 2


def test_what_is_preferred_already_is_left_alone_whatever_the_sites_are_like() -> None:
    for lost in (False, True):
        done = plan(AWAY, HERE, lost=lost, preferred=OSAKA.site_id)
        assert done.is_done
        assert done.warnings == ()


REFUSED = [
    (AWAY, HERE, False, {}, Reason.TARGET_AWAY, ExitCode.UNREACHABLE, "nothing listens on that port"),
    (with_standing(OSAKA, is_serving=False), HERE, False, {}, Reason.TARGET_AWAY, ExitCode.UNREACHABLE, "start it"),
    (replace(AWAY, is_paused=True), HERE, False, {}, Reason.TARGET_PAUSED, ExitCode.REFUSED, "partner resume osaka"),
    (HERE, replace(AWAY, is_paused=True), False, {"preferred": OSAKA.site_id}, Reason.TARGET_PAUSED, ExitCode.REFUSED,
     "partner resume osaka"),
    (with_standing(OSAKA, is_draining=True), HERE, False, {}, Reason.TARGET_DRAINING, ExitCode.REFUSED,
     "demote osaka --end"),
    (with_standing(OSAKA, schema="0011_pre_partners"), HERE, False, {}, Reason.TARGET_OLDER, ExitCode.REFUSED,
     "0011_pre_partners, older than 0012_pre_pairs"),
    (with_standing(OSAKA, homes=1, need=2), HERE, False, {}, Reason.TOO_FEW_VOLUMES, ExitCode.REFUSED,
     "1 volumes and needs 2"),
    (replace(OSAKA, has_destination=False), HERE, False, {}, Reason.NO_DESTINATION, ExitCode.REFUSED,
     "partner set osaka --aet"),
    (HERE, AWAY, False, {"preferred": OSAKA.site_id}, Reason.SOURCE_AWAY, ExitCode.UNREACHABLE,
     "failover to here --source-lost"),
    (OSAKA, with_standing(HERE, is_serving=False), False, {}, Reason.SOURCE_AWAY, ExitCode.UNREACHABLE,
     "does not answer"),
    (OSAKA, HERE, True, {}, Reason.SOURCE_ANSWERS, ExitCode.REFUSED, "leave out --source-lost"),
    (OSAKA, HERE, False, {"unfinished": begun(Step.TRY_OUT, target="kobe")}, Reason.UNFINISHED, ExitCode.REFUSED,
     "failover to kobe goes on"),
]  # fmt: skip


@pytest.mark.parametrize(("target", "source", "lost", "given", "reason", "code", "told"), REFUSED)
def test_a_failover_that_is_not_safe_is_refused_with_the_reason_and_what_to_do(
    target: View, source: View, lost: bool, given: dict[str, Any], reason: Reason, code: ExitCode, told: str
) -> None:
    refused = plan(target, source, lost=lost, **given)
    (one,) = refused.refusals
    assert (one.reason, exit_code(one.error())) == (reason, code)
    assert told in one.text
    assert not refused.is_done


def test_every_reason_has_its_own_refusal_here_or_where_it_is_met() -> None:
    """The site that is neither, and one that goes on being used, are refused where they are met."""
    met = {Reason.NOT_HERE, Reason.STILL_BUSY}
    assert {reason for *_, reason, _, _ in REFUSED} | met == set(Reason)
    names = dict.fromkeys(("target", "source", "other", "partner", "detail", "then", "remedy"), "x")
    for reason in met:
        assert exit_code(refusal(reason, **names).error()) == ExitCode.REFUSED


def test_all_reasons_are_told_at_once() -> None:
    found = plan(
        with_standing(OSAKA, is_draining=True, homes=0), HERE, lost=True, unfinished=begun(Step.HOOK, target="kobe")
    )
    assert [one.reason for one in found.refusals] == [
        Reason.UNFINISHED,
        Reason.TARGET_DRAINING,
        Reason.TOO_FEW_VOLUMES,
        Reason.SOURCE_ANSWERS,
    ]


def test_clocks_and_releases_that_differ_are_warned_of_and_refuse_nothing() -> None:
    found = plan(replace(with_standing(OSAKA, version="0.2.0"), clock_ahead_s=-61.0))
    assert found.refusals == ()
    (clock, release) = found.warnings
    assert "differ by 61 s" in clock
    assert "0.1.0 and 0.2.0" in release
    assert plan(replace(OSAKA, clock_ahead_s=60.0)).warnings == ()


def test_a_newer_target_is_taken_so_that_sites_can_be_upgraded_in_turn() -> None:
    assert plan(with_standing(OSAKA, schema="0013_pre_more")).refusals == ()


def test_what_was_broken_off_goes_on_where_it_was_and_may_lose_its_source_meanwhile() -> None:
    left = (Step.HAND_OVER, Step.PREFER, Step.HOOK, Step.TRY_OUT, Step.RESUME)
    assert plan(unfinished=begun(*left)).steps == left
    stopped = with_standing(HERE, is_serving=False)
    assert [one.reason for one in plan(OSAKA, stopped, unfinished=begun(*left)).refusals] == [Reason.SOURCE_AWAY]
    going_on = plan(OSAKA, stopped, lost=True, unfinished=begun(*left))
    assert (going_on.steps, going_on.refusals) == (WITHOUT_SOURCE, ())


def test_what_is_left_at_the_end_goes_on_although_the_source_is_away_or_came_back() -> None:
    last = begun(Step.TRY_OUT, Step.RESUME, target="here", source="osaka")
    assert plan(HERE, AWAY, preferred=HERE.site_id, unfinished=last).refusals == ()
    found = plan(HERE, OSAKA, preferred=HERE.site_id, unfinished=begun(Step.TRY_OUT, target="here", lost=True))
    assert (found.steps, found.refusals, found.is_source_lost) == ((Step.TRY_OUT,), (), True)


def test_what_was_broken_off_before_its_lost_source_came_back_begins_anew_with_the_source() -> None:
    left = begun(*WITHOUT_SOURCE, target="here", source="osaka", lost=True)
    found = plan(HERE, OSAKA, preferred="", unfinished=left)
    assert (found.steps, found.refusals, found.is_source_lost) == (PLANNED, (), False)
    again = plan(HERE, OSAKA, lost=True, preferred="", unfinished=left)
    assert [one.reason for one in again.refusals] == [Reason.SOURCE_ANSWERS]
    assert plan(HERE, AWAY, preferred="", unfinished=left).steps == WITHOUT_SOURCE


def test_what_is_left_at_the_end_does_not_count_any_more_when_another_site_was_preferred_since() -> None:
    left = begun(Step.TRY_OUT, Step.RESUME, target="here", source="osaka")
    found = plan(HERE, OSAKA, preferred=OSAKA.site_id, unfinished=left)
    assert (found.steps, found.is_done) == (PLANNED, False)


def test_how_a_site_stands_is_told_and_understood() -> None:
    told = replace(GOOD, owed_objects=3, owed_series=1, owed_since=NOW, associations=2)
    assert standing_of(told.body()) == told
    assert standing_of(GOOD.body()) == GOOD
    assert "2 associations open, and owes 3 objects of 1 series" in told.left
    assert not told.has_handed_over
    assert GOOD.has_handed_over


@pytest.mark.parametrize(
    "wrong",
    [{"site_id": 1}, {"is_serving": "yes"}, {"associations": True}, {"homes": None}, {"owed_since": "soon"},
     {"owed_since": 5}],
)  # fmt: skip
def test_what_is_no_standing_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ProtocolViolation):
        standing_of(GOOD.body() | wrong)


def test_what_is_left_is_noted_and_read_again() -> None:
    for one in (begun(*PLANNED), begun(Step.HOOK, lost=True)):
        assert unfinished_of(one.facts()) == one
    for wrong in ({"left": ["jump"]}, {"begun_at": "soon"}):
        with pytest.raises(ValueError):
            unfinished_of(begun(*PLANNED).facts() | wrong)
