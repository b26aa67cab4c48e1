"""Hostile inputs, rows 10, 11, 15 and 16: many at once, again and again, and peers that leave or stop reading in the
middle, against a running archive.
"""

import itertools
import socket
import threading
from contextlib import ExitStack, suppress

import pytest
from pydicom.dataset import Dataset
from support import rude
from support.rude import (
    CT_STORAGE,
    EXPLICIT_LE,
    GET,
    IMPLICIT_LE,
    MOVE,
    Peer,
    context,
    item,
    message,
    p_data,
    pdu,
    query_request,
    role,
    store_request,
    user_information,
    value,
)
from support.samples import encoded, tiny, uid
from support.server import LONG, resident_bytes, wait_for
from support.standing_rules import LIMITS, PATIENT, PAYLOAD, SERVED_S, SETTLE_S, Watched

LARGE = uid("study", "large")
LARGE_BYTES = 24 << 20
CALLERS = 2_000 if LONG else 300
KNOCKS = 10_000 if LONG else 1_000
LEAVING = 1_000 if LONG else 120


@pytest.fixture(scope="module")
def settings() -> dict[str, object]:
    # Small objects too are streamed to a temp file. As many connections as may be open at once leave 50 MiB in the
    # allocator of the processes, once. What is waited for here are silent peers and those that take nothing; a crowd
    # needs its time to come.
    network = PATIENT | {"association_timeout_s": 5.0, "send_timeout_s": LIMITS.send_timeout_s}
    return {"storage": {"memory_per_object_bytes": 1 << 16}, "may_grow_bytes": 128 << 20, "network": network}


@pytest.fixture(scope="module", autouse=True)
def large(ill_treated: Watched) -> None:
    """An object larger than what the kernel takes from us for a peer that reads nothing."""
    dataset = tiny("large", study="large", PixelData=bytes(LARGE_BYTES), Rows=1, Columns=1, BitsAllocated=8)
    dataset["PixelData"].VR = "OB"
    assert ill_treated.store(dataset) == 0x0000


# --- rows 10, 11: crowds ---


def test_row_10_silent_connections_of_one_address_keep_nobody_else_out(ill_treated: Watched) -> None:
    with ill_treated.case("row 10: one address", has_a_line_each=False) as case, ExitStack() as opened:
        crowd = [opened.enter_context(case.connect()) for _ in range(CALLERS)]
        assert ill_treated.echo() < SERVED_S
        assert [peer.ended() for peer in crowd[-CALLERS // 2 :]] == [None] * (CALLERS // 2), "more than its share"
        assert {peer.ended() for peer in crowd} == {rude.ABORT, None}


def test_row_10_twenty_silent_connections_of_each_of_many_addresses_keep_nobody_out(ill_treated: Watched) -> None:
    address = ("127.0.0.1", ill_treated.archive.port)
    many = [f"127.200.{number // 200}.{1 + number % 200}" for number in range(CALLERS // 20)]
    held = []
    for _ in range(3):
        with ill_treated.case("row 10: many addresses", is_audited=False), ExitStack() as opened:
            crowd = [opened.enter_context(Peer(address, source=(one, 0))) for one in many for _ in range(20)]
            assert ill_treated.echo() < SERVED_S
            assert {peer.ended() for peer in crowd} <= {rude.ABORT, None}
        held.append(resident_bytes(ill_treated.archive.pid))
    assert min(held[1] - held[0], held[2] - held[1]) < 16 << 20, "each crowd leaves something behind"


@pytest.mark.parametrize("leaves", ["closes", "resets"])
def test_row_11_quick_connections_leave_nothing(ill_treated: Watched, leaves: str) -> None:
    with ill_treated.case(f"row 11: {leaves}", is_audited=False, has_a_line_each=False) as case:
        for _ in range(KNOCKS // 2):
            peer = case.connect()
            peer.reset() if leaves == "resets" else peer.socket.close()


# --- row 15: objects that do not end ---


def begun(size_bytes: int) -> bytes:
    """A C-STORE of an object of that size and more, without its last fragment."""
    dataset = tiny("off", PatientComments=PAYLOAD, PixelData=bytes(size_bytes), BitsAllocated=8)
    dataset["PixelData"].VR = "OB"
    data_set = encoded(dataset)
    pieces = (data_set[start : start + 16_000] for start in range(0, len(data_set), 16_000))
    command = store_request(sop_instance=dataset.SOPInstanceUID)
    return p_data(value(3, 3, command)) + b"".join(p_data(value(3, 0, piece)) for piece in pieces)


@pytest.mark.parametrize("size_bytes", [100, 200_000], ids=["in memory", "in a temp file"])
def test_row_15_objects_that_break_off_leave_nothing(ill_treated: Watched, size_bytes: int) -> None:
    told = begun(size_bytes)
    with ill_treated.case("row 15", has_a_line_each=False) as case:
        for way in itertools.islice(itertools.cycle(("abort", "reset", "close")), LEAVING // 2):
            with case.connect() as peer:
                peer.associate(*rude.ECHO_AND_CT)
                peer.send(told)
                if way == "abort":
                    peer.send(pdu(rude.ABORT, bytes(4)))
                    assert peer.read_pdu() is None
                elif way == "reset":
                    peer.reset()


# --- row 16: peers that stop reading ---


def large_study() -> bytes:
    identifier = Dataset()
    identifier.QueryRetrieveLevel, identifier.StudyInstanceUID = "STUDY", LARGE
    return encoded(identifier, IMPLICIT_LE)


def test_row_16_a_peer_that_stops_reading_its_c_get_is_dropped(ill_treated: Watched) -> None:
    get = query_request(GET, rude.STUDY_GET)
    with ill_treated.case("row 16: C-GET") as case, case.connect(receive_bytes=4096) as peer:
        roles = user_information(role(CT_STORAGE, 0, 1))
        peer.associate(context(1, rude.STUDY_GET, IMPLICIT_LE), context(3, CT_STORAGE, EXPLICIT_LE), user=roles)
        begin = ill_treated.archive.log.stat().st_size
        peer.send(message(1, get, large_study()))
        wait_for(
            lambda: b"took too long to take" in ill_treated.archive.log.read_bytes()[begin:],
            "it to be dropped", timeout_s=SETTLE_S,
        )  # fmt: skip


def test_row_16_a_move_destination_that_stops_reading_is_dropped(ill_treated: Watched) -> None:
    with socket.socket() as listening, ExitStack() as held:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        ill_treated.archive.add_peer("DEAF", listening.getsockname()[1])

        def accept_and_be_deaf() -> None:
            with suppress(OSError):
                while True:
                    connection = held.enter_context(listening.accept()[0])
                    connection.recv(65_536)
                    accepted = item(0x21, b"\1\0\0\0" + item(0x40, EXPLICIT_LE.encode()))
                    name = item(0x10, rude.APPLICATION_CONTEXT.encode())
                    connection.sendall(pdu(rude.ASSOCIATE_AC, bytes(68) + name + accepted + user_information()))

        deaf = threading.Thread(target=accept_and_be_deaf, daemon=True)
        deaf.start()
        with ill_treated.case("row 16: C-MOVE") as case, case.connect() as peer:
            peer.associate(context(1, rude.STUDY_MOVE, IMPLICIT_LE))
            peer.send(message(1, query_request(MOVE, rude.STUDY_MOVE, destination="DEAF"), large_study()))
            assert peer.answered() == 0xA702
            peer.release()
            held.close()
        listening.shutdown(socket.SHUT_RDWR)
        deaf.join(60)
