"""What became of each object that an archive server was asked for: what it sent, what may still come, what it lost."""

from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import cast

import pytest

from pacs_server.archive import retrieving
from pacs_server.archive.retrieving import Arrivals, Get, Move, Stopped
from pacs_server.dicom.elements import EXPLICIT_LE, IMPLICIT_LE
from pacs_server.dimse.progress import failed_list
from pacs_server.errors import NotAsGiven, PacsError, PeerAborted, PeerRejected, VolumeUnavailable
from pacs_server.index.queries.search import Deliverable
from pacs_server.net.asking import STUDY_ROOT_GET
from pacs_server.net.association import Association, Context
from pacs_server.net.message import Command, CommandField

CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"
SUCCESS, PROCESSING_FAILURE, SOME_FAILED, CANNOT_SEND, NOT_UNDERSTOOD = 0x0000, 0x0110, 0xB000, 0xA702, 0xC000
ASKING = Context(id=1, abstract_syntax=STUDY_ROOT_GET, transfer_syntax=IMPLICIT_LE, as_scp=False, as_scu=True)
EXPLICIT, IMPLICIT = (
    Context(id=number, abstract_syntax=CT, transfer_syntax=syntax, as_scp=True, as_scu=False)
    for number, syntax in ((3, EXPLICIT_LE), (5, IMPLICIT_LE))
)
Became = dict[str, tuple[str, bool]]


def item(uid: str, *, sop_class: str = CT, transfer_syntax: str = EXPLICIT_LE) -> Deliverable:
    return Deliverable(
        sop_class=sop_class, sop_uid=uid, transfer_syntax=transfer_syntax, size_bytes=2, digest="d",
        study_uid="1", series_uid="1.1", copies=(),
    )  # fmt: skip


def association() -> Association:
    contexts = {one.id: one for one in (ASKING, EXPLICIT, IMPLICIT)}
    found = SimpleNamespace(contexts=contexts, called_aet="FAR", calling_aet="NEAR", data_set=lambda: iter(()))
    return cast(Association, found)


def final(status: int, *, completed: int | None = None, comment: str = "") -> Command:
    return Command(
        field=CommandField.C_GET_RSP, context_id=1, has_data_set=False, status=status, completed=completed,
        error_comment=comment,
    )  # fmt: skip


class Far:
    """An archive server: what it gives by C-GET, each on a context, and how it ends. `taken` are our answers, `asked`
    the identifiers.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.gives: Sequence[tuple[str, Context]] = ()
        self.ends: list[tuple[Command, Sequence[str]]] = [(final(SUCCESS), ())]
        self.problems: dict[str, PacsError] = {}
        self.arrived: dict[str, str] = {}
        self.taken: list[int] = []
        self.asked: list[bytes] = []
        self.is_stopped = False
        monkeypatch.setattr(retrieving, "get", self._get)
        monkeypatch.setattr(retrieving, "move", self._move)

    def _get(self, _: Association, __: Context, identifier: bytes, take, *, timeout_s: float):  # type: ignore[no-untyped-def]
        self.asked.append(identifier)
        for uid, context in self.gives:
            command = Command(
                field=CommandField.C_STORE_RQ, context_id=context.id, has_data_set=True, affected_sop_instance=uid
            )
            self.taken.append(take(command))
        return self._ended()

    def _move(self, _: Association, __: Context, identifier: bytes, destination: str, *, meanwhile):  # type: ignore[no-untyped-def]
        self.asked.append(identifier)
        meanwhile()
        return self._ended()

    def _ended(self) -> tuple[Command, bytes]:
        command, failed = self.ends.pop(0)
        return command, failed_list(failed, ASKING.transfer_syntax) if failed else b""

    def _take(self, one: Deliverable, _: Context, __: Iterator[memoryview]) -> None:
        if one.sop_uid in self.problems:
            raise self.problems[one.sop_uid]

    def get(self, *items: Deliverable) -> Became:
        asked = Get(association(), items, self._take, lambda: self.is_stopped)
        asked.run(ASKING, 1.0)
        return told(asked)

    def move(self, *uids: str) -> Became:
        arrivals = Arrivals(expect=lambda _: None, came=self._came)
        asked = Move(association(), [item(uid) for uid in uids], arrivals, lambda: self.is_stopped)
        asked.run(ASKING, 0.0)
        return told(asked)

    def _came(self, items: Sequence[Deliverable]) -> dict[str, str]:
        return {one.sop_uid: self.arrived[one.sop_uid] for one in items if one.sop_uid in self.arrived}


def told(asked: Get | Move) -> Became:
    return {uid: (one.problem, one.is_lost) for uid, one in asked.outcomes.items()}


@pytest.fixture
def far(monkeypatch: pytest.MonkeyPatch) -> Far:
    return Far(monkeypatch)


def test_what_comes_by_get_is_taken_or_told_why_not(far: Far) -> None:
    far.gives = [("1.1", EXPLICIT), ("1.2", EXPLICIT), ("1.3", EXPLICIT), ("9.9", EXPLICIT), ("1.4", IMPLICIT)]
    far.problems = {"1.2": NotAsGiven("it has other bytes"), "1.3": VolumeUnavailable("the volume is full")}
    assert far.get(*map(item, ("1.1", "1.2", "1.3", "1.4"))) == {
        "1.1": ("", False),
        "1.2": ("it has other bytes", True),
        "1.3": ("the volume is full", False),
        "1.4": (f"1.4 came in another transfer syntax, {IMPLICIT_LE}", False),
    }
    assert far.taken == [SUCCESS, NOT_UNDERSTOOD, PROCESSING_FAILURE, PROCESSING_FAILURE, PROCESSING_FAILURE]


def test_what_may_come_in_any_transfer_syntax_is_taken_in_any(far: Far) -> None:
    far.gives = [("1.1", IMPLICIT), ("1.2", EXPLICIT)]
    unknown = item("1.1", transfer_syntax=""), item("1.2", sop_class="", transfer_syntax="")
    assert far.get(*unknown) == {"1.1": ("", False), "1.2": ("", False)}


def test_what_no_context_was_accepted_for_is_not_asked_for(far: Far) -> None:
    became = far.get(item("1.1", sop_class=MR), item("1.2", transfer_syntax="1.2.840.10008.1.2.4.50"))
    assert became == {
        "1.1": (f"FAR does not send {MR} in {EXPLICIT_LE}", False),
        "1.2": (f"FAR does not send {CT} in 1.2.840.10008.1.2.4.50", False),
    }
    assert far.asked == []
    far.gives = [("1.3", EXPLICIT)]
    assert far.get(item("1.1", sop_class=MR), item("1.3"))["1.3"] == ("", False)
    assert b"1.3" in far.asked[0]
    assert b"1.1\\" not in far.asked[0]


@pytest.mark.parametrize(
    ("status", "failed", "is_lost"),
    [
        (SUCCESS, (), True),
        (SOME_FAILED, ("1.1",), False),
        (SOME_FAILED, ("1.2",), True),
        (SOME_FAILED, (), False),
        (CANNOT_SEND, ("1.2",), False),
        (CANNOT_SEND, (), False),
    ],
)
def test_an_object_is_lost_where_no_trouble_with_it_is_told(
    far: Far, status: int, failed: tuple[str, ...], is_lost: bool
) -> None:
    """Whoever counts an archive server among those that keep it relies on that."""
    far.ends = [(final(status, comment="no room"), failed)]
    why = "FAR does not have 1.1" if is_lost else f"FAR did not send 1.1: status 0x{status:04X}: no room"
    assert far.get(item("1.1")) == {"1.1": (why, is_lost)}


def test_an_association_that_breaks_while_an_object_comes_is_no_trouble_with_the_object(far: Far) -> None:
    far.gives, far.problems = [("1.1", EXPLICIT)], {"1.1": PeerAborted("the peer aborted")}
    asked = Get(association(), [item("1.1")], far._take, lambda: False)
    with pytest.raises(PeerAborted):
        asked.run(ASKING, 1.0)
    assert asked.outcomes == {}


def test_nothing_more_is_taken_for_who_has_gone(far: Far) -> None:
    far.gives, far.is_stopped = [("1.1", EXPLICIT)], True
    with pytest.raises(Stopped):
        far.get(item("1.1"))
    with pytest.raises(Stopped):
        far.move("1.1")


@pytest.mark.parametrize(
    ("status", "completed", "failed", "why", "is_lost"),
    [
        (SUCCESS, 2, (), "FAR told of no trouble with 1.2, but it did not come", False),
        (SUCCESS, None, (), "FAR told of no trouble with 1.2, but it did not come", False),
        (SUCCESS, 1, (), "FAR does not have 1.2", True),
        (SOME_FAILED, 1, ("1.2",), "FAR did not send 1.2: status 0xB000", False),
        (SOME_FAILED, 1, ("1.9",), "FAR does not have 1.2", True),
        (SOME_FAILED, 1, (), "FAR did not send 1.2: status 0xB000", False),
        (SOME_FAILED, None, ("1.2",), "FAR told of no trouble with 1.2, but it did not come", False),
        (CANNOT_SEND, 0, (), "FAR did not send 1.2: status 0xA702", False),
    ],
)
def test_what_did_not_come_by_move_is_lost_only_where_nothing_may_be_on_its_way(
    far: Far, status: int, completed: int | None, failed: tuple[str, ...], why: str, is_lost: bool
) -> None:
    far.arrived = {"1.1": ""}
    far.ends = [(final(status, completed=completed), failed)]
    assert far.move("1.1", "1.2") == {"1.1": ("", False), "1.2": (why, is_lost)}
    assert len(far.asked) == 1


def test_one_object_alone_is_asked_for_once(far: Far) -> None:
    far.ends = [(final(NOT_UNDERSTOOD), ())]
    assert far.move("1.1") == {"1.1": ("FAR did not send 1.1: status 0xC000", False)}


def test_what_came_with_another_content_has_come(far: Far) -> None:
    far.arrived = {"1.1": "it came with other bytes"}
    far.ends = [(final(NOT_UNDERSTOOD), ())]
    assert far.move("1.1", "1.2") == {
        "1.1": ("it came with other bytes", True),
        "1.2": ("FAR did not send 1.2: status 0xC000", False),
    }


def test_objects_that_are_said_to_be_sent_and_came_to_nobody_here_are_told_of_with_the_remedy(far: Far) -> None:
    far.ends = [(final(SUCCESS, completed=2), ())]
    with pytest.raises(PeerRejected, match="says that it sent 2 objects to NEAR, but none came here"):
        far.move("1.1", "1.2")
