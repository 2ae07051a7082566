"""Against the sandbox's own tenant: tokens from its token service, mail through its POP3 door."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pyarrow.dataset as pads
import pytest

from pipelines.auth import TokenProvider
from pipelines.errors import MailboxRefusedError, SignInError
from pipelines.ingest.passes import ingest_mailbox
from pipelines.ingest.report import MailboxReport, Outcome
from pipelines.ingest.workspace import Workspace
from pipelines.sources import Entry, Fetched, FetchFailed, ProtocolName, Source, open_source
from pipelines.sources.pop3 import INBOX
from tests.sandbox_fixture import RunningSandbox, Starter
from tests.sources.conftest import WaitlessClock
from tests.sources.reading import walk

ADELE = "adele.vance@contoso.com"
Opened = Callable[[], Source]


@pytest.fixture
def tenant(start_sandbox: Starter) -> Iterator[RunningSandbox]:
    """Four mailboxes, Adele's on POP3; after the test it must have seen no attempt to change anything."""
    running = start_sandbox("--mailboxes", "4", "--messages", "400")
    yield running
    assert running.control.do("attempts") == []


@pytest.fixture
def open_adele(tenant: RunningSandbox, clock: WaitlessClock) -> Iterator[Opened]:
    with ExitStack() as stack:
        tokens = TokenProvider(tenant.config.tenant)
        stack.callback(tokens.close)

        def open_it() -> Source:
            mailbox = tenant.config.mailbox(ADELE)
            source = open_source(tenant.config, mailbox, ProtocolName.POP3, tokens, clock)
            stack.callback(source.close)
            return source

        yield open_it


def fault(tenant: RunningSandbox, **what: Any) -> None:
    tenant.control.do("add_fault", door="pop3", mailbox=ADELE, **what)


def asked(tenant: RunningSandbox) -> Counter[str]:
    """How often the POP3 door was asked for what."""
    return Counter(tenant.control.do("asked")["pop3"])


def held(tenant: RunningSandbox, folder: str = "Inbox") -> list[dict[str, Any]]:
    """What is in a folder of Adele's, as the tenant knows it."""
    return [
        each for each in tenant.control.messages() if (each["mailbox"], each["folder"]) == (ADELE, folder)
    ]


def digests(messages: list[dict[str, Any]]) -> list[str]:
    return sorted({each["sha256"] for each in messages})


def ingest(tenant: RunningSandbox) -> MailboxReport:
    with Workspace(tenant.config) as workspace:
        return ingest_mailbox(workspace, workspace.config.mailbox(ADELE))


def in_lake(tenant: RunningSandbox) -> list[str]:
    """The digests of the bytes in ``raw``, computed from them."""
    table = pads.dataset(tenant.directory / "lake" / "raw", partitioning="hive").to_table(columns=["mime"])
    return sorted(hashlib.sha256(mime).hexdigest() for mime in table.column(0).to_pylist())


def test_bytes_are_kept_and_read_only_a_whole_ingest_of_the_inbox(tenant: RunningSandbox) -> None:
    before = tenant.control.messages()
    report = ingest(tenant)
    assert report.outcome is Outcome.DONE, report
    assert in_lake(tenant) == digests(held(tenant))
    assert [account.path for account in report.rounds] == ["Inbox"]
    assert held(tenant, "Sent Items"), "there is more than POP3 shows"
    assert tenant.control.messages() == before


def test_nothing_twice_a_second_round_costs_a_sign_in_and_three_commands(tenant: RunningSandbox) -> None:
    ingest(tenant)
    before = asked(tenant)
    second = ingest(tenant)
    assert (second.outcome, second.downloads, second.messages) == (Outcome.DONE, 0, 0)
    assert asked(tenant) - before == {"LOGIN": 1, "UIDL": 1, "STAT": 1, "QUIT": 1}


def test_new_and_moved_mail_is_found_in_the_next_round(tenant: RunningSandbox) -> None:
    ingest(tenant)
    moved = held(tenant)[0]
    tenant.control.do("move", address=ADELE, path="Inbox", uid=moved["uid"], to_path="Archive")
    tenant.control.deliver(ADELE, "Inbox", b"Message-ID: <new@contoso.com>\r\nSubject: new\r\n\r\nNew.\r\n")
    second = ingest(tenant)
    assert (second.outcome, second.downloads, second.messages) == (Outcome.DONE, 1, 1)
    assert in_lake(tenant) == digests([*held(tenant), moved])
    (account,) = second.rounds
    assert (account.server_count, account.lake_count) == (len(held(tenant)), len(held(tenant)))


def test_nothing_lost_whatever_goes_wrong_during_an_ingest(tenant: RunningSandbox) -> None:
    faults: list[dict[str, Any]] = [
        {"kind": "expire", "times": 2},
        {"kind": "drop", "bytes": 2000, "times": 2},
        {"kind": "drop", "times": 1},
        {"kind": "throttle", "seconds": 0.2, "times": 2},
    ]
    for each in faults:
        fault(tenant, command="RETR", probability=0.3, **each)
    report = ingest(tenant)
    assert report.outcome is Outcome.DONE, (report.error, report.rounds)
    assert in_lake(tenant) == digests(held(tenant))
    assert asked(tenant)["LOGIN"] >= 6, "the faults were committed"


def test_nothing_lost_when_the_token_dies_again_and_again(tenant: RunningSandbox, open_adele: Opened) -> None:
    source = open_adele()
    entries, _cursor = walk(source, INBOX)
    before = tenant.control.do("tokens")["issued"]
    for _ in range(2):
        fault(tenant, kind="expire", command="RETR", times=1)
        outcomes = list(source.fetch(INBOX, entries))
        assert all(isinstance(each, Fetched) for each in outcomes)
        assert len(outcomes) == len(entries)
    assert tenant.control.do("tokens")["issued"] == before + 2


def test_failure_is_contained_in_the_message_that_the_server_cannot_deliver(
    tenant: RunningSandbox, open_adele: Opened
) -> None:
    source = open_adele()
    entries, _cursor = walk(source, INBOX)
    uids = sorted(each["uid"] for each in held(tenant))
    fault(tenant, kind="placeholder", command="RETR", uid=uids[1])
    fault(tenant, kind="empty", command="RETR", uid=uids[3])
    outcomes = {each.entry.native_id: each for each in source.fetch(INBOX, entries)}
    failed = {each: got for each, got in outcomes.items() if isinstance(got, FetchFailed)}
    assert [failed[entries[at].native_id].reason for at in (1, 3)] == ["placeholder", "empty-answer"]
    assert b"Retrieval using the POP3 protocol" in (failed[entries[1].native_id].fallback or b"")
    assert (len(failed), len(outcomes)) == (2, len(entries))


def test_another_session_holds_the_mailbox_until_it_ends(open_adele: Opened, clock: WaitlessClock) -> None:
    first, second = open_adele(), open_adele()
    count = first.count(INBOX)
    clock.on_sleep = first.close
    assert second.count(INBOX) == count
    assert clock.waits == [2]


def test_a_token_that_is_too_long_for_exchange_is_named(tenant: RunningSandbox, open_adele: Opened) -> None:
    tenant.control.do("tokens", roles={"https://outlook.office365.com": ["POP.AccessAsApp", *["Role"] * 900]})
    with pytest.raises(SignInError, match=r"the token has \d,\d+ characters") as caught:
        open_adele().count(INBOX)
    assert ADELE in str(caught.value)


def test_a_mailbox_outside_the_applications_scope_is_named(
    tenant: RunningSandbox, open_adele: Opened
) -> None:
    tenant.control.do("grant", address=ADELE, granted=False)
    with pytest.raises(MailboxRefusedError, match=ADELE) as caught:
        open_adele().count(INBOX)
    assert "POP.AccessAsApp" in str(caught.value)


def test_every_message_is_identified_by_its_headers(open_adele: Opened) -> None:
    source = open_adele()
    entries, _cursor = walk(source, INBOX)
    identified = list(source.identify(INBOX, [*entries, Entry("not there")]))
    assert all(each.identity for each in identified[:-1])
    assert identified[-1] == Entry("not there")
