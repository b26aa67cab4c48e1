"""That a site takes no new associations, which an admin or a partner has decided."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from pacs_server.dicom.audit import Event
from pacs_server.index.engine import Index
from pacs_server.index.site.registry import note_change
from pacs_server.index.site_entries import forget, put, value_of

_DRAINING: Final = "draining"


@dataclass(frozen=True, slots=True, kw_only=True)
class Draining:
    """Since when a site takes no new associations, and who wants that."""

    since: datetime
    who: str


def draining_of(index: Index) -> Draining | None:
    """That the site takes no new associations, if it is so. Raises: IndexUnavailable."""
    with index.read() as connection:
        told = value_of(connection, _DRAINING)
    facts = json.loads(told) if told else {}
    return Draining(since=datetime.fromisoformat(facts["since"]), who=facts["who"]) if facts else None


def set_draining(index: Index, draining: Draining | None, event: Event | None = None) -> None:
    """Take no new associations, or take them again, also after a restart; `event` is told with it. A site that
    takes none already keeps the time since when. Raises: IndexUnavailable.
    """
    told: list[Event] = []
    with index.write(told) as connection:
        is_draining = value_of(connection, _DRAINING) is not None
        if is_draining == (draining is not None):
            return
        if draining is None:
            forget(connection, _DRAINING)
        else:
            since = {"since": draining.since.isoformat(), "who": draining.who}
            put(connection, _DRAINING, json.dumps(since))
        note_change(connection)
        told += [event] if event else []
