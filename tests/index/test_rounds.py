"""Old accounts of rounds make room; the newest of a folder stays, however old."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from pipelines.clock import SystemClock
from pipelines.index.engine import Index
from pipelines.index.lease import Lease, hold
from pipelines.index.mailboxes import add_mailboxes, record_folders, record_pass
from pipelines.index.tables import rounds
from tests.index_fixture import index_url

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
COUNTS = dict.fromkeys(("listed", "stored", "known", "quarantined", "gone", "unmatched", "bytes"), 0)


def add_round(index: Index, lease: Lease, folder: int, days_ago: int, *, closed: bool = True) -> int:
    started = NOW - timedelta(days=days_ago)
    ended = {"closed_at": started, "server_count": 5, "lake_count": 5} if closed else {}
    with index.write() as connection:
        account = {"mailbox_id": lease.mailbox_id, "folder_id": folder, "started_at": started}
        added = sa.insert(rounds).values(**account, **COUNTS, **ended).returning(rounds.c.id)
        return int(connection.execute(added).scalar_one())


@pytest.mark.both_indexes
def test_rounds_of_long_ago_are_forgotten_but_the_newest_of_each_folder(tmp_path: Path) -> None:
    index = Index(index_url(tmp_path))
    add_mailboxes(index, [("kim@contoso.com", "legacy"), ("alex@contoso.com", "legacy")])
    with hold(index, "alex@contoso.com", SystemClock()) as lease:
        other = record_folders(index, lease, "imap", [("INBOX", "Inbox", "inbox", None)], NOW)["INBOX"]
        kept = [add_round(index, lease, other.folder_id, days) for days in (30, 20)]
    with hold(index, "kim@contoso.com", SystemClock()) as lease:
        seen = [("INBOX", "Inbox", "inbox", None), ("Old", "Old", "other", None), ("A", "A", "other", None)]
        inbox, old, broken = (
            row.folder_id for row in record_folders(index, lease, "imap", seen, NOW).values()
        )
        for days in (30, 20, 8):
            add_round(index, lease, inbox, days)
        kept += [add_round(index, lease, inbox, days) for days in (6, 0)]
        add_round(index, lease, old, 40)
        kept.append(add_round(index, lease, old, 30))
        kept.append(add_round(index, lease, broken, 12))
        kept += [add_round(index, lease, broken, days, closed=False) for days in (11, 10)]
        record_pass(index, lease, None, NOW)
    with index.read() as connection:
        assert sorted(connection.scalars(sa.select(rounds.c.id))) == sorted(kept)
    index.close()
