"""The link between partners: one port, TLS 1.3, each side known by the certificate that was pinned for it.

What does not belong ends its own connection with one log line, and nobody else's: the handshake is done by a thread of
that connection, each phase has a deadline, and of too many the oldest that has not shown its certificate is closed.
"""

from __future__ import annotations

import itertools
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Final, TypeAlias

from pacs_server import log
from pacs_server.cluster.messages import Body, Inbox, Message, encode
from pacs_server.errors import (
    Busy,
    PacsError,
    PartnerRefused,
    PeerAborted,
    PeerTimedOut,
    ProtocolViolation,
    Refused,
    WrongCertificate,
)
from pacs_server.index.site.partners import Partner
from pacs_server.net.client import open_socket
from pacs_server.net.connection import IncomingSocket
from pacs_server.net.listener import Listener
from pacs_server.net.seats import NOBODY, Seats
from pacs_server.net.tls import NOT_PINNED, TlsStream, calling, fingerprint_of, serving
from pacs_server.settings import NetworkLimits, PartnerSettings, TlsFiles

_REFUSED: Final = "refused"
_NO_CAP: Final = 10_000  # partners may share an address with strangers


# Gets the partner that asks, which is not paused. A PacsError that it raises goes back as the reason of a refusal,
# but a ProtocolViolation ends the connection.
Handler: TypeAlias = Callable[[Partner, Body], Body]


class LinkServer:
    """Answers partners. `partners` is asked anew for each connection and each message, so that one that was removed is
    told nothing more. A kind without a handler ends the connection. `on_stranger` is told from which address somebody
    called who is no partner, and how that showed.
    """

    def __init__(
        self,
        listening: socket.socket,
        settings: PartnerSettings,
        files: TlsFiles,
        *,
        partners: Callable[[], Sequence[Partner]],
        handlers: Mapping[str, Handler],
        on_stranger: Callable[[str, str], None],
    ) -> None:
        self._settings = settings
        self._files = files
        self._partners = partners
        self._handlers = handlers
        self._on_stranger = on_stranger
        limits = NetworkLimits(max_associations=settings.max_connections, max_connections_per_address=_NO_CAP)
        self._listener = Listener(listening, limits, self._serve, seats=Seats(limits), numbers=itertools.count(1))

    def start(self) -> None:
        """Begin to accept."""
        self._listener.start()

    def stop(self, drain_s: float) -> bool:
        """Accept no more, and let what is under way end; whether it did."""
        self._listener.stop()
        return self._listener.drain(drain_s)

    def _serve(self, visitor: IncomingSocket, address: str, _number: int) -> None:
        """One connection, from its first byte to its last."""
        answered = 0
        named: str | None = None
        try:
            context = serving(self._files, [one.certificate for one in self._partners()])
            stream = TlsStream(visitor, context, is_server=True)
            try:
                fingerprint = fingerprint_of(stream.shake_hands(self._settings.handshake_timeout_s))
                named = self._partner(fingerprint).name
                if not visitor.seat(NOBODY):
                    raise Refused(f"{self._settings.max_connections} connections of partners are open already")
                while (question := self._next_question(stream, visitor)) is not None:
                    self._answer(stream, self._partner(fingerprint), question)
                    answered += 1
            finally:
                visitor.rise()
                stream.finish()
        except PacsError as error:
            log.warning("partner connection ended", partner=named, address=address, answered=answered, why=error)
            if named is None and not isinstance(error, (PeerAborted, PeerTimedOut)):
                self._on_stranger(address, str(error))
        except Exception as error:  # noqa: BLE001 - the loop of a connection
            log.unexpected("partner connection failed", error, partner=named, address=address)
        else:
            log.debug("partner connection", partner=named, address=address, answered=answered)

    def _partner(self, fingerprint: str) -> Partner:
        """Who has that certificate. Raises: ProtocolViolation when it is nobody, any more."""
        found = next((one for one in self._partners() if one.fingerprint == fingerprint), None)
        if found is None:
            raise ProtocolViolation(NOT_PINNED)
        return found

    def _next_question(self, stream: TlsStream, visitor: IncomingSocket) -> Message | None:
        inbox = Inbox()
        visitor.idle = True
        question = _receive(stream, inbox, self._settings.idle_timeout_s, self._settings.message_timeout_s)
        visitor.idle = False
        if inbox.mid_message:
            raise ProtocolViolation("more came before the answer to what was asked")
        return question

    def _answer(self, stream: TlsStream, partner: Partner, question: Message) -> None:
        if (handler := self._handlers.get(question.kind)) is None:
            raise ProtocolViolation(f"a message of a kind that this release does not know: {question.kind}")
        try:
            if partner.is_paused:
                raise Busy(f"it has paused this partner, and goes on with: pacs partner resume {partner.name}")
            answer = encode(Message(kind=question.kind, body=handler(partner, question.body)))
        except ProtocolViolation:
            raise
        except PacsError as error:
            log.warning("partner refused", partner=partner.name, kind=question.kind, why=error)
            answer = encode(Message(kind=_REFUSED, body={"reason": str(error), "is_retryable": error.retryable}))
        stream.send(answer, time.monotonic() + self._settings.message_timeout_s)


class Link:
    """A connection to a partner. Belongs to one thread; after an error other than PartnerRefused it is of no use."""

    def __init__(self, stream: TlsStream, settings: PartnerSettings, named: str, certificate: bytes) -> None:
        self._stream = stream
        self._settings = settings
        self._named = named
        self.certificate = certificate

    def ask(self, kind: str, body: Body) -> Body:
        """The answer to a question.

        Raises: PartnerRefused with the partner's reason, whose `retryable` says if it may answer later; PeerRejected
        when it has not pinned our certificate; TooLarge; PeerTimedOut; PeerAborted; ProtocolViolation.
        """
        timeout_s = self._settings.message_timeout_s
        question = encode(Message(kind=kind, body=body))
        with suppress(PeerAborted):  # why it closed may be there to be read
            self._stream.send(question, time.monotonic() + timeout_s)
        inbox = Inbox()
        answer = _receive(self._stream, inbox, timeout_s, timeout_s)
        if answer is None:
            raise PeerAborted(f"{self._named} closed the connection without an answer; its log says why")
        if answer.kind == _REFUSED:
            rejected = PartnerRefused(f"{self._named} refused: {answer.body.get('reason', 'no reason given')}")
            rejected.retryable = answer.body.get("is_retryable") is True
            raise rejected
        if answer.kind != kind or inbox.mid_message:
            raise ProtocolViolation(f"{self._named} answered another question than was asked")
        return answer.body


@contextmanager
def connect(
    host: str, port: int, fingerprint: str, *, named: str, files: TlsFiles, settings: PartnerSettings
) -> Iterator[Link]:
    """A link to the partner that has the pinned certificate. Nothing is sent to one that has another.

    It is not known yet whether the partner has pinned ours: if not, the first question raises PeerRejected.

    Raises: PeerUnreachable without a TCP connection; WrongCertificate; PeerTimedOut; PeerAborted; PeerRejected;
    ProtocolViolation; ConfigError when this node has no certificate.
    """
    context = calling(files)
    with open_socket(host, port, named=named, timeout_s=settings.connect_timeout_s) as sock:
        stream = TlsStream(sock, context, is_server=False)
        try:
            certificate = stream.shake_hands(settings.handshake_timeout_s)
            if (found := fingerprint_of(certificate)) != fingerprint:
                raise WrongCertificate(f"{named} has the certificate {found}, not the one that was pinned")
            yield Link(stream, settings, named, certificate)
        finally:
            stream.finish()


def _receive(stream: TlsStream, inbox: Inbox, begin_s: float, whole_s: float) -> Message | None:
    """The next message, whose first byte may take `begin_s`, and all of it `whole_s` from there; None at the end."""
    deadline = time.monotonic() + begin_s
    while (message := inbox.next()) is None:
        has_begun = inbox.mid_message
        data = stream.receive(deadline)
        if not data:
            if has_begun:
                raise PeerAborted("the other side ended in the middle of a message")
            return None
        inbox.feed(data)
        if not has_begun:
            deadline = time.monotonic() + whole_s
    return message
