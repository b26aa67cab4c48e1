"""What two application entities agree on at the start of an association, as values; the bytes are in `associate`.

Source: PS3.8 sections 7.1 and 9.3.2 to 9.3.4, PS3.7 annex D.3.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from functools import lru_cache
from typing import Final, TypeAlias

from pynetdicom import ALL_TRANSFER_SYNTAXES, sop_class
from pynetdicom.presentation import AllStoragePresentationContexts, StoragePresentationContexts

from pacs_server.dicom.identity import Uid, is_uid

MAX_CONTEXTS: Final = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposedContext:
    """One presentation context that the requestor proposes. The roles are None where it sent no role item."""

    id: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]
    scu_role: bool | None = None
    scp_role: bool | None = None


class IdentityKind(IntEnum):
    """What a user identity is. Source: PS3.7 table D.3-14."""

    NAME = 1
    NAME_AND_PASSCODE = 2
    KERBEROS = 3
    SAML = 4
    JSON_WEB_TOKEN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class UserIdentity:
    """Who a requestor says is at it, in a well-formed item that proves nothing yet: the two fields as received, which
    are secrets and not in the repr; and whether it wants to be told that it was believed.
    """

    kind: IdentityKind
    primary: bytes = field(repr=False)
    secondary: bytes = field(default=b"", repr=False)
    wants_response: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AssociationRequest:
    """A well-formed A-ASSOCIATE-RQ. All texts are as received and may be rubbish; titles are without outer spaces.

    `max_pdu_bytes` is the largest P-DATA PDU that the peer takes, 0 for any. `extended` is the application
    information of SOP class extended negotiation, by abstract syntax. Of a request that was not read to its end the
    titles are known.
    """

    calling_aet: str
    called_aet: str
    peer_address: str
    contexts: tuple[ProposedContext, ...] = ()
    max_pdu_bytes: int = 0
    implementation_class_uid: str = ""
    implementation_version: str = ""
    extended: Mapping[str, bytes] = field(default_factory=dict)
    asks_for_window: bool = False
    identity: UserIdentity | None = None


class ContextResult(IntEnum):
    """How a context was answered. Source: PS3.8 table 9-18."""

    ACCEPTED = 0
    USER_REJECTION = 1
    NO_REASON = 2
    ABSTRACT_SYNTAX_NOT_SUPPORTED = 3
    TRANSFER_SYNTAXES_NOT_SUPPORTED = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextAnswer:
    """The answer to one proposed context. Roles are those granted to the requestor, None the default; no role item is
    sent where both are None, or without `tells_roles`, where it proposed none.

    `extended` is the application information agreed for its SOP class; empty sends none.
    """

    id: int
    result: ContextResult
    transfer_syntax: str
    scu_role: bool | None = None
    scp_role: bool | None = None
    tells_roles: bool = True
    extended: bytes = b""


@dataclass(frozen=True, slots=True)
class Rejection:
    """An A-ASSOCIATE-RJ: its three numbers and what they mean; `why` is for our log alone, and no difference. `request`
    is what was asked where that is rejected whoever asks.

    Source: PS3.8 table 9-21.
    """

    result: int
    source: int
    reason: int
    text: str
    why: str = field(default="", compare=False)
    request: AssociationRequest | None = field(default=None, compare=False)


NO_REASON: Final = Rejection(1, 1, 1, "no reason given")
IDENTITY_NOT_SOUND: Final = replace(
    NO_REASON, why="its user identity is of a type that nobody knows, is too long, or ends before it should"
)
# A user that is not believed (PS3.7 section D.3.3.7), and one that is not even asked while its address made too many
# attempts.
IDENTITY_NOT_ACCEPTED: Final = Rejection(1, 2, 1, "user identity not accepted, or no reason given")
TOO_MANY_ATTEMPTS: Final = Rejection(2, 2, 1, "user identity not accepted, or no reason given")
CONTEXT_NAME: Final = Rejection(1, 1, 2, "application context name not supported")
CALLING_NOT_RECOGNISED: Final = Rejection(1, 1, 3, "calling AE title not recognised")
CALLED_NOT_RECOGNISED: Final = Rejection(1, 1, 7, "called AE title not recognised")
PROTOCOL_VERSION: Final = Rejection(1, 2, 2, "protocol version not supported")
CONGESTION: Final = Rejection(2, 3, 1, "temporary congestion")
LOCAL_LIMIT: Final = Rejection(2, 3, 2, "local limit exceeded: too many associations at once, of all or of this peer")

_REJECTIONS: Final = {
    (rejection.source, rejection.reason): rejection.text
    for rejection in (
        NO_REASON,
        CONTEXT_NAME,
        CALLING_NOT_RECOGNISED,
        CALLED_NOT_RECOGNISED,
        IDENTITY_NOT_ACCEPTED,
        PROTOCOL_VERSION,
        CONGESTION,
        LOCAL_LIMIT,
    )
}

Decide: TypeAlias = Callable[[AssociationRequest], Rejection | Sequence[ContextAnswer]]


def rejection(result: int, source: int, reason: int) -> Rejection:
    """A rejection that a peer sent, with its meaning in words."""
    meaning = _REJECTIONS.get((source, reason), f"source {source}, reason {reason}")
    return Rejection(result, source, reason, meaning if result == 1 else f"{meaning} (it may accept later)")


@dataclass(frozen=True, slots=True)
class Context:
    """An accepted presentation context. `as_scp`, `as_scu`: the roles in which we may act on it. `extended`: what was
    agreed beyond that for its SOP class (PS3.7 section D.3.3.5).
    """

    id: int
    abstract_syntax: str
    transfer_syntax: str
    as_scp: bool
    as_scu: bool
    extended: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """What was negotiated. `refused` tells for each context that was not accepted its abstract syntax and why."""

    calling_aet: str
    called_aet: str
    peer_address: str
    contexts: Mapping[int, Context]
    refused: Mapping[int, tuple[str, ContextResult]]
    peer_max_pdu_bytes: int
    implementation: str = ""


# --- SOP classes and transfer syntaxes ---------------------------------------------------------------------------

VERIFICATION: Final = "1.2.840.10008.1.1"
_DICOM_ROOT: Final = "1.2.840.10008."
_STORAGE: Final = frozenset(str(context.abstract_syntax) for context in AllStoragePresentationContexts)
# Those that archives are known to take and send, for who does not know of which class an object is.
COMMON_STORAGE: Final = tuple(str(context.abstract_syntax) for context in StoragePresentationContexts)
_TABLED: Final = frozenset(str(uid) for uid in vars(sop_class).values() if isinstance(uid, sop_class.SOPClass))

# Retired processes of JPEG and the encapsulated uncompressed syntax, which older archives still hold.
_RETIRED: Final = tuple(f"1.2.840.10008.1.2.4.{number}" for number in (*range(52, 57), *range(58, 67)))
_LIVE_VIDEO: Final = "1.2.840.10008.1.2.7."  # DICOM-RTV (PS3.22): never the encoding of a data set that is stored

# Every transfer syntax of the standard that encodes a data set whose head can be read.
READABLE_SYNTAXES: Final[frozenset[str]] = frozenset(
    [str(uid) for uid in ALL_TRANSFER_SYNTAXES if not str(uid).startswith(_LIVE_VIDEO)]
    + ["1.2.840.10008.1.2.1.98", *_RETIRED]
)


def is_registered_class(uid: str) -> bool:
    """Whether the standard assigns this UID, in the tables of pynetdicom or in the dictionary behind them."""
    return uid in _TABLED or _registry_entry(uid) is not None


def is_storage_class(uid: str) -> bool:
    """Whether objects of this class are stored with C-STORE: a storage class of the standard, or one unknown to it.

    A registered class that is not storage (worklist, commitment, the media directory, objects that belong to no
    patient) is not one of them, and neither is a text that is no UID. Source: PS3.4 annexes B.5 and GG.
    """
    if uid in _STORAGE:
        return True
    if uid in _TABLED:
        return False
    entry = _registry_entry(uid)
    if entry is None:
        return is_uid(uid)
    kind, name = entry
    return kind == "SOP Class" and "Storage" in name and "Commitment" not in name


def name_of(uid: str) -> str:
    """What the standard calls a SOP class or transfer syntax; the UID where it has no name for it."""
    entry = _registry_entry(uid)
    return entry[1] if entry else uid


@lru_cache(maxsize=1024)
def _registry_entry(uid: str) -> tuple[str, str] | None:
    """Type and name of a UID in the standard's registry, where retired ones are too."""
    if not uid.startswith(_DICOM_ROOT) or not is_uid(uid) or Uid(uid).has_leading_zero:
        return None
    known = sop_class.SOPClass(uid)
    return (str(known.type), str(known.name)) if known.type else None
