"""A NAS as several servers see it, each with what it remembers; nas_program.py is what one of them sees."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes.util import find_library
from pathlib import Path

PROGRAM = Path(__file__).with_name("nas_program.py")
MOUNT_S = 60.0
# What nfs(5) calls acdirmax, the longest that it believes what it knows of a directory.
BELIEVED_S = 60.0


class Client:
    """The NAS as one server sees it, and how a test tells it to fail."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def tell(self, words: str) -> None:
        """`fail ERROR CALL [PART]`, `once ERROR CALL [PART]`, `ahead SECONDS` or `ok`."""
        with (self.path / ".control").open("wb", buffering=0) as control:
            control.write(words.encode())


@contextmanager
def seen(files: Path, path: Path) -> Iterator[Client]:
    """What one more server sees at `path` of a NAS that has these files; it is unmounted at the end. Raises: OSError
    where that is not possible.
    """
    path.mkdir(exist_ok=True)
    program = subprocess.Popen(
        [sys.executable, str(PROGRAM), str(path), str(files), str(BELIEVED_S)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"FUSE_LIBRARY_PATH": find_library("fuse3") or ""},
    )
    try:
        deadline = time.monotonic() + MOUNT_S
        while not path.is_mount():
            if program.poll() is not None or time.monotonic() > deadline:
                raise OSError("FUSE file systems cannot be mounted here; it takes root, /dev/fuse and libfuse3")
            time.sleep(0.05)
        yield Client(path)
    finally:
        subprocess.run(["umount", "-l", str(path)], capture_output=True)
        program.kill()
        program.wait()
