"""What stands in the full-text index, so that words that are the same again need not be indexed again."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Nothing is known of what is there: it is indexed anew once, when its message is read again."""
    op.add_column("messages", sa.Column("text_digest", sa.String(32), nullable=True))
