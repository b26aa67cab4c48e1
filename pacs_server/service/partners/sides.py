"""The two sites of a failover, as a command reaches them: this one by its index, the other over the partner link."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Protocol

from pacs_server import this_release
from pacs_server.archive.calling import way_to
from pacs_server.cluster.failover import DRAIN, FORGET_TRIAL, HURRY, STANDING, Standing, View, standing_of
from pacs_server.cluster.link import Handler
from pacs_server.cluster.messages import Body
from pacs_server.dicom.audit import Event, EventKind
from pacs_server.dicom.tiny_object import TRIAL_STUDY_UID
from pacs_server.errors import PacsError, ProtocolViolation
from pacs_server.index.jobs import JobKind
from pacs_server.index.maintenance.schema import head
from pacs_server.index.retiring import forget_study
from pacs_server.index.site.draining import Draining, draining_of, set_draining
from pacs_server.index.site.partners import Partner
from pacs_server.net.client import Destination
from pacs_server.net.secure import Security
from pacs_server.net.tls import own_fingerprint
from pacs_server.service.assemble import Node
from pacs_server.service.partners.pairing import greet, greeted
from pacs_server.service.telling import running, serving

HERE: Final = "here"
_EVERY_ADDRESS: Final = frozenset({"0.0.0.0", "::"})


class Side(Protocol):
    """One site of a failover. Its methods raise what the partner link raises, and IndexUnavailable."""

    @property
    def name(self) -> str:
        """What it is called on this site."""

    def view(self) -> View:
        """How it is; never raises because the site does not answer."""

    def standing(self) -> Standing:
        """How it stands at this moment."""

    def drain(self, *, is_draining: bool, who: str) -> None:
        """Let it take no new associations, or take them again."""

    def hurry(self) -> None:
        """Let it try at once what it owes the other and what failed before."""

    def forget_trial(self) -> None:
        """Remove what was stored to try it out."""

    def destination(self) -> Destination | None:
        """Where its DICOM port is, as far as that is known."""


@dataclass(frozen=True, slots=True)
class Here:
    """This site; `partner` is the other one."""

    node: Node
    partner: Partner
    name: str = HERE

    def view(self) -> View:
        """How it is."""
        standing = self.standing()
        problem = "" if standing.is_serving else "its server does not run: pacs serve"
        return View(
            name=self.name,
            site_id=standing.site_id,
            standing=standing,
            problem=problem,
            has_destination=self.destination() is not None or not standing.is_serving,
        )

    def standing(self) -> Standing:
        """How it stands at this moment."""
        return own_standing(self.node, self.partner)

    def drain(self, *, is_draining: bool, who: str) -> None:
        """Let it take no new associations, or take them again."""
        drain_here(self.node, is_draining=is_draining, who=who)

    def hurry(self) -> None:
        """Let it try at once what it owes the other and what failed before."""
        self.node.jobs.wake_target(JobKind.REPLICATE, self.partner.name, datetime.now(UTC), only_failed=True)

    def forget_trial(self) -> None:
        """Remove what was stored to try it out."""
        forget_study(self.node.index, TRIAL_STUDY_UID, datetime.now(UTC))

    def destination(self) -> Destination | None:
        """Its own port; None when no server runs."""
        server = serving(self.node.settings.data_dir) or {}
        if "port" not in server:
            return None
        security, host, port = None, server["host"], server["port"]
        if port is None:
            files = self.node.settings.tls_files
            security, host, port = (
                Security(files=files, fingerprint=own_fingerprint(files)),
                server["tls_host"],
                server["tls_port"],
            )
        host = "127.0.0.1" if host in _EVERY_ADDRESS else host
        # From any other address its own title would have to be registered.
        return Destination(aet=server["aet"], host=host, port=port, security=security, is_here=True)


@dataclass(frozen=True, slots=True)
class There:
    """A partner."""

    node: Node
    partner: Partner

    @property
    def name(self) -> str:
        """What it is called on this site."""
        return self.partner.name

    def view(self) -> View:
        """How it is, asked now."""
        standing, problem, ahead_s, site_id = None, "", 0.0, self.partner.site_id or ""
        greeting = greet(self.node, self.partner, lambda: datetime.now(UTC))
        if greeting.hello is None:
            problem = str(greeting.problem)
        else:
            ahead_s, site_id = greeting.clock_ahead_s, greeting.hello.site_id
            try:
                standing = self.standing()
            except PacsError as error:
                problem = str(error)
        return View(
            name=self.name,
            site_id=site_id,
            standing=standing,
            problem=problem,
            is_paused=self.partner.is_paused,
            has_destination=self.destination() is not None,
            clock_ahead_s=ahead_s,
        )

    def standing(self) -> Standing:
        """How it stands at this moment."""
        return standing_of(self._ask(STANDING, {}))

    def drain(self, *, is_draining: bool, who: str) -> None:
        """Let it take no new associations, or take them again; which the audit trail of either site tells."""
        self._ask(DRAIN, {"is_draining": is_draining, "who": who})
        self.node.audit.tell_command()

    def hurry(self) -> None:
        """Let it try at once what it owes the other and what failed before."""
        self._ask(HURRY, {})

    def forget_trial(self) -> None:
        """Remove what was stored to try it out."""
        self._ask(FORGET_TRIAL, {})

    def destination(self) -> Destination | None:
        """The peer that objects for it go to."""
        peer = self.node.registry.peer(self.partner.aet) if self.partner.aet else None
        if peer is None or peer.host is None or peer.port is None:
            return None
        return way_to(peer, self.node.settings.tls_files)

    def _ask(self, kind: str, body: Body) -> Body:
        with greeted(self.node, self.partner) as (link, _):
            return link.ask(kind, body)


def drain_here(node: Node, *, is_draining: bool, who: str, told: Event | None = None) -> None:
    """Let this site take no new associations, or take them again. Raises: IndexUnavailable."""
    set_draining(node.index, Draining(since=datetime.now(UTC), who=who) if is_draining else None, told)


def own_standing(node: Node, partner: Partner) -> Standing:
    """How this site stands to a partner. Raises: IndexUnavailable."""
    node.look_at_site_state(max_age_s=0)
    server = running(node.settings.data_dir)
    of_partners = {one.aet for one in node.partners.all() if one.aet}
    associations = [one for one in (server or {}).get("associations", ()) if one["calling_aet"] not in of_partners]
    behind = node.outbox.behind(partner.name)
    placement = node.placement()
    return Standing(
        site_id=node.instances.operations.site_id(),
        schema=head(),
        version=this_release(),
        preferred=node.preferred_site(),
        is_serving=server is not None,
        is_draining=draining_of(node.index) is not None,
        associations=len(associations),
        homes=len({volume.spec.domain for volume in placement.homes(set())}),
        need=placement.need,
        degraded=placement.degraded,
        owed_objects=behind.objects,
        owed_series=behind.series,
        owed_since=behind.oldest_at,
    )


def failover_answers(node: Node) -> dict[str, Handler]:
    """What a running server answers to what the command of a partner asks for."""

    def standing(partner: Partner, _: Body) -> Body:
        return own_standing(node, partner).body()

    def drain(partner: Partner, body: Body) -> Body:
        is_draining, who = body.get("is_draining"), body.get("who")
        if not isinstance(is_draining, bool) or not isinstance(who, str):
            raise ProtocolViolation("a partner does not say whether to drain")
        person = f"{who} of {partner.name}"
        detail = "this site takes no new associations" if is_draining else "this site takes associations again"
        event = Event(kind=EventKind.COMMAND, at=datetime.now(UTC), who=person, detail=detail)
        drain_here(node, is_draining=is_draining, who=person, told=event)
        return {}

    def hurry(partner: Partner, _: Body) -> Body:
        Here(node, partner).hurry()
        return {}

    def forget_trial(partner: Partner, _: Body) -> Body:
        Here(node, partner).forget_trial()
        return {}

    return {STANDING: standing, DRAIN: drain, HURRY: hurry, FORGET_TRIAL: forget_trial}
