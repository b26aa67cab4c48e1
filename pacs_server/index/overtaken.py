"""What was overtaken by an operation that takes effect only after others that were decided later: it stays as it is."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC
from itertools import groupby, pairwise
from typing import Final

from sqlalchemy import ColumnElement, Connection, and_, bindparam, literal, or_, select, tuple_
from sqlalchemy.dialects import postgresql, sqlite

from pacs_server.dicom.operations import Content, Fate, Operation, OperationKind, StudyFate
from pacs_server.index.engine import Index
from pacs_server.index.jobs import JobKind
from pacs_server.index.retiring import TRASH
from pacs_server.index.site_tables import fates, jobs, operations, partners
from pacs_server.index.tables import flags, instances, series, studies

# The flag of an object that was acknowledged once more; when that was last is when it was noted.
SENT_AGAIN: Final = "sent-again"


def noting_again(index: Index, *which: ColumnElement[bool]) -> sqlite.Insert | postgresql.Insert:
    """A statement that notes of these objects that they were acknowledged once more, at the moment `at`."""
    again = index.insert(flags).from_select(
        ["study_row", "instance_row", "kind", "detail", "noted_at"],
        select(series.c.study_row, instances.c.id, literal(SENT_AGAIN), literal(""), bindparam("at"))
        .join_from(instances, series)
        .where(*which),
    )
    key = [flags.c.study_row, flags.c.instance_row, flags.c.kind, flags.c.detail]
    return again.on_conflict_do_update(index_elements=key, set_={"noted_at": again.excluded.noted_at})


def together(told: Iterable[Operation]) -> list[list[Operation]]:
    """Operations in their order; one by one, as others wait for each, but all of a study of which something is decided
    after a purge: what came back after that would be destroyed in between.
    """
    found: list[list[Operation]] = []
    in_order = sorted(told, key=lambda one: (one.study_uid, one.stamp))
    for _, group in groupby(in_order, key=lambda one: one.study_uid):
        of_study = list(group)
        is_purge = [one.kind is OperationKind.PURGE for one in of_study]
        found += [of_study] if (True, False) in pairwise(is_purge) else [[one] for one in of_study]
    return sorted(found, key=lambda part: part[0].stamp)


def overtaken(connection: Connection, told: Iterable[Operation], fate: StudyFate) -> list[Content]:
    """The objects that these operations on one study, which are about to take effect, would take away after they were
    acknowledged or brought back here. `fate` is what holds of the study then.
    """
    found: dict[tuple[str, str], Content] = {}
    for one in told:
        spared: list[Content] = []
        if one.kind is OperationKind.DELETE:
            spared = _sent_after(connection, one)
        elif one.kind is OperationKind.PURGE:
            spared = _brought_back(connection, one, fate)
        found |= {(content.sop_uid, content.digest): content for content in spared}
    return list(found.values())


def _sent_after(connection: Connection, deletion: Operation) -> list[Content]:
    """The objects of a deletion that is not known here yet that are held, and were acknowledged here to who sent them
    after it was decided; but not what a later operation that is known keeps.
    """
    at = deletion.at.astimezone(UTC).isoformat()
    known = operations.c.counter == deletion.counter, operations.c.site_id == deletion.site_id
    again = flags.c.instance_row == instances.c.id, flags.c.kind == SENT_AGAIN, flags.c.noted_at > at
    # What came through that partner is not owed to it.
    of_series = jobs.c.study_uid == studies.c.study_uid, jobs.c.series_uid == series.c.series_uid
    owed = select(jobs.c.id).join(partners, partners.c.name == jobs.c.target)
    is_owed = owed.where(
        jobs.c.kind == JobKind.REPLICATE.value, *of_series, partners.c.site_id == deletion.site_id
    ).exists()
    sent = (
        select(instances.c.sop_uid, instances.c.digest, instances.c.role)
        .join_from(instances, series)
        .join(studies)
        .where(studies.c.study_uid == deletion.study_uid, instances.c.role != TRASH)
        .where(or_(select(flags.c.id).where(*again).exists(), and_(instances.c.received_at > at, is_owed)))
        .where(~select(operations.c.counter).where(*known).exists())
    )
    later = tuple_(fates.c.counter, fates.c.site_id) > tuple_(deletion.counter, deletion.site_id)
    is_kept = fates.c.fate == Fate.KEPT.value, fates.c.study_uid == deletion.study_uid, later
    kept = connection.execute(select(fates.c.sop_uid, fates.c.digest).where(*is_kept))
    named = {(one.sop_uid, one.digest) for one in deletion.objects} - {(sop_uid, digest) for sop_uid, digest in kept}
    rows = connection.execute(sent.order_by(instances.c.sop_uid, instances.c.digest)).mappings()
    return [Content(**row) for row in rows if (row["sop_uid"], row["digest"]) in named]


def _brought_back(connection: Connection, purge: Operation, fate: StudyFate) -> list[Content]:
    """The objects of a purge that it destroys although a later operation, which did not know of it, brought them back
    from the trash here: both were decided at the same time.
    """
    names = [(one.sop_uid, one.digest) for one in purge.objects]
    gone = {name for name in names if name in fate.objects and fate.objects[name][0] is Fate.PURGED}
    if not gone:
        return []
    later = tuple_(fates.c.counter, fates.c.site_id) > tuple_(purge.counter, purge.site_id)
    is_same = (fates.c.sop_uid == instances.c.sop_uid) & (fates.c.digest == instances.c.digest)
    held = (
        select(instances.c.sop_uid, instances.c.digest, instances.c.role)
        .join_from(instances, series)
        .join(studies)
        .join(fates, is_same)
        .where(studies.c.study_uid == purge.study_uid, instances.c.role != TRASH)
        .where(fates.c.fate == Fate.KEPT.value, later)
    )
    rows = connection.execute(held.order_by(instances.c.sop_uid, instances.c.digest)).mappings()
    return [Content(**row) for row in rows if (row["sop_uid"], row["digest"]) in gone]
