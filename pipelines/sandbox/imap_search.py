"""SEARCH and sequence sets over an open folder (RFC 3501, 6.4.4 and 9)."""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from datetime import UTC, date

from twisted.mail.imap4 import IllegalClientResponse

from pipelines.sandbox.mail_doors_mime import MONTHS, header_value, read_header
from pipelines.sandbox.mail_doors_session import Tenancy
from pipelines.sandbox.store import Message

_FLAGS = frozenset({"seen", "answered", "flagged", "deleted", "draft"})
_HEADERS = frozenset({"FROM", "TO", "CC", "BCC", "SUBJECT"})

Test = Callable[[Message], bool]
Ranges = list[tuple[int, int]]


def sequence_set(text: bytes, last: int) -> Ranges:
    """The ranges that ``text`` names; ``last`` stands for ``*``, even if that turns a range round.

    Raises ``IllegalClientResponse``.
    """
    ranges = []
    for part in text.split(b","):
        ends = [_end(end, last) for end in part.split(b":")]
        if len(ends) > 2:
            raise IllegalClientResponse("bad sequence set")
        ranges.append((min(ends), max(ends)))
    return ranges


def positions(ranges: Ranges, ids: Sequence[int]) -> list[int]:
    """Where in ascending ``ids`` the ranges fall, each place once, ascending."""
    found: set[int] = set()
    for low, high in ranges:
        found.update(range(bisect_left(ids, low), bisect_right(ids, high)))
    return sorted(found)


class Search:
    """A SEARCH over a snapshot of a folder."""

    def __init__(self, tenancy: Tenancy, messages: Sequence[Message]) -> None:
        self._tenancy = tenancy
        self._messages = messages
        self._last_uid = messages[-1].uid if messages else 0

    def find(self, query: list[object]) -> list[int]:
        """Positions of the messages that match. Raises ``IllegalClientResponse``."""
        if not query:
            raise IllegalClientResponse("missing search key")
        test = self._all(list(query))
        return [place for place, message in enumerate(self._messages) if test(message)]

    def _all(self, query: list[object]) -> Test:
        tests = []
        while query:
            tests.append(self._next(query))
        return lambda message: all(test(message) for test in tests)

    def _next(self, query: list[object]) -> Test:
        key = _pop(query)
        if isinstance(key, list):
            return self._all(list(key))
        name = _bytes(key).decode("latin-1").upper()
        if name == "NOT":
            denied = self._next(query)
            return lambda message: not denied(message)
        if name == "OR":
            either, other = self._next(query), self._next(query)
            return lambda message: either(message) or other(message)
        return self._flag(name) or self._valued(name, query)

    def _flag(self, name: str) -> Test | None:
        flag = name.lower()
        if flag in _FLAGS:
            return lambda message: flag in message.flags
        if flag.startswith("un") and flag[2:] in _FLAGS:
            return lambda message: flag[2:] not in message.flags
        if name in ("ALL", "OLD"):
            return lambda _: True
        if name in ("NEW", "RECENT"):
            return lambda _: False
        return None

    def _valued(self, name: str, query: list[object]) -> Test:
        if name == "UID":
            return _within(sequence_set(_bytes(_pop(query)), self._last_uid))
        if name[:1].isdigit() or name[:1] == "*":
            chosen = positions(
                sequence_set(name.encode(), len(self._messages)), range(1, len(self._messages) + 1)
            )
            uids = {self._messages[place].uid for place in chosen}
            return lambda message: message.uid in uids
        if name in ("SINCE", "BEFORE", "ON"):
            return _dated(name, _date(_bytes(_pop(query))))
        if name in ("LARGER", "SMALLER"):
            limit = _number(_bytes(_pop(query)))
            sign = 1 if name == "LARGER" else -1
            return lambda message: (self._tenancy.size_of(message) - limit) * sign > 0
        if name in _HEADERS:
            return self._header(name.encode(), _bytes(_pop(query)))
        if name == "HEADER":
            return self._header(_bytes(_pop(query)), _bytes(_pop(query)))
        if name in ("TEXT", "BODY"):
            wanted = _bytes(_pop(query)).lower()
            return lambda message: wanted in self._tenancy.store.read(message).lower()
        raise IllegalClientResponse("unknown search key")

    def _header(self, name: bytes, value: bytes) -> Test:
        wanted = value.lower()

        def test(message: Message) -> bool:
            found = header_value(read_header(self._tenancy.store, message), name)
            return found is not None and wanted in found.lower()

        return test


def _end(text: bytes, last: int) -> int:
    if text == b"*":
        return last
    if not text.isdigit() or int(text) == 0:
        raise IllegalClientResponse("bad sequence set")
    return int(text)


def _within(ranges: Ranges) -> Test:
    return lambda message: any(low <= message.uid <= high for low, high in ranges)


def _dated(name: str, day: date) -> Test:
    def test(message: Message) -> bool:
        received = message.received_at.astimezone(UTC).date()
        return {"SINCE": received >= day, "BEFORE": received < day, "ON": received == day}[name]

    return test


def _date(text: bytes) -> date:
    try:
        day, month, year = text.decode("ascii").split("-")
        return date(int(year), MONTHS.index(month.title()) + 1, int(day))
    except ValueError:
        raise IllegalClientResponse("bad date") from None


def _number(text: bytes) -> int:
    if not text.isdigit():
        raise IllegalClientResponse("bad number")
    return int(text)


def _pop(query: list[object]) -> object:
    if not query:
        raise IllegalClientResponse("missing search key")
    return query.pop(0)


def _bytes(value: object) -> bytes:
    if isinstance(value, bytes):
        return value
    raise IllegalClientResponse("string expected")
