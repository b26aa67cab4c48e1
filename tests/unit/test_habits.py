"""What is usual of a modality and of a disk, and what is not."""

from datetime import UTC, datetime, timedelta

import pytest

from pacs_server.service.monitoring.habits import Sample, days_until_full, kept, silence_of

MONDAY = int(datetime(2026, 6, 1, tzinfo=UTC).timestamp()) // 3_600
GB = 1e9


def practice(weeks: int, *, first: int = 8, last: int = 17) -> set[int]:
    """The hours of a CT that sends from Monday to Friday, at day."""
    days = [week * 7 + day for week in range(weeks) for day in range(5)]
    return {MONDAY + day * 24 + hour for day in days for hour in range(first, last + 1)}


def at(week: int, day: int, hour: int) -> int:
    return MONDAY + (week * 7 + day) * 24 + hour


@pytest.mark.parametrize(
    ("now", "is_unusual"),
    [
        (at(3, 5, 12), False),  # Saturday
        (at(3, 6, 23), False),  # Sunday
        (at(4, 0, 7), False),  # Monday before work
        (at(4, 0, 10), False),  # two of its hours
        (at(4, 0, 12), True),  # four of them
        (at(4, 1, 9), True),
    ],
)
def test_a_modality_is_missed_in_its_own_hours_alone(now: int, is_unusual: bool) -> None:
    silence = silence_of(practice(4), now)
    assert silence is not None
    assert silence.is_unusual is is_unusual


def test_a_silence_that_it_had_before_is_no_alarm() -> None:
    with_a_holiday = practice(4) - {at(2, 2, hour) for hour in range(24)}
    silence = silence_of(with_a_holiday, at(4, 1, 0))
    assert silence is not None
    assert silence.longest > 6
    assert not silence.is_unusual
    later = silence_of(with_a_holiday, at(4, 1, 16))
    assert later is not None
    assert later.is_unusual


def test_one_that_sends_round_the_clock_is_missed_within_hours() -> None:
    hours = set(range(MONDAY, at(2, 0, 0)))
    assert [bool((one := silence_of(hours, at(2, 0, hour))) and one.is_unusual) for hour in (1, 3, 4)] == [
        False, False, True,
    ]  # fmt: skip


def test_one_that_sent_on_few_days_has_no_habit() -> None:
    assert silence_of(set(), MONDAY) is None
    assert silence_of({at(0, day, 9) for day in range(9)}, at(9, 0, 0)) is None
    assert silence_of({at(0, day, 9) for day in range(10)}, at(9, 0, 0)) is not None


def test_what_came_while_the_clock_was_ahead_hides_no_silence() -> None:
    now = at(4, 0, 12)
    assert silence_of(practice(4) | {now + 365 * 24}, now) == silence_of(practice(4), now)


def test_what_was_months_ago_is_no_habit() -> None:
    silence = silence_of({hour - 90 * 24 for hour in practice(1)} | practice(4), at(4, 0, 9))
    assert silence is not None
    assert silence.longest < 1


def test_a_forecast_follows_the_line_through_the_last_days() -> None:
    # 10 GB a day, in jumps, of 100 GB.
    samples: list[Sample] = [(float(hour), 100 * GB - 10 * GB * (hour // 24)) for hour in range(72)]
    days = days_until_full(samples, reserve_bytes=0)
    assert days is not None
    assert 7 < days < 9
    with_reserve = days_until_full(samples, reserve_bytes=int(40 * GB))
    assert with_reserve is not None
    assert 3 < with_reserve < 5


@pytest.mark.parametrize(
    "samples",
    [
        [],
        [(0.0, GB)],
        [(0.0, GB), (47.0, 0.5 * GB)],  # less than two days
        [(0.0, GB), (100.0, GB)],
        [(0.0, GB), (100.0, 2 * GB)],
    ],
)
def test_what_does_not_fill_or_is_not_known_for_long_has_no_forecast(samples: list[Sample]) -> None:
    assert days_until_full(samples, reserve_bytes=0) is None


def test_samples_are_kept_for_two_weeks_one_an_hour() -> None:
    samples: list[Sample] = []
    begin = datetime(2026, 6, 1, tzinfo=UTC)
    for hour in range(500):
        for _ in range(2):
            samples = kept(samples, int((begin + timedelta(hours=hour)).timestamp()) // 3_600, GB)
    assert len(samples) == 14 * 24
