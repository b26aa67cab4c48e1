"""The statements with which objects are recorded, compiled once for the database: the hot path of storing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Delete,
    Select,
    Table,
    Text,
    Update,
    and_,
    any_,
    bindparam,
    func,
    insert,
    null,
    select,
    union_all,
    update,
)

from pacs_server.dicom.describe import FieldValue
from pacs_server.dicom.identity import Uid
from pacs_server.dicom.vocabulary import Field
from pacs_server.index.contents import added_sum
from pacs_server.index.engine import KEEP_OTHERS_OUT, Index
from pacs_server.index.jobs import JOB_COLUMNS, owing
from pacs_server.index.overtaken import noting_again
from pacs_server.index.site.registry import REMOVED_VOLUME
from pacs_server.index.site_tables import fates, operations, site
from pacs_server.index.statements import HotStatement, Statement
from pacs_server.index.tables import (
    ITEM_TABLES,
    copies,
    extra_values,
    flags,
    instances,
    name_grams,
    patients,
    series,
    studies,
)


class Held(NamedTuple):
    """One content that is held under a UID: its row, and the study that has it."""

    row: int
    digest: str
    role: str
    study_uid: str


class RecordingStatements:
    """May be used from any thread, each time on the cursor of a transaction."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self.meets_others = index.database_path is None
        self.keep_others_out = HotStatement(index, KEEP_OTHERS_OUT)
        self.owe = HotStatement(index, owing(index), JOB_COLUMNS)
        self._prepare_finding(index)
        self._prepare_deciding(index)
        self._prepare_entering(index)
        self._prepare_counting(index)

    def _prepare_finding(self, index: Index) -> None:
        """Those that find what is there already: objects, and the study, patient and series of one."""
        # The objects of some UIDs, each with its row; in the row of a content about which something was decided, none;
        # and the volumes that were removed. One question, because each costs PostgreSQL a round trip.
        held = select(*instances.c["sop_uid", "id", "digest", "role"], studies.c.study_uid)
        held = held.join_from(instances, series).join(studies)
        decided = select(fates.c.sop_uid, null(), fates.c.digest, fates.c.fate, null())
        self._find_held = HotStatement(
            index,
            union_all(
                held.where(self._is_one(instances.c.sop_uid)),
                decided.where(self._is_one(fates.c.sop_uid)),
                select(site.c.name, *[null()] * 4).where(
                    func.substr(site.c.name, 1, len(REMOVED_VOLUME)) == REMOVED_VOLUME
                ),
            ),
        )
        self.find_study = HotStatement(
            index,
            select(*studies.c, *patients.c, *series.c)
            .join_from(studies, patients)
            .outerjoin(series, and_(series.c.study_row == studies.c.id, series.c.series_uid == bindparam("series_uid")))
            .where(studies.c.study_uid == bindparam("study_uid")),
        )
        self.find_patient = HotStatement(index, select(*patients.c).where(patients.c.identity == bindparam("identity")))
        of_issuer = func.coalesce(patients.c.issuer, "") == bindparam("issuer")
        self.find_patients = HotStatement(
            index,
            select(*patients.c)
            .where(patients.c.patient_id == bindparam("patient_id"), of_issuer)
            .order_by(patients.c.id),
        )
        self.find_series = HotStatement(
            index,
            select(*series.c).where(
                series.c.study_row == bindparam("study_row"), series.c.series_uid == bindparam("series_uid")
            ),
        )

    def _prepare_deciding(self, index: Index) -> None:
        """Those that change what is decided about objects that are there."""
        self.insert_operation = HotStatement(
            index, index.insert(operations).on_conflict_do_nothing(), operations.c.keys()
        )
        made = index.insert(fates)
        self.set_fate = HotStatement(
            index,
            made.on_conflict_do_update(
                index_elements=[fates.c.sop_uid, fates.c.digest],
                set_={name: made.excluded[name] for name in ("fate", "role", "at", "counter", "site_id")},
            ),
            fates.c.keys(),
        )
        self.set_role = HotStatement(
            index,
            update(instances).where(instances.c.id == bindparam("row")).values(role=bindparam("now_role")),
        )

    def _prepare_entering(self, index: Index) -> None:
        """Those that enter an object, or note that it came again."""
        self.insert_patient, self.insert_study, self.insert_series = (
            HotStatement(index, insert(table).returning(table.c.id), _filled(table))
            for table in (patients, studies, series)
        )
        made_row = instances.c.id, instances.c.sop_uid, instances.c.digest
        self._insert_instance = HotStatement(index, insert(instances).returning(*made_row), _filled(instances))
        self.insert_flag, self.insert_gram = (
            HotStatement(index, index.insert(table).on_conflict_do_nothing(), _filled(table))
            for table in (flags, name_grams)
        )
        self.note_again = HotStatement(index, noting_again(index, instances.c.id == bindparam("row")))
        # A copy that was damaged and is written again is good again.
        mended = index.insert(copies).on_conflict_do_update(
            index_elements=[copies.c.volume_id, copies.c.path], set_={"damage": null(), "verified_at": null()}
        )
        self.insert_copy = HotStatement(index, mended, ["instance_row", "volume_id", "path"])
        self.insert_item = {
            tag: HotStatement(index, index.insert(table).on_conflict_do_nothing(), _filled(table))
            for tag, table in ITEM_TABLES.items()
        }
        self.insert_value = HotStatement(
            index, index.insert(extra_values).on_conflict_do_nothing(), extra_values.c.keys()
        )

    def _prepare_counting(self, index: Index) -> None:
        """Those that keep the counts in the rows of patients, studies and series."""
        self.count_patient = HotStatement(index, _counting(patients, "study_count", "series_count", "instance_count"))
        self.count_series = HotStatement(index, _counting(series, "instance_count"))
        self.count_study = HotStatement(
            index,
            _counting(studies, "series_count", "instance_count").values(
                modalities=bindparam("now_modalities"),
                sop_classes=bindparam("now_sop_classes"),
                last_received_at=bindparam("now_received_at"),
                content_sum=added_sum(bindparam("more_content")),
            ),
        )

    def _is_one(self, column: ColumnElement[Any]) -> ColumnElement[bool]:
        """Whether a column is one of `sop_uids`: an array, or for SQLite a JSON text."""
        if self.meets_others:
            return column == any_(bindparam("sop_uids", type_=ARRAY(Text)))
        listed = func.json_each(bindparam("sop_uids")).table_valued("value")
        return column.in_(select(listed.c.value))

    def held(
        self, cursor: Any, sop_uids: Sequence[Uid]
    ) -> tuple[dict[str, list[Held]], dict[tuple[str, str], str], set[str]]:
        """The contents under each of these UIDs, of whichever studies; what was decided about contents of them; and the
        ids of the volumes that were removed.
        """
        asked: Any = [str(uid) for uid in sop_uids]
        found: dict[str, list[Held]] = {}
        decided: dict[tuple[str, str], str] = {}
        removed: set[str] = set()
        told = self._find_held.on(cursor, {"sop_uids": asked if self.meets_others else json.dumps(asked)})
        for uid_or_name, row, digest, what, study_uid in told.fetchall():
            if digest is None:
                removed.add(uid_or_name.removeprefix(REMOVED_VOLUME))
            elif row is None:
                decided[uid_or_name, digest] = what
            else:
                found.setdefault(uid_or_name, []).append(Held(row, digest, what, study_uid))
        return found, decided, removed

    def insert_instances(self, cursor: Any, rows: Sequence[dict[str, Any]]) -> list[int]:
        """Insert rows of instances and answer their ids, in this order."""
        if len(rows) < 2 or not self.meets_others:
            return [self._insert_instance.on(cursor, row).fetchone()[0] for row in rows]
        # PostgreSQL does not promise to answer them in their order.
        made = {tuple(names): row_id for row_id, *names in self._insert_instance.together(cursor, rows)}
        return [made[row["sop_uid"], row["digest"]] for row in rows]

    def add_values(self, cursor: Any, field: Field, owner_row: int, values: Sequence[FieldValue]) -> None:
        """Enter the values of a field, unless an earlier object of the same patient, study or series had some."""
        for place, one in enumerate(values):
            row = {"field_id": field.row, "owner_row": owner_row, "place": place, "value": one.value}
            if self.insert_value.on(cursor, row | {"sought": one.sought}).rowcount != 1:
                return

    def once(self, statement: Update | Delete | Select[Any]) -> Statement:
        """A statement that is not among those of every object."""
        return Statement(self._index, statement)


def _filled(table: Table) -> list[str]:
    return [column.name for column in table.c if column.name != "id"]


def _counting(table: Table, *columns: str) -> Update:
    added = {name: table.c[name] + bindparam(f"more_{name}") for name in columns}
    return update(table).where(table.c.id == bindparam("row")).values(added)
