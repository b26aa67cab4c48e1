"""Runs the migrations on the connection of index/maintenance/schema.py, in its transaction; nobody else writes then."""

from alembic import context

from pacs_server.index.site_tables import metadata

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=metadata,
    render_as_batch=connection.dialect.name == "sqlite",
    transaction_per_migration=False,
    transactional_ddl=False,
)
context.run_migrations()
