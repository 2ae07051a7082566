"""What the headers of an archived message tell: its flags, when it was received, and its content apart."""

import hashlib
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from pipelines.mime.dates import parse_date

_STATE = re.compile(
    rb"\n(Status|X-Status|X-Keywords|X-UID|X-IMAP|X-IMAPbase|X-Mozilla-Status2?|X-Mozilla-Keys|Content-Length|Lines)"
    rb":([^\n]*(?:\n[ \t][^\n]*)*)"
)
"""Headers in which mail programs keep the state of a message in a file, and change it in place."""
_DATES = re.compile(rb"\n(Received|Date):([^\n]*(?:\n[ \t][^\n]*)*)", re.IGNORECASE)
_MOZILLA = {0x1: "seen", 0x2: "answered", 0x4: "flagged", 0x8: "deleted"}
"""Bits of X-Mozilla-Status (Thunderbird's nsMsgMessageFlags); 8: deleted, the folder not yet compacted."""
_LETTERS = {
    b"Status": {"R": "seen"},
    b"X-Status": {"A": "answered", "F": "flagged", "T": "draft", "D": "deleted"},
}
"""As Dovecot, mutt and UW IMAP write them."""
_OLDEST = datetime(1980, 1, 1, tzinfo=UTC)


def empty_line(mime: bytes) -> tuple[int, int]:
    """Where the line begins and ends that parts headers and text; at the end where there is none."""
    if mime.startswith((b"\n", b"\r\n")):
        return 0, mime.index(b"\n") + 1
    unix = mime.find(b"\n\n")
    dos = mime.find(b"\n\r\n", 0, unix + 1 if unix >= 0 else len(mime))
    if dos >= 0:
        return dos + 1, dos + 3
    return (unix + 1, unix + 2) if unix >= 0 else (len(mime), len(mime))


def content_digest(mime: bytes) -> str:
    """SHA-256 in hex of the message without the state that mail programs keep in it.

    So a message keeps its digest when it is read, flagged or given a keyword.
    """
    head = _head(mime)
    digest = hashlib.sha256(_STATE.sub(b"", head)[1:])
    digest.update(memoryview(mime)[len(head) - 1 :])
    return digest.hexdigest()


def flags_of(mime: bytes) -> tuple[str, ...]:
    """Flags from Status, X-Status, X-Keywords and Mozilla's headers, as ``Entry.flags`` has them."""
    return tuple(dict.fromkeys(_flags(mime)))


def _flags(mime: bytes) -> Iterator[str]:
    for name, value in _STATE.findall(_head(mime)):
        text = value.decode("ascii", "replace").strip()
        if name in _LETTERS:
            yield from (flag for letter, flag in _LETTERS[name].items() if letter in text)
        elif name == b"X-Mozilla-Status":
            bits = int(text, 16) if re.fullmatch("[0-9a-fA-F]{1,8}", text) else 0
            yield from (flag for bit, flag in _MOZILLA.items() if bits & bit)
        elif name in (b"X-Keywords", b"X-Mozilla-Keys"):
            yield from text.split()


def received_at(mime: bytes, dated: datetime | None, now: datetime) -> datetime | None:
    """When the message was received, as far as its file tells.

    The topmost Received header is the last server's; else the date that the file itself keeps
    (``dated``); else Date. None where none of them lies between 1980 and tomorrow.
    """
    found: dict[bytes, datetime | None] = {}
    for name, value in _DATES.findall(_head(mime)):
        found.setdefault(name.lower(), _date(value))
    candidates = (found.get(b"received"), dated, found.get(b"date"))
    latest = now + timedelta(days=1)
    return next((each for each in candidates if each and _OLDEST <= each <= latest), None)


def _date(value: bytes) -> datetime | None:
    """The date of a Received header stands behind its last semicolon (RFC 5321, 4.4)."""
    text = b" ".join(value.rpartition(b";")[2].split()).decode("ascii", "replace")
    return parse_date(text, set())


def _head(mime: bytes) -> bytes:
    """A line feed and the header block, so that every field begins behind one."""
    return b"\n" + mime[: empty_line(mime)[0]]
