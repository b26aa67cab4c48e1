"""A-ASSOCIATE-RQ, -AC and -RJ as we send them, encoded by pynetdicom.

Source: PS3.8 sections 9.3.2 to 9.3.4, PS3.7 annex D.3.3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from typing import Any

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
    UserIdentitySubItemAC,
    UserIdentitySubItemRQ,
    UserInformationItem,
)

from pacs_server.dicom.elements import IMPLICIT_LE
from pacs_server.dicom.identity import Uid, is_uid
from pacs_server.dicom.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION
from pacs_server.net.associate import APPLICATION_CONTEXT, TITLES
from pacs_server.net.negotiate import (
    AssociationRequest,
    ContextAnswer,
    ContextResult,
    ProposedContext,
    Rejection,
    UserIdentity,
)


def write_request(
    called: str,
    calling: str,
    contexts: Sequence[ProposedContext],
    max_pdu_bytes: int,
    identity: UserIdentity | None = None,
) -> bytes:
    """An A-ASSOCIATE-RQ PDU. Both titles are AE titles of the standard's form."""
    pdu = A_ASSOCIATE_RQ()
    pdu.called_ae_title, pdu.calling_ae_title = called, calling
    roles = {
        context.abstract_syntax: (bool(context.scu_role), bool(context.scp_role))
        for context in contexts
        if context.scp_role is not None
    }
    items = [_request_item(context) for context in contexts]
    information = _own_information(max_pdu_bytes, roles, {}, window=False)
    if identity is not None:
        information.user_data.append(_identity_item(identity))
    pdu.variable_items = [_application_context(), *items, information]
    return bytes(pdu.encode())


def _identity_item(identity: UserIdentity) -> UserIdentitySubItemRQ:
    item = UserIdentitySubItemRQ()
    item.user_identity_type, item.positive_response_requested = int(identity.kind), int(identity.wants_response)
    item.primary_field, item.secondary_field = identity.primary, identity.secondary
    return item


def write_acceptance(
    request: AssociationRequest,
    titles: bytes,
    answers: Sequence[ContextAnswer],
    max_pdu_bytes: int,
    *,
    confirms_identity: bool = False,
) -> bytes:
    """An A-ASSOCIATE-AC PDU that answers each context; `titles` are the 32 bytes of the request, sent back untouched.

    An asynchronous operations window is answered with 1 and 1 if one was asked for; a user identity if it was believed
    and a response was asked for, with one of no length (PS3.7 table D.3-15: of a passcode there is nothing to say).
    """
    identity = request.identity
    confirms = confirms_identity and identity is not None and identity.wants_response
    told = _acceptance(
        request.contexts, tuple(answers), max_pdu_bytes, window=request.asks_for_window, confirms=confirms
    )
    encoded = bytearray(told)
    encoded[TITLES] = titles
    return bytes(encoded)


# Devices propose the same each time. Encoding the answer takes 0.03 ms for a C-ECHO and 3 for 128 contexts.
@lru_cache(maxsize=64)
def _acceptance(
    contexts: tuple[ProposedContext, ...],
    answers: tuple[ContextAnswer, ...],
    max_pdu_bytes: int,
    *,
    window: bool,
    confirms: bool,
) -> bytes:
    syntax_of = {context.id: context.abstract_syntax for context in contexts}
    roles = {
        syntax_of[answer.id]: (bool(answer.scu_role), bool(answer.scp_role))
        for answer in answers
        if answer.result == ContextResult.ACCEPTED
        and answer.tells_roles
        and (answer.scu_role, answer.scp_role) != (None, None)
    }
    extended = {syntax_of[answer.id]: answer.extended for answer in answers if answer.extended}
    information = _own_information(max_pdu_bytes, roles, extended, window=window)
    if confirms:
        confirmation = UserIdentitySubItemAC()
        confirmation.server_response = b""
        information.user_data.append(confirmation)
    pdu = A_ASSOCIATE_AC()
    pdu.variable_items = [_application_context(), *(_answer_item(answer) for answer in answers), information]
    return bytes(pdu.encode())


def write_rejection(rejection: Rejection) -> bytes:
    """An A-ASSOCIATE-RJ PDU."""
    pdu = A_ASSOCIATE_RJ()
    pdu.result, pdu.source, pdu.reason_diagnostic = rejection.result, rejection.source, rejection.reason
    return bytes(pdu.encode())


# Items that every association says alike are made once. Nobody changes an item that was made.
@cache
def _application_context() -> ApplicationContextItem:
    item = ApplicationContextItem()
    item.application_context_name = APPLICATION_CONTEXT
    return item


@lru_cache(maxsize=64)
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


@cache
def _implementation() -> tuple[ImplementationClassUIDSubItem, ImplementationVersionNameSubItem]:
    class_uid = ImplementationClassUIDSubItem()
    class_uid.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    version = ImplementationVersionNameSubItem()
    version.implementation_version_name = IMPLEMENTATION_VERSION
    return class_uid, version


def _own_information(
    max_pdu_bytes: int, roles: Mapping[str, tuple[bool, bool]], extended: Mapping[str, bytes], *, window: bool
) -> UserInformationItem:
    """What we say of ourselves. A role for a SOP class that is no UID of the strict form is not granted."""
    length = MaximumLengthSubItem()
    length.maximum_length_received = max_pdu_bytes
    class_uid, version = _implementation()
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
