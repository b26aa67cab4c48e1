"""A port at which a test receives what a server sends: each connection is talked to, one after the other."""

import socket
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Self


class Accepting(ABC):
    """Whoever talks is a class of its own."""

    def __init__(self, port: int = 0) -> None:
        self._listening = socket.create_server(("127.0.0.1", port))
        self.port: int = self._listening.getsockname()[1]
        self.connections = 0
        self._thread = threading.Thread(target=self._run, daemon=True)

    @contextmanager
    def running(self) -> Iterator[Self]:
        """Receive while the block runs."""
        self._thread.start()
        try:
            yield self
        finally:
            self._listening.shutdown(socket.SHUT_RDWR)
            self._listening.close()
            self._thread.join(60)

    def _run(self) -> None:
        while True:
            try:
                connected, _ = self._listening.accept()
            except OSError:
                return
            self.connections += 1
            with connected, suppress(OSError):
                connected.settimeout(60)
                self.talk(connected)

    @abstractmethod
    def talk(self, connected: socket.socket) -> None: ...
