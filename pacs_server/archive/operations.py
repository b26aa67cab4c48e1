"""Makes the operations on a volume and those in the index the same: their union is the truth."""

from __future__ import annotations

from collections.abc import Container, Sequence
from datetime import datetime
from functools import partial
from pathlib import PurePosixPath

from pacs_server import log
from pacs_server.dicom.operations import Operation, OperationKind
from pacs_server.errors import CopyUnreadable, Undecodable, VolumeUnavailable
from pacs_server.index.operations import Operations
from pacs_server.index.stamped import Stamp
from pacs_server.storage.operations import keep, keep_everywhere, read
from pacs_server.storage.volume import Volume


def learn(volume: Volume, operations: Operations, volumes: Sequence[Volume], *, now: datetime) -> int:
    """Let the operations on a volume that the index does not know take effect; answers how many they were. What follows
    from them is kept on `volumes`. Where something is destroyed, also those that the others of them know: what was
    decided after that may be known there alone.

    Raises: VolumeUnavailable when a volume cannot be read; NotEnoughCopies; IndexUnavailable.
    """
    known = operations.stamps()
    learnt = _unknown(volume, known)
    if any(one.kind is OperationKind.PURGE for one in learnt.values()):
        for other in volumes:
            if other is not volume and other.state.is_readable:
                learnt |= _unknown(other, known | learnt.keys())
    operations.take_over(learnt.values(), partial(_kept, learnt, volumes), now=now)
    return len(learnt)


def _unknown(volume: Volume, known: Container[Stamp]) -> dict[Stamp, Operation]:
    """Raises: VolumeUnavailable."""
    unknown = [(stamp, path) for stamp, path in volume.operation_files() if stamp not in known]
    return {stamp: one for stamp, path in unknown if (one := _readable(volume, path, stamp)) is not None}


def _kept(learnt: Container[Stamp], volumes: Sequence[Volume], operation: Operation) -> list[str]:
    """The ids of the volumes that do not have an operation that follows from those that were learnt."""
    return [] if operation.stamp in learnt else [one.spec.id for one in keep_everywhere(operation, volumes)]


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
