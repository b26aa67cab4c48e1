"""Runs the migrations on the connection that index/schema.py hands over, inside its transaction."""

from alembic import context

from pacs_server.index.site_tables import metadata

connection = context.config.attributes["connection"]
if connection.dialect.name == "postgresql":
    # Two nodes that upgrade at once: the second waits, and finds the work done.
    connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7250113)")
context.configure(
    connection=connection,
    target_metadata=metadata,
    render_as_batch=connection.dialect.name == "sqlite",
    transaction_per_migration=False,
    transactional_ddl=False,
)
context.run_migrations()
