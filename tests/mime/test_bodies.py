"""Bodies and attachments: literal bytes in, fields of the record out."""

import base64
import hashlib

import pytest

from pipelines.mime import Record, normalise, plain_text


def body(content: bytes, *headers: bytes) -> Record:
    return normalise(b"".join(one + b"\r\n" for one in headers) + b"\r\n" + content)


def multipart(subtype: bytes, *parts: bytes, end: bytes = b"--b--\r\n") -> bytes:
    inside = b"".join(b"--b\r\n" + part + b"\r\n" for part in parts)
    return b'Content-Type: multipart/%s; boundary="b"\r\n\r\npreamble\r\n%s%sepilogue' % (
        subtype,
        inside,
        end,
    )


PLAIN = b"Content-Type: text/plain\r\n\r\nwords"
HTML = b"Content-Type: text/html\r\n\r\n<p>words</p>"
PDF = (
    b'Content-Type: application/pdf; name="a.pdf"\r\nContent-Disposition: attachment\r\n'
    b"Content-Transfer-Encoding: base64\r\n\r\nJVBERi0="
)


@pytest.mark.parametrize(
    ("encoding", "content", "expected", "defect"),
    [
        (b"7bit", b"as it is =41", "as it is =41", None),
        (b"quoted-printable", b"caf=C3=A9 =\r\nau lait", "café au lait", None),
        (b"quoted-printable", b"soft =  \r\nbreak", "soft break", None),
        (b"quoted-printable", b"50=% off", "50=% off", "quoted-printable-broken"),
        (b"quoted-printable", b"a=\rb\rc", "ab\nc", None),
        (b"base64", b"d29y\r\nZHM=\r\n", "words", None),
        (b"BASE64 (comment)", b"d29yZHM=", "words", None),
        (b"base64", b"d29yZHM", "words", "base64-truncated"),
        (b"base64", b"d29!yZH*M=", "words", "base64-broken"),
        (b"base64", b"d29y\r\nZHMh\r\n______\r\nlist mailing list\r\n", "words!", "base64-trailing-text"),
        (b"base64", b"d29yZA==\r\ncw==\r\n", "words", "base64-broken"),
        (b"x-uuencode", b"begin 644 a\r\n%=V]R9',\r\n`\r\nend\r\n", "words", None),
        (b"x-uuencode", b"no beginning", "no beginning", "uuencode-broken"),
        (b"x-nobody-knows", b"words", "words", "transfer-encoding-unknown"),
    ],
)
def test_transfer_encodings_are_undone(
    encoding: bytes, content: bytes, expected: str, defect: str | None
) -> None:
    record = body(
        content, b"Content-Type: text/plain; charset=utf-8", b"Content-Transfer-Encoding: " + encoding
    )
    assert record.text == expected
    assert defect is None or defect in record.defects
    assert defect is not None or not [one for one in record.defects if not one.endswith("-missing")]


@pytest.mark.parametrize(
    ("charset", "content", "expected", "defect"),
    [
        (b"utf-8", "日本".encode(), "日本", None),
        (b'"ISO-8859-1"', b"\x93caf\xe9\x94", "“café”", None),
        (b"us-ascii", b"caf\xc3\xa9", "café", "charset-missing"),
        (b"us-ascii", b"caf\xe9", "café", "charset-missing"),
        (b"iso-2022-jp", "日本".encode("iso-2022-jp"), "日本", None),
        (b"gb2312", "囍".encode("gb18030"), "囍", None),
        (b"ks_c_5601-1987", "한국".encode("cp949"), "한국", None),
        (b"unicode-1-1-utf-7", b"caf+AOk-", "café", None),
        (b"utf-7", b"half +2D0-", "half \ufffd", None),
        (b"utf-16", "words".encode("utf-16"), "words", None),
        (b"x-nobody-knows", "日本".encode(), "日本", "charset-unknown"),
        (b"unicode_escape", b"\\u0041", "\\u0041", "charset-unknown"),
        (b"utf-8", b"mostly \xc3\xa9\xc3\xa9\xc3\xa9 \xff", "mostly ééé \ufffd", "charset-wrong"),
        (b"utf-8", b"caf\xe9", "café", "charset-wrong"),
        (b"utf-8", b"a\x00b", "a\ufffdb", "nul"),
    ],
)
def test_charsets_are_read(charset: bytes, content: bytes, expected: str, defect: str | None) -> None:
    record = body(content, b"Content-Type: text/plain; charset=" + charset)
    assert record.text == expected
    assert (defect in record.defects) if defect else not [one for one in record.defects if "charset" in one]


def test_html_may_name_its_charset_itself() -> None:
    page = b'<meta http-equiv="Content-Type" content="text/html; charset=koi8-r">' + "да".encode("koi8-r")
    assert (body(page, b"Content-Type: text/html").html or "").endswith("да")


def test_text_and_html_are_told_apart_and_the_rest_is_attached() -> None:
    alternative = multipart(b"alternative", PLAIN, HTML).replace(b'"b"', b'"c"').replace(b"--b", b"--c")
    record = normalise(multipart(b"mixed", alternative, PDF))
    assert (record.text, record.html) == ("words", "<p>words</p>")
    (pdf,) = record.attachments
    assert (pdf.name, pdf.media_type, pdf.size, pdf.inline) == ("a.pdf", "application/pdf", 5, False)
    assert pdf.sha256 == hashlib.sha256(b"%PDF-").hexdigest()


def test_inline_texts_side_by_side_are_one_body() -> None:
    footer = b"Content-Type: text/plain\r\n\r\nfooter"
    assert normalise(multipart(b"mixed", PLAIN, footer)).text == "words\nfooter\n"


def test_an_alternative_is_not_said_twice() -> None:
    record = normalise(multipart(b"alternative", PLAIN, PLAIN, HTML))
    assert record.text == "words"
    assert [one.media_type for one in record.attachments] == ["text/plain"]


def test_a_named_text_beside_the_body_is_an_attachment() -> None:
    note = b'Content-Type: text/plain; name="n.txt"\r\nContent-Disposition: inline\r\n\r\nnote'
    record = normalise(multipart(b"mixed", PLAIN, note))
    assert record.text == "words"
    assert [(one.name, one.inline) for one in record.attachments] == [("n.txt", True)]


def test_a_picture_in_html_is_inline_with_its_content_id() -> None:
    picture = b"Content-Type: image/png\r\nContent-ID: <logo@x>\r\n\r\nPNG"
    (found,) = normalise(multipart(b"related", HTML, picture)).attachments
    assert (found.inline, found.content_id) == (True, "logo@x")


@pytest.mark.parametrize(
    ("parameter", "expected"),
    [
        (b'filename="a b.txt"', "a b.txt"),
        (b"filename=plain.txt", "plain.txt"),
        (b"filename*=UTF-8''na%C3%AFve.txt", "naïve.txt"),
        (b"filename*0*=utf-8'en'%E6%97; filename*1*=%A5; filename*2=.txt", "日.txt"),
        (b"filename*1=b.txt; filename*0=a", "ab.txt"),
        (b'filename="=?utf-8?B?5pel?=.txt"', "日.txt"),
        (b'filename="caf\xc3\xa9.txt"', "café.txt"),
        (b'filename="quote\\"d.txt"', 'quote"d.txt'),
        (b'filename="never closed.txt', "never closed.txt"),
        (b"filename*=x-nobody-knows''a%20b", "a b"),
    ],
)
def test_file_names_are_decoded(parameter: bytes, expected: str) -> None:
    part = b"Content-Disposition: attachment; " + parameter + b"\r\n\r\nx"
    assert [one.name for one in normalise(multipart(b"mixed", part)).attachments] == [expected]


def test_nothing_lost_without_the_last_boundary() -> None:
    record = normalise(multipart(b"mixed", PLAIN, PDF, end=b"").removesuffix(b"epilogue"))
    assert record.text == "words"
    assert record.attachments[0].sha256 == hashlib.sha256(b"%PDF-").hexdigest()
    assert "boundary-not-closed" in record.defects


@pytest.mark.parametrize("boundary", [b'; boundary="other"', b"", b"; boundary="])
def test_nothing_lost_where_the_boundary_is_wrong_or_missing(boundary: bytes) -> None:
    record = normalise(multipart(b"mixed", PLAIN, PDF).replace(b'; boundary="b"', boundary))
    assert record.text == "words"
    assert [one.name for one in record.attachments] == ["a.pdf"]
    assert {"boundary-not-found", "boundary-missing"} & set(record.defects)


def test_nothing_lost_where_no_boundary_is_to_be_found() -> None:
    record = body(b"just words\r\n", b"Content-Type: multipart/mixed; boundary=x")
    assert record.text == "just words\n"
    assert "boundary-not-found" in record.defects


def test_nothing_lost_where_parts_follow_the_last_boundary() -> None:
    whole = multipart(b"mixed", PLAIN)
    record = normalise(whole + b"\r\n" + multipart(b"mixed", PDF).partition(b"preamble\r\n")[2])
    assert record.text == "words\nepilogue\n"
    assert [each.media_type for each in record.attachments] == ["application/pdf"]
    assert "boundary-closed-early" in record.defects


def test_nothing_lost_where_a_multipart_has_the_boundary_of_the_one_it_lies_in() -> None:
    inner = multipart(b"alternative", PLAIN, HTML).replace(b"preamble", b"").replace(b"epilogue", b"")
    record = normalise(multipart(b"mixed", inner, PDF))
    assert (record.text, record.html) == (normalise(inner).text, normalise(inner).html)
    assert "application/pdf" in {each.media_type for each in record.attachments}


def test_nothing_lost_where_a_multipart_has_no_part() -> None:
    record = normalise(b"Content-Type: multipart/mixed; boundary=b\r\n\r\nwords\r\n--b--\r\n")
    assert (record.text or "").startswith("words")
    assert "boundary-not-found" in record.defects


def test_a_boundary_that_begins_with_another_is_not_the_other() -> None:
    mime = (
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
        b"--b\r\nContent-Type: multipart/mixed; boundary=bb\r\n\r\n"
        b"--bb\r\n\r\none\r\n--bb\r\n\r\ntwo\r\n--bb--\r\n--b\r\n\r\nthree\r\n--b--\r\n"
    )
    assert normalise(mime).text == "one\ntwo\nthree\n"


def test_an_attached_message_stays_one_attachment() -> None:
    attached = b"Content-Type: message/rfc822\r\n\r\nSubject: inner\r\n\r\ninner words"
    record = normalise(multipart(b"mixed", PLAIN, attached))
    assert record.text == "words"
    assert [one.media_type for one in record.attachments] == ["message/rfc822"]


def test_the_parts_of_a_digest_are_messages() -> None:
    record = normalise(multipart(b"digest", b"\r\nSubject: one\r\n\r\n1", b"\r\nSubject: two\r\n\r\n2"))
    assert [one.media_type for one in record.attachments] == ["message/rfc822", "message/rfc822"]


def test_winmail_dat_stays_an_attachment() -> None:
    tnef = b"Content-Type: application/ms-tnef; name=winmail.dat\r\n\r\nTNEF"
    assert [one.name for one in normalise(multipart(b"mixed", PLAIN, tnef)).attachments] == ["winmail.dat"]


def test_nesting_without_end_is_kept_and_noted() -> None:
    mime = b"".join(
        b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n) for n in range(2000)
    )
    record = normalise(mime + b"\r\nwords")
    assert "nested-too-deep" in record.defects
    assert sum(one.size for one in record.attachments) > 1000


def test_messages_in_messages_without_end_are_kept_and_noted() -> None:
    record = normalise(b"Content-Type: message/rfc822\r\n\r\n" * 3000 + b"words")
    assert "nested-too-deep" in record.defects
    assert len(record.attachments) == 1


def test_size_and_digest_are_of_the_bytes_as_delivered() -> None:
    mime = b"Subject: s\n\nbody"
    record = normalise(mime)
    assert (record.size, record.raw_sha256) == (len(mime), hashlib.sha256(mime).hexdigest())


def test_search_sees_text_else_the_words_of_the_html() -> None:
    markup = b"<style>p{}</style><p>H<b>el</b>lo&nbsp;<!-- no -->you &amp; me</p><script>x</script>"
    assert plain_text(body(markup, b"Content-Type: text/html")) == "Hello you & me"
    assert plain_text(normalise(multipart(b"alternative", PLAIN, HTML))) == "words"


def test_search_sees_the_html_beside_a_mere_footer() -> None:
    page = b"Content-Type: text/html\r\n\r\n<p>" + b"contract " * 20 + b"</p>"
    assert plain_text(normalise(multipart(b"mixed", page, PLAIN))).startswith("words\ncontract contract")


def test_search_sees_the_text_alone_where_it_says_as_much() -> None:
    page = b"Content-Type: text/html\r\n\r\n<b>" + b"x" * 13
    for text, shown in ((b"w" * 8, "w" * 8), (b"w" * 7, "w" * 7), (b"w" * 6, f"{'w' * 6}\n{'x' * 13}")):
        assert plain_text(normalise(multipart(b"alternative", b"\r\n" + text, page))) == shown


def test_large_base64_is_exact() -> None:
    content = bytes(range(256)) * 400
    part = b"Content-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\n" + base64.encodebytes(
        content
    )
    (found,) = normalise(multipart(b"mixed", part)).attachments
    assert found.sha256 == hashlib.sha256(content).hexdigest()
