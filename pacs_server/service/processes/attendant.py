"""What only the process that serves an association can do for it in the background: report Storage Commitment to a
console that waits, and write down what was read, asked and refused.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from pacs_server import log
from pacs_server.errors import PacsError
from pacs_server.index.jobs import JobKind
from pacs_server.service.assemble import Node
from pacs_server.service.duties import Duties
from pacs_server.service.peers.commitment import settle_commitments
from pacs_server.service.roll_call import node_name

_LEASE: Final = timedelta(minutes=5)
# A console that asks for much does not hold up one that asks for little.
_THREADS: Final = 2


class Attendant:
    """Does the jobs of consoles that wait here; those of all others are done by the process that keeps house."""

    def __init__(self, node: Node, name: str) -> None:
        self._node = node
        self._worker = f"{node_name(node.settings)}:{name}"
        duties = [("commitments", self._settle_one)] * _THREADS
        notes = [("reading", self._write_down_reading), ("audit", node.audit.write_down)]
        self._duties = Duties("attending", [*duties, *notes])

    def start(self) -> None:
        """Begin. What this process had under way when it was killed is taken up again. Raises: IndexUnavailable."""
        self._node.jobs.release(self._worker)
        self._duties.start()

    def stop(self) -> None:
        """Begin nothing new."""
        self._duties.stop()

    def _write_down_reading(self) -> bool:
        self._node.write_down_reading()
        return False

    def _settle_one(self) -> bool:
        """Settle what one console waits for here; whether there was something."""
        node = self._node
        for aet, awaited in node.requests.awaited().items():
            if not any(one.transaction_uid in awaited for one in node.commitments.due(aet)):
                continue
            now = datetime.now(UTC)
            kinds = [JobKind.COMMIT]
            job = node.jobs.claim(self._worker, now, lease=_LEASE, per_target=1, kinds=kinds, target=aet)
            if job is None:
                continue
            try:
                node.look_at_site_state(max_age_s=0)
                problems, is_left = settle_commitments(
                    node,
                    job,
                    lease=_LEASE,
                    is_stopped=self._duties.is_stopped,
                    is_ours=lambda one: one.transaction_uid in awaited,  # noqa: B023 - used at once
                )
            except PacsError as error:  # noted at once, or when the index can be written again
                problems, is_left = (str(error),), False
            now = datetime.now(UTC)
            if problems:
                node.jobs.failed(job, "; ".join(problems), now)
            else:
                node.jobs.done(job, now, again_at=now if is_left else None)
            log.info("job", kind=job.kind, why="; ".join(problems) or None)
            return True
        return False
