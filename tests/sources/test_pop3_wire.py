"""Server bytes in, Python out."""

import re
import ssl
from collections.abc import Callable
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.sources.mail_faults import CommandRefusedError
from pipelines.sources.pop3_wire import (
    Answers,
    NotPop3Error,
    NoUniqueIdError,
    Pop3Connection,
    SessionRefusedError,
    read_sizes,
    read_uidl,
)


def receiving(*pieces: bytes) -> Callable[[int], bytes]:
    """``recv`` of a connection on which these pieces come, and then its end."""
    left = list(pieces)
    return lambda _most: left.pop(0) if left else b""


class Line:
    """A connection on which a server says its pieces, whatever it is sent."""

    def __init__(self, *pieces: bytes) -> None:
        self.recv = receiving(*pieces)
        self.sent: list[bytes] = []

    def sendall(self, data: bytes) -> None:
        self.sent.append(data)


def connected(line: Line) -> Pop3Connection:
    return Pop3Connection(cast(ssl.SSLSocket, line), lambda text: text == "throttled")


def lines_of(*pieces: bytes) -> bytes:
    return Answers(receiving(*pieces)).lines()


@pytest.mark.parametrize(
    ("answer", "lines"),
    [
        (b"+OK\r\n.\r\n", b""),
        (b"+OK 120 octets\r\nSubject: x\r\n\r\ntext\r\n.\r\n", b"Subject: x\r\n\r\ntext\r\n"),
        (b"+OK\r\n\r\n.\r\n", b"\r\n"),
        (b"+OK\r\n..\r\n.\r\n", b".\r\n"),
        (b"+OK\r\n...\r\n..\r\n....x\r\n.\r\n", b"..\r\n.\r\n...x\r\n"),
        (b"+OK\r\na\r\n..b\r\n.\r\n", b"a\r\n.b\r\n"),
        (b"+OK\r\nx..\r\n.\r\n", b"x..\r\n"),
        (b"+OK\r\na\n.\nb\n..\r\n.\r\n", b"a\n.\nb\n..\r\n"),
        (b"+OK\r\na\r.\r\n\r\r\n.\r\n", b"a\r.\r\n\r\r\n"),
        (b"+OK\r\n\0\xff\x80\r\n.\r\n", b"\0\xff\x80\r\n"),
        (b"+OK\r\n-ERR not a refusal\r\n+OK\r\n.\r\n", b"-ERR not a refusal\r\n+OK\r\n"),
        (b"+ok\n\r\n.\r\n", b"\r\n"),
    ],
)
def test_bytes_are_kept_wherever_the_pieces_part(answer: bytes, lines: bytes) -> None:
    assert lines_of(answer) == lines
    assert lines_of(*(answer[at : at + 1] for at in range(len(answer)))) == lines
    for at in range(1, len(answer)):
        assert lines_of(answer[:at], answer[at:]) == lines


BODY = st.lists(st.sampled_from([b".", b"\r\n", b"\r", b"\n", b"x", b"..", b".\r\n", b"\0"]), max_size=30)


@given(st.lists(BODY, min_size=1, max_size=4), st.integers(1, 7))
def test_bytes_are_kept_of_any_messages_behind_one_another(bodies: list[list[bytes]], width: int) -> None:
    messages = [b"".join(body) + b"\r\n" for body in bodies]
    sent = b"".join(b"+OK\r\n" + re.sub(rb"(\A|(?<=\r\n))\.", b"..", each) + b".\r\n" for each in messages)
    answers = Answers(receiving(*(sent[at : at + width] for at in range(0, len(sent), width))))
    assert [answers.lines() for _ in messages] == messages


def test_bytes_are_kept_of_a_line_of_megabytes() -> None:
    line = b"x" * 5_000_000 + b"\r\n"
    sent = b"+OK\r\n" + line + b".\r\n"
    assert lines_of(*(sent[at : at + 16384] for at in range(0, len(sent), 16384))) == line


@pytest.mark.parametrize(
    "cut", [b"", b"+OK", b"+OK\r\n", b"+OK\r\nSubject: x\r\n", b"+OK\r\nx\r\n.", b"+OK\r\n.\r"]
)
def test_nothing_lost_an_answer_that_ends_early_is_no_answer(cut: bytes) -> None:
    with pytest.raises(ConnectionResetError):
        lines_of(cut)


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (b"-ERR\r\n", ""),
        (b"-ERR Request is throttled.\r\n", "Request is throttled."),
        (b"-ERR [IN-USE] locked\n", "[IN-USE] locked"),
        (b"-ERR \xff\r\n", "\ufffd"),
    ],
)
def test_a_refusal_is_told_in_the_servers_words(answer: bytes, text: str) -> None:
    answers = Answers(receiving(answer + b"+OK next\r\n"))
    with pytest.raises(CommandRefusedError) as caught:
        answers.lines()
    assert caught.value.text == text
    assert answers.status() == "+OK next"


def test_a_challenge_is_a_status_line() -> None:
    assert Answers(receiving(b"+ \r\n")).status() == "+ "


@pytest.mark.parametrize("answer", [b"* OK IMAP4 ready\r\n", b"220 ESMTP\r\n", b"\r\n", b"x" * 70_000])
def test_secrets_stay_secret_in_what_is_no_pop3(answer: bytes) -> None:
    with pytest.raises(NotPop3Error) as caught:
        Answers(receiving(answer)).status()
    assert str(caught.value) == ""


def test_a_unique_id_is_all_there_is_to_a_message() -> None:
    printable = bytes(range(0x21, 0x7F))
    assert read_uidl(b"1 a\r\n2 %s\r\n17 AAAA+/=\r\n" % printable) == {
        "a": 1,
        printable.decode(): 2,
        "AAAA+/=": 17,
    }
    assert read_uidl(b"") == {}
    assert read_uidl(b" 1\ta trailing words\r\n") == {"a": 1}


def test_nothing_lost_copies_of_one_unique_id_stay_apart() -> None:
    assert read_uidl(b"1 a\r\n2 b\r\n3 a\r\n4 a\r\n") == {"a": 1, "b": 2, "a 2": 3, "a 3": 4}


def test_ids_that_the_index_cannot_hold_stand_by_their_digest() -> None:
    longest, longer, odd = b"x" * 400, b"x" * 401, b"\xe9\0"
    found = list(
        read_uidl(b"1 %s\r\n2 %s\r\n3 %s\r\n4 %sy\r\n5 %s\r\n" % (longest, longer, odd, longer, odd))
    )
    assert found[0] == longest.decode()
    assert all(re.fullmatch(r"sha256 [0-9a-f]{64}", each) for each in found[1:4])
    assert found[4] == f"{found[2]} 2"
    assert len(set(found)) == 5


@pytest.mark.parametrize("line", [b"1", b"1 ", b"a", b"uid 1", b""])
def test_nothing_lost_a_message_without_a_unique_id_is_not_passed_over(line: bytes) -> None:
    with pytest.raises(NoUniqueIdError):
        read_uidl(b"1 a\r\n%s\r\n" % line)


def test_sizes_are_read_where_they_are_told() -> None:
    assert read_sizes(b"1 120\r\n2 0\r\n3\r\nx y\r\n 4 7 more\r\n") == {1: 120, 2: 0, 4: 7}


@pytest.mark.parametrize(
    ("capabilities", "sent"),
    [
        (b"+OK\r\nPIPELINING\r\n.\r\n", [b"RETR 1\r\nRETR 2\r\nRETR 3\r\n"]),
        (b"+OK\r\ntop\r\npipelining\r\n.\r\n", [b"RETR 1\r\nRETR 2\r\nRETR 3\r\n"]),
        (b"+OK\r\nX-PIPELINING\r\n.\r\n", [b"RETR 1\r\n", b"RETR 2\r\n", b"RETR 3\r\n"]),
        (b"-ERR\r\n", [b"RETR 1\r\n", b"RETR 2\r\n", b"RETR 3\r\n"]),
    ],
)
def test_commands_go_together_only_where_the_server_says_so(capabilities: bytes, sent: list[bytes]) -> None:
    line = Line(capabilities, b"+OK\r\na\r\n.\r\n-ERR b\r\n", b"+OK\r\nc\r\n.\r\n+OK 3 120\r\n")
    client = connected(line)
    first, second, third = client.ask_each(["RETR 1", "RETR 2", "RETR 3"])
    assert (first, third) == (b"a\r\n", b"c\r\n")
    assert isinstance(second, CommandRefusedError)
    assert second.text == "b"
    assert client.count() == 3
    assert line.sent == [b"CAPA\r\n", *sent, b"STAT\r\n"]


def test_what_was_asked_ahead_is_not_asked_again() -> None:
    line = Line(b"+OK\r\n.\r\n", b"+OK\r\na\r\n.\r\n", b"+OK\r\nb\r\n.\r\n")
    client = connected(line)
    client.ask_ahead(["RETR 1", "RETR 2"])
    assert list(client.ask_each(["RETR 1", "RETR 2"])) == [b"a\r\n", b"b\r\n"]
    assert line.sent == [b"CAPA\r\n", b"RETR 1\r\n", b"RETR 2\r\n"]


def test_a_server_without_pipelining_works_while_a_message_is_looked_at() -> None:
    line = Line(b"+OK\r\n.\r\n", b"+OK\r\na\r\n.\r\n", b"+OK\r\nb\r\n.\r\n")
    answers = connected(line).ask_each(["RETR 1", "RETR 2"])
    assert next(answers) == b"a\r\n"
    assert line.sent == [b"CAPA\r\n", b"RETR 1\r\n", b"RETR 2\r\n"]
    assert list(answers) == [b"b\r\n"]
    assert len(line.sent) == 3


def test_nothing_is_asked_while_answers_are_still_to_come() -> None:
    client = connected(Line(b"+OK\r\nPIPELINING\r\n.\r\n+OK\r\na\r\n.\r\n+OK 7 7\r\n"))
    assert next(client.ask_each(["RETR 1", "RETR 2"])) == b"a\r\n"
    with pytest.raises(ConnectionAbortedError):
        client.count()


@pytest.mark.parametrize("told", [b"+OK\r\n", b"+OK many\r\n", b"+OK -1 5\r\n", b"+OK 120 octets\r\n"])
def test_a_count_that_is_none_is_not_taken_for_zero(told: bytes) -> None:
    with pytest.raises(NotPop3Error):
        connected(Line(told)).count()


@pytest.mark.parametrize("ask", [Pop3Connection.capabilities, Pop3Connection.sizes, Pop3Connection.count])
def test_a_refusal_of_the_session_is_not_taken_for_one_of_the_command(
    ask: Callable[[Pop3Connection], object],
) -> None:
    client = connected(Line(b"-ERR throttled\r\n"))
    with pytest.raises(SessionRefusedError) as caught:
        ask(client)
    assert caught.value.text == "throttled"
    with pytest.raises(ConnectionAbortedError):
        client.count()
