"""The part of the process that keeps house that speaks with partners: it answers those that call, and greets each."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from pacs_server import __version__
from pacs_server.cluster.link import LinkServer, connect
from pacs_server.cluster.messages import HELLO, Body, Hello, hello_of, refuse_stranger
from pacs_server.errors import PacsError
from pacs_server.index.partners import Partner
from pacs_server.index.schema import head
from pacs_server.service.assemble import Node
from pacs_server.service.contacts import Contact, Contacts
from pacs_server.service.duties import Duties

_DRAIN_S: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Greeting:
    """What became of greeting a partner. `certificate`, in PEM, is there once the partner has shown that it is its own;
    `hello` when it answered, else `problem` says why not. `clock_ahead_s`: its clock to ours, not more exact than half
    of the way there and back.
    """

    certificate: str = ""
    hello: Hello | None = None
    clock_ahead_s: float = 0.0
    problem: PacsError | None = None


def greet(node: Node, partner: Partner, clock: Callable[[], datetime]) -> Greeting:
    """Say hello to a partner, and note its certificate and site when it is one that is registered.

    What prevents it is in the greeting. Raises: IndexUnavailable.
    """
    settings, certificate, hello, ahead_s = node.settings, "", None, 0.0
    problem: PacsError | None = None
    ours = own_hello(node, clock())
    try:
        with connect(
            partner.host,
            partner.port,
            partner.fingerprint,
            named=str(partner),
            files=settings.tls_files,
            settings=settings.partner,
        ) as link:
            certificate = ssl.DER_cert_to_PEM_cert(link.certificate)
            asked_at = clock()
            told = hello_of(link.ask(HELLO, ours.body()))
            answered_at = clock()
        refuse_stranger(told, own_site_id=ours.site_id, known_site_id=partner.site_id)
        hello, ahead_s = told, (told.at - asked_at - (answered_at - asked_at) / 2).total_seconds()
    except PacsError as error:
        problem = error
    if certificate and (certificate != partner.certificate or (hello and partner.site_id is None)):
        node.partners.note_seen(partner, certificate=certificate, site_id=hello.site_id if hello else None)
    return Greeting(certificate=certificate, hello=hello, clock_ahead_s=ahead_s, problem=problem)


def own_hello(node: Node, now: datetime) -> Hello:
    """Who this node is, and what its site knows. Raises: IndexUnavailable."""
    operations = node.instances.operations
    return Hello(
        site_id=operations.site_id(),
        node=socket.gethostname(),
        aet=str(node.settings.aet),
        schema=head(),
        version=__version__,
        at=now,
        heads=operations.heads(),
    )


class Liaison:
    """Answers on `port`, unless that is None, and greets every partner that is not paused again and again."""

    def __init__(self, node: Node, port: socket.socket | None) -> None:
        self._node = node
        self._contacts = Contacts(node.settings.data_dir)
        self._greeted_at: dict[str, float] = {}
        self._duties = Duties("greeting partners", [("partners", self._greet_one)])
        self._server: LinkServer | None = None
        if port is not None:
            settings, files = node.settings.partner, node.settings.tls_files
            handlers = {HELLO: self._answer_hello}
            self._server = LinkServer(port, settings, files, partners=node.partners.all, handlers=handlers)

    def start(self) -> None:
        """Begin."""
        self._duties.start()
        if self._server:
            self._server.start()

    def stop(self) -> bool:
        """Begin nothing new; whether the partners that ask have their answers."""
        self._duties.stop()
        return self._server is None or self._server.stop(_DRAIN_S)

    # --- partners that call ---

    def _answer_hello(self, partner: Partner, body: Body) -> Body:
        hello = hello_of(body)
        ours = own_hello(self._node, datetime.now(UTC))
        refuse_stranger(hello, own_site_id=ours.site_id, known_site_id=partner.site_id)
        if partner.site_id is None:
            self._node.partners.note_seen(partner, certificate=partner.certificate, site_id=hello.site_id)
        return ours.body()

    # --- partners that are called ---

    def _greet_one(self) -> bool:
        """Greet the partner whose turn it is; whether there was one."""
        partners = self._node.partners.all()
        self._contacts.keep_only(partners)
        due = time.monotonic() - self._node.settings.partner.greet_every_s
        for partner in partners:
            if not partner.is_paused and self._greeted_at.get(partner.name, float("-inf")) < due:
                self._greeted_at[partner.name] = time.monotonic()
                try:
                    greeting = greet(self._node, partner, lambda: datetime.now(UTC))
                except PacsError as error:
                    greeting = Greeting(problem=error)
                self._contacts.note(contact_of(partner, greeting, datetime.now(UTC)))
                return True
        return False


def contact_of(partner: Partner, greeting: Greeting, now: datetime) -> Contact:
    """What is noted of a greeting."""
    hello = greeting.hello
    return Contact(
        name=partner.name,
        fingerprint=partner.fingerprint,
        is_reached=hello is not None,
        since=now,
        at=now,
        problem=str(greeting.problem or ""),
        clock_ahead_s=round(greeting.clock_ahead_s, 3) + 0.0,  # no -0.0
        node=hello.node if hello else "",
        aet=hello.aet if hello else "",
        schema=hello.schema if hello else "",
        version=hello.version if hello else "",
    )
