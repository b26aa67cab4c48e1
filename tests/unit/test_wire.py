"""PDUs out of bytes: whatever the size of the pieces, and nothing believed that cannot be."""

import struct
from itertools import chain

import pytest
from support import rude

from pacs_server.net.wire import (
    MAX_ASSOCIATE_BYTES,
    RELEASE_REPLY,
    RELEASE_REQUEST,
    Abort,
    AbortReason,
    AssociateAcceptPdu,
    AssociateRejectPdu,
    AssociateRequestPdu,
    BadPdu,
    Event,
    Fragment,
    PduReader,
    ReleaseReply,
    ReleaseRequest,
    abort_pdu,
    data_header,
    data_pdus,
)

MAX_PDU = 4096


def copied(event: Event) -> Event:
    return event._replace(data=bytes(event.data)) if isinstance(event, Fragment) else event  # type: ignore[arg-type]


def read(stream: bytes, piece_bytes: int, reader: PduReader | None = None) -> list[Event]:
    """The events of a stream that arrives in pieces of this size."""
    reader = reader or PduReader(MAX_PDU)
    events = []
    while stream:
        room = reader.writable()
        count = min(piece_bytes, len(room), len(stream))
        room[:count] = stream[:count]
        reader.received(count)
        stream = stream[count:]
        while (event := reader.next()) is not None:
            events.append(copied(event))
    return events


def test_every_kind_of_pdu_is_read_wherever_the_stream_is_cut() -> None:
    request = rude.associate_request(rude.context(1, rude.VERIFICATION, rude.IMPLICIT_LE))
    accept = b"\x02" + request[1:]
    data = rude.p_data(rude.value(1, 3, b"command"), rude.value(3, 0, b"da"), rude.value(3, 2, b"ta"))
    reject = rude.pdu(rude.ASSOCIATE_RJ, bytes((0, 1, 2, 3)))
    stream = request + accept + reject + data + RELEASE_REQUEST + RELEASE_REPLY + abort_pdu(2, 6)
    expected = [
        AssociateRequestPdu(request),
        AssociateAcceptPdu(accept),
        AssociateRejectPdu(1, 2, 3),
        (1, True, True, b"command"),
        (3, False, False, b"da"),
        (3, False, True, b"ta"),
        ReleaseRequest(),
        ReleaseReply(),
        Abort(2, 6),
    ]
    for piece_bytes in range(1, len(stream) + 1):
        assert read(stream, piece_bytes) == expected


def test_events_of_the_same_kind_of_tuple_are_told_apart() -> None:
    kinds = [type(event) for event in read(RELEASE_REQUEST + RELEASE_REPLY, 100)]
    assert kinds == [ReleaseRequest, ReleaseReply]


def test_full_pdus_stream_through_a_buffer_of_two() -> None:
    pieces = [bytes((number,)) * (MAX_PDU - 6) for number in range(50)]
    stream = b"".join(rude.p_data(rude.value(1, 0, piece)) for piece in pieces)
    for piece_bytes in (1000, MAX_PDU, MAX_PDU + 7, 10_000):
        assert [event.data for event in read(stream, piece_bytes) if isinstance(event, Fragment)] == pieces


def test_an_association_request_larger_than_the_buffer_is_read_and_the_buffer_is_small_again() -> None:
    many = [rude.context(number, rude.VERIFICATION, *["1.2.840.10008.1.2"] * 60) for number in range(1, 256, 2)]
    request = rude.associate_request(*many)
    assert len(request) > 10 * MAX_PDU
    reader = PduReader(MAX_PDU)
    usual = len(reader.writable())
    assert read(request, 5000, reader) == [AssociateRequestPdu(request)]
    assert len(reader.writable()) == usual


@pytest.mark.parametrize("kind", [0x00, 0x08, 0x99, 0xFF])
def test_an_unknown_pdu_type_is_refused_at_its_header(kind: int) -> None:
    with pytest.raises(BadPdu, match="not DICOM") as caught:
        read(rude.pdu(kind, b"", 4), 6)
    assert caught.value.reason == AbortReason.UNRECOGNISED_PDU


@pytest.mark.parametrize(
    ("stream", "what"),
    [
        (b"GET / HTTP/1.1\r\n", "PDU of type 0x47"),
        (b"\x16\x03\x01\x02\x00\x01\x00", "it speaks TLS"),
        (b"\x15\x03\x03\x00\x02\x02\x28", "it speaks TLS"),
        (b"SSH-2.0-OpenSSH_9", "PDU of type 0x53"),
    ],
)
def test_other_protocols_are_told_from_their_first_bytes(stream: bytes, what: str) -> None:
    with pytest.raises(BadPdu, match=f"not DICOM: .*{what}"):
        read(stream[:6], 6)


@pytest.mark.parametrize("kind", range(1, 8))
@pytest.mark.parametrize("length", [0, 1, 3, MAX_ASSOCIATE_BYTES + 1, 0xFFFFFFFF])
def test_a_length_that_its_type_cannot_have_is_refused_at_its_header(kind: int, length: int) -> None:
    with pytest.raises(BadPdu, match="length") as caught:
        read(rude.pdu(kind, b"", length), 6)
    assert caught.value.reason == AbortReason.INVALID_PARAMETER


@pytest.mark.parametrize("kind", [rude.ASSOCIATE_RJ, rude.RELEASE_RQ, rude.RELEASE_RP, rude.ABORT])
def test_the_short_pdus_have_exactly_four_bytes(kind: int) -> None:
    assert len(read(rude.pdu(kind, bytes(4)), 100)) == 1
    with pytest.raises(BadPdu):
        read(rude.pdu(kind, bytes(5)), 100)


def test_data_up_to_the_announced_maximum_passes_and_one_byte_more_does_not() -> None:
    assert len(read(rude.p_data(rude.value(1, 0, bytes(MAX_PDU - 6))), 9999)) == 1
    with pytest.raises(BadPdu):
        read(rude.p_data(rude.value(1, 0, bytes(MAX_PDU - 5))), 9999)


@pytest.mark.parametrize("length", [0, 1, 9, 0xFFFFFFFF])
def test_a_data_value_with_an_impossible_length_is_refused(length: int) -> None:
    with pytest.raises(BadPdu, match="data value"):
        read(rude.p_data(rude.value(1, 0, b"123456", length)), 100)


def test_bytes_behind_the_last_data_value_are_refused() -> None:
    with pytest.raises(BadPdu, match="too many"):
        read(rude.p_data(rude.value(1, 0, b"12"), b"\0\0\0"), 100)


def test_an_empty_fragment_is_legal() -> None:
    assert read(rude.p_data(rude.value(1, 2, b"")), 100) == [(1, False, True, b"")]


@pytest.mark.parametrize("control", [0x04, 0x80, 0xFC])
def test_the_upper_bits_of_the_control_header_are_ignored(control: int) -> None:
    assert read(rude.p_data(rude.value(1, control | 3, b"x")), 100) == [(1, True, True, b"x")]


def test_a_begun_pdu_is_seen_as_begun() -> None:
    reader = PduReader(MAX_PDU)
    assert not reader.mid_pdu
    read(RELEASE_REQUEST + RELEASE_REPLY[:3], 100, reader)
    assert reader.mid_pdu
    assert reader.finished == 1


@pytest.mark.parametrize("sizes", [[], [0], [1], [10], [11], [9, 1], [10, 10], [25], [3, 30, 0, 7]])
def test_what_is_cut_to_pdus_comes_back_the_same(sizes: list[int]) -> None:
    pieces = [bytes((65 + index,)) * size for index, size in enumerate(sizes)]
    stream = b"".join(chain.from_iterable(data_pdus(7, pieces, 10, is_command=False)))
    events = [event for event in read(stream, 5) if isinstance(event, Fragment)]
    assert b"".join(bytes(event.data) for event in events) == b"".join(pieces)
    assert [event.is_last for event in events] == [False] * (len(events) - 1) + [True]
    assert all(event.context_id == 7 and len(event.data) <= 10 for event in events)


def test_large_pieces_are_sent_as_views_of_themselves() -> None:
    piece = bytes(1000)
    views = [part for (_, part) in data_pdus(1, [piece], 300, is_command=False)]
    assert len(views) == 4
    assert all(view.obj is piece for view in views)


def test_a_data_header_announces_one_value_in_one_pdu() -> None:
    assert data_header(5, 10, is_command=True, is_last=True) == struct.pack(">BxLLBB", 4, 16, 12, 5, 3)
