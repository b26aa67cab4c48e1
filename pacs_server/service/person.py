"""Who runs a command, for whoever reads later what was done."""

from __future__ import annotations

import getpass
import socket
from collections.abc import Sequence
from datetime import datetime

from pacs_server.dicom.audit import Event, EventKind


def this_person() -> str:
    """The user that this process belongs to, and the machine."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a service account without an entry of its own
        user = "unknown"
    return f"{user}@{socket.gethostname()}"


def command_of(words: Sequence[str], now: datetime) -> Event:
    """What the audit trail tells of a command line."""
    return Event(kind=EventKind.COMMAND, at=now, who=this_person(), detail=f"pacs {' '.join(words)}")
