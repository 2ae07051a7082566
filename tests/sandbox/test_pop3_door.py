"""The POP3 door against poplib and bare sockets."""

import poplib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.sandbox.faults import Door, Fault, FaultKind
from pipelines.sandbox.identity import Identity, make_identity
from pipelines.sandbox.mail_doors import Behaviour
from tests.sandbox.mail_doors_world import CLOSED, KIM, MAIL, ODD_MAIL, Wire, World, open_doors

REFUSED = b"-ERR Authentication failure: unknown user name or bad password.\r\n"
BROKEN = b"-ERR Protocol error. Connection is closed. 10\r\n"


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> Identity:
    return make_identity(tmp_path_factory.mktemp("identity"))


@pytest.fixture
def world(identity: Identity, tmp_path: Path) -> Iterator[World]:
    with open_doors(identity, tmp_path) as opened:
        yield opened


def raw(world: World) -> Wire:
    return world.wire(world.doors.pop3_port)


def one_line(wire: Wire, command: bytes) -> bytes:
    wire.send(command + b"\r\n")
    return wire.line()


def sign_in(wire: Wire, response: bytes) -> bytes:
    assert one_line(wire, b"AUTH XOAUTH2") == b"+ \r\n"
    return one_line(wire, response)


def signed_in(world: World) -> Wire:
    wire = raw(world)
    assert sign_in(wire, world.sasl()) == b"+OK User successfully authenticated.\r\n"
    return wire


def many_lines(wire: Wire, command: bytes) -> bytes:
    """The answer's lines with the dots as sent, without the first line and the end mark."""
    assert one_line(wire, command).startswith(b"+OK")
    found = b""
    while (line := wire.line()) != b".\r\n":
        assert line
        found += line
    return found


def unstuffed(lines: bytes) -> bytes:
    return re.sub(rb"(^|\r\n)\.", rb"\1", lines)


def one_answer(client: poplib.POP3, command: str) -> bytes:
    return bytes(client._shortcmd(command))  # type: ignore[attr-defined]


def pop3_fault(kind: FaultKind, command: str, times: int | None = 1, **rest: float) -> Fault:
    return Fault(kind, Door.POP3, command=command, times=times, **rest)  # type: ignore[arg-type]


# Sign-in


def test_greeting_and_capa_are_those_of_exchange_online(world: World) -> None:
    wire = raw(world)
    assert re.fullmatch(
        rb"\+OK The Microsoft Exchange POP3 service is ready\. \[[A-Za-z0-9+/=]+\]\r\n", wire.greeting
    )
    assert many_lines(wire, b"CAPA") == b"TOP\r\nUIDL\r\nSASL PLAIN XOAUTH2\r\nUSER\r\n"


def test_user_and_password_are_refused(world: World) -> None:
    client = poplib.POP3_SSL("127.0.0.1", world.doors.pop3_port, context=world.tls)
    client.user(KIM)
    with pytest.raises(poplib.error_proto, match="Logon failure"):
        client.pass_("secret")
    client.quit()


def test_xoauth2_goes_in_two_steps_only(world: World) -> None:
    signed_in(world)
    wire = raw(world)
    assert one_line(wire, b"AUTH XOAUTH2 " + world.sasl()) == BROKEN
    assert wire.rest() == b""


def test_a_token_of_more_than_4096_characters_breaks_the_session(world: World) -> None:
    wire = raw(world)
    assert sign_in(wire, world.sasl(KIM, world.token(padding="p" * 4000))) == BROKEN
    assert wire.rest() == b""


@pytest.mark.parametrize(
    "wrong",
    [{"audience": "https://graph.microsoft.com"}, {"roles": ("IMAP.AccessAsApp",)}, {"seconds": -1}],
)
def test_a_token_that_does_not_serve_is_refused_and_another_try_is_open(
    world: World, wrong: dict[str, object]
) -> None:
    wire = raw(world)
    assert sign_in(wire, world.sasl(KIM, world.token(**wrong))) == REFUSED  # type: ignore[arg-type]
    assert sign_in(wire, b"%%%") == REFUSED
    assert sign_in(wire, world.sasl()).startswith(b"+OK")


@pytest.mark.parametrize("address", [CLOSED, "nobody@contoso.com"])
def test_a_mailbox_not_granted_is_refused(world: World, address: str) -> None:
    assert sign_in(raw(world), world.sasl(address)) == REFUSED


def test_commands_need_a_sign_in(world: World) -> None:
    wire = raw(world)
    for command in (b"STAT", b"LIST", b"RETR 1", b"NOOP"):
        assert one_line(wire, command) == b"-ERR Command is not valid in this state.\r\n"


def test_one_session_at_a_time_holds_the_maildrop(world: World) -> None:
    first = signed_in(world)
    second = raw(world)
    assert sign_in(second, world.sasl()).startswith(b"-ERR [IN-USE]")
    assert one_line(first, b"QUIT").startswith(b"+OK")
    assert sign_in(second, world.sasl()).startswith(b"+OK")


def test_a_lost_connection_gives_the_maildrop_back(world: World) -> None:
    first = signed_in(world)
    first.connection.shutdown(2)
    second = raw(world)
    answers = (sign_in(second, world.sasl()) for _ in range(1000))
    assert any(answer.startswith(b"+OK") for answer in answers)


def test_the_maildrop_can_be_shared_where_the_server_does_not_lock(
    identity: Identity, tmp_path: Path
) -> None:
    with open_doors(identity, tmp_path, Behaviour(pop3_lock=False)) as world:
        signed_in(world)
        signed_in(world)


# The maildrop


def test_stat_list_and_uidl_show_the_inbox_only(world: World) -> None:
    world.store.create_folder(KIM, "Inbox/Team")
    world.deliver(MAIL, "Inbox/Team")
    messages = [world.deliver(), world.deliver(MAIL + b"more\r\n")]
    sizes = [each.size + each.size // 8 + 293 for each in messages]
    client = world.pop3()
    assert client.stat() == (2, sum(sizes))
    assert client.list()[1] == [b"%d %d" % (number + 1, size) for number, size in enumerate(sizes)]
    assert one_answer(client, "LIST 2") == b"+OK 2 %d" % sizes[1]
    assert client.uidl()[1] == [
        b"%d %s" % (number + 1, each.uidl.encode()) for number, each in enumerate(messages)
    ]
    assert one_answer(client, "UIDL 2") == b"+OK 2 " + messages[1].uidl.encode()
    client.quit()


def uidls(world: World) -> list[bytes]:
    client = world.pop3()
    found = [line.split()[1] for line in client.uidl()[1]]
    client.quit()
    return found


def test_uidl_stays_until_the_message_is_edited(world: World) -> None:
    message = world.deliver()
    world.deliver()
    before = uidls(world)
    assert uidls(world) == before
    assert len(set(before)) == 2
    world.store.edit(KIM, "Inbox", message.uid, MAIL + b"edited\r\n")
    after = uidls(world)
    assert before[1] in after
    assert before[0] not in after
    assert len(after) == 2


@pytest.mark.parametrize("name", ODD_MAIL)
def test_bytes_are_kept_over_pop3_whatever_they_are(world: World, name: str) -> None:
    message = world.deliver(ODD_MAIL[name])
    assert unstuffed(many_lines(signed_in(world), b"RETR 1")) == world.store.read(message)


def test_bytes_are_kept_by_poplib(world: World) -> None:
    message = world.deliver(ODD_MAIL["lone dots"])
    client = world.pop3()
    assert b"\r\n".join([*client.retr(1)[1], b""]) == world.store.read(message)
    client.quit()


def test_bytes_are_kept_where_dots_fall_on_the_border_of_two_chunks(world: World) -> None:
    for shift in range(4):
        world.deliver(b"Subject: " + b"s" * shift + b"\r\n\r\n" + b"\r\n.\r\n.." * 32_000)
    wire = signed_in(world)
    for number, message in enumerate(world.store.listing(KIM, "Inbox"), 1):
        assert unstuffed(many_lines(wire, b"RETR %d" % number)) == world.store.read(message)


def test_top_gives_the_header_and_as_many_lines_as_asked(world: World) -> None:
    header = b"Subject: top\r\n\r\n"
    world.deliver(header + b"one\r\n.two\r\nthree\r\n")
    wire = signed_in(world)
    assert many_lines(wire, b"TOP 1 0") == header
    assert many_lines(wire, b"TOP 1 2") == header + b"one\r\n..two\r\n"
    assert many_lines(wire, b"TOP 1 99") == header + b"one\r\n..two\r\nthree\r\n"


def test_the_maildrop_stays_as_it_was_at_sign_in(world: World) -> None:
    first = world.deliver()
    wire = signed_in(world)
    world.deliver()
    world.store.delete(KIM, "Inbox", first.uid)
    assert one_line(wire, b"STAT").startswith(b"+OK 1 ")
    assert many_lines(wire, b"RETR 1") == MAIL


def test_read_only_a_session_that_reads_leaves_no_trace(world: World) -> None:
    world.deliver()
    client = world.pop3()
    client.stat()
    client.uidl()
    client.retr(1)
    client.top(1, 0)
    client.quit()
    assert world.store.attempts == []
    assert len(world.store.listing(KIM, "Inbox")) == 1


def test_read_only_a_deletion_is_noted_at_once_and_done_at_quit(world: World) -> None:
    message = world.deliver()
    world.deliver()
    client = world.pop3()
    client.dele(1)
    assert [each.command for each in world.store.attempts] == [f"DELE {message.uidl}"]
    assert client.stat()[0] == 1
    with pytest.raises(poplib.error_proto):
        client.retr(1)
    assert len(world.store.listing(KIM, "Inbox")) == 2
    client.quit()
    assert [each.uid for each in world.store.listing(KIM, "Inbox")] == [2]


def test_a_deletion_is_forgotten_at_rset_and_without_quit(world: World) -> None:
    world.deliver()
    client = world.pop3()
    client.dele(1)
    client.rset()
    assert client.stat()[0] == 1
    client.dele(1)
    client.close()
    assert len(world.store.listing(KIM, "Inbox")) == 1


# Faults


def test_the_connection_drops_in_the_middle_of_a_message(world: World) -> None:
    world.deliver()
    world.fault(pop3_fault(FaultKind.DROP, "RETR", bytes=55))
    wire = signed_in(world)
    wire.send(b"RETR 1\r\n")
    assert wire.rest() == (b"+OK\r\n" + MAIL)[:55]


def test_throttling_and_expiry_end_the_session(world: World) -> None:
    world.fault(pop3_fault(FaultKind.THROTTLE, "UIDL", seconds=1.5))
    world.fault(pop3_fault(FaultKind.EXPIRE, "STAT"))
    wire = signed_in(world)
    wire.send(b"UIDL\r\n")
    assert wire.rest() == b"-ERR Request is throttled. Suggested Backoff Time: 1500 milliseconds\r\n"
    other = signed_in(world)
    other.send(b"STAT\r\n")
    assert other.rest() == b"-ERR Session invalidated - AccessTokenExpired\r\n"


def test_a_message_can_be_missing_replaced_or_cut_short(world: World) -> None:
    world.deliver()
    for kind in (FaultKind.EMPTY, FaultKind.PLACEHOLDER, FaultKind.TRUNCATE):
        world.fault(pop3_fault(kind, "RETR", bytes=40))
    wire = signed_in(world)
    assert many_lines(wire, b"RETR 1") == b""
    assert b"Subject: Retrieval using the POP3 protocol failed" in many_lines(wire, b"RETR 1")
    assert many_lines(wire, b"RETR 1") == MAIL[:40] + b"\r\n"
    assert many_lines(wire, b"RETR 1") == MAIL


def test_sign_in_can_be_refused_and_the_server_unavailable_or_slow(world: World) -> None:
    world.fault(pop3_fault(FaultKind.REFUSE, "LOGIN"))
    assert sign_in(raw(world), world.sasl()) == REFUSED
    world.fault(pop3_fault(FaultKind.UNAVAILABLE, "LOGIN"))
    assert sign_in(raw(world), world.sasl()) == b"-ERR Server Unavailable. 21\r\n"
    world.fault(pop3_fault(FaultKind.DELAY, "STAT", seconds=0.2))
    assert one_line(signed_in(world), b"STAT") == b"+OK 0 0\r\n"


# What a client should not send


@pytest.mark.parametrize(
    "command",
    [b"RETR", b"RETR 0", b"RETR 2", b"RETR x", b"TOP 1", b"TOP 1 -1", b"DELE 9", b"LIST 2", b"XYZ", b""],
)
def test_bad_input_gets_a_clear_error(world: World, command: bytes) -> None:
    world.deliver()
    wire = signed_in(world)
    answer = one_line(wire, command)
    assert answer.startswith((b"-ERR Protocol error", b"-ERR The specified message is out of range"))
    assert one_line(wire, b"NOOP") == b"+OK\r\n"


def test_a_line_that_is_too_long_ends_the_session(world: World) -> None:
    wire = raw(world)
    wire.send(b"A" * 9000 + b"\r\n")
    assert wire.rest() == BROKEN


def test_what_is_hidden_from_the_door_is_not_in_the_maildrop(world: World) -> None:
    world.deliver()
    shown = world.deliver()
    world.store.hide(KIM, "Inbox", 1, "pop3")
    client = world.pop3()
    assert client.uidl()[1] == [f"1 {shown.uidl}".encode()]
