"""Backfills and the windows they have read: one that was killed goes on where it stopped."""

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa

from pipelines.index.changes import RoundAccount, Window
from pipelines.index.engine import Index
from pipelines.index.tables import backfills, folders, mailboxes, windows


def begin(index: Index, address: str, since: datetime, before: datetime, now: datetime) -> int:
    """The id of the mailbox's backfill of this span that was not finished, else of a new one."""
    with index.write() as connection:
        mailbox_id = connection.execute(
            sa.select(mailboxes.c.id).where(mailboxes.c.address == address).with_for_update()
        ).scalar_one()
        span = {"mailbox_id": mailbox_id, "since": since, "before": before}
        unfinished = sa.select(sa.func.max(backfills.c.id)).where(
            *(backfills.c[name] == value for name, value in span.items()), backfills.c.finished_at.is_(None)
        )
        found: int | None = connection.scalar(unfinished)
        if found is None:
            found = connection.execute(
                backfills.insert().values(**span, started_at=now).returning(backfills.c.id)
            ).scalar_one()
    return found


def closed_windows(connection: sa.Connection, backfill_id: int) -> Sequence[RoundAccount]:
    """The accounts of what is read: closed, and listed when the window's time was over."""
    rows = connection.execute(
        sa.select(windows, folders.c.path)
        .join(folders, folders.c.id == windows.c.folder_id)
        .where(
            windows.c.backfill_id == backfill_id,
            windows.c.closed_at.is_not(None),
            windows.c.started_at >= windows.c.before,
        )
    )
    return [
        RoundAccount(
            row.folder_id,
            row.path,
            row.started_at,
            listed=row.listed,
            stored=row.stored,
            known=row.known,
            quarantined=row.quarantined,
            gone=row.gone,
            unmatched=row.unmatched,
            bytes=row.bytes,
            notes=[row.note] if row.note else [],
            closed_at=row.closed_at,
            window=Window(backfill_id, row.since, row.before),
            row_id=row.id,
        )
        for row in rows
    ]


def is_fresh(connection: sa.Connection, folder_id: int, window: Window) -> bool:
    """Whether neither a round nor a backfill has read to the end what the folder shows of this time."""
    by_round = sa.select(folders.c.id).where(folders.c.id == folder_id, folders.c.cursor.is_not(None))
    by_backfill = sa.select(windows.c.id).where(
        windows.c.folder_id == folder_id,
        windows.c.closed_at.is_not(None),
        windows.c.since < window.before,
        windows.c.before > window.since,
    )
    return not connection.scalar(sa.select(sa.or_(by_round.exists(), by_backfill.exists())))


def finish(index: Index, backfill_id: int, now: datetime) -> None:
    """Note that everything was read: the same backfill asked for again is a new one."""
    with index.write() as connection:
        connection.execute(sa.update(backfills).where(backfills.c.id == backfill_id).values(finished_at=now))
