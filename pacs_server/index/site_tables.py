"""The tables of what the site decides, owes and remembers: none of it can be made anew from the objects' files."""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, Table, Text, UniqueConstraint, text

from pacs_server.index.tables import metadata

peers: Final = Table(
    "peers",
    metadata,
    Column("aet", Text, primary_key=True),
    Column("host", Text),
    Column("port", Integer),
    Column("rights", Text, nullable=False),
    Column("sources", Text, nullable=False),
    Column("issuer", Text, nullable=False),
    Column("charset", Text, nullable=False),
    Column("max_answers", Integer, nullable=False, server_default="0"),
    Column("combines_moments", Integer, nullable=False, server_default="0"),
    Column("associations", Integer, nullable=False, server_default="1"),
    Column("syntax", Text, nullable=False, server_default=""),
    Column("certificate", Text, nullable=False, server_default=""),
    Column("uses_tls", Integer, nullable=False, server_default="0"),
    Column("called", Text, nullable=False, server_default="[]"),
    Column("destinations", Text, nullable=False, server_default="[]"),
    Column("max_associations", Integer, nullable=False, server_default="0"),
    Column("reserved", Integer, nullable=False, server_default="0"),
    Column("identity", Text, nullable=False, server_default=""),
    Column("as_user", Text, nullable=False, server_default=""),
    Column("passcode_file", Text, nullable=False, server_default=""),
)

# Persons who log in at peers with a passcode, of which a digest is kept (index/site/users.py). `peers` is a JSON list
# of the AE titles at which each may; an empty one is of all that ask for it.
users: Final = Table(
    "users",
    metadata,
    Column("name", Text, primary_key=True),
    Column("passcode", Text, nullable=False),
    Column("peers", Text, nullable=False),
    Column("changed_at", Text, nullable=False),
)

# Who was rejected, from where, how often, and what it asked for (a JSON list of rights): the latest of them.
turned_away: Final = Table(
    "turned_away",
    metadata,
    Column("aet", Text, primary_key=True),
    Column("address", Text, primary_key=True),
    Column("called", Text, nullable=False),
    Column("fingerprint", Text, nullable=False),
    Column("asked", Text, nullable=False),
    Column("why", Text, nullable=False),
    Column("first_at", Text, nullable=False),
    Column("last_at", Text, nullable=False),
    Column("count", Integer, nullable=False),
)

# Other sites that this one exchanges everything with. `certificate` is PEM, empty until it was seen; `site_id` is NULL
# until the partner has greeted. It knows all that was decided up to the counter `acknowledged`, as was seen last at
# `exchanged_at`.
partners: Final = Table(
    "partners",
    metadata,
    Column("name", Text, primary_key=True),
    Column("host", Text, nullable=False),
    Column("port", Integer, nullable=False),
    Column("fingerprint", Text, nullable=False, unique=True),
    Column("certificate", Text, nullable=False),
    Column("aet", Text, nullable=False),
    Column("is_paused", Integer, nullable=False),
    Column("site_id", Text, unique=True),
    Column("added_at", Text, nullable=False),
    Column("acknowledged", BigInteger, nullable=False, server_default="0"),
    Column("exchanged_at", Text, nullable=False, server_default=""),
)

# What admins changed of what partners have in common, each change as JSON in `content`; the order is that of
# operations.
changes: Final = Table(
    "changes",
    metadata,
    Column("counter", BigInteger, primary_key=True, autoincrement=False),
    Column("site_id", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("content", Text, nullable=False),
)

Index("ix_changes_kind_name", changes.c.kind, changes.c.name)

volumes: Final = Table(
    "volumes",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("path", Text, nullable=False),
    Column("tier", Text, nullable=False),
    Column("domain", Text, nullable=False),
    Column("mode", Text, nullable=False, server_default="normal"),
    Column("high_water", Integer, nullable=False, server_default="100"),
    Column("low_water", Integer, nullable=False, server_default="100"),
    Column("damaged_count", Integer, nullable=False, server_default="0"),
    Column("damaged_on", Text, nullable=False, server_default=""),
    Column("endpoint", Text, nullable=False, server_default=""),
    Column("region", Text, nullable=False, server_default=""),
    Column("credentials_file", Text, nullable=False, server_default=""),
)

# What is owed: the same thing once for each series and target. A series is named by its UIDs, because the rows of the
# index get other ids when it is rebuilt. `generation` grows when it is owed again while somebody works on it.
jobs: Final = Table(
    "jobs",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("study_uid", Text, nullable=False),
    Column("series_uid", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("due_at", Text, nullable=False),
    Column("created_at", Text, nullable=False),
    Column("worker", Text, nullable=False),
    Column("lease_until", Text, nullable=False),
    Column("error", Text, nullable=False),
    UniqueConstraint("kind", "study_uid", "series_uid", "target"),
    sqlite_autoincrement=True,
)

Index("ix_jobs_due_at", jobs.c.due_at)

Index("ix_jobs_kind_due_at", jobs.c.kind, jobs.c.due_at)

# What is to be sent to a destination, and what became of it. What was sent stays, so that no rule sends it again; an
# object is named by what it is, because rows of the index get other ids when it is rebuilt. `route` is empty for what a
# person asked for.
sendings: Final = Table(
    "sendings",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("destination", Text, nullable=False),
    Column("study_uid", Text, nullable=False),
    Column("series_uid", Text, nullable=False),
    Column("sop_uid", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Column("route", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("owed_at", Text, nullable=False),
    Column("at", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    UniqueConstraint("destination", "sop_uid", "digest"),
    sqlite_autoincrement=True,
)

Index("ix_sendings_destination_study_uid", sendings.c.destination, sendings.c.study_uid)

Index(
    "ix_sendings_open",
    sendings.c.destination,
    sendings.c.state,
    sendings.c.series_uid,
    sqlite_where=text("state <> 'sent'"),
    postgresql_where=text("state <> 'sent'"),
)

# What persons decided about objects, as it also lies in a file on every volume; `content` is that file. The order of
# operations is that of (counter, site_id): the counter of a new one is greater than all that its site knew of.
operations: Final = Table(
    "operations",
    metadata,
    Column("counter", BigInteger, primary_key=True, autoincrement=False),
    Column("site_id", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("study_uid", Text, nullable=False, index=True),
    Column("at", Text, nullable=False),
    Column("who", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("content", Text, nullable=False),
)


def _stamp() -> list[Column[object]]:
    """The operation that decided last, as the order of operations goes."""
    return [Column("counter", BigInteger, nullable=False), Column("site_id", Text, nullable=False)]


# What the last operation on an object made of it: kept, trashed or purged (its tombstone). `role` is the one it had
# before it was trashed.
fates: Final = Table(
    "fates",
    metadata,
    Column("sop_uid", Text, primary_key=True),
    Column("digest", Text, primary_key=True),
    Column("study_uid", Text, nullable=False, index=True),
    Column("fate", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("at", Text, nullable=False),
    *_stamp(),
)

Index(
    "ix_fates_trashed",
    fates.c.at,
    sqlite_where=text("fate = 'trashed'"),
    postgresql_where=text("fate = 'trashed'"),
)

# Studies that must not be deleted.
holds: Final = Table(
    "holds",
    metadata,
    Column("study_uid", Text, primary_key=True),
    Column("at", Text, nullable=False),
    Column("who", Text, nullable=False),
    Column("reason", Text, nullable=False),
    *_stamp(),
)

# Which content a person made the current one that a study has under a SOP Instance UID. A release before this column
# enters none.
choices: Final = Table(
    "choices",
    metadata,
    Column("study_uid", Text, primary_key=True, server_default=""),
    Column("sop_uid", Text, primary_key=True),
    Column("digest", Text, nullable=False),
    *_stamp(),
)

# Which archive servers keep an object for us, as the operations say. `damage` is why one did not give it back when it
# was asked last; a deposit with one counts no more.
deposits: Final = Table(
    "deposits",
    metadata,
    Column("sop_uid", Text, primary_key=True),
    Column("digest", Text, primary_key=True),
    Column("aet", Text, primary_key=True),
    Column("study_uid", Text, nullable=False, index=True),
    Column("transaction_uid", Text, nullable=False),
    Column("at", Text, nullable=False),
    Column("damage", Text),
    *_stamp(),
)

# What was sent to an archive server that is to keep it, and is not kept yet. `transaction_uid` is empty until its
# commitment is asked for.
depositing: Final = Table(
    "depositing",
    metadata,
    Column("aet", Text, primary_key=True),
    Column("sop_uid", Text, primary_key=True),
    Column("digest", Text, primary_key=True),
    Column("transaction_uid", Text, nullable=False),
    Column("at", Text, nullable=False),
)

# Files that are copies no more, and are to be removed from their volume once they are due and it is there.
releases: Final = Table(
    "releases",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("volume_id", Text, nullable=False),
    Column("path", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("due_at", Text, nullable=False),
    Column("size_bytes", BigInteger, nullable=False, server_default="0"),
    UniqueConstraint("volume_id", "path"),
)

Index("ix_releases_volume_id_due_at", releases.c.volume_id, releases.c.due_at)

# Transactions of Storage Commitment: `direction` in is of a peer that asks us, out of one that we ask. `content` is the
# same for the same objects; `asked` counts how often it was asked, so that an answer belongs to one asking.
commitments: Final = Table(
    "commitments",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("direction", Text, nullable=False),
    Column("aet", Text, nullable=False),
    Column("transaction_uid", Text, nullable=False),
    Column("content", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("asked_at", Text, nullable=False, index=True),
    Column("asked", Integer, nullable=False),
    Column("objects", Integer, nullable=False),
    Column("failed", Integer, nullable=False),
    Column("settled_at", Text, nullable=False),
    UniqueConstraint("direction", "aet", "transaction_uid"),
    sqlite_autoincrement=True,
)

# Their objects. `reason` is empty while it is not known what becomes of one, 0 for one that is committed to. When a
# transaction is settled only those that failed stay.
commitment_items: Final = Table(
    "commitment_items",
    metadata,
    Column("commitment_id", ForeignKey("commitments.id"), primary_key=True),
    Column("sop_uid", Text, primary_key=True),
    Column("sop_class", Text, primary_key=True),
    Column("reason", Integer),
)


def _place() -> list[Column[object]]:
    """Where a row of the audit trail is: in the order of time, so that rows are only ever added at the end."""
    number: Column[object] = Column("number", Integer, primary_key=True, autoincrement=False)
    return [Column("at", Text, primary_key=True), Column("chain", Text, primary_key=True), number]


# Who did what; rows are only ever added. Each process that writes has a chain of its own, so that none waits for
# another to tell the hash before; `hash` covers the row and that hash (dicom/audit.py). With one index more, SQLite
# would write one page more for each commit, which is each object of a sender that sends alone.
audit: Final = Table(
    "audit",
    metadata,
    *_place(),
    *(Column(name, Text, nullable=False) for name in ("event", "outcome", "who", "address", "target")),
    *(Column(name, Text, nullable=False) for name in ("patient_id", "issuer", "study_uid")),
    Column("object_count", Integer, nullable=False),
    *(Column(name, Text, nullable=False) for name in ("uid_digest", "detail", "hash")),
    Column("person", Text, nullable=False, server_default=""),
    sqlite_with_rowid=False,
)

Index("ix_audit_patient_id", audit.c.patient_id, audit.c.at, postgresql_where=text("patient_id <> ''")).ddl_if(
    dialect="postgresql"
)

# How far every chain was at one moment, signed; `content` is the file that also lies on every volume. Who signs has a
# series, which is that of its key.
checkpoints: Final = Table(
    "checkpoints",
    metadata,
    Column("series", Text, primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("at", Text, nullable=False),
    Column("content", Text, nullable=False),
)

# Rows that are still to be sent to the receiver of audit messages.
audit_owed: Final = Table("audit_owed", metadata, *_place(), sqlite_with_rowid=False)

# What the site has decided and is no table of its own, as JSON by name; `revision` counts changes of it and volumes.
site: Final = Table("site", metadata, Column("name", Text, primary_key=True), Column("value", Text, nullable=False))

# Attributes that an admin added to those of dicom/attributes.py. Their ids never come again. `stage` says how far the
# files that were here before are read for it, `read_to` up to which instance; `present_to` was the last at the time.
extra_fields: Final = Table(
    "extra_fields",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("keyword", Text, nullable=False, unique=True),
    Column("tag", Integer, nullable=False),
    Column("creator", Text, nullable=False),
    Column("vr", Text, nullable=False),
    Column("level", Text, nullable=False),
    Column("added_at", Text, nullable=False),
    Column("stage", Text, nullable=False),
    Column("read_to", Integer, nullable=False),
    Column("present_to", Integer, nullable=False),
    sqlite_autoincrement=True,
)
