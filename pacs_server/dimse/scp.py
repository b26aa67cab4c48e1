"""One association from accept to end: negotiate, hand each message to its service, log one line."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from pacs_server import log, metrics
from pacs_server.dicom.audit import Event, EventKind, EventOutcome
from pacs_server.dimse.access import AccessRules, Caller, answer_contexts, identify, not_allowed, self_check_of
from pacs_server.dimse.commit import next_command
from pacs_server.dimse.dispatch import dispatch
from pacs_server.dimse.doorkeeper import Doorkeeper
from pacs_server.dimse.identity import Authenticator, claimed_name
from pacs_server.dimse.session import Archive, Session
from pacs_server.errors import (
    ConfigError,
    IndexUnavailable,
    PacsError,
    PeerAborted,
    PeerRejected,
    PeerTimedOut,
    ProtocolViolation,
)
from pacs_server.net.connection import Connection
from pacs_server.net.handshake import answer
from pacs_server.net.negotiate import (
    CONGESTION,
    AssociationRequest,
    ContextAnswer,
    Rejection,
    name_of,
)
from pacs_server.net.seats import SELF_CHECK, Claim
from pacs_server.net.secure import secure_incoming
from pacs_server.settings import ClientCertificates

_RESERVED_AGE_S = 1.0
_SHOWN_REFUSALS = 3
_MAX_CLAIMED = 64  # characters of a name; ten thousand that wait to be written down must not hold 16 KiB each

_CHECKED, _RELEASED, _REJECTED = "self-check", "released", "rejected"
_ORDERLY = (_CHECKED, _RELEASED, _REJECTED)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Visit:
    """One connection: where it comes from, by which port if that is this machine, and its number in the log."""

    address: str
    port: int | None
    number: int


class Provider:
    """Serves associations, each in the thread of its connection. Shared state: the sessions that are open now."""

    def __init__(self, archive: Archive, is_self_check: Callable[[int], bool]) -> None:
        """`is_self_check` says of a port of this machine whether the server calls itself from there."""
        self._archive = archive
        self._is_self_check = is_self_check
        settings = archive.settings
        self._limits = settings.network
        self._rules = AccessRules(
            aet=settings.aet,
            check_called=settings.check_called,
            accept_private_sop_classes=settings.accept_private_sop_classes,
            default_issuer=settings.default_issuer,
            default_charset=settings.default_charset,
        )
        self._open: dict[int, Session] = {}
        self._kept: Mapping[str, int] = {}
        self._looked_at = float("-inf")
        self.doorkeeper = Doorkeeper()
        self._authenticator = Authenticator(settings, archive.users)
        self.served = 0

    def sessions(self) -> list[tuple[int, Session]]:
        """The associations that are open now, each with its number."""
        return list(self._open.items())

    def serve(self, sock: socket.socket, address: str, number: int) -> None:
        """Serve one connection to its end. Whatever happens on it stays with it: this never raises."""
        self._serve_one(lambda: (Connection(sock, self._limits), None), sock, address, number)

    def serve_over_tls(self, sock: socket.socket, address: str, number: int) -> None:
        """The same, over TLS."""

        def agree() -> tuple[Connection, str]:
            tls = self._archive.settings.tls
            asked = ClientCertificates(tls.client_certificates)
            connection = secure_incoming(sock, self._limits, self._archive.settings.tls_files, asked)
            return connection, connection.fingerprint

        self._serve_one(agree, sock, address, number)

    def _serve_one(
        self, agree: Callable[[], tuple[Connection, str | None]], sock: socket.socket, address: str, number: int
    ) -> None:
        started = time.monotonic()
        connection: Connection | None = None
        visit = _Visit(address=address, port=_port_here(sock), number=number)
        try:
            connection, fingerprint = agree()
            ending = self._serve(connection, fingerprint, visit)
        except (PeerAborted, PeerTimedOut, PeerRejected, ProtocolViolation) as error:
            ending = f"{type(error).__name__}: {error}"
            between = connection is None or connection.is_between_requests
            if self._is_from_server(visit):
                ending = _CHECKED  # it gave up, and tells of that itself
            else:
                self._note_broken(error, number, address, between_requests=between)
        except ConfigError as error:
            log.error("TLS not spoken", number=number, address=address, why=error)
            ending = "no certificate of ours"
        except Exception as error:  # noqa: BLE001 - the association loop: one peer's trouble stays its own
            log.unexpected("association failed", error, number=number, address=address)
            ending = "unexpected error"
        finally:
            session = self._open.pop(number, None)
            sock.close()
        if ending is not _CHECKED:
            self._log_end(session, number, address, ending, time.monotonic() - started)
            if ending not in _ORDERLY:
                metrics.add(metrics.BROKEN, ending.partition(":")[0])

    def _serve(self, connection: Connection, fingerprint: str | None, visit: _Visit) -> str:
        asked: list[AssociationRequest] = []
        callers: list[Caller] = []

        def decide(request: AssociationRequest) -> Rejection | Sequence[ContextAnswer]:
            asked.append(request)
            try:
                caller = self._let_in(request, fingerprint, visit)
                if isinstance(caller, Rejection):
                    return caller
                connection.confirms_identity = bool(caller.person)
                connection.claim = SELF_CHECK if caller.is_self_check else self._claim_of(caller)
                answers = answer_contexts(request, caller, self._rules, self._archive.search.usual_syntax)
            except (IndexUnavailable, ConfigError) as error:
                log.error("association not accepted", number=visit.number, address=visit.address, why=error)
                return CONGESTION
            callers.append(caller)
            if not caller.is_self_check and (refused := not_allowed(request, answers)):
                services = ", ".join(map(name_of, refused[:_SHOWN_REFUSALS]))
                log.info("not allowed", number=visit.number, calling=caller.aet, address=visit.address, asked=services)
                self._note(EventOutcome.REFUSED, caller.aet, visit.address, f"not allowed: {' '.join(refused)}")
            return answers

        association = answer(connection, visit.address, self._limits, decide, visit.number)
        if isinstance(association, Rejection):
            metrics.add(metrics.REJECTED, association.text)
            if (unheard := association.request) is not None:
                self.doorkeeper.note(unheard, fingerprint, association, datetime.now(UTC))
                who, why = unheard.calling_aet, association.why or association.text
            else:
                who, why = asked[0].calling_aet, f"{association.text}; called {asked[0].called_aet}"
            self._note(EventOutcome.REFUSED, who, visit.address, why)
            return _REJECTED
        session = Session(association=association, caller=callers[0], archive=self._archive, since=datetime.now(UTC))
        self._attend(session, visit.number)
        return _CHECKED if session.caller.is_self_check else _RELEASED

    def _attend(self, session: Session, number: int) -> None:
        """Hand each message of an association to its service, until the peer releases it."""
        association = session.association
        if not session.caller.is_self_check:
            self._open[number] = session
            self.served += 1
            metrics.add(metrics.ACCEPTED, session.caller.label)
        try:
            while (command := next_command(session)) is not None:
                dispatch(session, command)
        finally:
            association.close()  # aborts one that was not released
            self._archive.requests.close(session.caller.aet, session.requester)

    def _is_from_server(self, visit: _Visit) -> bool:
        """Whether the server calls itself to see whether it answers. Nobody else can have that port meanwhile."""
        return visit.port is not None and self._is_self_check(visit.port)

    def _let_in(self, request: AssociationRequest, fingerprint: str | None, visit: _Visit) -> Caller | Rejection:
        """Who calls, and may. Raises: IndexUnavailable; ConfigError when nobody can log in."""
        if self._is_from_server(visit):
            self._archive.take_over_changes()
            return self_check_of(request.calling_aet)
        verdict = identify(request, self._rules, self._archive.registry.peer, fingerprint)
        if isinstance(verdict, Rejection):
            self.doorkeeper.note(request, fingerprint, verdict, datetime.now(UTC))
            return verdict
        verdict = self._logged_in(verdict, request, fingerprint)
        if isinstance(verdict, Rejection):
            return verdict
        self._archive.take_over_changes()
        return self._archive.admission().admit(verdict)

    def _logged_in(self, caller: Caller, request: AssociationRequest, fingerprint: str | None) -> Caller | Rejection:
        """The caller with the person who is at it. Whether one could log in is told to the audit trail.

        Source: PS3.15 section A.5.3.12 (user authentication).
        """
        now = datetime.now(UTC)
        verdict = self._authenticator.admit(caller, request, is_over_tls=fingerprint is not None, now=now)
        event = Event(kind=EventKind.LOGIN, at=now, who=caller.aet, address=request.peer_address, count=1)
        if isinstance(verdict, Rejection):
            claimed, refused = claimed_name(request.identity)[:_MAX_CLAIMED], EventOutcome.REFUSED
            self._archive.audit(replace(event, outcome=refused, person=claimed, detail=verdict.why))
            self.doorkeeper.note(request, fingerprint, verdict, now)
        elif verdict.person:
            self._archive.audit(replace(event, person=verdict.person))
        return verdict

    def _note_broken(self, error: PacsError, number: int, address: str, *, between_requests: bool) -> None:
        """Have the audit trail tell of a connection that did not end as it should. Not of one that its peer left before
        it asked for anything or between two requests, nor of one on which nothing came between two requests.
        """
        session = self._open.get(number)
        left_in_peace = isinstance(error, PeerAborted) or (isinstance(error, PeerTimedOut) and session is not None)
        if left_in_peace and between_requests:
            return
        broke_off = session is not None and not isinstance(error, ProtocolViolation)
        outcome = EventOutcome.FAILED if broke_off else EventOutcome.REFUSED
        self._note(outcome, session.caller.aet if session else "", address, str(error))

    def _note(self, outcome: EventOutcome, who: str, address: str, why: str) -> None:
        """Have the audit trail tell of an attempt that was refused or broken off.

        Source: PS3.15 section A.5.3.11 (security alert).
        """
        event = Event(
            kind=EventKind.ASSOCIATION,
            at=datetime.now(UTC),
            outcome=outcome,
            who=who.strip(),
            address=address,
            count=1,
            detail=why,
        )
        self._archive.audit(event)

    def _claim_of(self, caller: Caller) -> Claim:
        return Claim(aet=caller.aet, most=caller.max_associations, reserved=self._reserved())

    def _reserved(self) -> Mapping[str, int]:
        """The places that are kept for peers, as of a moment ago. Raises: IndexUnavailable."""
        now = time.monotonic()
        if now - self._looked_at >= _RESERVED_AGE_S:
            self._kept, self._looked_at = self._archive.registry.reserved(), now
        return self._kept

    def _log_end(self, session: Session | None, number: int, address: str, ending: str, seconds: float) -> None:
        if session is None:
            log.info("connection", number=number, address=address, ended=ending, seconds=round(seconds, 2))
            return
        tally, association = session.tally, session.association
        log.info(
            "association",
            number=number,
            calling=association.calling_aet,
            person=session.caller.person or None,
            called=association.called_aet,
            address=address,
            stored=tally.stored or None,
            refused=tally.refused or None,
            received_bytes=tally.received_bytes or None,
            answers=tally.answered or None,
            sent=tally.sent or None,
            not_sent=tally.not_sent or None,
            seconds=round(seconds, 2),
            ended=ending,
        )


def _port_here(sock: socket.socket) -> int | None:
    """The port of the other end; None where that is another machine, or has gone."""
    try:
        (own, *_), (host, port, *_) = sock.getsockname(), sock.getpeername()
    except OSError:
        return None
    return port if host == own else None
