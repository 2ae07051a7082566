"""UID SEARCH and UID FETCH on an open folder, read without imapclient's character-wise lexer.

imaplib hands a FETCH response over as a run of ``(text, literal)`` pairs that ends with
plain bytes (RFC 3501, 7.4.2). Items come in any order and are read by their names.
"""

import imaplib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Any, cast

from imapclient import IMAPClient
from imapclient.datetime_util import format_criteria_date
from imapclient.response_parser import parse_fetch_response

from pipelines.sources.mail_faults import CommandRefusedError

_MAXIMUM_LINE = 1 << 24
"""Bytes; imaplib's own limit ends a UID SEARCH after some 100,000 messages."""
imaplib._MAXLINE = max(imaplib._MAXLINE, _MAXIMUM_LINE)  # type: ignore[attr-defined]  # noqa: SLF001

_WINDOW = 50_000
"""UIDs looked for in one SEARCH of a large folder, at first."""

_DAY = timedelta(days=1)

_UID = re.compile(rb"[ (]UID (\d+)", re.IGNORECASE)
_SIZE = re.compile(rb"RFC822\.SIZE (\d+)", re.IGNORECASE)
_DATE = re.compile(rb'INTERNALDATE "([^"]*)"', re.IGNORECASE)
_FLAGS = re.compile(rb"FLAGS \(([^)]*)\)", re.IGNORECASE)
_LITERAL = re.compile(rb"(?P<before>.*)BODY\[(?P<section>[^]]*)\] \{(?P<size>\d+)\}", re.IGNORECASE)
_LIST = re.compile(rb'\(([^()]*)\) (?:"([^"\\])"|NIL) (?:"([^"\\]*)"|([^\s"\\(){}%*]+))', re.IGNORECASE)
"""A line as servers mostly write it: no literal, nothing escaped."""
_INSTANT = re.compile(rb"([ \d]?\d)-(\w{3})-(\d{4}) (\d\d):(\d\d):(\d\d) ([-+])(\d\d)(\d\d)")
_REFUSAL = re.compile(r"command error: BAD \[b(['\"])(.*)\1\]", re.DOTALL)
_MONTHS = {
    name: number
    for number, name in enumerate(b"jan feb mar apr may jun jul aug sep oct nov dec".split(), start=1)
}

ListLine = tuple[tuple[bytes, ...], bytes | None, bytes | str]
"""Attributes, delimiter and the name, not decoded."""
Response = list[tuple[bytes, bytes] | bytes]
"""One FETCH response: its literals with the text before each, and the text after the last."""


@dataclass(frozen=True, slots=True)
class Listed:
    """What UID FETCH tells of a message beside its content."""

    size: int | None
    received_at: datetime | None
    flags: tuple[str, ...]


def list_lines(client: IMAPClient, pattern: str = "*") -> list[ListLine]:
    """The LIST lines for ``pattern``. Raises ``imaplib.IMAP4.error`` where the server refuses it."""
    library = cast(Any, client)
    status, answers = library._imap.list('""', library._normalise_folder(pattern))  # noqa: SLF001
    library._checkok("list", status, answers)  # noqa: SLF001
    lines = [answer for answer in answers if answer]
    found = [_LIST.fullmatch(line) if isinstance(line, bytes) else None for line in lines]
    if None in found:
        return cast(list[ListLine], library._proc_folder_list(lines))  # noqa: SLF001
    return [(tuple(each[1].split()), each[2], each[3] or each[4] or b"") for each in found if each]


def search(client: IMAPClient, criteria: str) -> list[int]:
    """UIDs that ``criteria`` match, ascending, each once. Raises ``CommandRefusedError``."""
    answers = _run(client, "SEARCH", criteria)
    # MODSEQ and the like stand in parentheses behind the numbers.
    words = chain.from_iterable(answer.partition(b"(")[0].split() for answer in answers)
    return sorted({int(word) for word in words})


def windows(after: int, uid_next: int | None, exists: int) -> Iterator[tuple[int, int | None]]:
    """Ranges of UIDs that cover all above ``after``, so that no answer grows with the folder.

    The last one is open: UIDNEXT (where the server tells it) only spares commands, it does
    not end the listing.
    """
    low, width = after + 1, _WINDOW
    while exists > _WINDOW and uid_next is not None and low + width < uid_next:
        yield low, low + width - 1
        low, width = low + width, width * 2 if exists * 4 < uid_next else width
    yield low, None


def search_window(client: IMAPClient, low: int, high: int | None) -> list[int]:
    """The UIDs in a window, ascending. ``n:*`` names at least the last message: those below are dropped."""
    found = search(client, f"UID {low}:{high or '*'}")
    return [uid for uid in found if low <= uid and (high is None or uid <= high)]


def search_days(client: IMAPClient, since: datetime, before: datetime) -> list[int]:
    """The UIDs of at least all that was received from ``since`` up to ``before``, ascending.

    SEARCH knows days without time, in whatever zone each INTERNALDATE is in (RFC 3501, 6.4.4):
    a day is added on both sides.
    """
    first = format_criteria_date(since - _DAY).decode()
    last = format_criteria_date(before + 2 * _DAY - timedelta.resolution).decode()
    return search(client, f"SINCE {first} BEFORE {last}")


def fetch_listed(client: IMAPClient, uids: Sequence[int]) -> dict[int, Listed]:
    """Size, time and flags by UID, for those the server answers for. Raises ``CommandRefusedError``."""
    responses, refusal = _fetch(client, uids, "(UID RFC822.SIZE INTERNALDATE FLAGS)")
    listed: dict[int, Listed] = {}
    for response in responses:
        text = b" ".join(piece if isinstance(piece, bytes) else piece[0] for piece in response)
        # Keywords can be spelled like items.
        flags, rest = _FLAGS.search(text), _FLAGS.sub(b"", text)
        size, date, uid = _SIZE.search(rest), _DATE.search(rest), _UID.search(rest)
        if uid and (size or date):
            listed[int(uid[1])] = Listed(
                int(size[1]) if size else None, _instant(date[1]) if date else None, _flags(flags)
            )
    if refusal and not listed:
        raise CommandRefusedError(refusal)
    return listed


def fetch_content(client: IMAPClient, uids: Sequence[int], section: str) -> dict[int, bytes]:
    """``BODY.PEEK[section]`` by UID, for those the server answers for.

    Raises ``CommandRefusedError`` where it refuses and sent nothing before.
    """
    responses, refusal = _fetch(client, uids, f"(UID BODY.PEEK[{section}])")
    contents: dict[int, bytes] = {}
    for response in responses:
        found = _literal_content(response, section) or _parsed_content(response, section)
        if found:
            contents[found[0]] = found[1]
    if refusal and not contents:
        raise CommandRefusedError(refusal)
    return contents


def uid_set(uids: Sequence[int]) -> str:
    """A sequence set (RFC 3501, 9) of ascending ``uids``, neighbours joined to ranges."""
    ranges: list[tuple[int, int]] = []
    for uid in uids:
        if ranges and ranges[-1][1] == uid - 1:
            ranges[-1] = (ranges[-1][0], uid)
        else:
            ranges.append((uid, uid))
    return ",".join(str(low) if low == high else f"{low}:{high}" for low, high in ranges)


def refusal_text(error: imaplib.IMAP4.error) -> str:
    """The server's words in imaplib's error for a tagged BAD or imapclient's for a NO, else nothing."""
    told = str(error)
    if found := _REFUSAL.search(told):
        return found[2]
    _, failed, text = told.partition(" failed: ")
    return text if failed else ""


def _run(client: IMAPClient, command: str, *arguments: str) -> list[bytes]:
    try:
        status, data = client._imap.uid(command, *arguments)  # noqa: SLF001
    except imaplib.IMAP4.abort:
        raise
    except imaplib.IMAP4.error as error:
        raise CommandRefusedError(refusal_text(error)) from None
    if status != "OK":
        raise CommandRefusedError(data[0].decode("utf-8", "replace") if data and data[0] else "")
    return [piece for piece in data if piece is not None]


def _fetch(client: IMAPClient, uids: Sequence[int], items: str) -> tuple[list[Response], str]:
    """The responses that came, also before a refusal; what an earlier command left over is forgotten."""
    leftover = client._imap.untagged_responses  # noqa: SLF001
    leftover.pop("FETCH", None)
    refusal = ""
    try:
        data = cast(Response, _run(client, "FETCH", uid_set(uids), items))
    except CommandRefusedError as refused:
        refusal = refused.text or "refused without a reason"
        data = leftover.pop("FETCH", [])
    return list(_responses(data)), refusal


def _responses(data: Response) -> Iterator[Response]:
    response: Response = []
    for piece in data:
        response.append(piece)
        if isinstance(piece, bytes):
            yield response
            response = []


def _literal_content(response: Response, section: str) -> tuple[int, bytes] | None:
    """UID and content where the content is the one literal of the response, as it nearly always is."""
    if len(response) != 2 or isinstance(response[0], bytes):
        return None
    text, content = response[0]
    head = _LITERAL.fullmatch(text)
    if head is None or bool(head["section"]) != bool(section) or len(content) != int(head["size"]):
        return None
    uid = _UID.search(head["before"]) or _UID.search(cast(bytes, response[1]))
    return (int(uid[1]), content) if uid else None


def _parsed_content(response: Response, section: str) -> tuple[int, bytes] | None:
    """The same for content in quotes, or with further literals; FLAGS alone are no content."""
    for uid, items in parse_fetch_response(cast(list[bytes], response)).items():
        for name, value in items.items():
            whole = name == b"BODY[]"
            if name.startswith(b"BODY[") and whole != bool(section) and isinstance(value, bytes):
                return uid, value
    return None


def _flags(found: re.Match[bytes] | None) -> tuple[str, ...]:
    words = found[1].decode("ascii", "replace").split() if found else []
    flags = [word[1:].lower() if word.startswith("\\") else word for word in words]
    return tuple(flag for flag in flags if flag != "recent")


def _instant(text: bytes) -> datetime | None:
    """An INTERNALDATE in UTC; None where it is none."""
    found = _INSTANT.fullmatch(text.strip())
    month = _MONTHS.get(found[2].lower()) if found else None
    if not found or month is None:
        return None
    day, _name, year, hour, minute, second, sign, hours, minutes = found.groups()
    offset = timedelta(hours=int(hours), minutes=int(minutes))
    try:
        local = datetime(int(year), month, int(day), int(hour), int(minute), int(second), tzinfo=UTC)
        return local + offset if sign == b"-" else local - offset
    except (ValueError, OverflowError):
        return None
