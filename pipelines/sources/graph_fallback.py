"""A message that Exchange cannot give as MIME: its JSON and attachments, written as MIME by us.

It says what the message said, not how it was sent: kept beside a quarantined message, never taken for it.
Source: Microsoft, "message resource type", "attachment resource type".
"""

from base64 import b64decode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email import encoders, message_from_bytes
from email.header import Header
from email.message import Message
from email.mime.base import MIMEBase
from email.mime.message import MIMEMessage
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from email.utils import format_datetime, formataddr
from hashlib import sha256
from typing import Any

from pipelines.errors import ThrottledError, TransientError
from pipelines.sources.graph_faults import AnswerRefusedError
from pipelines.sources.graph_listing import addresses, instant
from pipelines.sources.graph_requests import MIME
from pipelines.sources.graph_session import GraphSession

FIDELITY, WITHOUT_BODY = "graph-json", "graph-json-without-body"

_HEAD = (
    "internetMessageId", "subject", "sentDateTime",
    "from", "sender", "replyTo", "toRecipients", "ccRecipients", "bccRecipients",
)  # fmt: skip
_FORMS = ((*_HEAD, "body", "internetMessageHeaders"), (*_HEAD, "body"), _HEAD)
"""What is asked for, from all to what an unreadable body cannot spoil; not every cloud has headers."""
_PEOPLE = {
    "From": "from",
    "Sender": "sender",
    "Reply-To": "replyTo",
    "To": "toRecipients",
    "Cc": "ccRecipients",
    "Bcc": "bccRecipients",
}
_KEPT_HEADERS = frozenset({"in-reply-to", "references", "received", "list-id", "auto-submitted"})


@dataclass(frozen=True, slots=True)
class Fallback:
    """The MIME, and what it is worth."""

    mime: bytes
    fidelity: str


def read_fallback(session: GraphSession, native_id: str, *, body: bool) -> Fallback | None:
    """All that Graph tells of the message in other ways; None where that is nothing.

    ``body``: ask for the body too. Raises ``AccessError`` and ``ThrottledError``.
    """
    for form in _FORMS if body else _FORMS[-1:]:
        try:
            item = session.page(session.urls.message(native_id, form))
        except ThrottledError:
            raise
        except (AnswerRefusedError, TransientError):
            continue
        parts = [*_body(item), *_attachments(session, native_id)]
        return Fallback(render(item, parts), _fidelity(item))
    return None


def render(item: Mapping[str, Any], parts: list[Message]) -> bytes:
    """Headers from the message's properties, in front of ``parts``."""
    whole = MIMEMultipart()
    for name, value in _headers(item):
        whole[name] = Header(value, None if value.isascii() else "utf-8", header_name=name).encode()
    for part in parts:
        whole.attach(part)
    # Not by chance: each attempt would give other bytes to keep.
    whole.set_boundary(sha256(repr(whole.items()).encode()).hexdigest()[:32])
    return whole.as_bytes(policy=whole.policy.clone(linesep="\r\n"))


def _fidelity(item: Mapping[str, Any]) -> str:
    return FIDELITY if item.get("body") else WITHOUT_BODY


def _headers(item: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "X-Mailover-Fidelity", _fidelity(item)
    for told in item.get("internetMessageHeaders") or ():
        if str(told.get("name")).lower() in _KEPT_HEADERS and told.get("value"):
            yield str(told["name"]), _line(told["value"])
    for name, told in (("Message-ID", "internetMessageId"), ("Subject", "subject")):
        if item.get(told):
            yield name, _line(item[told])
    if sent_at := instant(item.get("sentDateTime")):
        yield "Date", format_datetime(sent_at)
    for name, told in _PEOPLE.items():
        if people := addresses(item.get(told)):
            yield name, ", ".join(_person(*each) for each in people)


def _person(name: str, address: str) -> str:
    name, address = _line(name), _line(address)
    if address.isascii() and "@" in address:
        return formataddr((name, address))
    # Of the directory, or not ASCII: RFC 5322 has no form for it but a name.
    return formataddr((name or address, ""))


def _line(text: Any) -> str:
    """One line of text that can be written: no line breaks, no control characters, no half surrogates."""
    line = "".join(letter if letter.isprintable() else " " for letter in str(text))
    return " ".join(line.split())


def _body(item: Mapping[str, Any]) -> Iterator[Message]:
    body = item.get("body")
    if isinstance(body, Mapping):
        content = str(body.get("content") or "").encode("utf-8", "replace").decode()
        yield MIMEText(content, "html" if body.get("contentType") == "html" else "plain", "utf-8")


def _attachments(session: GraphSession, native_id: str) -> Iterator[Message]:
    """The attachments; for those that cannot be had, a line that says so."""
    try:
        for page in session.pages(session.urls.attachments(native_id)):
            for told in page:
                yield _attachment(session, native_id, told)
    except ThrottledError:
        raise
    except (AnswerRefusedError, TransientError):
        yield _note("Graph does not give the message's attachments.")


def _attachment(session: GraphSession, native_id: str, told: Mapping[str, Any]) -> Message:
    kind, name = str(told.get("@odata.type", "")).lower(), _line(told.get("name") or "unnamed")
    if kind.endswith("referenceattachment"):
        return _note(f"The attachment {name} is a link to a file elsewhere, not part of the message.")
    if kind.endswith("itemattachment"):
        content = session.get(session.urls.attachment(native_id, told["id"]), accept=MIME).content
        if not content.startswith(b"BEGIN:"):
            return MIMEMessage(message_from_bytes(content))
        media_type = "text/calendar" if content.startswith(b"BEGIN:VCALENDAR") else "text/vcard"
    elif isinstance(told.get("contentBytes"), str):
        content, media_type = b64decode(told["contentBytes"]), str(told.get("contentType"))
    else:
        content = session.get(session.urls.attachment(native_id, told["id"]), accept=MIME).content
        media_type = str(told.get("contentType"))
    return _file(told, name, media_type, content)


def _file(told: Mapping[str, Any], name: str, media_type: str, content: bytes) -> Message:
    main, slash, sub = media_type.partition(";")[0].strip().lower().partition("/")
    known = slash and main.isascii() and sub.isascii() and main not in ("multipart", "message")
    part = MIMEBase(main, sub) if known else MIMEBase("application", "octet-stream")
    part.set_payload(content)
    encoders.encode_base64(part)
    shown = "inline" if told.get("isInline") else "attachment"
    part.add_header("Content-Disposition", shown, filename=name if name.isascii() else ("utf-8", "", name))
    if told.get("contentId"):
        part["Content-ID"] = f"<{_line(told['contentId']).strip('<>')}>"
    return part


def _note(text: str) -> Message:
    return MIMEText(text, "plain", "utf-8")
