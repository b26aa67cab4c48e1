"""Who did what, as chains of rows; how far they were, signed; what is still to be sent to a receiver of audit messages.

Runs pre: a release before it writes no audit trail.
"""

import sqlalchemy as sa
from alembic import op

revision = "0015_pre_audit"
down_revision = "0013_pre_deposits"
branch_labels = None
depends_on = None

_PLACE = ("at", "chain", "number")
_TEXTS = (
    "event", "outcome", "who", "address", "target", "patient_id", "issuer", "study_uid", "uid_digest", "detail", "hash",
)  # fmt: skip


def _place() -> list[sa.Column]:
    texts = [sa.Column(name, sa.Text(), nullable=False) for name in ("at", "chain")]
    return [*texts, sa.Column("number", sa.Integer(), nullable=False, autoincrement=False)]


def upgrade() -> None:
    op.create_table(
        "audit",
        *_place(),
        *(sa.Column(name, sa.Text(), nullable=False) for name in _TEXTS),
        sa.Column("object_count", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint(*_PLACE, name="pk_audit"),
        sqlite_with_rowid=False,
    )
    if op.get_context().dialect.name == "postgresql":
        has_patient = sa.text("patient_id <> ''")
        op.create_index("ix_audit_patient_id", "audit", ["patient_id", "at"], postgresql_where=has_patient)
    op.create_table(
        "checkpoints",
        sa.Column("series", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False, autoincrement=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("at", "content")),
        sa.PrimaryKeyConstraint("series", "number", name="pk_checkpoints"),
    )
    op.create_table(
        "audit_owed",
        *_place(),
        sa.PrimaryKeyConstraint(*_PLACE, name="pk_audit_owed"),
        sqlite_with_rowid=False,
    )
