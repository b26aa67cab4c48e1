"""DT values compare as moments, by their precision and their offset from UTC."""

from datetime import UTC, timedelta, timezone

import pytest

from pacs_server.dicom.moments import earliest, latest, moments_of_range

JAPAN = timezone(timedelta(hours=9))


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("2026", "20251231150000000000", "20261231145959999999"),
        ("202602", "20260131150000000000", "20260228145959999999"),
        ("202402", "20240131150000000000", "20240229145959999999"),
        ("20260102", "20260101150000000000", "20260102145959999999"),
        ("2026010208", "20260101230000000000", "20260101235959999999"),
        ("202601020930+0900", "20260102003000000000", "20260102003059999999"),
        ("20260102093015.5-0500", "20260102143015500000", "20260102143015599999"),
        ("20260102093015", "20260102003015000000", "20260102003015999999"),
    ],
)
def test_a_moment_is_as_long_as_it_is_precise(text: str, first: str, last: str) -> None:
    assert (earliest(text, JAPAN), latest(text, JAPAN)) == (first, last)


@pytest.mark.parametrize("zone", [JAPAN, UTC, timezone(timedelta(hours=-5))], ids=str)
@pytest.mark.parametrize("moment", ["20260102", "2026010200", "202601020830", "20260102083000", "20260102235959.9"])
def test_a_moment_without_an_offset_lies_in_its_day_its_hour_and_its_year(moment: str, zone: timezone) -> None:
    for whole in ("2026", "202601", "20260102", moment[:10]):
        assert str(earliest(whole, zone)) <= str(earliest(moment, zone)) <= str(latest(whole, zone))
    assert str(latest("20260101", zone)) < str(earliest(moment, zone)) < str(earliest("20260103", zone))


@pytest.mark.parametrize("zone", [JAPAN, timezone(timedelta(hours=-5))], ids=str)
def test_the_ends_of_the_calendar_are_ends_of_a_range_in_every_zone(zone: timezone) -> None:
    assert "0001" <= str(earliest("00010101", zone)) < str(earliest("19000101", zone))
    assert str(earliest("19000101", zone)) < str(latest("99991231", zone)) < "None"


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
