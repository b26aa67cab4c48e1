"""Answers that are encoded and sent together are what each would be by itself."""

from itertools import chain

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from support.samples import encoded

from pacs_server.dicom.attributes import ItemSequence
from pacs_server.dicom.elements import EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE
from pacs_server.dicom.items import pack
from pacs_server.dicom.queries.answer import AnswerEncoder, encoder_of
from pacs_server.dicom.queries.matching import Model, parse_query
from pacs_server.net.sending import Outbox
from pacs_server.net.wire import data_pdus

Row = tuple[str | int | None, ...]

CHARSETS = (
    "",
    "ISO_IR 100",
    "ISO_IR 13",
    "\\ISO 2022 IR 87",
    "ISO 2022 IR 13\\ISO 2022 IR 87",
    "ISO_IR 192",
    "GB18030",
)
NAMES = ("YAMADA^TARO", "Müller^Jörg", "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう", "髙橋^𠮷", "Wałęsa", "山田\x1b", "")


def encoder(charset: str = "", syntax: str = EXPLICIT_LE) -> AnswerEncoder:
    asks = Dataset()
    asks.QueryRetrieveLevel = "STUDY"
    for keyword in ("PatientName", "StudyDescription", "StudyInstanceUID", "NumberOfStudyRelatedInstances"):
        setattr(asks, keyword, "")
    asks.ProcedureCodeSequence = [Dataset()]
    asks.ProcedureCodeSequence[0].CodeMeaning = ""
    query = parse_query(encoded(asks, syntax), syntax, Model.STUDY_ROOT)
    return encoder_of(query, syntax, reply_charset=charset, retrieve_aet="PACS")


def row(made: AnswerEncoder, name: str, description: str | None = None, meaning: str | None = None) -> Row:
    values = {"PatientName": name, "StudyDescription": description, "StudyInstanceUID": "1.2.3"}
    return tuple(
        (pack([["T-1"] * (len(column.fields) - 1) + [meaning]]) if meaning else "")
        if isinstance(column, ItemSequence)
        else values.get(column.keyword, 7)
        for column in made.columns
    )


@pytest.mark.parametrize("syntax", [IMPLICIT_LE, EXPLICIT_LE, EXPLICIT_BE])
@pytest.mark.parametrize("charset", CHARSETS)
def test_an_answer_does_not_depend_on_those_beside_it(charset: str, syntax: str) -> None:
    made = encoder(charset, syntax)
    rows = [row(made, name, description, name) for name in NAMES for description in (None, "頭部", "CT", "Schädel")]
    assert made.encode(rows) == list(chain.from_iterable(made.encode([one]) for one in rows))


def test_one_name_that_does_not_fit_makes_no_other_answer_utf_8() -> None:
    made = encoder("ISO_IR 100")
    first, second = made.encode([row(made, "Müller", "Schädel"), row(made, "山田", "Schädel")])
    assert b"ISO_IR 100" in first
    assert "Müller".encode("latin-1") in first
    assert "Schädel".encode("latin-1") in first
    assert b"ISO_IR 192" in second
    assert "山田".encode() in second
    assert "Schädel".encode() in second


def test_a_text_within_an_item_takes_part_in_the_choice_of_the_character_set() -> None:
    made = encoder("ISO_IR 100")
    (answer,) = made.encode([row(made, "Müller", None, "頭部")])
    assert b"ISO_IR 192" in answer
    assert "Müller".encode() in answer
    assert "頭部".encode() in answer


def test_a_list_that_is_too_long_for_its_length_field_loses_its_last_values_and_no_other_answer_one() -> None:
    made = encoder()
    long = "\\".join(f"{number:06d}" for number in range(20_000))
    short, cut = made.encode([row(made, "A", "CT"), row(made, "A", long)])
    assert short == made.encode([row(made, "A", "CT")])[0]
    assert b"000001\\000002" in cut
    assert b"\\019999" not in cut
    assert len(cut) < 66_000
    (whole,) = (implicit := encoder(syntax=IMPLICIT_LE)).encode([row(implicit, "A", long)])
    assert b"\\019999" in whole


@given(
    st.lists(st.tuples(st.text(max_size=12), st.text(max_size=12)), min_size=1, max_size=6), st.sampled_from(CHARSETS)
)
@settings(max_examples=200, deadline=None)
def test_whatever_the_texts_are_they_are_encoded_as_if_alone(texts: list[tuple[str, str]], charset: str) -> None:
    made = encoder(charset)
    rows = [row(made, name, description) for name, description in texts]
    assert made.encode(rows) == list(chain.from_iterable(made.encode([one]) for one in rows))


@pytest.mark.parametrize("room", [4, 30, 10_000])
def test_answers_that_are_queued_together_are_messages_in_turn(room: int) -> None:
    sent: list[bytes] = []
    outbox = Outbox(lambda buffers: sent.extend(map(bytes, buffers)), room + 6)
    answers = [b"first answer", b"", b"of another length", b"first answer"]
    outbox.queue_each(3, b"command", answers)
    outbox.flush()
    each = [
        chain(data_pdus(3, (b"command",), room, is_command=True), data_pdus(3, (answer,), room, is_command=False))
        for answer in answers
    ]
    assert b"".join(sent) == b"".join(map(bytes, chain.from_iterable(chain.from_iterable(each))))
