"""Messages as IMAP and POP3 bring them: asked for in batches, and looked at before they count as mail."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from pipelines.mime import is_placeholder, normalise
from pipelines.sources.base import Entry, Fetched, FetchFailed

_UNLISTED_SIZE = 256 * 1024
"""Counted for a message whose size the listing did not tell."""
_LONGEST_PLACEHOLDER = 64 * 1024
_PLACEHOLDER_MARKS = (b"Retrieval", b"Microsoft Exchange Server")

Outcome = Fetched | FetchFailed
Key = TypeVar("Key")


def batches(
    entries: Iterable[tuple[Key, Entry]], most_messages: int, most_bytes: int
) -> Iterator[dict[Key, Entry]]:
    """The entries in their order, bounded in messages and in bytes as the listing has them."""
    batch: dict[Key, Entry] = {}
    weight = 0
    for key, entry in entries:
        size = _UNLISTED_SIZE if entry.size is None else entry.size
        if batch and (len(batch) == most_messages or weight + size > most_bytes):
            yield batch
            batch, weight = {}, 0
        batch[key] = entry
        weight += size
    if batch:
        yield batch


def outcome_of(entry: Entry, mime: bytes) -> Outcome:
    """What the server sent for a message: the message, or a reason why this is none."""
    if not mime and entry.size != 0:
        return FetchFailed(entry, "empty-answer", "the server lists the message and sends no content")
    if _may_be_placeholder(mime) and is_placeholder(normalise(mime)):
        told = "Exchange could not convert the message and sent a notice in its place"
        return FetchFailed(entry, "placeholder", told, fallback=mime)
    return Fetched(entry, mime)


def _may_be_placeholder(mime: bytes) -> bool:
    """Cheap: only what may be a placeholder is parsed."""
    return len(mime) <= _LONGEST_PLACEHOLDER and any(
        mime.find(mark, 0, 4096) >= 0 for mark in _PLACEHOLDER_MARKS
    )
