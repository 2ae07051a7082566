"""What the standard library's ``email`` makes of a message: an opinion that shares no code with ours.

Two messages are one where a person who reads and saves everything in them cannot tell them apart:

- Message-ID, date, first sender's address and subject are equal; so are, without a Message-ID,
  everybody in From, Sender, Reply-To, To, Cc and Bcc, and what the message answers. With one they
  do not count: the copies that a mail's recipients get differ in them, and in what servers add.
- So are the words of all bodies, in order; of HTML, also its links, its pictures and their titles.
- So are the names and the contents of all attachments, in any order; text by its words, an
  attached message by the same rules.

White space, charsets, transfer encodings, boundaries, the nesting of multiparts, and the text
around them, which RFC 2046 §5.1.1 tells readers to leave out, do not count.
"""

import email
import email.policy
import email.utils
import hashlib
import re
from collections.abc import Callable, Iterator
from email.header import decode_header
from email.message import Message
from html.parser import HTMLParser
from typing import Any

_NAMES = {"windows-874": "cp874", "x-gbk": "gbk", "iso-8859-8-i": "iso-8859-8"}
"""Charsets that Python knows by another name."""
_ANSWERED = ("in-reply-to", "references")
_PEOPLE = ("from", "sender", "reply-to", "to", "cc", "bcc")
_SHOWN = frozenset({"alt", "background", "href", "src", "title", "value"})
"""Attributes that a reader sees or follows."""
_META = re.compile(rb"""(?i)<meta\s[^>]*charset\s*=\s*["']?([\w-]+)""")
_ID = re.compile(r"<[^<>]+>")
_FIELD = re.compile(rb"([!-9;-~]+)[ \t]*:(.*)", re.DOTALL)
_REPORTED = ("text/calendar", "text/rfc822-headers")


def told_by_standard(mime: bytes) -> tuple[Any, ...]:
    """All that counts of a message; None where the standard library has no opinion."""
    return _told(email.message_from_bytes(_without_junk(mime), policy=email.policy.compat32))


def _told(message: Message) -> tuple[Any, ...]:
    message_id = "".join(_values(message, "message-id"))
    people = {name: _people(message, name) for name in _PEOPLE}
    sender = [address or shown for shown, address in people["from"] or people["sender"]][:1]
    answered = {each for name in _ANSWERED for value in _values(message, name) for each in _ID.findall(value)}
    dates = _values(message, "date")
    leaves = list(_leaves(message))
    bodies = [part for part in leaves if _is_body(part, whole=part is message)]
    return (
        message_id,
        _tried(lambda: email.utils.parsedate_to_datetime(dates[0]).timestamp()),
        *sender,
        "".join(map(_words, _values(message, "subject")[:1])),
        None if message_id else repr((people, sorted(answered))),
        tuple(filter(None, [_body(part) for part in bodies])),
        tuple(sorted(repr(_file(part)) for part in leaves if part not in bodies)),
    )


def _without_junk(mime: bytes) -> bytes:
    """The message without header lines that are none, at which ``email`` stops reading headers."""
    head, gap, body = re.split(rb"(\r?\n\r?\n|\Z)", mime, maxsplit=1)
    fields = map(_FIELD.fullmatch, re.split(rb"\r?\n(?![ \t])", head))
    return b"\r\n".join(field[1] + b":" + field[2] for field in fields if field) + gap + body


def _tried(read: Callable[[], Any]) -> Any:
    try:
        return read()
    except Exception:  # noqa: BLE001 - it raises anything on real mail
        return None


def _decoded(content: bytes, charset: str | None) -> str:
    """Text of the stated charset, else UTF-8, else windows-1252."""
    stated = str(charset or "utf-8").strip("\"' ").lower()
    for name in (_NAMES.get(stated, stated), "utf-8", "cp1252"):
        try:
            return content.decode(name)
        except (LookupError, ValueError):
            continue
    return content.decode("latin-1")


def _values(message: Message, name: str) -> list[str]:
    """The values of a header, white space folded, encoded words not yet read."""
    found = [value for each, value in message.raw_items() if each.lower() == name]
    return [" ".join(_decoded(each.encode("utf-8", "surrogateescape"), None).split()) for each in found]


def _words(value: str) -> str:
    """A header as text, without white space: ``decode_header`` loses some."""
    pieces = _tried(lambda: decode_header(value)) or [(value, None)]
    text = "".join(each if isinstance(each, str) else _decoded(each, charset) for each, charset in pieces)
    return "".join(text.split())


def _people(message: Message, name: str) -> list[tuple[str, str]]:
    found = _tried(lambda: email.utils.getaddresses(_values(message, name))) or []
    return [(_words(shown), address.lower()) for shown, address in found]


def _leaves(message: Message) -> Iterator[Message]:
    """The parts that hold content; an attached message is one."""
    if not message.is_multipart() or message.get_content_maintype() == "message":
        yield message
        return
    for part in message.get_payload():
        assert isinstance(part, Message)
        yield from _leaves(part)


def _is_body(part: Message, *, whole: bool) -> bool:
    """Whether it is shown as (a part of) the message; the ``whole`` message also where it has a name."""
    kind = part.get_content_maintype()
    untaken = kind == "multipart"  # it has no parts to take apart: its text is all there is
    attached = part.get_content_disposition() == "attachment" or (part.get_filename() and not whole)
    return (untaken or kind == "text") and not attached and part.get_content_type() not in _REPORTED


def _text(part: Message) -> str:
    content = part.get_payload(decode=True)
    assert isinstance(content, bytes)
    charset = _tried(part.get_content_charset)
    if not charset and part.get_content_subtype() == "html" and (found := _META.search(content)):
        charset = found[1].decode()
    return " ".join(_decoded(content, charset).split())


def _body(part: Message) -> Any:
    """The words of a body; nothing where there are none."""
    text = _text(part)
    return _Html(text).told if part.get_content_subtype() == "html" else text


def _file(part: Message) -> Any:
    """Name and content of an attachment."""
    name = _words(part.get_filename() or "")
    if part.is_multipart():
        return name, *map(_told, part.get_payload())
    if part.get_content_maintype() == "text":
        return name, _text(part)
    content = part.get_payload(decode=True)
    assert isinstance(content, bytes)
    return name, hashlib.sha256(content.replace(b"\r\n", b"\n").strip()).hexdigest()


class _Html(HTMLParser):
    """What a reader sees of HTML, and where its links lead."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self._words: list[str] = []
        self._shown: list[tuple[str, str | None]] = []
        self.feed(markup)
        self.close()

    @property
    def told(self) -> tuple[Any, ...]:
        """Its words, and what its elements show and link to."""
        words = " ".join(" ".join(self._words).split())
        return (words, *self._shown) if words or self._shown else ()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._shown += [each for each in attrs if each[0] in _SHOWN]

    def handle_data(self, data: str) -> None:
        self._words.append(data)
