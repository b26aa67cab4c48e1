"""Where a peer is called, by what is registered of it."""

from __future__ import annotations

from pacs_server.archive.calling import way_to
from pacs_server.errors import Refused, UnknownName
from pacs_server.net.client import Destination
from pacs_server.service.assemble import Node


def destination_of(node: Node, aet: str) -> Destination:
    """Where a peer is called.

    Raises: UnknownName when it is not registered, Refused when it has no address, saying what to register;
    IndexUnavailable.
    """
    peer = node.registry.peer(aet)
    if peer is None:
        raise UnknownName(f"{aet} is not registered: pacs ae add {aet} HOST PORT")
    if peer.host is None or peer.port is None:
        raise Refused(f"{aet} has no address to be called at: pacs ae set {aet} --host H --port P")
    return way_to(peer, node.settings.tls_files)
