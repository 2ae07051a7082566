"""Bounces, meetings and placeholders."""

import pytest

from pipelines.mime import BounceRecipient, Meeting, is_placeholder, normalise

REPORT = b"""From: <MAILER-DAEMON@contoso.com>
Content-Type: multipart/report; report-type=delivery-status; boundary=b

--b

Your mail was not delivered.
--b
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.contoso.com

Final-Recipient: rfc822; <nobody@fabrikam.com>
Action: Failed
Status: 5.1.1 (bad destination)
Diagnostic-Code: smtp; 550 5.1.1
 user unknown

Original-Recipient: rfc822;late@fabrikam.com
Action: delayed
Status: 4.4.7

--b
Content-Type: text/rfc822-headers

Subject: returned
--b--
"""


def test_each_recipient_of_a_bounce_is_read() -> None:
    record = normalise(REPORT)
    assert record.bounce == (
        BounceRecipient("nobody@fabrikam.com", "failed", "5.1.1", "550 5.1.1 user unknown"),
        BounceRecipient("late@fabrikam.com", "delayed", "4.4.7", ""),
    )
    assert record.text == "Your mail was not delivered."
    assert [one.media_type for one in record.attachments] == [
        "message/delivery-status",
        "text/rfc822-headers",
    ]


def test_a_meeting_is_read_from_its_calendar() -> None:
    mime = b"""Content-Type: multipart/alternative; boundary=b

--b
Content-Type: text/plain

Please come.
--b
Content-Type: text/calendar; charset=utf-8; method=REQUEST

BEGIN:VCALENDAR
METHOD:request
BEGIN:VTIMEZONE
UID:not-this-one
END:VTIMEZONE
BEGIN:VEVENT
SUMMARY;LANGUAGE=de:Besprechung\\, sehr
  lang\\nzwei
UID:040000008200E00
END:VEVENT
END:VCALENDAR
--b--
"""
    record = normalise(mime)
    assert record.meeting == Meeting("REQUEST", "040000008200E00", "Besprechung, sehr lang\nzwei")
    assert record.text == "Please come."


def test_the_method_of_a_calendar_may_stand_in_its_header_only() -> None:
    mime = b"Content-Type: text/calendar; method=cancel\n\nBEGIN:VEVENT\nUID:1\nEND:VEVENT\n"
    assert normalise(mime).meeting == Meeting("CANCEL", "1", "")


PLACEHOLDER = (
    b"From: Microsoft Exchange Server 2010\r\n"
    b"Subject: Retrieval using the IMAP4 protocol failed for the following message: 42\r\n\r\n"
    b'The server couldn\'t retrieve the following message:\r\n\r\nSubject: "Lunch"\r\n'
)


@pytest.mark.parametrize(
    "mime",
    [
        PLACEHOLDER,
        PLACEHOLDER.replace(b"IMAP4", b"POP3"),
        PLACEHOLDER.replace(b"Server 2010", b"Server"),
        PLACEHOLDER.replace(b"Microsoft Exchange Server 2010", b"someone@contoso.com"),
    ],
)
def test_a_placeholder_is_recognised(mime: bytes) -> None:
    assert is_placeholder(normalise(mime))


@pytest.mark.parametrize(
    "mime",
    [
        b"",
        PLACEHOLDER.replace(b"Subject: Retrieval", b"Subject: FW: Retrieval"),
        PLACEHOLDER.replace(b"Microsoft Exchange Server 2010", b"kim@contoso.com").replace(
            b"couldn't", b"did not"
        ),
    ],
)
def test_nothing_lost_to_what_only_speaks_of_placeholders(mime: bytes) -> None:
    assert not is_placeholder(normalise(mime))
