"""mbox files as their many writers leave them: literal bytes in, messages out."""

import mailbox
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.sources import archive_mbox
from pipelines.sources.archive_mbox import MboxMessage, begins_mbox, read_message, spans

ONE = b"Subject: One\n\nFirst line\n>From the start\n"
TWO = b"Subject: Two\n\nNo end"
SEPARATOR = b"From kim@contoso.com Sat Mar  1 09:00:00 2025\n"
DATE = datetime(2025, 3, 1, 9, tzinfo=UTC)


def read(path: Path) -> list[MboxMessage]:
    with path.open("rb") as file:
        return [read_message(file, span) for span in spans(file)]


@pytest.fixture
def box(tmp_path: Path) -> Path:
    return tmp_path / "archive.mbox"


def messages(box: Path, content: bytes) -> list[bytes]:
    box.write_bytes(content)
    return [message.mime for message in read(box)]


def test_messages_come_without_separators_and_the_empty_line_before_the_next(box: Path) -> None:
    quoted = ONE.replace(b">From", b">>From")
    assert messages(box, SEPARATOR + quoted + b"\n" + SEPARATOR + TWO) == [ONE, TWO]


def test_bytes_are_kept_line_ends_stay_as_they_are(box: Path) -> None:
    one, two = ONE.replace(b">", b"").replace(b"\n", b"\r\n"), TWO.replace(b"\n", b"\r\n")
    separator = SEPARATOR.replace(b"\n", b"\r\n")
    written = one.replace(b"From the", b">From the")
    assert messages(box, separator + written + b"\r\n" + separator + two) == [one, two]
    # Thunderbird's separator ends in LF where the message's lines end in CRLF.
    assert messages(box, SEPARATOR + written + b"\r\n" + SEPARATOR + two) == [one, two]


@pytest.mark.parametrize(
    ("separator", "gap"),
    [
        (b"From kim@contoso.com Sat Mar  1 09:00:00 2025\n", b"\n"),
        (b"From kim@contoso.com Sat, 01 Mar 2025 09:00:00 +0100\n", b"\n"),
        (b"From kim@contoso.com Sat, 01 Mar 2025 09:00:00 +0100\n", b""),
        (b"From - Sat Mar 01 09:00:00 2025\n", b"\n"),
        (b"From ???@??? Sat Mar 01 09:00:00 2025\n", b""),
        (b"From 1844347792267117879@xxx Sat Mar 01 09:00:00 +0000 2025\n", b"\n"),
        (b"From 1844347792267117879@xxx\n", b"\n"),
        (b"From \n", b"\n"),
    ],
)
def test_every_writers_separator_is_seen(box: Path, separator: bytes, gap: bytes) -> None:
    assert messages(box, (separator + ONE.replace(b">From", b">>From") + gap) * 3) == [ONE] * 3


@pytest.mark.parametrize(
    ("separator", "dated"),
    [
        (b"From kim@contoso.com Sat Mar  1 09:00:00 2025\n", DATE),
        (b"From kim@contoso.com Sat, 01 Mar 2025 10:00:00 +0100\n", DATE),
        (b"From 1844347792267117879@xxx Sat Mar 01 09:00:00 +0000 2025\r\n", DATE),
        (b"From Kim Akers on Sat Mar  1 09:00:00 2025\n", DATE),
        (b"From kim@contoso.com\n", None),
        # Mozilla writes when the message was filed, in the time zone of that computer.
        (b"From - Sat Mar 01 09:00:00 2025\n", None),
    ],
)
def test_a_separator_tells_when_the_message_was_delivered(
    box: Path, separator: bytes, dated: datetime | None
) -> None:
    box.write_bytes(separator + ONE)
    assert [message.dated for message in read(box)] == [dated]


def test_a_line_of_text_that_begins_with_from_separates_nothing(box: Path) -> None:
    text = b"Subject: One\n\nHello\n\nFrom the start of the month\nwe meet.\nFrom Monday on\nNote: late\n"
    assert messages(box, SEPARATOR + text) == [text]


@pytest.mark.parametrize("before", [b"\n", b"\r\n\r\n", b"\xef\xbb\xbf"])
def test_what_stands_before_the_first_separator_is_no_mail(box: Path, before: bytes) -> None:
    assert begins_mbox(before + SEPARATOR + TWO)
    assert messages(box, before + SEPARATOR + TWO + b"\n\n" + SEPARATOR + TWO) == [TWO + b"\n", TWO]


def test_a_file_that_only_begins_with_the_word_is_no_mbox() -> None:
    assert begins_mbox(SEPARATOR)
    assert begins_mbox(b"From \r\nSubject: One\r\n")
    assert not begins_mbox(b"From Monday on\nwe meet\n")
    assert not begins_mbox(b"From: kim@contoso.com\n")
    assert not begins_mbox(b"\n\n")


def test_a_message_of_headers_alone_and_one_of_nothing(box: Path) -> None:
    content = SEPARATOR + b"Subject: One\n\n\n" + SEPARATOR + b"\n" + SEPARATOR + TWO
    assert messages(box, content) == [b"Subject: One\n\n", b"", TWO]


@pytest.mark.parametrize(
    ("written", "read_as"),
    [
        (b">From here", b"From here"),  # mboxo, mboxrd
        (b">>From here", b">From here"),  # mboxrd
        (b"> From here", b"> From here"),
        (b">From: here", b">From: here"),
        (b"Hello\n>From here", b"Hello\nFrom here"),
    ],
)
def test_quoting_is_taken_off_once(box: Path, written: bytes, read_as: bytes) -> None:
    head = b"Subject: One\n\n"
    assert messages(box, SEPARATOR + head + written + b"\n") == [head + read_as + b"\n"]


def test_bytes_are_kept_of_a_header_that_looks_quoted(box: Path) -> None:
    # The envelope of a mail that came by UUCP.
    text = b">From kim Sat Mar  1 09:00:00 2025 remote from contoso\nSubject: One\n\nHello\n"
    assert messages(box, SEPARATOR + text) == [text]


def test_nothing_is_unquoted_for_a_writer_that_does_not_quote(box: Path) -> None:
    text = b"Subject: One\n\nFrom the start\n\nFrom here we go\n>From there you came\n"
    assert messages(box, SEPARATOR + text) == [text]


def counted(body: bytes, length: int | None = None, name: bytes = b"Content-Length") -> bytes:
    return b"Subject: One\n%s: %d\n\n%s" % (name, len(body) if length is None else length, body)


def test_a_counted_body_may_hold_separators(box: Path) -> None:
    inner = counted(b"Hello\n\n" + SEPARATOR + b"Subject: Forwarded\n\n>From here\n")
    assert messages(box, SEPARATOR + inner + b"\n" + SEPARATOR + TWO) == [inner, TWO]
    lower = counted(b"Hello\n\n" + SEPARATOR + b"Subject: Forwarded\n\nText", name=b"content-length")
    assert messages(box, SEPARATOR + lower) == [lower]


def test_a_counted_body_whose_lines_are_quoted_all_the_same(box: Path) -> None:
    written = counted(b"Hello\n>From here\n")
    assert messages(box, SEPARATOR + written + b"\n") == [written.replace(b">", b"")]


@pytest.mark.parametrize("length", [0, 3, 8, 999, 10**14])
def test_a_count_is_believed_only_if_a_separator_follows(box: Path, length: int) -> None:
    wrong = counted(b"Hello\nKim\n", length)
    assert messages(box, SEPARATOR + wrong + b"\n" + SEPARATOR + TWO) == [wrong, TWO]


def test_what_is_written_to_the_file_meanwhile_is_left_for_the_next_time(box: Path) -> None:
    box.write_bytes(SEPARATOR + ONE + b"\n")
    with box.open("rb") as file, box.open("ab") as writer:
        found = []
        for span in spans(file):
            writer.write(SEPARATOR + TWO)
            writer.flush()
            found.append(read_message(file, span).mime)
    assert len(found) == 1
    assert len(read(box)) == 2


def test_a_file_that_is_cut_short_meanwhile_ends_there(box: Path) -> None:
    box.write_bytes(SEPARATOR + ONE + b"\n" + SEPARATOR + TWO)
    with box.open("rb") as file:
        every = list(spans(file))
        box.write_bytes(SEPARATOR + b"Subject: One\n")
        assert [read_message(file, span).mime for span in every] == [b"Subject: One\n", b""]


@pytest.mark.parametrize("piece", [80, 97, 1000])
def test_nothing_lost_where_pieces_of_the_file_meet(
    box: Path, piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive_mbox, "_PIECE", piece)
    every = [b"Subject: %d\n\n%s\n" % (number, b"x" * number) for number in range(300)]
    assert messages(box, b"".join(SEPARATOR + each + b"\n" for each in every)) == every


LINES = st.lists(
    st.sampled_from(
        [b"", b"From here", b">From here", b">>From x", b"Hello", b"Note: one", SEPARATOR[:-1], b">", b"Fro"]
    ),
    max_size=12,
)


@given(st.lists(LINES, min_size=1, max_size=5), st.sampled_from([b"\n", b"\r\n"]))
def test_bytes_are_kept_of_anything_written_as_mboxrd(
    tmp_path_factory: pytest.TempPathFactory, bodies: list[list[bytes]], newline: bytes
) -> None:
    every = [newline.join([b"Subject: One", b"", *body, b""]) for body in bodies]
    written = [re.sub(rb"(?m)^(>*From )", rb">\1", each) for each in every]
    box = tmp_path_factory.getbasetemp() / "any.mbox"
    assert messages(box, b"".join(SEPARATOR[:-1] + newline + each + newline for each in written)) == every


def test_bytes_are_kept_of_what_the_standard_library_writes(box: Path) -> None:
    every = [ONE.replace(b">", b""), TWO + b"\n", b"Subject: Three\n\n\nText\n\nFrom Monday on\n"]
    written = mailbox.mbox(box)
    for each in every:
        written.add(each)
    written.close()
    assert [message.mime for message in read(box)] == every
