"""What Exchange Online says over POP3 when something is wrong, and what becomes of the round."""

import re
import socket
from pathlib import Path

import jwt
import pytest

from pipelines.errors import (
    ConfigurationError,
    ConnectionLostError,
    MailboxRefusedError,
    MailoverError,
    SignInError,
    ThrottledError,
    TransientError,
    UnreachableError,
)
from pipelines.sources import Entry, Fetched, FetchFailed, Page
from pipelines.sources.pop3 import INBOX, Pop3Source
from tests.auth.entra import TENANT
from tests.sources.conftest import MAILBOX, NumberedTokens, Pop3Opener, WaitlessClock, tenant_at
from tests.sources.scripted_pop3 import ScriptedPop3, lines

MAILS = [b"Subject: mail %d\r\n\r\nconfidential %d\r\n" % (number, number) for number in range(1, 6)]
PLACEHOLDER = (
    b"From: Microsoft Exchange Server 2010\r\n"
    b"Subject: Retrieval using the POP3 protocol failed for the following message: 5\r\n"
    b"\r\nThe server couldn't retrieve the following message:\r\n\r\nSubject: lunch\r\n"
)
REFUSED = b"-ERR Authentication failure: unknown user name or bad password.\r\n"
BROKEN = b"-ERR Protocol error. Connection is closed. 10\r\n"


def listed(source: Pop3Source) -> list[Entry]:
    return [entry for step in source.changes(INBOX, None) if isinstance(step, Page) for entry in step.entries]


def read_all(source: Pop3Source) -> list[Fetched | FetchFailed]:
    return list(source.fetch(INBOX, listed(source)))


def contents(outcomes: list[Fetched | FetchFailed]) -> list[bytes]:
    return [each.mime for each in outcomes if isinstance(each, Fetched)]


def failures(outcomes: list[Fetched | FetchFailed]) -> dict[str, str]:
    return {each.entry.native_id: each.reason for each in outcomes if isinstance(each, FetchFailed)}


# Signing in


def test_the_sign_in_goes_in_two_steps(pop3_server: ScriptedPop3, pop3: Pop3Source) -> None:
    assert pop3.count(INBOX) == 0
    assert pop3_server.commands == ["AUTH XOAUTH2", "STAT"]
    assert pop3_server.tokens == [f"user={MAILBOX}\x01auth=Bearer access-token-1\x01\x01"]


def test_xoauth2_is_tried_though_capa_does_not_list_it(pop3_server: ScriptedPop3, pop3: Pop3Source) -> None:
    pop3_server.capabilities = b"TOP\r\nUIDL\r\nUSER\r\n"
    pop3_server.add(*MAILS)
    assert contents(read_all(pop3)) == MAILS


def test_a_refused_token_is_renewed_once(pop3_server: ScriptedPop3, pop3: Pop3Source) -> None:
    pop3_server.add(*MAILS)
    pop3_server.answer("RESPONSE", REFUSED)
    assert contents(read_all(pop3)) == MAILS
    assert [each.partition("Bearer ")[2] for each in pop3_server.tokens] == [
        "access-token-1\x01\x01",
        "access-token-2\x01\x01",
    ]


def test_secrets_stay_secret_when_the_sign_in_is_refused(
    pop3_server: ScriptedPop3, pop3: Pop3Source, all_logs: pytest.LogCaptureFixture
) -> None:
    pop3_server.answer("RESPONSE", REFUSED, times=99)
    with pytest.raises(MailboxRefusedError) as caught:
        pop3.count(INBOX)
    told = str(caught.value)
    for named in (MAILBOX, "POP.AccessAsApp", "Set-CASMailbox -PopEnabled $true", "FullAccess"):
        assert named in told
    assert len(pop3_server.tokens) == 2
    assert "access-token" not in told + all_logs.text
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def test_a_challenge_that_explains_a_refusal_is_answered_with_nothing(
    pop3_server: ScriptedPop3, pop3: Pop3Source
) -> None:
    pop3_server.answer(
        "RESPONSE", b"+ eyJzdGF0dXMiOiI0MDAiLCJzY2hlbWVzIjoiQmVhcmVyIn0=\r\n" + REFUSED, times=99
    )
    with pytest.raises(MailboxRefusedError):
        pop3.count(INBOX)
    assert pop3_server.tokens[1] == "\r\n"


def test_a_token_without_the_role_is_refused_before_a_connection_is_made(
    pop3_server: ScriptedPop3, pop3: Pop3Source, pop3_tokens: NumberedTokens
) -> None:
    claims = {"aud": "https://outlook.office365.com", "tid": TENANT, "roles": ["IMAP.AccessAsApp"]}
    pop3_tokens.given = jwt.encode(claims, "key of the token service, not known here", algorithm="HS256")
    with pytest.raises(SignInError, match=r"POP\.AccessAsApp"):
        pop3.count(INBOX)
    assert pop3_server.connections == 0


@pytest.mark.parametrize("answer", [BROKEN, b"", REFUSED])
def test_a_token_longer_than_exchange_takes_is_named_as_the_cause(
    pop3_server: ScriptedPop3, pop3: Pop3Source, pop3_tokens: NumberedTokens, answer: bytes
) -> None:
    pop3_tokens.given = "t" * 4097
    pop3_server.answer("RESPONSE", answer, times=99, hang_up=True)
    with pytest.raises(SignInError, match="the token has 4,097 characters") as caught:
        pop3.count(INBOX)
    assert MAILBOX in str(caught.value)
    assert "tttt" not in str(caught.value)
    assert pop3_server.connections == 1


def test_a_long_token_that_the_server_takes_is_no_fault(
    pop3_server: ScriptedPop3, pop3: Pop3Source, pop3_tokens: NumberedTokens
) -> None:
    pop3_tokens.given = "t" * 20_000
    assert pop3.count(INBOX) == 0


def test_secrets_stay_secret_before_a_server_that_takes_no_tokens(
    pop3_server: ScriptedPop3, pop3: Pop3Source
) -> None:
    pop3_server.answer("AUTH", b"-ERR Unrecognized authentication type.\r\n", times=99)
    with pytest.raises(UnreachableError, match="AUTH=XOAUTH2") as caught:
        pop3.count(INBOX)
    assert "tenant.endpoints.pop3" in str(caught.value)
    assert "Unrecognized authentication type" in str(caught.value)
    assert (pop3_server.tokens, pop3_server.connections) == ([], 1)


# The session


@pytest.mark.parametrize("command", ["AUTH", "RESPONSE", "UIDL", "LIST", "RETR", "CAPA", "STAT"])
def test_the_wait_that_the_server_asks_for_is_kept_and_the_round_goes_on(
    pop3_server: ScriptedPop3, pop3: Pop3Source, clock: WaitlessClock, command: str
) -> None:
    pop3_server.add(*MAILS)
    told = b"-ERR Request is throttled. Suggested Backoff Time: 89117 milliseconds\r\n"
    pop3_server.answer(command, told, hang_up=True)
    assert contents(read_all(pop3)) == MAILS
    assert pop3.count(INBOX) == 5
    assert clock.waits == [89.117]


def test_a_throttle_that_does_not_end_is_reported_after_four_waits(
    pop3_server: ScriptedPop3, pop3: Pop3Source, clock: WaitlessClock
) -> None:
    told = b"-ERR Request is throttled. Suggested Backoff Time: 299961 milliseconds\r\n"
    pop3_server.answer("UIDL", told, times=99)
    with pytest.raises(ThrottledError, match=MAILBOX):
        listed(pop3)
    assert clock.waits == [299.961] * 4


def test_nothing_lost_when_the_token_dies_in_the_middle_of_a_fetch(
    pop3_server: ScriptedPop3, pop3: Pop3Source
) -> None:
    pop3_server.add(*MAILS)
    pop3_server.answer("RETR 3", b"-ERR Session invalidated - AccessTokenExpired\r\n", hang_up=True)
    assert contents(read_all(pop3)) == MAILS
    used = [each.partition("Bearer ")[2].rstrip("\x01") for each in pop3_server.tokens]
    assert used == ["access-token-1", "access-token-2"]


@pytest.mark.parametrize(
    "told",
    [
        b"-ERR [IN-USE] The mailbox is locked by another session.\r\n",
        b"-ERR [IN-USE] mailbox already in use by pid 12345\r\n",
        b"-ERR maildrop already locked\r\n",
        b"-ERR unable to lock maildrop\r\n",
        b"-ERR Mailbox is in use\r\n",
        b"-ERR Another session is active\r\n",
    ],
)
def test_a_mailbox_that_another_session_holds_is_waited_for(
    pop3_server: ScriptedPop3, pop3: Pop3Source, clock: WaitlessClock, told: bytes
) -> None:
    pop3_server.add(*MAILS)
    pop3_server.answer("RESPONSE", told, times=3)
    assert contents(read_all(pop3)) == MAILS
    assert clock.waits == [2, 5, 15]
    assert len(set(pop3_server.tokens)) == 1


def test_a_mailbox_that_stays_locked_is_a_passing_fault(
    pop3_server: ScriptedPop3, pop3: Pop3Source, clock: WaitlessClock
) -> None:
    pop3_server.answer("RESPONSE", b"-ERR [IN-USE] locked\r\n", times=99)
    with pytest.raises(TransientError, match=f"{MAILBOX}: another session holds the mailbox") as caught:
        pop3.count(INBOX)
    assert "one at a time" in str(caught.value)
    assert sum(clock.waits) == 112


def test_an_account_that_is_locked_is_refused_and_not_waited_for(
    pop3_server: ScriptedPop3, pop3: Pop3Source, clock: WaitlessClock
) -> None:
    pop3_server.answer("RESPONSE", b"-ERR [AUTH] Account is locked, connection closed\r\n", times=99)
    with pytest.raises(MailboxRefusedError, match="Account is locked"):
        pop3.count(INBOX)
    assert clock.waits == []


@pytest.mark.parametrize(
    "told",
    [b"-ERR Server Unavailable. 21\r\n", b"-ERR [SYS/TEMP] later\r\n", b"-ERR [LOGIN-DELAY] too soon\r\n"],
)
def test_an_unavailable_back_end_is_waited_for(
    pop3_server: ScriptedPop3, pop3: Pop3Source, clock: WaitlessClock, told: bytes
) -> None:
    pop3_server.add(*MAILS)
    pop3_server.answer("RESPONSE", told)
    pop3_server.answer("UIDL", told)
    assert contents(read_all(pop3)) == MAILS
    assert clock.waits == [5, 20]


def test_authenticated_but_not_connected_is_named_with_the_missing_permission(
    pop3_server: ScriptedPop3, pop3: Pop3Source, clock: WaitlessClock
) -> None:
    pop3_server.answer("STAT", b"-ERR User is authenticated but not connected.\r\n", times=99)
    with pytest.raises(MailboxRefusedError, match=r"POP\.AccessAsApp") as caught:
        pop3.count(INBOX)
    assert "Add-MailboxPermission" in str(caught.value)
    assert clock.waits == [5, 20]


@pytest.mark.parametrize(
    "told",
    [BROKEN, b"-ERR Command is not valid in this state.\r\n", b"-ERR Disconnected for inactivity.\r\n", b""],
)
@pytest.mark.parametrize("command", ["UIDL", "STAT", "RETR 2", "LIST"])
def test_nothing_lost_when_the_session_ends(
    pop3_server: ScriptedPop3, pop3: Pop3Source, command: str, told: bytes
) -> None:
    pop3_server.add(*MAILS)
    pop3_server.answer(command, told, hang_up=True)
    assert contents(read_all(pop3)) == MAILS
    assert pop3.count(INBOX) == 5
    assert pop3_server.connections == 2


def test_a_greeting_that_turns_the_client_away_is_tried_again(
    pop3_server: ScriptedPop3, pop3: Pop3Source, clock: WaitlessClock
) -> None:
    pop3_server.greeting = b"-ERR Connection is closed. 14\r\n"
    with pytest.raises(ConnectionLostError, match="Connection is closed"):
        pop3.count(INBOX)
    assert clock.waits == [2, 10, 30]


@pytest.mark.parametrize("command", ["UIDL", "STAT"])
def test_a_listing_that_is_refused_is_reported_after_a_second_try(
    pop3_server: ScriptedPop3, pop3: Pop3Source, command: str
) -> None:
    pop3_server.answer(command, b"-ERR Protocol error. 14\r\n", times=99)
    with pytest.raises(
        MailoverError, match=f"{MAILBOX}: the server refuses UIDL or STAT: “Protocol error"
    ) as caught:
        listed(pop3) if command == "UIDL" else pop3.count(INBOX)
    assert "legacy: imap" in str(caught.value)
    assert pop3_server.connections == 2


def test_nothing_lost_a_listing_with_a_message_that_has_no_id_is_not_read(
    pop3_server: ScriptedPop3, pop3: Pop3Source
) -> None:
    pop3_server.answer("UIDL", b"+OK\r\n1 a\r\n2 \r\n.\r\n", times=99)
    with pytest.raises(MailoverError, match="without a unique-id"):
        listed(pop3)


# Messages


def test_nothing_lost_when_numbers_change_between_sessions(
    pop3_server: ScriptedPop3, pop3: Pop3Source
) -> None:
    pop3_server.add(*MAILS)
    entries = listed(pop3)
    pop3_server.answer("RETR 3", lines(MAILS[2])[:-9], hang_up=True)
    first, *others = list(pop3_server.messages.items())
    pop3_server.messages = dict([*reversed(others), ("new", b"new\r\n"), first])
    outcomes = list(pop3.fetch(INBOX, entries))
    assert {each.entry.native_id: each.mime for each in outcomes if isinstance(each, Fetched)} == {
        f"uid{number}": mail for number, mail in enumerate(MAILS, start=1)
    }
    assert pop3_server.sent("RETR")[-5:] == [f"RETR {number}" for number in (6, 4, 3, 2, 1)]


@pytest.mark.parametrize("pipelining", [True, False])
def test_a_message_that_vanished_after_its_listing_is_gone(
    pop3_server: ScriptedPop3, pop3: Pop3Source, pipelining: bool
) -> None:
    pop3_server.capabilities += b"PIPELINING\r\n" * pipelining
    pop3_server.add(*MAILS)
    entries = listed(pop3)
    del pop3_server.messages["uid4"]
    outcomes = list(pop3.fetch(INBOX, entries))
    gone = [each.entry.native_id for each in outcomes if isinstance(each, FetchFailed) and each.gone]
    assert gone == ["uid4"]
    assert contents(outcomes) == [*MAILS[:3], MAILS[4]]
    assert pop3.native_ids(INBOX) == {"uid1", "uid2", "uid3", "uid5"}


def test_an_id_that_is_not_listed_any_more_is_gone_without_a_question(
    pop3_server: ScriptedPop3, pop3: Pop3Source
) -> None:
    pop3_server.add(MAILS[0])
    listed(pop3)
    (outcome,) = pop3.fetch(INBOX, [Entry("of an earlier round")])
    assert isinstance(outcome, FetchFailed)
    assert outcome.gone
    assert pop3_server.sent("RETR") == []
    assert pop3_server.connections == 1


def test_failure_is_contained_in_a_message_that_the_server_refuses(
    pop3_server: ScriptedPop3, pop3: Pop3Source
) -> None:
    pop3_server.add(*MAILS)
    told = b"-ERR The message %s cannot be converted.\r\n" % (b"x" * 50)
    pop3_server.answer("RETR 3", told, times=99)
    outcomes = read_all(pop3)
    assert contents(outcomes) == [*MAILS[:2], *MAILS[3:]]
    assert failures(outcomes) == {"uid3": "refused"}
    failed = next(each for each in outcomes if isinstance(each, FetchFailed))
    assert failed.detail == "the server refuses to send it: “The message … cannot be converted.”"
    assert (failed.gone, len(pop3_server.sent("RETR 3"))) == (False, 2)


def test_a_refusal_that_does_not_last_is_no_failure(pop3_server: ScriptedPop3, pop3: Pop3Source) -> None:
    pop3_server.add(*MAILS)
    pop3_server.answer("RETR 3", b"-ERR Not now\r\n")
    assert sorted(contents(read_all(pop3))) == MAILS


def test_an_empty_answer_is_asked_for_again_and_then_reported(
    pop3_server: ScriptedPop3, pop3: Pop3Source
) -> None:
    pop3_server.add(*MAILS)
    pop3_server.answer("RETR 1", b"+OK\r\n.\r\n")
    pop3_server.answer("RETR 2", b"+OK\r\n.\r\n", times=2)
    outcomes = read_all(pop3)
    assert sorted(contents(outcomes)) == [MAILS[0], *MAILS[2:]]
    assert failures(outcomes) == {"uid2": "empty-answer"}
    assert not any(each.gone for each in outcomes if isinstance(each, FetchFailed))


def test_a_message_that_is_listed_as_empty_may_be_empty(pop3_server: ScriptedPop3, pop3: Pop3Source) -> None:
    pop3_server.add(b"")
    assert contents(read_all(pop3)) == [b""]


def test_nothing_lost_a_message_that_is_listed_as_empty_and_never_comes_is_not_stored(
    pop3_server: ScriptedPop3, pop3: Pop3Source
) -> None:
    pop3_server.add(b"", MAILS[0])
    pop3_server.answer("RETR 1", b"", times=99, hang_up=True)
    outcomes = read_all(pop3)
    assert (contents(outcomes), failures(outcomes)) == ([MAILS[0]], {"uid1": "connection-lost"})


def test_a_placeholder_is_not_taken_for_mail_and_is_kept_beside(
    pop3_server: ScriptedPop3, pop3: Pop3Source
) -> None:
    about = b"Subject: Fwd: our trouble\r\n\r\nWe get: Retrieval using the POP3 protocol failed\r\n"
    pop3_server.add(PLACEHOLDER, about)
    placeholder, mail = read_all(pop3)
    assert isinstance(placeholder, FetchFailed)
    assert (placeholder.reason, placeholder.fallback) == ("placeholder", PLACEHOLDER)
    assert mail == Fetched(mail.entry, about)


@pytest.mark.parametrize("pipelining", [True, False])
@pytest.mark.parametrize("kept", [0, 3, 5, 20, -1, -3])
def test_bytes_are_kept_when_the_connection_drops_inside_a_message(
    pop3_server: ScriptedPop3, pop3: Pop3Source, pipelining: bool, kept: int
) -> None:
    pop3_server.capabilities += b"PIPELINING\r\n" * pipelining
    pop3_server.add(*MAILS)
    pop3_server.answer("RETR 3", lines(MAILS[2])[:kept], hang_up=True)
    assert contents(read_all(pop3)) == MAILS
    assert pop3_server.connections == 2


def test_failure_is_contained_when_one_message_ends_every_connection(
    pop3_server: ScriptedPop3, pop3: Pop3Source
) -> None:
    pop3_server.add(*MAILS)
    pop3_server.answer("RETR 3", lines(MAILS[2])[:-20], times=99, hang_up=True)
    outcomes = read_all(pop3)
    assert sorted(contents(outcomes)) == [MAILS[0], MAILS[1], MAILS[3], MAILS[4]]
    assert failures(outcomes) == {"uid3": "connection-lost"}


def test_nothing_lost_with_a_server_that_ends_each_session_after_two_messages(
    pop3_server: ScriptedPop3, pop3: Pop3Source
) -> None:
    pop3_server.add(*[b"mail %d\r\n" % number for number in range(20)])
    usual, sent = pop3_server.rule_for, [0]

    def limited(command: str):  # type: ignore[no-untyped-def]
        if command.startswith("RETR"):
            sent[0] += 1
            if sent[0] % 3 == 0:
                pop3_server.answer(command, b"", hang_up=True)
        return usual(command)

    pop3_server.rule_for = limited  # type: ignore[method-assign]
    assert sorted(contents(read_all(pop3))) == sorted(pop3_server.messages.values())


def test_a_server_that_ends_every_connection_is_not_blamed_on_its_messages(
    pop3_server: ScriptedPop3, pop3: Pop3Source
) -> None:
    pop3_server.add(*MAILS)
    pop3_server.answer("RETR", b"", times=999, hang_up=True)
    entries, outcomes = listed(pop3), []
    with pytest.raises(ConnectionLostError):
        outcomes += list(pop3.fetch(INBOX, entries))
    assert outcomes == []


@pytest.mark.parametrize("pipelining", [True, False])
def test_bytes_are_kept_and_secrets_where_a_server_does_not_double_a_dot(
    pop3_server: ScriptedPop3, pop3: Pop3Source, all_logs: pytest.LogCaptureFixture, pipelining: bool
) -> None:
    pop3_server.capabilities += b"PIPELINING\r\n" * pipelining
    pop3_server.add(*MAILS)
    pop3_server.answer("RETR 2", b"+OK\r\nhead\r\n.\r\nconfidential rest\r\n.\r\n", times=99)
    outcomes = read_all(pop3)
    assert sorted(contents(outcomes)) == [MAILS[0], *MAILS[2:]]
    assert failures(outcomes) == {"uid2": "connection-lost"}
    failed = next(each for each in outcomes if isinstance(each, FetchFailed))
    assert failed.detail == f"asked for it 3 times: {MAILBOX}: the server's answer is not POP3"
    assert "confidential" not in all_logs.text


def test_identifying_leaves_to_the_fetch_what_a_lost_connection_means(
    pop3_server: ScriptedPop3, pop3: Pop3Source
) -> None:
    pop3_server.add(*MAILS)
    entries = listed(pop3)
    pop3_server.answer("TOP 2", b"", times=99, hang_up=True)
    identified = list(pop3.identify(INBOX, entries))
    assert identified == entries
    assert contents(list(pop3.fetch(INBOX, entries))) == MAILS


# The way there


def test_closing_never_raises(pop3_server: ScriptedPop3, pop3: Pop3Source) -> None:
    pop3.close()
    pop3.count(INBOX)
    pop3_server.answer("QUIT", b"garbage", hang_up=True)
    pop3.close()
    pop3.close()


def test_a_private_ca_that_is_not_given_is_explained(
    pop3_server: ScriptedPop3, pop3_tokens: NumberedTokens, open_pop3: Pop3Opener
) -> None:
    source = open_pop3(tenant_at(f"localhost:{pop3_server.port}", None), pop3_tokens)
    with pytest.raises(UnreachableError, match=r"(?s)pop3s://localhost.*tenant\.endpoints\.ca_file"):
        source.count(INBOX)
    assert pop3_server.tokens == []


def test_a_certificate_for_another_name_is_refused(
    pop3_server: ScriptedPop3,
    pop3_tokens: NumberedTokens,
    certificates: tuple[Path, Path],
    open_pop3: Pop3Opener,
) -> None:
    source = open_pop3(tenant_at(f"127.0.0.1:{pop3_server.port}", certificates[0]), pop3_tokens)
    with pytest.raises(UnreachableError, match="not trusted"):
        source.count(INBOX)
    assert pop3_server.tokens == []


@pytest.mark.parametrize("name", ["pop3.nowhere.invalid", "no..name"])
def test_a_name_that_does_not_exist_is_explained(
    pop3_tokens: NumberedTokens, open_pop3: Pop3Opener, name: str
) -> None:
    source = open_pop3(tenant_at(f"{name}:995", None), pop3_tokens)
    with pytest.raises(UnreachableError, match=f"{re.escape(name)} is not known") as caught:
        source.count(INBOX)
    assert "tenant.endpoints.pop3" in str(caught.value)


def test_a_closed_port_is_explained(
    pop3_tokens: NumberedTokens, open_pop3: Pop3Opener, clock: WaitlessClock
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    source = open_pop3(tenant_at(f"localhost:{port}", None), pop3_tokens)
    with pytest.raises(UnreachableError, match=f"refused.*\n.*port {port}"):
        source.count(INBOX)
    assert clock.waits == [1, 4]


@pytest.mark.parametrize("greeting", [b"220 smtp.contoso.com ESMTP\r\n", b"* OK IMAP4 ready\r\n"])
def test_something_that_is_no_pop3_server_is_explained(
    pop3_server: ScriptedPop3, pop3: Pop3Source, greeting: bytes
) -> None:
    pop3_server.greeting = greeting
    with pytest.raises(UnreachableError, match="does not greet as a POP3 server") as caught:
        pop3.count(INBOX)
    assert "tenant.endpoints.pop3" in str(caught.value)


def test_a_ca_file_that_cannot_be_read_is_a_fault_of_the_configuration(
    pop3_server: ScriptedPop3, pop3_tokens: NumberedTokens, open_pop3: Pop3Opener, tmp_path: Path
) -> None:
    broken = tmp_path / "ca.pem"
    broken.write_text("no certificate")
    source = open_pop3(tenant_at(f"localhost:{pop3_server.port}", broken), pop3_tokens)
    with pytest.raises(ConfigurationError, match="ca_file"):
        source.count(INBOX)
