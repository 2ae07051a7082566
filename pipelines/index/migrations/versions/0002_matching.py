"""What matching across protocols and moves needs: marks of content, weakly matched bytes."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Ids that are mailbox-wide are looked up by mailbox."""
    op.add_column("occurrences", sa.Column("content_mark", sa.String(length=64), nullable=True))
    op.create_index("ix_occurrences_mailbox_id_native_id", "occurrences", ["mailbox_id", "native_id"])
    op.add_column("raws", sa.Column("weak", sa.Boolean(), nullable=False, server_default=sa.false()))
