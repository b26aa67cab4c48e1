"""Log lines: one line, nothing raw from a peer."""

import logging
from collections.abc import Iterator

import pytest

from pacs_server.log import MAX_VALUE_CHARACTERS, Recurring, escaped


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("CT1", "CT1"),
        ("two words", '"two words"'),
        ("", '""'),
        ("a\r\nb", "a\\r\\nb"),
        ("\x1b[31m", "\\x1b[31m"),
        ('say "no"', '"say \\"no\\""'),
        ("back\\slash", "back\\\\slash"),
        ("\u202ereversed", "\\u202ereversed"),
        ("山田", "山田"),
        (17, "17"),
    ],
)
def test_a_value_is_shown_without_control_characters(value: object, shown: str) -> None:
    assert escaped(value) == shown


def test_of_a_long_value_the_beginning_and_the_end_are_shown() -> None:
    shown = escaped("x" * 1_000_000)
    assert (shown.count("x"), shown.strip("x")) == (MAX_VALUE_CHARACTERS, "...")
    told = "postgresql://" + "a" * 300 + ": it does not answer; look whether it runs: pg_isready"
    assert escaped(told).endswith('it does not answer; look whether it runs: pg_isready"')


@pytest.fixture
def lines() -> Iterator[list[str]]:
    """The lines of the log, as they come."""
    told: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: told.append(f"{record.levelname} {record.getMessage()}")  # type: ignore[method-assign]
    logger = logging.getLogger("pacs")
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield told
    logger.removeHandler(handler)
    logger.setLevel(before)


def test_what_fails_each_second_for_the_same_reason_is_told_once_a_minute_with_its_number(lines: list[str]) -> None:
    now = [0.0]
    trouble = Recurring("volumes not checked", "volumes checked again", lambda: now[0])
    for second in range(121):
        now[0] = second
        trouble.failed(ValueError("it is away"))
    assert lines == [
        'ERROR volumes not checked why="it is away"',
        'ERROR volumes not checked why="it is away" times=60',
        'ERROR volumes not checked why="it is away" times=60',
    ]


def test_another_reason_is_told_at_once_and_two_that_take_turns_are_not_told_each_time(lines: list[str]) -> None:
    now = [0.0]
    trouble = Recurring("volumes not checked", "volumes checked again", lambda: now[0])
    for second in range(50):
        now[0] = second
        trouble.failed(ValueError("it is away" if second % 2 else "it does not answer"))
    assert lines == [
        'ERROR volumes not checked why="it does not answer"',
        'ERROR volumes not checked why="it is away"',
    ]


def test_the_end_is_told_once_and_what_fails_then_is_new(lines: list[str]) -> None:
    now = [0.0]
    trouble = Recurring("volumes not checked", "volumes checked again", lambda: now[0])
    trouble.done()
    for second in range(3):
        now[0] = second
        trouble.failed(ValueError("it is away"))
    for second in range(7, 10):
        now[0] = second
        trouble.done()
    trouble.failed(ValueError("it is away"))
    assert lines == [
        'ERROR volumes not checked why="it is away"',
        "INFO volumes checked again after_s=7",
        'ERROR volumes not checked why="it is away"',
    ]
