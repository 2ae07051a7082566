"""The accounts of rounds and of windows, as rows."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa

from pipelines.index.changes import RoundAccount
from pipelines.index.inserting import insert_numbered, update_many
from pipelines.index.tables import rounds, windows


def record_accounts(connection: sa.Connection, mailbox_id: int, accounts: Iterable[RoundAccount]) -> None:
    """Write accounts as they stand now; one that is new gets its row, whose id it keeps."""
    for table, kind in ((rounds, False), (windows, True)):
        some = [each for each in accounts if bool(each.window) is kind]
        begun = [each for each in some if each.row_id is not None]
        update_many(connection, table, [{"id": each.row_id, **_account_columns(each)} for each in begun])
        _begin_accounts(connection, table, mailbox_id, [each for each in some if each.row_id is None])


def _begin_accounts(
    connection: sa.Connection, table: sa.Table, mailbox_id: int, accounts: Sequence[RoundAccount]
) -> None:
    if not accounts:
        return
    rows = [
        {
            **(dataclasses.asdict(each.window) if each.window else {"mailbox_id": mailbox_id}),
            "folder_id": each.folder_id,
            "started_at": each.started_at,
            **_account_columns(each),
        }
        for each in accounts
    ]
    ids = insert_numbered(connection, table, rows, key="folder_id")
    for each in accounts:
        each.row_id = ids[each.folder_id]


def _account_columns(account: RoundAccount) -> dict[str, Any]:
    values: dict[str, Any] = {
        "closed_at": account.closed_at,
        "listed": account.listed,
        "stored": account.stored,
        "known": account.known,
        "quarantined": account.quarantined,
        "gone": account.gone,
        "unmatched": account.unmatched,
        "bytes": account.bytes,
        "note": "; ".join(account.notes) or None,
    }
    if account.window is None:
        values |= {"server_count": account.server_count, "lake_count": account.lake_count}
    return values
