"""Header blocks: where they end, and the fields in them (RFC 5322 §2.2, RFC 2045 §3)."""

import re
from collections.abc import Iterable
from typing import NamedTuple

from pipelines.mime.words import raw_text

Fields = dict[bytes, list[bytes]]
"""Values, unfolded and stripped, of the fields Mailover reads, by lower-case name."""

WANTED = frozenset(
    b"""message-id date subject from sender reply-to to cc bcc in-reply-to references list-id auto-submitted
    authentication-results content-type content-transfer-encoding content-disposition content-id""".split()
)
_NAME = re.compile(rb"[!-9;-~]+[ \t]*")
_BLANK_LINE = re.compile(rb"\n\r?\n")
_LINES = re.compile(
    rb"\n(?![ \t])(?:((?i:%s)):([^\n]*+(?:\n[ \t][^\n]*+)*+)|(?![!-9;-~]+:|\Z))"
    % b"|".join(re.escape(name) for name in sorted(WANTED))
)
"""A field Mailover reads, or else, with nothing in the groups, a line that begins no field."""
_JUNK = (b"", b"")
_LONE_CR = re.compile(rb"(?<!\r)\r+\n|\r")
_STRAY = re.compile(
    rb"(?i)(?:received|return-path|mime-version|delivered-to|status|(?:x|content|list|arc|dkim)-[!-9;-~]*)"
    rb"[ \t]*"
)
_ENVELOPE = re.compile(rb"(?:\xef\xbb\xbf)?[\r\n]*>?From (?![ \t]*:)[^\r\n]*(?:\r\n|\n|\r)")


class Block(NamedTuple):
    """A header block in a larger buffer."""

    fields: Fields
    start: int
    end: int
    """After the last header line's break: the block as delivered is ``[start:end]``."""
    body: int


def unix_lines(content: bytes) -> bytes:
    """CRLF and lone CR as LF."""
    if b"\r" in content:
        content = content.replace(b"\r\n", b"\n")
        if b"\r" in content:
            content = _LONE_CR.sub(b"\n", content)
    return content


def unfold(block: bytes) -> list[bytes]:
    """The logical lines of a block (RFC 5322 §2.2.3), any line ends."""
    return unix_lines(block).replace(b"\n ", b" ").replace(b"\n\t", b"\t").split(b"\n")


def read_block(mime: bytes, start: int, end: int, defects: set[str]) -> Block:
    """Read the header block that begins at ``start`` of ``mime[start:end]``."""
    if mime.startswith((b"\n", b"\r"), start):
        body = start + (2 if mime.startswith(b"\r\n", start) else 1)
        return Block({}, start, start, min(body, end))
    stop, body = _blank_line(mime, start, end)
    block = mime[start:stop]
    if b"\n" not in block:
        block = unix_lines(block)
    found = _LINES.findall(b"\n" + block)
    if _JUNK in found or block.startswith((b" ", b"\t")):
        return _junk_block(mime, start, stop, body, defects)
    return Block(_by_name(found), start, stop, body)


def _by_name(found: Iterable[tuple[bytes, bytes]]) -> Fields:
    fields: Fields = {}
    for name, value in found:
        line = value.replace(b"\r\n", b"").replace(b"\n", b"") if b"\n" in value else value
        fields.setdefault(name.lower(), []).append(line.strip())
    return fields


def _blank_line(mime: bytes, start: int, end: int) -> tuple[int, int]:
    """Where the header lines end and where the body begins."""
    blank = _BLANK_LINE.search(mime, start, end)
    stop, body = (blank.start() + 1, blank.end()) if blank else (end, end)
    # Old Macintosh mail ends its lines with CR alone.
    line_feed = mime.find(b"\n", start, stop)
    if (
        found := mime.find(b"\r\r", start, stop if line_feed < 0 else line_feed)
    ) >= 0 and found + 2 != line_feed:
        stop, body = found + 1, found + 2
    return stop, body


def _junk_block(mime: bytes, start: int, stop: int, body: int, defects: set[str]) -> Block:
    """Lines that are no header: skipped where headers go on after them, else the body begins there."""
    lines = mime[start:stop].splitlines(keepends=True)
    last, position, end = -1, start, start
    for number, line in enumerate(lines):
        if line[:1] in b" \t" or _is_field(line, known=last + 1 != number):
            last, end = number, position + len(line)
        position += len(line)
    kept: list[bytes] = []
    for line in lines[: last + 1]:
        if _is_field(line, known=False):
            name, _, value = line.partition(b":")
            kept.append(name.rstrip(b" \t") + b":" + value)
        elif kept and line[:1] in b" \t":
            kept.append(line)
        else:
            defects.add("header-junk")
    if end != stop:
        defects.add("header-end-missing")
        stop = body = end
    return Block(_by_name(_LINES.findall(b"\n" + unix_lines(b"".join(kept)))), start, stop, body)


def _is_field(line: bytes, *, known: bool) -> bool:
    """Whether the line begins a header field; ``known``: of a name that mail uses."""
    name, colon, _ = line.partition(b":")
    if not colon or _NAME.fullmatch(name) is None:
        return False
    return not known or name.strip().lower() in WANTED or _STRAY.fullmatch(name) is not None


def after_envelope(mime: bytes, defects: set[str]) -> int:
    """Where the message begins: behind a byte order mark and an mbox ``From `` line."""
    if mime.startswith((b"From ", b">From ", b"\xef\xbb\xbf", b"\r", b"\n")):
        match = _ENVELOPE.match(mime)
        if match is not None:
            defects.add("mbox-from-line")
            return match.end()
        if mime.startswith(b"\xef\xbb\xbf"):
            defects.add("byte-order-mark")
            return 3
    return 0


def group_fields(block: bytes, defects: set[str]) -> list[tuple[str, str]]:
    """Every field of a small block (a report's group): lower-case name, value with spaces folded."""
    found = []
    for line in unfold(block):
        name, colon, value = line.partition(b":")
        if colon:
            found.append(
                (raw_text(name, defects).strip().lower(), " ".join(raw_text(value, defects).split()))
            )
    return found
