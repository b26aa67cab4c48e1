"""The service manager, where one started the server: the socket it may hand over, and what it is told.

Source: sd_listen_fds(3), sd_notify(3).
"""

from __future__ import annotations

import os
import socket
from typing import Final

from pacs_server import log
from pacs_server.errors import ConfigError

_FIRST_DESCRIPTOR: Final = 3
_INTERNET: Final = (socket.AF_INET, socket.AF_INET6)


class ServiceManager:
    """Nothing of it does anything where there is none."""

    def __init__(self) -> None:
        self._address = os.environ.pop("NOTIFY_SOCKET", "")

    def socket(self) -> socket.socket | None:
        """The listening socket that was handed over, None where there was none.

        Raises: ConfigError when it is not one on which associations can be accepted, or one of several: peers would
        wait on the others without an end.
        """
        number = os.environ.get("LISTEN_FDS", "0")
        if os.environ.get("LISTEN_PID") != str(os.getpid()) or number == "0":
            return None
        if number != "1":
            raise ConfigError(
                f"the service manager handed over {number} sockets, and the server takes one: "
                "leave one ListenStream= in the socket unit; the port for TLS is tls.port of the settings file"
            )
        try:
            given = socket.socket(fileno=_FIRST_DESCRIPTOR)
        except OSError as error:
            raise _unfit("something that is no socket", "ListenStream=PORT alone") from error
        if (fault := _fault(given)) is not None:
            given.close()
            raise _unfit(*fault)
        return given

    def may_start_for(self, seconds: int) -> None:
        """Ask it for so much time until READY=1, from now on, where it gives less."""
        self.tell(f"EXTEND_TIMEOUT_USEC={seconds * 1_000_000}")

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


def _fault(given: socket.socket) -> tuple[str, str] | None:
    """What a socket is on which no association can be accepted, and what the unit has to say instead."""
    if given.family not in _INTERNET:
        named = given.getsockname()
        where = f" ({named})" if given.family == socket.AF_UNIX and isinstance(named, str) and named else ""
        return f"a socket of {_name(given.family)}{where}", "ListenStream= with a port, or an address and a port"
    if given.type != socket.SOCK_STREAM:
        return f"a socket of {_name(given.type)}", "ListenStream=PORT, not ListenDatagram= or another"
    if not given.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        return "a TCP socket that does not listen", "ListenStream=PORT, and no Accept=yes"
    return None


def _name(kind: int) -> str:
    """AF_UNIX, SOCK_DGRAM; a number for what Python does not know."""
    return str(getattr(kind, "name", kind))


def _unfit(given: str, wanted: str) -> ConfigError:
    return ConfigError(
        f"the service manager handed over {given}, and a listening TCP socket is needed: "
        f"the socket unit has to say {wanted}"
    )
