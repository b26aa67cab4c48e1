"""How a C-STORE is answered, what is counted and told of it, and whether the object was asked for."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pacs_server import errors, metrics
from pacs_server.archive.reception import Declared, Origin
from pacs_server.dicom.elements import EXPLICIT_LE
from pacs_server.dimse import store
from pacs_server.dimse.session import Session, Tally
from pacs_server.dimse.store import handle_store
from pacs_server.net.association import Context
from pacs_server.net.message import HANDED_ON, Command, CommandField, decode_command

CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"
NOW = datetime(2026, 1, 2, tzinfo=UTC)


@dataclass
class Sending:
    """One association that stores. `problem` is how an object is not kept, `breaks` how the association ends in it."""

    monkeypatch: pytest.MonkeyPatch
    problem: errors.PacsError | None = None
    breaks: errors.PacsError | None = None
    tally: Tally = field(default_factory=Tally)
    answers: list[Command] = field(default_factory=list)
    audited: list[str] = field(default_factory=list)
    noted: list[tuple[object, ...]] = field(default_factory=list)
    fed: bytes = b""
    was_asked: bool = False
    handed_on_from: str = ""
    is_drained: bool = False
    abandoned: int = 0

    def store(self, *, sop_class: str = CT, sop_instance: str = "1.2.3", **command: Any) -> int:
        self.monkeypatch.setattr(store, "ingest", self._ingest)
        one = Context(id=1, abstract_syntax=CT, transfer_syntax=EXPLICIT_LE, as_scp=True, as_scu=False)
        association = SimpleNamespace(
            contexts={1: one}, data_set=self._data_set, drain=self._drain,
            respond=lambda answer, context_id: self.answers.append(decode_command(answer, context_id)),
        )  # fmt: skip
        deposits = SimpleNamespace(
            note_other=lambda *told: self.noted.append(("other", *told)),
            note_given_back=lambda *told: self.noted.append(("given back", *told)),
        )
        archive = SimpleNamespace(settings=SimpleNamespace(aet="PACS"), deposits=deposits, receive=self._receive)
        session = SimpleNamespace(
            association=association, archive=archive, tally=self.tally, actor=None,
            caller=SimpleNamespace(aet="CT1", label="CT1", origin=Origin(aet="CT1")),
            audit=lambda *_, count, detail: self.audited.append(detail),
        )  # fmt: skip
        values: dict[str, Any] = {"has_data_set": True, "move_originator": "", "move_originator_message_id": 0}
        asked = Command(
            field=CommandField.C_STORE_RQ, context_id=1, message_id=7, affected_sop_class=sop_class,
            affected_sop_instance=sop_instance, **(values | command),
        )  # fmt: skip
        handle_store(cast(Session, session), asked)
        return self.answers[-1].status

    def _data_set(self) -> Iterator[bytes]:
        yield b"one"
        if self.breaks is not None:
            raise self.breaks
        yield b"two"

    def _drain(self) -> None:
        self.is_drained = True

    def _receive(self, declared: Declared, origin: Origin, handed_on_from: str) -> Any:
        self.was_asked, self.handed_on_from = origin.was_asked, handed_on_from
        return self

    def feed(self, fragment: bytes) -> None:
        self.fed += fragment

    def _ingest(self, _: object) -> None:
        if self.problem is not None:
            raise self.problem

    def abandon(self) -> None:
        self.abandoned += 1

    def digest(self) -> str:
        return "digest"

    now, size_bytes = NOW, 6


@pytest.fixture
def sending(monkeypatch: pytest.MonkeyPatch) -> Sending:
    return Sending(monkeypatch)


def number(family: metrics.Family, *labels: str) -> float:
    return metrics.totals().get(family.name, {}).get(labels, [0.0])[0]


def test_an_object_that_is_kept_is_counted_and_acknowledged(sending: Sending) -> None:
    before = number(metrics.STORED, "CT1"), number(metrics.RECEIVED_BYTES, "CT1")
    assert sending.store() == 0x0000
    assert (sending.fed, sending.abandoned, sending.is_drained) == (b"onetwo", 1, True)
    assert (sending.tally.stored, sending.tally.received_bytes, sending.tally.refused) == (1, 6, 0)
    assert (number(metrics.STORED, "CT1"), number(metrics.RECEIVED_BYTES, "CT1")) == (before[0] + 1, before[1] + 6)
    assert (sending.noted, sending.audited) == ([], [])


@pytest.mark.parametrize(
    ("problem", "status", "is_unrecorded"),
    [
        (errors.Undecodable("it is damaged"), 0xC000, False),
        (errors.NotEnoughCopies("one of two"), 0xA700, False),
        (errors.VolumeFull("it is full"), 0xA700, False),
        (errors.Refused("it is in the trash"), 0x0110, False),
        (errors.IndexUnavailable("disk full"), 0xA700, True),
        (errors.IndexUnreachable("it is away"), 0xA700, False),
        (errors.IndexConflict("again"), 0xA700, False),
    ],
)
def test_an_object_that_is_not_kept_is_refused_with_the_reason_and_told_to_the_trail(
    sending: Sending, problem: errors.PacsError, status: int, *, is_unrecorded: bool
) -> None:
    before = number(metrics.REFUSED, "CT1", hex(status)), number(metrics.UNRECORDED)
    sending.problem = problem
    assert sending.store() == status
    assert sending.answers[0].error_comment == str(problem)
    assert sending.audited == [f"{hex(status)} {problem}"]
    assert (sending.tally.stored, sending.tally.received_bytes, sending.tally.refused) == (0, 0, 1)
    assert (sending.abandoned, sending.is_drained) == (1, True)
    assert number(metrics.REFUSED, "CT1", hex(status)) == before[0] + 1
    assert number(metrics.UNRECORDED) == before[1] + is_unrecorded


@pytest.mark.parametrize(
    ("command", "status"),
    [({"has_data_set": False}, 0x0110), ({"sop_class": MR}, 0xA900), ({"sop_instance": "../../etc"}, 0x0117)],
)
def test_what_a_command_says_has_to_be_so(sending: Sending, command: dict[str, Any], status: int) -> None:
    assert sending.store(**command) == status
    assert (sending.fed, sending.tally.refused) == (b"", 1)


def test_an_association_that_breaks_in_an_object_leaves_nothing_and_is_answered_nothing(sending: Sending) -> None:
    sending.breaks = errors.PeerAborted("the peer aborted")
    with pytest.raises(errors.PeerAborted):
        sending.store()
    assert (sending.abandoned, sending.answers, sending.tally.stored) == (1, [], 0)


@pytest.mark.parametrize(
    ("originator", "message_id", "was_asked", "handed_on_from"),
    [
        ("PACS", 5, True, ""),
        ("OTHER", 5, False, ""),
        ("CT9", HANDED_ON, False, "CT9"),
        ("PACS", HANDED_ON, False, "PACS"),
    ],
)
def test_an_object_was_asked_for_where_our_own_move_is_named(
    sending: Sending, originator: str, message_id: int, *, was_asked: bool, handed_on_from: str
) -> None:
    sending.store(move_originator=originator, move_originator_message_id=message_id)
    assert (sending.was_asked, sending.handed_on_from) == (was_asked, handed_on_from)
    assert sending.noted == ([("given back", "CT1", ("1.2.3", "digest"), NOW)] if was_asked else [])


def test_what_comes_back_with_another_content_is_noted_and_refused(sending: Sending) -> None:
    sending.problem = errors.NotAsGiven("it has other bytes")
    assert sending.store(move_originator="PACS", move_originator_message_id=5) == 0xC000
    assert sending.noted == [("other", "CT1", "1.2.3", "it has other bytes")]
