"""Files against rows, on every volume of the site."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime

from pacs_server import log
from pacs_server.archive.ingest import role_beside
from pacs_server.archive.operations import learn
from pacs_server.archive.reconcile import Finding, Ledger, adopt_deposits, reconcile
from pacs_server.archive.releasing import put_back_unknown
from pacs_server.archive.returning import note_lost
from pacs_server.errors import Refused
from pacs_server.index.engine import Index
from pacs_server.index.holdings import Holdings
from pacs_server.index.instances import Instances
from pacs_server.index.jobs import JobKind
from pacs_server.service.assemble import Node
from pacs_server.storage.volume import Volume


def reconcile_volumes(node: Node, *, since: date | None, repair: bool) -> Iterator[Finding]:
    """Compare every volume with the index.

    Raises: Refused when a volume cannot be read, because its files cannot be told from missing ones; VolumeUnavailable
    when it goes away meanwhile.
    """
    now = datetime.now(UTC)
    for volume in readable_volumes(node):
        learn(volume, node.instances.operations, now=now)
        if repair:
            put_back_unknown(volume, node.holdings)
        yield from reconcile(volume, ledger_of(node, node.index), node.placement(), since=since, repair=repair, now=now)
    stubs = list(node.deposits.without_row(node.index))
    yield from adopt_deposits(stubs, ledger_of(node, node.index), repair=repair)
    if repair:
        node.jobs.owe(JobKind.SURVEY, now)  # what was adopted or forgotten may lack copies


def note_losses(node: Node, volume: Volume) -> None:
    """Look whether a volume still has what was stored on it last, and owe the copies that it lost.

    Raises: VolumeUnavailable when it cannot be read; IndexUnavailable.
    """
    now = datetime.now(UTC)
    if lost := list(note_lost(volume, node.holdings, node.copies, now=now)):
        log.warning("copies lost", volume=volume.spec.name, series=len(lost))
        node.jobs.owe(JobKind.COPY, now, series=lost)


def readable_volumes(node: Node) -> list[Volume]:
    """Every volume of the site. Raises: Refused when one of them cannot be read."""
    volumes = node.volumes()
    for volume in volumes:
        state = volume.check()
        if not state.is_readable:
            raise Refused(
                f"volume {volume.spec.name} is {state.status} ({state.reason}); bring it back first, "
                "because its files cannot be told from missing ones"
            )
    return volumes


def ledger_of(node: Node, index: Index) -> Ledger:
    """The rows of an index, for comparing files of this site with them."""
    return Ledger(
        instances=Instances(index),
        holdings=Holdings(index),
        default_issuer=node.settings.default_issuer,
        default_charset=node.settings.default_charset,
        vocabulary=node.vocabulary(),
        role_beside=lambda held, syntax, copies: role_beside(held, syntax, copies, node.placement()),
    )
