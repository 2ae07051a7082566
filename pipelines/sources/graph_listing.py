"""What a listing tells of a message: Graph's JSON to entries.

Source: Microsoft, "message resource type". Properties that Exchange does not have are null or left
out; a date it does not have can be the year 1.
"""

import hashlib
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from pipelines.mime import Identity, header_key
from pipelines.sources.base import Entry

PROPERTIES = (
    "id", "internetMessageId", "subject", "from", "sender", "toRecipients", "sentDateTime",
    "receivedDateTime", "lastModifiedDateTime", "isDraft", "isRead", "flag", "hasAttachments", "bodyPreview",
)  # fmt: skip
"""What every listing asks for."""

_ALWAYS_THERE = frozenset(PROPERTIES) - {"from", "sender", "flag"}
_MARKED = ("internetMessageId", "subject", "sentDateTime", "hasAttachments", "bodyPreview")

Item = Mapping[str, Any]


def is_whole(item: Item) -> bool:
    """Whether everything is there that was asked for: delta promises no more than what changed."""
    return item.keys() >= _ALWAYS_THERE


def entry(item: Item) -> Entry:
    """The entry for a listed message; a property that is left out counts as null."""
    from_, sender, to = (addresses(item.get(name)) for name in ("from", "sender", "toRecipients"))
    return Entry(
        native_id=item["id"],
        received_at=instant(item.get("receivedDateTime")),
        flags=_flags(item),
        identity=_identity(item, [*from_, *sender]),
        content_mark=_content_mark(item, (from_, sender, to)),
        modified_at=instant(item.get("lastModifiedDateTime")),
    )


def instant(value: Any) -> datetime | None:
    """A DateTimeOffset in UTC; None where there is none."""
    try:
        found = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None
    if found.year == 1:
        return None
    return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)


def addresses(people: Any) -> list[tuple[str, str]]:
    """Names and addresses of recipients, or of one sender; either can be empty."""
    found = []
    for person in people if isinstance(people, list) else (people,):
        told = person.get("emailAddress") if isinstance(person, dict) else None
        if isinstance(told, dict):
            found.append((told.get("name") or "", told.get("address") or ""))
    return found


def _identity(item: Item, people: Iterable[tuple[str, str]]) -> Identity:
    """As ``pipelines.mime.identity_from_headers`` gives it for the same message's header."""
    message_id = " ".join((item.get("internetMessageId") or "").split()).strip("<> ") or None
    sent_at, subject = instant(item.get("sentDateTime")), item.get("subject") or ""
    sender = next((found.lower() for name, address in people if (found := address or name)), None)
    return Identity(message_id, sent_at, sender, subject, header_key(message_id, sent_at, sender, subject))


def _flags(item: Item) -> tuple[str, ...]:
    """In IMAP's words. Graph does not tell whether a message was answered."""
    flag = item.get("flag")
    told = {
        "seen": _true(item.get("isRead")),
        "flagged": isinstance(flag, dict) and flag.get("flagStatus") == "flagged",
        "draft": _true(item.get("isDraft")),
    }
    return tuple(name for name, is_set in told.items() if is_set)


def _true(value: Any) -> bool:
    # In the documentation's sample of delta it is a string.
    return value is True or value == "true"


def _content_mark(item: Item, people: Iterable[list[tuple[str, str]]]) -> str:
    """A digest of what changes with the content, and not with a flag.

    Any edit of a draft counts: the preview shows only its beginning. Sent and received mail can hardly be
    edited, while its time of modification changes with each flag.
    """
    told = [*(item.get(name) for name in _MARKED), *people]
    if _true(item.get("isDraft")):
        told.append(item.get("lastModifiedDateTime"))
    return hashlib.sha256(repr(told).encode("utf-8", "surrogatepass")).hexdigest()[:32]
