"""Takes files into an index that has no row of them, each read to its end, and what archive servers keep. Rebuilding an
index is the same deed for all files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import chain

from pacs_server.dicom.deposits import Stub
from pacs_server.dicom.describe import Description, describe
from pacs_server.dicom.header import Head, HeadScanner
from pacs_server.dicom.identity import Digest, ObjectHasher
from pacs_server.dicom.part10 import read_file_meta
from pacs_server.dicom.vocabulary import Vocabulary
from pacs_server.errors import BadObject, CopyUnknown, CopyUnreadable, Undecodable, VolumeUnavailable
from pacs_server.index.maintenance.holdings import Holdings
from pacs_server.index.objects import Arrival, CopyRow, StoredObject
from pacs_server.index.recording.instances import Instances
from pacs_server.storage.layout import FoundFile, file_name_end, object_in_name
from pacs_server.storage.placement import Placement
from pacs_server.storage.reading import OpenCopy
from pacs_server.storage.volume import Volume


class FindingKind(StrEnum):
    """What was found."""

    UNKNOWN_FILE = "file without row"
    UNKNOWN_DEPOSIT = "kept by an archive server, without row"
    ADOPTED = "adopted"
    FORGOTTEN = "row of a missing copy removed"
    LITTER = "unfinished file that nobody writes to"
    SWEPT = "unfinished file removed"
    STUCK = "unfinished file that could not be removed"
    PURGED = "file of a purged object"
    REMOVED = "file of a purged object, to be removed"
    UNREADABLE = "file that is no object of ours"
    UNTOLD = "file that could not be read now"
    MISSING = "row without file"
    NOT_READ = "volume that could not be read"

    @property
    def is_damage(self) -> bool:
        """Whether a person has to act."""
        return self in (FindingKind.UNREADABLE, FindingKind.MISSING)

    @property
    def is_gap(self) -> bool:
        """Whether it is not known what is there."""
        return self in (FindingKind.UNTOLD, FindingKind.NOT_READ)

    @property
    def is_undone(self) -> bool:
        """Whether something that was to be looked at, or done, was not."""
        return self.is_gap or self is FindingKind.STUCK


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One difference between the files of a volume and the rows about it."""

    kind: FindingKind
    volume: str
    path: str
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """The rows that files are compared with."""

    instances: Instances
    holdings: Holdings
    # Who sent an object, by its UID and the beginning of its digest, as far as the site knows; which character set and
    # which issuer of patient IDs are assumed of a sender.
    sender_of: Callable[[str, str], str]
    assumed_of: Callable[[str], tuple[str, str]]
    vocabulary: Vocabulary
    role_beside: Callable[[tuple[StoredObject, ...], str, tuple[CopyRow, ...]], str]
    # Who is owed what is adopted.
    partners: tuple[str, ...]

    def accounts_for(self, volume_id: str, path: str) -> bool:
        """Whether a row says what this file is. Raises: IndexUnavailable."""
        return self.holdings.holds(volume_id, path) or self.holdings.is_leaving(volume_id, path)

    def is_purged(self, file: FoundFile) -> bool:
        """Whether the object in this file was purged and did not come again. Raises: IndexUnavailable."""
        return self.instances.operations.is_purged(*object_in_name(file.path))


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectInFile:
    """The object in one file of a volume; the file was read to its end and is what its name says. The `sender` is empty
    where nobody knows it any more.
    """

    volume: str
    file: FoundFile
    copy: CopyRow
    sender: str
    description: Description
    digest: Digest
    transfer_syntax: str
    size_bytes: int


def adopt(volume: Volume, file: FoundFile, ledger: Ledger, placement: Placement) -> Finding:
    """Enter one file of a volume into the index, as if it had been received when it was written, or after all that
    its study has. One that was purged is left alone.

    Raises: VolumeUnavailable when the volume is away; IndexUnavailable.
    """
    found = examine(volume, file, ledger, placement)
    return found if isinstance(found, Finding) else enter([found], ledger)[0]


def examine(volume: Volume, file: FoundFile, ledger: Ledger, placement: Placement) -> ObjectInFile | Finding:
    """Read one file of a volume to its end: the object in it, or why there is none to enter. May be called from any
    thread.

    Raises: VolumeUnavailable when the volume is away: then nothing is known about the file; IndexUnavailable.
    """
    if ledger.is_purged(file):
        return Finding(kind=FindingKind.PURGED, volume=volume.spec.name, path=str(file.path))
    found = _looked_into(volume, file, ledger, placement)
    if isinstance(found, Finding) and found.kind is FindingKind.UNTOLD:  # a bucket that is busy may answer by now
        found = _looked_into(volume, file, ledger, placement)
    return found


def _looked_into(volume: Volume, file: FoundFile, ledger: Ledger, placement: Placement) -> ObjectInFile | Finding:
    """Raises: VolumeUnavailable when the volume is away; IndexUnavailable."""
    path = str(file.path)
    try:
        with placement.open((CopyRow(volume_id=volume.spec.id, path=path),)) as opened:
            return _object_in(opened, volume, file, ledger)
    except (BadObject, CopyUnreadable) as error:
        if isinstance(error, CopyUnreadable) and not volume.check().is_readable:
            raise VolumeUnavailable(str(error)) from error
        kind, detail = FindingKind.UNREADABLE, str(error)
        if isinstance(error, CopyUnknown):
            kind, detail = FindingKind.UNTOLD, f"{error}; pacs reconcile --repair takes it in when it can be read"
        return Finding(kind=kind, volume=volume.spec.name, path=path, detail=detail)


def enter(found: Sequence[ObjectInFile], ledger: Ledger) -> list[Finding]:
    """Enter objects into the index, in this order and in one transaction. Contents under one UID that differ are not
    entered together: what the second is depends on the first.

    Raises: IndexUnavailable.
    """
    recorded = ledger.instances.record_in_order([_arrival(one, ledger) for one in found])
    return [
        Finding(kind=FindingKind.ADOPTED, volume=one.volume, path=one.copy.path, detail=done.outcome.value)
        for one, done in zip(found, recorded, strict=True)
    ]


def adopt_deposits(stubs: Iterable[Stub], ledger: Ledger, *, repair: bool) -> Iterator[Finding]:
    """What archive servers keep and the index has no row of; with `repair`, it is entered as its stub tells.

    Raises: IndexUnavailable.
    """
    for stub in stubs:
        if repair:
            ledger.instances.record_in_order([_arrival_of(stub, ledger)])
        kind = FindingKind.ADOPTED if repair else FindingKind.UNKNOWN_DEPOSIT
        yield Finding(kind=kind, volume="", path=stub.sop_uid)


def _description(head: Head, sender: str, ledger: Ledger) -> Description:
    charset, issuer = ledger.assumed_of(sender)
    return describe(head, assumed_charset=charset, default_issuer=issuer, vocabulary=ledger.vocabulary)


def _arrival_of(stub: Stub, ledger: Ledger) -> Arrival:
    return Arrival(
        description=_description(stub.head(), stub.sender, ledger),
        digest=Digest(stub.digest),
        transfer_syntax=stub.transfer_syntax,
        size_bytes=stub.size_bytes,
        copies=(),
        received_at=stub.received_at,
        day=stub.day,
        sender=stub.sender,
        may_be_in_trash=True,
        partners=ledger.partners,
    )


def _object_in(opened: OpenCopy, volume: Volume, file: FoundFile, ledger: Ledger) -> ObjectInFile:
    pieces = opened.pieces()
    first = next(pieces)
    meta = read_file_meta(first)
    head = HeadScanner(meta.transfer_syntax, vocabulary=ledger.vocabulary)
    hasher = ObjectHasher(meta.transfer_syntax)
    damage: BadObject | None = None
    for piece in chain((first[meta.data_set_offset :],), pieces):
        hasher.update(piece)
        if damage is None:
            try:
                head.feed(piece)
            except BadObject as error:
                damage = error
    digest = hasher.digest()
    if not file.path.name.endswith(file_name_end(digest)):
        raise damage or Undecodable("its content is not what its name says: damaged, or not written by this archive")
    sender = ledger.sender_of(*object_in_name(file.path))
    return ObjectInFile(
        volume=volume.spec.name,
        file=file,
        copy=CopyRow(volume_id=volume.spec.id, path=str(file.path)),
        sender=sender,
        description=_description(_head_of_ours(head, damage), sender, ledger),
        digest=digest,
        transfer_syntax=meta.transfer_syntax,
        size_bytes=opened.size_bytes - meta.data_set_offset,
    )


def _head_of_ours(head: HeadScanner, damage: BadObject | None) -> Head:
    """What was read of a file that is what its name says, and so was acknowledged once: it is ours as far as it can be
    read, also where more of it is read now than then, as for a field that was added, or by a stricter release.

    Raises: BadObject when its UIDs cannot be read.
    """
    try:
        if damage is not None:
            raise damage
        return head.finish()
    except BadObject:
        if not head.identified:
            raise
    read = head.head()
    return replace(read, flags=read.flags | {"tail-unchecked"})


def _arrival(found: ObjectInFile, ledger: Ledger) -> Arrival:
    description = found.description
    at = found.file.modified
    known = ledger.instances.known(description.sop_uid, description.study_uid).objects
    if all(one.digest == found.digest for one in known):
        beside: tuple[StoredObject, ...] = ()
    else:
        shown = ledger.holdings.shown_when(description.study_uid, description.sop_uid, at)
        beside = tuple(replace(one, role="current") for one in known if one.id == shown)
    return Arrival(
        description=description,
        digest=found.digest,
        transfer_syntax=found.transfer_syntax,
        size_bytes=found.size_bytes,
        copies=(found.copy,),
        received_at=at,
        day=found.file.day,
        sender=found.sender,
        role_beside_current=ledger.role_beside(beside, found.transfer_syntax, (found.copy,)),
        may_be_in_trash=True,
        partners=ledger.partners,
    )
