"""What persons decide about objects that no object's file tells: holds, deletions, versions. Each decision is an
operation, a small file of its own on every volume; what holds now follows from all of them in their order.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

import blake3

from pacs_server.dicom.deposits import Deposit, from_told, to_told
from pacs_server.dicom.identity import Digest, Uid
from pacs_server.errors import InvalidUid, Undecodable

# So that one operation stays a small file; more objects take several.
MAX_OBJECTS: Final = 2_000
_FORMAT: Final = 1
_MAX_COUNTER: Final = 1 << 60
_ROLES: Final = frozenset({"", "current", "version", "encoding"})


class OperationKind(StrEnum):
    """What was decided."""

    HOLD = "hold"  # the study must not be deleted
    RELEASE = "release"  # it may be again
    DELETE = "delete"  # objects go to the trash
    RESTORE = "restore"  # they come back
    PURGE = "purge"  # they are destroyed; this is their tombstone
    READMIT = "readmit"  # one that was in the trash or purged was received anew
    VERSION = "version"  # of the contents under one SOP Instance UID, this is the current one
    DEPOSIT = "deposit"  # an archive server keeps objects, so that their copies here may go


class Fate(StrEnum):
    """What became of an object."""

    KEPT = "kept"
    TRASHED = "trashed"
    PURGED = "purged"


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """One content under a SOP Instance UID, and the role that it had, or is to have, beside others."""

    sop_uid: str
    digest: str
    role: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One decision about one study. Of two, the one with the greater (counter, site_id) is the later: a site counts on
    from the greatest that it knows of, so no clock decides.
    """

    counter: int
    site_id: str
    kind: OperationKind
    study_uid: str
    objects: tuple[Content, ...] = ()
    at: datetime
    who: str
    reason: str
    deposit: Deposit | None = None

    @property
    def stamp(self) -> tuple[int, str]:
        """Its place in the order of operations."""
        return self.counter, self.site_id


@dataclass(slots=True)
class StudyFate:
    """What holds for a study after some operations: the hold that is in force, and what was decided about objects, by
    SOP Instance UID and digest, with the operation that did. `deposits` are the archive servers that keep an object, by
    their AE titles; `given_up` are those of what was purged.
    """

    hold: Operation | None = None
    objects: dict[tuple[str, str], tuple[Fate, str, Operation]] = field(default_factory=dict)
    choices: dict[str, tuple[str, Operation]] = field(default_factory=dict)
    deposits: dict[tuple[str, str], dict[str, Operation]] = field(default_factory=dict)
    given_up: dict[tuple[str, str], dict[str, Operation]] = field(default_factory=dict)


def fate_after(operations: Iterable[Operation]) -> StudyFate:
    """What holds after these operations on one study, in whichever order they became known.

    A hold beats a deletion: while one is in force nothing is trashed or purged, and it brings back what is in the
    trash. Only what is in the trash is purged, and it comes back only by being received anew. What an archive server
    keeps of it is known no more then.

    A hold and a restore name what they bring back from the trash of their site. What another site purged at the same
    time, which was not known there, is not purged then.
    """
    now = StudyFate()
    for one in sorted(operations, key=lambda operation: operation.stamp):
        match one.kind:
            case OperationKind.HOLD:
                _hold(now, one)
            case OperationKind.RELEASE:
                now.hold = None
            case OperationKind.DEPOSIT if one.deposit is not None:
                for content in one.objects:
                    now.deposits.setdefault((content.sop_uid, content.digest), {})[one.deposit.aet] = one
            case OperationKind.VERSION:
                now.choices |= {content.sop_uid: (content.digest, one) for content in one.objects}
            case _:
                for content in one.objects:
                    _decide(now, one, content)
    return now


def _hold(now: StudyFate, one: Operation) -> None:
    now.hold = one
    named = {(content.sop_uid, content.digest): content.role for content in one.objects}
    for name, (fate, role, _) in list(now.objects.items()):
        if fate is Fate.TRASHED:
            now.objects[name] = Fate.KEPT, named.get(name) or role, one
    for content in one.objects:
        _bring_back(now, one, content)


def _decide(now: StudyFate, one: Operation, content: Content) -> None:
    name = content.sop_uid, content.digest
    before, role, _ = now.objects.get(name, (Fate.KEPT, content.role, one))
    match one.kind:
        case OperationKind.READMIT:
            now.objects[name] = Fate.KEPT, content.role, one
        case OperationKind.RESTORE if before is Fate.TRASHED:
            now.objects[name] = Fate.KEPT, content.role or role, one
        case OperationKind.RESTORE:
            _bring_back(now, one, content)
        case OperationKind.DELETE if before is Fate.KEPT and now.hold is None:
            now.objects[name] = Fate.TRASHED, content.role, one
        case OperationKind.PURGE if before is Fate.TRASHED and now.hold is None:
            now.objects[name] = Fate.PURGED, role, one
            now.given_up[name] = now.deposits.pop(name, {})


def _bring_back(now: StudyFate, one: Operation, content: Content) -> None:
    """Undo the purge of another site: a site that brings back what was in its trash did not know of that purge. Of
    its own purges a site knows.
    """
    name = content.sop_uid, content.digest
    fate, role, by = now.objects.get(name, (Fate.KEPT, "", one))
    if fate is Fate.PURGED and by.site_id != one.site_id:
        now.objects[name] = Fate.KEPT, content.role or role, one
        now.deposits[name] = now.given_up.pop(name, {}) | now.deposits.get(name, {})


def to_text(operation: Operation) -> str:
    """The file of an operation: one JSON object that a person can read, with a check of its own."""
    told = {
        "format": _FORMAT,
        "site": operation.site_id,
        "counter": operation.counter,
        "kind": operation.kind.value,
        "at": operation.at.isoformat(),
        "who": operation.who,
        "reason": operation.reason,
        "study": operation.study_uid,
        "objects": [[one.sop_uid, one.digest, one.role] for one in operation.objects],
    }
    if operation.deposit is not None:
        told["deposit"] = to_told(operation.deposit)
    return json.dumps(told | {"check": _check(told)}, ensure_ascii=False) + "\n"


def from_text(text: str) -> Operation:
    """The operation in a file.

    Raises: Undecodable when it is damaged, or no operation.
    """
    try:
        return _operation(json.loads(text))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, InvalidUid) as error:
        raise Undecodable(f"this is no operation, or a damaged one: {type(error).__name__}: {error}") from error


def _operation(told: dict[str, Any]) -> Operation:
    if told.pop("check") != _check(told):
        raise ValueError("its check does not fit its content")
    if told["format"] != _FORMAT:
        raise ValueError(f"it has format {told['format']}, which this release does not know")
    counter, at = told["counter"], datetime.fromisoformat(told["at"])
    texts = [told[name] for name in ("site", "who", "reason", "study")]
    if not isinstance(counter, int) or not 0 < counter < _MAX_COUNTER or at.tzinfo is None:
        raise ValueError("its counter is no positive number, or its time has no time zone")
    if not all(isinstance(text, str) for text in texts) or not texts[0].isalnum():
        raise ValueError("its site, who, reason and study have to be texts, the site of letters and digits alone")
    return Operation(
        counter=counter,
        site_id=told["site"],
        kind=OperationKind(told["kind"]),
        study_uid=told["study"],
        objects=tuple(_content(*one) for one in told["objects"]),
        at=at,
        who=told["who"],
        reason=told["reason"],
        deposit=from_told(told["deposit"]) if "deposit" in told else None,
    )


def _content(sop_uid: str, digest: str, role: str) -> Content:
    if role not in _ROLES:
        raise ValueError(f"it gives an object the role {role!r}, which there is not")
    return Content(sop_uid=Uid(sop_uid), digest=Digest(digest), role=role)


def _check(told: dict[str, Any]) -> str:
    return blake3.blake3(json.dumps(told, sort_keys=True).encode("ascii")).hexdigest()
