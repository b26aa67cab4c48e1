"""What is to be sent to which destination and what became of it, and how many associations a peer takes at once.

Runs pre: a release before it sends nothing by itself, and calls each peer with one association.
"""

import sqlalchemy as sa
from alembic import op

revision = "0009_pre_sending"
down_revision = "0008_pre_commitment"
branch_labels = None
depends_on = None


def upgrade() -> None:
    texts = ("destination", "study_uid", "series_uid", "sop_uid", "digest", "route", "state", "reason", "owed_at", "at")
    op.create_table(
        "sendings",
        sa.Column("id", sa.Integer(), nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in texts),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_sendings"),
        sa.UniqueConstraint("destination", "sop_uid", "digest", name="uq_sendings_destination_sop_uid_digest"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_sendings_destination_study_uid", "sendings", ["destination", "study_uid"])
    is_open = sa.text("state <> 'sent'")
    op.create_index(
        "ix_sendings_open",
        "sendings",
        ["destination", "state", "series_uid"],
        sqlite_where=is_open,
        postgresql_where=is_open,
    )
    op.create_index("ix_jobs_kind_due_at", "jobs", ["kind", "due_at"])
    op.add_column("peers", sa.Column("associations", sa.Integer(), nullable=False, server_default="1"))
