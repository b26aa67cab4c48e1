"""What admins decide while the archive runs: peers, volumes, policy. Every look-up sees the latest committed state."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import Connection, Row, bindparam, delete, insert, select, update

from pacs_server.errors import Refused, UnknownName
from pacs_server.index.deposits import only_with
from pacs_server.index.engine import Index
from pacs_server.index.site.peers import Peer, as_row, of_row
from pacs_server.index.site_entries import (
    forget,
    put,
    value_of,
    value_to_change,
    values_below,
    writing_in_turn,
)
from pacs_server.index.site_tables import peers, site, volumes
from pacs_server.index.statements import HotStatement

_POLICY: Final = "policy"
_REVISION: Final = "revision"
_BACKED_UP: Final = "backup "
_SURVIVAL: Final = "survival"
# In front of the id of a volume that was removed; what was still on its way there is not recorded.
REMOVED_VOLUME: Final = "removed volume "


# So many damaged copies in one day are not chance: nothing new is entrusted to the volume until a person looked at it,
# or they are whole after all.
MANY_DAMAGED: Final = 10


class VolumeMode(StrEnum):
    """What an admin lets be done with a volume."""

    NORMAL = "normal"
    READ_ONLY = "read-only"
    DRAINING = "draining"


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeRow:
    """A volume as the site knows it. It takes nothing new when more than `high_water` percent of it is used; rules that
    make room on it go on until no more than `low_water` percent is.

    `damaged_count` is how many copies were found damaged on the day `damaged_on`, without those that were found whole
    since. Once they are many no new day begins, until an admin trusts the volume again or they were whole after all.
    `path` may be s3://BUCKET/PREFIX; the last three belong to that.
    """

    id: str
    name: str
    path: str
    tier: str
    domain: str
    mode: VolumeMode = VolumeMode.NORMAL
    high_water: int = 100
    low_water: int = 100
    damaged_count: int = 0
    damaged_on: str = ""
    endpoint: str = ""
    region: str = ""
    credentials_file: str = ""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Policies:
    """The policy of the site, and by AE title those of peers with one of their own."""

    usual: Policy
    of_peers: Mapping[str, Policy]

    def of(self, aet: str) -> Policy:
        """The policy for what this peer sends."""
        return self.of_peers.get(aet, self.usual)

    @property
    def greatest_want(self) -> int:
        """The most copies that any of them wants."""
        return max(policy.want for policy in (self.usual, *self.of_peers.values()))


class Registry:
    """Peers, volumes and policy. May be used from any thread."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._find_peer = HotStatement(index, select(*peers.c).where(peers.c.aet == bindparam("title")))
        self._find_reserved = HotStatement(index, select(peers.c.aet, peers.c.reserved).where(peers.c.reserved > 0))
        self._find_revision = HotStatement(index, select(site.c.value).where(site.c.name == bindparam("entry")))

    def peers(self) -> list[Peer]:
        """All peers, by title. Raises: IndexUnavailable."""
        with self._index.read() as connection:
            return [of_row(row) for row in connection.execute(select(*peers.c).order_by(peers.c.aet))]

    def peer(self, aet: str) -> Peer | None:
        """The peer of that title. Raises: IndexUnavailable."""
        rows = self._find_peer.rows(title=str(aet))
        return of_row(rows[0]) if rows else None

    def known_peer(self, aet: str) -> Peer:
        """The peer of that title. Raises: UnknownName when there is none; IndexUnavailable."""
        if (peer := self.peer(aet)) is None:
            raise _unknown_peer(aet)
        return peer

    def reserved(self) -> dict[str, int]:
        """For how many associations of which peers room is kept. Raises: IndexUnavailable."""
        return {str(aet): int(number) for aet, number in self._find_reserved.rows()}

    def add_peer(self, peer: Peer) -> None:
        """Add a peer. Raises: Refused when one has its title; IndexUnavailable."""
        with self._index.write() as connection:
            added = self._index.insert(peers).values(as_row(peer)).on_conflict_do_nothing()
            if not connection.execute(added).rowcount:
                raise Refused(f"{peer.aet} is registered already; change it with: pacs ae set {peer.aet}")

    def change_peer(self, aet: str, change: Callable[[Peer], Peer]) -> Peer:
        """Make of a peer what `change` makes of what is registered of it, and answer that; nobody else changes it
        between.

        Raises: UnknownName when there is none of that title; IndexUnavailable; what `change` raises.
        """
        its = peers.c.aet == str(aet)
        with self._index.write() as connection:
            row = connection.execute(select(*peers.c).where(its).with_for_update()).first()
            if row is None:
                raise _unknown_peer(aet)
            changed = change(of_row(row))
            connection.execute(update(peers).where(its).values(_changed_row(row, changed)))
        return changed

    def save_peer(self, peer: Peer, *, replaces: bool = True) -> Peer | None:
        """Add a peer, or have it replace the one of its title; answers what is registered of that before, None when
        there is none. Raises: IndexUnavailable.
        """
        its = peers.c.aet == str(peer.aet)
        with self._index.write() as connection:
            added = self._index.insert(peers).values(as_row(peer)).on_conflict_do_nothing()
            if connection.execute(added).rowcount:
                return None
            row = connection.execute(select(*peers.c).where(its).with_for_update()).one()
            if replaces and of_row(row) != peer:
                connection.execute(update(peers).where(its).values(_changed_row(row, peer)))
        return of_row(row)

    def remove_peer(self, aet: str, *, rehearse: bool = False) -> None:
        """Remove a peer, or only say why that cannot be.

        Raises: UnknownName when there is none of that title; Refused when it alone keeps objects; IndexUnavailable.
        """
        # A rehearsal changes nothing, so it is no transaction that the audit trail tells of.
        with self._index.read() if rehearse else self._index.write() as connection:
            if kept := only_with(connection, aet):
                raise Refused(f"{aet} keeps {kept} objects that have no copy here; without it nothing brings them back")
            if connection.execute(select(peers.c.aet).where(peers.c.aet == str(aet))).first() is None:
                raise _unknown_peer(aet)
            if not rehearse:
                connection.execute(delete(peers).where(peers.c.aet == str(aet)))

    def volumes(self) -> list[VolumeRow]:
        """All volumes, by name. Raises: IndexUnavailable."""
        with self._index.read() as connection:
            rows = connection.execute(select(*volumes.c).order_by(volumes.c.name)).mappings()
            return [VolumeRow(**{**row, "mode": VolumeMode(row["mode"])}) for row in rows]

    def add_volume(self, row: VolumeRow) -> None:
        """Add a volume. Raises: Refused when its name or id is taken; IndexUnavailable."""
        with writing_in_turn(self._index, "volumes") as connection:
            taken = connection.execute(
                select(volumes.c.name, volumes.c.path).where((volumes.c.id == row.id) | (volumes.c.name == row.name))
            ).first()
            if taken:
                raise Refused(f"this volume is known already, as {taken.name} at {taken.path}; nothing was changed")
            connection.execute(insert(volumes).values(asdict(row)))
            forget(connection, f"{REMOVED_VOLUME}{row.id}")
            note_change(connection)

    def change_volume(self, volume_id: str, changes: Mapping[str, object]) -> None:
        """Change these facts of a volume, by their names; others may have changed the rest since they were read. One
        that was closed to be removed is to stay.

        Raises: Refused when its new name is taken; UnknownName when it was removed meanwhile; IndexUnavailable.
        """
        with writing_in_turn(self._index, "volumes") as connection:
            taken = select(volumes.c.id).where(volumes.c.name == changes.get("name"), volumes.c.id != volume_id)
            if connection.execute(taken).first():
                raise Refused(f"another volume has the name {changes['name']}; nothing was changed")
            if not connection.execute(update(volumes).where(volumes.c.id == volume_id).values(**changes)).rowcount:
                raise _removed_meanwhile()
            forget(connection, f"{REMOVED_VOLUME}{volume_id}")
            note_change(connection)

    def close_volume(self, volume_id: str) -> VolumeMode:
        """Let nothing new go to a volume that is about to be removed; answers what went there before. What is being
        written there at this moment is not recorded any more.

        Raises: UnknownName when it was removed meanwhile; IndexUnavailable.
        """
        here = volumes.c.id == volume_id
        with self._index.write_alone() as connection:
            if (mode := connection.execute(select(volumes.c.mode).where(here)).scalar()) is None:
                raise _removed_meanwhile()
            connection.execute(update(volumes).where(here).values(mode=VolumeMode.DRAINING))
            _note_removed(connection, volume_id)
        return VolumeMode(mode)

    def reopen_volume(self, volume_id: str, mode: VolumeMode) -> None:
        """Let a volume that was closed stay after all, as it was before; or as somebody has set it meanwhile.

        Raises: IndexUnavailable.
        """
        with writing_in_turn(self._index, "volumes") as connection:
            if forget(connection, f"{REMOVED_VOLUME}{volume_id}"):
                connection.execute(update(volumes).where(volumes.c.id == volume_id).values(mode=mode))
                note_change(connection)

    def remove_volume(self, volume_id: str) -> None:
        """Forget a volume. What is being written there at this moment is not recorded any more.

        Raises: IndexUnavailable.
        """
        with self._index.write_alone() as connection:
            connection.execute(delete(volumes).where(volumes.c.id == volume_id))
            _note_removed(connection, volume_id)

    def policies(self) -> Policies:
        """The policy of the site, and those of peers that have one of their own. Raises: IndexUnavailable."""
        with self._index.read() as connection:
            told = values_below(connection, _POLICY)
        found = {name.removeprefix(":"): Policy(**json.loads(one)) for name, one in told.items()}
        return Policies(usual=found.pop("", Policy()), of_peers=found)

    def change_policy(self, changes: Mapping[str, int], *, aet: str = "") -> Policy:
        """Change these numbers of the policy of the site, or of one peer, which is that of the site at first; answer
        what it is then.

        Raises: Refused when they contradict each other; IndexUnavailable.
        """
        name = f"{_POLICY}:{aet}" if aet else _POLICY
        with self._index.write() as connection:
            told = value_to_change(connection, name) or value_of(connection, _POLICY) or "{}"
            changed = Policy(**(json.loads(told) | changes))
            put(connection, name, json.dumps(asdict(changed)))
            note_change(connection)
        return changed

    def set_policy(self, policy: Policy | None, *, aet: str = "") -> None:
        """Set the policy of the site or of one peer; None for a peer lets it follow the site's.

        Raises: IndexUnavailable.
        """
        name = f"{_POLICY}:{aet}" if aet else _POLICY
        with self._index.write() as connection:
            if policy is None:
                forget(connection, name)
            else:
                put(connection, name, json.dumps(asdict(policy)))
            note_change(connection)

    def last_backups(self) -> Mapping[str, str]:
        """Where this archive was backed up to, and when that last succeeded. Raises: IndexUnavailable."""
        with self._index.read() as connection:
            return values_below(connection, _BACKED_UP)

    def note_backup(self, path: str, taken_at: datetime) -> None:
        """A backup of that moment is complete at a path. Raises: IndexUnavailable."""
        with self._index.write() as connection:
            put(connection, f"{_BACKED_UP}{path}", taken_at.isoformat(timespec="seconds"))

    def survival(self) -> dict[str, Any] | None:
        """What was noted last by `note_survival`. Raises: IndexUnavailable."""
        with self._index.read() as connection:
            noted = value_of(connection, _SURVIVAL)
        return dict(json.loads(noted)) if noted else None

    def note_survival(self, facts: Mapping[str, object]) -> None:
        """Note how many losses the site survives, so that it is told without counting. Raises: IndexUnavailable."""
        with self._index.write() as connection:
            put(connection, _SURVIVAL, json.dumps(dict(facts)))

    def revision(self) -> int:
        """A number that grows with every change of volumes, policy or fields. Raises: IndexUnavailable."""
        rows = self._find_revision.rows(entry=_REVISION)
        return int(rows[0][0]) if rows else 0


def note_change(connection: Connection) -> None:
    """Let running servers see that volumes, policy or fields are others now."""
    counted = int(value_to_change(connection, _REVISION) or 0)  # two nodes may count at the same time
    put(connection, _REVISION, str(counted + 1))


def _note_removed(connection: Connection, volume_id: str) -> None:
    put(connection, f"{REMOVED_VOLUME}{volume_id}", "")
    note_change(connection)


def _changed_row(row: Row[Any], changed: Peer) -> dict[str, Any]:
    """A peer whose rights nobody changed keeps those of a later release too, which a partner told."""
    kept = {"rights": row.rights} if changed.rights == of_row(row).rights else {}
    return as_row(changed) | kept


def _removed_meanwhile() -> UnknownName:
    return UnknownName("the volume was removed meanwhile; pacs storage list shows those there are")


def _unknown_peer(aet: str) -> UnknownName:
    return UnknownName(f"no peer {aet} is registered; pacs ae list shows them")
