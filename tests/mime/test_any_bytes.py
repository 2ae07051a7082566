"""Any bytes are a record: no exception, no text that a database refuses, no hostile slowness."""

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.mime import identity_from_headers, is_placeholder, normalise, plain_text
from tests.mime.regenerated import Mail, Style, generate, mails, styles
from tests.mime.test_reports import REPORT

TOKENS = [
    *(b"From: ", b"To: ", b"Date: ", b"Subject: ", b"Message-ID: ", b"References: ", b"List-Id: ", b"From "),
    *(
        b"Content-Type: ",
        b"multipart/mixed",
        b"multipart/digest",
        b"text/html",
        b"text/calendar",
        b"message/rfc822",
    ),
    *(
        b"message/delivery-status",
        b'; boundary="b"',
        b"--b",
        b"--b--",
        b"; charset=",
        b"utf-7",
        b"utf-16",
        b"hz",
    ),
    *(
        b"iso-2022-jp",
        b"Content-Transfer-Encoding: ",
        b"base64",
        b"quoted-printable",
        b"x-uuencode",
        b"begin 644 a",
    ),
    *(
        b"Content-Disposition: attachment; filename*0*=utf-8''%",
        b"=?utf-8?q?",
        b"=?utf-7?b?",
        b"?=",
        b"=",
        b"=\r",
    ),
    *(
        b"\r\n",
        b"\n",
        b"\r",
        b"\r\n\r\n",
        b"\n\n",
        b" ",
        b"\t",
        b"(",
        b")",
        b"<",
        b">",
        b'"',
        b"\\",
        b",",
        b";",
        b":",
    ),
    *(
        b"@",
        b"\0",
        b"\xff",
        b"\xe9",
        b"\x1b$B",
        b"+2D0-",
        b"1 Jan 2020 10:00:00 +0000",
        b"&#xD800;",
        b"<!--",
        b"UID:",
    ),
    *(
        b"Final-Recipient: rfc822; x",
        b"Diagnostic-Code:",
        b"METHOD:",
        b"BEGIN:VEVENT",
        b"99999999999999999999",
    ),
]
mail_like = st.lists(st.one_of(st.sampled_from(TOKENS), st.binary(max_size=6)), max_size=40).map(b"".join)


def strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, tuple):
        for one in value:
            yield from strings(one)


def check(mime: bytes) -> None:
    record = normalise(mime)
    assert len(record.message_key) == 40
    assert (record.size, list(record.defects)) == (len(mime), sorted(set(record.defects)))
    assert record.sent_at is None or record.sent_at.utcoffset() is not None
    for text in strings(record):
        text.encode()  # no lone surrogate: Arrow and SQL refuse them
        assert "\0" not in text
    plain_text(record).encode()
    is_placeholder(record)
    identity_from_headers(mime)
    assert normalise(mime) == record


@given(st.binary(max_size=400))
def test_any_bytes_are_read(mime: bytes) -> None:
    check(mime)


@settings(max_examples=1000)
@given(mail_like)
def test_any_heap_of_mail_syntax_is_read(mime: bytes) -> None:
    check(mime)


@given(mails, styles, st.data())
def test_any_damaged_mail_is_read(mail: Mail, style: Style, data: st.DataObject) -> None:
    mime = generate(mail, style)
    start = data.draw(st.integers(0, len(mime)))
    end = data.draw(st.integers(start, min(len(mime), start + 40)))
    check(mime[:start] + data.draw(mail_like) + mime[end:])
    check(mime[:start])


def test_every_beginning_of_a_report_is_read() -> None:
    for length in range(len(REPORT)):
        check(REPORT[:length])


SIZE = 100_000


@pytest.mark.parametrize(
    "unit",
    [
        *(
            b"<",
            b">",
            b"<!--",
            b"<style>",
            b"<a href=",
            b"&#",
            b"&amp",
            b'"',
            b"(",
            b"\\",
            b"=?",
            b"=?a?q?",
            b"=?a?q?b?= ",
        ),
        *(
            b",",
            b";",
            b"; a=",
            b'; a="',
            b"a*0=",
            b"a;",
            b"--b",
            b"--b\n",
            b"\n--x\nA:",
            b" ",
            b"\r",
            b"\n",
            b"\r\n ",
            b"= ",
        ),
        *(
            b"a@",
            b"<a@b>",
            b"[",
            b"1 ",
            b"+",
            b"begin 644 a\n",
            b"AAAA=",
            b"A A",
            b"a ",
            b"Re: ",
            b":",
            b"-",
            b"\t\n",
        ),
    ],
)
@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"To: ",
        b"Subject: ",
        b"Date: ",
        b"References: ",
        b"Content-Type: ",
        b"Content-Type: multipart/mixed; boundary=b\n\n",
        b"Content-Type: text/html\n\n",
        b"Content-Type: text/plain\nContent-Transfer-Encoding: base64\n\n",
        b"Content-Type: text/plain\nContent-Transfer-Encoding: quoted-printable\n\n",
        b"Content-Type: message/delivery-status\n\n",
        b"Content-Type: text/calendar\n\n",
    ],
)
def test_bounded_work_on_hostile_repetition(head: bytes, unit: bytes) -> None:
    # Quadratic reading would take minutes here, and the suite would not end.
    mime = head + unit * (SIZE // len(unit))
    assert plain_text(normalise(mime)) is not None
