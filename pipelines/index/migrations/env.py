"""Run by alembic; the connection is handed in by ``pipelines.index.engine``.

Whatever length a migration gives to a text: SQLite never cuts or refuses one, so neither
may PostgreSQL. And it compares text byte by byte as SQLite does, whatever the database's
own language is.
"""

import sqlalchemy as sa
from alembic import context

from pipelines.index.tables import metadata

connection = context.config.attributes["connection"]
_TEXTS = sa.text(
    "SELECT table_name, string_agg(format("
    "'ALTER %I TYPE text COLLATE \"C\"', column_name), ', ') AS alterations "
    "FROM information_schema.columns "
    "WHERE table_schema = current_schema() AND table_name <> 'alembic_version' "
    "AND data_type IN ('text', 'character varying') AND collation_name IS DISTINCT FROM 'C' "
    "GROUP BY table_name"
)

context.configure(
    connection=connection,
    target_metadata=metadata,
    render_as_batch=True,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
    if connection.dialect.name == "postgresql":
        for table, alterations in connection.execute(_TEXTS).all():
            connection.exec_driver_sql(f'ALTER TABLE "{table}" {alterations}')
