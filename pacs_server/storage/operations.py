"""The files of operations on volumes: on every one that can be written, so that their union tells what was decided."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import PurePosixPath

from pacs_server.dicom.operations import Operation, from_text, to_text
from pacs_server.errors import CopyUnreadable, NotEnoughCopies, Undecodable, VolumeUnavailable
from pacs_server.storage.layout import operation_path
from pacs_server.storage.records import keep_record, read_record
from pacs_server.storage.volume import Volume


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
    """Write the file of an operation on one volume, flushed. A volume that is closed, full or draining takes it too:
    it is small, and about what lies there. A damaged file is replaced; one of that name that holds another operation
    never is: then the index is older than the volume, and gave a number anew.

    Raises: VolumeUnavailable.
    """
    path = operation_path(operation.site_id, operation.counter, operation.at)
    if volume.has_file(path):
        with suppress(Undecodable, CopyUnreadable):
            if read(volume, path) != operation:
                raise VolumeUnavailable(
                    f"{path} on volume {volume.spec.name} is another operation, which the index does not know: pacs "
                    "reconcile learns it"
                )
    keep_record(volume, path, to_text(operation))


def read(volume: Volume, path: PurePosixPath) -> Operation:
    """The operation in a file of a volume.

    Raises: Undecodable or CopyUnreadable when it is damaged; VolumeUnavailable when the volume is away.
    """
    return from_text(read_record(volume, path))
