"""Storage Commitment on an association: what is taken in and what is refused, who waits for a report, and how one goes
out between two requests.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pacs_server.dicom.commitment import WELL_KNOWN_INSTANCE, Reference, Report, Request, write_report, write_request
from pacs_server.dicom.elements import IMPLICIT_LE
from pacs_server.dimse import reporting
from pacs_server.dimse.commit import handle_commit, next_command, settle_report
from pacs_server.dimse.reporting import Offer, OpenRequests, Requester
from pacs_server.dimse.services import STORAGE_COMMITMENT
from pacs_server.dimse.session import Session
from pacs_server.errors import IndexUnavailable, PacsError
from pacs_server.net.association import Context
from pacs_server.net.message import Command, CommandField, decode_command

OBJECTS = (Reference("1.2.840.10008.5.1.4.1.1.2", "1.2.3"),)
REQUEST = Request(transaction_uid="1.2.9", references=OBJECTS)
REPORT = Report(transaction_uid="1.2.9", committed=OBJECTS)
AWAY = IndexUnavailable("the index at postgresql://pacs@a/pacs failed: it is away")
ECHO = Command(field=CommandField.C_ECHO_RQ, context_id=3, has_data_set=False)


@dataclass
class Console:
    """A console on its association, and what the index answers to what it says."""

    says: bytes = b""
    as_scp: bool = True
    answers: bool | PacsError = True
    next: Command = ECHO
    told: list[Command] = field(default_factory=list)
    reported: list[tuple[int, int]] = field(default_factory=list)
    audited: list[str] = field(default_factory=list)
    is_drained: bool = False

    def __post_init__(self) -> None:
        self.requests, self.requester = OpenRequests(), Requester()
        commitments = SimpleNamespace(take_in=self._answer, answer=self._answer)
        settings = SimpleNamespace(aet="PACS", network=SimpleNamespace(idle_timeout_s=60.0))
        archive = SimpleNamespace(requests=self.requests, commitments=commitments, settings=settings)
        session = SimpleNamespace(
            association=self, caller=SimpleNamespace(aet="CT1"), archive=archive, requester=self.requester,
            audit=lambda *_, detail: self.audited.append(detail),
        )  # fmt: skip
        self.session = cast(Session, session)

    @property
    def contexts(self) -> Mapping[int, Context]:
        one = Context(
            id=1, abstract_syntax=STORAGE_COMMITMENT, transfer_syntax=IMPLICIT_LE, as_scp=self.as_scp, as_scu=True
        )
        return {1: one}

    def _answer(self, aet: str, said: object, now: datetime) -> bool:
        if isinstance(self.answers, PacsError):
            raise self.answers
        return self.answers

    def read_identifier(self, max_bytes: int) -> bytes:
        return self.says

    def drain(self) -> None:
        self.is_drained = True

    def respond(self, command: bytes, context_id: int) -> None:
        self.told.append(decode_command(command, context_id))

    def receive(self, timeout_s: float | None = None) -> Command:
        return self.next

    def stays_quiet(self, wait_s: float) -> bool:
        return False

    def next_message_id(self) -> int:
        return 40 + len(self.reported)

    def ask(self, context_id: int, command: bytes, data_set: bytes, message_id: int) -> None:
        self.reported.append((context_id, message_id))

    def asks(self, **changed: Any) -> int:
        """The status of its N-ACTION, or of another command with these values."""
        values: dict[str, Any] = {
            "field": CommandField.N_ACTION_RQ, "context_id": 1, "has_data_set": True, "message_id": 7,
            "requested_sop_class": STORAGE_COMMITMENT, "requested_sop_instance": WELL_KNOWN_INSTANCE, "action_type": 1,
        }  # fmt: skip
        self.says = self.says or write_request(REQUEST, IMPLICIT_LE)
        handle_commit(self.session, Command(**(values | changed)))
        return self.told[-1].status

    def reports(self, event_type: int = 1) -> int:
        """The status of its N-EVENT-REPORT."""
        self.says = write_report(REPORT, IMPLICIT_LE, retrieve_aet="FAR")
        return self.asks(
            field=CommandField.N_EVENT_REPORT_RQ, event_type=event_type, affected_sop_class=STORAGE_COMMITMENT,
            affected_sop_instance=WELL_KNOWN_INSTANCE,
        )  # fmt: skip

    def answers_report(self, message_id: int, status: int) -> None:
        field = CommandField.N_EVENT_REPORT_RSP
        settle_report(
            self.session,
            Command(field=field, context_id=1, has_data_set=False, responded_to=message_id, status=status),
        )

    @property
    def waits(self) -> bool:
        return self.requests.awaited() == {"CT1": {"1.2.9"}}


def test_who_asks_waits_for_the_report_on_its_association() -> None:
    console = Console()
    assert console.asks() == 0x0000
    assert console.waits
    assert console.requester.awaits == {"1.2.9": 1}
    assert (console.is_drained, console.audited) == (True, [])


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"action_type": 2}, 0x0123),
        ({"requested_sop_class": "1.2.3"}, 0x0118),
        ({"requested_sop_instance": "1.2.3"}, 0x0112),
        ({"has_data_set": False}, 0x0120),
        ({"field": CommandField.C_ECHO_RQ}, 0x0211),
    ],
)
def test_a_request_that_is_none_is_refused_and_told_to_the_trail(changed: dict[str, Any], status: int) -> None:
    console = Console()
    assert console.asks(**changed) == status
    assert console.is_drained
    assert not console.requests.awaited()
    (told,) = console.audited
    assert told.startswith(hex(status))


def test_who_only_reports_on_a_context_cannot_ask_there() -> None:
    assert Console(as_scp=False).asks() == 0x0211


@pytest.mark.parametrize(("answers", "status"), [(False, 0x0131), (AWAY, 0x0110)])
@pytest.mark.parametrize("waited_before", [False, True])
def test_a_request_that_is_not_recorded_changes_nothing_for_who_waits(
    answers: bool | PacsError, status: int, *, waited_before: bool
) -> None:
    console = Console()
    if waited_before:
        assert console.asks() == 0x0000
    console.answers = answers
    assert console.asks() == status
    assert console.waits is waited_before


@pytest.mark.parametrize(
    ("answers", "event_type", "status"),
    [(True, 1, 0x0000), (True, 2, 0x0000), (True, 3, 0x0113), (False, 1, 0x0115), (AWAY, 1, 0x0110)],
)
def test_a_report_of_a_peer_is_acknowledged_once_it_is_recorded(
    answers: bool | PacsError, event_type: int, status: int
) -> None:
    console = Console(answers=answers)
    assert console.reports(event_type) == status
    assert len(console.audited) == (status != 0)


def test_a_peer_is_not_told_where_our_database_is() -> None:
    console = Console(answers=AWAY)
    console.asks()
    assert console.told[-1].error_comment == "the index failed: it is away"


def offered(console: Console) -> Offer:
    offer = Offer(REPORT)
    console.requester.offers.append(offer)
    return offer


@pytest.mark.parametrize(("status", "still_waits"), [(0x0000, False), (0x0110, True)])
def test_a_report_goes_out_between_two_requests_and_is_settled_by_its_answer(status: int, still_waits: bool) -> None:
    console = Console()
    console.asks()
    offer = offered(console)
    assert next_command(console.session) is ECHO
    assert console.reported == [(1, 40)]
    console.answers_report(40, status)
    assert offer.outcome(60) == status
    assert console.waits is still_waits
    assert console.requester.sent == {}


def test_a_report_that_was_withdrawn_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reporting, "_TAKEN_WITHIN_S", 0.0)
    console = Console()
    console.asks()
    assert offered(console).outcome(60) is None
    assert next_command(console.session) is ECHO
    assert console.reported == []


def test_a_report_that_is_not_waited_for_any_more_is_settled_without_being_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reporting, "_TAKEN_WITHIN_S", 3_600.0)
    console = Console()
    console.asks()
    console.requester.awaits = {"1.2.8": 1}
    offer = offered(console)
    assert next_command(console.session) is ECHO
    assert offer.outcome(60) is None
    assert console.reported == []
