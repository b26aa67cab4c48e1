"""How an association begins, on either side.

Source: PS3.8 section 7.1 (A-ASSOCIATE service) and 9.2 (state machine).
"""

from __future__ import annotations

from collections.abc import Sequence

from pacs_server import log
from pacs_server.errors import AssociationBroken, PacsError, PeerAborted, PeerRejected
from pacs_server.net.associate import (
    TITLES,
    Acceptance,
    read_acceptance,
    read_request,
)
from pacs_server.net.associate_writing import write_acceptance, write_rejection, write_request
from pacs_server.net.association import Association
from pacs_server.net.connection import BY_PROVIDER, Connection
from pacs_server.net.negotiate import (
    CONGESTION,
    LOCAL_LIMIT,
    Agreement,
    AssociationRequest,
    Context,
    ContextAnswer,
    ContextResult,
    Decide,
    ProposedContext,
    Rejection,
    UserIdentity,
    rejection,
)
from pacs_server.net.wire import (
    Abort,
    AbortReason,
    AssociateAcceptPdu,
    AssociateRejectPdu,
    AssociateRequestPdu,
    BadPdu,
    Event,
)
from pacs_server.settings import NetworkLimits


def answer(
    connection: Connection, peer_address: str, limits: NetworkLimits, decide: Decide, number: int
) -> Association | Rejection:
    """Answer the association request that a peer sends on a new connection, as `decide` says.

    A rejection when it was rejected; the connection is then closed.

    Raises: ProtocolViolation or PeerTimedOut after an A-ABORT; PeerAborted. The connection is then closed too. Over TLS
    PeerRejected, when the peer does not want our certificate.
    """
    try:
        event = connection.next_event(limits.association_timeout_s, whole=True)
        connection.mark_idle(False)
        pdu = _requested(event)
        request = read_request(pdu, peer_address)
        if isinstance(request, Rejection):
            return _reject(connection, peer_address, request, request.request)
        verdict = _decided(request, decide)
        if not isinstance(verdict, Rejection) and not connection.seat():
            verdict = LOCAL_LIMIT
        if isinstance(verdict, Rejection):
            return _reject(connection, peer_address, verdict, request)
        acceptance = write_acceptance(
            request, pdu[TITLES], verdict, limits.max_pdu_bytes, confirms_identity=connection.confirms_identity
        )
        connection.send([acceptance])
        return Association(connection, limits, _accepted(request, verdict), number)
    except AssociationBroken as error:
        _give_up(connection, error)
        raise


def _requested(event: Event) -> bytes:
    if isinstance(event, AssociateRequestPdu):
        return event.pdu
    if isinstance(event, Abort):
        raise PeerAborted("the peer aborted before it requested an association")
    raise BadPdu(f"a {type(event).__name__} came before an association", AbortReason.UNEXPECTED_PDU)


def _decided(request: AssociationRequest, decide: Decide) -> Rejection | Sequence[ContextAnswer]:
    try:
        return decide(request)
    except PacsError as error:
        log.error("association not decided", calling=request.calling_aet, address=request.peer_address, why=error)
        return CONGESTION


def _reject(
    connection: Connection, peer_address: str, verdict: Rejection, request: AssociationRequest | None
) -> Rejection:
    calling = request.calling_aet if request else None
    log.info("rejected", calling=calling, address=peer_address, why=verdict.why or verdict.text)
    connection.finish(write_rejection(verdict))
    return verdict


def _give_up(connection: Connection, error: Exception) -> None:
    if isinstance(error, PeerAborted):
        connection.close()
    else:
        connection.abort(BY_PROVIDER, error.reason if isinstance(error, BadPdu) else AbortReason.NOT_SPECIFIED)


def _accepted(request: AssociationRequest, answers: Sequence[ContextAnswer]) -> Agreement:
    """By default the requestor is the SCU. Source: PS3.7 section D.3.3.4."""
    names = {context.id: context.abstract_syntax for context in request.contexts}
    accepted = [one for one in answers if one.result == ContextResult.ACCEPTED]
    contexts = {
        one.id: Context(
            one.id, names[one.id], one.transfer_syntax, one.scu_role is not False, one.scp_role is True, one.extended
        )
        for one in accepted
    }
    return Agreement(
        calling_aet=request.calling_aet,
        called_aet=request.called_aet,
        peer_address=request.peer_address,
        contexts=contexts,
        refused={one.id: (names[one.id], one.result) for one in answers if one.id not in contexts},
        peer_max_pdu_bytes=request.max_pdu_bytes,
        implementation=request.implementation_version,
    )


def request(
    connection: Connection,
    called: str,
    calling: str,
    proposed: Sequence[ProposedContext],
    limits: NetworkLimits,
    peer_address: str,
    identity: UserIdentity | None = None,
) -> Agreement:
    """Request an association, as the user of that identity if there is one, and wait for the answer.

    Raises: PeerRejected; PeerAborted; ProtocolViolation or PeerTimedOut after an A-ABORT. It is closed then.
    """
    try:
        connection.send([write_request(called, calling, proposed, limits.max_pdu_bytes, identity)])
        pdu = _answered(connection.next_event(limits.association_timeout_s, whole=True))
        acceptance = read_acceptance(pdu)
    except AssociationBroken as error:
        _give_up(connection, error)
        raise
    except PeerRejected:
        connection.close()
        raise
    contexts, refused = _results(proposed, acceptance)
    return Agreement(
        calling_aet=calling,
        called_aet=called,
        peer_address=peer_address,
        contexts=contexts,
        refused=refused,
        peer_max_pdu_bytes=acceptance.user.max_pdu_bytes,
        implementation=acceptance.user.implementation_version,
    )


def _answered(event: Event) -> bytes:
    if isinstance(event, AssociateAcceptPdu):
        return event.pdu
    if isinstance(event, AssociateRejectPdu):
        raise PeerRejected(rejection(*event).text)
    if isinstance(event, Abort):
        raise PeerAborted("the peer aborted instead of answering the association request")
    raise BadPdu(f"a {type(event).__name__} came before an association", AbortReason.UNEXPECTED_PDU)


def _results(
    proposed: Sequence[ProposedContext], acceptance: Acceptance
) -> tuple[dict[int, Context], dict[int, tuple[str, ContextResult]]]:
    contexts, refused = {}, {}
    for one in proposed:
        result, syntax = acceptance.results.get(one.id, (ContextResult.NO_REASON, ""))
        if result == ContextResult.ACCEPTED and syntax in one.transfer_syntaxes:
            scu, scp = acceptance.user.roles.get(one.abstract_syntax, (True, False))
            contexts[one.id] = Context(one.id, one.abstract_syntax, syntax, as_scp=scp, as_scu=scu)
        else:
            refused[one.id] = (one.abstract_syntax, _refusal(result))
    return contexts, refused


def _refusal(result: int) -> ContextResult:
    """The result as one of the standard's refusals; what makes no sense counts as given without a reason."""
    return ContextResult(result) if 1 <= result <= max(ContextResult) else ContextResult.NO_REASON
