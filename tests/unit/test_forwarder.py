"""What becomes of the jobs of a destination: what is sent of a series, and noted of it, and when it is tried again."""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pacs_server.archive.forward import Delivery, Verdict
from pacs_server.dicom.elements import EXPLICIT_LE
from pacs_server.dicom.identity import AeTitle
from pacs_server.errors import IndexUnavailable, PeerUnreachable
from pacs_server.index.jobs import Job, JobKind, JobState
from pacs_server.index.queries.search import Deliverable
from pacs_server.index.sending.sendings import Sending, SendState
from pacs_server.index.site.peers import Peer
from pacs_server.service.assemble import Node
from pacs_server.service.peers import forwarder
from pacs_server.service.peers.forwarder import Forwarder

NOW = datetime(2026, 1, 2, tzinfo=UTC)
VIEWER = Peer(
    aet=AeTitle("VIEWER"), host="127.0.0.1", port=104, rights=frozenset(), sources=(), syntax="raw", associations=2
)
SENT, DEAD, WAITING, GONE = SendState.SENT, SendState.DEAD, SendState.WAITING, SendState.GONE


def sending(number: int, *, route: str = "") -> Sending:
    return Sending(
        id=number, destination="VIEWER", study_uid="1", series_uid="1.1", sop_uid=f"9.{number}", digest="d",
        route=route, state=WAITING, reason="", attempts=0, owed_at=NOW, at=NOW,
    )  # fmt: skip


def item(number: int, *, digest: str = "d", archives: tuple[str, ...] = ()) -> Deliverable:
    return Deliverable(
        sop_class="1.2", sop_uid=f"9.{number}", transfer_syntax=EXPLICIT_LE, size_bytes=2, digest=digest,
        study_uid="1", series_uid="1.1", copies=(), archives=archives,
    )  # fmt: skip


def job(number: int) -> Job:
    return Job(
        id=number, kind=JobKind.SEND, study_uid="1", series_uid="1.1", target="VIEWER", state=JobState.RUNNING,
        generation=1, attempts=0, due_at=NOW, created_at=NOW, worker="w", error="",
    )  # fmt: skip


@dataclass
class Desk:
    """A node with jobs for one destination, and what is written down of them. `answers` are the verdicts of the
    destination on objects, which are taken else; it says of some that they `were_there`, and was sent some `otherwise`.
    """

    monkeypatch: pytest.MonkeyPatch
    jobs: list[Job] = field(default_factory=lambda: [job(1)])
    waits: list[Sending] = field(default_factory=lambda: [sending(1), sending(2)])
    held: Sequence[Deliverable] = (item(1), item(2))
    answers: dict[int, Verdict] = field(default_factory=dict)
    ends: Collection[int] = ()
    were_there: Collection[int] = ()
    otherwise: Collection[int] = ()
    problem: Exception | None = None
    brought: Callable[[Sequence[Deliverable]], Iterator[tuple[Deliverable, str]]] = lambda _: iter(())
    routes: dict[str, Any] = field(default_factory=dict)
    left: frozenset[str] = frozenset()
    peer: Peer | None = VIEWER
    sent: list[list[str]] = field(default_factory=list)
    noted: list[tuple[int, SendState, str]] = field(default_factory=list)
    ended: list[tuple[str, object]] = field(default_factory=list)
    got_on: list[bool] = field(default_factory=list)
    claimed: list[dict[str, object]] = field(default_factory=list)
    line: dict[str, object] = field(default_factory=dict)

    def run(self) -> None:
        self.monkeypatch.setattr(forwarder, "Line", self._line)
        self.monkeypatch.setattr(forwarder, "fetch_back", lambda _, items, __: self.brought(items))
        jobs = SimpleNamespace(
            claim=self._claim,
            done=lambda one, now, *, again_at: self.ended.append(("done", again_at)),
            failed=lambda one, why, now, *, got_on: self._failed("failed", why, got_on=got_on),
            failed_for_target=lambda one, why, now, *, got_on: self._failed("failed for all", why, got_on=got_on),
            wake_target=lambda kind, target, now, *, only_failed: self.ended.append(("woken", target)),
        )
        node = SimpleNamespace(
            settings=SimpleNamespace(aet="PACS", tls_files=None, network=None, data_dir="/data"), jobs=jobs,
            sendings=SimpleNamespace(
                waiting=self._waiting, note=self._note, routes_of=lambda *_: set(self.left),
                has_another_version=lambda one: one.id in self.otherwise,
            ),
            search=SimpleNamespace(deliverables=lambda _: self.held), routes=lambda: self.routes,
            registry=SimpleNamespace(peer=lambda _: self.peer), placement=None, transcoder=None, note_damage=None,
        )  # fmt: skip
        Forwarder(cast(Node, node))._send("VIEWER")

    def _failed(self, how: str, why: str, *, got_on: bool) -> None:
        self.ended.append((how, why))
        self.got_on.append(got_on)

    def _claim(self, *_: object, **how: object) -> Job | None:
        self.claimed.append(how)
        return self.jobs.pop(0) if self.jobs else None

    def _waiting(self, *_: object, without: Collection[str], limit: int) -> list[Sending]:
        done = {number for number, state, _ in self.noted if state is not WAITING}
        return [one for one in self.waits if one.id not in done and one.route not in without][:limit]

    def _note(self, results: Sequence[tuple[Sending, SendState, str]], now: datetime) -> None:
        self.noted += [(one.id, state, why) for one, state, why in results]

    def _line(self, destination: object, **how: object) -> Any:
        self.line = how
        desk = self

        class Line:
            def __enter__(self) -> Any:
                return self

            def __exit__(self, *_: object) -> None:
                desk.ended.append(("released", None))

            def send(self, items: Sequence[Deliverable]) -> Iterator[Delivery]:
                return desk._deliver(items)

        line = Line()
        line.destination = destination  # type: ignore[attr-defined]
        return line

    def _deliver(self, items: Sequence[Deliverable]) -> Iterator[Delivery]:
        self.sent.append([one.sop_uid for one in items])
        for one in items:
            number = int(one.sop_uid.removeprefix("9."))
            verdict = self.answers.get(number, Verdict.TAKEN)
            reason = "" if verdict is Verdict.TAKEN else f"because of {number}"
            was_there = number in self.were_there
            yield Delivery(item=one, verdict=verdict, reason=reason, ends=number in self.ends, was_there=was_there)
            if number in self.ends:
                return
        if self.problem is not None:
            raise self.problem


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch) -> Desk:
    return Desk(monkeypatch)


def test_what_waits_of_each_series_is_sent_over_one_association_and_written_down(desk: Desk) -> None:
    desk.jobs = [job(1), job(2)]
    desk.run()
    assert desk.sent == [["9.1", "9.2"]]
    assert desk.noted == [(1, SENT, ""), (2, SENT, "")]
    assert desk.ended == [("done", None), ("woken", "VIEWER"), ("done", None), ("released", None)]
    assert desk.line["preferred"] == "raw"
    assert all(one["target"] == "VIEWER" and one["per_target"] == 2 for one in desk.claimed)


def test_what_is_refused_for_good_is_no_reason_to_try_again_and_what_is_not_taken_now_is(desk: Desk) -> None:
    desk.answers = {1: Verdict.REFUSED}
    desk.run()
    assert desk.noted == [(1, DEAD, "because of 1"), (2, SENT, "")]
    assert desk.ended == [("done", None), ("woken", "VIEWER"), ("released", None)]
    desk.jobs, desk.noted, desk.ended, desk.answers = [job(1)], [], [], {1: Verdict.LATER}
    desk.run()
    assert desk.noted == [(1, WAITING, "because of 1"), (2, SENT, "")]
    assert desk.ended == [("failed", "because of 1"), ("released", None)]


def test_what_the_destination_has_already_is_sent_unless_it_was_sent_another_version(desk: Desk) -> None:
    desk.waits.append(sending(3))
    desk.held = [item(1), item(2), item(3)]
    desk.were_there, desk.otherwise = {1, 2}, {2, 3}
    desk.run()
    why = "the destination answered status 0111: it keeps another version, which it was sent before"
    assert desk.noted == [(1, SENT, ""), (2, DEAD, why), (3, SENT, "")]
    assert desk.ended[0] == ("done", None)


def test_a_destination_that_took_nothing_is_not_back(desk: Desk) -> None:
    desk.answers = {1: Verdict.REFUSED, 2: Verdict.REFUSED}
    desk.run()
    assert desk.ended == [("done", None), ("released", None)]


def test_what_is_not_taken_now_is_tried_once_and_so_is_each_behind_it(desk: Desk) -> None:
    desk.waits = [sending(number) for number in range(250)]
    desk.held = [item(number) for number in range(250)]
    desk.answers = dict.fromkeys(range(250), Verdict.LATER)
    desk.run()
    assert [uid for part in desk.sent for uid in part] == [f"9.{number}" for number in range(250)]
    assert len(desk.sent) == 3


def test_a_destination_that_can_take_nothing_more_is_sent_nothing_more(desk: Desk) -> None:
    desk.waits = [sending(number) for number in range(250)]
    desk.held = [item(number) for number in range(250)]
    desk.answers, desk.ends = {5: Verdict.LATER}, {5}
    desk.run()
    assert len(desk.sent) == 1
    assert [number for number, state, _ in desk.noted if state is SENT] == [0, 1, 2, 3, 4]
    assert desk.ended == [("failed", "because of 5"), ("released", None)]


def test_a_destination_that_cannot_be_called_fails_for_all_that_waits_and_what_was_taken_stays_noted(
    desk: Desk,
) -> None:
    desk.jobs, desk.problem = [job(1), job(2)], PeerUnreachable("it is off")
    desk.run()
    assert desk.noted == [(1, SENT, ""), (2, SENT, "")]
    assert desk.ended == [("failed for all", "it is off"), ("released", None)]


@pytest.mark.parametrize("problem", [None, PeerUnreachable("it is off")])
def test_a_job_that_got_on_before_it_failed_is_told_from_one_that_did_not(
    desk: Desk, problem: Exception | None
) -> None:
    desk.answers, desk.problem = {2: Verdict.LATER}, problem
    desk.run()
    desk.jobs, desk.answers = [job(1)], {1: Verdict.LATER, 2: Verdict.LATER}
    desk.run()
    assert desk.got_on == [True, False]


def test_an_error_of_our_own_fails_one_job_and_the_next_is_done(desk: Desk) -> None:
    desk.jobs, desk.problem = [job(1), job(2)], IndexUnavailable("the index is away")
    desk.run()
    assert desk.ended == [("failed", "the index is away"), ("done", None), ("released", None)]


def test_what_was_deleted_or_replaced_before_its_turn_is_gone(desk: Desk) -> None:
    desk.waits.append(sending(3))
    desk.held = [item(3), item(1, digest="another version"), item(2)]
    desk.run()
    assert desk.sent == [["9.2", "9.3"]], "in the order in which they wait"
    assert [(number, state) for number, state, _ in desk.noted] == [(1, GONE), (2, SENT), (3, SENT)]


def test_a_series_of_which_nothing_is_held_calls_nobody(desk: Desk) -> None:
    desk.held = ()
    desk.run()
    assert desk.sent == []
    assert desk.ended == [("done", None), ("released", None)]


def test_what_is_only_with_an_archive_server_is_fetched_and_sent_or_tried_again(desk: Desk) -> None:
    desk.held = [item(1, archives=("FAR",)), item(2, archives=("FAR",))]
    desk.brought = lambda items: iter([(items[0], ""), (items[1], "FAR is off")])
    desk.run()
    assert desk.sent == [["9.1"]]
    assert sorted(desk.noted) == [(1, SENT, ""), (2, WAITING, "FAR is off")]
    assert desk.ended[0] == ("failed", "FAR is off")


def test_what_waits_for_a_window_stays_until_it_opens(desk: Desk) -> None:
    opens_at = datetime.now(UTC) + timedelta(hours=5)
    desk.routes = {
        "night": SimpleNamespace(name="night", opens_at=lambda _: opens_at),
        "paused": SimpleNamespace(name="paused", opens_at=lambda _: None),
        "day": SimpleNamespace(name="day", opens_at=lambda now: now),
    }
    desk.waits = [sending(1, route="night"), sending(2, route="day"), sending(3, route="paused")]
    desk.held, desk.left = [item(2)], frozenset({"night"})
    desk.run()
    assert desk.sent == [["9.2"]]
    assert desk.noted == [(2, SENT, "")]
    assert desk.ended[0] == ("done", opens_at)


def test_what_is_left_of_a_route_that_was_removed_is_sent_now(desk: Desk) -> None:
    desk.left = frozenset({"removed"})
    before = datetime.now(UTC)
    desk.run()
    what, again_at = desk.ended[0]
    assert what == "done"
    assert isinstance(again_at, datetime)
    assert before <= again_at <= datetime.now(UTC)


@pytest.mark.parametrize(
    "peer", [None, Peer(aet=AeTitle("VIEWER"), host=None, port=None, rights=frozenset(), sources=())]
)
def test_a_destination_without_an_address_fails_for_all_with_the_remedy(desk: Desk, peer: Peer | None) -> None:
    desk.peer = peer
    desk.run()
    (failed, why), _ = desk.ended
    assert failed == "failed for all"
    assert "pacs ae add VIEWER" in str(why)
    assert desk.sent == []
