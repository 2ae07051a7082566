"""A message as a model, and the many MIME texts that a server may generate for it."""

import base64
import quopri
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from email.header import Header
from email.utils import format_datetime

from hypothesis import strategies as st

LETTERS = "abz,.;:?=_-<>&\"'()@ éßñ€ÅŽ日本語Жאب\u00a0\u2003😀"
words = st.text(st.sampled_from(LETTERS), max_size=30)
texts = st.lists(words, max_size=6).map("\n".join)


@dataclass(frozen=True)
class Mail:
    message_id: str
    subject: str
    sender: str
    sent_at: datetime
    text: str
    link: str
    attachments: tuple[bytes, ...]


@dataclass(frozen=True)
class Style:
    """Everything about a MIME text that carries no meaning."""

    line_end: bytes = b"\r\n"
    order: tuple[int, ...] = (0, 1, 2, 3, 4)
    boundary: str = "b"
    encoding: str = "base64"
    charset: str = "utf-8"
    offset: int = 0
    fold: int = 60
    trailing: str = ""
    extra: bytes = b"X-Other: 1"
    attachments_reversed: bool = False


mails = st.builds(
    Mail,
    message_id=st.integers(0, 10**9).map(lambda number: f"{number}.x@contoso.com"),
    subject=words,
    sender=st.sampled_from(["kim@contoso.com", "Lee@fabrikam.com"]),
    sent_at=st.integers(86_400, 4 * 10**9).map(lambda seconds: datetime.fromtimestamp(seconds, UTC)),
    text=texts,
    link=st.sampled_from(["https://contoso.com/?a=1&amp;b=2", "cid:logo@x"]),
    attachments=st.lists(st.binary(max_size=60).map(lambda content: b"\0" + content), max_size=3).map(tuple),
)
styles = st.builds(
    Style,
    line_end=st.sampled_from([b"\r\n", b"\n", b"\r"]),
    order=st.permutations(range(5)).map(tuple),
    boundary=st.text(st.sampled_from("abcXYZ019_'()+,./:?"), min_size=8, max_size=40),
    encoding=st.sampled_from(["base64", "quoted-printable", "8bit"]),
    charset=st.sampled_from(["utf-8", "windows-1252", "iso-8859-15", "gb18030", "utf-16", "koi8-r"]),
    offset=st.sampled_from([0, 120, -330, 345]),
    fold=st.integers(50, 200),
    trailing=st.sampled_from(["", " ", "\t "]),
    extra=st.sampled_from(
        [b"X-Other: 1", b"Received: from a\r\n by b", b"X-MS-Exchange-Organization-SCL: -1"]
    ),
    attachments_reversed=st.booleans(),
)


def generate(mail: Mail, style: Style) -> bytes:
    """``mail`` as MIME in the given style."""
    markup = mail.text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("\n", "<br>\n")
    page = f'<html><body>{markup} <a href="{mail.link}">link</a></body></html>'
    alternative = f"{style.boundary}=in"
    bodies = [_text_part(mail.text, "plain", style), _text_part(page, "html", style)]
    head = f'Content-Type: multipart/alternative; boundary="{alternative}"'.encode()
    parts = [_joined(head, alternative, bodies, style)]
    attached = reversed(mail.attachments) if style.attachments_reversed else mail.attachments
    parts += [_attachment(content, style) for content in attached]
    kind = f'Content-Type: multipart/mixed;\n boundary="{style.boundary}"'.encode().replace(
        b"\n", style.line_end
    )
    return _joined(style.line_end.join([*_headers(mail, style), kind]), style.boundary, parts, style)


def _headers(mail: Mail, style: Style) -> list[bytes]:
    charset = style.charset if _fits(mail.subject, style.charset) and style.charset != "utf-16" else "utf-8"
    subject = Header(mail.subject, charset, maxlinelen=style.fold, header_name="Subject").encode()
    zone = timezone(timedelta(minutes=style.offset))
    lines = [
        f"Message-ID: <{mail.message_id}>",
        f"Subject: {subject}",
        f"From: Somebody <{mail.sender}>",
        f"Date: {format_datetime(mail.sent_at.astimezone(zone))}",
        style.extra.decode(),
    ]
    return [_lines(lines[index].encode(), style) for index in style.order]


def _fits(text: str, charset: str) -> bool:
    try:
        text.encode(charset)
    except UnicodeEncodeError:
        return False
    return True


def _lines(content: bytes, style: Style) -> bytes:
    return content.replace(b"\r\n", b"\n").replace(b"\n", style.line_end)


def _joined(head: bytes, boundary: str, parts: list[bytes], style: Style) -> bytes:
    end = style.line_end
    inside = b"".join(b"--" + boundary.encode() + end + part + end for part in parts)
    return head + end + end + inside + b"--" + boundary.encode() + b"--" + end


def _text_part(text: str, subtype: str, style: Style) -> bytes:
    charset = style.charset if _fits(text, style.charset) else "utf-8"
    encoding = "base64" if charset == "utf-16" else style.encoding
    content = text.replace("\n", f"{style.trailing}\n").encode(charset)
    if encoding == "base64":
        content = base64.encodebytes(content)
    elif encoding == "quoted-printable":
        content = quopri.encodestring(content)
    head = (
        f"Content-Type: text/{subtype}; charset={charset}\nContent-Transfer-Encoding: {encoding}\n\n".encode()
    )
    return _lines(head + content, style)


def _attachment(content: bytes, style: Style) -> bytes:
    head = b'Content-Type: application/x-y\nContent-Disposition: attachment; filename="f"\n'
    encoded = base64.encodebytes(content)
    return _lines(head + b"Content-Transfer-Encoding: base64\n\n" + encoded, style)
