"""Queries and retrieves against the rows. Answers stream: memory does not grow with their number."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Select, and_, func, select

from pacs_server.dicom.attributes import Attribute, ItemSequence, Level
from pacs_server.dicom.queries.matching import Query
from pacs_server.dicom.queries.predicates import Predicate, alternatives
from pacs_server.dicom.queries.retrieval import RetrieveRequest
from pacs_server.errors import BadQuery
from pacs_server.index.engine import MOST_ROWS, Index, in_growing_parts
from pacs_server.index.looking import in_parts, looking
from pacs_server.index.objects import CopyRow
from pacs_server.index.queries.finding import MOST_VALUES, Forms, joined, rows_of
from pacs_server.index.queries.usual import UsualSyntaxes
from pacs_server.index.queries.view import is_conflict
from pacs_server.index.retiring import TRASH
from pacs_server.index.site_tables import deposits
from pacs_server.index.tables import copies, flags, instances, is_current, patients, series, studies
from pacs_server.index.totals import Counting

_MAX_BOUND: Final = 500  # SQLite takes 32766 parameters in one statement, older releases 999


@dataclass(frozen=True, slots=True, kw_only=True)
class Deliverable:
    """An object that can be sent: what it is, and where its copies are; or, while no good copy is here, the archive
    servers that keep it, by their AE titles.
    """

    sop_class: str
    sop_uid: str
    transfer_syntax: str
    size_bytes: int
    digest: str
    study_uid: str
    series_uid: str
    copies: tuple[CopyRow, ...]
    archives: tuple[str, ...] = ()


class Search:
    """Finds rows. May be used from any thread."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._forms = Forms(index)
        self._counting = Counting(index)
        self._usual = UsualSyntaxes(index)

    def find(
        self, query: Query, columns: Sequence[Attribute | ItemSequence], *, limit: int | None = None
    ) -> Iterator[Sequence[str | int | None]]:
        """The rows that a query selects, each with the values of `columns`. With a limit, the newest studies.

        Raises: IndexUnavailable.
        """
        for rows in self.find_in_parts(query, columns, limit=limit):
            yield from rows

    def find_in_parts(
        self, query: Query, columns: Sequence[Attribute | ItemSequence], *, limit: int | None
    ) -> Iterator[Sequence[Sequence[str | int | None]]]:
        """The same, some of them together: five at first, so that nobody waits for the first, at most 200.

        Raises: IndexUnavailable.
        """
        asked = query.level, query.predicates, columns, limit
        made = self._forms.made(*asked)
        for rows in in_parts(lambda: self._index.stream(*made) if made else self._built(*asked)):
            yield rows if columns else [()] * len(rows)  # a statement has to select something

    def _built(
        self,
        level: Level,
        predicates: Sequence[Predicate],
        columns: Sequence[Attribute | ItemSequence],
        limit: int | None,
    ) -> Iterator[Sequence[Sequence[str | int | None]]]:
        # SQLAlchemy keeps the last 500 statements that it compiled; each of 900 patterns holds 2 MB.
        is_kept = sum(map(alternatives, predicates)) <= MOST_VALUES
        options = {} if is_kept else {"compiled_cache": None}
        with self._index.read() as connection:
            streaming = connection.execution_options(stream_results=True, max_row_buffer=MOST_ROWS, **options)
            yield from in_growing_parts(streaming.execute(rows_of(level, predicates, columns, limit)).fetchmany)

    @looking
    def deliverables(self, request: RetrieveRequest) -> list[Deliverable]:
        """The current objects that a retrieve asks for, by study, series number and instance number.

        Raises: BadQuery when a patient ID names patients of two issuers; IndexUnavailable.
        Source: PS3.4 sections C.4.2 and C.4.3.
        """
        with self._index.read() as connection:
            if request.patient_ids and not request.issuers and request.level is Level.PATIENT:
                number = func.count(func.coalesce(patients.c.issuer, "").distinct())  # an ID may have several names
                issuers = select(number).where(patients.c.patient_id.in_(request.patient_ids))
                issuers = issuers.group_by(patients.c.patient_id).order_by(number.desc()).limit(1)
                if (connection.execute(issuers).scalar() or 0) > 1:
                    raise BadQuery("the patient ID names patients of two issuers: give Issuer of Patient ID")
            found: dict[int, list[Any]] = {}
            places: dict[int, list[CopyRow]] = {}
            without: list[int] = []
            for part in _parts(request):
                for row in connection.execute(_deliverable(part)):
                    found[row.id] = list(row)
                    places.setdefault(row.id, [])
                    if row.volume_id is not None:
                        places[row.id].append(CopyRow(volume_id=row.volume_id, path=row.path))
                    if row.volume_id is None or (row.is_damaged and len(places[row.id]) == 1):
                        without.append(row.id)
            archives = _archives(connection, without)
        return [_deliverable_of(row, places[row_id], archives.get(row_id, ())) for row_id, row in found.items()]

    def usual_syntax(self, sop_class: str) -> str | None:
        """The transfer syntax in which most objects of a class can be sent, and of several the one that most have; None
        when none is held.

        Raises: IndexUnavailable.
        """
        return self._usual.of(sop_class)

    @looking
    def counts(self) -> dict[str, int]:
        """How much is held, for `status`. Raises: IndexUnavailable."""
        with self._index.read() as connection:
            counted = {
                table.name: connection.execute(select(func.count()).select_from(table)).scalar_one()
                for table in (patients, studies, series, copies)
            }
            conflicts = select(func.count()).select_from(flags).where(is_conflict())
            counted["conflicts"] = connection.execute(conflicts).scalar_one()
        held = self._counting.totals()
        counted["instances"] = held.by_role["current"]
        counted["versions"] = held.by_role["version"]
        counted["in trash"] = held.by_role[TRASH]
        counted["bytes"] = held.size_bytes
        return counted


def _parts(request: RetrieveRequest) -> Iterator[RetrieveRequest]:
    """The request cut along its longest list of UIDs, so that no statement has too many parameters."""
    lists = {name: getattr(request, name) for name in ("study_uids", "series_uids", "sop_uids", "patient_ids")}
    longest = max(lists, key=lambda name: len(lists[name]))
    values = lists[longest]
    for start in range(0, max(1, len(values)), _MAX_BOUND):
        yield RetrieveRequest(
            level=request.level,
            issuers=request.issuers,
            **(lists | {longest: values[start : start + _MAX_BOUND]}),
        )


def _deliverable(request: RetrieveRequest) -> Select[Any]:
    wanted = (
        (patients.c.patient_id, request.patient_ids),
        (patients.c.issuer, request.issuers),
        (studies.c.study_uid, request.study_uids),
        (series.c.series_uid, request.series_uids),
        (instances.c.sop_uid, request.sop_uids),
    )
    conditions = [column.in_(values) for column, values in wanted if values]
    return (
        select(
            instances.c.sop_class, instances.c.sop_uid, instances.c.transfer_syntax, instances.c.size_bytes,
            instances.c.digest, studies.c.study_uid, series.c.series_uid,
            instances.c.id, copies.c.volume_id, copies.c.path, copies.c.damage.is_not(None).label("is_damaged"),
        )
        .select_from(joined(Level.IMAGE).outerjoin(copies, copies.c.instance_row == instances.c.id))
        .where(is_current(instances), and_(*conditions))
        .order_by(
            studies.c.id, series.c.series_number, series.c.id, instances.c.instance_number, instances.c.id,
            copies.c.damage.is_not(None), copies.c.id,
        )
    )  # fmt: skip


def _archives(connection: Connection, rows: Sequence[int]) -> dict[int, tuple[str, ...]]:
    """The archive servers that keep these objects, by their rows; those that did not give one back come last, because
    they may have it again.
    """
    found: dict[int, tuple[str, ...]] = {}
    same = and_(deposits.c.sop_uid == instances.c.sop_uid, deposits.c.digest == instances.c.digest)
    keeping = select(instances.c.id, deposits.c.aet).join_from(instances, deposits, same)
    keeping = keeping.order_by(deposits.c.damage.is_not(None), deposits.c.at.desc())
    for start in range(0, len(rows), _MAX_BOUND):
        for row in connection.execute(keeping.where(instances.c.id.in_(rows[start : start + _MAX_BOUND]))):
            found[row.id] = (*found.get(row.id, ()), row.aet)
    return found


def _deliverable_of(row: Sequence[Any], places: Sequence[CopyRow], archives: tuple[str, ...]) -> Deliverable:
    sop_class, sop_uid, transfer_syntax, size_bytes, digest, study_uid, series_uid = row[:7]
    return Deliverable(
        sop_class=sop_class,
        sop_uid=sop_uid,
        transfer_syntax=transfer_syntax,
        size_bytes=size_bytes,
        digest=digest,
        study_uid=study_uid,
        series_uid=series_uid,
        copies=tuple(places),
        archives=archives,
    )
