"""What the processes of a server have counted is added up, also of those that are killed at any moment."""

import os
import signal
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest

from pacs_server import metrics
from pacs_server.metrics import STORED
from pacs_server.service.board import Board
from pacs_server.service.processes import watching
from pacs_server.service.processes.worker import Doors


@pytest.fixture(autouse=True)
def nothing_counted() -> Iterator[None]:
    metrics.forget()
    yield
    metrics.forget()


def in_a_process(deed: Callable[[], None], *, dies: bool = False) -> int:
    """Do something in a process as the supervisor starts them; its number once it has ended."""
    pid = os.fork()
    if not pid:
        metrics.forget()
        deed()
        if dies:
            os.kill(os.getpid(), signal.SIGKILL)
        os._exit(0)
    os.waitpid(pid, 0)
    return pid


def count(board: Board, place: int, number: int) -> Callable[[], None]:
    def deed() -> None:
        metrics.add(STORED, "CT", number=number)
        board.post(place)

    return deed


def stored(board: Board) -> float:
    return board.totals().get(STORED.name, {}).get(("CT",), [0.0])[0]


def test_counts_of_all_processes_are_added_up_and_never_fall() -> None:
    board = Board(2)
    first = in_a_process(count(board, 0, 3))
    in_a_process(count(board, 1, 4), dies=True)
    assert stored(board) == 7
    board.keep(0, first)
    assert stored(board) == 7, "what has ended is counted once"
    in_a_process(count(board, 0, 10))
    assert stored(board) == 17


def test_what_ended_twice_at_a_place_is_kept_of_both() -> None:
    board = Board(1)
    for _ in range(3):
        pid = in_a_process(count(board, 0, 5))
        board.keep(0, pid)
    assert stored(board) == 15


def test_one_that_is_killed_while_it_writes_leaves_what_it_wrote_before(monkeypatch: pytest.MonkeyPatch) -> None:
    board = Board(1)

    def is_killed_in_between() -> None:
        count(board, 0, 3)()
        monkeypatch.setattr("zlib.crc32", lambda _: os.kill(os.getpid(), signal.SIGKILL))
        count(board, 0, 4)()

    pid = in_a_process(is_killed_in_between)
    assert stored(board) == 3
    board.keep(0, pid)
    assert stored(board) == 3


def test_what_the_supervisor_counts_itself_is_told() -> None:
    board = Board(1)
    metrics.add(STORED, "CT", number=2)
    board.post_past()
    in_a_process(count(board, 0, 3))
    assert stored(board) == 5


def test_counts_that_do_not_fit_leave_those_before() -> None:
    board = Board(1)
    count(board, 0, 3)()
    for number in range(900):
        metrics.add(STORED, f"{number:0900}")
    board.post(0)
    assert stored(board) == 3


def test_a_process_sees_when_the_supervisor_turned_and_from_where_the_server_calls_itself() -> None:
    board = Board(1)
    assert not board.is_expected(4711)
    in_a_process(lambda: board.expect(4711))
    assert board.is_expected(4711)
    assert not board.is_expected(4712)
    board.answered()
    assert not board.is_expected(4711)  # the call has ended: who calls from there now is somebody else
    assert 0 <= board.supervisor_age_s() < 60
    assert 0 <= board.unanswered_s() < 60


def test_a_call_of_the_server_stays_its_own_while_the_database_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    board, looks = Board(1), iter([False, True])
    watcher = SimpleNamespace(start=lambda: None, judge=lambda _: None)
    observer = SimpleNamespace(start=lambda: None, site=SimpleNamespace(problem="it is away"))
    monkeypatch.setattr(watching, "Watcher", lambda *_: watcher)
    monkeypatch.setattr(watching, "Observer", lambda *_: observer)
    monkeypatch.setattr("time.monotonic", lambda: 1_000.0)
    board.expect(4711)
    watching.watch(None, Doors(plain=None, secured=None), None, board, lambda _: next(looks))
    assert board.is_expected(4711)
    assert board.unanswered_s() == 0  # which no restart of the server would mend


def test_a_call_that_was_given_up_is_expected_for_a_while_and_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    board, now = Board(1), 1_000.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    for port in range(5_000, 5_020):
        board.expect(port)
        in_a_process(lambda port=port: board.give_up(port))  # type: ignore[misc]
        now += 1.0
    board.expect(6_000)
    assert [port for port in range(4_990, 6_010) if board.is_expected(port)] == [*range(5_004, 5_020), 6_000]
    now = 1_019.0 + 59.0
    assert board.is_expected(5_019)
    assert not board.is_expected(5_018)
    now += 1.0
    assert not board.is_expected(5_019)
