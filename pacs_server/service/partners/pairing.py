"""What this site does with one partner over the link: greet it, make the logs the same, compare what both hold."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from pacs_server import log, this_release
from pacs_server.cluster.exchange import Decisions, SharedChanges, SharedLog, exchange
from pacs_server.cluster.link import Link, connect
from pacs_server.cluster.messages import HELLO, Hello, hello_of, refuse_stranger
from pacs_server.cluster.pair import Differences, ask_for, by_series, compare
from pacs_server.errors import PacsError, PartnerRefused
from pacs_server.index.maintenance.schema import head
from pacs_server.index.site.draining import draining_of
from pacs_server.index.site.partners import Partner
from pacs_server.service.assemble import Node

OPERATIONS: Final = "operations"
CHANGES: Final = "changes"
_USERS_SINCE: Final = "0022"


@dataclass(frozen=True, slots=True, kw_only=True)
class Greeting:
    """What became of greeting a partner. `certificate`, in PEM, is there once the partner has shown that it is its own;
    `hello` when it answered, else `problem` says why not. `clock_ahead_s`: its clock to ours, not more exact than half
    of the way there and back.
    """

    certificate: str = ""
    hello: Hello | None = None
    clock_ahead_s: float = 0.0
    problem: PacsError | None = None


def greet(node: Node, partner: Partner, clock: Callable[[], datetime], *, seen: str = "") -> Greeting:
    """Say hello to a partner, and note its certificate and site when it is one that is registered. `seen` is the object
    that it told as its newest before.

    What prevents it is in the greeting. Raises: IndexUnavailable.
    """
    certificate, hello, ahead_s = "", None, 0.0
    problem: PacsError | None = None
    ours = replace(own_hello(node, partner, clock(), schema=head()), seen=seen)
    try:
        with connected(node, partner) as link:
            certificate = ssl.DER_cert_to_PEM_cert(link.certificate)
            asked_at = clock()
            told = hello_of(link.ask(HELLO, ours.body()))
            answered_at = clock()
        refuse_stranger(told, own_site_id=ours.site_id, known_site_id=partner.site_id)
        hello, ahead_s = told, (told.at - asked_at - (answered_at - asked_at) / 2).total_seconds()
    except PacsError as error:
        problem = error
    if certificate and (certificate != partner.certificate or (hello and partner.site_id is None)):
        node.partners.note_seen(partner, certificate=certificate, site_id=hello.site_id if hello else None)
    return Greeting(certificate=certificate, hello=hello, clock_ahead_s=ahead_s, problem=problem)


@contextmanager
def greeted(node: Node, partner: Partner) -> Iterator[tuple[Link, Hello]]:
    """A link to a partner that is who it was, and its greeting.

    Raises: what `connect` and `Link.ask` raise; Refused when it is another site; IndexUnavailable.
    """
    ours = own_hello(node, partner, datetime.now(UTC), schema=head())
    with connected(node, partner) as link:
        hello = hello_of(link.ask(HELLO, ours.body()))
        refuse_stranger(hello, own_site_id=ours.site_id, known_site_id=partner.site_id)
        yield link, hello


@contextmanager
def connected(node: Node, partner: Partner) -> Iterator[Link]:
    """A link to the partner that has the pinned certificate. Raises: what `connect` raises."""
    settings = node.settings
    with connect(
        partner.host,
        partner.port,
        partner.fingerprint,
        named=str(partner),
        files=settings.tls_files,
        settings=settings.partner,
    ) as link:
        yield link


def own_hello(node: Node, partner: Partner, now: datetime, *, schema: str) -> Hello:
    """Who this node is, and how its site stands to a partner, whose release has that schema as far as it has told.

    Raises: IndexUnavailable.
    """
    behind = node.outbox.behind(partner.name)
    return Hello(
        site_id=node.instances.operations.site_id(),
        node=socket.gethostname(),
        aet=str(node.settings.aet),
        schema=head(),
        version=this_release(),
        at=now,
        logs={name: one.log.state() for name, one in shared_logs(node, now, schema).items()},
        owed_objects=behind.objects,
        owed_series=behind.series,
        owed_since=behind.oldest_at,
        preferred=node.preferred_site(),
        is_draining=draining_of(node.index) is not None,
        calls_you=partner.name,
        newest=node.contents.newest(),
    )


def shared_logs(node: Node, now: datetime, schema: str) -> dict[str, SharedLog]:
    """The logs that a partner whose release has that schema has in common with us, by name. Two sites are upgraded in
    turn, and one may go back to the former release.
    """
    operations = node.instances.operations
    return {
        OPERATIONS: Decisions(operations=operations, volumes=node.volumes(), now=now),
        CHANGES: SharedChanges(
            changes=node.changes,
            own=own_titles(node),
            with_users=schema >= _USERS_SINCE,
            now=now,
            who=socket.gethostname(),
        ),
    }


def own_titles(node: Node) -> frozenset[str]:
    """The AE titles that each site registers for itself: those of the sites."""
    return frozenset({str(node.settings.aet), *(one.aet for one in node.partners_now() if one.aet)})


def note_own_changes(node: Node, now: datetime) -> None:
    """Enter what admins changed here into the log that partners read. Raises: IndexUnavailable."""
    node.changes.note_own(now=now, who=socket.gethostname(), without=own_titles(node))


def exchange_logs(node: Node, partner: Partner, now: datetime) -> None:
    """Make the logs of both sites the same, at once.

    Raises: what `greeted` raises; NotEnoughCopies when no volume takes what was decided there.
    """
    note_own_changes(node, now)
    with greeted(node, partner) as (link, hello):
        exchange_over(link, hello, node, partner, now)


def exchange_over(link: Link, hello: Hello, node: Node, partner: Partner, now: datetime) -> None:
    """The same, over a link to a partner that greeted a moment ago."""
    logs = shared_logs(node, now, hello.schema)
    same = {name: one.log.state() for name, one in logs.items()}
    if same != hello.logs:
        same = exchange(link, logs)
    known = max((last for _, last, _ in same[OPERATIONS].values()), default=0)
    node.partners.note_exchanged(partner, acknowledged=known, now=now)


def compare_with(node: Node, partner: Partner, *, full: bool, heals: bool, now: datetime) -> Differences:
    """Compare everything that both sites hold; with `heals` each owes the other what it lacks then. `full` counts the
    sums anew from the rows of all objects first, on both sites.

    Raises: what `exchange_logs` raises.
    """
    corrected = node.contents.recount() if full or not node.partners.is_counted() else []
    node.partners.note_counted()
    note_own_changes(node, now)
    with greeted(node, partner) as (link, hello):
        exchange_over(link, hello, node, partner, now)
        found = compare(link, node.contents, full=full)
        wanted_here, wanted_there = by_series(found.here), by_series(found.there)
        owed_here = node.outbox.owed_of(partner.name, wanted_there)
        if heals:
            node.outbox.owe(partner.name, wanted_there, now)
        try:
            owed_there = ask_for(link, wanted_here, heals=heals)
        except PartnerRefused as error:  # what it lacks itself does not depend on that
            if error.retryable:
                raise
            found.refusal, owed_there = str(error), set()
    found.leave_out(owed_here, owed_there)
    told = {"studies": found.studies, "here": len(found.here), "there": len(found.there)}
    told |= {"on_their_way": found.on_their_way, "corrected": len(corrected)}
    log.info("partner compared", partner=partner.name, is_full=full, **told)
    node.partners.note_compared(partner.name, told | {"at": now.isoformat(timespec="seconds"), "is_full": full})
    return found
