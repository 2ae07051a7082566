"""MIME as Exchange generates it for Graph: from what the message means, not from how it came in.

The store of Exchange keeps a message's text, HTML, attachments and transport headers; boundaries,
order and folding of headers, charsets, transfer encodings and the nesting of multiparts are its
own, the same each time. What is signed or encrypted keeps its body, and so does mail that cannot
be taken apart without losing something. Source: Microsoft, "Get MIME content of a message"
(samples), MS-OXCMAIL (generating MIME), MS-OXOSMIME.
"""

import binascii
import re
from collections.abc import Iterable, Sequence
from hashlib import sha256
from urllib.parse import quote

import pybase64

from pipelines.mime.charsets import decode
from pipelines.mime.fields import unfold
from pipelines.mime.key import MESSAGE_TYPES, REPORT_TYPES
from pipelines.mime.params import parse_value
from pipelines.mime.parts import Part
from pipelines.mime.reports import calendar_lines
from pipelines.sandbox.graph_mime_headers import (
    CRLF,
    Field,
    encoded,
    folded,
    is_entity_field,
    message_header,
    quoted,
    read_fields,
)
from pipelines.sandbox.graph_parts import Opened, is_file, is_inline, open_message

_DEEPEST = 12
"""Messages in messages that are generated anew."""
_LOSING = frozenset(
    {"base64-broken", "base64-truncated", "base64-trailing-text", "uuencode-broken", "nested-too-deep"}
)
"""Defects of a body whose reading is not all that there is in it."""
_SEALED = frozenset({"signed", "encrypted"})
_SEALED_TYPES = frozenset({"application/pkcs7-mime", "application/x-pkcs7-mime"})
_NOT_IN_BOUNDARY = re.compile(rb"[^A-Za-z0-9_-]")
_BLANK_LINE = re.compile(rb"\n[ \t]+\r?\n")
_CALENDAR_WIDTH = 75
_ASCII = bytes(range(128))
_TOKEN = re.compile(r"[\w!#$%&'*+.^`{|}~-]+", re.ASCII)


def regenerate(mime: bytes, depth: int = 0) -> bytes:
    """Another MIME text of the same message; the same bytes for the same message. Never raises."""
    opened = open_message(mime)
    if "header-end-missing" in opened.defects:
        return mime[: opened.block.end] + CRLF + mime[opened.block.body :]
    if "header-junk" in opened.defects or depth > _DEEPEST:
        return mime
    fields = read_fields(mime[opened.block.start : opened.block.end])
    header = message_header(fields)
    if _keeps_body(opened):
        kept = b"".join(folded(name, value) for name, value in fields if is_entity_field((name, value)))
        return header + kept + CRLF + mime[opened.block.body :]
    entity = _Writer(_seed(fields), depth).message(opened, fields)
    return header + b"MIME-Version: 1.0" + CRLF + entity


def _keeps_body(opened: Opened) -> bool:
    """Whether the body goes out as it came in."""
    sealed = any(not each.parent and each.media_type in _SEALED_TYPES for each in opened.attached)
    return bool(sealed or opened.unreadable or opened.nesting & _SEALED or opened.defects & _LOSING)


def _seed(fields: list[Field]) -> bytes:
    """What the boundaries are made of: the Message-ID, as Exchange does."""
    named = next((value for name, value in fields if name.lower() == b"message-id"), b"")
    seed = _NOT_IN_BOUNDARY.sub(b"", named.strip(b"<>"))[:40]
    return seed or sha256(b"".join(value for _, value in fields)).hexdigest()[:32].encode()


class _Writer:
    """Writes the entities of one message."""

    def __init__(self, seed: bytes, depth: int) -> None:
        self._seed, self._depth = seed, depth

    def message(self, opened: Opened, fields: list[Field]) -> bytes:
        """The whole body: text and HTML, what is shown in them, and files beside them."""
        bodies = [
            _text(text, kind)
            for text, kind in ((opened.text, "plain"), (opened.html, "html"))
            if text is not None
        ]
        bodies += [_calendar(each) for each in opened.attached if not is_file(each)]
        core = bodies[:1] if len(bodies) == 1 else [self._multipart(b"alternative", bodies)] if bodies else []
        if "report" in opened.nesting:
            return self._report(core, opened.attached, fields)
        shown = [each for each in opened.attached if opened.html and _is_shown(each)]
        if shown and core:
            core = [self._multipart(b"related", [*core, *map(self._attachment, shown)])]
        beside = [each for each in opened.attached if is_file(each) and not (core and each in shown)]
        if not beside and len(core) == 1:
            return core[0]
        return self._multipart(b"mixed", [*core, *map(self._attachment, beside)])

    def _report(self, core: Sequence[bytes], attached: Iterable[Part], fields: list[Field]) -> bytes:
        kind = next((value for name, value in fields if name.lower() == b"content-type"), b"")
        named = parse_value(kind).parameters.get("report-type", "")
        more = f"; report-type={named}".encode("ascii", "ignore") if _TOKEN.fullmatch(named) else b""
        rest = [self._attachment(each) for each in attached if is_file(each)]
        return self._multipart(b"report", [*core, *rest], more)

    def _multipart(self, subtype: bytes, parts: Sequence[bytes], more: bytes = b"") -> bytes:
        whole = b"".join(parts)
        number = len(parts)
        boundary = b"_%03d_%d%s_" % (number, self._depth, self._seed)
        while b"--" + boundary in whole:
            number += 1
            boundary = b"_%03d_%d%s_" % (number, self._depth, self._seed)
        inside = b"".join(b"--" + boundary + CRLF + part + CRLF for part in parts)
        head = b"Content-Type: multipart/" + subtype + more + b";\r\n\tboundary=" + b'"' + boundary + b'"'
        return head + CRLF + CRLF + inside + b"--" + boundary + b"--" + CRLF

    def _attachment(self, part: Part) -> bytes:
        if part.media_type in MESSAGE_TYPES:
            return _entity(_file_head(part), regenerate(part.content, self._depth + 1), b"")
        if part.media_type in REPORT_TYPES:
            return _entity(_file_head(part), _refolded(part.content), b"")
        if part.media_type.startswith("message/"):
            return _entity(_file_head(part), part.content, b"")
        return _entity(_file_head(part), _base64(part.content), b"base64")


def _is_shown(part: Part) -> bool:
    return (
        is_inline(part)
        and part.content_id is not None
        and not part.media_type.startswith(("text/", "message/"))
    )


def _entity(head: bytes, content: bytes, encoding: bytes) -> bytes:
    if not encoding and not content.isascii():
        encoding = b"8bit"
    told = b"Content-Transfer-Encoding: " + encoding + CRLF if encoding else b""
    return head + told + CRLF + content


def _text(text: str, subtype: str) -> bytes:
    content = text.encode("utf-8", "replace")
    charset = b"us-ascii" if content.isascii() else b"utf-8"
    head = b"Content-Type: text/" + subtype.encode() + b'; charset="' + charset + b'"' + CRLF
    if 6 * len(content.translate(None, _ASCII)) > len(content):
        return _entity(head, _base64(content.replace(b"\n", CRLF)), b"base64")
    return _entity(head, _quoted_printable(content), b"quoted-printable")


def _quoted_printable(content: bytes) -> bytes:
    return binascii.b2a_qp(content).replace(b"\n", CRLF)


def _base64(content: bytes) -> bytes:
    return pybase64.encodebytes(content).replace(b"\n", CRLF)


def _calendar(part: Part) -> bytes:
    """A meeting, its lines folded anew (RFC 5545 §3.1)."""
    text = decode(part.content, part.parameters.get("charset"), set())
    lines = []
    for line in calendar_lines(text):
        rest = line.encode("utf-8", "replace")
        while len(rest) > _CALENDAR_WIDTH:
            end = _CALENDAR_WIDTH
            while rest[end] & 0xC0 == 0x80:
                end -= 1
            lines.append(rest[:end])
            rest = b" " + rest[end:]
        lines.append(rest)
    method = part.parameters.get("method", "")
    more = f"; method={method}".encode() if _TOKEN.fullmatch(method) else b""
    head = b'Content-Type: text/calendar; charset="utf-8"' + more + CRLF
    return _entity(head, _base64(CRLF.join([*lines, b""])), b"base64")


def _refolded(content: bytes) -> bytes:
    """The fields of a report folded anew, where that cannot blur its groups."""
    if _BLANK_LINE.search(content):
        return content
    lines = []
    for line in unfold(content):
        name, colon, value = line.partition(b":")
        lines.append(folded(name, value.strip()).removesuffix(CRLF) if colon and value.strip() else line)
    return CRLF.join(lines)


def _file_head(part: Part) -> bytes:
    """Content-Type, -Disposition and -ID of an attachment."""
    kind, name = part.media_type.encode("ascii", "replace"), part.name
    for parameter, value in part.parameters.items():
        if parameter not in ("name", "boundary") and _TOKEN.fullmatch(parameter):
            kind += b"; " + parameter.encode() + b"=" + quoted(value)
    if name:
        kind += b"; name=" + quoted(name)
    head = folded(b"Content-Type", kind)
    if part.parent != "report" or part.disposition or name:
        shown = b"inline" if is_inline(part) and not part.media_type.startswith("text/") else b"attachment"
        head += folded(b"Content-Disposition", shown + _filename(name))
    if part.content_id:
        head += folded(b"Content-ID", b"<" + encoded(part.content_id) + b">")
    return head


def _filename(name: str | None) -> bytes:
    if not name:
        return b""
    if name.isascii() and name.isprintable() and "=?" not in name:
        return b"; filename=" + quoted(name)
    return b"; filename*=utf-8''" + quote(name, safe="").encode()
