"""How a C-GET and a C-MOVE end: the final response, the objects that failed by name, the audit trail and the log."""

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pacs_server import metrics
from pacs_server.dicom.attributes import Level
from pacs_server.dicom.audit import EventKind, EventOutcome
from pacs_server.dicom.elements import IMPLICIT_LE, encoding_of
from pacs_server.dicom.identity import AeTitle
from pacs_server.dicom.queries.asking import failed_uids, identifier
from pacs_server.dicom.queries.matching import Model
from pacs_server.dicom.queries.retrieval import RetrieveRequest
from pacs_server.dimse import retrieve
from pacs_server.dimse.progress import Progress, RequesterGone
from pacs_server.dimse.retrieve import handle_get, handle_move
from pacs_server.dimse.session import Session
from pacs_server.errors import IndexUnavailable, PeerAborted
from pacs_server.index.queries.search import Deliverable
from pacs_server.index.site.peers import Peer
from pacs_server.net.association import Context
from pacs_server.net.message import Command, CommandField, decode_command

REMAINING, COMPLETED, FAILED, WARNING = 0x1020, 0x1021, 0x1022, 0x1023
RLE = "1.2.840.10008.1.2.5"
AWAY = IndexUnavailable("the index at postgresql://pacs@a/pacs failed: it is away")
VIEWER = Peer(
    aet=AeTitle("VIEWER"), host="127.0.0.1", port=104, rights=frozenset(), sources=(), associations=3, syntax=RLE
)
Told = tuple[EventKind, EventOutcome, str, str, int, str]


def item(uid: str, *, study: str = "1.1", archives: tuple[str, ...] = ()) -> Deliverable:
    return Deliverable(
        sop_class="1.2", sop_uid=uid, transfer_syntax=IMPLICIT_LE, size_bytes=2, digest=uid, study_uid=study,
        series_uid="1.1.1", copies=(), archives=archives,
    )  # fmt: skip


def counts(command: bytes) -> dict[int, int]:
    """The numbers of sub-operations in a response, by element."""
    found, offset = {}, 0
    while offset < len(command):
        group, element, length = struct.unpack_from("<HHL", command, offset)
        assert group == 0
        if REMAINING <= element <= WARNING:
            (found[element],) = struct.unpack_from("<H", command, offset + 8)
        offset += 8 + length
    return found


@dataclass
class Asking:
    """One association that retrieves. `answers` are those of the receiver by SOP Instance UID, success else; `does` is
    done in place of sending, and says whether it was cancelled; `given_up` is what turns out to be so meanwhile.
    """

    monkeypatch: pytest.MonkeyPatch
    held: Sequence[Deliverable] = (item("1"), item("2"))
    answers: dict[str, int] = field(default_factory=dict)
    comment: str = ""
    cancels: bool = False
    given_up: Sequence[Deliverable] = ()
    problem: Exception | None = None
    peer: Peer | Exception | None = VIEWER
    destinations: tuple[str, ...] = ()
    implementation: str = ""
    keys: dict[str, str] = field(default_factory=lambda: {"StudyInstanceUID": "1.1"})
    identifier: bytes = b""
    requests: list[RetrieveRequest] = field(default_factory=list)
    final: bytes = b""
    failed: Sequence[str] = ()
    deeds: list[tuple[str, list[str]]] = field(default_factory=list)
    told: list[Told] = field(default_factory=list)
    named: dict[str, Any] = field(default_factory=dict)

    def run(
        self, handle: Callable[[Session, Command, Model], None], model: Model = Model.STUDY_ROOT, **command: Any
    ) -> Command:
        self.monkeypatch.setattr(retrieve, "SubOperations", self._work)
        one = Context(id=1, abstract_syntax="1.2", transfer_syntax=IMPLICIT_LE, as_scp=True, as_scu=False)
        association = SimpleNamespace(
            contexts={1: one}, respond=self._respond, implementation=self.implementation,
            read_identifier=lambda: self.identifier or identifier(Level.STUDY, self.keys, IMPLICIT_LE),
        )  # fmt: skip
        archive = SimpleNamespace(
            settings=SimpleNamespace(aet="PACS", tls_files=None), search=SimpleNamespace(deliverables=self._find),
            registry=SimpleNamespace(peer=self._peer),
        )  # fmt: skip
        caller = SimpleNamespace(
            aet="ASKING", syntax=RLE, destinations=self.destinations, origin=SimpleNamespace(charset="ISO_IR 144")
        )
        session = SimpleNamespace(association=association, archive=archive, caller=caller, audit=self._audit)
        number = CommandField.C_MOVE_RQ if handle is handle_move else CommandField.C_GET_RQ
        asked = Command(field=number, context_id=1, has_data_set=True, message_id=7, **command)
        handle(cast(Session, session), asked, model)
        return decode_command(self.final, 1)

    def move(self, to: str = "VIEWER") -> Command:
        return self.run(handle_move, move_destination=to)

    def _find(self, request: RetrieveRequest) -> Sequence[Deliverable]:
        self.requests.append(request)
        return self.held

    def _peer(self, _: str) -> Peer | None:
        if isinstance(self.peer, Exception):
            raise self.peer
        return self.peer

    def _respond(self, command: bytes, context_id: int, data_set: bytes | None = None) -> None:
        self.final, self.failed = command, sorted(failed_uids(data_set, IMPLICIT_LE)) if data_set else ()

    def _audit(
        self, kind: EventKind, outcome: EventOutcome = EventOutcome.DONE, *, target: str = "", patient_id: str = "",
        issuer: str = "", study_uid: str = "", count: int = 0, sop_uids: Sequence[str] = (), detail: str = "",
    ) -> None:  # fmt: skip
        self.told.append((kind, outcome, target, patient_id + study_uid, len(sop_uids) or count, detail))

    def _work(self, session: Session, command: Command, progress: Progress, **how: Any) -> Any:
        self.progress, self.named = progress, how
        return SimpleNamespace(
            send=self._send, move=self._move, fetchable=self._fetchable, fetch=self._fetch,
            given_up=lambda: self.given_up,
        )  # fmt: skip

    def _send(self, items: Sequence[Deliverable], *_: object) -> bool:
        self.deeds.append(("send", [one.sop_uid for one in items]))
        for one in items[: 1 if self.cancels else None]:
            self.progress.note(one, self.answers.get(one.sop_uid, 0x0000))
        self.progress.comment = self.comment
        if self.problem is not None:
            raise self.problem
        return self.cancels

    def _move(self, items: Sequence[Deliverable], destination: object, *, associations: int) -> bool:
        self.named |= {"associations": associations}
        return self._send(items)

    def _fetchable(self, items: Sequence[Deliverable]) -> Sequence[Deliverable]:
        return [one for one in items if one.archives != ("ASKING",)]

    def _fetch(self, items: Sequence[Deliverable], send: Callable[[Sequence[Deliverable]], bool]) -> bool:
        self.deeds.append(("fetch", [one.sop_uid for one in items]))
        return send(items)


@pytest.fixture
def asking(monkeypatch: pytest.MonkeyPatch) -> Asking:
    return Asking(monkeypatch)


def begun(target: str, count: int, what: str, study: str = "1.1") -> Told:
    return EventKind.BEGIN, EventOutcome.DONE, target, study, count, what


def sent(outcome: EventOutcome, target: str, count: int, detail: str, study: str = "1.1") -> Told:
    return EventKind.SEND, outcome, target, study, count, detail


def test_everything_that_was_moved_is_counted_and_what_went_wrong_meanwhile_is_no_matter(asking: Asking) -> None:
    asking.comment = "the association broke: the peer aborted"
    final = asking.move()
    assert (final.status, final.error_comment, final.has_data_set) == (0x0000, "", False)
    assert counts(asking.final) == {COMPLETED: 2, FAILED: 0, WARNING: 0}
    assert asking.named == {"preferred": RLE, "originator": ("ASKING", 7), "associations": 3}
    assert asking.told == [
        begun("VIEWER", 2, "C-MOVE"),
        sent(EventOutcome.DONE, "VIEWER", 2, f"C-MOVE; {asking.comment}"),
    ]


def test_what_failed_is_named_and_each_study_told_of_with_what_arrived_of_it(
    asking: Asking, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    before = metrics.totals().get(metrics.FAILURES.name, {}).get(("move", "0xb000"), [0.0])[0]
    asking.held = [item("1"), item("2"), item("3", study="1.2"), item("4", study="1.3")]
    asking.answers, asking.comment = {"2": 0xA700, "3": 0xA700}, AWAY.problem
    final = asking.move()
    assert (final.status, asking.failed, final.has_data_set) == (0xB000, ["2", "3"], True)
    assert final.error_comment == "the index failed: it is away"
    assert counts(asking.final) == {COMPLETED: 2, FAILED: 2, WARNING: 0}
    detail = f"C-MOVE; {asking.comment}"
    assert asking.told[3:] == [
        sent(EventOutcome.PARTLY, "VIEWER", 1, detail),
        sent(EventOutcome.FAILED, "VIEWER", 0, detail, "1.2"),
        sent(EventOutcome.DONE, "VIEWER", 1, detail, "1.3"),
    ]
    assert "calling=ASKING to=VIEWER status=0xb000" in caplog.text
    assert metrics.totals()[metrics.FAILURES.name]["move", "0xb000"][0] == before + 1


def test_who_cancels_is_told_what_remains(asking: Asking) -> None:
    asking.cancels = True
    assert asking.move().status == 0xFE00
    assert counts(asking.final) == {REMAINING: 1, COMPLETED: 1, FAILED: 0, WARNING: 0}


@pytest.mark.parametrize(("implementation", "failed"), [("OFFIS_DCMTK_367", ()), ("ANOTHER", ["1", "2"])])
def test_a_get_goes_to_who_asks_and_names_what_failed_to_who_reads_it(
    asking: Asking, implementation: str, failed: Sequence[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    asking.implementation, asking.answers = implementation, {"1": 0xA700, "2": 0xA700}
    final = asking.run(handle_get)
    assert (final.status, asking.failed, final.has_data_set) == (0xA702, failed, bool(failed))
    assert asking.named == {"preferred": RLE}
    assert asking.told == [begun("ASKING", 2, "C-GET"), sent(EventOutcome.FAILED, "ASKING", 0, "C-GET")]
    assert "calling=ASKING to=ASKING status=0xa702" in caplog.text


def test_dcmtk_reads_what_failed_of_a_move(asking: Asking) -> None:
    asking.implementation, asking.answers = "OFFIS_DCMTK_367", {"1": 0xA700}
    asking.move()
    assert asking.failed == ["1"]


@pytest.mark.parametrize("handle", [handle_get, handle_move])
def test_a_requester_that_has_gone_ends_its_association_and_what_arrived_is_told_to_the_trail(
    asking: Asking, handle: Callable[[Session, Command, Model], None]
) -> None:
    asking.problem, asking.cancels = RequesterGone(PeerAborted("the peer aborted")), True
    with pytest.raises(PeerAborted):
        asking.run(handle, move_destination="VIEWER")
    assert [(kind, outcome, count) for kind, outcome, _, _, count, _ in asking.told] == [
        (EventKind.BEGIN, EventOutcome.DONE, 2),
        (EventKind.SEND, EventOutcome.PARTLY, 1),
    ]
    assert asking.final == b""


def test_what_is_here_is_sent_before_anything_is_fetched(asking: Asking) -> None:
    asking.held = [item("1", archives=("FAR",)), item("2"), item("3", archives=("ASKING",))]
    asking.move()
    assert asking.deeds == [("send", ["2"]), ("fetch", ["1"]), ("send", ["1"])]


def test_what_was_given_up_for_an_archive_server_meanwhile_is_fetched_in_the_end(asking: Asking) -> None:
    asking.held, asking.given_up = [item("1", archives=("FAR",)), item("2")], [item("3", archives=("FAR",))]
    asking.move()
    assert asking.deeds == [("send", ["2"]), ("fetch", ["1", "3"]), ("send", ["1", "3"])]


def test_nothing_is_fetched_for_who_has_cancelled_and_nothing_sent_where_nothing_is_here(asking: Asking) -> None:
    asking.held, asking.cancels = [item("1", archives=("FAR",)), item("2")], True
    asking.move()
    assert asking.deeds == [("send", ["2"])]
    asking.held, asking.deeds = [item("1", archives=("FAR",))], []
    asking.move()
    assert asking.deeds == [("fetch", ["1"]), ("send", ["1"])]


@pytest.mark.parametrize(
    ("to", "peer", "destinations", "status", "why"),
    [
        ("PACS", VIEWER, (), 0xA801, "Move destination PACS is this archive, which holds the objects"),
        ("VIEWER", VIEWER, ("OTHER",), 0xA801, "ASKING may not move to VIEWER: pacs ae set ASKING --destinations ..."),
        ("VIEWER", None, (), 0xA801, "Move destination VIEWER unknown: pacs ae add VIEWER HOST PORT"),
        ("A\\B", VIEWER, (), 0xA801, "Move destination A\\B unknown: pacs ae add A\\B HOST PORT"),
        ("VIEWER", AWAY, (), 0xA700, AWAY.problem),
    ],
)
def test_a_destination_that_is_none_is_told_and_each_study_told_of_that_was_not_sent(
    asking: Asking, to: str, peer: Peer | Exception | None, destinations: tuple[str, ...], status: int, why: str
) -> None:
    asking.held = [item("1"), item("2"), item("3", study="1.2")]
    asking.peer, asking.destinations = peer, destinations
    assert asking.move(to).status == status
    assert asking.deeds == []
    assert asking.told == [
        sent(EventOutcome.REFUSED, to, 2, why),
        sent(EventOutcome.REFUSED, to, 1, why, "1.2"),
    ]


def test_a_peer_that_only_calls_is_no_destination(asking: Asking) -> None:
    asking.peer = Peer(aet=AeTitle("VIEWER"), host=None, port=None, rights=frozenset(), sources=())
    assert asking.move().status == 0xA801


def test_a_destination_that_is_allowed_is_taken(asking: Asking) -> None:
    asking.destinations = ("OTHER", "VIEWER")
    assert asking.move().status == 0x0000


def test_an_identifier_that_is_refused_is_told_of_with_whom_it_names(asking: Asking) -> None:
    asking.keys = {"PatientID": "P-1", "StudyInstanceUID": ""}
    final = asking.run(handle_get)
    assert (final.status, asking.deeds) == (0xA900, [])
    (told,) = asking.told
    assert told[:4] == (EventKind.SEND, EventOutcome.REFUSED, "", "P-1")
    assert "P-1" not in final.error_comment


@pytest.mark.parametrize("level", [b"PATIENT ", b"STUDY "])
def test_a_patient_id_without_a_character_set_is_in_that_of_its_peer(asking: Asking, level: bytes) -> None:
    write = encoding_of(IMPLICIT_LE).write_element
    named = write(0x00100020, b"LO", "ЖУ".encode("iso8859-5"))
    asking.identifier = write(0x00080052, b"CS", level) + named
    asking.run(handle_get, model=Model.PATIENT_ROOT)
    if level == b"PATIENT ":
        assert [one.patient_ids for one in asking.requests] == [("ЖУ",)]
    else:  # it is refused, for it names no study
        assert asking.told[0][3] == "ЖУ"
