"""Studies as forwarding sees them: when something arrived last, and which ones a patient had before."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime

from sqlalchemy import func, select

from pacs_server.dicom.attributes import BY_KEYWORD, Level
from pacs_server.errors import BadQuery
from pacs_server.index.engine import Index
from pacs_server.index.tables import patients, series, studies


class Studies:
    """May be used from any thread."""

    def __init__(self, index: Index) -> None:
        self._index = index

    def last_received_at(self, study_uid: str) -> datetime | None:
        """When something of a study arrived last; None when it is not held. Raises: IndexUnavailable."""
        with self._index.read() as connection:
            named = select(studies.c.last_received_at).where(studies.c.study_uid == study_uid)
            found = connection.execute(named).scalar()
        return datetime.fromisoformat(found) if found else None

    def newest(self, *, limit: int) -> list[str]:
        """The UIDs of the studies of which something arrived last. Raises: IndexUnavailable."""
        named = select(studies.c.study_uid).where(studies.c.instance_count > 0)
        with self._index.read() as connection:
            return list(connection.execute(named.order_by(studies.c.id.desc()).limit(limit)).scalars())

    def series_since(self, moment: datetime) -> list[tuple[str, str]]:
        """The series of the studies of which something arrived since then, each by the UIDs of study and series.

        Raises: IndexUnavailable.
        """
        named = (
            select(studies.c.study_uid, series.c.series_uid)
            .join(series, series.c.study_row == studies.c.id)
            .where(studies.c.last_received_at >= moment.isoformat(), series.c.instance_count > 0)
            .order_by(studies.c.id, series.c.id)
        )
        with self._index.read() as connection:
            return [(row.study_uid, row.series_uid) for row in connection.execute(named)]

    def first_day(self) -> date | None:
        """The earliest date of a study; None when none has one. Raises: IndexUnavailable."""
        with self._index.read() as connection:
            first = connection.execute(select(func.min(studies.c.study_date))).scalar()
        try:
            return date.fromisoformat(first) if first else None
        except ValueError:
            return date.min

    def undated(self, before: date) -> list[str]:
        """The UIDs of the studies that have no date, or one before that day. Raises: IndexUnavailable."""
        day = func.coalesce(studies.c.study_date, "")
        named = select(studies.c.study_uid).where(day < f"{before:%Y%m%d}", studies.c.instance_count > 0)
        with self._index.read() as connection:
            return list(connection.execute(named.order_by(studies.c.id)).scalars())

    def earlier(self, study_uid: str, *, limit: int, alike: Sequence[str] = ()) -> list[str]:
        """The UIDs of the most recent studies of the same patient that are no later than this one, latest first. What
        came under the same issuer and ID with another name is his, too. A study without an ID has none.

        With `alike`, keywords of series attributes, only those of which some series has the same value as one of this
        study. Raises: BadQuery when one is no such keyword; IndexUnavailable.
        """
        columns = [series.c[series_column(keyword)] for keyword in alike]
        new = select(
            studies.c.id, studies.c.patient_row, studies.c.study_date, patients.c.patient_id, patients.c.issuer
        )
        new = new.join_from(studies, patients)
        day = func.coalesce(studies.c.study_date, "")
        with self._index.read() as connection:
            study = connection.execute(new.where(studies.c.study_uid == study_uid)).first()
            if study is None:
                return []
            same_patient = studies.c.patient_row == study.patient_row
            if study.patient_id:  # without one, each study has a patient of its own
                same_id = select(patients.c.id).where(
                    patients.c.patient_id == study.patient_id,
                    func.coalesce(patients.c.issuer, "") == (study.issuer or ""),
                )
                same_patient |= studies.c.patient_row.in_(same_id)
            wanted = select(studies.c.study_uid).where(
                same_patient,
                studies.c.id != study.id,
                studies.c.instance_count > 0,
                *([day <= study.study_date] if study.study_date else []),
            )
            for column in columns:
                values = select(column).where(series.c.study_row == study.id, column.is_not(None))
                wanted = wanted.where(studies.c.id.in_(select(series.c.study_row).where(column.in_(values))))
            latest = wanted.order_by(day.desc(), studies.c.id.desc()).limit(limit)
            return list(connection.execute(latest).scalars())


def series_column(keyword: str) -> str:
    """The column of a series attribute. Raises: BadQuery when there is none of that keyword."""
    attribute = BY_KEYWORD.get(keyword)
    if attribute is None or attribute.level is not Level.SERIES or attribute.column not in series.c:
        raise BadQuery(f"{keyword} is not an attribute of series that the index holds, like Modality")
    return attribute.column
