"""Folders as LIST shows them."""

import pytest
from imapclient import imap_utf7

from pipelines.clock import SystemClock
from pipelines.errors import UsageError
from pipelines.sources import ProtocolName, Role, open_source
from pipelines.sources.imap import ImapSource
from pipelines.sources.imap_folders import read_folders
from pipelines.sources.imap_wire import ListLine
from tests.dovecot_fixture import Dovecot
from tests.sources.scripted import ScriptedServer


def lines(*names: str, delimiter: bytes | None = b"/") -> list[ListLine]:
    return [((b"\\HasNoChildren",), delimiter, imap_utf7.encode(name)) for name in names]


def test_folders_of_exchange_are_told_apart(server: ScriptedServer, source: ImapSource) -> None:
    server.folders = (
        b'* LIST (\\HasChildren) "/" Calendar\r\n'
        b'* LIST (\\HasNoChildren) "/" "Calendar/Birthdays"\r\n'
        b'* LIST (\\HasNoChildren) "/" Contacts\r\n'
        b'* LIST (\\HasNoChildren \\Trash) "/" "Deleted Items"\r\n'
        b'* LIST (\\HasNoChildren \\Drafts) "/" Drafts\r\n'
        b'* LIST (\\Marked \\HasChildren) "/" INBOX\r\n'
        b'* LIST (\\HasNoChildren) "/" INBOX/2024\r\n'
        b'* LIST (\\HasNoChildren) "/" "Junk Email"\r\n'
        b'* LIST (\\Noselect \\HasChildren) "/" Projects\r\n'
        b'* LIST (\\HasNoChildren) "/" {9}\r\nR&AOk-sum\r\n'
        b'* LIST (\\HasNoChildren \\Sent) "/" "Sent Items"\r\n'
        b'* LIST (\\HasNoChildren) "/" "Sync Issues/Conflicts"\r\n'
    )
    found = [(each.path, each.role, each.skipped) for each in source.folders()]
    assert found == [
        ("Inbox", Role.INBOX, None),
        ("Calendar", Role.OTHER, "non-mail"),
        ("Calendar/Birthdays", Role.OTHER, "non-mail"),
        ("Contacts", Role.OTHER, "non-mail"),
        ("Deleted Items", Role.TRASH, None),
        ("Drafts", Role.DRAFTS, None),
        ("Inbox/2024", Role.OTHER, None),
        ("Junk Email", Role.JUNK, None),
        ("Projects", Role.OTHER, "holds no messages, only folders"),
        ("Résum", Role.OTHER, None),
        ("Sent Items", Role.SENT, None),
        ("Sync Issues/Conflicts", Role.OTHER, "non-mail"),
    ]


@pytest.mark.parametrize("last", [b'"say \\"hi\\""', b'{8}\r\nsay "hi"', b"INBOX"])
def test_lines_are_read_alike_whatever_stands_beside_them(
    server: ScriptedServer, source: ImapSource, last: bytes
) -> None:
    server.folders = (
        b'* LIST (\\Marked) "." "Sent Items"\r\n'
        b'* LIST () NIL "(a) b*"\r\n'
        b'* LIST (\\Noselect \\HasChildren) "." Projects.2024\r\n'
        b'* LIST () "." "&AOk-t&AOk-"\r\n'
        b'* LIST () "." ' + last + b"\r\n"
    )
    found = {each.path: (each.native, each.skipped) for each in source.folders()}
    path = "Inbox" if last == b"INBOX" else 'say "hi"'
    assert found == {
        "Sent Items": ("Sent Items", None),
        "(a) b*": ("(a) b*", None),
        "Projects/2024": ("Projects.2024", "holds no messages, only folders"),
        "été": ("&AOk-t&AOk-", None),
        path: ("INBOX" if last == b"INBOX" else path, None),
    }


def test_names_follow_the_language_of_the_mailbox() -> None:
    german = lines("INBOX", "Kalender", "Kontakte", "Entwürfe", "Gelöschte Elemente", "Notes", "Drafts")
    found = {each.path: (each.role, each.skipped) for each in read_folders(german)}
    assert found["Entwürfe"] == (Role.DRAFTS, None)
    assert found["Gelöschte Elemente"] == (Role.TRASH, None)
    assert found["Kalender"][1] == "non-mail"
    assert found["Notes"] == (Role.OTHER, None)
    assert found["Drafts"] == (Role.OTHER, None)


def test_nothing_lost_to_a_name_that_one_folder_happens_to_have() -> None:
    folders = read_folders(lines("INBOX", "Notes", "Projects/Calendar", "Projects/Contacts"))
    assert [each.path for each in folders if each.skipped] == []


def test_an_attribute_goes_before_a_name() -> None:
    listed: list[ListLine] = [((b"\\Sent",), b"/", b"Outgoing"), *lines("Sent Items", "Drafts")]
    roles = {each.path: each.role for each in read_folders(listed)}
    assert roles == {"Outgoing": Role.SENT, "Sent Items": Role.OTHER, "Drafts": Role.DRAFTS}


def test_failure_is_contained_in_the_folder_whose_name_is_broken() -> None:
    listed: list[ListLine] = [
        ((), b"/", b"bad &zz"),
        ((), b"/", "bröken".encode()),
        *lines("INBOX", "Früchte"),
    ]
    found = {each.path: each.skipped for each in read_folders(listed)}
    assert found["Früchte"] is None
    assert found["bad &zz"] is None
    assert len([path for path, skipped in found.items() if skipped]) == 1


@pytest.mark.parametrize("delimiter", [b".", b"\\", None])
def test_levels_are_separated_by_a_slash_whatever_the_server_uses(delimiter: bytes | None) -> None:
    name = "INBOX" + (delimiter or b"").decode() + "2024"
    (folder,) = read_folders(lines(name, delimiter=delimiter))
    assert folder.path == ("Inbox/2024" if delimiter else "INBOX2024")
    assert folder.native == name


def test_the_inbox_is_one_folder_however_it_is_written() -> None:
    assert [each.native for each in read_folders(lines("inbox", "INBOX"))] == ["inbox"]


def test_bad_input_gets_a_clear_error_for_what_no_server_has(dovecot: Dovecot) -> None:
    config = dovecot.config("kim@contoso.com")
    with pytest.raises(UsageError, match=r"kim@contoso\.com.*archive"):
        open_source(
            config,
            config.mailboxes[0],
            ProtocolName.ARCHIVE,
            dovecot.tokens("kim@contoso.com"),
            SystemClock(),
        )
