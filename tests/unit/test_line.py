"""The association to a destination: kept from one series to the next, requested anew where it does not do, and ended.
What becomes of an object by the way in which sending it failed. Receivers are functions that answer a status.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from support.endable import Endable

from pacs_server.archive import forward
from pacs_server.archive.deliver import NotAcceptable, Sender, contexts_for
from pacs_server.archive.forward import Delivery, Line, Verdict
from pacs_server.dicom.elements import EXPLICIT_LE, IMPLICIT_LE
from pacs_server.dicom.pixels.transcoding import UNCOMPRESSED
from pacs_server.errors import CopyUnreadable, DecoderUnavailable, PacsError, PeerAborted, Undecodable
from pacs_server.index.queries.search import Deliverable
from pacs_server.net.association import Association
from pacs_server.net.client import MAX_CONTEXTS, Destination
from pacs_server.settings import NetworkLimits

VIEWER = Destination(aet="VIEWER", host="127.0.0.1", port=104)
A_PART = MAX_CONTEXTS // 3  # each class in a syntax that can be converted takes three


def item(number: int, transfer_syntax: str = EXPLICIT_LE) -> Deliverable:
    return Deliverable(
        sop_class=f"1.2.{number}", sop_uid=f"1.3.{number}", transfer_syntax=transfer_syntax, size_bytes=2,
        digest="0" * 64, study_uid="1", series_uid="1.1", copies=(),
    )  # fmt: skip


@dataclass(kw_only=True)
class Called(Endable):
    """An association with the destination, as it was requested."""

    contexts: Sequence[tuple[str, Sequence[str], bool]]


@dataclass
class Viewer:
    """A destination, whose `answers` are those to SOP Instance UIDs, success else."""

    answers: dict[str, int | PacsError] = field(default_factory=dict)
    called: list[Called] = field(default_factory=list)
    sent: list[tuple[str, int]] = field(default_factory=list)
    named: list[tuple[object, object]] = field(default_factory=list)
    takes: int | None = None
    ends_late: bool = False

    def connect(self, *_: object, contexts: Sequence[tuple[str, Sequence[str], bool]], **__: object) -> Association:
        assert len(contexts) <= MAX_CONTEXTS
        self.called.append(Called(contexts=contexts, takes=self.takes, ends_late=self.ends_late))
        return cast(Association, self.called[-1])

    def deliver(self, one: Deliverable, association: Called, _: Sender, *, originator: object, preferred: str) -> int:
        assert association is self.called[-1]
        assert not association.is_closed
        self.sent.append((one.sop_uid, len(self.called)))
        self.named.append((originator, preferred))
        answer = self.answers.get(one.sop_uid, 0x0000)
        if isinstance(answer, PacsError):
            raise answer
        association.ask()
        return answer

    def line(self, **how: Any) -> Line:
        sender = cast(Sender, None)
        return Line(VIEWER, calling_aet="PACS", limits=NetworkLimits(), sender=sender, **how)


@pytest.fixture
def viewer(monkeypatch: pytest.MonkeyPatch) -> Viewer:
    viewer = Viewer()
    monkeypatch.setattr(forward, "connect", viewer.connect)
    monkeypatch.setattr(forward, "deliver", viewer.deliver)
    return viewer


def became(deliveries: Sequence[Delivery]) -> list[tuple[str, Verdict, bool]]:
    return [(one.item.sop_uid, one.verdict, one.ends) for one in deliveries]


def test_one_association_is_kept_as_long_as_its_contexts_do(viewer: Viewer) -> None:
    with viewer.line() as line:
        assert became(list(line.send([item(1), item(2)]))) == [
            ("1.3.1", Verdict.TAKEN, False),
            ("1.3.2", Verdict.TAKEN, False),
        ]
        list(line.send([item(2)]))
        assert len(viewer.called) == 1
        list(line.send([item(3), item(1)]))
    first, second = viewer.called
    assert first.is_released
    assert first.is_closed
    wanted = contexts_for([item(1), item(2), item(3)], "")
    assert {(kind, tuple(syntaxes)) for kind, syntaxes, _ in second.contexts} == {
        (kind, syntaxes) for (kind, _), syntaxes in wanted.items()
    }
    assert second.is_released
    assert second.is_closed


def test_what_does_not_fit_in_one_association_goes_over_several(viewer: Viewer) -> None:
    items = [item(number) for number in range(2 * A_PART)]
    with viewer.line() as line:
        list(line.send(items))
        assert [uid for uid, _ in viewer.sent] == [one.sop_uid for one in items]
        assert len(viewer.called) > 1
        list(line.send(items[:1]))
    assert all(one.is_released and one.is_closed for one in viewer.called)


def test_a_destination_that_does_not_release_is_left(viewer: Viewer) -> None:
    with viewer.line() as line:
        list(line.send([item(1)]))
        viewer.called[0].does_not_release = True
    assert viewer.called[0].is_closed


def test_what_is_preferred_and_who_caused_it_is_told(viewer: Viewer) -> None:
    with viewer.line(preferred=UNCOMPRESSED, originator=lambda one: (one.sop_uid, 5)) as line:
        list(line.send([item(1), item(2, IMPLICIT_LE)]))
    assert viewer.named == [(("1.3.1", 5), UNCOMPRESSED), (("1.3.2", 5), UNCOMPRESSED)]
    assert [syntaxes for _, syntaxes, _ in viewer.called[0].contexts] == [(EXPLICIT_LE, IMPLICIT_LE)] * 2


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (0x0122, Verdict.REFUSED),
        (NotAcceptable("it is not taken"), Verdict.REFUSED),
        (Undecodable("it is damaged"), Verdict.REFUSED),
        (CopyUnreadable("its volume is away"), Verdict.LATER),
        (DecoderUnavailable("it does not start"), Verdict.LATER),
    ],
)
def test_an_object_that_fails_alone_ends_nothing(viewer: Viewer, answer: int | PacsError, verdict: Verdict) -> None:
    viewer.answers["1.3.1"] = answer
    with viewer.line() as line:
        deliveries = list(line.send([item(1), item(2)]))
    assert became(deliveries) == [("1.3.1", verdict, False), ("1.3.2", Verdict.TAKEN, False)]
    assert deliveries[0].reason
    assert len(viewer.called) == 1


@pytest.mark.parametrize("status", [0xA700, 0xA701, 0x0110, 0x0213])
def test_a_destination_that_can_take_nothing_now_is_sent_nothing_more(viewer: Viewer, status: int) -> None:
    viewer.answers["1.3.1"] = status
    with viewer.line() as line:
        assert became(list(line.send([item(1), item(2)]))) == [("1.3.1", Verdict.LATER, True)]


def test_an_association_that_broke_is_closed_and_the_next_objects_get_another(viewer: Viewer) -> None:
    viewer.answers["1.3.1"] = PeerAborted("the peer aborted")
    with viewer.line() as line:
        (broken,) = line.send([item(1), item(2)])
        assert (broken.verdict, broken.ends) == (Verdict.LATER, True)
        assert broken.reason == "the association broke: the peer aborted"
        assert viewer.called[0].is_closed
        assert not viewer.called[0].is_released
        list(line.send([item(2)]))
    assert viewer.sent == [("1.3.1", 1), ("1.3.2", 2)]


def test_a_destination_that_releases_each_association_after_a_few_objects_gets_all_over_others(viewer: Viewer) -> None:
    viewer.takes = 2
    with viewer.line() as line:
        deliveries = list(line.send([item(1) for _ in range(5)]))
    assert {one.verdict for one in deliveries} == {Verdict.TAKEN}
    assert [one.answered for one in viewer.called] == [2, 2, 1]


def test_an_association_that_breaks_after_it_brought_something_ends_nothing(viewer: Viewer) -> None:
    viewer.takes, viewer.ends_late = 1, True
    with viewer.line() as line:
        deliveries = list(line.send([item(number) for number in range(4)]))
    assert became(deliveries) == [
        ("1.3.0", Verdict.TAKEN, False),
        ("1.3.1", Verdict.LATER, False),
        ("1.3.2", Verdict.TAKEN, False),
        ("1.3.3", Verdict.LATER, False),
    ]
    assert len(viewer.called) == 2
