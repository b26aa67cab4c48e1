"""Operations, what they made of objects, files that are to leave a volume, what tiers are decided by, and the transfer
syntax that a peer wants.

Runs pre: a release before it finds nothing in the trash, because nothing is there, and moves and removes nothing.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007_pre_operations"
down_revision = "0006_pre_jobs"
branch_labels = None
depends_on = None


def _texts(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.Text(), nullable=False) for name in names]


def upgrade() -> None:
    op.create_table(
        "operations",
        sa.Column("counter", sa.BigInteger(), nullable=False),
        *_texts("site_id", "kind", "study_uid", "at", "who", "reason", "content"),
        sa.PrimaryKeyConstraint("counter", "site_id", name="pk_operations"),
    )
    op.create_index("ix_operations_study_uid", "operations", ["study_uid"])
    op.create_table(
        "fates",
        *_texts("sop_uid", "digest", "study_uid", "fate", "role", "at"),
        sa.Column("counter", sa.BigInteger(), nullable=False),
        *_texts("site_id"),
        sa.PrimaryKeyConstraint("sop_uid", "digest", name="pk_fates"),
    )
    op.create_index("ix_fates_study_uid", "fates", ["study_uid"])
    is_trashed = sa.text("fate = 'trashed'")
    op.create_index("ix_fates_trashed", "fates", ["at"], sqlite_where=is_trashed, postgresql_where=is_trashed)
    op.create_table(
        "holds",
        *_texts("study_uid", "at", "who", "reason"),
        sa.Column("counter", sa.BigInteger(), nullable=False),
        *_texts("site_id"),
        sa.PrimaryKeyConstraint("study_uid", name="pk_holds"),
    )
    op.create_table(
        "choices",
        *_texts("sop_uid", "digest"),
        sa.Column("counter", sa.BigInteger(), nullable=False),
        *_texts("site_id"),
        sa.PrimaryKeyConstraint("sop_uid", name="pk_choices"),
    )
    op.create_table(
        "releases",
        sa.Column("id", sa.Integer(), nullable=False),
        *_texts("volume_id", "path", "reason", "due_at"),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False, server_default="0"),
        sa.PrimaryKeyConstraint("id", name="pk_releases"),
        sa.UniqueConstraint("volume_id", "path", name="uq_releases_volume_id_path"),
    )
    op.create_index("ix_releases_volume_id_due_at", "releases", ["volume_id", "due_at"])
    op.add_column("studies", sa.Column("last_read_at", sa.Text()))
    op.add_column("volumes", sa.Column("low_water", sa.Integer(), nullable=False, server_default="100"))
    op.add_column("peers", sa.Column("syntax", sa.Text(), nullable=False, server_default=""))
