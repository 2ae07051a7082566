"""Mail from files: mbox, Maildir, trees of .eml; one message at a time, bytes as they are."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipelines.errors import UsageError

_SEPARATOR = re.compile(rb"From (\S+|\S.*\S) +\w{3} +\w{3} +\d{1,2} +\d{2}:\d{2}")
_MAILDIR_FLAGS = {"S": "seen", "R": "answered", "F": "flagged", "D": "draft", "T": "deleted"}


@dataclass(frozen=True, slots=True)
class FoundMail:
    """A message of a file."""

    mime: bytes
    folder: str
    """Where its file lay, as a folder path below the root; empty at the root."""
    flags: frozenset[str] = frozenset()


def read_mail(path: Path) -> Iterator[FoundMail]:
    """Every message in ``path``: an mbox or .eml file, a Maildir, or a folder of any of these.

    Raises ``UsageError`` for a path that is not there.
    """
    if not path.exists():
        raise UsageError(f"{path} is not there", remedy="name an mbox or .eml file, a Maildir, or a folder")
    if path.is_file():
        yield from _file(path, "")
        return
    for file in sorted(each for each in path.rglob("*") if each.is_file()):
        parts = file.relative_to(path).parts[:-1]
        if parts and parts[-1] in ("cur", "new"):
            yield FoundMail(file.read_bytes(), "/".join(parts[:-1]), _flags(file))
        elif parts[-1:] != ("tmp",) and not file.name.startswith("."):
            yield from _file(file, "/".join(parts))


def _flags(file: Path) -> frozenset[str]:
    letters = file.name.partition(":2,")[2]
    return frozenset(_MAILDIR_FLAGS[each] for each in letters if each in _MAILDIR_FLAGS)


def _file(file: Path, folder: str) -> Iterator[FoundMail]:
    with file.open("rb") as lines:
        first = lines.readline()
    if _SEPARATOR.match(first) and file.suffix != ".eml":
        yield from (FoundMail(mime, folder) for mime in _mbox(file))
    elif file.suffix in (".eml", "") or b":" in first:
        yield FoundMail(file.read_bytes(), folder)


def _mbox(file: Path) -> Iterator[bytes]:
    """The messages of an mbox, each without its separator line and the empty line before the next."""
    message: list[bytes] = []
    with file.open("rb") as lines:
        blank = True
        next(lines)
        for line in lines:
            if blank and _SEPARATOR.match(line):
                yield b"".join(message[:-1])
                message, blank = [], False
                continue
            blank = line in (b"\n", b"\r\n")
            # mboxrd: one > too many before a From that stood in the text.
            message.append(line[1:] if re.match(rb">+From ", line) else line)
    yield b"".join(message)
