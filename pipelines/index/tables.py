"""The tables of the index.

Uniqueness lives here, not in code: an occurrence once per folder, a message once per
mailbox and key, the bytes once per mailbox and digest, a file once per lake.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine import Dialect


class _SqliteDateTime(sqlite.DATETIME):
    """As SQLAlchemy writes it, and faster: four stand in the rows of each message."""

    def bind_processor(self, dialect: Dialect) -> Callable[[datetime | None], str | None]:  # noqa: ARG002
        return lambda value: None if value is None else value.isoformat(" ", "microseconds")


class Instant(sa.types.TypeDecorator[datetime]):
    """An aware UTC ``datetime``, kept without its zone."""

    impl = sa.DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> sa.types.TypeEngine[Any]:
        if dialect.name == "sqlite":
            return _SqliteDateTime()  # type: ignore[no-untyped-call]
        return super().load_dialect_impl(dialect)

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        return value and value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: Any | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        return value and value.replace(tzinfo=UTC)


_BIG = sa.BigInteger().with_variant(sa.Integer, "sqlite")
"""SQLite numbers rows by itself only in a column declared INTEGER."""

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _id() -> sa.Column[int]:
    return sa.Column("id", _BIG, primary_key=True)


def _mailbox() -> sa.Column[int]:
    return sa.Column("mailbox_id", sa.ForeignKey("mailboxes.id"), nullable=False)


def _kept(name: str) -> sa.Column[int]:
    """A sum over rows of another table that the database keeps by triggers: migration 0007."""
    return sa.Column(name, sa.BigInteger, nullable=False, server_default="0")


def _account() -> list[sa.Column[Any]]:
    """When a folder was walked, how many ids were listed, and what became of them."""
    counts = ("listed", "stored", "known", "quarantined", "gone", "unmatched")
    return [
        sa.Column("started_at", Instant, nullable=False),
        sa.Column("closed_at", Instant),
        *(sa.Column(count, sa.Integer, nullable=False) for count in counts),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("note", sa.Text),
    ]


index_info = sa.Table(
    "index_info",
    metadata,
    sa.Column("index_id", sa.String(32), primary_key=True),
    sa.Column("created_at", Instant, nullable=False),
)

mailboxes = sa.Table(
    "mailboxes",
    metadata,
    _id(),
    sa.Column("address", sa.String(320), nullable=False, unique=True),
    sa.Column("phase", sa.String(16), nullable=False),
    sa.Column("phase_at", Instant),
    sa.Column("failed_passes", sa.Integer, nullable=False, default=0),
    sa.Column("commits", sa.Integer, nullable=False, default=0),
    sa.Column("adopted_epoch", sa.Integer, nullable=False, default=0),
    sa.Column("lease_epoch", sa.Integer, nullable=False, default=0),
    sa.Column("lease_holder", sa.JSON),
    sa.Column("lease_at", Instant),
    sa.Column("last_pass_at", Instant),
    sa.Column("last_error", sa.Text),
    sa.Column("last_error_at", Instant),
    sa.Column("round_wanted_at", Instant),
    _kept("raw_bytes"),
)

folders = sa.Table(
    "folders",
    metadata,
    _id(),
    _mailbox(),
    sa.Column("protocol", sa.String(16), nullable=False),
    sa.Column("native", sa.String(512), nullable=False),
    sa.Column("path", sa.Text, nullable=False),
    sa.Column("role", sa.String(16), nullable=False),
    sa.Column("skipped", sa.Text),
    sa.Column("cursor", sa.Text),
    sa.Column("cursor_at", Instant),
    sa.Column("swept_at", Instant),
    sa.Column("seen_at", Instant, nullable=False),
    _kept("live_occurrences"),
    sa.UniqueConstraint("mailbox_id", "protocol", "native"),
)

data_files = sa.Table(
    "data_files",
    metadata,
    _id(),
    _mailbox(),
    sa.Column("dataset", sa.String(16), nullable=False),
    sa.Column("path", sa.Text, nullable=False, unique=True),
    sa.Column("rows", sa.Integer, nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("retired_at", Instant),
    sa.Index(None, "mailbox_id", "dataset"),
)

messages = sa.Table(
    "messages",
    metadata,
    _id(),
    _mailbox(),
    sa.Column("message_key", sa.String(40), nullable=False),
    sa.Column("header_key", sa.String(40)),
    sa.Column("message_id", sa.Text),
    sa.Column("thread_id", sa.Text, nullable=False),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("sender_name", sa.Text, nullable=False),
    sa.Column("sender_address", sa.Text, nullable=False),
    sa.Column("recipients", sa.Text, nullable=False),
    sa.Column("sent_at", Instant),
    sa.Column("received_at", Instant, nullable=False),
    sa.Column("received_by_server", sa.Boolean, nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("attachment_count", sa.Integer, nullable=False),
    sa.Column("raw_sha256", sa.String(64), nullable=False),
    sa.Column("fidelity", sa.String(32), nullable=False),
    sa.Column("normaliser_version", sa.Integer, nullable=False),
    sa.Column("file_id", sa.ForeignKey("data_files.id"), nullable=False),
    sa.Column("text_id", _BIG, unique=True),
    sa.Column("text_digest", sa.String(32)),
    sa.UniqueConstraint("mailbox_id", "message_key"),
    sa.Index(None, "file_id", "normaliser_version"),
    sa.Index(None, "mailbox_id", "header_key"),
    sa.Index(None, "mailbox_id", "raw_sha256"),
    sa.Index(None, "message_id"),
    sa.Index(None, "message_key"),
    sa.Index(None, "received_at"),
    sa.Index(None, "sender_address"),
)

raws = sa.Table(
    "raws",
    metadata,
    _id(),
    _mailbox(),
    sa.Column("raw_sha256", sa.String(64), nullable=False),
    sa.Column("row_id", sa.ForeignKey("messages.id"), nullable=False, index=True),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("file_id", sa.ForeignKey("data_files.id"), nullable=False, index=True),
    sa.Column("protocol", sa.String(16), nullable=False),
    sa.Column("weak", sa.Boolean, nullable=False),
    sa.Column("own_key", sa.String(40)),
    sa.UniqueConstraint("mailbox_id", "raw_sha256"),
    sa.Index(None, "mailbox_id", "own_key"),
)

occurrences = sa.Table(
    "occurrences",
    metadata,
    _id(),
    _mailbox(),
    sa.Column("folder_id", sa.ForeignKey("folders.id"), nullable=False),
    sa.Column("native_id", sa.String(512), nullable=False),
    sa.Column("row_id", sa.ForeignKey("messages.id"), nullable=False, index=True),
    sa.Column("raw_sha256", sa.String(64)),
    sa.Column("evidence", sa.String(16), nullable=False),
    sa.Column("listed_size", sa.BigInteger),
    sa.Column("received_at", Instant),
    sa.Column("flags", sa.Text, nullable=False),
    sa.Column("content_mark", sa.String(64)),
    sa.Column("first_seen_at", Instant, nullable=False),
    sa.Column("removed_at", Instant),
    sa.UniqueConstraint("folder_id", "native_id"),
    sa.Index(None, "folder_id", "removed_at"),
    sa.Index(None, "mailbox_id", "native_id"),
)

attachments = sa.Table(
    "attachments",
    metadata,
    _id(),
    sa.Column("row_id", sa.ForeignKey("messages.id"), nullable=False, index=True),
    sa.Column("name", sa.Text),
    sa.Column("media_type", sa.Text, nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("sha256", sa.String(64), nullable=False, index=True),
    sa.Column("inline", sa.Boolean, nullable=False),
)

quarantine = sa.Table(
    "quarantine",
    metadata,
    _id(),
    _mailbox(),
    sa.Column("folder_id", sa.ForeignKey("folders.id"), nullable=False),
    sa.Column("native_id", sa.String(512), nullable=False),
    sa.Column("reason", sa.String(32), nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("fallback_sha256", sa.String(64)),
    sa.Column("fidelity", sa.String(32)),
    sa.Column("header_key", sa.String(40)),
    sa.Column("message_id", sa.Text),
    sa.Column("subject", sa.Text),
    sa.Column("listed_size", sa.BigInteger),
    sa.Column("received_at", Instant),
    sa.Column("flags", sa.Text, nullable=False),
    sa.Column("content_mark", sa.String(64)),
    sa.Column("first_at", Instant, nullable=False),
    sa.Column("last_at", Instant, nullable=False),
    sa.Column("next_at", Instant, nullable=False),
    sa.Column("accepted_by", sa.Text),
    sa.Column("accepted_at", Instant),
    sa.Column("accepted_reason", sa.Text),
    sa.UniqueConstraint("folder_id", "native_id"),
    sa.Index(None, "mailbox_id", "state"),
)

rounds = sa.Table(
    "rounds",
    metadata,
    _id(),
    _mailbox(),
    sa.Column("folder_id", sa.ForeignKey("folders.id"), nullable=False),
    *_account(),
    sa.Column("server_count", sa.Integer),
    sa.Column("lake_count", sa.Integer),
    sa.Index(None, "mailbox_id", "started_at"),
)

unmatched = sa.Table(
    "unmatched",
    metadata,
    _id(),
    _mailbox(),
    sa.Column("folder_id", sa.ForeignKey("folders.id"), nullable=False),
    sa.Column("native_id", sa.String(512), nullable=False),
    sa.Column("header_key", sa.String(40)),
    sa.Column("message_id", sa.Text),
    sa.Column("subject", sa.Text),
    sa.Column("listed_size", sa.BigInteger),
    sa.Column("received_at", Instant),
    sa.Column("flags", sa.Text, nullable=False),
    sa.Column("content_mark", sa.String(64)),
    sa.Column("own_key", sa.String(40)),
    sa.Column("compared_with", sa.Text),
    sa.Column("first_at", Instant, nullable=False),
    sa.Column("last_at", Instant, nullable=False),
    sa.UniqueConstraint("folder_id", "native_id"),
    sa.Index(None, "mailbox_id", "header_key"),
)

journal = sa.Table(
    "journal",
    metadata,
    _id(),
    _mailbox(),
    sa.Column("at", Instant, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("phase_from", sa.String(16), nullable=False),
    sa.Column("phase_to", sa.String(16), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("grade", sa.String(16)),
    sa.Column("evidence", sa.JSON, nullable=False),
    sa.Index(None, "mailbox_id", "at"),
)

parities = sa.Table(
    "parities",
    metadata,
    _id(),
    _mailbox(),
    sa.Column("at", Instant, nullable=False),
    sa.Column("legacy", sa.String(16), nullable=False),
    sa.Column("grade", sa.String(16), nullable=False),
    sa.Column("counts", sa.JSON, nullable=False),
    sa.Index(None, "mailbox_id", "at"),
)

differences = sa.Table(
    "differences",
    metadata,
    _id(),
    sa.Column("parity_id", sa.ForeignKey("parities.id"), nullable=False, index=True),
    sa.Column("item", sa.String(40), nullable=False),
    sa.Column("kind", sa.String(32), nullable=False),
    sa.Column("folder", sa.Text, nullable=False),
    sa.Column("legacy_id", sa.String(512)),
    sa.Column("graph_id", sa.String(512)),
    sa.Column("message_id", sa.Text),
    sa.Column("subject", sa.Text),
    sa.Column("message_key", sa.String(40)),
    sa.Column("why", sa.Text, nullable=False),
    sa.Column("action", sa.Text, nullable=False),
)

acceptances = sa.Table(
    "acceptances",
    metadata,
    _id(),
    _mailbox(),
    sa.Column("item", sa.String(40), nullable=False),
    sa.Column("at", Instant, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.UniqueConstraint("mailbox_id", "item"),
)

holds = sa.Table(
    "holds",
    metadata,
    _id(),
    sa.Column("wave", sa.Text),
    sa.Column("mailbox_id", sa.ForeignKey("mailboxes.id"), unique=True),
    sa.Column("at", Instant, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.UniqueConstraint("wave"),
)

backfills = sa.Table(
    "backfills",
    metadata,
    _id(),
    _mailbox(),
    sa.Column("since", Instant, nullable=False),
    sa.Column("before", Instant, nullable=False),
    sa.Column("started_at", Instant, nullable=False),
    sa.Column("finished_at", Instant),
    sa.Index(None, "mailbox_id", "finished_at"),
)

windows = sa.Table(
    "windows",
    metadata,
    _id(),
    sa.Column("backfill_id", sa.ForeignKey("backfills.id"), nullable=False, index=True),
    sa.Column("folder_id", sa.ForeignKey("folders.id"), nullable=False),
    sa.Column("since", Instant, nullable=False),
    sa.Column("before", Instant, nullable=False),
    *_account(),
)
