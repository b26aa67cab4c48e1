"""When a window is open, and what the status of a destination means for sending again."""

import time
from collections.abc import Iterator
from datetime import datetime

import pytest

from pacs_server.archive.forward import Verdict, verdict_of
from pacs_server.errors import Refused
from pacs_server.index.queries.search import Deliverable
from pacs_server.index.site.windows import Window

ITEM = Deliverable(
    sop_class="1.2", sop_uid="1.2.3", transfer_syntax="1.2.840.10008.1.2", size_bytes=1, digest="0" * 64,
    study_uid="1", series_uid="1.1", copies=(),
)  # fmt: skip


@pytest.fixture
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone()


@pytest.mark.usefixtures("berlin")
@pytest.mark.parametrize(
    ("window", "now", "opens"),
    [
        ("20:00-06:00", "2026-01-10T19:59:59", "2026-01-10T20:00:00"),
        ("20:00-06:00", "2026-01-10T20:00:00", None),
        ("20:00-06:00", "2026-01-11T05:59:59", None),
        ("20:00-06:00", "2026-01-11T06:00:00", "2026-01-11T20:00:00"),
        ("12:30-13:00", "2026-01-10T12:29:00", "2026-01-10T12:30:00"),
        ("12:30-13:00", "2026-01-10T12:59:00", None),
        ("12:30-13:00", "2026-01-10T13:00:00", "2026-01-11T12:30:00"),
        ("20:00-06:00", "2026-03-29T12:00:00", "2026-03-29T20:00:00"),  # clocks went forward in the night before
        ("12:00-13:00", "2026-03-28T14:00:00", "2026-03-29T12:00:00"),  # and go forward in this one
        ("02:15-05:00", "2026-03-29T01:30:00", "2026-03-29T03:15:00"),  # it begins at a time that there is not
        ("02:15-02:45", "2026-03-29T01:30:00", "2026-03-30T02:15:00"),
        ("02:15-02:45", "2026-10-25T02:00:00+02:00", "2026-10-25T02:15:00+02:00"),  # there is that time twice
        ("02:15-02:45", "2026-10-25T02:00:00+01:00", "2026-10-25T02:15:00+01:00"),
        ("02:15-02:45", "2026-10-25T02:50:00+02:00", "2026-10-25T02:15:00+01:00"),
    ],
)
def test_a_window_is_open_by_the_clock_on_the_wall(window: str, now: str, opens: str | None) -> None:
    assert Window.of(window).opens_at(at(now)) == at(opens or now)


@pytest.mark.parametrize(
    "text", ["", "20:00", "20:00-24:00", "20:00-20:00", "8:00-9:00", "20:00-06:00 ", "20:0\uff10-06:00"]
)
def test_a_text_that_is_no_window_is_refused(text: str) -> None:
    with pytest.raises(Refused, match="no window"):
        Window.of(text)


@pytest.mark.parametrize(
    ("status", "verdict", "ends"),
    [
        (0x0000, Verdict.TAKEN, False),
        (0xB000, Verdict.TAKEN, False),
        (0x0107, Verdict.TAKEN, False),
        (0x0111, Verdict.TAKEN, False),
        (0xA700, Verdict.LATER, True),
        (0x0110, Verdict.LATER, True),
        (0x0122, Verdict.REFUSED, False),
        (0xA900, Verdict.REFUSED, False),
        (0xC000, Verdict.REFUSED, False),
    ],
)
def test_a_status_is_taken_tried_again_or_final(status: int, verdict: Verdict, ends: bool) -> None:
    delivery = verdict_of(ITEM, status)
    assert (delivery.verdict, delivery.ends) == (verdict, ends)
    assert (f"{status:04X}" in delivery.reason) is (verdict is not Verdict.TAKEN)
    assert delivery.was_there is (status == 0x0111)
