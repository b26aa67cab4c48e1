"""Wires one process's parts of the archive together, from the settings and the site state in the index."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import Final, Self

from pacs_server import log
from pacs_server.archive.reception import Declared, Origin, Reception
from pacs_server.codecs.transcoder import Transcoder
from pacs_server.dicom.audit import Event
from pacs_server.dicom.vocabulary import STANDARD, Vocabulary
from pacs_server.dimse.access import Admission
from pacs_server.dimse.reporting import OpenRequests
from pacs_server.dimse.session import Archive, Fetch
from pacs_server.errors import IndexUnavailable
from pacs_server.index.audit import Audit
from pacs_server.index.contents import Contents
from pacs_server.index.copies import Copies
from pacs_server.index.deposits import Deposits
from pacs_server.index.engine import Index
from pacs_server.index.job_queue import JobQueue
from pacs_server.index.jobs import JobKind
from pacs_server.index.maintenance.holdings import Holdings
from pacs_server.index.maintenance.schema import open_current
from pacs_server.index.queries.search import Deliverable, Search
from pacs_server.index.recording.anew import Anew
from pacs_server.index.recording.fields import Fields
from pacs_server.index.recording.instances import Instances
from pacs_server.index.releases import Releases
from pacs_server.index.sending.commitments import Commitments
from pacs_server.index.sending.outbox import Outbox
from pacs_server.index.sending.sendings import Sendings
from pacs_server.index.sending.studies import Studies
from pacs_server.index.site.changes import PREFERENCE, Changes
from pacs_server.index.site.draining import draining_of
from pacs_server.index.site.nodes import Nodes
from pacs_server.index.site.partners import Partner, Partners
from pacs_server.index.site.registry import Policies, Policy, Registry, VolumeRow
from pacs_server.index.site.routes import Route, Routes
from pacs_server.index.site.tier_rules import TierRules
from pacs_server.index.site.turned_away import TurnedAwayCallers
from pacs_server.index.site.users import Users
from pacs_server.index.spread import CopySpread
from pacs_server.index.tiering import Tiering
from pacs_server.service.volume_rows import on_this_node, spec_of
from pacs_server.service.volume_states import remembered
from pacs_server.settings import Settings
from pacs_server.storage.placement import NamesCopy, Placement
from pacs_server.storage.volume import Volume, check_all

# How long a change of volumes, policy, routes or fields by an admin may stay unnoticed by a running server; each
# association begins with what holds at that moment.
_SITE_STATE_AGE_S: Final = 1.0
_EVERYBODY: Final = Admission()
# Each process of a site enters what it decides behind a gap of its own in the numbers.
_LEAP: Final = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class _SiteState:
    """What the admin set, as it was at one moment, and the placements that were made of it."""

    revision: int = -1
    volumes: dict[str, Volume] = field(default_factory=dict)
    policies: Policies = field(default_factory=lambda: Policies(usual=Policy(), of_peers={}))
    placements: dict[Policy, Placement] = field(default_factory=dict)
    routes: dict[str, Route] = field(default_factory=dict)
    partners: list[Partner] = field(default_factory=list)
    vocabulary: Vocabulary = STANDARD
    is_draining: bool = False


class Node:
    """Everything one process of this node works with. May be used from any thread."""

    def __init__(self, settings: Settings, index: Index) -> None:
        self.settings = settings
        self.index = index
        self.registry = Registry(index)
        self.users = Users(index)
        self.instances = Instances(index)
        self.search = Search(index)
        self.fields = Fields(index)
        self.anew = Anew(index)
        self.copies = Copies(index)
        self.spread = CopySpread(index)
        self.holdings = Holdings(index)
        self.deposits = Deposits(index)
        self.releases = Releases(index)
        self.rules = TierRules(index)
        self.tiering = Tiering(index)
        self.jobs = JobQueue(index)
        self.commitments = Commitments(index)
        self.requests = OpenRequests()
        self.sendings = Sendings(index)
        self.studies = Studies(index)
        self.route_rules = Routes(index)
        self.partners = Partners(index)
        self.outbox = Outbox(index)
        self.contents = Contents(index)
        self.changes = Changes(index)
        self.turned_away = TurnedAwayCallers(index)
        self.nodes = Nodes(index)
        self.audit = Audit(index)
        index.trail.is_exported = bool(settings.audit.syslog.host)
        self.transcoder = Transcoder(
            settings.transcoding, settings.data_dir, reserve_bytes=settings.storage.reserve_bytes
        )
        self._lock = threading.Lock()
        self._noting = threading.Lock()
        self._read_studies: set[str] = set()
        self._looked_at = float("-inf")
        self._site = _SiteState()

    @classmethod
    @contextmanager
    def open(cls, settings: Settings, command: Event | None = None) -> Iterator[Self]:
        """Open the index and, as they are needed, the volumes; a volume may be down. `command` is what a person runs;
        the audit trail tells of it with the first thing that it changes.

        Raises: ConfigError, IndexUnavailable or SchemaMismatch.
        """
        index = open_current(settings.database)
        index.trail.command = command
        try:
            node = cls(settings, index)
            node.instances.operations.leap, node.changes.leap = secrets.randbelow(_LEAP), secrets.randbelow(_LEAP)
            try:
                yield node
            finally:
                node.transcoder.close()
        finally:
            index.close()

    def placement(self, aet: str = "") -> Placement:
        """Where objects of this peer go at this moment, by the volumes and the policy that the admin set.

        Raises: IndexUnavailable.
        """
        self.look_at_site_state()
        site = self._site
        policy = site.policies.of(aet)
        placement = site.placements.get(policy)
        if placement is None:
            volumes = tuple(site.volumes.values())
            placement = Placement(volumes, want=policy.want, need=policy.need, degraded=policy.degraded)
            site.placements[policy] = placement
        return placement

    def policies(self) -> Policies:
        """How many copies are wanted at this moment.

        Raises: IndexUnavailable.
        """
        self.look_at_site_state()
        return self._site.policies

    def vocabulary(self) -> Vocabulary:
        """What is read from objects and can be asked for at this moment.

        Raises: IndexUnavailable.
        """
        self.look_at_site_state()
        return self._site.vocabulary

    def routes(self) -> dict[str, Route]:
        """What is forwarded by itself at this moment, by the names of the routes.

        Raises: IndexUnavailable.
        """
        self.look_at_site_state()
        return self._site.routes

    def partners_now(self) -> list[Partner]:
        """The partners of this moment, but not when they were last spoken to.

        Raises: IndexUnavailable.
        """
        self.look_at_site_state()
        return self._site.partners

    def preferred_site(self) -> str:
        """The id of the site that viewers and modalities are to use, empty while none was chosen.

        Raises: IndexUnavailable.
        """
        latest = self.changes.latest(PREFERENCE)
        return str(latest.content["site"]) if latest and latest.content else ""

    def is_standby(self) -> bool:
        """Whether another site is preferred. Raises: IndexUnavailable."""
        return self.preferred_site() not in ("", self.instances.operations.site_id())

    def admission(self) -> Admission:
        """Whom the site lets in at this moment.

        Raises: IndexUnavailable.
        """
        self.look_at_site_state()
        takes_stores = self.settings.failover.standby_stores or not self.is_standby()
        if takes_stores and not self._site.is_draining:
            return _EVERYBODY
        partners = frozenset(one.aet for one in self.partners_now() if one.aet)
        return Admission(is_draining=self._site.is_draining, takes_stores=takes_stores, partners=partners)

    def look_at_site_state(self, *, max_age_s: float = _SITE_STATE_AGE_S) -> None:
        """Take over what an admin changed, unless that was looked at a moment ago.

        Raises: IndexUnavailable.
        """
        now = time.monotonic()
        if now - self._looked_at < max_age_s:
            return
        # Who looks takes up to 5 s where a volume hangs that is looked at first; others go on with what they know.
        is_of_use = max_age_s > 0 and self._site.revision >= 0
        if not self._lock.acquire(blocking=not is_of_use):
            return
        try:
            revision = self.registry.revision()
            if revision != self._site.revision:
                self._site = _SiteState(
                    revision=revision,
                    policies=self.registry.policies(),
                    routes=self.route_rules.all(),
                    partners=self.partners.all(),
                    vocabulary=self.fields.vocabulary(),
                    is_draining=draining_of(self.index) is not None,
                    volumes=self._taken_over(self.registry.volumes()),
                )
            self._looked_at = now
        finally:
            self._lock.release()

    def volumes(self) -> list[Volume]:
        """The volumes of the site, each with its present state.

        Raises: IndexUnavailable.
        """
        self.look_at_site_state()
        return list(self._site.volumes.values())

    def _taken_over(self, rows: list[VolumeRow]) -> dict[str, Volume]:
        wanted = {row.id: spec_of(on_this_node(row, self.settings)) for row in rows}
        kept = {key: volume for key, volume in self._site.volumes.items() if key in wanted}
        before = remembered(self.settings.data_dir)
        changed = []
        for key, spec in wanted.items():
            if key in kept and kept[key].spec == spec:
                continue
            if key in kept and kept[key].spec.path == spec.path:
                kept[key].change(spec)
            else:
                kept[key] = Volume(spec, self.settings.storage, before.get(key))
            changed.append(kept[key])
        check_all(changed)
        for key, volume in self._site.volumes.items():
            if kept.get(key) is not volume:
                volume.let_go()
        return kept

    def reception(self, declared: Declared, origin: Origin, handed_on_from: str = "") -> Reception:
        """An object that is about to arrive; with `handed_on_from`, if `origin` is a partner, as it came there from
        that AE title.

        Raises: IndexUnavailable.
        """
        partners = [partner for partner in self.partners_now() if partner.aet]
        giver = next((one.name for one in partners if one.aet == origin.aet and handed_on_from), "")
        if giver:
            origin = replace(self.origin_of(handed_on_from, through=giver), actor=origin.actor)
        return Reception(
            declared,
            origin,
            instances=self.instances,
            placement=self.placement(origin.aet),
            vocabulary=self.vocabulary(),
            memory_bytes=self.settings.storage.memory_per_object_bytes,
            now=datetime.now(UTC),
            # What a partner hands on, it forwards itself where it has to be forwarded.
            routes=tuple(
                route.name for route in self.routes().values() if not giver and route.may_take_from(origin.aet)
            ),
            partners=tuple(partner.name for partner in partners if partner.name != giver),
        )

    def origin_of(self, aet: str, *, through: str = "") -> Origin:
        """What is assumed of objects from this peer, known or not. Raises: IndexUnavailable."""
        peer, settings = self.registry.peer(aet), self.settings
        return Origin(
            aet=aet,
            charset=(peer.charset if peer else "") or settings.default_charset,
            issuer=(peer.issuer if peer else "") or settings.default_issuer,
            through=through,
        )

    def note_damage(self, item: Deliverable, copy: NamesCopy, reason: str) -> None:
        """Note that a copy was found bad while it was read, and have its whole series looked at. Never raises: whoever
        reads has another copy to go on with.
        """
        log.warning("copy damaged", volume=copy.volume_id, path=copy.path, why=reason)
        try:
            now = datetime.now(UTC)
            self.copies.mark_damaged(copy.volume_id, copy.path, reason, now)
            self.jobs.owe(JobKind.VERIFY, now, series=[(item.study_uid, item.series_uid)])
        except IndexUnavailable as error:
            log.error("damage not noted", path=copy.path, why=error)

    def note_read(self, item: Deliverable) -> None:
        """Remember that a study was read; it is written down later, because a retrieve must not wait for that."""
        with self._noting:
            self._read_studies.add(item.study_uid)

    def write_down_reading(self) -> None:
        """Write down which studies were read. What a process did not come to is of no weight: rules count in days.

        Raises: IndexUnavailable.
        """
        with self._noting:
            read, self._read_studies = self._read_studies, set()
        self.tiering.note_read(sorted(read), datetime.now(UTC))

    def archive(self, fetch: Fetch) -> Archive:
        """The parts that services on an association use; `fetch` has objects come from archive servers."""
        return Archive(
            settings=self.settings,
            search=self.search,
            transcoder=self.transcoder,
            registry=self.registry,
            users=self.users,
            take_over_changes=partial(self.look_at_site_state, max_age_s=0),
            admission=self.admission,
            placement=self.placement,
            receive=self.reception,
            vocabulary=self.vocabulary,
            on_damage=self.note_damage,
            on_read=self.note_read,
            commitments=self.commitments,
            deposits=self.deposits,
            requests=self.requests,
            fetch=fetch,
            audit=self.index.trail.note,
        )
