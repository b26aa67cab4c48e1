"""A-ASSOCIATE-RQ and -AC as a peer sends them, walked here; what we send is in net/associate_writing.py.

The walk bounds every length and count before anything is made of it. It reads the names too, because the decoder of
pynetdicom 3.0.4 makes pydicom UIDs of them: those warn of each malformed text, and Python keeps every such text for
ever; and 128 contexts of 60 syntaxes take it 52 ms. Source: PS3.8 sections 9.3.2 to 9.3.4, PS3.7 annex D.3.3.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Final

from pacs_server.dicom.identity import MAX_UID_CHARACTERS, uid_text
from pacs_server.errors import ProtocolViolation
from pacs_server.net.negotiate import (
    CONTEXT_NAME,
    IDENTITY_NOT_SOUND,
    PROTOCOL_VERSION,
    AssociationRequest,
    IdentityKind,
    ProposedContext,
    Rejection,
    UserIdentity,
)
from pacs_server.net.wire import PDV_HEADER_BYTES

APPLICATION_CONTEXT: Final = "1.2.840.10008.3.1.1.1"
TITLES: Final = slice(10, 42)  # called, then calling AE title, 16 bytes each
MAX_SYNTAXES: Final = 256
MAX_USER_ITEMS: Final = 1024
MAX_CREDENTIAL_BYTES: Final = 16_384

# A presentation context of a dozen transfer syntaxes; who sends longer ones fills no memory.
_REMEMBERED_BYTES: Final = 512

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
    identity: UserIdentity | None = None
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
    titled = AssociationRequest(
        calling_aet=pdu[26:42].decode("latin-1").strip(" "),
        called_aet=pdu[10:26].decode("latin-1").strip(" "),
        peer_address=peer_address,
    )
    if not pdu[7] & 1:
        return replace(PROTOCOL_VERSION, request=titled)
    name, items, user = _variable_items(pdu, _PROPOSED)
    if name != APPLICATION_CONTEXT:
        return replace(CONTEXT_NAME, request=titled)
    contexts = tuple(_proposed(pdu, start, end, user.roles) for start, end in items)
    if not contexts:
        raise ProtocolViolation("an association request proposes no presentation context")
    if len({context.id for context in contexts}) != len(contexts):
        raise ProtocolViolation("an association request uses a presentation context ID twice")
    request = replace(
        titled,
        contexts=contexts,
        max_pdu_bytes=user.max_pdu_bytes,
        implementation_class_uid=user.implementation_class_uid,
        implementation_version=user.implementation_version,
        extended=user.extended,
        asks_for_window=user.asks_for_window,
        identity=user.identity,
    )
    if not user.identity_is_sound:
        return replace(IDENTITY_NOT_SOUND, request=request)
    return request


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
    item = pdu[start:end]
    context = _remembered(item) if len(item) <= _REMEMBERED_BYTES else _context(item)
    if (role := roles.get(context.abstract_syntax)) is not None:
        return replace(context, scu_role=role[0], scp_role=role[1])
    return context


def _context(item: bytes) -> ProposedContext:
    """What the value of a presentation context item says, as yet without roles."""
    context_id = item[0]
    abstract, transfer = [], []
    for kind, *value in _items(item, 4, len(item)):
        if kind == _TRANSFER:
            transfer.append(_name(item, *value))
        elif kind == _ABSTRACT:
            abstract.append(_name(item, *value))
        else:
            raise ProtocolViolation(f"presentation context {context_id} holds an item of type 0x{kind:02X}")
    if context_id % 2 == 0:
        raise ProtocolViolation(f"presentation context ID {context_id} is not odd")
    if len(abstract) != 1 or not all(abstract):
        raise ProtocolViolation(f"presentation context {context_id} has {len(abstract)} abstract syntaxes, or no name")
    if not transfer:
        raise ProtocolViolation(f"presentation context {context_id} proposes no transfer syntax")
    return ProposedContext(id=context_id, abstract_syntax=abstract[0], transfer_syntaxes=tuple(transfer))


# Devices propose the same each time: 128 contexts take 0.3 ms instead of 1.9.
_remembered: Final = lru_cache(maxsize=1_024)(_context)


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
            is_first = user.identity is None
            user.identity = _identity(pdu[first:last])
            user.identity_is_sound &= is_first and user.identity is not None
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


def _identity(value: bytes) -> UserIdentity | None:
    """A user identity; None when it has not the standard's form and size. Source: PS3.7 table D.3-14."""
    if not MAX_CREDENTIAL_BYTES >= len(value) >= 6 or value[0] not in list(IdentityKind):
        return None
    end = 4 + int.from_bytes(value[2:4], "big")
    primary, secondary = value[4:end], value[end + 2 :]
    if not primary or len(value) != end + 2 + int.from_bytes(value[end : end + 2], "big"):
        return None
    return UserIdentity(kind=IdentityKind(value[0]), primary=primary, secondary=secondary, wants_response=value[1] == 1)
