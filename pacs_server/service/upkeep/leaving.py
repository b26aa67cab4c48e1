"""Has files leave a volume when they are copies no more: one job a volume, done again when more are due."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

from pacs_server.archive.operations import learn
from pacs_server.archive.releasing import release_due
from pacs_server.errors import VolumeUnavailable
from pacs_server.index.jobs import Job
from pacs_server.service.assemble import Node

# One file takes some calls, each of which a slow volume may take half a minute for.
_RENEW_EVERY_S: Final = 30.0


def release_volume(node: Node, job: Job, *, lease: timedelta, is_stopped: Callable[[], bool]) -> datetime | None:
    """Remove the files that are due on the volume of a job; when the next ones are, None when no others wait.

    Raises: VolumeUnavailable when the volume is away, and they wait until it is back; NotEnoughCopies when no volume
    keeps what follows from a decision that the index learns here; IndexUnavailable.
    """
    placement = node.placement()
    volume = placement.volume(job.target)
    if volume is None:
        if node.releases.next_due_at(job.target) is not None:
            raise VolumeUnavailable(f"no volume has the id {job.target}, and files on it are to be removed")
        return None
    if not volume.state.is_readable:
        raise VolumeUnavailable(f"volume {volume.spec.name} is {volume.state.status}: {volume.state.reason}")
    # An index that was set back knows from the volume alone what has come again since.
    learn(volume, node.instances.operations, node.volumes(), now=datetime.now(UTC))
    released = release_due(volume, node.releases, node.holdings, node.copies, placement, now=datetime.now(UTC))
    renewed = time.monotonic()
    for _ in released:
        if is_stopped():
            break
        if time.monotonic() - renewed >= _RENEW_EVERY_S:
            node.jobs.renew(job, datetime.now(UTC), lease)
            renewed = time.monotonic()
    return node.releases.next_due_at(job.target)
