"""What is written down of who did what, and the chain that makes a later change of it show: each row's hash covers the
row and the hash before it.

Which events there are follows PS3.15 section A.5; docs/operate/audit.md says which are written down and which are not.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final, TypeAlias

import blake3

# The values of a row in the order in which its hash covers them, behind the hash before it, the chain and the number.
COLUMNS: Final = (
    "at", "event", "outcome", "who", "address", "target", "patient_id", "issuer", "study_uid", "object_count",
    "uid_digest", "detail", "person",
)  # fmt: skip
MAX_DETAIL_CHARACTERS: Final = 2_000
# As many as the subject of a token may have (OpenID Connect Core 1.0 section 2): two persons never look like one.
MAX_PERSON_CHARACTERS: Final = 255
_MAX_CHARACTERS: Final = 200
_IDEOGRAPHIC_SPACE: Final = "\u3000"
_DIGEST_BYTES: Final = 16
_DIGESTS: Final = 1 << 8 * _DIGEST_BYTES

Values: TypeAlias = tuple[str | int, ...]


class EventKind(StrEnum):
    """What happened."""

    START = "start"  # a process of the server began
    STOP = "stop"  # it ended because it was told to
    ASSOCIATION = "association"  # one that was refused, in part or whole, or that broke the protocol
    STORE = "store"  # objects were received from a peer
    QUERY = "query"
    BEGIN = "begin"  # objects of a study are about to be sent because a peer asked for them
    SEND = "send"  # they were sent
    COMMITMENT = "commitment"
    IMPORT = "import"
    EXPORT = "export"
    ADOPT = "adopt"  # objects were found on a volume without a row
    # Operations of dicom/operations.py
    HOLD = "hold"
    RELEASE = "release"
    DELETE = "delete"
    RESTORE = "restore"
    PURGE = "purge"
    READMIT = "readmit"
    VERSION = "version"
    DEPOSIT = "deposit"
    ALERT = "alert"  # damage, or a certificate that does not belong
    COMMAND = "command"  # a person changed something with `pacs`, or was refused it
    AUDIT = "audit"  # a person read this trail
    LOGIN = "login"  # a person at a peer said who they are


class EventOutcome(StrEnum):
    """How it ended."""

    DONE = "done"
    PARTLY = "partly"
    REFUSED = "refused"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """Who does something: an AE title or a person, from which address, on which association if on one; `person` is
    whoever has logged in at that AE title.
    """

    who: str
    address: str = ""
    association: int = 0
    person: str = ""

    @property
    def channel(self) -> str:
        """The association, for the detail of an event."""
        return f"association {self.association}" if self.association else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing that happened. `target` is to whom or where objects went, and of a query its SOP class; `count` is how
    many objects, answers or attempts; `uid_digest` is that over the SOP Instance UIDs of the objects. Of more than 2000
    characters of `detail` the first are kept. `person` is whoever has logged in, or tried to, where `who` is a peer.
    """

    kind: EventKind
    at: datetime
    who: str
    outcome: EventOutcome = EventOutcome.DONE
    address: str = ""
    target: str = ""
    patient_id: str = ""
    issuer: str = ""
    study_uid: str = ""
    count: int = 0
    uid_digest: str = ""
    detail: str = ""
    person: str = ""

    def values(self) -> Values:
        """The values of `COLUMNS`. Texts are cut, and have no character that a database or a terminal cannot take."""
        return (
            self.at.isoformat(timespec="microseconds"),
            self.kind.value,
            self.outcome.value,
            *(as_kept(text) for text in (self.who, self.address, self.target)),
            *(as_kept(text) for text in (self.patient_id, self.issuer, self.study_uid)),
            self.count,
            self.uid_digest,
            as_kept(self.detail, MAX_DETAIL_CHARACTERS),
            as_kept(self.person, MAX_PERSON_CHARACTERS),
        )


def hash_of(before: str, chain: str, number: int, values: Values) -> str:
    """The hash of a row, which covers its values and, by the hash of the row before it, all rows before it."""
    told = "\n".join((before, chain, str(number), *map(str, values)))  # no value has a line break in it
    told = told.removesuffix("\n")  # a row without a person has the hash that it had before there were persons
    return blake3.blake3(told.encode()).hexdigest()


def digest_over(sop_uids: Iterable[str]) -> str:
    """A digest over UIDs in whatever order: the sum of the digests of each. So the digests of several rows add up to
    that over the objects of all of them, and it can be told later whether rows account for a set of objects.
    """
    digests = (blake3.blake3(uid.encode()).digest(_DIGEST_BYTES) for uid in sop_uids)
    return _as_text(sum(int.from_bytes(digest) for digest in digests))


def sum_of(digests: Iterable[str]) -> str:
    """The digest over the UIDs of all of these."""
    return _as_text(sum(int(digest, 16) for digest in digests if digest))


def _as_text(total: int) -> str:
    return f"{total % _DIGESTS:0{2 * _DIGEST_BYTES}x}"


def as_kept(text: str, most: int = _MAX_CHARACTERS) -> str:
    """A text as rows have it: cut, and with escapes for what could move a cursor. The space of Japanese stays, by which
    a name or a reason is typed there.
    """
    cut = text[:most]
    if cut.isprintable():
        return cut
    return "".join(
        one if one.isprintable() or one == _IDEOGRAPHIC_SPACE else one.encode("unicode_escape").decode("ascii")
        for one in cut
    )
