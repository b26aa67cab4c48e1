"""The counts and the final status of a retrieve, as values."""

from types import SimpleNamespace
from typing import cast

import pytest

from pacs_server.dicom.elements import EXPLICIT_LE, IMPLICIT_LE
from pacs_server.dimse.progress import Progress, RequesterGone, Watch, failed_list
from pacs_server.dimse.session import Session
from pacs_server.dimse.status import Status
from pacs_server.errors import PeerAborted
from pacs_server.index.queries.search import Deliverable
from pacs_server.net.message import Command, CommandField


def item(uid: str = "1.2.3") -> Deliverable:
    return Deliverable(
        sop_class="1.2.840.10008.5.1.4.1.1.2",
        sop_uid=uid,
        transfer_syntax=IMPLICIT_LE,
        size_bytes=10,
        digest="0" * 64,
        study_uid="1",
        series_uid="2",
        copies=(),
    )


def after(*statuses: int) -> Progress:
    progress = Progress(remaining=len(statuses))
    for number, status in enumerate(statuses):
        progress.note(item(f"1.2.{number}"), status)
    return progress


def test_everything_sent_is_success() -> None:
    progress = after(0x0000, 0x0000)
    assert progress.final_status() == Status.SUCCESS
    assert progress.counts() == {"remaining": 0, "completed": 2, "failed": 0, "warning": 0}


@pytest.mark.parametrize("warning", [0x0107, 0x0111, 0xB000, 0xB001, 0xB006, 0xB007])
def test_a_warning_of_the_receiver_is_counted_as_one(warning: int) -> None:
    progress = after(0x0000, warning)
    assert progress.final_status() == Status.SUB_OPERATIONS_WITH_FAILURES
    assert progress.counts() == {"remaining": 0, "completed": 1, "failed": 0, "warning": 1}


@pytest.mark.parametrize(("status", "is_taken"), [(0x0000, True), (0xB000, True), (0xA700, False), (0xC000, False)])
def test_whether_the_receiver_took_an_object_is_told(status: int, is_taken: bool) -> None:
    progress = Progress(remaining=1)
    assert progress.note(item("1.2.1"), status) is is_taken
    assert bool(progress.arrived) is is_taken


def test_a_failed_object_is_named_and_the_rest_still_counts() -> None:
    progress = after(0x0000, 0xA700)
    assert progress.final_status() == Status.SUB_OPERATIONS_WITH_FAILURES
    assert progress.failed_uids == ["1.2.1"]


def test_nothing_sent_at_all_is_a_failure_and_not_a_warning() -> None:
    assert after(0xC000, 0xA900).final_status() == Status.CANNOT_PERFORM_SUB_OPERATIONS


def test_what_was_taken_with_a_warning_arrived_whatever_failed_beside_it() -> None:
    assert after(0xB000, 0xA700).final_status() == Status.SUB_OPERATIONS_WITH_FAILURES


def test_nothing_asked_for_is_success() -> None:
    assert after().final_status() == Status.SUCCESS


def test_counts_stay_within_sixteen_bits() -> None:
    many = 70_000
    counted = Progress(remaining=many, completed=many, warning=many, failed_uids=["1.2"] * many)
    assert set(counted.counts().values()) == {65_535}


class Requester:
    """The association that asks, and what it was told."""

    def __init__(self) -> None:
        self.is_mid_message = self.is_broken = False
        self.told: list[bytes] = []

    def respond(self, command: bytes, context_id: int) -> None:
        self.told.append(command)

    def cancelled(self, message_id: int) -> bool:
        if self.is_broken:
            raise PeerAborted("the peer aborted")
        return message_id == 7

    def watch(self, *, remaining: int = 3, message_id: int = 7) -> Watch:
        command = Command(field=CommandField.C_GET_RQ, context_id=1, has_data_set=True, message_id=message_id)
        session = cast(Session, SimpleNamespace(association=self))
        return Watch(session, command, Progress(remaining=remaining))


def test_a_requester_is_told_at_once_and_then_not_too_often(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("pacs_server.dimse.progress.time", SimpleNamespace(monotonic=lambda: now[0]))
    requester = Requester()
    watch = requester.watch()
    told = []
    for now[0] in (0.0, 0.05, 0.2, 0.25):
        watch.tell()
        told.append(len(requester.told))
    for now[0] in (5.0, 5.3):
        watch.meanwhile()
        told.append(len(requester.told))
    assert told == [1, 1, 2, 2, 2, 3]


def test_a_requester_is_told_nothing_in_the_middle_of_an_object_nor_when_the_end_is_near() -> None:
    requester = Requester()
    requester.watch(remaining=0).tell()
    requester.is_mid_message = True
    requester.watch().tell()
    assert requester.told == []


def test_a_requester_cancels_its_own_request_and_one_that_has_gone_is_no_canceller() -> None:
    requester = Requester()
    assert requester.watch().cancelled()
    assert not requester.watch(message_id=8).cancelled()
    requester.is_broken = True
    with pytest.raises(RequesterGone, match="the peer aborted"):
        requester.watch().cancelled()


def test_the_failed_list_is_one_padded_ui_element() -> None:
    assert failed_list(["1.2", "1.3.4"], EXPLICIT_LE) == b"\x08\x00\x58\x00UI\x0a\x001.2\\1.3.4\0"
    assert failed_list(["1.23"], IMPLICIT_LE) == b"\x08\x00\x58\x00\x04\0\0\x001.23"


def test_a_failed_list_that_is_too_long_for_one_element_ends_at_a_whole_uid() -> None:
    encoded = failed_list(["1.2.840.10008.1.2.3"] * 5_000, EXPLICIT_LE)
    value = encoded[8:].rstrip(b"\0")
    assert len(encoded) <= 65_534 + 8
    assert set(value.split(b"\\")) == {b"1.2.840.10008.1.2.3"}
    assert failed_list(["1.2.840.10008.1.2.3"] * 5_000, IMPLICIT_LE).count(b"1.2.840.10008.1.2.3") == 5_000
