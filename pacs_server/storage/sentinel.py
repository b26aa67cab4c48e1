"""The file that says whose a volume is. Without it a directory is a bare mount point, and nothing is written there."""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Final

from pacs_server.errors import Refused, VolumeAway, VolumeSilent, VolumeUnavailable
from pacs_server.ownership import shut_out
from pacs_server.storage.atomic import NO_ROOM
from pacs_server.storage.location import Location, check_location
from pacs_server.storage.medium import Medium
from pacs_server.storage.opening import open_medium
from pacs_server.storage.threads import Attempt, Threads, answer_of

SENTINEL_NAME: Final = ".pacs-volume.json"
_SENTINEL: Final = PurePosixPath(SENTINEL_NAME)
_MAX_BYTES: Final = 4096
_NAME_CHARACTERS: Final = 64
# A server learns within two seconds that a volume was removed, and holds it until then; more on a busy machine.
_LET_GO_S: Final = 10.0
_LOOK_AGAIN_S: Final = 0.2
_LOCK_S: Final = 5.0
# What a fresh file system or a NAS puts into every directory by itself; so do names that begin with a dot.
_NOT_CONTENT: Final = frozenset({"lost+found", "@eaDir", "#recycle", "#snapshot"})


def read_sentinel(medium: Medium) -> str:
    """The id of the volume that is mounted here.

    Raises: VolumeUnavailable when there is no sentinel, none that can be read, or one that anybody may have written.
    """
    try:
        file = medium.open_file(_SENTINEL, at_once_bytes=_MAX_BYTES)
        if file.is_open_to_all:
            raise VolumeUnavailable(
                f"every user of this machine may write {SENTINEL_NAME}: look who did, and chmod o-w it, "
                "or mount it with a file_mode that says so"
            )
        return _id_in(file.whole or b"")
    except FileNotFoundError as error:
        raise VolumeUnavailable(
            f"there is no {SENTINEL_NAME} in it: mount or name the right one; where its files are lost, "
            "pacs storage drain, pacs storage remove, pacs storage add"
        ) from error
    except PermissionError as error:
        raise VolumeUnavailable(
            f"{SENTINEL_NAME} cannot be read: {error.strerror}: what is there has to belong to the user of the server "
            "(chown -R)"
        ) from error
    except OSError as error:
        raise VolumeUnavailable(f"{SENTINEL_NAME} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise VolumeUnavailable(f"{SENTINEL_NAME} is damaged ({error}); restore it from a backup") from error


def sentinel_at(location: Location) -> str:
    """The id of the volume at a location. Raises: VolumeUnavailable when there is none."""

    def read() -> str:
        try:
            return read_sentinel(open_medium(location))
        except OSError as error:
            raise VolumeUnavailable(f"it cannot be opened: {error.strerror}") from error

    return answer_of(location, read)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What is at a location: the volume of an id, or without one perhaps nothing, so that it could become one."""

    volume_id: str = ""
    is_empty: bool = False
    has_objects: bool = False


def place_at(location: Location) -> Place:
    """What is at a location where a volume may be."""
    try:
        return answer_of(location, partial(_place_at, location))
    except VolumeUnavailable:
        return Place()


def _place_at(location: Location) -> Place:
    try:
        medium = open_medium(location)
        with suppress(VolumeUnavailable):
            return Place(volume_id=read_sentinel(medium), has_objects=medium.has_objects())
        names = _names_in(medium)
    except (OSError, VolumeUnavailable):
        return Place()
    return Place(is_empty=SENTINEL_NAME not in names and not _content(names))


def _id_in(content: bytes) -> str:
    volume_id = json.loads(content)["id"]
    if not isinstance(volume_id, str):
        raise TypeError("its id is no text")
    return volume_id


def adopt(
    location: Location,
    *,
    name: str,
    others: Iterable[Location] = (),
    may_be_in_use: Callable[[str], bool] = lambda _: False,
    data_dir: Path | None = None,
) -> str:
    """Make a directory or bucket a volume by writing its sentinel, once; answers its id. One that has a sentinel keeps
    its id, and is refused while a process has it open unless one of that id `may_be_in_use`. `others` are the locations
    of the volumes that are known already. The user of the server is whose `data_dir` is: with it, a directory is
    refused that root may use and that user may not, and stays as it was.

    Raises: Refused when there cannot be a volume: see the message; VolumeAway when nothing answers there.
    """
    if not name or len(name) > _NAME_CHARACTERS or not all(c.isascii() and (c.isalnum() or c in "-_.") for c in name):
        shown = name[:_NAME_CHARACTERS]
        if not shown.isprintable():
            shown = shown.encode("unicode_escape").decode("ascii")
        raise Refused(f"'{shown}' is no volume name: letters, digits, '-', '_', '.', at most {_NAME_CHARACTERS}")
    try:
        volume_id, is_new = answer_of(location, partial(_adopt, location, name, others, may_be_in_use))
        if data_dir is not None and isinstance(location, Path):
            answer_of(location, partial(_refuse_shut, location, data_dir, is_new))
    except VolumeAway as error:  # what is there is not known, and may be right: it can be tried again as it is
        raise VolumeAway(f"{location}: {error}") from error
    except VolumeUnavailable as error:
        raise Refused(f"{location}: {error}") from error
    return volume_id


def _adopt(
    location: Location, name: str, others: Iterable[Location], may_be_in_use: Callable[[str], bool]
) -> tuple[str, bool]:
    """The id of the volume, and whether it became one by this."""
    try:
        check_location(location, others)
        medium = open_medium(location)
        new_id = uuid.uuid4().hex
        if not _has_sentinel(medium, location):
            content = {"id": new_id, "name": name, "created": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"}
            medium.put_first(_SENTINEL, json.dumps(content).encode())
        # Another node may have been first at the same instant.
        if (found := read_sentinel(medium)) != new_id and not may_be_in_use(found):
            _refuse_held(medium, location)
        # One that is mounted again has a sentinel, but perhaps another owner or options.
        medium.check_writable(datetime.now(UTC).date())
        return (volume_id := read_sentinel(medium)), volume_id == new_id
    except OSError as error:
        remedy = "check its owner and mount options"
        if error.errno in NO_ROOM:
            remedy = "make room there"
        elif isinstance(error, PermissionError) and os.geteuid() == 0:
            remedy = (
                "root may not write there, as on a NAS that takes it for nobody: run pacs as the user of the server"
            )
        raise Refused(f"{location} cannot be used: {error.strerror}; {remedy}") from error


def _refuse_shut(directory: Path, data_dir: Path, is_new: bool) -> None:
    if user := shut_out(data_dir, directory, directory / SENTINEL_NAME):
        if is_new:  # a sentinel of root would stay unreadable once the directory is given to that user
            with suppress(OSError):
                (directory / SENTINEL_NAME).unlink()
        raise Refused(
            f"{directory} cannot be used by {user}, the user of the server, to whom {data_dir} belongs: "
            f"chown -R {user}: {directory}"
        )


def hold(medium: Medium) -> None:
    """Let other archives see, as long as the medium is open, that this one uses the volume. Raises: OSError."""
    medium.hold(_SENTINEL)


def _refuse_held(medium: Medium, location: Location) -> None:
    until, threads = time.monotonic() + _LET_GO_S, Threads(str(location))
    while (is_held := _is_held(medium, threads)) and time.monotonic() < until:
        time.sleep(_LOOK_AGAIN_S)
    if is_held:
        raise Refused(
            f"{location} is held by a server that runs: that of another archive, where two on one volume would take "
            "each other's files for litter, or a node of this one that hangs since before the volume was removed; stop "
            "that server first, or join the database of the other archive with pacs init --database"
        )


def _is_held(medium: Medium, threads: Threads) -> bool:
    """Whether somebody holds it, as far as that is told: NFS 3 whose service for locks is shut off never answers.

    Raises: OSError.
    """

    def look(_: Attempt) -> bool | OSError:
        try:
            return medium.is_held(_SENTINEL)
        except OSError as error:
            return error

    try:
        told = threads.wait(threads.start(look, _LOCK_S))
    except VolumeSilent:
        return False
    if isinstance(told, OSError):
        raise told
    return told


def _has_sentinel(medium: Medium, location: Location) -> bool:
    names = _names_in(medium)
    if SENTINEL_NAME in names:
        return True
    if _content(names):
        raise Refused(f"{location} is not empty; give a directory of its own, and `pacs import` takes files in")
    return False


def _names_in(medium: Medium) -> set[str]:
    return {entry.name for entry in chain.from_iterable(medium.entries(PurePosixPath()))}


def _content(names: Iterable[str]) -> list[str]:
    return [name for name in names if name not in _NOT_CONTENT and not name.startswith(".")]
