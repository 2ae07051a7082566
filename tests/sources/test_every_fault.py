"""Every fault known of Exchange Online and Graph, committed by the sandbox: what becomes of the mail.

The rows are those of "When something is wrong" in docs/imap.md, docs/pop3.md and docs/graph.md that a
server can be told to commit. What a scripted server is needed for is in ``test_*_faults.py``.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import Any

import pytest

from pipelines.auth import TokenProvider
from pipelines.errors import (
    FolderGoneError,
    MailboxRefusedError,
    MailoverError,
    SignInError,
    ThrottledError,
    TransientError,
)
from pipelines.sources import Entry, Fetched, FetchFailed, Folder, ProtocolName, Reset, Source, open_source
from tests.sandbox_fixture import RunningSandbox, running_sandbox
from tests.sources.conftest import WaitlessClock
from tests.sources.reading import inbox_of, walk

KIM = "kim.akers@contoso.com"
INBOX = "Inbox"
_FETCHED = 4
"""Messages that are fetched in each test."""
Opened = Callable[[str], Source]
Fault = dict[str, Any]


@pytest.fixture(scope="module")
def tenant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSandbox]:
    directory = tmp_path_factory.mktemp("tenant") / "sandbox"
    with running_sandbox(directory, "--messages", "60") as sandbox, pytest.MonkeyPatch.context() as patched:
        patched.setenv("MAILOVER_CLIENT_SECRET", sandbox.secret)
        yield sandbox


@pytest.fixture
def opened(tenant: RunningSandbox, clock: WaitlessClock) -> Iterator[Opened]:
    """Open Kim's mailbox by a protocol; after the test the tenant behaves, and nobody tried to write."""
    with ExitStack() as stack:
        tokens = TokenProvider(tenant.config.tenant)
        stack.callback(tokens.close)

        def open_it(protocol: str) -> Source:
            mailbox = tenant.config.mailbox(KIM)
            source = open_source(tenant.config, mailbox, ProtocolName(protocol), tokens, clock)
            stack.callback(source.close)
            return source

        yield open_it
    assert tenant.control.do("clear_faults") > 0, "no fault was committed, so nothing was proved"
    assert tenant.control.do("attempts") == []


def misbehave(tenant: RunningSandbox, door: str, command: str, fault: Fault) -> None:
    tenant.control.do("add_fault", door=door, command=command, **fault)


def some(source: Source) -> tuple[Folder, list[Entry]]:
    folder = inbox_of(source)
    return folder, walk(source, folder)[0][:_FETCHED]


def read(source: Source) -> list[Fetched | FetchFailed]:
    folder, entries = some(source)
    return list(source.fetch(folder, entries))


def error(code: str, status: int = 500, **more: Any) -> Fault:
    return {"kind": "error", "code": code, "status": status, **more}


THROTTLE, EXPIRE = {"kind": "throttle", "seconds": 90}, {"kind": "expire"}
UNAVAILABLE, REFUSE, DROP = {"kind": "unavailable"}, {"kind": "refuse"}, {"kind": "drop"}
INVALID_STATE, ARGUMENT = (
    error("BAD Command received in Invalid state."),
    error("BAD Command Argument Error. 11"),
)

PASSING = [
    *(("imap", command, fault) for command in ("LIST", "EXAMINE", "FETCH") for fault in (THROTTLE, EXPIRE)),
    *(("imap", command, fault) for command in ("EXAMINE", "FETCH") for fault in (UNAVAILABLE, INVALID_STATE)),
    ("imap", "LIST", REFUSE),
    ("imap", "EXAMINE", REFUSE),
    ("imap", "EXAMINE", error("NO INBOX doesn't exist.")),
    ("imap", "FETCH", DROP),
    ("imap", "FETCH", ARGUMENT),
    *(("pop3", command, fault) for command in ("UIDL", "RETR") for fault in (THROTTLE, EXPIRE, UNAVAILABLE)),
    ("pop3", "RETR", DROP),
    ("graph", "delta", EXPIRE),
    ("graph", "$value", DROP),
    ("graph", "$value", error("InvalidAuthenticationToken", 401)),
    ("graph", "$value", error("AuthenticationError", 401)),
    ("graph", "$value", error("ErrorItemNotFound", 404)),
    ("graph", "$value", error("", 404)),
    *(
        ("graph", command, error(code, status, seconds=12, retry_after="seconds"))
        for command in ("folders", "delta", "$value")
        for code in ("ApplicationThrottled", "TooManyRequests", "activityLimitReached", "UnknownError")
        for status in (429,)
    ),
    *(
        ("graph", command, error(code, status))
        for command in ("delta", "$value")
        for status, code in (
            (409, "ErrorIrresolvableConflict"),
            (423, "resourceLocked"),
            (500, "ErrorInternalServerTransientError"),
            (503, "ErrorMailboxStoreUnavailable"),
            (503, "ErrorMailboxMoveInProgress"),
            (503, "ErrorServerBusy"),
            (500, "ErrorTooManyObjectsOpened"),
            (500, "ErrorTimeoutExpired"),
            (500, "ErrorConnectionFailed"),
            (503, "ErrorMailboxFailover"),
            (502, ""),
            (503, ""),
            (504, ""),
        )
    ),
    ("graph", "delta", error("ErrorQuotaExceeded", 507, times=99)),
    ("graph", "delta", error("ErrorQuotaExceeded", 403, times=99)),
]


@pytest.mark.parametrize(("door", "command", "fault"), PASSING, ids=str)
def test_nothing_lost_when_a_fault_passes(
    tenant: RunningSandbox, opened: Opened, door: str, command: str, fault: Fault
) -> None:
    with closing(opened(door)) as source:
        expected = read(source)
    misbehave(tenant, door, command, {"times": 1} | fault)
    outcomes = read(opened(door))
    assert len(outcomes) == len(expected) == _FETCHED
    assert all(isinstance(each, Fetched) for each in outcomes)
    listed = {each["immutable_id"] for each in tenant.control.messages() if each["mailbox"] == KIM}
    assert door != "graph" or {each.entry.native_id for each in outcomes} <= listed


LASTING: list[tuple[str, str, Fault, type[MailoverError], str]] = [
    ("imap", "LOGIN", REFUSE, MailboxRefusedError, "IMAP.AccessAsApp"),
    ("imap", "LIST", REFUSE, MailboxRefusedError, "Add-MailboxPermission"),
    ("imap", "EXAMINE", REFUSE, MailboxRefusedError, "Add-MailboxPermission"),
    ("imap", "EXAMINE", THROTTLE, ThrottledError, KIM),
    ("imap", "EXAMINE", UNAVAILABLE, TransientError, KIM),
    ("imap", "EXAMINE", error("NO INBOX doesn't exist."), MailoverError, "rename it in Outlook"),
    ("pop3", "LOGIN", REFUSE, MailboxRefusedError, "POP.AccessAsApp"),
    ("pop3", "LOGIN", error(""), MailboxRefusedError, "Protocol error"),
    ("pop3", "UIDL", THROTTLE, ThrottledError, KIM),
    ("pop3", "UIDL", UNAVAILABLE, TransientError, KIM),
    *(
        ("graph", "folders", error(code, 401), SignInError, code)
        for code in ("InvalidAuthenticationToken", "AuthenticationError")
    ),
    *(
        ("graph", "folders", error(code, 403), MailboxRefusedError, "Mail.Read")
        for code in ("ErrorAccessDenied", "Authorization_RequestDenied", "extensionError")
    ),
    ("graph", "folders", error("AuthenticationError", 403), MailboxRefusedError, "Mail.Read"),
    *(
        ("graph", "folders", error(code, 404), MailboxRefusedError, code)
        for code in (
            "MailboxNotEnabledForRESTAPI",
            "ErrorInvalidUser",
            "ResourceNotFound",
            "Request_ResourceNotFound",
            "ErrorNonExistentMailbox",
        )
    ),
    *(
        ("graph", "folders", error(code, 400), MailoverError, code)
        for code in ("ErrorInvalidIdMalformed", "BadRequest", "ErrorInvalidRequest", "InefficientFilter")
    ),
    ("graph", "delta", error("ApplicationThrottled", 429), ThrottledError, KIM),
    ("graph", "delta", error("ErrorServerBusy", 503), TransientError, "ErrorServerBusy"),
]


@pytest.mark.parametrize(("door", "command", "fault", "kind", "named"), LASTING, ids=str)
def test_a_fault_that_lasts_is_named_with_the_mailbox(
    tenant: RunningSandbox,
    opened: Opened,
    door: str,
    command: str,
    fault: Fault,
    kind: type[MailoverError],
    named: str,
) -> None:
    misbehave(tenant, door, command, fault)
    with pytest.raises(kind) as caught:
        read(opened(door))
    assert KIM in str(caught.value)
    assert named in str(caught.value)


POISON: list[tuple[str, str, Fault, str, str | None]] = [
    ("imap", "FETCH", ARGUMENT, "refused", None),
    ("imap", "FETCH", {"kind": "empty"}, "empty-answer", None),
    ("imap", "FETCH", {"kind": "placeholder"}, "placeholder", None),
    ("pop3", "RETR", {"kind": "empty"}, "empty-answer", None),
    ("pop3", "RETR", {"kind": "placeholder"}, "placeholder", None),
    *(
        ("graph", "$value", error(code, 500), "conversion-failed", "graph-json")
        for code in (
            "ErrorMimeContentConversionFailed",
            "ErrorContentConversionFailed",
            "ErrorMimeContentInvalid",
            "ErrorUnsupportedMimeConversion",
        )
    ),
    *(
        ("graph", "$value", error(code, 500), "item-corrupt", "graph-json-without-body")
        for code in ("ErrorItemCorrupt", "ErrorCorruptData", "ErrorInvalidRecipients")
    ),
    ("graph", "$value", error("ErrorItemNotFound", 404), "refused", None),
    ("graph", "$value", error("ErrorInvalidRequest", 405), "refused", None),
    ("graph", "$value", {"kind": "truncate", "bytes": 300}, "truncated", "truncated"),
]


@pytest.mark.parametrize(("door", "command", "fault", "reason", "fidelity"), POISON, ids=str)
def test_failure_is_contained_in_the_message_that_it_is_about(
    tenant: RunningSandbox,
    opened: Opened,
    door: str,
    command: str,
    fault: Fault,
    reason: str,
    fidelity: str | None,
) -> None:
    source = opened(door)
    held = [each for each in tenant.control.messages() if (each["mailbox"], each["folder"]) == (KIM, INBOX)]
    folder = inbox_of(source)
    entries = walk(source, folder)[0]
    misbehave(tenant, door, command, fault | {"mailbox": KIM, "uid": held[1]["uid"]})
    outcomes = list(source.fetch(folder, entries))
    (failed,) = (each for each in outcomes if isinstance(each, FetchFailed))
    assert (failed.reason, failed.fidelity) == (reason, fidelity)
    assert len(outcomes) == len(entries) == len(held)


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (410, "SyncStateNotFound"),
        (410, "SyncStateInvalid"),
        (410, "resyncRequired"),
        (410, "ResyncRequired"),
        (410, ""),
        (400, "syncStateNotFound"),
        (404, "syncStateNotFound"),
    ],
)
def test_a_link_that_has_expired_is_a_reset_and_then_everything_is_listed(
    tenant: RunningSandbox, opened: Opened, status: int, code: str
) -> None:
    source = opened("graph")
    folder = inbox_of(source)
    entries, cursor = walk(source, folder)
    misbehave(tenant, "graph", "delta", error(code, status, times=1))
    assert isinstance(next(iter(source.changes(folder, cursor))), Reset)
    again, _ = walk(source, folder)
    assert {each.native_id for each in again} == {each.native_id for each in entries}


@pytest.mark.parametrize("code", ["ErrorFolderNotFound", "ErrorSyncFolderNotFound"])
def test_a_folder_that_graph_does_not_find_is_gone(tenant: RunningSandbox, opened: Opened, code: str) -> None:
    source = opened("graph")
    folder = inbox_of(source)
    _, cursor = walk(source, folder)
    misbehave(tenant, "graph", "delta", error(code, 404))
    with pytest.raises(FolderGoneError, match=INBOX):
        walk(source, folder, cursor)
