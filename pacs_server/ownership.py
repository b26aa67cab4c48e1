"""Whose the files are that are made: those that root makes beside a server of another user belong to that user."""

from __future__ import annotations

import os
import pwd
import subprocess
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

_USABLE: Final = '[ -r "$1" ] && [ -w "$1" ] && [ -x "$1" ] && [ -r "$2" ]'
_UNREADABLE: Final = 'for file do [ -r "$file" ] || printf "%s\\0" "$file"; done'
_ANSWER_S: Final = 10.0


def give_to_owner(made: int, directory: int | Path) -> None:
    """Let what root makes, and has open, belong to whom the directory belongs: a server that is another user, beside
    which root runs `pacs`, has to read it and to write into it.
    """
    if os.geteuid() != 0:
        return
    owner = directory.stat() if isinstance(directory, Path) else os.fstat(directory)
    if (owner.st_uid, owner.st_gid) != (0, 0):
        with suppress(OSError):  # on NFS root may be nobody
            os.fchown(made, owner.st_uid, owner.st_gid)


def make_file(path: Path, mode: int = 0o666) -> None:
    """Make an empty file for the owner of its folder, where there is none: one that is there may be a link of somebody
    to what is not theirs. Raises: OSError.
    """
    with suppress(FileExistsError):
        made = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        try:
            give_to_owner(made, path.parent)
        finally:
            os.close(made)


def make_folder(path: Path, mode: int = 0o777) -> None:
    """Make a folder for the owner of the one that it is in, and those above it, unless it is there. Raises: OSError."""
    if path.is_dir():
        return
    make_folder(path.parent)
    path.mkdir(mode, exist_ok=True)
    made = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        give_to_owner(made, path.parent)
    finally:
        os.close(made)


def shut_out(data_dir: Path, directory: Path, file: Path) -> str:
    """The user of the server, to whom the data directory belongs, if root runs this and that user may not write into
    another directory, or not read a file in it; empty otherwise, and where that cannot be found out.
    """
    user, answer = _asked_as_owner(data_dir, _USABLE, [directory, file])
    return user if answer is not None and answer.returncode == 1 else ""


def unreadable(data_dir: Path, files: Iterable[Path]) -> tuple[str, list[Path]]:
    """The user of the server, to whom the data directory belongs, and which of these files that user may not read, if
    root runs this; none otherwise, and where that cannot be found out.
    """
    user, answer = _asked_as_owner(data_dir, _UNREADABLE, files)
    told = answer.stdout if answer is not None else b""
    return user, [Path(os.fsdecode(file)) for file in told.split(b"\0") if file]


def _asked_as_owner(
    data_dir: Path, script: str, paths: Iterable[Path]
) -> tuple[str, subprocess.CompletedProcess[bytes] | None]:
    """Whose a data directory is, and what a script of the shell answers that user; None where it cannot be asked, and
    where that is who runs this. The kernel knows: modes alone say nothing of access lists, and of what a NAS makes of a
    user.
    """
    try:
        owner = data_dir.stat()
    except OSError:
        return "", None
    if os.geteuid() != 0 or owner.st_uid == 0:
        return "", None
    user, groups = str(owner.st_uid), [owner.st_gid]
    with suppress(KeyError):
        user = pwd.getpwuid(owner.st_uid).pw_name
        groups += os.getgrouplist(user, owner.st_gid)
    try:
        answer = subprocess.run(
            ["/bin/sh", "-c", script, "sh", *paths],
            user=owner.st_uid,
            group=owner.st_gid,
            extra_groups=groups,
            cwd="/",
            timeout=_ANSWER_S,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return user, None
    return user, answer
