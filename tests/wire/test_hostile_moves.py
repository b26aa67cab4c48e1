"""Hostile inputs, row 42: retrieves that would go round in circles, and more at once than a destination takes."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field

import pytest
from pydicom.dataset import Dataset
from support import rude
from support.rude import IMPLICIT_LE, MOVE, Peer, context, message, query_request
from support.samples import encoded, tiny, uid, write
from support.server import LONG, Archive, wait_for
from support.small_archive import USUAL, served, serving
from support.small_archive import Archive as Receiver
from support.standing_rules import PATIENT, Watched

from pacs_server.dimse.turns import AT_ONCE
from pacs_server.net.association import Association

HELD = uid("study", "good")  # four objects
MOVES = 200 if LONG else 50
PROCESSES = 2
UNKNOWN = 0xA801


@pytest.fixture(scope="module")
def settings() -> dict[str, object]:
    return {"workers": PROCESSES, "network": PATIENT | {"max_connections_per_address": 300}}


def asked(peer: Peer, destination: str, study_uid: str = HELD, **titles: bytes) -> None:
    """Ask for a study to be moved."""
    identifier = Dataset()
    identifier.QueryRetrieveLevel, identifier.StudyInstanceUID = "STUDY", study_uid
    assert peer.associate(context(1, rude.STUDY_MOVE, IMPLICIT_LE), **titles)[0] == rude.ASSOCIATE_AC
    request = query_request(MOVE, rude.STUDY_MOVE, destination=destination)
    peer.send(message(1, request, encoded(identifier, IMPLICIT_LE)))


@pytest.mark.parametrize("destination", ["PACS", "NOBODY", "", "*", "\\"])
def test_row_42_a_move_to_ourselves_or_to_nobody_is_refused(ill_treated: Watched, destination: str) -> None:
    with ill_treated.case(f"row 42: to {destination!r}") as case, case.connect() as peer:
        asked(peer, destination)
        assert peer.answered() == UNKNOWN
        peer.release()


@pytest.mark.parametrize("destination", ["PACS", "  PACS"])
def test_row_42_a_move_to_ourselves_under_a_registered_title_is_refused(ill_treated: Watched, destination: str) -> None:
    archive = ill_treated.archive
    archive.add_peer("PACS", archive.port)
    try:
        with ill_treated.case(f"row 42: to {destination!r}, registered") as case, case.connect() as peer:
            asked(peer, destination)
            assert peer.answered() == UNKNOWN
            peer.release()
    finally:
        archive.pacs("ae", "remove", "PACS", "--yes")


def test_row_42_a_move_to_the_caller_sends_everything_once(ill_treated: Watched) -> None:
    with served(USUAL) as receiver, ill_treated.case("row 42: to the caller") as case:
        ill_treated.archive.add_peer("CALLER", receiver.address[1], "--from", case.address)
        with case.connect() as peer:
            asked(peer, "CALLER", calling=b"CALLER")
            assert peer.answered() == 0x0000
            peer.release()
    assert len(receiver.stored) == 4


@dataclass
class Slow(Receiver):
    """A destination that answers no C-STORE before it may."""

    may_answer: threading.Event = field(default_factory=threading.Event)

    def _store(self, association: Association) -> int:
        status = super()._store(association)
        assert self.may_answer.wait(60)
        return status


@pytest.fixture
def slow() -> Iterator[Slow]:
    with serving(Slow(USUAL)) as receiver:
        try:
            yield receiver
        finally:
            receiver.may_answer.set()


def test_row_42_moves_to_one_slow_destination_wait_for_each_other_and_nobody_else_for_them(
    ill_treated: Watched, slow: Slow
) -> None:
    """Each that sends holds objects; so only some of the moves do at once, and the others begin after them."""
    archive = ill_treated.archive
    archive.add_peer("SLOW", slow.address[1])
    ill_treated.forget_peak()
    before = ill_treated.peak_bytes()
    with ill_treated.case("row 42: many moves at once") as case, ExitStack() as opened:
        peers = [opened.enter_context(case.connect()) for _ in range(MOVES)]
        for peer in peers:
            asked(peer, "SLOW")
        wait_for(lambda: len(slow.commands) == PROCESSES * AT_ONCE, "each turn to be taken", timeout_s=60)
        left = peers.pop()
        left.reset()  # one that waits may leave
        assert ill_treated.store(tiny("meanwhile", study="other")) == 0x0000
        case.stored = 1
        assert len(slow.agreed) == PROCESSES * AT_ONCE
        slow.may_answer.set()
        assert {peer.answered() for peer in peers} == {0x0000}
        for peer in peers:
            peer.release()
    assert len(slow.stored) in (4 * (MOVES - 1), 4 * MOVES)
    assert ill_treated.peak_bytes() - before < 96 << 20


def test_row_42_what_goes_round_in_a_ring_comes_to_rest(new_archive, tmp_path) -> None:  # type: ignore[no-untyped-def]
    """Each sends on to the next whatever it gets; the third does not know that the first has it."""
    ring: list[Archive] = [new_archive(aet=aet) for aet in ("FIRST", "SECOND", "THIRD")]
    for archive in ring:
        archive.start()
    for archive, following in zip(ring, (*ring[1:], ring[0]), strict=True):
        archive.add_peer(following.aet, following.port)
        archive.pacs("route", "add", "on", "--to", following.aet)
    sample = write(tiny(1, study="ring"), tmp_path / "object.dcm")
    ring[0].pacs("import", str(sample.path))
    for archive in ring:
        wait_for(lambda one=archive: sent(one) == 1, "each to have sent it on", timeout_s=60, every_s=0.1)  # type: ignore[misc]
    with Peer(("127.0.0.1", ring[0].port)) as peer:
        asked(peer, "SECOND", sample.study_uid, called=b"FIRST")
        assert peer.answered() == 0x0000
        peer.release()
    for archive in ring:
        wait_for(lambda one=archive: one.report("jobs", "list") == [], "nothing to be owed", every_s=0.1)  # type: ignore[misc]
        assert (sent(archive), len(archive.files())) == (1, 1)


def sent(archive: Archive) -> int:
    """How many objects it has sent to the only peer that it has a route to."""
    return sum(row["sent"] for row in archive.report("send", "list"))
