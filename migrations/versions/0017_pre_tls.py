"""How peers are known over TLS, what else each may do, and who was turned away.

Runs pre: a release before it enters peers without a certificate and with no limits of their own, and goes on.
"""

import sqlalchemy as sa
from alembic import op

revision = "0017_pre_tls"
down_revision = "0015_pre_audit"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("peers", sa.Column("certificate", sa.Text(), nullable=False, server_default=""))
    op.add_column("peers", sa.Column("uses_tls", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("peers", sa.Column("called", sa.Text(), nullable=False, server_default="[]"))
    op.add_column("peers", sa.Column("destinations", sa.Text(), nullable=False, server_default="[]"))
    op.add_column("peers", sa.Column("max_associations", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("peers", sa.Column("reserved", sa.Integer(), nullable=False, server_default="0"))
    op.create_table(
        "turned_away",
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("aet", "address", "called", "fingerprint")),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("asked", "why", "first_at", "last_at")),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("aet", "address", name="pk_turned_away"),
    )
