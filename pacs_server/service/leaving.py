"""Has files leave a volume when they are copies no more: one job a volume, done again when more are due."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

from pacs_server.archive.releasing import release_due
from pacs_server.errors import VolumeUnavailable
from pacs_server.index.jobs import Job
from pacs_server.service.assemble import Node

_FILES_PER_LEASE: Final = 100


def release_volume(node: Node, job: Job, *, lease: timedelta, is_stopped: Callable[[], bool]) -> datetime | None:
    """Remove the files that are due on the volume of a job; when the next ones are, None when no others wait.

    Raises: VolumeUnavailable when the volume is away, and they wait until it is back; IndexUnavailable.
    """
    volume = node.placement().volume(job.target)
    if volume is None:
        if node.releases.next_due_at(job.target) is not None:
            raise VolumeUnavailable(f"no volume has the id {job.target}, and files on it are to be removed")
        return None
    if not volume.state.status.readable:
        raise VolumeUnavailable(f"volume {volume.spec.name} is {volume.state.status}: {volume.state.reason}")
    released = release_due(volume, node.releases, node.holdings, now=datetime.now(UTC))
    for number, _ in enumerate(released, start=1):
        if is_stopped():
            break
        if number % _FILES_PER_LEASE == 0:
            node.jobs.renew(job, datetime.now(UTC), lease)
    return node.releases.next_due_at(job.target)
