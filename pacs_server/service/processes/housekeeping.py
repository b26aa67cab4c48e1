"""The process that does in the background what is owed: it serves no associations, and slows none down."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Final

from pacs_server import log
from pacs_server.errors import PacsError
from pacs_server.index.jobs import JobKind
from pacs_server.metrics import Totals
from pacs_server.service.assemble import Node
from pacs_server.service.monitoring.intake import Writes
from pacs_server.service.partners.liaison import Liaison
from pacs_server.service.partners.replicator import Replicator
from pacs_server.service.partners.role import role_lines
from pacs_server.service.peers.depositor import Depositor
from pacs_server.service.peers.forwarder import Forwarder
from pacs_server.service.processes.presence import presence
from pacs_server.service.runner import Runner
from pacs_server.service.volume_states import note
from pacs_server.settings import Settings
from pacs_server.storage.condition import Status, VolumeState
from pacs_server.storage.volume import check_all

_LOOK_EVERY_S: Final = 1.0
_FORWARDING_S: Final = 5.0
# Less is made good by waiting.
_PUT_BACK_S: Final = 5.0


def keep_house(
    settings: Settings,
    partner_port: socket.socket | None,
    announce: Callable[[str], None],
    totals: Callable[[], Totals],
    is_stopped: Callable[[float], bool],
) -> bool:
    """Work until `is_stopped`, which waits for so many seconds, is true; whether what was under way ended. `totals` is
    what all processes have counted.

    `partner_port` listens for partners, or is None where that is off. `announce` is told what this site is to its
    partners, here because the supervisor opens no archive.

    Raises: IndexUnavailable or SchemaMismatch when it cannot begin.
    """
    with Node.open(settings) as node, presence(node, "housekeeping"):
        for line in role_lines(node):
            announce(line)
        node.index.outlast()
        runner, forwarder = Runner(node), Forwarder(node)
        liaison = Liaison(node, partner_port, runner.has_duty)
        replicator, depositor = Replicator(node), Depositor(node)
        runner.start()
        forwarder.start()
        replicator.start()
        depositor.start()
        liaison.start()
        states: Mapping[str, VolumeState] = {}
        trouble = log.Recurring("volumes not checked", "volumes checked again")
        clock, writes = PutBack(), Writes(totals)
        while not is_stopped(_LOOK_EVERY_S):
            states = _watch_volumes(node, {} if clock.was_put_back() else states, writes, trouble)
        node.index.outlast(waits=False)
        runner.stop()
        forwarder.stop()
        replicator.stop()
        depositor.stop()
        ended = [liaison.stop(), *(one.ended(_FORWARDING_S) for one in (forwarder, replicator, depositor))]
        runner.leave()
        return all(ended)


class PutBack:
    """Notices that the clock of this machine was put back. What was owed before seems to be due only once it shows
    that time again, in days perhaps, and is tried at once instead, as after a start.
    """

    def __init__(self) -> None:
        self._ahead_s = time.time() - time.monotonic()

    def was_put_back(self) -> bool:
        """Whether it was since this was asked last."""
        before_s, self._ahead_s = self._ahead_s, time.time() - time.monotonic()
        return before_s - self._ahead_s > _PUT_BACK_S


def _watch_volumes(
    node: Node, before: Mapping[str, VolumeState], writes: Writes, trouble: log.Recurring
) -> Mapping[str, VolumeState]:
    """Look at every volume, and note how it is; the states by id. What waits for one that is back, or takes something
    again, is tried.
    """
    try:
        writes.doubt(volumes := node.volumes())
        check_all(volumes)
        states = {volume.spec.id: volume.state for volume in volumes}
        now = datetime.now(UTC)
        came_back = _mounts(states) - _mounts(before)
        for volume_id, _ in came_back:  # what was decided while it was away is not on it, and the reverse
            node.jobs.owe(JobKind.OPERATIONS, now, target=volume_id)
            node.jobs.owe(JobKind.RELEASE, now, target=volume_id)
        if came_back or _online(states) - _online(before):
            node.jobs.wake(list(JobKind), now)
    except PacsError as error:
        trouble.failed(error)
        return before
    trouble.done()
    if {key: state.since for key, state in states.items()} != {key: state.since for key, state in before.items()}:
        note(node.settings.data_dir, states)
    return states


def _mounts(states: Mapping[str, VolumeState]) -> set[tuple[str, int]]:
    """What can be read: a volume that was away between two looks is another mount of it, too."""
    return {(volume_id, state.mounted) for volume_id, state in states.items() if state.is_readable}


def _online(states: Mapping[str, VolumeState]) -> set[str]:
    return {volume_id for volume_id, state in states.items() if state.status is Status.ONLINE}
