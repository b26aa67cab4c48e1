"""The server calls its own ports as a peer would. A C-ECHO takes a listener, a place, the index and an answer."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from typing import Final

from pacs_server import log
from pacs_server.dicom.elements import IMPLICIT_LE
from pacs_server.errors import ConfigError, PacsError, PeerRejected
from pacs_server.net import client
from pacs_server.net.client import Destination
from pacs_server.net.negotiate import VERIFICATION
from pacs_server.net.secure import Security
from pacs_server.net.tls import own_fingerprint
from pacs_server.service.board import Board
from pacs_server.settings import NetworkLimits, Settings

TIMEOUT_S: Final = 3.0
_LIMITS: Final = NetworkLimits(
    connect_timeout_s=TIMEOUT_S,
    association_timeout_s=TIMEOUT_S,
    pdu_timeout_s=TIMEOUT_S,
    send_timeout_s=TIMEOUT_S,
    response_timeout_s=TIMEOUT_S,
)


@dataclass(slots=True, kw_only=True)
class Door:
    """A port of the server, and how the checks of it went. Written by one thread."""

    name: str
    host: str
    port: int
    is_secured: bool = False
    good: int = 0
    failed: int = 0
    problem: str = ""


@dataclass(slots=True, kw_only=True)
class SelfCheck:
    """Belongs to one thread; the doors may be read by others."""

    settings: Settings
    board: Board
    doors: tuple[Door, ...] = field(default=())
    _fingerprint: str = ""
    _port: int | None = None

    def look(self) -> tuple[Door, ...]:
        """Call each port, and one that did not answer well once more: a process may just have been killed."""
        for door in self.doors:
            problem = self._call(door) and self._call(door)
            if problem and not door.problem:
                log.error("self-check failed", door=door.name, why=problem)
            elif door.problem and not problem:
                log.info("self-check is good again", door=door.name)
            door.failed += bool(problem)
            door.good += not problem
            door.problem = problem
        return self.doors

    def _call(self, door: Door) -> str:
        """What is wrong with the answer; nothing when it is good."""
        aet, self._port = str(self.settings.aet), None
        try:
            security = self._security() if door.is_secured else None
            association = client.connect(
                Destination(aet=aet, host=_reached_at(door.host), port=door.port, security=security),
                calling_aet=aet,
                contexts=[(VERIFICATION, (IMPLICIT_LE,), False)],
                limits=_LIMITS,
                on_open=self._expect,
            )
            try:
                status = client.echo(association)
                association.release()
            finally:
                association.close()
        except PeerRejected as error:
            self.board.answered()
            return str(error)
        except (PacsError, ConfigError) as error:
            if self._port is not None:
                self.board.give_up(self._port)
            return str(error)
        self.board.answered()
        return "" if status == 0 else f"the C-ECHO was answered with {hex(status)}"

    def _expect(self, port: int) -> None:
        self._port = port
        self.board.expect(port)

    def _security(self) -> Security:
        """With the certificate of the server: of a new one that cannot be used an alarm tells, and the old one goes on.

        Raises: ConfigError when there never was one that can be used.
        """
        files = self.settings.tls_files
        try:
            self._fingerprint = own_fingerprint(files)
        except ConfigError:
            if not self._fingerprint:
                raise
        return Security(files=files, fingerprint=self._fingerprint)


def _reached_at(host: str) -> str:
    """Where this machine reaches what is bound to an address."""
    address = ipaddress.ip_address(host.partition("%")[0])
    if address.is_unspecified:
        return "127.0.0.1" if address.version == 4 else "::1"
    return host
