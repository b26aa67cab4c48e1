"""The one table of DIMSE statuses, and from which of our errors each follows."""

from __future__ import annotations

import re
from enum import IntEnum
from typing import Final

from pacs_server.archive.deliver import NotAcceptable
from pacs_server.errors import (
    BadObject,
    BadQuery,
    CopyUnreadable,
    DecoderUnavailable,
    IndexUnavailable,
    InvalidUid,
    MissingAttribute,
    NotEnoughCopies,
    ObjectMismatch,
    PacsError,
    TooLarge,
    VolumeUnavailable,
)


class Status(IntEnum):
    """A status that we answer. Source: PS3.7 annex C; for the services the sections beside each line."""

    SUCCESS = 0x0000
    PROCESSING_FAILURE = 0x0110  # PS3.7 C.5.12
    NO_SUCH_INSTANCE = 0x0112  # PS3.7 10.1.4.1.10
    NO_SUCH_EVENT = 0x0113  # PS3.7 10.1.1.1.8
    INVALID_ARGUMENT = 0x0115  # PS3.7 10.1.4.1.10
    INVALID_SOP_INSTANCE = 0x0117  # PS3.7 C.5.8
    NO_SUCH_CLASS = 0x0118  # PS3.7 10.1.4.1.10
    MISSING_ATTRIBUTE = 0x0120  # PS3.7 annex C.5; for N-ACTION it says more than 0115 would
    SOP_CLASS_NOT_SUPPORTED = 0x0122  # PS3.7 9.1.5.1.4
    NO_SUCH_ACTION = 0x0123  # PS3.7 10.1.4.1.10
    DUPLICATE_TRANSACTION = 0x0131  # PS3.3 C.14.1.1
    UNRECOGNISED_OPERATION = 0x0211  # PS3.7 C.5.17
    RESOURCE_LIMITATION = 0x0213  # PS3.7 10.1.4.1.10
    OUT_OF_RESOURCES = 0xA700  # PS3.4 B.2.3 and C.4.1.1.4
    CANNOT_PERFORM_SUB_OPERATIONS = 0xA702  # PS3.4 C.4.2.1.5 and C.4.3.1.4
    MOVE_DESTINATION_UNKNOWN = 0xA801  # PS3.4 C.4.2.1.5
    DATA_SET_MISMATCH = 0xA900  # PS3.4 B.2.3; identifier does not match SOP class: C.4.1.1.4
    CANNOT_UNDERSTAND = 0xC000  # PS3.4 B.2.3; unable to process: C.4.1.1.4
    SUB_OPERATIONS_WITH_FAILURES = 0xB000  # PS3.4 C.4.2.1.5 and C.4.3.1.4
    CANCEL = 0xFE00  # PS3.4 C.4.1.1.4, C.4.2.1.5, C.4.3.1.4
    PENDING = 0xFF00  # PS3.4 C.4.1.1.4
    PENDING_OPTIONAL_KEYS = 0xFF01  # PS3.4 C.4.1.1.4: an optional key was not matched


# The first class that fits decides, so special ones stand before general ones.
_BY_ERROR: Final[tuple[tuple[type[PacsError], Status], ...]] = (
    (InvalidUid, Status.INVALID_SOP_INSTANCE),
    (ObjectMismatch, Status.DATA_SET_MISMATCH),
    (BadObject, Status.CANNOT_UNDERSTAND),
    (BadQuery, Status.DATA_SET_MISMATCH),
    (NotEnoughCopies, Status.OUT_OF_RESOURCES),
    (VolumeUnavailable, Status.OUT_OF_RESOURCES),
    (IndexUnavailable, Status.OUT_OF_RESOURCES),
    (CopyUnreadable, Status.CANNOT_PERFORM_SUB_OPERATIONS),
    (DecoderUnavailable, Status.CANNOT_PERFORM_SUB_OPERATIONS),
    (NotAcceptable, Status.CANNOT_PERFORM_SUB_OPERATIONS),
)


def status_for(error: PacsError) -> Status:
    """The status that tells a peer of an error."""
    return next((status for kind, status in _BY_ERROR if isinstance(error, kind)), Status.PROCESSING_FAILURE)


# Where our database is, is nothing for a peer, and would fill a comment (PS3.7 annex C: 64 characters).
_OF_THE_INDEX: Final = re.compile(r"the index at .+? failed: (connection to server .+? failed: )?")


def comment_for(why: str) -> str:
    """What a peer is told of a reason: of a failure of the index what its database said."""
    return _OF_THE_INDEX.sub("the index failed: ", why, count=1)


# Of the services with N- operations, whose statuses are others for the same reasons.
_OF_NORMALISED: Final[tuple[tuple[type[PacsError], Status], ...]] = (
    (TooLarge, Status.RESOURCE_LIMITATION),
    (MissingAttribute, Status.MISSING_ATTRIBUTE),
    (BadQuery, Status.INVALID_ARGUMENT),
)


def normalised_status_for(error: PacsError) -> Status:
    """The status that tells a peer of an error of its N- operation."""
    return next((status for kind, status in _OF_NORMALISED if isinstance(error, kind)), Status.PROCESSING_FAILURE)
