"""Application entities that a site knows: what is registered about one, as a value and as a row."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from pacs_server.dicom.identity import AeTitle


class Identity(StrEnum):
    """Who has to be at a peer, besides what it is: nobody in particular, a person with a passcode, or with a token."""

    NONE = "none"
    PASSWORD = "password"
    JWT = "jwt"


class Right(StrEnum):
    """What a peer may do here."""

    ECHO = "echo"
    STORE = "store"
    FIND = "find"
    GET = "get"
    MOVE = "move"
    COMMIT = "commit"


_RIGHTS: Final = frozenset(right.value for right in Right)


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A registered application entity. `host` and `port` are None for one that only calls; `sources` are the addresses,
    CIDR blocks and host names it may call from. `max_answers`: of one query, 0 for as many as the settings allow;
    `combines_moments`: its dates and times are one range, as if it had negotiated that. `associations`: with how many
    at once we send to it; `syntax`: the transfer syntax in which it wants what is stored uncompressed, `uncompressed`
    when it can take nothing else, or empty. `certificate`: the SHA-256 fingerprint of the only one with which it is
    spoken to, or empty; `uses_tls`: it is called over TLS. `called`: titles besides our own by which it may call us;
    `destinations`: the only peers to which it may have something moved, or empty. `max_associations`: how many it may
    have open at once, 0 for as many as there is room for; `reserved`: for how many of those room is kept. `identity`:
    who has to be at it. `as_user`, `passcode_file`: the user as whom it is called, over TLS alone, or empty.
    """

    aet: AeTitle
    host: str | None
    port: int | None
    rights: frozenset[Right]
    sources: tuple[str, ...]
    issuer: str = ""
    charset: str = ""
    max_answers: int = 0
    combines_moments: bool = False
    associations: int = 1
    syntax: str = ""
    certificate: str = ""
    uses_tls: bool = False
    called: tuple[str, ...] = ()
    destinations: tuple[str, ...] = ()
    max_associations: int = 0
    reserved: int = 0
    identity: Identity = Identity.NONE
    as_user: str = ""
    passcode_file: str = ""


def as_row(peer: Peer) -> dict[str, Any]:
    """The values of the columns of a peer, by their names."""
    return {
        "aet": str(peer.aet),
        "host": peer.host,
        "port": peer.port,
        "rights": json.dumps(sorted(peer.rights)),
        "sources": json.dumps(peer.sources),
        "issuer": peer.issuer,
        "charset": peer.charset,
        "max_answers": peer.max_answers,
        "combines_moments": int(peer.combines_moments),
        "associations": peer.associations,
        "syntax": peer.syntax,
        "certificate": peer.certificate,
        "uses_tls": int(peer.uses_tls),
        "called": json.dumps(peer.called),
        "destinations": json.dumps(peer.destinations),
        "max_associations": peer.max_associations,
        "reserved": peer.reserved,
        "identity": "" if peer.identity is Identity.NONE else peer.identity.value,
        "as_user": peer.as_user,
        "passcode_file": peer.passcode_file,
    }


def of_row(row: Iterable[Any]) -> Peer:
    """The peer of a row, whose values are in the order of the columns."""
    (
        aet, host, port, rights, sources, issuer, charset, max_answers, combines_moments, associations, syntax,
        certificate, uses_tls, called, destinations, max_associations, reserved, identity, as_user, passcode_file,
    ) = row  # fmt: skip
    return Peer(
        aet=AeTitle(aet),
        host=host,
        port=port,
        # What a partner of a later release lets a peer do, and this one cannot, is no reason to turn it away.
        rights=frozenset(Right(right) for right in json.loads(rights) if right in _RIGHTS),
        sources=tuple(json.loads(sources)),
        issuer=issuer,
        charset=charset,
        max_answers=max_answers,
        combines_moments=bool(combines_moments),
        associations=associations,
        syntax=syntax,
        certificate=certificate,
        uses_tls=bool(uses_tls),
        called=tuple(json.loads(called)),
        destinations=tuple(json.loads(destinations)),
        max_associations=max_associations,
        reserved=reserved,
        identity=Identity(identity or Identity.NONE),
        as_user=as_user,
        passcode_file=passcode_file,
    )
