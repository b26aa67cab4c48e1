"""Each study has a current content under a SOP Instance UID: before, the object of a second study under the UID of one
of a first was a version, and not found. What was hidden so is shown.

Runs pre: a release before it still makes versions of what comes, and shows what is current.
"""

import json
from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0022_pre_current_of_study"
down_revision = "0021_pre_newest"
branch_labels = None
depends_on = None

_NOTED = """
SELECT operations.study_uid, choices.sop_uid, choices.digest, choices.counter, choices.site_id
FROM choices
JOIN operations ON operations.counter = choices.counter AND operations.site_id = choices.site_id
"""
_CHOICES = """
SELECT study_uid, counter, site_id, content FROM operations WHERE kind = 'version' ORDER BY counter, site_id
"""
# Versions whose study shows no content under their UID, with a study that does: what was chosen first, then the oldest.
_HIDDEN = """
SELECT hidden.id, hidden.sop_uid, series.study_row, flags.noted_at, shown_study.study_uid AS shown_in
FROM flags
JOIN instances hidden ON hidden.id = flags.instance_row
JOIN series ON series.id = hidden.series_row
JOIN instances shown ON shown.sop_uid = hidden.sop_uid AND shown.role = 'current'
JOIN series shown_series ON shown_series.id = shown.series_row
JOIN studies shown_study ON shown_study.id = shown_series.study_row
JOIN studies hidden_study ON hidden_study.id = series.study_row
LEFT JOIN choices ON choices.study_uid = hidden_study.study_uid AND choices.sop_uid = hidden.sop_uid
    AND choices.digest = hidden.digest
WHERE flags.kind = 'conflict-version' AND hidden.role = 'version' AND shown_series.study_row <> series.study_row
ORDER BY choices.counter IS NULL, hidden.id
"""
_COUNTS = (
    """
    UPDATE series SET instance_count =
        (SELECT count(*) FROM instances WHERE instances.series_row = series.id AND instances.role = 'current')
    WHERE study_row = :row
    """,
    """
    UPDATE studies SET
        series_count = (SELECT count(*) FROM series WHERE study_row = studies.id AND instance_count > 0),
        instance_count = (SELECT sum(instance_count) FROM series WHERE study_row = studies.id)
    WHERE id = :row
    """,
    """
    UPDATE patients SET
        study_count = (SELECT count(*) FROM studies WHERE patient_row = patients.id AND instance_count > 0),
        series_count = (SELECT sum(series_count) FROM studies WHERE patient_row = patients.id AND instance_count > 0),
        instance_count = (SELECT sum(instance_count) FROM studies WHERE patient_row = patients.id)
    WHERE id = (SELECT patient_row FROM studies WHERE id = :row)
    """,
)
_MODALITIES = "SELECT DISTINCT modality FROM series WHERE study_row = :row AND instance_count > 0 AND modality <> ''"
_SOP_CLASSES = """
SELECT DISTINCT sop_class FROM instances JOIN series ON series.id = instances.series_row
WHERE study_row = :row AND role = 'current'
"""


def upgrade() -> None:
    op.drop_index("uq_instances_current", "instances")
    op.create_index(
        "uq_instances_current_of_series",
        "instances",
        ["sop_uid", "series_row"],
        unique=True,
        sqlite_where=sa.text("role = 'current'"),
        postgresql_where=sa.text("role = 'current'"),
    )
    _choose_for_each_study()
    for study_row in _show_hidden():
        _count_anew(study_row)


def _choose_for_each_study() -> None:
    """Of the choices of several studies under one UID only the last was noted: the operations have the others, too."""
    noted = op.get_bind().execute(sa.text(_NOTED)).mappings()
    chosen: dict[tuple[str, str], dict[str, Any]] = {(one["study_uid"], one["sop_uid"]): dict(one) for one in noted}
    for one in op.get_bind().execute(sa.text(_CHOICES)).mappings():
        for sop_uid, digest, *_ in json.loads(one["content"])["objects"]:
            by = {name: one[name] for name in ("study_uid", "counter", "site_id")}
            chosen[one["study_uid"], sop_uid] = by | {"sop_uid": sop_uid, "digest": digest}
    op.drop_table("choices")
    choices = op.create_table(
        "choices",
        sa.Column("study_uid", sa.Text, nullable=False, server_default=""),
        sa.Column("sop_uid", sa.Text, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("counter", sa.BigInteger, nullable=False),
        sa.Column("site_id", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("study_uid", "sop_uid", name="pk_choices"),
    )
    op.bulk_insert(choices, list(chosen.values()))


def _show_hidden() -> Iterable[int]:
    """Make what was chosen of a study under a UID current, else the oldest; the rows of these studies."""
    connection = op.get_bind()
    shown: set[tuple[int, str]] = set()
    for one in connection.execute(sa.text(_HIDDEN)).mappings().all():
        if (one["study_row"], one["sop_uid"]) in shown or _is_shown(one):
            continue
        shown.add((one["study_row"], one["sop_uid"]))
        connection.execute(sa.text("UPDATE instances SET role = 'current' WHERE id = :id"), {"id": one["id"]})
        # With the row of the study, by which flags are found: else each reads all of them.
        noted = sa.text(
            "DELETE FROM flags WHERE study_row = :study_row AND instance_row = :id AND kind = 'conflict-version'"
        )
        connection.execute(noted, {name: one[name] for name in ("study_row", "id")})
        noting = sa.text(
            """
            INSERT INTO flags (study_row, instance_row, kind, detail, noted_at)
            VALUES (:study_row, 0, 'conflict-uid', :shown_in, :noted_at) ON CONFLICT DO NOTHING
            """
        )
        connection.execute(noting, {name: one[name] for name in ("study_row", "shown_in", "noted_at")})
    return sorted({study_row for study_row, _ in shown})


def _is_shown(one: Any) -> bool:
    """Whether the study of a version has a current content under its UID."""
    current = sa.text(
        """
        SELECT 1 FROM instances JOIN series ON series.id = instances.series_row
        WHERE sop_uid = :sop_uid AND role = 'current' AND study_row = :study_row
        """
    )
    given = {name: one[name] for name in ("sop_uid", "study_row")}
    return op.get_bind().execute(current, given).first() is not None


def _count_anew(study_row: int) -> None:
    connection = op.get_bind()
    for statement in _COUNTS:
        connection.execute(sa.text(statement), {"row": study_row})
    told = {
        name: "\\".join(sorted(filter(None, connection.execute(sa.text(asked), {"row": study_row}).scalars()))) or None
        for name, asked in (("modalities", _MODALITIES), ("sop_classes", _SOP_CLASSES))
    }
    setting = sa.text("UPDATE studies SET modalities = :modalities, sop_classes = :sop_classes WHERE id = :row")
    connection.execute(setting, told | {"row": study_row})
