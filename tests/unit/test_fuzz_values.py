"""Bytes that nobody meant, for everything that reads bytes of peers: a value or a refusal, and nothing else.

As many examples as fit in some seconds, always the same; `./scripts/fuzz --target values` draws thousands of others.
"""

import random
import re
import time
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from support import rude
from support.raw_objects import BIG_ENDIAN, DEFLATED, EXPLICIT, IMPLICIT, element, identified
from support.replies import reply
from support.samples import bundled, encoded, tiny

from pacs_server.dicom.attributes import ATTRIBUTES
from pacs_server.dicom.charset import declared, decode
from pacs_server.dicom.coded_sets import SETS, WHOLE
from pacs_server.dicom.describe import describe
from pacs_server.dicom.head_walk import HeadLimits
from pacs_server.dicom.header import HeadScanner
from pacs_server.dicom.identity import is_uid
from pacs_server.dicom.names import NamePattern, search_text
from pacs_server.dicom.part10 import read_file_meta
from pacs_server.dicom.queries.identifier import read_identifier
from pacs_server.dicom.queries.matching import Manner, Model, parse_query
from pacs_server.dicom.queries.predicates import predicate_of
from pacs_server.dicom.queries.retrieval import named_in, parse_retrieve
from pacs_server.dicom.reencode import canonical
from pacs_server.dicom.wildcards import one_of_list
from pacs_server.errors import BadObject, BadQuery, ProtocolViolation
from pacs_server.net.message import Command, decode_command
from pacs_server.net.message_reader import MessageReader
from pacs_server.net.wire import Fragment, PduReader

SYNTAXES = (IMPLICIT, EXPLICIT, BIG_ENDIAN, DEFLATED)
# What stands at the end of a lie: lengths, delimiters, VRs, characters of every set.
MEANT = (
    *(b"\xff\xff\xff\xff", b"\xf0\xff\xff\xff", b"\xfe\xff\xff\x7f", b"\0\0\0\0", b"\1\0\0\0", b"\xff\xff", b"\0\0"),
    *(b"\xfe\xff\x00\xe0", b"\xfe\xff\x0d\xe0", b"\xfe\xff\xdd\xe0", b"SQ\0\0", b"UN\0\0", b"OB\0\0", b"UT\0\0", b"zz"),
    *(b"\x1b$B", b"\x1b(B", b"\x1b(I", b"\x1b)I", b"\x1b$(D", b"\x1b", b"\\", b"^", b"=", b"*", b"?", b"\x80", b"\xff"),
)


def examples(count: int) -> Callable[..., Any]:
    """So many examples, the same each time; others, as many as it has, with the profile of ./scripts/fuzz."""
    drawn = max(count, settings.default.max_examples)
    return settings(
        max_examples=drawn,
        derandomize=drawn == count,
        database=None,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )


@cache
def originals() -> tuple[tuple[bytes, str], ...]:
    """Data sets without much in their pixels: real ones, and one that has something of everything the index reads."""
    found = []
    for path in bundled():
        content = path.read_bytes()
        try:
            meta = read_file_meta(content)
        except BadObject:
            continue
        if len(content) < 20_000 and meta.transfer_syntax in SYNTAXES:
            found.append((content[meta.data_set_offset :], meta.transfer_syntax))
    inner = tiny("inner", RequestedProcedureID="R-1", CodeValue="C-1", CodeMeaning="胸部")
    everything = tiny(
        "everything", SpecificCharacterSet="\\ISO 2022 IR 87", PatientName="=山田^太郎", StudyDescription="胸部",
        ProcedureCodeSequence=[inner], RequestAttributesSequence=[inner, inner], Rows=512, InstanceNumber=7,
        PatientAge="040Y", PatientWeight="70.5", ImageType=["ORIGINAL", "PRIMARY"],
    )  # fmt: skip
    return (*found, *((encoded(everything, syntax), syntax) for syntax in SYNTAXES))


@st.composite
def damaged(draw: st.DrawFn, originals: tuple[bytes, ...]) -> bytes:
    """One of them with some bytes changed, taken out, doubled, or put there from another one."""
    content = bytearray(draw(st.sampled_from(originals)))
    for _ in range(draw(st.integers(0, 6))):
        place = draw(st.integers(0, len(content)))
        match draw(st.sampled_from("bmdxtc")):
            case "b":
                content[place : place + 1] = bytes([draw(st.integers(0, 255))])
            case "m":
                meant = draw(st.sampled_from(MEANT))
                content[place : place + len(meant)] = meant
            case "d":
                del content[place : place + draw(st.integers(1, 40))]
            case "x":
                content[place:place] = content[place : place + draw(st.integers(1, 200))]
            case "t":
                del content[place:]
            case "c":
                other = draw(st.sampled_from(originals))
                start = draw(st.integers(0, len(other)))
                content[place:place] = other[start : start + draw(st.integers(1, 300))]
    return bytes(content)


def cut(data: bytes, seed: int) -> list[bytes]:
    """The data in fragments of any sizes, also empty ones."""
    chance, start, found = random.Random(seed), 0, []
    while start < len(data):
        size = chance.choice((0, 1, 2, 7, 8, 64, 1_000, 4_096))
        found.append(data[start : start + size])
        start += size
    return found


@examples(400)
@given(st.data(), st.integers(0, 1 << 32))
def test_a_damaged_data_set_is_one_head_in_any_fragments_or_one_refusal(data: st.DataObject, seed: int) -> None:
    syntax = data.draw(st.sampled_from(SYNTAXES))
    content = data.draw(damaged(tuple(one for one, used in originals() if used == syntax)))

    def outcome(pieces: list[bytes]) -> object:
        scanner = HeadScanner(syntax, HeadLimits(max_elements=500, max_depth=8))
        try:
            for piece in pieces:
                scanner.feed(memoryview(piece))
            head = scanner.finish()
            return head.values, head.flags, describe(head, assumed_charset="SHIFT_JIS")
        except BadObject as refusal:
            return type(refusal)

    assert outcome([content]) == outcome(cut(content, seed))


@examples(150)
@given(st.data())
def test_a_damaged_data_set_is_rewritten_or_refused(data: st.DataObject) -> None:
    syntax = data.draw(st.sampled_from(SYNTAXES))
    content = data.draw(damaged(tuple(one for one, used in originals() if used == syntax)))
    try:
        size = sum(len(piece) for piece in canonical((content,), syntax))
    except BadObject:
        return
    assert syntax == DEFLATED or size <= 16 * len(content) + 1_000


VALUES = {"DA": "20260102", "TM": "101500", "DT": "20260102", "IS": "12", "DS": "1.5", "AS": "040Y", "UI": "1.2.3"}


@examples(400)
@example("DA", "20200101" * 4)
@example("TM", "1\u0662")
@example("DA", "２０２６０１０２")
@given(st.sampled_from([*VALUES, "PN", "LO", "CS", "LT"]), st.text(max_size=40))
def test_any_text_is_a_value_of_the_index_and_a_key_or_none(vr: str, text: str) -> None:
    for attribute in (one for one in ATTRIBUTES if one.vr == vr and one.is_read and one.tag > 0x00080018):
        for value in (text, VALUES.get(vr, "") + text, text + VALUES.get(vr, "")):
            place = "after" if attribute.tag > 0x0020000E else "before"
            if attribute.tag not in (0x0020000D, 0x0020000E):
                raw = value.encode("utf-8", "replace")
                scanner = HeadScanner(IMPLICIT)
                scanner.feed(identified("x", **{place: element(attribute.tag, "", raw)}, implicit=True))
                found = describe(scanner.finish())
                levels = (found.patient, found.study, found.series, found.instance)
                assert all(isinstance(one, str | int | None) for level in levels for one in level.values())
            predicate_of(attribute, value)
            predicate_of(attribute, value, takes_names_in_any_order=True)


TERMS = st.sampled_from(
    [
        *WHOLE,
        *(f"ISO_IR {n}" for n in SETS),
        *(f"ISO 2022 IR {n}" for n in SETS),
        "",
        "ISO 2020 IR 87",
        "KLINGON",
        "\x1b",
    ]
)
RAW = st.one_of(
    st.binary(max_size=60),
    st.lists(st.one_of(st.sampled_from(MEANT), st.binary(min_size=1, max_size=6)), max_size=12).map(b"".join),
    st.text(max_size=20).map(lambda text: text.encode("utf-8", "replace")),
    st.text(st.sampled_from("山田太郎表能ソﾔﾏﾀﾞé^=\\*?a "), max_size=20).map(lambda t: t.encode("cp932", "ignore")),
    st.text(st.sampled_from("山田太郎^=\\*?a "), max_size=20).map(lambda t: t.encode("iso2022_jp", "ignore")),
)


@examples(800)
@given(RAW, st.lists(TERMS, max_size=5), st.sampled_from(["PN", "LO", "LT", "UC"]), TERMS)
def test_any_bytes_are_read_in_any_character_sets(raw: bytes, terms: list[str], vr: str, assumed: str) -> None:
    decoded = decode(raw, terms, vr=vr, assumed=assumed)
    assert "\0" not in decoded.text
    decoded.text.encode("utf-8")
    assert decoded.text.count("?") >= raw.count(b"?") * (b"\x1b" not in raw and raw.isascii()), (
        "no question mark is lost"
    )
    if not re.search(rb"[?]", raw) and raw.isascii() and b"\x1b" not in raw:
        assert "?" not in decoded.text, "and none is made"
    assert all(flag.isprintable() for flag in decoded.flags)


@examples(500)
@given(st.lists(st.text(max_size=20), max_size=4), st.lists(TERMS, max_size=4), st.data())
def test_what_is_answered_is_read_back_without_a_loss(texts: list[str], terms: list[str], data: st.DataObject) -> None:
    vrs = [data.draw(st.sampled_from(["PN", "LO", "LT"])) for _ in texts]
    label, raw = reply(texts, vrs, terms)
    for text, vr, one in zip(texts, vrs, raw, strict=True):
        kept = re.sub("[\0\ud800-\udfff]", "", text)
        assert decode(one, declared(label.encode("ascii")), vr=vr).text == kept


STREAM = b"".join(
    (
        rude.associate_request(rude.context(1, rude.VERIFICATION, rude.IMPLICIT_LE)),
        rude.p_data(rude.value(1, 3, rude.echo_request())),
        rude.p_data(rude.value(3, 1, rude.store_request()[:40]), rude.value(3, 3, rude.store_request()[40:])),
        rude.p_data(rude.value(3, 0, b"data"), rude.value(3, 2, b"")),
        rude.p_data(rude.value(1, 3, rude.cancel_request(1))),
        rude.pdu(rude.RELEASE_RQ, bytes(4)),
        rude.pdu(rude.ABORT, bytes(4)),
    )
)


@examples(500)
@given(damaged((STREAM, STREAM[100:])), st.integers(0, 1 << 32))
def test_a_damaged_stream_is_the_same_events_in_any_cut_and_at_most_one_violation(stream: bytes, seed: int) -> None:
    def outcome(pieces: list[bytes]) -> list[object]:
        reader, messages, events = PduReader(4_096), MessageReader({1, 3}, 1_024), []
        try:
            for piece in pieces:
                while piece:
                    room = reader.writable()
                    count = min(len(room), len(piece))
                    room[:count] = piece[:count]
                    reader.received(count)
                    piece = piece[count:]
                    while (event := reader.next()) is not None:
                        events.append(_taken(event, messages))
        except ProtocolViolation as violation:
            events.append(type(violation))
        return events

    assert outcome([stream]) == outcome(cut(stream, seed))


def _taken(event: object, messages: MessageReader) -> object:
    if not isinstance(event, Fragment):
        return event
    found = messages.take(event)
    return found if found is None or isinstance(found, Command) else bytes(found)


@examples(500)
@example(bytes(8))
@given(damaged((rude.echo_request(), rude.store_request(), rude.cancel_request(1), rude.echo_request() * 2)))
def test_a_damaged_command_set_is_a_command_or_a_violation(encoded_set: bytes) -> None:
    try:
        command = decode_command(encoded_set, 1)
    except ProtocolViolation:
        return
    assert isinstance(command, Command)
    assert isinstance(is_uid(command.affected_sop_instance), bool)


def identifiers() -> tuple[bytes, ...]:
    keys = tiny("keys", QueryRetrieveLevel="STUDY", SpecificCharacterSet="ISO_IR 192", PatientName="山*^?", Rows=512)
    keys.StudyDate, keys.StudyTime, keys.ProcedureCodeSequence = "20260101-", "-12", [tiny("inner", CodeValue="A*")]
    return tuple(encoded(keys, syntax) for syntax in (IMPLICIT, EXPLICIT, BIG_ENDIAN))


@examples(400)
@given(damaged(identifiers()), st.sampled_from(SYNTAXES[:3]), st.sampled_from(list(Model)), st.booleans())
def test_a_damaged_identifier_is_a_query_or_a_refusal(raw: bytes, syntax: str, model: Model, widely: bool) -> None:
    manner = Manner(combines_moments=widely, takes_names_in_any_order=widely)
    named_in(raw, syntax, assumed_charset="SHIFT_JIS").patient_id.encode("utf-8")
    try:
        for one in read_identifier(raw, syntax).elements:
            one.text.encode("utf-8")
        query = parse_query(raw, syntax, model, assumed_charset="SHIFT_JIS", manner=manner)
        query.asked.encode("utf-8")
        parse_retrieve(raw, syntax, model)
    except BadQuery:
        return


@pytest.mark.parametrize("key", ["*a" * 4_000 + "*b", "?" * 4_000, "*?" * 4_000 + "b", "a*" * 4_000])
def test_a_key_of_wildcards_takes_no_more_than_its_length(key: str) -> None:
    """Eight times the key may take 30 times as long at the most, where what backtracks would not end."""
    took = []
    for size in (len(key) // 8, len(key)):
        pattern, value = one_of_list(key[:size] + "b", atomic=True), "a" * 16_384
        began = time.process_time()
        re.search(pattern, value)
        name = NamePattern.of(key[: size // 8])
        if name.parts:
            re.search(name.regex(atomic=True), search_text("a" * 1_024))
        took.append(time.process_time() - began)
    assert took[1] < 30 * max(took[0], 0.05)
