"""Does in the background what is owed: jobs, fields that were added later, and the reading of every copy again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from datetime import UTC, date, datetime, timedelta
from functools import partial
from itertools import chain
from typing import Final

from pacs_server import log
from pacs_server.archive.backfill import backfill
from pacs_server.archive.copies import complete
from pacs_server.archive.operations import synchronise
from pacs_server.archive.scrub import verify, verify_series
from pacs_server.errors import PacsError
from pacs_server.index.jobs import FORWARDING, Job, JobKind
from pacs_server.index.sending.commitments import Commitment
from pacs_server.service.assemble import Node
from pacs_server.service.duties import Duties, each_in_turn
from pacs_server.service.monitoring.survival import SurvivalNotes
from pacs_server.service.peers.commitment import settle_commitments
from pacs_server.service.roll_call import RollCall, node_name
from pacs_server.service.upkeep.audit_export import export, owe_export
from pacs_server.service.upkeep.checkpoints import DailyCheckpoint
from pacs_server.service.upkeep.leaving import release_volume
from pacs_server.service.upkeep.reconciling import describe_study, note_losses, note_unknown, release_what_was_purged
from pacs_server.service.upkeep.rounds import Rounds
from pacs_server.service.upkeep.tiers import NightlyMoves
from pacs_server.storage.volume import Volume

_JOB_THREADS: Final = 4
# Reports wait for consoles that are slow or off; what keeps objects safe does not wait with them.
_COMMITMENT_THREADS: Final = 2
_COMMITMENTS: Final = frozenset({JobKind.COMMIT})
# A console that waits on its association is told there, by the process that serves it.
_WAITS_THERE: Final = timedelta(seconds=5)
_KEEPING: Final = frozenset(JobKind) - _COMMITMENTS - FORWARDING
# They concern whatever volumes the copies are on.
_OF_SERIES: Final = frozenset({JobKind.COPY, JobKind.VERIFY, JobKind.DESCRIBE})
_PER_TARGET: Final = 3
# A database that hangs does not hold up the end; then the others see it 15 s later.
_LEAVE_S: Final = 3.0
_LEASE: Final = timedelta(minutes=5)
_RENEW_AFTER: Final = timedelta(minutes=1)
_PORTION: Final = 100
# After so long the next volume has its turn: of twenty terabytes that came at once one is read for twelve days.
_TURN_S: Final = 600.0
# To list the studies of all days takes a slow NAS minutes.
_REST: Final = 9
# What no volume takes is tried again when one is back or takes something again, or when an admin changed something; and
# now and then. Of 20,000 series each was tried every ten minutes: a third of a core, and each time a line in the log.
_HOMELESS_AGAIN: Final = timedelta(hours=6)


class Runner:
    """Threads that work as long as there is work, and look for some every second, or every five."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._worker = node_name(node.settings)
        self._roll = RollCall(node, datetime.now(UTC))
        self._looked_on: dict[str, date] = {}
        self._released_on: dict[str, date] = {}
        rounds = Rounds(node, self.has_duty)
        duties: list[tuple[str, Callable[[], bool]]] = [
            ("roll call", self._call_roll),
            *[("jobs", partial(self._do_job, _KEEPING))] * _JOB_THREADS,
            *[("commitments", partial(self._do_job, _COMMITMENTS, _WAITS_THERE))] * _COMMITMENT_THREADS,
            ("fields", self._read_fields),
            ("verify", self._verify),
            ("purged", self._release),
            ("moves", self._move),
            ("surveys", rounds.owe_survey),
            ("hidden", rounds.show_hidden),
            ("shared uids", rounds.flag_shared_uids),
            ("purge", rounds.purge),
            ("transcoded", rounds.forget_transcoded),
            ("survival", self._note_survival),
            ("audit", self._write_down),
            ("checkpoints", self._take_checkpoint),
        ]
        seldom = {"fields", "verify", "purged", "moves", "surveys", "hidden", "shared uids", "purge", "transcoded"}
        self._duties = Duties("background work", duties, seldom=seldom)
        self._survival = SurvivalNotes(node)
        self._checkpoint = DailyCheckpoint(node)
        self._moves = NightlyMoves(node, self._duties.is_stopped, lambda: datetime.now().astimezone())

    def start(self) -> None:
        """Begin. What this node had under way when it was killed is taken up again.

        Raises: IndexUnavailable.
        """
        self._roll.call(datetime.now(UTC))
        self._node.jobs.release(self._worker)
        self._duties.start()

    def stop(self) -> None:
        """Begin nothing new. What is under way can be broken off anywhere."""
        self._duties.stop()

    def leave(self) -> None:
        """Let the other nodes take up what did not end; nothing of this node may claim a job any more."""
        leaving = threading.Thread(target=self._roll.leave, name="leave", daemon=True)
        leaving.start()
        leaving.join(_LEAVE_S)

    def has_duty(self) -> bool:
        """Whether this node does what one node does for the site."""
        return self._roll.roster.has_duty()

    def _call_roll(self) -> bool:
        self._roll.call(datetime.now(UTC))
        return False

    def _do_job(self, kinds: AbstractSet[JobKind], overdue: timedelta = timedelta()) -> bool:
        """Do one job of these kinds that is due for so long; whether there was one."""
        jobs, roster = self._node.jobs, self._roll.roster
        moment = datetime.now(UTC) - overdue
        kinds = kinds - _OF_SERIES if roster.leaves_series() else kinds
        if not roster.others and not self._can_complete():
            kinds = kinds - {JobKind.COPY}  # it would fail for each series
        job = jobs.claim(
            self._worker, moment, lease=_LEASE, per_target=_PER_TARGET, kinds=kinds, without=roster.elsewhere()
        )
        if job is None:
            return False
        problems: tuple[str, ...] = ()
        again_at = None
        try:
            # A job may be owed because of what an admin changed a moment ago.
            self._node.look_at_site_state(max_age_s=0)
            if job.kind is JobKind.RELEASE:
                again_at = release_volume(self._node, job, lease=_LEASE, is_stopped=self._duties.is_stopped)
            elif job.kind is JobKind.COMMIT:
                problems, again_at = self._commit(job)
            elif job.kind is JobKind.COPY:
                problems, again_at = self._complete(job)
            else:
                problems = self._work(job)
        except PacsError as error:  # noted at once, or when the index can be written again
            problems = (str(error),)
        now = datetime.now(UTC)
        if problems:
            jobs.failed(job, "; ".join(problems), now, not_before=again_at)
        else:
            jobs.done(job, now, again_at=again_at)
        if not (job.kind is JobKind.COPY and again_at and job.attempts):
            log.info("job", kind=job.kind, series=job.series_uid or None, why="; ".join(problems) or None)
        return True

    def _can_complete(self) -> bool:
        """Whether a volume takes copies, or would as soon as those that were found damaged are seen to be whole."""
        is_distrusted = any(volume.spec.is_distrusted and volume.state.is_readable for volume in self._node.volumes())
        return is_distrusted or bool(self._node.placement().homes(set()))

    def _work(self, job: Job) -> tuple[str, ...]:
        node, now = self._node, datetime.now(UTC)
        match job.kind:
            case JobKind.VERIFY:
                left = verify_series(
                    job.study_uid, job.series_uid, node.copies, node.placement, now=now, goes_on=self._keeping(job)
                )
                return tuple(dict.fromkeys(chain.from_iterable(left.values())))
            case JobKind.SURVEY:
                self._survey(job)
            case JobKind.DESCRIBE:
                return describe_study(node, job.study_uid, goes_on=self._keeping(job))
            case JobKind.OPERATIONS:
                volume = node.placement().volume(job.target)
                if volume is not None:
                    problems = synchronise(volume, node.instances.operations, node.volumes(), now=now)
                    note_losses(node, volume)
                    return problems
            case JobKind.AUDIT:
                return export(node, job, lease=_LEASE, is_stopped=self._duties.is_stopped)
        return ()

    def _commit(self, job: Job) -> tuple[tuple[str, ...], datetime | None]:
        """Settle what nobody waits for on an association any more; when to look for the rest."""
        problems, is_left = settle_commitments(
            self._node,
            job,
            lease=_LEASE,
            is_stopped=self._duties.is_stopped,
            is_ours=_waited_there,
        )
        return problems, datetime.now(UTC) if is_left else None

    def _complete(self, job: Job) -> tuple[tuple[str, ...], datetime | None]:
        """Make the copies that a series lacks; when to try again at the earliest where no volume takes them."""
        node = self._node
        objects = node.copies.of_series(job.study_uid, job.series_uid)
        problems: list[str] = []
        homeless = 0
        keep = self._keeping(job)
        for start in range(0, len(objects), _PORTION):
            portion, now = objects[start : start + _PORTION], datetime.now(UTC)
            completed = complete(portion, node.copies, node.placement, now=now, goes_on=keep)
            problems += completed.problems.values()
            homeless += completed.homeless
            if self._duties.is_stopped():
                problems.append("the server was stopped")
                break
        waits = homeless and homeless == len(problems) and not self._roll.roster.others
        return tuple(dict.fromkeys(problems)), datetime.now(UTC) + _HOMELESS_AGAIN if waits else None

    def _keeping(self, job: Job) -> Callable[[], None]:
        """What keeps a job ours while it is called now and then: to read a series may take an hour."""
        renewed_at = datetime.now(UTC)

        def keep() -> None:
            nonlocal renewed_at
            now = datetime.now(UTC)
            if now - renewed_at > _RENEW_AFTER:
                self._node.jobs.renew(job, now, _LEASE)
                renewed_at = now

        return keep

    def _survey(self, job: Job) -> None:
        """Owe copies to every series that has too few by what the site wants now."""
        node = self._node
        node.jobs.wake([JobKind.COPY], datetime.now(UTC))
        want = node.policies().greatest_want
        absent = [volume.spec.id for volume in node.volumes() if volume.spec.is_draining]
        after = -1
        while after:
            now = datetime.now(UTC)
            node.jobs.renew(job, now, _LEASE)
            lacking, after = node.spread.lacking(want=want, after=max(after, 0), absent=absent)
            node.jobs.owe(JobKind.COPY, now, series=lacking)

    def _read_fields(self) -> bool:
        """Read a few objects for a field; whether there are more."""
        node = self._node
        if not self.has_duty():
            return False
        field = node.fields.next_to_read(datetime.now(UTC))
        return field is not None and backfill(node.fields, field, node.placement(), self._charset_of)

    def _charset_of(self, sender: str) -> str:
        peer = self._node.registry.peer(sender)
        return (peer.charset if peer else "") or self._node.settings.default_charset

    def _move(self) -> bool:
        """Move a study to another tier, in the window of the site; whether there may be more.

        In a thread of its own, one study after the other, so that jobs, which keep objects safe, never wait for it.
        """
        return self.has_duty() and self._moves.step()

    def _verify(self) -> bool:
        """Look whether each volume has what it should have."""
        each_in_turn(self._examine, self._node.volumes())
        return False

    def _examine(self, volume: Volume) -> None:
        """Read copies that were not verified for so long as the settings say, at the rate that they allow."""
        if volume.state.is_readable and self._roll.roster.has_duty(volume.spec.id):
            self._look_for_losses(volume)
            if days := self._node.settings.storage.verify_every_days:
                self._verify_volume(volume, datetime.now(UTC) - timedelta(days=days))

    def _look_for_losses(self, volume: Volume) -> None:
        """Once a day, because a NAS may be set back to a snapshot under its mount, without having been away; and the
        index, by one of its machine, beside volumes that are not.
        """
        today = datetime.now(UTC).date()
        if self._looked_on.get(volume.spec.id) != today:
            note_losses(self._node, volume)
            note_unknown(self._node, volume)
            self._looked_on[volume.spec.id] = today

    def _release(self) -> bool:
        """Look whether files of what was purged stayed on a volume."""
        each_in_turn(self._release_from, self._node.volumes())
        return False

    def _release_from(self, volume: Volume) -> None:
        """Once a day, after it was seen that the index was not set back beside it."""
        looked_on = self._looked_on.get(volume.spec.id)
        if looked_on is not None and self._released_on.get(volume.spec.id) != looked_on:
            self._released_on[volume.spec.id] = looked_on
            release_what_was_purged(self._node, volume, goes_on=self._leisurely())

    def _leisurely(self) -> Callable[[], bool]:
        """What a long look asks before each step: it works for a tenth of the time, until the server ends."""
        began = time.monotonic()

        def goes_on() -> bool:
            nonlocal began
            is_stopped = self._duties.pause(_REST * (time.monotonic() - began))
            began = time.monotonic()
            return not is_stopped

        return goes_on

    def _verify_volume(self, volume: Volume, before: datetime) -> None:
        node, limits, ends_at = self._node, self._node.settings.storage, time.monotonic() + _TURN_S
        for one in verify(volume, node.copies, before=before, clock=lambda: datetime.now(UTC)):
            if one.damage:
                log.warning("copy damaged", volume=volume.spec.name, path=one.path, why=one.damage)
                node.jobs.owe(JobKind.COPY, datetime.now(UTC), series=[(one.study_uid, one.series_uid)])
            if self._duties.pause(one.size_bytes / limits.verify_bytes_per_s):
                return
            if time.monotonic() >= ends_at or not self._roll.roster.has_duty(volume.spec.id):
                return

    def _write_down(self) -> bool:
        self._node.audit.write_down()
        owe_export(self._node, datetime.now(UTC))
        return False

    def _take_checkpoint(self) -> bool:
        self._checkpoint.look(datetime.now(UTC))
        return False

    def _note_survival(self) -> bool:
        if (roster := self._roll.roster).has_duty():
            self._survival.look(datetime.now(UTC), roster.others)
        return False


def _waited_there(one: Commitment) -> bool:
    """Whether the association on which it was asked has had its time to be told. What was asked at a time to come was
    asked before the clock was put back.
    """
    return not timedelta() <= datetime.now(UTC) - one.asked_at < _WAITS_THERE
