"""Objects that an archive server keeps.

Runs pre: a release before it sends nothing away, and takes what was sent away for lost.
"""

import sqlalchemy as sa
from alembic import op

revision = "0013_pre_deposits"
down_revision = "0012_pre_pairs"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "deposits",
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("sop_uid", "digest", "aet")),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("study_uid", "transaction_uid", "at")),
        sa.Column("damage", sa.Text()),
        sa.Column("counter", sa.BigInteger(), nullable=False),
        sa.Column("site_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("sop_uid", "digest", "aet", name="pk_deposits"),
    )
    op.create_index("ix_deposits_study_uid", "deposits", ["study_uid"])
    op.create_table(
        "depositing",
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("aet", "sop_uid", "digest")),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("transaction_uid", "at")),
        sa.PrimaryKeyConstraint("aet", "sop_uid", "digest", name="pk_depositing"),
    )
