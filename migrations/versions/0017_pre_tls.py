"""How peers are known over TLS.

Runs pre: a release before it enters peers without a certificate that are not called over TLS, and goes on.
"""

import sqlalchemy as sa
from alembic import op

revision = "0017_pre_tls"
down_revision = "0012_pre_pairs"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("peers", sa.Column("certificate", sa.Text(), nullable=False, server_default=""))
    op.add_column("peers", sa.Column("uses_tls", sa.Integer(), nullable=False, server_default="0"))
