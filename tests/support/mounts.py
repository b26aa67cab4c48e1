"""Real mounts for volumes, as root: a tmpfs that outlives its unmounting, so that a NAS can go away and come back."""

import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest


def mount(*words: object) -> None:
    done = subprocess.run(["mount", *map(str, words)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"file systems cannot be mounted here; it takes root: {done.stderr.strip()}")


def on_tmpfs(folder: Path, name: str, size: str, mounts: ExitStack) -> Path:
    """A tmpfs of a size like 64m, bound to `folder`/`name`."""
    backing, path = _backing(folder / name), folder / name
    for each in (backing, path):
        each.mkdir()
    mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", backing)
    mounts.callback(subprocess.run, ["umount", "-l", str(backing)], capture_output=True)
    mount("--bind", backing, path)
    mounts.callback(subprocess.run, ["umount", "-l", str(path)], capture_output=True)
    return path


def unmount(path: Path) -> Callable[[], None]:
    """Take such a volume away; what is answered brings it back."""
    subprocess.run(["umount", "-l", str(path)], check=True)

    def back() -> None:
        assert list(path.iterdir()) == [], "something was written below the bare mount point"
        mount("--bind", _backing(path), path)

    return back


def _backing(path: Path) -> Path:
    return path.with_name(f"{path.name}.backing")
