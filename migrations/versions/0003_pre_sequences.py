"""The items of procedure codes and of request attributes.

Runs pre: a release before it neither reads nor writes them. `index rebuild` reads those of objects that are held.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003_pre_sequences"
down_revision = "0002_pre_queries"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _items("procedure_codes", "studies", ("code_value", "coding_scheme", "code_meaning"), ("code_value",))
    _items(
        "request_attributes",
        "series",
        (
            "accession_number",
            "requested_description",
            "scheduled_description",
            "scheduled_step_id",
            "requested_procedure_id",
        ),
        ("scheduled_step_id", "requested_procedure_id"),
    )


def _items(table: str, owner: str, columns: tuple[str, ...], searched: tuple[str, ...]) -> None:
    op.create_table(
        table,
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("owner_row", sa.Integer(), nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in columns),
        sa.ForeignKeyConstraint(["owner_row"], [f"{owner}.id"], name=f"fk_{table}_owner_row"),
        sa.PrimaryKeyConstraint("id", name=f"pk_{table}"),
        sa.UniqueConstraint("owner_row", *columns, name=f"uq_{table}_item"),
    )
    for name in searched:
        op.create_index(f"ix_{table}_{name}", table, [name], postgresql_ops={name: "text_pattern_ops"})
