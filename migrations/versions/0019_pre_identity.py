"""Persons who log in at peers, and what the audit trail tells of them.

Runs pre: a release before it enters peers at which nobody has to log in, and rows of the trail without a person.
"""

import sqlalchemy as sa
from alembic import op

revision = "0019_pre_identity"
down_revision = "0017_pre_tls"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name in ("identity", "as_user", "passcode_file"):
        op.add_column("peers", sa.Column(name, sa.Text(), nullable=False, server_default=""))
    op.add_column("audit", sa.Column("person", sa.Text(), nullable=False, server_default=""))
    op.create_table(
        "users",
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("name", "passcode", "peers", "changed_at")),
        sa.PrimaryKeyConstraint("name", name="pk_users"),
    )
