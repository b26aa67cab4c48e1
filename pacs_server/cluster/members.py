"""What the members of a database that Patroni runs tell of themselves, put together; values only.

Source: Patroni's documentation, "Patroni REST API"; its defaults for ttl (30 s) and maximum_lag_on_failover (1 MiB).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import urlsplit

_LEAST_VERSION: Final = (4, 1)
WHY_NOT_OLDER: Final = (
    "Patroni before 4.1 loses acknowledged commits: 3.0.2 did in three of three network cuts that were tried, 4.1.5 in "
    "none of five"
)
_MOST_LAG_BYTES: Final = 1 << 20
_ETCD_SILENT_AFTER: Final = timedelta(seconds=30)
_SYNCHRONOUS: Final = frozenset({"sync_standby", "quorum_standby"})
_LEADERS: Final = frozenset({"leader", "standby_leader"})
# Patroni 3.0 tells "running" of a standby that streams.
_FOLLOWS: Final = frozenset({"streaming", "running", "in archive recovery"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One PostgreSQL with its Patroni. `url` is that of its REST API as the settings have it, empty for one that they
    do not name, or that does not answer; `version` is empty then. Lag and timeline are None when they are not known.
    """

    name: str
    role: str
    state: str
    address: str = ""
    url: str = ""
    version: str = ""
    timeline: int | None = None
    lag_bytes: int | None = None
    may_lead: bool = True
    etcd_seen_at: datetime | None = None

    @property
    def is_leader(self) -> bool:
        """Whether it holds the leader's key in etcd."""
        return self.role in _LEADERS

    @property
    def is_synchronous(self) -> bool:
        """Whether what is committed is on it."""
        return self.role in _SYNCHRONOUS

    @property
    def is_too_old(self) -> bool:
        """Whether its Patroni is one that loses commits; not known of one that does not tell its version."""
        parts = self.version.split(".")[:2]
        numbers = tuple(int(part) for part in parts if part.isdigit())
        return bool(self.version) and (len(numbers) < len(parts) or numbers < _LEAST_VERSION)

    @property
    def hindrance(self) -> str:
        """Why this standby is too far from the leader to take its place; empty when it is not."""
        if self.state not in _FOLLOWS:
            return f"does not follow: it is {self.state or 'in no known state'}"
        if self.lag_bytes is None:
            return "does not tell how far it is behind"
        if self.lag_bytes > _MOST_LAG_BYTES:
            return f"is {self.lag_bytes >> 20} MiB behind"
        return ""

    def has_lost_etcd(self, now: datetime) -> bool:
        """Whether it has told when it reached etcd, and that was long ago."""
        return self.etcd_seen_at is not None and now - self.etcd_seen_at > _ETCD_SILENT_AFTER


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What the members tell together. `unanswered` are the URLs that do not answer, each with the reason. Where no
    member reaches etcd it `is_known_whole` no more: who leads is not known then.
    """

    members: tuple[Member, ...]
    is_known_whole: bool
    is_synchronous: bool
    is_paused: bool
    is_scheduled: bool
    unanswered: tuple[tuple[str, str], ...]

    @property
    def leader(self) -> Member | None:
        """The member that leads, if one does."""
        return next((one for one in self.members if one.is_leader), None)

    @property
    def names(self) -> str:
        """The members, to be named in a message."""
        return ", ".join(one.name for one in self.members) or "none"

    def member(self, name: str) -> Member | None:
        """The member of that name."""
        return next((one for one in self.members if one.name == name), None)


def state_of(
    answers: Mapping[str, Mapping[str, Any]],
    cluster: Mapping[str, Any],
    config: Mapping[str, Any],
    unanswered: Sequence[tuple[str, str]],
) -> State:
    """What was told: /patroni by the URLs that answered, and of the whole /cluster and /config, nothing where no member
    reaches etcd.
    """
    listed = {str(one.get("name", "")): one for one in cluster.get("members") or ()}
    by_place = {_place(str(one.get("api_url", ""))): name for name, one in listed.items()}
    told = {_name(one) or by_place.get(_place(url), url): (url, one) for url, one in answers.items()}
    return State(
        members=tuple(
            _member(name, listed.get(name, {}), *told.get(name, ("", {}))) for name in sorted({*listed, *told})
        ),
        is_known_whole=bool(listed),
        is_synchronous=bool(config.get("synchronous_mode")),
        is_paused=bool(cluster.get("pause")),
        is_scheduled="scheduled_switchover" in cluster,
        unanswered=tuple(unanswered),
    )


def _place(url: str) -> str:
    return urlsplit(url).netloc


def _name(told: Mapping[str, Any]) -> str:
    """Patroni before 3.2 does not tell it there."""
    return str((told.get("patroni") or {}).get("name", ""))


def _member(name: str, listed: Mapping[str, Any], url: str, told: Mapping[str, Any]) -> Member:
    seen = told.get("dcs_last_seen")
    tags = listed.get("tags") or told.get("tags") or {}
    return Member(
        name=name,
        role=str(listed.get("role", "")),
        state=str(listed.get("state") or told.get("state") or ""),
        address=f"{listed['host']}:{listed.get('port', 5432)}" if "host" in listed else "",
        url=url,
        version=str((told.get("patroni") or {}).get("version", "")),
        timeline=_number(listed.get("timeline", told.get("timeline"))),
        lag_bytes=_number(listed.get("lag")),
        may_lead=not tags.get("nofailover"),
        etcd_seen_at=datetime.fromtimestamp(seen, UTC) if isinstance(seen, (int, float)) and seen else None,
    )


def _number(told: object) -> int | None:
    """Patroni tells "unknown" where it knows none."""
    return told if isinstance(told, int) else None
