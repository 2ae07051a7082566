"""What was read or listed, in the terms of the lake and of the index."""

from collections.abc import Sequence

from pipelines.index.changes import Listed, RoundAccount
from pipelines.index.quarantine import QuarantineEntry
from pipelines.ingest.forms import Read
from pipelines.lake import MessageRow, RawRow
from pipelines.sources.base import Entry


def entry_of(held: QuarantineEntry) -> Entry:
    """A message in quarantine, as it was listed."""
    return Entry(held.native_id, held.size, held.received_at, held.flags, content_mark=held.content_mark)


def as_listed(account: RoundAccount, entry: Entry) -> Listed:
    """An id, as its folder's listing has it."""
    return Listed(
        account.folder_id,
        entry.native_id,
        entry.size,
        entry.received_at if by_server(entry) else None,
        entry.flags,
        entry.content_mark,
    )


def by_server(entry: Entry) -> bool:
    """Whether the server itself says when it received the message."""
    return entry.received_at is not None and entry.received_by_server


def raw_row(read: Read, message_key: str) -> RawRow:
    """The row of ``raw`` for bytes that belong to this message."""
    return RawRow(
        raw_sha256=read.record.raw_sha256,
        mime=read.mime,
        message_key=message_key,
        protocol=read.protocol,
        folder=read.account.path,
        native_id=read.entry.native_id,
        listed_size=read.entry.size,
        received_at=read.received_at,
        received_by_server=by_server(read.entry),
        flags=read.entry.flags,
        fetched_at=read.fetched_at,
        weak=message_key != read.record.message_key,
        fidelity=read.fidelity,
    )


def message_row(reads: Sequence[Read]) -> MessageRow:
    """The row of ``messages`` for one message, however often it was read."""
    first = reads[0]
    return MessageRow(
        record=first.record,
        folders=list(dict.fromkeys(read.account.path for read in reads)),
        flags=first.entry.flags,
        received_at=first.received_at,
        protocol=first.protocol,
        fetched_at=first.fetched_at,
        fidelity=first.fidelity,
    )
