"""What one process remembers of those that it rejected, until it is written down: a flood of them costs no flood of
writes.
"""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import datetime
from typing import Final

from pacs_server.dicom.identity import AeTitle
from pacs_server.dimse.access import asked_for
from pacs_server.dimse.host_names import plain_address
from pacs_server.index.site.turned_away import TurnedAway
from pacs_server.log import escaped
from pacs_server.net.negotiate import AssociationRequest, Rejection

# Between two writes, a second apart. More different callers than that are a flood, of which some are enough.
_MOST: Final = 50


class Doorkeeper:
    """May be used from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._callers: dict[tuple[str, str], TurnedAway] = {}

    def note(self, request: AssociationRequest, fingerprint: str | None, verdict: Rejection, now: datetime) -> None:
        """Remember a request that was rejected; not one whose title nobody could register."""
        try:
            aet = AeTitle(request.calling_aet)
        except ValueError:
            return
        one = TurnedAway(
            aet=aet,
            address=str(plain_address(request.peer_address)),
            called=escaped(request.called_aet.strip(" ")),
            fingerprint=fingerprint or "",
            asked=asked_for(request),
            why=verdict.why or verdict.text,
            first_at=now,
            last_at=now,
        )
        key = one.aet, one.address
        with self._lock:
            if before := self._callers.get(key):
                asked, count = one.asked | before.asked, before.count + 1
                self._callers[key] = replace(one, asked=asked, first_at=before.first_at, count=count)
            elif len(self._callers) < _MOST:
                self._callers[key] = one

    def take(self) -> list[TurnedAway]:
        """What was remembered since the last time."""
        with self._lock:
            taken, self._callers = list(self._callers.values()), {}
        return taken
