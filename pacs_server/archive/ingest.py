"""The promise: when an object is acknowledged, and in which order that is earned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from itertools import chain
from pathlib import PurePosixPath
from typing import Final, NamedTuple

from pacs_server.archive.reception import Reception
from pacs_server.dicom.describe import Description
from pacs_server.dicom.elements import IMPLICIT_LE, NATIVE_SYNTAXES
from pacs_server.dicom.identity import Digest, ObjectHasher
from pacs_server.dicom.operations import Content, Fate, Operation, OperationKind
from pacs_server.dicom.part10 import read_file_meta
from pacs_server.dicom.reencode import canonical
from pacs_server.dicom.stored import is_intact
from pacs_server.dicom.tiny_object import TRIAL_STUDY_UID
from pacs_server.errors import (
    CopyUnreadable,
    IndexOvertaken,
    NotAsGiven,
    NotEnoughCopies,
    Refused,
    Undecodable,
    VolumeUnavailable,
)
from pacs_server.index.objects import Arrival, CopyRow, Known, Outcome, Recorded, StoredObject
from pacs_server.index.recording.instances import Instances
from pacs_server.storage.operations import keep_everywhere
from pacs_server.storage.placement import NamesCopy, Placement
from pacs_server.storage.reading import OpenCopy
from pacs_server.storage.writing import CopyPlace

_ATTEMPTS: Final = 3


def ingest(reception: Reception, *, is_again: bool = False) -> Recorded:
    """Status 0x0000 means: the object is flushed to disk on as many volumes as the policy asks for, under its final
    name, and is in the index, findable. Nothing else is ever answered with success. Whatever happens afterwards
    (kill -9, power cut, a dead NAS, a full disk), an acknowledged object is found again, byte for byte.

    Order, always: file first, then row, then status. The caller answers the status when this returns.

    Raises: BadObject when it cannot be filed; NotEnoughCopies or IndexUnavailable when it could not be kept safe;
    Refused when a partner hands on what was purged here meanwhile; NotAsGiven or Refused when somebody who was asked
    for an object sends another content, or what was deleted.
    """
    description, digest = reception.describe(), reception.digest()
    standing = _standing(reception, description, digest)
    if standing.is_held:
        reception.abandon()
        if not standing.may_be_deleted:
            reception.instances.note_held(reception.origin.brought_by, description, reception.now)
            return Recorded(outcome=Outcome.DUPLICATE)

    copies = () if standing.is_held else reception.keep(standing.day, description, digest)  # file
    arrival = _arrival(reception, description, digest, standing, copies)
    # Row; then the caller's status. The file of an object that gets none stays, because an equal one may be on its way
    # to the same path (docs/adr/0002).
    recorded = _recorded(arrival, reception)
    try:
        if standing.was_here or recorded.outcome is Outcome.DUPLICATE:
            _confirm(arrival, reception.instances, reception.placement)
    except NotEnoughCopies:
        if is_again or not reception.is_at_hand:
            raise
        # As if it was sent again: nobody removes its file now that it has a row.
        return ingest(reception, is_again=True)
    return recorded


class _Standing(NamedTuple):
    """How an object that came stands to what is here."""

    day: date  # of its study
    beside: tuple[StoredObject, ...]  # what its study holds under its UID
    twin: StoredObject | None  # the same content among that
    fate: Fate  # what was decided about that content
    is_held: bool  # it is there, found, in as many intact copies as the policy needs
    may_be_deleted: bool  # by somebody of whom nobody has heard yet

    @property
    def was_deleted(self) -> bool:
        return self.fate is not Fate.KEPT

    @property
    def was_here(self) -> bool:
        return self.twin is not None or self.was_deleted


def _standing(reception: Reception, description: Description, digest: Digest) -> _Standing:
    """Raises: Refused, NotAsGiven when it is not to be taken."""
    known = reception.instances.known(description.sop_uid, description.study_uid)
    twin = next((held for held in known.objects if held.digest == digest), None)
    fate, giver = known.fates.get(digest, Fate.KEPT), reception.origin.through
    if giver and fate is Fate.PURGED:
        raise Refused(f"it was purged here, which {giver} is about to be told")
    if reception.origin.was_asked:
        _refuse_other(known, digest, reception.origin.aet, description.sop_uid)
    placement = reception.placement
    return _Standing(
        day=known.study_day or reception.now.date(),
        beside=known.objects,
        twin=twin,
        fate=fate,
        is_held=twin is not None and fate is Fate.KEPT and _intact_copies(twin, placement) >= placement.need,
        may_be_deleted=not giver and not _is_trial(description) and _may_be_deleted(reception, description, twin),
    )


def _arrival(
    reception: Reception, description: Description, digest: Digest, standing: _Standing, copies: Sequence[CopyPlace]
) -> Arrival:
    """What is recorded of an object whose copies are durable."""
    origin, placement = reception.origin, reception.placement
    is_let_in = standing.was_deleted and not origin.through
    is_trial = _is_trial(description)
    return Arrival(
        description=description,
        digest=digest,
        transfer_syntax=reception.declared.transfer_syntax,
        size_bytes=reception.size_bytes,
        copies=tuple(CopyRow(volume_id=copy.volume_id, path=copy.path) for copy in copies),
        received_at=reception.now,
        day=standing.day,
        sender=origin.aet,
        lacks_copies=not standing.is_held and placement.lacks(copies) > 0,
        role_beside_current=role_beside(standing.beside, reception.declared.transfer_syntax, copies, placement),
        readmission=_readmit(reception, description, digest, standing) if is_let_in else None,
        may_be_deleted=standing.may_be_deleted,
        may_be_in_trash=bool(origin.through),
        is_held=standing.is_held,
        routes=() if is_trial else reception.routes,
        partners=() if is_trial else reception.partners,
        actor=origin.brought_by,
    )


def _is_trial(description: Description) -> bool:
    return description.study_uid == TRIAL_STUDY_UID


def _recorded(arrival: Arrival, reception: Reception) -> Recorded:
    """Record it. Where another content of its study came or went meanwhile, what was decided about one that was deleted
    is decided anew: whether it is held again as that which is current, or beside it.

    Raises: IndexUnavailable; Refused or NotAsGiven when it is not to be taken any more.
    """
    for _ in range(_ATTEMPTS):
        try:
            return reception.instances.record(arrival)
        except IndexOvertaken:
            standing = _standing(reception, arrival.description, arrival.digest)
            again = _readmit(reception, arrival.description, arrival.digest, standing) if standing.was_deleted else None
            arrival = replace(arrival, readmission=again)
    return reception.instances.record(arrival)


def _refuse_other(known: Known, digest: Digest, aet: str, sop_uid: str) -> None:
    """What comes because it was asked for is what was meant, or something that nobody knew: it neither brings back what
    was deleted meanwhile, nor becomes a version of what it should have been.

    Raises: NotAsGiven; Refused.
    """
    is_deleted = known.fates.get(digest, Fate.KEPT) is not Fate.KEPT
    kept = [held for held in known.objects if known.fates.get(held.digest, Fate.KEPT) is Fate.KEPT]
    if is_deleted or (not kept and any(fate is not Fate.KEPT for fate in known.fates.values())):
        raise Refused(f"{sop_uid} was deleted here, and is not taken back because {aet} was asked for it")
    if kept and all(held.digest != digest for held in kept):
        raise NotAsGiven(f"{aet} gives back {sop_uid} with other bytes than it got")


def _confirm(arrival: Arrival, instances: Instances, placement: Placement) -> None:
    """Look whether the files of an object that was here before are there: that copy may have been on its way out when
    it was written again (archive/releasing.py).

    Raises: NotEnoughCopies when one is not.
    """
    for copy in arrival.copies:
        volume = placement.volume(copy.volume_id)
        try:
            is_there = volume is not None and volume.has_file(PurePosixPath(copy.path))
        except VolumeUnavailable as error:
            raise NotEnoughCopies(f"whether {copy.path} is still there is not known: {error}") from error
        if not is_there:
            problem = f"{copy.path} left its volume while it was stored again; it is taken when it is sent again"
            instances.mark_missing(arrival, copy, problem)
            raise NotEnoughCopies(problem)


def _may_be_deleted(reception: Reception, description: Description, twin: StoredObject | None) -> bool:
    """Whether an object may be deleted already that is held as far as is known: by a partner, or by a command here that
    was killed before its deletion took effect.
    """
    if reception.partners or twin is None:
        return bool(reception.partners)
    return reception.instances.operations.is_being_deleted(description.study_uid)


def _readmit(reception: Reception, description: Description, digest: Digest, standing: _Standing) -> Operation:
    """Decide, on every volume, that an object that was deleted is held again: so an index that is made anew knows."""
    is_beside = any(held.role == "current" for held in standing.beside)
    operation = reception.instances.operations.draft(
        OperationKind.READMIT,
        description.study_uid,
        [Content(sop_uid=description.sop_uid, digest=digest, role="version" if is_beside else "current")],
        now=reception.now,
        who=reception.origin.aet,
        reason=f"received again after it was {standing.fate}",
    )
    keep_everywhere(operation, reception.placement.volumes)
    return operation


def _intact_copies(held: StoredObject, placement: Placement) -> int:
    return placement.intact(held.copies, lambda pieces: is_intact(pieces, held.digest))


def role_beside(
    held: tuple[StoredObject, ...], transfer_syntax: str, copies: Sequence[NamesCopy], placement: Placement
) -> str:
    """The role of a new object beside one that is current under its UID: the same values in another uncompressed
    syntax, or written in other ways in the same one (docs/adr/0016), are an "encoding", anything else is a "version"
    that a person should look at.
    """
    current = next((other for other in held if other.role == "current"), None)
    if current is None:
        return "version"
    syntaxes = {current.transfer_syntax, transfer_syntax}
    if len(syntaxes) > 1 and not syntaxes <= NATIVE_SYNTAXES:
        return "version"
    try:
        with placement.open(current.copies) as first, placement.open(copies) as second:
            return "encoding" if _value_digest(first) == _value_digest(second) else "version"
    except (CopyUnreadable, Undecodable):
        return "version"


def _value_digest(copy: OpenCopy) -> Digest:
    """Equal for objects whose values are equal, in whichever uncompressed syntax they are written."""
    pieces = copy.pieces()
    first = next(pieces)
    meta = read_file_meta(first)
    hasher = ObjectHasher(IMPLICIT_LE)
    for piece in canonical(chain((first[meta.data_set_offset :],), pieces), meta.transfer_syntax):
        hasher.update(piece)
    return hasher.digest()
