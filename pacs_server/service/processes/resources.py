"""What the processes of the server may have open, and how they keep memory; said once, for all that are forked."""

from __future__ import annotations

import ctypes
import resource
from contextlib import suppress
from typing import Final

from pacs_server import log

# Source: malloc.h of glibc, mallopt(3).
_TRIM_THRESHOLD: Final = -1
_MMAP_THRESHOLD: Final = -3
_ARENA_MAX: Final = -8

_MOST_FILES: Final = 65_536
# Of a process: those of its volumes and its database, and for an association its connection and two copies.
_FILES: Final = 100
_FILES_OF_ASSOCIATION: Final = 3
_KEPT_BYTES: Final = 16 << 20
_BLOCK_BYTES: Final = 8 << 20
_ARENAS: Final = 2


def keep_freed_memory() -> None:
    """Use the memory of one image for the next, in this process and those that it forks; nothing without glibc.

    Else each buffer of half a megabyte is mapped, zeroed by the kernel and unmapped: 130 page faults, a fifth of what
    sending an image costs. So that threads do not keep some each, all of them share two arenas.
    """
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_ARENA_MAX, _ARENAS)
        mallopt(_MMAP_THRESHOLD, _BLOCK_BYTES)
        mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)


def open_more_files(associations: int) -> None:
    """Let this process and those that it begins have as many files open as they may: the 1,024 that a shell usually
    allows are used up by 300 associations that each write an object to two volumes. Where it may not have as many as
    that takes, the log tells.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):  # a service manager may forbid it, and has set its own
        soft = max(soft, min(hard, _MOST_FILES))
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft < (needed := _FILES + _FILES_OF_ASSOCIATION * associations):
        log.warning(
            "few files may be open: raise the limit (ulimit -Hn, LimitNOFILE) or lower network.max_associations",
            allowed=soft,
            needed=needed,
        )
