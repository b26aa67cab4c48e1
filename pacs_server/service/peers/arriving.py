"""What comes to the running server because an archive server was asked for it by C-MOVE, as the index tells of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from pacs_server.archive.retrieving import Arrivals
from pacs_server.cluster.roster import lives
from pacs_server.dicom.attributes import Level
from pacs_server.dicom.queries.retrieval import RetrieveRequest
from pacs_server.errors import Refused
from pacs_server.index.queries.search import Deliverable
from pacs_server.index.site.peers import Right
from pacs_server.service.assemble import Node
from pacs_server.service.locks import is_serving


def anything(node: Node, aet: str) -> Arrivals:
    """Of objects that are not held: whatever comes is what was asked for."""

    def came(items: Sequence[Deliverable]) -> Mapping[str, str]:
        return {one.sop_uid: "" for one in _here(node, items) if one.copies}

    return Arrivals(expect=lambda _: _refuse_where_nothing_can_come(node, aet), came=came)


def as_given(node: Node, aet: str) -> Arrivals:
    """Of objects that only an archive server keeps: one has come once a good copy of it is here."""

    def came(items: Sequence[Deliverable]) -> Mapping[str, str]:
        damage = node.deposits.damage(aet, [one.sop_uid for one in items])
        wanted = {(one.sop_uid, one.digest): one for one in items}
        told = {name[0]: reason for name, reason in damage.items() if name in wanted}
        for one in _here(node, items):
            name = one.sop_uid, one.digest
            if name in wanted and (set(one.copies) - set(wanted[name].copies) or _has_good_copy(one, name in damage)):
                told[one.sop_uid] = ""
        return told

    return Arrivals(expect=lambda _: _refuse_where_nothing_can_come(node, aet), came=came)


def given_back(node: Node, aet: str) -> Arrivals:
    """Of objects that are here, and are compared with what the archive server gives back of them."""

    def expect(items: Sequence[Deliverable]) -> None:
        _refuse_where_nothing_can_come(node, aet)
        node.deposits.expect(aet, [(one.sop_uid, one.digest) for one in items])

    def came(items: Sequence[Deliverable]) -> Mapping[str, str]:
        told = node.deposits.came(aet, [one.sop_uid for one in items])
        return {
            uid: "" if is_same else f"{uid} comes back with other bytes than were sent" for uid, is_same in told.items()
        }

    return Arrivals(expect=expect, came=came)


def _has_good_copy(one: Deliverable, is_lost: bool) -> bool:
    """Archive servers are named where no copy is good, but not one that has lost it."""
    return bool(one.copies) and not one.archives and not is_lost


def _here(node: Node, items: Sequence[Deliverable]) -> list[Deliverable]:
    """What is held of objects of one series. Raises: IndexUnavailable."""
    request = RetrieveRequest(
        level=Level.IMAGE,
        study_uids=(items[0].study_uid,),
        series_uids=(items[0].series_uid,),
        sop_uids=tuple(one.sop_uid for one in items),
    )
    return node.search.deliverables(request)


def _refuse_where_nothing_can_come(node: Node, aet: str) -> None:
    """Raises: Refused when this archive would not take what the archive server sends for a C-MOVE; IndexUnavailable."""
    settings, now = node.settings, datetime.now(UTC)
    peer = node.registry.peer(aet)
    if peer is None or Right.STORE not in peer.rights:
        rights = ",".join(right for right in Right if right is Right.STORE or (peer and right in peer.rights))
        raise Refused(
            f"{aet} offers no C-GET, and may not store here what it sends for a C-MOVE: "
            f"pacs ae set {aet} --allow {rights}"
        )
    admission = node.admission()
    if aet not in admission.partners and (admission.is_draining or not admission.takes_stores):
        raise Refused(
            f"{aet} offers no C-GET, and this site does not take now what it sends for a C-MOVE: "
            "pacs failover status says until when"
        )
    others = (one for one in node.nodes.all() if one.aet == settings.aet)
    if not is_serving(settings.data_dir) and not any(lives(one, now) for one in others):
        raise Refused(
            f"{aet} offers no C-GET, and the server of this archive, to which it sends for a C-MOVE, does not run: "
            "start pacs serve, and try again"
        )
