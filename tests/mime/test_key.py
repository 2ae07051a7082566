"""The message key: one for all encodings of a message, another for every other message."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.mime import header_key, normalise
from pipelines.mime.spaces import folded
from pipelines.mime.visible import essence, visible_text
from tests.mime.regenerated import Mail, Style, generate, mails, styles, words

MAIL = Mail(
    "1@x",
    "subject",
    "kim@contoso.com",
    datetime(2025, 9, 1, tzinfo=UTC),
    "text",
    "https://a",
    (b"\0a", b"\0b"),
)


def key(mime: bytes) -> str:
    return normalise(mime).message_key


@given(mails, styles, styles)
def test_nothing_twice_when_a_message_is_generated_anew(mail: Mail, one: Style, other: Style) -> None:
    first, second = normalise(generate(mail, one)), normalise(generate(mail, other))
    assert first.message_key == second.message_key
    assert first.header_key == second.header_key
    assert len(first.attachments) == len(mail.attachments)


@given(mails, styles, words)
def test_two_that_differ_in_their_words_have_two_keys(mail: Mail, style: Style, added: str) -> None:
    changed = replace(mail, text=f"{mail.text} {added}")
    same_words = changed.text.split() == mail.text.split()
    assert (key(generate(mail, style)) == key(generate(changed, style))) == same_words


@pytest.mark.parametrize(
    "other",
    [
        replace(MAIL, message_id="2@x"),
        replace(MAIL, message_id="1@X"),
        replace(MAIL, subject="Subject"),
        replace(MAIL, sender="lee@contoso.com"),
        replace(MAIL, sent_at=MAIL.sent_at + timedelta(seconds=1)),
        replace(MAIL, text="other"),
        replace(MAIL, link="https://b"),
        replace(MAIL, attachments=(b"\0a",)),
        replace(MAIL, attachments=(b"\0a", b"\0a")),
        replace(MAIL, attachments=(b"\0a", b"\0b ")),
    ],
)
def test_two_that_differ_are_told_apart(other: Mail) -> None:
    assert key(generate(MAIL, Style())) != key(generate(other, Style()))


def test_a_key_stays_the_same_from_release_to_release() -> None:
    # A key that changes is another KEY_VERSION: every lake would have to be rebuilt.
    assert key(generate(MAIL, Style())) == "980916cc229e73d7d7f7f6198fe65451ad5b8180"
    assert (
        header_key("1@x", MAIL.sent_at, "Kim@Contoso.com", " a  subject ")
        == "6e2b19855defe4ee0b2c379e28c35fc3dab4f72b"
    )


def attached(media_type: bytes, content: bytes) -> bytes:
    head = b"Message-ID: <1@x>\nContent-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: "
    return head + media_type + b"\n\n" + content + b"\n--b--\n"


def test_an_attached_message_counts_by_its_meaning() -> None:
    one = attached(b"message/rfc822", generate(MAIL, Style(boundary="in", encoding="8bit", line_end=b"\n")))
    same = attached(b"message/rfc822", generate(MAIL, Style(boundary="zz", order=(4, 3, 2, 1, 0))))
    other = attached(b"message/rfc822", generate(replace(MAIL, text="x"), Style(boundary="in")))
    assert key(one) == key(same) != key(other)


def test_a_calendar_counts_by_its_fields() -> None:
    one = b"BEGIN:VEVENT\nUID:1\nSUMMARY:a long\n  summary\nEND:VEVENT\n"
    same = b"BEGIN:VEVENT\nSUMMARY:a long summary\nUID:1\nEND:VEVENT\n".replace(b"\n", b"\r\n")
    other = one.replace(b"UID:1", b"UID:2")
    assert key(attached(b"text/calendar", one)) == key(attached(b"text/calendar", same))
    assert key(attached(b"text/calendar", one)) != key(attached(b"text/calendar", other))


def test_a_delivery_report_counts_by_its_fields() -> None:
    one = b"Reporting-MTA: dns; x\n\nAction: failed\nStatus: 5.1.1\n"
    same = b"Reporting-MTA:  dns;\n x\n\nStatus: 5.1.1\nAction: failed\n"
    other = one.replace(b"failed", b"delayed")
    kind = b"message/delivery-status"
    assert key(attached(kind, one)) == key(attached(kind, same)) != key(attached(kind, other))


def test_an_attached_text_counts_by_its_lines_not_by_its_charset() -> None:
    one = attached(b"text/csv; charset=utf-8", "a;é \nb;2\n".encode())
    same = attached(b"text/csv; charset=iso-8859-1", "a;é\r\nb;2".encode("latin-1"))
    other = attached(b"text/csv; charset=utf-8", "a;é b;2\n".encode())
    assert key(one) == key(same) != key(other)


def test_two_bodies_that_cannot_be_read_are_told_apart() -> None:
    head = b"Message-ID: <1@x>\nContent-Type: text/plain; charset=utf-8\n\n" + "ééé".encode()
    one, other = normalise(head + b" \xfe"), normalise(head + b" \xff")
    assert one.text == other.text
    assert one.message_key != other.message_key


def test_recipients_count_only_without_a_message_id() -> None:
    assert key(b"To: a@x\nSubject: s\n\n") != key(b"To: b@x\nSubject: s\n\n")
    assert key(b"Message-ID: <1@x>\nTo: a@x\n\n") == key(b"Message-ID: <1@x>\nTo: b@x\n\n")


def test_received_lines_count_only_without_a_message_id() -> None:
    one, folded, other = (b"by a;\n Mon, 1 Sep", b"by a; Mon,\n\t1 Sep", b"by b; Mon, 1 Sep")
    assert key(b"Subject: s\nReceived: " + one) == key(b"Received: " + folded + b"\nSubject: s")
    assert key(b"Subject: s\nReceived: " + one) != key(b"Subject: s\nReceived: " + other)
    named = b"Message-ID: <1@x>\nReceived: "
    assert key(named + one) == key(named + other)


def test_every_field_counts_where_nothing_names_the_message() -> None:
    one = key(b"X-List: a b\nContent-Type: text/plain\n\n")
    assert one == key(b"Content-Type: text/plain; charset=utf-8\nSubject:\nx-list: =?utf-8?q?a_b?=\n\n")
    assert one != key(b"X-List: b\nContent-Type: text/plain\n\n")
    assert key(b"X-List: a\nSubject: s\n\n") == key(b"X-List: b\nSubject: s\n\n")


def test_an_attachments_name_counts_however_it_is_written() -> None:
    kind = b"application/pdf; name"
    one, other = attached(kind + b"=a.pdf", b"%PDF"), attached(kind + b"=b.pdf", b"%PDF")
    assert key(one) == key(
        attached(b"application/pdf\nContent-Disposition: inline; filename*=''a.pdf", b"%PDF")
    )
    assert len({key(one), key(other), key(attached(b"application/pdf", b"%PDF"))}) == 3
    assert key(attached(b"text/csv; name=a.csv", b"1")) != key(attached(b"text/csv; name=b.csv", b"1"))


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        (b"message/rfc822", generate(MAIL, Style(boundary="in"))),
        (b"message/delivery-status", b"Action: failed\n"),
        (b"text/calendar", b"BEGIN:VEVENT\nUID:1\nEND:VEVENT\n"),
    ],
)
def test_the_name_of_what_servers_write_anew_does_not_count(kind: bytes, content: bytes) -> None:
    assert key(attached(kind, content)) == key(attached(kind + b"; name=made.up", content))


@pytest.mark.parametrize(
    "field",
    [
        b"From: Lee <kim@x>",
        b"Sender: lee@x",
        b"Reply-To: lee@x",
        b"Cc: lee@x",
        b"Bcc: lee@x",
        b"In-Reply-To: <0@x>",
        b"References: <0@x>",
    ],
)
def test_who_writes_to_whom_in_answer_to_what_counts_only_without_a_message_id(field: bytes) -> None:
    plain = b"Subject: s\nFrom: Kim <kim@x>\n\n"
    changed = field + b"\n" + plain
    assert key(plain) != key(changed)
    assert key(b"Message-ID: <1@x>\n" + plain) == key(b"Message-ID: <1@x>\n" + changed)


def test_a_name_that_repeats_the_address_is_none() -> None:
    one = key(b"Subject: s\nTo: kim@x\n\n")
    assert one == key(b'Subject: s\nTo: "Kim@x" <kim@x>\n\n') != key(b"Subject: s\nTo: Kim <kim@x>\n\n")


def test_nothing_that_can_be_read_is_missing_from_the_key_where_boundaries_are_misused() -> None:
    head = b"Message-ID: <1@x>\nContent-Type: multipart/mixed; boundary=b\n\n"
    for one in (
        b"--b\n\none\n--b--\n--b\nContent-Type: text/html\n\n%s\n--b--\n",
        b"--b\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\none\n--b--\n--b\n\n%s\n--b--\n",
        b"--b--\n%s\n",
    ):
        assert key(head + one % b"two") != key(head + one % b"three")


@given(
    st.text(st.sampled_from("ab東\xad \n\t\r\f\x1c\x85\xa0\u1680\u2003\u2028\u202f\u3000\u200b"), max_size=12)
)
def test_any_white_space_is_folded(text: str) -> None:
    assert folded(text) == " ".join(text.split())


TAGS = ["<p>", "</P >", "<b>", "<!--", "-->", "<style>", "</style>", '<a href=" x">', "<img src=y>", "<", ">"]
WORDS = [
    "a",
    "b c",
    " ",
    "\n",
    "\n\n",
    "\t",
    "\x85",
    "\u3000",
    "&amp",
    "&lt;",
    "&#32;",
    "&#160;",
    "&NotEqualTilde;",
]
markup = st.lists(st.sampled_from(TAGS) | st.sampled_from(WORDS), max_size=14).map("".join)


@given(markup)
def test_running_text_in_html_counts_like_any_other(markup: str) -> None:
    assert essence(markup) == essence("&nbsp;" + markup)


@given(markup)
def test_html_never_shows_more_characters_than_it_has(markup: str) -> None:
    assert len(visible_text(markup)) <= len(markup)


def test_long_text_is_folded_like_short_text() -> None:
    long = " \t".join(f"word{number}\r\n" * (number % 3) for number in range(60_000)) + "\u2003end " * 9
    unbroken = "x" * 200_000
    for text in (long, unbroken, f"{unbroken}  {long}", " " * 200_000):
        assert folded(text) == " ".join(text.split())
