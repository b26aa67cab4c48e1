"""Gives partners what they are owed: series after series, each compared with what the partner has, so that nothing goes
twice, nothing goes back to where it came from, and what was broken off goes on with what is missing.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final, Self

from pacs_server import log
from pacs_server.archive.calling import way_to
from pacs_server.archive.deliver import Sender
from pacs_server.archive.forward import Delivery, Line, Verdict
from pacs_server.archive.retire import Decider
from pacs_server.cluster.pair import beside_others, content_of, differing, missing, to_agree_on
from pacs_server.dicom.attributes import Level
from pacs_server.dicom.operations import Content, Operation, OperationKind
from pacs_server.dicom.queries.retrieval import RetrieveRequest
from pacs_server.errors import ConfigError, PacsError, PeerFailed, Refused, UnknownName
from pacs_server.index.contents import StudyContent
from pacs_server.index.jobs import Job, JobKind
from pacs_server.index.site.partners import Partner
from pacs_server.net.client import Destination
from pacs_server.net.message import HANDED_ON
from pacs_server.service.assemble import Node
from pacs_server.service.duties import Duties
from pacs_server.service.partners.pairing import connected, exchange_over, greeted, note_own_changes
from pacs_server.service.peers.fetching import fetch_back
from pacs_server.service.per_target import PerTarget, TargetWork

_LEASE: Final = timedelta(minutes=30)
_RENEW_AFTER_S: Final = 60.0
# A series is looked at so often while it arrives.
_SETTLE: Final = timedelta(seconds=1)
# What is cut off without a word is given up after so long, and begun anew once the partner is greeted again: the kernel
# would go on with it up to a minute after the line is mended. An answer takes as long as a slow volume there.
_ANSWERED_WITHIN_S: Final = 45.0
_TAKEN_WITHIN_S: Final = 15.0
# Without a link or an association no other series would fare better.
_AWAY: Final = (PeerFailed, ConfigError, Refused, UnknownName)


class Replicator(TargetWork):
    """A thread that sees for whom something is owed, and those that send."""

    def __init__(self, node: Node) -> None:
        super().__init__(node, "replication", [("replication", self._call)], PerTarget("replication", self._serve))

    def _call(self) -> bool:
        node, wanted = self._node, {}
        served = {one.name: one for one in node.partners_now() if one.aet and not one.is_paused}
        due = node.jobs.due_targets(JobKind.REPLICATE, datetime.now(UTC)) if served else {}
        for name, number in due.items():
            if name in served:
                peer = node.registry.peer(served[name].aet)
                wanted[name] = min(number, peer.associations if peer else 1)
        self._threads.call(wanted)
        return False

    def _serve(self, name: str) -> None:
        """Do what is due for one partner, over one association, until nothing is."""
        node = self._node
        partner = node.partners.one(name)
        if (job := self._claim(partner)) is None:
            return
        try:
            destination = _destination(node, partner)
            note_own_changes(node, datetime.now(UTC))
            with greeted(node, partner) as (link, hello):  # what was deleted there must not go there again
                exchange_over(link, hello, node, partner, datetime.now(UTC))
            with _Series(node, partner, destination, self._duties) as series:
                while job is not None:
                    self._do(job, series)
                    job = None if self._duties.is_stopped() else self._claim(partner)
        except PacsError as error:  # also where nobody here takes what was decided there
            log.warning("partner not served", partner=name, why=error)
            if job is not None:
                node.jobs.failed_for_target(job, str(error), datetime.now(UTC))

    def _claim(self, partner: Partner) -> Job | None:
        peer = self._node.registry.peer(partner.aet)
        return self._node.jobs.claim(
            self._worker,
            datetime.now(UTC),
            lease=_LEASE,
            per_target=peer.associations if peer else 1,
            kinds=[JobKind.REPLICATE],
            target=partner.name,
        )

    def _do(self, job: Job, series: _Series) -> None:
        """Give the partner what it lacks of one series. Raises: what is raised without a link or an association."""
        try:
            sent, problems = series.give(job)
        except _AWAY:
            raise
        except PacsError as error:  # of this series; the next may fare better
            sent, problems = 0, (str(error),)
        now = datetime.now(UTC)
        if problems:
            self._node.jobs.failed(job, "; ".join(problems), now)
        else:
            self._node.jobs.done(job, now, settle=_SETTLE)
        log.info("replicated", partner=job.target, series=job.series_uid, objects=sent, why="; ".join(problems) or None)


class _Series:
    """Series on their way to one partner, one after the other. Belongs to one thread."""

    def __init__(self, node: Node, partner: Partner, destination: Destination, duties: Duties) -> None:
        self._node = node
        self._partner = partner
        self._duties = duties
        self._senders: dict[str, str] = {}
        limits = node.settings.network
        sender = Sender(placement=node.placement, transcoder=node.transcoder, on_damage=node.note_damage)
        self._line = Line(
            destination,
            calling_aet=node.settings.aet,
            limits=replace(
                limits,
                response_timeout_s=min(limits.response_timeout_s, _ANSWERED_WITHIN_S),
                send_timeout_s=min(limits.send_timeout_s, _TAKEN_WITHIN_S),
            ),
            sender=sender,
            originator=lambda item: (self._senders[item.digest] or node.settings.aet, HANDED_ON),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._line.release()

    def give(self, job: Job) -> tuple[int, tuple[str, ...]]:
        """Send what the partner lacks of a series, until it says that it has it; how many objects were sent, and why
        others have to be tried again.

        Raises: what is raised without a link or an association; IndexUnavailable; NotEnoughCopies.
        """
        ours, theirs = self._both(job)
        sent: list[str] = []
        problems: list[str] = []
        if lacking := [one.digest for one in missing(job.study_uid, of=ours, in_=theirs)]:
            for delivery in self._send(job, lacking):
                if delivery.verdict is Verdict.TAKEN:
                    sent.append(delivery.item.digest)
                else:
                    problems.append(delivery.reason)
            ours, theirs = self._both(job)
        left = sum(1 for _ in missing(job.study_uid, of=ours, in_=theirs))
        if left and not problems:
            problems.append(f"the partner lacks {left} objects yet")
        if uids := differing(ours, theirs) | beside_others(ours):
            self._choose(job.study_uid, uids)
        return len(sent), tuple(dict.fromkeys(problems))

    def _both(self, job: Job) -> tuple[StudyContent, StudyContent]:
        """What is held of a series here and there. A link waits for no transfer, so each look has one of its own."""
        ours = self._node.contents.of(job.study_uid, job.series_uid)
        with connected(self._node, self._partner) as link:
            return ours, content_of(link, job.study_uid, job.series_uid, ours=ours)

    def _send(self, job: Job, lacking: Sequence[str]) -> Iterator[Delivery]:
        replicas = self._node.outbox.replicas(job.study_uid, job.series_uid, lacking)
        if len(replicas) < len(lacking) and self._fetch(job, lacking):
            replicas = self._node.outbox.replicas(job.study_uid, job.series_uid, lacking)
        self._senders = {replica.item.digest: replica.sender for replica in replicas}
        rate = self._node.settings.partner.send_bytes_per_s
        renewed_at = time.monotonic()
        # Each time from another one on: an object that the partner never takes keeps none of the others.
        first = job.attempts % max(1, len(replicas))
        items = [replica.item for replica in (*replicas[first:], *replicas[:first])]
        for delivery in self._line.send(items) if items else ():
            yield delivery
            if time.monotonic() - renewed_at > _RENEW_AFTER_S:
                self._node.jobs.renew(job, datetime.now(UTC), _LEASE)
                renewed_at = time.monotonic()
            if self._duties.is_stopped() or (rate and self._duties.pause(delivery.item.size_bytes / rate)):
                return

    def _fetch(self, job: Job, lacking: Sequence[str]) -> bool:
        """Have come what is only with archive servers; whether anything did."""
        request = RetrieveRequest(level=Level.SERIES, study_uids=(job.study_uid,), series_uids=(job.series_uid,))
        items = [one for one in self._node.search.deliverables(request) if one.archives and one.digest in set(lacking)]
        return any([not problem for _, problem in fetch_back(self._node, items, self._duties.is_stopped)])

    def _choose(self, study_uid: str, uids: set[str]) -> None:
        """Where both sites have other contents of a study current under these SOP Instance UIDs, in whichever series,
        make one current on both: what was decided on, if the partner knows that, else what came first at all.
        """
        here = self._node.contents.of(study_uid)
        with connected(self._node, self._partner) as link:
            there = content_of(link, study_uid, ours=here)
        ours, theirs = ([one for one in side.held if one.sop_uid in uids] for side in (here, there))
        decided = _decided(self._node.instances.operations.of_study(study_uid))
        known = self._node.partners.one(self._partner.name).acknowledged
        chosen = to_agree_on(ours, theirs, {uid: digest for uid, (digest, _) in decided.items()})
        for sop_uid, (digest, role) in chosen.items():
            if sop_uid in decided and decided[sop_uid][1] > known:
                continue  # it is about to be told, and will obey
            why = "as was decided before" if sop_uid in decided else f"received first, here or at {self._partner.name}"
            content = Content(sop_uid=sop_uid, digest=digest, role=role)
            self._decider(why).decide(OperationKind.VERSION, study_uid, [content])

    def _decider(self, reason: str) -> Decider:
        return Decider(
            who=self._node.settings.aet,
            reason=reason,
            now=datetime.now(UTC),
            operations=self._node.instances.operations,
            volumes=self._node.volumes(),
        )


def _decided(operations: Iterable[Operation]) -> dict[str, tuple[str, int]]:
    """Which content was made the current one under a SOP Instance UID last, and by the operation of which counter."""
    versions = (one for one in operations if one.kind is OperationKind.VERSION)
    ordered = sorted(versions, key=lambda one: one.stamp)
    return {content.sop_uid: (content.digest, one.counter) for one in ordered for content in one.objects}


def _destination(node: Node, partner: Partner) -> Destination:
    """Where objects for a partner go. Raises: UnknownName."""
    peer = node.registry.peer(partner.aet)
    if peer is None or not peer.host or not peer.port:
        raise UnknownName(
            f"no peer {partner.aet} with an address is registered, so partner {partner.name} gets no objects: "
            f"pacs ae add {partner.aet} ..."
        )
    return way_to(peer, node.settings.tls_files)
