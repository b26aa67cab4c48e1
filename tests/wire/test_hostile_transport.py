"""Hostile inputs, rows 1 to 8, and 31 to 38 as far as they are below a service: what is no PDU, comes in no order, or
cannot be a command, against a running archive.
"""

import pytest
from support import rude
from support.rude import STORE, element, p_data, pdu, us, value
from support.standing_rules import LIMITS, PATIENT, PAYLOAD, Case, Watched

WORKLIST_FIND = "1.2.840.10008.5.1.4.31"  # which is refused
CONTEXTS = (*rude.ECHO_AND_CT[:2], rude.context(5, WORKLIST_FIND, rude.IMPLICIT_LE))
NO_DATA = us(0x0800, 0x0101)
PAYLOAD_BYTES = PAYLOAD.encode()
# The largest P-DATA that the archive announces.
LARGEST = LIMITS.max_pdu_bytes


def command(*elements: bytes) -> bytes:
    """A command in one PDU, on the context of Verification."""
    return p_data(value(1, 3, rude.command_set(*elements)))


AT_THE_DOOR = {
    "row 4: a request of 4 GiB, and a stream": pdu(rude.ASSOCIATE_RQ, PAYLOAD_BYTES * 1000, 0xFFFFFFFF),
    "row 4: a request one byte over the cap": pdu(rude.ASSOCIATE_RQ, b"", (1 << 20) + 1),
    **{f"row 6: type {kind} of length 0": pdu(kind, b"") for kind in range(1, 8)},
    **{f"row 7: type 0x{kind:02X}": pdu(kind, PAYLOAD_BYTES) for kind in (0x00, 0x08, 0x99, 0xFF)},
    "row 7: HTTP": f"GET /{PAYLOAD} HTTP/1.1\r\nHost: pacs\r\n\r\n".encode(),
    "row 7: a TLS hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + PAYLOAD_BYTES * 40,
    "row 7: SSH": f"SSH-2.0-{PAYLOAD}\r\n".encode(),
    "row 8: data before an association": p_data(value(1, 3, rude.echo_request())),
    "row 8: a release before an association": pdu(rude.RELEASE_RQ, bytes(4)),
    "row 8: an acceptance": pdu(rude.ASSOCIATE_AC, bytes(68)),
    "row 8: a rejection": pdu(rude.ASSOCIATE_RJ, bytes(4)),
    "row 8: a release reply": pdu(rude.RELEASE_RP, bytes(4)),
}

INSIDE = {
    "row 5: data longer than announced": pdu(rude.P_DATA, PAYLOAD_BYTES, LARGEST + 1),
    "row 5: data of 4 GiB": pdu(rude.P_DATA, PAYLOAD_BYTES, 0xFFFFFFFF),
    **{f"row 6: type {kind} of length 0, associated": pdu(kind, b"") for kind in range(1, 8)},
    "row 7: type 0x99, associated": pdu(0x99, PAYLOAD_BYTES),
    "row 8: a second request": rude.associate_request(*CONTEXTS),
    "row 8: an acceptance, associated": pdu(rude.ASSOCIATE_AC, bytes(68)),
    "row 8: a release reply that answers nothing": pdu(rude.RELEASE_RP, bytes(4)),
    "row 31: an unknown Command Field": command(us(0x0100, 0x42), us(0x0110, 1), NO_DATA),
    "row 31: no Command Field": command(us(0x0110, 1), NO_DATA),
    "row 31: a response that answers nothing": command(us(0x0100, 0x8030), us(0x0120, 1), NO_DATA, us(0x0900, 0)),
    **{
        f"row 32: a data value of length {length}": p_data(value(1, 3, PAYLOAD_BYTES, length))
        for length in (0, 1, len(PAYLOAD) + 3, 0xFFFFFFFF)
    },
    "row 34: a command on a refused context": p_data(value(5, 3, rude.echo_request())),
    "row 34: a command on a context never proposed": p_data(value(99, 3, rude.echo_request())),
    "row 34: data on a refused context": STORE + p_data(value(5, 2, PAYLOAD_BYTES)),
    "row 34: data on a context never proposed": STORE + p_data(value(99, 2, PAYLOAD_BYTES)),
    "row 34: data without a command": p_data(value(3, 2, PAYLOAD_BYTES)),
    "row 34: a command inside a data set": STORE + p_data(value(3, 0, b"data"), value(1, 3, rude.echo_request())),
    "row 34: a release inside a data set": STORE + p_data(value(3, 0, b"data")) + pdu(rude.RELEASE_RQ, bytes(4)),
    "row 35: an endless command": p_data(value(1, 1, PAYLOAD_BYTES * 100)) * 20,
    "row 35: an endless empty command": p_data(*[value(1, 1, b"")] * 10_000),
    "row 36: an endless empty data set": STORE + p_data(*[value(3, 0, b"")] * 10_000),
    "row 36: a data set beyond the maximum": STORE + p_data(value(3, 0, bytes(65_536))) * 33,
    "row 37: another group": command(us(0x0100, 0x30), us(0x0110, 1), NO_DATA, element(0x18, b"1.2 ", group=8)),
    "row 37: a wrong group length": p_data(value(1, 3, rude.echo_request() + element(0x5000, b"x "))),
    "row 37: a comment of 10 MB": p_data(value(1, 1, element(0, b"\4\0\0\0") + element(0x0902, PAYLOAD_BYTES)[:20]))
    + p_data(value(1, 1, PAYLOAD_BYTES * 5_000)) * 190,
    "row 37: an element twice": command(us(0x0100, 0x30), us(0x0110, 1), us(0x0110, 1), NO_DATA),
    "row 37: random bytes": p_data(value(1, 3, bytes(range(200)))),
    "row 38: a cancel with a data set": command(us(0x0100, 0x0FFF), us(0x0120, 1), us(0x0800, 1)),
    "row 38: 101 cancels of nothing": p_data(value(1, 3, rude.cancel_request(9))) * 101,
}


@pytest.fixture(scope="module")
def settings() -> dict[str, object]:
    # Who is silent is waited for; all others have time to say what they say.
    network = PATIENT | {"association_timeout_s": 5.0, "pdu_timeout_s": 5.0}
    return {"network": network | {"max_object_bytes": 1 << 21}}


def aborts(case: Case, told: bytes, *, associated: bool) -> None:
    """The peer is aborted at once; one that sends on and on may only see the reset that follows."""
    with case.connect() as peer:
        if associated:
            assert peer.associate(*CONTEXTS)[0] == rude.ASSOCIATE_AC
        peer.send_what_is_taken(told)
        assert peer.ended() in ((rude.ABORT,) if len(told) < 1 << 16 else (rude.ABORT, None))


@pytest.mark.parametrize("name", AT_THE_DOOR)
def test_what_is_no_association_request_is_aborted_at_once(ill_treated: Watched, name: str) -> None:
    with ill_treated.case(name) as case:
        aborts(case, AT_THE_DOOR[name], associated=False)


@pytest.mark.parametrize("name", INSIDE)
def test_what_may_not_come_on_an_association_is_aborted_at_once(ill_treated: Watched, name: str) -> None:
    with ill_treated.case(name) as case:
        aborts(case, INSIDE[name], associated=True)


def test_row_8_an_abort_before_an_association_just_ends_the_connection(ill_treated: Watched) -> None:
    with ill_treated.case("row 8: an abort") as case, case.connect() as peer:
        peer.send(pdu(rude.ABORT, bytes(4)))
        assert peer.read_pdu() is None


REQUEST = rude.associate_request(rude.context(1, rude.VERIFICATION, rude.IMPLICIT_LE))


SILENCES = {"row 1: nothing": b"", "row 2: half a header": b"\x01\x00\x00", "row 2: half a request": REQUEST[:50]}


@pytest.mark.parametrize("name", SILENCES)
def test_silence_ends_at_the_deadline_of_the_first_pdu(ill_treated: Watched, name: str) -> None:
    with ill_treated.case(name) as case, case.connect() as peer:
        peer.send(SILENCES[name])
        assert peer.aborted() == (2, 0)


def test_row_2_a_header_and_silence_on_an_association_end_at_the_deadline(ill_treated: Watched) -> None:
    with ill_treated.case("row 2: half a header, associated") as case, case.connect() as peer:
        peer.associate()
        peer.send(b"\x04\x00\x00")
        assert peer.aborted() == (2, 0)


@pytest.mark.parametrize("control", [0x07, 0x83, 0xFF])
def test_row_32_the_upper_bits_of_a_message_control_header_are_ignored(ill_treated: Watched, control: int) -> None:
    with ill_treated.case("row 32: bits", is_audited=False) as case, case.connect() as peer:
        peer.associate()
        peer.send(p_data(value(1, 1, b""), value(1, control, rude.echo_request())))
        answer = peer.read_pdu()
        assert answer is not None
        assert answer[0] == rude.P_DATA
        peer.release()
