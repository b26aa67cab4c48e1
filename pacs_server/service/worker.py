"""One process that serves associations, beside others that accept from the same socket."""

from __future__ import annotations

import itertools
import socket
import threading
from collections.abc import Callable
from functools import partial
from typing import Final

from pacs_server import log
from pacs_server.dimse.scp import Provider
from pacs_server.errors import PacsError
from pacs_server.net.listener import Listener
from pacs_server.net.seats import Seats
from pacs_server.service.assemble import Node
from pacs_server.service.attendant import Attendant
from pacs_server.service.fetching import fetch_back
from pacs_server.service.presence import presence
from pacs_server.service.telling import of_associations, worker_teller
from pacs_server.settings import Settings

DRAIN_S: Final = 30.0
LOOK_EVERY_S: Final = 1.0


def serve_associations(
    settings: Settings, listening: socket.socket, seats: Seats, number: int, is_stopped: Callable[[float], bool]
) -> bool:
    """Serve until `is_stopped`, which waits for so many seconds, is true; then let running operations end.

    False when some did not end within 30 s. `number` is that of the process, from 0 on.

    Raises: IndexUnavailable or SchemaMismatch when it cannot begin.
    """
    with Node.open(settings) as node, presence(node, f"worker {number}"):
        provider = Provider(node.archive(partial(fetch_back, node)))
        numbers = itertools.count(number + 1, settings.workers_here)
        listener = Listener(listening, settings.network, provider.serve, seats=seats, numbers=numbers)
        attendant = Attendant(node, f"worker-{number}")
        listener.start()
        attendant.start()
        threading.Thread(target=_watch_volumes, args=(node,), name="volumes", daemon=True).start()
        teller = worker_teller(settings.data_dir, number)
        while not is_stopped(LOOK_EVERY_S):
            teller.tell(of_associations(provider))
        attendant.stop()
        listener.stop()
        log.info("draining", associations=len(provider.sessions()))
        drained = listener.drain(DRAIN_S)
        teller.forget()
    return drained


def _watch_volumes(node: Node) -> None:
    """Look at every volume each second: what this process may write to."""
    pause = threading.Event()
    while not pause.wait(LOOK_EVERY_S):
        try:
            for volume in node.volumes():
                volume.check()
        except PacsError as error:
            log.error("volumes not checked", why=error)
