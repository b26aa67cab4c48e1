"""Forwards in the background: looks at routes, and sends to each destination in threads of its own, so that one that is
dead or slow delays no other, and none delays what keeps data safe.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final

from pacs_server import log
from pacs_server.archive.calling import way_to
from pacs_server.archive.deliver import Sender
from pacs_server.archive.forward import Delivery, Line, Verdict
from pacs_server.archive.routing import apply_route
from pacs_server.dicom.attributes import Level
from pacs_server.dicom.queries.retrieval import RetrieveRequest
from pacs_server.errors import PacsError, PeerFailed, UnknownName
from pacs_server.index.jobs import Job, JobKind
from pacs_server.index.queries.search import Deliverable
from pacs_server.index.sending.sendings import Sending, SendState
from pacs_server.net.client import Destination
from pacs_server.service.assemble import Node
from pacs_server.service.peers.fetching import fetch_back
from pacs_server.service.per_target import PerTarget, TargetWork

# An object of gigabytes over a slow line takes long; what this node had under way is released when it starts.
_LEASE: Final = timedelta(minutes=30)
_RENEW_AFTER: Final = timedelta(minutes=1)
_PORTION: Final = 100
# What a kill in this moment makes us send once more: as much as was acknowledged and is not yet written down.
_NOTED_AT_ONCE: Final = 16
_NOTED_EVERY_S: Final = 1.0
# A series is looked at so often while it arrives.
_SETTLE: Final = timedelta(seconds=2)
# What is paused is looked at so rarely because resuming wakes it.
_PAUSED: Final = timedelta(hours=1)
_ANOTHER_VERSION: Final = "the destination answered status 0111: it keeps another version, which it was sent before"
_STATES: Final = {Verdict.TAKEN: SendState.SENT, Verdict.REFUSED: SendState.DEAD, Verdict.LATER: SendState.WAITING}


class Forwarder(TargetWork):
    """One thread for the routes, one that sees for whom something waits, one for what is back, and those that send."""

    def __init__(self, node: Node) -> None:
        duties = [("routes", self._route), ("senders", self._call_senders), ("returned", self._take_up)]
        super().__init__(node, "forwarding", duties, PerTarget("sending", self._send), seldom=["returned"])

    def _route(self) -> bool:
        """Look at one series for one route; whether there was one."""
        node, jobs = self._node, self._node.jobs
        job = jobs.claim(self._worker, datetime.now(UTC), lease=_LEASE, per_target=1, kinds=[JobKind.ROUTE])
        if job is None:
            return False
        again_at, now = None, datetime.now(UTC)
        try:
            node.look_at_site_state(max_age_s=0)  # the route may have been changed a moment ago
            if (route := node.routes().get(job.target)) is not None:
                again_at = apply_route(
                    route, job.study_uid, job.series_uid, sendings=node.sendings, studies=node.studies,
                    vocabulary=node.vocabulary(), now=now,
                )  # fmt: skip
        except PacsError as error:
            log.warning("route failed", route=job.target, why=error)
            jobs.failed(job, str(error), datetime.now(UTC))
        else:
            jobs.done(job, datetime.now(UTC), again_at=again_at, settle=_SETTLE)
        return True

    def _call_senders(self) -> bool:
        """Have as many threads at work for each destination as it takes associations and jobs are due for it."""
        node, wanted = self._node, {}
        for target, due in node.jobs.due_targets(JobKind.SEND, datetime.now(UTC)).items():
            peer = node.registry.peer(target)
            wanted[target] = min(due, peer.associations if peer else 1)
        self._threads.call(wanted)
        return False

    def _take_up(self) -> bool:
        """Have sent what was deleted before its turn came, and is back."""
        node = self._node
        node.sendings.take_up([peer.aet for peer in node.registry.peers() if peer.host], datetime.now(UTC))
        return False

    def _send(self, target: str) -> None:
        """Do what is due for one destination, over one association, until nothing is."""
        node = self._node
        peer = node.registry.peer(target)
        files = node.settings.tls_files
        destination = way_to(peer, files) if peer else Destination(aet=target, host="", port=0)
        sender = Sender(placement=node.placement, transcoder=node.transcoder, on_damage=node.note_damage)
        with Line(
            destination,
            calling_aet=node.settings.aet,
            limits=node.settings.network,
            sender=sender,
            preferred=peer.syntax if peer else "",
        ) as line:
            at_once = peer.associations if peer else 1
            wakes = True
            while not self._duties.is_stopped() and self._send_one(target, line, at_once, wakes=wakes):
                wakes = False

    def _send_one(self, target: str, line: Line, at_once: int, *, wakes: bool) -> bool:
        """Do one job for a destination; whether another should be tried now. With `wakes`, others that failed are tried
        now if this one does not: the destination is back.
        """
        jobs = self._node.jobs
        job = jobs.claim(
            self._worker, datetime.now(UTC), lease=_LEASE, per_target=at_once, kinds=[JobKind.SEND], target=target
        )
        if job is None:
            return False
        series = _Series(self._node, job, line, self._duties.is_stopped)
        try:
            _refuse_without_address(line.destination)
            problems = series.send()
        except (PeerFailed, UnknownName) as error:
            log.warning("destination failed", to=target, why=error)
            jobs.failed_for_target(job, str(error), datetime.now(UTC), got_on=series.sent > 0)
            return False
        except PacsError as error:
            problems = (str(error),)
        now, sent = datetime.now(UTC), series.sent
        if problems:
            jobs.failed(job, "; ".join(problems), now, got_on=sent > 0)
        else:
            jobs.done(job, now, again_at=self._opens_at(job, now))
        log.info("sent", to=target, series=job.series_uid, objects=sent, why="; ".join(problems) or None)
        if wakes and sent and not problems:
            jobs.wake_target(JobKind.SEND, target, now, only_failed=True)
        return True

    def _opens_at(self, job: Job, now: datetime) -> datetime | None:
        """When what is left of a series may be sent; None when nothing is left."""
        routes = self._node.routes()
        left = self._node.sendings.routes_of(job.target, job.study_uid, job.series_uid)
        return min(
            ((routes[name].opens_at(now) or now + _PAUSED) if name in routes else now for name in left), default=None
        )


def _refuse_without_address(destination: Destination) -> None:
    if not destination.host:
        aet = destination.aet
        raise UnknownName(f"no peer {aet} with an address is registered, so nothing can be sent: pacs ae add {aet} ...")


class _Series:
    """What of one series waits for one destination, on its way there; so many were `sent`."""

    def __init__(self, node: Node, job: Job, line: Line, is_stopped: Callable[[], bool]) -> None:
        self._node = node
        self._job = job
        self._line = line
        self._is_stopped = is_stopped
        self.sent = 0
        self._tried: set[int] = set()
        self._results: list[tuple[Sending, SendState, str]] = []
        self._noted_at = time.monotonic()
        self._renewed_at = datetime.now(UTC)

    def send(self) -> tuple[str, ...]:
        """Send it in portions; answers why some have to be tried again.

        Raises: what `Line.send` raises without an association; IndexUnavailable.
        """
        problems: list[str] = []
        goes_on = True
        while goes_on and (waiting := self._next_portion()):
            try:
                for verdict, reason, ends in self._deliver(waiting):
                    self.sent += verdict is Verdict.TAKEN
                    problems += [reason] if verdict is Verdict.LATER else []
                    goes_on = goes_on and not ends
            finally:
                self._note()
        return tuple(dict.fromkeys(problems))

    def _next_portion(self) -> list[Sending]:
        if self._is_stopped():
            return []
        now = datetime.now(UTC)
        closed = [route.name for route in self._node.routes().values() if route.opens_at(now) != now]
        job = self._job
        waiting = self._node.sendings.waiting(
            job.target, job.study_uid, job.series_uid, without=closed, limit=_PORTION + len(self._tried)
        )
        return [one for one in waiting if one.id not in self._tried][:_PORTION]

    def _deliver(self, waiting: list[Sending]) -> Iterable[tuple[Verdict, str, bool]]:
        self._tried.update(one.id for one in waiting)
        by_content = {(one.sop_uid, one.digest): one for one in waiting}
        items = self._held(waiting)
        for content in by_content.keys() - {(item.sop_uid, item.digest) for item in items}:
            gone = "it was deleted, or another version became the current one, before it was sent"
            self._results.append((by_content[content], SendState.GONE, gone))
        for delivery in self._delivered(items):
            one = by_content[delivery.item.sop_uid, delivery.item.digest]
            if delivery.was_there and self._node.sendings.has_another_version(one):
                delivery = replace(delivery, verdict=Verdict.REFUSED, reason=_ANOTHER_VERSION)
            self._results.append((one, _STATES[delivery.verdict], delivery.reason))
            if delivery.verdict is Verdict.REFUSED:
                log.warning("refused for good", to=self._job.target, sop=one.sop_uid, why=delivery.reason)
            if len(self._results) >= _NOTED_AT_ONCE or time.monotonic() - self._noted_at >= _NOTED_EVERY_S:
                self._note()
            yield delivery.verdict, delivery.reason, delivery.ends
            if self._is_stopped():
                return

    def _delivered(self, items: Sequence[Deliverable]) -> Iterator[Delivery]:
        """Send what is here, and what is only with archive servers once it was fetched."""
        here = [item for item in items if not item.archives]
        if len(here) < len(items):
            away = [item for item in items if item.archives]
            for item, problem in fetch_back(self._node, away, self._is_stopped):
                if problem:
                    yield Delivery(item=item, verdict=Verdict.LATER, reason=problem)
                else:
                    here.append(item)
        if here:
            yield from self._line.send(here)

    def _held(self, waiting: list[Sending]) -> list[Deliverable]:
        """What is held of it, in the same order: what broke the association comes behind the others next time."""
        places = {(one.sop_uid, one.digest): place for place, one in enumerate(waiting)}
        request = RetrieveRequest(
            level=Level.IMAGE,
            study_uids=(self._job.study_uid,),
            series_uids=(self._job.series_uid,),
            sop_uids=tuple(one.sop_uid for one in waiting),
        )
        held = [item for item in self._node.search.deliverables(request) if (item.sop_uid, item.digest) in places]
        return sorted(held, key=lambda item: places[item.sop_uid, item.digest])

    def _note(self) -> None:
        """Write down what became of objects so far, and keep the job while it takes long."""
        results, self._results = self._results, []
        now = datetime.now(UTC)
        self._node.sendings.note(results, now)
        self._noted_at = time.monotonic()
        if now - self._renewed_at > _RENEW_AFTER:
            self._node.jobs.renew(self._job, now, _LEASE)
            self._renewed_at = now
