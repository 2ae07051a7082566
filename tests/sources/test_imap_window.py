"""Windows of time: what SEARCH is asked, and which of its answers belong to the window."""

from datetime import UTC, datetime, timedelta

import pytest

from pipelines.sources import Entry, Folder, Role
from pipelines.sources.imap import ImapSource
from tests.sources.scripted import Message, ScriptedServer

INBOX = Folder("Inbox", Role.INBOX, "INBOX")
MARCH, APRIL = datetime(2025, 3, 1, tzinfo=UTC), datetime(2025, 4, 1, tzinfo=UTC)
MAIL = b"Subject: lunch\r\n\r\nAt noon.\r\n"


def entries(source: ImapSource, since: datetime = MARCH, before: datetime = APRIL) -> list[Entry]:
    return [each for page in source.window(INBOX, since, before) for each in page]


@pytest.mark.parametrize(
    ("since", "before", "asked"),
    [
        (MARCH, APRIL, "28-Feb-2025 BEFORE 02-Apr-2025"),
        (MARCH - timedelta(days=60), MARCH - timedelta(days=59), "30-Dec-2024 BEFORE 02-Jan-2025"),
        (MARCH + timedelta(hours=6), APRIL + timedelta(seconds=1), "28-Feb-2025 BEFORE 03-Apr-2025"),
    ],
)
def test_nothing_lost_a_day_of_margin_on_both_sides(
    server: ScriptedServer, source: ImapSource, since: datetime, before: datetime, asked: str
) -> None:
    server.add(MAIL)
    assert entries(source, since, before) == []
    (search,) = server.sent("UID SEARCH")
    assert search == f"UID SEARCH SINCE {asked}"


@pytest.mark.parametrize(
    ("date", "inside"),
    [
        ("01-Mar-2025 00:00:00 +0000", True),
        ("28-Feb-2025 23:59:59 +0000", False),
        ("31-Mar-2025 23:59:59 +0000", True),
        ("01-Apr-2025 00:00:00 +0000", False),
        # Days of the server's zone that are others in UTC.
        ("28-Feb-2025 12:00:00 -1200", True),
        ("28-Feb-2025 11:59:59 -1200", False),
        ("01-Apr-2025 13:59:59 +1400", True),
        ("01-Apr-2025 14:00:00 +1400", False),
    ],
)
def test_nothing_lost_exact_edges_in_whatever_zone_the_server_dates(
    server: ScriptedServer, source: ImapSource, date: str, inside: bool
) -> None:
    server.messages[4] = Message(MAIL, date=date)
    assert [each.native_id for each in entries(source)] == ["7:4"] * inside


@pytest.mark.parametrize(
    "told",
    [
        b'* 1 FETCH (UID 1 RFC822.SIZE 45 INTERNALDATE "30-Feb-2025 00:00:00 +0000" FLAGS ())\r\n',
        b"* 1 FETCH (UID 1 RFC822.SIZE 45 FLAGS ())\r\n",
        b"",
    ],
)
def test_nothing_lost_a_message_without_a_date_is_in_the_window(
    server: ScriptedServer, source: ImapSource, told: bytes
) -> None:
    server.add(MAIL)
    server.answer("UID FETCH", told + b"$ OK FETCH completed.\r\n")
    assert [(each.native_id, each.received_at) for each in entries(source)] == [("7:1", None)]


def test_newest_first_in_pages_of_one_fetch_each(
    server: ScriptedServer, source: ImapSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.sources.imap.PAGE", 500)
    for uid in range(1, 1202):
        moment = MARCH + timedelta(minutes=uid)
        server.messages[uid] = Message(MAIL, date=f"{moment:%d-%b-%Y %H:%M:%S} +0000")
    pages = list(source.window(INBOX, MARCH, APRIL))
    assert [len(page) for page in pages] == [500, 500, 201]
    assert [each.native_id for page in pages for each in page] == [f"7:{uid}" for uid in range(1201, 0, -1)]
    assert len(server.sent("UID FETCH")) == 3


def test_a_page_with_nothing_of_the_window_is_left_out(server: ScriptedServer, source: ImapSource) -> None:
    server.add(MAIL)
    assert list(source.window(INBOX, MARCH, APRIL)) == []


def test_nothing_lost_when_uidvalidity_changes_in_the_middle(
    server: ScriptedServer, source: ImapSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.sources.imap.PAGE", 500)
    for uid in range(1, 601):
        server.messages[uid] = Message(MAIL, date="09-Mar-2025 09:00:00 +0000")
    pages = source.window(INBOX, MARCH, APRIL)
    assert len(next(pages)) == 500
    server.uid_validity = 8
    server.answer("UID FETCH", b"* BYE Session invalidated - AccessTokenExpired\r\n", hang_up=True)
    assert {each.native_id for page in pages for each in page} == {f"8:{uid}" for uid in range(1, 601)}


def test_an_empty_folder_is_not_searched(server: ScriptedServer, source: ImapSource) -> None:
    assert list(source.window(INBOX, MARCH, APRIL)) == []
    assert server.sent("UID") == []
