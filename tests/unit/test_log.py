"""Log lines: one line, nothing raw from a peer."""

import logging
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from pacs_server import log
from pacs_server.log import MAX_REASON_CHARACTERS, MAX_VALUE_CHARACTERS, Recurring, escaped


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


def test_a_long_value_is_cut_and_says_so() -> None:
    assert escaped("x" * 1_000_000) == "x" * MAX_VALUE_CHARACTERS + "..."


def test_a_reason_has_room_for_what_it_is_about_and_the_remedy(lines: list[str]) -> None:
    why = f"postgresql://{'a' * 300} failed: {'b' * 200}: do this"
    log.error("not stored", calling="c" * 300, why=why)
    log.error("not stored", why="x" * 1_000)
    assert lines == [
        f'ERROR not stored calling={"c" * MAX_VALUE_CHARACTERS}... why="{why}"',
        f"ERROR not stored why={'x' * MAX_REASON_CHARACTERS}...",
    ]


def test_a_line_for_which_the_disk_has_no_room_goes_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("pacs")
    before = logger.handlers[:], logger.level, logger.propagate
    log.configure("INFO", Path("/dev/full"))
    log.info("stored", number=7)
    with suppress(OSError):
        logger.handlers[0].close()
    (logger.handlers[:], logger.level, logger.propagate) = before
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("INFO stored number=7")


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
