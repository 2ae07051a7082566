"""What Exchange Online says when something is wrong, and what becomes of the round."""

import socket
import threading
from pathlib import Path

import jwt
import pytest

from pipelines.config import Tenant
from pipelines.errors import (
    ConfigurationError,
    ConnectionLostError,
    FolderGoneError,
    MailboxRefusedError,
    MailoverError,
    SignInError,
    ThrottledError,
    TransientError,
    UnreachableError,
)
from pipelines.sources import Entry, Fetched, FetchFailed, Folder, Page, Reset, Role
from pipelines.sources.imap import ImapSource
from tests.auth.entra import TENANT
from tests.sources.conftest import MAILBOX, NumberedTokens, Opener, WaitlessClock, tenant_at
from tests.sources.scripted import ScriptedServer, literal

INBOX = Folder("Inbox", Role.INBOX, "INBOX")
MAILS = [b"Subject: mail %d\r\n\r\nconfidential %d\r\n" % (number, number) for number in range(1, 6)]
BODY = r"UID FETCH .*BODY\.PEEK\[\]"
PLACEHOLDER = (
    b"From: Microsoft Exchange Server 2010\r\n"
    b"Subject: Retrieval using the IMAP4 protocol failed for the following"
    b"\r\n message: 5\r\n\r\nThe server couldn't retrieve the following message:\r\n\r\nSubject: lunch\r\n"
)


def read_all(source: ImapSource, cursor: str | None = None) -> list[Fetched | FetchFailed]:
    """List the Inbox and fetch what is listed."""
    entries = [
        entry for step in source.changes(INBOX, cursor) if isinstance(step, Page) for entry in step.entries
    ]
    return list(source.fetch(INBOX, entries))


def contents(outcomes: list[Fetched | FetchFailed]) -> list[bytes]:
    return [each.mime for each in outcomes if isinstance(each, Fetched)]


def failures(outcomes: list[Fetched | FetchFailed]) -> dict[str, str]:
    return {each.entry.native_id: each.reason for each in outcomes if isinstance(each, FetchFailed)}


@pytest.mark.parametrize("status", [b"NO", b"BAD"])
@pytest.mark.parametrize("command", ["EXAMINE", "UID SEARCH", "UID FETCH", BODY])
def test_the_wait_that_the_server_asks_for_is_kept_and_the_round_goes_on(
    server: ScriptedServer, source: ImapSource, clock: WaitlessClock, command: str, status: bytes
) -> None:
    server.add(*MAILS)
    told = b"$ %s Request is throttled. Suggested Backoff Time: 89117 milliseconds\r\n" % status
    server.answer(command, told + b"* BYE Connection closed. 14\r\n", hang_up=True)
    assert contents(read_all(source)) == MAILS
    assert clock.waits == [89.117]


def test_a_throttle_that_does_not_end_is_reported_after_four_waits(
    server: ScriptedServer, source: ImapSource, clock: WaitlessClock
) -> None:
    told = b"$ NO Request is throttled. Suggested Backoff Time: 299961 milliseconds\r\n"
    server.answer("EXAMINE", told, times=99)
    with pytest.raises(ThrottledError, match=MAILBOX) as caught:
        source.count(INBOX)
    assert clock.waits == [299.961] * 4
    assert caught.value.retry_after == 299.961


def test_a_wait_of_hours_is_left_to_the_caller(
    server: ScriptedServer, source: ImapSource, clock: WaitlessClock
) -> None:
    server.answer("EXAMINE", b"$ BAD Request is throttled. Suggested Backoff Time: 7200000 milliseconds\r\n")
    with pytest.raises(ThrottledError) as caught:
        source.count(INBOX)
    assert (caught.value.retry_after, clock.waits) == (7200, [])


def test_nothing_lost_when_the_token_dies_in_the_middle_of_a_fetch(
    server: ScriptedServer, source: ImapSource
) -> None:
    server.add(*MAILS)
    first = literal(1, MAILS[0])
    server.answer(BODY, first + b"* BYE Session invalidated - AccessTokenExpired\r\n", hang_up=True)
    assert contents(read_all(source)) == MAILS
    used = [each.partition("Bearer ")[2].rstrip("\x01") for each in server.tokens]
    assert used == ["access-token-1", "access-token-2"]


def test_a_session_that_the_server_forgot_is_replaced(server: ScriptedServer, source: ImapSource) -> None:
    server.add(*MAILS)
    server.answer("UID SEARCH", b"$ BAD Command received in Invalid state.\r\n")
    assert contents(read_all(source)) == MAILS
    assert server.connections == 2


def test_authenticated_but_not_connected_may_pass(
    server: ScriptedServer, source: ImapSource, clock: WaitlessClock
) -> None:
    server.add(*MAILS)
    refused = b"$ BAD User is authenticated but not connected.\r\n* BYE Connection closed. 14\r\n"
    server.answer("EXAMINE", refused, hang_up=True)
    assert contents(read_all(source)) == MAILS
    assert clock.waits == [5]


@pytest.mark.parametrize("command", ["EXAMINE", "LIST"])
def test_a_mailbox_that_stays_unconnected_is_named_with_the_missing_permission(
    server: ScriptedServer, source: ImapSource, command: str
) -> None:
    server.answer(command, b"$ BAD User is authenticated but not connected.\r\n", times=99)
    with pytest.raises(MailboxRefusedError) as caught:
        source.count(INBOX) if command == "EXAMINE" else source.folders()
    told = str(caught.value)
    assert MAILBOX in told
    assert "IMAP.AccessAsApp" in told
    assert "Add-MailboxPermission" in told
    assert server.connections == 3


def test_a_refused_token_is_renewed_once(server: ScriptedServer, source: ImapSource) -> None:
    server.add(*MAILS)
    server.answer("AUTHENTICATE", b"$ NO AUTHENTICATE failed.\r\n")
    assert contents(read_all(source)) == MAILS
    assert len(server.tokens) == 2


def test_secrets_stay_secret_when_the_sign_in_is_refused(
    server: ScriptedServer, source: ImapSource, all_logs: pytest.LogCaptureFixture
) -> None:
    server.answer("AUTHENTICATE", b"$ NO AUTHENTICATE failed.\r\n", times=99)
    with pytest.raises(MailboxRefusedError) as caught:
        source.count(INBOX)
    told = str(caught.value)
    assert MAILBOX in told
    assert "IMAP.AccessAsApp" in told
    assert len(server.tokens) == 2
    assert "access-token" not in told + all_logs.text
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def test_a_challenge_that_explains_a_refusal_is_answered_with_nothing(
    server: ScriptedServer, source: ImapSource
) -> None:
    challenge = b"+ eyJzdGF0dXMiOiI0MDAiLCJzY2hlbWVzIjoiQmVhcmVyIn0=\r\n$ NO AUTHENTICATE failed.\r\n"
    server.answer("AUTHENTICATE", challenge, times=99)
    with pytest.raises(MailboxRefusedError):
        source.count(INBOX)
    assert server.tokens[1] == "\r\n"


def test_a_token_without_the_role_is_refused_before_a_connection_is_made(
    server: ScriptedServer, source: ImapSource, tokens: NumberedTokens
) -> None:
    claims = {"aud": "https://outlook.office365.com", "tid": TENANT, "roles": ["Mail.Read"]}
    tokens.given = jwt.encode(claims, "key of the token service, not known here", algorithm="HS256")
    with pytest.raises(SignInError, match=r"IMAP\.AccessAsApp"):
        source.folders()
    assert server.connections == 0


@pytest.mark.parametrize("also", [b"", b" LOGINDISABLED"])
def test_secrets_stay_secret_before_a_server_that_takes_no_tokens(
    server: ScriptedServer, source: ImapSource, also: bytes
) -> None:
    server.capability = b"* CAPABILITY IMAP4rev1 AUTH=PLAIN" + also + b"\r\n"
    with pytest.raises(UnreachableError, match="AUTH=XOAUTH2") as caught:
        source.folders()
    assert ("LOGINDISABLED" in str(caught.value)) == bool(also)
    assert server.tokens == []


def test_an_unavailable_back_end_is_waited_for(
    server: ScriptedServer, source: ImapSource, clock: WaitlessClock
) -> None:
    server.add(*MAILS)
    server.answer("AUTHENTICATE", b"$ NO Server Unavailable. 15\r\n")
    server.answer("EXAMINE", b"$ NO Server Unavailable. 15\r\n")
    assert contents(read_all(source)) == MAILS
    assert clock.waits == [5, 20]


def test_a_back_end_that_stays_unavailable_is_a_passing_fault(
    server: ScriptedServer, source: ImapSource
) -> None:
    server.answer("EXAMINE", b"$ NO Server Unavailable. 15\r\n", times=99)
    with pytest.raises(TransientError, match="Server Unavailable"):
        source.count(INBOX)


def test_a_greeting_that_says_goodbye_is_tried_again(server: ScriptedServer, source: ImapSource) -> None:
    server.greeting = b"* BYE Connection is closed. 14\r\n"
    with pytest.raises(ConnectionLostError, match="Connection is closed"):
        source.count(INBOX)
    assert server.connections == 5


def test_a_folder_that_is_no_longer_listed_is_gone(server: ScriptedServer, source: ImapSource) -> None:
    server.answer("EXAMINE", b"$ NO Projects doesn't exist.\r\n")
    server.folders = b""
    with pytest.raises(FolderGoneError, match="Projects"):
        list(source.changes(Folder("Projects", Role.OTHER, "Projects"), None))


def test_an_inbox_hidden_by_a_stray_folder_is_explained(server: ScriptedServer, source: ImapSource) -> None:
    server.answer("EXAMINE", b"$ NO INBOX doesn't exist.\r\n", times=99)
    with pytest.raises(MailoverError, match="rename it in Outlook"):
        source.count(INBOX)


def test_a_folder_without_uidvalidity_is_not_read(server: ScriptedServer, source: ImapSource) -> None:
    server.answer("EXAMINE", b"* 5 EXISTS\r\n$ OK [READ-ONLY] EXAMINE completed.\r\n")
    with pytest.raises(MailoverError, match="UIDVALIDITY"):
        source.count(INBOX)


def test_failure_is_contained_when_a_batch_is_refused_for_one_message(
    server: ScriptedServer, source: ImapSource
) -> None:
    server.add(*MAILS)
    server.answer(r"UID FETCH (1:5|3) .*BODY", b"$ BAD Command Argument Error. 11\r\n", times=99)
    outcomes = read_all(source)
    assert contents(outcomes) == [MAILS[0], MAILS[1], MAILS[3], MAILS[4]]
    assert failures(outcomes) == {"7:3": "refused"}


def test_nothing_lost_when_a_refusal_comes_after_part_of_the_answer(
    server: ScriptedServer, source: ImapSource
) -> None:
    server.add(*MAILS)
    server.answer(BODY, literal(1, MAILS[0]) + literal(2, MAILS[1]) + b"$ NO Some were not found.\r\n")
    assert contents(read_all(source)) == MAILS
    assert [each.split()[2] for each in server.sent(BODY)] == ["1:5", "3", "4", "5"]


def test_an_empty_answer_is_asked_for_again_and_then_reported(
    server: ScriptedServer, source: ImapSource
) -> None:
    server.add(*MAILS)
    server.answer(BODY, b"$ OK FETCH completed.\r\n")
    server.answer("UID FETCH 2 .*BODY", b"$ OK FETCH completed.\r\n")
    outcomes = read_all(source)
    assert contents(outcomes) == [MAILS[0], *MAILS[2:]]
    assert failures(outcomes) == {"7:2": "empty-answer"}
    assert not any(each.gone for each in outcomes if isinstance(each, FetchFailed))


@pytest.mark.parametrize("empty", [b"NIL", b'""', b"{0}\r\n"])
def test_a_message_without_content_is_not_taken_for_mail(
    server: ScriptedServer, source: ImapSource, empty: bytes
) -> None:
    server.add(MAILS[0])
    server.answer(BODY, b"* 1 FETCH (UID 1 BODY[] %s)\r\n$ OK FETCH completed.\r\n" % empty, times=99)
    assert failures(read_all(source)) == {"7:1": "empty-answer"}


def test_a_message_that_vanished_after_its_listing_is_gone(
    server: ScriptedServer, source: ImapSource
) -> None:
    server.add(*MAILS)
    entries = [
        entry for page in source.changes(INBOX, None) if isinstance(page, Page) for entry in page.entries
    ]
    del server.messages[4]
    outcomes = list(source.fetch(INBOX, entries))
    assert [each.entry.native_id for each in outcomes if isinstance(each, FetchFailed) and each.gone] == [
        "7:4"
    ]
    assert len(contents(outcomes)) == 4


def test_a_placeholder_is_not_taken_for_mail_and_is_kept_beside(
    server: ScriptedServer, source: ImapSource
) -> None:
    about = b"Subject: Fwd: our trouble\r\n\r\nWe get: Retrieval using the IMAP4 protocol failed\r\n"
    server.add(PLACEHOLDER, about)
    placeholder, mail = sorted(read_all(source), key=lambda each: each.entry.native_id)
    assert isinstance(placeholder, FetchFailed)
    assert (placeholder.reason, placeholder.fallback) == ("placeholder", PLACEHOLDER)
    assert mail == Fetched(mail.entry, about)


def test_bytes_are_kept_when_the_connection_drops_inside_a_literal(
    server: ScriptedServer, source: ImapSource
) -> None:
    server.add(*MAILS)
    server.answer(BODY, literal(1, MAILS[0]) + literal(2, MAILS[1])[:-20], hang_up=True)
    assert contents(read_all(source)) == MAILS
    assert server.connections == 2


def test_failure_is_contained_when_one_message_ends_every_connection(
    server: ScriptedServer, source: ImapSource
) -> None:
    server.add(*MAILS)
    server.answer(r"UID FETCH (1:5|3) .*BODY", literal(3, MAILS[2])[:-20], times=99, hang_up=True)
    outcomes = read_all(source)
    assert sorted(contents(outcomes)) == [MAILS[0], MAILS[1], MAILS[3], MAILS[4]]
    assert failures(outcomes) == {"7:3": "connection-lost"}


def test_a_server_that_ends_every_connection_is_not_blamed_on_its_messages(
    server: ScriptedServer, source: ImapSource
) -> None:
    server.add(*MAILS)
    server.answer(BODY, b"", times=999, hang_up=True)
    outcomes = []
    with pytest.raises(ConnectionLostError):
        outcomes += read_all(source)
    assert outcomes == []


def test_secrets_stay_secret_when_a_literal_is_longer_than_announced(
    server: ScriptedServer, source: ImapSource, all_logs: pytest.LogCaptureFixture
) -> None:
    server.add(MAILS[0])
    short = b"* 1 FETCH (UID 1 BODY[] {9}\r\n" + MAILS[0] + b")\r\n$ OK FETCH completed.\r\n"
    server.answer(BODY, short, times=99)
    outcomes = read_all(source)
    assert failures(outcomes) == {"7:1": "connection-lost"}
    assert "confidential" not in repr(outcomes) + all_logs.text


def test_a_new_uidvalidity_is_told_as_a_reset_and_then_everything_is_listed(
    server: ScriptedServer, source: ImapSource
) -> None:
    server.add(*MAILS)
    steps = list(source.changes(INBOX, '{"uidvalidity": 6, "uid": 90}'))
    assert isinstance(steps[0], Reset)
    assert [entry.native_id for entry in steps[1].entries] == [f"7:{uid}" for uid in range(1, 6)]  # type: ignore[union-attr]


@pytest.mark.parametrize("cursor", ["https://graph.microsoft.com/v1.0/delta", "[]", '{"uid": 5}', "12"])
def test_a_cursor_of_another_protocol_starts_from_the_beginning(
    server: ScriptedServer, source: ImapSource, cursor: str
) -> None:
    server.add(*MAILS)
    reset, page = source.changes(INBOX, cursor)
    assert isinstance(reset, Reset)
    assert isinstance(page, Page)
    assert len(page.entries) == 5


def test_nothing_lost_when_uids_are_given_anew_during_the_listing(
    server: ScriptedServer, source: ImapSource
) -> None:
    server.add(*MAILS)
    server.answer("UID FETCH", b"", hang_up=True)
    steps = source.changes(INBOX, None)
    original = server.rule_for

    def renumbering(command: str):  # type: ignore[no-untyped-def]
        rule = original(command)
        if rule:
            server.uid_validity = 8
        return rule

    server.rule_for = renumbering  # type: ignore[method-assign]
    reset, page = steps
    assert isinstance(reset, Reset)
    assert isinstance(page, Page)
    assert [entry.native_id for entry in page.entries] == [f"8:{uid}" for uid in range(1, 6)]


def test_ids_of_an_earlier_uidvalidity_are_answered_as_gone(
    server: ScriptedServer, source: ImapSource
) -> None:
    server.add(*MAILS)
    old, new = source.fetch(INBOX, [Entry("6:1"), Entry("7:2")])
    outcomes = {old.entry.native_id: old, new.entry.native_id: new}
    gone = outcomes["6:1"]
    assert isinstance(gone, FetchFailed)
    assert gone.gone
    assert outcomes["7:2"] == Fetched(Entry("7:2"), MAILS[1])


def test_closing_never_raises(server: ScriptedServer, source: ImapSource) -> None:
    source.close()
    source.folders()
    server.answer("LOGOUT", b"garbage", hang_up=True)
    source.close()
    source.close()


def test_a_private_ca_that_is_not_given_is_explained(
    server: ScriptedServer, tokens: NumberedTokens, open_imap: Opener
) -> None:
    source = open_imap(tenant_at(f"localhost:{server.port}", None), tokens)
    with pytest.raises(UnreachableError, match=r"tenant\.endpoints\.ca_file"):
        source.folders()
    assert server.tokens == []


def test_a_certificate_for_another_name_is_refused(
    server: ScriptedServer, tokens: NumberedTokens, certificates: tuple[Path, Path], open_imap: Opener
) -> None:
    source = open_imap(tenant_at(f"127.0.0.1:{server.port}", certificates[0]), tokens)
    with pytest.raises(UnreachableError, match="not trusted"):
        source.folders()
    assert server.tokens == []


def test_a_name_that_does_not_exist_is_explained(
    tokens: NumberedTokens, open_imap: Opener, clock: WaitlessClock
) -> None:
    source = open_imap(tenant_at("imap.nowhere.invalid:993", None), tokens)
    with pytest.raises(UnreachableError, match=r"imap\.nowhere\.invalid is not known"):
        source.folders()
    assert clock.waits == [1, 4]


def test_a_closed_port_is_explained(tokens: NumberedTokens, open_imap: Opener) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    source = open_imap(tenant_at(f"localhost:{port}", None), tokens)
    with pytest.raises(UnreachableError, match=f"refused.*\n.*port {port}"):
        source.folders()


def test_a_port_without_tls_is_explained(
    tokens: NumberedTokens, certificates: tuple[Path, Path], open_imap: Opener
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def greet() -> None:
            connection, _peer = listener.accept()
            with connection:
                connection.sendall(b"* OK ready without TLS\r\n")
                connection.recv(1000)

        thread = threading.Thread(target=greet)
        thread.start()
        source = open_imap(tenant_at(f"localhost:{listener.getsockname()[1]}", certificates[0]), tokens)
        with pytest.raises(UnreachableError, match="not STARTTLS"):
            source.folders()
        thread.join()


def test_something_that_is_no_imap_server_is_explained(server: ScriptedServer, source: ImapSource) -> None:
    server.greeting = b"220 smtp.contoso.com ESMTP\r\n"
    with pytest.raises(UnreachableError, match="does not greet as an IMAP server"):
        source.folders()


def test_a_ca_file_that_cannot_be_read_is_a_fault_of_the_configuration(
    tenant: Tenant, tokens: NumberedTokens, open_imap: Opener, tmp_path: Path
) -> None:
    broken = tmp_path / "ca.pem"
    broken.write_text("no certificate")
    endpoints = tenant.endpoints.model_copy(update={"ca_file": broken})
    source = open_imap(tenant.model_copy(update={"endpoints": endpoints}), tokens)
    with pytest.raises(ConfigurationError, match="ca_file"):
        source.folders()
