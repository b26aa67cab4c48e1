"""Whether the person at a peer is who they say: user identity negotiation, a further factor beside title, address and
certificate, over TLS alone.

Guessing is slow: each address has so many wrong attempts in a while, and one passcode at a time is tried in a process,
in the thread of the connection that brought it. Source: PS3.7 section D.3.3.7.
"""

from __future__ import annotations

import hmac
import os
import threading
import time
from dataclasses import replace
from datetime import datetime
from hashlib import blake2b
from typing import Final

from pacs_server.dimse.access import Caller
from pacs_server.dimse.host_names import plain_address
from pacs_server.errors import NotProven
from pacs_server.index.site.peers import Identity
from pacs_server.index.site.users import NOBODYS, Users, is_of
from pacs_server.net.negotiate import (
    CONGESTION,
    IDENTITY_NOT_ACCEPTED,
    TOO_MANY_ATTEMPTS,
    AssociationRequest,
    IdentityKind,
    Rejection,
    UserIdentity,
)
from pacs_server.settings import Settings

PROOFS: Final = {Identity.PASSWORD: "a name and a passcode", Identity.JWT: "a token"}
_WANTED: Final = {Identity.PASSWORD: IdentityKind.NAME_AND_PASSCODE, Identity.JWT: IdentityKind.JSON_WEB_TOKEN}
_MOST_ADDRESSES: Final = 1_000


class Attempts:
    """Wrong attempts by address. May be used from any thread."""

    def __init__(self, most: int, pause_s: float) -> None:
        self._most, self._pause_s = most, pause_s
        self._lock = threading.Lock()
        self._failed: dict[str, tuple[int, float]] = {}  # how many, and when the first of them was

    def is_paused(self, address: str, moment: float) -> bool:
        """Whether that address has to wait. `moment` is of the monotonic clock."""
        count, since = self._failed.get(address, (0, 0.0))
        return count >= self._most and moment - since < self._pause_s

    def note(self, address: str, moment: float) -> None:
        """Count a wrong attempt. The count begins anew when the first of it is as long ago as the pause."""
        with self._lock:
            if address not in self._failed and len(self._failed) >= _MOST_ADDRESSES:
                newest = [one for one in self._failed.items() if moment - one[1][1] < self._pause_s]
                self._failed = dict(newest[1 - _MOST_ADDRESSES :])
            count, since = self._failed.get(address, (0, moment))
            if moment - since >= self._pause_s:
                count, since = 0, moment
            self._failed[address] = count + 1, since


class Authenticator:
    """Asks for a user where an admin wants one. May be used from any thread."""

    def __init__(self, settings: Settings, users: Users) -> None:
        identity = settings.identity
        self._settings, self._users = settings, users
        self._attempts = Attempts(identity.max_failures, identity.pause_s)
        self._trying = threading.Lock()
        self._patience_s = settings.network.association_timeout_s
        self._key = os.urandom(32)
        self._believed: dict[str, bytes] = {}  # by the digest of a passcode, what was shown and is that

    def admit(
        self, caller: Caller, request: AssociationRequest, *, is_over_tls: bool, now: datetime
    ) -> Caller | Rejection:
        """The caller with the person who is at it, if there has to be one.

        Raises: ConfigError when no token can be believed; IndexUnavailable.
        """
        if caller.identity is Identity.NONE:
            return caller
        if not is_over_tls:
            return _not_accepted("its user has to log in, which is done over TLS alone")
        identity = request.identity
        if identity is None or identity.kind is not _WANTED[caller.identity]:
            given = "nobody" if identity is None else identity.kind.name.lower().replace("_", " ")
            return _not_accepted(f"its user has to log in with {PROOFS[caller.identity]}; it gave {given}")
        address = str(plain_address(request.peer_address))
        if not self._trying.acquire(timeout=self._patience_s):
            return replace(CONGESTION, why="too many users log in at once")
        try:
            if self._attempts.is_paused(address, time.monotonic()):
                return replace(TOO_MANY_ATTEMPTS, why="too many wrong attempts to log in came from its address")
            try:
                return replace(caller, person=self._person(caller, identity, now))
            except NotProven as error:
                self._attempts.note(address, time.monotonic())
                return _not_accepted(str(error))
        finally:
            self._trying.release()

    def _person(self, caller: Caller, identity: UserIdentity, now: datetime) -> str:
        """Raises: NotProven; ConfigError; IndexUnavailable."""
        if caller.identity is Identity.JWT:
            return self._person_of_token(caller.aet, identity.primary, now)
        user = self._users.find(claimed_name(identity))
        if not self._is_passcode(user.passcode if user else NOBODYS, identity.secondary) or user is None:
            raise NotProven("there is no such user, or the passcode is wrong")
        if not user.may_use(caller.aet):
            raise NotProven(f"the user may not log in there: pacs user set {user.name} --peer {caller.aet}")
        return user.name

    def _person_of_token(self, aet: str, token: bytes, now: datetime) -> str:
        from pacs_server.net.tokens import TokenTrust, person_of  # 8 MB, where a token is shown and nowhere else

        told = self._settings.identity.jwt
        trust = TokenTrust(
            issuer=told.issuer,
            audience=told.audience or self._settings.aet,
            key_files=[self._settings.data_dir / file for file in told.key_files],
            user_claim=told.user_claim,
            titles_claim=told.titles_claim,
            leeway_s=told.leeway_s,
        )
        try:
            return person_of(token, trust, aet, now)
        except NotProven as error:
            raise NotProven(f"its token is not believed: {error}") from error

    def _is_passcode(self, digest: str, passcode: bytes) -> bool:
        """A passcode that was right before, and still is that of its user, costs nothing: a viewer opens an association
        for each click. What is remembered of it is of no use without a key that never leaves this process.
        """
        shown = blake2b(passcode, key=self._key).digest()
        if hmac.compare_digest(self._believed.get(digest, b""), shown):
            return True
        is_right = is_of(digest, passcode)
        if is_right:
            self._believed[digest] = shown
        return is_right


def claimed_name(identity: UserIdentity | None) -> str:
    """The name under which somebody wants to log in; empty where only a token would tell, or it is no text."""
    if identity is None or identity.kind not in (IdentityKind.NAME, IdentityKind.NAME_AND_PASSCODE):
        return ""
    try:
        return identity.primary.decode("utf-8")
    except UnicodeDecodeError:
        return ""


def _not_accepted(why: str) -> Rejection:
    return replace(IDENTITY_NOT_ACCEPTED, why=why)
