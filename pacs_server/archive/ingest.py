"""The promise: when an object is acknowledged, and in which order that is earned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from itertools import chain
from pathlib import PurePosixPath

from pacs_server.dicom.attributes import SERIES_UID, STUDY_UID
from pacs_server.dicom.audit import Actor
from pacs_server.dicom.describe import Description, describe, key_of_uid
from pacs_server.dicom.elements import IMPLICIT_LE, NATIVE_SYNTAXES
from pacs_server.dicom.header import HeadScanner
from pacs_server.dicom.identity import Digest, ObjectHasher, Uid
from pacs_server.dicom.operations import Content, Fate, Operation, OperationKind
from pacs_server.dicom.part10 import file_meta, read_file_meta
from pacs_server.dicom.reencode import canonical
from pacs_server.dicom.stored import is_intact
from pacs_server.dicom.tiny_object import TRIAL_STUDY_UID
from pacs_server.dicom.vocabulary import Vocabulary
from pacs_server.errors import (
    CopyUnreadable,
    NotAsGiven,
    NotEnoughCopies,
    ObjectMismatch,
    Refused,
    Undecodable,
    VolumeUnavailable,
)
from pacs_server.index.objects import Arrival, CopyRow, Known, Outcome, Recorded, StoredObject
from pacs_server.index.recording.instances import Instances
from pacs_server.storage.layout import object_path, series_directory
from pacs_server.storage.operations import keep_everywhere
from pacs_server.storage.placement import NamesCopy, Placement
from pacs_server.storage.reading import OpenCopy
from pacs_server.storage.streaming import ObjectStream
from pacs_server.storage.writing import CopyPlace


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Who sends an object, and what is assumed where it says nothing: character set, issuer of patient IDs. `through`
    is the partner that hands on what it got from there, or empty; `actor` tells more of who it is. One that `was_asked`
    sends what it was asked for by C-MOVE.
    """

    aet: str
    charset: str = ""
    issuer: str = ""
    through: str = ""
    was_asked: bool = False
    actor: Actor | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """What the sender says it sends: SOP class and instance of the command, the negotiated transfer syntax."""

    sop_class: str
    sop_instance: Uid
    transfer_syntax: str


class Reception:
    """One object while it arrives: hashed, its head read, its bytes in memory or, when many, already on the volumes.

    Belongs to one thread and ends in `ingest` or in `abandon`. Memory stays below `memory_bytes` and the head's cap.
    """

    def __init__(
        self,
        declared: Declared,
        origin: Origin,
        *,
        instances: Instances,
        placement: Placement,
        vocabulary: Vocabulary,
        memory_bytes: int,
        now: datetime,
        routes: tuple[str, ...] = (),
        partners: tuple[str, ...] = (),
    ) -> None:
        self.declared = declared
        self.origin = origin
        self.now = now
        self.routes = routes
        self.partners = partners
        self.size_bytes = 0
        self.instances = instances
        self.placement = placement
        self._vocabulary = vocabulary
        self._memory_bytes = memory_bytes
        self._hasher = ObjectHasher(declared.transfer_syntax)
        self._head = HeadScanner(declared.transfer_syntax, vocabulary=vocabulary)
        self._chunks: list[bytes] = [
            file_meta(
                sop_class=declared.sop_class,
                sop_instance=declared.sop_instance,
                transfer_syntax=declared.transfer_syntax,
            )
        ]
        self._stream: ObjectStream | None = None

    def feed(self, fragment: memoryview) -> None:
        """Take the next bytes of the data set.

        Raises: Undecodable or ObjectMismatch when they cannot be a data set of the declared transfer syntax; of a large
        object, which goes to the volumes while it comes, NotEnoughCopies or IndexUnavailable.
        """
        self._hasher.update(fragment)
        self._head.feed(fragment)
        self.size_bytes += len(fragment)
        if self._stream is not None:
            self._stream.write(fragment)
            return
        self._chunks.append(bytes(fragment))
        if self.size_bytes > self._memory_bytes and self._head.identified:
            self._spill()

    def _spill(self) -> None:
        study_uid, series_uid = (key_of_uid(self._head.value(tag) or b"") for tag in (STUDY_UID, SERIES_UID))
        day = self.instances.known(self.declared.sop_instance, study_uid).study_day or self.now.date()
        self._stream = self.placement.stream(series_directory(day, study_uid, series_uid))
        self._stream.begin(self._chunks)
        self._chunks.clear()

    def describe(self) -> Description:
        """The indexed values of the complete object.

        Raises: Undecodable; InvalidUid or ObjectMismatch when its UIDs are missing or are not those of the command.
        """
        description = describe(
            self._head.finish(),
            assumed_charset=self.origin.charset,
            default_issuer=self.origin.issuer,
            vocabulary=self._vocabulary,
        )
        declared = self.declared
        if description.sop_uid != declared.sop_instance or description.sop_class != declared.sop_class:
            raise ObjectMismatch("the data set's SOP Class or Instance UID is not that of the command")
        return description

    def digest(self) -> Digest:
        """The digest of what has arrived."""
        return self._hasher.digest()

    @property
    def is_at_hand(self) -> bool:
        """Whether all of it is in memory, so that it can be kept once more."""
        return bool(self._chunks)

    def keep(self, day: date, description: Description, digest: Digest) -> tuple[CopyPlace, ...]:
        """Put the object under its final name on as many volumes as the policy needs, flushed.

        Raises: NotEnoughCopies.
        """
        path = object_path(day, description.study_uid, description.series_uid, description.sop_uid, digest)
        if self._stream is None:
            return self.placement.store(path, self._chunks)
        stream, self._stream = self._stream, None
        return stream.finish(path)

    def abandon(self) -> None:
        """Leave nothing of this object behind; does nothing after `keep`."""
        if self._stream is not None:
            self._stream.abandon()
            self._stream = None
        self._chunks.clear()


def ingest(reception: Reception, *, is_again: bool = False) -> Recorded:
    """Status 0x0000 means: the object is flushed to disk on as many volumes as the policy asks for, under its final
    name, and is in the index, findable. Nothing else is ever answered with success. Whatever happens afterwards
    (kill -9, power cut, a dead NAS, a full disk), an acknowledged object is found again, byte for byte.

    Order, always: file first, then row, then status. The caller answers the status when this returns.

    Raises: BadObject when it cannot be filed; NotEnoughCopies or IndexUnavailable when it could not be kept safe;
    Refused when a partner hands on what was purged here meanwhile; NotAsGiven or Refused when somebody who was asked
    for an object sends another content, or what was deleted.
    """
    instances, placement = reception.instances, reception.placement
    description = reception.describe()
    digest = reception.digest()
    known = instances.known(description.sop_uid, description.study_uid)
    twin = next((held for held in known.objects if held.digest == digest), None)
    fate, giver = known.fates.get(digest, Fate.KEPT), reception.origin.through
    deleted = fate is not Fate.KEPT
    if giver and fate is Fate.PURGED:
        raise Refused(f"it was purged here, which {giver} is about to be told")
    if reception.origin.was_asked:
        _refuse_other(known, digest, reception.origin.aet, description.sop_uid)
    is_held = twin is not None and not deleted and _intact_copies(twin, placement) >= placement.need
    is_trial = description.study_uid == TRIAL_STUDY_UID
    may_be_deleted = not giver and not is_trial and _may_be_deleted(reception, description, twin)
    if is_held:
        reception.abandon()
        if not may_be_deleted:
            origin = reception.origin
            instances.note_held(origin.actor or Actor(who=origin.aet), description, reception.now)
            return Recorded(outcome=Outcome.DUPLICATE, flags=())

    day = known.study_day or reception.now.date()
    copies = () if is_held else reception.keep(day, description, digest)  # file
    arrival = Arrival(
        description=description,
        digest=digest,
        transfer_syntax=reception.declared.transfer_syntax,
        size_bytes=reception.size_bytes,
        copies=tuple(CopyRow(volume_id=copy.volume_id, path=copy.path) for copy in copies),
        received_at=reception.now,
        day=day,
        sender=reception.origin.aet,
        lacks_copies=not is_held and placement.lacks(copies) > 0,
        role_beside_current=role_beside(known.objects, reception.declared.transfer_syntax, copies, placement),
        readmission=_readmit(reception, description, digest, known) if deleted and not giver else None,
        may_be_deleted=may_be_deleted,
        may_be_in_trash=bool(giver),
        is_held=is_held,
        routes=() if is_trial else reception.routes,
        partners=() if is_trial else reception.partners,
        actor=reception.origin.actor or Actor(who=reception.origin.aet),
    )
    # Row; then the caller's status. The file of an object that gets none stays, because an equal one may be on its way
    # to the same path (docs/adr/0002).
    recorded = instances.record(arrival)
    try:
        if twin is not None or deleted or recorded.outcome is Outcome.DUPLICATE:
            _confirm(arrival, instances, placement)
    except NotEnoughCopies:
        if is_again or not reception.is_at_hand:
            raise
        # As if it was sent again: nobody removes its file now that it has a row.
        return ingest(reception, is_again=True)
    return recorded


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


def _readmit(reception: Reception, description: Description, digest: Digest, known: Known) -> Operation:
    """Decide, on every volume, that an object that was deleted is held again: so an index that is made anew knows."""
    is_beside = any(held.role == "current" for held in known.objects)
    operation = reception.instances.operations.draft(
        OperationKind.READMIT,
        description.study_uid,
        [Content(sop_uid=description.sop_uid, digest=digest, role="version" if is_beside else "current")],
        now=reception.now,
        who=reception.origin.aet,
        reason=f"received again after it was {known.fates[digest]}",
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
