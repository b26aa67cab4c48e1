"""The tables of what is held, which can be made anew from the files. Attribute columns follow from
dicom/attributes.py; times are ISO texts in UTC, so that every database compares and returns them alike.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    ForeignKey,
    FromClause,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from pacs_server.dicom.attributes import ATTRIBUTES, SEQUENCES, ItemSequence, Level, Matching, read_attributes

NAMING: Final = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "pk": "pk_%(table_name)s",
}

metadata: Final = MetaData(naming_convention=NAMING)


def attribute_columns(level: Level) -> list[Column[object]]:
    """The columns of a level: one for each attribute that is read, and the folded ones of names."""
    columns: list[Column[object]] = []
    for attribute in read_attributes(level):
        unique_key = attribute.keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
        kind = Integer if attribute.is_integer else Text
        columns.append(Column(attribute.column, kind, nullable=not unique_key))
        if attribute.matching is Matching.NAME:
            columns.append(Column(f"{attribute.column}_folded", Text))
    return columns


def _count(name: str) -> Column[int]:
    return Column(name, Integer, nullable=False, server_default="0")


patients: Final = Table(
    "patients",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("identity", Text, nullable=False, unique=True),
    *attribute_columns(Level.PATIENT),
    Column("patient_name_alphabetic", Text),
    Column("patient_name_ideographic", Text),
    Column("patient_name_phonetic", Text),
    _count("study_count"),
    _count("series_count"),
    _count("instance_count"),
)

# `bucket` and `content_sum` are what two sites compare (index/contents.py).
studies: Final = Table(
    "studies",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("patient_row", ForeignKey("patients.id"), nullable=False, index=True),
    *attribute_columns(Level.STUDY),
    Column("day", Text, nullable=False),
    Column("modalities", Text),
    Column("sop_classes", Text),
    _count("series_count"),
    _count("instance_count"),
    Column("last_received_at", Text, nullable=False),
    Column("last_read_at", Text),
    Column("bucket", Integer, nullable=False, server_default="0", index=True),
    Column("content_sum", BigInteger, nullable=False, server_default="0"),
    UniqueConstraint("study_uid"),
)

series: Final = Table(
    "series",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("study_row", ForeignKey("studies.id"), nullable=False),
    *attribute_columns(Level.SERIES),
    _count("instance_count"),
    UniqueConstraint("study_row", "series_uid"),
)

# One row for each content that was received under a SOP Instance UID. Of those that a study has under one UID only the
# "current" one is found and counted; a "version" has other values, an "encoding" the same ones, written otherwise
# (docs/adr/0016). Another study may have a current one under the same UID (docs/adr/0017).
instances: Final = Table(
    "instances",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("series_row", ForeignKey("series.id"), nullable=False, index=True),
    *attribute_columns(Level.IMAGE),
    Column("digest", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("transfer_syntax", Text, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("received_at", Text, nullable=False),
    Column("sender", Text, nullable=False),
    UniqueConstraint("sop_uid", "digest"),
)
Index(
    "uq_instances_current_of_series",
    instances.c.sop_uid,
    instances.c.series_row,
    unique=True,
    sqlite_where=text("role = 'current'"),
    postgresql_where=text("role = 'current'"),
)
# The roles of contents that are held beside the one that is found under their UID in their study.
BESIDE: Final = ("version", "encoding")


def is_current(rows: FromClause) -> ColumnElement[bool]:
    """Whether a row of `instances`, or of an alias of it, is the content that is found under its UID in its study.

    Its word is no parameter: SQLite compiles a statement anew each time a value is bound that it has compared with the
    condition of a partial index. That was most of a query that finds nothing, 0.08 to 0.15 ms.
    """
    return rows.c.role == text("'current'")


TABLES: Final[dict[Level, Table]] = {
    Level.PATIENT: patients,
    Level.STUDY: studies,
    Level.SERIES: series,
    Level.IMAGE: instances,
}


def is_found(level: Level) -> ColumnElement[bool]:
    """Whether a row of a level is found: an object that is current, and what has at least one."""
    return is_current(instances) if level is Level.IMAGE else TABLES[level].c.instance_count > 0


# `verified_at` is when it was last read to its end and found to be what was received; `damage` says what was wrong with
# it when it was read last.
copies: Final = Table(
    "copies",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("instance_row", ForeignKey("instances.id"), nullable=False, index=True),
    Column("volume_id", Text, nullable=False),
    Column("path", Text, nullable=False),
    Column("verified_at", Text),
    Column("damage", Text),
    UniqueConstraint("volume_id", "path"),
)
Index("ix_copies_volume_id_verified_at", copies.c.volume_id, copies.c.verified_at)
Index(
    "ix_copies_damage",
    copies.c.damage,
    sqlite_where=text("damage IS NOT NULL"),
    postgresql_where=text("damage IS NOT NULL"),
)

# `instance_row` is 0 where a flag is about the whole study, so that the unique constraint holds for those too.
flags: Final = Table(
    "flags",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("study_row", ForeignKey("studies.id"), nullable=False),
    Column("instance_row", Integer, nullable=False),
    Column("kind", Text, nullable=False, index=True),
    Column("detail", Text, nullable=False),
    Column("noted_at", Text, nullable=False),
    UniqueConstraint("study_row", "instance_row", "kind", "detail"),
)


# The kind of flag that says that an object of the study has the UID of one that is found in the study of `detail`.
UID_OF_ANOTHER: Final = "conflict-uid"
# Of the studies that have the UID of an object: a device that counts anew for each study gives it to thousands, and a
# flag for each pair of them would be millions.
MOST_NAMED_ELSEWHERE: Final = 3


def _items(sequence: ItemSequence) -> Table:
    """The items of a sequence, each once for the study or series in `owner_row`; texts that are not there are empty."""
    owner = {Level.STUDY: studies, Level.SERIES: series}[sequence.level]
    columns = [Column(field.column, Text, nullable=False) for field in sequence.fields]
    table = Table(
        sequence.table,
        metadata,
        Column("id", Integer, primary_key=True),
        Column("owner_row", ForeignKey(owner.c.id), nullable=False),
        *columns,
        UniqueConstraint("owner_row", *(field.column for field in sequence.fields), name=f"uq_{sequence.table}_item"),
    )
    for name in sequence.searched:
        Index(f"ix_{sequence.table}_{name}", table.c[name], postgresql_ops={name: "text_pattern_ops"})
    return table


ITEM_TABLES: Final = {sequence.tag: _items(sequence) for sequence in SEQUENCES}


# The grams of a patient's name: a search for a part of it reads these, whatever the number of patients.
name_grams: Final = Table(
    "name_grams",
    metadata,
    Column("gram", Text, primary_key=True),
    Column("patient_row", ForeignKey("patients.id"), primary_key=True),
    sqlite_with_rowid=False,
)
Index("ix_name_grams_gram", name_grams.c.gram, postgresql_ops={"gram": "text_pattern_ops"}).ddl_if(dialect="postgresql")


# The values of attributes that an admin added: `place` counts those of one row of the field's level, `sought` is what
# keys are compared with.
extra_values: Final = Table(
    "extra_values",
    metadata,
    Column("field_id", Integer, primary_key=True),
    Column("owner_row", Integer, primary_key=True),
    Column("place", Integer, primary_key=True),
    Column("value", Text, nullable=False),
    Column("sought", Text, nullable=False),
    sqlite_with_rowid=False,
)
Index(
    "ix_extra_values_field_id_sought",
    extra_values.c.field_id,
    extra_values.c.sought,
    postgresql_ops={"sought": "text_pattern_ops"},
)

CONTENT: Final = (patients, name_grams, studies, series, instances, copies, flags, *ITEM_TABLES.values(), extra_values)

for column in (
    *(
        TABLES[attribute.level].c[f"{attribute.column}_folded"]
        for attribute in ATTRIBUTES
        if attribute.matching is Matching.NAME and attribute.level is not Level.PATIENT
    ),
    patients.c.patient_id,
    patients.c.patient_name_alphabetic,
    patients.c.patient_name_ideographic,
    patients.c.patient_name_phonetic,
    studies.c.study_date,
    studies.c.accession_number,
    series.c.series_uid,
):
    # A wildcard at the end is a prefix search, which PostgreSQL answers from an index only with this operator class.
    Index(f"ix_{column.table.name}_{column.name}", column, postgresql_ops={column.name: "text_pattern_ops"})

# In the order in which studies are answered, which SQLite reads from the index of the dates alone.
Index(
    "ix_studies_newest", studies.c.study_date.desc().nulls_last(), studies.c.id.desc(), postgresql_using="btree"
).ddl_if(dialect="postgresql")
