"""Building a mailbox's part of the index from the lake alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from pipelines.index.changes import Evidence, Listed, NewMessage, NewRaw
from pipelines.index.commit import (
    insert_files,
    insert_messages,
    insert_raws,
    listed_columns,
    own_forms,
)
from pipelines.index.engine import Index
from pipelines.index.inserting import insert
from pipelines.index.lease import Lease, renew
from pipelines.index.lookup import chunks, message_rows
from pipelines.index.tables import (
    attachments,
    backfills,
    data_files,
    folders,
    mailboxes,
    messages,
    occurrences,
    quarantine,
    raws,
    rounds,
    unmatched,
    windows,
)
from pipelines.lake import DataFile


@dataclass(frozen=True, slots=True)
class FoundRaw:
    """A row of ``raw`` as the lake tells it, without the bytes."""

    raw: NewRaw
    protocol: str
    folder: str
    native_id: str
    listed_size: int | None
    received_at: datetime
    received_by_server: bool
    flags: tuple[str, ...]
    fetched_at: datetime


def forget(index: Index, lease: Lease, now: datetime, *, epoch: int, commits: int) -> None:
    """Drop what the index says of the mailbox, and let its numbers start after those of the lake.

    Folders stay without their cursors: a fresh listing is matched by identity. What a person
    accepted stays too: no server can tell it again.
    """
    with index.write() as connection:
        renew(connection, lease, now)
        ours = sa.select(messages.c.id).where(messages.c.mailbox_id == lease.mailbox_id)
        connection.execute(sa.delete(attachments).where(attachments.c.row_id.in_(ours)))
        ours = sa.select(backfills.c.id).where(backfills.c.mailbox_id == lease.mailbox_id)
        connection.execute(sa.delete(windows).where(windows.c.backfill_id.in_(ours)))
        for table in (occurrences, raws, unmatched, rounds, backfills, messages, data_files):
            connection.execute(sa.delete(table).where(table.c.mailbox_id == lease.mailbox_id))
        connection.execute(
            sa.delete(quarantine).where(
                quarantine.c.mailbox_id == lease.mailbox_id, quarantine.c.accepted_at.is_(None)
            )
        )
        connection.execute(
            sa.update(folders).where(folders.c.mailbox_id == lease.mailbox_id).values(cursor=None)
        )
        epoch, commits = max(epoch + 1, lease.epoch), max(commits, lease.commits + 1)
        connection.execute(
            sa.update(mailboxes)
            .where(mailboxes.c.id == lease.mailbox_id)
            .values(lease_epoch=epoch, commits=commits, adopted_epoch=epoch - 1)
        )
    lease.epoch, lease.commits, lease.adopted_epoch = epoch, commits, epoch - 1


def adopt_messages(
    index: Index, lease: Lease, file: DataFile, rows: Sequence[NewMessage], now: datetime
) -> None:
    """Name a file of ``messages`` and enter its rows."""
    with index.write() as connection:
        renew(connection, lease, now)
        file_ids = insert_files(connection, lease.mailbox_id, [file])
        insert_messages(connection, lease.mailbox_id, list(rows), file_ids)
        own_forms(connection, lease.mailbox_id, [each.row.record.message_key for each in rows])
    lease.commits += 1


def adopt_raws(index: Index, lease: Lease, file: DataFile, rows: Sequence[FoundRaw], now: datetime) -> None:
    """Name a file of ``raw``, if it is not yet, and enter where its bytes stand and how they came."""
    with index.write() as connection:
        renew(connection, lease, now)
        named = connection.execute(sa.select(data_files).where(data_files.c.path == file.path))
        file_ids = {row.path: row.id for row in named}
        file_ids = file_ids or insert_files(connection, lease.mailbox_id, [file])
        if rows:
            _enter_raws(connection, lease.mailbox_id, rows, file_ids, now)
    lease.commits += 1


def _enter_raws(
    connection: sa.Connection,
    mailbox_id: int,
    rows: Sequence[FoundRaw],
    file_ids: dict[str, int],
    now: datetime,
) -> None:
    row_ids = message_rows(connection, mailbox_id, [each.raw.message_key for each in rows])
    insert_raws(connection, mailbox_id, [each.raw for each in rows], row_ids, file_ids)
    folder_ids = _folders(connection, mailbox_id, rows, now)
    connection.execute(
        insert(connection, occurrences).on_conflict_do_nothing(index_elements=["folder_id", "native_id"]),
        [
            {
                "mailbox_id": mailbox_id,
                **listed_columns(
                    Listed(
                        folder_ids[each.protocol, each.folder],
                        each.native_id,
                        each.listed_size,
                        each.received_at if each.received_by_server else None,
                        each.flags,
                    )
                ),
                "row_id": row_ids[each.raw.message_key],
                "raw_sha256": each.raw.raw_sha256,
                "evidence": Evidence.WEAK if each.raw.own_key else Evidence.BYTES,
                "first_seen_at": each.fetched_at,
            }
            for each in rows
        ],
    )
    unsure = [each.raw.message_key for each in rows if not each.received_by_server]
    for some in chunks(unsure):
        connection.execute(
            sa.update(messages)
            .where(messages.c.mailbox_id == mailbox_id, messages.c.message_key.in_(some))
            .values(received_by_server=False)
        )


def _folders(
    connection: sa.Connection, mailbox_id: int, rows: Sequence[FoundRaw], now: datetime
) -> dict[tuple[str, str], int]:
    """Folder rows by protocol and path; one the next listing does not name that way ends then."""
    known = connection.execute(sa.select(folders).where(folders.c.mailbox_id == mailbox_id))
    found = {(row.protocol, row.path): row.id for row in known}
    for key in {(each.protocol, each.folder) for each in rows} - found.keys():
        protocol, path = key
        found[key] = connection.execute(
            folders.insert()
            .values(
                mailbox_id=mailbox_id, protocol=protocol, native=path, path=path, role="other", seen_at=now
            )
            .returning(folders.c.id)
        ).scalar_one()
    return found
