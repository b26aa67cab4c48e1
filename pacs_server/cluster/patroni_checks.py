"""What `pacs doctor` examines of a database that Patroni runs: a name for each check, a remedy for what is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TypeAlias

from pacs_server.cluster.members import WHY_NOT_OLDER, State

_Problems: TypeAlias = Iterator[tuple[str, str]]


def checks(state: State, database_url: str, now: datetime) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Every check that can be made of a database that Patroni runs, by its name: what is wrong, and what to do."""
    yield "patroni members", list(_unanswered(state))
    yield "patroni version", list(_old_versions(state))
    yield "patroni leader", list(_no_leader(state))
    yield "patroni etcd", list(_etcd(state, now))
    if state.is_known_whole:
        yield "patroni synchronous mode", list(_not_synchronous(state))
        yield "patroni lag", list(_lags(state))
        yield "patroni timelines", list(_timelines(state))
    yield "database URL", list(_url_problems(database_url))


def _unanswered(state: State) -> _Problems:
    for _, reason in state.unanswered:
        yield reason, "systemctl status patroni there, and patroni.urls in pacs.yaml"
    if unnamed := [one for one in state.members if not one.url and not state.unanswered]:
        yield (
            f"{', '.join(one.name for one in unnamed)} of the cluster is not in patroni.urls",
            "name every member in pacs.yaml",
        )


def _old_versions(state: State) -> _Problems:
    for one in state.members:
        if one.is_too_old:
            yield f"{one.name} runs Patroni {one.version}: {WHY_NOT_OLDER}", "install Patroni 4.1 or later"


def _no_leader(state: State) -> _Problems:
    if not state.is_known_whole:
        yield (
            "no member reaches etcd, so who leads is not known",
            "etcdctl endpoint health: two of three have to be there",
        )
    elif state.leader is None:
        yield "nobody leads: nothing can be written", "patronictl list, then etcd: are two of three there?"
    elif state.leader.role == "standby_leader":
        yield "it is a standby cluster: nothing can be written", "patronictl edit-config"
    if state.is_paused:
        yield "Patroni is paused: it promotes nobody by itself", "patronictl resume"


def _etcd(state: State, now: datetime) -> _Problems:
    for one in state.members:
        if one.etcd_seen_at is not None and one.has_lost_etcd(now):
            since = one.etcd_seen_at.isoformat(timespec="seconds")
            yield f"{one.name} has not reached etcd since {since}", "etcdctl endpoint health, and the clocks"


def _not_synchronous(state: State) -> _Problems:
    remedy = "patronictl edit-config -s synchronous_mode=true"
    if not state.is_synchronous:
        yield "synchronous_mode is off: what was acknowledged last is lost with the leader", remedy
    elif state.leader is not None and not any(one.is_synchronous for one in state.members):
        yield "no standby is synchronous now: another loss would lose what is acknowledged meanwhile", "patronictl list"


def _lags(state: State) -> _Problems:
    for one in state.members:
        if not one.is_leader and (reason := one.hindrance):
            yield f"{one.name} {reason}", f"patronictl list; if it stays so, pacs failover resync {one.name}"


def _timelines(state: State) -> _Problems:
    told = {one.name: one.timeline for one in state.members}
    if len(set(told.values())) > 1:
        shown = ", ".join(f"{name} on {timeline or 'an unknown one'}" for name, timeline in told.items())
        yield f"the members are not on one timeline: {shown}", "wait for pg_rewind, else pacs failover resync NAME"


def _url_problems(url: str) -> _Problems:
    hosts, _, query = url.partition("?")
    remedy = "postgresql://USER@DB1:5432,DB2:5432/NAME?target_session_attrs=read-write in pacs.yaml"
    if "," not in hosts and query.count("host=") < 2:
        yield "database names one host, so no other member is ever found", remedy
    if "target_session_attrs=read-write" not in query and "target_session_attrs=primary" not in query:
        yield "database does not ask for the member that can be written", remedy
