"""An object while it arrives: who sends it and as what, and its bytes until they lie on the volumes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

from pacs_server.dicom.attributes import SERIES_UID, STUDY_UID
from pacs_server.dicom.audit import Actor
from pacs_server.dicom.describe import Description, describe, key_of_uid
from pacs_server.dicom.header import HeadScanner
from pacs_server.dicom.identity import Digest, ObjectHasher, Uid
from pacs_server.dicom.part10 import file_meta
from pacs_server.dicom.vocabulary import Vocabulary
from pacs_server.errors import ObjectMismatch
from pacs_server.index.recording.instances import Instances
from pacs_server.storage.layout import object_path, series_directory
from pacs_server.storage.placement import Placement
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

    @property
    def brought_by(self) -> Actor:
        """Whom the audit trail names."""
        return self.actor or Actor(who=self.aet)


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
