"""The whole way through a real POP3 server."""

import csv
import poplib
import ssl
import tracemalloc
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from pipelines.clock import SystemClock
from pipelines.errors import MailboxRefusedError
from pipelines.sources import Fetched, FetchFailed, Page, ProtocolName, Source, open_source
from tests.dovecot_fixture import PASSWORD, Dovecot, DovecotMailbox, MintedTokens
from tests.sources.conftest import WaitlessClock
from tests.sources.reading import fetched, inbox_of, mails, walk


@pytest.fixture
def mailbox(dovecot: Dovecot, address: str) -> DovecotMailbox:
    return dovecot.mailbox(address)


@pytest.fixture
def source(dovecot: Dovecot, address: str, mailbox: DovecotMailbox, clock: WaitlessClock) -> Iterator[Source]:
    config = dovecot.config(address, legacy="pop3")
    with closing(
        open_source(config, config.mailboxes[0], ProtocolName.POP3, dovecot.tokens(address), clock)
    ) as opened:
        yield opened


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


def test_nothing_twice_when_mail_arrives_between_two_rounds(source: Source, mailbox: DovecotMailbox) -> None:
    mailbox.deliver(*mails(3))
    folder = inbox_of(source)
    first, cursor = walk(source, folder)
    mailbox.deliver(*mails(2, 2))
    second, cursor = walk(source, folder, cursor)
    assert [len(first), len(second)] == [3, 2]
    assert list(source.changes(folder, cursor)) == []
    assert source.count(folder) == 5


def test_a_message_removed_by_another_client_is_gone_and_the_others_come(
    source: Source, mailbox: DovecotMailbox
) -> None:
    mailbox.deliver(*mails(5))
    folder = inbox_of(source)
    entries, _cursor = walk(source, folder)
    mailbox.remove(2)
    outcomes = list(source.fetch(folder, entries))
    gone = [each.entry for each in outcomes if isinstance(each, FetchFailed) and each.gone]
    assert gone == [entries[2]]
    assert sum(isinstance(each, Fetched) for each in outcomes) == 4
    assert source.native_ids(folder) == {each.native_id for each in entries} - {entries[2].native_id}


def test_nothing_lost_when_the_server_numbers_its_messages_anew(
    source: Source, mailbox: DovecotMailbox
) -> None:
    messages = mails(5)
    mailbox.deliver(*messages)
    folder = inbox_of(source)
    before, cursor = walk(source, folder)
    source.close()
    mailbox.renumber()
    after, _cursor = walk(source, folder, cursor)
    assert not {each.native_id for each in before} & {each.native_id for each in after}
    assert sorted(fetched(source, folder, after).values()) == sorted(map(on_the_wire, messages))
    outcomes = list(source.fetch(folder, before))
    assert all(isinstance(each, FetchFailed) and each.gone for each in outcomes)


def test_an_inbox_of_thousands_is_listed_in_pages_and_read_whole(
    source: Source, mailbox: DovecotMailbox
) -> None:
    messages = [b"Subject: %d\r\n\r\n%d\r\n" % (number, number) for number in range(4000)]
    mailbox.deliver(*messages)
    folder = inbox_of(source)
    pages = [step for step in source.changes(folder, None) if isinstance(step, Page)]
    assert max(len(page.entries) for page in pages) <= 1000
    entries = [entry for page in pages for entry in page.entries]
    got = fetched(source, folder, entries)
    assert [got[each.native_id] for each in entries] == messages


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


def test_bounded_memory_while_an_inbox_larger_than_the_budget_is_read(
    source: Source, mailbox: DovecotMailbox
) -> None:
    megabyte = (b"x" * 998 + b"\r\n") * 1000
    mailbox.deliver(*[megabyte] * 60)
    folder = inbox_of(source)
    entries, _cursor = walk(source, folder)
    tracemalloc.start()
    try:
        seen = sum(len(each.mime) for each in source.fetch(folder, entries) if isinstance(each, Fetched))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert seen == 60_000_000
    assert peak < 12_000_000


def test_a_token_for_another_mailbox_is_refused_with_the_mailbox_named(
    dovecot: Dovecot, address: str
) -> None:
    config = dovecot.config(address, legacy="pop3")
    tokens = MintedTokens(dovecot.tenant, "someone.else@contoso.com")
    opened = open_source(config, config.mailboxes[0], ProtocolName.POP3, tokens, SystemClock())
    with closing(opened) as source, pytest.raises(MailboxRefusedError, match=address) as caught:
        source.count(source.folders()[0])
    assert "POP.AccessAsApp" in str(caught.value)


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
