"""The first schema."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create every table, and the full-text index beside them."""
    _create_tables()
    if op.get_bind().dialect.name == "postgresql":
        _create_vectors()
        return
    # Contentless: the words are indexed, the text itself stays in the lake.
    op.execute(
        "CREATE VIRTUAL TABLE message_text USING fts5("
        "subject, sender, recipients, attachments, body, content='', "
        "tokenize='unicode61 remove_diacritics 2')"
    )


def _create_vectors() -> None:
    op.execute(
        "CREATE TABLE message_text ("
        "text_id bigint PRIMARY KEY REFERENCES messages (text_id) ON DELETE CASCADE, "
        "subject tsvector NOT NULL, sender tsvector NOT NULL, recipients tsvector NOT NULL, "
        "attachments tsvector NOT NULL, body tsvector NOT NULL)"
    )
    op.execute(
        "CREATE INDEX ix_message_text ON message_text "
        "USING gin (subject, sender, recipients, attachments, body)"
    )
    op.execute("CREATE SEQUENCE message_text_ids")


def _create_tables() -> None:
    op.create_table(
        "index_info",
        sa.Column("index_id", sa.String(length=32), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("index_id", name=op.f("pk_index_info")),
    )
    op.create_table(
        "mailboxes",
        sa.Column("id", _ID, nullable=False),
        sa.Column("address", sa.String(length=320), nullable=False),
        sa.Column("phase", sa.String(length=16), nullable=False),
        sa.Column("commits", sa.Integer(), nullable=False),
        sa.Column("lease_epoch", sa.Integer(), nullable=False),
        sa.Column("lease_holder", sa.JSON(), nullable=True),
        sa.Column("lease_at", sa.DateTime(), nullable=True),
        sa.Column("last_pass_at", sa.DateTime(), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("last_error_at", sa.DateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_mailboxes")),
        sa.UniqueConstraint("address", name=op.f("uq_mailboxes_address")),
    )
    op.create_table(
        "data_files",
        sa.Column("id", _ID, nullable=False),
        sa.Column("mailbox_id", _ID, nullable=False),
        sa.Column("dataset", sa.String(length=16), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("retired_at", sa.DateTime(), nullable=True),
        sa.ForeignKeyConstraint(["mailbox_id"], ["mailboxes.id"], name=op.f("fk_data_files_mailbox_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_data_files")),
        sa.UniqueConstraint("path", name=op.f("uq_data_files_path")),
    )
    op.create_index(
        op.f("ix_data_files_mailbox_id_dataset"), "data_files", ["mailbox_id", "dataset"], unique=False
    )
    op.create_table(
        "folders",
        sa.Column("id", _ID, nullable=False),
        sa.Column("mailbox_id", _ID, nullable=False),
        sa.Column("protocol", sa.String(length=16), nullable=False),
        sa.Column("native", sa.String(length=512), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("skipped", sa.Text(), nullable=True),
        sa.Column("cursor", sa.Text(), nullable=True),
        sa.Column("cursor_at", sa.DateTime(), nullable=True),
        sa.Column("seen_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(["mailbox_id"], ["mailboxes.id"], name=op.f("fk_folders_mailbox_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_folders")),
        sa.UniqueConstraint(
            "mailbox_id", "protocol", "native", name=op.f("uq_folders_mailbox_id_protocol_native")
        ),
    )
    op.create_table(
        "messages",
        sa.Column("id", _ID, nullable=False),
        sa.Column("mailbox_id", _ID, nullable=False),
        sa.Column("message_key", sa.String(length=40), nullable=False),
        sa.Column("header_key", sa.String(length=40), nullable=True),
        sa.Column("message_id", sa.Text(), nullable=True),
        sa.Column("thread_id", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("sender_name", sa.Text(), nullable=False),
        sa.Column("sender_address", sa.Text(), nullable=False),
        sa.Column("recipients", sa.Text(), nullable=False),
        sa.Column("sent_at", sa.DateTime(), nullable=True),
        sa.Column("received_at", sa.DateTime(), nullable=False),
        sa.Column("received_by_server", sa.Boolean(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("attachment_count", sa.Integer(), nullable=False),
        sa.Column("raw_sha256", sa.String(length=64), nullable=False),
        sa.Column("normaliser_version", sa.Integer(), nullable=False),
        sa.Column("file_id", _ID, nullable=False),
        sa.Column("text_id", _ID, nullable=True),
        sa.ForeignKeyConstraint(["file_id"], ["data_files.id"], name=op.f("fk_messages_file_id")),
        sa.ForeignKeyConstraint(["mailbox_id"], ["mailboxes.id"], name=op.f("fk_messages_mailbox_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_messages")),
        sa.UniqueConstraint("mailbox_id", "message_key", name=op.f("uq_messages_mailbox_id_message_key")),
        sa.UniqueConstraint("text_id", name=op.f("uq_messages_text_id")),
    )
    op.create_index(op.f("ix_messages_file_id"), "messages", ["file_id"], unique=False)
    op.create_index(
        op.f("ix_messages_mailbox_id_header_key"), "messages", ["mailbox_id", "header_key"], unique=False
    )
    op.create_index(
        op.f("ix_messages_mailbox_id_raw_sha256"), "messages", ["mailbox_id", "raw_sha256"], unique=False
    )
    op.create_index(op.f("ix_messages_message_id"), "messages", ["message_id"], unique=False)
    op.create_index(op.f("ix_messages_message_key"), "messages", ["message_key"], unique=False)
    op.create_index(op.f("ix_messages_received_at"), "messages", ["received_at"], unique=False)
    op.create_index(op.f("ix_messages_sender_address"), "messages", ["sender_address"], unique=False)
    op.create_table(
        "quarantine",
        sa.Column("id", _ID, nullable=False),
        sa.Column("mailbox_id", _ID, nullable=False),
        sa.Column("folder_id", _ID, nullable=False),
        sa.Column("native_id", sa.String(length=512), nullable=False),
        sa.Column("reason", sa.String(length=32), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("fallback_sha256", sa.String(length=64), nullable=True),
        sa.Column("listed_size", sa.BigInteger(), nullable=True),
        sa.Column("received_at", sa.DateTime(), nullable=True),
        sa.Column("flags", sa.Text(), nullable=False),
        sa.Column("first_at", sa.DateTime(), nullable=False),
        sa.Column("last_at", sa.DateTime(), nullable=False),
        sa.Column("next_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(["folder_id"], ["folders.id"], name=op.f("fk_quarantine_folder_id")),
        sa.ForeignKeyConstraint(["mailbox_id"], ["mailboxes.id"], name=op.f("fk_quarantine_mailbox_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_quarantine")),
        sa.UniqueConstraint("folder_id", "native_id", name=op.f("uq_quarantine_folder_id_native_id")),
    )
    op.create_index(
        op.f("ix_quarantine_mailbox_id_state"), "quarantine", ["mailbox_id", "state"], unique=False
    )
    op.create_table(
        "rounds",
        sa.Column("id", _ID, nullable=False),
        sa.Column("mailbox_id", _ID, nullable=False),
        sa.Column("folder_id", _ID, nullable=False),
        sa.Column("started_at", sa.DateTime(), nullable=False),
        sa.Column("closed_at", sa.DateTime(), nullable=True),
        sa.Column("listed", sa.Integer(), nullable=False),
        sa.Column("stored", sa.Integer(), nullable=False),
        sa.Column("known", sa.Integer(), nullable=False),
        sa.Column("quarantined", sa.Integer(), nullable=False),
        sa.Column("gone", sa.Integer(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("server_count", sa.Integer(), nullable=True),
        sa.Column("lake_count", sa.Integer(), nullable=True),
        sa.Column("note", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["folder_id"], ["folders.id"], name=op.f("fk_rounds_folder_id")),
        sa.ForeignKeyConstraint(["mailbox_id"], ["mailboxes.id"], name=op.f("fk_rounds_mailbox_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rounds")),
    )
    op.create_index(
        op.f("ix_rounds_mailbox_id_started_at"), "rounds", ["mailbox_id", "started_at"], unique=False
    )
    op.create_table(
        "attachments",
        sa.Column("id", _ID, nullable=False),
        sa.Column("row_id", _ID, nullable=False),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("media_type", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("inline", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["row_id"], ["messages.id"], name=op.f("fk_attachments_row_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_attachments")),
    )
    op.create_index(op.f("ix_attachments_row_id"), "attachments", ["row_id"], unique=False)
    op.create_index(op.f("ix_attachments_sha256"), "attachments", ["sha256"], unique=False)
    op.create_table(
        "occurrences",
        sa.Column("id", _ID, nullable=False),
        sa.Column("mailbox_id", _ID, nullable=False),
        sa.Column("folder_id", _ID, nullable=False),
        sa.Column("native_id", sa.String(length=512), nullable=False),
        sa.Column("row_id", _ID, nullable=False),
        sa.Column("raw_sha256", sa.String(length=64), nullable=True),
        sa.Column("evidence", sa.String(length=16), nullable=False),
        sa.Column("listed_size", sa.BigInteger(), nullable=True),
        sa.Column("received_at", sa.DateTime(), nullable=True),
        sa.Column("flags", sa.Text(), nullable=False),
        sa.Column("first_seen_at", sa.DateTime(), nullable=False),
        sa.Column("removed_at", sa.DateTime(), nullable=True),
        sa.ForeignKeyConstraint(["folder_id"], ["folders.id"], name=op.f("fk_occurrences_folder_id")),
        sa.ForeignKeyConstraint(["mailbox_id"], ["mailboxes.id"], name=op.f("fk_occurrences_mailbox_id")),
        sa.ForeignKeyConstraint(["row_id"], ["messages.id"], name=op.f("fk_occurrences_row_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_occurrences")),
        sa.UniqueConstraint("folder_id", "native_id", name=op.f("uq_occurrences_folder_id_native_id")),
    )
    op.create_index(
        op.f("ix_occurrences_folder_id_removed_at"), "occurrences", ["folder_id", "removed_at"], unique=False
    )
    op.create_index(op.f("ix_occurrences_row_id"), "occurrences", ["row_id"], unique=False)
    op.create_table(
        "raws",
        sa.Column("id", _ID, nullable=False),
        sa.Column("mailbox_id", _ID, nullable=False),
        sa.Column("raw_sha256", sa.String(length=64), nullable=False),
        sa.Column("row_id", _ID, nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("file_id", _ID, nullable=False),
        sa.ForeignKeyConstraint(["file_id"], ["data_files.id"], name=op.f("fk_raws_file_id")),
        sa.ForeignKeyConstraint(["mailbox_id"], ["mailboxes.id"], name=op.f("fk_raws_mailbox_id")),
        sa.ForeignKeyConstraint(["row_id"], ["messages.id"], name=op.f("fk_raws_row_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_raws")),
        sa.UniqueConstraint("mailbox_id", "raw_sha256", name=op.f("uq_raws_mailbox_id_raw_sha256")),
    )
    op.create_index(op.f("ix_raws_file_id"), "raws", ["file_id"], unique=False)
    op.create_index(op.f("ix_raws_row_id"), "raws", ["row_id"], unique=False)
