"""When all ids of a folder were last listed, whatever its cursor said."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Folders know their last sweep."""
    op.add_column("folders", sa.Column("swept_at", sa.DateTime(), nullable=True))
