"""Merging files, as the index sees it: which are small, and how one takes the place of others."""

from collections.abc import Collection
from datetime import datetime

import sqlalchemy as sa

from pipelines.errors import LakeMismatchError
from pipelines.index.commit import insert_files
from pipelines.index.engine import Index
from pipelines.index.lease import Lease, renew
from pipelines.index.lookup import chunks
from pipelines.index.tables import data_files, messages, raws
from pipelines.lake import DataFile, Dataset
from pipelines.lake.tiers import Limit, SmallFile

_ROWS = {Dataset.RAW: raws, Dataset.MESSAGES: messages}
"""The table with a row for each row of the dataset, and its size in bytes of MIME."""


def small_files(index: Index, lease: Lease, dataset: Dataset, limit: Limit) -> list[SmallFile]:
    """Files of the mailbox below the limit, in the order they came."""
    rows = _ROWS[dataset]
    content = (
        sa.select(sa.func.coalesce(sa.func.sum(rows.c.size), 0))
        .where(rows.c.file_id == data_files.c.id)
        .scalar_subquery()
    )
    query = (
        sa.select(data_files.c.path, data_files.c.rows, content)
        .where(
            data_files.c.mailbox_id == lease.mailbox_id,
            data_files.c.dataset == dataset,
            data_files.c.retired_at.is_(None),
            data_files.c.rows < limit.rows,
            data_files.c.size < limit.content,
        )
        .order_by(data_files.c.id)
    )
    with index.read() as connection:
        return [SmallFile((path,), *rest) for path, *rest in connection.execute(query)]


def merge_files(
    index: Index, lease: Lease, merged: DataFile, old_paths: Collection[str], now: datetime
) -> None:
    """Name a merged file, point the rows of the old ones at it and retire those, in one transaction.

    Raises ``LakeMismatchError`` where the old files are not all there: somebody has replaced them since.
    """
    with index.write() as connection:
        renew(connection, lease, now)
        (file_id,) = insert_files(connection, lease.mailbox_id, [merged]).values()
        retired = 0
        for some in chunks(list(old_paths)):
            old = sa.select(data_files.c.id).where(data_files.c.path.in_(some))
            rows = _ROWS[merged.dataset]
            connection.execute(sa.update(rows).where(rows.c.file_id.in_(old)).values(file_id=file_id))
            retired += connection.execute(
                sa.update(data_files)
                .where(data_files.c.path.in_(some), data_files.c.retired_at.is_(None))
                .values(retired_at=now)
            ).rowcount
        if retired != len(old_paths):
            raise LakeMismatchError(f"{lease.address}: files were replaced while they were merged")
    lease.commits += 1
