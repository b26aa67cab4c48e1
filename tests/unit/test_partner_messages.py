"""What partners say to each other: whole, in pieces, mutated, and by someone who means no good."""

import json
import struct
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pacs_server.cluster.messages import (
    MAX_MESSAGE_BYTES,
    VERSION,
    Hello,
    Inbox,
    Message,
    encode,
    hello_of,
    refuse_stranger,
)
from pacs_server.errors import ProtocolViolation, Refused, TooLarge

HELLO = Hello(
    site_id="a1b2",
    node="pacs1",
    aet="PACS",
    schema="0011_pre_partners",
    version="0.1.0",
    at=datetime(2026, 11, 26, 9, tzinfo=UTC),
    logs={"operations": {"a1b2": (2, 7, 12), "c3d4": (0, 0, 0)}, "changes": {}},
    owed_objects=12,
    owed_series=2,
    owed_since=datetime(2026, 11, 26, 8, tzinfo=UTC),
    preferred="a1b2",
    is_draining=True,
)
BODIES = st.dictionaries(
    st.text(max_size=8),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
        max_leaves=12,
    ),
    max_size=4,
)
KINDS = st.text(min_size=1, max_size=64)


def taken(*pieces: bytes) -> list[Message]:
    """The messages that come out when these pieces come in."""
    inbox, messages = Inbox(), []
    for piece in pieces:
        inbox.feed(piece)
        while (message := inbox.next()) is not None:
            messages.append(message)
    return messages


def framed(text: bytes) -> bytes:
    return struct.pack(">L", len(text)) + text


def said(**told: object) -> bytes:
    return framed(json.dumps({"version": VERSION, "kind": "hello", "body": {}} | told).encode())


@given(st.lists(st.builds(Message, kind=KINDS, body=BODIES), max_size=4), st.integers(1, 50))
def test_messages_come_out_as_they_went_in_whatever_the_pieces(messages, size):
    data = b"".join(map(encode, messages))
    assert taken(*(data[at : at + size] for at in range(0, len(data), size))) == messages


@given(st.builds(Message, kind=KINDS, body=BODIES), st.data())
def test_a_message_that_was_changed_on_the_way_is_another_one_or_a_violation(message, data):
    changed = bytearray(encode(message))
    for _ in range(data.draw(st.integers(1, 4))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    with suppress(ProtocolViolation):
        assert all(isinstance(one.body, dict) and one.kind for one in taken(bytes(changed)))


@given(st.binary(max_size=300))
def test_no_bytes_at_all_are_more_than_a_violation(data):
    with suppress(ProtocolViolation):
        assert all(isinstance(one.body, dict) and one.kind for one in taken(data, framed(data)))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (struct.pack(">L", MAX_MESSAGE_BYTES + 1), "are allowed"),
        (b"GET / HTTP/1.1\r\n\r\n", "are allowed"),
        (framed(b""), "no JSON"),
        (framed(b"{"), "no JSON"),
        (framed(b"\xff\xfe"), "no JSON"),
        (framed(b"[" * 100_000), "no JSON: RecursionError"),
        (framed(b'{"a":' * 100_000), "no JSON: RecursionError"),
        (framed(b'{"version":1,"kind":"hello","body":{"n":NaN}}'), "no JSON"),
        (framed(b'{"version":1,"kind":"hello","body":{"n":' + b"9" * 5_000 + b"}}"), "no JSON"),
        (framed(b"[]"), "not an object of version, kind and body"),
        (framed(b"null"), "not an object of version, kind and body"),
        (framed(b'{"version":1,"kind":"hello"}'), "not an object of version, kind and body"),
        (said(more=1), "not an object of version, kind and body"),
        (said(version=2), "has version 2; this release speaks 1"),
        (said(version=True), "has version True"),
        (said(version="1" * 1_000), "has version 11111111111111111111;"),
        (said(version=[[]]), "has version list"),
        (said(kind=""), "has no kind, or no body"),
        (said(kind="k" * 65), "has no kind, or no body"),
        (said(kind=1), "has no kind, or no body"),
        (said(body=[]), "has no kind, or no body"),
        (said(body=None), "has no kind, or no body"),
    ],
)
def test_what_is_no_message_is_refused_with_the_reason(data, reason):
    with pytest.raises(ProtocolViolation, match=reason):
        taken(data)


def test_a_length_that_lies_reserves_nothing_and_waits_for_what_it_says():
    inbox = Inbox()
    inbox.feed(struct.pack(">L", MAX_MESSAGE_BYTES))
    assert inbox.next() is None
    assert inbox.mid_message


def test_what_is_too_long_for_one_message_is_not_sent():
    encode(Message(kind="table", body={"text": "x" * (MAX_MESSAGE_BYTES - 100)}))
    with pytest.raises(TooLarge, match="in parts"):
        encode(Message(kind="table", body={"text": "x" * MAX_MESSAGE_BYTES}))


def test_a_greeting_is_read_as_it_was_said_and_what_a_later_release_adds_is_left_out():
    (message,) = taken(encode(Message(kind="hello", body=HELLO.body() | {"mood": "good"})))
    assert hello_of(message.body) == HELLO
    assert not hello_of(message.body | {"is_draining": "no"}).is_draining


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("site_id", ""),
        ("site_id", "../x"),
        ("site_id", "病院"),
        ("site_id", "a" * 65),
        ("site_id", 1),
        ("node", None),
        ("node", "n" * 257),
        ("version", []),
        ("at", "yesterday"),
        ("at", "2026-11-26T09:00:00"),
        ("at", 5),
        ("logs", None),
        ("logs", {"operations": None}),
        ("logs", {"operations": {"a1b2": [1, 1]}}),
        ("logs", {"operations": {"a1b2": [1, -1, 1]}}),
        ("logs", {"operations": {"a1b2": [1, True, 1]}}),
        ("logs", {"operations": {"a1b2": [1, 1.5, 1]}}),
        ("logs", {"operations": {"a1b2": [1, 1 << 60, 1]}}),
        ("logs", {"operations": {"../x": [1, 1, 1]}}),
        ("logs", {"operations": {str(number): [1, 1, 1] for number in range(1_001)}}),
        ("logs", {str(number): {} for number in range(1_001)}),
        ("owed_objects", -1),
        ("owed_objects", True),
        ("owed_objects", 1 << 60),
        ("owed_objects", "many"),
        ("owed_since", "long ago"),
        ("preferred", "../x"),
        ("calls_you", 5),
        ("calls_you", "n" * 257),
        ("seen", 5),
    ],
)
def test_a_greeting_that_cannot_be_is_refused(name, value):
    with pytest.raises(ProtocolViolation):
        hello_of(dict(HELLO.body()) | {name: value})


def test_a_site_that_is_this_one_or_another_than_before_is_no_partner():
    refuse_stranger(HELLO, own_site_id="e5f6", known_site_id=None)
    refuse_stranger(HELLO, own_site_id="e5f6", known_site_id="a1b2")
    with pytest.raises(Refused, match="this site itself"):
        refuse_stranger(replace(HELLO, site_id="e5f6"), own_site_id="e5f6", known_site_id=None)
    with pytest.raises(Refused, match=r"made anew or restored.* on the side that was not$"):
        refuse_stranger(HELLO, own_site_id="e5f6", known_site_id="c3d4")
