"""Who has waited longest, as the index tells it."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from pipelines.index.engine import Index
from pipelines.index.mailboxes import Standing, add_mailboxes, longest_waiting
from pipelines.index.tables import mailboxes
from tests.index_fixture import index_url

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
PASSES = {"late": NOON, "never": None, "early": NOON - timedelta(hours=3), "never too": None}


@pytest.mark.both_indexes
def test_the_never_read_come_first_then_the_longest_ago(tmp_path: Path) -> None:
    index = Index(index_url(tmp_path))
    add_mailboxes(index, [(each, "legacy") for each in PASSES])
    with index.write() as connection:
        for address, at in PASSES.items():
            connection.execute(
                sa.update(mailboxes).where(mailboxes.c.address == address).values(last_pass_at=at)
            )
    waiting = longest_waiting(index)
    index.close()
    assert list(waiting) == ["never", "never too", "early", "late"]
    assert waiting["late"] == Standing(NOON, None, None)


def test_a_pass_that_failed_has_ended_too() -> None:
    assert Standing(None, None, None).ended_before(NOON)
    assert Standing(NOON - timedelta(1), "refused", NOON - timedelta(2)).ended_before(NOON)
    assert not Standing(NOON - timedelta(1), "refused", NOON).ended_before(NOON)
    assert not Standing(NOON + timedelta(1), None, None).ended_before(NOON)
