"""Lets every part of a run meet the machine as a server does that has run for a day: no fresh memory, nothing removed.

Two costs of the part before would else be measured with the next, by servers and floors alike:
- In a virtual machine the first use of a page of memory is work for the host, and memory that was free for long goes
  back to it: 11 us for 4 KiB, 1.2 of the 3.8 ms of processor time for a CT (perf: copy_folio_from_iter_atomic).
- ext4 does not use an inode again for a minute or more after its file was removed, and passes over each of them
  whenever it makes a file: a tenth to a half more for a CT (perf: recently_deleted, find_get_block_common).
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import time
from pathlib import Path
from typing import Final

_LEFT: Final = "left"
_FILLING: Final = "filling"
_STAYS_FREE_BYTES: Final = 256 << 20
_DISK_STAYS_FREE_BYTES: Final = 20 << 30
_PIECE_BYTES: Final = 1 << 20
_FILLING_S: Final = 90.0  # 25 to 50 here; where the directory is on a NAS each piece comes over the network


def fill_memory(work: Path) -> None:
    """Give free memory to the page cache, as it is once a server has written more than it has memory."""
    found = re.search(r"MemFree:\s+(\d+) kB", Path("/proc/meminfo").read_text(encoding="ascii"))
    size = int(found[1]) * 1024 - _STAYS_FREE_BYTES if found else 0
    if size <= 0:
        return
    # Where a file cannot be that large, memory stays as it is.
    with contextlib.suppress(OSError), (work / _FILLING).open("w+b", buffering=0) as filling:
        filling.truncate(size)  # nothing is written: what reads a hole gets zeros, which are cached like others
        buffer, deadline = bytearray(_PIECE_BYTES), time.monotonic() + _FILLING_S
        while filling.readinto(buffer) and time.monotonic() < deadline:
            pass


def leave(tree: Path) -> None:
    """Put a directory that is no longer needed where `remove` finds it, emptied where the disk gets full."""
    left = tree.parent / _LEFT
    left.mkdir(exist_ok=True)
    tree.rename(left / tree.name)
    if shutil.disk_usage(left).free < _DISK_STAYS_FREE_BYTES:
        _empty(left)


def remove(work: Path) -> None:
    """Remove what was left below the directory of a run, and the directory when nothing else is in it."""
    (work / _FILLING).unlink(missing_ok=True)
    shutil.rmtree(work / _LEFT, ignore_errors=True)
    with contextlib.suppress(OSError):
        work.rmdir()


def _empty(tree: Path) -> None:
    for directory, _, names in os.walk(tree):
        for path in (Path(directory, name) for name in names):
            # What may not be written, or is no file, keeps its space until the end.
            with contextlib.suppress(OSError):
                if path.is_file() and not path.is_symlink():
                    os.truncate(path, 0)
