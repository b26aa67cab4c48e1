"""Who may do what: calling and called AE title, source address, and the rights that an admin gave.

An AE title identifies, it does not authenticate; that is why the address is part of every decision.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import Final

from pacs_server.archive.reception import Origin
from pacs_server.dicom.elements import EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE
from pacs_server.dicom.identity import AeTitle
from pacs_server.dimse.host_names import HostNames, plain_address
from pacs_server.dimse.services import SERVICES, Service
from pacs_server.index.site.peers import Identity, Peer, Right
from pacs_server.log import escaped
from pacs_server.net.negotiate import (
    CALLED_NOT_RECOGNISED,
    CALLING_NOT_RECOGNISED,
    CONGESTION,
    READABLE_SYNTAXES,
    AssociationRequest,
    ContextAnswer,
    ContextResult,
    ProposedContext,
    Rejection,
    is_registered_class,
    is_storage_class,
)

NOT_ITS_CERTIFICATE: Final = "it has to show the certificate that is pinned for it"

_HOST_NAMES: Final = HostNames()
# In what we read and write identifiers; deflated and encapsulated ones make no sense for them.
_MESSAGE_SYNTAXES: Final = (EXPLICIT_LE, IMPLICIT_LE, EXPLICIT_BE)
# How many of the options that may be negotiated are granted, in their order: for queries relational, combined date and
# time, fuzzy names (PS3.4 section C.5.1.1); for retrieves relational (C.5.2.1, C.5.3.1). Zone and frames are not.
_EXTENDED_OPTIONS: Final = {Right.FIND: 3, Right.MOVE: 1, Right.GET: 1}


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """A peer that was let in: what it may do, and what is assumed of the objects and keys it sends; who has to be at
    it, and who is.
    """

    aet: str
    rights: frozenset[Right]
    charset: str
    origin: Origin
    max_answers: int = 0
    combines_moments: bool = False
    syntax: str = ""
    destinations: tuple[str, ...] = ()
    max_associations: int = 0
    identity: Identity = Identity.NONE
    person: str = ""
    is_registered: bool = True
    is_self_check: bool = False

    @property
    def label(self) -> str:
        """What it is called in metrics: only an admin adds names there."""
        return self.aet if self.is_registered else "unregistered"


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """Whom the site lets in at this moment of those that it knows. A site that is draining takes no new associations,
    one without `takes_stores` nothing to store; neither is meant for `partners`, the AE titles of partners.
    """

    is_draining: bool = False
    takes_stores: bool = True
    partners: frozenset[str] = frozenset()

    def admit(self, caller: Caller) -> Caller | Rejection:
        """The caller with what it may do now. Source: PS3.8 table 9-21: a transient rejection asks to come again."""
        if caller.aet in self.partners:
            return caller
        if self.is_draining:
            return CONGESTION
        return caller if self.takes_stores else replace(caller, rights=caller.rights - {Right.STORE})


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessRules:
    """What the node's settings say about access."""

    aet: AeTitle
    check_called: bool
    accept_private_sop_classes: bool
    default_issuer: str
    default_charset: str


def identify(
    request: AssociationRequest,
    rules: AccessRules,
    find_peer: Callable[[str], Peer | None],
    fingerprint: str | None = None,
) -> Caller | Rejection:
    """Decide whether this caller may associate at all. `fingerprint` is that of its certificate: None without TLS,
    empty when it showed none.

    A registered AE title is let in only from its addresses, and with its certificate if one is pinned; an unregistered
    one only from this machine. One that may call from a host name of which nobody tells the addresses now is asked to
    come again.

    Source: PS3.8 section 9.3.4 (reasons for rejection).
    """
    try:
        calling = AeTitle(request.calling_aet)
    except ValueError:
        return _unknown("its AE title cannot be one: it is empty, or has a character that no title has")
    peer = find_peer(calling)
    called = request.called_aet.strip(" ")
    if rules.check_called and called not in (rules.aet, *(peer.called if peer else ())):
        return replace(CALLED_NOT_RECOGNISED, why=f"it called {escaped(called)}, not {rules.aet}")
    address = plain_address(request.peer_address)
    if peer is None:
        if not address.is_loopback:
            return _unknown(f"it is not registered: pacs ae approve {calling}, or pacs ae add")
        stranger = Peer(aet=calling, host=None, port=None, rights=frozenset(Right), sources=())
        return replace(_caller(stranger, rules), is_registered=False)
    if elsewhere := _not_from(peer.sources, address):
        return elsewhere
    if peer.certificate and peer.certificate != fingerprint:
        shown = "another one" if fingerprint else "none" if fingerprint is not None else "no TLS"
        return _unknown(f"{NOT_ITS_CERTIFICATE}, and showed {shown}")
    return _caller(peer, rules)


def self_check_of(aet: str) -> Caller:
    """The server as it calls itself to see whether it answers: it may do nothing else."""
    return Caller(aet=aet, rights=frozenset({Right.ECHO}), charset="", origin=Origin(aet=aet), is_self_check=True)


def _unknown(why: str) -> Rejection:
    return replace(CALLING_NOT_RECOGNISED, why=why)


def _caller(peer: Peer, rules: AccessRules) -> Caller:
    assumed = peer.charset or rules.default_charset
    return Caller(
        aet=peer.aet,
        rights=peer.rights,
        charset=peer.charset,
        origin=Origin(aet=peer.aet, charset=assumed, issuer=peer.issuer or rules.default_issuer),
        max_answers=peer.max_answers,
        combines_moments=peer.combines_moments,
        syntax=peer.syntax,
        destinations=peer.destinations,
        max_associations=peer.max_associations,
        identity=peer.identity,
    )


def asked_for(request: AssociationRequest) -> frozenset[Right]:
    """The rights that a caller needs for what it proposes."""
    rights = set()
    for context in request.contexts:
        if service := SERVICES.get(context.abstract_syntax):
            rights.add(service.right)
        elif is_storage_class(context.abstract_syntax):
            rights |= {Right.STORE} if context.scu_role is not False else {Right.GET}
    return frozenset(rights)


def _not_from(sources: Sequence[str], address: IPv4Address | IPv6Address) -> Rejection | None:
    """The rejection of a caller who comes from none of these sources; names are looked at last, because they take long
    where the name server does.
    """
    unknown = ""
    for source in sorted(sources, key=_is_name):
        covered = covers(source, address)
        if covered:
            return None
        unknown = source if covered is None else unknown
    if unknown:
        return replace(CONGESTION, why=f"nobody tells the address of {unknown} now, from where it may call")
    return _unknown("it is not registered for this address")


def _is_name(source: str) -> bool:
    try:
        ip_network(source, strict=False)
    except ValueError:
        return True
    return False


def covers(source: str, address: IPv4Address | IPv6Address) -> bool | None:
    """Whether a source (address, CIDR block or host name) is where this address comes from; None where it is a name of
    which nobody tells the addresses.
    """
    if not _is_name(source):
        return address in ip_network(source, strict=False)
    known = _HOST_NAMES.addresses(source)
    return None if known is None else address in known


def answer_contexts(
    request: AssociationRequest,
    caller: Caller,
    rules: AccessRules,
    usual_syntax: Callable[[str], str | None],
) -> Sequence[ContextAnswer]:
    """Accept or reject each proposed presentation context by what the caller may do.

    A storage context without a role item, beside one of C-GET, is for what that brings too: Horos and Ginkgo CADx send
    no role items, and could get nothing by the default of PS3.7 section D.3.3.4.
    """
    proposed = [SERVICES.get(context.abstract_syntax) for context in request.contexts]
    gets = any(service is not None and service.right is Right.GET for service in proposed)
    return [
        _answer_service(context, service, caller, request.extended.get(context.abstract_syntax, b""))
        if service
        else _answer_storage(context, caller, rules, usual_syntax, gets=gets)
        for context, service in zip(request.contexts, proposed, strict=True)
    ]


def not_allowed(request: AssociationRequest, answers: Sequence[ContextAnswer]) -> list[str]:
    """The SOP classes that a caller asked for and has no right to. Services come first: who retrieves by C-GET asks for
    a hundred storage classes besides.
    """
    asked = {context.id: context.abstract_syntax for context in request.contexts}
    refused = {asked[one.id] for one in answers if one.result is ContextResult.USER_REJECTION}
    return sorted(refused, key=lambda uid: (uid not in SERVICES, uid))


def _answer_service(context: ProposedContext, service: Service, caller: Caller, asked: bytes) -> ContextAnswer:
    if service.right not in caller.rights:
        return _reject(context, ContextResult.USER_REJECTION)
    known = _EXTENDED_OPTIONS.get(service.right, 0)
    agreed = bytes(int(wish == 1 and option < known) for option, wish in enumerate(asked))
    if service.right is not Right.COMMIT:
        return replace(_accept(context, _MESSAGE_SYNTAXES, scu=True, scp=False), extended=agreed)
    # Whom we asked for commitment reports on an association of its own, in the role of SCP (PS3.4 section J.3.3).
    scu, scp = context.scu_role is not False, context.scp_role is True
    if not (scu or scp):
        return _reject(context, ContextResult.USER_REJECTION)
    return _accept(context, _MESSAGE_SYNTAXES, scu=scu, scp=scp)


def _answer_storage(
    context: ProposedContext,
    caller: Caller,
    rules: AccessRules,
    usual_syntax: Callable[[str], str | None],
    *,
    gets: bool,
) -> ContextAnswer:
    known = is_registered_class(context.abstract_syntax)
    if not is_storage_class(context.abstract_syntax) or not (known or rules.accept_private_sop_classes):
        return _reject(context, ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED)
    scu = context.scu_role is not False and Right.STORE in caller.rights
    scp = (context.scp_role is True or (gets and not _has_roles(context))) and Right.GET in caller.rights
    readable = [syntax for syntax in context.transfer_syntaxes if syntax in READABLE_SYNTAXES]
    if scp:
        usual = usual_syntax(context.abstract_syntax) or EXPLICIT_LE
        return _accept(context, (usual, EXPLICIT_LE, IMPLICIT_LE, *readable), scu=scu, scp=scp)
    if scu:
        return _accept(context, readable, scu=scu, scp=scp)
    return _reject(context, ContextResult.USER_REJECTION)


def _has_roles(context: ProposedContext) -> bool:
    return context.scu_role is not None or context.scp_role is not None


def _accept(context: ProposedContext, wanted: Sequence[str], *, scu: bool, scp: bool) -> ContextAnswer:
    chosen = next((syntax for syntax in wanted if syntax in context.transfer_syntaxes), None)
    if chosen is None:
        return _reject(context, ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED)
    return ContextAnswer(
        id=context.id,
        result=ContextResult.ACCEPTED,
        transfer_syntax=chosen,
        scu_role=scu,
        scp_role=scp,
        tells_roles=_has_roles(context),
    )


def _reject(context: ProposedContext, result: ContextResult) -> ContextAnswer:
    return ContextAnswer(
        id=context.id, result=result, transfer_syntax=context.transfer_syntaxes[0], scu_role=None, scp_role=None
    )
