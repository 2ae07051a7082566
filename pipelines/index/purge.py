"""Erasing a mailbox from the index: its rows, its words, and what deleted rows leave in the file."""

from datetime import datetime

import sqlalchemy as sa

from pipelines.index.engine import Index
from pipelines.index.lease import Lease, renew
from pipelines.index.tables import mailboxes, metadata

_KEPT = ("id", "address", "commits", "lease_epoch", "adopted_epoch", "lease_holder", "lease_at")
"""Columns of ``mailboxes`` by which the lease goes on to hold and files go on to be told apart."""


def erase_rows(index: Index, lease: Lease, phase: str, now: datetime) -> dict[str, int]:
    """Delete every row of the mailbox but its own, which begins anew in ``phase``; counts by table.

    One transaction: from then on its files in the lake are orphans, which its next run would sweep.
    """
    erased: dict[str, int] = {}
    with index.write() as connection:
        renew(connection, lease, now)
        for table in reversed(metadata.sorted_tables):
            whose = _whose(table, lease.mailbox_id)
            if whose is not None:
                erased[table.name] = connection.execute(sa.delete(table).where(whose)).rowcount
        blank = {column.name: None for column in mailboxes.columns if column.name not in _KEPT}
        connection.execute(
            sa.update(mailboxes)
            .where(mailboxes.c.id == lease.mailbox_id)
            .values(blank | {"phase": phase, "failed_passes": 0, "raw_bytes": 0})
        )
    lease.commits += 1
    return {name: count for name, count in erased.items() if count}


def erase_mailbox(index: Index, lease: Lease, now: datetime) -> None:
    """Delete the mailbox's own row, the last of it."""
    with index.write() as connection:
        renew(connection, lease, now)
        connection.execute(sa.delete(mailboxes).where(mailboxes.c.id == lease.mailbox_id))


def _whose(table: sa.Table, mailbox_id: int) -> sa.ColumnElement[bool] | None:
    """What tells the mailbox's rows of a table: its column, or that of the table it hangs on."""
    if "mailbox_id" in table.c:
        return table.c.mailbox_id == mailbox_id
    for key in table.foreign_keys:
        parent = key.column.table
        if "mailbox_id" in parent.c:
            return key.parent.in_(sa.select(key.column).where(parent.c.mailbox_id == mailbox_id))
    return None
