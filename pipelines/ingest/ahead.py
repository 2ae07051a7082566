"""Messages with their records, which another process makes while this one goes on with earlier ones."""

import gc
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeGuard, TypeVar

from pipelines.mime.process import Made, MimeProcess, MimeProcesses, make_record

MOST_MESSAGES = 2_000
"""Messages that wait: so many get their records while a batch is written."""
MOST_BYTES = 8 * 1024 * 1024
_SENT_MESSAGES = 100
_SENT_BYTES = 512 * 1024
"""Of messages that are sent together. A larger one gets its record here, and is in memory once."""

Item = TypeVar("Item")


def with_records(
    items: Iterable[Item], mime_of: Callable[[Item], bytes | None], count: int, processes: MimeProcesses
) -> Generator[tuple[Item, Made | None], None, None]:
    """The items in their order, with the records of those that are messages.

    ``mime_of``: the bytes of an item; None if it is no message. ``count``: how many there are.
    If ``items`` raises, so does this, after what came before.
    """
    with processes.borrowed(count) as process:
        if process:
            # So many objects come and go that all others would be looked through for garbage, often.
            gc.freeze()
            try:
                yield from _read_ahead(items, mime_of, process)
            finally:
                gc.unfreeze()
        else:
            for item in items:
                mime = mime_of(item)
                yield item, None if mime is None else make_record(mime)


def _read_ahead(
    items: Iterable[Item], mime_of: Callable[[Item], bytes | None], process: MimeProcess
) -> Iterator[tuple[Item, Made | None]]:
    waiting: deque[_Chunk[Item]] = deque()
    failure: Exception | None = None
    try:
        for chunk in _chunks(items, mime_of):
            # Until it has started, this process makes them in the time that it would wait.
            chunk.is_asked = process.has_started and process.ask(list(filter(_is_sent, chunk.mimes)))
            waiting.append(chunk)
            while waiting and (not waiting[0].is_asked or _are_too_many(waiting)):
                yield from _answered(waiting.popleft(), process)
    except Exception as error:  # noqa: BLE001 - raised again below, after what came before
        failure = error
    while waiting:
        yield from _answered(waiting.popleft(), process)
    if failure:
        raise failure


@dataclass(slots=True)
class _Chunk(Generic[Item]):
    """Items whose messages are sent together."""

    items: list[Item] = field(default_factory=list)
    mimes: list[bytes | None] = field(default_factory=list)
    bytes: int = 0
    is_asked: bool = False


def _chunks(items: Iterable[Item], mime_of: Callable[[Item], bytes | None]) -> Iterator[_Chunk[Item]]:
    """If ``items`` raises, so does this, after what came before."""
    chunk = _Chunk[Item]()
    try:
        for item in items:
            mime = mime_of(item)
            chunk.items.append(item)
            chunk.mimes.append(mime)
            chunk.bytes += len(mime or b"")
            if len(chunk.items) == _SENT_MESSAGES or chunk.bytes >= _SENT_BYTES:
                yield chunk
                chunk = _Chunk[Item]()
    except Exception:
        yield chunk
        raise
    yield chunk


def _is_sent(mime: bytes | None) -> TypeGuard[bytes]:
    return mime is not None and len(mime) <= _SENT_BYTES


def _are_too_many(waiting: Iterable[_Chunk[Item]]) -> bool:
    return (
        sum(len(each.items) for each in waiting) > MOST_MESSAGES
        or sum(each.bytes for each in waiting) > MOST_BYTES
    )


def _answered(chunk: _Chunk[Item], process: MimeProcess) -> Iterator[tuple[Item, Made | None]]:
    """A chunk with its records, made here where the process has ended."""
    answers = process.answer() if chunk.is_asked else None
    made = iter(answers or ())
    for item, mime in zip(chunk.items, chunk.mimes, strict=True):
        if mime is None:
            yield item, None
        else:
            yield item, next(made) if answers and _is_sent(mime) else make_record(mime)
