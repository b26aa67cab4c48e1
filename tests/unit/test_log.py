"""Log lines: one line, nothing raw from a peer."""

import pytest

from pacs_server.log import MAX_VALUE_CHARACTERS, escaped


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
