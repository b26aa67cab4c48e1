"""Descriptors of the files and directories of a volume, and the directories that are kept open."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

# What a directory answers in which nothing can be made any more, because it was removed; ESTALE on NFS.
REMOVED: Final = frozenset({errno.ENOENT, errno.ESTALE})


class Descriptor:
    """An open file descriptor, closed when the last user drops it: a thread that hangs keeps its own alive."""

    __slots__ = ("number",)

    def __init__(self, number: int) -> None:
        self.number = number

    def __del__(self) -> None:
        with suppress(OSError):  # what was only read loses nothing; a mount that is gone answers so
            os.close(self.number)


@dataclass(slots=True)
class _Kept:
    opened: Descriptor
    identity: tuple[int, int]
    looked_at: float


class OpenDirectories:
    """The directories below a root that were used last, at most so many. May be used from any thread."""

    def __init__(self, root: Descriptor, at_most: int, *, trusted_s: float = 0.0) -> None:
        """Where `path` leads to is looked at again when that was last done `trusted_s` ago."""
        self._root = root
        self._at_most = at_most
        self._trusted_s = trusted_s
        self._kept: OrderedDict[PurePosixPath, _Kept] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, path: PurePosixPath) -> Descriptor | None:
        """The one that was opened at `path`, if that still leads to it: someone may have moved or removed it.

        Looking takes 3 us, opening each directory on the way six times as long.
        """
        with self._lock:
            if (kept := self._kept.get(path)) is None:
                return None
            self._kept.move_to_end(path)
        now = time.monotonic()
        if now - kept.looked_at < self._trusted_s:
            return kept.opened
        with suppress(OSError):  # whoever opens it anew meets what is wrong with it
            seen = os.stat(str(path), dir_fd=self._root.number, follow_symlinks=False)
            if (seen.st_dev, seen.st_ino) == kept.identity:
                kept.looked_at = now
                return kept.opened
        return None

    def keep(self, path: PurePosixPath, opened: Descriptor) -> None:
        """Keep a directory open, in the place of the one that was not asked for longest."""
        seen = os.fstat(opened.number)
        kept = _Kept(opened, (seen.st_dev, seen.st_ino), time.monotonic())
        dropped: list[object] = []
        with self._lock:
            dropped.append(self._kept.pop(path, None))
            self._kept[path] = kept
            if len(self._kept) > self._at_most:
                dropped.append(self._kept.popitem(last=False))
        dropped.clear()  # closed without the lock: a dead NAS may keep whoever closes waiting

    def clear(self) -> None:
        """Keep none of them."""
        with self._lock:
            dropped, self._kept = self._kept, OrderedDict()
        dropped.clear()
