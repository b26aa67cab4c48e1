"""Scripted peers without manners: each is aborted, rejected or dropped in time, and nobody else notices."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace

import pytest
from support import rude
from support.rude import Peer
from support.small_archive import CONTEXTS, QUICK, USUAL, Archive, call, scripted, send_ct, served, wait_until

from pacs_server.errors import (
    PeerAborted,
    PeerTimedOut,
    ProtocolViolation,
)
from pacs_server.net import client
from pacs_server.net.message import decode_command
from pacs_server.settings import NetworkLimits


@pytest.fixture
def serving() -> Iterator[Callable[[NetworkLimits], Archive]]:
    with ExitStack() as stack:
        yield lambda limits: stack.enter_context(served(limits))


@pytest.fixture
def archive(serving: Callable[[NetworkLimits], Archive]) -> Archive:
    return serving(USUAL)


@pytest.fixture
def quick(serving: Callable[[NetworkLimits], Archive]) -> Archive:
    return serving(QUICK)


# --- rude callers: at the door ---


@pytest.mark.parametrize(
    "first",
    [
        b"GET / HTTP/1.1\r\nHost: pacs\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
        b"SSH-2.0-OpenSSH_9.0\r\n",
        rude.pdu(0x99, bytes(10)),
        rude.pdu(rude.ASSOCIATE_RQ, bytes(1000), 0xFFFFFFFF),
        rude.pdu(rude.ASSOCIATE_RQ, bytes(67)),
        rude.p_data(rude.value(1, 3, rude.echo_request())),
        rude.pdu(rude.RELEASE_RQ, bytes(4)),
        rude.pdu(rude.ASSOCIATE_AC, bytes(68)),
        rude.associate_request(),
        rude.associate_request(rude.context(1, rude.VERIFICATION)),
        rude.associate_request(rude.context(2, rude.VERIFICATION, rude.IMPLICIT_LE)),
    ],
)
def test_what_is_no_association_request_is_aborted_at_once(archive: Archive, first: bytes) -> None:
    with Peer(archive.address) as peer:
        peer.send(first)
        assert peer.aborted()[0] == 2
    assert isinstance(archive.ending(), ProtocolViolation)


def test_an_abort_before_an_association_just_ends_the_connection(archive: Archive) -> None:
    with Peer(archive.address) as peer:
        peer.send(rude.pdu(rude.ABORT, bytes(4)))
        assert peer.read_pdu() is None
    assert isinstance(archive.ending(), PeerAborted)


def test_a_length_of_4_gib_is_not_waited_for(archive: Archive) -> None:
    with Peer(archive.address) as peer:
        peer.send(rude.pdu(rude.ASSOCIATE_RQ, b"", 0xFFFFFFFF))
        assert peer.aborted() == (2, 6)
    assert isinstance(archive.ending(), ProtocolViolation)


@pytest.mark.parametrize("first", [b"", b"\x01\x00\x00", rude.associate_request()[:50]])
def test_silence_before_the_request_is_complete_ends_at_the_deadline(quick: Archive, first: bytes) -> None:
    with Peer(quick.address) as peer:
        peer.send(first)
        assert peer.aborted()[0] == 2
    assert isinstance(quick.ending(), PeerTimedOut)


def drip(peer: Peer, data: bytes) -> float:
    """Send a byte every 50 ms until the other side has had enough; how long that took."""
    started = time.monotonic()
    with suppress(OSError):
        for byte in data:
            peer.send(bytes((byte,)))
            time.sleep(0.05)
    return time.monotonic() - started


def test_a_request_that_drips_is_ended_at_the_deadline(quick: Archive) -> None:
    with Peer(quick.address) as peer:
        assert drip(peer, rude.associate_request(rude.context(1, rude.VERIFICATION, rude.IMPLICIT_LE))) < 4
    assert isinstance(quick.ending(), PeerTimedOut)


def test_a_pdu_that_drips_is_ended_at_the_deadline(quick: Archive) -> None:
    with Peer(quick.address) as peer:
        peer.associate()
        assert drip(peer, rude.p_data(rude.value(1, 3, rude.echo_request()))) < 3
    assert isinstance(quick.ending(), PeerTimedOut)


def test_an_idle_association_is_ended_at_the_idle_deadline(quick: Archive) -> None:
    with Peer(quick.address) as peer:
        peer.associate()
        started = time.monotonic()
        assert peer.aborted() == (2, 0)
        assert time.monotonic() - started > QUICK.idle_timeout_s * 0.9
    assert isinstance(quick.ending(), PeerTimedOut)


@pytest.mark.parametrize(
    ("request_pdu", "numbers"),
    [
        (rude.associate_request(rude.context(1, rude.VERIFICATION, "1.2"), version=2), (1, 2, 2)),
        (rude.associate_request(rude.context(1, rude.VERIFICATION, "1.2"), name="1.2.3"), (1, 1, 2)),
        (rude.associate_request(rude.context(1, rude.VERIFICATION, "1.2"), calling=b"NOBODY"), (1, 1, 3)),
    ],
)
def test_a_rejection_reaches_the_peer(archive: Archive, request_pdu: bytes, numbers: tuple[int, ...]) -> None:
    with Peer(archive.address) as peer:
        peer.send(request_pdu)
        assert peer.read_pdu() == (rude.ASSOCIATE_RJ, bytes((0, *numbers)))
        assert peer.read_pdu() is None
    assert archive.ending() is None


# --- rude callers: inside ---

ECHO_AND_CT = rude.ECHO_AND_CT
STORE = rude.STORE

VIOLATIONS = {
    "unknown PDU type": rude.pdu(0x08, bytes(4)),
    "second association request": rude.associate_request(*ECHO_AND_CT),
    "release reply that answers nothing": rude.pdu(rude.RELEASE_RP, bytes(4)),
    "P-DATA longer than announced": rude.pdu(rude.P_DATA, bytes(10), USUAL.max_pdu_bytes + 1),
    "P-DATA of length 0": rude.pdu(rude.P_DATA, b""),
    "data value of length 0": rude.p_data(rude.value(1, 3, b"123456", 0)),
    "data value of length 1": rude.p_data(rude.value(1, 3, b"123456", 1)),
    "data value past its PDU": rude.p_data(rude.value(1, 3, b"123456", 0xFFFFFFFF)),
    "unknown Command Field": rude.p_data(
        rude.value(1, 3, rude.command_set(rude.us(0x0100, 0x42), rude.us(0x0110, 1), rude.us(0x0800, 0x0101)))
    ),
    "no Command Field": rude.p_data(rude.value(1, 3, rude.command_set(rude.us(0x0110, 1), rude.us(0x0800, 0x0101)))),
    "response as if it were a request": rude.p_data(
        rude.value(
            1,
            3,
            rude.command_set(rude.us(0x0100, 0x8030), rude.us(0x0120, 1), rude.us(0x0800, 0x0101), rude.us(0x0900, 0)),
        )
    ),
    "command on a refused context": rude.p_data(rude.value(5, 3, rude.echo_request())),
    "command on a context never proposed": rude.p_data(rude.value(99, 3, rude.echo_request())),
    "data set on a refused context": STORE + rude.p_data(rude.value(5, 2, b"data")),
    "data set without a command": rude.p_data(rude.value(3, 2, b"data")),
    "command inside a data set": STORE + rude.p_data(rude.value(3, 0, b"data"), rude.value(1, 3, rude.echo_request())),
    "release inside a data set": STORE + rude.p_data(rude.value(3, 0, b"data")) + rude.pdu(rude.RELEASE_RQ, bytes(4)),
    "endless command": rude.p_data(rude.value(1, 1, bytes(1000))) * 20,
    "endless empty command": rude.p_data(*[rude.value(1, 1, b"")] * 10_000),
    "endless empty data set": STORE + rude.p_data(*[rude.value(3, 0, b"")] * 10_000),
    "random bytes as a command": rude.p_data(rude.value(1, 3, bytes(range(200)))),
    "101 stale cancels": rude.p_data(rude.value(1, 3, rude.cancel_request(9))) * 101,
}


@pytest.mark.parametrize("name", VIOLATIONS)
def test_a_violation_is_aborted_and_harms_nobody_else(archive: Archive, name: str) -> None:
    with Peer(archive.address) as peer:
        assert peer.associate(*ECHO_AND_CT)[0] == rude.ASSOCIATE_AC
        peer.send(VIOLATIONS[name])
        assert peer.aborted()[0] == 2
    assert isinstance(archive.ending(), ProtocolViolation)
    assert archive.stored == []
    good = call(archive)
    assert client.echo(good) == 0
    good.release()


def test_an_object_over_the_cap_is_aborted(serving: Callable[[NetworkLimits], Archive]) -> None:
    archive = serving(replace(USUAL, max_object_bytes=1 << 20))
    association = call(archive)
    with pytest.raises(PeerAborted):
        send_ct(association, bytes((1 << 20) + 1))
    association.close()
    assert isinstance(archive.ending(), ProtocolViolation)
    assert archive.stored == []


def test_fragments_and_pdus_need_not_coincide(archive: Archive) -> None:
    encoded = rude.store_request()
    with Peer(archive.address) as peer:
        peer.associate(*ECHO_AND_CT)
        peer.send(
            rude.p_data(rude.value(3, 1, encoded[:5]), rude.value(3, 1, b""), rude.value(3, 3, encoded[5:]))
            + rude.p_data(rude.value(3, 0, b"ab"), rude.value(3, 0, b""))
            + rude.p_data(rude.value(3, 2, b"cd"))
        )
        found = peer.read_pdu()
        assert found is not None
        assert found[0] == rude.P_DATA
        peer.send(rude.pdu(rude.RELEASE_RQ, bytes(4)))
        assert peer.read_pdu() == (rude.RELEASE_RP, bytes(4))
    assert archive.stored == [b"abcd"]


def test_an_echo_with_a_data_set_leaves_the_stream_in_order(archive: Archive) -> None:
    with Peer(archive.address) as peer:
        peer.associate()
        peer.send(rude.p_data(rude.value(1, 3, rude.echo_request(data_set_type=1)), rude.value(1, 2, b"data")))
        assert peer.read_pdu() is not None
        peer.send(rude.p_data(rude.value(1, 3, rude.echo_request(2))))
        found = peer.read_pdu()
        assert found is not None
        assert decode_command(found[1][6:], 1).responded_to == 2
        peer.send(rude.pdu(rude.RELEASE_RQ, bytes(4)))


def test_500_pipelined_requests_are_answered_one_by_one(archive: Archive) -> None:
    with Peer(archive.address) as peer:
        peer.associate()
        peer.send(b"".join(rude.p_data(rude.value(1, 3, rude.echo_request(number))) for number in range(1, 501)))
        answers = [peer.read_pdu() for _ in range(500)]
        assert [decode_command(found[1][6:], 1).responded_to for found in answers if found] == list(range(1, 501))
        peer.send(rude.pdu(rude.RELEASE_RQ, bytes(4)))


@pytest.mark.parametrize("ending", ["abort", "reset", "close"])
def test_a_peer_that_leaves_inside_a_data_set_leaves_nothing(archive: Archive, ending: str) -> None:
    with Peer(archive.address) as peer:
        peer.associate(*ECHO_AND_CT)
        peer.send(STORE + rude.p_data(rude.value(3, 0, bytes(1000))))
        wait_until(lambda: len(archive.commands) == 1)
        if ending == "abort":
            peer.send(rude.pdu(rude.ABORT, bytes(4)))
        elif ending == "reset":
            peer.reset()
        else:
            peer.socket.close()
        assert isinstance(archive.ending(), PeerAborted)
    assert archive.stored == []


def test_a_peer_that_stops_reading_is_dropped_at_the_send_deadline(quick: Archive) -> None:
    find_context = rude.context(1, rude.STUDY_FIND, rude.IMPLICIT_LE)
    request = rude.command_set(rude.us(0x0100, 0x0020), rude.us(0x0110, 1), rude.us(0x0700, 0), rude.us(0x0800, 1))
    with Peer(quick.address, receive_bytes=4096) as peer:
        peer.associate(find_context)
        large = rude.p_data(rude.value(1, 0, bytes(100_000)))
        peer.send(rude.p_data(rude.value(1, 3, request)) + large + rude.p_data(rude.value(1, 2, b"")))
        assert isinstance(quick.ending(), PeerTimedOut)


@pytest.mark.parametrize("largest", [7, 4095])
def test_objects_are_not_sent_in_tiny_pdus(largest: int) -> None:
    user = rude.item(0x50, rude.item(0x51, largest.to_bytes(4, "big")))
    accepted = rude.item(0x21, b"\3\0\0\0" + rude.item(0x40, rude.EXPLICIT_LE.encode()))
    reply = rude.pdu(
        rude.ASSOCIATE_AC, bytes(68) + rude.item(0x10, rude.APPLICATION_CONTEXT.encode()) + accepted + user
    )
    server, thread, destination = scripted(reply)
    with server:
        association = client.connect(destination, calling_aet="US", contexts=CONTEXTS, limits=QUICK)
        with pytest.raises(ProtocolViolation, match="raise its maximum PDU length"):
            send_ct(association, b"data")
        association.close()
        thread.join(10)
        assert not thread.is_alive()
