"""From a header block and a body to the parts that hold content (RFC 2046)."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from pipelines.mime import transfer
from pipelines.mime.fields import Block, Fields, read_block
from pipelines.mime.params import Value, is_media_type, parse_value
from pipelines.mime.words import header_text

MAX_DEPTH = 50
"""Multiparts inside one another; a deeper one is kept as one part."""

_DELIMITER_END = re.compile(rb"(--)?[ \t]*(?:\r\n|\n|\r|\Z)")
_LOOKS_LIKE_DELIMITER = re.compile(rb"(?m)^--([!-~](?:[ -~]{0,198}[!-~])??)[ \t]{0,80}\r?\n[!-9;-~]{1,80}:")
_NO_VALUE = Value("", {}, frozenset())


class Part(NamedTuple):
    """A part that holds content, without its transfer encoding."""

    media_type: str
    parameters: dict[str, str]
    disposition: str
    """``attachment``, ``inline`` or empty."""
    name: str | None
    content_id: str | None
    content: bytes
    parent: str
    """The subtype of the multipart it lies in; empty for the message itself."""
    group: int
    """Which multipart: where its body begins."""


class _Node(NamedTuple):
    buffer: bytes
    start: int
    end: int
    parent: str
    group: int
    depth: int


def parts(mime: bytes, block: Block, defects: set[str]) -> Iterator[Part]:
    """The parts of the message whose header block is ``block``, in order."""
    pending = _open(_Node(mime, block.start, len(mime), "", 0, 0), block, defects)
    if isinstance(pending, Part):
        yield pending
        return
    pending.reverse()
    while pending:
        node = pending.pop()
        opened = _open(node, read_block(node.buffer, node.start, node.end, defects), defects)
        if isinstance(opened, Part):
            yield opened
        else:
            pending.extend(reversed(opened))


def _open(node: _Node, block: Block, defects: set[str]) -> Part | list[_Node]:
    """What an entity is: content, or the entities inside it."""
    fields = block.fields
    kind = _value(fields, b"content-type", defects)
    encoding = _encoding(fields)
    media_type = kind.value
    if not is_media_type(media_type):
        if media_type:
            defects.add("content-type-broken")
        media_type = "message/rfc822" if node.parent == "digest" else "text/plain"
    elif media_type.startswith("multipart/"):
        inside = _inside(node, block.body, kind, encoding, defects)
        if inside is not None:
            return inside
        if node.depth < MAX_DEPTH:
            media_type = "text/plain"
    content = node.buffer[block.body : node.end]
    shown = _value(fields, b"content-disposition", defects)
    content_id = fields.get(b"content-id")
    return Part(
        media_type,
        kind.parameters,
        shown.value,
        shown.parameters.get("filename") or kind.parameters.get("name") or None,
        header_text(content_id[0], defects).strip("<> ") or None if content_id else None,
        transfer.decode(content, encoding, defects),
        node.parent,
        node.group,
    )


def _value(fields: Fields, name: bytes, defects: set[str]) -> Value:
    values = fields.get(name)
    if values is None:
        return _NO_VALUE
    found = parse_value(values[0])
    if found.defects:
        defects |= found.defects
    return found


def _encoding(fields: Fields) -> str:
    values = fields.get(b"content-transfer-encoding")
    if values is None:
        return ""
    token = values[0].partition(b";")[0].partition(b"(")[0].strip().strip(b"\"'").lower()
    return token.decode("ascii", "replace")


def _inside(node: _Node, start: int, kind: Value, encoding: str, defects: set[str]) -> list[_Node] | None:
    """The entities in a multipart whose body is at ``start``; None where it cannot be taken apart."""
    if node.depth >= MAX_DEPTH:
        defects.add("nested-too-deep")
        return None
    buffer, end = node.buffer, node.end
    if encoding in ("base64", "quoted-printable") and b"\n--" not in buffer[start:end]:
        defects.add("multipart-encoded")
        buffer = transfer.decode(buffer[start:end], encoding, defects)
        start, end = 0, len(buffer)
    boundary = kind.parameters.get("boundary", "").encode()
    ranges, closed = _split(buffer, boundary, start, end, defects) if boundary else ([], False)
    if not ranges:
        if not buffer[start:end].replace(b"--" + boundary + b"--", b"").strip():
            return []
        defects.add("boundary-not-found" if boundary else "boundary-missing")
        seen = _LOOKS_LIKE_DELIMITER.search(buffer, start, end)
        if seen is None:
            return None
        ranges, closed = _split(buffer, seen[1], start, end, defects)
    if not closed:
        defects.add("boundary-not-closed")
    subtype = kind.value.partition("/")[2]
    return [_Node(buffer, begin, stop, subtype, start, node.depth + 1) for begin, stop in ranges]


def _split(
    buffer: bytes, boundary: bytes, start: int, end: int, defects: set[str]
) -> tuple[list[tuple[int, int]], bool]:
    """Ranges between the delimiter lines of RFC 2046 §5.1.1, and whether the last one was there.

    A last delimiter that others follow stands between parts: some programs give a multipart the
    boundary of the one it lies in, and others put parts behind a message that was finished.
    """
    delimiter = b"--" + boundary
    found: list[tuple[int, int]] = []
    begin, closed = -1, False
    position = start
    while (at := buffer.find(delimiter, position, end)) >= 0:
        position = at + len(delimiter)
        if at > start and buffer[at - 1] not in b"\r\n":
            continue
        line_end = _DELIMITER_END.match(buffer, position, end)
        if line_end is None:
            continue
        if closed:
            defects.add("boundary-closed-early")
        if begin >= 0 and not (closed and not buffer[begin:at].strip()):
            found.append((begin, max(begin, _before_break(buffer, at))))
        begin = position = line_end.end()
        closed = line_end[1] is not None
    if 0 <= begin < end and not closed:
        found.append((begin, end))
    return found, closed


def _before_break(buffer: bytes, at: int) -> int:
    """The line break in front of a delimiter belongs to the delimiter."""
    return at - 2 if buffer.startswith(b"\r\n", at - 2) and at >= 2 else at - 1
