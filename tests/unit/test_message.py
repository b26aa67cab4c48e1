"""Commands and data sets out of fragments, and command sets as bytes."""

import struct

import pytest
from support import rude

from pacs_server.errors import ProtocolViolation
from pacs_server.net.message import CommandField, decode_command, encode_command, response
from pacs_server.net.message_reader import MessageReader
from pacs_server.net.wire import Fragment

MAX_COMMAND = 1024


def reader() -> MessageReader:
    return MessageReader({1, 3}, MAX_COMMAND)


def fragment(data: bytes, *, context_id: int = 1, command: bool = True, last: bool = True) -> Fragment:
    return Fragment(context_id, command, last, memoryview(data))


def test_a_command_cut_at_any_byte_is_put_together() -> None:
    encoded = rude.store_request(7)
    for cut in range(len(encoded) + 1):
        messages = reader()
        assert messages.take(fragment(encoded[:cut], last=False)) is None
        command = messages.take(fragment(encoded[cut:]))
        assert command == decode_command(encoded, 1)
        assert messages.expects_data


def test_a_command_tells_what_it_says() -> None:
    command = decode_command(rude.store_request(7, "1.2.3"), 3)
    assert command.field is CommandField.C_STORE_RQ
    assert (command.message_id, command.context_id, command.has_data_set) == (7, 3, True)
    assert (command.affected_sop_class, command.affected_sop_instance) == (rude.CT_STORAGE, "1.2.3")
    assert not command.is_response


@pytest.mark.parametrize("uid", [b"", b"../etc/passwd", b"\xff\xfe", b"1.2 \0\0 "])
def test_a_rubbish_sop_instance_uid_is_no_matter_of_the_protocol(uid: bytes) -> None:
    encoded = rude.command_set(us_field(0x0001), rude.us(0x0110, 1), rude.us(0x0800, 1), rude.element(0x1000, uid))
    assert decode_command(encoded, 1).affected_sop_instance == uid.rstrip(b"\0 ").decode("latin-1")


def us_field(number: int) -> bytes:
    return rude.us(0x0100, number)


BROKEN = {
    "unknown Command Field": rude.command_set(us_field(0x0042), rude.us(0x0110, 1), rude.us(0x0800, 0x0101)),
    "no Command Field": rude.command_set(rude.us(0x0110, 1), rude.us(0x0800, 0x0101)),
    "no message ID": rude.command_set(us_field(0x0030), rude.us(0x0800, 0x0101)),
    "no Command Data Set Type": rude.command_set(us_field(0x0030), rude.us(0x0110, 1)),
    "response without the ID it answers": rude.command_set(
        us_field(0x8001), rude.us(0x0800, 0x0101), rude.us(0x0900, 0)
    ),
    "response without a status": rude.command_set(us_field(0x8001), rude.us(0x0120, 1), rude.us(0x0800, 0x0101)),
    "response with an empty status": rude.command_set(
        us_field(0x8001), rude.us(0x0120, 1), rude.us(0x0800, 0x0101), rude.element(0x0900, b"")
    ),
    "cancel with a data set": rude.command_set(us_field(0x0FFF), rude.us(0x0120, 1), rude.us(0x0800, 1)),
    "another group": rude.echo_request() + rude.element(0x0018, b"1.2 ", group=8),
    "wrong group length": rude.echo_request() + rude.element(0x5000, b"x "),
    "group length of two bytes": rude.element(0, b"\0\0") + rude.echo_request()[12:],
    "duplicated element": rude.command_set(us_field(0x30), rude.us(0x110, 1), rude.us(0x110, 1), rude.us(0x800, 0x101)),
    "unordered elements": rude.command_set(rude.us(0x0110, 1), us_field(0x0030), rude.us(0x0800, 0x0101)),
    "length past the end": rude.echo_request()[:-1],
    "half an element header": rude.echo_request() + b"\0\0",
    "value of four bytes where two belong": rude.command_set(rude.element(0x0100, bytes(4)), rude.us(0x0110, 1)),
    "a group length alone, of no bytes": bytes(8),
    "nothing": b"",
    "random bytes": bytes(range(1, 99)),
    "Error Comment of 4 GiB": struct.pack("<HHL", 0, 0x0902, 0xFFFFFFFF),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_damaged_command_set_is_a_violation(name: str) -> None:
    with pytest.raises(ProtocolViolation):
        decode_command(BROKEN[name], 1)


def test_no_prefix_of_a_command_set_is_taken_for_one() -> None:
    encoded = rude.store_request()
    for end in range(len(encoded)):
        with pytest.raises(ProtocolViolation):
            decode_command(encoded[:end], 1)


def test_elements_of_other_groups_behind_those_of_a_response_are_passed_over() -> None:
    answer = encode_command(CommandField.C_GET_RSP, responded_to=7, affected_sop_class="1.2", status=0xB000)
    more = rude.element(0x0058, b"1.2.3.4\0", group=8)
    assert decode_command(answer + more, 1) == decode_command(answer, 1)
    counted = answer[:8] + (len(answer + more) - 12).to_bytes(4, "little") + answer[12:] + more
    assert decode_command(counted, 1) == decode_command(answer, 1)


@pytest.mark.parametrize("size", [1, 100, 0])
def test_an_endless_command_ends_at_the_cap(size: int) -> None:
    messages = reader()
    for _ in range(MAX_COMMAND // (size + 6)):
        assert messages.take(fragment(bytes(size), last=False)) is None
    with pytest.raises(ProtocolViolation, match="larger than 1024"):
        messages.take(fragment(bytes(size), last=False))


def test_a_command_on_a_context_that_was_not_accepted_is_a_violation() -> None:
    with pytest.raises(ProtocolViolation, match="context 5"):
        reader().take(fragment(rude.echo_request(), context_id=5))


def test_a_data_set_without_a_command_is_a_violation() -> None:
    messages = reader()
    with pytest.raises(ProtocolViolation, match="announced"):
        messages.take(fragment(b"data", command=False))
    messages.take(fragment(rude.echo_request()))
    with pytest.raises(ProtocolViolation, match="announced"):
        messages.take(fragment(b"data", command=False))


def test_a_data_set_comes_in_views_until_its_last_fragment() -> None:
    messages = reader()
    messages.take(fragment(rude.store_request()))
    first = memoryview(b"first")
    assert messages.take(Fragment(1, False, False, first)) is first
    assert messages.expects_data
    messages.take(fragment(b"", command=False))
    assert not messages.expects_data
    assert messages.take(fragment(rude.echo_request())) == decode_command(rude.echo_request(), 1)


def test_messages_may_not_be_interleaved() -> None:
    messages = reader()
    messages.take(fragment(rude.store_request()))
    with pytest.raises(ProtocolViolation, match="before the data set"):
        messages.take(fragment(rude.echo_request()))
    with pytest.raises(ProtocolViolation, match="another presentation context"):
        messages.take(fragment(b"x", context_id=3, command=False))
    messages = reader()
    messages.take(fragment(b"\0\0", last=False))
    with pytest.raises(ProtocolViolation, match="another presentation context"):
        messages.take(fragment(b"\0\0", context_id=3, last=False))


def test_what_is_encoded_is_decoded_the_same() -> None:
    encoded = encode_command(
        CommandField.C_STORE_RQ,
        has_data_set=True,
        message_id=65535,
        affected_sop_class=rude.CT_STORAGE,
        affected_sop_instance="1.2.3",
        priority=1,
        originator=("CT1", 9),
    )
    command = decode_command(encoded, 1)
    assert len(encoded) % 2 == 0
    assert (command.message_id, command.priority, command.has_data_set) == (65535, 1, True)
    assert (command.affected_sop_class, command.affected_sop_instance) == (rude.CT_STORAGE, "1.2.3")
    assert (command.move_originator, command.move_originator_message_id) == ("CT1", 9)


def test_a_response_names_what_it_answers() -> None:
    request = decode_command(rude.store_request(7, "1.2.3"), 1)
    answer = decode_command(response(request, 0xA700, comment="volume full"), 1)
    assert answer.field is CommandField.C_STORE_RSP
    assert answer.is_response
    assert (answer.responded_to, answer.status, answer.error_comment) == (7, 0xA700, "volume full")
    assert (answer.affected_sop_class, answer.affected_sop_instance) == (rude.CT_STORAGE, "1.2.3")
    assert not answer.has_data_set


def test_the_counts_of_a_retrieve_are_in_its_response() -> None:
    request = decode_command(rude.store_request(), 1)
    encoded = response(request, 0xFF00, remaining=1, completed=2, failed=3, warning=4)
    assert encoded.endswith(b"".join(rude.us(0x1020 + index, index + 1) for index in range(4)))


@pytest.mark.parametrize("comment", ["x" * 500, "山田^太郎", "two\r\nlines\\and more", "odd"])
def test_an_error_comment_is_a_legal_value_whatever_it_says(comment: str) -> None:
    answer = decode_command(response(decode_command(rude.store_request(), 1), 0xC000, comment=comment), 1)
    assert 0 < len(answer.error_comment) <= 64
    assert answer.error_comment.isascii()
    assert answer.error_comment.isprintable()
    assert "\\" not in answer.error_comment


def test_a_request_with_a_rubbish_uid_can_be_answered() -> None:
    encoded = rude.command_set(
        us_field(0x0001), rude.us(0x0110, 1), rude.us(0x0800, 1), rude.element(0x1000, b"\xff\x00\xfe")
    )
    request = decode_command(encoded, 1)
    assert decode_command(response(request, 0x0117), 1).affected_sop_instance == request.affected_sop_instance
