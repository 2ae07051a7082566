"""What accepting a quarantined message needs: how its form was made, who took it and why."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Every row of ``messages`` so far was read from the message's own MIME."""
    op.add_column("quarantine", sa.Column("fidelity", sa.String(length=32), nullable=True))
    op.add_column("quarantine", sa.Column("content_mark", sa.String(length=64), nullable=True))
    op.add_column("quarantine", sa.Column("accepted_by", sa.Text(), nullable=True))
    op.add_column("quarantine", sa.Column("accepted_at", sa.DateTime(), nullable=True))
    op.add_column("quarantine", sa.Column("accepted_reason", sa.Text(), nullable=True))
    # With a default a column is added in no time, however many messages there are.
    fidelity = sa.Column("fidelity", sa.String(length=32), nullable=False, server_default="mime")
    op.add_column("messages", fidelity)
