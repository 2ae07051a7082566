"""The mail store: what each operation does to the ids each protocol knows."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipelines.sandbox.store import ChangeKind, Message, Store, StoreError, as_crlf

KIM = "kim.akers@contoso.com"
MAIL = b"Subject: Hello\r\n\r\nBody\r\n"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path)
    made.create_mailbox(KIM)
    made.create_folder(KIM, "Inbox", "inbox")
    made.create_folder(KIM, "Archive", "archive")
    yield made
    made.close()


def ids(message: Message) -> tuple[str, str, int, str]:
    return message.immutable_id, message.mutable_id, message.uid, message.uidl


def test_a_store_with_a_clock_of_its_own_takes_nothing_from_the_computers(tmp_path: Path) -> None:
    """Histories that are told again have the same ids."""
    moment = datetime(2026, 4, 5, tzinfo=UTC)
    made = Store(tmp_path / "other", lambda: moment)
    made.create_mailbox(KIM)
    assert made.create_folder(KIM, "Inbox", "inbox").uidvalidity == moment.timestamp()
    made.close()


def test_a_move_keeps_only_the_immutable_id(store: Store) -> None:
    message = store.deliver(KIM, "Inbox", MAIL)
    before = ids(message)
    after = ids(store.move(KIM, "Inbox", 1, "Archive"))
    assert after[0] == before[0]
    assert after[1] != before[1]
    assert after[3] != before[3]
    assert store.listing(KIM, "Inbox") == []


def test_a_copy_shares_nothing_but_the_bytes(store: Store) -> None:
    original = store.deliver(KIM, "Inbox", MAIL)
    copy = store.copy(KIM, "Inbox", 1, "Archive")
    assert not set(ids(original)) & set(ids(copy)) - {1}
    assert store.read(copy) == store.read(original) == MAIL


def test_an_edit_keeps_the_ids_of_graph_and_changes_uid_and_uidl(store: Store) -> None:
    message = store.deliver(KIM, "Inbox", MAIL)
    before = ids(message)
    after = ids(store.edit(KIM, "Inbox", 1, MAIL + b"More\r\n"))
    assert after[:2] == before[:2]
    assert after[2] == 2
    assert after[3] != before[3]
    assert store.read(message) == MAIL + b"More\r\n"


def test_a_new_uidvalidity_numbers_from_one_and_is_greater(store: Store) -> None:
    for _ in range(3):
        store.deliver(KIM, "Inbox", MAIL)
    store.delete(KIM, "Inbox", 1)
    folder = store.folder(KIM, "inbox")
    before = folder.uidvalidity
    store.reset_uidvalidity(KIM, "Inbox")
    assert folder.uidvalidity > before
    assert list(folder.messages) == [1, 2]


def test_the_change_log_tells_a_move_in_both_folders(store: Store) -> None:
    store.deliver(KIM, "Inbox", MAIL)
    store.move(KIM, "Inbox", 1, "Archive")
    store.move(KIM, "Archive", 1, "Inbox")
    kinds = [each.kind for each in store.folder(KIM, "Inbox").changes]
    assert kinds == [ChangeKind.CREATED, ChangeKind.REMOVED, ChangeKind.MOVED_IN]


def test_a_renamed_folder_takes_its_children_along(store: Store) -> None:
    store.create_folder(KIM, "Archive/2024")
    store.deliver(KIM, "Archive/2024", MAIL)
    store.rename_folder(KIM, "Archive", "Old")
    assert len(store.listing(KIM, "Old/2024")) == 1
    with pytest.raises(StoreError):
        store.folder(KIM, "Archive")


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (b"a\nb", b"a\r\nb\r\n"),
        (b"a\rb\r\n", b"a\r\nb\r\n"),
        (b"a\r\nb\n\r\n", b"a\r\nb\r\n\r\n"),
        (b"", b"\r\n"),
        (b"\x00\xff\r\n", b"\x00\xff\r\n"),
    ],
)
def test_line_ends_become_crlf_once(given: bytes, kept: bytes) -> None:
    assert as_crlf(given) == kept
    assert as_crlf(kept) == kept
