"""What can be deleted, and what is in the trash."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

from sqlalchemy import Select, func, select, text, tuple_

from pacs_server.dicom.attributes import Level
from pacs_server.dicom.operations import Content
from pacs_server.dicom.queries.predicates import Predicate
from pacs_server.index.engine import Index
from pacs_server.index.jobs import JobKind
from pacs_server.index.queries.criteria import criterion
from pacs_server.index.queries.finding import joined
from pacs_server.index.retiring import TRASH
from pacs_server.index.site_tables import fates, holds, jobs, operations, partners
from pacs_server.index.tables import instances, is_current, patients, series, studies

# To the letter of the partial index, so that SQLite reads the few rows of the trash and not every instance.
_IS_TRASHED: Final = text("fates.fate = 'trashed'")
_STUDIES_AT_ONCE: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """One content of a study. `made_on` is the day of its study, or that on which it came here if that is later;
    `trashed_at` is when it was deleted, None when it was not, and `trashed_by` the counter of that operation. Its
    series is owed to the partner `owed_to`, or to none if that is empty.
    """

    study_uid: str
    content: Content
    size_bytes: int
    is_held_back: bool
    made_on: date
    trashed_at: datetime | None = None
    trashed_by: int = 0
    owed_to: str = ""


class Trash:
    """May be used from any thread."""

    def __init__(self, index: Index) -> None:
        self._index = index

    def found(self, predicates: Iterable[Predicate]) -> list[Held]:
        """The objects that a query finds, with the other contents that their studies have under their UIDs.

        Raises: IndexUnavailable.
        """
        conditions = [criterion(predicate, Level.IMAGE) for predicate in predicates]
        current = select(instances.c.sop_uid, series.c.study_row).select_from(joined(Level.IMAGE)).correlate(None)
        wanted = current.where(is_current(instances), *conditions)
        here = tuple_(instances.c.sop_uid, series.c.study_row)
        return self._held(_contents().where(here.in_(wanted), instances.c.role != TRASH))

    def trashed(self, predicates: Iterable[Predicate] = ()) -> list[Held]:
        """The objects in the trash that a query would find if they were not. Raises: IndexUnavailable."""
        conditions = [criterion(predicate, Level.IMAGE, in_trash=True) for predicate in predicates]
        return self._held(_contents().where(instances.c.role == TRASH, _IS_TRASHED, *conditions))

    def in_portions(self) -> Iterator[list[Held]]:
        """All objects in the trash, those of some studies at a time: memory does not grow with the trash.

        Raises: IndexUnavailable.
        """
        decided = select(fates.c.study_uid).distinct().where(_IS_TRASHED).order_by(fates.c.study_uid)
        uids = [""]
        while uids:
            with self._index.read() as connection:
                behind = decided.where(fates.c.study_uid > uids[-1]).limit(_STUDIES_AT_ONCE)
                uids = list(connection.execute(behind).scalars())
            if uids:
                of_them = studies.c.study_uid.in_(uids)
                yield self._held(_contents().where(instances.c.role == TRASH, _IS_TRASHED, of_them))

    def _held(self, statement: Select[Any]) -> list[Held]:
        with self._index.read() as connection:
            return [_held(row) for row in connection.execute(statement.order_by(studies.c.id, instances.c.id))]

    def summary(self) -> list[dict[str, Any]]:
        """The studies of which something is in the trash, that which was deleted last first: what, by whom, why.

        Raises: IndexUnavailable.
        """
        told = (
            select(
                studies.c.study_uid, patients.c.patient_id, patients.c.patient_name, studies.c.study_date,
                func.count().label("objects"), func.sum(instances.c.size_bytes).label("size_bytes"),
                fates.c.at, operations.c.who, operations.c.reason,
                func.max(holds.c.study_uid).is_not(None).label("on_hold"),
            )
            .select_from(_with_fates())
            .join(operations, (operations.c.counter == fates.c.counter) & (operations.c.site_id == fates.c.site_id))
            .where(instances.c.role == TRASH, _IS_TRASHED)
            .group_by(
                studies.c.study_uid, patients.c.patient_id, patients.c.patient_name, studies.c.study_date,
                fates.c.at, operations.c.who, operations.c.reason,
            )
            .order_by(fates.c.at.desc(), studies.c.study_uid)
        )  # fmt: skip
        with self._index.read() as connection:
            return [dict(row) for row in connection.execute(told).mappings()]

    def uids_of_studies(self, predicates: Sequence[Predicate]) -> list[str]:
        """The studies that a query finds, also those of which everything is in the trash. Raises: IndexUnavailable."""
        conditions = [criterion(predicate, Level.IMAGE, in_trash=True) for predicate in predicates]
        found = select(studies.c.study_uid).distinct().select_from(joined(Level.IMAGE)).where(*conditions)
        with self._index.read() as connection:
            return list(connection.execute(found.order_by(studies.c.study_uid)).scalars())


def _with_fates() -> Any:
    decided = (fates.c.sop_uid == instances.c.sop_uid) & (fates.c.digest == instances.c.digest)
    return (
        joined(Level.IMAGE)
        .outerjoin(fates, decided & _IS_TRASHED)
        .outerjoin(holds, holds.c.study_uid == studies.c.study_uid)
    )


def _contents() -> Select[Any]:
    of_series = jobs.c.study_uid == studies.c.study_uid, jobs.c.series_uid == series.c.series_uid
    owed = select(func.min(partners.c.name)).join_from(jobs, partners, jobs.c.target == partners.c.name)
    owed = owed.where(jobs.c.kind == JobKind.REPLICATE.value, partners.c.aet != "", *of_series)
    return select(
        studies.c.study_uid, studies.c.study_date, studies.c.last_received_at,
        instances.c.sop_uid, instances.c.digest, instances.c.role, instances.c.size_bytes,
        holds.c.at.label("held_since"), fates.c.at.label("trashed_at"), fates.c.counter.label("trashed_by"),
        owed.scalar_subquery().label("owed_to"),
    ).select_from(_with_fates())  # fmt: skip


def _held(row: Any) -> Held:
    return Held(
        study_uid=row.study_uid,
        content=Content(sop_uid=row.sop_uid, digest=row.digest, role="" if row.role == TRASH else row.role),
        size_bytes=row.size_bytes,
        is_held_back=row.held_since is not None,
        made_on=max(_day(row.study_date), datetime.fromisoformat(row.last_received_at).date()),
        trashed_at=datetime.fromisoformat(row.trashed_at) if row.trashed_at else None,
        trashed_by=row.trashed_by or 0,
        owed_to=row.owed_to or "",
    )


def _day(text: str | None) -> date:
    try:
        return date.fromisoformat(text or "")
    except ValueError:
        return date.min
