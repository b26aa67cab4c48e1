"""DT values compare as moments, by their precision and their offset from UTC."""

from datetime import UTC, timedelta, timezone

import pytest

from pacs_server.dicom.moments import earliest, latest, moments_of_range

JAPAN = timezone(timedelta(hours=9))


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("2026", "20260101000000000000", "20261231235959999999"),
        ("202602", "20260201000000000000", "20260228235959999999"),
        ("202402", "20240201000000000000", "20240229235959999999"),
        ("20260102", "20260102000000000000", "20260102235959999999"),
        ("202601020930+0900", "20260102003000000000", "20260102003059999999"),
        ("20260102093015.5-0500", "20260102143015500000", "20260102143015599999"),
        ("20260102093015", "20260102003015000000", "20260102003015999999"),
    ],
)
def test_a_moment_is_as_long_as_it_is_precise(text: str, first: str, last: str) -> None:
    assert (earliest(text, JAPAN), latest(text, JAPAN)) == (first, last)


@pytest.mark.parametrize("text", ["", "26", "20261301", "20260230", "2026010225", "20260102093015.1234567", "today"])
def test_a_text_that_is_no_moment_has_no_first_microsecond(text: str) -> None:
    assert earliest(text, UTC) is None


@pytest.mark.parametrize(
    ("text", "ends"),
    [
        ("20260102", ("20260102", "20260102")),
        ("20260102-", ("20260102", "")),
        ("-20260102", ("", "20260102")),
        ("20260101-20260102", ("20260101", "20260102")),
        ("202601011200-0500", ("202601011200-0500", "202601011200-0500")),
        ("202601011200-0500-202601021200-0500", ("202601011200-0500", "202601021200-0500")),
        ("-", None),
        ("x-y", None),
    ],
)
def test_a_hyphen_before_an_offset_is_not_that_of_a_range(text: str, ends: tuple[str, str] | None) -> None:
    assert moments_of_range(text) == ends
