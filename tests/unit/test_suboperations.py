"""The sub-operations of a retrieve, counted and told: over one association or several, waited for, fetched, broken off.
What is sent over a network by them is not: a receiver is a function that answers a status.
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from support.endable import Endable
from support.server import wait_for

from pacs_server import metrics
from pacs_server.archive.deliver import NotAcceptable
from pacs_server.dicom.elements import EXPLICIT_LE
from pacs_server.dimse import deliveries, suboperations
from pacs_server.dimse.deliveries import Courier
from pacs_server.dimse.progress import Progress, RequesterGone
from pacs_server.dimse.session import Session, Tally
from pacs_server.dimse.suboperations import SubOperations
from pacs_server.dimse.turns import AT_ONCE, Turns
from pacs_server.errors import (
    CopyUnreadable,
    DecoderUnavailable,
    IndexUnavailable,
    PacsError,
    PeerAborted,
    PeerRejected,
    PeerUnreachable,
    Undecodable,
)
from pacs_server.index.objects import CopyRow
from pacs_server.index.queries.search import Deliverable
from pacs_server.net.association import Association
from pacs_server.net.client import Destination
from pacs_server.net.message import Command, CommandField
from pacs_server.settings import NetworkLimits

VIEWER = Destination(aet="VIEWER", host="127.0.0.1", port=104)
RLE = "1.2.840.10008.1.2.5"


def item(name: str, *, archives: tuple[str, ...] = ()) -> Deliverable:
    return Deliverable(
        sop_class="1.2.840.10008.5.1.4.1.1.2", sop_uid=name, transfer_syntax=EXPLICIT_LE, size_bytes=2, digest=name,
        study_uid="1", series_uid="1.1", copies=(), archives=archives,
    )  # fmt: skip


class Target(Endable):
    """An association with a receiver."""

    called_aet = "VIEWER"


@dataclass
class Requester:
    """The association that asks: cancels, or breaks, once so many responses came."""

    cancels_after: int | None = None
    breaks_after: int | None = None
    told: int = 0
    is_mid_message: bool = False

    def cancelled(self, message_id: int) -> bool:
        return self.cancels_after is not None and self.told >= self.cancels_after

    def respond(self, command: bytes, context_id: int) -> None:
        if self.breaks_after is not None and self.told >= self.breaks_after:
            raise PeerAborted("the peer aborted")
        self.told += 1


@dataclass
class Retrieve:
    """One retrieve of some objects. `answers` are those of the receiver by SOP Instance UID, success else: a status, or
    what is raised each time; `fetch` is what an archive server brings; `busy` is how the receiver answers its calls of
    these numbers.
    """

    monkeypatch: pytest.MonkeyPatch
    answers: Mapping[str, int | Exception] = field(default_factory=dict)
    requester: Requester = field(default_factory=Requester)
    fetch: Callable[[Sequence[Deliverable], Callable[[], bool]], Iterator[tuple[Deliverable, str]]] = lambda *_: iter(
        ()
    )
    problem: PacsError | None = None
    busy: dict[int, PacsError] = field(default_factory=dict)
    called: int = 0
    originator: tuple[str, int] | None = ("ASKING", 7)
    targets: list[Target] = field(default_factory=list)
    sent: list[str] = field(default_factory=list)
    named: list[tuple[object, object]] = field(default_factory=list)
    moved: Sequence[Deliverable] = ()
    may_connect: Callable[[], bool] = lambda: True
    ended: list[int] = field(default_factory=list)
    does_not_release: bool = False
    takes: int | None = None
    ends_late: bool = False
    _held: str = ""
    _until: Callable[[], bool] = lambda: True
    read: list[str] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)
    turns: Turns = field(default_factory=Turns)

    def of(self, items: Sequence[Deliverable]) -> SubOperations:
        self.progress = Progress(remaining=len(items))
        archive = SimpleNamespace(
            settings=SimpleNamespace(aet="PACS", network=NetworkLimits()), placement=None, transcoder=None,
            on_damage=None, on_read=lambda one: self.read.append(one.sop_uid), fetch=self.fetch, turns=self.turns,
            search=SimpleNamespace(deliverables=lambda _: self.moved),
        )  # fmt: skip
        session = SimpleNamespace(
            association=self.requester, caller=SimpleNamespace(aet="ASKING"), archive=archive, tally=self.tally
        )
        command = Command(field=CommandField.C_MOVE_RQ, context_id=1, message_id=7, has_data_set=True)
        self.monkeypatch.setattr(
            deliveries, "ReadAhead", lambda *_: SimpleNamespace(close=lambda: self.ended.append(1))
        )
        self.monkeypatch.setattr(deliveries, "deliver", self._deliver)
        self.monkeypatch.setattr(suboperations, "connect", self._connect)
        return SubOperations(cast(Session, session), command, self.progress, preferred=RLE, originator=self.originator)

    def move(self, names: str, *, associations: int = 1) -> bool:
        items = [item(name) for name in names]
        return self.of(items).move(items, VIEWER, associations=associations)

    def _connect(self, *_: object, **__: object) -> Association:
        wait_for(self.may_connect, "what the destination waits for")
        self.called += 1
        if (problem := self.busy.get(self.called, self.problem)) is not None:
            raise problem
        self.targets.append(Target(does_not_release=self.does_not_release, takes=self.takes, ends_late=self.ends_late))
        return cast(Association, self.targets[-1])

    def hold(self, names: str, until: Callable[[], bool]) -> None:
        """Have some objects take as long as that."""
        self._held, self._until = names, until

    def _deliver(
        self, one: Deliverable, *, association: Target, originator: object, preferred: object, **_: Any
    ) -> int:
        if one.sop_uid in self._held:
            wait_for(self._until, "what an object is held for", timeout_s=20)
        self.named.append((originator, preferred))
        answer = self.answers.get(one.sop_uid, 0x0000) if not one.copies else 0x0000
        if isinstance(answer, Exception):
            raise answer
        association.ask()
        self.sent.append(one.sop_uid)
        return answer

    @property
    def counts(self) -> tuple[int, int, int, list[str]]:
        progress = self.progress
        return progress.remaining, progress.completed, progress.warning, sorted(progress.failed_uids)


@pytest.fixture
def retrieve(monkeypatch: pytest.MonkeyPatch) -> Retrieve:
    return Retrieve(monkeypatch)


def counted() -> Counter[tuple[str, ...]]:
    return Counter({labels: int(number) for labels, (number,) in metrics.totals().get(metrics.SENT.name, {}).items()})


@pytest.mark.parametrize(("originator", "service"), [(("ASKING", 7), "move"), (None, "get")])
def test_each_object_is_counted_by_what_its_receiver_answered(
    retrieve: Retrieve, originator: tuple[str, int] | None, service: str
) -> None:
    before = counted()
    retrieve.originator = originator
    retrieve.answers = {"b": 0xB007, "c": 0xA700, "d": NotAcceptable("it is not taken")}
    if originator:
        assert not retrieve.move("abcde")
    else:
        items = [item(name) for name in "abcde"]
        assert not retrieve.of(items).send(items, cast(Association, Target()))
    assert retrieve.counts == (0, 2, 1, ["c", "d"])
    assert retrieve.progress.arrived == {"1": ["a", "b", "e"]}
    assert retrieve.read == ["a", "b", "e"]
    assert (retrieve.tally.sent, retrieve.tally.not_sent) == (3, 2)
    assert counted() - before == {(service, "sent"): 3, (service, "failed"): 2}
    assert retrieve.progress.comment == "it is not taken"
    assert retrieve.requester.told >= 1
    assert all(one.is_released and one.is_closed for one in retrieve.targets)


@pytest.mark.parametrize(("originator", "to"), [(("ASKING", 7), "VIEWER"), (None, "ASKING")])
def test_what_a_receiver_refuses_is_told_with_its_status_and_logged_with_its_title(
    retrieve: Retrieve, originator: tuple[str, int] | None, to: str, caplog: pytest.LogCaptureFixture
) -> None:
    retrieve.originator, retrieve.answers = originator, {"a": 0xA900}
    items, target = [item("a")], Target()
    target.called_aet = "VIEWER" if originator else "PACS"  # of a C-GET it is us who were called
    retrieve.of(items).send(items, cast(Association, target))
    assert retrieve.progress.comment == "the destination answered status A900"
    assert f'not sent sop=a to={to} why="the destination answered status A900"' in caplog.text
    assert retrieve.named == [(originator, RLE)]


@pytest.mark.parametrize(
    "error", [CopyUnreadable("it is away"), DecoderUnavailable("off"), IndexUnavailable("locked"), Undecodable("bad")]
)
def test_an_object_that_cannot_be_sent_now_fails_alone(retrieve: Retrieve, error: PacsError) -> None:
    retrieve.answers = {"b": error}
    assert not retrieve.move("abc")
    assert retrieve.counts == (0, 2, 0, ["b"])
    assert retrieve.progress.comment == str(error)


def test_an_object_that_moved_to_another_volume_meanwhile_is_sent_from_there(retrieve: Retrieve) -> None:
    retrieve.answers = {"a": CopyUnreadable("it is not there any more")}
    retrieve.moved = [replace(item("a"), copies=(CopyRow(volume_id="cold", path="a.dcm"),))]
    assert not retrieve.move("a")
    assert retrieve.counts == (0, 1, 0, [])


@pytest.mark.parametrize("associations", [1, 2])
def test_an_object_that_was_given_up_for_an_archive_server_meanwhile_waits_to_be_fetched(
    retrieve: Retrieve, associations: int
) -> None:
    gone = CopyUnreadable("it is not there any more")
    retrieve.answers, retrieve.moved = {"a": gone}, [item("a", archives=("FAR",))]
    items = [item("a"), item("b")]
    work = retrieve.of(items)
    assert not work.move(items, VIEWER, associations=associations)
    assert retrieve.counts == (1, 1, 0, [])
    assert work.given_up() == retrieve.moved
    assert work.given_up() == []
    assert not work.move([replace(item("a"), copies=(CopyRow(volume_id="hot", path="a.dcm"),))], VIEWER, associations=1)
    assert retrieve.counts == (0, 2, 0, [])


def test_an_object_that_was_fetched_and_is_not_there_again_failed(retrieve: Retrieve) -> None:
    retrieve.answers = {"a": CopyUnreadable("it is not there any more")}
    retrieve.moved = [item("a", archives=("FAR",))]
    work = retrieve.of([item("a")])
    for _ in range(2):
        work.move([item("a")], VIEWER, associations=1)
    assert (len(work.given_up()), retrieve.counts) == (1, (0, 0, 0, ["a"]))


def test_an_object_that_only_the_requester_keeps_by_now_is_not_asked_of_it(retrieve: Retrieve) -> None:
    retrieve.answers = {"a": CopyUnreadable("it is not there any more")}
    retrieve.moved = [item("a", archives=("ASKING",))]
    work = retrieve.of([item("a")])
    work.move([item("a")], VIEWER, associations=1)
    assert (work.given_up(), retrieve.counts) == ([], (0, 0, 0, ["a"]))


def test_who_cancels_in_the_middle_is_sent_no_more(retrieve: Retrieve) -> None:
    retrieve.requester.cancels_after = 1
    assert retrieve.move("abc")
    assert retrieve.sent == ["a"]
    assert retrieve.ended == [1], "nothing more is read ahead"
    assert retrieve.counts == (2, 1, 0, [])
    assert retrieve.targets[0].is_released


def test_who_gets_and_cancels_in_the_middle_is_answered_so(retrieve: Retrieve) -> None:
    retrieve.originator, retrieve.requester.cancels_after = None, 1
    items = [item(name) for name in "abc"]
    assert retrieve.of(items).send(items, cast(Association, Target()))
    assert retrieve.counts == (2, 1, 0, [])


def test_who_cancels_when_everything_was_sent_is_answered_that_it_was(retrieve: Retrieve) -> None:
    retrieve.monkeypatch.setattr(retrieve.requester, "cancelled", lambda _: bool(retrieve.sent))
    assert not retrieve.move("a")
    assert retrieve.counts == (0, 1, 0, [])


def test_a_destination_that_does_not_release_took_what_it_took(retrieve: Retrieve) -> None:
    retrieve.does_not_release, retrieve.answers = True, {"b": 0xA900}
    assert not retrieve.move("ab")
    assert retrieve.counts == (0, 1, 0, ["b"])
    assert retrieve.progress.comment == "the destination answered status A900"
    assert retrieve.targets[0].is_closed


def test_a_requester_is_told_and_may_cancel_while_the_destination_is_called(retrieve: Retrieve) -> None:
    retrieve.monkeypatch.setattr("pacs_server.dimse.progress._LONGEST_SILENCE_S", 0.0)
    ends = threading.Event()
    retrieve.may_connect, retrieve.requester.cancels_after = ends.is_set, 2
    try:
        assert retrieve.move("ab")
        assert retrieve.counts == (2, 0, 0, [])
        assert retrieve.requester.told == 2
    finally:
        ends.set()


def test_two_contents_under_one_uid_are_each_tried_twice(retrieve: Retrieve) -> None:
    retrieve.answers = {"x": PeerAborted("the peer aborted")}
    contents = [replace(item("x"), digest=digest) for digest in ("first", "second")]
    items = [contents[0], item("a"), contents[1], item("b")]
    assert not retrieve.of(items).move(items, VIEWER, associations=1)
    assert retrieve.counts == (0, 2, 0, ["x", "x"])
    assert len(retrieve.named) == 2 + 2 * len(contents)


def test_who_cancels_between_two_parts_is_answered_so(retrieve: Retrieve) -> None:
    retrieve.requester.cancels_after = 1
    retrieve.monkeypatch.setattr(suboperations, "batches", lambda items, _: [[one] for one in items])
    assert retrieve.move("abc")
    assert retrieve.counts == (2, 1, 0, [])


def couriers(retrieve: Retrieve) -> list[Courier]:
    """Those of a retrieve, as soon as there are some."""
    made: list[Courier] = []

    def make(**how: Any) -> Courier:
        made.append(Courier(**how))
        return made[-1]

    retrieve.monkeypatch.setattr(suboperations, "Courier", make)
    return made


def test_who_cancels_stops_every_association(retrieve: Retrieve) -> None:
    made = couriers(retrieve)
    retrieve.hold("bcdef", lambda: made[-1].is_stopped())
    retrieve.requester.cancels_after = 1
    assert retrieve.move("abcdef", associations=2)
    remaining, completed, _, failed = retrieve.counts
    assert (completed, failed) == (len(retrieve.sent), [])
    assert remaining == 6 - completed >= 3


def test_a_requester_that_has_gone_stops_every_association(retrieve: Retrieve) -> None:
    made = couriers(retrieve)
    retrieve.hold("bcdef", lambda: made[-1].is_stopped())
    retrieve.requester.breaks_after = 0
    with pytest.raises(RequesterGone):
        retrieve.move("abcdef", associations=2)
    assert "a" in retrieve.sent
    assert 2 <= len(retrieve.sent) <= 3
    assert all(one.is_closed for one in retrieve.targets)


def test_a_requester_is_told_while_objects_take_long_on_several_associations(retrieve: Retrieve) -> None:
    retrieve.monkeypatch.setattr("pacs_server.dimse.progress._LONGEST_SILENCE_S", 0.0)
    retrieve.hold("ab", lambda: retrieve.requester.told >= 2)
    assert not retrieve.move("ab", associations=2)
    assert retrieve.counts == (0, 2, 0, [])


def test_a_requester_is_told_while_objects_are_fetched(retrieve: Retrieve) -> None:
    def bring(items: Sequence[Deliverable], _: Callable[[], bool]) -> Iterator[tuple[Deliverable, str]]:
        wait_for(lambda: retrieve.requester.told >= 2, "the requester to be told")
        yield items[0], ""

    retrieve.fetch = bring
    retrieve.monkeypatch.setattr("pacs_server.dimse.progress._LONGEST_SILENCE_S", 0.0)
    items, given = [item("a", archives=("FAR",))], list[Deliverable]()
    assert not retrieve.of(items).fetch(items, lambda some: bool(given.extend(some)))
    assert len(given) == 1


@pytest.mark.parametrize("associations", [1, 3])
def test_a_destination_that_cannot_be_called_fails_every_object_and_says_why(
    retrieve: Retrieve, associations: int
) -> None:
    retrieve.problem = PeerUnreachable(f"{VIEWER} refused the connection")
    assert not retrieve.move("abc", associations=associations)
    assert retrieve.counts == (0, 0, 0, ["a", "b", "c"])
    assert retrieve.progress.comment == "refused the connection"
    assert retrieve.called <= associations, "one that took nothing is not called again"


def test_a_reason_is_kept_when_another_object_fails_without_one(retrieve: Retrieve) -> None:
    retrieve.answers = dict.fromkeys("abcd", PeerAborted("the peer aborted"))
    assert not retrieve.move("abcd")
    assert retrieve.counts == (0, 0, 0, list("abcd"))
    assert retrieve.progress.comment == "the association broke: the peer aborted"
    assert len(retrieve.targets) == 3
    assert all(one.is_closed and not one.is_released for one in retrieve.targets)


@pytest.mark.parametrize("associations", [1, 2])
def test_associations_over_which_something_arrived_are_not_in_vain(retrieve: Retrieve, associations: int) -> None:
    retrieve.answers = dict.fromkeys("bd", PeerAborted("the peer aborted"))
    assert not retrieve.move("abcdef", associations=associations)
    assert retrieve.counts == (0, 4, 0, ["b", "d"])
    assert "the peer aborted" in retrieve.progress.comment


def test_objects_at_which_the_association_breaks_keep_none_behind_them_back(retrieve: Retrieve) -> None:
    retrieve.answers = dict.fromkeys("bcd", PeerAborted("the peer aborted"))
    assert not retrieve.move("abcdefgh")
    assert retrieve.counts == (0, 5, 0, ["b", "c", "d"])
    assert sorted(retrieve.sent) == list("aefgh")


@pytest.mark.parametrize("ends_late", [False, True])
@pytest.mark.parametrize(("takes", "associations"), [(1, 1), (3, 1), (2, 2)])
def test_a_destination_that_ends_each_association_after_a_few_objects_gets_all_over_others(
    retrieve: Retrieve, takes: int, associations: int, *, ends_late: bool
) -> None:
    retrieve.takes, retrieve.ends_late = takes, ends_late
    assert not retrieve.move("abcdefghijklm", associations=associations)
    assert retrieve.counts == (0, 13, 0, [])
    assert sorted(retrieve.sent) == list("abcdefghijklm")


BUSY = PeerRejected("local limit exceeded")


def test_a_destination_that_took_something_and_is_busy_for_a_moment_is_called_again(retrieve: Retrieve) -> None:
    retrieve.monkeypatch.setattr(suboperations, "_PAUSE_S", 0.01)
    retrieve.takes, retrieve.busy = 1, {2: BUSY, 3: BUSY, 5: BUSY}
    assert not retrieve.move("abc")
    assert retrieve.counts == (0, 3, 0, [])
    assert retrieve.called == 6


def test_a_destination_that_does_not_come_back_is_called_three_times_more(retrieve: Retrieve) -> None:
    retrieve.monkeypatch.setattr(suboperations, "_PAUSE_S", 0.01)
    retrieve.takes, retrieve.busy = 1, dict.fromkeys(range(2, 9), BUSY)
    assert not retrieve.move("abc")
    assert retrieve.counts == (0, 1, 0, ["b", "c"])
    assert retrieve.called == 4
    assert retrieve.progress.comment == "local limit exceeded"


def test_who_cancels_while_a_busy_destination_is_waited_for_is_answered_at_once(retrieve: Retrieve) -> None:
    retrieve.monkeypatch.setattr(suboperations, "_PAUSE_S", 3_600.0)
    retrieve.monkeypatch.setattr("pacs_server.dimse.progress._LONGEST_SILENCE_S", 0.0)
    retrieve.takes, retrieve.busy = 1, {2: BUSY}
    retrieve.requester.cancels_after = 3
    assert retrieve.move("abc")
    assert retrieve.counts == (2, 1, 0, [])


def test_an_association_is_not_ended_for_an_object_that_broke_none(retrieve: Retrieve) -> None:
    retrieve.takes = 2
    assert not retrieve.move("abcd")
    assert [(one.answered, one.is_released) for one in retrieve.targets] == [(2, True), (2, True)]


def test_a_destination_that_ends_each_association_before_it_took_anything_is_called_three_times(
    retrieve: Retrieve,
) -> None:
    retrieve.takes = 0
    assert not retrieve.move("ab")
    assert retrieve.counts == (0, 0, 0, ["a", "b"])
    assert retrieve.progress.comment == "the association broke: the destination ended it before it took anything"
    assert len(retrieve.targets) == 3


def test_who_gets_is_not_looked_at_for_having_ended_its_own_association(retrieve: Retrieve) -> None:
    retrieve.originator = None
    items = [item(name) for name in "ab"]
    target = Target(takes=0)
    with pytest.raises(PeerAborted, match="closed"):
        retrieve.of(items).send(items, cast(Association, target))
    assert not target.is_released


def test_an_error_that_nobody_foresaw_on_one_of_several_associations_is_not_hidden(retrieve: Retrieve) -> None:
    retrieve.answers = {"b": ZeroDivisionError("nobody foresaw it")}
    with pytest.raises(ZeroDivisionError):
        retrieve.move("abc", associations=3)


@pytest.mark.parametrize("associations", [1, 3])
def test_a_requester_that_has_gone_ends_the_associations_with_the_destination(
    retrieve: Retrieve, associations: int
) -> None:
    retrieve.requester.breaks_after = 0
    with pytest.raises(RequesterGone, match="the peer aborted"):
        retrieve.move("abc", associations=associations)
    assert retrieve.targets
    assert all(one.is_closed for one in retrieve.targets)


def test_who_cancels_while_others_have_their_turn_is_answered_so_and_told_meanwhile(retrieve: Retrieve) -> None:
    retrieve.requester.cancels_after = 1
    retrieve.monkeypatch.setattr("pacs_server.dimse.progress._LONGEST_SILENCE_S", 0.0)
    with ExitStack() as held:
        for _ in range(AT_ONCE):
            held.enter_context(retrieve.turns.turn(VIEWER.aet, lambda: True))
        assert retrieve.move("abc")
    assert retrieve.counts == (3, 0, 0, [])
    assert (retrieve.targets, retrieve.requester.told) == ([], 1)


def test_what_only_the_requester_keeps_is_not_asked_of_it(retrieve: Retrieve) -> None:
    items = [item("a", archives=("ASKING",)), item("b", archives=("ASKING", "FAR")), item("c", archives=("FAR",))]
    found = retrieve.of(items).fetchable(items)
    assert [(one.sop_uid, one.archives) for one in found] == [("b", ("FAR",)), ("c", ("FAR",))]
    assert retrieve.counts == (2, 0, 0, ["a"])
    assert retrieve.progress.comment == "only ASKING keeps it, who asks for it"


def test_what_did_not_come_from_an_archive_server_is_counted_and_the_rest_is_sent(retrieve: Retrieve) -> None:
    def bring(items: Sequence[Deliverable], is_stopped: Callable[[], bool]) -> Iterator[tuple[Deliverable, str]]:
        yield items[0], ""
        yield items[1], "FAR does not have it"
        raise IndexUnavailable("the index is away")

    retrieve.fetch = bring
    items, given = [item(name, archives=("FAR",)) for name in "abc"], list[Deliverable]()
    work = retrieve.of(items)
    assert not work.fetch(items, lambda some: bool(given.extend(some)))
    assert [one.sop_uid for one in given] == ["a"]
    assert retrieve.counts == (1, 0, 0, ["b", "c"])
    assert retrieve.progress.comment == "it could not be fetched"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_nobody_waits_for_objects_whose_fetching_failed_in_a_way_nobody_foresaw(retrieve: Retrieve) -> None:
    fetching: list[threading.Thread] = []

    def bring(*_: object) -> Iterator[tuple[Deliverable, str]]:
        fetching.append(threading.current_thread())
        raise IndexError

    retrieve.fetch, retrieve.requester.breaks_after = bring, 50
    retrieve.monkeypatch.setattr("pacs_server.dimse.progress._LONGEST_SILENCE_S", 0.0)
    items = [item(name, archives=("FAR",)) for name in "ab"]
    assert not retrieve.of(items).fetch(items, lambda _: pytest.fail("nothing is there to be sent"))
    assert retrieve.counts == (0, 0, 0, ["a", "b"])
    fetching[0].join()  # pytest hears of it in this test


def test_nothing_is_sent_when_nothing_came(retrieve: Retrieve) -> None:
    retrieve.fetch = lambda items, _: iter([(items[0], "FAR does not have it")])
    items = [item("a", archives=("FAR",))]
    assert not retrieve.of(items).fetch(items, lambda _: pytest.fail("nothing is there to be sent"))
    assert retrieve.counts == (0, 0, 0, ["a"])


def test_who_cancels_while_objects_are_fetched_stops_that_too(retrieve: Retrieve) -> None:
    has_stopped = threading.Event()

    def bring(_: Sequence[Deliverable], is_stopped: Callable[[], bool]) -> Iterator[tuple[Deliverable, str]]:
        while not is_stopped():
            threading.Event().wait(0.01)
        has_stopped.set()
        yield from ()

    retrieve.fetch = bring
    retrieve.requester.cancels_after = 1
    retrieve.monkeypatch.setattr("pacs_server.dimse.progress._LONGEST_SILENCE_S", 3_600.0)  # it is told at once
    items = [item("a", archives=("FAR",))]
    assert retrieve.of(items).fetch(items, lambda _: pytest.fail("it was cancelled"))
    assert has_stopped.wait(60)
    assert retrieve.counts == (1, 0, 0, [])
