"""Which nodes of a site live, and which of them does what: nothing is elected, each draws the same conclusion from what
all tell. When two differ for a moment, what is done twice does no harm; what never is, two nodes decide the database.

Values only: service/roll_call.py tells and looks.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from pacs_server.index.site.nodes import SiteNode

# A node tells every two seconds. One that did not for so long is dead, or cut off from the database, and does nothing
# there either.
SILENT_AFTER: Final = timedelta(seconds=15)
# One that never came back is known so long.
FORGOTTEN_AFTER: Final = timedelta(days=7)


def lives(node: SiteNode, now: datetime) -> bool:
    """Whether a node has told of itself lately."""
    return now - node.seen_at <= SILENT_AFTER


@dataclass(frozen=True, slots=True, kw_only=True)
class Roster:
    """This node and the others that live, as it sees them."""

    own: SiteNode
    others: tuple[SiteNode, ...] = ()

    def has_duty(self, volume_id: str = "") -> bool:
        """Whether it falls to this node to do what is done once for the site, or once for a volume.

        The duty is that of the node that reaches most volumes, among those that reach this one; among several such, of
        the first by name.
        """
        able = [one for one in (self.own, *self.others) if not volume_id or volume_id in one.reach]
        return bool(able) and min(able, key=_rank) == self.own

    def leaves_series(self) -> bool:
        """Whether another node reaches all that this one does, and more: what concerns the copies of a series, on
        whatever volumes, is better done there.
        """
        return any(one.reach > self.own.reach for one in self.others)

    def elsewhere(self) -> frozenset[str]:
        """The volumes that other nodes reach and this one does not."""
        reached = frozenset[str]().union(*(one.reach for one in self.others))
        return reached - self.own.reach


def _rank(node: SiteNode) -> tuple[int, str]:
    return -len(node.reach), node.name
