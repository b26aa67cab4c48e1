"""What the process that watches knows of the archive, each part as old as it says, none waited for by whoever asks."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, TypeVar

from pacs_server.cluster.roster import Roster, lives
from pacs_server.errors import ConfigError, IndexUnavailable, Undecodable
from pacs_server.index.maintenance.checking import write_nothing, write_once
from pacs_server.index.maintenance.locks import LongLock, LongLocks
from pacs_server.index.promotion import UnknownStudy, unknown_study
from pacs_server.net.tls import refuse_unusable
from pacs_server.service.assemble import Node
from pacs_server.service.board import Board
from pacs_server.service.monitoring.gatherer import Gatherer
from pacs_server.service.monitoring.intake import Intake, Writes
from pacs_server.service.monitoring.self_check import Door, SelfCheck
from pacs_server.service.monitoring.standbys import hindered
from pacs_server.service.partners.role import Role, role_of
from pacs_server.service.present import (
    backlog_of,
    certificates_of,
    lacking_for_long,
    partners_of,
    short_of_room,
    volume_facts,
)
from pacs_server.service.roll_call import node_name, this_node
from pacs_server.service.telling import running
from pacs_server.service.upkeep.checkpoints import last_checkpoint
from pacs_server.settings import Settings
from pacs_server.storage.volume import Volume, check_all

Answer = TypeVar("Answer")

_CHECK_S: Final = 5.0  # for what takes ten milliseconds of the processor each time
_OFTEN_S: Final = 2.0
_SELDOM_S: Final = 300.0
# For what makes a connection to each server of the database.
_MINUTE_S: Final = 60.0
# An index that takes longer for one small question is away, whatever it says in the end.
_INDEX_LATE_S: Final = 10.0
# A group of objects is committed in milliseconds; who waits longer for his turn to write waits for one who is stuck.
_WRITING_LATE_S: Final = 15.0
_LATE_S: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What a moment in the index tells: whether this site takes what is sent, and onto how many volumes at least.

    `does_for_all` says whether it falls to this node to tell what concerns the whole site.
    """

    role: Role
    is_draining: bool
    takes_stores: bool
    online: int
    degraded: int
    does_for_all: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Holdings:
    """What takes longer to count. `lacking_for_long` are the objects that lack copies and have not just come;
    `overdue_s` is the age of the oldest overdue job of each kind, `damaged` how many copies on which volume were found
    damaged today. `checkpoint_age_s` is None before the first checkpoint. `unknown` is a study that a volume
    has and the index has not.
    """

    counts: dict[str, int]
    backlog: dict[str, Any]
    lacking_for_long: int
    partners: list[dict[str, object]]
    jobs: dict[tuple[str, str], int]
    overdue_s: dict[str, float]
    damaged: dict[str, int]
    checkpoint_age_s: float | None
    checkpoint_problem: str
    peers: tuple[str, ...]
    unknown: UnknownStudy | None


class Observer:
    """Looks at everything in threads of its own. May be read from any thread."""

    def __init__(self, settings: Settings, board: Board, doors: tuple[Door, ...]) -> None:
        self._settings = settings
        self._node: Node | None = None
        self._open = ExitStack()
        self._is_open = threading.Event()
        self._knows_volumes = threading.Event()
        check = SelfCheck(settings=settings, board=board, doors=doors)
        self.doors = Gatherer("self-check", check.look, every_s=_CHECK_S, late_after_s=_LATE_S)
        self.site = Gatherer("index", self._site, every_s=_OFTEN_S, late_after_s=_INDEX_LATE_S)
        self._intake = Intake(board.totals)
        self.writing = Gatherer("index writing", self._writing, every_s=_CHECK_S, late_after_s=_WRITING_LATE_S)
        self._long_locks = LongLocks()
        self.locks = Gatherer("locks", self._locks, every_s=_CHECK_S, late_after_s=_LATE_S)
        self.holdings = Gatherer(
            "holdings", partial(self.ask, holdings_of), every_s=_CHECK_S, late_after_s=_LATE_S, is_costly=True
        )
        self.standbys = Gatherer("standbys", self._standbys, every_s=_MINUTE_S, late_after_s=_LATE_S)
        self.volumes = Gatherer("volumes", self._volume_facts, every_s=_OFTEN_S, late_after_s=_LATE_S)
        self.disk = Gatherer("disk", partial(short_of_room, settings), every_s=_CHECK_S, late_after_s=_LATE_S)
        self.server = Gatherer("server", self._server, every_s=_OFTEN_S, late_after_s=_LATE_S)
        self.certificates = Gatherer("certificates", self._certificates, every_s=_SELDOM_S, late_after_s=_LATE_S)
        self._volumes: list[Volume] = []
        self._writes = Writes(board.totals)

    @property
    def all(self) -> tuple[Gatherer[Any], ...]:
        """What is looked at."""
        return (
            self.doors, self.site, self.writing, self.locks, self.standbys, self.holdings, self.volumes, self.disk,
            self.server, self.certificates,
        )  # fmt: skip

    @property
    def index_problem(self) -> str:
        """What is wrong with the index, to be read behind its name; empty when it answers and can be written to."""
        if problem := self.site.problem:
            return f"does not answer: {problem}"
        return f"takes nothing new: {problem}" if (problem := self.writing.problem) else ""

    def start(self) -> None:
        """Begin to look."""
        for one in self.all:
            one.start()

    def ask(self, question: Callable[[Node], Answer]) -> Answer:
        """Ask something of the archive, once its index was reached. Raises: what the question raises."""
        self._is_open.wait()
        if self._node is None:
            raise IndexUnavailable("the index was not reached")
        return question(self._node)

    def _site(self) -> Site:
        if self._node is None:
            self._node = self._open.enter_context(Node.open(self._settings))
            self._is_open.set()
        node, now = self._node, datetime.now(UTC)
        node.look_at_site_state(max_age_s=0)
        self._volumes = node.volumes()
        self._knows_volumes.set()
        placement = node.placement()
        own = this_node(node, now)
        others = tuple(one for one in node.nodes.all() if one.name != node_name(node.settings) and lives(one, now))
        admission = node.admission()
        return Site(
            role=role_of(node),
            is_draining=admission.is_draining,
            takes_stores=admission.takes_stores,
            online=len(placement.homes(set())),
            degraded=placement.degraded,
            does_for_all=Roster(own=own, others=others).has_duty(),
        )

    def _writing(self) -> None:
        # First, because it knows the reason. Of a disk without room only a try tells, once nobody sends any more.
        look = write_once if short_of_room(self._settings) else write_nothing
        self.ask(lambda node: look(node.index))
        self._intake.check()

    def _locks(self) -> list[LongLock]:
        return self.ask(lambda node: self._long_locks.look(node.index))

    def _standbys(self) -> dict[str, str]:
        """Asked by the node that tells of them alone."""
        site = self.site.latest
        return self.ask(hindered) if site is None or site.does_for_all else {}

    def _volume_facts(self) -> list[dict[str, object]]:
        self._knows_volumes.wait()
        self._writes.doubt(self._volumes)
        check_all(self._volumes)
        return [
            volume_facts(volume, volume.state)
            | {"untaken": self._writes.untaken(volume), "full_below_bytes": volume.full_below()}
            for volume in self._volumes
        ]

    def _server(self) -> dict[str, Any]:
        return running(self._settings.data_dir) or {}

    def _certificates(self) -> list[dict[str, object]]:
        files = self._settings.tls_files
        if not files.certificate.exists():
            return []
        refuse_unusable(files)
        return list(certificates_of(files))


def holdings_of(node: Node) -> Holdings:
    """Count. Raises: IndexUnavailable."""
    now = datetime.now(UTC)
    today = now.date().isoformat()
    age_s, problem = None, ""
    try:
        if (last := last_checkpoint(node)) is not None:
            age_s = (now - last.at).total_seconds()
    except (ConfigError, Undecodable) as error:
        problem = str(error)
    partners = partners_of(node)
    titles = {one["aet"] for one in partners}
    backlog = backlog_of(node)
    return Holdings(
        counts=node.search.counts(),
        backlog=backlog,
        lacking_for_long=lacking_for_long(node, now) if backlog["lacking_copies"] else 0,
        partners=partners,
        jobs=node.jobs.counts(),
        overdue_s={kind: (now - since).total_seconds() for kind, since in node.jobs.overdue(now).items()},
        damaged={
            row.name: row.damaged_count
            for row in node.registry.volumes()
            if row.damaged_on == today and row.damaged_count  # none are left where an admin trusts it again
        },
        checkpoint_age_s=age_s,
        checkpoint_problem=problem,
        peers=tuple(str(peer.aet) for peer in node.registry.peers() if peer.aet not in titles),
        unknown=unknown_study(node.index),
    )
