"""The whole way through a real server."""

import csv
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipelines.errors import FolderGoneError
from pipelines.sources import (
    Fetched,
    Folder,
    ProtocolName,
    Role,
    Source,
)
from tests.dovecot_fixture import Dovecot, DovecotMailbox
from tests.sources.conftest import WaitlessClock
from tests.sources.reading import fetched, inbox_of, mails, opened, walk

START = datetime(2024, 1, 1, tzinfo=UTC)


@pytest.fixture
def mailbox(dovecot: Dovecot, address: str) -> DovecotMailbox:
    return dovecot.mailbox(address)


@pytest.fixture
def source(dovecot: Dovecot, address: str, mailbox: DovecotMailbox, clock: WaitlessClock) -> Iterator[Source]:
    with opened(dovecot, address, ProtocolName.IMAP, dovecot.tokens(address), clock) as source:
        yield source


def on_the_wire(message: bytes) -> bytes:
    """As Dovecot sends it: CRLF for each LF of the file, and 0x80 for NUL, which IMAP cannot carry."""
    return message.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n").replace(b"\0", b"\x80")


def test_bytes_are_kept_of_every_message_in_every_folder(source: Source, mailbox: DovecotMailbox) -> None:
    delivered = {"": mails(300), "Sent Items": mails(20, 2), "Kalender/F&APg-dselsdage": mails(5, 3)}
    for name, messages in delivered.items():
        mailbox.deliver(*messages, folder=name)
    folders = {folder.native: folder for folder in source.folders() if not folder.skipped}
    assert {folder.path for folder in folders.values()} == {"Inbox", "Sent Items", "Kalender/Fødselsdage"}
    for name, messages in delivered.items():
        folder = folders[name or "INBOX"]
        entries, _cursor = walk(source, folder)
        got = fetched(source, folder, entries)
        assert [got[each.native_id] for each in entries] == list(map(on_the_wire, messages))
        assert source.count(folder) == len(messages)
        assert source.native_ids(folder) == got.keys()


def test_the_listing_tells_size_time_flags_and_identity(source: Source, mailbox: DovecotMailbox) -> None:
    mailbox.deliver(
        b"Message-ID: <a@b>\r\nSubject: =?utf-8?q?f=C3=A6rdig?=\r\n\r\nx\r\n", flags="FS", received=START
    )
    folder = inbox_of(source)
    ((entry,), _cursor) = walk(source, folder)
    assert (entry.size, entry.received_at, set(entry.flags)) == (58, START, {"flagged", "seen"})
    (identified,) = source.identify(folder, [entry])
    assert identified.identity
    assert (identified.identity.message_id, identified.identity.subject) == ("a@b", "færdig")


def test_bytes_are_kept_of_a_message_of_forty_megabytes(source: Source, mailbox: DovecotMailbox) -> None:
    large = b"Subject: large\r\n\r\n" + b"forty-one octets of text and a line end.\r\n" * 1_000_000
    mailbox.deliver(b"before\r\n", large, b"after\r\n")
    folder = inbox_of(source)
    entries, _cursor = walk(source, folder)
    got = fetched(source, folder, entries)
    assert [
        got[each.native_id] == message
        for each, message in zip(entries, (b"before\r\n", large, b"after\r\n"), strict=True)
    ] == [True] * 3


def test_a_folder_that_was_deleted_is_gone(source: Source, mailbox: DovecotMailbox) -> None:
    mailbox.deliver(b"x\r\n")
    with pytest.raises(FolderGoneError, match="Projects"):
        source.count(Folder("Projects", Role.OTHER, "Projects"))


def test_read_only_leaves_flags_and_recency_as_they_were(source: Source, mailbox: DovecotMailbox) -> None:
    mailbox.deliver(*mails(5))
    folder = inbox_of(source)
    entries, _cursor = walk(source, folder)
    fetched(source, folder, entries)
    list(source.identify(folder, entries))
    again, _cursor = walk(source, folder)
    assert again == entries
    assert [each.flags for each in again] == [()] * 5
    assert len(mailbox.files()) == 5
    assert all(name.endswith(":2,") for name in mailbox.files())


@pytest.mark.corpus
def test_bytes_are_kept_of_real_mail(source: Source, mailbox: DovecotMailbox, corpus_dir: Path) -> None:
    with (corpus_dir / "MANIFEST.tsv").open(newline="") as manifest:
        paths = [corpus_dir / row["path"] for row in csv.DictReader(manifest, delimiter="\t")]
    delivered = [path.read_bytes() for path in paths]
    mailbox.deliver(*delivered, received=START - timedelta(days=365))
    folder = inbox_of(source)
    entries, _cursor = walk(source, folder)
    assert len(entries) == len(delivered)
    position = {each.native_id: number for number, each in enumerate(entries)}
    for outcome in source.fetch(folder, entries):
        assert isinstance(outcome, Fetched), outcome
        assert outcome.mime == on_the_wire(delivered[position[outcome.entry.native_id]])


def test_nothing_lost_a_window_is_exact_at_both_edges(source: Source, mailbox: DovecotMailbox) -> None:
    march, april = datetime(2025, 3, 1, tzinfo=UTC), datetime(2025, 4, 1, tzinfo=UTC)
    second = timedelta(seconds=1)
    mailbox.deliver(*mails(3), received=march - second)
    mailbox.deliver(*mails(3, 2), received=april - 4 * second)
    pages = source.window(inbox_of(source), march, april)
    assert [each.received_at for page in pages for each in page] == [april - second, march + second, march]
