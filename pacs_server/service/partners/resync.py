"""Makes two sites equal after one of them was away, and shows that they are."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from pacs_server.errors import PeerAborted, PeerTimedOut, PeerUnreachable
from pacs_server.index.site.partners import Partner
from pacs_server.service.assemble import Node
from pacs_server.service.partners.failover import HURRY_EVERY_S
from pacs_server.service.partners.pairing import compare_with
from pacs_server.service.partners.sides import Here, There

_LOOK_EVERY_S: Final = 1.0
_FOR_A_MOMENT: Final = (PeerAborted, PeerTimedOut, PeerUnreachable)


@dataclass(frozen=True, slots=True, kw_only=True)
class Equality:
    """How far two sites are from being equal: what each lacks, and what is on its way; all of it is owed.

    The last three are what the first comparison found, which is what was moved once they are equal.
    """

    is_equal: bool
    here: int
    there: int
    on_their_way: int
    found_here: int
    found_there: int
    found_on_their_way: int

    def facts(self) -> dict[str, Any]:
        """As JSON can say it."""
        return {
            "is_equal": self.is_equal,
            "lacking_here": self.here,
            "lacking_there": self.there,
            "on_their_way": self.on_their_way,
            "found_lacking_here": self.found_here,
            "found_lacking_there": self.found_there,
            "found_on_their_way": self.found_on_their_way,
        }


def resync(node: Node, partner: Partner, *, ends_at: float) -> Iterator[Equality]:
    """Compare everything, and again every second until both sites are equal and owe each other nothing, at the latest
    until a moment of the monotonic clock. What one lacks is owed by the other from the first comparison on. A partner
    that goes away in between is waited for.

    Raises: what the partner link raises at first; IndexUnavailable.
    """
    here, there = Here(node, partner), There(node, partner)
    first = found = compare_with(node, partner, full=True, heals=True, now=datetime.now(UTC))
    hurried_at = float("-inf")
    while True:
        is_equal = False
        try:
            owed = node.outbox.behind(partner.name).series + there.standing().owed_series
            is_equal = found.is_equal and not owed
            if owed and time.monotonic() - hurried_at >= HURRY_EVERY_S:
                hurried_at = time.monotonic()
                here.hurry()
                there.hurry()
        except _FOR_A_MOMENT:
            pass
        yield Equality(
            is_equal=is_equal,
            here=len(found.here),
            there=len(found.there),
            on_their_way=found.on_their_way,
            found_here=len(first.here),
            found_there=len(first.there),
            found_on_their_way=first.on_their_way,
        )
        if is_equal or time.monotonic() >= ends_at:
            return
        time.sleep(_LOOK_EVERY_S)
        try:
            found = compare_with(node, partner, full=False, heals=True, now=datetime.now(UTC))
        except _FOR_A_MOMENT:
            continue
