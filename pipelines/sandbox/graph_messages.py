"""Messages as JSON, each property worked out only when asked for.

Source: Microsoft, "message resource type", "eventMessage resource type", and the examples of
"List messages".
"""

import html
import re
from base64 import b64encode
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from functools import cached_property
from hashlib import sha256
from typing import Any
from urllib.parse import quote

from pipelines.mime import Address, Identity, Record, identity_from_headers, normalise
from pipelines.mime.charsets import decode
from pipelines.mime.fields import unfold
from pipelines.mime.parts import Part
from pipelines.mime.reports import meeting
from pipelines.mime.visible import visible_text
from pipelines.mime.words import raw_text
from pipelines.sandbox.graph_mailbox import Placed
from pipelines.sandbox.graph_parts import is_file, is_inline, open_message
from pipelines.sandbox.graph_request import read_select
from pipelines.sandbox.mail_doors_mime import read_header
from pipelines.sandbox.store import Message, Store

_PREVIEW = 255
_MEETINGS = {
    "REQUEST": ("eventMessageRequest", "meetingRequest"),
    "REPLY": ("eventMessageResponse", "meetingAccepted"),
    "CANCEL": ("eventMessage", "meetingCancelled"),
}
_REPLIES = {b"TENTATIVE": "meetingTenativelyAccepted", b"DECLINED": "meetingDeclined"}
"""The first one is spelled so."""
_REPLY = re.compile(rb"PARTSTAT=(\w+)", re.IGNORECASE)
_CALENDARS = (b"text/calendar", b"Text/Calendar", b"TEXT/CALENDAR")


def etag_key(message: Message) -> str:
    """The change key: another one after every change."""
    digest = sha256(f"{message.immutable_id} {message.change_key}".encode()).digest()
    return b64encode(digest[:30]).decode()


def shown_time(moment: datetime) -> str:
    """Whole seconds in UTC."""
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


class MessageView:
    """One message on its way into an answer."""

    def __init__(self, store: Store, placed: Placed, *, immutable: bool, text_body: bool = False) -> None:
        self.folder, self.message = placed.folder, placed.message
        self._store, self._immutable, self._text_body = store, immutable, text_body

    @property
    def id(self) -> str:
        """The id in the format that the client prefers."""
        return self.message.immutable_id if self._immutable else self.message.mutable_id

    @cached_property
    def mime(self) -> bytes:
        """The message as it came in."""
        return self._store.read(self.message)

    @cached_property
    def header(self) -> bytes:
        """Its header block."""
        return read_header(self._store, self.message)

    @cached_property
    def identity(self) -> Identity:
        """Message-ID, date, sender and subject."""
        return identity_from_headers(self.header)

    @cached_property
    def head(self) -> Record:
        """What the header block alone gives."""
        return normalise(self.header)

    @cached_property
    def record(self) -> Record:
        """All of it."""
        return normalise(self.mime)

    @cached_property
    def meeting(self) -> tuple[str, str] | None:
        """The types of a meeting message; None for any other."""
        if not any(each in self.mime for each in _CALENDARS):
            return None
        return next((_meeting(each) for each in open_message(self.mime).attached if not is_file(each)), None)

    @cached_property
    def has_attachments(self) -> bool:
        """Whether it has any that are not inline."""
        return any(is_file(each) and not is_inline(each) for each in open_message(self.mime).attached)

    def body(self) -> dict[str, str]:
        """HTML unless text is preferred, whatever the message has."""
        text, page = self.record.text, self.record.html
        if self._text_body:
            kind, content = "text", (text or "") if page is None else visible_text(page)
        else:
            kind, content = "html", _as_page(text or "") if page is None else page
        return {"contentType": kind, "content": content.replace("\n", "\r\n")}

    def preview(self) -> str:
        """The first characters of what a reader sees."""
        text = self.record.text
        if text is None or not text.strip():
            text = visible_text(self.record.html or "")
        return text.strip().replace("\n", "\r\n")[:_PREVIEW]

    def is_draft(self) -> bool:
        """Whether it has not been sent."""
        return self.folder.role == "drafts" or "draft" in self.message.flags

    def link(self) -> str:
        """Where it is on the web."""
        named = quote(self.id, safe="")
        return f"https://outlook.office365.com/owa/?ItemID={named}&exvsurl=1&viewmodel=ReadMessageItem"

    def importance(self) -> str:
        """``low``, ``normal`` or ``high``."""
        found = [value.lower() for name, value in header_lines(self.header) if name.lower() == "importance"]
        return found[0] if found and found[0] in ("low", "high") else "normal"

    def json(self, select: Sequence[str] | None) -> dict[str, Any]:
        """The message, with its id and type whatever is selected."""
        shown: dict[str, Any] = {}
        if self.meeting:
            shown["@odata.type"] = f"#microsoft.graph.{self.meeting[0]}"
        shown["@odata.etag"] = f'W/"{etag_key(self.message)}"'
        shown["id"] = self.id
        for name in DEFAULT if select is None else select:
            value = PROPERTIES[name](self)
            if name != "internetMessageHeaders" or value is not None:
                shown[name] = value
        if self.meeting and select is None:
            shown["meetingMessageType"] = self.meeting[1]
        return shown


PROPERTIES: dict[str, Callable[[MessageView], Any]] = {
    "id": lambda view: view.id,
    "createdDateTime": lambda view: shown_time(view.message.received_at),
    "lastModifiedDateTime": lambda view: shown_time(view.message.modified_at),
    "changeKey": lambda view: etag_key(view.message),
    "categories": lambda _: [],
    "receivedDateTime": lambda view: shown_time(view.message.received_at),
    "sentDateTime": lambda view: shown_time(view.identity.sent_at) if view.identity.sent_at else None,
    "hasAttachments": lambda view: view.has_attachments,
    "internetMessageId": lambda view: f"<{view.identity.message_id}>" if view.identity.message_id else None,
    "subject": lambda view: view.identity.subject or None,
    "bodyPreview": MessageView.preview,
    "importance": MessageView.importance,
    "parentFolderId": lambda view: view.folder.folder_id,
    "conversationId": lambda view: _conversation(view.head.thread_id),
    "conversationIndex": lambda view: b64encode(sha256(view.head.thread_id.encode()).digest()[:22]).decode(),
    "isDeliveryReceiptRequested": lambda _: None,
    "isReadReceiptRequested": lambda _: False,
    "isRead": lambda view: "seen" in view.message.flags,
    "isDraft": MessageView.is_draft,
    "webLink": MessageView.link,
    "inferenceClassification": lambda _: "focused",
    "body": MessageView.body,
    "uniqueBody": MessageView.body,
    "sender": lambda view: _person(view.head.sender or view.head.from_),
    "from": lambda view: _person(view.head.from_ or view.head.sender),
    "toRecipients": lambda view: _people(view.head.to),
    "ccRecipients": lambda view: _people(view.head.cc),
    "bccRecipients": lambda view: _people(view.head.bcc),
    "replyTo": lambda view: _people(view.head.reply_to),
    "flag": lambda view: {"flagStatus": "flagged" if "flagged" in view.message.flags else "notFlagged"},
    "internetMessageHeaders": lambda view: internet_headers(view.header),
}
"""Every property that ``$select`` may name, in Graph's order."""

DEFAULT = tuple(name for name in PROPERTIES if name not in ("uniqueBody", "internetMessageHeaders"))
"""What comes without ``$select``."""

MARKS = {"seen": "isRead", "flagged": "flag", "draft": "isDraft"}
"""The properties that flags are shown as."""


def message_select(names: tuple[str, ...] | None, *, headers: bool = True) -> tuple[str, ...] | None:
    """``$select`` for messages. Raises ``GraphError`` for a property that they do not have."""
    known = PROPERTIES if headers else [each for each in PROPERTIES if each != "internetMessageHeaders"]
    return read_select(names, known, "message")


def internet_headers(header: bytes) -> list[dict[str, str]] | None:
    """As they are in the message; None for mail that never crossed transport, such as sent items."""
    lines = header_lines(header)
    if not any(name.lower() == "received" for name, _ in lines):
        return None
    return [{"name": name, "value": value} for name, value in lines]


def header_lines(header: bytes) -> list[tuple[str, str]]:
    """Names and values, unfolded."""
    found = []
    for line in unfold(header):
        name, colon, value = line.partition(b":")
        if colon:
            found.append((raw_text(name, set()).strip(), raw_text(value.strip(), set())))
    return found


def _meeting(calendar: Part) -> tuple[str, str] | None:
    """The types of a message with this calendar, by its method (RFC 5546)."""
    text = decode(calendar.content, calendar.parameters.get("charset"), set())
    found = _MEETINGS.get(meeting(text, calendar.parameters.get("method")).method)
    if found is None or found[0] != "eventMessageResponse":
        return found
    reply = _REPLY.search(calendar.content)
    return found[0], _REPLIES.get(reply[1].upper() if reply else b"", found[1])


def _as_page(text: str) -> str:
    lines = html.escape(text, quote=False).replace("\n", "<br>\n")
    head = '<html><head>\n<meta http-equiv="Content-Type" content="text/html; charset=utf-8"></head>'
    return f'{head}<body>\n<div class="PlainText">{lines}</div>\n</body></html>\n'


def _conversation(thread: str) -> str:
    return b64encode(b"\0\x03\x24" + sha256(thread.encode()).digest()).decode()


def _people(addresses: Iterable[Address]) -> list[dict[str, Any]]:
    return [
        {"emailAddress": {"name": each.name or each.address, "address": each.address}} for each in addresses
    ]


def _person(addresses: Iterable[Address]) -> dict[str, Any] | None:
    return next(iter(_people(addresses)), None)
