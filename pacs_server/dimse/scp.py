"""One association from accept to end: negotiate, hand each message to its service, log one line."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

from pacs_server import log
from pacs_server.dicom.audit import Event, EventKind, EventOutcome
from pacs_server.dimse.access import AccessRules, Caller, answer_contexts, identify, not_allowed
from pacs_server.dimse.commit import handle_commit, next_command, settle_report
from pacs_server.dimse.doorkeeper import Doorkeeper
from pacs_server.dimse.find import handle_find
from pacs_server.dimse.retrieve import handle_get, handle_move
from pacs_server.dimse.services import SERVICES
from pacs_server.dimse.session import Archive, Session
from pacs_server.dimse.status import Status
from pacs_server.dimse.store import handle_store
from pacs_server.errors import (
    ConfigError,
    IndexUnavailable,
    PacsError,
    PeerAborted,
    PeerRejected,
    PeerTimedOut,
    ProtocolViolation,
)
from pacs_server.index.registry import Right
from pacs_server.net.association import answer
from pacs_server.net.connection import Connection
from pacs_server.net.message import Command, CommandField, response
from pacs_server.net.negotiate import CONGESTION, AssociationRequest, ContextAnswer, Rejection
from pacs_server.net.seats import Claim
from pacs_server.net.secure import secure_incoming
from pacs_server.settings import ClientCertificates

_OPERATION = {
    Right.ECHO: CommandField.C_ECHO_RQ,
    Right.FIND: CommandField.C_FIND_RQ,
    Right.GET: CommandField.C_GET_RQ,
    Right.MOVE: CommandField.C_MOVE_RQ,
}

_RESERVED_AGE_S = 1.0


class Provider:
    """Serves associations, each in the thread of its connection. Shared state: the sessions that are open now."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
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
        try:
            ending = self._serve(*agree(), address, number)
        except (PeerAborted, PeerTimedOut, PeerRejected, ProtocolViolation) as error:
            ending = f"{type(error).__name__}: {error}"
            if isinstance(error, ProtocolViolation):
                session = self._open.get(number)
                self._note_refused(session.caller.aet if session else "", address, str(error))
        except ConfigError as error:
            log.error("TLS not spoken", number=number, address=address, why=error)
            ending = "no certificate of ours"
        except Exception as error:  # noqa: BLE001 - the association loop: one peer's trouble stays its own
            log.unexpected("association failed", error, number=number, address=address)
            ending = "unexpected error"
        finally:
            session = self._open.pop(number, None)
            sock.close()
        self._log_end(session, number, address, ending, time.monotonic() - started)

    def _serve(self, connection: Connection, fingerprint: str | None, address: str, number: int) -> str:
        callers: list[Caller] = []

        def decide(request: AssociationRequest) -> Rejection | Sequence[ContextAnswer]:
            try:
                verdict = identify(request, self._rules, self._archive.registry.peer, fingerprint)
                if isinstance(verdict, Rejection):
                    self._note_refused(request.calling_aet, address, f"{verdict.text}; called {request.called_aet}")
                    self.doorkeeper.note(request, fingerprint, verdict, datetime.now(UTC))
                    return verdict
                self._archive.take_over_changes()
                verdict = self._archive.admission().admit(verdict)
                if isinstance(verdict, Rejection):
                    return verdict
                connection.claim = Claim(aet=verdict.aet, most=verdict.max_associations, reserved=self._reserved())
                callers.append(verdict)
                answers = answer_contexts(request, verdict, self._rules, self._archive.search.usual_syntax)
            except IndexUnavailable as error:
                log.error("association not accepted", number=number, address=address, why=error)
                return CONGESTION
            if refused := not_allowed(request, answers):
                self._note_refused(verdict.aet, address, f"not allowed: {' '.join(refused)}")
            return answers

        association = answer(connection, address, self._limits, decide, number)
        if association is None:
            return "rejected"
        session = Session(association=association, caller=callers[0], archive=self._archive, since=datetime.now(UTC))
        self._open[number] = session
        self.served += 1
        try:
            while (command := next_command(session)) is not None:
                _dispatch(session, command)
        except PacsError:
            raise
        except Exception:
            association.abort()
            raise
        finally:
            association.close()
            self._archive.requests.close(session.caller.aet, session.requester)
        return "released"

    def _note_refused(self, who: str, address: str, why: str) -> None:
        """Have the audit trail tell of an attempt that was refused.

        Source: PS3.15 section A.5.3.11 (security alert).
        """
        event = Event(
            kind=EventKind.ASSOCIATION,
            at=datetime.now(UTC),
            outcome=EventOutcome.REFUSED,
            who=who.strip(),
            address=address,
            count=1,
            detail=why,
        )
        self._archive.audit(event)

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


def _dispatch(session: Session, command: Command) -> None:
    """Hand one request to the service of its presentation context.

    Source: PS3.7 section 9.3 (DIMSE-C protocol).
    """
    if (
        command.is_response
    ):  # of all that we ask on the association of a peer, only reports are answered in their own time
        settle_report(session, command)
        return
    context = session.association.contexts[command.context_id]
    service = SERVICES.get(context.abstract_syntax)
    if service is None:
        if command.field == CommandField.C_STORE_RQ and context.as_scp:
            handle_store(session, command)
        else:
            _answer_status(session, command, Status.UNRECOGNISED_OPERATION)
    elif service.right is Right.COMMIT:
        handle_commit(session, command)
    elif command.field != _OPERATION[service.right]:
        _answer_status(session, command, Status.UNRECOGNISED_OPERATION)
    elif service.model is None:
        # A C-ECHO has no data set (PS3.7 section 9.3.5.1).
        _answer_status(session, command, Status.PROCESSING_FAILURE if command.has_data_set else Status.SUCCESS)
    else:
        session.tally.doing = service.right.value
        _QUERY_RETRIEVE[service.right](session, command, service.model)
        session.tally.doing = ""


_QUERY_RETRIEVE = {Right.FIND: handle_find, Right.GET: handle_get, Right.MOVE: handle_move}


def _answer_status(session: Session, command: Command, status: Status) -> None:
    session.association.drain()
    session.association.respond(response(command, status), command.context_id)
