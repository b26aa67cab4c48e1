"""What archive servers keep for us, as rows: what is sent and asked for, what they keep, what is given up for it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Select, and_, delete, func, insert, literal, select, union_all, update

from pacs_server.dicom.deposits import Stub
from pacs_server.dicom.operations import OperationKind, from_text
from pacs_server.index.engine import Index
from pacs_server.index.objects import CopyRow
from pacs_server.index.releases import enter
from pacs_server.index.site_tables import depositing, deposits, operations, peers
from pacs_server.index.tables import copies, instances, is_current, series, studies

_AT_ONCE: Final = 500
_MAX_REASON_CHARACTERS: Final = 300
# In the place of the moment at which an object that is under way was sent, asked for or given back.
_EXPECTED: Final = ""
SOUND: Final = deposits.c.damage.is_(None)

# An object by its SOP Instance UID and digest.
Name = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Depositable:
    """One object of a series, and how far it is on its way to an archive server.

    `is_alone`: no other content is held under its UID, so that a commitment, which names the UID, can only mean it.
    `is_kept`: the archive server keeps it. `transaction_uid` is None before it was sent, and empty before its
    commitment is asked for.
    """

    row: int
    sop_class: str
    sop_uid: str
    digest: str
    role: str
    transfer_syntax: str
    size_bytes: int
    received_at: datetime
    day: date
    sender: str
    copies: tuple[CopyRow, ...]
    is_alone: bool
    is_kept: bool
    transaction_uid: str | None

    @property
    def name(self) -> Name:
        """What it is called in rows that outlive those of the index."""
        return self.sop_uid, self.digest

    @property
    def may_go(self) -> bool:
        """Whether an archive server may get it to keep."""
        return self.role == "current" and self.is_alone


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What one archive server keeps: so many objects, `only_there` of them without a good copy here; and how many it
    did not give back when they were asked for.
    """

    aet: str
    objects: int
    only_there: int
    not_given_back: int


class Deposits:
    """May be used from any thread, and by several processes."""

    def __init__(self, index: Index) -> None:
        self._index = index

    def of_series(self, study_uid: str, series_uid: str, aet: str) -> list[Depositable]:
        """Every object of a series, versions and what is in the trash too. Raises: IndexUnavailable."""
        others = instances.alias()
        another = select(others.c.id).where(others.c.sop_uid == instances.c.sop_uid, others.c.id != instances.c.id)
        kept, under_way = _same(deposits, aet), _same(depositing, aet)
        told = (
            select(
                instances.c.id, instances.c.sop_class, instances.c.sop_uid, instances.c.digest, instances.c.role,
                instances.c.transfer_syntax, instances.c.size_bytes, instances.c.received_at, instances.c.sender,
                studies.c.day, another.exists().label("is_beside"), deposits.c.aet.label("kept_by"),
                depositing.c.transaction_uid, copies.c.volume_id, copies.c.path,
            )
            .select_from(instances)
            .join(series)
            .join(studies)
            .outerjoin(copies, copies.c.instance_row == instances.c.id)
            .outerjoin(deposits, and_(kept, SOUND))
            .outerjoin(depositing, under_way)
            .where(studies.c.study_uid == study_uid, series.c.series_uid == series_uid)
            .order_by(instances.c.id, copies.c.id)
        )  # fmt: skip
        found: dict[int, Depositable] = {}
        with self._index.read() as connection:
            for row in connection.execute(told):
                places = found[row.id].copies if row.id in found else ()
                if row.volume_id is not None:
                    places += (CopyRow(volume_id=row.volume_id, path=row.path),)
                found[row.id] = _depositable(row, places)
        return list(found.values())

    def note_sent(self, aet: str, names: Iterable[Name], now: datetime) -> None:
        """An archive server has acknowledged objects. Raises: IndexUnavailable."""
        self._put(aet, names, "", now)

    def note_asked(self, aet: str, names: Iterable[Name], transaction_uid: str, now: datetime) -> None:
        """Commitment for objects is about to be asked for; without a transaction, it has to be.

        Raises: IndexUnavailable.
        """
        self._put(aet, names, transaction_uid, now)

    def _put(self, aet: str, names: Iterable[Name], transaction_uid: str, now: datetime) -> None:
        with self._index.write() as connection:
            for sop_uid, digest in sorted(names):
                row = {"aet": aet, "sop_uid": sop_uid, "digest": digest}
                connection.execute(delete(depositing).where(*(depositing.c[key] == row[key] for key in row)))
                values = row | {"transaction_uid": transaction_uid, "at": now.isoformat()}
                connection.execute(insert(depositing).values(values))

    def forget(self, aet: str, names: Iterable[Name]) -> None:
        """Have objects sent to an archive server anew. Raises: IndexUnavailable."""
        with self._index.write() as connection:
            for sop_uid, digest in names:
                connection.execute(delete(depositing).where(*_is(depositing, aet, (sop_uid, digest))))

    def give_up(self, rows: Sequence[int], volume_ids: Collection[str], aet: str, *, due_at: datetime) -> int:
        """Let the copies that these objects have on these volumes be copies no more, as far as the archive server keeps
        the objects at that moment, and owe the removal of their files at `due_at`; how many objects that were.

        One that meanwhile has another content beside it, or lies in the trash, stays. Raises: IndexUnavailable.
        """
        gone: set[int] = set()
        # Without the peer nothing brings them back: it was removed before, or waits for this (only_with).
        registered = select(peers.c.aet).where(peers.c.aet == aet).with_for_update(read=True)
        others = instances.alias()
        another = select(others.c.id).where(others.c.sop_uid == instances.c.sop_uid, others.c.id != instances.c.id)
        for start in range(0, len(rows), _AT_ONCE):
            wanted = (
                select(copies.c.id, copies.c.instance_row, copies.c.volume_id, copies.c.path)
                .join_from(copies, instances)
                .join(deposits, and_(_same(deposits, aet), SOUND))
                .where(
                    copies.c.instance_row.in_(rows[start : start + _AT_ONCE]),
                    copies.c.volume_id.in_(list(volume_ids)),
                    is_current(instances),
                    ~another.exists(),
                )
                .order_by(copies.c.id)
                .with_for_update(of=copies)
            )
            with self._index.write() as connection:
                if connection.execute(registered).first() is None:
                    break
                held = connection.execute(wanted).all()
                places = [(row.volume_id, row.path) for row in held]
                reason = f"kept by {aet}"
                enter(connection, self._index, places, reason=reason, due_at=due_at)
                connection.execute(delete(copies).where(copies.c.id.in_([row.id for row in held])))
            gone.update(row.instance_row for row in held)
        return len(gone)

    def expect(self, aet: str, names: Iterable[Name]) -> None:
        """An archive server is about to be asked for objects by C-MOVE, before they are given up for it.

        Raises: IndexUnavailable.
        """
        with self._index.write() as connection:
            for name in sorted(names):
                connection.execute(update(depositing).where(*_is(depositing, aet, name)).values(at=_EXPECTED))

    def came(self, aet: str, sop_uids: Sequence[str]) -> dict[str, bool]:
        """Of the objects that were expected, those that have come, and whether as they were.

        Raises: IndexUnavailable.
        """
        told = select(depositing.c.sop_uid, depositing.c.at)
        here = depositing.c.aet == aet, depositing.c.sop_uid.in_(sop_uids)
        with self._index.read() as connection:
            at = {row.sop_uid: row.at for row in connection.execute(told.where(*here))}
        return {uid: uid in at for uid in sop_uids if at.get(uid) != _EXPECTED}

    def note_given_back(self, aet: str, name: Name, now: datetime) -> None:
        """An archive server gave back an object as it was, whatever it did before. Raises: IndexUnavailable."""
        lost = *_is(deposits, aet, name), ~SOUND
        expected = *_is(depositing, aet, name), depositing.c.at == _EXPECTED
        with self._index.read() as connection:
            either = union_all(select(deposits.c.aet).where(*lost), select(depositing.c.aet).where(*expected))
            if connection.execute(either).first() is None:
                return
        with self._index.write() as connection:
            connection.execute(update(deposits).where(*lost).values(damage=None))
            connection.execute(update(depositing).where(*expected).values(at=now.isoformat()))

    def note_other(self, aet: str, sop_uid: str, reason: str) -> None:
        """An archive server that was asked for an object sent another content: it is not relied on for it any more, and
        what is under way there has to be sent anew. Raises: IndexUnavailable.
        """
        with self._index.write() as connection:
            here = deposits.c.aet == aet, deposits.c.sop_uid == sop_uid
            connection.execute(update(deposits).where(*here).values(damage=reason[:_MAX_REASON_CHARACTERS]))
            connection.execute(delete(depositing).where(depositing.c.aet == aet, depositing.c.sop_uid == sop_uid))

    def damage(self, aet: str, sop_uids: Sequence[str]) -> dict[Name, str]:
        """Of what an archive server keeps under these SOP Instance UIDs, what it did not give back, and why.

        Raises: IndexUnavailable.
        """
        told = select(deposits.c.sop_uid, deposits.c.digest, deposits.c.damage)
        here = deposits.c.aet == aet, deposits.c.sop_uid.in_(sop_uids), ~SOUND
        with self._index.read() as connection:
            return {(row.sop_uid, row.digest): row.damage for row in connection.execute(told.where(*here))}

    def note_damage(self, aet: str, name: Name, reason: str) -> None:
        """An archive server did not give back an object as it was: it is not relied on for it any more.

        Raises: IndexUnavailable.
        """
        with self._index.write() as connection:
            connection.execute(
                update(deposits).where(*_is(deposits, aet, name)).values(damage=reason[:_MAX_REASON_CHARACTERS])
            )

    def relied_on(self, sop_uids: Sequence[str]) -> set[str]:
        """Of these objects, those that some archive server keeps or is about to get to keep, so that what is here of
        them may be given up. Raises: IndexUnavailable.
        """
        either = union_all(
            select(deposits.c.sop_uid).where(deposits.c.sop_uid.in_(sop_uids), SOUND),
            select(depositing.c.sop_uid).where(depositing.c.sop_uid.in_(sop_uids)),
        )
        with self._index.read() as connection:
            return set(connection.execute(either).scalars())

    def kept(self) -> list[Kept]:
        """What every archive server keeps, by title. Raises: IndexUnavailable."""
        is_here = _good().exists()
        counted = (
            select(deposits.c.aet, SOUND.label("is_sound"), is_here.label("is_here"), func.count())
            .join_from(deposits, instances, _is_of_deposit())
            .group_by(deposits.c.aet, SOUND, is_here)
        )
        found: dict[str, list[int]] = {}
        with self._index.read() as connection:
            for aet, is_sound, here, number in connection.execute(counted):
                numbers = found.setdefault(aet, [0, 0, 0])
                numbers[0] += number if is_sound else 0
                numbers[1] += number if is_sound and not here else 0
                numbers[2] += 0 if is_sound else number
        return [
            Kept(aet=aet, objects=one[0], only_there=one[1], not_given_back=one[2])
            for aet, one in sorted(found.items())
        ]

    def without_row(self, known: Index) -> Iterator[Stub]:
        """The stubs of what archive servers keep and `known` has no row of. Raises: IndexUnavailable."""
        told = select(operations.c.content).where(operations.c.kind == OperationKind.DEPOSIT)
        with self._index.read() as connection:
            kept = {
                (row.sop_uid, row.digest) for row in connection.execute(select(deposits.c.sop_uid, deposits.c.digest))
            }
            for text in connection.execute(told.order_by(operations.c.counter, operations.c.site_id)).scalars():
                deposit = from_text(text).deposit
                stubs = [one for one in deposit.stubs if (one.sop_uid, one.digest) in kept] if deposit else []
                here = _held(known, [one.sop_uid for one in stubs])
                yield from (one for one in stubs if (one.sop_uid, one.digest) not in here)


def _is(table: Any, aet: str, name: Name) -> tuple[ColumnElement[bool], ...]:
    return table.c.aet == aet, table.c.sop_uid == name[0], table.c.digest == name[1]


def only_with(connection: Connection, aet: str) -> int:
    """How many objects an archive server keeps that have no good copy here: without it nothing brings them back. Until
    the transaction ends, nothing more is given up for it.
    """
    connection.execute(select(peers.c.aet).where(peers.c.aet == aet).with_for_update())
    kept = select(func.count()).join_from(deposits, instances, _is_of_deposit())
    return connection.execute(kept.where(deposits.c.aet == aet, SOUND, ~_good().exists())).scalar_one()


def _good() -> Select[Any]:
    """The good copies that an object has here."""
    return select(copies.c.id).where(copies.c.instance_row == instances.c.id, copies.c.damage.is_(None))


def is_deposited() -> ColumnElement[int]:
    """How many archive servers keep the object of a row of `instances`."""
    counted = select(func.count(deposits.c.aet)).where(_is_of_deposit(), SOUND)
    return counted.correlate(instances).scalar_subquery()


def _is_of_deposit() -> ColumnElement[bool]:
    return and_(deposits.c.sop_uid == instances.c.sop_uid, deposits.c.digest == instances.c.digest)


def _same(table: Any, aet: str) -> ColumnElement[bool]:
    return and_(
        table.c.aet == literal(aet), table.c.sop_uid == instances.c.sop_uid, table.c.digest == instances.c.digest
    )


def _held(index: Index, sop_uids: Sequence[str]) -> set[Name]:
    with index.read() as connection:
        rows = connection.execute(
            select(instances.c.sop_uid, instances.c.digest).where(instances.c.sop_uid.in_(sop_uids))
        )
        return {(row.sop_uid, row.digest) for row in rows}


def _depositable(row: Any, places: tuple[CopyRow, ...]) -> Depositable:
    return Depositable(
        row=row.id,
        sop_class=row.sop_class or "",
        sop_uid=row.sop_uid,
        digest=row.digest,
        role=row.role,
        transfer_syntax=row.transfer_syntax,
        size_bytes=row.size_bytes,
        received_at=datetime.fromisoformat(row.received_at),
        day=date.fromisoformat(row.day),
        sender=row.sender,
        copies=places,
        is_alone=not row.is_beside,
        is_kept=row.kept_by is not None,
        transaction_uid=row.transaction_uid,
    )
