"""Run by alembic; the connection is handed in by ``pipelines.index.engine``."""

from alembic import context

from pipelines.index.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
