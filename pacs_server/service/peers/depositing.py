"""Has an archive server keep a series: sent as stored, committed to, given back once, and only then given up here."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import groupby
from typing import Final

from pacs_server import log
from pacs_server.archive.deliver import AS_STORED, Sender
from pacs_server.archive.fetching import fetch
from pacs_server.archive.forward import Line, Verdict
from pacs_server.archive.retire import Decider
from pacs_server.dicom.attributes import Level
from pacs_server.dicom.commitment import Reference, Request, reason_in_words
from pacs_server.dicom.deposits import Deposit, Stub, portions, stub_values
from pacs_server.dicom.header import HeadScanner
from pacs_server.dicom.identity import ObjectHasher, new_uid
from pacs_server.dicom.operations import Content, OperationKind
from pacs_server.dicom.queries.retrieval import RetrieveRequest
from pacs_server.dicom.stored import data_set_of, holds_object
from pacs_server.errors import CopyUnreadable, NotAsGiven, PeerFailed, Refused, UnknownName
from pacs_server.index.deposits import Depositable, Name
from pacs_server.index.jobs import Job
from pacs_server.index.queries.search import Deliverable
from pacs_server.index.sending.commitments import Commitment, Direction, State
from pacs_server.net.association import Context
from pacs_server.service.assemble import Node
from pacs_server.service.destinations import destination_of
from pacs_server.service.peers.arriving import given_back
from pacs_server.service.peers.commitment import ask_for

# What a kill in this moment makes us send once more.
_NOTED_AT_ONCE: Final = 16
_ASKED_AT_ONCE: Final = 1_000
_RENEW_AFTER: Final = timedelta(minutes=1)
# Most archive servers report at once, on the association that asks or on one of their own.
_REPORT_WAIT_S: Final = 5.0
_SHORTEST_PAUSE: Final = timedelta(seconds=1)
_LONGEST_PAUSE: Final = timedelta(minutes=5)
# Some report only once a night. One that has not reported by then is asked anew.
_REPORTS_WITHIN: Final = timedelta(days=2)
# What it refused, does not vouch for or gives back as something else would cost another sending each time.
_REFUSED_PAUSE: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a series is: when to look again, None when nothing is left to do; and what is in the way, and then when
    not to try again before, None for soon.
    """

    again_at: datetime | None
    problems: tuple[str, ...]


def deposit_series(node: Node, job: Job, *, lease: timedelta, is_stopped: Callable[[], bool]) -> Progress:
    """Do what can be done now to have the archive server of a job keep a series. Each step is noted when it is done;
    broken off anywhere, it goes on where it was when it is called again.

    The copies of an object are given up only after the archive server has committed to it in a transaction of ours,
    and has given it back byte for byte, and that is written down on the volumes. What it refuses, does not commit to or
    does not give back stays here.

    Raises: UnknownName or Refused when the archive server is not registered with an address, or does not take the
    request for commitment; PeerFailed; NotEnoughCopies when no volume takes the note; IndexUnavailable.
    """
    return _Series(node, job, lease, is_stopped).work()


class _Series:
    """One series on its way to one archive server."""

    def __init__(self, node: Node, job: Job, lease: timedelta, is_stopped: Callable[[], bool]) -> None:
        self._node, self._job, self._aet = node, job, job.target
        self._lease = lease
        self._is_stopped = is_stopped
        self._destination = destination_of(node, job.target)
        self._problems: list[str] = []
        self._is_to_try_soon = False
        self._again_at: datetime | None = None
        self._renewed_at = datetime.now(UTC)
        self._tiers = {rule.source for rule in node.rules.all() if rule.archive == job.target}

    def work(self) -> Progress:
        if not self._tiers:  # the rule was removed
            return Progress(again_at=None, problems=())
        self._send([one for one in self._going() if one.transaction_uid is None and one.copies])
        committed = self._committed()
        if sent := [one for one in self._going() if one.transaction_uid == ""]:
            self._ask(sent)
            committed = self._committed()
        try:
            self._read_back(committed)
        finally:
            self._give_up()
        if self._problems and not self._is_to_try_soon and self._again_at is None:
            self._again_at = datetime.now(UTC) + _REFUSED_PAUSE
        return Progress(again_at=self._again_at, problems=tuple(dict.fromkeys(self._problems)))

    def _keep_job(self) -> None:
        now = datetime.now(UTC)
        if now - self._renewed_at > _RENEW_AFTER:
            self._node.jobs.renew(self._job, now, self._lease)
            self._renewed_at = now

    def _objects(self) -> list[Depositable]:
        self._keep_job()
        return self._node.deposits.of_series(self._job.study_uid, self._job.series_uid, self._aet)

    def _going(self) -> list[Depositable]:
        return [one for one in self._objects() if one.may_go and not one.is_kept]

    # --- sent ---

    def _send(self, objects: Sequence[Depositable]) -> None:
        """Send objects as they are stored, and note those that were acknowledged."""
        if not objects:
            return
        node = self._node
        sender = Sender(placement=node.placement, transcoder=node.transcoder, on_damage=node.note_damage)
        line = Line(
            self._destination,
            calling_aet=node.settings.aet,
            limits=node.settings.network,
            sender=sender,
            preferred=AS_STORED,
        )
        taken: list[Name] = []
        try:
            with line:
                for delivery in line.send(self._deliverables(objects)):
                    if delivery.verdict is Verdict.TAKEN:
                        taken.append((delivery.item.sop_uid, delivery.item.digest))
                    else:
                        self._problems.append(f"{self._aet} did not take {delivery.item.sop_uid}: {delivery.reason}")
                        self._is_to_try_soon |= delivery.verdict is Verdict.LATER
                    if len(taken) >= _NOTED_AT_ONCE:
                        self._note_sent(taken)
                    if delivery.ends or self._stops():
                        break
        finally:
            self._note_sent(taken)

    def _note_sent(self, taken: list[Name]) -> None:
        if not taken:
            return
        self._node.deposits.note_sent(self._aet, taken, datetime.now(UTC))
        self._keep_job()
        taken.clear()

    def _stops(self) -> bool:
        if self._is_stopped():
            self._problems.append("the server was stopped")
            self._is_to_try_soon = True
        return self._is_stopped()

    def _deliverables(self, objects: Sequence[Depositable]) -> list[Deliverable]:
        names = {one.name for one in objects}
        request = RetrieveRequest(
            level=Level.IMAGE,
            study_uids=(self._job.study_uid,),
            series_uids=(self._job.series_uid,),
            sop_uids=tuple(one.sop_uid for one in objects),
        )
        return [one for one in self._node.search.deliverables(request) if (one.sop_uid, one.digest) in names]

    # --- committed to ---

    def _ask(self, objects: Sequence[Depositable]) -> None:
        """Ask for commitment to exactly these objects. What was asked is noted before the report can come."""
        node = self._node
        for start in range(0, len(objects), _ASKED_AT_ONCE):
            portion = objects[start : start + _ASKED_AT_ONCE]
            references = tuple(Reference(one.sop_class, one.sop_uid) for one in portion)
            request = Request(transaction_uid=new_uid(), references=references)
            names = [one.name for one in portion]
            node.deposits.note_asked(self._aet, names, request.transaction_uid, datetime.now(UTC))
            try:
                ask_for(node, request, self._aet, wait_s=_REPORT_WAIT_S)
            except (PeerFailed, Refused):
                node.deposits.note_asked(self._aet, names, "", datetime.now(UTC))
                raise

    def _committed(self) -> list[Depositable]:
        """Of what was asked for, the objects that the archive server vouches for."""
        asked = [one for one in self._going() if one.transaction_uid]
        asked.sort(key=lambda one: one.transaction_uid or "")
        committed: list[Depositable] = []
        self._again_at = None
        for transaction_uid, of_one in groupby(asked, key=lambda one: one.transaction_uid or ""):
            committed += self._answered(transaction_uid, list(of_one))
        return committed

    def _answered(self, transaction_uid: str, objects: Sequence[Depositable]) -> list[Depositable]:
        node, now = self._node, datetime.now(UTC)
        commitment = self._commitment(transaction_uid)
        if commitment is None or (commitment.state is State.ASKED and now - commitment.asked_at > _REPORTS_WITHIN):
            node.deposits.note_asked(self._aet, [one.name for one in objects], "", now)
            return []
        if commitment.state is State.ASKED:
            pause = (now - commitment.asked_at) / 4
            pauses_until = now + min(max(pause, _SHORTEST_PAUSE), _LONGEST_PAUSE)
            self._again_at = min(self._again_at or pauses_until, pauses_until)
            return []
        reasons = {reference.sop_uid: reason for reference, reason in node.commitments.failures(commitment)}
        failed = [one for one in objects if one.sop_uid in reasons]
        for one in failed:
            reason = reasons[one.sop_uid]
            why = "its report does not name it" if reason is None else reason_in_words(reason)
            self._problems.append(f"{self._aet} does not vouch for {one.sop_uid}: {why}; it stays, and is sent anew")
        node.deposits.forget(self._aet, [one.name for one in failed])
        return [one for one in objects if one not in failed]

    def _commitment(self, transaction_uid: str) -> Commitment | None:
        try:
            named = self._node.commitments.named(transaction_uid)
        except UnknownName:
            return None
        return next((one for one in named if (one.direction, one.aet) == (Direction.OUT, self._aet)), None)

    # --- given back, and written down ---

    def _read_back(self, objects: Sequence[Depositable]) -> None:
        """Have objects come back once, compare them with what they are, and write down that they are kept."""
        if not objects or self._stops():
            return
        node = self._node
        by_name = {one.name: one for one in objects}
        good: dict[Name, tuple[Depositable, Stub]] = {}

        def compare(item: Deliverable, _: Context | None, pieces: Iterable[memoryview]) -> None:
            name = item.sop_uid, item.digest
            good[name] = by_name[name], _stub(by_name[name], item, pieces, node)
            self._keep_job()

        came = fetch(
            self._destination, self._deliverables(objects), compare, given_back(node, self._aet),
            calling_aet=node.settings.aet, limits=node.settings.network, is_stopped=self._is_stopped,
        )  # fmt: skip
        try:
            for one in came:
                if one.problem:
                    self._problems.append(f"{one.problem}, so it stays here")
                    self._is_to_try_soon |= not one.is_lost
                elif (one.item.sop_uid, one.item.digest) not in good:  # it came to the server, which compared it
                    self._read_here(one.item, compare)
                if one.is_lost:
                    node.deposits.forget(self._aet, [(one.item.sop_uid, one.item.digest)])
        finally:
            self._write_down(list(good.values()))

    def _read_here(self, item: Deliverable, compare: Callable[[Deliverable, None, Iterable[memoryview]], None]) -> None:
        """Note what is kept of an object that came back, from what is here: the server has found that the same."""
        node = self._node

        def is_whole(pieces: Iterable[memoryview]) -> bool:
            return holds_object(pieces, item.digest)

        try:
            with node.placement().open_whole(item.copies, is_whole, partial(node.note_damage, item)) as opened:
                compare(item, None, data_set_of(opened.pieces()))
        except CopyUnreadable as error:
            self._problems.append(f"{item.sop_uid} cannot be read here, so it stays: {error}")
            self._is_to_try_soon = True

    def _write_down(self, good: Sequence[tuple[Depositable, Stub]]) -> None:
        node = self._node
        ordered = sorted(good, key=lambda pair: pair[0].transaction_uid or "")
        for transaction_uid, of_one in groupby(ordered, key=lambda pair: pair[0].transaction_uid or ""):
            pairs = list(of_one)
            for start, end in portions([stub for _, stub in pairs]):
                portion = pairs[start:end]
                decider = Decider(
                    who="server",
                    reason=f"{self._aet} committed to it and gave it back",
                    now=datetime.now(UTC),
                    operations=node.instances.operations,
                    volumes=node.volumes(),
                )
                decider.decide(
                    OperationKind.DEPOSIT,
                    self._job.study_uid,
                    [Content(sop_uid=one.sop_uid, digest=one.digest, role=one.role) for one, _ in portion],
                    deposit=Deposit(
                        aet=self._aet, transaction_uid=transaction_uid, stubs=tuple(stub for _, stub in portion)
                    ),
                )

    # --- given up ---

    def _give_up(self) -> None:
        """Let the copies go that lie on the tiers from which rules send to this archive server."""
        node = self._node
        volume_ids = [volume.spec.id for volume in node.volumes() if volume.spec.tier in self._tiers]
        rows = [one.row for one in self._objects() if one.is_kept and one.may_go and _lies_on(one, volume_ids)]
        if not rows:
            return
        delay = timedelta(seconds=node.settings.storage.release_delay_s)
        given_up = node.deposits.give_up(rows, volume_ids, self._aet, due_at=datetime.now(UTC) + delay)
        log.info("given up", kept_by=self._aet, series=self._job.series_uid, objects=given_up)


def _lies_on(one: Depositable, volume_ids: Collection[str]) -> bool:
    return any(copy.volume_id in volume_ids for copy in one.copies)


def _stub(one: Depositable, item: Deliverable, pieces: Iterable[memoryview], node: Node) -> Stub:
    """What is kept here of an object that came back. Raises: NotAsGiven; Undecodable."""
    hasher = ObjectHasher(item.transfer_syntax)
    scanner = HeadScanner(item.transfer_syntax, vocabulary=node.vocabulary())
    for piece in pieces:
        hasher.update(piece)
        scanner.feed(piece)
    if hasher.digest() != item.digest:
        raise NotAsGiven(f"{item.sop_uid} comes back with other bytes than were sent")
    return Stub(
        sop_uid=one.sop_uid,
        digest=one.digest,
        transfer_syntax=one.transfer_syntax,
        size_bytes=one.size_bytes,
        received_at=one.received_at,
        day=one.day,
        sender=one.sender,
        values=stub_values(scanner.head()),
    )
