"""Has archive servers keep what the rules send them, in threads of its own, so that one that is slow delays no other
work.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from pacs_server import log
from pacs_server.errors import PacsError, PeerFailed, Refused, UnknownName
from pacs_server.index.jobs import JobKind
from pacs_server.service.assemble import Node
from pacs_server.service.peers.depositing import deposit_series
from pacs_server.service.per_target import TargetWork

_LEASE: Final = timedelta(minutes=30)
_THREADS: Final = 2
# What keeps one series from an archive server keeps all of them.
_FOR_ALL: Final = (PeerFailed, Refused, UnknownName)


class Depositor(TargetWork):
    """Threads that do the jobs of this kind. While an archive server is away its jobs wait, ever longer."""

    def __init__(self, node: Node) -> None:
        super().__init__(node, "depositing", [("deposits", self._do_one)] * _THREADS)

    def _do_one(self) -> bool:
        """Work on one series; whether there was one."""
        node, jobs = self._node, self._node.jobs
        now = datetime.now(UTC)
        job = jobs.claim(self._worker, now, lease=_LEASE, per_target=_THREADS, kinds=[JobKind.DEPOSIT])
        if job is None:
            return False
        try:
            node.look_at_site_state(max_age_s=0)
            done = deposit_series(node, job, lease=_LEASE, is_stopped=self._duties.is_stopped)
        except _FOR_ALL as error:
            log.warning("archive server failed", aet=job.target, why=error)
            jobs.failed_for_target(job, str(error), datetime.now(UTC))
            return True
        except PacsError as error:
            log.warning("deposit failed", aet=job.target, series=job.series_uid, why=error)
            jobs.failed(job, str(error), datetime.now(UTC))
            return True
        if done.problems:
            log.warning("deposit incomplete", aet=job.target, series=job.series_uid, why="; ".join(done.problems))
            jobs.failed(job, "; ".join(done.problems), datetime.now(UTC), not_before=done.again_at)
        else:
            jobs.done(job, datetime.now(UTC), again_at=done.again_at)
        return True
