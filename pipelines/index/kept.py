"""The sums that the database keeps by its triggers (migration 0007), held against what they sum up."""

from datetime import datetime

import sqlalchemy as sa

from pipelines.index.engine import Index
from pipelines.index.lease import Lease, renew
from pipelines.index.tables import folders, mailboxes, occurrences, raws


def correct_sums(index: Index, lease: Lease, now: datetime) -> int:
    """Sum up anew what the mailbox holds; returns how many of the kept sums were wrong.

    None is, unless somebody has changed the database without its triggers.
    """
    live = (
        sa.select(sa.func.count())
        .where(occurrences.c.folder_id == folders.c.id, occurrences.c.removed_at.is_(None))
        .scalar_subquery()
    )
    size = (
        sa.select(sa.func.coalesce(sa.func.sum(raws.c.size), 0))
        .where(raws.c.mailbox_id == mailboxes.c.id)
        .scalar_subquery()
    )
    with index.write() as connection:
        renew(connection, lease, now)
        wrong = sum(
            connection.execute(
                sa.update(kept.table)
                .where(owner == lease.mailbox_id, kept != summed)
                .values({kept.name: summed})
            ).rowcount
            for kept, owner, summed in (
                (folders.c.live_occurrences, folders.c.mailbox_id, live),
                (mailboxes.c.raw_bytes, mailboxes.c.id, size),
            )
        )
    lease.commits += 1
    return wrong
