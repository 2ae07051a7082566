"""Headers as they are sent: literal bytes in, fields of the record out."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.mime import Address, Record, identity_from_headers, normalise
from pipelines.mime.dates import parse_date
from pipelines.mime.fields import read_block
from tests.mime.regenerated import Mail, Style, generate, mails, styles


def header(line: bytes) -> Record:
    return normalise(line + b"\r\n\r\n")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"plain words", "plain words"),
        (b"=?utf-8?B?5pel5pys?= =?utf-8?Q?_=C3=A9?=", "日本 é"),
        (b"=?utf-8?B?5pc=?=\r\n =?utf-8?B?pQ==?=", "日"),  # cut inside a character
        (b"=?iso-8859-1?q?a?= =?utf-8?q?b?=", "ab"),
        (b"=?iso-8859-1?q?a?= and =?utf-8?q?b?=", "a and b"),
        (b"R=?UTF-8?B?ZTo=?=x", "Re:x"),  # glued to other text
        (b"=?UTF-8?B?w6k?=", "é"),  # padding left out
        (b"=?UTF-8?Q?what??=", "what?"),
        (b"=?utf-8*en?Q?language?=", "language"),
        (b"=?UTF-8?Q?never ends", "=?UTF-8?Q?never ends"),
        (b"=?x-nobody-knows?Q?caf=C3=A9?=", "café"),
        (b"=?iso-8859-1?Q?M\xc3\xbcller?=", "Müller"),
        (b"=?utf-8?Q?line=0D=0ABcc:_x?=", "line  Bcc: x"),
        (b"caf\xc3\xa9", "café"),
        (b"caf\xe9", "café"),
        (b"folded\r\n\tvalue", "folded\tvalue".replace("\t", " ")),
        (b"", ""),
    ],
)
def test_a_subject_is_decoded(value: bytes, expected: str) -> None:
    assert header(b"Subject: " + value).subject == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"kim@contoso.com", [("", "kim@contoso.com")]),
        (b'"Akers, Kim" <kim@contoso.com>, b@c', [("Akers, Kim", "kim@contoso.com"), ("", "b@c")]),
        (b"kim@contoso.com (Kim (the boss) Akers)", [("Kim (the boss) Akers", "kim@contoso.com")]),
        (b"=?utf-8?Q?Akers,_Kim?= <kim@contoso.com>", [("Akers, Kim", "kim@contoso.com")]),
        (b"=?utf-8?Q?Kim_=3Ckim=40contoso.com=3E?=", [("Kim", "kim@contoso.com")]),
        (b"Team: a@b.c, D <d@e.f>;, g@h.i", [("", "a@b.c"), ("D", "d@e.f"), ("", "g@h.i")]),
        (b"undisclosed-recipients:;", []),
        (b"a@b; c@d", [("", "a@b"), ("", "c@d")]),
        (b"<@relay,@other:kim@contoso.com>", [("", "kim@contoso.com")]),
        (b'"odd \\"name\\"" <a@b>', [('odd "name"', "a@b")]),
        (b'"john doe"@example.com', [("", '"john doe"@example.com')]),
        (b"Pete(A nice \\) chap) <pete(his account)@silly.test(his host)>", [("Pete", "pete@silly.test")]),
        (b"J\xc3\xb8ran <j\xc3\xb8ran@example.com>", [("Jøran", "jøran@example.com")]),
        (b"<>", [("", "")]),
        (b"root", [("", "root")]),
        (b"Mail Delivery System", [("Mail Delivery System", "")]),
        (b"<<a@b>>", [("", "a@b")]),
        (b"a@[IPv6:::1]", [("", "a@[IPv6:::1]")]),
        (b",,, a@b ,", [("", "a@b")]),
    ],
)
def test_addresses_are_read(value: bytes, expected: list[tuple[str, str]]) -> None:
    assert header(b"To: " + value).to == tuple(Address(name, address) for name, address in expected)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"Fri, 21 Nov 1997 09:55:06 -0600", datetime(1997, 11, 21, 15, 55, 6, tzinfo=UTC)),
        (b"21 Nov 97 09:55 GMT", datetime(1997, 11, 21, 9, 55, tzinfo=UTC)),
        (b"Fri, 21 Nov 1997 09:55:06 EST (Eastern)", datetime(1997, 11, 21, 14, 55, 6, tzinfo=UTC)),
        (b"Fri, 21 Nov 1997 09(comment):   55  :  06 -0600", datetime(1997, 11, 21, 15, 55, 6, tzinfo=UTC)),
        (b"Fri Nov 21 09:55:06 1997", datetime(1997, 11, 21, 9, 55, 6, tzinfo=UTC)),
        (b"Fri Nov 21 09:55:06 PST 1997", datetime(1997, 11, 21, 17, 55, 6, tzinfo=UTC)),
        (b"Friday, 21-Nov-97 09:55:06 GMT", datetime(1997, 11, 21, 9, 55, 6, tzinfo=UTC)),
        (b"1997-11-21T09:55:06+01:00", datetime(1997, 11, 21, 8, 55, 6, tzinfo=UTC)),
        (b"21 Nov 1997 9:55:06 PM +0000", datetime(1997, 11, 21, 21, 55, 6, tzinfo=UTC)),
        (b"31 Dec 2016 23:59:60 +0000", datetime(2016, 12, 31, 23, 59, 59, tzinfo=UTC)),
        (b"Fri, 21 Nov 1997 09:55:06 +05:30", datetime(1997, 11, 21, 4, 25, 6, tzinfo=UTC)),
    ],
)
def test_a_date_is_an_instant(value: bytes, expected: datetime) -> None:
    record = header(b"Date: " + value)
    assert record.sent_at == expected
    assert "date-invalid" not in record.defects


@given(
    st.integers(0, 32),
    st.sampled_from(["Jan", "Feb", "Sep", "Dec", "Foo"]),
    st.sampled_from([0, 1, 1900, 2000, 2024, 2025, 9999]),
    st.tuples(st.integers(0, 25), st.integers(0, 61), st.integers(0, 61)),
    st.sampled_from(
        ["+0000", "-0000", "+0530", "-1200", "+2359", "+2400", "+0160", "+9999", "+02001", "+0200é"]
    ),
)
def test_a_plain_date_and_one_with_odd_spaces_are_read_alike(
    day: int, month: str, year: int, clock: tuple[int, int, int], zone: str
) -> None:
    plain, odd = set[str](), set[str]()
    value = "{:02}:{:02}:{:02}".format(*clock)
    value = f"{day} {month} {year:04} {value} {zone}"
    assert parse_date(value, plain) == parse_date(value.replace(" ", "  "), odd)
    assert plain == odd


@pytest.mark.parametrize(
    "value",
    [b"yesterday", b"32 Jan 2020 00:00:00 +0000", b"31 Dec 9999 23:59:59 -1200", b"1 Jan 0000 00:00 Z"],
)
def test_a_date_that_is_none_is_a_defect(value: bytes) -> None:
    record = header(b"Date: " + value)
    assert record.sent_at is None
    assert "date-invalid" in record.defects


def test_an_unknown_zone_counts_as_utc_and_is_a_defect() -> None:
    record = header(b"Date: 1 Jan 2020 10:00:00 +9999")
    assert record.sent_at == datetime(2020, 1, 1, 10, tzinfo=UTC)
    assert "date-zone-unknown" in record.defects


def test_message_ids_lose_their_brackets_and_keep_their_case() -> None:
    record = normalise(
        b"Message-ID:\r\n <Abc@Example.COM> \r\nIn-Reply-To: your mail of Monday <b@x>\r\n"
        b"References: <a@x>\r\n <b@x><a@x>\r\n\r\n"
    )
    assert record.message_id == "Abc@Example.COM"
    assert record.in_reply_to == ("b@x",)
    assert record.references == ("a@x", "b@x")
    assert record.thread_id == "a@x"


def test_a_thread_is_named_by_the_oldest_message_known() -> None:
    assert normalise(b"Message-ID: <own@x>\nIn-Reply-To: <parent@x>\n\n").thread_id == "parent@x"
    assert normalise(b"Message-ID: <own@x>\n\n").thread_id == "own@x"
    orphan = normalise(b"Subject: x\n\n")
    assert orphan.thread_id == orphan.message_key


def test_list_reply_and_authentication_headers_are_read() -> None:
    record = normalise(
        b"List-Id: Our users <users.example.org>\r\nAuto-Submitted: Auto-Replied; owner=x\r\n"
        b"Authentication-Results: mx.example;\r\n spf=pass\r\nAuthentication-Results: other; dkim=none\r\n"
        b"Reply-To: r@x\r\nSender: s@x\r\nBcc: b@x\r\nCc: c@x\r\nCc: d@x\r\n\r\n"
    )
    assert record.list_id == "users.example.org"
    assert record.auto_submitted == "auto-replied"
    assert record.authentication_results == ("mx.example; spf=pass", "other; dkim=none")
    assert [one.address for one in record.reply_to + record.sender + record.bcc] == ["r@x", "s@x", "b@x"]
    assert [one.address for one in record.cc] == ["c@x", "d@x"]


@pytest.mark.parametrize("line_end", [b"\r\n", b"\n", b"\r"])
def test_every_line_end_is_read(line_end: bytes) -> None:
    record = normalise(line_end.join([b"From: a@b", b"Subject: one", b" two", b"", b"first", b"second", b""]))
    assert (record.subject, record.text) == ("one two", "first\nsecond\n")
    assert record.from_ == (Address("", "a@b"),)


def test_bytes_are_kept_of_the_header_block() -> None:
    block = b"X-Odd:  spaces \r\nSubject: a\r\n b\r\n"
    assert normalise(block + b"\r\nbody").headers == block


def test_an_mbox_line_before_the_headers_is_skipped_and_noted() -> None:
    record = normalise(b"From kim@x Mon Sep  1 10:00:00 2025\nSubject: s\n\nbody\n")
    assert (record.subject, record.text, record.headers) == ("s", "body\n", b"Subject: s\n")
    assert "mbox-from-line" in record.defects


@pytest.mark.parametrize("block", [b"From : kim@x\nSubject\t: s\n", b"Subject: s\nFrom \t: kim@x\n"])
def test_a_name_may_have_white_space_before_its_colon(block: bytes) -> None:
    record = normalise(block + b"\nbody\n")
    assert (record.from_, record.subject, record.headers) == ((Address("", "kim@x"),), "s", block)
    assert "mbox-from-line" not in record.defects


@given(mails, styles)
def test_a_block_with_something_odd_is_read_as_one_without(mail: Mail, style: Style) -> None:
    mime = generate(mail, style)
    plain, odd = set[str](), set[str]()
    line = b"X-Odd : 1" + style.line_end
    assert read_block(mime, 0, len(mime), plain).fields == read_block(line + mime, 0, len(mime), odd).fields
    assert plain == odd == set()


def test_only_whole_names_are_fields_and_only_in_the_head() -> None:
    record = normalise(b"X-Subject: x\nSubjects: x\nSUBJECT:a\n\tb\nX-1: x\n Subject: x\n\nSubject: x\n")
    assert (record.subject, record.text) == ("a b", "Subject: x\n")
    assert "header-repeated" not in record.defects


def test_a_block_may_begin_with_a_folded_line() -> None:
    record = normalise(b" left over\nSubject: s\n\nbody\n")
    assert (record.subject, record.text) == ("s", "body\n")
    assert "header-junk" in record.defects


def test_junk_between_headers_is_skipped_and_noted() -> None:
    record = normalise(b"From: a@b\nthis is no header\nSubject: s\n\nbody\n")
    assert (record.subject, record.text) == ("s", "body\n")
    assert "header-junk" in record.defects


def test_a_body_without_an_empty_line_before_it_is_found() -> None:
    record = normalise(b"From: a@b\nSubject: s\nDear Kim,\nnote this: it works\n")
    assert (record.subject, record.text) == ("s", "Dear Kim,\nnote this: it works\n")
    assert "header-end-missing" in record.defects


def test_the_first_of_a_repeated_header_counts_and_is_noted() -> None:
    record = normalise(b"Subject: one\nSubject: two\n\n")
    assert record.subject == "one"
    assert "header-repeated" in record.defects


def test_what_is_missing_is_named() -> None:
    assert {"message-id-missing", "date-missing", "from-missing"} <= set(normalise(b"").defects)


def test_the_identity_of_a_listing_is_that_of_the_message() -> None:
    block = (
        b"Message-ID: <1@x>\r\nSubject: =?utf-8?q?caf=C3=A9?=\r\nDate: Mon, 1 Sep 2025 10:00:00 +0200\r\n"
        b"From: Kim <Kim@Contoso.com>\r\n\r\n"
    )
    identity = identity_from_headers(block)
    record = normalise(block + b"body")
    assert identity.message_id == "1@x"
    assert identity.sent_at == datetime(2025, 9, 1, 8, tzinfo=UTC)
    assert (identity.sender, identity.subject) == ("kim@contoso.com", "café")
    assert identity.header_key is not None
    assert identity.header_key == record.header_key


@pytest.mark.parametrize(
    "block", [b"", b"\r\n", b"Subject: s\r\nFrom: a@b\r\n\r\n", b"Message-ID: <1@x>\r\n\r\n"]
)
def test_two_that_differ_are_not_matched_by_too_little(block: bytes) -> None:
    assert identity_from_headers(block).header_key is None
