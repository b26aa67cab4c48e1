"""That a process of the server is at work, as the audit trail tells it: its beginning, and that it ended as told."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from pacs_server import log
from pacs_server.dicom.audit import Event, EventKind
from pacs_server.errors import IndexUnavailable, IndexUnreachable, PacsError
from pacs_server.service.assemble import Node


@contextmanager
def presence(node: Node, name: str) -> Iterator[None]:
    """A process begins to work, and ends when the block does; then what it noted is written down. One that is killed
    does not tell that it ended.

    One whose beginning the index does not take, because its disk is full, say, begins all the same: who only asks has
    to be answered. It is told with the next events that the index takes.

    Raises: IndexUnreachable when it cannot begin. Source: PS3.15 section A.5.3.1.
    """
    begun = _event(EventKind.START, name)
    try:
        node.audit.record(begun)
    except IndexUnreachable:
        raise
    except IndexUnavailable as error:
        log.error("beginning not told to the audit trail", process=name, why=error)
        node.index.trail.note(begun)
    yield
    try:
        node.audit.write_down()
        node.audit.record(_event(EventKind.STOP, name))
    except PacsError as error:
        log.error("end not told to the audit trail", process=name, why=error)


def _event(kind: EventKind, name: str) -> Event:
    who = f"server@{socket.gethostname()}"
    return Event(kind=kind, at=datetime.now(UTC), who=who, detail=f"{name}, process {os.getpid()}")
