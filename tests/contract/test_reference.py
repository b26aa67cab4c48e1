"""The index and a slow, obvious matcher agree: generated data sets and queries, all matchings, many character sets."""

import os
import re
import warnings
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.charset import convert_encodings, encode_string
from sqlalchemy import delete
from support.reference import LEVELS, Question, found
from support.samples import CT, encoded, uid

from pacs_server.dicom.attributes import BY_KEYWORD
from pacs_server.dicom.describe import describe
from pacs_server.dicom.elements import EXPLICIT_LE, IMPLICIT_LE
from pacs_server.dicom.header import HeadScanner
from pacs_server.dicom.identity import ObjectHasher
from pacs_server.dicom.queries.matching import Manner, Model, parse_query
from pacs_server.index.engine import Index
from pacs_server.index.objects import Arrival
from pacs_server.index.queries.search import Search
from pacs_server.index.recording.instances import Instances
from pacs_server.index.tables import CONTENT

QUESTIONS = 25
# 10,000 questions on SQLite, a fifth of them on PostgreSQL, which takes longer to be emptied; ten times with --long.
WORLDS = {"sqlite": 400, "postgresql": 80}
LONGER = 10 if os.environ.get("PACS_TEST_LONG") else 1

# Specific Character Set, and letters that it can write. Few, so that values meet.
ALPHABETS = {
    "": "AB",
    "ISO_IR 100": "aÄß",
    "ISO_IR 101": "aŁő",
    "ISO_IR 109": "aĦĝ",
    "ISO_IR 110": "aĀķ",
    "ISO_IR 144": "яЯж",
    "ISO_IR 127": "علم",
    "ISO_IR 126": "αΣς",
    "ISO_IR 138": "שלם",
    "ISO_IR 148": "aİş",
    "ISO_IR 13": "ﾔﾏﾀﾞｰ",
    "ISO_IR 166": "กขค",
    "\\ISO 2022 IR 87": "山田太ヤやッっー",
    "ISO 2022 IR 13\\ISO 2022 IR 87": "ﾔﾏ山田や",
    "\\ISO 2022 IR 87\\ISO 2022 IR 159": "森鷗外山",
    "\\ISO 2022 IR 149": "김희중홍",
    "\\ISO 2022 IR 58": "王小东",
    "GB18030": "王小東𠮷",
    "GBK": "王小东",
    "ISO_IR 192": "山髙𠮷やÄ①",
}
DATES = ("20251231", "20260101", "20260102", "20260201")
TIMES = ("10", "1015", "101530", "101530.5", "101530.50", "235959.999999", "00")
TEXTS = ("A1", "A_1", "A%1", "a1", "[A]", "A 1", "A")
WILDCARDS = ("*", "?", "")


# What is drawn is made once, here and by @cache: Hypothesis looks through each strategy that is new to it, which took a
# third of the time of the test.
LABELS, ONE_LEVEL = st.sampled_from(sorted(ALPHABETS)), st.sampled_from(sorted(LEVELS))


@cache
def is_writable(label: str, text: str) -> bool:
    """Whether pydicom can write a text in a character set; half-width kana beside Latin letters it cannot."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        encodings = convert_encodings(label.split("\\"))
        parts = (encode_string(part, encodings) for part in re.split(r"[\\^=]", text))
        return sum(part.count(b"?") for part in parts) == text.count("?")


@cache
def words(alphabet: str) -> st.SearchStrategy[str]:
    return st.text(st.sampled_from(alphabet), min_size=1, max_size=3)


@cache
@st.composite
def names(draw: st.DrawFn, alphabet: str) -> str:
    """One to three groups, of one or two components each; the first in ASCII where there are several."""
    component = words(alphabet)
    group = st.one_of(component, st.builds("{}^{}".format, component, component))
    others = draw(st.lists(group, max_size=2))
    first = draw(st.sampled_from(("AB^A", "a^B", "AB"))) if others else draw(group)
    return "=".join((first, *others))


@cache
def written(label: str, texts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return texts.filter(lambda text: is_writable(label, text))


@cache
def maybe(values: tuple[str, ...]) -> st.SearchStrategy[str]:
    return st.sampled_from(("", *values))


@st.composite
def worlds(draw: st.DrawFn) -> list[Dataset]:
    """Some patients with their studies, series and images; what belongs to a level is alike in all its objects."""
    data_sets = []
    for patient_number in range(draw(st.integers(1, 3))):
        label = draw(LABELS)
        patient = {
            "SpecificCharacterSet": label.split("\\"),
            "PatientID": f"{draw(st.sampled_from(TEXTS))}-{patient_number}",
            "PatientName": draw(written(label, names(ALPHABETS[label] + "A"))),
            "PatientBirthDate": draw(maybe(DATES)),
        }
        for number in range(draw(st.integers(1, 2))):
            study = f"{patient_number}.{number}"
            values = patient | {
                "StudyInstanceUID": uid("study", study),
                "StudyDate": draw(maybe(DATES)),
                "StudyTime": draw(maybe(TIMES)),
                "StudyDescription": draw(st.one_of(maybe(TEXTS), written(label, words(ALPHABETS[label])))),
                "ReferringPhysicianName": draw(st.one_of(st.just(""), written(label, names(ALPHABETS[label])))),
            }
            data_sets += draw(objects(study, values, label))
    return data_sets


@st.composite
def objects(draw: st.DrawFn, study: str, values: dict[str, object], label: str) -> list[Dataset]:
    made = []
    for number in range(draw(st.integers(1, 2))):
        part = values | {
            "SeriesInstanceUID": uid("series", f"{study}.{number}"),
            "Modality": draw(st.sampled_from(("CT", "MR", "SR"))),
            "SeriesNumber": draw(maybe(("1", "2", "10"))),
            "OperatorsName": draw(st.one_of(st.just(""), written(label, names(ALPHABETS[label])))),
        }
        for image in range(draw(st.integers(1, 2))):
            data_set = Dataset()
            data_set.SOPClassUID = CT
            data_set.SOPInstanceUID = uid("image", f"{study}.{number}.{image}")
            data_set.InstanceNumber = draw(maybe(("1", "2")))
            data_set.ContentDate, data_set.ContentTime = draw(maybe(DATES)), draw(maybe(TIMES))
            for keyword, value in part.items():
                setattr(data_set, keyword, value)
            made.append(data_set)
    return made


@cache
@st.composite
def patterns(draw: st.DrawFn, value: str) -> str:
    """A value, or a part of it between wildcards."""
    start = draw(st.integers(0, max(0, len(value) - 1)))
    end = draw(st.integers(start, len(value)))
    part = value[start:end] if draw(st.booleans()) else value
    return draw(st.sampled_from(WILDCARDS)) + part + draw(st.sampled_from(WILDCARDS))


def ranges(values: tuple[str, ...]) -> st.SearchStrategy[str]:
    one = st.sampled_from(values)
    several = st.lists(one, min_size=2, max_size=3, unique=True).map("\\".join)
    return st.one_of(one, st.builds("{}-{}".format, one, one), one.map("{}-".format), one.map("-{}".format), several)


@st.composite
def questions(draw: st.DrawFn, world: Sequence[Dataset]) -> tuple[Question, str]:
    """A question about a world, and the character set to ask it in."""
    one = draw(st.sampled_from(world))
    keys: dict[str, str] = {}
    for keyword in draw(SOME_KEYS):
        keys[keyword] = draw(KEYS[keyword](one, world))
    level = draw(ONE_LEVEL)
    if level in ("SERIES", "IMAGE"):
        keys.pop("ModalitiesInStudy", None)
    label = "\\".join(
        [one.SpecificCharacterSet] if isinstance(one.SpecificCharacterSet, str) else one.SpecificCharacterSet
    )
    is_possible = all(is_writable(label, key) for key in keys.values())
    asked_in = draw(st.sampled_from((label, "ISO_IR 192"))) if is_possible else "ISO_IR 192"
    return Question(level, keys, draw(st.booleans())), asked_in


def text_of(keyword: str):
    """Parts of the value that one object has. pydicom writes no `=` at the end of a name, so none is asked for."""
    return lambda one, _: patterns(str(one.get(keyword) or "A")).map(lambda text: text.rstrip("="))


def uids_of(keyword: str):
    def listed(_: Dataset, world: Sequence[Dataset]) -> st.SearchStrategy[str]:
        known = sorted({str(data_set[keyword].value) for data_set in world})
        return some_of((*known, "9.9"))

    return listed


@cache
def some_of(values: tuple[str, ...]) -> st.SearchStrategy[str]:
    return st.lists(st.sampled_from(values), min_size=1, max_size=3, unique=True).map("\\".join)


def always(strategy: st.SearchStrategy[str]):
    return lambda one, world: strategy


MODALITY = st.lists(st.sampled_from(("CT", "MR", "SR", "US", "?R", "*")), min_size=1, max_size=2).map("\\".join)
NUMBER = st.lists(st.sampled_from(("1", "2", "10", "3")), min_size=1, max_size=2, unique=True).map("\\".join)
KEYS = {
    **{name: text_of(name) for name in ("PatientID", "PatientName", "StudyDescription", "OperatorsName")},
    "ReferringPhysicianName": text_of("ReferringPhysicianName"),
    **{name: uids_of(name) for name in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")},
    **{name: always(ranges(DATES)) for name in ("PatientBirthDate", "StudyDate", "ContentDate")},
    **{name: always(ranges(TIMES)) for name in ("StudyTime", "ContentTime")},
    **{name: always(MODALITY) for name in ("Modality", "ModalitiesInStudy")},
    **{name: always(NUMBER) for name in ("SeriesNumber", "InstanceNumber")},
}  # fmt: skip


SOME_KEYS = st.lists(st.sampled_from(sorted(KEYS)), max_size=3, unique=True)


def arrival_of(data_set: Dataset) -> Arrival:
    raw = encoded(data_set, EXPLICIT_LE)
    scanner, hasher = HeadScanner(EXPLICIT_LE), ObjectHasher(EXPLICIT_LE)
    scanner.feed(raw)
    hasher.update(raw)
    now = datetime(2026, 1, 2, tzinfo=UTC)
    return Arrival(
        description=describe(scanner.finish()), digest=hasher.digest(), transfer_syntax=EXPLICIT_LE,
        size_bytes=len(raw), copies=(), received_at=now, day=now.date(), sender="TEST",
    )  # fmt: skip


def asked(search: Search, question: Question, label: str) -> set[str]:
    identifier = Dataset()
    identifier.SpecificCharacterSet = label.split("\\")
    identifier.QueryRetrieveLevel = question.level
    for keyword, value in question.keys.items():
        setattr(identifier, keyword, value.split("\\"))
    manner = Manner(combines_moments=question.combines_moments)
    query = parse_query(encoded(identifier, IMPLICIT_LE), IMPLICIT_LE, Model.PATIENT_ROOT, manner=manner)
    assert not query.has_unsupported_keys
    rows = [str(row[0]) for row in search.find(query, [BY_KEYWORD[LEVELS[question.level]]])]
    assert len(rows) == len(set(rows)), "a row was answered twice"
    return set(rows)


@pytest.mark.timeout(600 * LONGER)
def test_the_index_finds_what_the_reference_finds(index: Index) -> None:
    kind = index.engine.dialect.name
    instances, search = Instances(index), Search(index)

    @settings(
        max_examples=WORLDS[kind] * LONGER,
        derandomize=LONGER == 1,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def agree(data: st.DataObject) -> None:
        with index.write() as connection:
            for table in reversed(CONTENT):
                connection.execute(delete(table))
        world = data.draw(worlds())
        for data_set in world:
            instances.record(arrival_of(data_set))
        for _ in range(QUESTIONS):
            question, label = data.draw(questions(world))
            expected = found(world, question)
            event("some" if 0 < len(expected) < len(world) else "none or all")
            assert asked(search, question, label) == expected, (question, label)

    agree()
