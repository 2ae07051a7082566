"""The sums that the database keeps: right after every change, whoever makes it, and repaired where not."""

import random
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from pipelines.index.engine import Index
from pipelines.index.inserting import insert, insert_many
from pipelines.index.tables import data_files, folders, mailboxes, messages, occurrences, raws
from pipelines.ingest.passes import ingest_mailbox
from pipelines.ingest.verify import verify
from tests.index_fixture import assert_sums_are_kept, index_url
from tests.ingest.model import KIM, ModelMailbox, ModelWorkspace, VirtualClock, configure, mail

pytestmark = pytest.mark.both_indexes

NOW = datetime(2025, 3, 1, tzinfo=UTC)
KEYS = [f"{number:040}" for number in range(8)]


@pytest.fixture
def index(tmp_path: Path) -> Any:
    """Two mailboxes with two folders each, and messages for whatever occurs in them."""
    opened = Index(index_url(tmp_path))
    texts = ("thread_id", "subject", "sender_name", "sender_address", "recipients", "raw_sha256", "fidelity")
    blank: dict[str, Any] = dict.fromkeys(texts, "")
    blank |= dict.fromkeys(("size", "attachment_count", "normaliser_version"), 1)
    blank |= {"received_at": NOW, "received_by_server": True}
    with opened.write() as connection:
        for mailbox in (1, 2):
            connection.execute(
                mailboxes.insert().values(id=mailbox, address=f"{mailbox}@contoso.com", phase="legacy")
            )
            connection.execute(
                data_files.insert().values(
                    id=mailbox,
                    mailbox_id=mailbox,
                    dataset="messages",
                    path=f"{mailbox}",
                    rows=len(KEYS),
                    size=1,
                )
            )
            for row_id, key in enumerate(KEYS, mailbox * 100):
                connection.execute(
                    messages.insert().values(
                        id=row_id, mailbox_id=mailbox, message_key=key, file_id=mailbox, **blank
                    )
                )
            for folder in (1, 2):
                connection.execute(
                    folders.insert().values(
                        id=mailbox * 10 + folder,
                        mailbox_id=mailbox,
                        protocol="imap",
                        native=f"{folder}",
                        path=f"{folder}",
                        role="other",
                        seen_at=NOW,
                    )
                )
    yield opened
    opened.close()


def occurrence(folder: int, native_id: str) -> dict[str, Any]:
    return {
        "mailbox_id": folder // 10,
        "folder_id": folder,
        "native_id": native_id,
        "row_id": folder // 10 * 100,
        "evidence": "bytes",
        "flags": "",
        "first_seen_at": NOW,
    }


def raw(mailbox: int, number: int, size: int) -> dict[str, Any]:
    return {
        "mailbox_id": mailbox,
        "raw_sha256": f"{number:064}",
        "row_id": mailbox * 100,
        "size": size,
        "file_id": mailbox,
        "protocol": "imap",
        "weak": False,
    }


def change(connection: sa.Connection, chance: random.Random, number: int) -> None:
    """One statement of any kind; it may meet no row, some of one folder, or some of several mailboxes."""
    folder, other = chance.sample((11, 12, 21, 22), 2)
    drawn = [chance.randrange(60) for _ in range(9)]
    some = occurrences.c.native_id.in_([f"{kind} {each}" for each in drawn for kind in ("new", "again")])
    here = occurrences.c.folder_id.in_((folder, other))
    new = [occurrence(each, f"new {number}") for each in (folder, other)]
    again = insert(connection, occurrences).on_conflict_do_nothing(index_elements=["folder_id", "native_id"])
    kind = chance.randrange(8)
    if kind == 0:
        insert_many(connection, occurrences, new)
        insert_many(connection, raws, [raw(each, number, chance.randrange(99)) for each in (1, 2)])
    elif kind == 1:
        connection.execute(again, [occurrence(folder, f"again {chance.randrange(60)}") for _ in range(3)])
    elif kind == 2:
        connection.execute(sa.update(occurrences).where(here, some).values(removed_at=NOW))
    elif kind == 3:
        connection.execute(sa.update(occurrences).where(here, some).values(removed_at=None))
    elif kind == 4:
        moved = occurrences.c.native_id == f"new {number - 1}"
        values = {"folder_id": folder, "native_id": f"moved {number}", "mailbox_id": folder // 10}
        connection.execute(
            sa.update(occurrences).where(occurrences.c.folder_id == other, moved).values(values)
        )
    elif kind == 5:
        connection.execute(sa.delete(occurrences).where(here, some))
        connection.execute(sa.delete(raws).where(raws.c.raw_sha256 == f"{chance.randrange(60):064}"))
    elif kind == 6:
        connection.execute(sa.update(raws).where(raws.c.mailbox_id == 1).values(size=raws.c.size + 1))
    else:
        connection.execute(sa.update(occurrences).where(here, some).values(flags="seen"))


@pytest.mark.parametrize("seed", range(5))
def test_nothing_lost_the_kept_sums_are_right_after_every_change(index: Index, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - the same changes each time
    for number in range(60):
        try:
            with index.write() as connection:
                change(connection, chance, number)
                if taken_back := chance.random() < 0.2:
                    raise KeyboardInterrupt
        except KeyboardInterrupt:
            assert taken_back
        assert_sums_are_kept(index)
    with index.read() as connection:
        assert sum(connection.scalars(sa.select(folders.c.live_occurrences))) > 0
        assert all(connection.scalars(sa.select(mailboxes.c.raw_bytes)))


def test_verify_corrects_sums_that_somebody_has_made_wrong(tmp_path: Path) -> None:
    server = ModelMailbox()
    server.inbox.deliver(mail(1))
    workspace = ModelWorkspace(configure(tmp_path, KIM), {KIM: server}, VirtualClock())
    ingest_mailbox(workspace, workspace.config.mailbox(KIM))
    with workspace.index.write() as connection:
        connection.execute(sa.update(folders).values(live_occurrences=7))
        connection.execute(sa.update(mailboxes).values(raw_bytes=7))
    (repaired,) = verify(workspace, KIM).repaired
    assert "counted anew" in repaired
    assert_sums_are_kept(workspace.index)
    assert verify(workspace, KIM).repaired == []
    workspace.close()
