"""What holds over IMAP and over POP3, through a real server of both."""

import tracemalloc
from collections.abc import Iterator

import pytest

from pipelines.errors import MailboxRefusedError
from pipelines.sources import Fetched, FetchFailed, Folder, Page, ProtocolName, Reset, Role, Source
from tests.dovecot_fixture import Dovecot, DovecotMailbox, MintedTokens
from tests.sources.conftest import WaitlessClock
from tests.sources.reading import fetched, inbox_of, mails, opened, walk


@pytest.fixture(params=[ProtocolName.IMAP, ProtocolName.POP3])
def protocol(request: pytest.FixtureRequest) -> ProtocolName:
    return ProtocolName(request.param)


@pytest.fixture
def mailbox(dovecot: Dovecot, address: str) -> DovecotMailbox:
    return dovecot.mailbox(address)


@pytest.fixture
def source(
    dovecot: Dovecot, address: str, protocol: ProtocolName, mailbox: DovecotMailbox, clock: WaitlessClock
) -> Iterator[Source]:
    with opened(dovecot, address, protocol, dovecot.tokens(address), clock) as source:
        yield source


def plain(count: int) -> list[bytes]:
    """Mail that comes as it is over either."""
    return [b"Subject: %d\r\n\r\n%d\r\n" % (number, number) for number in range(count)]


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
    source: Source, protocol: ProtocolName, mailbox: DovecotMailbox
) -> None:
    messages = plain(5)
    mailbox.deliver(*messages)
    folder = inbox_of(source)
    before, cursor = walk(source, folder)
    mailbox.renumber()
    steps = list(source.changes(folder, cursor))
    assert isinstance(steps[0], Reset) == (protocol is ProtocolName.IMAP), "UIDL has no word for it"
    after, cursor = walk(source, folder, cursor)
    assert not {each.native_id for each in before} & {each.native_id for each in after}
    assert sorted(fetched(source, folder, after).values()) == messages
    outcomes = list(source.fetch(folder, before))
    assert all(isinstance(each, FetchFailed) and each.gone for each in outcomes)


def test_a_folder_of_thousands_is_listed_in_pages_and_read_whole(
    source: Source, mailbox: DovecotMailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"pipelines.sources.{source.protocol}.PAGE", 1_000)
    messages = plain(4000)
    mailbox.deliver(*messages)
    folder = inbox_of(source)
    pages = [step for step in source.changes(folder, None) if isinstance(step, Page)]
    assert [len(page.entries) for page in pages] == [1_000] * 4
    entries = [entry for page in pages for entry in page.entries]
    got = fetched(source, folder, entries)
    assert [got[each.native_id] for each in entries] == messages


def test_bounded_memory_while_a_folder_larger_than_the_budget_is_read(
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
    assert peak < 20_000_000


def test_a_token_for_another_mailbox_is_refused_with_the_mailbox_named(
    dovecot: Dovecot, address: str, protocol: ProtocolName, clock: WaitlessClock
) -> None:
    tokens = MintedTokens(dovecot.tenant, "someone.else@contoso.com")
    refused = pytest.raises(MailboxRefusedError, match=address)
    with opened(dovecot, address, protocol, tokens, clock) as source, refused as caught:
        source.count(Folder("Inbox", Role.INBOX, "INBOX"))
    role = {ProtocolName.IMAP: "IMAP.AccessAsApp", ProtocolName.POP3: "POP.AccessAsApp"}
    assert role[protocol] in str(caught.value)
