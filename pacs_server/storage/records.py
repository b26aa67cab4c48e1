"""Small files on volumes that are about what lies there: operations, and checkpoints of the audit trail."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Final

from pacs_server.errors import CopyUnreadable, Undecodable, VolumeSilent, VolumeUnavailable
from pacs_server.storage.reading import OpenCopy
from pacs_server.storage.threads import Attempt
from pacs_server.storage.volume import Volume

_MAX_BYTES: Final = 8 << 20


def keep_record(volume: Volume, path: PurePosixPath, text: str) -> None:
    """Write such a file on one volume, flushed. A volume that is closed, full or draining takes it too.

    Raises: VolumeUnavailable.
    """
    if not volume.state.is_readable:
        raise VolumeUnavailable(f"volume {volume.spec.name} is {volume.state.status}: {volume.state.reason}")
    medium = volume.medium()
    content = text.encode()

    def write(attempt: Attempt) -> None:
        with medium.new_file(path.parent) as file:
            file.write((content,))
            while not attempt.cancelled and not file.finish(path.name):
                pass

    volume.run(write)


def read_record(volume: Volume, path: PurePosixPath) -> str:
    """The text of such a file.

    Raises: Undecodable when it is too large, or not UTF-8; CopyUnreadable when the disk cannot read it;
    VolumeUnavailable when the volume is away, or does not answer.
    """
    try:
        with OpenCopy(volume, path, at_once_bytes=_MAX_BYTES) as opened:
            if opened.size_bytes > _MAX_BYTES:
                raise Undecodable(f"{path} is too large for what it should be: it has {opened.size_bytes} bytes")
            content = bytes(opened.buffer)
    except VolumeUnavailable as error:
        if isinstance(error, VolumeSilent) or not volume.check().is_readable:
            raise
        raise CopyUnreadable(str(error)) from error
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Undecodable(f"{path} is damaged: it is not UTF-8") from error
