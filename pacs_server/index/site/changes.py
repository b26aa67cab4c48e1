"""What admins changed of what partners have in common: AE titles, who logs in there, routes, rules, which site is
preferred. It is a log: each site takes over what the other's admins did; of two changes of the same thing the later
counts, and all are kept.

What an admin changes lies in the tables of peers, users and the site's decisions; what became another there is entered
here afterwards, within a second, so that no command has to think of partners.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, DefaultClause, delete, func, insert, select

from pacs_server.errors import Undecodable
from pacs_server.index.deposits import only_with
from pacs_server.index.engine import Index
from pacs_server.index.operations import site_id_of
from pacs_server.index.site.registry import note_change
from pacs_server.index.site.users import told_user
from pacs_server.index.site_entries import forget, put, put_row, writing_in_turn
from pacs_server.index.site_tables import changes, peers, site, users
from pacs_server.index.stamped import StampedLog

PEER: Final = "peer"
USER: Final = "user"
ENTRY: Final = "entry"
PREFERENCE: Final = "preference"
_KINDS: Final = frozenset({PEER, USER, ENTRY, PREFERENCE})
# Of the site's decisions, those that are not about its own machines and volumes.
_SHARED: Final = ("route:", "tier rule:", "tier window", "retention")
_FORMAT: Final = 1
_MAX_COUNTER: Final = 1 << 60
_NUMBERS: Final = "changes"
# What a change tells nothing of, because a release entered it that knew less of peers.
_UNTOLD: Final[Mapping[str, Any]] = {
    column.name: column.type.python_type(column.server_default.arg)
    for column in peers.c
    if isinstance(column.server_default, DefaultClause)
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What became of one thing: its content, or None when it was removed."""

    counter: int
    site_id: str
    kind: str
    name: str
    content: Mapping[str, Any] | None
    at: datetime
    who: str

    @property
    def stamp(self) -> tuple[int, str]:
        """Its place in the order of changes."""
        return self.counter, self.site_id


class Changes:
    """The log. May be used from any thread. The first change that is entered leaves out `leap` numbers, as the first
    operation does (index/operations.py).
    """

    def __init__(self, index: Index) -> None:
        self._index = index
        self.leap = 0
        self._seen: object = None
        self.log = StampedLog(index, changes)
        self.log_without_users = StampedLog(index, changes, without=USER)
        self._insert = index.insert(changes).on_conflict_do_nothing()

    def record(self, kind: str, name: str, content: Mapping[str, Any] | None, *, now: datetime, who: str) -> None:
        """Enter a change that comes after all that are known. Raises: IndexUnavailable."""
        with writing_in_turn(self._index, _NUMBERS) as connection:
            self._enter(connection, kind, name, content, now, who)

    def latest(self, kind: str, name: str = "") -> Change | None:
        """What was decided last about one thing. Raises: IndexUnavailable."""
        with self._index.read() as connection:
            return _latest(connection, kind, name)

    def note_own(self, *, now: datetime, who: str, without: Collection[str] = ()) -> int:
        """Enter what is other than was known; how much that was. `without` are AE titles that are each site's own.

        Raises: IndexUnavailable.
        """
        with self._index.read() as connection:
            present = _present(connection, without)
            entered = connection.execute(select(func.count(), func.max(changes.c.counter))).one()
        if self._seen == (present, tuple(entered), without):
            return 0  # the usual answer, every second; the log, which only grows, is not read for it
        with writing_in_turn(self._index, _NUMBERS) as connection:
            differing = _differing(connection, without)
            for (kind, name), content in sorted(differing.items(), key=lambda pair: pair[0]):
                self._enter(connection, kind, name, content, now, who)
        if not differing:
            self._seen = present, tuple(entered), without
        return len(differing)

    def take(self, texts: Collection[str], *, without: Collection[str] = ()) -> int:
        """Take over changes of another site; how many were not known.

        Raises: Undecodable when one is none, and then nothing is taken; IndexUnavailable.
        """
        arriving = [_change(text) for text in texts]
        taken = 0
        with writing_in_turn(self._index, _NUMBERS) as connection:
            for one in sorted(arriving, key=lambda change: change.stamp):
                before = _latest(connection, one.kind, one.name)
                if not connection.execute(self._insert.values(_row(one))).rowcount:
                    continue
                taken += 1
                is_later = before is None or before.stamp < one.stamp
                if is_later and not (one.kind == PEER and one.name in without):
                    _apply(connection, one)
            if taken:
                note_change(connection)
        return taken

    def _enter(
        self, connection: Connection, kind: str, name: str, content: Mapping[str, Any] | None, now: datetime, who: str
    ) -> None:
        """In a transaction of its turn, so that a number is given once."""
        greatest = connection.execute(select(func.max(changes.c.counter))).scalar() or 0
        leap, self.leap = self.leap, 0
        change = Change(
            counter=greatest + 1 + leap,
            site_id=site_id_of(connection),
            kind=kind,
            name=name,
            content=content,
            at=now,
            who=who,
        )
        connection.execute(insert(changes).values(_row(change)))


def _present(connection: Connection, without: Collection[str]) -> dict[tuple[str, str], Mapping[str, Any] | None]:
    """What partners have in common, as it is now, by kind and name."""
    present: dict[tuple[str, str], Mapping[str, Any] | None] = {
        (PEER, row["aet"]): dict(row)
        for row in connection.execute(select(*peers.c)).mappings()
        if row["aet"] not in without
    }
    present |= {(USER, row["name"]): dict(row) for row in connection.execute(select(*users.c)).mappings()}
    for name, value in connection.execute(select(site.c.name, site.c.value)):
        if name.startswith(_SHARED):
            present[ENTRY, name] = {"value": value}
    return present


def _differing(connection: Connection, without: Collection[str]) -> dict[tuple[str, str], Mapping[str, Any] | None]:
    """What is other now than the log says."""
    present = _present(connection, without)
    logged: dict[tuple[str, str], Change] = {}
    for text in connection.execute(select(changes.c.content).where(changes.c.kind.in_([PEER, USER, ENTRY]))).scalars():
        one = _change(text)
        if (one.kind, one.name) not in logged or logged[one.kind, one.name].stamp < one.stamp:
            logged[one.kind, one.name] = one
    told = {key: one.content for key, one in logged.items() if not (one.kind == PEER and one.name in without)}
    return {
        key: present.get(key) for key in present.keys() | told.keys() if not _is_told(present.get(key), told.get(key))
    }


def _is_told(present: Mapping[str, Any] | None, told: Mapping[str, Any] | None) -> bool:
    """Whether a change tells what is there now; what a later release told beside that is nothing of ours."""
    if present is None or told is None:
        return present is told
    return all(told.get(name, _UNTOLD.get(name)) == value for name, value in present.items())


def _apply(connection: Connection, one: Change) -> None:
    if one.kind == PEER:
        if one.content is None and only_with(connection, one.name):
            return
        here = connection.execute(select(*peers.c).where(peers.c.aet == one.name)).mappings().first()
        if one.content is None:
            connection.execute(delete(peers).where(peers.c.aet == one.name))
        else:
            whole = {**_UNTOLD, **(here or {}), **one.content}
            put_row(connection, peers, {column.name: whole[column.name] for column in peers.c})
    elif one.kind == USER:
        if one.content is None:
            connection.execute(delete(users).where(users.c.name == one.name))
        else:
            put_row(connection, users, {column.name: one.content[column.name] for column in users.c})
    elif one.kind == ENTRY:
        if one.content is None:
            forget(connection, one.name)
        else:
            put(connection, one.name, one.content["value"])


def _latest(connection: Connection, kind: str, name: str) -> Change | None:
    known = select(changes.c.content).where(changes.c.kind == kind, changes.c.name == name)
    last = known.order_by(changes.c.counter.desc(), changes.c.site_id.desc()).limit(1)
    text = connection.execute(last).scalar()
    return _change(text) if text else None


def _row(change: Change) -> dict[str, Any]:
    told = {
        "format": _FORMAT,
        "counter": change.counter,
        "site": change.site_id,
        "kind": change.kind,
        "name": change.name,
        "content": change.content,
        "at": change.at.isoformat(),
        "who": change.who,
    }
    named = {"counter": change.counter, "site_id": change.site_id, "kind": change.kind, "name": change.name}
    return named | {"content": json.dumps(told, ensure_ascii=False, sort_keys=True)}


def _change(text: str) -> Change:
    """The change that a text tells. Raises: Undecodable."""
    try:
        return _checked(json.loads(text))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise Undecodable(f"this is no change that a partner may tell: {type(error).__name__}: {error}") from error


def _checked(told: dict[str, Any]) -> Change:
    counter, at = told["counter"], datetime.fromisoformat(told["at"])
    texts = [told[name] for name in ("site", "kind", "name", "who")]
    content = told["content"]
    if told["format"] != _FORMAT or told["kind"] not in _KINDS:
        raise ValueError("it is of a kind that this release does not know")
    if not isinstance(counter, int) or not 0 < counter < _MAX_COUNTER or at.tzinfo is None:
        raise ValueError("its counter is no positive number, or its time has no time zone")
    if not all(isinstance(one, str) for one in texts) or not told["site"].isalnum():
        raise ValueError("its site, kind, name and who have to be texts, the site of letters and digits alone")
    if content is not None and not _fits(told["kind"], told["name"], content):
        raise ValueError("its content does not fit its kind")
    return Change(
        counter=counter,
        site_id=told["site"],
        kind=told["kind"],
        name=told["name"],
        content=content,
        at=at,
        who=told["who"],
    )


def _fits(kind: str, name: str, content: dict[str, Any]) -> bool:
    if kind == PEER:
        is_whole = {column.name for column in peers.c} <= content.keys() | _UNTOLD.keys() and content["aet"] == name
        return is_whole and all(isinstance(one, (str, int, type(None))) for one in content.values())
    if kind == USER:
        return told_user(content).name == name
    if kind == ENTRY:
        return name.startswith(_SHARED) and isinstance(content.get("value"), str)
    return isinstance(content.get("site"), str)
