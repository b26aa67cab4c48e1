"""Patroni, where it runs the PostgreSQL of the archive: asked how things are, and for another leader. Who leads is
decided by Patroni and etcd alone; nothing here decides, and nothing here remembers.

Source: Patroni's documentation, "Patroni REST API".
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from pacs_server.cluster.members import WHY_NOT_OLDER, Member, State, state_of
from pacs_server.cluster.rest import Api
from pacs_server.errors import PatroniUnavailable, Refused
from pacs_server.settings import PatroniSettings

# How long PostgreSQL may take to end before another one leads.
_SWITCH_S: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What would be asked of Patroni, and why it must not be: only without `refusals` it may."""

    to: str
    leader: str
    refusals: tuple[str, ...]


class Patroni:
    """The members, by the REST APIs that the settings name. Holds no connection; may be used from any thread."""

    def __init__(self, settings: PatroniSettings) -> None:
        """Raises: ConfigError when a file that the settings name cannot be used."""
        self._apis = [Api(url, settings) for url in settings.urls]

    def status(self) -> State:
        """What the members tell at this moment. Raises: PatroniUnavailable when none tells anything."""
        answers: dict[str, dict[str, Any]] = {}
        unanswered: list[tuple[str, str]] = []
        for api in self._apis:
            try:
                answers[api.url] = api.get("/patroni")
            except PatroniUnavailable as error:
                unanswered.append((api.url, str(error)))
        if not answers:
            raise PatroniUnavailable("; ".join(reason for _, reason in unanswered) or "patroni.urls names no member")
        try:
            return state_of(answers, *self._whole(answers), unanswered)
        except (AttributeError, TypeError, ValueError, OverflowError) as error:
            told = ", ".join(answers)
            raise PatroniUnavailable(f"{told}: not what Patroni answers; is patroni.urls right?") from error

    def _whole(self, answering: Collection[str]) -> tuple[dict[str, Any], dict[str, Any]]:
        """The whole cluster and its configuration, from the first member that can tell; nothing where none reaches
        etcd, which each takes its time to find out.
        """
        for api in self._apis:
            if api.url in answering:
                with suppress(PatroniUnavailable):
                    return api.get("/cluster"), api.get("/config")
        return {}, {}

    def plan(self, to: str, now: datetime) -> Plan:
        """What would become of making a member lead. Raises: PatroniUnavailable."""
        state = self.status()
        leader = state.leader
        return Plan(to=to, leader=leader.name if leader else "", refusals=tuple(_refusals(state, to, now)))

    def switch(self, to: str, now: datetime) -> str:
        """Have a member lead: the leader is ended in order, and nothing that was acknowledged is lost. Where nobody
        leads, it is asked for a failover. Answers what Patroni said.

        Raises: Refused, before anything is asked, or by Patroni; PatroniUnavailable, also when it is not known whether
        it was done.
        """
        plan = self.plan(to, now)
        if plan.refusals:
            raise Refused(f"{to} is not made the leader: {'; '.join(plan.refusals)}")
        api = self._any_that_answers()
        if not plan.leader:
            return api.post("/failover", {"candidate": to}, more_s=_SWITCH_S)
        return api.post("/switchover", {"leader": plan.leader, "candidate": to}, more_s=_SWITCH_S)

    def reinit(self, name: str) -> str:
        """Have a member make its copy of the database anew from the leader; what it has is thrown away. It goes on when
        this returns; answers what Patroni said.

        Raises: Refused, before anything is asked, or by Patroni; PatroniUnavailable.
        """
        state = self.status()
        member = state.member(name)
        if member is None:
            raise Refused(f"{name} is no member; there are {state.names}")
        if member.is_leader:
            raise Refused(f"{name} is the leader: its copy is the one that the others are made from")
        if state.leader is None:
            raise Refused("nobody leads, so there is nothing to make a copy of; look at etcd")
        if not member.url:
            raise Refused(f"the REST API of {name} does not answer, or is not in patroni.urls")
        api = next(api for api in self._apis if api.url == member.url)
        return api.post("/reinitialize", {"force": True})

    def _any_that_answers(self) -> Api:
        for api in self._apis:
            try:
                api.get("/patroni")
            except PatroniUnavailable:
                continue
            return api
        raise PatroniUnavailable("no member answers any more; nothing was asked")


def _refusals(state: State, to: str, now: datetime) -> Iterator[str]:
    """Why a member must not be made the leader, all reasons at once."""
    yield from (f"{one.name} runs Patroni {one.version}: {WHY_NOT_OLDER}" for one in state.members if one.is_too_old)
    if any(not one.version for one in state.members if one.name == to):
        yield f"{to} does not tell its version of Patroni: is its REST API in patroni.urls?"
    if not state.is_known_whole or all(one.has_lost_etcd(now) for one in state.members):
        yield "no member reaches etcd, so Patroni can change nothing"
    if state.is_paused:
        yield "Patroni is paused by somebody: patronictl resume"
    if state.is_scheduled:
        yield "a switch-over is scheduled already: patronictl list"
    member = state.member(to)
    if member is None:
        yield f"{to} is no member; there are {state.names}"
    elif member.is_leader:
        yield f"{to} leads already"
    else:
        yield from _unfit(state, member)


def _unfit(state: State, member: Member) -> Iterator[str]:
    """Why this standby is not one to lead."""
    if not member.may_lead:
        yield f"{member.name} has the tag nofailover"
    if state.is_synchronous and not member.is_synchronous:
        yield f"{member.name} is not the synchronous standby: it may lack what was acknowledged"
    if reason := member.hindrance:
        yield f"{member.name} {reason}"
    if member.timeline is None:
        yield f"the timeline of {member.name} is not known"
    elif (leader := state.leader) is not None and leader.timeline not in (None, member.timeline):
        yield f"{member.name} is on timeline {member.timeline}, but the leader on {leader.timeline}"
