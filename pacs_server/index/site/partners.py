"""Partners: the other sites that this one exchanges everything with. Admins change them while the archive runs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, delete, insert, select, update

from pacs_server.errors import Refused, UnknownName
from pacs_server.index.engine import Index
from pacs_server.index.jobs import JobKind
from pacs_server.index.site.registry import note_change
from pacs_server.index.site_entries import forget, put, value_of, writing_in_turn
from pacs_server.index.site_tables import jobs, partners, site

_COUNTED: Final = "contents counted"
_COMPARED: Final = "compared "
_ASKED: Final = "asked to compare "


@dataclass(frozen=True, slots=True, kw_only=True)
class Partner:
    """Another site. `fingerprint` is what an admin pinned; `certificate`, in PEM, is the one of that fingerprint, empty
    until it was seen. `site_id` is None until the partner has greeted. `aet`: the peer to which objects go, or empty.
    With one that is paused nothing is exchanged. At `exchanged_at`, which is None before the first exchange, it knew
    every operation up to the counter `acknowledged`.
    """

    name: str
    host: str
    port: int
    fingerprint: str
    certificate: str = ""
    aet: str = ""
    is_paused: bool = False
    site_id: str | None = None
    added_at: datetime
    acknowledged: int = 0
    exchanged_at: datetime | None = None

    def __str__(self) -> str:
        return f"{self.name} ({self.host}:{self.port})"


class Partners:
    """The partners of the site. May be used from any thread."""

    def __init__(self, index: Index) -> None:
        self._index = index

    def all(self) -> list[Partner]:
        """Every partner, by name. Raises: IndexUnavailable."""
        with self._index.read() as connection:
            return _all(connection)

    def one(self, name: str) -> Partner:
        """A partner by its name. Raises: UnknownName; IndexUnavailable."""
        found = next((one for one in self.all() if one.name == name), None)
        if found is None:
            raise UnknownName(f"there is no partner {name}; pacs partner list shows those there are")
        return found

    def add(self, partner: Partner) -> None:
        """Add a partner.

        Raises: Refused when its name, fingerprint or site is that of another; IndexUnavailable.
        """
        with writing_in_turn(self._index, "partners") as connection:
            known = _all(connection)
            if any(one.name == partner.name for one in known):
                raise Refused(
                    f"there is a partner {partner.name} already; change it with: pacs partner set {partner.name}"
                )
            _refuse_taken(known, partner)
            connection.execute(insert(partners).values(_row(partner)))
            note_change(connection)

    def change(self, name: str, changes: Mapping[str, Any]) -> None:
        """Change these facts of a partner, by their names; others may have changed the rest since they were read.

        Raises: Refused when its fingerprint is that of another; UnknownName; IndexUnavailable.
        """
        with writing_in_turn(self._index, "partners") as connection:
            known = _all(connection)
            for one in known:
                if one.name == name:
                    _refuse_taken(known, replace(one, **changes))
            _change(connection, name, changes)
            note_change(connection)

    def pause(self, name: str, *, is_paused: bool) -> None:
        """Exchange nothing with a partner, or go on. Raises: UnknownName; IndexUnavailable."""
        with self._index.write() as connection:
            _change(connection, name, {"is_paused": int(is_paused)})
            note_change(connection)

    def note_seen(self, partner: Partner, *, certificate: str, site_id: str | None) -> None:
        """Note the certificate of a partner and, when it has greeted, its site. Nothing happens when it was removed
        meanwhile, or another fingerprint pinned for it.

        Raises: Refused when that is the site of another; IndexUnavailable.
        """
        with writing_in_turn(self._index, "partners") as connection:
            known = _all(connection)
            for one in known:
                if (one.name, one.fingerprint) == (partner.name, partner.fingerprint):
                    seen: dict[str, Any] = {"certificate": certificate, "site_id": site_id or one.site_id}
                    _refuse_taken(known, replace(one, **seen))
                    _change(connection, one.name, seen)
                    note_change(connection)

    def note_exchanged(self, partner: Partner, *, acknowledged: int, now: datetime) -> None:
        """The partner was seen to know every operation up to that counter. Raises: IndexUnavailable."""
        here = partners.c.name == partner.name, partners.c.fingerprint == partner.fingerprint
        values = {"acknowledged": acknowledged, "exchanged_at": now.isoformat()}
        with self._index.write() as connection:
            connection.execute(update(partners).where(*here).values(values))

    def is_counted(self) -> bool:
        """Whether the sums of studies were counted once since the index has them. Raises: IndexUnavailable."""
        return _entry_value(self._index, _COUNTED) is not None

    def note_counted(self) -> None:
        """They were. Raises: IndexUnavailable."""
        with self._index.write() as connection:
            put(connection, _COUNTED, "yes")

    def compared(self, name: str) -> dict[str, Any] | None:
        """What the last comparison with a partner found, None before the first. Raises: IndexUnavailable."""
        noted = _entry_value(self._index, _COMPARED + name)
        return dict(json.loads(noted)) if noted else None

    def note_compared(self, name: str, facts: Mapping[str, object]) -> None:
        """Note what a comparison with a partner found, unless it was removed meanwhile. Raises: IndexUnavailable."""
        self._note_of(name, _COMPARED, json.dumps(dict(facts)))

    def ask_to_compare(self, name: str, now: datetime) -> None:
        """Have the running server compare with a partner as soon as it answers, unless it was removed meanwhile.

        Raises: IndexUnavailable.
        """
        self._note_of(name, _ASKED, now.isoformat())

    def asked_to_compare(self, name: str) -> str:
        """Which request to compare with a partner is left, empty when there is none. Raises: IndexUnavailable."""
        return _entry_value(self._index, _ASKED + name) or ""

    def note_answered(self, name: str, asked: str) -> None:
        """That was done, in a comparison that began after it was asked for; a later request stays.

        Raises: IndexUnavailable.
        """
        with self._index.write() as connection:
            connection.execute(delete(site).where(site.c.name == _ASKED + name, site.c.value == asked))

    def _note_of(self, name: str, what: str, value: str) -> None:
        """What were noted of one that is no partner any more would be told of the next one that gets its name."""
        here = select(partners.c.name).where(partners.c.name == name).with_for_update()
        with self._index.write() as connection:
            if connection.execute(here).first():
                put(connection, what + name, value)

    def remove(self, name: str) -> None:
        """Forget a partner. Raises: UnknownName; IndexUnavailable."""
        with self._index.write() as connection:
            if not connection.execute(delete(partners).where(partners.c.name == name)).rowcount:
                raise UnknownName(f"there is no partner {name}; pacs partner list shows those there are")
            forget(connection, _COMPARED + name)
            forget(connection, _ASKED + name)
            connection.execute(delete(jobs).where(jobs.c.kind == JobKind.REPLICATE.value, jobs.c.target == name))
            note_change(connection)


def _entry_value(index: Index, name: str) -> str | None:
    with index.read() as connection:
        return value_of(connection, name)


def _all(connection: Connection) -> list[Partner]:
    rows = connection.execute(select(*partners.c).order_by(partners.c.name)).mappings()
    return [_partner(dict(row)) for row in rows]


def _partner(row: dict[str, Any]) -> Partner:
    exchanged_at = datetime.fromisoformat(row["exchanged_at"]) if row["exchanged_at"] else None
    told = {"is_paused": bool(row["is_paused"]), "added_at": datetime.fromisoformat(row["added_at"])}
    return Partner(**(row | told | {"exchanged_at": exchanged_at}))


def _row(partner: Partner) -> dict[str, object]:
    exchanged_at = partner.exchanged_at.isoformat() if partner.exchanged_at else ""
    told = {"is_paused": int(partner.is_paused), "added_at": partner.added_at.isoformat()}
    return asdict(partner) | told | {"exchanged_at": exchanged_at}


def _change(connection: Connection, name: str, values: Mapping[str, object]) -> None:
    """Other writers of the row may have changed the rest of it meanwhile."""
    if not connection.execute(update(partners).where(partners.c.name == name).values(values)).rowcount:
        raise UnknownName(f"there is no partner {name}; pacs partner list shows those there are")


def _refuse_taken(known: Iterable[Partner], partner: Partner) -> None:
    for one in known:
        if one.name == partner.name:
            continue
        if one.fingerprint == partner.fingerprint:
            raise Refused(f"that certificate is pinned for the partner {one.name} already")
        if partner.site_id is not None and one.site_id == partner.site_id:
            raise Refused(f"that is the site of the partner {one.name} already; a site is one partner")
