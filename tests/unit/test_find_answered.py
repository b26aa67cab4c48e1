"""How a C-FIND is answered: as many answers as may go out, when it ends and how, and what is told of it afterwards."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pacs_server import metrics
from pacs_server.dicom.attributes import Level
from pacs_server.dicom.audit import EventKind, EventOutcome
from pacs_server.dicom.elements import IMPLICIT_LE, encoding_of
from pacs_server.dicom.queries.asking import identifier
from pacs_server.dicom.queries.matching import Model
from pacs_server.dicom.vocabulary import STANDARD
from pacs_server.dimse import find
from pacs_server.dimse.find import handle_find
from pacs_server.dimse.session import Session, Tally
from pacs_server.errors import IndexUnavailable, PacsError, PeerAborted
from pacs_server.net.association import Context
from pacs_server.net.message import Command, CommandField, decode_command

STUDY_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
SUCCESS, OUT_OF_RESOURCES, MISMATCH, CANCEL = 0x0000, 0xA700, 0xA900, 0xFE00
AWAY = IndexUnavailable("the index at postgresql://pacs@a/pacs failed: it is away")


@dataclass
class Asking:
    """One association that asks. `rows` are how many answers are found together each time, and behind them perhaps a
    `problem`; it cancels, or breaks, after so many answers.
    """

    monkeypatch: pytest.MonkeyPatch
    rows: Sequence[int] = (5, 5)
    problem: PacsError | None = None
    cancels_after: int | None = None
    breaks_after: int | None = None
    most: int = 0
    most_of_all: int = 0
    combines: bool = False
    extended: bytes = b""
    more_keys: bytes = b""
    answered: list[bytes] = field(default_factory=list)
    flushed_at: list[int] = field(default_factory=list)
    pending: set[int] = field(default_factory=set)
    final: Command | None = None
    told: list[tuple[EventOutcome, int, str]] = field(default_factory=list)
    asked_for: int | None = None
    found_with: dict[str, Any] = field(default_factory=dict)
    tally: Tally = field(default_factory=Tally)

    def ask(self, *, has_data_set: bool = True, **keys: str) -> int:
        self.monkeypatch.setattr(find, "answers", self._answers)
        archive = SimpleNamespace(
            settings=SimpleNamespace(aet="PACS", max_find_answers=self.most_of_all), vocabulary=lambda: STANDARD,
            search=None,
        )  # fmt: skip
        caller = SimpleNamespace(
            aet="ASKING", label="ASKING", charset="ISO_IR 13", max_answers=self.most, combines_moments=self.combines,
            origin=SimpleNamespace(charset="ISO_IR 144"),
        )  # fmt: skip
        session = SimpleNamespace(association=self, archive=archive, caller=caller, tally=self.tally, audit=self._audit)
        self._keys = keys or {"StudyInstanceUID": ""}
        command = Command(
            field=CommandField.C_FIND_RQ, context_id=1, has_data_set=has_data_set, message_id=7,
            affected_sop_class=STUDY_FIND,
        )  # fmt: skip
        handle_find(cast(Session, session), command, Model.STUDY_ROOT)
        assert self.final is not None
        return self.final.status

    @property
    def contexts(self) -> Mapping[int, Context]:
        one = Context(
            id=1, abstract_syntax=STUDY_FIND, transfer_syntax=IMPLICIT_LE, as_scp=True, as_scu=False,
            extended=self.extended,
        )  # fmt: skip
        return {1: one}

    def read_identifier(self) -> bytes:
        return identifier(Level.STUDY, self._keys, IMPLICIT_LE) + self.more_keys

    def _answers(self, _: object, query: object, __: str, *, limit: int | None, **how: object) -> Iterator[list[bytes]]:
        self.asked_for, self.found_with = limit, {"query": query, **how}
        left = sum(self.rows) if limit is None else limit
        for number in self.rows:
            if left > 0:
                yield [b"an answer"] * min(number, left)
            left -= number
        if self.problem is not None:
            raise self.problem

    def cancelled(self, message_id: int) -> bool:
        return message_id == 7 and self.cancels_after is not None and len(self.answered) >= self.cancels_after

    def queue(self, context_id: int, command: bytes, data_sets: Sequence[bytes]) -> None:
        self.pending.add(decode_command(command, context_id).status)
        self.answered += data_sets

    def flush(self) -> None:
        self._break()
        self.flushed_at.append(len(self.answered))

    def _break(self) -> None:
        if self.breaks_after is not None and len(self.answered) >= self.breaks_after:
            raise PeerAborted("the peer aborted")

    def respond(self, command: bytes, context_id: int) -> None:
        self._break()
        self.final = decode_command(command, context_id)

    def _audit(self, _: EventKind, outcome: EventOutcome, *, target: str, count: int, detail: str) -> None:
        assert target == STUDY_FIND
        self.told.append((outcome, count, detail))


@pytest.fixture
def asking(monkeypatch: pytest.MonkeyPatch) -> Asking:
    return Asking(monkeypatch)


def test_every_answer_goes_out_and_the_first_ones_at_once(asking: Asking) -> None:
    assert asking.ask() == SUCCESS
    assert (len(asking.answered), asking.tally.answered) == (10, 10)
    assert asking.flushed_at[0] == 5
    assert asking.pending == {0xFF00}
    assert asking.asked_for is None
    assert asking.found_with["reply_charset"] == "ISO_IR 13"
    assert asking.found_with["retrieve_aet"] == "PACS"


@pytest.mark.parametrize(
    ("most", "most_of_all", "status", "answered"),
    [
        (0, 0, SUCCESS, 10),
        (0, 7, OUT_OF_RESOURCES, 7),
        (0, 5, OUT_OF_RESOURCES, 5),
        (4, 0, OUT_OF_RESOURCES, 4),
        (9, 4, OUT_OF_RESOURCES, 9),
        (10, 0, SUCCESS, 10),
        (11, 3, SUCCESS, 10),
    ],
)
def test_no_more_answers_go_out_than_may_and_who_is_not_told_all_is_told_that(
    asking: Asking, most: int, most_of_all: int, status: int, answered: int
) -> None:
    asking.most, asking.most_of_all = most, most_of_all
    assert asking.ask() == status
    assert (len(asking.answered), asking.tally.answered) == (answered, answered)
    if status != SUCCESS:
        assert asking.final is not None
        assert asking.final.error_comment == f"More than {answered} matches: narrow the query"
        assert asking.asked_for == answered + 1


def test_who_cancels_gets_no_more_answers(asking: Asking) -> None:
    asking.cancels_after = 5
    assert asking.ask() == CANCEL
    assert len(asking.answered) == 5
    assert [(outcome, count) for outcome, count, _ in asking.told] == [(EventOutcome.PARTLY, 5)]


def test_a_key_that_is_not_matched_is_told_with_each_answer(asking: Asking) -> None:
    asking.more_keys = encoding_of(IMPLICIT_LE).write_element(0x00400280, b"ST", b"of the step")
    assert asking.ask() == SUCCESS
    assert asking.pending == {0xFF01}


def test_a_name_without_a_character_set_is_in_that_of_its_peer(asking: Asking) -> None:
    asking.more_keys = encoding_of(IMPLICIT_LE).write_element(0x00100010, b"PN", "ЖУКОВ".encode("iso8859-5"))
    asking.ask()
    assert "ЖУКОВ" in asking.told[0][2]


@pytest.mark.parametrize(
    ("combines", "extended", "is_one_range"),
    [(True, b"", True), (False, b"\0\1", True), (False, b"\1\0", False), (False, b"", False)],
)
def test_a_peer_may_have_its_dates_and_times_taken_for_one_range(
    asking: Asking, extended: bytes, *, combines: bool, is_one_range: bool
) -> None:
    asking.combines, asking.extended = combines, extended
    asking.ask(StudyDate="20260101-20260103", StudyTime="120000-130000")
    assert len(asking.found_with["query"].predicates) == (1 if is_one_range else 2)


def test_an_index_that_fails_behind_some_answers_is_told_without_where_it_is(asking: Asking) -> None:
    asking.problem = AWAY
    assert asking.ask() == OUT_OF_RESOURCES
    assert asking.final is not None
    assert asking.final.error_comment == "the index failed: it is away"
    ((outcome, count, detail),) = asking.told
    assert (outcome, count) == (EventOutcome.PARTLY, 10)
    assert detail.endswith(f"; {AWAY}")


def test_a_query_without_an_identifier_is_refused(asking: Asking) -> None:
    assert asking.ask(has_data_set=False) == MISMATCH
    assert [(outcome, count) for outcome, count, _ in asking.told] == [(EventOutcome.REFUSED, 0)]


@pytest.mark.parametrize(
    ("rows", "breaks_after", "outcome"),
    [((5, 5), 5, EventOutcome.PARTLY), ((5, 5), 10, EventOutcome.PARTLY), ((), 0, EventOutcome.FAILED)],
)
def test_a_query_whose_peer_leaves_before_it_is_told_the_end_has_not_succeeded(
    asking: Asking, rows: Sequence[int], breaks_after: int, outcome: EventOutcome, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    asking.rows, asking.breaks_after = rows, breaks_after
    with pytest.raises(PeerAborted):
        asking.ask()
    ((told, count, detail),) = asking.told
    assert (told, count) == (outcome, breaks_after)
    assert detail.endswith("; the peer aborted")
    assert "status=" not in caplog.text


def test_the_trail_has_the_keys_of_a_query_and_the_log_has_not(
    asking: Asking, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    asking.most = 3
    before = metrics.totals().get(metrics.FAILURES.name, {}).get(("find", "0xa700"), [0.0])[0]
    asking.ask(PatientID="P-1", PatientName="YAMADA*")
    ((_, count, detail),) = asking.told
    assert count == 3
    assert "P-1" in detail
    assert "YAMADA" in detail
    assert "calling=ASKING status=0xa700 answers=3" in caplog.text
    assert "P-1" not in caplog.text
    assert "YAMADA" not in caplog.text
    assert metrics.totals()[metrics.FAILURES.name]["find", "0xa700"][0] == before + 1
