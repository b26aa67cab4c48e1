"""The service manager, where one started the server: the socket it may hand over, and what it is told.

Source: sd_listen_fds(3), sd_notify(3).
"""

from __future__ import annotations

import os
import socket
from typing import Final

from pacs_server import log

_FIRST_DESCRIPTOR: Final = 3


class Manager:
    """Nothing of it does anything where there is none."""

    def __init__(self) -> None:
        self._address = os.environ.pop("NOTIFY_SOCKET", "")

    def socket(self) -> socket.socket | None:
        """The listening socket that was handed over."""
        if os.environ.get("LISTEN_PID") != str(os.getpid()) or os.environ.get("LISTEN_FDS") != "1":
            return None
        return socket.socket(fileno=_FIRST_DESCRIPTOR)

    def tell(self, state: str) -> None:
        """Tell it READY=1, WATCHDOG=1, STOPPING=1."""
        if not self._address:
            return
        try:
            # One that does not read must not stop the supervisor.
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as notifying:
                notifying.connect(self._address.replace("@", "\0", 1) if self._address[0] == "@" else self._address)
                notifying.send(state.encode("ascii"))
        except OSError as error:
            log.warning("service manager not told", state=state, why=error)
