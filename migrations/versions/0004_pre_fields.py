"""Attributes that an admin adds to the index, and their values.

Runs pre: a release before it neither reads nor writes them, so what it records lacks them until they are added anew.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004_pre_fields"
down_revision = "0003_pre_sequences"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "extra_fields",
        sa.Column("id", sa.Integer(), nullable=False),
        *(
            sa.Column(name, sa.Text(), nullable=False)
            for name in ("keyword", "creator", "vr", "level", "added_at", "stage")
        ),
        *(sa.Column(name, sa.Integer(), nullable=False) for name in ("tag", "read_to", "present_to")),
        sa.PrimaryKeyConstraint("id", name="pk_extra_fields"),
        sa.UniqueConstraint("keyword", name="uq_extra_fields_keyword"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "extra_values",
        *(sa.Column(name, sa.Integer(), nullable=False) for name in ("field_id", "owner_row", "place")),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("value", "sought")),
        sa.PrimaryKeyConstraint("field_id", "owner_row", "place", name="pk_extra_values"),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_extra_values_field_id_sought",
        "extra_values",
        ["field_id", "sought"],
        postgresql_ops={"sought": "text_pattern_ops"},
    )
