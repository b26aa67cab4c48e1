"""What a person sends, and the routes that an admin keeps, from the command line."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from pacs_server.archive.routing import Explained, explain_route, selection
from pacs_server.dicom.attributes import BY_KEYWORD, Attribute, Level, Matching
from pacs_server.dicom.queries.matching import Query, query_from_keywords
from pacs_server.dicom.queries.predicates import OneOf, as_one_value
from pacs_server.errors import BadQuery, PeerUnreachable, UnknownName
from pacs_server.index.jobs import JobKind
from pacs_server.index.sending.backlogs import backlogs, failure
from pacs_server.index.sending.selection import Selection
from pacs_server.index.sending.sendings import SendState, Urgency
from pacs_server.index.sending.studies import series_column
from pacs_server.index.site.routes import Route
from pacs_server.index.site.windows import Window
from pacs_server.service.assemble import Node
from pacs_server.service.telling import serving

_LOOK_EVERY_S: Final = 0.5
# Entered in one transaction: others record objects meanwhile.
_SERIES_AT_ONCE: Final = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Queued:
    """What was queued for one destination: each object by its SOP Instance UID and digest."""

    destination: str
    objects: list[tuple[str, str]]


def queue(node: Node, keys: Mapping[str, str], aet: str, now: datetime) -> Queued:
    """Queue what has exactly these values for a destination, also what was sent there before.

    Raises: UnknownName when nothing has them, or the destination has no address; BadQuery when a value has a wildcard,
    or a patient ID names patients of two issuers; IndexUnavailable.
    """
    refuse_unless_sendable(node, aet)
    if not all(_is_exact(BY_KEYWORD[keyword], value) for keyword, value in keys.items()):
        raise BadQuery("what is to be sent is named exactly: no wildcard, no list, and not empty")
    query = _without_lists(query_from_keywords(Level.PATIENT, keys), keys)
    if "PatientID" in keys:
        columns = BY_KEYWORD["PatientID"], BY_KEYWORD["IssuerOfPatientID"]
        issuers = sorted({str(row[1] or "none") for row in node.search.find(query, columns)})  # a row for each name
        if len(issuers) > 1:
            raise BadQuery(f"the patient ID names patients of several issuers ({', '.join(issuers)}): --issuer")
    entered = node.sendings.owe(Selection(predicates=query.predicates), aet, now, urgency=Urgency.AGAIN)
    if not entered:
        named = ", ".join(f"{key}={value}" for key, value in keys.items())
        raise UnknownName(f"nothing is held with {named}; pacs find shows what is")
    node.jobs.wake_target(JobKind.SEND, aet, now, only_failed=True)
    return Queued(destination=aet, objects=entered)


def _is_exact(attribute: Attribute, value: str) -> bool:
    """Whether this names one value; a text may have been sent with a backslash in it, a UID is never one with it."""
    lists = "\\" if attribute.matching is Matching.UID else ""
    return bool(value) and not set(value) & set("*?" + lists)


def _without_lists(query: Query, keys: Mapping[str, str]) -> Query:
    """The query that takes a text with a backslash for that one text, not for either part as well."""
    predicates = [
        OneOf(one.attribute, as_one_value(keys[one.attribute.keyword]))
        if isinstance(one, OneOf) and "\\" in keys[one.attribute.keyword]
        else one
        for one in query.predicates
    ]
    return replace(query, predicates=tuple(predicates))


def follow(node: Node, queued: Queued) -> Iterator[dict[SendState, int]]:
    """How far it is, again and again until nothing of it waits.

    Raises: PeerUnreachable when no server runs here that would send, or the destination failed; it stays queued.
    """
    while (progress := node.sendings.progress(queued.destination, queued.objects))[SendState.WAITING]:
        yield progress
        if serving(node.settings.data_dir) is None:
            raise PeerUnreachable("no server runs here; it stays queued, and is sent once one does: pacs serve")
        if error := failure(node.index, queued.destination):
            raise PeerUnreachable(f"{error}; it stays queued and is tried again: pacs send list")
        time.sleep(_LOOK_EVERY_S)
    yield progress


def retry(node: Node, aet: str, now: datetime) -> int:
    """Send at once what waits after a failure, and what was refused for good, for one destination or all; how many
    had been refused. Raises: IndexUnavailable.
    """
    revived = node.sendings.revive(aet, now)
    for backlog in backlogs(node.index, aet):
        node.jobs.wake_target(JobKind.SEND, backlog.destination, now)
    return revived


def add_route(node: Node, route: Route) -> None:
    """Keep a new route.

    Raises: Refused when its name is taken, or its window is no part of a day; UnknownName, BadQuery when it could never
    send.
    """
    for aet in route.to:
        refuse_unless_sendable(node, aet)
    if route.window:
        Window.of(route.window)
    for keyword in route.priors_like:
        series_column(keyword)
    selection(route, node.vocabulary())
    node.route_rules.add(route)


def set_paused(node: Node, name: str, *, is_paused: bool, now: datetime) -> None:
    """Let a route wait, or go on; what it has queued waits with it. Raises: UnknownName."""
    route = node.route_rules.set_paused(name, is_paused=is_paused)
    if not is_paused:
        node.jobs.wake_target(JobKind.ROUTE, name, now)
        for aet in route.to:
            node.jobs.wake_target(JobKind.SEND, aet, now)


def apply_to_held(node: Node, name: str, since: datetime, now: datetime) -> int:
    """Have a route look at every series of the studies of which something arrived since then, as if it arrived now; how
    many series. What this site sent for a route already is not sent again.

    Raises: UnknownName when there is no such route; IndexUnavailable.
    """
    node.route_rules.one(name)
    found = node.studies.series_since(since)
    for start in range(0, len(found), _SERIES_AT_ONCE):
        node.jobs.owe(JobKind.ROUTE, now, series=found[start : start + _SERIES_AT_ONCE], target=name)
    return len(found)


def remove_route(node: Node, name: str) -> int:
    """Forget a route and what it has queued; how many objects that were. Raises: UnknownName."""
    node.route_rules.remove(name)
    node.jobs.drop_target(JobKind.ROUTE, name)
    return node.sendings.forget(route=name)


def explain(node: Node, name: str, study_uids: Sequence[str], now: datetime, *, limit: int) -> Iterator[Explained]:
    """What a route would do with these studies, or with those that are held since last.

    Raises: UnknownName when there is no such route or study; BadQuery; IndexUnavailable.
    """
    route = node.route_rules.one(name)
    for uid in study_uids:
        if node.studies.last_received_at(uid) is None:
            raise UnknownName(f"no study {uid} is held; pacs find studies lists those there are")
    for uid in study_uids or node.studies.newest(limit=limit):
        yield from explain_route(
            route, uid, sendings=node.sendings, studies=node.studies, vocabulary=node.vocabulary(), now=now
        )


def refuse_unless_sendable(node: Node, aet: str) -> None:
    """Raises: UnknownName when no peer of that title is registered with an address."""
    if node.registry.known_peer(aet).host is None:
        raise UnknownName(
            f"{aet} only calls us: it has no address; give it one with: pacs ae set {aet} --host H --port P"
        )
