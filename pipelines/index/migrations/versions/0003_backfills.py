"""What backfills have read, window by window, and rounds that wait for their turn."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create the tables beside those of the rounds."""
    op.add_column("mailboxes", sa.Column("round_wanted_at", sa.DateTime(), nullable=True))
    op.create_table(
        "backfills",
        sa.Column("id", _ID, nullable=False),
        sa.Column("mailbox_id", _ID, nullable=False),
        sa.Column("since", sa.DateTime(), nullable=False),
        sa.Column("before", sa.DateTime(), nullable=False),
        sa.Column("started_at", sa.DateTime(), nullable=False),
        sa.Column("finished_at", sa.DateTime(), nullable=True),
        sa.ForeignKeyConstraint(["mailbox_id"], ["mailboxes.id"], name=op.f("fk_backfills_mailbox_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_backfills")),
    )
    op.create_index(op.f("ix_backfills_mailbox_id_finished_at"), "backfills", ["mailbox_id", "finished_at"])
    op.create_table(
        "windows",
        sa.Column("id", _ID, nullable=False),
        sa.Column("backfill_id", _ID, nullable=False),
        sa.Column("folder_id", _ID, nullable=False),
        sa.Column("since", sa.DateTime(), nullable=False),
        sa.Column("before", sa.DateTime(), nullable=False),
        sa.Column("started_at", sa.DateTime(), nullable=False),
        sa.Column("closed_at", sa.DateTime(), nullable=True),
        sa.Column("listed", sa.Integer(), nullable=False),
        sa.Column("stored", sa.Integer(), nullable=False),
        sa.Column("known", sa.Integer(), nullable=False),
        sa.Column("quarantined", sa.Integer(), nullable=False),
        sa.Column("gone", sa.Integer(), nullable=False),
        sa.Column("unmatched", sa.Integer(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("note", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["backfill_id"], ["backfills.id"], name=op.f("fk_windows_backfill_id")),
        sa.ForeignKeyConstraint(["folder_id"], ["folders.id"], name=op.f("fk_windows_folder_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_windows")),
    )
    op.create_index(op.f("ix_windows_backfill_id"), "windows", ["backfill_id"])
