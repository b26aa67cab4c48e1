"""Files that are copies no more, on their way out: put under `leaving/` first, so that they can come back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

from pacs_server.storage.layout import LEAVING, ROOT
from pacs_server.storage.medium import Medium
from pacs_server.storage.volume import Volume


def set_leaving(volume: Volume, path: PurePosixPath) -> None:
    """Move a file to `leaving/`, if it is there. Raises: VolumeUnavailable."""
    volume.move(path, LEAVING / path)


def bring_back(volume: Volume, path: PurePosixPath) -> None:
    """Move a file back from `leaving/`, if it is there; a newer one at its place is the same object and stays.

    Raises: VolumeUnavailable.
    """
    if not volume.has_file(path):
        volume.move(LEAVING / path, path)
    remove_left(volume, path)


def remove_left(volume: Volume, path: PurePosixPath) -> None:
    """Remove a file that is in `leaving/`, and the directories that nothing is in any more, there and where it was.

    Raises: VolumeUnavailable.
    """

    def remove(medium: Medium) -> None:
        medium.remove(LEAVING / path)
        medium.remove_empty((LEAVING / path).parent, below=PurePosixPath())
        medium.remove_empty(path.parent, below=ROOT)

    volume.change_files(remove)


def leaving(volume: Volume) -> Iterator[PurePosixPath]:
    """The files in `leaving/`, by the paths that they had. Raises: VolumeUnavailable."""
    return (file.path for file in volume.walk(below=LEAVING))
