"""The first schema: patients to copies, flags, peers, volumes and what the site decided.

Runs pre: there is nothing before it.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001_pre_first_schema"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "patients",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("identity", sa.Text(), nullable=False),
        sa.Column("patient_name", sa.Text()),
        sa.Column("patient_name_folded", sa.Text()),
        sa.Column("patient_id", sa.Text()),
        sa.Column("issuer", sa.Text()),
        sa.Column("birth_date", sa.Text()),
        sa.Column("birth_time", sa.Text()),
        sa.Column("sex", sa.Text()),
        sa.Column("other_patient_ids", sa.Text()),
        sa.Column("ethnic_group", sa.Text()),
        sa.Column("patient_comments", sa.Text()),
        sa.Column("patient_name_alphabetic", sa.Text()),
        sa.Column("patient_name_ideographic", sa.Text()),
        sa.Column("patient_name_phonetic", sa.Text()),
        sa.Column("study_count", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("series_count", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("instance_count", sa.Integer(), nullable=False, server_default="0"),
        sa.PrimaryKeyConstraint("id", name="pk_patients"),
        sa.UniqueConstraint("identity", name="uq_patients_identity"),
    )
    op.create_table(
        "peers",
        sa.Column("aet", sa.Text(), nullable=False),
        sa.Column("host", sa.Text()),
        sa.Column("port", sa.Integer()),
        sa.Column("rights", sa.Text(), nullable=False),
        sa.Column("sources", sa.Text(), nullable=False),
        sa.Column("issuer", sa.Text(), nullable=False),
        sa.Column("charset", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("aet", name="pk_peers"),
    )
    op.create_table(
        "site",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_site"),
    )
    op.create_table(
        "volumes",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("tier", sa.Text(), nullable=False),
        sa.Column("domain", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_volumes"),
        sa.UniqueConstraint("name", name="uq_volumes_name"),
    )
    op.create_table(
        "studies",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("patient_row", sa.Integer(), nullable=False),
        sa.Column("study_uid", sa.Text(), nullable=False),
        sa.Column("study_id", sa.Text()),
        sa.Column("study_date", sa.Text()),
        sa.Column("study_time", sa.Text()),
        sa.Column("accession_number", sa.Text()),
        sa.Column("study_description", sa.Text()),
        sa.Column("referring_physician", sa.Text()),
        sa.Column("referring_physician_folded", sa.Text()),
        sa.Column("reading_physicians", sa.Text()),
        sa.Column("reading_physicians_folded", sa.Text()),
        sa.Column("admitting_diagnoses", sa.Text()),
        sa.Column("patient_age", sa.Text()),
        sa.Column("patient_size", sa.Text()),
        sa.Column("patient_weight", sa.Text()),
        sa.Column("occupation", sa.Text()),
        sa.Column("patient_history", sa.Text()),
        sa.Column("study_comments", sa.Text()),
        sa.Column("interpretation_status", sa.Text()),
        sa.Column("day", sa.Text(), nullable=False),
        sa.Column("modalities", sa.Text()),
        sa.Column("sop_classes", sa.Text()),
        sa.Column("series_count", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("instance_count", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("last_received_at", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["patient_row"], ["patients.id"], name="fk_studies_patient_row"),
        sa.PrimaryKeyConstraint("id", name="pk_studies"),
        sa.UniqueConstraint("study_uid", name="uq_studies_study_uid"),
    )
    op.create_table(
        "flags",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("study_row", sa.Integer(), nullable=False),
        sa.Column("instance_row", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("noted_at", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["study_row"], ["studies.id"], name="fk_flags_study_row"),
        sa.PrimaryKeyConstraint("id", name="pk_flags"),
        sa.UniqueConstraint(
            "study_row", "instance_row", "kind", "detail", name="uq_flags_study_row_instance_row_kind_detail"
        ),
    )
    op.create_table(
        "series",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("study_row", sa.Integer(), nullable=False),
        sa.Column("series_uid", sa.Text(), nullable=False),
        sa.Column("modality", sa.Text()),
        sa.Column("series_number", sa.Integer()),
        sa.Column("series_description", sa.Text()),
        sa.Column("series_date", sa.Text()),
        sa.Column("series_time", sa.Text()),
        sa.Column("body_part", sa.Text()),
        sa.Column("protocol_name", sa.Text()),
        sa.Column("patient_position", sa.Text()),
        sa.Column("frame_of_reference_uid", sa.Text()),
        sa.Column("laterality", sa.Text()),
        sa.Column("performing_physician", sa.Text()),
        sa.Column("performing_physician_folded", sa.Text()),
        sa.Column("operators_name", sa.Text()),
        sa.Column("operators_name_folded", sa.Text()),
        sa.Column("manufacturer", sa.Text()),
        sa.Column("model_name", sa.Text()),
        sa.Column("institution_name", sa.Text()),
        sa.Column("department_name", sa.Text()),
        sa.Column("station_name", sa.Text()),
        sa.Column("procedure_start_date", sa.Text()),
        sa.Column("procedure_start_time", sa.Text()),
        sa.Column("procedure_step_id", sa.Text()),
        sa.Column("instance_count", sa.Integer(), nullable=False, server_default="0"),
        sa.ForeignKeyConstraint(["study_row"], ["studies.id"], name="fk_series_study_row"),
        sa.PrimaryKeyConstraint("id", name="pk_series"),
        sa.UniqueConstraint("study_row", "series_uid", name="uq_series_study_row_series_uid"),
    )
    op.create_table(
        "instances",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("series_row", sa.Integer(), nullable=False),
        sa.Column("sop_uid", sa.Text(), nullable=False),
        sa.Column("sop_class", sa.Text()),
        sa.Column("instance_number", sa.Integer()),
        sa.Column("image_type", sa.Text()),
        sa.Column("creation_date", sa.Text()),
        sa.Column("creation_time", sa.Text()),
        sa.Column("acquisition_date", sa.Text()),
        sa.Column("acquisition_time", sa.Text()),
        sa.Column("content_date", sa.Text()),
        sa.Column("content_time", sa.Text()),
        sa.Column("acquisition_number", sa.Integer()),
        sa.Column("slice_location", sa.Text()),
        sa.Column("image_comments", sa.Text()),
        sa.Column("number_of_frames", sa.Integer()),
        sa.Column("rows", sa.Integer()),
        sa.Column("columns", sa.Integer()),
        sa.Column("bits_allocated", sa.Integer()),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("transfer_syntax", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("received_at", sa.Text(), nullable=False),
        sa.Column("sender", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["series_row"], ["series.id"], name="fk_instances_series_row"),
        sa.PrimaryKeyConstraint("id", name="pk_instances"),
        sa.UniqueConstraint("sop_uid", "digest", name="uq_instances_sop_uid_digest"),
    )
    op.create_table(
        "copies",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("instance_row", sa.Integer(), nullable=False),
        sa.Column("volume_id", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["instance_row"], ["instances.id"], name="fk_copies_instance_row"),
        sa.PrimaryKeyConstraint("id", name="pk_copies"),
        sa.UniqueConstraint("volume_id", "path", name="uq_copies_volume_id_path"),
    )
    op.create_index(
        "ix_patients_patient_id", "patients", ["patient_id"], postgresql_ops={"patient_id": "text_pattern_ops"}
    )
    op.create_index(
        "ix_patients_patient_name_alphabetic",
        "patients",
        ["patient_name_alphabetic"],
        postgresql_ops={"patient_name_alphabetic": "text_pattern_ops"},
    )
    op.create_index(
        "ix_patients_patient_name_ideographic",
        "patients",
        ["patient_name_ideographic"],
        postgresql_ops={"patient_name_ideographic": "text_pattern_ops"},
    )
    op.create_index(
        "ix_patients_patient_name_phonetic",
        "patients",
        ["patient_name_phonetic"],
        postgresql_ops={"patient_name_phonetic": "text_pattern_ops"},
    )
    op.create_index(
        "ix_studies_accession_number",
        "studies",
        ["accession_number"],
        postgresql_ops={"accession_number": "text_pattern_ops"},
    )
    op.create_index("ix_studies_patient_row", "studies", ["patient_row"])
    op.create_index(
        "ix_studies_study_date", "studies", ["study_date"], postgresql_ops={"study_date": "text_pattern_ops"}
    )
    op.create_index("ix_flags_kind", "flags", ["kind"])
    op.create_index("ix_series_modality", "series", ["modality"], postgresql_ops={"modality": "text_pattern_ops"})
    op.create_index("ix_series_series_uid", "series", ["series_uid"], postgresql_ops={"series_uid": "text_pattern_ops"})
    op.create_index("ix_instances_series_row", "instances", ["series_row"])
    op.create_index(
        "uq_instances_current",
        "instances",
        ["sop_uid"],
        unique=True,
        sqlite_where=sa.text("role = 'current'"),
        postgresql_where=sa.text("role = 'current'"),
    )
    op.create_index("ix_copies_instance_row", "copies", ["instance_row"])
