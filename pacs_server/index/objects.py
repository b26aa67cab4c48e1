"""Objects as the index sees them: what arrives, what is held, what became of an arrival."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import Enum

from pacs_server.dicom.audit import Actor, Event, EventKind, digest_over
from pacs_server.dicom.describe import Description, Flag
from pacs_server.dicom.identity import Digest
from pacs_server.dicom.operations import Fate, Operation


class Outcome(Enum):
    """What an object turned out to be."""

    NEW = "new"
    DUPLICATE = "duplicate"
    VERSION = "version"
    ENCODING = "encoding"
    TRASHED = "in the trash"


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyRow:
    """One copy: the volume, and the path relative to its root."""

    volume_id: str
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredObject:
    """One content held under a SOP Instance UID."""

    id: int
    digest: str
    role: str
    transfer_syntax: str
    copies: tuple[CopyRow, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What the study of an object that is about to be stored holds under its UID, the day of the study if that is
    known, and what was decided about its contents under the UID, by digest.
    """

    study_day: date | None
    objects: tuple[StoredObject, ...]
    fates: Mapping[str, Fate]


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """An object whose file is durable and whose row is not yet there.

    `role_beside_current` is the role it takes when its study has another content current under its UID; `lacks_copies`
    says that more are wanted than there are, so that they are owed from the same moment on. `readmission` lets it in
    although it was deleted. One that `may_be_deleted`, which is not known here yet, is noted where it is held
    (Operations.take_over). One that `may_be_in_trash` comes from nobody who wants it back. One that `is_held` already
    was sent again, and nothing of it was written. `routes` may forward it, `partners` get it. `actor` tells more of who
    brought it than `sender`: without an association it is an import, and without an actor it was found on a volume.
    """

    description: Description
    digest: Digest
    transfer_syntax: str
    size_bytes: int
    copies: tuple[CopyRow, ...]
    received_at: datetime
    day: date
    sender: str
    role_beside_current: str = "version"
    lacks_copies: bool = False
    readmission: Operation | None = None
    may_be_deleted: bool = False
    may_be_in_trash: bool = False
    is_held: bool = False
    routes: tuple[str, ...] = ()
    partners: tuple[str, ...] = ()
    actor: Actor | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """What became of an arrival."""

    outcome: Outcome
    flags: tuple[Flag, ...] = ()


def received(arrivals: Iterable[Arrival], now: datetime) -> list[Event]:
    """What the audit trail tells of objects that are recorded together: one event for each association and study, which
    counts them, and one for each that is let in although it was deleted. What was found is found `now`, however old its
    file is.
    """
    parts: dict[tuple[EventKind, Actor, str, str], list[Arrival]] = {}
    told: list[Event] = []
    for one in arrivals:
        described, actor = one.description, one.actor or Actor(who=one.sender)
        kind = _kind(actor) if one.actor else EventKind.ADOPT
        detail = _held_before(actor) if one.is_held else actor.channel
        parts.setdefault((kind, actor, described.study_uid, detail), []).append(one)
        if one.readmission is not None:
            told.append(_event(EventKind.READMIT, actor, [described], one.received_at, one.readmission.reason))
    for (kind, actor, _, detail), part in parts.items():
        at = now if kind is EventKind.ADOPT else max(one.received_at for one in part)
        told.append(_event(kind, actor, [one.description for one in part], at, detail))
    return told


def held_before(actor: Actor, description: Description, at: datetime) -> Event:
    """What the audit trail tells of an object that was received and is held already, with all its copies."""
    return _event(_kind(actor), actor, [description], at, _held_before(actor))


def _held_before(actor: Actor) -> str:
    return "; ".join(filter(None, ("held before", actor.channel)))


def _kind(actor: Actor) -> EventKind:
    return EventKind.STORE if actor.association else EventKind.IMPORT


def _event(kind: EventKind, actor: Actor, objects: Sequence[Description], at: datetime, detail: str) -> Event:
    patient = objects[0].patient
    return Event(
        kind=kind,
        at=at,
        who=actor.who,
        person=actor.person,
        address=actor.address,
        patient_id=str(patient["patient_id"] or ""),
        issuer=str(patient["issuer"] or ""),
        study_uid=objects[0].study_uid,
        count=len(objects),
        uid_digest=digest_over(one.sop_uid for one in objects),
        detail=detail,
    )
