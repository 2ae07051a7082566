"""Listing a folder: what is new, what each answer may look like, what it costs."""

import itertools
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.sources import Entry, Fetched, FetchFailed, Folder, Page, Role
from pipelines.sources.imap import ImapSource
from pipelines.sources.imap_wire import uid_set, windows
from tests.sources.scripted import Message, ScriptedServer

INBOX = Folder("Inbox", Role.INBOX, "INBOX")
MAIL = b"Message-ID: <1@contoso.com>\r\nFrom: kim@contoso.com\r\nSubject: lunch\r\n\r\nAt noon.\r\n"
DATE = datetime(2025, 11, 24, 12, 0, 7, tzinfo=UTC)
SIGNED_IN = ["CAPABILITY", "AUTHENTICATE XOAUTH2"]


def listed(source: ImapSource, cursor: str | None = None) -> list[Entry]:
    return [
        entry for step in source.changes(INBOX, cursor) if isinstance(step, Page) for entry in step.entries
    ]


def test_a_round_without_news_costs_one_examine(server: ScriptedServer, source: ImapSource) -> None:
    server.add(MAIL)
    (page,) = source.changes(INBOX, None)
    assert isinstance(page, Page)
    server.commands.clear()
    assert list(source.changes(INBOX, page.cursor)) == []
    assert server.commands == ["EXAMINE INBOX"] or server.commands == ['EXAMINE "INBOX"']


def test_the_count_of_a_folder_without_news_is_that_of_its_listing_once(
    server: ScriptedServer, source: ImapSource
) -> None:
    server.add(MAIL, MAIL)
    cursor = '{"uidvalidity": 7, "uid": 2}'
    assert listed(source, cursor) == []
    server.add(MAIL)
    server.commands.clear()
    assert source.count(INBOX) == 2
    assert server.commands == []
    assert source.count(INBOX) == 3


def test_the_count_after_news_is_asked_for_anew(server: ScriptedServer, source: ImapSource) -> None:
    server.add(MAIL)
    cursor = '{"uidvalidity": 7, "uid": 1}'
    assert listed(source, cursor) == []
    server.add(MAIL)
    assert [entry.native_id for entry in listed(source, cursor)] == ["7:2"]
    server.add(MAIL)
    assert source.count(INBOX) == 3


def test_an_empty_folder_gets_a_cursor_at_once(server: ScriptedServer, source: ImapSource) -> None:
    (page,) = source.changes(INBOX, None)
    assert page == Page((), '{"uidvalidity": 7, "uid": 0}')
    assert list(source.changes(INBOX, page.cursor)) == []
    server.add(MAIL)
    assert [entry.native_id for entry in listed(source, page.cursor)] == ["7:1"]


def test_only_what_is_above_the_cursor_is_listed(server: ScriptedServer, source: ImapSource) -> None:
    server.add(MAIL, MAIL, MAIL)
    cursor = '{"uidvalidity": 7, "uid": 2}'
    (page,) = source.changes(INBOX, cursor)
    assert page == Page([Entry("7:3", len(MAIL), DATE, ())], '{"uidvalidity": 7, "uid": 3}')


def test_nothing_twice_where_the_server_names_its_last_message_for_any_range(
    server: ScriptedServer, source: ImapSource
) -> None:
    server.add(MAIL, MAIL)
    server.messages[9] = Message(MAIL)
    cursor = '{"uidvalidity": 7, "uid": 9}'
    # The newest message is gone again: UIDNEXT is higher, and 10:* means 10:2.
    del server.messages[9]
    server.answer("EXAMINE", b"* 2 EXISTS\r\n* OK [UIDVALIDITY 7]\r\n* OK [UIDNEXT 12]\r\n$ OK\x20done\r\n")
    server.answer("UID SEARCH", b"* SEARCH 2\r\n$ OK SEARCH completed.\r\n")
    assert listed(source, cursor) == []
    assert server.sent("UID") == ["UID SEARCH UID 10:*"]


def test_nothing_lost_when_new_mail_is_announced_before_it_can_be_listed(
    server: ScriptedServer, source: ImapSource
) -> None:
    server.add(MAIL)
    (page,) = source.changes(INBOX, None)
    server.add(MAIL)
    server.answer("UID SEARCH", b"* SEARCH\r\n$ OK SEARCH completed.\r\n")
    assert isinstance(page, Page)
    assert list(source.changes(INBOX, page.cursor)) == []
    assert [entry.native_id for entry in listed(source, page.cursor)] == ["7:2"]


def test_no_fetch_names_more_than_five_hundred_ids(server: ScriptedServer, source: ImapSource) -> None:
    server.add(*[MAIL] * 1201)
    (page,) = source.changes(INBOX, None)
    assert isinstance(page, Page)
    assert [each.native_id for each in page.entries] == [f"7:{uid}" for uid in range(1, 1202)]
    assert [each.split()[2] for each in server.sent("UID FETCH")] == ["1:500", "501:1000", "1001:1201"]


def test_pages_come_oldest_first_each_with_a_cursor_that_covers_it(
    server: ScriptedServer, source: ImapSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.sources.imap.PAGE", 500)
    server.add(*[MAIL] * 1201)
    pages = [step for step in source.changes(INBOX, None) if isinstance(step, Page)]
    assert [len(page.entries) for page in pages] == [500, 500, 201]
    for page, (rest, _) in zip(pages, itertools.pairwise([pages[1:], pages[2:], [], []]), strict=True):
        after = [entry for later in rest for entry in later.entries]
        assert listed(source, page.cursor) == after


def test_an_id_without_details_is_listed_nevertheless(server: ScriptedServer, source: ImapSource) -> None:
    server.add(MAIL, MAIL)
    server.answer("UID FETCH", b"* 1 FETCH (UID 1 RFC822.SIZE 9)\r\n$ OK FETCH completed.\r\n")
    assert listed(source) == [Entry("7:1", 9), Entry("7:2")]
    server.answer("UID FETCH", b"$ BAD Command Argument Error. 11\r\n")
    assert listed(source) == [Entry("7:1"), Entry("7:2")]


@pytest.mark.parametrize(
    ("told", "entry"),
    [
        (
            (
                b"* 1 FETCH (RFC822.SIZE 45 FLAGS (\\Seen $MDNSent \\Recent) UID 1"
                b' INTERNALDATE " 4-Jan-2025 00:00:00 -0130")'
            ),
            Entry("7:1", 45, datetime(2025, 1, 4, 1, 30, tzinfo=UTC), ("seen", "$MDNSent")),
        ),
        (b"* 99 FETCH (uid 1 flags () rfc822.size 45)", Entry("7:1", 45)),
        (b"* 1 FETCH (FLAGS (UID 8) UID 1 RFC822.SIZE 45)", Entry("7:1", 45, None, ("UID", "8"))),
        (b'* 1 FETCH (UID 1 RFC822.SIZE 45 INTERNALDATE "30-Feb-2025 00:00:00 +0000")', Entry("7:1", 45)),
        (b"* 1 FETCH (UID 1 RFC822.SIZE 45)\r\n* 1 FETCH (FLAGS (\\Seen))", Entry("7:1", 45)),
    ],
)
def test_details_are_read_by_their_names(
    server: ScriptedServer, source: ImapSource, told: bytes, entry: Entry
) -> None:
    server.add(MAIL)
    server.answer("UID FETCH", told + b"\r\n$ OK FETCH completed.\r\n")
    assert listed(source) == [entry]


@pytest.mark.parametrize(
    "told",
    [
        b"* 1 FETCH (BODY[] {%d}\r\n%s UID 1)" % (len(MAIL), MAIL),
        b"* 99 FETCH (UID 1 FLAGS (\\Seen) BODY[] {%d}\r\n%s)" % (len(MAIL), MAIL),
        b"* 1 FETCH (FLAGS (\\Seen))\r\n* 1 FETCH (uid 1 body[] {%d}\r\n%s)" % (len(MAIL), MAIL),
        b"* 5 EXISTS\r\n* 1 FETCH (UID 1 BODY[] {%d}\r\n%s)\r\n* 1 FETCH (UID 1 FLAGS ())"
        % (len(MAIL), MAIL),
        b"* 1 FETCH (BODY[HEADER] {4}\r\n\r\n\r\n UID 1 BODY[] {%d}\r\n%s)" % (len(MAIL), MAIL),
    ],
)
def test_bytes_are_kept_however_the_answer_is_ordered(
    server: ScriptedServer, source: ImapSource, told: bytes
) -> None:
    server.add(MAIL)
    server.answer("UID FETCH", told + b"\r\n$ OK FETCH completed.\r\n")
    assert list(source.fetch(INBOX, [Entry("7:1")])) == [Fetched(Entry("7:1"), MAIL)]


def test_bytes_are_kept_of_a_message_in_quotes(server: ScriptedServer, source: ImapSource) -> None:
    server.add(MAIL)
    server.answer("UID FETCH", b'* 1 FETCH (BODY[] "UID 9 \\"x\\"" UID 1)\r\n$ OK FETCH completed.\r\n')
    (outcome,) = source.fetch(INBOX, [Entry("7:1")])
    assert outcome == Fetched(Entry("7:1"), b'UID 9 "x"')


def test_bytes_are_kept_of_mail_that_looks_like_the_protocol(
    server: ScriptedServer, source: ImapSource
) -> None:
    tricky = [
        b")\r\n* 2 FETCH (UID 2 BODY[] {3}\r\nabc)\r\n",
        b"Subject: x {5}\r\n\r\nA0001 OK FETCH completed.\r\n{7}",
        b"\x00\xff\n\r\n{12}\r\n* BYE\r\n",
    ]
    server.add(*tricky)
    outcomes = list(source.fetch(INBOX, listed(source)))
    assert [each.mime for each in outcomes if isinstance(each, Fetched)] == tricky


def test_an_answer_for_a_message_that_was_not_asked_for_is_ignored(
    server: ScriptedServer, source: ImapSource
) -> None:
    server.add(MAIL, b"other")
    both = server.usual("UID FETCH 1:2 (UID BODY.PEEK[])")
    server.answer("UID FETCH", both)
    assert list(source.fetch(INBOX, [Entry("7:1")])) == [Fetched(Entry("7:1"), MAIL)]


def test_a_listing_longer_than_a_million_bytes_is_read(server: ScriptedServer, source: ImapSource) -> None:
    first = 1_000_000_000
    ids = b" ".join(b"%d" % uid for uid in range(first, first + 120_000))
    server.messages[first] = Message(MAIL)
    server.answer("UID SEARCH", b"* SEARCH " + ids + b"\r\n$ OK SEARCH completed.\r\n")
    assert len(source.native_ids(INBOX)) == 120_000


def test_an_answer_to_a_search_may_come_in_pieces(server: ScriptedServer, source: ImapSource) -> None:
    server.add(MAIL, MAIL, MAIL)
    server.answer("UID SEARCH", b"* SEARCH 3 1\r\n* SEARCH 2 (MODSEQ 917)\r\n$ OK done\r\n")
    assert source.native_ids(INBOX) == {"7:1", "7:2", "7:3"}


def test_headers_alone_identify_a_message(server: ScriptedServer, source: ImapSource) -> None:
    server.add(MAIL, MAIL.replace(b"lunch", b"dinner"))
    entries = listed(source)
    server.commands.clear()
    first, second = source.identify(INBOX, entries)
    assert first.identity
    assert second.identity
    assert (first.identity.message_id, first.identity.subject) == ("1@contoso.com", "lunch")
    assert second.identity.header_key != first.identity.header_key
    assert server.commands == [
        "UID FETCH 1:2 (UID BODY.PEEK[HEADER.FIELDS (MESSAGE-ID DATE FROM SENDER SUBJECT)])"
    ]


def test_entries_whose_headers_are_refused_come_back_unidentified(
    server: ScriptedServer, source: ImapSource
) -> None:
    server.add(MAIL)
    entries = [*listed(source), Entry("6:1")]
    server.answer("UID FETCH", b"$ BAD Command Argument Error. 11\r\n")
    assert list(source.identify(INBOX, entries)) == entries


def test_bounded_memory_keeps_batches_below_their_budget(server: ScriptedServer, source: ImapSource) -> None:
    server.add(*[MAIL] * 600)
    for uid in range(1, 8):
        server.messages[uid].size = 3 * 1024 * 1024
    server.messages[8].size = 100 * 1024 * 1024
    entries = listed(source)
    server.commands.clear()
    outcomes = list(source.fetch(INBOX, entries))
    assert not any(isinstance(each, FetchFailed) for each in outcomes)
    assert [each.split()[2] for each in server.commands] == [
        "1:2",
        "3:4",
        "5:6",
        "7",
        "8",
        "9:508",
        "509:600",
    ]


@given(
    st.integers(0, 2**32 - 2),
    st.none() | st.integers(1, 2**32 - 1),
    st.integers(1, 2_000_000),
)
def test_nothing_lost_between_the_windows_of_a_listing(after: int, uid_next: int | None, exists: int) -> None:
    ranges = list(itertools.islice(windows(after, uid_next, exists), 10_000))
    assert ranges[0][0] == after + 1
    assert ranges[-1][1] is None
    assert all(high is not None and low == high + 1 for (_, high), (low, _) in itertools.pairwise(ranges))
    assert len(ranges) <= 2 + max(4 * exists // 50_000, 32)


@given(st.sets(st.integers(1, 60) | st.integers(2**32 - 60, 2**32 - 1), min_size=1))
def test_nothing_lost_in_a_set_of_uids(uids: set[int]) -> None:
    covered: set[int] = set()
    for part in uid_set(sorted(uids)).split(","):
        low, _, high = part.partition(":")
        covered |= set(range(int(low), int(high or low) + 1))
    assert covered == uids
