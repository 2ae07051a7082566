"""Mail from files: mbox, Maildir, trees of .eml; one message at a time, bytes as they are."""

import re
from binascii import Error as Base64Error
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pipelines.errors import UsageError

_DATED = re.compile(rb"From .*\b\w{3},? +(\w{3} +\d{1,2}|\d{1,2} +\w{3})\b.*\d{1,2}:\d{2}")
_HEADER = re.compile(rb"[!-9;-~]+[ \t]*:|>From ")
_FIRST_HEADER = re.compile(
    rb"(Return-Path|Received|Delivered-To|Envelope-To|From|Sender|Reply-To|To|Cc|Subject|Date|Message-ID"
    rb"|MIME-Version|Content-Type|DKIM-Signature|ARC-[\w-]+|Authentication-Results|X-[\w-]+)[ \t]*:",
    re.IGNORECASE,
)
"""What a message begins with, in a file whose name does not say that it is one."""
_QUOTED = re.compile(rb">+From ")
_LENGTH = re.compile(rb"Content-Length:[ \t]*(\d+)\s*$", re.IGNORECASE)
_MAILDIR_FLAGS = {"S": "seen", "R": "answered", "F": "flagged", "D": "draft", "T": "deleted"}
_MAILDIR = ("cur", "new", "tmp")


@dataclass(frozen=True, slots=True)
class FoundMail:
    """A message of a file."""

    mime: bytes
    folder: str
    """Where it lay, as a folder path below the root; empty at the root. In a tree an mbox is a folder."""
    flags: frozenset[str] = frozenset()


def read_mail(path: Path) -> Iterator[FoundMail]:
    """Every message in ``path``: an mbox or .eml file, a Maildir, or a folder of any of these.

    Files that hold no mail are passed over. Raises ``UsageError`` for a path that is not there.
    """
    if not path.exists():
        raise UsageError(f"{path} is not there", remedy="name an mbox or .eml file, a Maildir, or a folder")
    if path.is_file():
        yield from _file(path, "", "")
        return
    # Listed before the first message is given out, without files that are empty as yet: the caller
    # may be writing the messages into a file below the same folder.
    for file in sorted(each for each in path.rglob("*") if each.is_file() and _may_hold_mail(each)):
        *levels, last = ["", *file.relative_to(path).parts[:-1]]
        if last in _MAILDIR and (file.parent.parent / "cur").is_dir():
            if last != "tmp":
                yield FoundMail(file.read_bytes(), _maildir_folder(levels[1:]), _flags(file))
        else:
            folder = "/".join([*levels, last][1:])
            yield from _file(file, folder, f"{folder}/{file.stem}".lstrip("/"))


def _may_hold_mail(file: Path) -> bool:
    return file.suffix == ".eml" or (not file.name.startswith(".") and file.stat().st_size > 0)


def _maildir_folder(levels: list[str]) -> str:
    """The folder's path; in Maildir++ all folders lie beside each other, named ``.Projects.2024``."""
    *above, last = ["", *levels]
    names = last.removeprefix(".").split(".") if last.startswith(".") else [last]
    return "/".join(each for each in [*above, *map(_decoded, names)] if each)


def _decoded(name: str) -> str:
    """Modified UTF-7 (RFC 3501, 5.1.3), which Maildir++ keeps names in, as text."""
    from imapclient import imap_utf7

    try:
        return str(imap_utf7.decode(name.encode()))
    except (Base64Error, UnicodeError):
        return name


def _flags(file: Path) -> frozenset[str]:
    letters = file.name.partition(":2,")[2]
    return frozenset(_MAILDIR_FLAGS[each] for each in letters if each in _MAILDIR_FLAGS)


def _file(file: Path, folder: str, mbox_folder: str) -> Iterator[FoundMail]:
    with file.open("rb") as opened:
        first, second = opened.readline(), opened.readline()
    if file.suffix == ".eml":
        yield FoundMail(file.read_bytes(), folder)
    elif first.startswith(b"From ") and (_DATED.match(first) or _HEADER.match(second)):
        yield from (FoundMail(mime, mbox_folder) for mime in _mbox(file))
    elif _FIRST_HEADER.match(first):
        yield FoundMail(file.read_bytes(), folder)


def _mbox(file: Path) -> Iterator[bytes]:
    """The messages of an mbox, each without its separator line and the empty line before the next."""
    with file.open("rb") as opened:
        opened.readline()
        while (message := _message(opened)) is not None:
            yield message


def _message(opened: BinaryIO) -> bytes | None:
    """Read up to and over the next separator; None at the end of the file."""
    lines: list[bytes] = []
    in_header, length = True, None
    for line in iter(opened.readline, b""):
        if line.startswith(b"From ") and _separates(line, lines[-1] if lines else b"", _peek(opened)):
            return _without_gap(lines)
        # mboxrd: one > too many before a From that stood in the text.
        lines.append(line[1:] if _QUOTED.match(line) else line)
        if in_header and (found := _LENGTH.match(line)):
            length = int(found[1])
        if in_header and _blank(line):
            in_header = False
            if length is not None and (body := _counted(opened, length)) is not None:
                return b"".join(lines) + body
    return _without_gap(lines) if lines else None


def _without_gap(lines: list[bytes]) -> bytes:
    """The message without the empty line that every mbox has between it and what follows."""
    return b"".join(lines[:-1] if lines and _blank(lines[-1]) else lines)


def _separates(line: bytes, before: bytes, after: bytes) -> bool:
    """Two signs of three: an empty line before, a date in it, a header after it."""
    signs = (not before or _blank(before), bool(_DATED.match(line)), bool(_HEADER.match(after)))
    return sum(signs) >= 2


def _counted(opened: BinaryIO, length: int) -> bytes | None:
    """The body by its Content-Length (mboxcl), if a separator or the end follows there; else as it was."""
    start = opened.tell()
    body = opened.read(length)
    after = opened.readline()
    if _blank(after):
        after = opened.readline()
    if len(body) == length and (not after or after.startswith(b"From ")):
        return body
    opened.seek(start)
    return None


def _peek(opened: BinaryIO) -> bytes:
    at = opened.tell()
    line = opened.readline()
    opened.seek(at)
    return line


def _blank(line: bytes) -> bool:
    return line in (b"\n", b"\r\n")
