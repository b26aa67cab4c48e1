"""Sends the audit trail to the receiver that the settings name; what it did not take is owed until it does."""

from __future__ import annotations

import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

from pacs_server.dicom.audit_message import message_of
from pacs_server.index.audit import Row
from pacs_server.index.jobs import Job, JobKind
from pacs_server.net.syslog import receiver_context, send_datagrams, send_over_tls, syslog_message
from pacs_server.service.assemble import Node

_AT_ONCE: Final = 500
_TIMEOUT_S: Final = 30.0
_STOPPED: Final = "the server was stopped"


def owe_export(node: Node, now: datetime) -> None:
    """Have what is owed to the receiver sent, unless a job is there already. Raises: IndexUnavailable."""
    if node.settings.audit.syslog.host and node.audit.is_owed() and not node.jobs.has(JobKind.AUDIT):
        node.jobs.owe(JobKind.AUDIT, now)


def export(node: Node, job: Job, *, lease: timedelta, is_stopped: Callable[[], bool]) -> tuple[str, ...]:
    """Send everything that is owed; the problem that is left. A message comes twice, and is the same then, when it is
    not known whether it was read.

    Raises: IndexUnavailable; ConfigError; PeerUnreachable, PeerRejected, PeerTimedOut or PeerAborted.
    """
    while rows := node.audit.owed(_AT_ONCE):
        if is_stopped():
            return (_STOPPED,)
        node.jobs.renew(job, datetime.now(UTC), lease)
        _send(node, rows)
        node.audit.sent(rows)
    return ()


def _send(node: Node, rows: list[Row]) -> None:
    settings, here = node.settings, socket.gethostname()
    aet, receiver = str(settings.aet), settings.audit.syslog
    messages = [
        syslog_message(
            message_of(row.event, aet=aet, source=f"{aet}@{here}"), at=row.event.at, host=here, process=row.chain
        )
        for row in rows
    ]
    if receiver.udp:
        send_datagrams(receiver.host, receiver.port, messages)
        return
    authority = settings.data_dir / receiver.ca_file if receiver.ca_file else settings.tls_files.ca
    context = receiver_context(authority, settings.tls_files)
    send_over_tls(receiver.host, receiver.port, messages, context, timeout_s=_TIMEOUT_S)
