"""Persons who log in at peers with a passcode. What is kept of a passcode is a digest, of which it takes a processor a
quarter of a second to try one guess.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import bindparam, delete, select, update

from pacs_server.errors import Refused, UnknownName
from pacs_server.index.engine import Index
from pacs_server.index.site_tables import users
from pacs_server.index.statements import HotStatement

MIN_PASSCODE_CHARACTERS: Final = 8
# 16 MiB and five turns, one of the settings of equal strength that OWASP's Password Storage Cheat Sheet names. Each
# digest holds those that it was made with, so that others can be chosen for new ones.
_COST, _BLOCK, _TURNS = 1 << 14, 8, 5
_SALT_BYTES: Final = 16
_MAX_MEMORY_BYTES: Final = 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A person. `passcode` is the digest of theirs; `peers` are the AE titles at which they may log in, none for all
    that ask for it.
    """

    name: str
    passcode: str = field(repr=False)
    peers: tuple[str, ...]
    changed_at: datetime

    def may_use(self, aet: str) -> bool:
        """Whether this person may log in at a peer."""
        return not self.peers or aet in self.peers


class Users:
    """May be used from any thread."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._find = HotStatement(index, select(*users.c).where(users.c.name == bindparam("user")))

    def all(self) -> list[User]:
        """Everybody, by name. Raises: IndexUnavailable."""
        with self._index.read() as connection:
            return [_user(row) for row in connection.execute(select(*users.c).order_by(users.c.name))]

    def find(self, name: str) -> User | None:
        """The person of that name. Raises: IndexUnavailable."""
        rows = self._find.rows(user=name)
        return _user(rows[0]) if rows else None

    def one(self, name: str) -> User:
        """The person of that name. Raises: UnknownName; IndexUnavailable."""
        user = self.find(name)
        if user is None:
            raise _unknown(name)
        return user

    def add(self, user: User) -> None:
        """Add a person. Raises: Refused when one has that name; IndexUnavailable."""
        with self._index.write() as connection:
            added = self._index.insert(users).values(_row(user)).on_conflict_do_nothing()
            if not connection.execute(added).rowcount:
                raise Refused(f"the user {user.name} is known already; change what is known with: pacs user set")

    def change(self, name: str, **changes: Any) -> None:
        """Change these facts of a person; others may have changed the rest since they were read.

        Raises: UnknownName; IndexUnavailable.
        """
        with self._index.write() as connection:
            row = connection.execute(select(*users.c).where(users.c.name == name).with_for_update()).first()
            if row is None:
                raise _unknown(name)
            changed = _row(replace(_user(row), **changes))
            connection.execute(update(users).where(users.c.name == name).values(changed))

    def remove(self, name: str) -> None:
        """Forget a person. Raises: UnknownName; IndexUnavailable."""
        with self._index.write() as connection:
            if not connection.execute(delete(users).where(users.c.name == name)).rowcount:
                raise _unknown(name)


# The digest of a passcode that nobody has: a name that nobody has takes as long to refuse as a wrong passcode.
NOBODYS: Final = f"scrypt${_COST}${_BLOCK}${_TURNS}${'0' * 32}${'0' * 64}"


def digest_of(passcode: str) -> str:
    """What is kept of a passcode. Raises: Refused when it is shorter than 8 characters."""
    if len(passcode) < MIN_PASSCODE_CHARACTERS:
        raise Refused(f"a passcode has at least {MIN_PASSCODE_CHARACTERS} characters")
    salt = os.urandom(_SALT_BYTES)
    made = _scrypt(passcode.encode(), salt, _COST, _BLOCK, _TURNS)
    return f"scrypt${_COST}${_BLOCK}${_TURNS}${salt.hex()}${made.hex()}"


def is_of(digest: str, passcode: bytes) -> bool:
    """Whether a digest is that of this passcode; takes the same time whether it is or not."""
    salt, cost, block, turns, made = _parts(digest)
    return hmac.compare_digest(_scrypt(passcode, salt, cost, block, turns), made)


def _parts(digest: str) -> tuple[bytes, int, int, int, bytes]:
    _, cost, block, turns, salt, made = digest.split("$")
    return bytes.fromhex(salt), int(cost), int(block), int(turns), bytes.fromhex(made)


def _scrypt(passcode: bytes, salt: bytes, cost: int, block: int, turns: int) -> bytes:
    return hashlib.scrypt(passcode, salt=salt, n=cost, r=block, p=turns, maxmem=_MAX_MEMORY_BYTES, dklen=32)


def told_user(content: Mapping[str, Any]) -> User:
    """The person that a partner tells of. Raises: KeyError, TypeError or ValueError when it tells of none."""
    user = _user(content[column.name] for column in users.c)
    _parts(user.passcode)
    if not all(isinstance(one, str) for one in (user.name, *user.peers)):
        raise ValueError("a name of a person or peer is none")
    return user


def _unknown(name: str) -> UnknownName:
    return UnknownName(f"no user {name} is known; pacs user list shows them")


def _row(user: User) -> dict[str, Any]:
    return {
        "name": user.name,
        "passcode": user.passcode,
        "peers": json.dumps(user.peers),
        "changed_at": user.changed_at.isoformat(timespec="seconds"),
    }


def _user(row: Iterable[Any]) -> User:
    name, passcode, peers, changed_at = row
    return User(
        name=name, passcode=passcode, peers=tuple(json.loads(peers)), changed_at=datetime.fromisoformat(changed_at)
    )
