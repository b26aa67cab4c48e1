"""A volume that fails when a test tells it to; faulty_program.py is the file system."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes.util import find_library
from pathlib import Path

PROGRAM = Path(__file__).with_name("faulty_program.py")
MOUNT_S = 60.0


class FaultyVolume:
    """The mounted file system, and how a test tells it to fail. Nothing that the kernel remembers hides that: names and
    attributes it asks for each time, and what is in a file anew for whoever opens it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def tell(self, words: str) -> None:
        """`ok`, `eio`, `fail ERROR CALL [NAME]`, `once ERROR CALL`, `hang SECONDS [CALL]` or `cut`."""
        with (self.path / ".control").open("wb", buffering=0) as control:
            control.write(words.encode())


@contextmanager
def mounted(path: Path, kind: str = "", *, hangs: bool = True) -> Iterator[FaultyVolume]:
    """Mount one at `path`, of a kind like sshfs; it is unmounted at the end. One that is told to hang, as it may be
    unless `hangs` says otherwise, answers others meanwhile. Raises: OSError where that is not possible.
    """
    with made_by(PROGRAM, path, "at-once" if hangs else "in-turn", *filter(None, [kind])):
        yield FaultyVolume(path)


@contextmanager
def made_by(program: Path, path: Path, *words: str) -> Iterator[None]:
    """Have the file system of a program at `path`. Raises: OSError where that is not possible."""
    path.mkdir(exist_ok=True)
    # Version 2, which is taken where both are installed, mounts nothing over a directory that is not empty.
    library = {"FUSE_LIBRARY_PATH": find_library("fuse3") or ""}
    running = subprocess.Popen(
        [sys.executable, str(program), str(path), *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | library,
    )
    try:
        deadline = time.monotonic() + MOUNT_S
        while not path.is_mount():
            if running.poll() is not None or time.monotonic() > deadline:
                raise OSError("FUSE file systems cannot be mounted here; it takes root, /dev/fuse and libfuse3")
            time.sleep(0.05)
        yield
    finally:
        subprocess.run(["umount", "-l", str(path)], capture_output=True)
        running.kill()
        running.wait()
