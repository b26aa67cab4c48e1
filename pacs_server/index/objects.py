"""Objects as the index sees them: what arrives, what is held, what became of an arrival."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from enum import Enum

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
    """What is held of an object that is about to be stored, the day of its study if the study is known, and what was
    decided about contents under its UID, by digest.
    """

    study_day: date | None
    objects: tuple[StoredObject, ...]
    fates: Mapping[str, Fate]


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """An object whose file is durable and whose row is not yet there.

    `role_beside_current` is the role it takes when another content is current under its UID; `lacks_copies` says that
    more are wanted than there are, so that they are owed from the same moment on. `readmission` lets it in although it
    was deleted. One that `may_be_in_trash` comes from nobody who wants it back. `routes` may forward it, `partners` get
    it.
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
    may_be_in_trash: bool = False
    routes: tuple[str, ...] = ()
    partners: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """What became of an arrival."""

    outcome: Outcome
    flags: tuple[Flag, ...] = ()
