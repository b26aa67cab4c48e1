"""One process that serves associations, beside others that accept from the same sockets."""

from __future__ import annotations

import itertools
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from pacs_server import log
from pacs_server.dimse.doorkeeper import Doorkeeper
from pacs_server.dimse.scp import Provider
from pacs_server.errors import PacsError
from pacs_server.net.listener import Listener
from pacs_server.net.seats import Seats
from pacs_server.service.assemble import Node
from pacs_server.service.board import Board
from pacs_server.service.peers.fetching import fetch_back
from pacs_server.service.processes.attendant import Attendant
from pacs_server.service.processes.presence import presence
from pacs_server.service.telling import of_associations, served_before, worker_teller
from pacs_server.settings import Settings
from pacs_server.storage.volume import check_all

DRAIN_S: Final = 30.0
LOOK_EVERY_S: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Doors:
    """The sockets on which peers are let in: without TLS, and over TLS; one of them may be missing."""

    plain: socket.socket | None
    secured: socket.socket | None

    def open(self) -> list[socket.socket]:
        """Those there are."""
        return [one for one in (self.plain, self.secured) if one is not None]

    @property
    def plain_address(self) -> tuple[str | None, int | None]:
        """Host and port without TLS."""
        return _address(self.plain)

    @property
    def secured_address(self) -> tuple[str | None, int | None]:
        """Host and port over TLS."""
        return _address(self.secured)


def _address(listening: socket.socket | None) -> tuple[str | None, int | None]:
    return listening.getsockname()[:2] if listening is not None else (None, None)


def serve_associations(
    settings: Settings, doors: Doors, seats: Seats, board: Board, number: int, is_stopped: Callable[[float], bool]
) -> bool:
    """Serve until `is_stopped`, which waits for so many seconds, is true; then let running operations end.

    False when some did not end within 30 s. `number` is that of the process, from 0 on.

    Raises: IndexUnavailable or SchemaMismatch when it cannot begin.
    """
    with Node.open(settings) as node, presence(node, f"worker {number}"):
        node.index.outlast()
        provider = Provider(node.archive(partial(fetch_back, node)), board.is_expected)
        numbers = itertools.count(number + 1, settings.workers_here)
        listeners = [
            Listener(listening, settings.network, serve, seats=seats, numbers=numbers, is_own_call=board.is_expected)
            for listening, serve in ((doors.plain, provider.serve), (doors.secured, provider.serve_over_tls))
            if listening is not None
        ]
        attendant = Attendant(node, f"worker-{number}")
        for listener in listeners:
            listener.start()
        attendant.start()
        threading.Thread(target=_watch_volumes, args=(node,), name="volumes", daemon=True).start()
        teller, before = worker_teller(settings.data_dir, number), served_before(settings.data_dir, number)
        while not is_stopped(LOOK_EVERY_S):
            teller.tell(of_associations(provider, before=before))
            _write_down(node, provider.doorkeeper)
        node.index.outlast(waits=False)
        attendant.stop()
        for listener in listeners:
            listener.stop()
        log.info("draining", associations=len(provider.sessions()))
        ends_at = time.monotonic() + DRAIN_S
        drained = all([listener.drain(ends_at - time.monotonic()) for listener in listeners])
        teller.forget()
    return drained


def _write_down(node: Node, doorkeeper: Doorkeeper) -> None:
    """Let admins see who was turned away."""
    if callers := doorkeeper.take():
        try:
            node.turned_away.note(callers)
        except PacsError as error:
            log.error("rejected callers not noted", count=len(callers), why=error)


def _watch_volumes(node: Node) -> None:
    """Look at every volume each second: what this process may write to."""
    pause, trouble = threading.Event(), log.Recurring("volumes not checked", "volumes checked again")
    while not pause.wait(LOOK_EVERY_S):
        try:
            check_all(node.volumes())
        except PacsError as error:
            trouble.failed(error)
        else:
            trouble.done()
