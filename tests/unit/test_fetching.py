"""Which objects an archive server is asked for together, over which associations, and in which of two ways."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from pacs_server.archive import fetching
from pacs_server.archive.fetching import fetch
from pacs_server.archive.retrieving import Arrivals, Fetched, Stopped
from pacs_server.dicom.elements import EXPLICIT_LE, IMPLICIT_LE
from pacs_server.dicom.queries.asking import MAX_UIDS
from pacs_server.errors import PeerAborted, PeerRejected
from pacs_server.index.queries.search import Deliverable
from pacs_server.net.asking import STUDY_ROOT_GET, STUDY_ROOT_MOVE
from pacs_server.net.association import Context
from pacs_server.net.client import MAX_CONTEXTS, Destination
from pacs_server.settings import NetworkLimits

FAR = Destination(aet="FAR", host="127.0.0.1", port=104)
GET, MOVE = "get", "move"


def item(number: int, *, sop_class: str = "1.2.3", transfer_syntax: str = EXPLICIT_LE, series: str = "1.1.1"):  # type: ignore[no-untyped-def]
    study = series.rpartition(".")[0]
    return Deliverable(
        sop_class=sop_class, sop_uid=f"9.{number}", transfer_syntax=transfer_syntax, size_bytes=2, digest="d",
        study_uid=study, series_uid=series, copies=(),
    )  # fmt: skip


@dataclass
class Line:
    """An association with the archive server."""

    proposed: Sequence[tuple[str, Sequence[str], bool]]
    offered: Sequence[str]
    called_aet: str = "FAR"
    calling_aet: str = "NEAR"
    is_released: bool = False
    is_closed: bool = False

    def context_of(self, sop_class: str) -> Context | None:
        if sop_class not in self.offered or sop_class not in {one for one, _, _ in self.proposed}:
            return None
        return Context(id=1, abstract_syntax=sop_class, transfer_syntax=IMPLICIT_LE, as_scp=False, as_scu=True)

    def release(self) -> None:
        self.is_released = True

    def close(self) -> None:
        self.is_closed = True


@dataclass
class Far:
    """An archive server that offers both ways, or one, and brings whatever it is asked for; in `ends` is what a
    retrieve of so many ends with before it brings anything, or behind its first object.
    """

    monkeypatch: pytest.MonkeyPatch
    offered: Sequence[str] = (STUDY_ROOT_GET, STUDY_ROOT_MOVE)
    ends: dict[int, Exception] = field(default_factory=dict)
    brings_one: bool = False
    lines: list[Line] = field(default_factory=list)
    asked: list[tuple[str, list[str]]] = field(default_factory=list)
    is_stopped: Callable[[], bool] = lambda: False

    def __post_init__(self) -> None:
        self.monkeypatch.setattr(fetching, "connect", self._connect)
        self.monkeypatch.setattr(fetching, "Get", lambda line, items, **_: Asked(self, GET, items))
        self.monkeypatch.setattr(fetching, "Move", lambda line, items, **_: Asked(self, MOVE, items))

    def _connect(self, *_: object, contexts: Sequence[tuple[str, Sequence[str], bool]], **__: object) -> Line:
        assert len(contexts) <= MAX_CONTEXTS
        self.lines.append(Line(contexts, self.offered))
        return self.lines[-1]

    def fetch(self, *items: Deliverable) -> Iterator[str]:
        arrivals = cast(Arrivals, None)
        told = fetch(
            FAR, items, lambda *_: None, arrivals, calling_aet="NEAR", limits=NetworkLimits(),
            is_stopped=self.is_stopped,
        )  # fmt: skip
        return (one.item.sop_uid for one in told)


@dataclass
class Asked:
    """One retrieve."""

    far: Far
    how: str
    items: Sequence[Deliverable]
    outcomes: dict[str, Any] = field(default_factory=dict)

    def run(self, *_: object) -> None:
        number = len(self.far.asked)
        self.far.asked.append((self.how, [one.sop_uid for one in self.items]))
        problem = self.far.ends.get(number)
        brought = self.items if problem is None else self.items[: int(self.far.brings_one)]
        self.outcomes = {one.sop_uid: Fetched(item=one) for one in brought}
        if problem is not None:
            raise problem


@pytest.fixture
def far(monkeypatch: pytest.MonkeyPatch) -> Far:
    return Far(monkeypatch)


def test_each_series_is_asked_for_apart_and_so_many_objects_of_it_together(far: Far) -> None:
    items = [item(number) for number in range(MAX_UIDS + 2)] + [item(900, series="1.1.2"), item(901, series="1.2.1")]
    assert list(far.fetch(*items)) == [one.sop_uid for one in items]
    assert [(how, len(uids)) for how, uids in far.asked] == [(GET, MAX_UIDS), (GET, 2), (GET, 1), (GET, 1)]
    (line,) = far.lines
    assert line.is_released
    assert line.is_closed


def test_kinds_that_do_not_fit_in_one_association_are_asked_for_over_several(far: Far) -> None:
    items = [item(number, sop_class=f"1.2.{number}") for number in range(MAX_CONTEXTS + 10)]
    assert sorted(far.fetch(*items)) == sorted(one.sop_uid for one in items)
    assert len(far.lines) == 2
    assert all(one.is_released and one.is_closed for one in far.lines)


def test_what_is_not_known_of_an_object_may_be_anything_in_use(far: Far) -> None:
    list(far.fetch(item(1, transfer_syntax="")))
    proposed = [syntaxes for sop_class, syntaxes, is_receiver in far.lines[0].proposed if sop_class == "1.2.3"]
    assert proposed[0] == (EXPLICIT_LE, IMPLICIT_LE)
    assert ("1.2.840.10008.1.2.4.70",) in proposed
    list(far.fetch(item(2, sop_class="", transfer_syntax="")))
    assert 100 < len(far.lines[1].proposed) <= MAX_CONTEXTS
    assert {is_receiver for *_, is_receiver in far.lines[1].proposed[2:]} == {True}


def test_who_offers_no_get_is_asked_by_move(far: Far) -> None:
    far.offered = (STUDY_ROOT_MOVE,)
    assert list(far.fetch(item(1))) == ["9.1"]
    assert far.asked == [(MOVE, ["9.1"])]


def test_who_offers_neither_is_told_so_and_left(far: Far) -> None:
    far.offered = ()
    with pytest.raises(PeerRejected, match="C-GET or C-MOVE"):
        list(far.fetch(item(1)))
    assert far.lines[0].is_closed


def test_who_aborts_upon_a_get_is_asked_by_move_then_and_afterwards(far: Far) -> None:
    far.ends = {0: PeerAborted("the peer aborted")}
    items = [item(number, sop_class=f"1.2.{number}") for number in range(MAX_CONTEXTS + 10)]
    assert len(list(far.fetch(*items))) == len(items)
    assert [how for how, _ in far.asked].count(GET) == 1
    assert all(one.is_closed for one in far.lines)
    assert not far.lines[0].is_released


@pytest.mark.parametrize(
    ("offered", "brings_one"), [((STUDY_ROOT_GET, STUDY_ROOT_MOVE), True), ((STUDY_ROOT_MOVE,), False)]
)
def test_who_aborts_for_another_reason_is_asked_no_more(far: Far, offered: Sequence[str], *, brings_one: bool) -> None:
    far.offered, far.brings_one = offered, brings_one
    far.ends = dict.fromkeys(range(9), PeerAborted("the peer aborted"))
    came: list[str] = []
    with pytest.raises(PeerAborted):
        came.extend(far.fetch(item(1), item(2)))
    assert len(far.asked) == (1 if brings_one else 2)


def test_who_aborts_upon_a_get_and_then_upon_a_move_is_asked_no_more(far: Far) -> None:
    items = [item(number, sop_class=f"1.2.{number}", series=f"1.1.{number}") for number in range(MAX_CONTEXTS + 10)]
    first_part = MAX_CONTEXTS - 2
    far.ends = dict.fromkeys((0, 1 + first_part), PeerAborted("the peer aborted"))
    with pytest.raises(PeerAborted):
        list(far.fetch(*items))
    assert [how for how, _ in far.asked] == [GET, *[MOVE] * (first_part + 1)]


def test_nobody_who_has_gone_is_asked_for(far: Far) -> None:
    far.ends, far.brings_one = {0: Stopped()}, True
    assert list(far.fetch(item(1), item(2), item(3, series="1.1.2"))) == ["9.1"]
    assert far.lines[0].is_closed
    far.is_stopped = lambda: True
    assert list(far.fetch(item(1))) == []
    assert len(far.lines) == 1
