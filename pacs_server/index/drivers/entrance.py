"""The way to a PostgreSQL database: which of the servers in a URL is taken, and who waits for one that is away.

A former primary that comes back after its standby was promoted can be written to like that one. What it recorded,
nobody would find who asks the other.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from typing import Any, Final, NamedTuple

import psycopg2
from psycopg2.extensions import make_dsn, parse_dsn

from pacs_server import log
from pacs_server.index.drivers.absence import Absence
from pacs_server.index.drivers.watch import WatchedConnection, WatchedCursor

# Where somebody has just waited in vain for a connection, nobody else does for so long.
_WAITED_S: Final = 1.0
_SHUT_S: Final = 5.0
# For a server that is perhaps away: the least that libpq knows.
_BRIEFLY_S: Final = "2"
_LOOK_EVERY_S: Final = 15.0
# A promotion begins a timeline, with a greater number than all before it. Not every service lets it be asked.
_TIMELINE: Final = (
    "SELECT system_identifier, left(pg_walfile_name(pg_current_wal_lsn()), 8), pg_postmaster_start_time()"
    " FROM pg_control_system() WHERE NOT pg_is_in_recovery()"
)
# Up to where the log of a server goes, and how much of that a standby of it has not got.
_END: Final = "SELECT pg_current_wal_lsn(), system_identifier, pg_postmaster_start_time() FROM pg_control_system()"
_BEHIND: Final = (
    "SELECT pg_wal_lsn_diff(%s, greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())), pg_is_in_recovery(),"
    " system_identifier, pg_postmaster_start_time() FROM pg_control_system()"
)
_FOLLOWS_WITHIN_S: Final = 5.0
_ASK_EVERY_S: Final = 0.1


class _Server(NamedTuple):
    host: str
    port: str


class Timeline(NamedTuple):
    """Of a cluster; its number has eight hexadecimal digits, none where it is not known. By `since` a server is told
    from another on the same one.
    """

    cluster: int
    number: str
    since: datetime | None = None


_ALL: Final = _Server("", "")
_UNKNOWN: Final = Timeline(0, "")
_OF_A_STANDBY: Final = Timeline(-1, "")  # which may be the way in where the URL does not say target_session_attrs


class Entrance:
    """The way to one database. Shut for a moment when somebody has waited there in vain, so that a queue of others does
    not wait one after the other.
    """

    def __init__(self) -> None:
        self._generation = 0  # of connections; each time a server is left for a newer one, or ends one, another begins
        self._shut_until = self._silent_until = -math.inf
        self.absence = Absence()
        self.refusal = Absence()  # of a server that takes changes: one may answer and take none
        self._looked_at = time.monotonic()  # who connects first looks at all of them
        self._dsn = ""
        self._taken: _Server | None = None
        self._newest: dict[int, str] = {}  # the greatest number of a timeline, by cluster
        self._learning = threading.Lock()
        self._passed_over: set[str] = set()
        self.timeline = _UNKNOWN  # that of the server that was taken last

    def connection(self, dsn: str, **arguments: Any) -> WatchedConnection:
        """Connect to the server that was taken last, if it will do, else to one that will; of several that can be
        written, to that of the newest timeline.

        Raises: psycopg2.OperationalError, also when there is none but one that was left behind.
        """
        self._dsn, began, is_waited_for = dsn, time.monotonic(), self.absence.is_waited_for
        if began < self._shut_until and not is_waited_for:
            raise psycopg2.OperationalError("the server did not answer a moment ago")
        try:
            is_brief = began < self._silent_until or is_waited_for
            connection = self._take(dict(self._met(dsn, arguments, is_brief=is_brief)))
        except psycopg2.OperationalError:
            if time.monotonic() - began > _WAITED_S:
                self._shut_until = time.monotonic() + _SHUT_S
            raise
        connection.entrance = self
        return connection

    def has_left(self, connection: WatchedConnection) -> bool:
        """Whether a connection leads to a server that was left for a newer one, or that has ended others since; looks
        now and then for such a one.
        """
        self._look_again()
        return connection.generation != self._generation

    def leave(self, connection: WatchedConnection) -> None:
        """Give up a connection and all that were made before, each when it is wanted next: its server ended it, so that
        they are about to end, perhaps, or serves it no more as it should.
        """
        with self._learning:
            if connection.generation == self._generation:
                self._generation += 1

    def doubt_changes(self) -> None:
        """Have the next one who changes something ask first whether the server takes any: it may be a standby."""
        self.refusal.began(time.monotonic())

    def was_silent(self, seconds: float) -> None:
        """A server left a question unanswered for so long: who connects in the next moments does not wait as long once
        more.
        """
        self._silent_until = time.monotonic() + _SHUT_S
        self.absence.began(time.monotonic() - seconds)

    def _look_again(self) -> None:
        """Leave the server that was taken where another one was promoted meanwhile: this machine may have stood still
        together with it. The address that was taken may lead to another one by now, too. Who calls waits for nothing.
        """
        if time.monotonic() - self._looked_at > _LOOK_EVERY_S:
            self._looked_at = time.monotonic()
            threading.Thread(target=self._look, name="database-servers", daemon=True).start()

    def _look(self) -> None:
        met = dict(_beside(self._dsn, _servers_of(self._dsn), {}))
        told = {server: _timeline_of(connection) for server, connection in met.items()}
        for connection in met.values():
            connection.close()
        with self._learning:
            self._learn(told)
        self._tell(told)

    def _learn(self, told: dict[_Server, Timeline]) -> None:
        """Whoever sees a promotion first leaves for it, with all connections of before, and nobody once more."""
        newer = [one for one in told.values() if one.number > self._newest.setdefault(one.cluster, one.number)]
        for one in sorted(newer):
            self._newest[one.cluster] = one.number
        if newer:
            self._taken = None
            self._generation += 1

    def _met(
        self, dsn: str, arguments: dict[str, Any], *, is_brief: bool
    ) -> Iterator[tuple[_Server, WatchedConnection]]:
        """The first server that lets in; where it is not the one that was taken last, or was started since, or is a
        standby, the others too: one of them may have been promoted while that was away, or be the primary that is back.

        Raises: psycopg2.OperationalError when none does.
        """
        servers = sorted(_servers_of(dsn), key=lambda one: one != self._taken)
        server, connection = _first(dsn, servers, arguments, is_brief=is_brief)
        yield server, connection
        told = _timeline_of(connection)
        if server != self._taken or told == _OF_A_STANDBY or told.since != self.timeline.since:
            yield from _beside(dsn, [one for one in servers if one != server], arguments)

    def _take(self, met: dict[_Server, WatchedConnection]) -> WatchedConnection:
        """The newest that is no standby, if there is one; the others are closed.

        Raises: psycopg2.OperationalError when a newer one was met before.
        """
        told = {server: _timeline_of(connection) for server, connection in met.items()}
        wanted = {server: one for server, one in told.items() if one != _OF_A_STANDBY} or told
        cluster = next(iter(wanted.values())).cluster
        best = max((one for one in wanted if wanted[one].cluster == cluster), key=lambda one: wanted[one].number)
        with self._learning:
            self._learn({best: told[best]})
            newest = self._newest[cluster]
            if is_newest := told[best].number == newest:
                self._taken, self.timeline, met[best].generation = best, told[best], self._generation
        for server, connection in met.items():
            if server != best or not is_newest:
                connection.close()
        if not is_newest:
            raise psycopg2.OperationalError(_passed_over(best, told[best].number, newest))
        self._tell(told)
        return met[best]

    def _tell(self, told: dict[_Server, Timeline]) -> None:
        behind = self._twins(told) | {
            _passed_over(server, one.number, newest)
            for server, one in told.items()
            if one.number < (newest := self._newest.get(one.cluster, ""))
        }
        for why in behind - self._passed_over:
            log.warning("database server passed over", why=why)
        self._passed_over |= behind

    def _twins(self, told: dict[_Server, Timeline]) -> set[str]:
        """A standby never is on the timeline of a server that can be written to; what was copied without being made one
        is, and two addresses of one server are.
        """
        used = told.get(self._taken or _ALL, _UNKNOWN)
        twins = (one for one in told if told[one][:2] == used[:2] and told[one].since != used.since)
        return {_not_a_standby(one, self._taken or _ALL) for one in twins}

    def hindrances(self, used: WatchedConnection) -> list[str | None]:
        """Of each server of the URL, in its order: why it could not take the place of the one that `used` leads to. An
        empty text where it could, and for that one, by another address too; None where another can be written to.
        Nothing where the URL does not tell them apart, or that one does not let it be asked.
        """
        servers, taken = _servers_of(self._dsn), self._taken
        if _ALL in servers or taken is None or len(servers) < 2:
            return []
        try:
            with used.cursor(cursor_factory=WatchedCursor) as cursor:
                cursor.execute(_END)
                end, *its = cursor.fetchone()
        except psycopg2.Error:
            return []
        return ["" if one == taken else _hindrance(self._dsn, one, its, end) for one in servers]

    @property
    def passed_over(self) -> tuple[str, ...]:
        """The servers that can be written to beside the right one, in words."""
        return tuple(sorted(self._passed_over))


def _first(
    dsn: str, servers: list[_Server], arguments: dict[str, Any], *, is_brief: bool
) -> tuple[_Server, WatchedConnection]:
    """The first of these servers that lets in. libpq goes to the next one itself, but not from one that takes the
    connection and ends it then, as a proxy does before a server that is away, and a cluster that was made anew.

    Raises: psycopg2.OperationalError when none does, with what each of them told.
    """
    told: list[str] = []
    for server in servers:
        try:
            return server, WatchedConnection(_to(dsn, server, is_brief=is_brief), **arguments)
        except psycopg2.OperationalError as error:
            told.append(str(error))
    raise psycopg2.OperationalError("".join(told))


def _beside(dsn: str, servers: list[_Server], arguments: dict[str, Any]) -> Iterator[tuple[_Server, WatchedConnection]]:
    """Those of these servers that let in."""
    for one in servers:
        try:
            server, connection = _first(dsn, [one], arguments, is_brief=True)
        except psycopg2.OperationalError:
            continue
        yield server, connection


def _hindrance(dsn: str, server: _Server, used: list[Any], end: str) -> str | None:
    """Why a server could not take the place of the one that is used, of that cluster and begun then, whose log goes as
    far as `end`.
    """
    name = f"{server.host}:{server.port or 5432}"
    try:
        told = make_dsn(_to(dsn, server, is_brief=True), target_session_attrs="any")  # type: ignore[no-untyped-call]
        with closing(WatchedConnection(told)) as connection:
            connection.autocommit = True  # each answer is of its moment
            until = time.monotonic() + _FOLLOWS_WITHIN_S
            while True:
                with connection.cursor(cursor_factory=WatchedCursor) as cursor:
                    cursor.execute(_BEHIND, (end,))
                    behind_bytes, is_standby, *its = cursor.fetchone()
                if not is_standby:
                    return "" if its == used else None
                if its[0] != used[0]:
                    return f"the database server at {name} is a standby of another one"
                if behind_bytes is not None and behind_bytes <= 0:
                    return ""
                if time.monotonic() > until:
                    return (
                        f"the standby at {name} does not follow: it lacks what was written {_FOLLOWS_WITHIN_S:g} s ago"
                    )
                time.sleep(_ASK_EVERY_S)
    except psycopg2.Error as error:
        return f"the database server at {name} could not take over: {' '.join(str(error).split())}"


def _servers_of(dsn: str) -> list[_Server]:
    """Each host with its port; one that stands for all where the text does not tell them apart."""
    parts = parse_dsn(dsn)
    hosts, ports = parts.get("host", "").split(","), parts.get("port", "").split(",")
    ports *= len(hosts) if len(ports) == 1 else 1
    if "hostaddr" in parts or len(ports) != len(hosts):
        return [_ALL]
    return [_Server(*one) for one in zip(hosts, ports, strict=True)]


def _to(dsn: str, server: _Server, *, is_brief: bool) -> str:
    told = {"connect_timeout": _BRIEFLY_S} if is_brief else {}
    if server != _ALL:
        told |= server._asdict()
    return str(make_dsn(dsn, **told))  # type: ignore[no-untyped-call]


def _timeline_of(connection: WatchedConnection) -> Timeline:
    try:
        with connection.cursor(cursor_factory=WatchedCursor) as cursor:
            cursor.execute(_TIMELINE)
            return Timeline(*(cursor.fetchone() or _OF_A_STANDBY))
    except psycopg2.Error:
        return _UNKNOWN
    finally:
        connection.rollback()


def _not_a_standby(server: _Server, used: _Server) -> str:
    return (
        f"the server at {server.host}:{server.port or 5432} is a copy of the one at {used.host}:{used.port or 5432}, "
        "and can be written to: it was never made a standby"
    )


def _passed_over(server: _Server, number: str, newest: str) -> str:
    return (
        f"the server at {server.host}:{server.port or 5432} can be written to, but another one was promoted in its "
        f"place (timeline {int(number, 16)}, the newest is {int(newest, 16)})"
    )
