"""What the standard library's ``email`` makes of a message: an opinion that shares no code with ours."""

import email
import email.policy
import email.utils
import hashlib
from collections.abc import Callable
from email.message import Message
from typing import Any


def told_by_standard(mime: bytes) -> tuple[Any, ...]:
    """Message-ID, date, sender, subject, words and attachments; None where it has no opinion."""
    message = email.message_from_bytes(mime, policy=email.policy.compat32)
    modern = email.message_from_bytes(mime, policy=email.policy.default)
    readers: tuple[Callable[[], Any], ...] = (
        lambda: "".join(str(message["message-id"] or "").split()),
        lambda: email.utils.parsedate_to_datetime(str(message["date"])).timestamp(),
        lambda: email.utils.parseaddr(str(message["from"]))[1].lower(),  # noqa: PLW0108 - may raise
        lambda: " ".join(str(modern["subject"] or "").split()),
    )
    return (*map(_tried, readers), *sorted(_content(part) for part in message.walk()))


def _tried(read: Callable[[], Any]) -> Any:
    try:
        return read()
    except Exception:  # noqa: BLE001 - it raises anything on real mail
        return None


def _content(part: Message) -> str:
    """The words of a text, a digest of anything else; empty for what only holds other parts."""
    content = None if part.is_multipart() else _tried(lambda: part.get_payload(decode=True))
    if not isinstance(content, bytes):
        return ""
    if part.get_content_maintype() != "text":
        return hashlib.sha256(content).hexdigest()
    charset = part.get_content_charset("utf-8")
    return _tried(lambda: " ".join(content.decode(charset, "replace").split())) or ""
