"""Who runs a command, for whoever reads later what was done."""

from __future__ import annotations

import os
import pwd
import socket
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

from pacs_server.dicom.audit import Event, EventKind

_LOGIN: Final = Path("/proc/self/loginuid")
_NOBODY: Final = 2**32 - 1
_PROCESSES: Final = Path("/proc/self/ns/pid")
# The number of the machine's own namespace (include/linux/proc_ns.h). In a container the number of who logged in at the
# machine may be that of somebody else.
_OF_THE_MACHINE: Final = 0xEFFFFFFC


def this_person() -> str:
    """The user that this process belongs to, and the machine; "tanaka as pacs@server" where who logged in became that
    user later, by sudo or su. As the kernel knows it: the environment says what anybody likes.
    """
    user, login = _name(os.geteuid()), _who_logged_in()
    return f"{f'{login} as ' if login not in ('', user) else ''}{user}@{socket.gethostname()}"


def _who_logged_in() -> str:
    """Whose session this is, if it is one, whatever user it has become since."""
    try:
        if _PROCESSES.stat().st_ino != _OF_THE_MACHINE:
            return ""
        number = int(_LOGIN.read_text(encoding="ascii"))
    except (OSError, ValueError):  # a kernel that does not keep it
        return ""
    return "" if number == _NOBODY else _name(number)


def _name(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:  # a service account without an entry of its own
        return f"uid {number}"


def command_of(words: Sequence[str], now: datetime) -> Event:
    """What the audit trail tells of a command line."""
    return Event(kind=EventKind.COMMAND, at=now, who=this_person(), detail=f"pacs {' '.join(words)}")
