"""MIME bytes to a record, and the few bytes of a listing to an identity."""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime

from pipelines.mime.addresses import parse_addresses
from pipelines.mime.content import Content
from pipelines.mime.dates import parse_date
from pipelines.mime.fields import Block, Fields, after_envelope, read_block, unfold
from pipelines.mime.key import bytes_digest, header_key, message_key, sender_address
from pipelines.mime.parts import parts
from pipelines.mime.record import Address, Identity, Record
from pipelines.mime.spaces import folded
from pipelines.mime.visible import visible_text
from pipelines.mime.words import header_text, raw_text

MAX_NESTED = 20
"""Messages attached to one another; a deeper one counts by its bytes."""

_ID = re.compile(r"<([^<>]+)>")
_LIST_ID = re.compile(r"<([^<>]*)>[^<>]*\Z")
_SINGLE = (b"message-id", b"date", b"subject", b"from", b"sender", b"content-type")
_PLACEHOLDER = re.compile(r"Retrieval using the \w+ protocol failed for the following message", re.IGNORECASE)
_PLACEHOLDER_BODY = "the server couldn't retrieve the following message"


def normalise(mime: bytes) -> Record:
    """Read any bytes as a message; never raises. What could not be read is named in ``defects``."""
    return _read(mime, 0)


def identity_from_headers(block: bytes) -> Identity:
    """Identity from a header block; Message-ID, Date, From, Sender and Subject of it are enough."""
    defects: set[str] = set()
    fields = read_block(block, after_envelope(block, defects), len(block), defects).fields
    message_id, sent_at, sender, subject = _Head(fields, defects).identity
    return Identity(message_id, sent_at, sender, subject, header_key(message_id, sent_at, sender, subject))


def plain_text(record: Record) -> str:
    """The words of the message for full-text search: the text, and the HTML's where it says more."""
    text = record.text or ""
    if not record.html or 2 * len(text) >= len(record.html):  # what it shows is never longer than itself
        return text
    shown = visible_text(record.html)
    # A list's footer beside an HTML mail, or "your reader cannot show HTML": the text is not the message.
    return text if 2 * len(text) >= len(shown) else f"{text}\n{shown}".lstrip()


def is_placeholder(record: Record) -> bool:
    """Whether Exchange sent this in place of a message that it could not convert."""
    if _PLACEHOLDER.match(record.subject) is None:
        return False
    body = (record.text or "").replace("\u2019", "'")
    named = any(found.name.startswith("Microsoft Exchange Server") for found in record.from_)
    return named or _PLACEHOLDER_BODY in body.lower()


class _Head:
    """The fields of a message's own header block, decoded."""

    def __init__(self, fields: Fields, defects: set[str]) -> None:
        self._fields = fields
        self._defects = defects
        self.from_ = self.addresses(b"from", first=True)
        self.sender = self.addresses(b"sender", first=True)
        self.identity = (
            self._message_id(),
            self._date(),
            sender_address(self.from_, self.sender),
            self._subject(),
        )

    def first(self, name: bytes) -> bytes | None:
        """The first value that is not empty."""
        for value in self._fields.get(name, ()):
            if value:
                return value
        return None

    def addresses(self, name: bytes, *, first: bool = False) -> tuple[Address, ...]:
        values = self._fields.get(name)
        if values is None:
            return ()
        found: list[Address] = []
        for value in values:
            found += parse_addresses(value, self._defects)
            if first and found:
                break
        return tuple(found)

    def texts(self, name: bytes) -> list[str]:
        return [" ".join(header_text(value, self._defects).split()) for value in self._fields.get(name, ())]

    def ids(self, name: bytes) -> tuple[str, ...]:
        """Message ids of In-Reply-To and References (RFC 5322 §3.6.4), bare ones too."""
        values = self._fields.get(name)
        if values is None:
            return ()
        found: list[str] = []
        for value in values:
            text = header_text(value, self._defects)
            spelled = _ID.findall(text) if "<" in text else [word for word in text.split() if "@" in word]
            found += ["".join(one.split()) for one in spelled]
        return tuple(dict.fromkeys(filter(None, found)))

    def _message_id(self) -> str | None:
        value = self.first(b"message-id")
        if value is None:
            self._defects.add("message-id-missing")
            return None
        text = header_text(value, self._defects)
        match = _ID.search(text)
        if match is None:
            self._defects.add("message-id-broken")
        return " ".join((match[1] if match else text).split()).strip("<> ") or None

    def _date(self) -> datetime | None:
        value = self.first(b"date")
        if value is None:
            self._defects.add("date-missing")
            return None
        return parse_date(raw_text(value, self._defects), self._defects)

    def _subject(self) -> str:
        value = self.first(b"subject")
        return header_text(value, self._defects) if value else ""


def _read(mime: bytes, depth: int) -> Record:
    defects: set[str] = set()
    start = after_envelope(mime, defects)
    block = read_block(mime, start, len(mime), defects)
    head = _Head(block.fields, defects)
    if not head.from_:
        defects.add("from-missing")
    for name in _SINGLE:
        if len(block.fields.get(name, ())) > 1:
            defects.add("header-repeated")
    content = _content(mime, block, depth, defects)
    text, html = content.text, content.html
    to, cc, bcc = head.addresses(b"to"), head.addresses(b"cc"), head.addresses(b"bcc")
    reply_to = head.addresses(b"reply-to")
    headers = mime[start : block.end]
    message_id, sent_at, sender, subject = head.identity
    references, in_reply_to = head.ids(b"references"), head.ids(b"in-reply-to")
    marks = []
    if message_id is None:
        senders = {"from": head.from_, "sender": head.sender, "reply-to": reply_to}
        marks = [*_people(senders | {"to": to, "cc": cc, "bcc": bcc}), *references, *in_reply_to]
        marks += _lines(headers, nameless=not (sent_at or sender or subject))
    key = message_key(head.identity, marks, text, html, content.digests, content.unreadable)
    lists, automatic = head.texts(b"list-id"), head.texts(b"auto-submitted")
    return Record(
        message_key=key,
        header_key=header_key(message_id, sent_at, sender, subject),
        message_id=message_id,
        subject=subject,
        sent_at=sent_at,
        from_=head.from_,
        sender=head.sender,
        reply_to=reply_to,
        to=to,
        cc=cc,
        bcc=bcc,
        in_reply_to=in_reply_to,
        references=references,
        thread_id=(*references, *in_reply_to, message_id or key)[0],
        text=text,
        html=html,
        attachments=tuple(content.attachments),
        headers=headers,
        list_id=_list_id(lists[0]) if lists else None,
        auto_submitted=automatic[0].partition(";")[0].strip().lower() if automatic else None,
        bounce=content.bounce,
        meeting=content.meeting,
        authentication_results=tuple(head.texts(b"authentication-results")),
        defects=tuple(sorted(defects)),
        raw_sha256=hashlib.sha256(mime).hexdigest(),
        size=len(mime),
    )


def _people(people: Mapping[str, Iterable[Address]]) -> Iterator[str]:
    """Who stands in which field, for a message without a Message-ID.

    With one nobody but the sender counts: Exchange rewrites recipients from its directory. A name
    that repeats the address is none: Exchange puts it where there was none.
    """
    for field, addresses in people.items():
        for each in addresses:
            name = folded(each.name)
            shown = "" if name.strip("'").lower() == each.address.lower() else name
            yield f"{field}: {shown} <{each.address.lower()}>"


def _lines(headers: bytes, *, nameless: bool) -> Iterator[str]:
    """Header lines that tell a message without a Message-ID from others of the same content.

    Received lines; where the message is ``nameless``, without date, sender and subject too, every
    field that does not describe the body.
    """
    for line in unfold(headers):
        name, _, value = line.partition(b":")
        name = name.strip().lower()
        if name == b"received" or (nameless and not name.startswith((b"content-", b"mime-version"))):
            told = " ".join(header_text(value, set()).split())
            if told:
                yield f"{name.decode('ascii', 'replace')}: {told}"


def _content(mime: bytes, block: Block, depth: int, defects: set[str]) -> Content:
    def nested_key(attached: bytes) -> str:
        if depth >= MAX_NESTED:
            defects.add("nested-too-deep")
            return bytes_digest(attached)
        record = _read(attached, depth + 1)
        if "nested-too-deep" in record.defects:
            defects.add("nested-too-deep")
        return record.message_key

    content = Content(nested_key, defects)
    for part in parts(mime, block, defects):
        content.add(part)
    return content


def _list_id(value: str) -> str | None:
    """The identifier of RFC 2919, without its description."""
    match = _LIST_ID.search(value)
    return (match[1] if match else value).strip() or None
