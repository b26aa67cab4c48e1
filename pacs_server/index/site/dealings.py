"""What a peer did here lately: what it sent and how that was read, when it called last, what it was refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import Select, func, or_, select

from pacs_server.dicom.audit import EventKind, EventOutcome
from pacs_server.index.engine import Index
from pacs_server.index.site_tables import audit
from pacs_server.index.tables import flags, instances, is_current, series, studies

# Of all that came, so that it stays cheap with ten million objects, of which no index knows the sender.
NEWEST: Final = 20_000
_MOST_STUDIES: Final = 500
_MOST_REFUSALS: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class SentStudy:
    """A study that a peer sent: its date and time as the peer said them, and when its newest object came."""

    study_date: str
    study_time: str
    received_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """What came from one peer among the newest objects. `flagged` counts studies by what was flagged of them."""

    studies: Sequence[SentStudy]
    flagged: dict[str, int]


class Dealings:
    """May be used from any thread."""

    def __init__(self, index: Index) -> None:
        self._index = index

    def sent(self, aet: str) -> Sent:
        """What a peer sent. Raises: IndexUnavailable."""
        newest = _newest().subquery()
        own = newest.c.sender == aet
        latest = func.max(newest.c.received_at)
        dated = (
            select(studies.c.id, studies.c.study_date, studies.c.study_time, latest)
            .join_from(newest, series, newest.c.series_row == series.c.id)
            .join(studies, series.c.study_row == studies.c.id)
            .where(own)
            .group_by(studies.c.id, studies.c.study_date, studies.c.study_time)
            .order_by(latest.desc())
            .limit(_MOST_STUDIES)
        )
        with self._index.read() as connection:
            rows = connection.execute(dated).all()
            about = or_(flags.c.instance_row == 0, flags.c.instance_row.in_(select(newest.c.id).where(own)))
            kinds = select(flags.c.kind, func.count(flags.c.study_row.distinct())).where(
                flags.c.study_row.in_([row[0] for row in rows]), about
            )
            flagged: dict[str, int] = {}
            for told, count in connection.execute(kinds.group_by(flags.c.kind)):
                kind = told.partition(":")[0]  # an unknown character set is named behind it
                flagged[kind] = max(count, flagged.get(kind, 0))
        return Sent(
            studies=[
                SentStudy(study_date=date or "", study_time=time or "", received_at=datetime.fromisoformat(at))
                for _, date, time, at in rows
            ],
            flagged=flagged,
        )

    def kinds(self) -> list[tuple[str, str, int]]:
        """SOP class, transfer syntax and number of the newest objects, the most frequent first.

        Raises: IndexUnavailable.
        """
        newest = _newest().subquery()
        counted = select(newest.c.sop_class, newest.c.transfer_syntax, func.count())
        counted = counted.group_by(newest.c.sop_class, newest.c.transfer_syntax).order_by(func.count().desc())
        with self._index.read() as connection:
            return [(kind, syntax, number) for kind, syntax, number in connection.execute(counted)]

    def last_deed(self, aet: str, since: datetime) -> datetime | None:
        """When a peer did something last that was not refused. Raises: IndexUnavailable."""
        done = audit.c.who == aet, audit.c.outcome != EventOutcome.REFUSED.value
        latest = select(audit.c.at).where(*done, audit.c.at >= since.isoformat()).order_by(audit.c.at.desc()).limit(1)
        with self._index.read() as connection:
            found = connection.execute(latest).scalar()
        return datetime.fromisoformat(found) if found else None

    def times_stored(self, study_uid: str, since: datetime) -> int:
        """How often objects of a study came since then, held before or not, by the clocks of the nodes that took them.

        Raises: IndexUnavailable.
        """
        stored = audit.c.event == EventKind.STORE.value, audit.c.outcome != EventOutcome.REFUSED.value
        came = select(func.count()).where(*stored, audit.c.study_uid == study_uid, audit.c.at >= since.isoformat())
        with self._index.read() as connection:
            return connection.execute(came).scalar_one()

    def refused_services(self, aet: str, since: datetime) -> list[str]:
        """The SOP classes for which a peer asked, and has no right. Raises: IndexUnavailable."""
        refused = audit.c.event == EventKind.ASSOCIATION.value, audit.c.outcome == EventOutcome.REFUSED.value
        told = select(audit.c.detail).distinct().where(*refused, audit.c.who == aet, audit.c.at >= since.isoformat())
        prefix = "not allowed: "
        with self._index.read() as connection:
            details = connection.execute(
                told.where(audit.c.detail.startswith(prefix)).order_by(audit.c.detail).limit(_MOST_REFUSALS)
            ).scalars()
            return sorted({uid for detail in details for uid in detail.removeprefix(prefix).split()})


def _newest() -> Select[tuple[int, str, str, str, int, str]]:
    columns = (
        instances.c.id,
        instances.c.sender,
        instances.c.received_at,
        instances.c.sop_class,
        instances.c.series_row,
        instances.c.transfer_syntax,
    )
    return select(*columns).where(is_current(instances)).order_by(instances.c.id.desc()).limit(NEWEST)
