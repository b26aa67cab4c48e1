"""What is owed, when copies were verified, and what an admin set of volumes.

Runs pre: a release before it leaves the new columns as they are and owes nothing.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006_pre_jobs"
down_revision = "0005_pre_physicians"
branch_labels = None
depends_on = None

_JOB_TEXTS = (
    "kind", "study_uid", "series_uid", "target", "state", "due_at", "created_at", "worker", "lease_until", "error",
)  # fmt: skip


def upgrade() -> None:
    op.add_column("copies", sa.Column("verified_at", sa.Text()))
    op.add_column("copies", sa.Column("damage", sa.Text()))
    op.create_index("ix_copies_volume_id_verified_at", "copies", ["volume_id", "verified_at"])
    is_damaged = sa.text("damage IS NOT NULL")
    op.create_index("ix_copies_damage", "copies", ["damage"], sqlite_where=is_damaged, postgresql_where=is_damaged)
    op.add_column("volumes", sa.Column("mode", sa.Text(), nullable=False, server_default="normal"))
    for name, default in (("high_water", "100"), ("damaged_count", "0")):
        op.add_column("volumes", sa.Column(name, sa.Integer(), nullable=False, server_default=default))
    op.add_column("volumes", sa.Column("damaged_on", sa.Text(), nullable=False, server_default=""))
    op.create_table(
        "jobs",
        sa.Column("id", sa.Integer(), nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in _JOB_TEXTS),
        *(sa.Column(name, sa.Integer(), nullable=False) for name in ("generation", "attempts")),
        sa.PrimaryKeyConstraint("id", name="pk_jobs"),
        sa.UniqueConstraint(
            "kind", "study_uid", "series_uid", "target", name="uq_jobs_kind_study_uid_series_uid_target"
        ),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_jobs_due_at", "jobs", ["due_at"])
