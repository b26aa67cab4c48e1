"""Which service a request goes to, and who is remembered of those that were not let in."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pacs_server.dimse import dispatch as dispatching
from pacs_server.dimse.dispatch import dispatch
from pacs_server.dimse.doorkeeper import Doorkeeper
from pacs_server.dimse.session import Session, Tally
from pacs_server.index.site.peers import Right
from pacs_server.net.message import Command, CommandField, decode_command
from pacs_server.net.negotiate import CALLING_NOT_RECOGNISED, AssociationRequest, Context, ProposedContext

ECHO, CT = "1.2.840.10008.1.1", "1.2.840.10008.5.1.4.1.1.2"
FIND, COMMITMENT = "1.2.840.10008.5.1.4.1.2.2.1", "1.2.840.10008.1.20.1"
NOW = datetime(2026, 1, 2, tzinfo=UTC)


class Asking:
    """One association with a context, and what became of a request on it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.done: list[tuple[str, str]] = []
        self.is_drained, self.status, self.tally = False, -1, Tally()
        for name in ("handle_store", "handle_commit", "settle_report"):
            monkeypatch.setattr(dispatching, name, lambda *_, name=name: self.done.append((name, self.tally.doing)))
        retrieving = {right: self._handle(right) for right in (Right.FIND, Right.GET, Right.MOVE)}
        monkeypatch.setattr(dispatching, "_QUERY_RETRIEVE", retrieving)

    def _handle(self, right: Right) -> Any:
        return lambda *_: self.done.append((right.value, self.tally.doing))

    def ask(self, sop_class: str, field: CommandField, *, as_scp: bool = True, **command: Any) -> int:
        one = Context(id=1, abstract_syntax=sop_class, transfer_syntax="1.2", as_scp=as_scp, as_scu=not as_scp)
        association = SimpleNamespace(contexts={1: one}, drain=self._drain, respond=self._respond)
        session = SimpleNamespace(
            association=association, tally=self.tally, caller=SimpleNamespace(is_self_check=False)
        )
        values: dict[str, Any] = {"has_data_set": False, "message_id": 7}
        dispatch(cast(Session, session), Command(field=field, context_id=1, **(values | command)))
        return self.status

    def _drain(self) -> None:
        self.is_drained = True

    def _respond(self, answer: bytes, context_id: int) -> None:
        self.status = decode_command(answer, context_id).status


@pytest.fixture
def asking(monkeypatch: pytest.MonkeyPatch) -> Asking:
    return Asking(monkeypatch)


@pytest.mark.parametrize(
    ("command", "status"),
    [
        ({"affected_sop_class": ECHO}, 0x0000),
        ({}, 0x0000),
        ({"affected_sop_class": CT}, 0x0122),
        ({"affected_sop_class": ECHO, "has_data_set": True}, 0x0110),
    ],
)
def test_an_echo_is_answered_if_it_is_one(asking: Asking, command: dict[str, Any], status: int) -> None:
    assert asking.ask(ECHO, CommandField.C_ECHO_RQ, **command) == status
    assert asking.is_drained


@pytest.mark.parametrize(
    ("sop_class", "field", "done"),
    [
        (CT, CommandField.C_STORE_RQ, ("handle_store", "")),
        (FIND, CommandField.C_FIND_RQ, ("find", "find")),
        (COMMITMENT, CommandField.N_ACTION_RQ, ("handle_commit", "")),
        (COMMITMENT, CommandField.N_EVENT_REPORT_RSP, ("settle_report", "")),
    ],
)
def test_a_request_goes_to_the_service_of_its_context(
    asking: Asking, sop_class: str, field: CommandField, done: tuple[str, str]
) -> None:
    asking.ask(sop_class, field)
    assert asking.done == [done]
    assert asking.tally.doing == ""


@pytest.mark.parametrize(
    ("sop_class", "field", "as_scp"),
    [
        (CT, CommandField.C_FIND_RQ, True),
        (CT, CommandField.C_STORE_RQ, False),  # it was accepted for what a C-GET brings
        (FIND, CommandField.C_MOVE_RQ, True),
        (ECHO, CommandField.C_FIND_RQ, True),
    ],
)
def test_a_request_that_its_context_is_not_for_is_refused(
    asking: Asking, sop_class: str, field: CommandField, *, as_scp: bool
) -> None:
    assert asking.ask(sop_class, field, as_scp=as_scp, has_data_set=True) == 0x0211
    assert (asking.done, asking.is_drained) == ([], True)


def rejected(doorkeeper: Doorkeeper, calling: str, *, after: int = 0, address: str = "192.0.2.7") -> None:
    proposed = ProposedContext(id=1, abstract_syntax=ECHO, transfer_syntaxes=("1.2",), scu_role=None, scp_role=None)
    request = AssociationRequest(
        calling_aet=calling, called_aet="PACS ", peer_address=address, contexts=(proposed,), max_pdu_bytes=16_384,
        implementation_class_uid="1.2.3", implementation_version="", extended={},
    )  # fmt: skip
    doorkeeper.note(request, None, CALLING_NOT_RECOGNISED, NOW + timedelta(seconds=after))


def test_who_was_rejected_is_remembered_with_the_first_time_and_how_often() -> None:
    doorkeeper = Doorkeeper()
    for after in (0, 5, 9):
        rejected(doorkeeper, "CT1", after=after)
    rejected(doorkeeper, "CT1", address="192.0.2.8")
    first, other = doorkeeper.take()
    assert (first.aet, first.address, first.called, first.asked) == ("CT1", "192.0.2.7", "PACS", {Right.ECHO})
    assert (first.count, first.first_at, first.last_at) == (3, NOW, NOW + timedelta(seconds=9))
    assert (other.address, other.count) == ("192.0.2.8", 1)
    assert doorkeeper.take() == []


def test_of_a_flood_of_callers_some_are_remembered_and_none_that_nobody_could_register() -> None:
    doorkeeper = Doorkeeper()
    for number in range(200):
        rejected(doorkeeper, f"CT{number}")
    rejected(doorkeeper, "CT0", after=5)
    taken = doorkeeper.take()
    assert len(taken) == 50
    assert taken[0].count == 2
    rejected(doorkeeper, "A\\B")
    assert doorkeeper.take() == []
