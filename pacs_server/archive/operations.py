"""Makes the operations on a volume and those in the index the same: their union is the truth."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import partial
from pathlib import PurePosixPath

from pacs_server import log
from pacs_server.dicom.operations import Operation
from pacs_server.errors import CopyUnreadable, Undecodable, VolumeUnavailable
from pacs_server.index.operations import Operations
from pacs_server.storage.operations import keep, keep_everywhere, read
from pacs_server.storage.volume import Volume


def learn(volume: Volume, operations: Operations, volumes: Sequence[Volume], *, now: datetime) -> int:
    """Let the operations on a volume that the index does not know take effect; answers how many they were. What follows
    from them is kept on `volumes`.

    Raises: VolumeUnavailable when the volume cannot be read; NotEnoughCopies; IndexUnavailable.
    """
    known = operations.stamps()
    unknown = sorted((stamp, path) for stamp, path in volume.operation_files() if stamp not in known)
    learnt = [one for stamp, path in unknown if (one := _readable(volume, path, stamp)) is not None]
    for one in learnt:
        operations.take_over(one, partial(_kept, one, volumes), now=now)
    return len(learnt)


def _kept(learnt: Operation, volumes: Sequence[Volume], operation: Operation) -> list[str]:
    """The ids of the volumes that do not have an operation that follows from one that was learnt."""
    return [] if operation is learnt else [one.spec.id for one in keep_everywhere(operation, volumes)]


def synchronise(volume: Volume, operations: Operations, volumes: Sequence[Volume], *, now: datetime) -> tuple[str, ...]:
    """Learn what a volume knows, then write the operations that it lacks or has damaged; the problems that are left.

    Raises: VolumeUnavailable when the volume cannot be read; NotEnoughCopies; IndexUnavailable.
    """
    learn(volume, operations, volumes, now=now)
    on_volume = dict(volume.operation_files())
    problems: list[str] = []
    for stamp in sorted(operations.stamps()):
        one = operations.one(stamp)
        if stamp in on_volume and _readable(volume, on_volume[stamp], stamp) == one:
            continue
        try:
            keep(one, volume)
        except VolumeUnavailable as error:
            problems.append(str(error))
    return tuple(dict.fromkeys(problems))


def _readable(volume: Volume, path: PurePosixPath, stamp: tuple[int, str]) -> Operation | None:
    try:
        operation = read(volume, path)
    except (CopyUnreadable, Undecodable) as error:
        log.warning("operation unreadable", volume=volume.spec.name, path=path, why=error)
        return None
    if operation.stamp != stamp:
        log.warning("operation has another name", volume=volume.spec.name, path=path)
        return None
    return operation
