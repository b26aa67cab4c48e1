"""Where the bucket of a volume is, and who may use it.

Runs pre: a release before it takes the path of such a volume for a directory that is not there, and leaves it offline.
"""

import sqlalchemy as sa
from alembic import op

revision = "0010_pre_buckets"
down_revision = "0009_pre_sending"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name in ("endpoint", "region", "credentials_file"):
        op.add_column("volumes", sa.Column(name, sa.Text(), nullable=False, server_default=""))
