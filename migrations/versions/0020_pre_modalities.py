"""Studies tell of the modality that a series got from an object that is not found itself, as from a version: they are
sought by what they tell.

Runs pre: a release before it looks at the series themselves.
"""

import sqlalchemy as sa
from alembic import op

revision = "0020_pre_modalities"
down_revision = "0019_pre_identity"
branch_labels = None
depends_on = None

_UNTOLD = """
SELECT studies.id, studies.modalities, series.modality FROM studies JOIN series ON series.study_row = studies.id
WHERE series.instance_count > 0 AND series.modality <> ''
AND replace(:mark || coalesce(studies.modalities, '') || :mark, :mark || series.modality || :mark, '')
    = :mark || coalesce(studies.modalities, '') || :mark
"""


def upgrade() -> None:
    connection = op.get_bind()
    told: dict[int, set[str]] = {}
    for row, modalities, modality in connection.execute(sa.text(_UNTOLD), {"mark": "\\"}).all():
        told.setdefault(row, set(modalities.split("\\") if modalities else ())).add(modality)
    for row, found in told.items():
        values = {"row": row, "modalities": "\\".join(sorted(found))}
        connection.execute(sa.text("UPDATE studies SET modalities = :modalities WHERE id = :row"), values)
