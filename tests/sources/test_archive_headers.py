"""What an archived message's headers tell: flags, times, and which of them are no content."""

import hashlib
from datetime import UTC, datetime

import pytest

from pipelines.sources.archive_headers import content_digest, flags_of, received_at

NOW = datetime(2026, 11, 24, tzinfo=UTC)
MARCH = datetime(2025, 3, 1, 9, tzinfo=UTC)
APRIL = datetime(2025, 4, 1, 9, tzinfo=UTC)
RECEIVED = (
    b"Received: from a by b (c; d)\r\n\tfor <kim@contoso.com>; Sat, 1 Mar 2025 10:00:00 +0100 (CET)\r\n"
)
OLDER = b"Received: from x by a; Sat, 1 Feb 2025 10:00:00 +0100\r\n"
SENT = b"Date: Tue, 1 Apr 2025 09:00:00 GMT\r\n"


@pytest.mark.parametrize(
    ("headers", "flags"),
    [
        (b"Status: RO\n", ("seen",)),
        (b"Status: O\n", ()),
        (b"Status: R\nX-Status: AF\n", ("seen", "answered", "flagged")),
        (b"X-Keywords: $Label1 Invoice       \n", ("$Label1", "Invoice")),
        (b"X-Status: DT\n", ("draft", "deleted")),
        (b"X-Mozilla-Status: 0007\nX-Mozilla-Status2: 00800000\n", ("seen", "answered", "flagged")),
        (b"X-Mozilla-Status: 0009\nX-Mozilla-Keys: $label2 seen\n", ("seen", "deleted", "$label2")),
        (b"X-Mozilla-Status: nothing\n", ()),
        (b"X-Spam-Status: R\nAuto-Status: R\n", ()),
        (b"Subject: One\n\nStatus: R\n", ()),
    ],
)  # fmt: skip
@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
def test_flags_stand_in_the_headers_of_mail_programs(
    headers: bytes, flags: tuple[str, ...], newline: bytes
) -> None:
    mime = headers + b"Subject: One\n\nText\n"
    assert flags_of(mime.replace(b"\n", newline)) == flags


def test_a_message_keeps_its_digest_when_it_is_read_and_flagged() -> None:
    mime = b"Subject: One\nTo: Kim\n\nStatus: R\n"
    assert content_digest(mime) == hashlib.sha256(mime).hexdigest()
    for state in (
        b"Status: RO\nX-Status: A\n",
        b"X-Keywords: Invoice\n\tof May\nX-UID: 12\nX-IMAPbase: 1 2\n",
        b"X-Mozilla-Status: 0001\nX-Mozilla-Status2: 00000000\nX-Mozilla-Keys: \n",
        b"Content-Length: 10\nLines: 1\n",
    ):
        assert content_digest(state + mime) == content_digest(mime)
        assert content_digest(mime.replace(b"To:", state + b"To:")) == content_digest(mime)
        assert content_digest(mime.replace(b"\n\n", b"\n" + state + b"\n", 1)) == content_digest(mime)


def test_anything_else_makes_another_digest() -> None:
    mime = b"Subject: One\nTo: Kim\n\nText\n"
    others = (
        mime.replace(b"One", b"Two"),
        mime.replace(b"Text", b"text"),
        mime.replace(b"\n", b"\r\n"),
        mime + b"\nStatus: R\n",
        b"X-Status-Report: R\n" + mime,
        b"",
        b"Status: R\n",
    )
    digests = {content_digest(each) for each in (mime, *others[:5])} | {content_digest(b"")}
    assert len(digests) == 7
    assert content_digest(b"Status: R\n") == content_digest(b"")


@pytest.mark.parametrize(
    ("headers", "dated", "received"),
    [
        (RECEIVED + OLDER + SENT, None, MARCH),
        (RECEIVED + OLDER + SENT, APRIL, MARCH),
        (RECEIVED.replace(b"\r\n", b"\n"), None, MARCH),
        (RECEIVED.replace(b"Received", b"RECEIVED"), None, MARCH),
        (SENT, MARCH, MARCH),
        (SENT, None, APRIL),
        (b"Received: by b; someday\r\n" + OLDER + SENT, None, APRIL),
        (RECEIVED.replace(b"2025", b"2077") + SENT, None, APRIL),
        (RECEIVED.replace(b"2025", b"1904") + SENT, None, APRIL),
        (SENT, datetime(1970, 1, 1, tzinfo=UTC), APRIL),
        (b"Date: Tue, 1 Apr 2525 09:00:00 GMT\r\n", None, None),
        (b"Subject: Received: x; Sat, 1 Mar 2025 10:00:00 +0100\r\n", None, None),
        (b"", None, None),
        (b"", MARCH, MARCH),
    ],
)
def test_the_last_server_tells_when_it_was_received_then_the_file_then_the_sender(
    headers: bytes, dated: datetime | None, received: datetime | None
) -> None:
    body = b"\r\nDate: Wed, 1 Jan 2025 09:00:00 GMT\r\n\r\nText\r\n"
    assert received_at(headers + body, dated, NOW) == received
