"""Hostile inputs, rows 17 to 29: association requests that propose nothing, too much or rubbish, and callers that are
not who they say, against a running archive.
"""

import socket
import struct
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from support import rude
from support.rude import (
    EXPLICIT_LE,
    IMPLICIT_LE,
    VERIFICATION,
    Peer,
    context,
    item,
    p_data,
    role,
    user_information,
    value,
)
from support.server import wait_for
from support.standing_rules import PATIENCE, PATIENT, PAYLOAD, Watched

from pacs_server.index.site.draining import Draining, set_draining
from pacs_server.net.message import decode_command
from pacs_server.service.assemble import Node
from pacs_server.settings import load

ECHO = context(1, VERIFICATION, IMPLICIT_LE)
ELSEWHERE = "192.0.2.77"  # of TEST-NET-1 (RFC 5737), so nobody calls from it
DRAINED = "127.9.9.9"
PAYLOAD_BYTES = PAYLOAD.encode()
LONG_UID = "1.2." + "3" * 60


def request(*contexts: bytes, **fields: object) -> bytes:
    return rude.associate_request(*(contexts or (ECHO,)), **fields)  # type: ignore[arg-type]


def identity(kind: int, primary: bytes, secondary: bytes = b"") -> bytes:
    """A user identity sub-item. Source: PS3.7 table D.3-14."""
    fields = struct.pack(">BBH", kind, 0, len(primary)) + primary + struct.pack(">H", len(secondary)) + secondary
    return request(user=user_information(item(0x58, fields)))


DAMAGED = {
    "row 17: no context": rude.associate_request(),
    "row 18: a context without a transfer syntax": request(context(1, VERIFICATION)),
    "row 18: a second one without": request(ECHO, context(3, VERIFICATION)),
    "row 18: a context without an abstract syntax": request(item(0x20, b"\1\0\0\0" + item(0x40, b"1.2"))),
    "row 18: a context of two abstract syntaxes": request(item(0x20, b"\1\0\0\0" + 2 * item(0x30, b"1.2"))),
    "row 18: an even context ID": request(context(2, VERIFICATION, IMPLICIT_LE)),
    "row 18: a context ID twice": request(ECHO, ECHO),
    "row 20: 257 syntaxes in a context": request(context(1, VERIFICATION, *[IMPLICIT_LE] * 261)),
    "row 20: 10,000 sub-items": request(user=user_information(*[item(0x52, b"1")] * 10_000)),
    "row 20: 10,000 contexts": request(*[ECHO] * 10_000),
    "row 21: an item past its PDU": request(item(0x20, ECHO[4:], 0xFFFF)),
    "row 21: a sub-item past its item": request(item(0x20, b"\1\0\0\0" + item(0x30, b"1.2", 0x7FFF))),
    "row 21: a syntax shorter than it says": request(item(0x20, b"\1\0\0\0" + item(0x30, b"1.2") + item(0x40, b"", 9))),
    "row 21: a context of 3 bytes": request(item(0x20, b"\1\0\0")),
    "row 21: an item of type 0xFF": request(ECHO, item(0xFF, PAYLOAD_BYTES)),
    "row 21: a sub-item of type 0xFF in a context": request(item(0x20, ECHO[4:] + item(0xFF, PAYLOAD_BYTES))),
    "row 21: an answer in place of a proposal": request(item(0x21, ECHO[4:])),
    "row 21: two application contexts": request(item(0x10, rude.APPLICATION_CONTEXT.encode()), ECHO),
    "row 21: user information past its PDU": request(user=item(0x50, b"", 0xFFFF)),
    "row 21: a role past its item": request(user=user_information(item(0x54, b"\xff\xff1.2\1\1"))),
    "row 21: a maximum length of 2 bytes": request(user=item(0x50, item(0x51, b"\0\1"))),
    "row 21: a maximum length in which nothing fits": request(user=user_information(max_pdu_bytes=6)),
    "row 21: a name that is no UID": request(context(1, PAYLOAD * 10, IMPLICIT_LE)),
}

PERMANENT, BY_USER, BY_PROVIDER = 1, 1, 2
CALLED, CALLING = (PERMANENT, BY_USER, 7), (PERMANENT, BY_USER, 3)
NO_REASON, CONTEXT_NAME = (PERMANENT, BY_USER, 1), (PERMANENT, BY_USER, 2)
REJECTED = {
    **{
        f"row 23: called {called!r}": (request(called=called), CALLED)
        for called in (b"OTHER", b"", b"pacs", b"PACS1", b"PACS\0\0\0\0\0\0\0\0\0\0\0\0", b"\0" * 16, b"PA\r\nCS")
    },
    **{
        f"row 24: calling {calling!r}": (request(calling=calling), CALLING)
        for calling in (
            *(b"", "検査室".encode("shift_jis"), b"CT\r\n1", b"CT\\1", b"\x1b[31mCT1", b"\xff" * 16),
            *(b"CT1\0", b"\0" * 16, b"CT\x7f1", b"CT\x9b1", b"CT\x851"),
        )
    },
    "row 25: a registered title from another address": (request(calling=b"ELSEWHERE"), CALLING),
    "row 26: the version without its bit 0": (request(version=2), (PERMANENT, BY_PROVIDER, 2)),
    "row 26: version 0": (request(version=0), (PERMANENT, BY_PROVIDER, 2)),
    "row 26: another application context": (request(name="1.2.3"), CONTEXT_NAME),
    "row 26: no application context": (request(name=""), CONTEXT_NAME),
    "row 28: an empty identity": (request(user=user_information(item(0x58, b""))), NO_REASON),
    "row 28: an identity without a name": (identity(1, b""), NO_REASON),
    "row 28: a name of 64 kB": (identity(1, PAYLOAD_BYTES * 5_900), NO_REASON),
    "row 28: SAML of 64 kB": (identity(4, PAYLOAD_BYTES * 5_900), NO_REASON),
    "row 28: JWT of 64 kB": (identity(5, PAYLOAD_BYTES * 5_900), NO_REASON),
    **{f"row 28: type {kind}": (identity(kind, PAYLOAD_BYTES), NO_REASON) for kind in (0, 6, 255)},
}

GRANTED = {
    "row 20: 128 contexts of 60 syntaxes": request(
        *[context(number, VERIFICATION, *[LONG_UID] * 59, IMPLICIT_LE) for number in range(1, 256, 2)]
    ),
    "row 20: 64 kB of user information": request(user=user_information(*[role(LONG_UID, 1, 1)] * 880)),
    "row 21: a role for a class that was not proposed": request(user=user_information(role(PAYLOAD, 255, 9))),
    "row 23: called with spaces around": request(called=b"  PACS"),
    "row 26: version 0xFFFF": request(version=0xFFFF),
    "row 28: a name and a passcode": identity(2, PAYLOAD_BYTES, PAYLOAD_BYTES),
    "row 29: a window of 0 and 0": request(user=user_information(item(0x53, bytes(4)))),
    "row 29: a window of 65,535": request(user=user_information(item(0x53, b"\xff" * 4))),
}
WINDOW_OF_ONE = item(0x53, b"\0\1\0\1")
# A quiet machine takes 5 ms for the largest of them. Whatever else the archive does meanwhile, or is counted late, adds
# to what one attempt costs, so that the cheapest counts.
CPU_S = 0.1 * PATIENCE
MEMORY_BYTES = 8 << 20


@pytest.fixture(scope="module")
def settings() -> dict[str, object]:
    return {"host": "0.0.0.0", "network": PATIENT}


@pytest.fixture(scope="module", autouse=True)
def registered(ill_treated: Watched) -> None:
    ill_treated.archive.add_peer("ELSEWHERE", 104, host=ELSEWHERE)


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_request_is_aborted(ill_treated: Watched, name: str) -> None:
    with ill_treated.case(name) as case, case.connect() as peer:
        peer.send(DAMAGED[name])
        assert peer.aborted()[0] == 2


@pytest.mark.parametrize("name", REJECTED)
def test_a_caller_is_rejected_with_the_numbers_of_the_standard(ill_treated: Watched, name: str) -> None:
    told, numbers = REJECTED[name]
    with ill_treated.case(name) as case, case.connect() as peer:
        peer.send(told)
        assert peer.read_pdu() == (rude.ASSOCIATE_RJ, bytes((0, *numbers)))
        assert peer.read_pdu() is None


def test_who_is_rejected_before_he_is_known_is_named_with_the_reason(ill_treated: Watched) -> None:
    with ill_treated.case("row 28: named") as case, case.connect() as peer:
        peer.send(identity(6, PAYLOAD_BYTES))
        assert peer.read_pdu() is not None
    row = ill_treated.told(case.address, "user identity is of a type that nobody knows")
    assert (row["event"], row["who"]) == ("association", "CT1")


UNHEARD = {
    "row 26: version 0, seen": (request(version=0), [], "protocol version not supported"),
    "row 26: another application context, seen": (request(name="1.2.3"), [], "application context name not supported"),
    "row 28: type 6, seen": (identity(6, PAYLOAD_BYTES), ["echo"], "its user identity is of a type that nobody knows"),
}


@pytest.mark.parametrize("name", UNHEARD)
def test_who_is_rejected_before_he_is_known_is_listed_with_what_he_asked_for(ill_treated: Watched, name: str) -> None:
    told, asked, why = UNHEARD[name]
    with ill_treated.case(name) as case, case.connect() as peer:
        peer.send(told)
        assert peer.read_pdu() is not None

    def seen() -> list[dict[str, Any]]:
        return [one for one in ill_treated.archive.report("ae", "seen") if one["address"] == case.address]

    (one,) = wait_for(seen, "it to be seen", every_s=0.3)
    assert (one["aet"], one["called"], one["asked"], one["count"]) == ("CT1", "PACS", asked, 1)
    assert one["why"].startswith(why)


@pytest.mark.parametrize("name", GRANTED)
def test_what_is_odd_but_legal_is_granted_and_costs_little(ill_treated: Watched, name: str) -> None:
    with ill_treated.case(name, is_audited=False) as case:

        def costs_little() -> bool:
            with case.connect() as peer:
                ill_treated.forget_peak()
                began, before = ill_treated.cpu_s(), ill_treated.peak_bytes()
                peer.send(GRANTED[name])
                answer = peer.read_pdu()
                cost_s, cost_bytes = ill_treated.cpu_s() - began, ill_treated.peak_bytes() - before
                assert answer is not None
                assert answer[0] == rude.ASSOCIATE_AC
                assert (WINDOW_OF_ONE in answer[1]) == name.startswith("row 29")
                assert PAYLOAD_BYTES not in answer[1]
                peer.send(p_data(value(1, 3, rude.echo_request())))
                assert peer.answered() == 0x0000
                peer.release()
            return cost_s <= CPU_S and cost_bytes < MEMORY_BYTES

        wait_for(costs_little, "an attempt that costs little")


def test_row_29_500_pipelined_requests_are_answered_one_by_one(ill_treated: Watched) -> None:
    with ill_treated.case("row 29: 500 pipelined", is_audited=False) as case:

        def costs_little() -> bool:
            with case.connect() as peer:
                ill_treated.forget_peak()
                before = ill_treated.peak_bytes()
                peer.associate(user=user_information(item(0x53, b"\xff" * 4)))
                peer.send(b"".join(p_data(value(1, 3, rude.echo_request(number))) for number in range(1, 501)))
                answers = [peer.read_pdu() for _ in range(500)]
                told = [decode_command(found[1][6:], 1).responded_to for found in answers if found]
                assert told == list(range(1, 501))
                peer.release()
            return ill_treated.peak_bytes() - before < MEMORY_BYTES

        wait_for(costs_little, "an attempt that costs little")


# --- who may do what ---

CT_AND_QUERIES = (
    context(1, rude.CT_STORAGE, EXPLICIT_LE),
    *(
        context(3 + 2 * index, uid, IMPLICIT_LE)
        for index, uid in enumerate((rude.STUDY_FIND, rude.STUDY_MOVE, rude.STUDY_GET, rude.PATIENT_FIND))
    ),
)


def test_a_peer_that_may_only_store_cannot_query(ill_treated: Watched) -> None:
    with ill_treated.case("row 25: more than it may") as case:
        ill_treated.archive.add_peer("ONLYSTORES", 104, "--allow", "echo,store", host=case.address)
        with case.connect() as peer:
            answer = peer.associate(*CT_AND_QUERIES, calling=b"ONLYSTORES")
            assert rude.results(answer) == {1: 0, 3: 1, 5: 1, 7: 1, 9: 1}
            peer.release()


def test_more_associations_than_a_peer_may_have_are_rejected_as_transient(ill_treated: Watched) -> None:
    with ill_treated.case("row 10: more than its associations") as case:
        ill_treated.archive.add_peer("ONLYONE", 104, "--max-associations", "1", host=case.address)
        with case.connect() as first, case.connect() as second:
            assert first.associate(calling=b"ONLYONE")[0] == rude.ASSOCIATE_AC
            assert second.associate(calling=b"ONLYONE") == (rude.ASSOCIATE_RJ, bytes((0, 2, 3, 2)))
            first.release()
    row = ill_treated.told(case.address, "local limit exceeded")
    assert (row["who"], row["outcome"]) == ("ONLYONE", "refused")


def test_from_another_machine_only_a_registered_peer_is_let_in(
    ill_treated: Watched,
) -> None:
    """From an address that not only this machine has, a title that nobody registered may do nothing at all."""
    own_address = address_of_this_machine()
    with ill_treated.case("rows 24, 25, 46: not registered", address=own_address) as case:
        for contexts in ((ECHO,), CT_AND_QUERIES, (context(1, rude.COMMITMENT, IMPLICIT_LE),)):
            for calling in (b"STRANGER", b"*", b"../", b"%n{}"):
                with case.connect(host=own_address) as peer:
                    answer = peer.associate(*contexts, calling=calling)
                    assert answer == (rude.ASSOCIATE_RJ, bytes((0, *CALLING)))
    row = ill_treated.told(own_address, "calling AE title not recognised")
    assert (row["outcome"], row["detail"]) == ("refused", "calling AE title not recognised; called PACS")


def address_of_this_machine() -> str:
    """One by which others reach it; nothing is sent to find it out."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking, suppress(OSError):
        asking.connect((ELSEWHERE, 104))
        if not (address := str(asking.getsockname()[0])).startswith("127."):
            return address
    pytest.skip("this machine has no address beside that of its loopback")


def test_who_is_rejected_because_the_archive_drains_is_in_the_trail(ill_treated: Watched) -> None:
    def answer() -> tuple[int, bytes]:
        with Peer(("127.0.0.1", ill_treated.archive.port), source=(DRAINED, 0)) as peer:
            return peer.associate()

    with Node.open(load(ill_treated.archive.config)) as node:
        set_draining(node.index, Draining(since=datetime.now(UTC), who="a test"))
        wait_for(lambda: answer() == (rude.ASSOCIATE_RJ, bytes((0, 2, 3, 1))), "both processes to notice")
        set_draining(node.index, None)
    wait_for(lambda: {answer()[0] for _ in range(9)} == {rude.ASSOCIATE_AC}, "both processes to notice the end")
    assert ill_treated.told(DRAINED, "temporary congestion")["outcome"] == "refused"
