"""Which servers of the database could not take over if the one that is used were lost."""

from __future__ import annotations

from pacs_server.cluster.patroni import Patroni
from pacs_server.errors import PatroniUnavailable
from pacs_server.index.maintenance.checking import hindrances
from pacs_server.service.assemble import Node


def hindered(node: Node) -> dict[str, str]:
    """Why each of them could not, by what it is called. Each is asked, and one that hangs is waited for a while.

    Raises: IndexUnavailable.
    """
    if not node.settings.patroni.urls:
        return {host: why for host, why in hindrances(node.index).items() if why}
    try:
        state = Patroni(node.settings.patroni).status()
    except PatroniUnavailable as error:
        return {"patroni": str(error)}
    standbys = (one for one in state.members if not one.is_leader)
    return dict(state.unanswered) | {one.name: f"{one.name} {one.hindrance}" for one in standbys if one.hindrance}
