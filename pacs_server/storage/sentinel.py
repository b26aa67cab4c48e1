"""The file that says whose a volume is. Without it a directory is a bare mount point, and nothing is written there."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Final

from pacs_server.errors import Refused, VolumeUnavailable
from pacs_server.storage.atomic import OPEN_DIRECTORY, Descriptor, NewFile, Tree
from pacs_server.storage.layout import ROOT

SENTINEL_NAME: Final = ".pacs-volume.json"
_MAX_BYTES: Final = 4096
_NAME_CHARACTERS: Final = 64
# What a fresh file system or a NAS puts into every directory by itself; so do names that begin with a dot.
_NOT_CONTENT: Final = frozenset({"lost+found", "@eaDir", "#recycle", "#snapshot"})


def read_sentinel(tree: Tree) -> str:
    """The id of the volume that is mounted here.

    Raises: VolumeUnavailable when there is no sentinel, or none that can be read.
    """
    try:
        file, _ = tree.open_file(PurePosixPath(SENTINEL_NAME))
        return _id_in(os.read(file.number, _MAX_BYTES))
    except FileNotFoundError as error:
        raise VolumeUnavailable(f"there is no {SENTINEL_NAME} in it; is the volume mounted?") from error
    except OSError as error:
        raise VolumeUnavailable(f"{SENTINEL_NAME} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise VolumeUnavailable(f"{SENTINEL_NAME} is damaged ({error}); restore it from a backup") from error


def sentinel_at(path: Path) -> str:
    """The id of the volume at a path. Raises: VolumeUnavailable when there is none."""
    try:
        return read_sentinel(Tree(Descriptor(os.open(path, OPEN_DIRECTORY))))
    except OSError as error:
        raise VolumeUnavailable(f"it cannot be opened: {error.strerror}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What is at a path: the volume of an id, or without one perhaps an empty directory that could become one."""

    volume_id: str = ""
    is_empty: bool = False
    has_objects: bool = False


def place_at(path: Path) -> Place:
    """What is at a path where a volume may be."""
    with suppress(VolumeUnavailable):
        return Place(volume_id=sentinel_at(path), has_objects=(path / ROOT).is_dir())
    try:
        names = {entry.name for entry in path.iterdir()}
    except OSError:
        return Place()
    return Place(is_empty=SENTINEL_NAME not in names and not _content(names))


def _id_in(content: bytes) -> str:
    volume_id = json.loads(content)["id"]
    if not isinstance(volume_id, str):
        raise TypeError("its id is no text")
    return volume_id


def adopt(path: Path, *, name: str, others: Iterable[Path] = ()) -> str:
    """Make a directory a volume by writing its sentinel, once; answers its id. One that has a sentinel keeps its id.

    `others` are the paths of the volumes that are known already.

    Raises: Refused when the directory cannot be a volume: see the message.
    """
    if not name or len(name) > _NAME_CHARACTERS or not all(c.isascii() and (c.isalnum() or c in "-_.") for c in name):
        shown = name[:_NAME_CHARACTERS].encode("unicode_escape").decode("ascii")
        raise Refused(f"'{shown}' is no volume name: letters, digits, '-', '_', '.', at most {_NAME_CHARACTERS}")
    try:
        _check_place(path, others)
        tree = Tree(Descriptor(os.open(path, OPEN_DIRECTORY)))
        if not _has_sentinel(tree, path):
            _write(tree, {"id": uuid.uuid4().hex, "name": name, "created": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"})
        check_writable(tree)  # one that is mounted again has a sentinel, but perhaps another owner or options
        return read_sentinel(tree)
    except OSError as error:
        raise Refused(f"{path} cannot be used: {error.strerror}; check its owner and mount options") from error
    except VolumeUnavailable as error:
        raise Refused(f"{path}: {error}") from error


def _check_place(path: Path, others: Iterable[Path]) -> None:
    if path.is_symlink():
        raise Refused(f"{path} is a symbolic link; give the directory that it points to")
    if not path.is_dir():
        raise Refused(f"{path} is not a directory; make or mount it first")
    if not path.is_absolute() or path != path.resolve():
        raise Refused(f"{path} is not a plain absolute path; give {path.resolve()}")
    if path == Path(path.anchor):
        raise Refused(f"{path} is the root of the file system; give a directory of its own")
    for other in others:
        if path == other or other in path.parents or path in other.parents:
            raise Refused(f"{path} is, is inside, or is around another volume ({other}); volumes must not overlap")


def _has_sentinel(tree: Tree, path: Path) -> bool:
    with os.scandir(tree.root.number) as entries:
        names = {entry.name for entry in entries}
    if SENTINEL_NAME in names:
        return True
    if _content(names):
        raise Refused(f"{path} is not empty; give a directory of its own, and `pacs import` takes files in")
    return False


def _content(names: Iterable[str]) -> list[str]:
    return [name for name in names if name not in _NOT_CONTENT and not name.startswith(".")]


def _write(tree: Tree, content: dict[str, str]) -> None:
    with NewFile(tree, PurePosixPath()) as file:
        file.write((json.dumps(content).encode(),))
        file.finish(SENTINEL_NAME)


def check_writable(tree: Tree) -> None:
    """Write and flush a file that goes again. Raises: OSError when that fails."""
    with NewFile(tree, PurePosixPath()) as file:
        file.write((b"\0",))
        file.flush()
