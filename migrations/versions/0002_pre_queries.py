"""The grams of patients' names, so that a part of a name is found without reading every patient; how a peer asks.

Runs pre: a release before it neither reads nor writes them; `index rebuild` adds what it recorded meanwhile.
"""

import sqlalchemy as sa
from alembic import op

from pacs_server.dicom.names import grams_of_name

revision = "0002_pre_queries"
down_revision = "0001_pre_first_schema"
branch_labels = None
depends_on = None

_BATCH = 1000


def upgrade() -> None:
    with op.batch_alter_table("peers") as peers:
        peers.add_column(sa.Column("max_answers", sa.Integer(), nullable=False, server_default="0"))
        peers.add_column(sa.Column("combines_moments", sa.Integer(), nullable=False, server_default="0"))
    # SQLite took it for "modality and date", and read every series of the modality for each study of the date.
    op.drop_index("ix_series_modality", "series")
    table = op.create_table(
        "name_grams",
        sa.Column("gram", sa.Text(), nullable=False),
        sa.Column("patient_row", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["patient_row"], ["patients.id"], name="fk_name_grams_patient_row"),
        sa.PrimaryKeyConstraint("gram", "patient_row", name="pk_name_grams"),
        sqlite_with_rowid=False,
    )
    connection = op.get_bind()
    if connection.dialect.name == "postgresql":
        op.create_index("ix_name_grams_gram", "name_grams", ["gram"], postgresql_ops={"gram": "text_pattern_ops"})
    patients = sa.table("patients", sa.column("id"), sa.column("patient_name_folded"))
    wanted = sa.select(patients.c.id, patients.c.patient_name_folded).order_by(patients.c.id).limit(_BATCH)
    last = 0
    while rows := connection.execute(wanted.where(patients.c.id > last)).all():
        found = [{"gram": gram, "patient_row": row} for row, name in rows for gram in grams_of_name(name or "")]
        if found:
            op.bulk_insert(table, found)
        last = rows[-1][0]
