"""The whole way through a real POP3 server."""

import csv
import poplib
import ssl
from collections.abc import Iterator
from pathlib import Path

import pyarrow.dataset as pads
import pytest

from pipelines.ingest.passes import ingest_mailbox
from pipelines.ingest.report import Outcome
from pipelines.sources import Fetched, FetchFailed, ProtocolName, Source
from tests.dovecot_fixture import PASSWORD, Dovecot, DovecotMailbox
from tests.dovecot_workspace import DovecotWorkspace
from tests.sources.conftest import WaitlessClock
from tests.sources.reading import fetched, inbox_of, mails, opened, walk


@pytest.fixture
def mailbox(dovecot: Dovecot, address: str) -> DovecotMailbox:
    return dovecot.mailbox(address)


@pytest.fixture
def source(dovecot: Dovecot, address: str, mailbox: DovecotMailbox, clock: WaitlessClock) -> Iterator[Source]:
    with opened(dovecot, address, ProtocolName.POP3, dovecot.tokens(address), clock) as source:
        yield source


def on_the_wire(message: bytes) -> bytes:
    """As Dovecot sends it: CRLF for each LF of the file, and at the end."""
    lines = message.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    return lines if lines.endswith(b"\r\n") else lines + b"\r\n"


def by_poplib(server: Dovecot, address: str) -> list[bytes]:
    """What a client delivers that shares no code with ours."""
    context = ssl.create_default_context(cafile=server.ca_file)
    client = poplib.POP3_SSL("localhost", server.pop3_port, context=context)
    client.user(address)
    client.pass_(PASSWORD)
    count = client.stat()[0]
    found = [b"\r\n".join([*client.retr(number)[1], b""]) for number in range(1, count + 1)]
    client.quit()
    return found


def test_bytes_are_kept_of_every_message(source: Source, mailbox: DovecotMailbox) -> None:
    lines_that_poplib_refuses = b"Subject: long\r\n\r\n" + b"x" * 3_000_000 + b"\r\n.\r\n..\r\n" + b"." * 5000
    delivered = [*mails(300), lines_that_poplib_refuses, b"\r\n", b".x", b"x\r\n\r\n.\r\nnot the end\r\n"]
    mailbox.deliver(*delivered)
    mailbox.deliver(*mails(5, 2), folder="Sent Items")
    folder = inbox_of(source)
    entries, _cursor = walk(source, folder)
    got = fetched(source, folder, entries)
    assert [got[each.native_id] for each in entries] == list(map(on_the_wire, delivered))
    assert source.count(folder) == len(delivered)
    assert source.native_ids(folder) == got.keys()


def test_bytes_are_kept_as_poplib_reads_them(
    dovecot: Dovecot, address: str, source: Source, mailbox: DovecotMailbox
) -> None:
    mailbox.deliver(*(each.replace(b"\r", b"") for each in mails(40, 4) if len(each) < 1800))
    folder = inbox_of(source)
    entries, _cursor = walk(source, folder)
    ours = fetched(source, folder, entries)
    source.close()
    assert list(ours.values()) == by_poplib(dovecot, address)


def test_the_listing_tells_size_and_identity_and_no_time(source: Source, mailbox: DovecotMailbox) -> None:
    mailbox.deliver(b"Message-ID: <a@b>\r\nSubject: =?utf-8?q?f=C3=A6rdig?=\r\n\r\nx\r\n")
    folder = inbox_of(source)
    ((entry,), _cursor) = walk(source, folder)
    assert (entry.size, entry.received_at, entry.flags) == (58, None, ())
    (identified,) = source.identify(folder, [entry])
    assert identified.identity
    assert (identified.identity.message_id, identified.identity.subject) == ("a@b", "færdig")


def test_bytes_are_kept_of_the_others_where_a_message_cannot_be_told_from_the_protocol(
    source: Source, mailbox: DovecotMailbox
) -> None:
    # Dovecot does not double a dot that is a message's first byte: its answer ends there, and what
    # follows stands where the next answer should.
    forged = b".\r\n+OK\r\nSubject: forged\r\n\r\nnot what kim wrote\r\n"
    sound = mails(4)
    mailbox.deliver(*sound[:2], forged, *sound[2:])
    folder = inbox_of(source)
    entries, _cursor = walk(source, folder)
    outcomes = {each.entry.native_id: each for each in source.fetch(folder, entries)}
    failed = outcomes.pop(entries[2].native_id)
    assert isinstance(failed, FetchFailed)
    assert not failed.gone
    got = [each.mime for each in outcomes.values() if isinstance(each, Fetched)]
    assert sorted(got) == sorted(map(on_the_wire, sound))


def test_read_only_leaves_messages_and_flags_as_they_were(source: Source, mailbox: DovecotMailbox) -> None:
    mailbox.deliver(*mails(5))
    files = mailbox.files()
    folder = inbox_of(source)
    entries, _cursor = walk(source, folder)
    fetched(source, folder, entries)
    list(source.identify(folder, entries))
    source.close()
    assert mailbox.files() == files
    assert all(name.endswith(":2,") for name in files), "none was seen"


def test_nothing_twice_and_bytes_are_kept_in_the_lake(
    dovecot: Dovecot, address: str, mailbox: DovecotMailbox, tmp_path: Path
) -> None:
    delivered = mails(300)
    mailbox.deliver(*delivered)
    with DovecotWorkspace(dovecot, tmp_path, address, legacy="pop3") as workspace:
        read = workspace.config.mailbox(address)
        assert ingest_mailbox(workspace, read).outcome is Outcome.DONE
        assert ingest_mailbox(workspace, read).downloads == 0
        mailbox.remove(7)
        mailbox.deliver(b"Subject: new\r\n\r\nNew.\r\n")
        third = ingest_mailbox(workspace, read)
    assert (third.outcome, third.downloads) == (Outcome.DONE, 1)
    assert third.rounds[0].lake_count == 300
    kept = pads.dataset(tmp_path / "lake" / "raw", partitioning="hive").to_table(columns=["mime"])
    expected = {*map(on_the_wire, delivered), b"Subject: new\r\n\r\nNew.\r\n"}
    assert sorted(kept.column(0).to_pylist()) == sorted(expected)


@pytest.mark.corpus
def test_bytes_are_kept_of_a_sample_of_real_mail(
    source: Source, mailbox: DovecotMailbox, corpus_dir: Path
) -> None:
    with (corpus_dir / "MANIFEST.tsv").open(newline="") as manifest:
        paths = [corpus_dir / row["path"] for row in csv.DictReader(manifest, delimiter="\t")][::7]
    delivered = [path.read_bytes() for path in paths]
    mailbox.deliver(*delivered)
    folder = inbox_of(source)
    entries, _cursor = walk(source, folder)
    assert len(entries) == len(delivered)
    position = {each.native_id: number for number, each in enumerate(entries)}
    for outcome in source.fetch(folder, entries):
        assert isinstance(outcome, Fetched), outcome
        assert outcome.mime == on_the_wire(delivered[position[outcome.entry.native_id]])
