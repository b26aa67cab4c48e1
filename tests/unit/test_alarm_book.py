"""When an alarm is told: once it has held, again after a day, when it is over, and not because of a restart."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pacs_server.service.monitoring.alarm_book import AlarmBook, Notice, standing_alarms, undelivered
from pacs_server.service.monitoring.alarms import OF_INDEX, OF_SITE, Alarm, AlarmKind
from pacs_server.settings import AlertSettings

NOW = datetime(2026, 1, 2, tzinfo=UTC)
NAS = Alarm(kind=AlarmKind.VOLUME, about="nas", text="nas is offline", hold_s=60)
COPIES = Alarm(kind=AlarmKind.COPIES, about="all", text="7 objects have fewer copies than are wanted", hold_s=0)
SETTINGS = AlertSettings(repeat_after_s=86_400, clear_after_s=300)


@pytest.fixture
def book_of(tmp_path: Path) -> Callable[[], AlarmBook]:
    """The book as the process has it that was started last."""
    return lambda: AlarmBook(tmp_path, SETTINGS, node="one:/data", aet="PACS", ways=("mail", "command"))


@pytest.fixture
def book(book_of: Callable[[], AlarmBook]) -> AlarmBook:
    return book_of()


def after(**span: float) -> datetime:
    return NOW + timedelta(**span)


def words(notices: list[Notice]) -> list[str]:
    return [f"{one.what} {one.about}" for one in notices]


def test_an_alarm_is_told_once_it_has_held(book: AlarmBook) -> None:
    assert book.take([NAS], NOW) == []
    assert book.take([NAS], after(seconds=59)) == []
    (notice,) = book.take([NAS], after(seconds=60))
    assert (notice.what, notice.kind, notice.text, notice.node) == ("raised", "volume", NAS.text, "one:/data")
    assert notice.since == NOW.isoformat()
    assert book.take([NAS], after(hours=23)) == []


def test_what_has_not_held_yet_is_there_for_who_asks_for_it(book: AlarmBook, tmp_path: Path) -> None:
    book.take([NAS], NOW)
    assert standing_alarms(tmp_path) == []
    ((raised_at, text),) = [(one["raised_at"], one["text"]) for one in standing_alarms(tmp_path, also_new=True)]
    assert (raised_at, text) == ("", NAS.text)


def test_what_comes_and_goes_before_is_never_told(book: AlarmBook) -> None:
    for minute in range(10):
        assert book.take([NAS], after(minutes=minute)) == []
        assert book.take([], after(minutes=minute, seconds=50)) == []


def test_an_alarm_that_stands_is_told_again_after_a_day(book: AlarmBook) -> None:
    told = [words(book.take([COPIES], after(hours=hours))) for hours in (0, 12, 24, 36, 48)]
    assert told == [["raised all"], [], ["repeated all"], [], ["repeated all"]]


def test_an_alarm_that_flaps_is_told_once_and_cleared_when_it_stays_away(book: AlarmBook, tmp_path: Path) -> None:
    told = []
    for minute in range(0, 20, 2):
        told += words(book.take([COPIES], after(minutes=minute)))
        told += words(book.take([], after(minutes=minute + 1)))
    assert told == ["raised all"]
    assert [one["about"] for one in standing_alarms(tmp_path)] == ["all"]
    assert book.take([], after(minutes=22)) == []
    assert words(book.take([], after(minutes=24))) == ["cleared all"]
    assert standing_alarms(tmp_path) == []


def test_what_is_not_so_any_more_says_so_until_it_is_over(book_of: Callable[[], AlarmBook], tmp_path: Path) -> None:
    def gone_since() -> list[str]:
        return [one["gone_since"] for one in standing_alarms(tmp_path)]

    book = book_of()
    book.take([COPIES], NOW)
    assert gone_since() == [""]
    book.take([], after(minutes=1))
    book.take([], after(minutes=2))
    assert gone_since() == [after(minutes=1).isoformat()]
    book.take([COPIES], after(minutes=3))
    assert gone_since() == [""]
    book.take([], after(minutes=4))
    book.take([], after(minutes=5), unknown={AlarmKind.COPIES})
    book = book_of()
    book.take([], after(minutes=6))
    assert gone_since() == [after(minutes=4).isoformat()]


def test_a_restart_neither_forgets_nor_repeats(book_of: Callable[[], AlarmBook]) -> None:
    assert words(book_of().take([COPIES], NOW)) == ["raised all"]
    assert book_of().take([COPIES], after(minutes=1)) == []
    assert [one.about for one in book_of().raised()] == ["all"]
    later = book_of()
    assert later.take([], after(minutes=2)) == []
    assert words(later.take([], after(minutes=8))) == ["cleared all"]


def test_what_cannot_be_judged_neither_begins_nor_ends(book: AlarmBook) -> None:
    book.take([COPIES], NOW)
    damage = Alarm(kind=AlarmKind.DAMAGE, about="nas", text="damaged", hold_s=0)
    assert book.take([damage], after(hours=1), unknown=OF_INDEX) == []
    assert words(book.take([COPIES], after(hours=2))) == []


def test_what_another_node_tells_is_forgotten_without_a_word(book: AlarmBook) -> None:
    book.take([COPIES, NAS], NOW)
    book.take([NAS], after(minutes=2), elsewhere=OF_SITE)
    assert [one.about for one in book.raised()] == ["nas"]
    assert book.take([NAS], after(hours=1), elsewhere=OF_SITE) == []


def test_what_a_way_does_not_take_is_tried_again_in_order(
    book_of: Callable[[], AlarmBook], book: AlarmBook, tmp_path: Path
) -> None:
    book.take([COPIES], NOW)
    first = book.next_due("mail", NOW)
    assert first
    book.settle(first, "connection refused", NOW)
    assert undelivered(tmp_path) == {"mail": "connection refused"}
    assert book.next_due("mail", after(seconds=29)) is None
    other = book.next_due("command", NOW)
    assert other
    book.settle(other, "", NOW)
    assert book.next_due("command", after(days=1)) is None

    again = book_of()
    again.take([COPIES, Alarm(kind=AlarmKind.DISK, about="nas", text="full soon", hold_s=0)], after(seconds=1))
    told = []
    while delivery := again.next_due("mail", after(minutes=1)):
        told.append(delivery.notice.about)
        again.settle(delivery, "", after(minutes=1))
    assert told == ["all", "nas"]
    assert undelivered(tmp_path) == {}


def test_alarms_are_told_and_end_once_the_clock_is_put_back(book: AlarmBook) -> None:
    book.take([COPIES], after(days=300))
    delivery = book.next_due("mail", after(days=300))
    assert delivery is not None
    book.settle(delivery, "its certificate has expired", after(days=300))
    book.take([COPIES, NAS], after(days=300, seconds=5))
    assert book.next_due("mail", after(days=300, seconds=5)) is None
    assert book.next_due("mail", NOW) is delivery
    assert words(book.take([COPIES, NAS], NOW)) == ["repeated all", "raised nas"]
    book.take([COPIES, NAS], after(days=300))
    assert words(book.take([], NOW)) == ["cleared all", "cleared nas"]


def test_a_way_that_fails_for_days_is_tried_every_hour_and_keeps_the_newest(book: AlarmBook) -> None:
    moment = NOW
    book.take([COPIES], moment)
    tries = 0
    while moment < after(days=2):
        if delivery := book.next_due("mail", moment):
            book.settle(delivery, "no", moment)
            tries += 1
        moment += timedelta(minutes=1)
    assert 48 <= tries <= 60
    for number in range(300):
        book.take([Alarm(kind=AlarmKind.VOLUME, about=f"v{number}", text="", hold_s=0)], moment)
    waiting = book.next_due("mail", after(days=9))
    assert waiting
    assert waiting.notice.about != "all"


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"standing": {"copies all": {"colour": "red"}}}',
        '{"waiting": [{"way": "mail", "notice": {}}], "rooms": 7}',
        '{"standing": {"flood x": {"kind": "flood", "about": "x", "text": "", "since": "", "raised_at": "x"}}}',
    ],
)
def test_a_file_that_is_damaged_or_of_another_release_is_begun_anew(
    book_of: Callable[[], AlarmBook], tmp_path: Path, text: str
) -> None:
    (tmp_path / "alarms.json").write_text(text, encoding="utf-8")
    assert words(book_of().take([COPIES], NOW)) == ["raised all"]
