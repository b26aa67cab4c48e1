"""Files that are written whole: flushed, and put in the place of one that is there only then."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from pacs_server.ownership import give_to_owner, make_folder


def write_whole(path: Path, content: bytes, mode: int) -> None:
    """Write a file, flushed, that has this mode from its first byte on, in the place of one that is there. Where that
    cannot be done, as on a full disk, that one stays, and nothing is left beside it.

    Raises: OSError.
    """
    write_together((path, content, mode))


def write_together(*files: tuple[Path, bytes, int]) -> None:
    """Write files as `write_whole` does, each with its mode; none takes its place before all are written.

    Raises: OSError.
    """
    partials = {path: path.with_name(f"{path.name}.part") for path, _, _ in files}
    try:
        for path, content, mode in files:
            _write_new(partials[path], content, mode)
        for path, partial in partials.items():
            partial.replace(path)
    except OSError:
        for partial in partials.values():
            with suppress(OSError):
                partial.unlink(missing_ok=True)
        raise


def _write_new(path: Path, content: bytes, mode: int) -> None:
    make_folder(path.parent, 0o700)
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        give_to_owner(descriptor, path.parent)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def flush_folder(path: Path) -> None:
    """Let no power cut undo which names are in a folder. Raises: OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
