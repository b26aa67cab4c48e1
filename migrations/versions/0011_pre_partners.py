"""The sites that this one exchanges everything with.

Runs pre: a release before it has no partners.
"""

import sqlalchemy as sa
from alembic import op

revision = "0011_pre_partners"
down_revision = "0010_pre_buckets"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "partners",
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("name", "host", "fingerprint", "certificate", "aet")),
        *(sa.Column(name, sa.Integer(), nullable=False) for name in ("port", "is_paused")),
        sa.Column("site_id", sa.Text()),
        sa.Column("added_at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_partners"),
        sa.UniqueConstraint("fingerprint", name="uq_partners_fingerprint"),
        sa.UniqueConstraint("site_id", name="uq_partners_site_id"),
    )
