"""A small provider that a test can look into, and ways to call it well."""

import itertools
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TypeVar

from support import rude

from pacs_server.errors import BadQuery, PacsError, PeerAborted
from pacs_server.net import client
from pacs_server.net.association import Association
from pacs_server.net.connection import Connection
from pacs_server.net.handshake import answer
from pacs_server.net.listener import Listener, listen
from pacs_server.net.message import Command, CommandField, response
from pacs_server.net.negotiate import (
    CALLING_NOT_RECOGNISED,
    AssociationRequest,
    ContextAnswer,
    ContextResult,
    Decide,
    Rejection,
)
from pacs_server.net.seats import Seats
from pacs_server.net.secure import Security, secure_incoming
from pacs_server.settings import ClientCertificates, NetworkLimits, TlsFiles

CT_SYNTAXES = (rude.EXPLICIT_LE, rude.IMPLICIT_LE)
Contexts = Sequence[tuple[str, Sequence[str], bool]]
CONTEXTS: Contexts = [
    (rude.VERIFICATION, (rude.IMPLICIT_LE,), False),
    (rude.CT_STORAGE, CT_SYNTAXES, False),
    (rude.STUDY_FIND, (rude.IMPLICIT_LE,), False),
]
QUICK = NetworkLimits(
    association_timeout_s=0.4, pdu_timeout_s=0.4, idle_timeout_s=1.0, send_timeout_s=0.4, response_timeout_s=2.0
)
USUAL = NetworkLimits()
ANSWERS = 500


AnyArchive = TypeVar("AnyArchive", bound="Archive")


def accept_all(request: AssociationRequest) -> Rejection | list[ContextAnswer]:
    """Accept each context with its first syntax and the roles asked for; the private class is refused."""
    if request.calling_aet == "NOBODY":
        return CALLING_NOT_RECOGNISED
    return [
        ContextAnswer(
            id=one.id,
            result=ContextResult.ACCEPTED
            if one.abstract_syntax.startswith("1.2.840.10008.")
            else ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED,
            transfer_syntax=one.transfer_syntaxes[0],
            scu_role=one.scu_role,
            scp_role=one.scp_role,
        )
        for one in request.contexts
    ]


@dataclass
class Archive:
    """A provider that echoes, keeps what is stored in memory, and answers each query 500 times until cancelled; over
    TLS if it has the `files` of a certificate.
    """

    limits: NetworkLimits
    stored: list[bytes] = field(default_factory=list)
    commands: list[Command] = field(default_factory=list)
    endings: list[PacsError | None] = field(default_factory=list)
    answered: int = 0
    agreed: list[Association] = field(default_factory=list)
    refuse_objects: bool = False
    abort_objects: bool = False
    address: tuple[str, int] = ("", 0)
    files: TlsFiles | None = None
    decide: Decide = accept_all

    def serve(self, connection: socket.socket, address: str, number: int) -> None:
        ending: PacsError | None = None
        try:
            association = answer(self._agreed(connection), address, self.limits, self.decide, number)
            if isinstance(association, Association):
                self.agreed.append(association)
                self._operate(association)
        except PacsError as error:
            ending = error
        self.endings.append(ending)

    def _agreed(self, sock: socket.socket) -> Connection:
        if self.files is None:
            return Connection(sock, self.limits)
        return secure_incoming(sock, self.limits, self.files, ClientCertificates.REQUIRED)

    def _operate(self, association: Association) -> None:
        while (command := association.receive()) is not None:
            self.commands.append(command)
            status = 0
            if command.field == CommandField.C_STORE_RQ:
                status = self._store(association)
            elif command.field == CommandField.C_FIND_RQ:
                status = self._find(association, command)
            association.respond(response(command, status), command.context_id)

    def _store(self, association: Association) -> int:
        parts = []
        for part in association.data_set():
            if self.abort_objects:
                association.abort()
                raise PeerAborted("by ourselves")
            if self.refuse_objects:
                association.drain()
                return 0xA700
            parts.append(bytes(part))
        self.stored.append(b"".join(parts))
        return 0

    def _find(self, association: Association, command: Command) -> int:
        try:
            identifier = association.read_identifier()
        except BadQuery:
            return 0xA900
        pending = response(command, 0xFF00, has_data_set=True)
        for _ in range(ANSWERS):
            if association.cancelled(command.message_id):
                return 0xFE00
            self.answered += 1
            association.queue(command.context_id, pending, [identifier])
            if identifier == b"slow":
                association.flush()
                time.sleep(0.05)
        return 0

    def ending(self, index: int = 0) -> PacsError | None:
        """How the association with this number ended, as soon as it has."""
        wait_until(lambda: len(self.endings) > index)
        return self.endings[index]


def wait_until(condition: Callable[[], bool], within_s: float = 30.0) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.005)


def started(archive: Archive, limits: NetworkLimits) -> Listener:
    """A listener that hands connections to the archive, which is told its address."""
    listening = listen("127.0.0.1", 0)
    archive.address = listening.getsockname()
    listener = Listener(listening, limits, archive.serve, seats=Seats(limits), numbers=itertools.count(1))
    listener.start()
    return listener


@contextmanager
def served(limits: NetworkLimits, files: TlsFiles | None = None) -> Iterator[Archive]:
    """The archive at work behind a listener; checks that no connection is left in the end."""
    with serving(Archive(limits, files=files)) as archive:
        yield archive


@contextmanager
def serving(archive: AnyArchive) -> Iterator[AnyArchive]:
    """The same with an archive of the test's own."""
    listener = started(archive, archive.limits)
    yield archive
    listener.stop()
    assert listener.drain(60), "a connection was left open"


def call(
    archive: Archive, *, calling: str = "CT1", limits: NetworkLimits = USUAL, contexts: Contexts = CONTEXTS
) -> Association:
    security = Security(files=archive.files) if archive.files else None
    destination = client.Destination(aet="PACS", host=archive.address[0], port=archive.address[1], security=security)
    return client.connect(destination, calling_aet=calling, contexts=contexts, limits=limits)


def send_ct(association: Association, *pieces: bytes) -> int:
    return client.store(
        association,
        context_id=3,
        sop_class=rude.CT_STORAGE,
        sop_instance="1.2.3",
        data_set=pieces,
        originator=("US", 7),
    )


def scripted(reply: bytes) -> tuple[socket.socket, threading.Thread, client.Destination]:
    """A server that reads a request, says `reply` and reads on until the caller closes."""
    server = socket.create_server(("127.0.0.1", 0))

    def play() -> None:
        connection, _ = server.accept()
        with connection, suppress(OSError):
            connection.recv(65_536)
            connection.sendall(reply)
            while connection.recv(65_536):
                pass

    thread = threading.Thread(target=play)
    thread.start()
    return server, thread, client.Destination(aet="ODD", host="127.0.0.1", port=server.getsockname()[1])
