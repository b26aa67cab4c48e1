"""The nodes of a site know of each other by what each writes into the database: that it lives, and what it reaches."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, Final

from pacs_server import log, this_release
from pacs_server.cluster.roster import FORGOTTEN_AFTER, SILENT_AFTER, Roster, lives
from pacs_server.errors import Busy, IndexUnavailable
from pacs_server.index.jobs import JobKind
from pacs_server.index.promotion import note_timeline
from pacs_server.index.site.nodes import SiteNode
from pacs_server.service.assemble import Node
from pacs_server.service.telling import serving
from pacs_server.settings import Settings
from pacs_server.storage.mounts import footing_of, mount_table

_TELL_EVERY_S: Final = 2.0
# What a node tells is heard when the next look is due.
_HEARD_LATE_S: Final = 2 * _TELL_EVERY_S


def node_name(settings: Settings) -> str:
    """The name of this node: two of one site have different machines, or different directories."""
    return f"{socket.gethostname()}:{settings.data_dir}"


def this_node(node: Node, now: datetime) -> SiteNode:
    """What this node tells of itself. Raises: IndexUnavailable."""
    settings = node.settings
    server = serving(settings.data_dir) or {}
    table = mount_table()
    reached = {one.spec.id: one.spec.path for one in node.volumes() if one.state.is_readable}
    footings = {key: footing_of(path, table) for key, path in reached.items()}
    return SiteNode(
        name=node_name(settings),
        machine=socket.gethostname(),
        aet=str(settings.aet),
        address=_address(server, settings),
        release=this_release(),
        reach=frozenset(reached),
        within=frozenset(key for key, footing in footings.items() if footing is None or not footing.is_elsewhere),
        seen_at=now,
    )


def _address(server: Mapping[str, Any], settings: Settings) -> str:
    """Where peers reach it, without TLS if they do."""
    if server.get("port", settings.port) is None:
        return f"{server.get('tls_host', settings.tls_host)}:{server.get('tls_port', settings.tls.port)}"
    return f"{server.get('host', settings.host)}:{server.get('port', settings.port)}"


def refuse_beside(nodes: Iterable[SiteNode], *, own: str, deed: str, now: datetime) -> None:
    """Refuse what must not happen while another node of the site serves. Raises: Busy."""
    if others := [one for one in nodes if one.name != own and lives(one, now)]:
        raise Busy(f"another node of this archive serves, {others[0].name}: stop every node before {deed}")


class RollCall:
    """Tells that this node lives, and sees which others do. May be used from any thread.

    With SQLite there are no others, and nothing is told.
    """

    def __init__(self, node: Node, now: datetime, elapsed_s: Callable[[], float] = time.monotonic) -> None:
        """Nothing is told yet. Raises: IndexUnavailable."""
        self._node = node
        self._elapsed_s = elapsed_s
        self._is_alone = node.index.database_path is not None
        self._lock = threading.Lock()
        self._has_left = False
        self._told_at = self._well_since = float("-inf")
        self._missing: set[str] = set()
        self._heard: dict[str, tuple[datetime, float]] = {}  # what each node has told last, and when that was heard
        self._roster = Roster(own=this_node(node, now), others=self._others())

    @property
    def roster(self) -> Roster:
        """The nodes as they were when that was last looked at."""
        return self._roster

    def _others(self) -> tuple[SiteNode, ...]:
        name = node_name(self._node.settings)
        return () if self._is_alone else tuple(one for one in self._node.nodes.all() if one.name != name)

    def call(self, now: datetime) -> None:
        """Tell, and look, unless that was done a moment ago. Who has just died leaves its jobs to the others.

        Raises: IndexUnavailable.
        """
        with self._lock:
            moment = self._elapsed_s()
            if self._has_left or moment - self._told_at < _TELL_EVERY_S:
                return
            own = this_node(self._node, now)
            # Where the database was away, the others could not tell either: they have their time to do so.
            if moment - self._told_at > SILENT_AFTER.total_seconds():
                self._well_since = moment
            if not self._is_alone:
                self._node.nodes.tell(own)
                if note_timeline(self._node.index, now):
                    log.warning("database promoted", why="rows may be missing: pacs doctor says what to do")
                    for volume in self._node.volumes():  # what was decided last is known there
                        self._node.jobs.owe(JobKind.OPERATIONS, now, target=volume.spec.id)
            others = self._others()
            self._told_at = moment
            is_sure = moment - self._well_since > SILENT_AFTER.total_seconds()
            silent = {one.name for one in others if self._is_silent(one, now, moment)}
            living = tuple(one for one in others if one.name not in silent or not is_sure)
            self._roster = Roster(own=own, others=living)
            self._bury({one.name: one for one in others if one not in living}, now)

    def _is_silent(self, node: SiteNode, now: datetime, moment: float) -> bool:
        """Whether a node tells no more. A clock that was set does not matter, here or there: what tells something new
        lives, and what does not is dead some seconds later than by its own time.
        """
        told, heard_at = self._heard.get(node.name, (None, moment))
        if told != node.seen_at:
            self._heard[node.name] = node.seen_at, (heard_at := moment)
        beyond_s = moment - heard_at - SILENT_AFTER.total_seconds()
        return beyond_s > _HEARD_LATE_S or (beyond_s > -_HEARD_LATE_S and not lives(node, now))

    def _bury(self, missing: dict[str, SiteNode], now: datetime) -> None:
        for name in missing.keys() - self._missing:
            released = self._node.jobs.release_node(name)
            log.warning("node is gone", node=name, seen_at=missing[name].seen_at, jobs=released)
        self._missing = set(missing)
        for name, one in missing.items():
            if now - one.seen_at > FORGOTTEN_AFTER:
                self._node.nodes.forget(name)

    def leave(self) -> None:
        """Let the others know that this node ends, and what it had under way be taken up at once."""
        with self._lock:
            self._has_left = True
            if self._is_alone:
                return
            name = node_name(self._node.settings)
            try:
                self._node.nodes.forget(name)
                self._node.jobs.release_node(name)
            except IndexUnavailable as error:
                log.warning("leave not taken", why=error)
