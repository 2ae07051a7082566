# mypy: disallow-untyped-calls=False
"""FETCH answers, written from the stored bytes (RFC 3501, 6.4.5 and 7.4.2).

Twisted reads the items asked for; its own answers are put together from parsed headers and
leave out partial fetches, so they are not used.
"""

from collections.abc import Iterator
from datetime import UTC
from email.utils import getaddresses
from typing import Any

from twisted.mail.imap4 import IllegalClientResponse

from pipelines.sandbox.mail_doors_mime import MONTHS, header_fields, header_value, read_header, read_in_chunks
from pipelines.sandbox.mail_doors_session import Tenancy
from pipelines.sandbox.store import Message

_FLAGS = {each: f"\\{each.title()}" for each in ("seen", "answered", "flagged", "deleted", "draft")}
FLAG_NAMES = {shown.lower(): flag for flag, shown in _FLAGS.items()}
"""The store's words for IMAP's flags, both in lower case."""
_SEPARATE = 1 << 16
"""Bytes from which on a message is sent in chunks."""
_LATE = ("uid", "rfc822", "rfc822text", "rfc822header", "body")


def shown_flags(message: Message) -> bytes:
    """The flags as IMAP spells them; keywords are not kept."""
    return " ".join(_FLAGS[each] for each in sorted(message.flags) if each in _FLAGS).encode()


def asks_content(items: list[Any]) -> bool:
    """Whether the message's body is asked for, and not only what is known about it."""
    return any(
        each.type in ("rfc822", "rfc822text") or (each.type == "body" and (each.empty or each.text))
        for each in items
    )


def marks_seen(items: list[Any]) -> bool:
    """Whether the fetch sets ``\\Seen``."""
    return any(
        each.type in ("rfc822", "rfc822text") or (each.type == "body" and not each.peek) for each in items
    )


def check_items(items: list[Any]) -> None:
    """Raises ``IllegalClientResponse`` for what this door does not tell: the MIME structure."""
    for each in items:
        parts = each.type == "body" and (each.part or each.mime)
        structure = each.type == "bodystructure" or (
            each.type == "body" and not (each.empty or each.text or each.header)
        )
        if parts or structure:
            raise IllegalClientResponse("no MIME structure here")


def answer(
    tenancy: Tenancy, number: int, message: Message, items: list[Any], *, uid: bool, instead: bytes | None
) -> Iterator[bytes]:
    """One FETCH line; ``instead`` are bytes to show in the message's place."""
    wanted = sorted(items, key=lambda each: _LATE.index(each.type) + 1 if each.type in _LATE else 0)
    line, separator = b"* %d FETCH (" % number, b""
    if uid and all(each.type != "uid" for each in items):
        line, separator = line + b"UID %d" % message.uid, b" "
    for item in wanted:
        line, separator = line + separator, b" "
        if simple := _simple(tenancy, message, item.type):
            line += simple
            continue
        name, size, chunks = _section(tenancy, message, item, instead)
        line += name + b" {%d}\r\n" % size
        for chunk in chunks:
            if len(line) + len(chunk) > _SEPARATE:
                yield line
                line = b""
            line += chunk
    yield line + b")\r\n"


def _simple(tenancy: Tenancy, message: Message, kind: str) -> bytes:
    match kind:
        case "flags":
            return b"FLAGS (%s)" % shown_flags(message)
        case "internaldate":
            at = message.received_at.astimezone(UTC)
            shown = f"{at.day:2}-{MONTHS[at.month - 1]}-{at:%Y %H:%M:%S} +0000"
            return b'INTERNALDATE "%s"' % shown.encode()
        case "rfc822size":
            return b"RFC822.SIZE %d" % tenancy.size_of(message)
        case "uid":
            return b"UID %d" % message.uid
        case "envelope":
            return b"ENVELOPE " + envelope(read_header(tenancy.store, message))
    return b""


def _section(
    tenancy: Tenancy, message: Message, item: Any, instead: bytes | None
) -> tuple[bytes, int, Iterator[bytes]]:
    """The name, the size and the bytes of a part of the message."""
    whole = item.type == "rfc822" or (item.type == "body" and item.empty)
    if item.type != "body":
        name = {"rfc822": b"RFC822", "rfc822text": b"RFC822.TEXT", "rfc822header": b"RFC822.HEADER"}[
            item.type
        ]
        start, length = 0, None
    else:
        name = _section_name(item)
        start, length = item.partialBegin or 0, item.partialLength
        if item.partialBegin is not None:
            name += b"<%d>" % start
    if whole and instead is None:
        size = max(0, message.size - start)
        size = size if length is None else min(size, length)
        return name, size, read_in_chunks(tenancy.store, message, start, length)
    found = _text(tenancy, message, item, instead)[start:]
    found = found if length is None else found[:length]
    return name, len(found), iter([found])


def _section_name(item: Any) -> bytes:
    if item.empty:
        return b"BODY[]"
    if item.text:
        return b"BODY[TEXT]"
    if not item.header.fields:
        return b"BODY[HEADER]"
    negation = b".NOT" if item.header.negate else b""
    return b"BODY[HEADER.FIELDS%s (%s)]" % (negation, b" ".join(item.header.fields))


def _text(tenancy: Tenancy, message: Message, item: Any, instead: bytes | None) -> bytes:
    if instead is None and item.type in ("body", "rfc822header") and not getattr(item, "text", None):
        header = read_header(tenancy.store, message)
        body = b""
    else:
        content = tenancy.store.read(message) if instead is None else instead
        head, empty, body = content.partition(b"\r\n\r\n")
        header = head + empty
        if item.type == "rfc822" or (item.type == "body" and item.empty):
            return content
    if item.type == "rfc822text" or (item.type == "body" and item.text):
        return body
    if item.type == "body" and item.header.fields:
        return header_fields(header, item.header.fields, without=item.header.negate)
    return header


def envelope(header: bytes) -> bytes:
    """The ENVELOPE structure (RFC 3501, 7.4.2), values as the header has them."""
    sender = header_value(header, b"From")
    values = {name: header_value(header, name) for name in (b"Sender", b"Reply-To", b"To", b"Cc", b"Bcc")}
    people = [sender, values[b"Sender"] or sender, values[b"Reply-To"] or sender]
    people += [values[b"To"], values[b"Cc"], values[b"Bcc"]]
    shown = [_string(header_value(header, b"Date")), _string(header_value(header, b"Subject"))]
    shown += [_addresses(each) for each in people]
    shown += [_string(header_value(header, b"In-Reply-To")), _string(header_value(header, b"Message-ID"))]
    return b"(" + b" ".join(shown) + b")"


def _addresses(value: bytes | None) -> bytes:
    if not value:
        return b"NIL"
    shown = b""
    for name, address in getaddresses([value.decode("latin-1")]):
        local, _, host = address.rpartition("@")
        fields = [name, "", local or address, host if local else ""]
        shown += b"(" + b" ".join(_string(each.encode("latin-1") or None) for each in fields) + b")"
    return b"(" + shown + b")" if shown else b"NIL"


def _string(value: bytes | None) -> bytes:
    if value is None:
        return b"NIL"
    if any(each < 32 or each > 126 for each in value):
        return b"{%d}\r\n%s" % (len(value), value)
    return b'"' + value.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'
