"""The files of operations on volumes: on every one that can be written, so that their union tells what was decided."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Final

from pacs_server.dicom.operations import Operation, from_text, to_text
from pacs_server.errors import NotEnoughCopies, Undecodable, VolumeUnavailable
from pacs_server.storage.layout import operation_path
from pacs_server.storage.reading import OpenCopy
from pacs_server.storage.threads import Attempt
from pacs_server.storage.volume import Volume

_MAX_BYTES: Final = 8 << 20


def keep_everywhere(operation: Operation, volumes: Iterable[Volume]) -> list[Volume]:
    """Write the file of an operation on every volume that takes it, flushed; the volumes that do not have it now.

    Raises: NotEnoughCopies when none of them took it; the message says why.
    """
    missed: list[Volume] = []
    problems: list[str] = []
    kept = 0
    for volume in volumes:
        try:
            keep(operation, volume)
            kept += 1
        except VolumeUnavailable as error:
            missed.append(volume)
            problems.append(str(error))
    if not kept:
        raise NotEnoughCopies(f"no volume takes the record of what is to be done: {'; '.join(problems) or 'none'}")
    return missed


def keep(operation: Operation, volume: Volume) -> None:
    """Write the file of an operation on one volume, flushed. One that is closed, full or draining takes it too: it is
    small, and about what lies there.

    Raises: VolumeUnavailable.
    """
    if not volume.state.is_readable:
        raise VolumeUnavailable(f"volume {volume.spec.name} is {volume.state.status}: {volume.state.reason}")
    medium, path = volume.medium(), operation_path(operation.site_id, operation.counter, operation.at)
    content = to_text(operation).encode()

    def write(attempt: Attempt) -> None:
        with medium.new_file(path.parent) as file:
            file.write((content,))
            while not attempt.cancelled and not file.finish(path.name):
                pass

    volume.run(write)


def read(volume: Volume, path: PurePosixPath) -> Operation:
    """The operation in a file of a volume.

    Raises: Undecodable when it is damaged; VolumeUnavailable.
    """
    with OpenCopy(volume, path, at_once_bytes=_MAX_BYTES) as opened:
        if opened.size_bytes > _MAX_BYTES:
            raise Undecodable(f"{path} is no operation: it has {opened.size_bytes} bytes")
        content = bytes(opened.buffer)
    try:
        return from_text(content.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise Undecodable(f"{path} is no operation: it is not UTF-8") from error
