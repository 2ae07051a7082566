"""The IMAP door against imaplib, imapclient and bare sockets."""

import imaplib
import re
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from imapclient import IMAPClient

from pipelines.auth.sasl import xoauth2
from pipelines.sandbox.faults import Door, Fault, FaultKind
from pipelines.sandbox.identity import Identity, make_identity
from pipelines.sandbox.mail_doors import Behaviour
from pipelines.sandbox.store import Message, Store
from tests.sandbox.mail_doors_world import CLOSED, KIM, MAIL, ODD_MAIL, WHEN, Wire, World, open_doors

BEFORE = b"* CAPABILITY IMAP4 IMAP4rev1 AUTH=PLAIN AUTH=XOAUTH2 SASL-IR UIDPLUS ID UNSELECT CHILDREN IDLE NAMESPACE LITERAL+"  # noqa: E501
HEADER = MAIL.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> Identity:
    return make_identity(tmp_path_factory.mktemp("identity"))


@pytest.fixture
def world(identity: Identity, tmp_path: Path) -> Iterator[World]:
    with open_doors(identity, tmp_path) as opened:
        yield opened


def raw(world: World) -> Wire:
    return world.wire(world.doors.imap_port)


def signed_in(world: World, address: str = KIM) -> Wire:
    wire = raw(world)
    assert wire.ask(b"s AUTHENTICATE XOAUTH2 " + world.sasl(address)) == [b"s OK AUTHENTICATE completed."]
    return wire


def examined(world: World) -> Wire:
    wire = signed_in(world)
    assert wire.ask(b"e EXAMINE INBOX")[-1] == b"e OK [READ-ONLY] EXAMINE completed."
    return wire


def fetched(client: imaplib.IMAP4, uid: int, items: str) -> bytes:
    """The literal of a fetch of one item."""
    _, data = client.uid("FETCH", str(uid), items)
    assert isinstance(data[0], tuple)
    return bytes(data[0][1])


def imap_fault(kind: FaultKind, command: str, times: int | None = 1, **rest: float) -> Fault:
    return Fault(kind, Door.IMAP, command=command, times=times, **rest)  # type: ignore[arg-type]


# Before sign-in


def test_the_greeting_and_capabilities_are_those_of_exchange_online(world: World) -> None:
    wire = raw(world)
    assert re.fullmatch(
        rb"\* OK The Microsoft Exchange IMAP4 service is ready\. \[[A-Za-z0-9+/=]+\]\r\n", wire.greeting
    )
    assert wire.ask(b"a capability") == [BEFORE, b"a OK CAPABILITY completed."]
    wire.ask(b"b AUTHENTICATE XOAUTH2 " + world.sasl())
    after = wire.ask(b"c CAPABILITY")[0]
    assert b" MOVE " in after
    assert b"CONDSTORE" not in after
    assert b"SPECIAL-USE" not in after


@pytest.mark.parametrize(
    "command", [b"LOGIN kim secret", b'LOGIN "kim" "secret"', b"AUTHENTICATE PLAIN AGtpbQBw"]
)
def test_basic_authentication_is_refused(world: World, command: bytes) -> None:
    assert raw(world).ask(b"a " + command) == [b"a NO " + command.split()[0] + b" failed."]


def test_imapclients_login_is_refused(world: World) -> None:
    client = IMAPClient("127.0.0.1", world.doors.imap_port, ssl_context=world.tls)
    with pytest.raises(imaplib.IMAP4.error, match="LOGIN failed"):
        client.login(KIM, "secret")
    client.shutdown()


def test_commands_that_need_a_mailbox_are_refused_before_sign_in(world: World) -> None:
    assert raw(world).ask(b"a SELECT INBOX") == [b"a BAD Command received in Invalid state."]


def test_xoauth2_goes_in_two_steps_as_well(world: World) -> None:
    wire = raw(world)
    assert wire.ask(b"a AUTHENTICATE XOAUTH2") == [b"+ "]
    wire.send(world.sasl() + b"\r\n")
    assert wire.line() == b"a OK AUTHENTICATE completed.\r\n"


@pytest.mark.parametrize(
    "wrong",
    [
        {"audience": "https://graph.microsoft.com"},
        {"roles": ("POP.AccessAsApp",)},
        {"seconds": -1},
    ],
)
def test_a_token_that_does_not_serve_is_refused_and_another_try_is_open(
    world: World, wrong: dict[str, object]
) -> None:
    wire = raw(world)
    token = world.token(**wrong)  # type: ignore[arg-type]
    assert wire.ask(b"a AUTHENTICATE XOAUTH2 " + world.sasl(KIM, token)) == [b"a NO AUTHENTICATE failed."]
    assert wire.ask(b"b AUTHENTICATE XOAUTH2 bm90IGEgcmVzcG9uc2U=") == [b"b NO AUTHENTICATE failed."]
    assert wire.ask(b"c AUTHENTICATE XOAUTH2 " + world.sasl()) == [b"c OK AUTHENTICATE completed."]


def test_a_foreign_signature_is_refused(world: World) -> None:
    token = world.token()[:-8] + "AAAAAAAA"
    assert raw(world).ask(b"a AUTHENTICATE XOAUTH2 " + world.sasl(KIM, token))[-1].startswith(b"a NO ")


def test_a_server_may_explain_itself_in_a_challenge_before_its_refusal(
    identity: Identity, tmp_path: Path
) -> None:
    with open_doors(identity, tmp_path, Behaviour(sasl_error_challenge=True)) as world:
        wire = raw(world)
        answer = wire.ask(b"a AUTHENTICATE XOAUTH2 " + world.sasl(KIM, world.token(seconds=-1)))
        assert answer[0].startswith(b"+ eyJzdGF0dXMi")
        wire.send(b"\r\n")
        assert wire.line() == b"a NO AUTHENTICATE failed.\r\n"


@pytest.mark.parametrize("address", [CLOSED, "nobody@contoso.com"])
def test_a_mailbox_not_granted_is_refused_after_sign_in(world: World, address: str) -> None:
    wire = signed_in(world, address)
    assert wire.ask(b"a CAPABILITY")[-1] == b"a OK CAPABILITY completed."
    assert wire.ask(b'b LIST "" *') == [b"b BAD User is authenticated but not connected."]
    assert wire.rest() == b"* BYE Connection closed. 14\r\n"


# Folders


def test_list_shows_every_visible_folder_with_exchanges_attributes(world: World) -> None:
    store = world.store
    store.create_folder(KIM, "Inbox/Köln & Bonn")
    store.create_folder(KIM, "Sent Items", "sent")
    store.create_folder(KIM, "Drafts", "drafts")
    store.create_folder(KIM, "Deleted Items", "trash")
    store.create_folder(KIM, "Calendar", item_class="IPF.Appointment")
    store.create_folder(KIM, "Hidden", hidden=True)
    store.create_folder(KIM, "Unread", search=True)
    assert signed_in(world).ask(b'a LIST "" "*"') == [
        b'* LIST (\\HasNoChildren) "/" Calendar',
        b'* LIST (\\HasNoChildren \\Trash) "/" "Deleted Items"',
        b'* LIST (\\HasNoChildren \\Drafts) "/" Drafts',
        b'* LIST (\\HasChildren) "/" INBOX',
        b'* LIST (\\HasNoChildren) "/" "INBOX/K&APY-ln &- Bonn"',
        b'* LIST (\\HasNoChildren \\Sent) "/" "Sent Items"',
        b"a OK LIST completed.",
    ]


def test_list_heeds_its_pattern_and_its_reference(world: World) -> None:
    world.store.create_folder(KIM, "Inbox/Team")
    wire = signed_in(world)
    top = b'* LIST (\\HasChildren) "/" INBOX'
    assert wire.ask(b'a LIST "" %') == [top, b"a OK LIST completed."]
    assert wire.ask(b'b LIST "INBOX/" %')[0] == b'* LIST (\\HasNoChildren) "/" INBOX/Team'
    assert wire.ask(b'c LIST "" ""') == [b'* LIST (\\Noselect) "/" ""', b"c OK LIST completed."]
    assert wire.ask(b"d NAMESPACE")[0] == b'* NAMESPACE (("" "/")) NIL NIL'


@pytest.mark.parametrize("path", ["Grüße", 'Say "hi" \\ bye', "R&D", "日本語/下"])
def test_folders_open_under_the_names_they_are_listed_with(world: World, path: str) -> None:
    if "/" in path:
        world.store.create_folder(KIM, path.partition("/")[0])
    world.store.create_folder(KIM, path)
    world.deliver(MAIL, path)
    client = world.imapclient()
    assert path in [name for _, _, name in client.list_folders()]
    assert client.select_folder(path, readonly=True)[b"EXISTS"] == 1
    client.logout()


def test_status_counts_without_opening(world: World) -> None:
    world.deliver(MAIL, "Inbox", "seen")
    world.deliver()
    validity = world.store.folder(KIM, "Inbox").uidvalidity
    wire = signed_in(world)
    assert wire.ask(b"a STATUS inbox (UIDNEXT MESSAGES UNSEEN UIDVALIDITY RECENT)") == [
        b"* STATUS INBOX (MESSAGES 2 RECENT 0 UIDNEXT 3 UIDVALIDITY %d UNSEEN 1)" % validity,
        b"a OK STATUS completed.",
    ]
    assert wire.ask(b"b STATUS Nowhere (MESSAGES)") == [b"b NO Nowhere doesn't exist."]
    assert wire.ask(b"c STATUS INBOX (HIGHESTMODSEQ)") == [b"c BAD Command Argument Error. 11"]


def test_examine_and_select_tell_count_uidvalidity_and_uidnext(world: World) -> None:
    world.deliver(MAIL, "Inbox", "seen")
    world.deliver()
    validity = world.store.folder(KIM, "Inbox").uidvalidity
    wire = signed_in(world)
    flags = rb"(\Seen \Answered \Flagged \Deleted \Draft $MDNSent)"
    assert wire.ask(b"a SELECT INBOX") == [
        b"* 2 EXISTS",
        b"* 0 RECENT",
        b"* FLAGS " + flags,
        b"* OK [PERMANENTFLAGS " + flags + b"] Permanent flags",
        b"* OK [UNSEEN 2] Is the first unseen message",
        b"* OK [UIDVALIDITY %d] UIDVALIDITY value" % validity,
        b"* OK [UIDNEXT 3] The next unique identifier value",
        b"a OK [READ-WRITE] SELECT completed.",
    ]
    assert wire.ask(b"b EXAMINE INBOX")[-1] == b"b OK [READ-ONLY] EXAMINE completed."
    assert wire.ask(b"c SELECT Nowhere") == [b"c NO Nowhere doesn't exist."]
    assert wire.ask(b"d FETCH 1 UID") == [b"d BAD Command received in Invalid state."]


def test_an_open_folder_stays_as_it_was_until_the_client_asks_again(world: World) -> None:
    first = world.deliver()
    world.deliver()
    wire = examined(world)
    world.store.delete(KIM, "Inbox", first.uid)
    third = world.deliver()
    assert wire.ask(b"a UID SEARCH ALL")[0] == b"* SEARCH 1 2"
    assert wire.ask(b"b NOOP") == [b"* 1 EXPUNGE", b"* 2 EXISTS", b"b OK NOOP completed."]
    assert wire.ask(b"c UID SEARCH ALL")[0] == b"* SEARCH 2 %d" % third.uid


def test_idle_announces_new_mail(world: World) -> None:
    wire = examined(world)
    assert wire.ask(b"a IDLE") == [b"+ IDLE accepted, awaiting DONE command."]
    world.deliver()
    assert wire.line() == b"* 1 EXISTS\r\n"
    wire.send(b"DONE\r\n")
    assert wire.line() == b"a OK IDLE completed.\r\n"


# Searching


def test_search_by_uid_knows_the_trap_of_the_open_range(world: World) -> None:
    for _ in range(3):
        world.deliver()
    wire = examined(world)
    searches = {
        b"ALL": b" 1 2 3",
        b"UID 2:*": b" 2 3",
        b"UID 3:*": b" 3",
        b"UID 4:*": b" 3",
        b"UID 900:*": b" 3",
        b"UID 1,3": b" 1 3",
        b"UID 3:2": b" 2 3",
        b"UID 4:9": b"",
        b"NOT UID 2": b" 1 3",
        b"OR UID 1 UID 2": b" 1 2",
        b"2": b" 2",
    }
    for criteria, found in searches.items():
        assert wire.ask(b"a UID SEARCH " + criteria) == [b"* SEARCH" + found, b"a OK SEARCH completed."]


def test_search_by_date_flag_and_header(world: World) -> None:
    store = world.store
    store.deliver(KIM, "Inbox", MAIL, WHEN - timedelta(days=1), frozenset({"seen"}))
    world.deliver(MAIL.replace(b"<budget[1]", b"<other"), "Inbox", "flagged")
    store.deliver(KIM, "Inbox", b"Subject: none\r\n\r\n", WHEN + timedelta(days=1))
    wire = examined(world)
    searches = {
        b"SINCE 2-Mar-2026": b" 2 3",
        b"BEFORE 02-Mar-2026": b" 1",
        b"SINCE 2-Mar-2026 BEFORE 3-Mar-2026": b" 2",
        b"ON 3-Mar-2026": b" 3",
        b'HEADER Message-ID "<budget[1]@contoso.com>"': b" 1",
        b"HEADER Message-ID {23+}\r\n<budget[1]@contoso.com>": b" 1",
        b'CHARSET UTF-8 HEADER Message-ID ""': b" 1 2",
        b"SUBJECT 2027": b" 1 2",
        b"UNSEEN": b" 2 3",
        b"FLAGGED": b" 2",
        b"(SEEN) UNFLAGGED": b" 1",
        b"TEXT hello": b" 1 2",
    }
    for criteria, found in searches.items():
        assert wire.ask(b"a UID SEARCH " + criteria) == [b"* SEARCH" + found, b"a OK SEARCH completed."]
    assert wire.ask(b"b UID SEARCH FUZZY x") == [b"b BAD Command Argument Error. 11"]


def test_a_literal_in_a_search_waits_for_the_servers_word(world: World) -> None:
    world.deliver()
    wire = examined(world)
    wire.send(b"a UID SEARCH HEADER Message-ID {23}\r\n")
    assert wire.line().startswith(b"+ ")
    wire.send(b"<budget[1]@contoso.com>\r\n")
    assert wire.line() == b"* SEARCH 1\r\n"


# Fetching


@pytest.mark.parametrize("name", ODD_MAIL)
def test_bytes_are_kept_over_imap_whatever_they_are(world: World, name: str) -> None:
    message = world.deliver(ODD_MAIL[name])
    stored = world.store.read(message)
    client = world.imap()
    client.select("INBOX", readonly=True)
    assert fetched(client, message.uid, "(UID BODY.PEEK[])") == stored
    assert fetched(client, message.uid, "RFC822") == stored
    client.logout()


def test_bytes_are_kept_when_many_messages_are_fetched_at_once(world: World) -> None:
    sent = [b"Subject: %d\r\n\r\n" % number + b"z" * (number * 997) + b"\r\n" for number in range(1, 300)]
    for each in sent:
        world.deliver(each)
    client = world.imapclient()
    client.select_folder("INBOX", readonly=True)
    answer = client.fetch(range(1, 300), ["BODY.PEEK[]"])
    assert [answer[uid][b"BODY[]"] for uid in sorted(answer)] == sent
    client.logout()


def test_fetch_tells_what_is_known_of_a_message(world: World) -> None:
    message = world.deliver(MAIL, "Inbox", "seen", "flagged", "custom")
    wire = examined(world)
    assert wire.ask(b"a UID FETCH 1 (UID FLAGS RFC822.SIZE INTERNALDATE)")[0] == (
        b'* 1 FETCH (FLAGS (\\Flagged \\Seen) RFC822.SIZE %d INTERNALDATE " 2-Mar-2026 10:20:30 +0000" UID 1)'
        % (message.size + message.size // 8 + 293)
    )
    assert wire.ask(b"b FETCH 1 (FLAGS)")[0] == b"* 1 FETCH (FLAGS (\\Flagged \\Seen))"
    assert wire.ask(b"c UID FETCH 9 (FLAGS)") == [b"c OK FETCH completed."]
    assert wire.ask(b"d UID FETCH 9:* (FLAGS)")[0] == b"* 1 FETCH (UID 1 FLAGS (\\Flagged \\Seen))"


def test_sizes_are_exact_where_the_mailbox_is_set_so(identity: Identity, tmp_path: Path) -> None:
    with open_doors(identity, tmp_path, Behaviour(exact_sizes=True)) as world:
        message = world.deliver()
        assert (
            examined(world).ask(b"a FETCH 1 RFC822.SIZE")[0] == b"* 1 FETCH (RFC822.SIZE %d)" % message.size
        )


def test_header_fields_come_as_they_stand(world: World) -> None:
    world.deliver()
    client = world.imap()
    client.select("INBOX", readonly=True)
    assert fetched(client, 1, "(BODY.PEEK[HEADER.FIELDS (subject MESSAGE-ID absent)])") == (
        b"Subject: Budget\r\n\tfor 2027\r\nMessage-ID: <budget[1]@contoso.com>\r\n\r\n"
    )
    assert fetched(client, 1, "(BODY.PEEK[HEADER.FIELDS (X-Note)])") == (
        b"X-Note: first\r\nx-note: second\r\n\r\n"
    )
    assert fetched(client, 1, "(BODY.PEEK[HEADER.FIELDS.NOT (Subject To From Date Message-ID)])") == (
        b"X-Note: first\r\nx-note: second\r\n\r\n"
    )
    assert fetched(client, 1, "(BODY.PEEK[HEADER])") == HEADER
    assert fetched(client, 1, "RFC822.HEADER") == HEADER
    assert fetched(client, 1, "(BODY.PEEK[TEXT])") == b"Hello\r\n"
    client.logout()


def test_partial_fetches_cut_the_message_where_asked(world: World) -> None:
    message = world.deliver(b"Subject: big\r\n\r\n" + bytes(range(48, 96)) * 20_000)
    stored = world.store.read(message)
    client = world.imap()
    client.select("INBOX", readonly=True)
    for start, length in [(0, 10), (5, 300_000), (len(stored) - 3, 10), (len(stored), 5)]:
        _, data = client.uid("FETCH", "1", f"(BODY.PEEK[]<{start}.{length}>)")
        assert isinstance(data[0], tuple)
        assert data[0][0].startswith(b"1 (UID 1 BODY[]<%d> {" % start)
        assert data[0][1] == stored[start : start + length]
    client.logout()


def test_the_envelope_reads_in_imapclient(world: World) -> None:
    world.deliver()
    client = world.imapclient()
    client.select_folder("INBOX", readonly=True)
    envelope = client.fetch([1], ["ENVELOPE"])[1][b"ENVELOPE"]
    assert envelope.subject == b"Budget\tfor 2027"
    assert envelope.message_id == b"<budget[1]@contoso.com>"
    assert [(each.name, each.mailbox, each.host) for each in envelope.to] == [
        (None, b"kim.akers", b"contoso.com"),
        (b"Z, M", b"z", b"contoso.com"),
    ]
    assert envelope.from_[0].name == b"Lee \\ Gu"
    assert envelope.cc is None
    client.logout()


def test_a_session_cannot_ask_for_the_mime_structure(world: World) -> None:
    world.deliver()
    wire = examined(world)
    for item in (b"BODYSTRUCTURE", b"BODY", b"BODY[1]", b"NONSENSE", b"(UID"):
        assert wire.ask(b"a FETCH 1 " + item) == [b"a BAD Command Argument Error. 11"]


class CountingStore(Store):
    """Counts the bytes that its readers hold or have held."""

    served = 0

    def read(self, message: Message) -> bytes:
        self.served += message.size
        return super().read(message)


def test_bounded_memory_a_client_that_does_not_read_holds_the_server_back(
    identity: Identity, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.sandbox.mail_doors_world.Store", CountingStore)
    with open_doors(identity, tmp_path) as world:
        for _ in range(40):
            world.deliver(b"Subject: big\r\n\r\n" + b"m" * 2_000_000)
        slow, quick = examined(world), examined(world)
        slow.send(b"a UID FETCH 1:* (BODY.PEEK[])\r\n")
        slow.line()
        # The other client's answers show that the first one's has come to a halt.
        for _ in range(50):
            quick.ask(b"a NOOP")
        assert isinstance(world.store, CountingStore)
        assert world.store.served < 24_000_000
        slow.connection.shutdown(2)


def test_two_clients_are_served_at_once(world: World) -> None:
    sent = [b"Subject: %d\r\n\r\n" % number + b"q" * 40_000 + b"\r\n" for number in range(60)]
    for each in sent:
        world.deliver(each)
    got: list[list[bytes]] = []

    def read_all() -> None:
        client = world.imap()
        client.select("INBOX", readonly=True)
        _, data = client.uid("FETCH", "1:*", "(UID BODY.PEEK[])")
        got.append([each[1] for each in data if isinstance(each, tuple)])
        client.logout()

    threads = [threading.Thread(target=read_all) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == [sent, sent, sent]


def test_commands_sent_ahead_are_answered_in_order(world: World) -> None:
    world.deliver(b"Subject: big\r\n\r\n" + b"m" * 3_000_000)
    wire = examined(world)
    wire.send(b"a FETCH 1 (BODY.PEEK[])\r\nb UID SEARCH HEADER Subject {3+}\r\nbig\r\nc LOGOUT\r\n")
    assert re.findall(rb"^[abc] .*|^\* SEARCH.*", wire.rest(), re.MULTILINE) == [
        b"a OK FETCH completed.\r",
        b"* SEARCH 1\r",
        b"b OK SEARCH completed.\r",
        b"c OK LOGOUT completed.\r",
    ]


# Not reading only


def test_read_only_sessions_leave_no_trace_in_the_audit(world: World) -> None:
    world.deliver()
    client = world.imap()
    client.list()
    client.status("INBOX", "(MESSAGES)")
    client.select("INBOX", readonly=True)
    client.uid("SEARCH", "ALL")
    client.uid("FETCH", "1:*", "(UID FLAGS)")
    client.uid("FETCH", "1:*", "(UID BODY.PEEK[])")
    client.uid("FETCH", "1:*", "(UID BODY[])")
    client.logout()
    assert world.store.attempts == []
    assert world.store.listing(KIM, "Inbox")[0].flags == set()


def test_read_only_a_fetch_without_peek_marks_and_is_noted(world: World) -> None:
    world.deliver()
    client = world.imap()
    client.select("INBOX")
    client.uid("FETCH", "1", "(BODY[])")
    client.logout()
    assert [each.command for each in world.store.attempts] == ["FETCH BODY[] 1"]
    assert world.store.listing(KIM, "Inbox")[0].flags == {"seen"}


def test_a_message_that_is_gone_can_still_be_fetched_from_the_open_folder(world: World) -> None:
    message = world.deliver()
    client = world.imap()
    client.select("INBOX")
    world.store.delete(KIM, "Inbox", message.uid)
    assert fetched(client, message.uid, "(BODY[])") == MAIL
    client.logout()


def test_read_only_every_writing_command_is_noted(world: World) -> None:
    for _ in range(3):
        world.deliver()
    world.store.create_folder(KIM, "Archive")
    client = world.imap()
    client.select("INBOX")
    client.uid("STORE", "1", "+FLAGS", r"(\Deleted \Seen)")
    client.uid("COPY", "2", "Archive")
    client.uid("MOVE", "3", "Archive")
    client.expunge()
    client.append("Archive", r"(\Seen)", '"02-Mar-2026 10:20:30 +0000"', MAIL)
    client.create("New")
    client.rename("New", "Newer")
    client.delete("Newer")
    client.subscribe("Archive")
    assert client.close()[0] == "OK"
    client.logout()
    assert [each.command.split()[0] for each in world.store.attempts] == [
        "STORE", "COPY", "MOVE", "EXPUNGE", "APPEND", "CREATE", "RENAME", "DELETE", "SUBSCRIBE",
    ]  # fmt: skip
    assert {each.mailbox for each in world.store.attempts} == {KIM}
    assert [each.uid for each in world.store.listing(KIM, "Inbox")] == [2]
    archived = world.store.listing(KIM, "Archive")
    assert [each.flags for each in archived] == [set(), set(), {"seen"}]
    assert archived[2].received_at == WHEN
    assert {each.path for each in world.store.mailbox(KIM).folders.values()} == {"Inbox", "Archive"}


def test_read_only_an_examined_folder_refuses_what_writes(world: World) -> None:
    world.deliver()
    wire = examined(world)
    assert wire.ask(b"a UID STORE 1 +FLAGS (\\Seen)") == [b"a NO STORE failed."]
    assert wire.ask(b"b EXPUNGE") == [b"b NO EXPUNGE failed."]
    assert [each.command.split()[0] for each in world.store.attempts] == ["STORE", "EXPUNGE"]
    assert world.store.listing(KIM, "Inbox")[0].flags == set()


# Faults, and a session's end


def test_logout_says_goodbye(world: World) -> None:
    wire = signed_in(world)
    wire.send(b"a LOGOUT\r\n")
    assert wire.rest() == (
        b"* BYE Microsoft Exchange Server IMAP4 server signing off.\r\na OK LOGOUT completed.\r\n"
    )


def test_the_session_ends_with_its_token(world: World) -> None:
    wire = raw(world)
    token = world.token(seconds=2)
    assert wire.ask(b"a AUTHENTICATE XOAUTH2 " + world.sasl(KIM, token))[-1].startswith(b"a OK")
    while (answer := wire.ask(b"b NOOP")) == [b"b OK NOOP completed."]:
        time.sleep(0.05)
    assert answer == [
        b"* BYE Session invalidated - AccessTokenExpired",
        b"b BAD Command received in Invalid state.",
    ]
    assert wire.rest() == b""


def test_a_token_expires_in_the_middle_when_told_to(world: World) -> None:
    for _ in range(3):
        world.deliver()
    world.fault(Fault(FaultKind.EXPIRE, Door.IMAP, command="FETCH", uid=2, times=1))
    answer = examined(world).ask(b"a UID FETCH 1:* (BODY.PEEK[])")
    assert answer[0].startswith(b"* 1 FETCH")
    assert answer[-2:] == [
        b"* BYE Session invalidated - AccessTokenExpired",
        b"a BAD Command received in Invalid state.",
    ]


@pytest.mark.parametrize("state", ["BAD", "NO"])
def test_throttling_names_the_backoff_and_closes(identity: Identity, tmp_path: Path, state: str) -> None:
    with open_doors(identity, tmp_path, Behaviour(throttle_with=state)) as world:
        world.fault(imap_fault(FaultKind.THROTTLE, "SEARCH", seconds=89.117))
        wire = examined(world)
        assert wire.ask(b"a UID SEARCH ALL") == [
            b"a %s Request is throttled. Suggested Backoff Time: 89117 milliseconds" % state.encode()
        ]
        assert wire.rest() == b"* BYE Connection closed. 14\r\n"
        assert examined(world).ask(b"a UID SEARCH ALL")[-1] == b"a OK SEARCH completed."


def test_the_connection_drops_in_the_middle_of_a_literal(world: World) -> None:
    world.deliver()
    world.fault(imap_fault(FaultKind.DROP, "FETCH", bytes=60))
    wire = examined(world)
    wire.send(b"a UID FETCH 1 (UID BODY.PEEK[])\r\n")
    answer = wire.rest()
    assert len(answer) == 60
    assert answer == (b"* 1 FETCH (UID 1 BODY[] {%d}\r\n" % len(MAIL) + MAIL)[:60]


def test_a_fetch_can_come_back_without_the_message(world: World) -> None:
    for _ in range(3):
        world.deliver()
    world.fault(Fault(FaultKind.EMPTY, Door.IMAP, command="FETCH", uid=2))
    client = world.imap()
    client.select("INBOX", readonly=True)
    assert client.uid("FETCH", "2", "(UID BODY.PEEK[])") == ("OK", [None])
    assert len(client.uid("FETCH", "1:3", "(UID BODY.PEEK[])")[1]) == 4
    assert len(client.uid("FETCH", "1:3", "(UID FLAGS)")[1]) == 3
    client.logout()


def test_a_placeholder_or_a_shortened_message_can_stand_in_its_place(world: World) -> None:
    world.deliver()
    world.fault(imap_fault(FaultKind.PLACEHOLDER, "FETCH"))
    world.fault(imap_fault(FaultKind.TRUNCATE, "FETCH", bytes=25))
    client = world.imap()
    client.select("INBOX", readonly=True)
    instead = fetched(client, 1, "(UID BODY.PEEK[])")
    assert b"Subject: Retrieval using the IMAP4 protocol failed for the following message: 1\r\n" in instead
    assert b"The server couldn't retrieve the following message:" in instead
    assert fetched(client, 1, "(UID BODY.PEEK[])") == MAIL[:25]
    assert fetched(client, 1, "(UID BODY.PEEK[])") == MAIL
    client.logout()


def test_the_server_can_be_unavailable_or_slow(world: World) -> None:
    wire = signed_in(world)
    world.fault(imap_fault(FaultKind.UNAVAILABLE, "EXAMINE"))
    world.fault(imap_fault(FaultKind.DELAY, "EXAMINE", seconds=0.2))
    assert wire.ask(b"a EXAMINE INBOX") == [b"a NO Server Unavailable. 15"]
    assert wire.ask(b"b EXAMINE INBOX")[-1] == b"b OK [READ-ONLY] EXAMINE completed."


def test_other_clients_do_not_wait_for_a_delayed_one(world: World) -> None:
    slow, quick = signed_in(world), signed_in(world)
    world.fault(imap_fault(FaultKind.DELAY, "EXAMINE", seconds=60))
    slow.send(b"a EXAMINE INBOX\r\n")
    assert quick.ask(b"a NOOP") == [b"a OK NOOP completed."]


def test_sign_in_and_mailbox_can_be_refused(world: World) -> None:
    world.fault(imap_fault(FaultKind.REFUSE, "LOGIN"))
    wire = raw(world)
    assert wire.ask(b"a AUTHENTICATE XOAUTH2 " + world.sasl()) == [b"a NO AUTHENTICATE failed."]
    assert wire.ask(b"b AUTHENTICATE XOAUTH2 " + world.sasl()) == [b"b OK AUTHENTICATE completed."]
    world.fault(imap_fault(FaultKind.REFUSE, "SELECT"))
    assert wire.ask(b"c SELECT INBOX") == [b"c BAD User is authenticated but not connected."]


# What a client should not send


@pytest.mark.parametrize(
    "command",
    [
        b"",
        b"a",
        b"a LIST",
        b"a STATUS INBOX",
        b"a STATUS INBOX (",
        b"a SELECT",
        b'a SELECT "x',
        b"a UID",
        b"a UID X 1",
    ],
)
def test_bad_input_gets_a_clear_error(world: World, command: bytes) -> None:
    wire = examined(world)
    wire.send(command + b"\r\n")
    assert re.fullmatch(
        rb"(a|\*) BAD Command (Argument Error\. 11|received in Invalid state\.)\r\n", wire.line()
    )
    assert wire.ask(b"b NOOP") == [b"b OK NOOP completed."]


@pytest.mark.parametrize(
    "criteria",
    [b"", b"(", b'"x', b"HEADER Subject", b"SINCE yesterday", b"\xff", b"{2+}\r\n((", b"NOT", b"LARGER x"],
)
def test_bad_input_in_a_search_gets_a_clear_error(world: World, criteria: bytes) -> None:
    wire = examined(world)
    assert wire.ask(b"a UID SEARCH " + criteria) == [b"a BAD Command Argument Error. 11"]
    assert wire.ask(b"b NOOP") == [b"b OK NOOP completed."]


@pytest.mark.parametrize("ids", [b"0", b"x", b"1:2:3", b"1,,2", b"-1", b"0:*"])
def test_bad_input_in_a_sequence_set_gets_a_clear_error(world: World, ids: bytes) -> None:
    world.deliver()
    assert examined(world).ask(b"a UID FETCH " + ids + b" (UID)") == [b"a BAD Command Argument Error. 11"]


def test_ten_bad_commands_end_the_session(world: World) -> None:
    wire = signed_in(world)
    for _ in range(9):
        wire.ask(b"a NONSENSE")
    wire.send(b"a NONSENSE\r\n")
    assert wire.rest().endswith(b"* BYE Connection closed. 14\r\n")


def test_a_line_that_is_too_long_ends_the_session(world: World) -> None:
    wire = examined(world)
    uids = b",".join(b"%d" % uid for uid in range(1, 4000))
    assert wire.ask(b"a UID FETCH " + uids + b" (UID)") == [b"a BAD Command Argument Error. 11"]
    assert wire.rest() == b""


def test_the_doors_go_without_a_trace(identity: Identity, tmp_path: Path) -> None:
    before = set(threading.enumerate())
    with open_doors(identity, tmp_path) as world:
        wire = signed_in(world)
        port = world.doors.imap_port
        world.doors.stop()
        assert wire.rest() == b""
        with pytest.raises(ConnectionRefusedError):
            world.wire(port)
    assert set(threading.enumerate()) == before


def test_xoauth2_of_the_client_is_what_the_door_reads(world: World) -> None:
    client = imaplib.IMAP4_SSL("127.0.0.1", world.doors.imap_port, ssl_context=world.tls)
    assert client.authenticate("XOAUTH2", lambda _: xoauth2(KIM.upper(), world.token()))[0] == "OK"
    client.logout()


def test_what_is_hidden_from_the_door_is_neither_listed_nor_counted(world: World) -> None:
    world.deliver()
    world.deliver()
    world.store.hide(KIM, "Inbox", 1, "imap")
    client = world.imapclient()
    assert client.folder_status("INBOX", ["MESSAGES"]) == {b"MESSAGES": 1}
    client.select_folder("INBOX", readonly=True)
    assert client.search() == [2]
    world.store.hide(KIM, "Inbox", 1, "imap", hidden=False)
    client.noop()
    assert client.search() == [1, 2]
