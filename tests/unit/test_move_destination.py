"""How the destination of a C-MOVE is called: what is proposed together, how long it is waited for, and whose turn it
is.
"""

import threading
from contextlib import ExitStack
from typing import cast

import pytest
from support.server import wait_for

from pacs_server.dicom.elements import EXPLICIT_LE, IMPLICIT_LE
from pacs_server.dimse.move_destination import answered, batches, proposals
from pacs_server.dimse.turns import AT_ONCE, Turns
from pacs_server.errors import PacsError, PeerUnreachable
from pacs_server.index.queries.search import Deliverable
from pacs_server.net.association import Association
from pacs_server.net.client import MAX_CONTEXTS


def item(number: int, transfer_syntax: str = EXPLICIT_LE) -> Deliverable:
    return Deliverable(
        sop_class=f"1.2.{number}", sop_uid=f"1.3.{number}", transfer_syntax=transfer_syntax, size_bytes=2,
        digest="0" * 64, study_uid="1", series_uid="1.1", copies=(),
    )  # fmt: skip


def test_objects_are_cut_where_their_contexts_do_not_fit_in_one_association() -> None:
    together = MAX_CONTEXTS // len(proposals([item(0)], ""))
    items = [item(number) for number in (*range(together), 0, *range(together + 8), *range(8))]
    cut = list(batches(items, ""))
    assert [one for batch in cut for one in batch] == items
    assert [len(batch) for batch in cut] == [2 * together + 1, 16]
    assert all(len(proposals(batch, "")) <= MAX_CONTEXTS for batch in cut)


def test_contexts_are_counted_anew_for_each_part() -> None:
    together = MAX_CONTEXTS // len(proposals([item(0)], ""))
    items = [item(number) for number in (*range(together + 8), *range(together))]
    assert all(len(proposals(batch, "")) <= MAX_CONTEXTS for batch in batches(items, ""))


def test_no_objects_are_no_part() -> None:
    assert list(batches([], "")) == []


def test_each_stored_syntax_of_a_class_is_proposed() -> None:
    proposed = proposals([item(1, EXPLICIT_LE), item(1, IMPLICIT_LE), item(1, EXPLICIT_LE)], "")
    assert [syntaxes for _, syntaxes, _ in proposed if len(syntaxes) == 1] == [(EXPLICIT_LE,), (IMPLICIT_LE,)]
    assert all(not is_receiver for _, _, is_receiver in proposed)


class Opened:
    """An association that opens once it may, or fails."""

    def __init__(self, problem: Exception | None = None) -> None:
        self.may_open, self.is_closed = threading.Event(), threading.Event()
        self._problem = problem

    def request(self) -> Association:
        assert self.may_open.wait(60)
        if self._problem is not None:
            raise self._problem
        return cast(Association, self)

    def close(self) -> None:
        self.is_closed.set()


class Gone(Exception):
    """Who asked has gone."""


def test_an_association_that_opens_is_handed_over_open() -> None:
    opened = Opened()

    def goes_on() -> bool:
        opened.may_open.set()
        return True

    assert answered(opened.request, goes_on) is opened
    assert not opened.is_closed.is_set()


@pytest.mark.parametrize("problem", [PeerUnreachable("it is off"), ValueError("nobody foresaw it")])
def test_why_there_is_no_association_is_raised_where_it_is_waited_for(problem: Exception) -> None:
    opened = Opened(problem)
    opened.may_open.set()
    with pytest.raises(type(problem), match=str(problem)):
        answered(opened.request, lambda: True)


def test_an_association_that_opens_when_nobody_wants_it_any_more_is_closed() -> None:
    opened = Opened()
    assert answered(opened.request, lambda: False) is None
    opened.may_open.set()
    assert opened.is_closed.wait(60)


def test_an_association_that_opens_when_who_asked_has_gone_is_closed() -> None:
    opened = Opened()

    def goes_on() -> bool:
        raise Gone

    with pytest.raises(Gone):
        answered(opened.request, goes_on)
    opened.may_open.set()
    assert opened.is_closed.wait(60)


def test_a_destination_that_fails_when_nobody_waits_any_more_is_no_trouble(caplog: pytest.LogCaptureFixture) -> None:
    before = set(threading.enumerate())
    opened = Opened(PacsError("it failed"))
    assert answered(opened.request, lambda: False) is None
    opened.may_open.set()
    wait_for(lambda: set(threading.enumerate()) <= before, "the thread that called to end")
    assert not caplog.records


def test_a_turn_is_held_for_the_block_and_only_so_many_are() -> None:
    turns, asked = Turns(), []

    def gives_up() -> bool:
        asked.append(1)
        return False

    with ExitStack() as held:
        assert all(held.enter_context(turns.turn("SLOW", gives_up)) for _ in range(AT_ONCE))
        for _ in range(2):  # who gave up has given none back
            with turns.turn("SLOW", gives_up) as has_turn:
                assert not has_turn
        with turns.turn("OTHER", gives_up) as has_turn:
            assert has_turn
    assert len(asked) == 2
    with ExitStack() as held:
        assert all(held.enter_context(turns.turn("SLOW", gives_up)) for _ in range(AT_ONCE))


def test_whoever_leaves_while_waiting_for_a_turn_has_held_none() -> None:
    turns = Turns()

    def leaves() -> bool:
        raise Gone

    with ExitStack() as held:
        for _ in range(AT_ONCE):
            held.enter_context(turns.turn("SLOW", leaves))
        with pytest.raises(Gone):
            held.enter_context(turns.turn("SLOW", leaves))
    with ExitStack() as held:
        assert all(held.enter_context(turns.turn("SLOW", leaves)) for _ in range(AT_ONCE))
