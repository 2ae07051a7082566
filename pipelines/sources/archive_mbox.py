"""The messages of an mbox file, whoever wrote it, found without holding more than one of them.

There is no one mbox: RFC 4155 describes a default, and names the ways in which files differ from it.
Separators come with and without a date; lines of text that begin with ``From `` are quoted by one ``>``
(mboxo, mboxcl), quoted again where they were quoted before (mboxrd), or left alone and counted by
Content-Length (mboxcl2); lines end in LF or CRLF.
"""

import os
import re
from collections.abc import Iterator
from datetime import datetime
from typing import BinaryIO, NamedTuple

from pipelines.mime.dates import parse_date
from pipelines.sources.archive_headers import empty_line

_DATED = re.compile(rb"From .*?\b(\w{3},? +(?:\w{3} +\d{1,2}|\d{1,2} +\w{3})\b.*\d{1,2}:\d{2}.*)")
_HEADER = re.compile(rb"[!-9;-~]+[ \t]*:|>From .*\d:\d\d")
_LENGTH = re.compile(rb"\ncontent-length:[ \t]*(\d{1,15})[ \t]*\r?\n")
_QUOTED = re.compile(rb"(?m)^>(?=>*From )")
_BARE = (b"\n\nFrom ", b"\n\r\nFrom ")
_PIECE = 1 << 20
_LINE = 1000
"""Bytes of a line that are looked at."""
_HEAD = 1 << 15
"""Bytes of a message in which Content-Length is looked for."""


class Span(NamedTuple):
    """Where a message lies in the file, its separator line included."""

    at: int
    end: int


class MboxMessage(NamedTuple):
    """A message without its separator and the quoting of the format."""

    mime: bytes
    dated: datetime | None
    """The separator's date: of delivery, in UTC where it names no zone (RFC 4155, appendix A)."""


def begins_mbox(head: bytes) -> bool:
    """Whether a file that begins with ``head`` is an mbox."""
    first, second, *_ = [*head[_before(head) :].split(b"\n", 2), b""]
    return _begins(first, second)


def _before(head: bytes) -> int:
    """What some files have before the first separator: a byte order mark, empty lines."""
    return len(head) - len(head.removeprefix(b"\xef\xbb\xbf").lstrip(b"\r\n"))


def _begins(first: bytes, second: bytes) -> bool:
    return first.startswith(b"From ") and bool(_DATED.match(first[:_LINE]) or _HEADER.match(second))


def read_message(file: BinaryIO, span: Span) -> MboxMessage:
    """The message at ``span``; its line ends stay as they are."""
    file.seek(span.at)
    separator = file.readline()
    content = file.read(max(0, span.end - span.at - len(separator)))
    return MboxMessage(_unquoted(content), _date(separator))


def spans(file: BinaryIO) -> Iterator[Span]:
    """Every message of the file from its beginning to its present end."""
    pieces = _Pieces(file.fileno())
    at = _before(pieces.part(0, _LINE))
    while separator := pieces.line(at):
        end, following = _end(pieces, at + len(separator))
        yield Span(at, end)
        at = following


def _end(pieces: "_Pieces", start: int) -> tuple[int, int]:
    """Where the message that begins at ``start`` ends, and where what follows it begins."""
    counted = _counted_end(pieces, start)
    if counted is not None:
        return counted, _after_gap(pieces, counted)
    newline = start - 1
    while (newline := pieces.find(b"\nFrom ", newline)) >= 0:
        if _separates(pieces, newline + 1, start):
            return _without_gap(pieces, start, newline + 1), newline + 1
        newline += 1
    return _without_gap(pieces, start, pieces.size), pieces.size


def _separates(pieces: "_Pieces", at: int, start: int) -> bool:
    """Two signs of three: an empty line before, a date in it, a header after it."""
    line = pieces.line(at)
    signs = (
        at == start or pieces.part(at - 3, 3).endswith((b"\n\n", b"\n\r\n")),
        bool(_DATED.match(line)),
        bool(_HEADER.match(pieces.line(at + len(line)))),
    )
    return sum(signs) >= 2


def _counted_end(pieces: "_Pieces", start: int) -> int | None:
    """The end by Content-Length (mboxcl, mboxcl2), if a separator or the end follows there."""
    head = pieces.part(start, _HEAD)
    body = empty_line(head)[1]
    length = _LENGTH.search(b"\n" + head[:body].lower())
    if length is None:
        return None
    end = start + body + int(length[1])
    after = _after_gap(pieces, end)
    separator = pieces.line(after)
    follows = _begins(separator, pieces.line(after + len(separator)))
    return end if follows or after == pieces.size else None


def _after_gap(pieces: "_Pieces", end: int) -> int:
    """Behind the empty line that every mbox has between a message and what follows."""
    line = pieces.line(end)
    return end + len(line) if line in (b"\n", b"\r\n") else end


def _without_gap(pieces: "_Pieces", start: int, end: int) -> int:
    """The end of the message before that empty line."""
    tail = pieces.part(end - 3, 3)
    for gap in (b"\r\n", b"\n"):
        if tail.endswith(b"\n" + gap) and end - len(gap) >= start:
            return end - len(gap)
    return end


def _unquoted(content: bytes) -> bytes:
    """Without one ``>`` before each ``From `` that has any; as it is if the writer quotes nothing."""
    if b">From " not in content or any(bare in content for bare in _BARE):
        return content
    headers, _ = empty_line(content)
    return content[:headers] + _QUOTED.sub(b"", content[headers:])


def _date(separator: bytes) -> datetime | None:
    """The date of delivery, but from a ``From - `` line: Mozilla writes there when it filed the message."""
    found = _DATED.match(separator[:_LINE])
    if found is None or separator.startswith(b"From - "):
        return None
    return parse_date(found[1].decode("ascii", "replace"), set())


class _Pieces:
    """A file looked at by offset, one piece of it held at a time."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._start, self._piece = 0, b""
        self.size = os.fstat(descriptor).st_size

    def part(self, at: int, size: int) -> bytes:
        """Up to ``size`` bytes from ``at`` on; fewer at the end of the file."""
        at = max(at, 0)
        size = min(size, self.size - at)
        if at < self._start or at + size > self._start + len(self._piece):
            self._load(at)
        return self._piece[at - self._start : max(0, at - self._start + size)]

    def line(self, at: int) -> bytes:
        """The line that begins at ``at``, as much of it as is looked at; nothing at the end of the file."""
        beginning = self.part(at, _LINE)
        return beginning[: beginning.find(b"\n") + 1] or beginning

    def find(self, wanted: bytes, at: int) -> int:
        """Where ``wanted`` stands at or after ``at``; -1 where it does not."""
        if not self._start <= at <= self._start + len(self._piece):
            self._load(at)
        while (found := self._piece.find(wanted, at - self._start)) < 0:
            at = max(at, self._start + len(self._piece) - len(wanted) + 1)
            self._load(at)
            if len(self._piece) < len(wanted):
                return -1
        return self._start + found

    def _load(self, at: int) -> None:
        self._start, self._piece = at, os.pread(self._descriptor, _PIECE, at)
