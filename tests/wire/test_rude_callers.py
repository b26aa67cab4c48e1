"""Scripted peers that drip, idle or cut what they say oddly. What is hostile beyond that: test_hostile_transport.py."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace

import pytest
from support import rude
from support.rude import Peer
from support.small_archive import ANSWERS, CONTEXTS, QUICK, USUAL, Archive, scripted, send_ct, served

from pacs_server.errors import (
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


# --- rude callers: at the door ---


def drips_to_the_end(peer: Peer, data: bytes) -> bool:
    """Send a byte every 50 ms, a thousand of them and more, unless the other side has had enough before."""
    assert len(data) > 1_000
    try:
        for byte in data:
            peer.send(bytes((byte,)))
            time.sleep(0.05)
    except OSError:
        return False
    return True


def test_a_request_that_drips_is_ended_at_the_deadline(serving: Callable[[NetworkLimits], Archive]) -> None:
    archive = serving(replace(USUAL, association_timeout_s=QUICK.association_timeout_s))
    user = rude.user_information(rude.item(0x52, bytes(1_000)))
    with Peer(archive.address) as peer:
        assert not drips_to_the_end(peer, rude.associate_request(user=user))
    assert isinstance(archive.ending(), PeerTimedOut)


def test_a_pdu_that_drips_is_ended_at_the_deadline(serving: Callable[[NetworkLimits], Archive]) -> None:
    archive = serving(replace(USUAL, pdu_timeout_s=QUICK.pdu_timeout_s))
    with Peer(archive.address) as peer:
        peer.associate()
        assert not drips_to_the_end(peer, rude.p_data(rude.value(1, 3, bytes(1_000))))
    assert isinstance(archive.ending(), PeerTimedOut)


def test_an_idle_association_is_ended_at_the_idle_deadline(serving: Callable[[NetworkLimits], Archive]) -> None:
    archive = serving(replace(USUAL, idle_timeout_s=QUICK.idle_timeout_s))
    with Peer(archive.address) as peer:
        started = time.monotonic()
        peer.associate()
        assert peer.aborted() == (2, 0)
        assert time.monotonic() - started > QUICK.idle_timeout_s * 0.9
    assert isinstance(archive.ending(), PeerTimedOut)


# --- rude callers: inside ---

ECHO_AND_CT = rude.ECHO_AND_CT


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


def test_a_request_that_comes_before_the_last_one_is_answered_keeps_its_data_set(archive: Archive) -> None:
    query = rude.query_request(rude.FIND, rude.STUDY_FIND, message_id=1)
    object_ = rude.store_request(message_id=2)
    with Peer(archive.address) as peer:
        peer.associate(*ECHO_AND_CT[:2], rude.context(5, rude.STUDY_FIND, rude.IMPLICIT_LE))
        peer.send(rude.message(5, query, b"identifier") + rude.message(3, object_, b"object"))
        assert [peer.answered(), peer.answered()] == [0, 0]
        peer.release()
    assert archive.answered == ANSWERS
    assert archive.stored == [b"object"]


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


@pytest.mark.parametrize("largest", [7, 4095])
def test_objects_are_not_sent_in_tiny_pdus(largest: int) -> None:
    user = rude.item(0x50, rude.item(0x51, largest.to_bytes(4, "big")))
    accepted = rude.item(0x21, b"\3\0\0\0" + rude.item(0x40, rude.EXPLICIT_LE.encode()))
    reply = rude.pdu(
        rude.ASSOCIATE_AC, bytes(68) + rude.item(0x10, rude.APPLICATION_CONTEXT.encode()) + accepted + user
    )
    server, thread, destination = scripted(reply)
    with server:
        association = client.connect(destination, calling_aet="US", contexts=CONTEXTS, limits=USUAL)
        with pytest.raises(ProtocolViolation, match="raise its maximum PDU length"):
            send_ct(association, b"data")
        association.close()
        thread.join(60)
        assert not thread.is_alive()
