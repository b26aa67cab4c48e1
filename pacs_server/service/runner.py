"""Does in the background what is owed: reads fields that were added later from the files."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from typing import Final

from pacs_server import log
from pacs_server.archive.backfill import backfill
from pacs_server.errors import PacsError
from pacs_server.service.assemble import Node

_LOOK_EVERY_S: Final = 1.0
_AFTER_FAILURE_S: Final = 10.0


class Runner:
    """One thread that works as long as there is work, and looks for some every second."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="runner", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Begin nothing new. What is under way is small, and can be broken off anywhere."""
        self._stop.set()

    def _run(self) -> None:
        pause = 0.0
        while not self._stop.wait(pause):
            try:
                pause = 0.0 if self._read_fields() else _LOOK_EVERY_S
            except PacsError as error:
                log.error("background work failed", why=error)
                pause = _AFTER_FAILURE_S

    def _read_fields(self) -> bool:
        """Read a few objects for a field; whether there are more."""
        node = self._node
        field = node.fields.next_to_read(datetime.now(UTC))
        return field is not None and backfill(node.fields, field, node.placement(), self._charset_of)

    def _charset_of(self, sender: str) -> str:
        peer = self._node.registry.peer(sender)
        return (peer.charset if peer else "") or self._node.settings.default_charset
