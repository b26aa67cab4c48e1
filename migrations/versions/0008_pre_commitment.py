"""What peers asked Storage Commitment for, and what we asked of them.

Runs pre: a release before it offers no Storage Commitment.
"""

import sqlalchemy as sa
from alembic import op

revision = "0008_pre_commitment"
down_revision = "0007_pre_operations"
branch_labels = None
depends_on = None

_TEXTS = ("direction", "aet", "transaction_uid", "content", "state", "asked_at")


def upgrade() -> None:
    op.create_table(
        "commitments",
        sa.Column("id", sa.Integer(), nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in _TEXTS),
        *(sa.Column(name, sa.Integer(), nullable=False) for name in ("asked", "objects", "failed")),
        sa.Column("settled_at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_commitments"),
        sa.UniqueConstraint("direction", "aet", "transaction_uid", name="uq_commitments_direction_aet_transaction_uid"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_commitments_asked_at", "commitments", ["asked_at"])
    op.create_table(
        "commitment_items",
        sa.Column("commitment_id", sa.Integer(), nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("sop_class", "sop_uid")),
        sa.Column("reason", sa.Integer()),
        sa.PrimaryKeyConstraint("commitment_id", "sop_uid", "sop_class", name="pk_commitment_items"),
        sa.ForeignKeyConstraint(["commitment_id"], ["commitments.id"], name="fk_commitment_items_commitment_id"),
    )
