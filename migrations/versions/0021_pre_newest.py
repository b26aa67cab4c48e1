"""On PostgreSQL an index has the studies in the order in which they are answered: all of them were sorted before the
first answer, 3 s for 100,000.

Runs pre: a release before it does not need it.
"""

from alembic import op

revision = "0021_pre_newest"
down_revision = "0020_pre_modalities"
branch_labels = None
depends_on = None


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute("CREATE INDEX ix_studies_newest ON studies (study_date DESC NULLS LAST, id DESC)")
