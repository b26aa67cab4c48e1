"""How each partner was when this node last greeted it, in a small file: since when it is so outlives the process, and a
command can tell it at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from pacs_server import log
from pacs_server.index.site.partners import Partner
from pacs_server.service.noted import NOT_AS_NOTED, made_of, moment, object_in
from pacs_server.service.telling import Teller

_FILE: Final = "partners.json"
_TOLD: Final = ("owed_objects", "owed_series", "owed_since", "preferred", "told_at", "calls_us", "newest")


@dataclass(frozen=True, slots=True, kw_only=True)
class Contact:
    """One partner, greeted last `at`; it is reached, or is not, since `since`. What it said of itself is empty while it
    is not reached. What it owed this site, which site it held for the preferred one and which object was its newest
    stay as it told them last, at `told_at`.
    """

    name: str
    fingerprint: str
    is_reached: bool
    since: datetime
    at: datetime
    problem: str
    clock_ahead_s: float
    node: str
    aet: str
    schema: str
    version: str
    owed_objects: int = 0
    owed_series: int = 0
    owed_since: str = ""
    preferred: str = ""
    is_draining: bool = False
    calls_us: str = ""
    newest: str = ""
    told_at: str = ""


class Contacts:
    """Keeps the file. Belongs to one thread."""

    def __init__(self, data_dir: Path) -> None:
        self._teller = Teller(data_dir / _FILE)
        self._known = remembered(data_dir)

    def of(self, name: str) -> Contact | None:
        """How a partner was when it was greeted last."""
        return self._known.get(name)

    def note(self, contact: Contact) -> bool:
        """Note how a partner is; when it is otherwise than before, in the log too. Answers whether it was not reached
        before.
        """
        before = self._known.get(contact.name)
        if before is not None and before.is_reached == contact.is_reached:
            contact = replace(contact, since=before.since)
        if before is not None and not contact.is_reached:
            contact = replace(contact, **{name: getattr(before, name) for name in _TOLD})
        if before is None or (before.is_reached, before.problem) != (contact.is_reached, contact.problem):
            tell = log.info if contact.is_reached else log.warning
            tell("partner greeted", partner=contact.name, node=contact.node or None, why=contact.problem or None)
        self._known[contact.name] = contact
        self._write()
        return before is None or not before.is_reached

    def keep_only(self, partners: Iterable[Partner]) -> None:
        """Forget those that are no partners any more, or have another certificate now."""
        pinned = {one.name: one.fingerprint for one in partners}
        kept = {name: one for name, one in self._known.items() if pinned.get(name) == one.fingerprint}
        if kept != self._known:
            self._known = kept
            self._write()

    def _write(self) -> None:
        self._teller.tell({"partners": [_facts(one) for one in self._known.values()]})


def remembered(data_dir: Path) -> dict[str, Contact]:
    """What was noted last, by the partner's name; what cannot be read is not remembered."""
    try:
        return {one.name: one for one in map(_contact, object_in(data_dir / _FILE).get("partners", []))}
    except NOT_AS_NOTED:
        return {}


def still_known(partner: Partner, contact: Contact | None) -> Contact | None:
    """How a partner was, unless it has another certificate by now: then nobody has greeted it yet."""
    return contact if contact is not None and contact.fingerprint == partner.fingerprint else None


def state_in_words(partner: Partner, known: Contact | None) -> str:
    """How a partner is, for a person."""
    if partner.is_paused:
        return "paused"
    return "not greeted yet" if known is None else "reachable" if known.is_reached else "not reachable"


def _facts(contact: Contact) -> dict[str, Any]:
    return asdict(contact) | {"since": contact.since.isoformat(), "at": contact.at.isoformat()}


def _contact(facts: dict[str, Any]) -> Contact:
    contact = made_of(Contact, facts)
    for told in filter(None, (contact.owed_since, contact.told_at)):
        moment(told)
    return contact
