"""One message of an archive: what kind of file holds it, and how it is read from there."""

import plistlib
import re
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple
from xml.parsers.expat import ExpatError

from pipelines.sources.archive_headers import flags_of
from pipelines.sources.archive_mbox import Span, begins_mbox, read_message


class Form(StrEnum):
    """How a file holds messages."""

    MBOX = "mbox"
    MAILDIR = "maildir"
    """One message, its flags in the name; so decided by the directory, never by ``form_of``."""
    EMLX = "emlx"
    """One message between its length and a property list (Apple Mail)."""
    EML = "eml"
    """One message and nothing else."""


class Where(NamedTuple):
    """Where a message lies; ``at`` and ``end`` are its bytes in an mbox."""

    path: Path
    form: Form
    at: int = 0
    end: int = 0


class Letter(NamedTuple):
    """A message as its file holds it, without what the format adds."""

    mime: bytes
    flags: tuple[str, ...] = ()
    dated: datetime | None = None
    """When it was delivered or received, where the format keeps that beside the message."""


class NotReadError(Exception):
    """A file whose mail cannot be had; the text says why."""


_BY_NAME = {".eml": Form.EML, ".emlx": Form.EMLX}
_FIRST_HEADER = re.compile(
    rb"(Return-Path|Received|Delivered-To|Envelope-To|From|Sender|Reply-To|To|Cc|Subject|Date|Message-ID"
    rb"|MIME-Version|Content-Type|DKIM-Signature|ARC-[\w-]+|Authentication-Results|X-[\w-]+)[ \t]*:",
    re.IGNORECASE,
)
"""What a message begins with, in a file whose name does not say that it is one."""
_UNREAD = {
    ".pst": "an Outlook data file: convert it, with readpst for instance",
    ".ost": "an Outlook data file: convert it, with readpst for instance",
    ".olm": "an archive of Outlook for Mac: export to .mbox or .eml",
    ".msg": "an Outlook message: save it as .eml",
    ".dbx": "a folder of Outlook Express: export to .eml",
    ".nsf": "a database of Notes: export to .eml",
}
_UNREAD_FIRST = {
    b"\x01\x01\x01\x01": "a mailbox in MMDF form: convert it to mbox",
    b"*mbx*": "a mailbox in UW IMAP's own form: convert it to mbox",
    b"BABYL OPTIONS": "a mailbox in Babyl form: convert it to mbox",
}
_PACKED = frozenset((".zip", ".gz", ".tgz", ".bz2", ".xz", ".tar", ".7z"))
_MAILDIR_INFO = re.compile(r"[:;!]2,([A-Z]*)")
"""The separator is ``:`` but on file systems that forbid it."""
_MAILDIR_FLAGS = {"S": "seen", "R": "answered", "F": "flagged", "D": "draft", "T": "deleted"}
_EMLX_FLAGS = {0: "seen", 1: "deleted", 2: "answered", 4: "flagged", 6: "draft"}
"""Bit numbers. Apple documents none; these are what Mozilla's importer reads and names."""


def form_of(path: Path) -> Form | str:
    """How the file holds messages, or why it is passed over.

    Raises ``NotReadError`` for mail in a form that cannot be read, ``OSError`` where the file cannot.
    """
    suffix = path.suffix.lower()
    if path.stat().st_size == 0:
        return "empty"
    if path.name.startswith("._"):
        return "what macOS keeps beside a file"
    if path.name.lower().endswith(".partial.emlx"):
        raise NotReadError("Apple Mail keeps its attachments in other files: export the mailbox from there")
    if suffix in _BY_NAME:
        return _BY_NAME[suffix]
    with path.open("rb") as file:
        head = file.read(4096)
    if begins_mbox(head):
        return Form.MBOX
    if _FIRST_HEADER.match(head):
        return Form.EML
    reasons = [reason for first, reason in _UNREAD_FIRST.items() if head.startswith(first)]
    if reasons or suffix in _UNREAD:
        raise NotReadError(reasons[0] if reasons else _UNREAD[suffix])
    return "packed: unpack it first" if suffix in _PACKED else "no mail"


def read_letter(where: Where) -> Letter:
    """The message at ``where``. Raises ``NotReadError``, or ``OSError`` where the file cannot be read."""
    if where.form is Form.MBOX:
        with where.path.open("rb") as file:
            return mbox_letter(*read_message(file, Span(where.at, where.end)))
    content = where.path.read_bytes()
    if where.form is Form.EMLX:
        return _emlx_letter(content)
    info = _MAILDIR_INFO.search(where.path.name) if where.form is Form.MAILDIR else None
    if info:
        flags = [_MAILDIR_FLAGS[each] for each in info[1] if each in _MAILDIR_FLAGS]
        return Letter(content, tuple(flags))
    return Letter(content, flags_of(content))


def mbox_letter(mime: bytes, dated: datetime | None) -> Letter:
    """A message of an mbox, whose flags stand in its headers."""
    return Letter(mime, flags_of(mime), dated)


def _emlx_letter(content: bytes) -> Letter:
    start = content.find(b"\n") + 1
    length = content[:start].strip()
    end = start + int(length) if length.isdigit() else 0
    if not start <= end <= len(content) or not start:
        raise NotReadError("not whole: it does not hold as many bytes as its first line says")
    told = _property_list(content[end:])
    bits, received = told.get("flags", 0), told.get("date-received")
    flags = [flag for bit, flag in _EMLX_FLAGS.items() if isinstance(bits, int) and bits >> bit & 1]
    dated = (
        datetime.fromtimestamp(received, UTC) if isinstance(received, int) and 0 < received < 2**32 else None
    )
    return Letter(content[start:end], tuple(flags), dated)


def _property_list(content: bytes) -> dict[str, Any]:
    """Apple's notes on the message; nothing where they are damaged: the message is whole without them."""
    try:
        told = plistlib.loads(content)
    except (plistlib.InvalidFileException, ExpatError, ValueError, IndexError, OverflowError):
        return {}
    return told if isinstance(told, dict) else {}
