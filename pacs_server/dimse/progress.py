"""How far a retrieve has come, and what its requester is told of that.

Source: PS3.4 sections C.4.2 and C.4.3, PS3.7 sections 9.1.3 and 9.1.4.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, TypedDict

from pacs_server.dicom.elements import encoding_of
from pacs_server.dimse.session import Session
from pacs_server.dimse.status import Status
from pacs_server.errors import AssociationBroken, PacsError
from pacs_server.index.queries.search import Deliverable
from pacs_server.net.client import is_stored
from pacs_server.net.message import Command, response

_PENDING_EVERY_S: Final = 0.1
_LONGEST_SILENCE_S: Final = 5.0  # requesters wait 10 s and more
_FAILED_UID_LIST: Final = 0x00080058
_MAX_UI_BYTES: Final = 65534
_MAX_COUNT: Final = 65535  # the counts of PS3.7 table 9.1-3 are US


class Counts(TypedDict, total=False):
    """The numbers of sub-operations that a response tells; a final one leaves out those that remain."""

    remaining: int
    completed: int
    failed: int
    warning: int


@dataclass(slots=True)
class Progress:
    """How far one retrieve has come; `arrived` are the objects that the receiver took, by study."""

    remaining: int
    completed: int = 0
    warning: int = 0
    failed_uids: list[str] = field(default_factory=list)
    comment: str = ""
    arrived: dict[str, list[str]] = field(default_factory=dict)

    def note(self, item: Deliverable, status: int) -> bool:
        """Count one sub-operation by the status of its C-STORE response; whether the receiver took the object."""
        self.remaining -= 1
        if status == Status.SUCCESS:
            self.completed += 1
        elif is_stored(status):
            self.warning += 1
        else:
            self.failed_uids.append(item.sop_uid)
            return False
        self.arrived.setdefault(item.study_uid, []).append(item.sop_uid)
        return True

    def counts(self) -> Counts:
        """The four counts of a response."""
        return {
            "remaining": min(self.remaining, _MAX_COUNT),
            "completed": min(self.completed, _MAX_COUNT),
            "failed": min(len(self.failed_uids), _MAX_COUNT),
            "warning": min(self.warning, _MAX_COUNT),
        }

    def final_status(self) -> Status:
        """The status that ends the retrieve when it was not cancelled."""
        if not self.failed_uids:
            return Status.SUB_OPERATIONS_WITH_FAILURES if self.warning else Status.SUCCESS
        nothing_arrived = not self.completed and not self.warning
        return Status.CANNOT_PERFORM_SUB_OPERATIONS if nothing_arrived else Status.SUB_OPERATIONS_WITH_FAILURES


class RequesterGone(Exception):
    """The association of the requester broke, as `error` says; not that of the destination."""

    def __init__(self, error: PacsError) -> None:
        super().__init__(str(error))
        self.error = error


class Watch:
    """Keeps the requester of a retrieve told, also while one object takes long. Belongs to its thread.

    Its methods raise RequesterGone when the association of the requester broke.
    """

    def __init__(self, session: Session, command: Command, progress: Progress) -> None:
        self._requester = session.association
        self._command = command
        self._progress = progress
        self._told_at = time.monotonic() - _PENDING_EVERY_S

    def cancelled(self) -> bool:
        """Whether the requester wants no more."""
        try:
            return self._requester.cancelled(self._command.message_id)
        except AssociationBroken as error:
            raise RequesterGone(error) from error

    def tell(self, every_s: float = _PENDING_EVERY_S) -> None:
        """Send Pending with the counts, unless that was done a moment ago or the end is near."""
        now = time.monotonic()
        if not self._progress.remaining or now - self._told_at < every_s or self._requester.is_mid_message:
            return
        self._told_at = now
        try:
            pending = response(self._command, Status.PENDING, **self._progress.counts())
            self._requester.respond(pending, self._command.context_id)
        except AssociationBroken as error:
            raise RequesterGone(error) from error

    def meanwhile(self) -> None:
        """Break a silence that became long."""
        self.tell(_LONGEST_SILENCE_S)


def failed_list(uids: Sequence[str], transfer_syntax: str) -> bytes:
    """The identifier that names the objects that failed, as many as one element can hold: with explicit VR 64 KiB.

    Source: PS3.4 section C.4.2.1.4.2 (Failed SOP Instance UID List), PS3.5 section 7.1.2.
    """
    encoding = encoding_of(transfer_syntax)
    value = "\\".join(uids).encode("latin-1")
    if encoding.explicit and len(value) > _MAX_UI_BYTES:
        value = value[: value.rindex(b"\\", 0, _MAX_UI_BYTES)]
    return encoding.write_element(_FAILED_UID_LIST, b"UI", value)
