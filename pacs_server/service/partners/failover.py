"""Runs a failover, step by step. What is left of it is noted before each step, so that the same command, given again
after it was killed anywhere, goes on with that; each step may be done twice.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import IO, Final

from pacs_server import log
from pacs_server.cluster.failover import (
    GO_ON_WITHOUT,
    Plan,
    Reason,
    Step,
    Unfinished,
    plan_failover,
    refusal,
)
from pacs_server.cluster.trial import try_out
from pacs_server.errors import ConfigError, IndexUnavailable, PacsError, PeerUnreachable, Refused
from pacs_server.index.site.changes import PREFERENCE
from pacs_server.index.site.partners import Partner
from pacs_server.service.assemble import Node
from pacs_server.service.contacts import Contact, remembered
from pacs_server.service.partners.pairing import exchange_logs
from pacs_server.service.partners.sides import HERE, Here, Side, There, drain_here
from pacs_server.service.partners.unfinished import forget, note, unfinished
from pacs_server.service.person import this_person

_LOOK_EVERY_S: Final = 0.5
HURRY_EVERY_S: Final = 5.0
# Workers tell of their associations once a second: what was let in a moment before is seen by then.
_SETTLED_AFTER_S: Final = 2.0
_MAX_TOLD: Final = 400
_LATER: Final = "Try again later, or with a longer --wait"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What a step has come to: it waits, or `is_over`, with a `problem` when it was left for the next attempt."""

    step: Step
    is_over: bool = False
    told: str = ""
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """What a source that is lost had not handed over, as far as is known: so many objects of so many series, as of the
    last contact. What it took after that is not known. `series` are named where the source is this site.
    """

    objects: int
    number_of_series: int
    owed_since: datetime | None
    as_of: datetime | None
    series: tuple[tuple[str, str], ...] = ()


class Failover:
    """One failover between this site and a partner, to `target`, which is a partner's name or one of this site: "here",
    its AE title, or what a partner calls it.

    Raises: UnknownName when there is no such partner; Refused when it is not clear which site the other one is.
    """

    def __init__(self, node: Node, target: str, *, is_source_lost: bool) -> None:
        self.node = node
        target = _known_as(node, target)
        partner = _partner(node, target)
        here, there = Here(node, partner), There(node, partner)
        self.partner = partner
        self.target: Side = here if target == HERE else there
        self.source: Side = there if target == HERE else here
        self._is_source_lost = is_source_lost

    def plan(self) -> Plan:
        """What it would do, by how both sites are now. Raises: IndexUnavailable."""
        preferred = self.node.preferred_site()
        target, source = self.target.view(), self.source.view()
        plan = plan_failover(
            target,
            source,
            is_source_lost=self._is_source_lost,
            preferred=preferred,
            unfinished=unfinished(self.node),
        )
        third = next((one.name for one in self.node.partners.all() if one.site_id == preferred), "")
        if plan.steps and third and third != self.partner.name:
            elsewhere = refusal(Reason.NOT_HERE, source=third, target=target.name)
            plan = replace(plan, refusals=(elsewhere, *plan.refusals))
        return plan

    def lost(self) -> Lost:
        """What the source had not handed over, as far as is known. Raises: IndexUnavailable."""
        if self.source.name == HERE:
            behind = self.node.outbox.behind(self.partner.name)
            series = tuple(self.node.outbox.series_owed(self.partner.name, limit=_MAX_TOLD))
            return Lost(
                objects=behind.objects,
                number_of_series=behind.series,
                owed_since=behind.oldest_at,
                as_of=datetime.now(UTC),
                series=series,
            )
        contact = remembered(self.node.settings.data_dir).get(self.partner.name)
        return lost_of(contact)

    def run(self, plan: Plan, *, wait_s: float, keeps_draining: bool) -> Iterator[Event]:
        """Do the steps of a plan that nothing speaks against; tells of each. What failed and is no reason to stop stays
        noted. Waits at most `wait_s` for the source to hand over.

        Raises: StillBusy when it did not, and then nothing has changed, unless it `keeps_draining`; PacsError when a
        step failed without which the others make no sense.
        """
        who = this_person()
        noted = unfinished(self.node) or Unfinished(
            target=plan.target,
            source=plan.source,
            is_source_lost=plan.is_source_lost,
            left=plan.steps,
            begun_at=datetime.now(UTC),
            who=who,
        )
        left = list(plan.steps)
        problems: list[str] = []
        for step in plan.steps:
            noted = replace(noted, left=tuple(left), is_source_lost=plan.is_source_lost, problems=tuple(problems))
            note(self.node, noted)
            told = problem = ""
            try:
                if step is Step.HAND_OVER:
                    yield from self._hand_over(wait_s, who, keeps_draining=keeps_draining)
                else:
                    told = self._do(step, plan, who)
            except PacsError as error:
                if step not in GO_ON_WITHOUT:
                    raise
                problem = str(error)
                problems.append(f"{step}: {problem}")
            if not problem:
                left.remove(step)
            yield Event(step=step, is_over=True, told=told, problem=problem)
        if left:
            note(self.node, replace(noted, left=tuple(left), problems=tuple(problems)))
        else:
            forget(self.node)
        self.node.partners.ask_to_compare(self.partner.name, datetime.now(UTC))
        _log(plan, noted, problems)

    def _do(self, step: Step, plan: Plan, who: str) -> str:
        """Do a step that waits for nobody, and say what there is to say."""
        match step:
            case Step.DRAIN:
                self.source.drain(is_draining=True, who=who)
            case Step.PREFER:
                self._prefer(who, is_source_lost=plan.is_source_lost)
            case Step.HOOK:
                return self._run_hook(plan)
            case Step.TRY_OUT:
                self._try_out()
            case Step.RESUME:
                self.source.drain(is_draining=False, who=who)
        return ""

    def _hand_over(self, wait_s: float, who: str, *, keeps_draining: bool) -> Iterator[Event]:
        ends_at = time.monotonic() + wait_s
        quiet_since = None
        hurried_at, hindrance = float("-inf"), ""
        while True:
            standing, now = self.source.standing(), time.monotonic()
            if standing.owed_series and now - hurried_at >= HURRY_EVERY_S:
                hindrance = self._hindrance() or hindrance
                self.source.hurry()  # what failed a while ago may wait for minutes
                hurried_at = now
            if not standing.has_handed_over:
                quiet_since = None
            elif quiet_since is None:
                quiet_since = now
            elif now - quiet_since >= _SETTLED_AFTER_S:
                return
            if now >= ends_at and quiet_since is None:
                if not keeps_draining:
                    self.source.drain(is_draining=False, who=who)
                    forget(self.node)
                then = "goes on draining" if keeps_draining else "takes associations again"
                remedy = f"It does not get over: {hindrance}" if hindrance and standing.owed_series else _LATER
                named = {"source": self.source.name, "detail": standing.left, "then": then, "remedy": remedy}
                raise refusal(Reason.STILL_BUSY, **named).error()
            yield Event(step=Step.HAND_OVER, told=f"{self.source.name} {standing.left}")
            time.sleep(_LOOK_EVERY_S)

    def _hindrance(self) -> str:
        """Why what this site owes does not get to the target; nothing where the other site is the source."""
        return self.node.outbox.failing().get(self.partner.name, "") if self.source.name == HERE else ""

    def _prefer(self, who: str, *, is_source_lost: bool) -> None:
        """Both sites know it when this ends, unless the other one is the source, and lost."""
        now = datetime.now(UTC)
        site_id = self._target_site()
        is_alone = is_source_lost and self.source.name == self.partner.name
        if not is_alone:  # before as well: it is not to be known on this side only
            exchange_logs(self.node, self.partner, now)
        if self.node.preferred_site() != site_id:
            self.node.changes.record(PREFERENCE, "", {"site": site_id}, now=now, who=who)
        if not is_alone:
            exchange_logs(self.node, self.partner, now)

    def _target_site(self) -> str:
        if self.target.name == HERE:
            return self.node.instances.operations.site_id()
        if self.partner.site_id is None:
            raise PeerUnreachable(f"{self.partner} has never answered, so it is not known which site it is")
        return self.partner.site_id

    def _run_hook(self, plan: Plan) -> str:
        settings = self.node.settings.failover
        if not settings.hook:
            return "none is set"
        event = "source-lost" if plan.is_source_lost else "switch"
        words = [*settings.hook, event, plan.target, plan.source]
        # Files and no pipes, which what a hook leaves running in the background would keep open.
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as problems:
            try:
                done = subprocess.run(words, stdout=out, stderr=problems, check=False, timeout=settings.hook_timeout_s)
            except OSError as error:
                raise ConfigError(f"the hook {words[0]} cannot be run: {error.strerror}; see failover.hook") from error
            except subprocess.TimeoutExpired as error:
                why = f"the hook {words[0]} did not end within {settings.hook_timeout_s:g} s"
                raise PeerUnreachable(why) from error
            if done.returncode:
                told = _end_of(problems) or _end_of(out)
                raise Refused(f"the hook {words[0]} ended with {done.returncode}{': ' if told else ''}{told}")
        return ""

    def _try_out(self) -> None:
        destination = self.target.destination()
        if destination is None:
            raise PeerUnreachable(f"it is not known where {self.target.name} listens, so it was not tried out")
        settings = self.node.settings
        self.target.forget_trial()  # of an attempt that was killed
        try:
            try_out(destination, calling_aet=settings.aet, limits=settings.network)
        finally:
            self.target.forget_trial()


def _end_of(file: IO[bytes]) -> str:
    """The last that was written to a file."""
    file.seek(max(0, file.seek(0, os.SEEK_END) - 4 * _MAX_TOLD))
    return file.read().decode(errors="replace").strip()[-_MAX_TOLD:]


def lost_of(contact: Contact | None) -> Lost:
    """What a partner had not handed over when it was heard of last."""
    if contact is None or not contact.told_at:
        return Lost(objects=0, number_of_series=0, owed_since=None, as_of=None)
    return Lost(
        objects=contact.owed_objects,
        number_of_series=contact.owed_series,
        owed_since=datetime.fromisoformat(contact.owed_since) if contact.owed_since else None,
        as_of=datetime.fromisoformat(contact.told_at),
    )


def abandon(node: Node) -> tuple[Unfinished, str]:
    """Give up a failover that is unfinished: the source takes associations again; what is preferred stays as it is.
    Answers what was given up, and why the source could not be told, empty when it was.

    Raises: Refused when there is none; IndexUnavailable.
    """
    found, problem = unfinished(node), ""
    if found is None:
        raise Refused("no failover is unfinished; pacs failover status tells which site is preferred")
    if Step.RESUME in found.left:
        try:
            drain(node, found.source, is_draining=False)
        except IndexUnavailable:
            raise
        except PacsError as error:
            problem = str(error)
    forget(node)
    log.info("failover abandoned", target=found.target, source=found.source, who=this_person(), why=problem or None)
    return found, problem


def drain(node: Node, name: str, *, is_draining: bool) -> None:
    """Let a site, by a name that it has, take no new associations, or take them again. For this one no partner is
    needed: the last of them may have been removed meanwhile.

    Raises: UnknownName; IndexUnavailable; PacsError when a partner does not answer.
    """
    name, who = _known_as(node, name), this_person()
    if name == HERE:
        drain_here(node, is_draining=is_draining, who=who)
    else:
        There(node, node.partners.one(name)).drain(is_draining=is_draining, who=who)


def is_site(node: Node, name: str) -> bool:
    """Whether this site or a partner is called so. Raises: IndexUnavailable."""
    known = _known_as(node, name)
    return known == HERE or any(one.name == known for one in node.partners.all())


def _known_as(node: Node, name: str) -> str:
    """The name of a site, as it is on this one: at three in the morning nobody wants to think about where he is."""
    contacts = remembered(node.settings.data_dir)
    if any(one.name == name for one in node.partners.all()):
        return name
    ours = {HERE, str(node.settings.aet), *(one.calls_us for one in contacts.values() if one.calls_us)}
    return HERE if name.casefold() in {one.casefold() for one in ours} else name


def _partner(node: Node, name: str) -> Partner:
    """The partner of that name; for this site the one that is preferred, that a failover to here was begun with, or the
    only one.
    """
    if name != HERE:
        return node.partners.one(name)
    partners, begun = node.partners.all(), unfinished(node)
    found = [one for one in partners if one.site_id == node.preferred_site()]
    found = found or [one for one in partners if begun and (one.name, HERE) == (begun.source, begun.target)] or partners
    if len(found) != 1:
        raise Refused(
            f"this site has {len(partners)} partners, none of which is preferred: give the command on the other site"
            if partners
            else "there is no partner: pacs partner add"
        )
    return found[0]


def _log(plan: Plan, noted: Unfinished, problems: list[str]) -> None:
    """The one line that tells of a failover."""
    log.info(
        "failover",
        target=plan.target,
        source=plan.source,
        is_source_lost=plan.is_source_lost,
        who=noted.who,
        begun_at=noted.begun_at.isoformat(timespec="seconds"),
        why="; ".join(problems) or None,
    )
