"""Listing the Inbox: what is new, what it costs, what the cursor covers."""

import random
from datetime import UTC, datetime

import pytest

from pipelines.errors import UsageError
from pipelines.sources import Entry, Fetched, Folder, Page, Reset, Role
from pipelines.sources.pop3 import INBOX, Pop3Source
from tests.sources.conftest import MAILBOX
from tests.sources.scripted_pop3 import ScriptedPop3

MAIL = b"Message-ID: <1@contoso.com>\r\nFrom: kim@contoso.com\r\nSubject: lunch\r\n\r\nAt noon.\r\n"


def walk(source: Pop3Source, cursor: str | None = None) -> tuple[list[str], str | None]:
    """The ids listed from the cursor on, and the cursor after them."""
    ids: list[str] = []
    for step in source.changes(INBOX, cursor):
        if isinstance(step, Page):
            assert not step.removed
            ids += [entry.native_id for entry in step.entries]
            cursor = step.cursor
    return ids, cursor


def test_the_inbox_is_the_one_folder_and_nothing_is_asked_for_it(
    pop3_server: ScriptedPop3, pop3: Pop3Source
) -> None:
    assert pop3.folders() == [Folder("Inbox", Role.INBOX, "INBOX")]
    assert pop3_server.connections == 0
    for ask in (pop3.count, pop3.native_ids, lambda folder: list(pop3.changes(folder, None))):
        with pytest.raises(UsageError, match=f"{MAILBOX}: POP3 shows the Inbox only, not 'Sent Items'"):
            ask(Folder("Sent Items", Role.SENT, "Sent Items"))


def test_a_round_without_news_costs_a_sign_in_one_uidl_and_one_stat(
    pop3_server: ScriptedPop3, pop3: Pop3Source
) -> None:
    pop3_server.add(MAIL, MAIL)
    _ids, cursor = walk(pop3)
    pop3.close()
    pop3_server.commands.clear()
    assert list(pop3.changes(INBOX, cursor)) == []
    assert pop3.count(INBOX) == 2
    pop3.close()
    assert pop3_server.commands == ["AUTH XOAUTH2", "UIDL", "STAT", "QUIT"]


def test_an_empty_inbox_gets_a_cursor_at_once(pop3_server: ScriptedPop3, pop3: Pop3Source) -> None:
    (page,) = pop3.changes(INBOX, None)
    assert isinstance(page, Page)
    assert page.entries == []
    assert list(pop3.changes(INBOX, page.cursor)) == []
    assert "LIST" not in pop3_server.commands
    pop3_server.add(MAIL)
    assert walk(pop3, page.cursor)[0] == ["uid1"]


def test_an_entry_has_the_size_of_the_listing_and_no_time(
    pop3_server: ScriptedPop3, pop3: Pop3Source
) -> None:
    pop3_server.add(MAIL)
    (page,) = pop3.changes(INBOX, None)
    assert isinstance(page, Page)
    assert page.entries == [Entry("uid1", len(MAIL))]


@pytest.mark.parametrize("answer", [b"-ERR no\r\n", b"+OK\r\n.\r\n", b"+OK\r\nsomething else\r\n.\r\n"])
def test_an_id_without_a_size_is_listed_nevertheless(
    pop3_server: ScriptedPop3, pop3: Pop3Source, answer: bytes
) -> None:
    pop3_server.add(MAIL)
    pop3_server.answer("LIST", answer)
    (page,) = pop3.changes(INBOX, None)
    assert isinstance(page, Page)
    assert page.entries == [Entry("uid1")]


def test_only_what_is_behind_the_cursor_is_listed(pop3_server: ScriptedPop3, pop3: Pop3Source) -> None:
    pop3_server.add(MAIL, MAIL)
    _ids, cursor = walk(pop3)
    pop3_server.add(MAIL)
    assert walk(pop3, cursor)[0] == ["uid3"]


def test_nothing_lost_when_a_message_before_the_cursor_has_gone(
    pop3_server: ScriptedPop3, pop3: Pop3Source
) -> None:
    pop3_server.add(MAIL, MAIL, MAIL)
    _ids, cursor = walk(pop3)
    del pop3_server.messages["uid2"]
    pop3_server.messages["new"] = MAIL
    # As many as before, and other ones: the whole listing comes again, no Reset.
    assert walk(pop3, cursor)[0] == ["uid1", "uid3", "new"]
    assert pop3.native_ids(INBOX) == {"uid1", "uid3", "new"}


def test_nothing_lost_when_the_server_lists_the_newest_first(
    pop3_server: ScriptedPop3, pop3: Pop3Source
) -> None:
    pop3_server.add(MAIL, MAIL)
    _ids, cursor = walk(pop3)
    pop3_server.messages = {"new": MAIL, **pop3_server.messages}
    assert walk(pop3, cursor)[0] == ["new", "uid1", "uid2"]


def test_an_inbox_that_was_emptied_gets_another_cursor(pop3_server: ScriptedPop3, pop3: Pop3Source) -> None:
    pop3_server.add(MAIL, MAIL)
    _ids, cursor = walk(pop3)
    pop3_server.messages.clear()
    ids, emptied = walk(pop3, cursor)
    assert (ids, emptied != cursor) == ([], True)
    assert list(pop3.changes(INBOX, emptied)) == []


def test_pages_come_in_order_each_with_a_cursor_that_covers_it(
    pop3_server: ScriptedPop3, pop3: Pop3Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.sources.pop3.PAGE", 500)
    pop3_server.add(*[b"x"] * 1201)
    pages = [step for step in pop3.changes(INBOX, None) if isinstance(step, Page)]
    assert [len(page.entries) for page in pages] == [500, 500, 201]
    for place, page in enumerate(pages):
        after = [entry.native_id for later in pages[place + 1 :] for entry in later.entries]
        assert walk(pop3, page.cursor)[0] == after


def test_nothing_lost_through_any_history_of_arrivals_and_removals(
    pop3_server: ScriptedPop3, pop3: Pop3Source
) -> None:
    chance = random.Random(3)  # noqa: S311
    seen: set[str] = set()
    cursor = None
    for step in range(25):
        for _ in range(chance.randrange(4)):
            pop3_server.messages[f"{step}-{chance.random()}"] = b"x"
        if pop3_server.messages and chance.random() < 0.4:
            del pop3_server.messages[chance.choice(list(pop3_server.messages))]
        if chance.random() < 0.2:
            pop3_server.messages = dict(
                chance.sample(list(pop3_server.messages.items()), len(pop3_server.messages))
            )
        ids, cursor = walk(pop3, cursor)
        seen |= set(ids)
        assert seen >= pop3_server.messages.keys()


@pytest.mark.parametrize(
    "cursor", ["https://graph.microsoft.com/v1.0/delta", "[]", '{"uidvalidity": 7, "uid": 5}', "12"]
)
def test_a_cursor_of_another_protocol_starts_from_the_beginning(
    pop3_server: ScriptedPop3, pop3: Pop3Source, cursor: str
) -> None:
    pop3_server.add(MAIL, MAIL)
    reset, page = pop3.changes(INBOX, cursor)
    assert isinstance(reset, Reset)
    assert isinstance(page, Page)
    assert len(page.entries) == 2


def test_each_walk_sees_the_inbox_as_it_is_then(pop3_server: ScriptedPop3, pop3: Pop3Source) -> None:
    pop3_server.add(MAIL)
    _ids, cursor = walk(pop3)
    pop3_server.add(MAIL)
    # The session is one view, whoever asks it.
    assert pop3.count(INBOX) == 1
    assert pop3.native_ids(INBOX) == {"uid1"}
    assert walk(pop3, cursor)[0] == ["uid2"]
    assert pop3.count(INBOX) == 2
    assert pop3_server.commands.count("QUIT") == 1


def test_nothing_lost_copies_of_one_unique_id_are_read_each(
    pop3_server: ScriptedPop3, pop3: Pop3Source
) -> None:
    pop3_server.add(b"first\r\n", b"second\r\n")
    pop3_server.answer("UIDL", b"+OK\r\n1 same\r\n2 same\r\n.\r\n")
    (page,) = pop3.changes(INBOX, None)
    assert isinstance(page, Page)
    assert [entry.native_id for entry in page.entries] == ["same", "same 2"]
    outcomes = list(pop3.fetch(INBOX, page.entries))
    assert [each.mime for each in outcomes if isinstance(each, Fetched)] == [b"first\r\n", b"second\r\n"]


def test_a_listing_of_a_hundred_thousand_messages_is_read(
    pop3_server: ScriptedPop3, pop3: Pop3Source
) -> None:
    told = b"".join(b"%d %032d\r\n" % (number, number) for number in range(1, 100_001))
    pop3_server.answer("UIDL", b"+OK\r\n" + told + b".\r\n")
    assert len(pop3.native_ids(INBOX)) == 100_000


def test_headers_alone_identify_a_message(pop3_server: ScriptedPop3, pop3: Pop3Source) -> None:
    pop3_server.add(MAIL, MAIL.replace(b"lunch", b"dinner"), MAIL)
    pop3_server.answer("TOP 3 0", b"-ERR The message could not be converted.\r\n")
    first, second, third, unknown = pop3.identify(
        INBOX, [Entry("uid1"), Entry("uid2"), Entry("uid3"), Entry("gone")]
    )
    assert first.identity
    assert second.identity
    assert (first.identity.message_id, first.identity.subject) == ("1@contoso.com", "lunch")
    assert second.identity.header_key != first.identity.header_key
    assert (third, unknown) == (Entry("uid3"), Entry("gone"))
    assert pop3_server.sent("TOP|RETR") == ["TOP 1 0", "TOP 2 0", "TOP 3 0"]


def test_a_server_without_top_identifies_nothing(pop3_server: ScriptedPop3, pop3: Pop3Source) -> None:
    pop3_server.add(MAIL)
    pop3_server.capabilities = b"UIDL\r\nSASL XOAUTH2\r\n"
    assert list(pop3.identify(INBOX, [Entry("uid1")])) == [Entry("uid1")]
    assert not pop3_server.sent("TOP")


def test_a_server_without_capa_is_asked_nevertheless(pop3_server: ScriptedPop3, pop3: Pop3Source) -> None:
    pop3_server.add(MAIL)
    pop3_server.answer("CAPA", b"-ERR Protocol error. 14\r\n")
    (entry,) = pop3.identify(INBOX, [Entry("uid1")])
    assert entry.identity
    assert [each.entry.native_id for each in pop3.fetch(INBOX, [entry])] == ["uid1"]


@pytest.mark.parametrize("pipelining", [True, False])
def test_bounded_memory_keeps_batches_below_their_budget(
    pop3_server: ScriptedPop3, pop3: Pop3Source, pipelining: bool
) -> None:
    pop3_server.capabilities += b"PIPELINING\r\n" * pipelining
    pop3_server.add(*[b"x\r\n"] * 106)
    megabyte = 1024 * 1024
    sizes = [3 * megabyte, megabyte, megabyte, 90 * megabyte, *[10] * 101, None]
    entries = [Entry(f"uid{number}", size) for number, size in enumerate(sizes, start=1)]
    outcomes = list(pop3.fetch(INBOX, entries))
    assert [each.entry for each in outcomes if isinstance(each, Fetched)] == entries
    batches = " ".join(pop3_server.sent("RETR|STAT")).removesuffix("STAT").split("STAT")
    assert [batch.count("RETR") for batch in batches] == [2, 1, 1, 100, 2]
    assert pop3_server.connections == 1


@pytest.mark.parametrize("pipelining", [True, False])
def test_nothing_lost_when_other_questions_come_between(
    pop3_server: ScriptedPop3, pop3: Pop3Source, pipelining: bool
) -> None:
    pop3_server.capabilities += b"PIPELINING\r\n" * pipelining
    pop3_server.add(*[b"Subject: %d\r\n\r\n%d\r\n" % (number, number) for number in range(250)])
    entries = [Entry(each) for each in pop3_server.messages]
    got = []
    for number, outcome in enumerate(pop3.fetch(INBOX, entries)):
        assert isinstance(outcome, Fetched)
        got.append(outcome.mime)
        if number % 70 == 0:
            assert pop3.count(INBOX) == 250
            (identified,) = pop3.identify(INBOX, entries[:1])
            assert identified.identity
    assert got == list(pop3_server.messages.values())


def test_a_fetch_that_was_given_up_leaves_nothing_behind(pop3_server: ScriptedPop3, pop3: Pop3Source) -> None:
    pop3_server.capabilities += b"PIPELINING\r\n"
    pop3_server.add(*[b"mail %d\r\n" % number for number in range(250)])
    entries = [Entry(each) for each in pop3_server.messages]
    next(iter(pop3.fetch(INBOX, entries)))
    assert list(pop3.fetch(INBOX, entries[7:8])) == [Fetched(entries[7], b"mail 7\r\n")]


def test_a_window_of_dates_is_refused_with_a_way_out(pop3_server: ScriptedPop3, pop3: Pop3Source) -> None:
    with pytest.raises(UsageError, match="no window of dates") as caught:
        pop3.window(INBOX, datetime(2025, 1, 1, tzinfo=UTC), datetime(2025, 2, 1, tzinfo=UTC))
    assert MAILBOX in str(caught.value)
    assert "legacy: imap" in str(caught.value)
    assert pop3_server.connections == 0
