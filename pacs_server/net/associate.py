"""A-ASSOCIATE-RQ, -AC and -RJ as bytes. What we send is encoded by pynetdicom, what a peer sends is walked here.

The walk bounds every length and count before anything is made of it. It reads the names too, because the decoder of
pynetdicom 3.0.4 makes pydicom UIDs of them: those warn of each malformed text, and Python keeps every such text for
ever; and 128 contexts of 60 syntaxes take it 52 ms. Source: PS3.8 sections 9.3.2 to 9.3.4, PS3.7 annex D.3.3.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RJ, A_ASSOCIATE_RQ
from pynetdicom.pdu_items import (
    AbstractSyntaxSubItem,
    ApplicationContextItem,
    AsynchronousOperationsWindowSubItem,
    ImplementationClassUIDSubItem,
    ImplementationVersionNameSubItem,
    MaximumLengthSubItem,
    PresentationContextItemAC,
    PresentationContextItemRQ,
    SCP_SCU_RoleSelectionSubItem,
    SOPClassExtendedNegotiationSubItem,
    TransferSyntaxSubItem,
    UserInformationItem,
)

from pacs_server.dicom.elements import IMPLICIT_LE
from pacs_server.dicom.identity import MAX_UID_CHARACTERS, Uid, is_uid, uid_text
from pacs_server.dicom.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION
from pacs_server.errors import ProtocolViolation
from pacs_server.net.negotiate import (
    CONTEXT_NAME,
    NO_REASON,
    PROTOCOL_VERSION,
    AssociationRequest,
    ContextAnswer,
    ContextResult,
    ProposedContext,
    Rejection,
)
from pacs_server.net.wire import PDV_HEADER_BYTES

APPLICATION_CONTEXT: Final = "1.2.840.10008.3.1.1.1"
TITLES: Final = slice(10, 42)  # called, then calling AE title, 16 bytes each
MAX_SYNTAXES: Final = 256
MAX_USER_ITEMS: Final = 1024
MAX_CREDENTIAL_BYTES: Final = 16_384

_FIXED_BYTES: Final = 74
_APPLICATION_CONTEXT, _PROPOSED, _ANSWERED, _ABSTRACT, _TRANSFER = 0x10, 0x20, 0x21, 0x30, 0x40
_USER_INFORMATION, _MAXIMUM_LENGTH, _CLASS_UID, _WINDOW = 0x50, 0x51, 0x52, 0x53
_ROLE, _VERSION, _EXTENDED, _IDENTITY = 0x54, 0x55, 0x56, 0x58


@dataclass(slots=True)
class UserInformation:
    """The sub-items of user information that we use; all others are skipped."""

    max_pdu_bytes: int = 0
    implementation_class_uid: str = ""
    implementation_version: str = ""
    asks_for_window: bool = False
    identity_is_sound: bool = True
    roles: dict[str, tuple[bool, bool]] = field(default_factory=dict)  # (SCU, SCP) of the requestor, by SOP class
    extended: dict[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Acceptance:
    """An A-ASSOCIATE-AC: (result, transfer syntax) by context ID, and what the acceptor says of itself."""

    results: Mapping[int, tuple[int, str]]
    user: UserInformation


def read_request(pdu: bytes, peer_address: str) -> AssociationRequest | Rejection:
    """The request in a whole A-ASSOCIATE-RQ PDU, or with what it has to be rejected whoever sent it.

    Raises: ProtocolViolation when its structure is damaged or it proposes nothing that could be answered.
    """
    if not pdu[7] & 1:
        return PROTOCOL_VERSION
    name, items, user = _variable_items(pdu, _PROPOSED)
    if name != APPLICATION_CONTEXT:
        return CONTEXT_NAME
    if not user.identity_is_sound:
        return NO_REASON
    contexts = tuple(_proposed(pdu, start, end, user.roles) for start, end in items)
    if not contexts:
        raise ProtocolViolation("an association request proposes no presentation context")
    if len({context.id for context in contexts}) != len(contexts):
        raise ProtocolViolation("an association request uses a presentation context ID twice")
    return AssociationRequest(
        calling_aet=pdu[26:42].decode("latin-1").strip(" "),
        called_aet=pdu[10:26].decode("latin-1").strip(" "),
        peer_address=peer_address,
        contexts=contexts,
        max_pdu_bytes=user.max_pdu_bytes,
        implementation_class_uid=user.implementation_class_uid,
        implementation_version=user.implementation_version,
        extended=user.extended,
        asks_for_window=user.asks_for_window,
    )


def read_acceptance(pdu: bytes) -> Acceptance:
    """The answer in a whole A-ASSOCIATE-AC PDU.

    Raises: ProtocolViolation when its structure is damaged.
    """
    _, items, user = _variable_items(pdu, _ANSWERED)
    results = {}
    for start, end in items:
        syntaxes = [_name(pdu, *value) for kind, *value in _items(pdu, start + 4, end) if kind == _TRANSFER]
        results[pdu[start]] = (pdu[start + 2], syntaxes[0] if syntaxes else "")
    return Acceptance(results=results, user=user)


def _variable_items(pdu: bytes, context_kind: int) -> tuple[str, list[tuple[int, int]], UserInformation]:
    """The application context name, where the presentation contexts are, and the user information."""
    name, contexts, user = "", [], UserInformation()
    seen: set[int] = set()
    for kind, start, end in _items(pdu, _FIXED_BYTES, len(pdu)):
        if kind in seen:
            raise ProtocolViolation(f"an A-ASSOCIATE PDU holds two items of type 0x{kind:02X}")
        if kind == context_kind:
            if end - start < 4:
                raise ProtocolViolation("a presentation context is shorter than its fixed part")
            contexts.append((start, end))
        elif kind == _APPLICATION_CONTEXT:
            name = _name(pdu, start, end)
            seen.add(kind)
        elif kind == _USER_INFORMATION:
            user = _user_information(pdu, start, end)
            seen.add(kind)
        else:
            raise ProtocolViolation(f"an A-ASSOCIATE PDU holds an item of type 0x{kind:02X}")
    return name, contexts, user


def _items(pdu: bytes, start: int, end: int, limit: int = MAX_SYNTAXES + 4) -> Iterator[tuple[int, int, int]]:
    """Type, start and end of the value of each item in pdu[start:end]."""
    count = 0
    while start < end:
        if start + 4 > end:
            raise ProtocolViolation("an item of an A-ASSOCIATE PDU is cut off")
        value = start + 4
        kind, start = pdu[start], value + (pdu[start + 2] << 8 | pdu[start + 3])
        if start > end:
            raise ProtocolViolation(f"an item of type 0x{kind:02X} runs past the end of what it is in")
        count += 1
        if count > limit:
            raise ProtocolViolation(f"an A-ASSOCIATE PDU holds more than {limit} items in one place")
        yield kind, value, start


def _name(pdu: bytes, start: int, end: int) -> str:
    text = uid_text(pdu[start:end])
    if len(text) > MAX_UID_CHARACTERS or not text.isascii():
        raise ProtocolViolation("an A-ASSOCIATE PDU has a name in it that cannot be a UID")
    return text


def _proposed(pdu: bytes, start: int, end: int, roles: Mapping[str, tuple[bool, bool]]) -> ProposedContext:
    context_id = pdu[start]
    abstract, transfer = [], []
    for kind, *value in _items(pdu, start + 4, end):
        if kind == _TRANSFER:
            transfer.append(_name(pdu, *value))
        elif kind == _ABSTRACT:
            abstract.append(_name(pdu, *value))
        else:
            raise ProtocolViolation(f"presentation context {context_id} holds an item of type 0x{kind:02X}")
    if context_id % 2 == 0:
        raise ProtocolViolation(f"presentation context ID {context_id} is not odd")
    if len(abstract) != 1 or not all(abstract):
        raise ProtocolViolation(f"presentation context {context_id} has {len(abstract)} abstract syntaxes, or no name")
    if not transfer:
        raise ProtocolViolation(f"presentation context {context_id} proposes no transfer syntax")
    scu, scp = roles.get(abstract[0], (None, None))
    return ProposedContext(
        id=context_id, abstract_syntax=abstract[0], transfer_syntaxes=tuple(transfer), scu_role=scu, scp_role=scp
    )


def _user_information(pdu: bytes, start: int, end: int) -> UserInformation:
    user = UserInformation()
    for kind, first, last in _items(pdu, start, end, MAX_USER_ITEMS):
        if kind == _MAXIMUM_LENGTH:
            user.max_pdu_bytes = _max_pdu_bytes(pdu[first:last])
        elif kind == _CLASS_UID:
            user.implementation_class_uid = uid_text(pdu[first:last])[:MAX_UID_CHARACTERS]
        elif kind == _VERSION:
            user.implementation_version = uid_text(pdu[first:last])[:16]
        elif kind == _WINDOW:
            user.asks_for_window = True
        elif kind == _ROLE:
            name, rest = _named(pdu[first:last])
            if len(rest) != 2:
                raise ProtocolViolation("a role selection item has a wrong length")
            user.roles[name] = (rest[0] != 0, rest[1] != 0)
        elif kind == _EXTENDED:
            name, user_data = _named(pdu[first:last])
            user.extended[name] = user_data
        elif kind == _IDENTITY:
            user.identity_is_sound = _identity_is_sound(pdu[first:last])
    return user


def _max_pdu_bytes(value: bytes) -> int:
    """Source: PS3.8 annex D.1. A fragment is at least one byte long behind its header."""
    size = int.from_bytes(value, "big")
    if len(value) != 4 or 0 < size <= PDV_HEADER_BYTES:
        raise ProtocolViolation(f"the peer takes PDUs of at most {size} bytes, in which no data fits")
    return size


def _named(value: bytes) -> tuple[str, bytes]:
    """A UID behind its own length, and what follows it. Source: PS3.7 tables D.3-9 and D.3-11."""
    end = 2 + int.from_bytes(value[:2], "big")
    if len(value) < end:
        raise ProtocolViolation("a name in the user information runs past the end of its item")
    return _name(value, 2, end), value[end:]


def _identity_is_sound(value: bytes) -> bool:
    """Whether a user identity has the standard's form and size. It is otherwise ignored and never confirmed.

    Source: PS3.7 section D.3.3.7; an acceptor that does not support it accepts without a response.
    """
    if not MAX_CREDENTIAL_BYTES >= len(value) >= 6 or not 1 <= value[0] <= 5:
        return False
    primary = int.from_bytes(value[2:4], "big")
    secondary = int.from_bytes(value[4 + primary : 6 + primary], "big")
    return primary > 0 and len(value) == 6 + primary + secondary


def write_request(called: str, calling: str, contexts: Sequence[ProposedContext], max_pdu_bytes: int) -> bytes:
    """An A-ASSOCIATE-RQ PDU. Both titles are AE titles of the standard's form."""
    pdu = A_ASSOCIATE_RQ()
    pdu.called_ae_title, pdu.calling_ae_title = called, calling
    roles = {
        context.abstract_syntax: (bool(context.scu_role), bool(context.scp_role))
        for context in contexts
        if context.scp_role is not None
    }
    items = [_request_item(context) for context in contexts]
    pdu.variable_items = [_application_context(), *items, _own_information(max_pdu_bytes, roles, {}, window=False)]
    return bytes(pdu.encode())


def write_acceptance(
    request: AssociationRequest, titles: bytes, answers: Sequence[ContextAnswer], max_pdu_bytes: int
) -> bytes:
    """An A-ASSOCIATE-AC PDU that answers each context; `titles` are the 32 bytes of the request, sent back untouched.

    An asynchronous operations window is answered with 1 and 1 if one was asked for; a user identity not at all.
    """
    syntax_of = {context.id: context.abstract_syntax for context in request.contexts}
    roles = {
        syntax_of[answer.id]: (bool(answer.scu_role), bool(answer.scp_role))
        for answer in answers
        if answer.result == ContextResult.ACCEPTED and (answer.scu_role, answer.scp_role) != (None, None)
    }
    pdu = A_ASSOCIATE_AC()
    extended = {syntax_of[answer.id]: answer.extended for answer in answers if answer.extended}
    information = _own_information(max_pdu_bytes, roles, extended, window=request.asks_for_window)
    pdu.variable_items = [_application_context(), *(_answer_item(answer) for answer in answers), information]
    encoded = bytearray(pdu.encode())
    encoded[TITLES] = titles
    return bytes(encoded)


def write_rejection(rejection: Rejection) -> bytes:
    """An A-ASSOCIATE-RJ PDU."""
    pdu = A_ASSOCIATE_RJ()
    pdu.result, pdu.source, pdu.reason_diagnostic = rejection.result, rejection.source, rejection.reason
    return bytes(pdu.encode())


def _application_context() -> ApplicationContextItem:
    item = ApplicationContextItem()
    item.application_context_name = APPLICATION_CONTEXT
    return item


def _transfer_item(name: str) -> TransferSyntaxSubItem:
    item = TransferSyntaxSubItem()
    item.transfer_syntax_name = name
    return item


def _request_item(context: ProposedContext) -> PresentationContextItemRQ:
    abstract = AbstractSyntaxSubItem()
    abstract.abstract_syntax_name = context.abstract_syntax
    item = PresentationContextItemRQ()
    item.presentation_context_id = context.id
    transfer = [_transfer_item(name) for name in context.transfer_syntaxes]
    item.abstract_transfer_syntax_sub_items = [abstract, *transfer]
    return item


def _answer_item(answer: ContextAnswer) -> PresentationContextItemAC:
    item = PresentationContextItemAC()
    item.presentation_context_id, item.result_reason = answer.id, int(answer.result)
    accepted = answer.result == ContextResult.ACCEPTED
    # The transfer syntax of a context that was not accepted is not significant (PS3.8 section 9.3.3.2).
    item.transfer_syntax_sub_item = [_transfer_item(answer.transfer_syntax if accepted else IMPLICIT_LE)]
    return item


def _own_information(
    max_pdu_bytes: int, roles: Mapping[str, tuple[bool, bool]], extended: Mapping[str, bytes], *, window: bool
) -> UserInformationItem:
    """What we say of ourselves. A role for a SOP class that is no UID of the strict form is not granted."""
    length = MaximumLengthSubItem()
    length.maximum_length_received = max_pdu_bytes
    class_uid = ImplementationClassUIDSubItem()
    class_uid.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    version = ImplementationVersionNameSubItem()
    version.implementation_version_name = IMPLEMENTATION_VERSION
    items: list[Any] = [length, class_uid]
    if window:
        one = AsynchronousOperationsWindowSubItem()
        one.maximum_number_operations_invoked = one.maximum_number_operations_performed = 1
        items.append(one)
    for name, (scu, scp) in roles.items():
        if is_uid(name) and not Uid(name).has_leading_zero:
            role = SCP_SCU_RoleSelectionSubItem()
            role.sop_class_uid, role.scu_role, role.scp_role = name, int(scu), int(scp)
            items.append(role)
    for name, agreed in extended.items():
        agreement = SOPClassExtendedNegotiationSubItem()
        agreement.sop_class_uid, agreement.service_class_application_information = name, agreed
        items.append(agreement)
    information = UserInformationItem()
    information.user_data = [*items, version]
    return information
