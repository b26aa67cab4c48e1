"""Opens what a volume lies on: the one place that knows which kinds there are."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from pacs_server.errors import VolumeUnavailable
from pacs_server.storage.directory import Directory
from pacs_server.storage.location import Location
from pacs_server.storage.medium import Medium


def open_medium(
    location: Location, *, timeout_s: float = 30.0, on_leftover: Callable[[PurePosixPath], None] = lambda _: None
) -> Medium:
    """The files at a location. `on_leftover` is told of unfinished ones that could not be removed.

    Raises: OSError; VolumeUnavailable when it cannot be used: see the message.
    """
    if isinstance(location, Path):
        return Directory(location, on_leftover)
    try:  # what speaks to buckets is an extra, and takes 40 MB and a quarter of a second: only who has one loads it
        from pacs_server.storage.bucket import Bucket
    except ModuleNotFoundError as error:
        raise VolumeUnavailable(
            f"{location}: a bucket needs {error.name}, which is not installed: {sys.executable} -m pip install botocore"
        ) from error
    return Bucket(location, timeout_s=timeout_s, on_leftover=on_leftover)
