"""Indexes of the names besides the patient's, so that the few different ones are found among many studies.

Runs pre: a release before it only keeps them up to date.
"""

from alembic import op

revision = "0005_pre_physicians"
down_revision = "0004_pre_fields"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _index("studies", "referring_physician", "reading_physicians")
    _index("series", "performing_physician", "operators_name")


def _index(table: str, *names: str) -> None:
    for name in names:
        column = f"{name}_folded"
        op.create_index(f"ix_{table}_{column}", table, [column], postgresql_ops={column: "text_pattern_ops"})
