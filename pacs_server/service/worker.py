"""Runs the archive in the foreground: one instance per data directory, drained on SIGTERM, reloaded on SIGHUP."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from pacs_server import log
from pacs_server.dimse.scp import Provider
from pacs_server.dimse.session import Session
from pacs_server.errors import ConfigError, PacsError
from pacs_server.index.jobs import JobKind
from pacs_server.net.listener import Listener
from pacs_server.service.assemble import Node
from pacs_server.service.forwarder import Forwarder
from pacs_server.service.locks import instance_lock, is_serving
from pacs_server.service.runner import Runner
from pacs_server.service.standing import note
from pacs_server.settings import Settings
from pacs_server.storage.volume import VolumeState

_DRAIN_S: Final = 30.0
_FORWARDING_S: Final = 5.0
_REPORT_EVERY_S: Final = 1.0


def serve(load: Callable[[], Settings], *, announce: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT, then let running operations end, at most 30 s.

    `load` reads the settings; it is called again on SIGHUP, when the log settings take effect. `announce` is told one
    line once associations are accepted.

    Raises: Busy when another server runs on this data directory; ConfigError, IndexUnavailable or SchemaMismatch.
    """
    stop, reload = threading.Event(), threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    signal.signal(signal.SIGHUP, lambda *_: reload.set())
    settings = load()
    log.configure(settings.log.level, settings.log.file)
    with instance_lock(settings.data_dir), Node.open(settings) as node:
        provider = Provider(node.archive())
        listener = Listener(settings.host, settings.port, settings.network, provider.serve)
        address = listener.start()
        log.info("listening", aet=settings.aet, host=address[0], port=address[1], volumes=len(node.volumes()))
        runner, forwarder = Runner(node), Forwarder(node)
        runner.start()
        forwarder.start()
        announce(f"{settings.aet} listens on {address[0]}:{address[1]}")
        report = _Report(settings, address, provider)
        states: Mapping[str, VolumeState] = {}
        while not stop.wait(_REPORT_EVERY_S):
            if reload.is_set():
                reload.clear()
                _reload(load)
            states = _watch_volumes(node, states)
            report.write()
        runner.stop()
        forwarder.stop()
        listener.stop()
        log.info("draining", associations=len(provider.sessions()))
        drained = listener.drain(_DRAIN_S) and forwarder.ended(_FORWARDING_S)
        report.remove()
        log.info("stopped", drained=drained)
    if not drained:
        # Threads that hang on a dead volume or a silent peer must not keep the process. What they had not
        # acknowledged, their peers will send again.
        os._exit(0)


def _reload(load: Callable[[], Settings]) -> None:
    try:
        settings = load()
    except ConfigError as error:
        log.error("settings not reloaded", why=error)
        return
    log.configure(settings.log.level, settings.log.file)
    log.info("reloaded", level=settings.log.level)


def _watch_volumes(node: Node, before: Mapping[str, VolumeState]) -> Mapping[str, VolumeState]:
    """Look at every volume, and note how it is; the states by id. When one is back, what waits for it is tried."""
    try:
        states = {volume.spec.id: volume.check() for volume in node.volumes()}
        usable = {key for key, state in states.items() if state.is_readable}
        if came_back := usable - {key for key, state in before.items() if state.is_readable}:
            now = datetime.now(UTC)
            for volume_id in came_back:  # what was decided while it was away is not on it, and the reverse
                node.jobs.owe(JobKind.OPERATIONS, now, target=volume_id)
                node.jobs.owe(JobKind.RELEASE, now, target=volume_id)
            node.jobs.wake(list(JobKind), now)
    except PacsError as error:
        log.error("volumes not checked", why=error)
        return before
    if {key: state.since for key, state in states.items()} != {key: state.since for key, state in before.items()}:
        note(node.settings.data_dir, states)
    return states


class _Report:
    """What the running server tells of itself to `pacs status`, in a small file that is replaced every second."""

    def __init__(self, settings: Settings, address: tuple[str, int], provider: Provider) -> None:
        self._path = _report_path(settings.data_dir)
        self._provider = provider
        self._fixed = {
            "pid": os.getpid(),
            "aet": settings.aet,
            "host": address[0],
            "port": address[1],
            "started_at": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        self._written = ""
        self.write()

    def write(self) -> None:
        sessions = [_told(number, session) for number, session in self._provider.sessions()]
        text = json.dumps(self._fixed | {"served": self._provider.served, "associations": sessions})
        if text != self._written:
            partial = self._path.with_suffix(".part")
            partial.write_text(text, encoding="utf-8")
            partial.replace(self._path)
            self._written = text

    def remove(self) -> None:
        self._path.unlink(missing_ok=True)


def _told(number: int, session: Session) -> dict[str, Any]:
    tally = session.tally
    return {
        "number": number,
        "calling_aet": session.association.calling_aet,
        "address": session.association.peer_address,
        "since": session.since.isoformat(timespec="seconds"),
        "doing": tally.doing,
        "stored": tally.stored,
        "refused": tally.refused,
        "answered": tally.answered,
        "sent": tally.sent,
    }


def _report_path(data_dir: Path) -> Path:
    return data_dir / "serve.json"


def running(data_dir: Path) -> dict[str, Any] | None:
    """What the server on this data directory last told of itself (at most a second ago); None when none runs."""
    if not is_serving(data_dir):
        return None
    try:
        told = json.loads(_report_path(data_dir).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}
