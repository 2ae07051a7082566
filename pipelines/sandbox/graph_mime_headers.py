"""The header block of generated MIME: Exchange's order, folding and encoded words.

Transport headers stay as they are but for their folding; those that are properties of the message
(addresses, subject, date) are written anew from what they say.
"""

import re
from base64 import b64encode
from datetime import datetime
from email.utils import format_datetime

from pipelines.mime import Address
from pipelines.mime.addresses import parse_addresses
from pipelines.mime.dates import parse_date
from pipelines.mime.words import header_text, raw_text

CRLF = b"\r\n"
_WIDTH = 76
_WORD_BYTES = 45
_LINE = re.compile(rb"\r?\n(?![ \t])")
_BREAK = re.compile(rb"\r?\n")
_TOKEN = re.compile(rb"[ \t]*[^ \t]+")
_ENTITY = frozenset(
    b"content-type content-transfer-encoding content-disposition content-id content-length content-md5 "
    b"mime-version".split()
)
_RANKS = {
    name: rank
    for rank, name in enumerate(
        b"from sender reply-to to cc bcc subject thread-topic thread-index date message-id references "
        b"in-reply-to".split(),
        start=1,
    )
}
_TRANSPORT = re.compile(
    rb"(received|return-path|delivered-to|authentication-results|dkim-signature|arc-|received-spf|x-)"
)
_AFTER_ALL = len(_RANKS) + 1
_NAMES = {
    b"cc": b"CC", b"bcc": b"BCC", b"message-id": b"Message-ID", b"reply-to": b"Reply-To",
    b"in-reply-to": b"In-Reply-To",
}  # fmt: skip
_ADDRESSES = frozenset({b"from", b"sender", b"reply-to", b"to", b"cc", b"bcc"})
_PLAIN_NAME = re.compile(r"[\w !#$%&'*+/=?^`{|}~-]*", re.ASCII)
_ADDRESS = re.compile(r"[!-~]+@[!-~]+")
_SPECIAL = re.compile(r'[\s"(),:;<>\\\[\]]')

Field = tuple[bytes, bytes]
"""A name as written, and a value without line breaks."""


def read_fields(block: bytes) -> list[Field]:
    """The fields of a header block in order; lines that are none are left out."""
    found = []
    for line in _LINE.split(block):
        name, colon, value = line.partition(b":")
        if colon and name.strip():
            found.append((name.strip(), _BREAK.sub(b"", value).strip()))
    return found


def is_entity_field(field: Field) -> bool:
    """Whether it says how the body is written, and not what the message is."""
    return field[0].lower() in _ENTITY


def message_header(fields: list[Field]) -> bytes:
    """The message's own fields, without those of its body."""
    ranked = sorted((each for each in fields if not is_entity_field(each)), key=_rank)
    return b"".join([_written(name, value) for name, value in ranked])


def _rank(field: Field) -> int:
    name = field[0].lower()
    return _RANKS.get(name) or (0 if _TRANSPORT.match(name) else _AFTER_ALL)


def _written(name: bytes, value: bytes) -> bytes:
    lower = name.lower()
    if lower in _ADDRESSES:
        return folded(_NAMES.get(lower, name.title()), _people(value))
    if lower in (b"subject", b"thread-topic"):
        return folded(name.title(), _text(value))
    if lower == b"date":
        return folded(b"Date", _date(value))
    return folded(_NAMES.get(lower, name), value)


def folded(name: bytes, value: bytes) -> bytes:
    """A field with its line break, broken before white space where it is long."""
    line = name + b": " + value
    if len(line) <= _WIDTH:
        return line + CRLF
    lines, line = [], name + b":"
    first, *rest = _TOKEN.findall(value) or [b""]
    line += b" " + first
    for token in rest:
        if len(line) + len(token) > _WIDTH:
            lines.append(line)
            line = b""
        line += token
    return CRLF.join([*lines, line, b""])


def encoded(text: str) -> bytes:
    """``text`` as it may stand in a header: encoded words (RFC 2047) where it is not plain."""
    if text.isascii() and text.isprintable() and "=?" not in text:
        return text.encode("ascii")
    words, pending = [], b""
    for character in text:
        piece = character.encode("utf-8", "replace")
        if len(pending) + len(piece) > _WORD_BYTES:
            words.append(pending)
            pending = b""
        pending += piece
    return b" ".join(b"=?utf-8?B?" + b64encode(word) + b"?=" for word in [*words, pending])


def quoted(text: str) -> bytes:
    """``text`` between quotation marks, encoded where it is not plain."""
    word = encoded(text)
    return b'"' + word.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'


def _text(value: bytes) -> bytes:
    defects: set[str] = set()
    text = header_text(value, defects)
    return value if "\ufffd" in text or "encoded-word-broken" in defects else encoded(text)


def _people(value: bytes) -> bytes:
    """An address list anew; as it was, where it is not one of plain addresses."""
    defects: set[str] = set()
    people = parse_addresses(value, defects)
    if defects or not people or not all(_is_plain(each) for each in people):
        return value
    return b", ".join(_person(each) for each in people)


def _is_plain(person: Address) -> bool:
    address = person.address
    if not _ADDRESS.fullmatch(address) or _SPECIAL.search(address):
        return False
    return not any(each in person.name for each in "<>\ufffd")


def _person(person: Address) -> bytes:
    address = b"<" + person.address.encode("ascii") + b">"
    if not person.name:
        return person.address.encode("ascii")
    if _PLAIN_NAME.fullmatch(person.name) and "=?" not in person.name:
        return person.name.encode("ascii") + b" " + address
    name = encoded(person.name)
    return (name if name.startswith(b"=?") else quoted(person.name)) + b" " + address


def _date(value: bytes) -> bytes:
    defects: set[str] = set()
    moment: datetime | None = parse_date(raw_text(value, defects), defects)
    return value if moment is None or defects else format_datetime(moment).encode("ascii")
