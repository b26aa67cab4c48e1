"""How long what was deleted stays in the trash, and whether it ever leaves it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any, Final

from pacs_server.errors import Refused
from pacs_server.index.engine import Index
from pacs_server.index.site_entries import put, value_of, value_to_change

_NAME: Final = "retention"


class Purging(StrEnum):
    """When what is in the trash is destroyed."""

    NEVER = "never"
    BY_HAND = "by-hand"
    NIGHTLY = "nightly"


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """What an object has to have behind it before it is destroyed: so many days in the trash, and so many days since
    its study was made and came here.

    Raises: Refused for less than no day.
    """

    purging: Purging = Purging.NEVER
    grace_days: int = 30
    keep_days: int = 0

    def __post_init__(self) -> None:
        if self.grace_days < 0 or self.keep_days < 0:
            raise Refused("days in the trash and days to keep are 0 or more")


def retention_of(index: Index) -> Retention:
    """What the site decided; by default nothing is ever destroyed. Raises: IndexUnavailable."""
    with index.read() as connection:
        return _retention(value_of(connection, _NAME) or "")


def change_retention(index: Index, **changes: Any) -> Retention:
    """Decide these facts of it, and answer what it is then. Raises: Refused for less than no day; IndexUnavailable."""
    with index.write() as connection:
        changed = replace(_retention(value_to_change(connection, _NAME)), **changes)
        put(connection, _NAME, json.dumps(asdict(changed)))
    return changed


def _retention(text: str) -> Retention:
    told = json.loads(text) if text else {}
    return Retention(**(told | {"purging": Purging(told.get("purging", Purging.NEVER))}))
