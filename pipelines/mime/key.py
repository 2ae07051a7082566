"""The message key: a digest over what a message means, not over how it was encoded.

Exchange generates MIME anew for each protocol. What may differ between two deliveries of one
message (boundaries, order and folding of headers, transfer encodings, charsets, line ends,
white space) is not counted; what a person would call another message is.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

from pipelines.mime.record import Address
from pipelines.mime.reports import calendar_lines, report_lines
from pipelines.mime.spaces import folded
from pipelines.mime.visible import essence

KEY_VERSION = 3
"""Part of every message key: raised when its definition changes; keys of two versions never match."""
HEADER_KEY_VERSION = 2
"""The same for header keys, which are also kept for messages that the lake has not."""

MESSAGE_TYPES = frozenset({"message/rfc822", "message/global"})
REPORT_TYPES = frozenset(
    {"message/delivery-status", "message/global-delivery-status", "message/disposition-notification"}
    | {"message/feedback-report", "text/rfc822-headers"}
)


def _digest(kind: str, told: str, version: int = KEY_VERSION) -> str:
    digest = hashlib.sha256(f"mailover-{kind}-{version}".encode())
    digest.update(told.encode())
    return digest.hexdigest()[:40]


def _after_nul(items: Iterable[str]) -> str:
    """Each item behind a NUL: it never stands in decoded text (charsets.decode), so none can pose as two."""
    return "\0".join(("", *items))


def _list_digest(items: Sequence[str]) -> str:
    """Digest of items in any order; empty where there are none."""
    return _digest("list", _after_nul(sorted(items))) if items else ""


def sender_address(from_: Iterable[Address], sender: Iterable[Address]) -> str | None:
    """Who sent it: the first From address in lower case, else Sender's, else a name."""
    for found in (*from_, *sender):
        if found.address or found.name:
            return (found.address or found.name).lower()
    return None


def header_key(
    message_id: str | None, sent_at: datetime | None, sender: str | None, subject: str
) -> str | None:
    """Digest of what a listing tells; None without a Message-ID, or with nothing but one.

    ``sender`` is compared in lower case, ``subject`` with white space folded, ``sent_at`` by the second.
    """
    if not message_id or (sent_at is None and not sender):
        return None
    told = ("".join(message_id.split()), _second(sent_at), (sender or "").lower(), folded(subject))
    return _digest("header", _after_nul(told), HEADER_KEY_VERSION)


def _second(instant: datetime | None) -> str:
    return "" if instant is None else str(int(instant.timestamp()))


def message_key(
    identity: tuple[str | None, datetime | None, str | None, str],
    marks: Sequence[str],
    text: str | None,
    html: str | None,
    attachment_digests: Sequence[str],
    unreadable: Sequence[str],
) -> str:
    """Digest of the decoded message.

    ``identity``: Message-ID, date, sender, subject. ``marks``: what else tells it from others, in any
    order; for a message without a Message-ID.
    ``unreadable``: digests of body parts that have no faithful text, so that two of them never look alike.
    """
    message_id, sent_at, sender, subject = identity
    told = "\0".join(
        (
            "",
            "".join((message_id or "").split()),
            _second(sent_at),
            sender or "",
            folded(subject),
            folded(text) if text else "",
            _digest("html", _after_nul(essence(html))) if html else "",
            _list_digest(marks),
            _list_digest(attachment_digests),
            _list_digest(unreadable),
        )
    )
    return _digest("message", told)


def bytes_digest(content: bytes) -> str:
    """Digest of content that is no text, line ends and outer white space set aside where it has lines."""
    if b"\0" not in content:
        content = content.replace(b"\r\n", b"\n").strip()
    return hashlib.sha256(content).hexdigest()


def attachment_digest(
    media_type: str,
    name: str | None,
    content: bytes,
    sha256: str,
    text: str | None,
    nested_key: Callable[[bytes], str],
) -> str:
    """Digest of an attachment by meaning; ``text``: its faithful reading, where it is text.

    What servers write anew (messages, reports, meetings) counts without its name, which they
    make up as well.
    """
    if media_type in MESSAGE_TYPES:
        return nested_key(content)
    if media_type in REPORT_TYPES:
        return _digest("report", _after_nul(sorted(report_lines(content))))
    named = "" if media_type == "text/calendar" else folded(name or "")
    if text is None:
        return _digest("file", _after_nul((named, sha256 if b"\0" in content else bytes_digest(content))))
    if media_type == "text/calendar":
        return _digest("calendar", _after_nul(sorted(calendar_lines(text))))
    lines = [line.rstrip() for line in text.strip().splitlines()]
    return _digest("text", _after_nul((named, *lines)))
