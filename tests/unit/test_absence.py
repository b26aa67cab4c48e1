"""Who waits for a PostgreSQL that is away, for how long, and who tries whether it is back."""

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from psycopg2 import OperationalError
from support.server import wait_for

from pacs_server.index.drivers import absence
from pacs_server.index.drivers.absence import Absence

LONG_S = 3_600.0


class Server:
    """A database that is away, or not; it counts who tries to connect, and how many do at once."""

    def __init__(self) -> None:
        self.is_away = True
        self.tries = self.at_once = self.most_at_once = 0
        self._counting = threading.Lock()

    def connect(self) -> str:
        with self._counting:
            self.tries += 1
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            if self.is_away:
                raise OperationalError("it is away")
            return "a connection"
        finally:
            self.at_once -= 1


class Caller(threading.Thread):
    """Somebody who needs a connection, and what came of it."""

    def __init__(self, one: Absence, connect: Callable[[], Any]) -> None:
        super().__init__(daemon=True)
        self._one, self._connect, self.got = one, connect, ""
        self.start()

    def run(self) -> None:
        try:
            self.got = self._one.outlasted(self._connect)
        except OperationalError as error:
            self.got = str(error)


@pytest.fixture(autouse=True)
def _without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(absence, "_TRY_EVERY_S", 0.001)


def waiting_for(server: Server, one: Absence, number: int = 1) -> list[Caller]:
    """Those who wait, once the server was tried again and again."""
    before = server.tries
    callers = [Caller(one, server.connect) for _ in range(number)]
    wait_for(lambda: server.tries > before + number + 10, "several tries")
    return callers


def test_nobody_waits_unless_told_to() -> None:
    server = Server()
    with pytest.raises(OperationalError, match="it is away"):
        Absence().outlasted(server.connect)
    assert server.tries == 1


def test_who_waits_gets_a_connection_when_it_is_back() -> None:
    server, one = Server(), Absence()
    one.wait(LONG_S)
    callers = waiting_for(server, one, 8)
    server.is_away = False
    for caller in callers:
        caller.join(60)
    assert [caller.got for caller in callers] == ["a connection"] * 8


def test_one_tries_for_all_who_wait() -> None:
    server, one = Server(), Absence()
    one.wait(LONG_S)
    one.began(time.monotonic())
    callers = waiting_for(server, one, 8)
    one.wait(0)
    for caller in callers:
        caller.join(60)
    assert server.most_at_once == 1


def test_once_the_wait_has_run_out_nobody_waits_until_it_was_back() -> None:
    """It counts from when a question was asked that was left unanswered."""
    server, one = Server(), Absence()
    one.wait(LONG_S)
    one.began(time.monotonic() - LONG_S)
    for _ in range(3):
        Caller(one, server.connect).join(60)
    assert server.tries == 3
    server.is_away = False
    one.outlasted(server.connect)
    server.is_away = True
    (caller,) = waiting_for(server, one)
    server.is_away = False
    caller.join(60)
    assert caller.got == "a connection"


def test_the_thread_that_hears_of_signals_does_not_wait_and_ends_the_wait_of_others() -> None:
    server, one = Server(), Absence()
    one.wait(LONG_S)
    callers = waiting_for(server, one, 3)
    with pytest.raises(OperationalError):
        one.outlasted(server.connect)
    assert all(caller.is_alive() for caller in callers)
    one.wait(0)
    for caller in callers:
        caller.join(60)
    assert [caller.got for caller in callers] == ["it is away"] * 3
