"""What admins decide while the archive runs: peers, volumes, policy. Every look-up sees the latest committed state."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from pacs_server.dicom.identity import AeTitle
from pacs_server.errors import Refused, UnknownName
from pacs_server.index.engine import Index
from pacs_server.index.statements import Statement
from pacs_server.index.tables import peers, site, volumes

_POLICY: Final = "policy"
_REVISION: Final = "revision"


class Right(StrEnum):
    """What a peer may do here."""

    ECHO = "echo"
    STORE = "store"
    FIND = "find"
    GET = "get"
    MOVE = "move"


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A registered application entity. `host` and `port` are None for one that only calls; `sources` are the addresses,
    CIDR blocks and host names it may call from. `max_answers`: of one query, 0 for as many as the settings allow;
    `combines_moments`: its dates and times are one range, as if it had negotiated that.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeRow:
    """A volume as the site knows it."""

    id: str
    name: str
    path: str
    tier: str
    domain: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How many copies: wanted in the end, needed before success, and the floor when volumes fail.

    Raises: Refused unless 1 <= degraded <= need <= want.
    """

    want: int = 1
    need: int = 1
    degraded: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.degraded <= self.need <= self.want:
            raise Refused(
                f"a policy of want {self.want}, need {self.need}, degraded {self.degraded} contradicts itself: "
                "1 <= degraded <= need <= want"
            )


class Registry:
    """Peers, volumes and policy. May be used from any thread."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._find_peer = Statement(index, select(*peers.c).where(peers.c.aet == bindparam("title")))
        self._find_revision = Statement(index, select(site.c.value).where(site.c.name == bindparam("entry")))

    def peers(self) -> list[Peer]:
        """All peers, by title. Raises: IndexUnavailable."""
        with self._index.read() as connection:
            return [_peer(row) for row in connection.execute(select(*peers.c).order_by(peers.c.aet))]

    def peer(self, aet: str) -> Peer | None:
        """The peer of that title. Raises: IndexUnavailable."""
        rows = self._find_peer.rows(title=str(aet))
        return _peer(rows[0]) if rows else None

    def save_peer(self, peer: Peer) -> None:
        """Add a peer, or replace the one of its title. Raises: IndexUnavailable."""
        values = {
            "aet": str(peer.aet),
            "host": peer.host,
            "port": peer.port,
            "rights": json.dumps(sorted(peer.rights)),
            "sources": json.dumps(peer.sources),
            "issuer": peer.issuer,
            "charset": peer.charset,
            "max_answers": peer.max_answers,
            "combines_moments": int(peer.combines_moments),
        }
        with self._index.write() as connection:
            connection.execute(delete(peers).where(peers.c.aet == values["aet"]))
            connection.execute(insert(peers).values(values))

    def remove_peer(self, aet: str) -> None:
        """Remove a peer. Raises: UnknownName when there is none of that title; IndexUnavailable."""
        with self._index.write() as connection:
            if connection.execute(delete(peers).where(peers.c.aet == str(aet))).rowcount == 0:
                raise UnknownName(f"no peer has the AE title {aet}; pacs ae list shows those there are")

    def volumes(self) -> list[VolumeRow]:
        """All volumes, by name. Raises: IndexUnavailable."""
        with self._index.read() as connection:
            rows = connection.execute(select(*volumes.c).order_by(volumes.c.name))
            return [VolumeRow(id=r.id, name=r.name, path=r.path, tier=r.tier, domain=r.domain) for r in rows]

    def add_volume(self, row: VolumeRow) -> None:
        """Add a volume. Raises: Refused when its name or id is taken; IndexUnavailable."""
        with self._index.write() as connection:
            taken = connection.execute(
                select(volumes.c.name, volumes.c.path).where((volumes.c.id == row.id) | (volumes.c.name == row.name))
            ).first()
            if taken:
                raise Refused(f"this volume is known already, as {taken.name} at {taken.path}; nothing was changed")
            values = {"id": row.id, "name": row.name, "path": row.path, "tier": row.tier, "domain": row.domain}
            connection.execute(insert(volumes).values(values))
            note_change(connection)

    def policy(self) -> Policy:
        """The policy of the site. Raises: IndexUnavailable."""
        rows = self._find_revision.rows(entry=_POLICY)
        return Policy(**json.loads(rows[0][0])) if rows else Policy()

    def revision(self) -> int:
        """A number that grows with every change of volumes, policy or fields. Raises: IndexUnavailable."""
        rows = self._find_revision.rows(entry=_REVISION)
        return int(rows[0][0]) if rows else 0


def _peer(row: Iterable[Any]) -> Peer:
    aet, host, port, rights, sources, issuer, charset, max_answers, combines_moments = row
    return Peer(
        aet=AeTitle(aet),
        host=host,
        port=port,
        rights=frozenset(Right(right) for right in json.loads(rights)),
        sources=tuple(json.loads(sources)),
        issuer=issuer,
        charset=charset,
        max_answers=max_answers,
        combines_moments=bool(combines_moments),
    )


def note_change(connection: Connection) -> None:
    """Let running servers see that volumes, policy or fields are others now."""
    found = connection.execute(select(site.c.value).where(site.c.name == _REVISION)).scalar()
    if found is None:
        connection.execute(insert(site).values(name=_REVISION, value="1"))
    else:
        connection.execute(update(site).where(site.c.name == _REVISION).values(value=str(int(found) + 1)))
