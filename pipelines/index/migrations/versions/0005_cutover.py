"""The switch: phases with their journal, parity with its differences, and what is held back."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.schema import SchemaItem

revision = "0005"
down_revision = "0004"

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add the tables of the switch, and what mailboxes and rounds know of it."""
    op.add_column("mailboxes", sa.Column("phase_at", sa.DateTime(), nullable=True))
    for name in ("failed_passes", "adopted_epoch"):
        op.add_column("mailboxes", sa.Column(name, sa.Integer(), nullable=False, server_default="0"))
    op.add_column("rounds", sa.Column("unmatched", sa.Integer(), nullable=False, server_default="0"))
    for column in (
        sa.Column("header_key", sa.String(length=40), nullable=True),
        sa.Column("message_id", sa.Text(), nullable=True),
        sa.Column("subject", sa.Text(), nullable=True),
    ):
        op.add_column("quarantine", column)
    op.add_column("raws", sa.Column("protocol", sa.String(length=16), nullable=False, server_default="imap"))
    op.add_column("raws", sa.Column("own_key", sa.String(length=40), nullable=True))
    op.create_index(op.f("ix_raws_mailbox_id_own_key"), "raws", ["mailbox_id", "own_key"])
    _create_unmatched()
    _create_journal()
    _create_parity()
    _create_decisions()


def _mailbox(table: str) -> list[SchemaItem]:
    return [
        sa.Column("mailbox_id", _ID, nullable=False),
        sa.ForeignKeyConstraint(["mailbox_id"], ["mailboxes.id"], name=op.f(f"fk_{table}_mailbox_id")),
    ]


def _id(table: str) -> list[SchemaItem]:
    return [sa.Column("id", _ID, nullable=False), sa.PrimaryKeyConstraint("id", name=op.f(f"pk_{table}"))]


def _create_unmatched() -> None:
    op.create_table(
        "unmatched",
        *_id("unmatched"),
        *_mailbox("unmatched"),
        sa.Column("folder_id", _ID, nullable=False),
        sa.Column("native_id", sa.String(length=512), nullable=False),
        sa.Column("header_key", sa.String(length=40), nullable=True),
        sa.Column("message_id", sa.Text(), nullable=True),
        sa.Column("subject", sa.Text(), nullable=True),
        sa.Column("listed_size", sa.BigInteger(), nullable=True),
        sa.Column("received_at", sa.DateTime(), nullable=True),
        sa.Column("flags", sa.Text(), nullable=False),
        sa.Column("content_mark", sa.String(length=64), nullable=True),
        sa.Column("own_key", sa.String(length=40), nullable=True),
        sa.Column("compared_with", sa.Text(), nullable=True),
        sa.Column("first_at", sa.DateTime(), nullable=False),
        sa.Column("last_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(["folder_id"], ["folders.id"], name=op.f("fk_unmatched_folder_id")),
        sa.UniqueConstraint("folder_id", "native_id", name=op.f("uq_unmatched_folder_id_native_id")),
    )
    op.create_index("ix_unmatched_mailbox_id_header_key", "unmatched", ["mailbox_id", "header_key"])


def _create_journal() -> None:
    op.create_table(
        "journal",
        *_id("journal"),
        *_mailbox("journal"),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("phase_from", sa.String(length=16), nullable=False),
        sa.Column("phase_to", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("grade", sa.String(length=16), nullable=True),
        sa.Column("evidence", sa.JSON(), nullable=False),
    )
    op.create_index("ix_journal_mailbox_id_at", "journal", ["mailbox_id", "at"])


def _create_parity() -> None:
    op.create_table(
        "parities",
        *_id("parities"),
        *_mailbox("parities"),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.Column("legacy", sa.String(length=16), nullable=False),
        sa.Column("grade", sa.String(length=16), nullable=False),
        sa.Column("counts", sa.JSON(), nullable=False),
    )
    op.create_index("ix_parities_mailbox_id_at", "parities", ["mailbox_id", "at"])
    op.create_table(
        "differences",
        *_id("differences"),
        sa.Column("parity_id", _ID, nullable=False),
        sa.Column("item", sa.String(length=40), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("folder", sa.Text(), nullable=False),
        sa.Column("legacy_id", sa.String(length=512), nullable=True),
        sa.Column("graph_id", sa.String(length=512), nullable=True),
        sa.Column("message_id", sa.Text(), nullable=True),
        sa.Column("subject", sa.Text(), nullable=True),
        sa.Column("message_key", sa.String(length=40), nullable=True),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["parity_id"], ["parities.id"], name=op.f("fk_differences_parity_id")),
    )
    op.create_index("ix_differences_parity_id", "differences", ["parity_id"])


def _create_decisions() -> None:
    op.create_table(
        "acceptances",
        *_id("acceptances"),
        *_mailbox("acceptances"),
        sa.Column("item", sa.String(length=40), nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.UniqueConstraint("mailbox_id", "item", name=op.f("uq_acceptances_mailbox_id_item")),
    )
    op.create_table(
        "holds",
        *_id("holds"),
        sa.Column("wave", sa.Text(), nullable=True),
        sa.Column("mailbox_id", _ID, nullable=True),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["mailbox_id"], ["mailboxes.id"], name=op.f("fk_holds_mailbox_id")),
        sa.UniqueConstraint("mailbox_id", name=op.f("uq_holds_mailbox_id")),
        sa.UniqueConstraint("wave", name=op.f("uq_holds_wave")),
    )
