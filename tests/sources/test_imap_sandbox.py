"""Against the sandbox's own tenant: tokens from its token service, mail through its IMAP door."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pytest

from pipelines.auth import TokenProvider
from pipelines.errors import MailboxRefusedError
from pipelines.sources import (
    Entry,
    Fetched,
    FetchFailed,
    Folder,
    Page,
    ProtocolName,
    Role,
    Source,
    open_source,
)
from tests.sandbox_fixture import RunningSandbox
from tests.sources.conftest import WaitlessClock

Opened = Callable[[], Source]


@pytest.fixture
def open_first(sandbox: RunningSandbox, clock: WaitlessClock) -> Iterator[Opened]:
    """Open the first mailbox; after the test the tenant must have seen no attempt to change anything."""
    with ExitStack() as stack:
        tokens = TokenProvider(sandbox.config.tenant)
        stack.callback(tokens.close)

        def open_it() -> Source:
            source = open_source(
                sandbox.config, sandbox.config.mailboxes[0], ProtocolName.IMAP, tokens, clock
            )
            stack.callback(source.close)
            return source

        yield open_it
    assert sandbox.control.do("attempts") == []


def inbox(source: Source) -> tuple[Folder, list[Entry]]:
    folder = next(each for each in source.folders() if each.role is Role.INBOX)
    pages = source.changes(folder, None)
    return folder, [entry for page in pages if isinstance(page, Page) for entry in page.entries]


def test_read_only_finds_every_message_of_every_mail_folder(
    sandbox: RunningSandbox, open_first: Opened
) -> None:
    source, address = open_first(), sandbox.config.mailboxes[0].address
    found: dict[str, int] = {}
    for folder in source.folders():
        if folder.skipped:
            continue
        entries = [e for page in source.changes(folder, None) if isinstance(page, Page) for e in page.entries]
        outcomes = list(source.fetch(folder, entries))
        assert all(isinstance(each, Fetched) for each in outcomes)
        assert all(each.identity for each in source.identify(folder, entries))
        found |= {folder.path: len(outcomes)} if outcomes else {}
    held: dict[str, int] = {}
    for each in sandbox.control.messages():
        if each["mailbox"] == address:
            held[each["folder"]] = held.get(each["folder"], 0) + 1
    assert found == held


def test_nothing_lost_whatever_goes_wrong_once(
    sandbox: RunningSandbox, open_first: Opened, clock: WaitlessClock
) -> None:
    source = open_first()
    folder, entries = inbox(source)
    expected = {each.entry.native_id: each for each in source.fetch(folder, entries)}
    faults: list[dict[str, Any]] = [
        {"kind": "expire"},
        {"kind": "drop", "bytes": 5000},
        {"kind": "drop"},
        {"kind": "throttle", "seconds": 90},
        {"kind": "unavailable"},
        {"kind": "empty", "uid": 3},
    ]
    for fault in faults:
        sandbox.control.do("add_fault", door="imap", command="FETCH", times=1, **fault)
        outcomes = list(source.fetch(folder, entries))
        assert {each.entry.native_id: each for each in outcomes} == expected, fault
        assert len(outcomes) == len(entries)
        sandbox.control.do("clear_faults")
    assert 90 in clock.waits


def test_failure_is_contained_in_the_message_that_the_server_cannot_deliver(
    sandbox: RunningSandbox, open_first: Opened
) -> None:
    source = open_first()
    folder, entries = inbox(source)
    sandbox.control.do("add_fault", kind="placeholder", door="imap", uid=2)
    sandbox.control.do("add_fault", kind="empty", door="imap", command="FETCH", uid=4)
    outcomes = list(source.fetch(folder, entries))
    failed = {each.entry.native_id: each for each in outcomes if isinstance(each, FetchFailed)}
    assert {failed[each].reason for each in failed} == {"placeholder", "empty-answer"}
    assert [bool(failed[entries[at].native_id].fallback) for at in (1, 3)] == [True, False]
    assert len(outcomes) == len(entries)


@pytest.mark.parametrize("command", ["LOGIN", "LIST"])
def test_a_mailbox_outside_the_applications_scope_is_named(
    sandbox: RunningSandbox, open_first: Opened, command: str
) -> None:
    assert open_first().folders()
    sandbox.control.do("add_fault", kind="refuse", door="imap", command=command)
    with pytest.raises(MailboxRefusedError, match=sandbox.config.mailboxes[0].address) as caught:
        open_first().folders()
    assert "IMAP.AccessAsApp" in str(caught.value)


def test_nothing_lost_nothing_twice_every_message_lies_in_exactly_one_month(open_first: Opened) -> None:
    source = open_first()
    folder, entries = inbox(source)
    months = [datetime(year, month, 1, tzinfo=UTC) for year in range(2023, 2027) for month in range(1, 13)]
    found: list[str] = []
    for since, before in pairwise(months):
        for page in source.window(folder, since, before):
            assert all(each.received_at and since <= each.received_at < before for each in page)
            found += [each.native_id for each in page]
    assert sorted(found) == sorted(each.native_id for each in entries)
