"""The full-text index gathers more words in memory before it writes them: fewer pieces, to be merged less."""

from alembic import op

revision = "0008"
down_revision = "0007"

_BYTES = 8 * 1024 * 1024
"""About what a batch of small mail takes. FTS5's own choice is a megabyte."""


def upgrade() -> None:
    """Keep the setting in the index itself, where every connection finds it."""
    if op.get_bind().dialect.name == "sqlite":
        op.execute(f"INSERT INTO message_text(message_text, rank) VALUES ('hashsize', {_BYTES})")
