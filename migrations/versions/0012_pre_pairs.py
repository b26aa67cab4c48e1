"""What two sites compare and tell each other: a sum over the objects of each study, and the log of what admins changed.

Runs pre: a release before it enters studies with a sum of nought, and goes on. The sums are counted by the first server
of this release that compares (index/contents.py), because to count them takes as long as to read every object's row.
"""

import sqlalchemy as sa
from alembic import op

revision = "0012_pre_pairs"
down_revision = "0011_pre_partners"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("studies", sa.Column("bucket", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("studies", sa.Column("content_sum", sa.BigInteger(), nullable=False, server_default="0"))
    op.create_index("ix_studies_bucket", "studies", ["bucket"])
    op.add_column("partners", sa.Column("acknowledged", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("partners", sa.Column("exchanged_at", sa.Text(), nullable=False, server_default=""))
    op.create_table(
        "changes",
        sa.Column("counter", sa.BigInteger(), nullable=False, autoincrement=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("site_id", "kind", "name", "content")),
        sa.PrimaryKeyConstraint("counter", "site_id", name="pk_changes"),
    )
    op.create_index("ix_changes_kind_name", "changes", ["kind", "name"])
